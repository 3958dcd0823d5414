/* SPDX-License-Identifier: Apache-2.0 */
#include "store/conformance.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"
#include "os/fiber.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/wait.h"

static struct store *S;
#define P1 (STORE_PARTITION_ACCOUNTS + 1)
#define P2 (STORE_PARTITION_ACCOUNTS + 2)

static int setup(void **state)
{
    S = conformance_engine.open();
    return S == NULL;
}

static int teardown(void **state)
{
    conformance_engine.close(S);
    return 0;
}

static struct store_commit commit_of(uint64_t partition, const struct store_op *ops, size_t n)
{
    return (struct store_commit){
        .partition = partition, .expect_version = STORE_ANY_VERSION, .ops = ops, .nops = n};
}

static void put(uint64_t partition, str key, str value)
{
    struct store_op op = {STORE_PUT, key, value, 0};
    struct store_commit c = commit_of(partition, &op, 1);
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
}

static void expect_row(uint64_t partition, str key, str value)
{
    BUF_AUTO struct buf out = BUF_INIT(STORE_VALUE_MAX);
    assert_int_equal(store_get(S, partition, key, &out), ERR_OK);
    assert_true(str_eq(buf_str(&out), value));
}

static void expect_absent(uint64_t partition, str key)
{
    BUF_AUTO struct buf out = BUF_INIT(STORE_VALUE_MAX);
    assert_int_equal(store_get(S, partition, key, &out), ERR_NOT_FOUND);
}

static void rows_and_versions(void **state)
{
    assert_int_equal(store_version(S, P1), 0);
    expect_absent(P1, STR("a"));
    put(P1, STR("a"), STR("1"));
    assert_int_equal(store_version(S, P1), 1);
    put(P1, STR("a"), STR("2"));
    put(P2, STR("a"), STR("other"));
    assert_int_equal(store_version(S, P1), 2);
    assert_int_equal(store_version(S, P2), 1);
    expect_row(P1, STR("a"), STR("2"));
    expect_row(P2, STR("a"), STR("other"));
    put(P1, STR("empty"), STR_NONE);
    expect_row(P1, STR("empty"), STR_NONE);
    struct store_op ops[] = {{STORE_DELETE, STR("a"), STR_NONE, 0},
                             {STORE_DELETE, STR("never"), STR_NONE, 0}};
    struct store_commit c = commit_of(P1, ops, 2);
    struct store_result r;
    assert_int_equal(store_commit(S, &c, &r), ERR_OK);
    assert_int_equal(r.version, 4);
    expect_absent(P1, STR("a"));
    /* Operations of a commit happen in their order. */
    struct store_op order[] = {{STORE_PUT, STR("k"), STR("1"), 0},
                               {STORE_DELETE, STR("k"), STR_NONE, 0},
                               {STORE_PUT, STR("k"), STR("2"), 0}};
    c = commit_of(P1, order, 3);
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    expect_row(P1, STR("k"), STR("2"));
}

static void expectations(void **state)
{
    put(P1, STR("a"), STR("1"));
    struct store_op op = {STORE_PUT, STR("b"), STR("x"), 0};
    const struct {
        struct store_expect x;
        enum err want;
    } rows[] = {
        {{STORE_EXPECT_ABSENT, STR("a"), STR_NONE}, ERR_CONFLICT},
        {{STORE_EXPECT_ABSENT, STR("z"), STR_NONE}, ERR_OK},
        {{STORE_EXPECT_PRESENT, STR("a"), STR_NONE}, ERR_OK},
        {{STORE_EXPECT_PRESENT, STR("z"), STR_NONE}, ERR_CONFLICT},
        {{STORE_EXPECT_EQUAL, STR("a"), STR("1")}, ERR_OK},
        {{STORE_EXPECT_EQUAL, STR("a"), STR("2")}, ERR_CONFLICT},
        {{STORE_EXPECT_EQUAL, STR("z"), STR("2")}, ERR_CONFLICT},
    };
    uint64_t version = 1;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct store_commit c = commit_of(P1, &op, 1);
        c.expects = &rows[i].x;
        c.nexpects = 1;
        assert_int_equal(store_commit(S, &c, NULL), rows[i].want);
        version += rows[i].want == ERR_OK;
        assert_int_equal(store_version(S, P1), version);
    }
    struct store_commit c = commit_of(P1, &op, 1);
    c.expect_version = version - 1;
    assert_int_equal(store_commit(S, &c, NULL), ERR_CONFLICT);
    c.expect_version = version;
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    c = commit_of(P2, &op, 1);
    c.expect_version = 0; /* the first of a partition */
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    assert_int_equal(store_commit(S, &c, NULL), ERR_CONFLICT);
}

