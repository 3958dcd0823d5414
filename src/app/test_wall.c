/* SPDX-License-Identifier: Apache-2.0
 *
 * rule: proc-1 — code that runs in a gate cannot open a file of the store, exec, connect out, or
 * reach another process; code in the house cannot leave its folder or open an internet socket. The
 * child here is confined by the same call as the real roles, and then does what an intruder would.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/roles.h"
#include "base/num.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/user.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[4096], mail[4200], outside[4200], control[4200];
static struct server server;
static int tcp_port, inherited_fd;

/* ---- what an intruder tries: each gives true when it worked ---- */

static bool opens(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}
static bool read_the_mail(void) { return opens(mail, O_RDONLY); }
static bool write_the_mail(void) { return opens(mail, O_WRONLY); }
static bool read_outside(void) { return opens(outside, O_RDONLY); }
static bool write_outside(void) { return opens(outside, O_WRONLY); }
static bool read_passwd(void) { return opens("/etc/passwd", O_RDONLY); }
static bool list_root(void) { return opens("/", O_RDONLY | O_DIRECTORY); }
static bool look_at_mail(void)
{
    struct stat st;
    return stat(mail, &st) == 0;
}
static bool remove_the_mail(void) { return unlink(mail) == 0; }
static bool rename_the_mail(void) { return rename(mail, outside) == 0; }
static bool run_a_program(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return false; /* exec does not return when it works: the exit status tells */
}
static bool fork_a_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid > 0;
}
static bool make_internet_socket(void) { return socket(AF_INET, SOCK_STREAM, 0) >= 0; }
static bool make_udp_socket(void) { return socket(AF_INET6, SOCK_DGRAM, 0) >= 0; }
static bool make_raw_socket(void) { return socket(AF_PACKET, SOCK_RAW, 0) >= 0; }
/* Over a socket that it had before, as an intruder finds one. */
static bool connect_out(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)tcp_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(inherited_fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EINPROGRESS;
}
static bool reach_the_control_socket(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof(to.sun_path), "%.100s", control);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
}
static bool signal_the_parent(void) { return kill(getppid(), 0) == 0; }
static bool make_code(void)
{
    return sbrk(0) != (void *)-1 &&
           mprotect((void *)((uintptr_t)&tcp_port & ~4095ul), 4096, 7) == 0;
}

#define TO(role) (1u << ROLE_##role)
#define TO_ALL (TO(GATE) | TO(HOUSE) | TO(RELAY) | TO(KEYS))
#define TO_ALL_BUT(role) (TO_ALL & ~TO(role))
struct attempt {
    const char *what;
    bool (*works)(void);
    unsigned refused; /* to whom */
};
static const struct attempt attempts[] = {
    {"open a file of the store", read_the_mail, TO_ALL_BUT(HOUSE)},
    {"write a file of the store", write_the_mail, TO_ALL_BUT(HOUSE)},
    {"look whether a file is there", look_at_mail, TO_ALL_BUT(HOUSE)},
    {"remove a file of the store", remove_the_mail, TO_ALL_BUT(HOUSE)},
    {"rename a file of the store", rename_the_mail, TO_ALL_BUT(HOUSE)},
    {"open a file elsewhere", read_outside, TO_ALL},
    {"write a file elsewhere", write_outside, TO_ALL},
    {"read /etc/passwd", read_passwd, TO_ALL},
    {"list the root folder", list_root, TO_ALL},
    {"run a program", run_a_program, TO_ALL},
    {"fork", fork_a_process, TO_ALL},
    {"make an internet socket", make_internet_socket, TO_ALL_BUT(RELAY)},
    {"make a datagram socket", make_udp_socket, TO_ALL_BUT(RELAY)},
    {"make a raw socket", make_raw_socket, TO_ALL},
    {"connect out", connect_out, TO_ALL_BUT(RELAY)},
    {"reach the control socket", reach_the_control_socket, TO_ALL_BUT(HOUSE)},
    {"signal the parent", signal_the_parent, TO_ALL},
    {"make memory executable", make_code, TO_ALL},
};
static const struct attempt *current;
static enum role current_role;

static int intrude(void *arg)
{
    (void)arg;
    if (role_enter(current_role, &server) != ERR_OK)
        _exit(3);
    _exit(current->works() ? 1 : 7); /* exec that works ends with 0 */
}

static int outcome(enum role role, const struct attempt *a)
{
    int pid, status = 0;
    current = a;
    current_role = role;
    assert_int_equal(proc_fork(intrude, NULL, &pid), ERR_OK);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return 7; /* ended by the filter: refused */
    return WEXITSTATUS(status);
}

static void all_refused(enum role role)
{
    for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
        int got = attempts[i].refused & 1u << role ? outcome(role, &attempts[i]) : 7;
        if (got != 7)
            fail_msg("%s: \"%s\" gave %d", role_name(role), attempts[i].what, got);
    }
}

static void test_a_gate_has_no_way_to_the_mail(void **state) { all_refused(ROLE_GATE); }
static void test_the_house_stays_in_its_folder(void **state) { all_refused(ROLE_HOUSE); }
static void test_keys_can_only_answer(void **state) { all_refused(ROLE_KEYS); }
static void test_the_relay_opens_no_file(void **state)
{
    static const struct attempt own = {"connect out", connect_out};
    all_refused(ROLE_RELAY);
    assert_int_equal(outcome(ROLE_RELAY, &own), 1);
}

/* The proof proves something only if the same code works where it may. */
static void test_the_attempts_work_where_they_are_allowed(void **state)
{
    assert_true(read_the_mail() && look_at_mail() && read_passwd() && make_internet_socket());
    assert_true(reach_the_control_socket() && connect_out() && signal_the_parent());
    static const struct attempt own = {"open a file of the store", read_the_mail};
    assert_int_equal(outcome(ROLE_HOUSE, &own), 1);
}

static int make_files(void **state)
{
    BUF_AUTO struct buf dir = BUF_INIT(4096);
    assert_int_equal(user_temporary_dir("posthouse-wall", &dir), ERR_OK);
    snprintf(folder, sizeof(folder), "%.*s", STR_ARG(buf_str(&dir)));
    snprintf(mail, sizeof(mail), "%s/data", folder);
    assert_int_equal(mkdir(mail, 0700), 0);
    server.data_dir = str_c(strdup(mail));
    snprintf(mail, sizeof(mail), "%s/data/segment", folder);
    snprintf(outside, sizeof(outside), "%s/outside", folder);
    snprintf(control, sizeof(control), "%s/data/control.sock", folder);
    close(open(mail, O_CREAT | O_WRONLY, 0600));
    close(open(outside, O_CREAT | O_WRONLY, 0600));
    int fd;
    assert_int_equal(sock_listen_unix(str_c(control), 8, &fd), ERR_OK);
    struct address at = {.family = 4, .ip = {127, 0, 0, 1}};
    assert_int_equal(sock_listen(&at, 8, &fd), ERR_OK);
    tcp_port = at.port;
    inherited_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    return 0;
}

static int remove_files(void **state)
{
    unlink(mail);
    unlink(control);
    unlink(outside);
    snprintf(mail, sizeof(mail), "%s/data", folder);
    rmdir(mail);
    rmdir(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gate_has_no_way_to_the_mail),
        cmocka_unit_test(test_the_house_stays_in_its_folder),
        cmocka_unit_test(test_the_relay_opens_no_file),
        cmocka_unit_test(test_keys_can_only_answer),
        cmocka_unit_test(test_the_attempts_work_where_they_are_allowed),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
