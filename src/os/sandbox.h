/* SPDX-License-Identifier: Apache-2.0
 *
 * sandbox: gives up authority for ever. Called once per role, before the first byte is read.
 */
#ifndef OS_SANDBOX_H
#define OS_SANDBOX_H

#include "base/err.h"

struct sandbox_profile {
    const char *name;
    bool files_read, files_write; /* below data_dir only (Landlock); false: no open at all */
    bool connect_out;             /* may create and connect internet sockets */
    bool threads;                 /* may start threads */
    uint64_t memory_max;          /* address-space independent cap (RLIMIT_DATA); 0 none */
    unsigned files_max;           /* RLIMIT_NOFILE; 0 leaves it */
};
struct sandbox_paths {
    str data_dir;      /* allowed subtree, when files_* */
    unsigned uid, gid; /* 0: stay who we are */
};
/* Applies user, no_new_privs, Landlock (where the kernel has it), seccomp (always), limits.
 * A process that cannot be confined must not run: ERR_UNSUPPORTED or ERR_IO, with a log line. */
enum err sandbox_enter(const struct sandbox_profile *p, const struct sandbox_paths *paths) MUST;

#endif
