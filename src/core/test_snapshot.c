/* SPDX-License-Identifier: Apache-2.0
 *
 * A mailbox opened from its snapshot and the change log is what its rows say, after any history;
 * one that is damaged is not believed; and opening a large one reads little. rule: store-1, store-2
 */
#include "core/test_world.h"

#include <time.h>

#include "base/num.h"
#include "core/account_private.h"
#include "core/test_slow_store.h"

#define BATCH 64 /* messages added in a commit */
#define BOXES 3

static uint64_t random_state;
static uint32_t below(uint32_t n) { return (uint32_t)(xorshift(&random_state) % n); }

/* ---- packing ---- */

static void random_rows(struct message_row *rows, size_t n)
{
    uint32_t uid = below(1000), wild = below(4);
    for (size_t i = 0; i < n; i++) {
        uid += 1 + (below(4) ? 0 : below(wild ? 3 : 100000));
        rows[i] = (struct message_row){
            .uid = uid,
            .flags = below(32),
            .keywords = wild == 1 ? xorshift(&random_state) : 0,
            .modseq = wild == 2 ? xorshift(&random_state) : 1 + below(1000000),
            .message = wild == 3 ? xorshift(&random_state) : uid + 7,
            .thread = below(3) ? uid + 7 : xorshift(&random_state) >> below(64),
            .size = below(2) ? below(100000) : xorshift(&random_state),
            .internal_date = (int64_t)(xorshift(&random_state) >> below(64)),
            .save_date = (int64_t)(xorshift(&random_state) >> below(64)),
        };
    }
}

static void rows_are_packed_and_unpacked(void **state)
{
    static struct message_row rows[ROW_PACK_ROWS], back[ROW_PACK_ROWS];
    for (int i = 0; i < 500; i++) {
        BUF_AUTO struct buf out = BUF_INIT(ROW_PACK_MAX);
        size_t n = i < 3 ? (size_t)i + 1 : 1 + below(ROW_PACK_ROWS);
        random_rows(rows, n);
        row_pack(rows, n, &out);
        assert_true(buf_ok(&out));
        OK(row_unpack(buf_str(&out), n, back));
        assert_memory_equal(rows, back, n * sizeof *rows);
        assert_int_equal(row_unpack(str_head(buf_str(&out), out.len - 1), n, back), ERR_CORRUPT);
    }
}

/* ---- the view against the rows ---- */

struct truth {
    struct mailbox_view *view;
    size_t at;
};

static bool same_row(void *arg, const struct store_row *row)
{
    struct truth *t = arg;
    struct message_row m;
    uint32_t uid;
    assert_true(key_u32(row->key, 5, &uid));
    OK(instance_decode(uid, row->value, &m));
    const struct message_row *have = view_at(t->view, t->at++);
    assert_non_null(have);
    assert_memory_equal(have, &m, sizeof m);
    return true;
}

static void view_is_the_rows(struct account *a, uint32_t mailbox)
{
    struct mailbox_view *v;
    OK(view_open(a, mailbox, &v));
    struct truth t = {.view = v};
    struct store_key from = key_instance(mailbox, 0), to = key_instance(mailbox + 1, 0);
    struct store_scan q = {.partition = ACCOUNT, .from = key_str(&from), .to = key_str(&to)};
    OK(store_scan_all(accounts_store(account_accounts(a)), &q, same_row, &t));
    assert_int_equal(t.at, view_count(v));
    view_close(v);
}

/* ---- histories ---- */

static struct accounts *open_accounts(struct store *s, uint32_t part)
{
    struct accounts *as;
    OK(accounts_open(
        &(struct accounts_options){
            .store = s, .unpacked_max = 1, .snapshot_min = 1, .snapshot_part = part},
        &as));
    return as;
}

static void again(struct world *w, uint32_t part)
{
    account_close(w->account);
    accounts_close(w->accounts);
    w->accounts = open_accounts(w->store, part);
    OK(account_open(w->accounts, ACCOUNT, &w->account));
}

static void add_some(struct account *a, uint32_t mailbox, size_t n)
{
    struct message_new m[BATCH];
    struct message_added added[BATCH];
    struct message_add_result r;
    for (size_t left = n; left > 0;) {
        size_t now = MIN(left, (size_t)BATCH);
        for (size_t i = 0; i < now; i++) {
            m[i] = MESSAGE_NEW_INIT;
            m[i].data = STR("a: b\r\n\r\nx");
            m[i].flags = below(32);
        }
        OK(message_add(a, mailbox, m, now, NULL, added, &r));
        left -= now;
    }
}

static void some_uids(struct account *a, uint32_t mailbox, struct set *out)
{
    uint32_t next = (uint32_t)mailbox_get(a, mailbox)->state.uidnext;
    for (uint32_t i = below(6); i > 0; i--) {
        uint32_t first = 1 + below(next);
        OK(set_add_range(out, first, first + below(below(10) ? 4 : 900)));
    }
}