static void chain_shares_and_conflicts_cascade(void **state)
{
    enum { N = 40 };
    struct store_pending *p[N];
    struct blob_id ids[N];
    for (uint64_t i = 0; i < N; i++) {
        char key[8];
        ids[i] = blob_id_new();
        snprintf(key, sizeof key, "k%02u", (unsigned)i);
        struct store_op ops[] = {{STORE_PUT, str_of(key, 3), STR("v"), 0},
                                 {STORE_ADD, STR("count"), STR_NONE, 1}};
        struct store_blob_new b = {.id = ids[i], .data = STR("hello"), .fd = -1, .len = 5};
        struct store_expect x = {STORE_EXPECT_ABSENT, str_of(key, 3), STR_NONE};
        struct store_commit c = commit_of(P1, ops, 2);
        c.expect_version = i;
        c.expects = &x;
        c.nexpects = 1;
        c.blobs = &b;
        c.nblobs = 1;
        /* A reference to a blob that the commit before brings. */
        c.refs = i > 0 ? &ids[i - 1] : NULL;
        c.nrefs = i > 0;
        if (i == 30)
            c.expect_version = 1000; /* all after it expect a version that never comes */
        assert_int_equal(store_submit(S, &c, &p[i]), ERR_OK);
        memset(key, 'X', sizeof key); /* the memory is ours again */
    }
    for (uint64_t i = 0; i < N; i++) {
        struct store_result r;
        assert_int_equal(store_await(p[i], &r), i < 30 ? ERR_OK : ERR_CONFLICT);
        assert_int_equal(r.version, i < 30 ? i + 1 : 0);
    }
    assert_int_equal(store_version(S, P1), 30);
    expect_row(P1, STR("count"), str_of("\0\0\0\0\0\0\0\x1e", 8));
    expect_absent(P1, STR("k30"));
    uint64_t size;
    assert_int_equal(store_blob_size(S, &ids[29], &size), ERR_OK);
    assert_int_equal(store_blob_size(S, &ids[30], &size), ERR_NOT_FOUND);
}

static void tokens_apply_once(void **state)
{
    struct store_op op = {STORE_ADD, STR("n"), STR_NONE, 5};
    struct store_commit c = commit_of(P1, &op, 1);
    memset(c.token.bytes, 7, 16);
    struct store_result r;
    assert_int_equal(store_commit(S, &c, &r), ERR_OK);
    assert_false(r.repeated);
    put(P1, STR("x"), STR("y"));
    c.expect_version = 0; /* a repeated commit is known before anything is asked */
    assert_int_equal(store_commit(S, &c, &r), ERR_OK);
    assert_true(r.repeated);
    assert_int_equal(r.version, 1);
    assert_int_equal(store_version(S, P1), 2);
    expect_row(P1, STR("n"), str_of("\0\0\0\0\0\0\0\5", 8));
    c.partition = P2; /* tokens are the partition's */
    assert_int_equal(store_commit(S, &c, &r), ERR_OK);
    assert_false(r.repeated);
    /* Twice in flight. */
    struct store_pending *a, *b;
    c = commit_of(P1, &op, 1);
    memset(c.token.bytes, 8, 16);
    assert_int_equal(store_submit(S, &c, &a), ERR_OK);
    assert_int_equal(store_submit(S, &c, &b), ERR_OK);
    assert_int_equal(store_await(a, &r), ERR_OK);
    assert_int_equal(store_await(b, &r), ERR_OK);
    assert_true(r.repeated);
    expect_row(P1, STR("n"), str_of("\0\0\0\0\0\0\0\x0a", 8));
}

