/* SPDX-License-Identifier: Apache-2.0
 *
 * load: the load generator of the benchmarks. One thread a connection, blocking sockets, nothing
 * of Posthouse in it, so that it treats every server alike. Prints one line: what, count, seconds,
 * per second.
 *
 *   load smtp|lmtp PORT CONNECTIONS MESSAGES SIZE RECIPIENT_FORMAT USERS
 *   load pop3 PORT CONNECTIONS ROUNDS USER_FORMAT PASSWORD USERS
 *   load login-pop3|login-imap|login-pop3s|login-imaps PORT CONNECTIONS ROUNDS USER_FORMAT \
 *        PASSWORD USERS
 *   load imap PORT CONNECTIONS ROUNDS USER_FORMAT PASSWORD USERS COMMAND
 *   load append PORT CONNECTIONS MESSAGES USER_FORMAT PASSWORD USERS SIZE
 *   load idle-imap|idle-imaps PORT CONNECTIONS USER_FORMAT PASSWORD USERS
 *        (waits for its input's end)
 *   load visible PORT USER PASSWORD COUNT SECONDS    (POP3: until COUNT messages are there)
 *
 * A FORMAT has one %d, which counts from 1 to USERS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER 262144
#define TIMEOUT_S 120

struct wire {
    int fd;
    SSL *tls;
    char *in;
    size_t have, at;
};

struct job {
    int port, connections, users;
    long count;
    long size;
    const char *format, *password, *command;
    bool lmtp, tls, imap, pop3;
};

static struct job job;
static SSL_CTX *tls_context;
static _Atomic long next_number, done_count;
static _Atomic int failures;
static pthread_barrier_t ready;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long number(const char *text) { return strtol(text, NULL, 10); }

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void wire_open(struct wire *w)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)job.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    int one = 1;
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd < 0 || connect(w->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("connect");
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    w->have = w->at = 0;
    if (!w->in && !(w->in = malloc(BUFFER)))
        die("memory");
    w->tls = NULL;
    if (job.tls) {
        w->tls = SSL_new(tls_context);
        if (!w->tls || SSL_set_fd(w->tls, w->fd) != 1 || SSL_connect(w->tls) != 1)
            die("TLS");
    }
}

static void wire_close(struct wire *w)
{
    if (w->tls) {
        SSL_shutdown(w->tls);
        SSL_free(w->tls);
    }
    close(w->fd);
}

static void wire_send(struct wire *w, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n =
            w->tls ? SSL_write(w->tls, data, (int)len) : send(w->fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            die("send");
        data += n;
        len -= (size_t)n;
    }
}

static void wire_sendf(struct wire *w, const char *fmt, ...)
{
    char text[4096];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    wire_send(w, text, (size_t)n);
}

static size_t wire_fill(struct wire *w)
{
    if (w->at > 0) {
        memmove(w->in, w->in + w->at, w->have - w->at);
        w->have -= w->at;
        w->at = 0;
    }
    if (w->have == BUFFER)
        die("line too long");
    ssize_t n = w->tls ? SSL_read(w->tls, w->in + w->have, (int)(BUFFER - w->have))
                       : recv(w->fd, w->in + w->have, BUFFER - w->have, 0);
    if (n <= 0)
        die("receive");
    w->have += (size_t)n;
    return (size_t)n;
}

/* The next line, NUL for its LF; lives until the next call. */
static char *wire_line(struct wire *w)
{
    for (;;) {
        char *lf = memchr(w->in + w->at, '\n', w->have - w->at);
        if (lf) {
            char *line = w->in + w->at;
            *lf = '\0';
            w->at = (size_t)(lf - w->in) + 1;
            return line;
        }
        wire_fill(w);
    }
}

static void wire_skip(struct wire *w, size_t n)
{
    while (n > 0) {
        if (w->at == w->have)
            wire_fill(w);
        size_t take = w->have - w->at < n ? w->have - w->at : n;
        w->at += take;
        n -= take;
    }
}

