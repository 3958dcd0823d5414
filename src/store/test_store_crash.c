/* SPDX-License-Identifier: Apache-2.0
 *
 * Kills a store that is at work and opens it again.
 * rule: accept-1 (what was answered OK is there after kill -9, once)
 * rule: store-2 (a bad record is never skipped in silence)
 * rule: accept-3 (a full disk answers NOSPACE; reading goes on, service resumes)
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/num.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/rand.h"
#include "store/embedded.h"
#include "store/store.h"
#include "store/test_folder.h"

enum { THREADS = 6, KILLS = 24 };
#define PARTITION (STORE_PARTITION_ACCOUNTS + 5)

/* What was answered, written before the process may be killed: shared with the parent. */
struct answered {
    _Atomic uint64_t commits[THREADS]; /* of each thread, all in order */
    _Atomic uint64_t started[THREADS];
};
static struct answered *seen;
static unsigned seed;

static struct store *open_at(const char *dir, enum err want)
{
    struct store *s = NULL;
    struct store_options o = {
        .dir = str_c(dir), .create = true, .segment_bytes = 1 << 20, .index_flush_bytes = 2 << 20};
    assert_int_equal(store_open_embedded(&o, &s), want);
    return s;
}

/* Commit n of thread t: a row and its blob, whose bytes are known from (t, n). Thread 0 also drops
 * the blob of its commit n - 3, so that the compactor has work. Every other blob of threads 0 and 1
 * is staged, and of some no commit is made. */
static void names_of(unsigned t, uint64_t n, char key[16], struct blob_id *id, char *body,
                     size_t *len)
{
    snprintf(key, 16, "m%02u%010u", t, (unsigned)n);
    *id = (struct blob_id){{(uint8_t)(t + 1)}};
    for (int i = 0; i < 8; i++)
        id->bytes[15 - i] = (uint8_t)(n >> (8 * i));
    *len = 200 + (n * 7919 + t * 104729) % 9000;
    for (size_t i = 0; i < *len; i++)
        body[i] = (char)(i * (n + 1) + t);
}

static enum err commit_one(struct store *s, unsigned t, uint64_t n)
{
    static _Thread_local char body[16384];
    char key[16];
    struct blob_id id, old;
    size_t len;
    if (n >= 3)
        names_of(t, n - 3, key, &old, body, &len);
    names_of(t, n, key, &id, body, &len);
    struct store_op ops[] = {{STORE_PUT, str_c(key), str_of(body, 50), 0},
                             {STORE_ADD, STR("count"), STR_NONE, 1}};
    struct store_blob_new b = {.id = id, .data = str_of(body, len), .fd = -1, .len = len};
    struct store_commit c = {.partition = PARTITION,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = ops,
                             .nops = 2,
                             .blobs = &b,
                             .nblobs = 1};
    c.drops = &old;
    c.ndrops = t == 0 && n >= 3;
    struct store_staged *staged = NULL;
    enum err e = ERR_OK;
    if (t <= 1 && n % 2 == 1)
        e = store_blob_stage(s, &id, str_of(body, len), &staged);
    if (e == ERR_OK && staged && n % 5 == 0) { /* given up, and once more */
        store_staged_drop(staged);
        e = store_blob_stage(s, &id, str_of(body, len), &staged);
    }
    b.staged = staged;
    if (e == ERR_OK)
        e = store_commit(s, &c, NULL);
    store_staged_drop(staged);
    return e;
}

struct child_thread {
    struct store *s;
    unsigned t;
};

static void *child_commits(void *arg)
{
    struct child_thread *c = arg;
    for (;;) {
        uint64_t n = atomic_load(&seen->commits[c->t]);
        atomic_store(&seen->started[c->t], n + 1);
        if (commit_one(c->s, c->t, n) != ERR_OK)
            _exit(3);
        atomic_store(&seen->commits[c->t], n + 1);
    }
    return NULL;
}

static int child(const char *dir, bool compacting)
{
    struct store *s = NULL;
    struct store_options o = {
        .dir = str_c(dir), .create = true, .segment_bytes = 1 << 20, .index_flush_bytes = 2 << 20};
    pthread_t t[THREADS];
    struct child_thread args[THREADS];
    if (store_open_embedded(&o, &s) != ERR_OK)
        return 2;
    for (unsigned i = 0; i < THREADS; i++) {
        args[i] = (struct child_thread){s, i};
        pthread_create(&t[i], NULL, child_commits, &args[i]);
    }
    for (;;) {
        if (compacting && store_compact(s, 90) != ERR_OK)
            return 4;
        usleep(1000);
    }
}

