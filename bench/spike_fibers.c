/* SPDX-License-Identifier: Apache-2.0
 *
 * The spike behind docs/decisions/001-fibers.md: what a switch costs, what an idle fiber, a parked
 * connection and an idle TLS session cost in resident memory, and how many guard pages fit.
 * usage: spike_fibers [sessions [part of a variant's name]]
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/fiber.h"
#include "os/loop.h"
#include "os/park.h"
#include "os/sock.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

typedef struct {
    void *fctx;
    void *data;
} transfer_t;
extern transfer_t jump_fcontext(void *const to, void *vp);
extern void *make_fcontext(void *sp, size_t size, void (*fn)(transfer_t));

static size_t resident_kib(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = strtoul(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

static size_t mappings(void)
{
    size_t n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    for (int c; f && (c = getc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

/* Each measurement starts in a fresh process. */
static void measure(void (*fn)(void *arg), void *arg)
{
    fflush(NULL);
    int pid = fork(), status;
    if (pid == 0) {
        fn(arg);
        fflush(NULL);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        printf("  failed, status %d\n", status);
}

/* The switch */

#define SWITCHES 20000000
static void bounce(transfer_t t)
{
    for (;;)
        t = jump_fcontext(t.fctx, NULL);
}

static void bare_switch(void *arg)
{
    char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    transfer_t t = {make_fcontext(stack + 65536, 65536, bounce), NULL};
    uint64_t before = clock_mono_ns();
    for (int i = 0; i < SWITCHES / 2; i++)
        t = jump_fcontext(t.fctx, NULL);
    printf("bare jump_fcontext                     %6.1f ns\n",
           (double)(clock_mono_ns() - before) / SWITCHES);
}

#define ANSWER_BYTES 16384
static struct event ping, pong;
static int rounds;

static void pinger(void *arg)
{
    for (int i = 0; i < rounds; i++) {
        event_signal(&pong);
        if (event_wait(&ping, DEADLINE_NEVER) != ERR_OK)
            return;
    }
    event_signal(&pong);
}

static void ponger(void *arg)
{
    for (int i = 0; i < rounds; i++) {
        if (event_wait(&pong, DEADLINE_NEVER) != ERR_OK)
            return;
        event_signal(&ping);
    }
}

static void ping_pong(void *arg)
{
    struct loop *l;
    struct fiber_group g;
    rounds = 5000000;
    fiber_group_init(&g);
    event_init(&ping);
    event_init(&pong);
    assert(loop_open(&l, NULL) == ERR_OK);
    enum err e = fiber_start(&g, "pong", ponger, NULL);
    assert(e == ERR_OK);
    e = fiber_start(&g, "ping", pinger, NULL);
    assert(e == ERR_OK);
    uint64_t before = clock_mono_ns();
    fiber_group_join(&g);
    printf("event_wait, woken by another fiber     %6.1f ns\n",
           (double)(clock_mono_ns() - before) / (2.0 * rounds));
}

static void quick_fiber(void *arg) {}

static void start_and_end(void *arg)
{
    struct loop *l;
    struct fiber_group g;
    fiber_group_init(&g);
    assert(loop_open(&l, NULL) == ERR_OK);
    uint64_t before = clock_mono_ns();
    for (int i = 0; i < 1000000; i++) {
        enum err e = fiber_start(&g, "quick", quick_fiber, NULL);
        assert(e == ERR_OK);
        if (i % 16 == 15)
            fiber_group_join(&g);
    }
    fiber_group_join(&g);
    printf("fiber_start, run, end (pooled stack)   %6.1f ns\n",
           (double)(clock_mono_ns() - before) / 1e6);
}

/* Guard pages */

static void guards(void *by_mapping)
{
    size_t made = 0, bytes = 65536 + 4096, before = mappings();
    uint64_t start = clock_mono_ns();
    for (; made < 100000; made++) {
        char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (p == MAP_FAILED)
            break;
        if (by_mapping ? mprotect(p, 4096, PROT_NONE) : madvise(p, 4096, MADV_GUARD_INSTALL))
            break;
    }
    uint64_t spent = clock_mono_ns() - start;
    printf("%-38s %6zu stacks, %zu mappings, %.1f us each%s%s\n",
           by_mapping ? "guard by mprotect" : "guard by MADV_GUARD_INSTALL", made,
           mappings() - before, (double)spent / 1e3 / (double)(made ? made : 1),
           made < 100000 ? ", then " : "", made < 100000 ? strerror(errno) : "");
}

/* Idle fibers and parked connections without TLS */

static size_t sessions = 20000;
static struct fiber_group group;
static struct event never;

static void idle_fiber(void *arg)
{
    enum err e = event_wait(&never, DEADLINE_NEVER);
    assert(e == ERR_CANCELED);
}

static void nap(struct loop *l, unsigned ms);

static void idle_fibers(void *arg)
{
    struct loop *l;
    fiber_group_init(&group);
    event_init(&never);
    assert(loop_open(&l, NULL) == ERR_OK);
    nap(l, 1);
    size_t before = resident_kib(), maps = mappings();
    uint64_t start = clock_mono_ns();
    for (size_t i = 0; i < sessions; i++) {
        enum err e = fiber_start(&group, "idle", idle_fiber, NULL);
        assert(e == ERR_OK);
    }
    nap(l, 1);
    printf("%zu waiting fibers: %.2f KiB each, %.1f us to start, %zu more mappings\n", sessions,
           (double)(resident_kib() - before) / (double)sessions,
           (double)(clock_mono_ns() - start) / 1e3 / (double)sessions, mappings() - maps);
    fiber_group_cancel(&group);
    fiber_group_join(&group);
    nap(l, 1500);
    printf("  after they ended and the trim: %zu KiB more than before\n", resident_kib() - before);
}

/* TLS */

static EVP_PKEY *key;
static X509 *certificate;

static void make_certificate(void)
{
    key = EVP_EC_gen("P-256");
    certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"bench.test", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_sign(certificate, key, EVP_sha256());
}

enum { TUNE_BUFFERS = 1, TUNE_SESSION = 2, TUNE_MALLOC = 4 };
struct variant {
    const char *name;
    int version;
    unsigned tune;
    bool park, tls;
};

static SSL_CTX *server_context(const struct variant *v)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(c, v->version);
    SSL_CTX_set_max_proto_version(c, v->version);
    SSL_CTX_use_certificate(c, certificate);
    SSL_CTX_use_PrivateKey(c, key);
    if (v->tune & TUNE_BUFFERS)
        SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
    if (v->tune & TUNE_SESSION) {
        SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        SSL_CTX_set_num_tickets(c, 0);
        SSL_CTX_set_read_ahead(c, 0);
    }
    return c;
}

