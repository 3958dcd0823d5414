/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/mx.h"

#include "format/smtp_syntax.h"
#include "os/rand.h"

#include <idn2.h>
#include <string.h>

/* ---- names ---- */

bool mx_domain_ascii(str domain, struct arena *arena, str *out)
{
    str copy;
    uint8_t *label = NULL;
    if (str_ends(domain, STR(".")))
        domain.len--;
    if (str_empty(domain) || domain.len > 1024 || str_find_char(domain, 0) != STR_NPOS ||
        !arena_dup(arena, domain, &copy))
        return false;
    int rc =
        idn2_lookup_u8((const uint8_t *)copy.data, &label, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK) { /* names that hosts do have, such as those with '_' */
        *out = copy;
        for (size_t i = 0; i < copy.len; i++) {
            char *c = (char *)(uintptr_t)&copy.data[i];
            if ((uint8_t)*c >= 0x80)
                return false;
            *c = char_lower(*c);
        }
        return copy.len <= DNS_NAME_MAX;
    }
    bool ok = arena_dup(arena, str_c((const char *)label), out);
    idn2_free(label);
    return ok && out->len <= DNS_NAME_MAX;
}

/* ---- the list ---- */

/* By preference; equal ones by chance (RFC 5321 5.1). */
static void order(struct mx_host *hosts, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rand_below(i);
        struct mx_host swap = hosts[i - 1];
        hosts[i - 1] = hosts[j];
        hosts[j] = swap;
    }
    for (size_t i = 1; i < n; i++) { /* stable; n is small */
        struct mx_host h = hosts[i];
        size_t j = i;
        for (; j > 0 && hosts[j - 1].preference > h.preference; j--)
            hosts[j] = hosts[j - 1];
        hosts[j] = h;
    }
}

/* True when we are in the list: we are closer to the destination than what is left out. */
static bool leave_out_self(struct mx_host *hosts, size_t *n, str own_name)
{
    uint32_t best = UINT32_MAX;
    for (size_t i = 0; i < *n; i++) {
        if (str_eq_nocase(hosts[i].name, own_name) && hosts[i].preference < best)
            best = hosts[i].preference;
    }
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        if (hosts[i].preference < best)
            hosts[kept++] = hosts[i];
    }
    *n = kept;
    return best != UINT32_MAX;
}

static enum mx_status take_records(const struct dns_answer *a, str own_name, struct arena *arena,
                                   struct mx_route *out)
{
    struct mx_host *hosts = ARENA_ARRAY(arena, struct mx_host, a->count + 1);
    size_t n = 0;
    if (!hosts)
        return MX_FAILED;
    for (size_t i = 0; i < a->count; i++) {
        if (!str_empty(a->records[i].name))
            hosts[n++] = (struct mx_host){a->records[i].name, a->records[i].preference};
    }
    if (n == 0)
        return MX_NULL; /* RFC 7505 3 */
    order(hosts, n);
    bool self = leave_out_self(hosts, &n, own_name);
    if (n == 0 && self)
        return MX_LOOP;
    out->hosts = hosts;
    out->count = n < MX_HOSTS_MAX ? n : MX_HOSTS_MAX;
    out->secure = a->secure;
    return MX_OK;
}

enum mx_status mx_find(const struct dns *dns, str domain, str own_name, struct arena *arena,
                       struct mx_route *out)
{
    str name;
    struct dns_answer a;
    *out = (struct mx_route){0};
    if (!mx_domain_ascii(domain, arena, &name))
        return MX_NO_DOMAIN;
    enum err e = dns->query(dns->ctx, name, DNS_MX, arena, &a);
    if (e != ERR_OK)
        return e == ERR_SYNTAX ? MX_NO_DOMAIN : MX_FAILED;
    switch (a.status) {
    case DNS_FOUND:
        return take_records(&a, own_name, arena, out);
    case DNS_NXDOMAIN:
        return MX_NO_DOMAIN;
    case DNS_NODATA:
        break;
    default:
        return MX_FAILED;
    }
    /* RFC 5321 5.1: the implicit MX. That there is no MX was validated or not, too. */
    out->hosts = ARENA_NEW(arena, struct mx_host);
    if (!out->hosts)
        return MX_FAILED;
    out->hosts[0] = (struct mx_host){.name = name};
    out->count = 1;
    out->secure = a.secure;
    out->implicit = true;
    return str_eq_nocase(name, own_name) ? MX_LOOP : MX_OK;
}

