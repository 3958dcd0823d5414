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
/* Applies limits, user, no_new_privs, Landlock (where the kernel has it), seccomp (always).
 * A process that cannot be confined must not run: an error, with a log line, means exit.
 *
 * seccomp is a list of what is allowed (os/sandbox_calls.def). Everything else fails with EPERM and
 * is written to the audit log; calls that only a taken-over process would make (ptrace, bpf, mount,
 * …) end it. For ever: no executable memory, no exec, no new process, no signal to another process.
 * Without files_*, no path can be opened, so what libraries load later (time zone, iconv, TLS
 * configuration, unwinder) must be loaded before. Without connect_out no internet socket can be
 * made or connected; open ones work, and accept too. files_write also lets a role make and listen
 * on a Unix socket. Without Landlock a files_* role can open whatever its user can; a warning says
 * so. The same holds in sanitizer builds, but for memory_max; a sandboxed process should leave by
 * _exit, because the leak checker at exit() traces it. Call it with one thread; memory_max counts
 * address space of stacks (64 KiB a live fiber). */
enum err sandbox_enter(const struct sandbox_profile *p, const struct sandbox_paths *paths) MUST;

#endif
