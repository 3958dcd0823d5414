/* SPDX-License-Identifier: Apache-2.0
 *
 * A message and what the DNS says about it, both hostile: "zone NUL message", in two splits, which
 * must agree; and the filter against forged results.
 */
#include <assert.h>
#include <stdlib.h>

#include "core/authres_filter.h"
#include "core/mail_auth.h"
#include "core/test_dns.h"

#define ZONE_LOOKUPS_MAX 4096 /* lines times questions: the table is slow, not the code */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge(str zone, str message, size_t step, struct arena *arena, str *field)
{
    struct test_dns t;
    struct mail_auth *m;
    struct mail_auth_verdict v;
    str sealer = STR("list.test");
    struct mail_auth_facts f = {.helo = STR("h.author.test"),
                                .sender = {STR("me"), STR("author.test")},
                                .hostname = STR("mx.here.test"),
                                .trusted_sealers = &sealer,
                                .ntrusted_sealers = 1};
    bool ok = address_parse(STR("192.0.2.1"), &f.source);
    assert(ok);
    test_dns_open(&t, zone);
    if (mail_auth_begin(&t.dns, &f, &m) != ERR_OK)
        return;
    for (size_t at = 0; at < message.len; at += step)
        mail_auth_content(m, str_sub(message, at, step));
    if (mail_auth_end(m, DEADLINE_NEVER, arena, &v) == ERR_OK)
        *field = v.field;
    mail_auth_free(m);
}

static void gather(void *context, str bytes) { buf_add(context, bytes); }

static void filter(str message, size_t step, struct buf *out)
{
    struct authres_filter f = {.id = STR("mx.here.test"), .sink = gather, .context = out};
    for (size_t at = 0; at < message.len; at += step)
        authres_filter_add(&f, str_sub(message, at, step));
    authres_filter_end(&f);
    authres_filter_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str zone, message, whole = STR_NONE, pieces = STR_NONE;
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    BUF_AUTO struct buf one = BUF_INIT(1 << 20), two = BUF_INIT(1 << 20);
    if (size > 32768)
        return 0;
    str_cut(str_of(data, size), '\0', &zone, &message);
    zone = str_head(zone, ZONE_LOOKUPS_MAX);
    judge(zone, message, SIZE_MAX / 2, &arena, &whole);
    judge(zone, message, 7, &arena, &pieces);
    assert(str_eq(whole, pieces));
    assert(str_empty(whole) || (str_ends(whole, STR("\r\n")) && whole.len > 2));
    filter(message, SIZE_MAX / 2, &one);
    filter(message, 5, &two);
    assert(str_eq(buf_str(&one), buf_str(&two)) && one.len <= message.len);
    return 0;
}
