/* SPDX-License-Identifier: Apache-2.0 */
#include "store/overlay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 8192

enum err overlay_open(struct overlay *o, overlay_base_fn *base, void *arg)
{
    *o = (struct overlay){.base = base, .arg = arg};
    o->buckets = calloc(BUCKETS, sizeof *o->buckets);
    if (o->buckets == NULL)
        return ERR_NOMEM;
    pthread_mutex_init(&o->lock, NULL);
    return ERR_OK;
}

void overlay_close(struct overlay *o)
{
    if (o->buckets == NULL)
        return;
    free(o->buckets);
    o->buckets = NULL;
    pthread_mutex_destroy(&o->lock);
}

void overlay_txn_init(struct overlay_txn *t) { list_init(&t->entries); }

static struct overlay_entry **bucket_of(struct overlay *o, str key)
{
    return &o->buckets[str_hash(key) % BUCKETS];
}

static bool range_covers(const struct overlay_entry *r, str key)
{
    return str_cmp(r->key, key) <= 0 && str_cmp(key, r->value) < 0;
}

/* ERR_BUSY: the overlay says nothing, ask the index. */
static enum err get_locked(struct overlay *o, str key, struct buf *out)
{
    const struct overlay_entry *e = *bucket_of(o, key);
    while (e != NULL && !str_eq(e->key, key))
        e = e->next;
    for (const struct overlay_entry *r = o->ranges; r != NULL; r = r->next) {
        if ((e == NULL || r->order > e->order) && range_covers(r, key))
            return ERR_NOT_FOUND;
    }
    if (e == NULL)
        return ERR_BUSY;
    if (e->kind == OVERLAY_DELETE)
        return ERR_NOT_FOUND;
    buf_add(out, e->value);
    return buf_ok(out) ? ERR_OK : ERR_NOMEM;
}

enum err overlay_get(struct overlay *o, str key, struct buf *out)
{
    buf_reset(out);
    pthread_mutex_lock(&o->lock);
    enum err e = get_locked(o, key, out);
    pthread_mutex_unlock(&o->lock);
    /* Only the planner adds, and it is the one that asks; what leaves meanwhile is in the index. */
    return e == ERR_BUSY ? o->base(o->arg, key, out) : e;
}

enum err overlay_add(struct overlay *o, struct overlay_txn *t, enum overlay_kind kind, str key,
                     str value, bool keep)
{
    size_t copied = keep ? 0 : value.len;
    struct overlay_entry *e = malloc(sizeof *e + key.len + copied);
    if (e == NULL)
        return ERR_NOMEM;
    char *bytes = (char *)(e + 1);
    memcpy(bytes, key.data, key.len);
    if (copied > 0)
        memcpy(bytes + key.len, value.data, copied);
    e->kind = kind;
    e->key = str_of(bytes, key.len);
    e->value = keep ? value : str_of(bytes + key.len, copied);
    pthread_mutex_lock(&o->lock);
    e->order = ++o->order;
    struct overlay_entry **at = kind == OVERLAY_DELETE_RANGE ? &o->ranges : bucket_of(o, key);
    e->next = *at;
    *at = e;
    pthread_mutex_unlock(&o->lock);
    list_push_back(&t->entries, &e->link);
    return ERR_OK;
}

void overlay_end(struct overlay *o, struct overlay_txn *t)
{
    pthread_mutex_lock(&o->lock);
    LIST_EACH (it, &t->entries) {
        struct overlay_entry *e = container_of(it, struct overlay_entry, link);
        struct overlay_entry **at =
            e->kind == OVERLAY_DELETE_RANGE ? &o->ranges : bucket_of(o, e->key);
        while (*at != e)
            at = &(*at)->next;
        *at = e->next;
    }
    pthread_mutex_unlock(&o->lock);
    for (struct list *l; (l = list_pop_front(&t->entries)) != NULL;)
        free(container_of(l, struct overlay_entry, link));
}

void overlay_txn_join(struct overlay_txn *into, struct overlay_txn *from)
{
    for (struct list *l; (l = list_pop_front(&from->entries)) != NULL;)
        list_push_back(&into->entries, l);
}
