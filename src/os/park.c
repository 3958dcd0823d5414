/* SPDX-License-Identifier: Apache-2.0 */
#include "os/park.h"

#include <assert.h>

#include "os/loop_impl.h"

static void park_event_wake(struct event_waiter *w)
{
    park_wake(container_of(w, struct park, event_waiter), PARK_EVENT);
}

static void park_timeout(struct loop_timer *t)
{
    park_wake(container_of(t, struct park, timer), PARK_DEADLINE);
}

static void park_withdraw(struct park *p)
{
    if (p->watch && p->watch->park == p)
        p->watch->park = NULL;
    list_remove(&p->event_waiter.link);
    loop_timer_clear(&p->timer);
}

/* Only moves it to the list of those to resume: 20,000 connections that are cancelled together then
 * run one after the other, on one stack if none of them waits. */
void park_wake(struct park *p, enum park_reason why)
{
    if (!p->parked || p->woken)
        return;
    p->woken = true;
    p->reason = why;
    park_withdraw(p);
    list_remove(&p->loop_link);
    list_push_back(&loop_current()->resuming, &p->loop_link);
}

enum err park_start(struct park *p)
{
    struct loop *l = loop_current();
    assert(l && p->group && p->resume && p->name && !p->parked);
    assert(!p->watch || (!p->watch->park && !p->watch->reader));
    list_init(&p->event_waiter.link);
    p->event_waiter.wake = park_event_wake;
    p->timer = (struct loop_timer){.fn = park_timeout};
    TRY(loop_timer_set(&p->timer, p->deadline_ms));
    p->parked = true;
    p->woken = false;
    list_push_back(&p->group->parked, &p->group_link);
    list_push_back(&l->parked, &p->loop_link);
    if (p->watch)
        p->watch->park = p;
    if (p->event)
        list_push_back(&p->event->waiters, &p->event_waiter.link);
    if (p->group->canceled || l->canceling)
        park_wake(p, PARK_CANCELED);
    else if (p->watch && watch_readable(p->watch))
        park_wake(p, PARK_READABLE);
    return ERR_OK;
}

void park_stop(struct park *p)
{
    if (!p->parked)
        return;
    p->parked = false;
    park_withdraw(p);
    list_remove(&p->loop_link);
    list_remove(&p->group_link);
    fiber_group_left(p->group);
}

struct fiber *park_take_next(struct loop *l)
{
    if (list_empty(&l->resuming))
        return NULL;
    struct park *p = container_of(l->resuming.next, struct park, loop_link);
    struct fiber *f;
    if (l->starved)
        return NULL;
    if (fiber_new(l, p->group, p->name, p->resume, p->arg, &f) != ERR_OK) {
        l->starved = true;
        return NULL;
    }
    p->parked = false;
    list_remove(&p->loop_link);
    list_remove(&p->group_link);
    return f;
}