/* ---- addresses ---- */

static bool usable(const struct address *a, bool private_ok)
{
    static const uint8_t zero[16];
    bool multicast = a->family == 4 ? a->ip[0] >= 224 : a->ip[0] == 0xff;
    bool none = a->family == 4 ? a->ip[0] == 0 : memcmp(a->ip, zero, 16) == 0;
    return !multicast && !none && (private_ok || !address_is_private(a));
}

static enum mx_status literal(str host, uint16_t port, bool private_ok, struct mx_addresses *out)
{
    str ip;
    bool v6;
    if (!smtp_address_literal(host, &ip, &v6) || !address_parse(ip, &out->list[0]))
        return MX_NO_DOMAIN;
    out->list[0].port = port;
    out->refused = !usable(&out->list[0], private_ok);
    out->count = !out->refused;
    return out->count > 0 ? MX_OK : MX_NO_DOMAIN;
}

static size_t take_family(const struct dns_answer *a, uint8_t family, uint16_t port,
                          bool private_ok, struct address *list, bool *refused)
{
    size_t n = 0;
    for (size_t i = 0; a->status == DNS_FOUND && i < a->count && n < MX_ADDRESSES_MAX; i++) {
        struct address at = {.family = family, .port = port};
        memcpy(at.ip, a->records[i].bytes.data, family == 4 ? 4 : 16);
        if (usable(&at, private_ok))
            list[n++] = at;
        else
            *refused = true;
    }
    for (size_t i = n; i > 1; i--) { /* load is spread over a host's addresses */
        size_t j = (size_t)rand_below(i);
        struct address swap = list[i - 1];
        list[i - 1] = list[j];
        list[j] = swap;
    }
    return n;
}

enum mx_status mx_addresses(const struct dns *dns, str host, uint16_t port, bool ipv6,
                            bool private_ok, struct arena *arena, struct mx_addresses *out)
{
    struct dns_answer a4, a6 = {.status = DNS_NODATA};
    struct address v4[MX_ADDRESSES_MAX], v6[MX_ADDRESSES_MAX];
    *out = (struct mx_addresses){.canonical = host};
    if (str_starts(host, STR("[")))
        return literal(host, port, private_ok, out);
    str name;
    if (!mx_domain_ascii(host, arena, &name))
        return MX_NO_DOMAIN;
    out->canonical = name;
    enum err e = dns->query(dns->ctx, name, DNS_A, arena, &a4);
    if (e == ERR_OK && ipv6)
        e = dns->query(dns->ctx, name, DNS_AAAA, arena, &a6);
    if (e != ERR_OK)
        return e == ERR_SYNTAX ? MX_NO_DOMAIN : MX_FAILED;
    if (a4.status == DNS_BOGUS || a6.status == DNS_BOGUS)
        return MX_FAILED;
    size_t n4 = take_family(&a4, 4, port, private_ok, v4, &out->refused);
    size_t n6 = take_family(&a6, 6, port, private_ok, v6, &out->refused);
    for (size_t i4 = 0, i6 = 0; out->count < MX_ADDRESSES_MAX && (i4 < n4 || i6 < n6);) {
        if (i6 < n6)
            out->list[out->count++] = v6[i6++];
        if (i4 < n4 && out->count < MX_ADDRESSES_MAX)
            out->list[out->count++] = v4[i4++];
    }
    out->secure = a4.secure && (!ipv6 || a6.secure);
    if (a4.status == DNS_FOUND && !str_empty(a4.canonical))
        out->canonical = a4.canonical;
    else if (a6.status == DNS_FOUND && !str_empty(a6.canonical))
        out->canonical = a6.canonical;
    if (out->count > 0)
        return MX_OK;
    out->refused = out->refused && n4 + n6 == 0;
    return a4.status == DNS_FAILED || a6.status == DNS_FAILED ? MX_FAILED : MX_NO_DOMAIN;
}
