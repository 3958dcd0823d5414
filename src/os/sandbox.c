/* SPDX-License-Identifier: Apache-2.0
 *
 * Order matters: what needs files or root comes first (Landlock's rules, limits, the user), then
 * no_new_privs, Landlock and, last, seccomp, which forbids the calls that the others need.
 */
#include "os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "os/file.h"
#include "os/loop_impl.h"
#include "os/sandbox_impl.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

enum who { ALWAYS = 1, READ = 2, WRITE = 4, CONNECT = 8, FATAL = 16 };

static const struct {
    int number; /* negative: not a call of this architecture */
    enum who who;
} calls[] = {
#define CALL(name, who) {SCMP_SYS(name), who},
#include "os/sandbox_calls.def"
#undef CALL
};

static int rights_of(const struct sandbox_profile *p)
{
    return ALWAYS | (p->files_read || p->files_write ? READ : 0) | (p->files_write ? WRITE : 0) |
           (p->connect_out ? CONNECT : 0);
}

/* Rules are added until the first failure, which stays in `failed`. */
struct filter {
    scmp_filter_ctx context;
    int failed;
};

static void rule(struct filter *f, uint32_t action, int number, unsigned count,
                 const struct scmp_arg_cmp *conditions)
{
    if (number < 0 || f->failed)
        return;
    f->failed = seccomp_rule_add_array(f->context, action, number, count, conditions);
}

static void allow_masked(struct filter *f, int number, unsigned arg, uint64_t mask, uint64_t value)
{
    rule(f, SCMP_ACT_ALLOW, number, 1, &SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, value));
}

static void allow_equal(struct filter *f, int number, unsigned arg, uint64_t value)
{
    rule(f, SCMP_ACT_ALLOW, number, 1, &SCMP_CMP64(arg, SCMP_CMP_EQ, value));
}

static void add_table(struct filter *f, const struct sandbox_profile *p)
{
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        if (calls[i].who == FATAL)
            rule(f, SCMP_ACT_KILL_PROCESS, calls[i].number, 0, NULL);
        else if (calls[i].who & rights_of(p))
            rule(f, SCMP_ACT_ALLOW, calls[i].number, 0, NULL);
    }
}

