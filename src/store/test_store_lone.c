/* SPDX-License-Identifier: Apache-2.0
 *
 * Commits of fibers: one alone is written and flushed by its loop's own thread before that sleeps;
 * many, or one beside others that are busy, by the workers. rule: accept-1 holds either way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/background.h"
#include "os/chan.h"
#include "os/fiber.h"
#include "os/file.h"
#include "store/embedded.h"
#include "store/test_folder.h"

#define PARTITION STORE_PARTITION_ACCOUNTS

struct world {
    char *dir;
    struct loop *loop;
    struct store *s;
    struct fiber_group group;
    bool quick; /* forget before each commit how long flushes took */
    uint64_t next, done;
    enum err err;
    unsigned yields;
};

static struct store *open_at(const char *dir)
{
    struct store *s = NULL;
    struct store_options o = {.dir = str_c(dir), .create = true};
    assert_int_equal(store_open_embedded(&o, &s), ERR_OK);
    return s;
}

static void world_open(struct world *w)
{
    *w = (struct world){.dir = test_folder_new(), .quick = true};
    assert_int_equal(loop_open(&w->loop, NULL), ERR_OK);
    w->s = open_at(w->dir);
    fiber_group_init(&w->group);
}

static uint64_t count_rows(struct store *s, uint64_t n)
{
    uint64_t found = 0;
    BUF_AUTO struct buf value = BUF_INIT(64);
    for (uint64_t i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "k%llu", (unsigned long long)i);
        buf_reset(&value);
        found += store_get(s, PARTITION, str_c(key), &value) == ERR_OK;
    }
    return found;
}

static void world_close(struct world *w)
{
    if (w->s)
        store_close(w->s);
    loop_close(w->loop);
    test_folder_remove(w->dir);
}

static struct store_stats stats_of(struct store *s)
{
    struct store_stats out;
    store_stats(s, &out);
    return out;
}

static void forget_flushes(struct world *w)
{
    struct embedded *e = (struct embedded *)w->s;
    pthread_mutex_lock(&e->lock);
    e->flush_ns = 0;
    pthread_mutex_unlock(&e->lock);
}

static enum err commit_next(struct world *w)
{
    char key[32];
    static const char body[3000];
    snprintf(key, sizeof key, "k%llu", (unsigned long long)w->next++);
    struct store_op op = {STORE_PUT, str_c(key), STR("value"), 0};
    struct store_blob_new b = {
        .id = blob_id_new(), .data = str_of(body, sizeof body), .fd = -1, .len = sizeof body};
    struct store_commit c = {.partition = PARTITION,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1,
                             .blobs = &b,
                             .nblobs = 1};
    if (w->quick)
        forget_flushes(w);
    return store_commit(w->s, &c, NULL);
}

static void hundred_alone(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(commit_next(w), ERR_OK);
        w->done++;
    }
}

/* Others would wait for a stage that a thread which gives way to all of them is in. */
struct background_world {
    struct world w;
    struct completion done;
};

static void hundred_in_background(void *arg)
{
    struct background_world *b = arg;
    hundred_alone(&b->w);
    completion_done(&b->done);
}

static void background_threads_leave_it_to_workers(void **state)
{
    struct background_world b;
    struct background *thread;
    world_open(&b.w);
    completion_init(&b.done);
    assert_int_equal(background_start("test", hundred_in_background, &b, &thread), ERR_OK);
    completion_wait(&b.done);
    background_stop(thread);
    assert_int_equal(b.w.done, 100);
    assert_int_equal(stats_of(b.w.s).lone, 0);
    world_close(&b.w);
}

static void one_alone_needs_no_worker(void **state)
{
    struct world w;
    world_open(&w);
    assert_int_equal(fiber_start(&w.group, "alone", hundred_alone, &w), ERR_OK);
    loop_run_until_idle(w.loop);
    struct store_stats s = stats_of(w.s);
    assert_int_equal(w.done, 100);
    assert_true(s.lone >= 90); /* a worker may be awake still from something else */
    assert_int_equal(s.commits, 100);
    assert_int_equal(s.flushes, 100);
    store_close(w.s);
    w.s = open_at(w.dir);
    assert_int_equal(count_rows(w.s, 100), 100);
    world_close(&w);
}

static void a_slow_disk_is_for_the_workers(void **state)
{
    struct world w;
    world_open(&w);
    w.quick = false;
    struct embedded *e = (struct embedded *)w.s;
    e->flush_ns = UINT64_C(1) << 62; /* not forgotten in a hundred flushes */
    assert_int_equal(fiber_start(&w.group, "alone", hundred_alone, &w), ERR_OK);
    loop_run_until_idle(w.loop);
    assert_int_equal(w.done, 100);
    assert_int_equal(stats_of(w.s).lone, 0);
    world_close(&w);
}

static void one_commit(void *arg)
{
    struct world *w = arg;
    assert_int_equal(commit_next(w), ERR_OK);
    w->done++;
}