static void stale_owner_is_fenced(void **state)
{
    struct store_op op = {STORE_PUT, STR("a"), STR("1"), 0};
    struct store_commit c = commit_of(P1, &op, 1);
    c.owner_epoch = 5;
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    c.owner_epoch = 4;
    assert_int_equal(store_commit(S, &c, NULL), ERR_FENCED);
    c.owner_epoch = 0;
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    c.owner_epoch = 6;
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    c.owner_epoch = 5;
    assert_int_equal(store_commit(S, &c, NULL), ERR_FENCED);
    assert_int_equal(store_version(S, P1), 3);
}

static void counters(void **state)
{
    struct store_op ops[] = {{STORE_ADD, STR("n"), STR_NONE, 10},
                             {STORE_ADD, STR("n"), STR_NONE, -13}};
    struct store_commit c = commit_of(P1, ops, 2);
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    expect_row(P1, STR("n"), str_of("\xff\xff\xff\xff\xff\xff\xff\xfd", 8));
    put(P1, STR("text"), STR("abc"));
    ops[1].key = STR("text");
    assert_int_equal(store_commit(S, &c, NULL), ERR_INVALID);
    /* Nothing of a refused commit stays. */
    expect_row(P1, STR("n"), str_of("\xff\xff\xff\xff\xff\xff\xff\xfd", 8));
    assert_int_equal(store_version(S, P1), 2);
}

struct seen {
    size_t n, stop;
    char keys[64][16];
    bool values;
};

static bool see(void *arg, const struct store_row *row)
{
    struct seen *s = arg;
    assert_true(row->key.len < 16 && s->n < 64);
    memcpy(s->keys[s->n], row->key.data, row->key.len);
    s->keys[s->n][row->key.len] = '\0';
    s->values |= row->value.len > 0;
    return ++s->n != s->stop;
}

static void keys_have_a_next_one(void **state)
{
    struct store_key k = {.bytes = "ab", .len = 2};
    store_key_next(&k);
    assert_true(str_eq(key_str(&k), STR("ab\0")));
    struct store_key longest = {.len = STORE_KEY_MAX};
    for (size_t i = 0; i < STORE_KEY_MAX; i++)
        longest.bytes[i] = i < 3 ? 7 : 0xff;
    store_key_next(&longest);
    assert_true(str_eq(key_str(&longest), STR("\7\7\10")));
}

static void scans(void **state)
{
    for (int i = 0; i < 20; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%02d", i);
        put(P1, str_c(key), STR("v"));
        put(P1 - 1, str_c(key), STR("below"));
        put(P2, str_c(key), STR("above"));
    }
    struct seen seen = {0};
    struct store_scan q = {P1, STR("k05"), STR("k15"), false, 7, false};
    struct store_key last;
    assert_int_equal(store_scan(S, &q, see, &seen, &last), ERR_OK);
    assert_int_equal(seen.n, 7);
    assert_string_equal(seen.keys[0], "k05");
    assert_true(seen.values);
    assert_true(str_eq(str_of(last.bytes, last.len), STR("k11")));
    store_key_next(&last);
    q.from = str_of(last.bytes, last.len);
    struct store_key end;
    assert_int_equal(store_scan(S, &q, see, &seen, &end), ERR_OK);
    assert_int_equal(seen.n, 10);
    assert_string_equal(seen.keys[9], "k14");
    seen = (struct seen){0};
    q = (struct store_scan){P1, STR("k05"), STR("k15"), true, 7, true};
    assert_int_equal(store_scan(S, &q, see, &seen, &last), ERR_OK);
    assert_int_equal(seen.n, 7);
    assert_false(seen.values);
    assert_string_equal(seen.keys[0], "k14");
    q.to = str_of(last.bytes, last.len);
    assert_int_equal(store_scan(S, &q, see, &seen, &end), ERR_OK);
    assert_int_equal(seen.n, 10);
    assert_string_equal(seen.keys[9], "k05");
    seen = (struct seen){.stop = 3};
    q = (struct store_scan){P1, STR_NONE, STR("\xff"), false, 1000, false};
    assert_int_equal(store_scan(S, &q, see, &seen, NULL), ERR_OK);
    assert_int_equal(seen.n, 3);
    seen = (struct seen){0};
    assert_int_equal(store_scan(S, &q, see, &seen, NULL), ERR_OK);
    assert_int_equal(seen.n, 20); /* nothing of the neighbours */
    q.backwards = true;
    q.to = STR("k00");
    seen = (struct seen){0};
    assert_int_equal(store_scan(S, &q, see, &seen, &last), ERR_OK);
    assert_int_equal(seen.n + last.len, 0);
}

