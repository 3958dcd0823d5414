/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_store: how much of the disk's own limit the embedded engine reaches.
 *   bench_store FOLDER [seconds]
 * The limit: threads append 30 KB records to one preallocated file, a leader writes and flushes
 * what has gathered (group commit), nothing else is done. The store: the same bytes as blobs of
 * commits with 7 rows, to an account of the thread's own or (chain) all to one.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/num.h"
#include "os/clock.h"
#include "os/file.h"
#include "store/store.h"

#define BODY 30720
#define THREADS_MAX 64

static char body[BODY];
static uint64_t deadline;
static _Atomic uint64_t done;

static void die(const char *what, enum err e)
{
    fprintf(stderr, "%s: %s\n", what, err_text(e));
    exit(1);
}

/* ---- The disk's limit ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int fd;
    uint64_t end, reserved;
    uint64_t asked, flushed; /* tickets */
    bool leading;
} log_file = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, -1, 0, 0, 0, 0, false};

static void lead(void)
{
    struct iovec iov[THREADS_MAX];
    uint64_t upto = log_file.asked;
    int n = (int)(upto - log_file.flushed);
    for (int i = 0; i < n; i++)
        iov[i] = (struct iovec){body, BODY};
    log_file.leading = true;
    pthread_mutex_unlock(&log_file.lock);
    if (log_file.end + (uint64_t)n * BODY > log_file.reserved) {
        if (file_reserve(log_file.fd, log_file.reserved, 16u << 20) != ERR_OK)
            die("reserve", ERR_NOSPACE);
        log_file.reserved += 16u << 20;
    }
    if (pwritev(log_file.fd, iov, n, (off_t)log_file.end) != (ssize_t)n * BODY ||
        fdatasync(log_file.fd) != 0)
        die("write", ERR_IO);
    pthread_mutex_lock(&log_file.lock);
    log_file.end += (uint64_t)n * BODY;
    log_file.flushed = upto;
    log_file.leading = false;
    pthread_cond_broadcast(&log_file.wake);
}

static void *limit_thread(void *arg)
{
    pthread_mutex_lock(&log_file.lock);
    while (clock_mono_ms() < deadline) {
        uint64_t mine = ++log_file.asked;
        while (log_file.flushed < mine) {
            if (log_file.leading)
                pthread_cond_wait(&log_file.wake, &log_file.lock);
            else
                lead();
        }
        atomic_fetch_add(&done, 1);
    }
    pthread_mutex_unlock(&log_file.lock);
    return NULL;
}

/* ---- The store ---- */

static struct store *store;
static bool one_account;

static void fill_keys(char keys[7][24], struct store_op *ops, unsigned t, uint64_t n)
{
    for (int k = 0; k < 7; k++) {
        int len =
            snprintf(keys[k], sizeof keys[k], "%c%08u%08llu", 'a' + k, t, (unsigned long long)n);
        ops[k] = (struct store_op){STORE_PUT, str_of(keys[k], (size_t)len), str_of(body, 60), 0};
    }
    ops[6] = (struct store_op){STORE_ADD, STR("count"), STR_NONE, 1};
}

static void *store_thread(void *arg)
{
    unsigned t = (unsigned)(uintptr_t)arg;
    char keys[7][24];
    struct store_op ops[7];
    for (uint64_t n = 0; clock_mono_ms() < deadline; n++) {
        fill_keys(keys, ops, t, n);
        struct store_blob_new b = {
            .id = blob_id_new(), .data = str_of(body, BODY), .fd = -1, .len = BODY};
        struct store_commit c = {.partition = STORE_PARTITION_ACCOUNTS + (one_account ? 0 : t),
                                 .expect_version = STORE_ANY_VERSION,
                                 .ops = ops,
                                 .nops = 7,
                                 .blobs = &b,
                                 .nblobs = 1};
        enum err e = store_commit(store, &c, NULL);
        if (e != ERR_OK)
            die("commit", e);
        atomic_fetch_add(&done, 1);
    }
    return NULL;
}

