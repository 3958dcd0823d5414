/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house_reports.h"

#include "base/log.h"
#include "core/dns_name.h"
#include "core/report_collect.h"
#include "core/report_taken.h"
#include "os/clock.h"

struct report_settings report_settings_of(const struct config *c)
{
    return (struct report_settings){.dmarc = c->reports_dmarc,
                                    .tls = c->reports_tls,
                                    .hostname = c->server_hostname,
                                    .organization = c->reports_organization,
                                    .contact = c->reports_contact,
                                    .from = c->reports_from};
}

enum err house_reports_open(struct house_process *h)
{
    return report_collector_open(h->store, &h->reports);
}

void house_reports_observe(struct house_process *h, str note)
{
    struct reader r = reader_of(note);
    struct report_note n;
    if (report_note_take(&r, &n) == ERR_OK)
        report_collect(h->reports, &n, clock_wall_s());
}

void house_reports_tls(void *ctx, str domain, str note)
{
    struct house_process *h = ctx;
    struct house_config *c = house_config_hold(h);
    ARENA_AUTO struct arena a = ARENA_INIT(4096);
    struct report_note n = {.kind = REPORT_TLS, .body = note};
    bool wanted = c->all.reports_tls;
    house_config_drop(c);
    if (wanted && dns_name_of(domain, &a, &n.domain) == ERR_OK && report_domain_valid(n.domain))
        report_collect(h->reports, &n, clock_wall_s());
}

enum err house_reports_take(struct house_process *h, str read)
{
    size_t taken;
    return report_take(&h->directory, read, clock_wall_s(), &taken);
}

#define END_TRIES 100
#define END_PAUSE_MS 20

static enum err flush(struct house_process *h) WAITS
{
    enum err e = report_collector_flush(h->reports, clock_wall_s());
    if (e != ERR_OK && e != ERR_CANCELED && e != ERR_BUSY)
        LOG_WARN("report", "notes are not written, later: %s", err_text(e));
    return e;
}

void house_reports_end(struct house_process *h)
{
    for (int i = 0; i < END_TRIES && flush(h) == ERR_BUSY; i++)
        if (wait_until(deadline_in_ms(END_PAUSE_MS)) != ERR_TIMEOUT)
            break;
}

static void look(struct house_process *h, uint32_t *pruned) WAITS
{
    struct house_config *c = house_config_hold(h);
    struct house_thread *t = &h->threads[0];
    struct report_sender s = {
        .deliver = &t->deliver, .relay = &t->relay.table, .set = report_settings_of(&c->all)};
    int64_t now = clock_wall_s();
    enum err e = report_send_due(&s, now);
    if (e != ERR_OK && e != ERR_CANCELED)
        LOG_WARN("report", "not all reports could be made: %s", err_text(e));
    uint32_t today = (uint32_t)(now / REPORT_DAY_S);
    if (*pruned != today && e != ERR_CANCELED) {
        e = report_prune(h->store, now, c->all.reports_keep / 1000);
        *pruned = e == ERR_OK ? today : *pruned;
    }
    house_config_drop(c);
}

static void flush_fiber(void *arg) WAITS
{
    while (wait_until(deadline_in_ms(REPORT_FLUSH_MS)) == ERR_TIMEOUT)
        (void)flush(arg);
}

/* Apart from the other: it may wait long for the DNS. */
static void send_fiber(void *arg) WAITS
{
    uint64_t pause = REPORT_LOOK_MS_FIRST;
    uint32_t pruned = 0;
    for (; wait_until(deadline_in_ms(pause)) == ERR_TIMEOUT; pause = REPORT_LOOK_MS)
        look(arg, &pruned);
}

enum err house_reports_start(struct house_process *h)
{
    TRY(fiber_start(&h->threads[0].group, "report notes", flush_fiber, h));
    return fiber_start(&h->threads[0].group, "report send", send_fiber, h);
}
