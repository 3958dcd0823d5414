/* SPDX-License-Identifier: Apache-2.0
 *
 * Random operations on one account from many fibers, in one thread or two, with and without faults,
 * against a reference: every operation that was answered OK is noted with its modseq; played back
 * in that order on plain arrays they must give what the store has. Each fiber is a client with a
 * selected mailbox, whose own picture, kept by the news alone, must agree too. The seed is printed;
 * POSTHOUSE_SEED repeats a run. rule: accept-1, store-3
 */
#include "core/test_world.h"

#include <pthread.h>
#include <time.h>

#include "core/account_private.h"
#include "core/test_slow_store.h"
#include "store/test_folder.h"

#define BOXES 3
#define UIDS 60000
#define OPS_MAX 20000
#define UIDS_NOTED 400

enum noted_kind { NOTED_ADD, NOTED_FLAGS, NOTED_EXPUNGE, NOTED_COPY, NOTED_MOVE };
struct noted {
    enum noted_kind kind;
    uint64_t modseq;
    uint32_t box, to; /* 0 … BOXES - 1 */
    enum flag_how how;
    uint32_t flags;
    uint32_t n;
    uint32_t uids[UIDS_NOTED], targets[UIDS_NOTED];
};

struct job { /* of one thread */
    struct store *store;
    uint64_t seed;
    unsigned fibers, steps;
    uint32_t boxes[BOXES];
    struct noted *log; /* OPS_MAX */
    size_t n, refused, snapshots;
    struct accounts *accounts[2];
    struct view_keeper *keepers[2];
    unsigned running;
};

struct client {
    struct job *job;
    struct account *a;
    uint64_t random;
    unsigned box;
    struct mailbox_session s;
    uint32_t uids[UIDS], flags[UIDS]; /* by seq - 1 */
    uint32_t exists;
};

static uint32_t below(struct client *c, uint32_t n) { return (uint32_t)(xorshift(&c->random) % n); }

static struct noted *note(struct client *c, enum noted_kind kind, uint64_t modseq)
{
    assert_true(c->job->n < OPS_MAX);
    struct noted *n = &c->job->log[c->job->n++];
    *n = (struct noted){.kind = kind, .modseq = modseq, .box = c->box};
    return n;
}

static uint32_t set_list(const struct set *s, uint32_t *out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        for (uint32_t uid = s->ranges[i].first; uid <= s->ranges[i].last; uid++) {
            assert_true(n < UIDS_NOTED);
            out[n++] = uid;
        }
    return n;
}

/* ---- what the client believes ---- */

static void believe_all(struct client *c)
{
    c->exists = mailbox_session_exists(&c->s);
    for (uint32_t i = 0; i < c->exists; i++) {
        c->uids[i] = mailbox_session_uid(&c->s, i + 1);
        c->flags[i] = mailbox_session_row(&c->s, i + 1)->flags;
    }
}

static void hear(struct client *c, bool expunges)
{
    struct mailbox_news n;
    while (mailbox_session_next(&c->s, expunges, &n)) {
        if (n.kind == MAILBOX_NEWS_EXPUNGED) {
            assert_true(expunges && n.seq >= 1 && n.seq <= c->exists);
            assert_int_equal(c->uids[n.seq - 1], n.uid);
            uint32_t behind = c->exists - n.seq;
            memmove(&c->uids[n.seq - 1], &c->uids[n.seq], behind * sizeof c->uids[0]);
            memmove(&c->flags[n.seq - 1], &c->flags[n.seq], behind * sizeof c->flags[0]);
            c->exists--;
        } else if (n.kind == MAILBOX_NEWS_EXISTS) {
            assert_true(n.count >= c->exists); /* it may be the same: owed ones went unseen */
            for (; c->exists < n.count; c->exists++) {
                uint32_t uid = mailbox_session_uid(&c->s, c->exists + 1);
                const struct message_row *row = mailbox_session_row(&c->s, c->exists + 1);
                c->uids[c->exists] = uid;
                c->flags[c->exists] = row ? row->flags : 0;
            }
        } else if (n.kind == MAILBOX_NEWS_FLAGS) {
            assert_true(n.seq >= 1 && n.seq <= c->exists);
            assert_int_equal(c->uids[n.seq - 1], n.uid);
            c->flags[n.seq - 1] = n.row->flags;
        }
    }
}

