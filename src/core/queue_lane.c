/* SPDX-License-Identifier: Apache-2.0 */
#include "core/queue_lane.h"

#include "base/num.h"
#include "os/rand.h"

#include <assert.h>
#include <string.h>

#define CHUNK 32 /* lanes made at a time */
#define ARENA_MAX (16u << 20)

static struct lane_ref *refs_of(struct lane *l) { return (struct lane_ref *)l->refs.data; }

/* A message can wait in several lanes, once in each. */
static uint64_t hand_key(const struct lane_ref *r)
{
    return r->id ^ r->target * 0x9e3779b97f4a7c15u;
}

void lanes_init(struct lanes *ls, unsigned limit)
{
    *ls = (struct lanes){.arena = ARENA_INIT(ARENA_MAX), .limit = MAX(limit, 1u)};
    map_init(&ls->by_key, LANES_MAX);
    map_init(&ls->in_hand, LANE_REFS_MAX + LANES_MAX);
    struct list *lists[] = {&ls->turn, &ls->hungry, &ls->idle, &ls->blocked, &ls->unused};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_init(lists[i]);
}

void lanes_free(struct lanes *ls)
{
    void *lane;
    for (size_t i = 0; map_next(&ls->by_key, &i, NULL, &lane);) {
        buf_free(&((struct lane *)lane)->refs);
        buf_free(&((struct lane *)lane)->error);
    }
    map_free(&ls->by_key);
    map_free(&ls->in_hand);
    arena_free(&ls->arena);
}

/* Puts the lane into the lists where it belongs now. */
static void place(struct lanes *ls, struct lane *l)
{
    bool blocked = l->blocked_until_ms != 0;
    list_remove(&l->turn);
    list_remove(&l->hungry);
    list_remove(&l->idle);
    list_remove(&l->blocked);
    if (blocked)
        list_push_back(&ls->blocked, &l->blocked);
    if (!blocked && l->nrefs > 0 && l->running < MIN(l->limit, ls->limit))
        list_push_back(&ls->turn, &l->turn);
    if (!blocked && l->more && l->nrefs < LANE_LOW)
        list_push_back(&ls->hungry, &l->hungry);
    if (!blocked && !l->more && l->nrefs == 0 && l->running == 0)
        list_push_back(&ls->idle, &l->idle);
}

static struct lane *unused_lane(struct lanes *ls)
{
    if (list_empty(&ls->unused) && ls->count < LANES_MAX) {
        struct lane *chunk = ARENA_ARRAY(&ls->arena, struct lane, CHUNK);
        for (size_t i = 0; chunk && i < CHUNK; i++)
            list_push_back(&ls->unused, &chunk[i].idle);
        ls->count += chunk ? CHUNK : 0;
    }
    struct list *free = list_pop_front(&ls->unused);
    if (free)
        return container_of(free, struct lane, idle);
    struct list *oldest = list_pop_front(&ls->idle); /* it is forgotten, and starts slowly again */
    if (!oldest)
        return NULL;
    struct lane *l = container_of(oldest, struct lane, idle);
    map_remove_u64(&ls->by_key, l->key);
    buf_free(&l->refs);
    buf_free(&l->error);
    return l;
}

struct lane *lane_get(struct lanes *ls, uint64_t key)
{
    struct lane *l = map_get_u64(&ls->by_key, key);
    if (l)
        return l;
    l = unused_lane(ls);
    if (!l)
        return NULL;
    *l = (struct lane){.key = key,
                       .limit = MIN((unsigned)LANE_FIRST, ls->limit),
                       .refs = BUF_INIT(LANE_WINDOW * sizeof(struct lane_ref)),
                       .error = BUF_INIT(LANE_ERROR_MAX)};
    list_init(&l->turn);
    list_init(&l->hungry);
    list_init(&l->idle);
    list_init(&l->blocked);
    if (map_put_u64(&ls->by_key, key, l, NULL) != ERR_OK) {
        list_push_back(&ls->unused, &l->idle);
        return NULL;
    }
    place(ls, l);
    return l;
}

/* ---- the window ---- */

static void take_out(struct lanes *ls, struct lane *l, size_t at)
{
    struct lane_ref *refs = refs_of(l);
    l->of_sender[refs[at].sender % LANE_BUCKETS]--;
    memmove(&refs[at], &refs[at + 1], (l->nrefs - at - 1) * sizeof *refs);
    l->nrefs--;
    l->refs.len = l->nrefs * sizeof *refs;
    ls->nrefs--;
}

/* Makes room for a sender who has less than half of what the busiest one has in the window. */
static bool displace(struct lanes *ls, struct lane *l, const struct lane_ref *ref)
{
    unsigned most = 0;
    for (unsigned i = 1; i < LANE_BUCKETS; i++)
        if (l->of_sender[i] > l->of_sender[most])
            most = i;
    if ((l->of_sender[ref->sender % LANE_BUCKETS] + 1) * 2 > l->of_sender[most])
        return false;
    for (size_t at = l->nrefs; at-- > 0;) {
        struct lane_ref *r = &refs_of(l)[at];
        if (r->sender % LANE_BUCKETS != most || r->priority > ref->priority)
            continue;
        map_remove_u64(&ls->in_hand, hand_key(r));
        take_out(ls, l, at);
        return true;
    }
    return false;
}