static void change_flags(struct account *a, uint32_t mailbox, const struct set *uids)
{
    struct flag_result r;
    struct flag_change f = {.how = (enum flag_how)below(3), .flags = below(32)};
    str word = below(2) ? STR("$Forwarded") : STR("blue");
    if (below(3) == 0)
        OK(mailbox_keywords(a, mailbox, &word, 1, &f.keywords));
    OK(message_set_flags(a, mailbox, uids, &f, NULL, &r));
    set_free(&r.changed);
    set_free(&r.failed);
}

static void copy(struct account *a, uint32_t from, uint32_t to, const struct set *uids, bool move)
{
    struct message_copied r;
    OK(move ? message_move(a, from, uids, a, to, &r) : message_copy(a, from, uids, a, to, &r));
    set_free(&r.source);
    set_free(&r.target);
}

/* A new mailbox of the same name has another id, and another UIDVALIDITY. */
static void make_anew(struct account *a)
{
    OK(mailbox_delete(a, STR("Trash")));
    OK(mailbox_purge(a));
    OK(mailbox_create(a, STR("Trash"), ROLE_NONE, NULL));
}

static void save(struct account *a, uint32_t mailbox)
{
    struct mailbox_view *v;
    OK(view_open(a, mailbox, &v));
    OK(snapshot_save(v, NULL));
    view_close(v);
}

static void any_history_loads_as_it_was(void **state)
{
    static const char *const names[BOXES] = {"INBOX", "Sent", "Trash"};
    struct world w = {0};
    OK(store_open_memory(&w.store));
    w.accounts = open_accounts(w.store, 100);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    OK(account_create_mailboxes(w.account));
    add_some(w.account, mailbox_id(w.account, "INBOX"), 3000);
    for (int i = 0; i < 1500; i++) {
        SET_AUTO struct set uids = {0}, gone = {0};
        uint32_t box = mailbox_id(w.account, names[below(BOXES)]), what = below(100);
        uint32_t to = mailbox_id(w.account, names[below(BOXES)]);
        some_uids(w.account, box, &uids);
        if (what < 25)
            add_some(w.account, box, 1 + below(20));
        else if (what < 50)
            change_flags(w.account, box, &uids);
        else if (what < 58)
            OK(message_expunge(w.account, box, &uids, &gone, NULL));
        else if (what < 70)
            copy(w.account, box, to, &uids, what < 65);
        else if (what < 71)
            make_anew(w.account);
        else if (what < 82)
            save(w.account, box);
        else if (what < 90)
            again(&w, 1 + below(300));
        else
            view_is_the_rows(w.account, box);
        if (i % 300 == 0)
            store_is_clean(w.store);
    }
    again(&w, 100);
    for (int i = 0; i < BOXES; i++)
        view_is_the_rows(w.account, mailbox_id(w.account, names[i]));
    world_close(&w);
}

/* ---- damage ---- */

struct damaged {
    struct world w;
    uint32_t inbox;
    struct arena arena;
    struct snapshot_row row;
};

static void read_row(struct damaged *d)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    struct store_key key = key_snapshot(d->inbox);
    OK(store_get(d->w.store, ACCOUNT, key_str(&key), &value));
    OK(snapshot_row_decode(buf_str(&value), &d->arena, &d->row));
}

/* As another program would: the commit brings the head that the account expects. */
static void put_raw(struct damaged *d, str value, const struct blob_id *drop)
{
    struct account *a = d->w.account;
    struct change *c;
    OK(change_begin(a, &c));
    change_put(c, key_snapshot(d->inbox), value);
    c->drops = ARENA_ARRAY(&c->arena, struct blob_id, 1);
    if (drop)
        c->drops[c->ndrops++] = *drop;
    OK(change_commit(c, NULL, NULL));
}

static void put_row(struct damaged *d, const struct snapshot_row *row)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    snapshot_row_encode(row, &value);
    put_raw(d, buf_str(&value), NULL);
}

static void not_a_row(struct damaged *d) { put_raw(d, STR("\x0e\x01nonsense"), NULL); }

static void other_validity(struct damaged *d)
{
    d->row.uidvalidity++;
    put_row(d, &d->row);
}

static void from_the_future(struct damaged *d)
{
    d->row.version += 1000000;
    put_row(d, &d->row);
}

static void no_blob(struct damaged *d)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    snapshot_row_encode(&d->row, &value);
    put_raw(d, buf_str(&value), &d->row.parts[1].blob);
}

static void parts_exchanged(struct damaged *d)
{
    struct snapshot_part *parts = (struct snapshot_part *)d->row.parts;
    struct blob_id first = parts[0].blob;
    parts[0].blob = parts[1].blob;
    parts[1].blob = first;
    put_row(d, &d->row);
}

