/* SPDX-License-Identifier: Apache-2.0
 *
 * The due index is looked through in two ways: from where the last look ended, when a shard has
 * changed or a row comes due; and from its beginning, when a lane has room and the store has more
 * for it. Rows of a blocked lane are passed over by their due rows alone.
 */
#include "core/queue_schedule_private.h"

#include "base/log.h"
#include "base/num.h"
#include "os/clock.h"

#include <assert.h>
#include <string.h>

#define AGED_LANE UINT64_MAX /* rows that are too old, of blocked destinations */
#define LOOK_MAX_MS 60000    /* between two looks through everything */
#define IDLE_MAX_MS 60000
#define AWAY_MAX_MS 3000

void queue_schedule_wake(struct queue_schedule *s)
{
    s->woken = true;
    event_signal(&s->wake);
}

/* ---- looking ---- */

static bool is_aged(const struct queue_schedule *s, const struct queue_due *d, uint64_t now)
{
    const struct queue_policy *p = &s->o.policy;
    uint64_t age = now - MIN(queue_id_ms(d->id), now);
    return age >= p->age_max_ms || (d->deliver_by_ms && now >= d->deliver_by_ms && !d->warned) ||
           (p->warn_after_ms && age >= p->warn_after_ms && !d->warned);
}

static void consider(struct queue_schedule *s, const struct queue_due *d, uint64_t now)
{
    if (d->state == QUEUE_LOCAL)
        return;
    struct lane_ref ref = {.id = d->id,
                           .due_ms = d->due_ms,
                           .target = queue_target(s, d->domain, d->sender),
                           .sender = d->sender,
                           .priority = d->priority};
    struct lane *l = lane_get(&s->lanes, ref.target);
    if (!l)
        return; /* LANES_MAX destinations are busy: the next look finds it */
    enum lane_offer got = lane_offer(&s->lanes, l, &ref);
    if (got == LANE_PARKED && l->blocked_until_ms && is_aged(s, d, now)) {
        l = lane_get(&s->lanes, AGED_LANE);
        if (l)
            lane_offer(&s->lanes, l, &ref);
    }
}

/* From `after` to what is due. ERR_CANCELED and store errors end it. */
static enum err look(struct queue_schedule *s, struct queue_shard *sh, struct queue_due after,
                     bool whole) WAITS
{
    uint64_t now = clock_wall_ms(), first = UINT64_MAX;
    size_t got = 0;
    sh->next_ms = UINT64_MAX;
    do {
        TRY(queue_due_after(s->store, sh->number, &after, now + IDLE_MAX_MS, s->page,
                            QUEUE_SCAN_PAGE, &got));
        for (size_t i = 0; i < got; i++) {
            after = s->page[i];
            if (after.due_ms > now) {
                sh->next_ms = after.due_ms;
                got = 0;
                break;
            }
            first = MIN(first, after.due_ms);
            s->nrows++;
            consider(s, &after, now);
            sh->seen = after;
        }
        if (got == QUEUE_SCAN_PAGE)
            fiber_yield();
    } while (got == QUEUE_SCAN_PAGE && !fiber_canceled());
    if (whole)
        sh->low_ms = MIN(first, now - MIN(now, (uint64_t)QUEUE_LATE_MS));
    return ERR_OK;
}

static enum err look_on(struct queue_schedule *s, struct queue_shard *sh) WAITS
{
    uint64_t slack = sh->seen.due_ms - MIN(sh->seen.due_ms, (uint64_t)QUEUE_SLACK_MS);
    sh->changed = false;
    return look(s, sh, (struct queue_due){.due_ms = MAX(slack, sh->low_ms)}, false);
}

static enum err look_through(struct queue_schedule *s) WAITS
{
    uint64_t started = loop_now_ms();
    s->nlooks++;
    lanes_looking(&s->lanes);
    for (unsigned i = 0; i < s->nshards; i++) {
        struct queue_shard *sh = &s->shards[i];
        sh->changed = false;
        TRY(look(s, sh, (struct queue_due){.due_ms = sh->low_ms}, true));
    }
    /* However long the queue, looking takes at most a quarter of the time. */
    uint64_t now = clock_mono_ms();
    s->look_not_before_ms = now + 3 * (now - MIN(started, now));
    s->look_at_ms = now + LOOK_MAX_MS;
    return ERR_OK;
}

