/* SPDX-License-Identifier: Apache-2.0
 *
 * A commit from composing to publishing. See docs/decisions/003-mail-rows.md, "Two heads".
 */
#include "core/account_private.h"
#include "core/message.h"

#include "base/log.h"
#include "base/num.h"
#include "os/rand.h"

#include <assert.h>
#include <string.h>

#define ROW_MAX 65536

enum err change_begin(struct account *a, struct change **out)
{
    TRY(account_ready(a));
    struct arena arena = ARENA_INIT(CHANGE_BYTES_MAX);
    struct change *c = ARENA_NEW(&arena, struct change);
    if (!c)
        return ERR_NOMEM;
    c->arena = arena;
    c->account = a;
    c->version = a->head_version + 1;
    c->head = a->head;
    c->head.nonce = rand_u64();
    c->effects_end = &c->effects;
    list_init(&c->link);
    buf_init(&c->log, STORE_VALUE_MAX);
    change_encode_start(c->head.nonce, &c->log);
    *out = c;
    return ERR_OK;
}

void change_drop(struct change *c)
{
    buf_free(&c->log);
    struct arena arena = c->arena;
    arena_free(&arena);
}

static void fail(struct change *c, enum err e)
{
    if (c->failed == ERR_OK)
        c->failed = e;
}

static struct store_op *add_op(struct change *c, struct store_key key)
{
    if (c->nops == c->ops_cap) {
        size_t cap = c->ops_cap ? c->ops_cap * 2 : 16;
        struct store_op *ops = ARENA_ARRAY(&c->arena, struct store_op, cap);
        if (!ops) {
            fail(c, ERR_NOMEM);
            return NULL;
        }
        if (c->nops)
            memcpy(ops, c->ops, c->nops * sizeof *ops);
        c->ops = ops;
        c->ops_cap = cap;
    }
    str kept;
    if (!arena_dup(&c->arena, key_str(&key), &kept)) {
        fail(c, ERR_NOMEM);
        return NULL;
    }
    struct store_op *op = &c->ops[c->nops++];
    *op = (struct store_op){.key = kept};
    return op;
}

void change_put(struct change *c, struct store_key key, str value)
{
    struct store_op *op = add_op(c, key);
    if (!op)
        return;
    op->kind = STORE_PUT;
    if (value.len > STORE_VALUE_MAX)
        fail(c, ERR_LIMIT);
    else if (!arena_dup(&c->arena, value, &op->value))
        fail(c, ERR_NOMEM);
}

void change_delete(struct change *c, struct store_key key)
{
    struct store_op *op = add_op(c, key);
    if (op)
        op->kind = STORE_DELETE;
}

void change_delete_range(struct change *c, struct store_key from, struct store_key to)
{
    struct store_op *op = add_op(c, from);
    if (!op)
        return;
    op->kind = STORE_DELETE_RANGE;
    if (!arena_dup(&c->arena, key_str(&to), &op->value))
        fail(c, ERR_NOMEM);
}

void change_expect(struct change *c, struct store_key key, str value)
{
    assert(!c->expects);
    c->expects = true;
    if (!arena_dup(&c->arena, key_str(&key), &c->expect_key) ||
        !arena_dup(&c->arena, value, &c->expect_value))
        fail(c, ERR_NOMEM);
}

static struct touched *touch(struct change *c, uint32_t mailbox)
{
    for (struct touched *t = c->touched; t; t = t->next)
        if (t->mailbox == mailbox)
            return t;
    struct touched *t = ARENA_NEW(&c->arena, struct touched);
    if (!t) {
        fail(c, ERR_NOMEM);
        return NULL;
    }
    t->mailbox = mailbox;
    t->next = c->touched;
    c->touched = t;
    return t;
}

struct state_row *change_state(struct change *c, struct box *b)
{
    for (struct touched *t = c->touched; t; t = t->next)
        if (t->mailbox == b->pub.id)
            return &t->state;
    struct touched *t = touch(c, b->pub.id);
    if (!t)
        return NULL;
    t->state = b->head;
    t->state.highest_modseq = c->version;
    return &t->state;
}

