/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/pool.h"

#include "os/wait.h"

struct idle {
    struct list link;
    struct smtp_client *client;
    str key, tls;
    uint64_t until_ms;
    struct arena arena; /* holds this struct */
};

void pool_init(struct pool *p)
{
    list_init(&p->idle);
    p->count = 0;
}

/* Out of the list first: closing waits. */
static struct smtp_client *remove_idle(struct pool *p, struct idle *i)
{
    struct smtp_client *c = i->client;
    struct arena arena = i->arena;
    list_remove(&i->link);
    p->count--;
    arena_free(&arena);
    return c;
}

static struct idle *find(struct pool *p, str key)
{
    for (struct list *l = p->idle.prev; l != &p->idle; l = l->prev) { /* the freshest */
        struct idle *i = container_of(l, struct idle, link);
        if (str_eq(i->key, key))
            return i;
    }
    return NULL;
}

struct smtp_client *pool_take(struct pool *p, str key, struct arena *arena, str *tls)
{
    struct idle *i;
    while ((i = find(p, key))) {
        bool kept = arena_dup(arena, i->tls, tls);
        struct smtp_client *c = remove_idle(p, i);
        if (kept && !smtp_client_stale(c))
            return c;
        smtp_client_close(c);
    }
    return NULL;
}

static struct idle *oldest(struct pool *p)
{
    return list_empty(&p->idle) ? NULL : container_of(p->idle.next, struct idle, link);
}

void pool_put(struct pool *p, str key, str tls, struct smtp_client *c, uint64_t idle_ms)
{
    struct arena arena = ARENA_INIT(16384);
    struct idle *i = ARENA_NEW(&arena, struct idle);
    str kept_key, kept_tls;
    if (!i || !arena_dup(&arena, key, &kept_key) || !arena_dup(&arena, tls, &kept_tls)) {
        arena_free(&arena);
        smtp_client_close(c);
        return;
    }
    *i = (struct idle){.client = c,
                       .key = kept_key,
                       .tls = kept_tls,
                       .until_ms = deadline_in_ms(idle_ms),
                       .arena = arena};
    list_push_back(&p->idle, &i->link);
    p->count++;
    if (p->count > POOL_MAX)
        smtp_client_close(remove_idle(p, oldest(p)));
}

void pool_reap(struct pool *p)
{
    struct idle *i;
    while ((i = oldest(p)) && i->until_ms <= clock_mono_ms())
        smtp_client_close(remove_idle(p, i));
}

void pool_close(struct pool *p)
{
    struct idle *i;
    while ((i = oldest(p)))
        smtp_client_close(remove_idle(p, i));
}