static void many_share_flushes(void **state)
{
    struct world w;
    world_open(&w);
    for (int i = 0; i < 200; i++)
        assert_int_equal(fiber_start(&w.group, "many", one_commit, &w), ERR_OK);
    loop_run_until_idle(w.loop);
    assert_int_equal(w.done, 200);
    assert_true(stats_of(w.s).flushes < 200);
    store_close(w.s);
    w.s = open_at(w.dir);
    assert_int_equal(count_rows(w.s, 200), 200);
    world_close(&w);
}

static void yield_until_done(void *arg)
{
    struct world *w = arg;
    while (w->done < 100) {
        fiber_yield();
        w->yields++;
    }
}

/* A loop that never comes to rest still has its commits written. */
static void a_busy_loop_does_not_keep_it(void **state)
{
    struct world w;
    world_open(&w);
    assert_int_equal(fiber_start(&w.group, "busy", yield_until_done, &w), ERR_OK);
    assert_int_equal(fiber_start(&w.group, "alone", hundred_alone, &w), ERR_OK);
    loop_run_until_idle(w.loop);
    assert_int_equal(w.done, 100);
    assert_int_equal(stats_of(w.s).lone, 0);
    assert_true(w.yields > 0);
    world_close(&w);
}

static void commit_and_note(void *arg)
{
    struct world *w = arg;
    w->err = commit_next(w);
}

/* The loop does not wait for an index that takes nothing; a worker does, and answers. */
static void an_index_that_takes_nothing_is_left_to_a_worker(void **state)
{
    struct world w;
    world_open(&w);
    ((struct embedded *)w.s)->given_up = true;
    assert_int_equal(fiber_start(&w.group, "alone", commit_and_note, &w), ERR_OK);
    loop_run_until_idle(w.loop);
    assert_int_equal(w.err, ERR_UNKNOWN);
    store_close(w.s);
    w.s = open_at(w.dir); /* it was durable: the replay has it */
    assert_int_equal(count_rows(w.s, 1), 1);
    world_close(&w);
}

static bool skip_forks(void)
{
#ifdef __SANITIZE_THREAD__
    return true;
#else
    return false;
#endif
}

/* rule: accept-1. */
static void a_failed_flush_ends_the_process(void **state)
{
    if (skip_forks())
        skip();
    char *dir = test_folder_new();
    pid_t pid = fork();
    if (pid == 0) {
        struct world w = {.dir = dir, .quick = true};
        if (loop_open(&w.loop, NULL) != ERR_OK)
            _exit(2);
        w.s = open_at(dir);
        fiber_group_init(&w.group);
        atomic_store(&embedded_test_fail_flush, 1);
        if (fiber_start(&w.group, "alone", commit_and_note, &w) != ERR_OK)
            _exit(2);
        loop_run_until_idle(w.loop);
        _exit(3);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) ||
                (WIFEXITED(status) && WEXITSTATUS(status) > 3));
    test_folder_remove(dir);
}

static uint64_t journal_length(const char *dir)
{
    uint64_t size = 0;
    int fd = -1;
    BUF_AUTO struct buf path = BUF_INIT(4096);
    buf_addf(&path, "%s/journal/00000001.log", dir);
    assert_int_equal(file_open(-100, buf_str(&path), FILE_READ, &fd), ERR_OK);
    assert_int_equal(file_size(fd, &size), ERR_OK);
    file_close(&fd);
    return size;
}

/* Zeros stand behind the records of a process that was killed; the next one cuts them and goes on,
 * and a clean end leaves none. */
static void zeros_ahead_are_no_records(void **state)
{
    if (skip_forks())
        skip();
    struct world w;
    char *dir = test_folder_new();
    pid_t pid = fork();
    if (pid == 0) {
        w = (struct world){.dir = dir, .quick = true};
        if (loop_open(&w.loop, NULL) != ERR_OK)
            _exit(2);
        w.s = open_at(dir);
        fiber_group_init(&w.group);
        if (fiber_start(&w.group, "alone", hundred_alone, &w) != ERR_OK)
            _exit(2);
        loop_run_until_idle(w.loop);
        _exit(w.done == 100 ? 0 : 3); /* not closed */
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    uint64_t length = journal_length(dir);
    struct store *s = open_at(dir);
    struct store_stats after = stats_of(s);
    assert_int_equal(count_rows(s, 100), 100);
    assert_true(after.cut_bytes > 0);
    assert_int_equal(journal_length(dir), length - after.cut_bytes);
    store_close(s);
    assert_int_equal(journal_length(dir), length - after.cut_bytes);
    test_folder_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_alone_needs_no_worker),
        cmocka_unit_test(background_threads_leave_it_to_workers),
        cmocka_unit_test(a_slow_disk_is_for_the_workers),
        cmocka_unit_test(many_share_flushes),
        cmocka_unit_test(a_busy_loop_does_not_keep_it),
        cmocka_unit_test(an_index_that_takes_nothing_is_left_to_a_worker),
        cmocka_unit_test(a_failed_flush_ends_the_process),
        cmocka_unit_test(zeros_ahead_are_no_records),
    };
    return cmocka_run_group_tests_name("lone commits", tests, NULL, NULL);
}
