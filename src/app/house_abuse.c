/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house_abuse.h"

#include "base/log.h"
#include "base/num.h"
#include "os/clock.h"

#define SAVE_PAUSE_MS 1000
#define SWEEP_PAUSE_MS 5000   /* between two pages */
#define SWEEP_ROUND_MS 600000 /* between two rounds */

struct send_policy house_send_policy(const struct config *c)
{
    return (struct send_policy){{
        [SEND_MESSAGES_HOUR] = (uint32_t)c->send_limit_messages_hour,
        [SEND_MESSAGES_DAY] = (uint32_t)c->send_limit_messages_day,
        [SEND_RECIPIENTS_HOUR] = (uint32_t)c->send_limit_recipients_hour,
        [SEND_RECIPIENTS_DAY] = (uint32_t)c->send_limit_recipients_day,
    }};
}

struct greylist_policy house_greylist_policy(const struct config *c)
{
    return (struct greylist_policy){
        .delay_s = (int64_t)(c->greylist_delay / 1000),
        .window_s = (int64_t)(c->greylist_window / 1000),
        .lifetime_s = (int64_t)(c->greylist_lifetime / 1000),
        .by_domain = str_eq(c->greylist_sender, STR("domain")),
        .clients_after = (uint32_t)c->greylist_clients_after,
        .rows_max = c->greylist_rows_max,
    };
}

enum err house_abuse_open(struct house_process *h)
{
    struct send_policy p = house_send_policy(&h->server->config);
    return send_limits_open(h->store, &p, &h->send_limits);
}

void house_abuse_policy(struct house_thread *t, const struct config *c)
{
    struct send_policy p = house_send_policy(c);
    send_limits_change(t->house->send_limits, &p);
    t->local.greylist = house_greylist_policy(c);
}

static void save_or_say(struct house_process *h) WAITS
{
    enum err e = send_limits_save(h->send_limits);
    if (e != ERR_OK && e != ERR_CANCELED)
        LOG_WARN("house", "what accounts have sent is not written yet: %s", err_text(e));
}

static void save(void *arg) WAITS
{
    struct house_process *h = arg;
    while (wait_until(deadline_in_ms(SAVE_PAUSE_MS)) == ERR_TIMEOUT)
        save_or_say(h);
}

/* A page at a time, however many rows there are. */
static void sweep(void *arg) WAITS
{
    struct house_process *h = arg;
    struct store_key from = {.len = 0};
    uint64_t removed = 0;
    do {
        enum err e = greylist_sweep(h->store, &h->threads[0].local.greylist, clock_wall_s(), &from,
                                    &removed);
        if (e != ERR_OK && e != ERR_CANCELED)
            LOG_WARN("house", "the greylist is not swept: %s", err_text(e));
        if (from.len == 0 && removed > 0) {
            LOG_INFO("house", "greylist rows removed=%llu", (unsigned long long)removed);
            removed = 0;
        }
    } while (wait_until(deadline_in_ms(from.len ? SWEEP_PAUSE_MS : SWEEP_ROUND_MS)) == ERR_TIMEOUT);
}

enum err house_abuse_start(struct house_process *h)
{
    struct fiber_group *g = &h->threads[0].group;
    TRY(fiber_start(g, "sending limits", save, h));
    return fiber_start(g, "greylist", sweep, h);
}

void house_abuse_end(struct house_process *h) { save_or_say(h); }
