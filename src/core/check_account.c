/* SPDX-License-Identifier: Apache-2.0
 *
 * One account: every row decodes, and the rows agree with one another.
 */
#include "core/check_private.h"

#include "base/num.h"
#include "core/acl.h"
#include "core/directory.h"
#include "core/metadata.h"
#include "core/subscription.h"
#include "core/urlkey.h"
#include "format/mime_cold.h"

#include <stdlib.h>
#include <string.h>

struct box_count {
    uint32_t id;
    bool has_row, has_state, purging;
    uint64_t path_hash;
    uint32_t uidvalidity;
    struct state_row state, counted;
};
/* An instance as AT names it. */
struct place {
    uint64_t message;
    uint32_t mailbox, uid;
    uint64_t size, thread;
};
struct account_check {
    struct check *c;
    struct head_row head;
    bool has_head;
    uint64_t version, next_change;
    struct buf boxes;  /* struct box_count, by id */
    struct buf places; /* struct place, by message after sort_places */
    size_t at;         /* in places */
};

#define REF(a, ...) check_found((a)->c, true, true, __VA_ARGS__)
#define ROW(a, ...) check_found((a)->c, true, false, __VA_ARGS__)
#define LLU(n) ((unsigned long long)(n))

static struct box_count *boxes(struct account_check *a)
{
    return (struct box_count *)a->boxes.data;
}
static size_t box_count(const struct account_check *a)
{
    return a->boxes.len / sizeof(struct box_count);
}

/* Rows come by ascending id; a new id goes to its place. */
static struct box_count *box_at(struct account_check *a, uint32_t id)
{
    size_t n = box_count(a), i = n;
    while (i > 0 && boxes(a)[i - 1].id > id)
        i--;
    if (i > 0 && boxes(a)[i - 1].id == id)
        return &boxes(a)[i - 1];
    if (!buf_reserve(&a->boxes, sizeof(struct box_count)))
        return NULL;
    buf_commit(&a->boxes, sizeof(struct box_count));
    memmove(&boxes(a)[i + 1], &boxes(a)[i], (n - i) * sizeof(struct box_count));
    boxes(a)[i] = (struct box_count){.id = id};
    return &boxes(a)[i];
}

static void on_head(void *arg, str key, str value)
{
    struct account_check *a = arg;
    a->has_head = key.len == 1 && head_decode(value, &a->head) == ERR_OK;
    if (!a->has_head)
        ROW(a, "unreadable account row");
}

static void on_mailbox(void *arg, str key, str value)
{
    struct account_check *a = arg;
    uint32_t id = 0;
    struct mailbox_row row;
    struct box_count *b = NULL;
    if (key.len != 5 || !key_u32(key, 1, &id) || mailbox_decode(value, &row) != ERR_OK) {
        ROW(a, "unreadable mailbox row, mailbox %u", id);
        return;
    }
    uint64_t hash = str_hash_stable(row.path);
    for (size_t i = 0; i < box_count(a) && !row.purging; i++)
        if (boxes(a)[i].has_row && !boxes(a)[i].purging && boxes(a)[i].path_hash == hash)
            ROW(a, "two mailboxes of one name: %u and %u", id, boxes(a)[i].id);
    if (!(b = box_at(a, id)))
        return;
    b->has_row = true;
    b->purging = row.purging;
    b->path_hash = hash;
    b->uidvalidity = row.uidvalidity;
    a->c->result->mailboxes += !row.purging;
}

static void on_state(void *arg, str key, str value)
{
    struct account_check *a = arg;
    uint32_t id = 0;
    struct state_row state;
    if (key.len != 5 || !key_u32(key, 1, &id) || state_decode(value, &state) != ERR_OK) {
        ROW(a, "unreadable state row, mailbox %u", id);
        return;
    }
    struct box_count *b = box_at(a, id);
    if (!b)
        return;
    b->has_state = true;
    b->state = state;
}

static void count_row(struct box_count *b, const struct message_row *m)
{
    struct state_row *s = &b->counted;
    s->messages++;
    s->bytes += m->size;
    s->unseen += !(m->flags & FLAG_SEEN);
    s->deleted += !!(m->flags & FLAG_DELETED);
    s->deleted_bytes += m->flags & FLAG_DELETED ? m->size : 0;
    s->uidnext = MAX(s->uidnext, (uint64_t)m->uid + 1);
    s->highest_modseq = MAX(s->highest_modseq, m->modseq);
}

