/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house_queue.h"

#include "app/house_reports.h"
#include "base/log.h"
#include "base/num.h"
#include "core/queue_schedule.h"
#include "os/clock.h"

#define RECOVER_PAUSE_MS 5000

/* What a crash left between the queue's commit and the accounts' (core/deliver.h); then what comes
 * due, but not what was queued a moment ago and is being delivered. */
static void recover(void *arg) WAITS
{
    struct house_thread *t = arg;
    uint64_t behind = 0;
    do {
        enum err e = deliver_recover(&t->deliver, clock_wall_ms() - behind);
        behind = RECOVER_PAUSE_MS;
        if (e != ERR_OK && e != ERR_CANCELED)
            LOG_WARN("house", "delivery of what waits failed: %s", err_text(e));
    } while (wait_until(deadline_in_ms(RECOVER_PAUSE_MS)) == ERR_TIMEOUT);
}

/* The limits of the configuration are those of the whole house; each thread has its share. */
static struct queue_policy policy_of(const struct house_thread *t, const struct config *c)
{
    unsigned n = t->house->nthreads;
    return (struct queue_policy){
        .retry_first_ms = MAX(c->queue_retry_first, 1000u),
        .retry_max_ms = MAX(c->queue_retry_max, c->queue_retry_first),
        .age_max_ms = c->queue_age_max,
        .warn_after_ms = c->queue_warn_after,
        .attempts_max = (unsigned)MAX(c->queue_attempts / n, 1u),
        .lane_max = (unsigned)MAX(c->queue_attempts_per_destination / n, 1u),
    };
}

static void schedule(void *arg) WAITS
{
    struct house_thread *t = arg;
    struct house_config *c = house_config_hold(t->house);
    struct queue_schedule_options o = {.deliver = &t->deliver,
                                       .relay = &t->relay.table,
                                       .policy = policy_of(t, &c->all),
                                       .first = t->number,
                                       .step = t->house->nthreads,
                                       .note = house_reports_tls,
                                       .note_ctx = t->house};
    house_config_drop(c);
    t->deliver.age_max_ms = o.policy.age_max_ms;
    enum err e =
        t->number < STORE_QUEUE_SHARDS ? queue_schedule_start(&o, &t->group, &t->queue) : ERR_OK;
    if (e != ERR_OK)
        LOG_ERROR("house", "the queue does not run: %s", err_text(e));
}

static void start_here(void *arg)
{
    struct house_thread *t = arg;
    if (fiber_start(&t->group, "queue start", schedule, t) != ERR_OK)
        LOG_ERROR("house", "the queue does not run: %s", err_text(ERR_NOMEM));
}

enum err house_queue_start(struct house_process *h)
{
    start_here(&h->threads[0]);
    for (uint32_t i = 1; i < h->nthreads; i++)
        house_run_on(&h->threads[i], start_here, &h->threads[i]);
    return fiber_start(&h->threads[0].group, "recover", recover, &h->threads[0]);
}

void house_queue_policy(struct house_thread *t, const struct config *c)
{
    struct queue_policy p = policy_of(t, c);
    t->deliver.age_max_ms = p.age_max_ms;
    if (t->queue)
        queue_schedule_policy(t->queue, &p);
}

static void unblock_here(void *arg)
{
    struct house_thread *t = arg;
    if (t->queue)
        queue_schedule_unblock(t->queue);
}

void house_queue_unblock(struct house_process *h)
{
    for (uint32_t i = 0; i < h->nthreads; i++)
        house_run_on(&h->threads[i], unblock_here, &h->threads[i]);
}