static enum err look_where_needed(struct queue_schedule *s) WAITS
{
    uint64_t mono = clock_mono_ms(), wall = clock_wall_ms();
    lanes_unblock(&s->lanes, wall);
    if ((lanes_hungry(&s->lanes) && mono >= s->look_not_before_ms) || mono >= s->look_at_ms)
        return look_through(s);
    if (mono < s->look_on_at_ms)
        return ERR_OK;
    s->look_on_at_ms = mono + QUEUE_LOOK_PAUSE_MS;
    for (unsigned i = 0; i < s->nshards; i++)
        if (s->shards[i].changed || s->shards[i].next_ms <= wall)
            TRY(look_on(s, &s->shards[i]));
    return ERR_OK;
}

/* ---- attempts ---- */

struct turn {
    struct queue_schedule *s;
    struct lane *lane;
    struct lane_ref ref;
    struct arena arena; /* holds this struct */
};

static void turn_run(void *arg) WAITS
{
    struct turn *t = arg;
    struct queue_schedule *s = t->s;
    struct arena arena = t->arena;
    struct queue_tried tried = {.outcome = LANE_NOTHING, .error = BUF_INIT(LANE_ERROR_MAX)};
    struct lane *target = map_get_u64(&s->lanes.by_key, t->ref.target);
    bool aged = t->lane->key == AGED_LANE;
    BUF_AUTO struct buf last = BUF_INIT(LANE_ERROR_MAX);
    if (target)
        buf_add(&last, buf_str(&target->error));
    queue_attempt(s, &t->ref, !aged, buf_str(&last), &tried);
    lane_ended(&s->lanes, t->lane, &t->ref, aged ? LANE_NOTHING : tried.outcome,
               buf_str(&tried.error), tried.more, clock_wall_ms());
    buf_free(&tried.error);
    s->running--;
    queue_schedule_wake(s);
    arena_free(&arena);
}

static bool turn_start(struct queue_schedule *s)
{
    struct arena arena = ARENA_INIT(4096);
    struct turn *t = ARENA_NEW(&arena, struct turn);
    if (!t)
        return false;
    if (!lanes_next(&s->lanes, &t->lane, &t->ref)) {
        arena_free(&arena);
        return false;
    }
    t->s = s;
    t->arena = arena;
    enum err e = fiber_start(&s->attempts, "attempt", turn_run, t);
    if (e == ERR_OK) {
        s->running++;
        s->nattempts++;
        return true;
    }
    lane_ended(&s->lanes, t->lane, &t->ref, LANE_NOTHING, STR_NONE, true, clock_wall_ms());
    arena_free(&arena);
    return false;
}

static void take_turns(struct queue_schedule *s)
{
    if (!s->o.relay->attempt || loop_now_ms() < s->away_until_ms)
        return;
    while (s->running < s->o.policy.attempts_max && turn_start(s))
        ;
}

/* ---- running ---- */

static uint64_t wake_at(const struct queue_schedule *s)
{
    uint64_t wall = clock_wall_ms(), mono = clock_mono_ms();
    uint64_t next = lanes_wake_ms(&s->lanes);
    bool changed = false;
    for (unsigned i = 0; i < s->nshards; i++) {
        next = MIN(next, s->shards[i].next_ms);
        changed = changed || s->shards[i].changed;
    }
    uint64_t pause = next <= wall ? 0 : MIN(next - wall, (uint64_t)IDLE_MAX_MS);
    uint64_t at = MIN(mono + pause, MAX(s->look_at_ms, mono));
    if (changed)
        at = MIN(at, MAX(s->look_on_at_ms, mono));
    if (lanes_hungry(&s->lanes))
        at = MIN(at, MAX(s->look_not_before_ms, mono));
    if (s->away_until_ms > mono)
        at = MIN(at, s->away_until_ms);
    return MAX(at, mono + 1);
}

/* What a former process was trying. */
static enum err take_back(struct queue_schedule *s, unsigned shard) WAITS
{
    struct queue_due after = {0};
    uint64_t now = clock_wall_ms();
    size_t got;
    do {
        TRY(queue_due_after(s->store, shard, &after, now + 2 * (uint64_t)QUEUE_LEASE_MS, s->page,
                            QUEUE_SCAN_PAGE, &got));
        for (size_t i = 0; i < got; i++) {
            after = s->page[i];
            struct queue_result again = {.n = after.n, .to = QUEUE_READY, .due_ms = now};
            if (after.state != QUEUE_ACTIVE)
                continue;
            enum err e =
                queue_settle(s->store, after.id, QUEUE_ACTIVE, after.due_ms, &again, 1, NULL);
            if (e != ERR_OK && e != ERR_CONFLICT && e != ERR_NOT_FOUND)
                return e;
        }
    } while (got == QUEUE_SCAN_PAGE && !fiber_canceled());
    return ERR_OK;
}