static void on_instance(void *arg, str key, str value)
{
    struct account_check *a = arg;
    uint32_t mailbox = 0, uid = 0;
    struct message_row m;
    if (key.len != 9 || !key_u32(key, 1, &mailbox) || !key_u32(key, 5, &uid) ||
        instance_decode(uid, value, &m) != ERR_OK) {
        ROW(a, "unreadable message row, mailbox %u uid %u", mailbox, uid);
        return;
    }
    struct place p = {m.message, mailbox, uid, m.size, m.thread};
    buf_add(&a->places, str_of(&p, sizeof p));
    struct box_count *b = box_at(a, mailbox);
    if (b)
        count_row(b, &m);
    if (m.message == 0 || (a->has_head && m.message >= a->head.next_message))
        REF(a, "mailbox %u uid %u: message id %llu was never given", mailbox, uid, LLU(m.message));
    if (m.modseq > a->version)
        REF(a, "mailbox %u uid %u: modseq %llu beyond the version", mailbox, uid, LLU(m.modseq));
    a->c->result->messages++;
}

/* ---- both directions ---- */

static int compare_places(const void *x, const void *y)
{
    const struct place *a = x, *b = y;
    if (a->message != b->message)
        return a->message < b->message ? -1 : 1;
    if (a->mailbox != b->mailbox)
        return a->mailbox < b->mailbox ? -1 : 1;
    return (a->uid > b->uid) - (a->uid < b->uid);
}

static struct place *places(struct account_check *a) { return (struct place *)a->places.data; }
static size_t place_count(const struct account_check *a)
{
    return a->places.len / sizeof(struct place);
}

static void no_at(struct account_check *a)
{
    const struct place *p = &places(a)[a->at++];
    REF(a, "mailbox %u uid %u: message %llu does not know that it is there", p->mailbox, p->uid,
        LLU(p->message));
}

static void on_at(void *arg, str key, str value)
{
    struct account_check *a = arg;
    struct place p = {0};
    if (key.len != 17 || value.len || !key_u64(key, 1, &p.message) ||
        !key_u32(key, 9, &p.mailbox) || !key_u32(key, 13, &p.uid)) {
        ROW(a, "unreadable place row of message %llu", LLU(p.message));
        return;
    }
    while (a->at < place_count(a) && compare_places(&places(a)[a->at], &p) < 0)
        no_at(a);
    if (a->at < place_count(a) && compare_places(&places(a)[a->at], &p) == 0)
        a->at++;
    else
        REF(a, "message %llu: is said to be in mailbox %u as %u, and is not", LLU(p.message),
            p.mailbox, p.uid);
}

static void no_cold(struct account_check *a, uint64_t message)
{
    REF(a, "mailbox %u uid %u: message %llu has no content row", places(a)[a->at].mailbox,
        places(a)[a->at].uid, LLU(message));
    while (a->at < place_count(a) && places(a)[a->at].message == message)
        a->at++;
}

static void on_message(void *arg, str key, str value)
{
    struct account_check *a = arg;
    uint64_t id = 0;
    struct message_cold cold;
    struct mime_cold mime;
    if (key.len != 9 || !key_u64(key, 1, &id)) {
        ROW(a, "unreadable key of a content row");
        return;
    }
    while (a->at < place_count(a) && places(a)[a->at].message < id)
        no_cold(a, places(a)[a->at].message);
    bool used = a->at < place_count(a) && places(a)[a->at].message == id;
    bool readable = cold_decode(value, &cold) == ERR_OK;
    if (!readable)
        ROW(a, "unreadable content row of message %llu", LLU(id));
    else if (cold.mime.len && mime_cold_decode(cold.mime, &mime) != ERR_OK)
        ROW(a, "unreadable structure in the content row of message %llu", LLU(id));
    if (!used)
        REF(a, "message %llu is in no mailbox", LLU(id));
    for (; a->at < place_count(a) && places(a)[a->at].message == id; a->at++)
        if (readable && (places(a)[a->at].size != message_size(&cold) ||
                         places(a)[a->at].thread != cold.thread))
            REF(a, "mailbox %u uid %u: size or thread differ from message %llu",
                places(a)[a->at].mailbox, places(a)[a->at].uid, LLU(id));
    if (readable)
        check_hold(a->c, &cold.blob, cold.trace_len + cold.content_len);
}