/* Numbers stay what they were told as, whatever others do. */
static void numbers_hold(struct client *c)
{
    assert_int_equal(mailbox_session_exists(&c->s), c->exists);
    for (int i = 0; i < 4 && c->exists; i++) {
        uint32_t at = below(c, c->exists);
        assert_int_equal(mailbox_session_uid(&c->s, at + 1), c->uids[at]);
        assert_int_equal(mailbox_session_seq(&c->s, c->uids[at]), at + 1);
    }
    assert_int_equal(mailbox_session_uid(&c->s, c->exists + 1), 0);
}

static void believes_the_truth(struct client *c)
{
    hear(c, true);
    const struct message_row *rows;
    uint32_t at = 0;
    assert_int_equal(c->exists, view_count(c->s.view));
    for (size_t i = 0, n; (n = view_run(c->s.view, i, &rows)) > 0; i += n)
        for (size_t k = 0; k < n; k++, at++) {
            assert_int_equal(c->uids[at], rows[k].uid);
            assert_int_equal(c->flags[at], rows[k].flags);
        }
}

/* ---- operations ---- */

static bool answered(struct client *c, enum err e)
{
    if (e == ERR_OK)
        return true;
    if (e != ERR_BUSY)
        fail_msg("%s", err_name(e));
    c->job->refused++;
    return false;
}

static void some_uids(struct client *c, struct set *out)
{
    for (uint32_t i = 1 + below(c, 12); i > 0 && c->exists; i--) {
        uint32_t uid = c->uids[below(c, c->exists)];
        OK(set_add_range(out, uid, uid + below(c, 3)));
    }
}

static void do_add(struct client *c)
{
    struct message_new m[3] = {MESSAGE_NEW_INIT, MESSAGE_NEW_INIT, MESSAGE_NEW_INIT};
    struct message_added added[3];
    struct message_add_result r;
    uint32_t n = 1 + below(c, 3), flags = below(c, 32);
    uint32_t box = below(c, BOXES);
    for (uint32_t i = 0; i < n; i++) {
        m[i].data = STR("a: b\r\n\r\nx");
        m[i].flags = flags;
    }
    if (!answered(c, message_add(c->a, c->job->boxes[box], m, n, NULL, added, &r)))
        return;
    struct noted *k = note(c, NOTED_ADD, r.modseq);
    k->box = box;
    k->flags = flags;
    k->n = n;
    for (uint32_t i = 0; i < n; i++)
        k->uids[i] = added[i].uid;
}

static void do_flags(struct client *c)
{
    SET_AUTO struct set uids = {0};
    struct flag_result r;
    struct flag_change f = {.how = (enum flag_how)below(c, 3), .flags = below(c, 32)};
    bool own = below(c, 2);
    some_uids(c, &uids);
    bool ok = answered(
        c, message_set_flags(c->a, c->job->boxes[c->box], &uids, &f, own ? &c->s : NULL, &r));
    if (ok && r.changed.count) {
        struct noted *k = note(c, NOTED_FLAGS, r.modseq);
        k->how = f.how;
        k->flags = f.flags;
        k->n = set_list(&r.changed, k->uids);
        /* What it did itself it is not told: it shows what the view has. */
        for (uint32_t i = 0; own && i < k->n; i++) {
            uint32_t seq = mailbox_session_seq(&c->s, k->uids[i]);
            const struct message_row *row = view_find(c->s.view, k->uids[i]);
            if (seq && row && seq <= c->exists)
                c->flags[seq - 1] = row->flags;
        }
    }
    set_free(&r.changed);
    set_free(&r.failed);
}

static void do_expunge(struct client *c)
{
    SET_AUTO struct set uids = {0}, gone = {0};
    uint64_t modseq = 0;
    some_uids(c, &uids);
    if (!answered(c, message_expunge(c->a, c->job->boxes[c->box], &uids, &gone, &modseq)) ||
        !gone.count)
        return;
    struct noted *k = note(c, NOTED_EXPUNGE, modseq);
    k->n = set_list(&gone, k->uids);
}

static void do_copy(struct client *c, bool move)
{
    SET_AUTO struct set uids = {0};
    struct message_copied r;
    uint32_t to = below(c, BOXES);
    some_uids(c, &uids);
    uint32_t from_id = c->job->boxes[c->box], to_id = c->job->boxes[to];
    enum err e = move ? message_move(c->a, from_id, &uids, c->a, to_id, &r)
                      : message_copy(c->a, from_id, &uids, c->a, to_id, &r);
    if (answered(c, e) && r.source.count) {
        struct noted *k = note(c, move ? NOTED_MOVE : NOTED_COPY, r.modseq);
        k->to = to;
        k->n = set_list(&r.source, k->uids);
        assert_int_equal(set_list(&r.target, k->targets), k->n);
    }
    set_free(&r.source);
    set_free(&r.target);
}

