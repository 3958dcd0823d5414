/* SPDX-License-Identifier: Apache-2.0
 *
 * Mailboxes of a view, and the operations that change them. Those take turns within an account and
 * wait until they are durable, so the published rows are what they are composed on.
 */
#include "core/account_private.h"
#include "core/message.h"
#include "core/metadata.h"
#include "core/subscription.h"

#include "base/log.h"
#include "base/num.h"

#include <assert.h>
#include <string.h>

/* ---- the view's mailboxes ---- */

static struct box **order(const struct account *a) { return (struct box **)a->order.data; }
static size_t order_count(const struct account *a) { return a->order.len / sizeof(struct box *); }

struct box *box_get(struct account *a, uint32_t id) { return map_get_u64(&a->boxes, id); }

/* The first place whose path is not before path. */
static size_t order_place(const struct account *a, str path)
{
    size_t from = 0, to = order_count(a);
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (mailbox_path_cmp(order(a)[mid]->pub.path, path) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static void order_remove(struct account *a, const struct box *b)
{
    size_t n = order_count(a);
    for (size_t i = 0; i < n; i++) {
        if (order(a)[i] != b)
            continue;
        memmove(&order(a)[i], &order(a)[i + 1], (n - i - 1) * sizeof(struct box *));
        buf_truncate(&a->order, a->order.len - sizeof(struct box *));
        return;
    }
}

static enum err order_insert(struct account *a, struct box *b)
{
    size_t n = order_count(a), at = order_place(a, b->pub.path);
    if (!buf_reserve(&a->order, sizeof b))
        return ERR_LIMIT;
    buf_commit(&a->order, sizeof b);
    memmove(&order(a)[at + 1], &order(a)[at], (n - at) * sizeof b);
    order(a)[at] = b;
    return ERR_OK;
}

static enum err box_new(struct account *a, uint32_t id, struct box **out)
{
    struct arena self = ARENA_INIT(16384);
    struct box *b = ARENA_NEW(&self, struct box);
    if (!b)
        return ERR_NOMEM;
    b->self = self;
    b->account = a;
    b->pub.id = id;
    b->fresh = true;
    b->pub.keywords = &b->table;
    arena_init(&b->names, 65536);
    enum err e = map_put_u64(&a->boxes, id, b, NULL);
    if (e != ERR_OK)
        arena_free(&self);
    *out = b;
    return e;
}

/* Copies the row with its slices; the old names go. */
static enum err box_take(struct box *b, const struct mailbox_row *row)
{
    struct arena names = ARENA_INIT(65536);
    struct mailbox_row kept = *row;
    bool ok = arena_dup(&names, row->path, &kept.path);
    for (uint32_t i = 0; i < row->keywords.count; i++)
        ok = ok && arena_dup(&names, row->keywords.names[i], &kept.keywords.names[i]);
    if (!ok) {
        arena_free(&names);
        return ERR_NOMEM;
    }
    arena_free(&b->names);
    b->names = names;
    b->row = kept;
    b->table = kept.keywords;
    b->pub.path = kept.path;
    b->pub.uidvalidity = kept.uidvalidity;
    b->pub.role = (enum mailbox_role)kept.role;
    b->pub.subscribed = kept.subscribed;
    b->pub.created = kept.created;
    b->purging = kept.purging;
    return ERR_OK;
}

static void box_detach_view(struct box *b)
{
    struct mailbox_view *v = b->view;
    b->view = NULL;
    if (v)
        view_gone(v);
}

enum err box_apply(struct account *a, uint32_t id, str value, uint64_t version)
{
    struct mailbox_row row;
    TRY(mailbox_decode(value, &row));
    struct box *b = box_get(a, id);
    if (!b)
        TRY(box_new(a, id, &b));
    order_remove(a, b);
    TRY(box_take(b, &row));
    b->pub.changed = version;
    if (b->view)
        view_signal(b->view);
    if (!b->purging)
        return order_insert(a, b);
    box_detach_view(b);
    return ERR_OK;
}

/* The row is gone. */
void box_forget(struct account *a, uint32_t id)
{
    struct box *b = box_get(a, id);
    if (!b)
        return;
    order_remove(a, b);
    box_detach_view(b);
    map_remove_u64(&a->boxes, id);
    arena_free(&b->names);
    struct arena self = b->self;
    arena_free(&self);
}

const struct mailbox *mailbox_find(struct account *a, str path)
{
    if (str_eq_nocase(path, STR("INBOX")))
        path = STR("INBOX");
    size_t at = order_place(a, path);
    return at < order_count(a) && str_eq(order(a)[at]->pub.path, path) ? &order(a)[at]->pub : NULL;
}

const struct mailbox *mailbox_get(struct account *a, uint32_t id)
{
    struct box *b = box_get(a, id);
    return b && !b->purging ? &b->pub : NULL;
}

const struct mailbox *mailbox_at(struct account *a, size_t index)
{
    return index < order_count(a) ? &order(a)[index]->pub : NULL;
}

const struct mailbox *mailbox_by_role(struct account *a, enum mailbox_role role)
{
    for (size_t i = 0; i < order_count(a); i++)
        if (order(a)[i]->pub.role == role)
            return &order(a)[i]->pub;
    return NULL;
}

static bool is_below(str path, str parent)
{
    return path.len > parent.len && path.data[parent.len] == '/' && str_starts(path, parent);
}

bool mailbox_has_children(struct account *a, const struct mailbox *m)
{
    size_t next = order_place(a, m->path) + 1;
    return next < order_count(a) && is_below(order(a)[next]->pub.path, m->path);
}

/* ---- changing them ---- */

/* ERR_EXISTS from a step may mean success. */
static enum err run_steps(struct account *a, change_step_fn *step, void *arg)
{
    unsigned tries = 0;
    enum err e;
    do {
        struct change *c;
        TRY(change_begin(a, &c));
        e = step(c, arg);
        if (e != ERR_OK) {
            change_drop(c);
            return e;
        }
        e = change_commit(c, NULL, NULL);
    } while (change_again(&e, &tries));
    return e;
}

enum err change_run_step(struct account *a, change_step_fn *step, void *arg)
{
    TRY(turn_take(a));
    enum err e = run_steps(a, step, arg);
    turn_give(a);
    return e;
}

struct create_step {
    struct account *a;
    str path;
    enum mailbox_role role;
    bool subscribed;
    uint32_t id;
};

static enum err create_one(struct change *c, struct create_step *s, str path,
                           enum mailbox_role role)
{
    struct account *a = s->a;
    if (order_count(a) >= MAILBOXES_MAX)
        return ERR_LIMIT;
    if (!c->head.next_uidvalidity) /* from then on it counts up, whatever the clock does */
        c->head.next_uidvalidity = (uint32_t)MIN(clock_wall_s(), 0xf0000000ll);
    if (c->head.next_mailbox == UINT32_MAX || c->head.next_uidvalidity == UINT32_MAX)
        return ERR_LIMIT;
    struct mailbox_row row = {
        .path = path,
        .role = (uint8_t)role,
        .subscribed = s->subscribed,
        .uidvalidity = c->head.next_uidvalidity++,
        .created = c->version,
    };
    s->id = c->head.next_mailbox++;
    change_box(c, s->id, &row, true);
    struct touched *t = ARENA_NEW(&c->arena, struct touched);
    if (!t)
        return ERR_NOMEM;
    *t = (struct touched){.mailbox = s->id, .next = c->touched};
    t->state = (struct state_row){.uidnext = 1, .highest_modseq = c->version};
    c->touched = t;
    return ERR_OK;
}

/* The parents that are missing, then the mailbox. */
static enum err create_tree(struct change *c, struct create_step *s)
{
    for (size_t i = 0; i < s->path.len; i++) {
        str parent = str_head(s->path, i);
        if (s->path.data[i] == '/' && !mailbox_find(s->a, parent))
            TRY(create_one(c, s, parent, ROLE_NONE));
    }
    return create_one(c, s, s->path, s->role);
}

static enum err create_step(struct change *c, void *arg)
{
    struct create_step *s = arg;
    if (mailbox_find(s->a, s->path) || (s->role && mailbox_by_role(s->a, s->role)))
        return ERR_EXISTS;
    return create_tree(c, s);
}

enum err mailbox_create(struct account *a, str path, enum mailbox_role role, uint32_t *id)
{
    BUF_AUTO struct buf name = BUF_INIT(4 * MAILBOX_PATH_MAX);
    TRY(mailbox_name_normalize(path, &name));
    TRY(account_ready(a));
    struct create_step s = {.a = a, .path = buf_str(&name), .role = role};
    enum err e = change_run_step(a, create_step, &s);
    if (id)
        *id = s.id;
    return e;
}

static enum err create_first_step(struct change *c, void *arg)
{
    static const struct {
        str path;
        enum mailbox_role role;
    } first[] = {
        {STR_INIT("INBOX"), ROLE_INBOX}, {STR_INIT("Drafts"), ROLE_DRAFTS},
        {STR_INIT("Sent"), ROLE_SENT},   {STR_INIT("Junk"), ROLE_JUNK},
        {STR_INIT("Trash"), ROLE_TRASH}, {STR_INIT("Archive"), ROLE_ARCHIVE},
    };
    struct create_step *s = arg;
    bool any = false;
    s->subscribed = true;
    for (size_t i = 0; i < ARRAY_LEN(first); i++) {
        if (mailbox_find(s->a, first[i].path) || mailbox_by_role(s->a, first[i].role))
            continue;
        TRY(create_one(c, s, first[i].path, first[i].role));
        any = true;
    }
    return any ? ERR_OK : ERR_EXISTS;
}

enum err account_create_mailboxes(struct account *a)
{
    struct create_step s = {.a = a};
    enum err e = change_run_step(a, create_first_step, &s);
    return e == ERR_EXISTS ? ERR_OK : e;
}

struct rename_step {
    struct account *a;
    str from, to;
};

static enum err rename_one(struct change *c, const struct rename_step *s, struct box *b)
{
    struct mailbox_row row = b->row;
    row.path = arena_fmt(&c->arena, "%.*s%.*s", STR_ARG(s->to),
                         STR_ARG(str_skip(b->row.path, s->from.len)));
    if (str_empty(row.path))
        return ERR_NOMEM;
    if (row.path.len > MAILBOX_PATH_MAX)
        return ERR_LIMIT;
    if (mailbox_find(s->a, row.path))
        return ERR_EXISTS;
    change_box(c, b->pub.id, &row, false);
    return ERR_OK;
}

static enum err rename_step(struct change *c, void *arg)
{
    struct rename_step *s = arg;
    struct account *a = s->a;
    if (!mailbox_find(a, s->from))
        return ERR_NOT_FOUND;
    if (mailbox_find(a, s->to))
        return ERR_EXISTS;
    if (is_below(s->to, s->from))
        return ERR_INVALID;
    struct create_step parents = {.a = a, .path = s->to};
    for (size_t i = 0; i < s->to.len; i++)
        if (s->to.data[i] == '/' && !mailbox_find(a, str_head(s->to, i)))
            TRY(create_one(c, &parents, str_head(s->to, i), ROLE_NONE));
    for (size_t i = order_place(a, s->from); i < order_count(a); i++) {
        str path = order(a)[i]->pub.path;
        if (!str_eq(path, s->from) && !is_below(path, s->from))
            break;
        TRY(rename_one(c, s, order(a)[i]));
    }
    return ERR_OK;
}

/* RFC 9051 6.3.6: everything in INBOX moves, INBOX and its children stay. */
static enum err rename_inbox(struct account *a, str to)
{
    uint32_t id;
    TRY(mailbox_create(a, to, ROLE_NONE, &id));
    const struct mailbox *inbox = mailbox_find(a, STR("INBOX"));
    struct message_copied moved = {0};
    struct range all = {1, UINT32_MAX};
    enum err e =
        inbox ? message_move(a, inbox->id, &(struct set){&all, 1, 1, 1}, a, id, &moved) : ERR_OK;
    set_free(&moved.source);
    set_free(&moved.target);
    return e;
}

enum err mailbox_rename(struct account *a, str from, str to)
{
    BUF_AUTO struct buf old = BUF_INIT(4 * MAILBOX_PATH_MAX);
    BUF_AUTO struct buf name = BUF_INIT(4 * MAILBOX_PATH_MAX);
    TRY(mailbox_name_normalize(from, &old));
    TRY(mailbox_name_normalize(to, &name));
    TRY(account_ready(a));
    if (str_eq(buf_str(&old), STR("INBOX")))
        return rename_inbox(a, buf_str(&name));
    struct rename_step s = {.a = a, .from = buf_str(&old), .to = buf_str(&name)};
    return change_run_step(a, rename_step, &s);
}

struct row_step {
    struct account *a;
    uint32_t id;
    str path;
    bool subscribed;
    enum mailbox_role role;
    const str *names;
    size_t n;
};

static struct box *step_box(const struct row_step *s)
{
    const struct mailbox *m = s->id ? mailbox_get(s->a, s->id) : mailbox_find(s->a, s->path);
    return m ? box_of(m) : NULL;
}

static enum err subscribe_step(struct change *c, void *arg)
{
    struct row_step *s = arg;
    struct box *b = step_box(s);
    if (!b)
        return ERR_NOT_FOUND;
    if (b->row.subscribed == s->subscribed)
        return ERR_EXISTS;
    struct mailbox_row row = b->row;
    row.subscribed = s->subscribed;
    change_box(c, b->pub.id, &row, false);
    return ERR_OK;
}

enum err mailbox_subscribe(struct account *a, str path, bool subscribed)
{
    BUF_AUTO struct buf name = BUF_INIT(4 * MAILBOX_PATH_MAX);
    TRY(mailbox_name_normalize(path, &name));
    TRY(account_ready(a));
    struct row_step s = {.a = a, .path = buf_str(&name), .subscribed = subscribed};
    enum err e = change_run_step(a, subscribe_step, &s);
    if (!subscribed && (e == ERR_OK || e == ERR_EXISTS || e == ERR_NOT_FOUND)) {
        enum err kept = subscription_forget(a, buf_str(&name));
        if (kept != ERR_NOT_FOUND)
            return kept;
    }
    return e == ERR_EXISTS ? ERR_OK : e;
}

static enum err role_step(struct change *c, void *arg)
{
    struct row_step *s = arg;
    struct box *b = step_box(s);
    if (!b)
        return ERR_NOT_FOUND;
    const struct mailbox *other = s->role ? mailbox_by_role(s->a, s->role) : NULL;
    if (other && other != &b->pub)
        return ERR_EXISTS;
    struct mailbox_row row = b->row;
    row.role = (uint8_t)s->role;
    change_box(c, b->pub.id, &row, false);
    return ERR_OK;
}

enum err mailbox_set_role(struct account *a, uint32_t id, enum mailbox_role role)
{
    struct row_step s = {.a = a, .id = id, .role = role};
    TRY(account_ready(a));
    return change_run_step(a, role_step, &s);
}

/* ---- keywords ---- */

/* flag-keyword = atom (RFC 9051 9); no '\', which begins system flags. */
static bool keyword_valid(str name)
{
    if (str_empty(name) || name.len > KEYWORD_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c <= 0x20 || c >= 0x7f || strchr("(){%*\"\\]", c))
            return false;
    }
    return true;
}

static bool keyword_bits(const struct keyword_table *t, const str *names, size_t n, uint64_t *bits)
{
    *bits = 0;
    for (size_t i = 0; i < n; i++) {
        int bit = keyword_bit(t, names[i]);
        if (bit < 0)
            return false;
        *bits |= 1ull << bit;
    }
    return true;
}

static enum err keywords_step(struct change *c, void *arg)
{
    struct row_step *s = arg;
    struct box *b = step_box(s);
    if (!b)
        return ERR_NOT_FOUND;
    struct mailbox_row row = b->row;
    for (size_t i = 0; i < s->n; i++) {
        if (keyword_bit(&row.keywords, s->names[i]) >= 0)
            continue;
        if (row.keywords.count == KEYWORDS_MAX)
            return ERR_LIMIT;
        row.keywords.names[row.keywords.count++] = s->names[i];
    }
    if (row.keywords.count == b->row.keywords.count)
        return ERR_EXISTS;
    change_box(c, b->pub.id, &row, false);
    return ERR_OK;
}

enum err mailbox_keywords(struct account *a, uint32_t id, const str *names, size_t n,
                          uint64_t *bits)
{
    for (size_t i = 0; i < n; i++)
        if (!keyword_valid(names[i]))
            return ERR_INVALID;
    TRY(account_ready(a));
    const struct mailbox *m = mailbox_get(a, id);
    if (!m)
        return ERR_NOT_FOUND;
    if (keyword_bits(m->keywords, names, n, bits))
        return ERR_OK;
    struct row_step s = {.a = a, .id = id, .names = names, .n = n};
    enum err e = change_run_step(a, keywords_step, &s);
    if (e != ERR_OK && e != ERR_EXISTS)
        return e;
    m = mailbox_get(a, id);
    return m && keyword_bits(m->keywords, names, n, bits) ? ERR_OK : ERR_NOT_FOUND;
}

/* ---- deleting ---- */

static enum err delete_step(struct change *c, void *arg)
{
    struct row_step *s = arg;
    struct box *b = step_box(s);
    if (!b)
        return ERR_NOT_FOUND;
    if (mailbox_has_children(s->a, &b->pub))
        return ERR_HAS_CHILDREN;
    struct mailbox_row row = b->row;
    row.purging = true;
    row.path = STR_NONE;
    row.role = ROLE_NONE;
    row.keywords.count = 0;
    s->id = b->pub.id;
    if (b->row.subscribed && s->subscribed)
        subscription_keep(c, b->pub.id, b->row.path);
    row.subscribed = false;
    change_box(c, b->pub.id, &row, false);
    return ERR_OK;
}

/* Is there room for one more name that outlives its mailbox? */
static bool may_keep(struct account *a)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(4 << 20);
    const str *names;
    size_t n;
    return subscription_kept(a, &arena, &names, &n) == ERR_OK && n < SUBSCRIPTIONS_KEPT_MAX;
}

