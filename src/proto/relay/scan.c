/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/scan.h"

#include "base/num.h"
#include "core/scan.h"

#define FIELDS_MAX 262144
#define CONNECT_MS 5000

/* "http://host:port" is given the path where rspamd listens. */
static str full_url(str url, struct arena *arena)
{
    size_t scheme = str_find(url, STR("://"));
    str rest = str_skip(url, scheme == STR_NPOS ? 0 : scheme + 3);
    if (str_find_char(rest, '/') != STR_NPOS)
        return url;
    return arena_fmt(arena, "%.*s/checkv2", STR_ARG(url));
}

bool scan_url_valid(str url)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16384);
    return str_empty(url) || fetch_url_valid(full_url(url, &arena));
}

/* Values have no control characters (relay_wire). */
static void put(struct buf *out, const char *name, str value)
{
    if (!str_empty(value))
        buf_addf(out, "%s: %.*s\r\n", name, STR_ARG(value));
}

static void put_fields(const struct relay_scan *q, struct buf *out)
{
    BUF_AUTO struct buf ip = BUF_INIT(64);
    if (q->source.family > 1)
        address_render(&q->source, &ip);
    buf_addf(out, "From: <%.*s>\r\n", STR_ARG(q->sender));
    for (size_t i = 0; i < q->nrecipients; i++)
        buf_addf(out, "Rcpt: <%.*s>\r\n", STR_ARG(q->recipients[i]));
    if (q->nrecipients == 1)
        put(out, "Deliver-To", q->recipients[0]);
    put(out, "IP", buf_str(&ip));
    put(out, "Helo", q->helo);
    put(out, "Queue-Id", q->id);
    put(out, "User", q->user);
}

enum err scan_run(const struct fetch_options *o, str url, const struct relay_scan *q,
                  struct arena *arena, str *json)
{
    BUF_AUTO struct buf fields = BUF_INIT(FIELDS_MAX);
    struct fetch_options options = *o;
    struct relay_fetched answer;
    if (str_empty(url))
        return ERR_UNSUPPORTED;
    put_fields(q, &fields);
    if (!buf_ok(&fields))
        return ERR_LIMIT;
    struct fetch_upload up = {.fields = buf_str(&fields), .fd = q->fd, .size = q->size};
    options.connect_ms = MIN(q->timeout_ms, (uint64_t)CONNECT_MS);
    TRY(fetch_named(&options, full_url(url, arena), &up, SCAN_ANSWER_MAX, q->timeout_ms, arena,
                    &answer));
    *json = answer.body;
    return answer.status == 200 ? ERR_OK : ERR_SYNTAX;
}