/* Whatever it meets, what is loaded from it later is the truth: see compare. */
static void do_snapshot(struct client *c)
{
    enum err e = snapshot_save(c->s.view, NULL);
    c->job->snapshots += e == ERR_OK;
    c->job->refused += e != ERR_OK;
}

static void step(struct client *c)
{
    uint32_t what = below(c, 100);
    if (below(c, 16) == 0)
        do_snapshot(c);
    if (what < 35)
        do_add(c);
    else if (what < 65)
        do_flags(c);
    else if (what < 77)
        do_expunge(c);
    else if (what < 87)
        do_copy(c, false);
    else
        do_copy(c, true);
    assert_false(c->s.failed);
    numbers_hold(c);
    if (below(c, 3) == 0)
        hear(c, below(c, 2));
    if (below(c, 8) == 0)
        fiber_yield();
}

static void client_run(void *arg)
{
    struct client *c = arg;
    struct job *j = c->job;
    for (unsigned i = 0; i < 20; i++) {
        if (account_open(j->accounts[c->random >> 7 & 1], ACCOUNT, &c->a) == ERR_OK)
            break;
    }
    OK(mailbox_session_open(c->a, j->boxes[c->box], NULL, &c->s));
    believe_all(c);
    for (unsigned i = 0; i < j->steps; i++)
        step(c);
    j->running--;
    while (j->running) /* then all see the same */
        fiber_yield();
    for (unsigned i = 0; i < 20 && account_refresh(c->a) != ERR_OK; i++)
        ;
    believes_the_truth(c);
    mailbox_session_close(&c->s);
    account_close(c->a);
    free(c);
}

static void job_fiber(void *arg)
{
    struct job *j = arg;
    struct fiber_group group;
    fiber_group_init(&group);
    for (int i = 0; i < 2; i++)
        OK(accounts_open(
            &(struct accounts_options){
                .store = j->store, .unpacked_max = 1, .snapshot_min = 10, .snapshot_part = 50},
            &j->accounts[i]));
    for (int i = 0; i < 2; i++)
        OK(view_keeper_start(j->accounts[i], &j->keepers[i]));
    j->running = j->fibers;
    for (unsigned i = 0; i < j->fibers; i++) {
        struct client *c = calloc(1, sizeof *c);
        c->job = j;
        c->random = (j->seed + i) * 0x9e3779b97f4a7c15u | 1;
        c->box = i % BOXES;
        OK(fiber_start(&group, "client", client_run, c));
    }
    fiber_group_join(&group);
    for (int i = 0; i < 2; i++)
        view_keeper_stop(j->keepers[i]);
    for (int i = 0; i < 2; i++)
        accounts_close(j->accounts[i]);
}

static void *job_thread(void *arg)
{
    on_fiber(job_fiber, arg);
    return NULL;
}

/* ---- the reference ---- */

struct plain {
    bool there;
    uint32_t flags;
};
static struct plain reference[BOXES][UIDS];
static uint32_t highest[BOXES];

static int by_modseq(const void *a, const void *b)
{
    const struct noted *x = a, *y = b;
    return (x->modseq > y->modseq) - (x->modseq < y->modseq);
}

static void play_new(uint32_t box, uint32_t uid, uint32_t flags)
{
    assert_true(uid > highest[box]); /* rule: store-3 */
    highest[box] = uid;
    reference[box][uid] = (struct plain){true, flags};
}

static void play(const struct noted *k)
{
    for (uint32_t i = 0; i < k->n; i++) {
        if (k->kind == NOTED_ADD) {
            play_new(k->box, k->uids[i], k->flags);
            continue;
        }
        struct plain *p = &reference[k->box][k->uids[i]];
        assert_true(p->there);
        if (k->kind == NOTED_FLAGS)
            p->flags = k->how == FLAGS_ADD      ? p->flags | k->flags
                       : k->how == FLAGS_REMOVE ? p->flags & ~k->flags
                                                : k->flags;
        if (k->kind == NOTED_COPY || k->kind == NOTED_MOVE)
            play_new(k->to, k->targets[i], p->flags);
        if (k->kind == NOTED_MOVE || k->kind == NOTED_EXPUNGE)
            p->there = false;
    }
}

static void compare(struct store *s, const uint32_t *boxes)
{
    struct accounts *as;
    struct account *a;
    OK(accounts_open(&(struct accounts_options){.store = s}, &as));
    OK(account_open(as, ACCOUNT, &a));
    for (uint32_t b = 0; b < BOXES; b++) {
        struct mailbox_view *v;
        size_t n = 0;
        OK(view_open(a, boxes[b], &v));
        for (uint32_t uid = 1; uid < UIDS; uid++) {
            const struct message_row *row = view_find(v, uid);
            assert_int_equal(row != NULL, reference[b][uid].there);
            if (row)
                assert_int_equal(row->flags, reference[b][uid].flags);
            n += row != NULL;
        }
        assert_int_equal(n, mailbox_get(a, boxes[b])->state.messages);
        view_close(v);
    }
    account_close(a);
    accounts_close(as);
}