static struct effect *add_effect(struct change *c, enum effect_kind kind, uint32_t mailbox)
{
    struct effect *e = ARENA_NEW(&c->arena, struct effect);
    if (!e) {
        fail(c, ERR_NOMEM);
        return NULL;
    }
    e->kind = kind;
    e->mailbox = mailbox;
    *c->effects_end = e;
    c->effects_end = &e->next;
    return e;
}

static void note(struct change *c, struct change_entry *e)
{
    change_encode_entry(e, &c->log);
    if (!buf_ok(&c->log))
        fail(c, ERR_LIMIT);
}

void change_note(struct change *c, enum change_kind kind, uint32_t mailbox)
{
    note(c, &(struct change_entry){.kind = kind, .mailbox = mailbox});
}

void change_note_entry(struct change *c, const struct change_entry *e)
{
    struct change_entry copy = *e;
    note(c, &copy);
}

void change_effect(struct change *c, enum effect_kind kind, uint32_t mailbox,
                   struct message_row *rows, size_t n)
{
    static const enum change_kind kinds[] = {
        [EFFECT_ADDED] = CHANGE_ADDED,
        [EFFECT_FLAGS] = CHANGE_FLAGS,
        [EFFECT_EXPUNGED] = CHANGE_EXPUNGED,
    };
    assert(kind <= EFFECT_EXPUNGED);
    struct effect *e = add_effect(c, kind, mailbox);
    if (!e)
        return;
    e->rows = rows;
    e->n = n;
    struct change_entry entry = {.kind = kinds[kind], .mailbox = mailbox};
    for (size_t i = 0; i < n; i++) {
        enum err err = set_add(&entry.uids, rows[i].uid);
        if (err != ERR_OK)
            fail(c, err);
    }
    note(c, &entry);
    set_free(&entry.uids);
}

void change_box(struct change *c, uint32_t mailbox, const struct mailbox_row *row, bool created)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    mailbox_encode(row, &value);
    if (!buf_ok(&value))
        fail(c, ERR_LIMIT);
    change_put(c, key_mailbox(mailbox), buf_str(&value));
    struct effect *e = add_effect(c, EFFECT_BOX, mailbox);
    if (e && c->failed == ERR_OK)
        e->row = c->ops[c->nops - 1].value;
    if (e)
        e->hides = row->purging;
    change_note(c,
                row->purging ? CHANGE_MAILBOX_DELETED
                : created    ? CHANGE_MAILBOX_CREATED
                             : CHANGE_MAILBOX_CHANGED,
                mailbox);
}

/* ---- submitting ---- */

/* The rows that every commit has: HEAD, the states of what it touched, CHANGE; and now and then the
 * end of the history. */
static void finish_rows(struct change *c)
{
    BUF_AUTO struct buf value = BUF_INIT(ROW_MAX);
    for (struct touched *t = c->touched; t; t = t->next) {
        if (t->deleted) {
            change_delete(c, key_state(t->mailbox));
            continue;
        }
        buf_reset(&value);
        state_encode(&t->state, &value);
        change_put(c, key_state(t->mailbox), buf_str(&value));
    }
    change_put(c, key_change(c->version), buf_str(&c->log));
    if (c->version % 1024 == 0 && c->version > CHANGES_KEPT) {
        uint64_t floor = c->version - CHANGES_KEPT;
        struct store_key end = key_change(floor + 1);
        change_delete_range(c, key_change(0), end);
        c->head.change_floor = floor;
    }
    buf_reset(&value);
    head_encode(&c->head, &value);
    change_put(c, key_head(), buf_str(&value));
}

