/* SPDX-License-Identifier: Apache-2.0
 *
 * rule: proc-1. Each check runs in a forked child that has entered a profile; its exit code is the
 * line that failed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/chan.h"
#include "os/fiber.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/loop_impl.h"
#include "os/proc.h"
#include "os/rand.h"
#include "os/sandbox.h"
#include "os/sock.h"

static char dir[] = "/tmp/posthouse-sandbox-XXXXXX", outside[] = "/tmp/posthouse-outside-XXXXXX";
static char inside[64];
static struct address listening = {.family = 4, .ip = {127, 0, 0, 1}};
static int listener = -1;

static const struct sandbox_profile gate = {
    .name = "gate", .files_max = 100, .memory_max = UINT64_C(1) << 30};
static const struct sandbox_profile house = {
    .name = "house", .files_read = true, .files_write = true, .threads = true};
static const struct sandbox_profile reader = {.name = "reader", .files_read = true};
static const struct sandbox_profile relay = {.name = "relay", .connect_out = true, .threads = true};

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            dprintf(2, "line %d: %s (errno %d)\n", __LINE__, #x, errno);                           \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)
#define REFUSED(x) CHECK((errno = 0, (long)(x) == -1) && (errno == EPERM || errno == EACCES))

static struct proc_exit in_child(int (*fn)(void *), void *arg)
{
    int pid, status;
    assert_int_equal(proc_fork(fn, arg, &pid), ERR_OK);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return (struct proc_exit){.pid = pid, .signal = WTERMSIG(status)};
    return (struct proc_exit){.pid = pid, .code = WEXITSTATUS(status)};
}

static bool enter(const struct sandbox_profile *p)
{
    return sandbox_enter(p, &(struct sandbox_paths){.data_dir = str_c(dir)}) == ERR_OK;
}

static int setup(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    int fd = mkstemp(outside);
    snprintf(inside, sizeof inside, "%s/store", dir);
    close(fd);
    return file_replace(AT_FDCWD, str_c(inside), STR("mail")) == ERR_OK &&
                   sock_listen(&listening, 8, &listener) == ERR_OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    close(listener);
    unlink(inside);
    unlink(outside);
    return rmdir(dir);
}

static int connect_to_listener(int s)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(listening.port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    return connect(s, (struct sockaddr *)&sa, sizeof sa);
}

/* struct sched_attr: its size, and nice 15 */
static const uint32_t give_way[12] = {[0] = sizeof give_way, [4] = 15};