/* To the line with only a dot; the message has at least one line. */
static void wire_skip_message(struct wire *w)
{
    for (size_t seen = 0;;) {
        size_t have = w->have - w->at;
        char *end = have >= 5 ? memmem(w->in + w->at + seen, have - seen, "\r\n.\r\n", 5) : NULL;
        if (end) {
            w->at = (size_t)(end - w->in) + 5;
            return;
        }
        seen = have > 4 ? have - 4 : 0;
        if (w->have == BUFFER && w->at == 0) { /* a long message: only its end can matter */
            w->at = seen;
            seen = 0;
        }
        wire_fill(w);
    }
}

static int smtp_reply(struct wire *w)
{
    for (;;) {
        char *line = wire_line(w);
        if (strlen(line) >= 4 && line[3] != '-')
            return (int)number(line);
    }
}

static void fail(const char *what, const char *answer)
{
    if (failures++ == 0)
        fprintf(stderr, "load: %s: %s\n", what, answer ? answer : "");
}

static void user_name(char *out, size_t size, long n)
{
    snprintf(out, size, job.format, (int)(n % job.users) + 1);
}

static char *message_make(size_t *len)
{
    char *m = malloc((size_t)job.size + 1024);
    if (!m)
        die("memory");
    size_t n = (size_t)snprintf(
        m, 1024,
        "From: Sender <sender@elsewhere.test>\r\nTo: Recipient <user1@example.test>\r\n"
        "Subject: A message of the load generator\r\nMessage-ID: <%d.load@elsewhere.test>\r\n"
        "Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
        job.port);
    unsigned seed = 1;
    while (n + 72 < (size_t)job.size) {
        for (int i = 0; i < 70; i++) {
            seed = seed * 1103515245u + 12345u;
            m[n++] = (char)("abcdefghijklmnopqrstuvwxyz     "[(seed >> 16) % 31]);
        }
        m[n++] = '\r';
        m[n++] = '\n';
    }
    *len = n;
    return m;
}

static void *run_smtp(void *arg)
{
    struct wire w = {0};
    char user[256], head[1024];
    size_t len;
    char *message = message_make(&len);
    (void)arg;
    memcpy(message + len, ".\r\n", 3); /* there is room behind it */
    len += 3;
    wire_open(&w);
    smtp_reply(&w);
    wire_sendf(&w, "%s load.example.test\r\n", job.lmtp ? "LHLO" : "EHLO");
    smtp_reply(&w);
    pthread_barrier_wait(&ready);
    for (long n; (n = next_number++) < job.count;) {
        user_name(user, sizeof(user), n);
        int head_len =
            snprintf(head, sizeof(head),
                     "MAIL FROM:<sender@elsewhere.test>\r\nRCPT TO:<%s>\r\nDATA\r\n", user);
        wire_send(&w, head, (size_t)head_len);
        int a = smtp_reply(&w), b = smtp_reply(&w), c = smtp_reply(&w);
        if (a != 250 || b != 250 || c != 354) {
            fail("transaction refused", NULL);
            break;
        }
        wire_send(&w, message, len);
        if (smtp_reply(&w) == 250)
            done_count++;
        else
            fail("message refused", NULL);
    }
    wire_close(&w);
    free(message);
    free(w.in);
    return NULL;
}

static void pop3_expect(struct wire *w, const char *what)
{
    char *line = wire_line(w);
    if (line[0] != '+')
        fail(what, line);
}

static void pop3_login(struct wire *w, long n)
{
    char user[256];
    user_name(user, sizeof(user), n);
    wire_open(w);
    pop3_expect(w, "greeting");
    wire_sendf(w, "USER %s\r\n", user);
    pop3_expect(w, "USER");
    wire_sendf(w, "PASS %s\r\n", job.password);
    pop3_expect(w, "PASS");
}