static void too_few(struct damaged *d)
{
    struct snapshot_part *parts = (struct snapshot_part *)d->row.parts;
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    struct blob_id lost = parts[0].blob;
    parts[0] = parts[1]; /* its rows are said to begin with UID 1 */
    d->row.nparts--;
    memmove(&parts[1], &parts[2], (d->row.nparts - 1) * sizeof *parts);
    snapshot_row_encode(&d->row, &value);
    put_raw(d, buf_str(&value), &lost);
}

static void damage_is_not_believed(void **state)
{
    static void (*const faults[])(struct damaged *) = {not_a_row, other_validity,  from_the_future,
                                                       no_blob,   parts_exchanged, too_few};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct damaged d = {.arena = ARENA_INIT(1 << 18)};
        OK(store_open_memory(&d.w.store));
        d.w.accounts = open_accounts(d.w.store, 1024);
        OK(account_open(d.w.accounts, ACCOUNT, &d.w.account));
        OK(account_create_mailboxes(d.w.account));
        d.inbox = mailbox_id(d.w.account, "INBOX");
        add_some(d.w.account, d.inbox, 5000);
        save(d.w.account, d.inbox);
        read_row(&d);
        assert_true(d.row.nparts > 2);
        faults[i](&d);
        again(&d.w, 1024);
        view_is_the_rows(d.w.account, d.inbox);
        save(d.w.account, d.inbox);
        again(&d.w, 1024);
        view_is_the_rows(d.w.account, d.inbox);
        struct mailbox_view *v;
        OK(view_open(d.w.account, d.inbox, &v));
        assert_true(v->snapshot.row.len > 0); /* a good one again */
        view_close(v);
        if (faults[i] != not_a_row) /* whose blobs nobody can name: check tells of them */
            store_is_clean(d.w.store);
        arena_free(&d.arena);
        account_close(d.w.account);
        accounts_close(d.w.accounts);
        store_close(d.w.store);
    }
}

static void deleting_a_mailbox_frees_its_snapshot(void **state)
{
    struct world w;
    world_open(&w);
    again(&w, 100);
    add_some(w.account, mailbox_id(w.account, "Trash"), 500);
    save(w.account, mailbox_id(w.account, "Trash"));
    make_anew(w.account);
    struct store_stats stats;
    store_stats(w.store, &stats);
    assert_int_equal(stats.blobs, 0);
    world_close(&w);
}

/* ---- the keeper ---- */

static void kept(void *arg)
{
    struct world *w = arg;
    struct view_keeper *k;
    OK(view_keeper_start(w->accounts, &k));
    uint32_t inbox = mailbox_id(w->account, "INBOX");
    struct mailbox_view *v;
    OK(view_open(w->account, inbox, &v));
    add_some(w->account, inbox, 3000);
    uint64_t deadline = clock_mono_ms() + 20000;
    while ((!v->snapshot.row.len || w->accounts->unpacked) && clock_mono_ms() < deadline)
        fiber_yield();
    assert_true(v->snapshot.row.len > 0);         /* without being asked */
    assert_int_equal(w->accounts->unpacked, 0);   /* and all is packed */
    assert_true(w->accounts->bytes < 3000 * 20u); /* bytes a message */
    SET_AUTO struct set some = set_of(1, 20), gone = {0};
    uint64_t version = v->snapshot.version;
    OK(message_expunge(w->account, inbox, &some, &gone, NULL)); /* too few to be worth it now */
    OK(message_expunge(w->account, inbox, &some, &gone, NULL));
    add_some(w->account, inbox, 100);
    view_close(v);
    view_keeper_stop(k); /* a clean end is worth it */
    assert_true(v->snapshot.version > version);
    assert_int_equal(v->snapshot.cost, 0);
}

static void the_keeper_packs_and_saves(void **state)
{
    struct world w = {0};
    OK(store_open_memory(&w.store));
    w.accounts = open_accounts(w.store, 1000);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    OK(account_create_mailboxes(w.account));
    on_fiber(kept, &w);
    again(&w, 1000);
    view_is_the_rows(w.account, mailbox_id(w.account, "INBOX"));
    world_close(&w);
}

/* ---- a large mailbox ---- */

#define LARGE 200000

static uint64_t rows_to_open(struct world *w, struct slow_store *s)
{
    again(w, 0);
    uint64_t before = s->rows_read;
    struct mailbox_view *v;
    OK(view_open(w->account, mailbox_id(w->account, "INBOX"), &v));
    uint64_t rows = s->rows_read - before;
    assert_int_equal(view_count(v), mailbox_find(w->account, STR("INBOX"))->state.messages);
    view_close(v);
    return rows;
}