static uint64_t total_answered(void)
{
    uint64_t n = 0;
    for (unsigned t = 0; t < THREADS; t++)
        n += atomic_load(&seen->commits[t]);
    return n;
}

static void finding(void *arg, bool fatal, uint64_t partition, str text)
{
    print_error("finding: %.*s\n", STR_ARG(text));
    (*(unsigned *)arg)++;
}

/* Everything answered is there once; of what was not answered all or nothing is there. */
static uint64_t verify(struct store *s)
{
    static char body[16384];
    uint64_t total = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        uint64_t answered = atomic_load(&seen->commits[t]), n = 0;
        for (;; n++) {
            char key[16];
            struct blob_id id;
            size_t len;
            names_of(t, n, key, &id, body, &len);
            BUF_AUTO struct buf row = BUF_INIT(100), blob = BUF_INIT(20000);
            enum err have = store_get(s, PARTITION, str_c(key), &row);
            enum err have_blob = store_blob_read(s, &id, 0, UINT64_MAX, &blob);
            if (have == ERR_NOT_FOUND) {
                assert_int_equal(have_blob, ERR_NOT_FOUND);
                break;
            }
            assert_int_equal(have, ERR_OK);
            if (have_blob == ERR_NOT_FOUND && t == 0)
                continue; /* dropped, proved below by the check's counts */
            assert_int_equal(have_blob, ERR_OK);
            assert_true(str_eq(buf_str(&blob), str_of(body, len)));
        }
        assert_true(n >= answered);
        assert_true(n <= atomic_load(&seen->started[t]));
        atomic_store(&seen->commits[t], n); /* what is there stays there */
        total += n;
    }
    BUF_AUTO struct buf count = BUF_INIT(8);
    enum err e = store_get(s, PARTITION, STR("count"), &count);
    struct reader r = reader_of(buf_str(&count));
    assert_true(e == ERR_OK || total == 0);
    if (e == ERR_OK)
        assert_int_equal(read_be64(&r), total);
    assert_int_equal(store_version(s, PARTITION), total);
    unsigned findings = 0;
    assert_int_equal(store_check(s, finding, &findings), ERR_OK);
    assert_int_equal(findings, 0);
    return total;
}

/* ---- The journal's end, seen from outside ---- */

static char *path_of(const char *dir, const char *rest)
{
    char *p = NULL;
    assert_true(asprintf(&p, "%s/%s", dir, rest) > 0);
    return p;
}

static void newest_log(const char *dir, struct buf *path, uint64_t *size)
{
    struct segment_table t;
    BUF_AUTO struct buf journal = BUF_INIT(4096);
    buf_addf(&journal, "%s/journal", dir);
    assert_int_equal(segments_open(&t, buf_str(&journal), true), ERR_OK);
    *size = 0;
    for (size_t i = t.count; i-- > 0;) {
        if (t.all[i]->cold || atomic_load(&t.all[i]->size) == 0)
            continue;
        buf_addf(path, "%s/journal/", dir);
        segment_name(t.all[i], path);
        *size = atomic_load(&t.all[i]->size);
        break;
    }
    segments_close(&t);
}

static void append_garbage(const char *dir)
{
    BUF_AUTO struct buf path = BUF_INIT(4096);
    uint64_t size;
    char junk[5000];
    newest_log(dir, &path, &size);
    if (size == 0)
        return;
    FD_AUTO int fd = -1;
    assert_int_equal(file_open(-100, buf_str(&path), FILE_READ | FILE_WRITE, &fd), ERR_OK);
    size_t n = 1 + (size_t)rand_r(&seed) % sizeof junk;
    for (size_t i = 0; i < n; i++)
        junk[i] = (char)rand_r(&seed);
    if (rand_r(&seed) % 2)
        memcpy(junk, "PHJR", n < 4 ? n : 4);
    assert_int_equal(file_write_all_at(fd, size, junk, n), ERR_OK);
}

static int run_child(const char *dir, unsigned ms, bool compacting)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(child(dir, compacting));
    uint64_t before = total_answered(), deadline = clock_mono_ms() + 20000;
    while (total_answered() == before && clock_mono_ms() < deadline &&
           waitpid(pid, NULL, WNOHANG) == 0)
        usleep(500);
    usleep(ms * 1000);
    kill(pid, SIGKILL);
    int status = 0;
    (void)!waitpid(pid, &status, 0);
    return status;
}

