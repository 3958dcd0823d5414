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
    str name;
    bool started, listed;
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

/* RFC 5782 2.1: 127.0.0.0/8 lists; 127.255.255.0/24 is how lists say that they do not answer us. */
static bool answer_lists(const struct dns_answer *a)
{
    for (size_t i = 0; i < a->count; i++) {
        str ip = a->records[i].bytes;
        if (ip.len == 4 && ip.data[0] == 127 &&
            !((uint8_t)ip.data[1] == 255 && (uint8_t)ip.data[2] == 255))
            return true;
    }
    return false;
}

static void ask_zone(void *arg)
{
    struct dnsbl_zone *z = arg;
    struct dns_answer a;
    BUF_AUTO struct buf name = BUF_INIT(512);
    ARENA_AUTO struct arena arena = ARENA_INIT(ARENA_MAX);
    reversed(&z->list->source, &name);
    buf_addf(&name, ".%.*s", STR_ARG(z->name));
    if (dns_ask(z->list->dns, buf_str(&name), DNS_A, &arena, &a) == ERR_OK)
        z->listed = a.status == DNS_FOUND && answer_lists(&a);
}

enum err dnsbl_begin(const struct dns *dns, const struct address *source, const str *zones,
                     size_t nzones, struct dnsbl **out)
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
    b->count = MIN(nzones, (size_t)DNSBL_ZONES_MAX);
    for (size_t i = 0; i < b->count; i++) {
        struct dnsbl_zone *z = &b->zones[i];
        *z = (struct dnsbl_zone){.list = b, .name = zones[i]};
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

str dnsbl_end(struct dnsbl *b, uint64_t deadline_ms)
{
    while (b->group.count > 0 && event_wait(&b->group.ended, deadline_ms) == ERR_OK)
        ;
    end_fibers(b);
    for (size_t i = 0; i < b->count; i++) {
        struct dnsbl_zone *z = &b->zones[i];
        if (!z->started && clock_mono_ms() < deadline_ms)
            ask_zone(z);
        z->started = true;
        if (z->listed)
            return z->name;
    }
    return STR_NONE;
}

void dnsbl_free(struct dnsbl *b)
{
    if (!b)
        return;
    end_fibers(b);
    free(b); /* tidy: allow alloc because dnsbl_begin made it */
}