enum lane_offer lane_offer(struct lanes *ls, struct lane *l, const struct lane_ref *ref)
{
    if (map_get_u64(&ls->in_hand, hand_key(ref)))
        return LANE_IN_HAND;
    bool room = l->nrefs < LANE_WINDOW && ls->nrefs < LANE_REFS_MAX;
    if (l->blocked_until_ms || (!room && !displace(ls, l, ref))) {
        l->more = true;
        return LANE_PARKED;
    }
    l->more = l->more || !room;
    if (map_put_u64(&ls->in_hand, hand_key(ref), l, NULL) != ERR_OK)
        return LANE_PARKED;
    buf_add(&l->refs, str_of(ref, sizeof *ref));
    if (!buf_ok(&l->refs)) {
        l->refs.failed = false;
        l->more = true;
        map_remove_u64(&ls->in_hand, hand_key(ref));
        return LANE_PARKED;
    }
    l->of_sender[ref->sender % LANE_BUCKETS]++;
    l->nrefs++;
    ls->nrefs++;
    if (l->nrefs == 1)
        place(ls, l);
    return LANE_TAKEN;
}

/* ---- taking turns ---- */

static size_t best_of(struct lane *l)
{
    const struct lane_ref *refs = refs_of(l);
    size_t best = 0;
    for (size_t i = 1; i < l->nrefs; i++) {
        if (refs[i].priority > refs[best].priority)
            best = i;
        else if (refs[i].priority == refs[best].priority && refs[best].sender == l->last_sender &&
                 refs[i].sender != l->last_sender)
            best = i;
    }
    return best;
}

bool lanes_next(struct lanes *ls, struct lane **lane, struct lane_ref *ref)
{
    if (list_empty(&ls->turn))
        return false;
    struct lane *l = container_of(ls->turn.next, struct lane, turn);
    size_t at = best_of(l);
    *ref = refs_of(l)[at];
    take_out(ls, l, at);
    l->last_sender = ref->sender;
    l->running++;
    place(ls, l);
    *lane = l;
    return true;
}

void lanes_unblock(struct lanes *ls, uint64_t now_ms)
{
    LIST_EACH (it, &ls->blocked) {
        struct lane *l = container_of(it, struct lane, blocked);
        if (l->blocked_until_ms > now_ms)
            continue;
        l->blocked_until_ms = 0;
        place(ls, l);
    }
}

uint64_t lanes_wake_ms(const struct lanes *ls)
{
    uint64_t first = UINT64_MAX;
    LIST_EACH (it, &ls->blocked) {
        struct lane *l = container_of(it, struct lane, blocked);
        first = MIN(first, l->blocked_until_ms);
    }
    return first;
}

/* What waits in the window of a blocked lane goes back to the store, and others get the room. */
static void park_all(struct lanes *ls, struct lane *l)
{
    while (l->nrefs > 0) {
        map_remove_u64(&ls->in_hand, hand_key(&refs_of(l)[l->nrefs - 1]));
        take_out(ls, l, l->nrefs - 1);
        l->more = true;
    }
    buf_free(&l->refs);
}

static void block(struct lanes *ls, struct lane *l, str error, uint64_t now_ms)
{
    uint64_t pause =
        MIN((uint64_t)LANE_BLOCK_FIRST_MS << MIN(l->troubles, 16u), (uint64_t)LANE_BLOCK_LAST_MS);
    if (l->blocked_until_ms) /* others of the same moment fail too: that is one trouble */
        return;
    l->troubles++;
    l->limit = 1;
    l->blocked_until_ms = now_ms + pause - pause / 10 + rand_below(pause / 5 + 1);
    buf_reset(&l->error);
    buf_add(&l->error, str_head(error, LANE_ERROR_MAX));
    park_all(ls, l);
}

void lane_ended(struct lanes *ls, struct lane *l, const struct lane_ref *ref,
                enum lane_outcome outcome, str error, bool more, uint64_t now_ms)
{
    assert(l->running > 0);
    l->running--;
    map_remove_u64(&ls->in_hand, hand_key(ref));
    l->more = l->more || more;
    switch (outcome) {
    case LANE_GOOD:
        l->troubles = 0;
        l->limit = MIN(l->limit + 1, ls->limit);
        break;
    case LANE_SLOW:
        l->troubles = 0;
        l->limit = MAX(l->limit / 2, 1u);
        break;
    case LANE_TROUBLE:
        block(ls, l, error, now_ms);
        break;
    case LANE_NOTHING:
        break;
    }
    place(ls, l);
}

void lanes_looking(struct lanes *ls)
{
    void *lane;
    for (size_t i = 0; map_next(&ls->by_key, &i, NULL, &lane);) {
        ((struct lane *)lane)->more = false;
        place(ls, lane);
    }
}