static void *run_pop3(void *arg)
{
    struct wire w = {0};
    (void)arg;
    pthread_barrier_wait(&ready);
    for (long n; (n = next_number++) < job.count;) {
        pop3_login(&w, n);
        wire_sendf(&w, "STAT\r\n");
        long count = 0;
        if (sscanf(wire_line(&w), "+OK %ld", &count) != 1)
            fail("STAT", NULL);
        for (long i = 1; i <= count; i++) {
            wire_sendf(&w, "RETR %ld\r\n", i);
            pop3_expect(&w, "RETR");
            wire_skip_message(&w);
            done_count++;
        }
        wire_sendf(&w, "QUIT\r\n");
        pop3_expect(&w, "QUIT");
        wire_close(&w);
    }
    free(w.in);
    return NULL;
}

/* Reads to the tagged answer, skipping literals. */
static void imap_answer(struct wire *w, const char *tag)
{
    size_t tag_len = strlen(tag);
    for (;;) {
        char *line = wire_line(w);
        size_t n = strlen(line);
        if (n > 2 && line[n - 2] == '}') {
            char *open = strrchr(line, '{');
            if (open)
                wire_skip(w, (size_t)strtoul(open + 1, NULL, 10));
            continue;
        }
        if (strncmp(line, tag, tag_len) == 0 && line[tag_len] == ' ') {
            if (strncmp(line + tag_len + 1, "OK", 2) != 0)
                fail("refused", line);
            return;
        }
    }
}

static void imap_login(struct wire *w, long n)
{
    char user[256];
    user_name(user, sizeof(user), n);
    wire_open(w);
    wire_line(w);
    wire_sendf(w, "l LOGIN %s %s\r\n", user, job.password);
    imap_answer(w, "l");
    wire_sendf(w, "s SELECT INBOX\r\n");
    imap_answer(w, "s");
}

static void *run_login(void *arg)
{
    struct wire w = {0};
    (void)arg;
    pthread_barrier_wait(&ready);
    for (long n; (n = next_number++) < job.count;) {
        if (job.imap) {
            imap_login(&w, n);
            wire_sendf(&w, "o LOGOUT\r\n");
            imap_answer(&w, "o");
        } else {
            pop3_login(&w, n);
            wire_sendf(&w, "QUIT\r\n");
            pop3_expect(&w, "QUIT");
        }
        wire_close(&w);
        done_count++;
    }
    free(w.in);
    return NULL;
}

/* job.command with each %d replaced by a number that ascends over all connections. */
static void *run_imap(void *arg)
{
    struct wire w = {0};
    char command[4096];
    imap_login(&w, (long)(intptr_t)arg);
    pthread_barrier_wait(&ready);
    for (long n; (n = next_number++) < job.count;) {
        size_t len = (size_t)snprintf(command, sizeof(command), "c ");
        len += (size_t)snprintf(command + len, sizeof(command) - len, job.command, (int)n + 1);
        len += (size_t)snprintf(command + len, sizeof(command) - len, "\r\n");
        wire_send(&w, command, len);
        imap_answer(&w, "c");
        done_count++;
    }
    wire_close(&w);
    free(w.in);
    return NULL;
}

static void *run_append(void *arg)
{
    struct wire w = {0};
    size_t len;
    char *message = message_make(&len);
    imap_login(&w, (long)(intptr_t)arg);
    pthread_barrier_wait(&ready);
    while (next_number++ < job.count) {
        wire_sendf(&w, "c APPEND INBOX {%zu}\r\n", len);
        char *line = wire_line(&w);
        while (line[0] == '*')
            line = wire_line(&w);
        if (line[0] != '+')
            fail("APPEND", line);
        wire_send(&w, message, len);
        wire_send(&w, "\r\n", 2);
        imap_answer(&w, "c");
        done_count++;
    }
    wire_close(&w);
    free(message);
    free(w.in);
    return NULL;
}

/* Opens all connections one after the other and holds them until the input ends. */
static void idle(void)
{
    for (int i = 0; i < job.connections; i++) {
        struct wire w = {0};
        imap_login(&w, i);
        wire_sendf(&w, "i IDLE\r\n");
        while (wire_line(&w)[0] != '+') {
        }
        free(w.in);
    }
    printf("idle %d\n", job.connections);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
}