/* ThreadSanitizer cannot start threads in the child of a process that had some. */
static void skip_forks_under_tsan(void)
{
#ifdef __SANITIZE_THREAD__
    skip();
#endif
}

static void killed_at_random(void **state)
{
    skip_forks_under_tsan();
    char *dir = test_folder_new();
    seed =
        getenv("SEED") != NULL ? (unsigned)strtoul(getenv("SEED"), NULL, 10) : (unsigned)rand_u64();
    const char *more = getenv("KILLS");
    unsigned kills = more != NULL ? (unsigned)strtoul(more, NULL, 10) : KILLS;
    print_message("seed %u (SEED=, KILLS= to repeat)\n", seed);
    uint64_t total = 0, replayed = 0, cut = 0;
    for (unsigned i = 0; i < kills; i++) {
        run_child(dir, (unsigned)rand_r(&seed) % 60, i % 3 == 1);
        if (i % 2)
            append_garbage(dir);
        struct store *s = open_at(dir, ERR_OK);
        struct store_stats stats;
        store_stats(s, &stats);
        replayed += stats.replayed_records;
        cut += stats.cut_bytes;
        total = verify(s);
        store_close(s);
    }
    print_message("%llu commits, %llu records replayed, %llu bytes cut\n",
                  (unsigned long long)total, (unsigned long long)replayed, (unsigned long long)cut);
    assert_true(total > kills && cut > 0);
    test_folder_remove(dir);
}

/* ---- A tail that was written but never flushed may be cut anywhere ---- */

static void unsynced_tail_is_cut(void **state)
{
    char *dir = test_folder_new();
    struct store *s = open_at(dir, ERR_OK);
    uint64_t ends[41], size = 0;
    for (uint64_t n = 0; n < 40; n++) {
        assert_int_equal(commit_one(s, 1, n), ERR_OK);
        ends[n + 1] = atomic_load(&((struct embedded *)s)->current->size);
    }
    ends[0] = SEGMENT_HEADER;
    /* Take a copy of the folder without the index's memory: a backup, cut at any byte. The index of
     * the backup is at its beginning. */
    for (int i = 0; i < 25; i++) {
        BUF_AUTO struct buf to = BUF_INIT(4096), path = BUF_INIT(4096);
        char *base = test_folder_new();
        buf_addf(&to, "%s/copy", base);
        assert_int_equal(store_backup(s, buf_str(&to)), ERR_OK);
        buf_add_char(&to, '\0');
        char *index = path_of(to.data, "index"); /* so that the whole journal is replayed */
        test_folder_remove(index);
        newest_log(to.data, &path, &size);
        FD_AUTO int fd = -1;
        assert_int_equal(file_open(-100, buf_str(&path), FILE_READ | FILE_WRITE, &fd), ERR_OK);
        uint64_t cut = SEGMENT_HEADER + (uint64_t)rand_r(&seed) % (size - SEGMENT_HEADER);
        assert_int_equal(file_truncate(fd, cut), ERR_OK);
        struct store *copy = open_at(to.data, ERR_OK);
        uint64_t whole = 0;
        while (whole < 40 && ends[whole + 1] <= cut)
            whole++;
        assert_int_equal(store_version(copy, PARTITION), whole);
        store_close(copy);
        test_folder_remove(base);
    }
    store_close(s);
    test_folder_remove(dir);
}

/* ---- Damage that is not a torn tail ---- */