static void purge_fiber(void *arg)
{
    struct account *a = arg;
    enum err e = mailbox_purge(a);
    if (e != ERR_OK && e != ERR_CANCELED)
        LOG_WARN("mailbox", "purge later account=%llu cause=%s", (unsigned long long)a->id,
                 err_name(e));
    a->purge_running = false;
    account_close(a);
}

void mailbox_purge_start(struct account *a)
{
    bool any = false;
    size_t at = 0;
    void *box;
    while (map_next(&a->boxes, &at, NULL, &box))
        any = any || ((struct box *)box)->purging;
    if (!any || a->purge_running)
        return; /* a running one looks again before it ends */
    a->purge_running = true;
    account_ref(a);
    if (!fiber_current() ||
        fiber_start(&a->owner->group, "mailbox purge", purge_fiber, a) != ERR_OK)
        purge_fiber(a);
}

enum err mailbox_delete(struct account *a, str path)
{
    BUF_AUTO struct buf name = BUF_INIT(4 * MAILBOX_PATH_MAX);
    TRY(mailbox_name_normalize(path, &name));
    if (str_eq(buf_str(&name), STR("INBOX")))
        return ERR_DENIED;
    TRY(account_ready(a));
    struct row_step s = {.a = a, .path = buf_str(&name), .subscribed = may_keep(a)};
    TRY(change_run_step(a, delete_step, &s));
    mailbox_purge_start(a);
    return ERR_OK;
}