static enum err submit(struct change *c, const struct store_token *token)
{
    struct account *a = c->account;
    BUF_AUTO struct buf old = BUF_INIT(ROW_MAX);
    head_encode(&a->head, &old);
    struct store_key head = key_head();
    struct store_expect *expect = ARENA_ARRAY(&c->arena, struct store_expect, 2);
    str head_kept, old_kept;
    if (!expect || !arena_dup(&c->arena, key_str(&head), &head_kept) ||
        !arena_dup(&c->arena, buf_str(&old), &old_kept))
        return ERR_NOMEM;
    bool first = a->head_version == 0;
    expect[0] = (struct store_expect){first ? STORE_EXPECT_ABSENT : STORE_EXPECT_EQUAL, head_kept,
                                      first ? STR_NONE : old_kept};
    expect[1] =
        (struct store_expect){str_empty(c->expect_value) ? STORE_EXPECT_ABSENT : STORE_EXPECT_EQUAL,
                              c->expect_key, c->expect_value};
    struct store_commit *commit = ARENA_NEW(&c->arena, struct store_commit);
    if (!commit)
        return ERR_NOMEM;
    *commit = (struct store_commit){
        .partition = a->id,
        .expect_version = a->head_version,
        .expects = expect,
        .nexpects = c->expects ? 2 : 1,
        .ops = c->ops,
        .nops = c->nops,
        .blobs = c->blobs,
        .nblobs = c->nblobs,
        .refs = c->refs,
        .nrefs = c->nrefs,
        .drops = c->drops,
        .ndrops = c->ndrops,
    };
    if (token)
        commit->token = *token;
    return store_submit(accounts_store(a->owner), commit, &c->pending);
}

static void predict(struct change *c)
{
    struct account *a = c->account;
    a->head = c->head;
    a->head_version = c->version;
    for (struct touched *t = c->touched; t; t = t->next) {
        struct box *b = box_get(a, t->mailbox);
        if (b)
            b->head = t->state;
    }
    for (struct effect *e = c->effects; e; e = e->next) {
        struct box *b = e->hides ? box_get(a, e->mailbox) : NULL;
        if (b)
            b->head_gone = true;
    }
    list_push_back(&a->in_flight, &c->link);
}

/* ---- publishing ---- */

static void publish_effect(struct change *c, const struct effect *e)
{
    struct account *a = c->account;
    if (e->kind == EFFECT_BOX_GONE) {
        box_forget(a, e->mailbox);
        return;
    }
    if (e->kind == EFFECT_BOX) {
        if (box_apply(a, e->mailbox, e->row, c->version) != ERR_OK)
            a->stale = true; /* without memory: read it again later */
        return;
    }
    struct box *b = box_get(a, e->mailbox);
    if (b && !b->view)
        b->behind += e->n;
    if (!b || !b->view)
        return;
    if (e->kind == EFFECT_EXPUNGED)
        view_apply_expunged(b->view, e->rows, e->n, c->version);
    else
        view_apply_rows(b->view, e->rows, e->n, c->version, c->by);
}

static void publish(struct change *c)
{
    struct account *a = c->account;
    assert(!c->published && c->version == a->pub_version + 1);
    c->published = true;
    list_remove(&c->link);
    a->pub = c->head;
    a->pub_version = c->version;
    for (struct effect *e = c->effects; e; e = e->next)
        publish_effect(c, e);
    for (struct touched *t = c->touched; t; t = t->next) {
        struct box *b = box_get(a, t->mailbox);
        if (!b)
            continue;
        b->pub.state = t->state;
        b->pub.changed = c->version;
        if (b->fresh) { /* nobody could predict anything of it before */
            b->head = t->state;
            b->fresh = false;
        }
        if (b->view)
            view_signal(b->view);
        else
            snapshot_box_behind(b);
    }
    account_published(a);
}

/* Each commit of the chain expects the head that the one before it wrote: if c is durable, so is
 * everything in flight before it, whether its fiber has run already or not. */
static void publish_until(struct change *c)
{
    struct account *a = c->account;
    while (!c->published) {
        assert(!list_empty(&a->in_flight));
        publish(container_of(a->in_flight.next, struct change, link));
    }
}

static void ended(struct account *a)
{
    if (list_empty(&a->in_flight))
        event_signal(&a->settled);
}