static void run(struct store *s, uint64_t seed, unsigned threads, unsigned fibers, unsigned steps)
{
    struct world w = {.store = s};
    struct job jobs[2] = {{0}};
    pthread_t ids[2];
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    static const char *const names[BOXES] = {"INBOX", "Sent", "Trash"};
    enum err e;
    while ((e = account_create_mailboxes(w.account)) != ERR_OK)
        assert_int_equal(e, ERR_BUSY);
    for (unsigned t = 0; t < threads; t++) {
        jobs[t] = (struct job){.store = s,
                               .seed = seed + 100 * t,
                               .fibers = fibers,
                               .steps = steps,
                               .log = calloc(OPS_MAX, sizeof(struct noted))};
        for (uint32_t b = 0; b < BOXES; b++)
            jobs[t].boxes[b] = mailbox_id(w.account, names[b]);
        assert_int_equal(pthread_create(&ids[t], NULL, job_thread, &jobs[t]), 0);
    }
    struct noted *all = calloc(OPS_MAX * threads, sizeof *all);
    size_t n = 0, refused = 0, snapshots = 0;
    for (unsigned t = 0; t < threads; t++) {
        pthread_join(ids[t], NULL);
        memcpy(all + n, jobs[t].log, jobs[t].n * sizeof *all);
        n += jobs[t].n;
        refused += jobs[t].refused;
        snapshots += jobs[t].snapshots;
        free(jobs[t].log);
    }
    qsort(all, n, sizeof *all, by_modseq);
    memset(reference, 0, sizeof reference);
    memset(highest, 0, sizeof highest);
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || all[i].modseq > all[i - 1].modseq);
        play(&all[i]);
    }
    free(all);
    compare(s, jobs[0].boxes);
    assert_true(snapshots > 0);
    print_message("%zu operations, %zu snapshots, %zu refused as busy\n", n, snapshots, refused);
    account_close(w.account);
    accounts_close(w.accounts);
    store_is_clean(s);
}

static uint64_t seed_now(void)
{
    const char *given = getenv("POSTHOUSE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("POSTHOUSE_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static void at_once_on_memory(void **state)
{
    struct store *s;
    OK(store_open_memory(&s));
    run(s, seed_now(), 1, 8, 300);
    store_close(s);
}

static void chains_share_flushes(void **state)
{
    struct slow_store *s = slow_open(1, 0);
    run(&s->store, seed_now(), 1, 24, 100);
    print_message("%llu commits in %llu groups, up to %llu\n", (unsigned long long)s->commits,
                  (unsigned long long)s->groups, (unsigned long long)s->largest);
    store_close(&s->store);
}

static void faults_break_chains_and_lose_nothing(void **state)
{
    uint64_t seed = seed_now();
    struct slow_store *s = slow_open(seed, 15);
    run(&s->store, seed, 1, 8, 150);
    store_close(&s->store);
}

static void two_threads_on_one_account(void **state)
{
    struct slow_store *s = slow_open(1, 0);
    run(&s->store, seed_now(), 2, 4, 100);
    store_close(&s->store);
}

/* The engine of production; opened again it still is what was answered. */
static void on_disk_and_opened_again(void **state)
{
    char *dir = test_folder_new();
    struct store_options o = {.dir = str_c(dir), .create = true, .segment_bytes = 1 << 20};
    struct store *s;
    uint32_t boxes[BOXES];
    OK(store_open_embedded(&o, &s));
    run(s, seed_now(), 1, 8, 100);
    struct world w = {.store = s};
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    boxes[0] = mailbox_id(w.account, "INBOX");
    boxes[1] = mailbox_id(w.account, "Sent");
    boxes[2] = mailbox_id(w.account, "Trash");
    account_close(w.account);
    accounts_close(w.accounts);
    store_close(s);
    OK(store_open_embedded(&o, &s));
    compare(s, boxes);
    store_is_clean(s);
    store_close(s);
    test_folder_remove(dir);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_once_on_memory),
        cmocka_unit_test(chains_share_flushes),
        cmocka_unit_test(faults_break_chains_and_lose_nothing),
        cmocka_unit_test(two_threads_on_one_account),
        cmocka_unit_test(on_disk_and_opened_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