struct session {
    struct park park;
    struct watch watch;
    SSL *ssl;
};
static struct variant *current;
static SSL_CTX *context;
static size_t established;
static struct session *all;

static void session_idle(void *arg)
{
    struct session *s = arg;
    char c;
    if (fiber_canceled())
        return;
    if (current->park) {
        s->park = (struct park){.watch = &s->watch,
                                .deadline_ms = DEADLINE_NEVER,
                                .group = &group,
                                .name = "session",
                                .resume = session_idle,
                                .arg = s};
        enum err e = park_start(&s->park);
        assert(e == ERR_OK);
        return;
    }
    do {
        if (s->ssl)
            SSL_read(s->ssl, &c, 1);
    } while (wait_fd(&s->watch, WAIT_READ, DEADLINE_NEVER) == ERR_OK);
}

static void session_await(struct session *s, int result)
{
    int want = SSL_get_error(s->ssl, result);
    assert(want == SSL_ERROR_WANT_READ || want == SSL_ERROR_WANT_WRITE);
    enum err e =
        wait_fd(&s->watch, want == SSL_ERROR_WANT_READ ? WAIT_READ : WAIT_WRITE, DEADLINE_NEVER);
    assert(e == ERR_OK);
}

/* One command and one long answer, so that the buffers have been used before they idle. */
static void session_talk(struct session *s)
{
    static char answer[ANSWER_BYTES];
    char command[256];
    int r;
    if (!current->tls)
        return;
    while ((r = SSL_read(s->ssl, command, sizeof command)) <= 0)
        session_await(s, r);
    while ((r = SSL_write(s->ssl, answer, sizeof answer)) <= 0)
        session_await(s, r);
}

static void session_start(void *arg)
{
    struct session *s = arg;
    int r;
    if (current->tls) {
        s->ssl = SSL_new(context);
        SSL_set_fd(s->ssl, s->watch.fd);
        while ((r = SSL_accept(s->ssl)) != 1)
            session_await(s, r);
    }
    session_talk(s);
    established++;
    session_idle(s);
}

static void acceptor(void *arg)
{
    struct watch w;
    enum err e = watch_open(&w, *(int *)arg);
    for (size_t i = 0; e == ERR_OK && i < sessions; i++) {
        int fd;
        e = sock_accept(&w, &fd, NULL);
        if (e != ERR_OK)
            break;
        sock_no_delay(fd);
        e = watch_open(&all[i].watch, fd);
        if (e == ERR_OK)
            e = fiber_start(&group, "session", session_start, &all[i]);
    }
    assert(e == ERR_OK);
    watch_close(&w);
}