static void whole_ranges_are_scanned(void **state)
{
    for (int i = 0; i < 20; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%02d", i);
        put(P1, str_c(key), STR("v"));
        put(P2, str_c(key), STR("above"));
    }
    static const size_t limits[] = {1, 3, 5, 10, 11, 0, STORE_PAGE_MAX};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        for (int backwards = 0; backwards < 2; backwards++) {
            struct seen seen = {0};
            struct store_scan q = {P1, STR("k05"), STR("k15"), backwards, limits[i], false};
            assert_int_equal(store_scan_all(S, &q, see, &seen), ERR_OK);
            assert_int_equal(seen.n, 10);
            for (int k = 0; k < 10; k++) {
                char want[8];
                snprintf(want, sizeof want, "k%02d", backwards ? 14 - k : 5 + k);
                assert_string_equal(seen.keys[k], want);
            }
            seen = (struct seen){.stop = 5};
            assert_int_equal(store_scan_all(S, &q, see, &seen), ERR_OK);
            assert_int_equal(seen.n, 5);
        }
    }
    struct seen seen = {0};
    struct store_scan q = {P1, STR("k15"), STR("k05"), false, 3, false};
    assert_int_equal(store_scan_all(S, &q, see, &seen), ERR_OK);
    assert_int_equal(seen.n, 0);
    q.limit = STORE_PAGE_MAX + 1;
    assert_int_equal(store_scan_all(S, &q, see, &seen), ERR_LIMIT);
}

static void ranges_are_deleted(void **state)
{
    for (int i = 0; i < 20; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%02d", i);
        put(P1, str_c(key), STR("v"));
        put(P2, str_c(key), STR("v"));
    }
    struct store_op ops[] = {{STORE_PUT, STR("k07x"), STR("new"), 0},
                             {STORE_DELETE_RANGE, STR("k05"), STR("k10"), 0},
                             {STORE_PUT, STR("k06"), STR("back"), 0},
                             {STORE_DELETE_RANGE, STR("k19"), STR("k00"), 0}};
    struct store_commit c = commit_of(P1, ops, 4);
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    struct seen seen = {0};
    struct store_scan q = {P1, STR("k"), STR("l"), false, 1000, false};
    assert_int_equal(store_scan(S, &q, see, &seen, NULL), ERR_OK);
    assert_int_equal(seen.n, 16);
    assert_string_equal(seen.keys[5], "k06");
    expect_row(P1, STR("k06"), STR("back"));
    expect_absent(P1, STR("k07x"));
    expect_row(P2, STR("k05"), STR("v"));
    /* A range in flight is seen by the commits after it. */
    struct store_pending *a, *b;
    struct store_expect x = {STORE_EXPECT_ABSENT, STR("k12"), STR_NONE};
    ops[0] = (struct store_op){STORE_DELETE_RANGE, STR("k10"), STR("k15"), 0};
    c.nops = 1;
    assert_int_equal(store_submit(S, &c, &a), ERR_OK);
    c.ops = &ops[2];
    c.expects = &x;
    c.nexpects = 1;
    assert_int_equal(store_submit(S, &c, &b), ERR_OK);
    assert_int_equal(store_await(a, NULL), ERR_OK);
    assert_int_equal(store_await(b, NULL), ERR_OK);
}