static enum err take_all_back(struct queue_schedule *s) WAITS
{
    for (unsigned i = 0; i < s->nshards; i++)
        TRY(take_back(s, s->shards[i].number));
    return ERR_OK;
}

static void schedule_free(struct queue_schedule *s)
{
    for (unsigned i = 0; i < s->nshards; i++)
        store_watch_stop(s->store, &s->shards[i].watch);
    transport_close(s->transport);
    lanes_free(&s->lanes);
    struct arena arena = s->arena;
    arena_free(&arena);
}

static void schedule_run(void *arg) WAITS
{
    struct queue_schedule *s = arg;
    enum err e = take_all_back(s);
    while (e != ERR_CANCELED && !fiber_canceled()) {
        if (e != ERR_OK) {
            LOG_WARN("queue", "cannot look through the queue: %s", err_text(e));
            if (wait_until(deadline_in_ms(AWAY_MAX_MS)) != ERR_TIMEOUT)
                break;
        }
        s->woken = false;
        e = look_where_needed(s);
        take_turns(s);
        if (e == ERR_OK && !s->woken && event_wait(&s->wake, wake_at(s)) == ERR_CANCELED)
            break;
    }
    fiber_group_cancel(&s->attempts);
    fiber_group_join(&s->attempts);
    schedule_free(s);
}

static void shard_changed(struct store_watch *w)
{
    struct queue_shard *sh = container_of(w, struct queue_shard, watch);
    sh->changed = true;
    queue_schedule_wake(sh->schedule);
}

static enum err watch_shards(struct queue_schedule *s)
{
    for (unsigned i = s->o.first; i < STORE_QUEUE_SHARDS; i += s->o.step) {
        struct queue_shard *sh = &s->shards[s->nshards];
        *sh = (struct queue_shard){.schedule = s, .number = i, .next_ms = UINT64_MAX};
        sh->watch.partition = STORE_PARTITION_QUEUE + i;
        sh->watch.changed = shard_changed;
        TRY(store_watch_start(s->store, &sh->watch));
        s->nshards++;
    }
    return ERR_OK;
}

enum err queue_schedule_start(const struct queue_schedule_options *o, struct fiber_group *g,
                              struct queue_schedule **out)
{
    struct arena arena = ARENA_INIT(1 << 20);
    struct queue_schedule *s = ARENA_NEW(&arena, struct queue_schedule);
    assert(o->step > 0 && o->policy.attempts_max > 0);
    if (!s)
        return ERR_NOMEM;
    *s = (struct queue_schedule){.o = *o, .store = accounts_store(o->deliver->accounts)};
    s->page = ARENA_ARRAY(&arena, struct queue_due, QUEUE_SCAN_PAGE);
    s->arena = arena;
    lanes_init(&s->lanes, o->policy.lane_max);
    event_init(&s->wake);
    fiber_group_init(&s->attempts);
    enum err e = s->page ? transport_open(o->deliver->directory, &s->transport) : ERR_NOMEM;
    if (e == ERR_OK)
        e = transport_refresh(s->transport);
    if (e == ERR_OK)
        e = watch_shards(s);
    if (e == ERR_OK)
        e = fiber_start(g, "queue", schedule_run, s);
    if (e != ERR_OK)
        schedule_free(s);
    else
        *out = s;
    return e;
}

void queue_schedule_policy(struct queue_schedule *s, const struct queue_policy *p)
{
    s->o.policy = *p;
    s->lanes.limit = MAX(p->lane_max, 1u);
    queue_schedule_wake(s);
}

void queue_schedule_unblock(struct queue_schedule *s)
{
    lanes_unblock(&s->lanes, UINT64_MAX);
    queue_schedule_wake(s);
}

void queue_schedule_stats(const struct queue_schedule *s, struct queue_schedule_stats *out)
{
    *out = (struct queue_schedule_stats){.lanes = s->lanes.by_key.count,
                                         .waiting = s->lanes.nrefs,
                                         .running = s->running,
                                         .attempts = s->nattempts,
                                         .looks = s->nlooks,
                                         .rows = s->nrows};
}