/* A full handshake each time, no session is kept; and as little of the client's own work in it as
 * can be, since that takes the same processors from every server alike. */
static void tls_open(void)
{
    tls_context = SSL_CTX_new(TLS_client_method());
    if (!tls_context)
        die("TLS");
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_NONE, NULL);
    (void)SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_options(tls_context, SSL_OP_NO_TICKET);
    SSL_CTX_set_read_ahead(tls_context, 1);
    if (SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_128_GCM_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(tls_context, "X25519") != 1 ||
        SSL_CTX_set1_sigalgs_list(tls_context, "ECDSA+SHA256") != 1)
        die("TLS");
}

static void visible(const char *user, long count, long seconds)
{
    double end = now() + (double)seconds;
    job.format = user;
    job.users = 1;
    struct wire w = {0};
    long there = -1;
    while (there < count && now() < end) {
        pop3_login(&w, 0);
        wire_sendf(&w, "STAT\r\n");
        if (sscanf(wire_line(&w), "+OK %ld", &there) != 1)
            die("STAT");
        wire_sendf(&w, "QUIT\r\n");
        wire_line(&w);
        wire_close(&w);
        if (there < count)
            usleep(2000);
    }
    printf("visible %ld %f\n", there, now());
    exit(there >= count ? 0 : 1);
}

static void run(const char *what, void *(*fn)(void *))
{
    pthread_t *threads = calloc((size_t)job.connections, sizeof(*threads));
    if (!threads)
        die("memory");
    pthread_barrier_init(&ready, NULL, (unsigned)job.connections + 1);
    for (int i = 0; i < job.connections; i++)
        if (pthread_create(&threads[i], NULL, fn, (void *)(intptr_t)i) != 0)
            die("thread");
    pthread_barrier_wait(&ready);
    double begin = now();
    for (int i = 0; i < job.connections; i++)
        pthread_join(threads[i], NULL);
    double took = now() - begin;
    printf("%s %ld %.4f %.1f\n", what, (long)done_count, took, (double)done_count / took);
    free(threads);
    exit(failures ? 1 : 0);
}

int main(int argc, char **argv)
{
    const char *what = argc > 3 ? argv[1] : "";
    if (argc < 6) {
        fprintf(stderr, "usage: see the head of bench/load.c\n");
        return 2;
    }
    job.port = (int)number(argv[2]);
    job.connections = (int)number(argv[3]);
    if (strcmp(what, "visible") == 0) {
        job.connections = 1;
        job.password = argv[4];
        visible(argv[3], number(argv[5]), argc > 6 ? number(argv[6]) : 60);
    }
    job.tls = what[strlen(what) - 1] == 's' && strcmp(what, "smtp") != 0;
    if (job.tls)
        tls_open();
    job.imap = strstr(what, "imap") != NULL;
    if (strncmp(what, "idle", 4) == 0 && argc >= 7) {
        job.format = argv[4];
        job.password = argv[5];
        job.users = (int)number(argv[6]);
        idle();
        return 0;
    }
    job.count = number(argv[4]);
    if (argc < 8) {
        fprintf(stderr, "usage: see the head of bench/load.c\n");
        return 2;
    }
    if (strcmp(what, "smtp") == 0 || strcmp(what, "lmtp") == 0) {
        job.size = number(argv[5]);
        job.format = argv[6];
        job.users = (int)number(argv[7]);
        job.lmtp = what[0] == 'l';
        run(what, run_smtp);
    }
    job.format = argv[5];
    job.password = argv[6];
    job.users = (int)number(argv[7]);
    job.command = argc > 8 ? argv[8] : "NOOP";
    job.size = argc > 8 ? number(argv[8]) : 0;
    if (strcmp(what, "pop3") == 0)
        run(what, run_pop3);
    if (strncmp(what, "login", 5) == 0)
        run(what, run_login);
    if (strcmp(what, "imap") == 0)
        run(what, run_imap);
    if (strcmp(what, "append") == 0)
        run(what, run_append);
    fprintf(stderr, "load: %s is not known\n", what);
    return 2;
}