static void limits(void **state)
{
    static char big[STORE_VALUE_MAX + 1];
    char key[STORE_KEY_MAX + 1];
    memset(key, 'k', sizeof key);
    struct store_op op = {STORE_PUT, str_of(key, STORE_KEY_MAX), str_of(big, STORE_VALUE_MAX), 0};
    struct store_commit c = commit_of(P1, &op, 1);
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    expect_row(P1, op.key, op.value);
    op.key.len++;
    assert_int_equal(store_commit(S, &c, NULL), ERR_LIMIT);
    op.key.len = 0;
    assert_int_equal(store_commit(S, &c, NULL), ERR_LIMIT);
    op.key.len = 1;
    op.value.len++;
    assert_int_equal(store_commit(S, &c, NULL), ERR_LIMIT);
    c.partition = 0;
    op.value.len = 1;
    assert_int_equal(store_commit(S, &c, NULL), ERR_INVALID);
    static struct store_op many[STORE_OPS_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct store_op){STORE_PUT, STR("k"), str_of(big, 100), 0};
    c = commit_of(P1, many, STORE_OPS_MAX + 1);
    assert_int_equal(store_commit(S, &c, NULL), ERR_LIMIT);
    c.nops = STORE_OPS_MAX;
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    for (size_t i = 0; i < 64; i++)
        many[i].value.len = STORE_VALUE_MAX;
    c.nops = 64;
    assert_int_equal(store_commit(S, &c, NULL), ERR_LIMIT); /* 4 MiB and the keys */
    struct seen seen = {0};
    struct store_scan q = {P1, STR("a"), STR("b"), false, STORE_PAGE_MAX + 1, false};
    assert_int_equal(store_scan(S, &q, see, &seen, NULL), ERR_LIMIT);
}

static void expect_blob(const struct blob_id *id, str want)
{
    BUF_AUTO struct buf out = BUF_INIT(16u << 20);
    uint64_t size = 0;
    assert_int_equal(store_blob_size(S, id, &size), ERR_OK);
    assert_int_equal(size, want.len);
    assert_int_equal(store_blob_read(S, id, 0, UINT64_MAX, &out), ERR_OK);
    assert_true(str_eq(buf_str(&out), want));
    buf_reset(&out);
    assert_int_equal(store_blob_read(S, id, 3, 4, &out), ERR_OK);
    assert_true(str_eq(buf_str(&out), str_sub(want, 3, 4)));
    buf_reset(&out);
    assert_int_equal(store_blob_read(S, id, want.len + 1, 4, &out), ERR_OK);
    assert_int_equal(out.len, 0);
}

static enum err count_blob(const struct blob_id *ref, const struct blob_id *drop)
{
    struct store_op op = {STORE_PUT, STR("r"), STR("1"), 0};
    struct store_commit c = commit_of(P2, &op, 1);
    c.refs = ref;
    c.nrefs = ref != NULL;
    c.drops = drop;
    c.ndrops = drop != NULL;
    return store_commit(S, &c, NULL);
}