struct purge_page {
    struct message_row rows[MESSAGE_BATCH / 4];
    size_t n;
};

static bool purge_row(void *arg, const struct store_row *row)
{
    struct purge_page *p = arg;
    uint32_t uid;
    if (key_u32(row->key, 5, &uid) && instance_decode(uid, row->value, &p->rows[p->n]) == ERR_OK)
        p->n++;
    return p->n < ARRAY_LEN(p->rows);
}

static enum err purge_end_step(struct change *c, void *arg)
{
    struct row_step *s = arg;
    struct account *a = s->a;
    struct box *b = box_get(a, s->id);
    if (!b)
        return ERR_NOT_FOUND;
    change_delete(c, key_mailbox(s->id));
    change_delete(c, key_acl(s->id));
    change_delete(c, key_urlkey(s->id));
    for (uint8_t scope = METADATA_SHARED; scope <= METADATA_PRIVATE; scope++)
        change_delete_range(c, key_metadata(scope, a->id, s->id),
                            key_metadata(scope, a->id, s->id + 1));
    if (!change_state(c, b))
        return ERR_NOMEM;
    c->touched->deleted = true;
    struct effect *e = ARENA_NEW(&c->arena, struct effect);
    if (!e)
        return ERR_NOMEM;
    *e = (struct effect){.kind = EFFECT_BOX_GONE, .mailbox = s->id};
    *c->effects_end = e;
    c->effects_end = &e->next;
    change_note(c, CHANGE_MAILBOX_DELETED, s->id);
    return ERR_OK;
}