static void flip(const char *path, uint64_t at)
{
    FD_AUTO int fd = -1;
    uint8_t byte;
    size_t got;
    assert_int_equal(file_open(-100, str_c(path), FILE_READ | FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_read_at(fd, at, &byte, 1, &got), ERR_OK);
    byte ^= 0x40;
    assert_int_equal(file_write_all_at(fd, at, &byte, 1), ERR_OK);
}

/* damage: which segment; in the last one the later records claim that the place was flushed. */
static void damaged(unsigned commits, const char *segment)
{
    char *dir = test_folder_new(), *index = path_of(dir, "index"), *log = path_of(dir, segment);
    struct store *s = open_at(dir, ERR_OK);
    for (uint64_t n = 0; n < commits; n++)
        assert_int_equal(commit_one(s, 2, n), ERR_OK);
    store_close(s);
    flip(log, 3000);
    s = open_at(dir, ERR_OK); /* behind the index's position: found by the check */
    unsigned findings = 0;
    assert_int_equal(store_check(s, finding, &findings), ERR_OK);
    assert_true(findings > 0);
    store_close(s);
    test_folder_remove(index); /* now it must be replayed */
    FD_AUTO int fd = -1;
    uint64_t before, after;
    assert_int_equal(file_open(-100, str_c(log), FILE_READ, &fd), ERR_OK);
    assert_int_equal(file_size(fd, &before), ERR_OK);
    (void)open_at(dir, ERR_CORRUPT);
    assert_int_equal(file_size(fd, &after), ERR_OK);
    assert_int_equal(before, after); /* nothing was altered */
    flip(log, 3000);
    s = open_at(dir, ERR_OK);
    assert_int_equal(store_version(s, PARTITION), commits);
    store_close(s);
    free(log);
    test_folder_remove(dir);
}

static void damage_in_old_segment_stops(void **state) { damaged(400, "journal/00000001.log"); }

static void damage_inside_last_segment_stops(void **state) { damaged(40, "journal/00000001.log"); }

/* A replay that meets a commit of a staged blob whose file is not there stops. */
static void lost_staged_blob_stops(void **state)
{
    char *dir = test_folder_new(), *index = path_of(dir, "index");
    char *cold = path_of(dir, "journal/00000002.cold");
    struct store *s = open_at(dir, ERR_OK);
    for (uint64_t n = 0; n < 10; n++)
        assert_int_equal(commit_one(s, 1, n), ERR_OK);
    store_close(s);
    test_folder_remove(index); /* now it must be replayed */
    FD_AUTO int fd = -1;
    uint64_t size;
    assert_int_equal(file_open(-100, str_c(cold), FILE_READ | FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_size(fd, &size), ERR_OK);
    assert_int_equal(file_truncate(fd, size - 64), ERR_OK);
    (void)open_at(dir, ERR_CORRUPT);
    assert_int_equal(remove(cold), 0);
    (void)open_at(dir, ERR_CORRUPT);
    free(cold);
    test_folder_remove(dir);
}

static void failed_flush_ends_the_process(void **state)
{
    skip_forks_under_tsan();
    char *dir = test_folder_new();
    memset(seen, 0, sizeof *seen);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *s = open_at(dir, ERR_OK);
        for (uint64_t n = 0;; n++) {
            if (n == 20)
                atomic_store(&embedded_test_fail_flush, 1);
            if (commit_one(s, 1, n) != ERR_OK)
                _exit(3);
            atomic_store(&seen->commits[1], n + 1);
            atomic_store(&seen->started[1], n + 2);
        }
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    /* A sanitizer may turn the abort into an exit of its own. */
    assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) ||
                (WIFEXITED(status) && WEXITSTATUS(status) > 3));
    assert_int_equal(atomic_load(&seen->commits[1]), 20);
    struct store *s = open_at(dir, ERR_OK);
    assert_true(verify(s) >= 20);
    store_close(s);
    test_folder_remove(dir);
}

/* ---- A full disk ---- */

static void full_disk(void **state)
{
    char *dir = test_folder_new();
    if (mount("tmpfs", dir, "tmpfs", 0, "size=24m") != 0) {
        print_message("skipped: no right to mount a small file system\n");
        test_folder_remove(dir);
        skip();
    }
    struct store *s = open_at(dir, ERR_OK);
    uint64_t n = 0;
    enum err e;
    while ((e = commit_one(s, 1, n)) == ERR_OK && n < 100000)
        n++;
    assert_int_equal(e, ERR_NOSPACE);
    assert_int_equal(commit_one(s, 1, n), ERR_NOSPACE);
    memset(seen, 0, sizeof *seen);
    atomic_store(&seen->commits[1], n);
    atomic_store(&seen->started[1], n);
    assert_int_equal(verify(s), n); /* reading goes on */
    assert_int_equal(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=64m"), 0);
    uint64_t deadline = clock_mono_ms() + 30000;
    while ((e = commit_one(s, 1, n)) == ERR_NOSPACE && clock_mono_ms() < deadline)
        usleep(20000);
    assert_int_equal(e, ERR_OK);
    atomic_store(&seen->commits[1], n + 1);
    atomic_store(&seen->started[1], n + 1);
    store_close(s);
    s = open_at(dir, ERR_OK);
    assert_int_equal(verify(s), n + 1);
    store_close(s);
    assert_int_equal(umount(dir), 0);
    test_folder_remove(dir);
}

/* ---- Backup, compaction, locks ---- */

static void *load_thread(void *arg)
{
    struct child_thread *c = arg;
    for (uint64_t n = 0; n < 500; n++) {
        assert_int_equal(commit_one(c->s, c->t, n), ERR_OK);
        atomic_store(&seen->commits[c->t], n + 1);
    }
    return NULL;
}

/* rule: store-5. */
static void backup_under_load(void **state)
{
    char *dir = test_folder_new(), *to = path_of(dir, "backup"), *store = path_of(dir, "store");
    struct store *s = open_at(store, ERR_OK);
    memset(seen, 0, sizeof *seen);
    for (unsigned t = 0; t < THREADS; t++)
        atomic_store(&seen->started[t], 500);
    pthread_t t[2];
    struct child_thread args[2] = {{s, 0}, {s, 1}};
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, load_thread, &args[i]);
    while (total_answered() < 300)
        usleep(500);
    uint64_t zero = atomic_load(&seen->commits[0]), one = atomic_load(&seen->commits[1]);
    assert_int_equal(store_backup(s, str_c(to)), ERR_OK);
    assert_int_not_equal(store_backup(s, str_c(to)), ERR_OK); /* not into a full folder */
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(store_compact(s, 90), ERR_OK);
    store_close(s);
    atomic_store(&seen->commits[0], zero); /* at least what was answered before it began */
    atomic_store(&seen->commits[1], one);
    s = open_at(to, ERR_OK);
    assert_true(verify(s) >= zero + one);
    store_close(s);
    free(to);
    free(store);
    test_folder_remove(dir);
}

