/* SPDX-License-Identifier: Apache-2.0
 *
 * Landlock by its three system calls, since the C library has no wrappers and older headers miss
 * the newer rights (linux/landlock.h; ABI 1 is Linux 5.13, ABI 7 is 6.15).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "os/file.h"
#include "os/sandbox_impl.h"

#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule 445
#define __NR_landlock_restrict_self 446
#endif

struct ruleset_attr {
    uint64_t fs, net, scoped;
};
struct path_beneath_attr {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_MAKE_CHAR = 1 << 6,
    FS_MAKE_FIFO = 1 << 10,
    FS_MAKE_BLOCK = 1 << 11,
    FS_MAKE_SYM = 1 << 12,
    NET_BIND_TCP = 1 << 0,
    NET_CONNECT_TCP = 1 << 1,
    SCOPE_ABSTRACT_UNIX = 1 << 0,
    SCOPE_SIGNAL = 1 << 1,
    RULE_PATH_BENEATH = 1,
    CREATE_VERSION = 1,
};

static uint64_t fs_rights_known(int abi)
{
    unsigned bits = abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13;
    return (UINT64_C(1) << bits) - 1;
}

static uint64_t fs_rights_wanted(const struct sandbox_profile *p, int abi)
{
    if (p->files_write)
        return fs_rights_known(abi) &
               ~(uint64_t)(FS_EXECUTE | FS_MAKE_CHAR | FS_MAKE_BLOCK | FS_MAKE_FIFO | FS_MAKE_SYM);
    return p->files_read ? FS_READ_FILE | FS_READ_DIR : 0;
}

static enum err rule_add(int ruleset, str dir, uint64_t rights)
{
    FD_AUTO int fd = -1;
    TRY(file_open(AT_FDCWD, dir, FILE_READ | FILE_DIR, &fd));
    struct path_beneath_attr rule = {.allowed = rights, .parent_fd = fd};
    if (syscall(__NR_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) != 0) {
        LOG_ERROR("os", "sandbox: landlock rule refused errno=%d", errno);
        return ERR_IO;
    }
    return ERR_OK;
}

enum err landlock_prepare(const struct sandbox_profile *p, str data_dir, int *ruleset)
{
    *ruleset = -1;
    long abi = syscall(__NR_landlock_create_ruleset, NULL, 0, CREATE_VERSION);
    if (abi <= 0) {
        if (p->files_read || p->files_write)
            LOG_WARN("os",
                     "sandbox %s: this kernel has no Landlock, so the role can open every file "
                     "that its user may open, not only those below the data folder",
                     p->name);
        else
            LOG_INFO("os", "sandbox %s: no Landlock; seccomp alone forbids files", p->name);
        return ERR_OK;
    }
    struct ruleset_attr attr = {.fs = fs_rights_known((int)abi)};
    if (!p->connect_out)
        attr.net = NET_BIND_TCP | NET_CONNECT_TCP;
    attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    *ruleset = (int)syscall(__NR_landlock_create_ruleset, &attr, size, 0);
    if (*ruleset < 0) {
        LOG_ERROR("os", "sandbox: landlock ruleset refused abi=%ld errno=%d", abi, errno);
        return ERR_IO;
    }
    uint64_t rights = fs_rights_wanted(p, (int)abi);
    return rights ? rule_add(*ruleset, data_dir, rights) : ERR_OK;
}

enum err landlock_enter(int ruleset)
{
    if (ruleset < 0)
        return ERR_OK;
    if (syscall(__NR_landlock_restrict_self, ruleset, 0) == 0)
        return ERR_OK;
    LOG_ERROR("os", "sandbox: landlock not entered errno=%d", errno);
    return ERR_IO;
}