static double run(void *(*fn)(void *), unsigned threads, double seconds)
{
    pthread_t t[THREADS_MAX];
    uint64_t since = clock_mono_ns();
    atomic_store(&done, 0);
    deadline = clock_mono_ms() + (uint64_t)(seconds * 1000);
    for (uintptr_t i = 0; i < threads; i++)
        pthread_create(&t[i], NULL, fn, (void *)i);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(t[i], NULL);
    return (double)atomic_load(&done) * 1e9 / (double)(clock_mono_ns() - since);
}

static double limit_run(const char *folder, unsigned threads, double seconds)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/limit.log", folder);
    log_file.fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    if (log_file.fd < 0)
        die("open", ERR_IO);
    log_file.end = log_file.reserved = log_file.asked = log_file.flushed = 0;
    double rate = run(limit_thread, threads, seconds);
    close(log_file.fd);
    unlink(path);
    return rate;
}

static void store_begin(const char *folder)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/store", folder);
    struct store_options o = {.dir = str_c(path), .create = true};
    enum err e = store_open_embedded(&o, &store);
    if (e != ERR_OK)
        die("open", e);
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static bool count_row(void *arg, const struct store_row *row)
{
    *(size_t *)arg += row->value.len;
    return true;
}

static void scan_rate(void)
{
    size_t bytes = 0, rows = 0;
    uint64_t since = clock_mono_ns();
    struct store_key last;
    char from[STORE_KEY_MAX + 1] = "a";
    size_t len = 1;
    for (int page = 0; page < 10; page++) {
        struct store_scan q = {
            STORE_PARTITION_ACCOUNTS, str_of(from, len), STR("g"), false, STORE_PAGE_MAX, false};
        if (store_scan(store, &q, count_row, &bytes, &last) != ERR_OK || last.len == 0)
            break;
        memcpy(from, last.bytes, last.len);
        from[last.len] = '\0';
        len = last.len + 1u;
        rows += STORE_PAGE_MAX;
    }
    printf("scan of about %zu rows: %.2f ms\n", rows, (double)(clock_mono_ns() - since) / 1e6);
}

static void print_resident(void)
{
    char line[128];
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "RssAnon", 7) == 0)
            fputs(line, stdout);
    }
    if (f != NULL)
        fclose(f);
}

int main(int argc, char **argv)
{
    static const unsigned threads[] = {1, 4, 16, 64};
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_store FOLDER [seconds]\n");
        return 2;
    }
    memset(body, 'x', sizeof body);
    store_begin(argv[1]);
    printf("%8s %10s %10s %8s %10s %14s %12s\n", "threads", "limit/s", "store/s", "ratio",
           "one acc/s", "flushes/commit", "CPU us/commit");
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        struct store_stats a, b;
        double limit = limit_run(argv[1], threads[i], seconds);
        store_stats(store, &a);
        one_account = false;
        double cpu = cpu_s(), rate = run(store_thread, threads[i], seconds);
        cpu = cpu_s() - cpu;
        store_stats(store, &b);
        one_account = true;
        double chain = run(store_thread, threads[i], seconds);
        double n = (double)(b.commits - a.commits);
        printf("%8u %10.0f %10.0f %7.0f%% %10.0f %14.3f %12.1f\n", threads[i], limit, rate,
               100 * rate / limit, chain, (double)(b.flushes - a.flushes) / n, cpu * 1e6 / n);
        fflush(stdout);
    }
    scan_rate();
    store_close(store);
    uint64_t since = clock_mono_ns();
    store_begin(argv[1]);
    struct store_stats s;
    store_stats(store, &s);
    printf("open after a clean close with %llu blobs: %.1f ms\n", (unsigned long long)s.blobs,
           (double)(clock_mono_ns() - since) / 1e6);
    print_resident();
    store_close(store);
    return 0;
}