/* ---- the rest ---- */

static void on_change(void *arg, str key, str value)
{
    struct account_check *a = arg;
    struct arena arena = ARENA_INIT(1 << 20);
    struct reader r;
    uint64_t version = 0, nonce;
    enum err e = key.len == 9 && key_u64(key, 1, &version) ? ERR_OK : ERR_CORRUPT;
    if (e == ERR_OK)
        e = change_decode_start(value, &r, &nonce);
    while (e == ERR_OK) {
        struct change_entry entry;
        e = change_decode_entry(&r, &arena, &entry);
        set_free(&entry.uids);
    }
    arena_free(&arena);
    if (e != ERR_EOF)
        ROW(a, "unreadable change row of version %llu", LLU(version));
    else if (version != a->next_change)
        REF(a, "change rows of versions %llu to %llu are missing", LLU(a->next_change),
            LLU(version - 1));
    else if (version == a->version && a->has_head && nonce != a->head.nonce)
        REF(a, "the last change row is not of the last commit");
    a->next_change = version + 1;
}

static void on_search(void *arg, str key, str value)
{
    struct account_check *a = arg;
    struct search_row row;
    if (key.len != 9 || search_row_decode(value, &row) != ERR_OK)
        check_found(a->c, false, false, "unreadable search row (derived)");
    else
        check_hold(a->c, &row.blob, row.blob_bytes);
}

static void on_thread(void *arg, str key, str value)
{
    struct account_check *a = arg;
    uint64_t thread;
    if (key.len != 9 || thread_decode(value, &thread) != ERR_OK)
        check_found(a->c, false, false, "unreadable thread row (derived)");
}

static bool box_exists(struct account_check *a, uint32_t id)
{
    for (size_t i = 0; i < box_count(a); i++)
        if (boxes(a)[i].id == id && boxes(a)[i].has_row)
            return true;
    return false;
}

static void on_acl(void *arg, str key, str value)
{
    struct account_check *a = arg;
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    uint32_t id = 0;
    struct acl acl;
    if (key.len != 5 || !key_u32(key, 1, &id) || acl_decode(value, &arena, &acl) != ERR_OK)
        ROW(a, "unreadable list of rights, mailbox %u", id);
    else if (!box_exists(a, id))
        REF(a, "mailbox %u: rights in a mailbox that is not there", id);
}

static void on_metadata(void *arg, str key, str value)
{
    struct account_check *a = arg;
    uint64_t owner = 0;
    uint32_t id = 0;
    str text;
    if (key.len < 15 || !key_u64(key, 2, &owner) || !key_u32(key, 10, &id) ||
        metadata_decode(value, &text) != ERR_OK)
        ROW(a, "unreadable metadata, mailbox %u", id);
    else if (owner == a->c->partition && id && !box_exists(a, id))
        REF(a, "mailbox %u: metadata of a mailbox that is not there", id);
}

static void on_subscribed(void *arg, str key, str value)
{
    struct account_check *a = arg;
    if (!subscription_row_valid(key, value))
        ROW(a, "unreadable subscription to another's mailbox, or to one that is gone");
}

static void on_urlkey(void *arg, str key, str value)
{
    struct account_check *a = arg;
    uint32_t id = 0;
    if (key.len != 5 || !key_u32(key, 1, &id) || !urlkey_row_valid(value))
        ROW(a, "unreadable key of signed URLs, mailbox %u", id);
    else if (!box_exists(a, id))
        REF(a, "mailbox %u: a key of a mailbox that is not there", id);
}