/* On a store that counts what is read, without a keeper. */
static struct slow_store *slow_world(struct world *w)
{
    struct slow_store *s = slow_open(1, 0);
    *w = (struct world){.store = &s->store};
    w->accounts = open_accounts(w->store, 0);
    OK(account_open(w->accounts, ACCOUNT, &w->account));
    OK(account_create_mailboxes(w->account));
    return s;
}

static void a_large_mailbox_opens_with_little_work(void **state)
{
    struct world w;
    struct slow_store *s = slow_world(&w);
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    add_some(w.account, inbox, LARGE);
    assert_true(rows_to_open(&w, s) > LARGE); /* a row each */
    save(w.account, inbox);
    assert_true(rows_to_open(&w, s) < 100);
    struct mailbox_view *v;
    SET_AUTO struct set one = set_of(77777, 77777), gone = {0};
    OK(view_open(w.account, inbox, &v));
    assert_true(w.accounts->bytes < LARGE * 16u); /* bytes a message */
    OK(message_expunge(w.account, inbox, &one, &gone, NULL));
    for (uint32_t i = 0; i < 50; i++) {
        SET_AUTO struct set few = set_of(1 + 3001 * i, 1 + 3001 * i);
        change_flags(w.account, inbox, &few);
    }
    add_some(w.account, inbox, 10);
    view_close(v);
    assert_true(rows_to_open(&w, s) < 600);
    uint64_t written;
    OK(view_open(w.account, inbox, &v));
    OK(snapshot_save(v, &written)); /* all parts but the last have changes */
    OK(message_expunge(w.account, inbox, &(struct set){&(struct range){5, 5}, 1, 1, 1}, &gone,
                       NULL));
    uint64_t again_written;
    OK(snapshot_save(v, &again_written)); /* one has */
    assert_true(again_written > 0 && again_written < written);
    view_close(v);
    view_is_the_rows(w.account, inbox);
    again(&w, 0);
    view_is_the_rows(w.account, inbox);
    world_close(&w);
}

static void set_flags(struct account *a, uint32_t mailbox, const struct set *uids, uint32_t flags)
{
    struct flag_result r;
    struct flag_change f = {.how = FLAGS_REPLACE, .flags = flags};
    OK(message_set_flags(a, mailbox, uids, &f, NULL, &r));
    set_free(&r.changed);
    set_free(&r.failed);
}

static void add_one(void *arg)
{
    struct world *w = arg;
    add_some(w->account, mailbox_id(w->account, "INBOX"), 1);
}

/* What is deleted is found by the sums of chunks, also while others' commits are in flight. */
static void expunge_beside_a_delivery(void *arg)
{
    struct world *w = arg;
    uint32_t inbox = mailbox_id(w->account, "INBOX");
    struct mailbox_view *v;
    struct fiber_group group;
    SET_AUTO struct set all = set_of(1, UINT32_MAX), gone = {0};
    fiber_group_init(&group);
    OK(view_open(w->account, inbox, &v));
    (void)view_pack(v, SIZE_MAX, true);
    assert_int_equal(w->accounts->unpacked, 0);
    OK(fiber_start(&group, "add", add_one, w));
    while (list_empty(&w->account->in_flight))
        fiber_yield();
    OK(message_expunge_deleted(w->account, inbox, &all, &gone, NULL));
    fiber_group_join(&group);
    assert_int_equal(set_size(&gone), 1);
    assert_true(w->accounts->unpacked <= 4 * CHUNK_ROWS * sizeof(struct message_row));
    view_close(v);
}

static void an_expunge_looks_at_little(void **state)
{
    struct world w;
    (void)slow_world(&w);
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    add_some(w.account, inbox, 20 * CHUNK_ROWS);
    SET_AUTO struct set all = set_of(1, UINT32_MAX), one = set_of(7777, 7777);
    set_flags(w.account, inbox, &all, 0);
    set_flags(w.account, inbox, &one, FLAG_DELETED);
    on_fiber(expunge_beside_a_delivery, &w);
    world_close(&w);
}

static int seed(void **state)
{
    const char *given = getenv("POSTHOUSE_SEED");
    uint64_t n = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("POSTHOUSE_SEED=%llu\n", (unsigned long long)n);
    random_state = n * 2 + 1;
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_packed_and_unpacked),
        cmocka_unit_test(any_history_loads_as_it_was),
        cmocka_unit_test(damage_is_not_believed),
        cmocka_unit_test(deleting_a_mailbox_frees_its_snapshot),
        cmocka_unit_test(the_keeper_packs_and_saves),
        cmocka_unit_test(a_large_mailbox_opens_with_little_work),
        cmocka_unit_test(an_expunge_looks_at_little),
    };
    return cmocka_run_group_tests(tests, seed, NULL);
}
