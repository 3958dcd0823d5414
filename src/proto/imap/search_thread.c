/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/search_thread.h"

#include <assert.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/num.h"

static str subject_of(const struct thread_input *in, const struct thread_message *m)
{
    return str_sub(in->pool, m->subject, m->subject_len);
}

/* ---- ORDEREDSUBJECT ---- */

static int by_date(const struct thread_message *a, const struct thread_message *b)
{
    if (a->sent != b->sent)
        return a->sent < b->sent ? -1 : 1;
    return (a > b) - (a < b); /* they are in the order of sequence numbers */
}

static int by_subject(const void *pa, const void *pb, void *arg)
{
    const struct thread_input *in = arg;
    const struct thread_message *a = &in->messages[*(const uint32_t *)pa];
    const struct thread_message *b = &in->messages[*(const uint32_t *)pb];
    int order = str_cmp(subject_of(in, a), subject_of(in, b));
    return order ? order : by_date(a, b);
}

struct group {
    uint32_t from, n; /* in the order by subject */
    const struct thread_message *first;
};

static int by_first(const void *pa, const void *pb)
{
    return by_date(((const struct group *)pa)->first, ((const struct group *)pb)->first);
}

static void render_group(const struct thread_input *in, const uint32_t *members, size_t n,
                         struct buf *out)
{
    buf_add_char(out, '(');
    buf_add_u64(out, in->messages[members[0]].number);
    for (size_t i = 1; i < n; i++) {
        if (i == 1)
            buf_add_char(out, ' ');
        if (n > 2)
            buf_add_char(out, '(');
        buf_add_u64(out, in->messages[members[i]].number);
        if (n > 2)
            buf_add_char(out, ')');
    }
    buf_add_char(out, ')');
}