/* One page of a purged mailbox; *n is 0 after the last. The turn is held. */
static enum err purge_page(struct account *a, uint32_t id, struct purge_page *p)
{
    SET_AUTO struct set done = {0};
    struct store_key from = key_instance(id, 0), to = key_instance(id + 1, 0);
    struct store_scan q = {.partition = a->id,
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .limit = ARRAY_LEN(p->rows)};
    p->n = 0;
    TRY(store_scan(a->owner->o.store, &q, purge_row, p, NULL));
    if (p->n)
        return message_remove_batch(a, id, NULL, p->rows, p->n, false, &done, NULL);
    struct row_step s = {.a = a, .id = id};
    return run_steps(a, purge_end_step, &s);
}

static enum err purge_box(struct account *a, uint32_t id)
{
    struct arena arena = ARENA_INIT(1 << 16);
    struct purge_page *p = ARENA_NEW(&arena, struct purge_page);
    enum err e = p ? snapshot_drop(a, id) : ERR_NOMEM;
    for (bool more = true; e == ERR_OK && more;) {
        unsigned tries = 0;
        do {
            e = turn_take(a);
            if (e != ERR_OK)
                break;
            e = purge_page(a, id, p);
            turn_give(a);
        } while (change_again(&e, &tries));
        more = e == ERR_OK && p->n > 0;
    }
    arena_free(&arena);
    return e;
}

enum err mailbox_purge(struct account *a)
{
    for (;;) {
        size_t at = 0;
        void *box;
        uint32_t id = 0;
        TRY(account_ready(a));
        while (!id && map_next(&a->boxes, &at, NULL, &box))
            id = ((struct box *)box)->purging ? ((struct box *)box)->pub.id : 0;
        if (!id)
            return ERR_OK;
        enum err e = purge_box(a, id);
        if (e != ERR_OK && (e != ERR_NOT_FOUND || box_get(a, id)))
            return e; /* without its box another purge has ended it */
    }
}
