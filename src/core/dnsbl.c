/* SPDX-License-Identifier: Apache-2.0 */
#include "core/dnsbl.h"

#include <stdlib.h>

#include "base/num.h"
#include "core/dns_name.h"
#include "os/fiber.h"
#include "os/loop.h"

#define ARENA_MAX 65536 /* bytes for the answers of one list */

struct dnsbl_zone {
    struct dnsbl *list;
    const struct dnsbl_site *site;
    bool started, listed;
    char reason[DNSBL_REASON_MAX];
    size_t reason_len;
};
struct dnsbl {
    const struct dns *dns;
    struct address source;
    struct fiber_group group;
    struct dnsbl_zone zones[DNSBL_ZONES_MAX];
    size_t count;
};

/* The reversed address without its tree: "2.0.0.127". */
static void reversed(const struct address *a, struct buf *out)
{
    dns_reverse_name(a->ip, a->family == 6 ? 16 : 4, out);
    buf_truncate(out,
                 out->len - (a->family == 6 ? sizeof(".ip6.arpa") : sizeof(".in-addr.arpa")) + 1);
}

static bool answer_lists(const struct dns_answer *a, const struct dnsbl_site *site)
{
    for (size_t i = 0; i < a->count; i++) {
        str ip = a->records[i].bytes;
        if (ip.len == 4 && dnsbl_site_matches(site, (const uint8_t *)ip.data))
            return true;
    }
    return false;
}

/* A stranger's words that go into a reply. */
static void keep_reason(struct dnsbl_zone *z, str text)
{
    z->reason_len = 0;
    for (size_t i = 0; i < text.len && z->reason_len < sizeof(z->reason); i++) {
        uint8_t c = (uint8_t)text.data[i];
        z->reason[z->reason_len++] = c >= ' ' && c < 0x7f ? (char)c : '?';
    }
}

static void ask_zone(void *arg) WAITS
{
    struct dnsbl_zone *z = arg;
    const struct dns *dns = z->list->dns;
    struct dns_answer a;
    BUF_AUTO struct buf name = BUF_INIT(512);
    ARENA_AUTO struct arena arena = ARENA_INIT(ARENA_MAX);
    reversed(&z->list->source, &name);
    buf_addf(&name, ".%.*s", STR_ARG(z->site->zone));
    if (dns_ask(dns, buf_str(&name), DNS_A, &arena, &a) != ERR_OK || a.status != DNS_FOUND)
        return;
    z->listed = answer_lists(&a, z->site); /* counts, whether the reason comes in time or not */
    if (!z->listed || z->site->allows)
        return;
    if (dns_ask(dns, buf_str(&name), DNS_TXT, &arena, &a) == ERR_OK && a.status == DNS_FOUND)
        keep_reason(z, a.records[0].bytes);
}

enum err dnsbl_begin(const struct dns *dns, const struct address *source,
                     const struct dnsbl_site *sites, size_t n, struct dnsbl **out)
{
    if (source->family != 4 && source->family != 6)
        return ERR_INVALID;
    /* tidy: allow alloc because fibers point into it for as long as it lives */
    struct dnsbl *b = calloc(1, sizeof(*b));
    if (!b)
        return ERR_NOMEM;
    b->dns = dns;
    b->source = *source;
    fiber_group_init(&b->group);
    b->count = MIN(n, (size_t)DNSBL_ZONES_MAX);
    for (size_t i = 0; i < b->count; i++) {
        struct dnsbl_zone *z = &b->zones[i];
        z->list = b;
        z->site = &sites[i];
        z->started = loop_current() && fiber_current() &&
                     fiber_start(&b->group, "block list", ask_zone, z) == ERR_OK;
    }
    *out = b;
    return ERR_OK;
}

static void end_fibers(struct dnsbl *b) WAITS
{
    if (b->group.count == 0)
        return;
    fiber_group_cancel(&b->group);
    fiber_group_join(&b->group);
}

void dnsbl_end(struct dnsbl *b, uint64_t deadline_ms, struct dnsbl_verdict *out)
{
    *out = (struct dnsbl_verdict){0};
    while (b->group.count > 0 && event_wait(&b->group.ended, deadline_ms) == ERR_OK)
        ;
    end_fibers(b);
    for (size_t i = 0; i < b->count; i++) {
        struct dnsbl_zone *z = &b->zones[i];
        if (!z->started && clock_mono_ms() < deadline_ms)
            ask_zone(z);
        z->started = true;
        if (!z->listed)
            continue;
        out->allowed |= z->site->allows;
        out->score += z->site->allows ? 0 : z->site->weight;
        if (z->site->allows || !str_empty(out->zone))
            continue;
        out->zone = z->site->zone;
        out->reason = str_of(z->reason, z->reason_len);
    }
}

void dnsbl_free(struct dnsbl *b)
{
    if (!b)
        return;
    end_fibers(b);
    free(b); /* tidy: allow alloc because dnsbl_begin made it */
}