static void add_memory(struct filter *f)
{
    allow_masked(f, SCMP_SYS(mmap), 2, PROT_EXEC, 0);
    allow_masked(f, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
}

static void add_files(struct filter *f, const struct sandbox_profile *p)
{
    if (p->files_write) {
        rule(f, SCMP_ACT_ALLOW, SCMP_SYS(open), 0, NULL);
        rule(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 0, NULL);
    } else if (p->files_read) {
        uint64_t changing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;
        allow_masked(f, SCMP_SYS(open), 1, changing, 0);
        allow_masked(f, SCMP_SYS(openat), 2, changing, 0);
    }
    if (p->files_read || p->files_write)
        rule(f, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 0, NULL);
    else /* glibc's fstat() */
        allow_masked(f, SCMP_SYS(newfstatat), 3, AT_EMPTY_PATH, AT_EMPTY_PATH);
}

/* MSG_FASTOPEN connects a closed TCP socket without connect(2), past Landlock as well. */
static void add_sockets(struct filter *f, const struct sandbox_profile *p)
{
    if (p->connect_out) {
        rule(f, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 0, NULL);
        rule(f, SCMP_ACT_ALLOW, SCMP_SYS(sendmsg), 0, NULL);
        allow_equal(f, SCMP_SYS(socket), 0, AF_INET);
        allow_equal(f, SCMP_SYS(socket), 0, AF_INET6);
    } else {
        allow_masked(f, SCMP_SYS(sendto), 3, MSG_FASTOPEN, 0);
        allow_masked(f, SCMP_SYS(sendmsg), 2, MSG_FASTOPEN, 0);
    }
    if (p->files_write)
        allow_equal(f, SCMP_SYS(socket), 0, AF_UNIX);
    allow_equal(f, SCMP_SYS(socketpair), 0, AF_UNIX);
}

/* clone3 takes its flags by a pointer that a filter cannot follow: glibc takes ENOSYS as "use
 * clone". A process (no CLONE_THREAD) is never made. */
static void add_threads(struct filter *f, const struct sandbox_profile *p)
{
    rule(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0, NULL);
    if (p->threads)
        allow_masked(f, SCMP_SYS(clone), 0, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM);
    if (p->threads) /* of the calling thread alone (os/background.h) */
        allow_equal(f, SCMP_SYS(sched_setattr), 0, 0);
}

static void add_self(struct filter *f)
{
    static const unsigned options[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_GET_DUMPABLE,
                                       PR_GET_PDEATHSIG};
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        allow_equal(f, SCMP_SYS(prctl), 0, options[i]);
    rule(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 2, /* to hide, never to show */
         (struct scmp_arg_cmp[]){SCMP_CMP64(0, SCMP_CMP_EQ, PR_SET_DUMPABLE),
                                 SCMP_CMP64(1, SCMP_CMP_EQ, 0)});
    allow_equal(f, SCMP_SYS(tgkill), 0, (uint64_t)getpid());
    allow_equal(f, SCMP_SYS(kill), 0, (uint64_t)getpid());
    rule(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
         (struct scmp_arg_cmp[]){SCMP_CMP64(0, SCMP_CMP_EQ, 0), SCMP_CMP64(2, SCMP_CMP_EQ, 0)});
}

static enum err seccomp_enter(const struct sandbox_profile *p)
{
    struct filter f = {.context = seccomp_init(SCMP_ACT_ERRNO(EPERM))};
    if (!f.context)
        return ERR_NOMEM;
    seccomp_attr_set(f.context, SCMP_FLTATR_CTL_TSYNC, 1);
    seccomp_attr_set(f.context, SCMP_FLTATR_CTL_LOG, 1);      /* refusals go to the audit log */
    seccomp_attr_set(f.context, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
    add_table(&f, p);
    add_memory(&f);
    add_files(&f, p);
    add_sockets(&f, p);
    add_threads(&f, p);
    add_self(&f);
    if (!f.failed)
        f.failed = seccomp_load(f.context);
    seccomp_release(f.context);
    if (!f.failed)
        return ERR_OK;
    LOG_ERROR("os", "sandbox %s: seccomp refused: %s", p->name, strerror(-f.failed));
    return ERR_UNSUPPORTED;
}

static enum err limit_set(const char *profile, int resource, uint64_t wanted)
{
    struct rlimit now, l = {wanted, wanted};
    if (getrlimit((__rlimit_resource_t)resource, &now) != 0)
        return ERR_IO;
    if (setrlimit((__rlimit_resource_t)resource, &l) == 0)
        return ERR_OK;
    if (errno != EPERM || wanted <= now.rlim_max)
        return ERR_IO;
    LOG_INFO("os", "sandbox %s: %s stay at=%llu wanted=%llu", profile,
             resource == RLIMIT_NOFILE ? "open files" : "bytes of memory",
             (unsigned long long)now.rlim_max, (unsigned long long)wanted);
    l.rlim_cur = l.rlim_max = now.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &l) == 0 ? ERR_OK : ERR_IO;
}

static enum err limits_enter(const struct sandbox_profile *p)
{
    if (p->files_max)
        TRY(limit_set(p->name, RLIMIT_NOFILE, p->files_max));
#if !defined(OS_ASAN) && !defined(OS_TSAN) /* their shadow is terabytes of private mapping */
    if (p->memory_max)
        TRY(limit_set(p->name, RLIMIT_DATA, p->memory_max));
#endif
    return ERR_OK;
}

/* The kernel forgets the parent-death signal when the user changes, so it is set again. */
static enum err user_enter(unsigned uid, unsigned gid)
{
    if (uid == 0 && gid == 0)
        return ERR_OK;
    int death_signal = 0, parent = getppid();
    prctl(PR_GET_PDEATHSIG, &death_signal);
    if (geteuid() == 0 && setgroups(0, NULL) != 0)
        return ERR_IO;
    if (gid != 0 && setresgid(gid, gid, gid) != 0)
        return ERR_IO;
    if (uid != 0 && setresuid(uid, uid, uid) != 0)
        return ERR_IO;
    if (uid != 0 && setresuid(0, 0, 0) == 0) /* must be impossible now */
        return ERR_IO;
    if (death_signal == 0)
        return ERR_OK;
    prctl(PR_SET_PDEATHSIG, death_signal);
    return getppid() == parent ? ERR_OK : ERR_CANCELED;
}

enum err sandbox_enter(const struct sandbox_profile *p, const struct sandbox_paths *paths)
{
    tzset(); /* reads its file now */
    FD_AUTO int ruleset = -1;
    TRY(landlock_prepare(p, paths->data_dir, &ruleset));
    enum err e = limits_enter(p);
    if (e == ERR_OK)
        e = user_enter(paths->uid, paths->gid);
    if (e != ERR_OK || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        LOG_ERROR("os", "sandbox %s: limits or user refused, errno=%d", p->name, errno);
        return e != ERR_OK ? e : ERR_UNSUPPORTED;
    }
    TRY(landlock_enter(ruleset));
    return seccomp_enter(p);
}
