/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/fiber.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/sock.h"

static struct address parsed(const char *text)
{
    struct address a;
    assert_true(address_parse(str_c(text), &a));
    return a;
}

static void addresses_are_values(void **state)
{
    static const struct {
        const char *text, *rendered;
        bool loopback, is_private;
    } cases[] = {
        {"1.2.3.4", "1.2.3.4", false, false},
        {"127.3.2.1", "127.3.2.1", true, true},
        {"::1", "::1", true, true},
        {"::ffff:10.0.0.1", "10.0.0.1", false, true},
        {"::ffff:8.8.8.8", "8.8.8.8", false, false},
        {"172.31.255.255", "172.31.255.255", false, true},
        {"172.32.0.0", "172.32.0.0", false, false},
        {"100.64.0.1", "100.64.0.1", false, true},
        {"169.254.169.254", "169.254.169.254", false, true},
        {"0.0.0.0", "0.0.0.0", false, true},
        {"255.255.255.255", "255.255.255.255", false, true},
        {"2001:DB8::0:1", "2001:db8::1", false, false},
        {"fd00::1", "fd00::1", false, true},
        {"fe80::1", "fe80::1", false, true},
        {"64:ff9b::7f00:1", "64:ff9b::7f00:1", false, true}, /* NAT64 of 127.0.0.1 */
        {"2002:a00:1::1", "2002:a00:1::1", false, true},     /* 6to4 of 10.0.0.1 */
        {"64:ff9b::808:808", "64:ff9b::808:808", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address a = parsed(cases[i].text);
        BUF_AUTO struct buf b = BUF_INIT(64);
        address_render(&a, &b);
        char text[ADDRESS_TEXT_MAX];
        assert_true(str_eq(buf_str(&b), str_c(cases[i].rendered)));
        assert_string_equal(address_text(&a, text), cases[i].rendered);
        assert_int_equal(address_is_loopback(&a), cases[i].loopback);
        assert_int_equal(address_is_private(&a), cases[i].is_private);
    }
    static const char *bad[] = {
        "",    "1.2.3", "1.2.3.256",  "1.2.3.4 ",
        "::g", "[::1]", "1.2.3.4:25", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"};
    struct address out;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(address_parse(str_c(bad[i]), &out));
    assert_false(address_parse(STR("1.2.3.4\0"), &out));
    struct address a = parsed("192.168.77.5"), net = parsed("192.168.64.0");
    assert_true(address_in(&a, &net, 18));
    assert_true(address_in(&a, &net, 20));
    assert_false(address_in(&a, &net, 21));
    assert_true(address_in(&a, &net, 0));
    assert_true(address_in(&a, &a, 999));
}

struct tcp {
    int listener;
    struct address at;
    const char *text;
    size_t got;
};

static void server(void *arg)
{
    struct tcp *t = arg;
    struct watch listening, w;
    struct address peer;
    int fd;
    char in[64];
    assert_int_equal(watch_open(&listening, t->listener), ERR_OK);
    assert_int_equal(sock_accept(&listening, &fd, &peer), ERR_OK);
    assert_true(address_is_loopback(&peer));
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(watch_open(&w, fd), ERR_OK);
    size_t n;
    while (sock_recv(&w, in, sizeof in, &n, NULL, NULL) == ERR_OK)
        t->got += n;
    watch_close(&w);
    watch_close(&listening);
    close(fd);
}

static void client(void *arg)
{
    struct tcp *t = arg;
    struct watch w;
    int fd;
    assert_int_equal(sock_connect(&t->at, NULL, deadline_in_ms(5000), &fd), ERR_OK);
    struct address peer, own;
    assert_int_equal(sock_peer(fd, &peer), ERR_OK);
    assert_int_equal(sock_local(fd, &own), ERR_OK);
    assert_int_equal(peer.port, t->at.port);
    assert_int_equal(own.family, t->at.family);
    sock_no_delay(fd);
    sock_keep_alive(fd, 300);
    assert_int_equal(watch_open(&w, fd), ERR_OK);
    assert_int_equal(sock_send(&w, str_c(t->text), NULL, 0), ERR_OK);
    watch_close(&w);
    close(fd);
}

static void connect_refused(void *arg)
{
    struct tcp *t = arg;
    int fd;
    assert_int_equal(sock_connect(&t->at, NULL, deadline_in_ms(5000), &fd), ERR_UNAVAILABLE);
}

static void tcp_over(const char *host)
{
    struct loop *loop;
    struct fiber_group group;
    struct tcp t = {.at = parsed(host), .text = "hello over TCP"};
    fiber_group_init(&group);
    assert_int_equal(loop_open(&loop, NULL), ERR_OK);
    assert_int_equal(sock_listen(&t.at, 16, &t.listener), ERR_OK);
    assert_int_not_equal(t.at.port, 0);
    int second;
    assert_int_equal(sock_listen(&t.at, 16, &second), ERR_EXISTS);
    assert_int_equal(fiber_start(&group, "server", server, &t), ERR_OK);
    assert_int_equal(fiber_start(&group, "client", client, &t), ERR_OK);
    fiber_group_join(&group);
    assert_int_equal(t.got, strlen(t.text));
    close(t.listener);
    assert_int_equal(fiber_start(&group, "refused", connect_refused, &t), ERR_OK);
    fiber_group_join(&group);
    loop_close(loop);
}

static void tcp_connects(void **state)
{
    tcp_over("127.0.0.1");
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    if (probe >= 0) {
        close(probe);
        tcp_over("::1");
    }
}

static void dead_unix_socket_is_replaced(void **state)
{
    char dir[] = "/tmp/posthouse-sock-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    int a, b, c;
    assert_int_equal(sock_listen_unix(str_c(path), 4, &a), ERR_OK);
    assert_int_equal(sock_listen_unix(str_c(path), 4, &b), ERR_EXISTS); /* alive */
    assert_int_equal(sock_connect_unix(str_c(path), &c), ERR_OK);
    close(c);
    close(a);
    assert_int_equal(sock_connect_unix(str_c(path), &c), ERR_UNAVAILABLE);
    assert_int_equal(sock_listen_unix(str_c(path), 4, &b), ERR_OK);
    close(b);
    unlink(path);
    int fd = creat(path, 0600); /* somebody's file is never removed */
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(sock_listen_unix(str_c(path), 4, &b), ERR_EXISTS);
    unlink(path);
    rmdir(dir);
    char longer[200];
    memset(longer, 'x', sizeof longer);
    assert_int_equal(sock_connect_unix(str_of(longer, sizeof longer), &c), ERR_INVALID);
}

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void descriptors_travel_beside_bytes(void **state)
{
    int pair[2];
    struct watch from, to;
    int before = open_fds();
    assert_int_equal(sock_pair(pair), ERR_OK);
    assert_int_equal(watch_open(&from, pair[0]), ERR_OK);
    assert_int_equal(watch_open(&to, pair[1]), ERR_OK);
    int memory;
    assert_int_equal(file_memory("passed", &memory), ERR_OK);
    assert_int_equal(file_write_all_at(memory, 0, "inside", 6), ERR_OK);
    int sent[4] = {memory, memory, memory, memory};
    assert_int_equal(sock_send(&from, STR("four"), sent, 4), ERR_OK);
    assert_int_equal(sock_send(&from, STR("unexpected"), sent, 2), ERR_OK);
    char in[64];
    int got[2];
    size_t n, count = 2;
    assert_int_equal(sock_recv(&to, in, sizeof in, &n, got, &count), ERR_OK);
    assert_int_equal(n, 4);
    assert_int_equal(count, 2); /* the two beyond are closed */
    size_t len;
    assert_int_equal(file_read_at(got[1], 0, in, sizeof in, &len), ERR_OK);
    assert_int_equal(len, 6);
    assert_int_equal(fcntl(got[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(got[0]);
    close(got[1]);
    assert_int_equal(sock_recv(&to, in, sizeof in, &n, NULL, NULL), ERR_OK);
    assert_int_equal(n, 10);
    close(memory);
    close(pair[0]);
    assert_int_equal(sock_recv(&to, in, sizeof in, &n, NULL, NULL), ERR_EOF);
    assert_int_equal(sock_send(&to, STR("x"), NULL, 0), ERR_EOF);
    close(pair[1]);
    assert_int_equal(open_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_values),
        cmocka_unit_test(tcp_connects),
        cmocka_unit_test(dead_unix_socket_is_replaced),
        cmocka_unit_test(descriptors_travel_beside_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