static void blobs_from_memory_and_files(void **state)
{
    size_t big_len = 3000000;
    char *big = malloc(big_len);
    for (size_t i = 0; i < big_len; i++)
        big[i] = (char)(i * 7 + i / 251);
    int fd = -1;
    assert_int_equal(file_memory("blob", &fd), ERR_OK);
    assert_int_equal(file_write_all_at(fd, 0, big, big_len), ERR_OK);
    struct store_blob_new b[] = {
        {.id = blob_id_new(), .data = STR("a message"), .fd = -1, .len = 9},
        {.id = blob_id_new(),
         .prefix = STR("Return-Path: <>\r\n"),
         .data = STR("body"),
         .fd = -1,
         .len = 4},
        {.id = blob_id_new(), .prefix = STR("Head"), .fd = fd, .len = big_len},
        {.id = blob_id_new(), .fd = fd, .len = 1000},
        {.id = blob_id_new(), .fd = -1},
    };
    struct store_op op = {STORE_PUT, STR("m"), STR("1"), 0};
    struct store_commit c = commit_of(P1, &op, 1);
    c.blobs = b;
    c.nblobs = ARRAY_LEN(b);
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    expect_blob(&b[0].id, STR("a message"));
    expect_blob(&b[1].id, STR("Return-Path: <>\r\nbody"));
    char *with_head = malloc(big_len + 4);
    memcpy(with_head, "Head", 4);
    memcpy(with_head + 4, big, big_len);
    expect_blob(&b[2].id, str_of(with_head, big_len + 4));
    expect_blob(&b[3].id, str_of(big, 1000));
    expect_blob(&b[4].id, STR_NONE);
    assert_int_equal(store_commit(S, &c, NULL), ERR_CONFLICT); /* the ids are taken */
    b[3].id = blob_id_new();
    b[3].len = big_len + 1; /* the file is shorter */
    c.blobs = &b[3];
    c.nblobs = 1;
    assert_int_equal(store_commit(S, &c, NULL), ERR_IO);
    assert_int_equal(store_version(S, P1), 1);
    file_close(&fd);
    free(big);
    free(with_head);
}

static void staged_blobs_join_a_commit(void **state)
{
    size_t big_len = 1500000;
    char *big = malloc(big_len);
    for (size_t i = 0; i < big_len; i++)
        big[i] = (char)(i * 11 + i / 253);
    struct store_blob_new b[] = {{.id = blob_id_new()},
                                 {.id = blob_id_new(), .data = STR("inside"), .fd = -1, .len = 6},
                                 {.id = blob_id_new()}};
    struct store_staged *large, *small, *unused;
    assert_int_equal(store_blob_stage(S, &b[0].id, str_of(big, big_len), &large), ERR_OK);
    assert_int_equal(store_blob_stage(S, &b[2].id, STR("small"), &small), ERR_OK);
    assert_int_equal(store_blob_stage(S, &b[0].id, STR("never"), &unused), ERR_OK);
    store_staged_drop(unused);
    uint64_t size;
    assert_int_equal(store_blob_size(S, &b[0].id, &size), ERR_NOT_FOUND);
    b[0].staged = large;
    b[2].staged = small;
    struct store_op op = {STORE_PUT, STR("m"), STR("1"), 0};
    struct store_commit c = commit_of(P1, &op, 1);
    c.blobs = b;
    c.nblobs = ARRAY_LEN(b);
    c.expect_version = 7;
    assert_int_equal(store_commit(S, &c, NULL), ERR_CONFLICT);
    c.expect_version = 0; /* they are still there for the next try */
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    assert_int_equal(store_commit(S, &c, NULL), ERR_CONFLICT);
    b[1].staged = small; /* of another blob */
    assert_int_equal(store_commit(S, &c, NULL), ERR_INVALID);
    store_staged_drop(large);
    store_staged_drop(small);
    store_staged_drop(NULL);
    expect_blob(&b[0].id, str_of(big, big_len));
    expect_blob(&b[1].id, STR("inside"));
    expect_blob(&b[2].id, STR("small"));
    assert_int_equal(count_blob(NULL, &b[0].id), ERR_OK);
    assert_int_equal(store_blob_size(S, &b[0].id, &size), ERR_NOT_FOUND);
    assert_int_equal(store_compact(S, 100), ERR_OK);
    expect_blob(&b[2].id, STR("small"));
    free(big);
}