/* The chain is broken at c: what was predicted after it will not hold either. */
static void broken(struct change *c)
{
    struct account *a = c->account;
    list_remove(&c->link);
    a->stale = true;
    memset(a->recent, 0, sizeof a->recent);
}

/* UNKNOWN: the change log says whether this very commit was applied. It stays in its place in the
 * chain meanwhile, since one after it may be answered OK and publish it. */
static enum err find_out(struct change *c)
{
    struct account *a = c->account;
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    struct store_key key = key_change(c->version);
    struct reader r;
    uint64_t nonce = 0;
    a->stale = true; /* nothing is composed on it until it is known */
    enum err e = store_get(accounts_store(a->owner), a->id, key_str(&key), &value);
    if (e == ERR_NOT_FOUND)
        return ERR_CONFLICT;
    if (e == ERR_OK)
        e = change_decode_start(buf_str(&value), &r, &nonce);
    if (e != ERR_OK)
        return ERR_UNKNOWN;
    return nonce == c->head.nonce ? ERR_OK : ERR_CONFLICT;
}

enum err change_commit(struct change *c, const struct store_token *token,
                       struct store_result *result)
{
    struct account *a = c->account;
    struct store_result got = {0};
    assert(!a->stale && !a->refreshing && c->version == a->head_version + 1);
    finish_rows(c);
    enum err e = c->failed;
    if (e == ERR_OK && c->nops > STORE_OPS_MAX)
        e = ERR_LIMIT;
    if (e == ERR_OK)
        e = submit(c, token);
    if (e != ERR_OK) {
        change_drop(c);
        return e;
    }
    predict(c);
    e = store_await(c->pending, &got);
    if (e == ERR_UNKNOWN && !c->published) {
        e = find_out(c);
        got.version = c->version;
    }
    if (e == ERR_OK && !got.repeated) {
        assert(got.version == c->version);
        publish_until(c);
    } else if (c->published) {
        e = ERR_OK; /* one after it was answered OK */
    } else {
        broken(c);
    }
    ended(a);
    if (result) {
        *result = got;
        if (!got.repeated)
            result->version = c->version;
    }
    change_drop(c);
    return e;
}

bool change_again(enum err *e, unsigned *tries)
{
    if (*e != ERR_CONFLICT && *e != ERR_BUSY)
        return false;
    if (++*tries >= MESSAGE_TRIES) {
        *e = ERR_BUSY;
        return false;
    }
    if (*tries > 3) { /* others are quicker: let them pass, not all at once */
        enum err waited = wait_until(deadline_in_ms(1 + rand_below(2 * *tries)));
        if (waited == ERR_CANCELED) {
            *e = waited;
            return false;
        }
    }
    return true;
}

/* ---- looking into what is in flight ---- */

static const struct message_row *effect_row(const struct effect *e, uint32_t uid)
{
    size_t at = row_find(e->rows, e->n, uid);
    return at < e->n && e->rows[at].uid == uid ? &e->rows[at] : NULL;
}

bool change_sets_flags(const struct account *a, uint32_t mailbox)
{
    LIST_EACH (it, &a->in_flight) {
        const struct change *c = container_of(it, struct change, link);
        for (const struct effect *e = c->effects; e; e = e->next)
            if (e->mailbox == mailbox && e->kind == EFFECT_FLAGS)
                return true;
    }
    return false;
}

bool change_predicted(struct account *a, struct mailbox_view *v, uint32_t uid,
                      struct message_row *out)
{
    const struct message_row *found = view_find(v, uid);
    if (!found)
        return false;
    *out = *found;
    LIST_EACH (it, &a->in_flight) {
        struct change *c = container_of(it, struct change, link);
        for (struct effect *e = c->effects; e; e = e->next) {
            if (e->mailbox != v->mailbox || e->kind > EFFECT_EXPUNGED)
                continue;
            const struct message_row *row = effect_row(e, uid);
            if (row && e->kind == EFFECT_EXPUNGED)
                return false;
            if (row)
                *out = *row;
        }
    }
    return true;
}