static int gate_is_walled_in(void *arg)
{
    int before = socket(AF_INET, SOCK_STREAM, 0); /* one that was forgotten open */
    CHECK(before >= 0);
    int data = open(inside, O_RDONLY);
    CHECK(enter(&gate));
    REFUSED(open(inside, O_RDONLY));
    REFUSED(openat(AT_FDCWD, "/etc/passwd", O_RDONLY));
    REFUSED(open("/dev/null", O_WRONLY));
    REFUSED(syscall(SYS_openat2, AT_FDCWD, inside, NULL, 0));
    REFUSED(syscall(SYS_open_by_handle_at, data, NULL, 0));
    REFUSED(creat(outside, 0600));
    REFUSED(unlink(inside));
    REFUSED(mkdir("/tmp/posthouse-never", 0700));
    REFUSED(symlink(inside, "/tmp/posthouse-never"));
    REFUSED(chmod(inside, 0777));
    REFUSED(execl("/bin/true", "true", (char *)NULL));
    REFUSED(syscall(SYS_execveat, data, "", NULL, NULL, AT_EMPTY_PATH));
    REFUSED(fork());
    REFUSED(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    REFUSED(socket(AF_INET6, SOCK_DGRAM, 0));
    REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0));
    REFUSED(connect_to_listener(before));
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(listening.port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    REFUSED(sendto(before, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&sa, sizeof sa));
    REFUSED(bind(before, (struct sockaddr *)&sa, sizeof sa));
    REFUSED(listen(before, 1));
    REFUSED(kill(getppid(), 0));
    REFUSED(syscall(SYS_pidfd_open, getppid(), 0));
    REFUSED(syscall(SYS_io_uring_setup, 8, NULL));
    REFUSED(setuid(0));
    REFUSED(syscall(SYS_sched_setattr, 0, give_way, 0));
    REFUSED(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REFUSED(mprotect((void *)((uintptr_t)&gate & ~UINT64_C(4095)), 4096, PROT_READ | PROT_EXEC));
    return 0;
}

/* What the gate does all day still works. */
static void gate_fiber(void *arg)
{
    int *failures = arg;
    int fds[2], got = -1, memory;
    size_t n, count = 1;
    char in[64];
    struct watch a, b;
    *failures = 1;
    if (sock_pair(fds) != ERR_OK || file_memory("mail", &memory) != ERR_OK ||
        file_write_all_at(memory, 0, "mail", 4) != ERR_OK || file_seal(memory) != ERR_OK)
        return;
    *failures = 2;
    if (watch_open(&a, fds[0]) != ERR_OK || watch_open(&b, fds[1]) != ERR_OK ||
        sock_send(&a, STR("take this"), &memory, 1) != ERR_OK ||
        sock_recv(&b, in, sizeof in, &n, &got, &count) != ERR_OK || count != 1)
        return;
    *failures = 3;
    uint64_t size;
    if (!file_is_sealed(got) || file_size(got, &size) != ERR_OK || size != 4)
        return;
    *failures = 4;
    struct watch l;
    int accepted;
    struct address peer;
    if (watch_open(&l, listener) != ERR_OK || sock_accept(&l, &accepted, &peer) != ERR_OK)
        return;
    sock_no_delay(accepted);
    *failures = 5;
    struct event never;
    event_init(&never);
    if (event_wait(&never, deadline_in_ms(5)) != ERR_TIMEOUT || rand_u64() == rand_u64())
        return;
    watch_close(&l);
    watch_close(&a);
    watch_close(&b);
    *failures = 0;
}

static int gate_can_work(void *arg)
{
    struct loop *l;
    struct fiber_group g;
    int failures = 99, client = socket(AF_INET, SOCK_STREAM, 0);
    fiber_group_init(&g);
    CHECK(connect_to_listener(client) == 0);
    CHECK(enter(&gate));
    CHECK(loop_open(&l, NULL) == ERR_OK);
    CHECK(fiber_start(&g, "gate", gate_fiber, &failures) == ERR_OK);
    fiber_group_join(&g);
    CHECK(failures == 0);
    char *big = malloc(1 << 20);
    CHECK(big);
    memset(big, 1, 1 << 20);
    free(big);
    time_t now = time(NULL);
    struct tm tm;
    CHECK(localtime_r(&now, &tm));
#if !defined(OS_ASAN) && !defined(OS_TSAN)
    CHECK(!malloc((size_t)2 << 30)); /* rule: proc-4: memory_max */
#endif
    int fd = 0;
    for (int i = 0; i < 200 && fd >= 0; i++)
        fd = dup(0);
    CHECK(fd < 0 && errno == EMFILE); /* files_max */
    loop_close(l);
    return 0;
}

static int ptrace_parent(void *arg)
{
    CHECK(enter(&gate));
    ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
    return 0;
}

static int unshare_user(void *arg)
{
    CHECK(enter(&house));
    syscall(SYS_unshare, 0x10000000);
    return 0;
}

static void gate_cannot(void **state)
{
    assert_int_equal(in_child(gate_is_walled_in, NULL).code, 0);
    assert_int_equal(in_child(ptrace_parent, NULL).signal, SIGSYS);
    assert_int_equal(in_child(unshare_user, NULL).signal, SIGSYS);
}

static void gate_can(void **state)
{
    struct proc_exit e = in_child(gate_can_work, NULL);
    assert_int_equal(e.signal, 0);
    assert_int_equal(e.code, 0);
}

static void *thread_main(void *arg)
{
    *(int *)arg = 1;
    return NULL;
}

static bool landlocked(void) { return syscall(444, NULL, 0, 1) > 0; }

static int house_keeps_to_its_folder(void *arg)
{
    int parent = getppid();
    char other[80];
    snprintf(other, sizeof other, "%s/other", dir);
    bool walls = landlocked();
    CHECK(enter(&house));
    BUF_AUTO struct buf b = BUF_INIT(100);
    CHECK(file_read_whole(AT_FDCWD, str_c(inside), &b) == ERR_OK);
    CHECK(file_replace(AT_FDCWD, str_c(other), STR("more")) == ERR_OK);
    CHECK(rename(other, inside) == 0);
    CHECK(syscall(SYS_sched_setattr, 0, give_way, 0) == 0); /* its own threads may */
    REFUSED(syscall(SYS_sched_setattr, parent, give_way, 0));
    CHECK(mkdir(other, 0700) == 0 && rmdir(other) == 0);
    if (walls) {
        REFUSED(open(outside, O_RDONLY));
        REFUSED(open(outside, O_WRONLY));
        REFUSED(open("/etc/passwd", O_RDONLY));
        REFUSED(unlink(outside));
        errno = 0;
        CHECK(rename(inside, "/tmp/posthouse-never") == -1 && (errno == EXDEV || errno == EACCES));
    }
    REFUSED(execl("/bin/true", "true", (char *)NULL));
    REFUSED(socket(AF_INET, SOCK_STREAM, 0));
    REFUSED(fork());
    pthread_t t;
    int ran = 0;
    CHECK(pthread_create(&t, NULL, thread_main, &ran) == 0 && pthread_join(t, NULL) == 0 && ran);
    int s;
    CHECK(sock_listen_unix(str_c(other), 4, &s) == ERR_OK && unlink(other) == 0);
    return 0;
}

static int reader_reads_only(void *arg)
{
    bool walls = landlocked();
    CHECK(enter(&reader));
    int fd = open(inside, O_RDONLY);
    CHECK(fd >= 0);
    REFUSED(open(inside, O_RDWR));
    REFUSED(open(inside, O_WRONLY | O_TRUNC));
    REFUSED(creat(inside, 0600));
    REFUSED(unlink(inside));
    REFUSED(fsync(fd));
    if (walls)
        REFUSED(open(outside, O_RDONLY));
    pthread_t t;
    CHECK(pthread_create(&t, NULL, thread_main, NULL) != 0);
    return 0;
}

static int relay_only_connects(void *arg)
{
    CHECK(enter(&relay));
    REFUSED(open(inside, O_RDONLY));
    REFUSED(execl("/bin/true", "true", (char *)NULL));
    int s = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(s >= 0 && connect_to_listener(s) == 0);
    REFUSED(socket(AF_PACKET, SOCK_RAW, 0));
    REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
    return 0;
}

static int user_is_dropped(void *arg)
{
    struct sandbox_paths paths = {.uid = 65534, .gid = 65534};
    CHECK(sandbox_enter(&gate, &paths) == ERR_OK);
    CHECK(getuid() == 65534 && geteuid() == 65534 && getgid() == 65534);
    return 0;
}

static void profiles_hold(void **state)
{
    assert_int_equal(in_child(house_keeps_to_its_folder, NULL).code, 0);
    assert_int_equal(in_child(reader_reads_only, NULL).code, 0);
    assert_int_equal(in_child(relay_only_connects, NULL).code, 0);
    if (geteuid() == 0)
        assert_int_equal(in_child(user_is_dropped, NULL).code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_cannot),
        cmocka_unit_test(gate_can),
        cmocka_unit_test(profiles_hold),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