static void references_are_counted(void **state)
{
    struct store_blob_new b = {.id = blob_id_new(), .data = STR("a message"), .fd = -1, .len = 9};
    struct store_commit c = commit_of(P1, NULL, 0);
    c.blobs = &b;
    c.nblobs = 1;
    struct blob_id unknown = blob_id_new();
    assert_int_equal(store_commit(S, &c, NULL), ERR_OK);
    assert_int_equal(count_blob(&unknown, NULL), ERR_CONFLICT);
    assert_int_equal(count_blob(NULL, &unknown), ERR_CONFLICT);
    assert_int_equal(count_blob(&b.id, NULL), ERR_OK);
    struct store_blob_count counts[4];
    size_t got;
    assert_int_equal(store_blobs(S, NULL, counts, 4, &got), ERR_OK);
    assert_int_equal(got, 1);
    assert_int_equal(counts[0].refs, 2);
    assert_true(blob_id_eq(&counts[0].id, &b.id));
    assert_int_equal(store_blobs(S, &b.id, counts, 4, &got), ERR_OK);
    assert_int_equal(got, 0);
    assert_int_equal(count_blob(NULL, &b.id), ERR_OK);
    expect_blob(&b.id, STR("a message"));
    /* One commit that takes and drops leaves it. */
    assert_int_equal(count_blob(&b.id, &b.id), ERR_OK);
    expect_blob(&b.id, STR("a message"));
    assert_int_equal(count_blob(NULL, &b.id), ERR_OK);
    BUF_AUTO struct buf out = BUF_INIT(100);
    assert_int_equal(store_blob_read(S, &b.id, 0, 9, &out), ERR_NOT_FOUND);
    assert_int_equal(count_blob(&b.id, NULL), ERR_CONFLICT);
    struct store_stats stats;
    store_stats(S, &stats);
    assert_int_equal(stats.bytes_live, 0);
    assert_int_equal(stats.blobs, 0);
}

static void no_findings(void *arg, bool fatal, uint64_t partition, str text)
{
    print_error("%.*s\n", STR_ARG(text));
    fail();
}

static void partitions_and_check(void **state)
{
    for (uint64_t i = 0; i < 10; i++)
        put(P1 + i * 3, STR("a"), STR("1"));
    uint64_t out[7];
    size_t got;
    assert_int_equal(store_partitions(S, 0, out, 7, &got), ERR_OK);
    assert_int_equal(got, 7);
    assert_int_equal(out[6], P1 + 18);
    assert_int_equal(store_partitions(S, out[6] + 1, out, 7, &got), ERR_OK);
    assert_int_equal(got, 3);
    assert_int_equal(store_check(S, no_findings, NULL), ERR_OK);
}

/* ---- Watches: on a loop ---- */

struct watching {
    struct store_watch w;
    unsigned changes;
    struct event event;
    struct loop *loop;
};

static void on_change(struct store_watch *w)
{
    struct watching *x = container_of(w, struct watching, w);
    x->changes++;
    event_signal(&x->event);
}

static void *put_elsewhere(void *arg)
{
    put(P2, STR("b"), STR("2"));
    put(P1, STR("b"), STR("2"));
    return NULL;
}

static void watch_fiber(void *arg)
{
    struct watching *x = arg;
    event_init(&x->event);
    x->w = (struct store_watch){.partition = P1, .changed = on_change};
    assert_int_equal(store_watch_start(S, &x->w), ERR_OK);
    put(P1, STR("a"), STR("1")); /* waits as a fiber */
    while (x->changes == 0)
        assert_int_equal(event_wait(&x->event, deadline_in_ms(5000)), ERR_OK);
    unsigned before = x->changes;
    pthread_t t;
    pthread_create(&t, NULL, put_elsewhere, NULL);
    while (x->changes == before)
        assert_int_equal(event_wait(&x->event, deadline_in_ms(5000)), ERR_OK);
    pthread_join(t, NULL);
    store_watch_stop(S, &x->w);
    before = x->changes;
    put(P1, STR("a"), STR("3"));
    fiber_yield();
    assert_int_equal(x->changes, before);
    loop_stop(x->loop);
}

static void watches(void **state)
{
    struct watching x = {0};
    struct fiber_group g;
    assert_int_equal(store_watch_start(S, &x.w), ERR_INVALID);
    assert_int_equal(loop_open(&x.loop, &(struct loop_options){.name = "test"}), ERR_OK);
    fiber_group_init(&g);
    assert_int_equal(fiber_start(&g, "watch", watch_fiber, &x), ERR_OK);
    loop_run(x.loop);
    loop_close(x.loop);
    expect_row(P1, STR("a"), STR("3"));
}