static void compare_box(struct account_check *a, const struct box_count *b)
{
    const struct state_row *s = &b->state, *n = &b->counted;
    if (!b->has_row && (b->has_state || n->messages)) {
        REF(a, "mailbox %u: rows of a mailbox that is not there", b->id);
        return;
    }
    if (!b->has_state) {
        REF(a, "mailbox %u: its state is missing", b->id);
        return;
    }
    if (s->messages != n->messages || s->unseen != n->unseen || s->deleted != n->deleted ||
        s->bytes != n->bytes || s->deleted_bytes != n->deleted_bytes)
        REF(a,
            "mailbox %u: counters say %llu messages, %llu unseen, %llu deleted, %llu bytes; there "
            "are %llu, %llu, %llu, %llu",
            b->id, LLU(s->messages), LLU(s->unseen), LLU(s->deleted), LLU(s->bytes),
            LLU(n->messages), LLU(n->unseen), LLU(n->deleted), LLU(n->bytes));
    if (s->uidnext < MAX(n->uidnext, 1))
        REF(a, "mailbox %u: uidnext %llu is not above uid %llu", b->id, LLU(s->uidnext),
            LLU(n->uidnext - 1));
    if (s->highest_modseq < n->highest_modseq || s->highest_modseq > a->version)
        REF(a, "mailbox %u: highest modseq %llu is wrong", b->id, LLU(s->highest_modseq));
    if (a->has_head &&
        (b->id >= a->head.next_mailbox || b->uidvalidity >= a->head.next_uidvalidity))
        REF(a, "mailbox %u: id or uidvalidity was never given", b->id);
}

static void compare_totals(struct account_check *a)
{
    uint64_t messages = 0, bytes = 0;
    for (size_t i = 0; i < box_count(a); i++) {
        compare_box(a, &boxes(a)[i]);
        messages += boxes(a)[i].counted.messages;
        bytes += boxes(a)[i].counted.bytes;
    }
    if (!a->has_head) {
        REF(a, "the account's own row is missing");
        return;
    }
    if (a->head.messages != messages || a->head.bytes != bytes)
        REF(a, "usage says %llu messages, %llu bytes; there are %llu, %llu", LLU(a->head.messages),
            LLU(a->head.bytes), LLU(messages), LLU(bytes));
    if (a->next_change != a->version + 1)
        REF(a, "the change rows end at version %llu of %llu", LLU(a->next_change - 1),
            LLU(a->version));
}

/* Mail of an account that the directory does not know: nobody can read it. */
static enum err check_owner(struct account_check *a)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 16);
    struct directory d = {.store = a->c->store};
    struct account_entry entry;
    enum err e = directory_account_get(&d, a->c->partition, &arena, &entry);
    if (e == ERR_NOT_FOUND && place_count(a))
        check_found(a->c, false, true, "%zu messages of an account that is not in the directory",
                    place_count(a));
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err check_rows(struct account_check *a)
{
    struct check *c = a->c;
    TRY(check_scan(c, SPACE_HEAD, on_head, a));
    a->next_change = a->head.change_floor + 1;
    TRY(check_scan(c, SPACE_MAILBOX, on_mailbox, a));
    TRY(check_scan(c, SPACE_STATE, on_state, a));
    TRY(check_scan(c, SPACE_INSTANCE, on_instance, a));
    if (!buf_ok(&a->boxes) || !buf_ok(&a->places))
        return ERR_NOMEM;
    if (place_count(a))
        qsort(a->places.data, place_count(a), sizeof(struct place), compare_places);
    TRY(check_scan(c, SPACE_AT, on_at, a));
    while (a->at < place_count(a))
        no_at(a);
    a->at = 0;
    TRY(check_scan(c, SPACE_MESSAGE, on_message, a));
    while (a->at < place_count(a))
        no_cold(a, places(a)[a->at].message);
    TRY(check_scan(c, SPACE_CHANGE, on_change, a));
    TRY(check_scan(c, SPACE_THREAD, on_thread, a));
    TRY(check_scan(c, SPACE_ACL, on_acl, a));
    TRY(check_scan(c, SPACE_METADATA, on_metadata, a));
    TRY(check_scan(c, SPACE_SUBSCRIBED, on_subscribed, a));
    TRY(check_scan(c, SPACE_URLKEY, on_urlkey, a));
    TRY(check_scan(c, SPACE_SEARCH, on_search, a));
    TRY(check_snapshots(c));
    compare_totals(a);
    return check_owner(a);
}

enum err check_account(struct check *c)
{
    struct account_check a = {
        .c = c, .boxes = BUF_INIT(CHECK_BYTES_MAX), .places = BUF_INIT(CHECK_BYTES_MAX)};
    a.version = store_version(c->store, c->partition);
    c->result->accounts++;
    enum err e = check_rows(&a);
    buf_free(&a.boxes);
    buf_free(&a.places);
    return e;
}