static bool gather_piece(void *arg, str piece)
{
    buf_add(arg, piece);
    return true;
}

/* A large blob that compresses, moved into a cold segment, is read by any range. */
static void cold_ranges_are_exact(void **state)
{
    char *dir = test_folder_new();
    struct store *s = open_at(dir, ERR_OK);
    BUF_AUTO struct buf big = BUF_INIT((size_t)1 << 21), got = BUF_INIT((size_t)1 << 21);
    for (uint64_t i = 0; big.len < 1000003; i++)
        buf_addf(&big, "line %llu of a message that compresses well\r\n",
                 (unsigned long long)i * i);
    struct blob_id id = blob_id_new(), fill = blob_id_new();
    struct store_blob_new news[] = {{.id = fill, .data = buf_str(&big), .fd = -1, .len = big.len},
                                    {.id = id, .data = buf_str(&big), .fd = -1, .len = big.len}};
    struct store_commit add = {.partition = STORE_PARTITION_ACCOUNTS,
                               .expect_version = STORE_ANY_VERSION,
                               .blobs = news,
                               .nblobs = 2};
    struct store_commit drop = {.partition = STORE_PARTITION_ACCOUNTS,
                                .expect_version = STORE_ANY_VERSION,
                                .drops = &fill,
                                .ndrops = 1};
    struct store_result result;
    assert_int_equal(store_commit(s, &add, &result), ERR_OK);
    assert_int_equal(store_commit(s, &drop, &result), ERR_OK);
    for (uint64_t n = 0; n < 300; n++) /* until the segment is not the newest any more */
        assert_int_equal(commit_one(s, 0, n), ERR_OK);
    assert_int_equal(store_compact(s, 101), ERR_OK);
    for (uint64_t at = 0; at < big.len + 70000; at += 65521) {
        buf_reset(&got);
        assert_int_equal(store_blob_pieces(s, &id, at, 131072, gather_piece, &got), ERR_OK);
        assert_true(str_eq(buf_str(&got), str_sub(buf_str(&big), at, 131072)));
    }
    buf_reset(&got);
    assert_int_equal(store_blob_read(s, &id, 0, UINT64_MAX, &got), ERR_OK);
    assert_true(str_eq(buf_str(&got), buf_str(&big)));
    store_close(s);
    test_folder_remove(dir);
}

/* rule: store-6. */
static void compaction_frees_and_keeps(void **state)
{
    char *dir = test_folder_new();
    struct store *s = open_at(dir, ERR_OK);
    memset(seen, 0, sizeof *seen);
    for (uint64_t n = 0; n < 1500; n++) {
        assert_int_equal(commit_one(s, 0, n), ERR_OK);
        if (n % 10 == 0)
            assert_int_equal(commit_one(s, 1, n / 10), ERR_OK);
    }
    struct store_stats before, after;
    store_stats(s, &before);
    assert_int_equal(store_compact(s, 50), ERR_OK);
    store_stats(s, &after);
    assert_true(after.segments < before.segments / 2);
    assert_int_equal(after.blobs, before.blobs);
    atomic_store(&seen->commits[0], 1500);
    atomic_store(&seen->commits[1], 150);
    atomic_store(&seen->started[0], 1500);
    atomic_store(&seen->started[1], 150);
    assert_int_equal(verify(s), 1650);
    assert_int_equal(store_compact(s, 101), ERR_OK); /* cold ones too */
    assert_int_equal(verify(s), 1650);
    store_close(s);
    s = open_at(dir, ERR_OK);
    assert_int_equal(verify(s), 1650);
    store_close(s);
    test_folder_remove(dir);
}