/* ---- Many threads against a model: transfers between counters keep their sum ---- */

enum { HAMMERS = 8, ROUNDS = 150, COUNTERS = 6 };
static atomic_uint hammered;

static void hammer_blob(unsigned seed, struct store_commit *c, struct store_blob_new *b)
{
    static const char body[5000] = "a message body";
    *b = (struct store_blob_new){
        .id = blob_id_new(), .data = {body, sizeof body - seed % 100}, .fd = -1};
    b->len = b->data.len;
    c->blobs = b;
    c->nblobs = 1;
}

static void *hammer(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    struct blob_id mine = BLOB_NONE;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char from = (char)('a' + rand_r(&seed) % COUNTERS),
             to = (char)('a' + (from + 1) % COUNTERS);
        int64_t n = rand_r(&seed) % 100;
        struct store_op ops[] = {{STORE_ADD, str_of(&from, 1), STR_NONE, -n},
                                 {STORE_ADD, str_of(&to, 1), STR_NONE, n}};
        struct store_commit c = commit_of(P1, ops, 2);
        struct store_blob_new b;
        bool versioned = i % 3 == 0;
        if (versioned)
            c.expect_version = store_version(S, P1);
        hammer_blob(seed, &c, &b);
        c.drops = &mine;
        c.ndrops = !blob_id_is_none(&mine);
        struct store_result r;
        enum err e = store_commit(S, &c, &r);
        if (e == ERR_CONFLICT && versioned)
            continue;
        assert_int_equal(e, ERR_OK);
        assert_true(store_version(S, P1) >= r.version); /* what was answered is seen */
        mine = b.id;
        uint64_t size;
        assert_int_equal(store_blob_size(S, &mine, &size), ERR_OK);
        assert_int_equal(size, b.len);
        atomic_fetch_add(&hammered, 1);
    }
    return NULL;
}

static bool sum_row(void *arg, const struct store_row *row)
{
    struct reader r = reader_of(row->value);
    *(int64_t *)arg += (int64_t)read_be64(&r);
    return true;
}

static void threads_against_a_model(void **state)
{
    pthread_t t[HAMMERS];
    atomic_store(&hammered, 0);
    for (uintptr_t i = 0; i < HAMMERS; i++)
        pthread_create(&t[i], NULL, hammer, (void *)(i + 1));
    struct store_scan q = {P1, STR("a"), STR("z"), false, 100, false};
    for (int i = 0; i < 100; i++) { /* each view is consistent */
        int64_t sum = 0;
        assert_int_equal(store_scan(S, &q, sum_row, &sum, NULL), ERR_OK);
        assert_int_equal(sum, 0);
    }
    for (int i = 0; i < HAMMERS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(store_version(S, P1), atomic_load(&hammered));
    struct store_blob_count counts[HAMMERS + 1];
    size_t got;
    assert_int_equal(store_blobs(S, NULL, counts, HAMMERS + 1, &got), ERR_OK);
    assert_int_equal(got, HAMMERS); /* each dropped all but its last */
    assert_int_equal(store_check(S, no_findings, NULL), ERR_OK);
}

int conformance_run(const char *engine)
{
#define ROW(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(rows_and_versions),
        ROW(expectations),
        ROW(chain_shares_and_conflicts_cascade),
        ROW(tokens_apply_once),
        ROW(stale_owner_is_fenced),
        ROW(counters),
        ROW(keys_have_a_next_one),
        ROW(scans),
        ROW(whole_ranges_are_scanned),
        ROW(ranges_are_deleted),
        ROW(limits),
        ROW(blobs_from_memory_and_files),
        ROW(staged_blobs_join_a_commit),
        ROW(references_are_counted),
        ROW(partitions_and_check),
        ROW(watches),
        ROW(threads_against_a_model),
    };
    return _cmocka_run_group_tests(engine, tests, ARRAY_LEN(tests), NULL, NULL);
}
