/* SPDX-License-Identifier: Apache-2.0
 *
 * test_dns: struct dns over a zone in a text, for the tests of mail authentication. One record a
 * line: "name TYPE value"; an MX has its preference first; "name FAIL" and "name BOGUS" answer so
 * for every type. A name exists when it, or one below it, has a line.
 */
#ifndef CORE_TEST_DNS_H
#define CORE_TEST_DNS_H

#include <string.h>

#include "base/num.h"
#include "core/dns_name.h"
#include "os/sock.h"

struct test_dns {
    struct dns dns;
    str zone;
    unsigned asked;
};

static const struct test_dns_type {
    str name;
    enum dns_type type;
} test_dns_types[] = {
    {STR_INIT("A"), DNS_A},     {STR_INIT("AAAA"), DNS_AAAA},   {STR_INIT("MX"), DNS_MX},
    {STR_INIT("TXT"), DNS_TXT}, {STR_INIT("CNAME"), DNS_CNAME}, {STR_INIT("PTR"), DNS_PTR},
};

static inline bool test_dns_is(str word, enum dns_type type)
{
    for (size_t i = 0; i < ARRAY_LEN(test_dns_types); i++)
        if (str_eq(test_dns_types[i].name, word))
            return test_dns_types[i].type == type;
    return false;
}

static inline enum err test_dns_value(struct arena *a, str value, enum dns_type type,
                                      struct dns_record *out)
{
    struct address ip;
    str word = value;
    *out = (struct dns_record){.bytes = value};
    switch (type) {
    case DNS_A:
    case DNS_AAAA:
        if (!address_parse(value, &ip))
            return ERR_SYNTAX;
        return arena_dup(a, str_of(ip.ip, type == DNS_A ? 4 : 16), &out->bytes) ? ERR_OK
                                                                                : ERR_NOMEM;
    case DNS_MX:
        str_cut(value, ' ', &word, &value);
        out->preference = (uint16_t)word.len;
        out->name = str_eq(value, STR(".")) ? STR_NONE : value;
        return ERR_OK;
    default:
        out->name = value;
        return ERR_OK;
    }
}

static inline enum err test_dns_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                                      struct dns_answer *out)
{
    struct test_dns *t = ctx;
    str rest = t->zone, line;
    struct dns_record *records = ARENA_ARRAY(arena, struct dns_record, DNS_RECORDS_MAX);
    if (!records)
        return ERR_LIMIT;
    t->asked++;
    *out = (struct dns_answer){.status = DNS_NXDOMAIN, .canonical = name, .records = records};
    while (rest.len) {
        str owner, word, value;
        str_cut(rest, '\n', &line, &rest);
        str_cut(line, ' ', &owner, &value);
        str_cut(value, ' ', &word, &value);
        if (!owner.len || !dns_name_within(owner, name))
            continue;
        if (out->status == DNS_NXDOMAIN)
            out->status = DNS_NODATA;
        if (!str_eq_nocase(owner, name))
            continue;
        if (str_eq(word, STR("FAIL")) || str_eq(word, STR("BOGUS"))) {
            *out = (struct dns_answer){.status = word.len == 4 ? DNS_FAILED : DNS_BOGUS};
            return ERR_OK;
        }
        if (str_eq(word, STR("CNAME")) && type != DNS_CNAME && t->asked < 1000000)
            return test_dns_query(ctx, value, type, arena, out);
        if (!test_dns_is(word, type) || out->count == DNS_RECORDS_MAX)
            continue;
        if (test_dns_value(arena, value, type, &records[out->count]) != ERR_OK)
            continue;
        out->count++;
        out->status = DNS_FOUND;
    }
    return ERR_OK;
}

static inline void test_dns_open(struct test_dns *t, str zone)
{
    *t = (struct test_dns){.zone = zone};
    t->dns = (struct dns){.ctx = t, .query = test_dns_query};
}

#endif