/* The other side: keeps the sockets, forgets its TLS state, ends when the pipe is closed. */
static void client(const struct address *at, bool tls, int until)
{
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(at->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (size_t i = 0; i < sessions; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0)
            _exit(3);
        sock_no_delay(fd);
        if (!tls)
            continue;
        SSL *ssl = SSL_new(c);
        SSL_set_fd(ssl, fd);
        if (SSL_connect(ssl) != 1)
            _exit(4);
        static char bytes[ANSWER_BYTES];
        SSL_write(ssl, bytes, 100);
        for (int got = 0, r; got < ANSWER_BYTES; got += r)
            if ((r = SSL_read(ssl, bytes, sizeof bytes)) <= 0)
                _exit(6);
        SSL_set_quiet_shutdown(ssl, 1);
        SSL_free(ssl);
    }
    char byte;
    ssize_t n = read(until, &byte, 1);
    _exit(n == 0 ? 0 : 5);
}

static void sleeper(void *ms)
{
    enum err e = wait_until(deadline_in_ms(*(unsigned *)ms));
    assert(e == ERR_TIMEOUT);
}

static void nap(struct loop *l, unsigned ms)
{
    struct fiber_group g;
    fiber_group_init(&g);
    enum err e = fiber_start(&g, "sleeper", sleeper, &ms);
    assert(e == ERR_OK);
    fiber_group_join(&g);
}

static void tls_sessions(void *arg)
{
    current = arg;
    int listener, ends[2];
    struct address at = {.family = 4, .ip = {127, 0, 0, 1}};
    if (current->tune & TUNE_MALLOC) {
        mallopt(M_MMAP_THRESHOLD, 1 << 20);
        mallopt(M_ARENA_MAX, 1);
    }
    if (sock_listen(&at, 4096, &listener) != ERR_OK || pipe(ends) != 0)
        _exit(2);
    int pid = fork();
    if (pid == 0) {
        close(ends[1]);
        client(&at, current->tls, ends[0]);
    }
    struct loop *l;
    fiber_group_init(&group);
    context = server_context(current);
    all = calloc(sessions, sizeof *all);
    memset(all, 0, sessions * sizeof *all);
    assert(loop_open(&l, NULL) == ERR_OK);
    nap(l, 1);
    size_t before = resident_kib();
    size_t heap = mallinfo2().uordblks + mallinfo2().hblkhd;
    enum err e = fiber_start(&group, "acceptor", acceptor, &listener);
    assert(e == ERR_OK);
    while (established < sessions)
        nap(l, 20);
    nap(l, 1500);
    size_t resident = resident_kib() - before + sessions * sizeof *all / 1024;
    size_t used = mallinfo2().uordblks + mallinfo2().hblkhd - heap;
    malloc_trim(0);
    size_t trimmed = resident_kib() - before + sessions * sizeof *all / 1024;
    double n = (double)sessions;
    printf("%-44s %7.2f %9.2f %11.2f\n", current->name, (double)resident / n, (double)trimmed / n,
           (double)used / 1024 / n);
    close(ends[1]);
    waitpid(pid, NULL, 0);
}

static struct variant variants[] = {
    {"plain, waiting on its stack", TLS1_3_VERSION, 0, false, false},
    {"plain, parked", TLS1_3_VERSION, 0, true, false},
    {"TLS 1.3, defaults, on its stack", TLS1_3_VERSION, 0, false, true},
    {"TLS 1.3, released buffers, on its stack", TLS1_3_VERSION, TUNE_BUFFERS, false, true},
    {"TLS 1.3, defaults, parked", TLS1_3_VERSION, 0, true, true},
    {"TLS 1.3, released buffers, parked", TLS1_3_VERSION, TUNE_BUFFERS, true, true},
    {"TLS 1.3, and no cache or tickets, parked", TLS1_3_VERSION, 3, true, true},
    {"TLS 1.3, and one arena, parked", TLS1_3_VERSION, 7, true, true},
    {"TLS 1.2, defaults, on its stack", TLS1_2_VERSION, 0, false, true},
    {"TLS 1.2, released buffers, parked", TLS1_2_VERSION, TUNE_BUFFERS, true, true},
    {"TLS 1.2, and no cache or tickets, parked", TLS1_2_VERSION, 3, true, true},
};

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        sessions = strtoul(argv[1], NULL, 10);
    struct rlimit files = {.rlim_cur = sessions + 100, .rlim_max = sessions + 100};
    if (setrlimit(RLIMIT_NOFILE, &files) != 0 && getrlimit(RLIMIT_NOFILE, &files) == 0 &&
        sessions + 100 > files.rlim_max) {
        sessions = files.rlim_max - 100;
        printf("only %zu sessions: the hard limit of descriptors is %zu\n", sessions,
               (size_t)files.rlim_max);
    }
    make_certificate();
    measure(bare_switch, NULL);
    measure(ping_pong, NULL);
    measure(start_and_end, NULL);
    measure(guards, (void *)1);
    measure(guards, NULL);
    measure(idle_fibers, NULL);
    printf("%zu idle sessions, KiB resident each: %17s %9s %11s\n", sessions, "as is", "trimmed",
           "malloc'ed");
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        if (argc < 3 || strstr(variants[i].name, argv[2]))
            measure(tls_sessions, &variants[i]);
    return 0;
}
