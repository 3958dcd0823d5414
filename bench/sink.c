/* SPDX-License-Identifier: Apache-2.0
 *
 * sink: an SMTP server that takes everything and keeps nothing, for the benchmark of sending. One
 * thread, epoll, nothing of Posthouse in it, so that it treats every sender alike. It prints its
 * port, and for each line on its input the number of messages so far; it ends with its input.
 *
 *   sink
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE 4096
#define READ 262144

struct client {
    int fd;
    bool data;
    unsigned matched; /* bytes of CRLF.CRLF */
    size_t have;
    char line[LINE];
    size_t out_len;
    char out[8192];
};

static unsigned long messages;
static char input[READ];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void say(struct client *c, const char *text)
{
    size_t n = strlen(text);
    if (c->out_len + n <= sizeof(c->out)) {
        memcpy(c->out + c->out_len, text, n);
        c->out_len += n;
    }
}

static bool command(struct client *c)
{
    c->line[c->have] = 0;
    if (strncasecmp(c->line, "EHLO", 4) == 0) {
        say(c, "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 104857600\r\n");
    } else if (strncasecmp(c->line, "DATA", 4) == 0) {
        say(c, "354 go\r\n");
        c->data = true;
        c->matched = 2; /* the line end of DATA counts */
    } else if (strncasecmp(c->line, "QUIT", 4) == 0) {
        say(c, "221 bye\r\n");
        return false;
    } else {
        say(c, "250 ok\r\n");
    }
    return true;
}

/* Looks for the end of a message; gives how many bytes were used. */
static size_t content(struct client *c, const char *p, size_t n)
{
    static const char end[] = "\r\n.\r\n";
    for (size_t i = 0; i < n; i++) {
        if (c->matched == 0 && p[i] != '\r') {
            const char *next = memchr(p + i, '\r', n - i);
            if (!next)
                return n;
            i = (size_t)(next - p);
        }
        if (p[i] == end[c->matched])
            c->matched++;
        else
            c->matched = p[i] == '\r';
        if (c->matched == 5) {
            c->data = false;
            messages++;
            say(c, "250 ok\r\n");
            return i + 1;
        }
    }
    return n;
}

static bool take(struct client *c, const char *p, size_t n)
{
    while (n > 0) {
        if (c->data) {
            size_t used = content(c, p, n);
            p += used;
            n -= used;
            continue;
        }
        if (c->have + 1 < LINE)
            c->line[c->have++] = *p;
        bool end = *p == '\n';
        p++;
        n--;
        if (end && !command(c))
            return false;
        if (end)
            c->have = 0;
    }
    return true;
}

static void flush(struct client *c)
{
    for (size_t at = 0; at < c->out_len;) {
        ssize_t n = send(c->fd, c->out + at, c->out_len - at, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    c->out_len = 0;
}

static void serve(struct client *c)
{
    ssize_t n = recv(c->fd, input, sizeof(input), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    bool go_on = n > 0 && take(c, input, (size_t)n);
    flush(c);
    if (go_on)
        return;
    close(c->fd);
    free(c);
}

static void greet(int epoll, int listener)
{
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct client *c = fd < 0 ? NULL : calloc(1, sizeof(*c));
    if (!c)
        return;
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        die("epoll_ctl");
    say(c, "220 sink ESMTP\r\n");
    flush(c);
}

int main(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[64];
    static char on_input;
    if (bind(listener, (struct sockaddr *)&at, len) != 0 || listen(listener, 512) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) != 0)
        die("listen");
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
    e.data.ptr = &on_input;
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &e);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr) {
                greet(epoll, listener);
            } else if (events[i].data.ptr == &on_input) {
                char line[64];
                if (read(0, line, sizeof(line)) <= 0)
                    return 0;
                printf("%lu\n", messages);
                fflush(stdout);
            } else {
                serve(events[i].data.ptr);
            }
        }
    }
}
