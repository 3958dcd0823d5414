/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/dane.h"

/* RFC 7672 3.1: usages 0 and 1 are not for SMTP; RFC 6698 2.1. */
static bool usable(const struct dns_record *r)
{
    if ((r->usage != 2 && r->usage != 3) || r->selector > 1)
        return false;
    switch (r->matching) {
    case 0:
        return r->bytes.len > 0;
    case 1:
        return r->bytes.len == 32;
    case 2:
        return r->bytes.len == 64;
    default:
        return false;
    }
}

static struct dane look_up(const struct dns *dns, str base, uint16_t port,
                           struct arena *arena) WAITS
{
    struct dane out = {.status = DANE_FAILED, .base = base};
    struct dns_answer a;
    str name = arena_fmt(arena, "_%u._tcp.%.*s", port, STR_ARG(base));
    if (str_empty(name) || dns->query(dns->ctx, name, DNS_TLSA, arena, &a) != ERR_OK)
        return out;
    if (a.status == DNS_FAILED || a.status == DNS_BOGUS)
        return out;
    out.status = DANE_ABSENT;
    if (a.status != DNS_FOUND || !a.secure)
        return out;
    out.records = ARENA_ARRAY(arena, struct tls_dane_record, DANE_RECORDS_MAX);
    for (size_t i = 0; out.records && i < a.count && out.count < DANE_RECORDS_MAX; i++) {
        const struct dns_record *r = &a.records[i];
        if (usable(r))
            out.records[out.count++] =
                (struct tls_dane_record){r->usage, r->selector, r->matching, r->bytes};
    }
    out.status = out.count > 0 ? DANE_VERIFY : DANE_ENCRYPT;
    return out;
}

/* RFC 7672 2.2.2: the name after the CNAMEs first, then the name itself. */
struct dane dane_find(const struct dns *dns, str host, str canonical, uint16_t port,
                      struct arena *arena)
{
    if (!str_empty(canonical) && !str_eq_nocase(host, canonical)) {
        struct dane d = look_up(dns, canonical, port, arena);
        if (d.status != DANE_ABSENT)
            return d;
    }
    return look_up(dns, host, port, arena);
}