/* Crashes right behind a rotation, opened several times: an ended segment is never continued. */
static void ended_segment_stays_ended(void **state)
{
    char *dir = test_folder_new(), *index = path_of(dir, "index");
    struct store *s = open_at(dir, ERR_OK);
    memset(seen, 0, sizeof *seen);
    uint64_t n = 0;
    while (((struct embedded *)s)->current == NULL || ((struct embedded *)s)->current->number < 2)
        assert_int_equal(commit_one(s, 2, n++), ERR_OK);
    store_close(s);
    char *second = path_of(dir, "journal/00000002.log");
    assert_int_equal(unlink(second), 0); /* as if the crash came before it was made */
    test_folder_remove(index);
    for (int i = 0; i < 3; i++) {
        s = open_at(dir, ERR_OK);
        if (i == 1)
            assert_int_equal(commit_one(s, 2, n - 1), ERR_OK);
        atomic_store(&seen->commits[2], i == 0 ? n - 1 : n);
        atomic_store(&seen->started[2], n);
        assert_int_equal(verify(s), i == 0 ? n - 1 : n);
        store_close(s);
    }
    free(second);
    test_folder_remove(dir);
}

static void one_process_and_read_only(void **state)
{
    char *dir = test_folder_new();
    struct store *s = open_at(dir, ERR_OK), *r = NULL;
    assert_int_equal(commit_one(s, 1, 0), ERR_OK);
    struct store_options o = {.dir = str_c(dir), .read_only = true};
    assert_int_equal(store_open_embedded(&o, &r), ERR_BUSY);
    store_close(s);
    assert_int_equal(store_open_embedded(&o, &r), ERR_OK);
    assert_int_equal(store_version(r, PARTITION), 1);
    assert_int_equal(commit_one(r, 1, 1), ERR_DENIED);
    unsigned findings = 0;
    assert_int_equal(store_check(r, finding, &findings), ERR_OK);
    assert_int_equal(findings, 0);
    store_close(r);
    char *missing = path_of(dir, "missing");
    o = (struct store_options){.dir = str_c(missing)};
    assert_int_equal(store_open_embedded(&o, &r), ERR_NOT_FOUND);
    free(missing);
    test_folder_remove(dir);
}

/* The compactor may be at work when the store closes: it is refused, and does not wait for ever. */
static void what_comes_after_the_end_is_refused(void **state)
{
    char *dir = test_folder_new();
    struct store *s = open_at(dir, ERR_OK);
    struct store_op op = {.kind = STORE_PUT, .key = STR("k"), .value = STR("v")};
    struct store_commit c = {
        .partition = PARTITION, .expect_version = STORE_ANY_VERSION, .ops = &op, .nops = 1};
    struct store_result r;
    assert_int_equal(store_commit(s, &c, &r), ERR_OK);
    journal_stop((struct embedded *)s);
    assert_int_equal(store_commit(s, &c, &r), ERR_CANCELED);
    store_close(s);
    s = open_at(dir, ERR_OK);
    assert_int_equal(store_version(s, PARTITION), 1);
    store_close(s);
    test_folder_remove(dir);
}

int main(void)
{
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_random),
        cmocka_unit_test(unsynced_tail_is_cut),
        cmocka_unit_test(damage_in_old_segment_stops),
        cmocka_unit_test(damage_inside_last_segment_stops),
        cmocka_unit_test(lost_staged_blob_stops),
        cmocka_unit_test(failed_flush_ends_the_process),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(backup_under_load),
        cmocka_unit_test(compaction_frees_and_keeps),
        cmocka_unit_test(cold_ranges_are_exact),
        cmocka_unit_test(ended_segment_stays_ended),
        cmocka_unit_test(one_process_and_read_only),
        cmocka_unit_test(what_comes_after_the_end_is_refused),
    };
    return cmocka_run_group_tests_name("store crash", tests, NULL, NULL);
}