enum err thread_ordered_subject(const struct thread_input *in, struct buf *out)
{
    BUF_AUTO struct buf order = BUF_INIT(THREAD_NODES_MAX * 4);
    BUF_AUTO struct buf groups = BUF_INIT(THREAD_NODES_MAX * sizeof(struct group));
    for (uint32_t i = 0; i < in->count; i++)
        buf_add(&order, str_of(&i, sizeof i));
    if (!buf_ok(&order))
        return ERR_LIMIT;
    uint32_t *at = (uint32_t *)order.data;
    if (in->count)
        qsort_r(at, in->count, sizeof *at, by_subject, (void *)in);
    for (uint32_t i = 0, end; i < in->count; i = end) {
        str subject = subject_of(in, &in->messages[at[i]]);
        for (end = i + 1; end < in->count; end++)
            if (!str_eq(subject, subject_of(in, &in->messages[at[end]])))
                break;
        struct group g = {i, end - i, &in->messages[at[i]]};
        buf_add(&groups, str_of(&g, sizeof g));
    }
    struct group *g = (struct group *)groups.data;
    size_t n = groups.len / sizeof *g;
    if (!buf_ok(&groups))
        return ERR_LIMIT;
    if (n)
        qsort(g, n, sizeof *g, by_first);
    for (size_t i = 0; i < n; i++)
        render_group(in, at + g[i].from, g[i].n, out);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

/* ---- REFERENCES ---- */

#define NONE UINT32_MAX

struct node {
    const struct thread_message *message; /* NULL: a dummy, known by its id only */
    uint32_t parent, first, next;         /* children in no order until sorted */
    uint32_t root;                        /* of the union-find forest that guesses about loops */
    uint32_t last;                        /* last child, while appending */
};
struct forest {
    const struct thread_input *in;
    struct buf buf; /* struct node; [0] is the root */
    struct map by_id;
    enum err e;
};

static struct node *node(struct forest *f, uint32_t i) { return (struct node *)f->buf.data + i; }

static uint32_t new_node(struct forest *f, const struct thread_message *m)
{
    uint32_t i = (uint32_t)(f->buf.len / sizeof(struct node));
    struct node n = {m, NONE, NONE, NONE, i, NONE};
    buf_add(&f->buf, str_of(&n, sizeof n));
    if (!buf_ok(&f->buf)) {
        f->e = ERR_LIMIT;
        return 0;
    }
    return i;
}

static uint32_t node_of_id(struct forest *f, uint64_t id)
{
    uint32_t i = (uint32_t)(uintptr_t)map_get_u64(&f->by_id, id);
    if (i)
        return i;
    i = new_node(f, NULL);
    if (i && map_put_u64(&f->by_id, id, (void *)(uintptr_t)i, NULL) != ERR_OK)
        f->e = ERR_LIMIT;
    return i;
}

static uint32_t tree_of(struct forest *f, uint32_t i)
{
    while (node(f, i)->root != i) {
        node(f, i)->root = node(f, node(f, i)->root)->root;
        i = node(f, i)->root;
    }
    return i;
}

/* Is `a` the same as, or above, `b`? The union-find answers "no" for most without a walk. */
static bool is_above(struct forest *f, uint32_t a, uint32_t b)
{
    if (a == b)
        return true;
    if (tree_of(f, a) != tree_of(f, b))
        return false;
    for (; b != NONE; b = node(f, b)->parent)
        if (b == a)
            return true;
    return false;
}

static void set_parent(struct forest *f, uint32_t child, uint32_t parent)
{
    node(f, child)->parent = parent;
    node(f, tree_of(f, child))->root = tree_of(f, parent);
}

/* Step 1: links between what the references name (RFC 5256 3, REFERENCES (1)). */
static void link_message(struct forest *f, const struct thread_message *m, uint32_t self)
{
    const uint64_t *refs = f->in->refs + m->refs;
    uint32_t before = NONE;
    for (uint32_t i = 0; i < m->nrefs && f->e == ERR_OK; i++) {
        uint32_t ref = node_of_id(f, refs[i]);
        if (before != NONE && node(f, ref)->parent == NONE && !is_above(f, ref, before))
            set_parent(f, ref, before);
        before = ref;
    }
    if (f->e != ERR_OK)
        return;
    /* What this message says of its own parent beats what others made of it, even when it would be
     * a loop and is not believed. */
    node(f, self)->parent = NONE;
    if (before != NONE && !is_above(f, self, before))
        set_parent(f, self, before);
}

static void link_all(struct forest *f)
{
    for (size_t i = 0; i < f->in->count && f->e == ERR_OK; i++) {
        const struct thread_message *m = &f->in->messages[i];
        uint32_t self = m->id ? node_of_id(f, m->id) : new_node(f, m);
        if (f->e == ERR_OK && node(f, self)->message && node(f, self)->message != m)
            self = new_node(f, m); /* an id that an earlier message has: this one has none */
        if (f->e != ERR_OK)
            return;
        node(f, self)->message = m;
        link_message(f, m, self);
    }
}

static void append_child(struct forest *f, uint32_t parent, uint32_t child)
{
    struct node *p = node(f, parent), *c = node(f, child);
    c->parent = parent;
    c->next = NONE;
    if (p->first == NONE)
        p->first = child;
    else
        node(f, p->last)->next = child;
    p->last = child;
}

/* Step 2, and from parents to lists of children. */
static void gather_children(struct forest *f)
{
    size_t n = f->buf.len / sizeof(struct node);
    for (uint32_t i = 1; i < n; i++)
        append_child(f, node(f, i)->parent == NONE ? 0 : node(f, i)->parent, i);
}

/* Moves all children of `from` behind those of `to`. */
static void adopt(struct forest *f, uint32_t to, uint32_t from)
{
    for (uint32_t c = node(f, from)->first, next; c != NONE; c = next) {
        next = node(f, c)->next;
        append_child(f, to, c);
    }
    node(f, from)->first = node(f, from)->last = NONE;
}

/* The nodes with every child after its parent. */
static bool list_down(struct forest *f, struct buf *order)
{
    uint32_t root = 0;
    buf_reset(order);
    buf_add(order, str_of(&root, sizeof root));
    for (size_t at = 0; at < order->len / sizeof(uint32_t) && buf_ok(order); at++)
        for (uint32_t c = node(f, ((uint32_t *)order->data)[at])->first; c != NONE;
             c = node(f, c)->next)
            buf_add(order, str_of(&c, sizeof c));
    return buf_ok(order);
}

/* Step 3, from the leaves up: a dummy goes, its children take its place; below the root only when
 * it is one child. */
static void prune_children(struct forest *f, uint32_t parent)
{
    uint32_t c = node(f, parent)->first;
    node(f, parent)->first = node(f, parent)->last = NONE;
    for (uint32_t next; c != NONE; c = next) {
        struct node *n = node(f, c);
        next = n->next;
        bool only_child = n->first != NONE && node(f, n->first)->next == NONE;
        if (n->message || (parent == 0 && n->first != NONE && !only_child))
            append_child(f, parent, c);
        else
            adopt(f, parent, c);
    }
}

static void prune(struct forest *f, struct buf *order)
{
    if (!list_down(f, order)) {
        f->e = ERR_LIMIT;
        return;
    }
    for (size_t i = order->len / sizeof(uint32_t); i > 0; i--)
        prune_children(f, ((uint32_t *)order->data)[i - 1]);
}

/* A dummy stands for its first child, which is the earliest once they are sorted. */
static const struct thread_message *message_of(struct forest *f, uint32_t i)
{
    while (!node(f, i)->message && node(f, i)->first != NONE)
        i = node(f, i)->first;
    return node(f, i)->message;
}

static int by_node_date(const void *pa, const void *pb, void *arg)
{
    struct forest *f = arg;
    return by_date(message_of(f, *(const uint32_t *)pa), message_of(f, *(const uint32_t *)pb));
}

static void sort_children(struct forest *f, uint32_t parent, struct buf *scratch)
{
    buf_reset(scratch);
    for (uint32_t c = node(f, parent)->first; c != NONE; c = node(f, c)->next)
        buf_add(scratch, str_of(&c, sizeof c));
    size_t n = scratch->len / sizeof(uint32_t);
    if (!buf_ok(scratch)) {
        f->e = ERR_LIMIT;
        return;
    }
    if (n < 2)
        return;
    uint32_t *c = (uint32_t *)scratch->data;
    qsort_r(c, n, sizeof *c, by_node_date, f);
    node(f, parent)->first = node(f, parent)->last = NONE;
    for (size_t i = 0; i < n; i++)
        append_child(f, parent, c[i]);
}

/* Step 4: what is below the root, and below a dummy there. */
static void sort_top(struct forest *f, struct buf *scratch)
{
    for (uint32_t c = node(f, 0)->first; c != NONE; c = node(f, c)->next)
        if (!node(f, c)->message)
            sort_children(f, c, scratch);
    sort_children(f, 0, scratch);
}

/* Step 5 B: may the thread i take the place of `there` in the table of subjects? */
static bool is_better(struct forest *f, uint32_t i, uint32_t there)
{
    const struct node *t = node(f, there), *n = node(f, i);
    return t->message && (!n->message || (t->message->is_reply && !n->message->is_reply));
}

static void fill_table(struct forest *f, struct map *table)
{
    for (uint32_t i = node(f, 0)->first; i != NONE && f->e == ERR_OK; i = node(f, i)->next) {
        str subject = subject_of(f->in, message_of(f, i));
        if (str_empty(subject))
            continue;
        uint32_t there = (uint32_t)(uintptr_t)map_get(table, subject);
        if (!there || is_better(f, i, there))
            f->e = map_put(table, subject, (void *)(uintptr_t)i, NULL);
    }
}

/* Step 5 C for one thread; true: it has been merged into another. The root's list is being rebuilt:
 * `merged` tells where a new dummy has taken the place of `there`. */
static bool merge_thread(struct forest *f, struct map *table, uint32_t i)
{
    str subject = subject_of(f->in, message_of(f, i));
    if (str_empty(subject))
        return false;
    uint32_t there = (uint32_t)(uintptr_t)map_get(table, subject);
    if (!there || there == i)
        return false;
    const struct node *t = node(f, there), *n = node(f, i);
    if (!t->message && !n->message) {
        adopt(f, there, i);
    } else if (!t->message || (n->message && n->message->is_reply && !t->message->is_reply)) {
        append_child(f, there, i);
    } else { /* both below a new dummy, which takes the node of the one in the table */
        uint32_t moved = new_node(f, t->message);
        if (f->e != ERR_OK)
            return false;
        adopt(f, moved, there);
        node(f, there)->message = NULL;
        append_child(f, there, moved);
        append_child(f, there, i);
    }
    return true;
}

static void merge_subjects(struct forest *f)
{
    struct map table;
    map_init(&table, THREAD_NODES_MAX);
    fill_table(f, &table);
    uint32_t c = node(f, 0)->first;
    node(f, 0)->first = node(f, 0)->last = NONE;
    for (uint32_t next; c != NONE && f->e == ERR_OK; c = next) {
        next = node(f, c)->next;
        if (!merge_thread(f, &table, c))
            append_child(f, 0, c);
    }
    map_free(&table);
}

static void sort_everything(struct forest *f, struct buf *order, struct buf *scratch)
{
    if (!list_down(f, order)) {
        f->e = ERR_LIMIT;
        return;
    }
    for (size_t i = order->len / sizeof(uint32_t); i > 0 && f->e == ERR_OK; i--)
        sort_children(f, ((uint32_t *)order->data)[i - 1], scratch);
}

/* "(" number, then an only child behind a space, or each of several in parentheses. Without
 * recursion: a thread may be as deep as the mailbox is long. */
static void render_forest(struct forest *f, struct buf *out)
{
    uint32_t at = node(f, 0)->first;
    bool opens = true;
    while (at != NONE) {
        struct node *n = node(f, at);
        if (opens)
            buf_add_char(out, '(');
        if (n->message)
            buf_add_u64(out, n->message->number);
        if (n->first != NONE) { /* down */
            opens = node(f, n->first)->next != NONE;
            if (n->message)
                buf_add_char(out, ' ');
            at = n->first;
            continue;
        }
        for (;;) { /* up to where a sibling follows */
            uint32_t parent = node(f, at)->parent;
            if (parent == 0 || node(f, node(f, parent)->first)->next != NONE)
                buf_add_char(out, ')');
            if (node(f, at)->next != NONE || parent == 0)
                break;
            at = parent;
        }
        opens = true;
        at = node(f, at)->next;
    }
}

enum err thread_references(const struct thread_input *in, struct buf *out)
{
    struct forest f = {.in = in};
    BUF_AUTO struct buf order = BUF_INIT(THREAD_NODES_MAX * 4);
    BUF_AUTO struct buf scratch = BUF_INIT(THREAD_NODES_MAX * 4);
    buf_init(&f.buf, THREAD_NODES_MAX * sizeof(struct node));
    map_init(&f.by_id, THREAD_NODES_MAX);
    new_node(&f, NULL);
    link_all(&f);
    if (f.e == ERR_OK)
        gather_children(&f);
    if (f.e == ERR_OK)
        prune(&f, &order);
    if (f.e == ERR_OK)
        sort_top(&f, &scratch);
    if (f.e == ERR_OK)
        merge_subjects(&f);
    if (f.e == ERR_OK)
        sort_everything(&f, &order, &scratch);
    if (f.e == ERR_OK)
        render_forest(&f, out);
    map_free(&f.by_id);
    buf_free(&f.buf);
    return f.e != ERR_OK ? f.e : buf_ok(out) ? ERR_OK : ERR_LIMIT;
}
