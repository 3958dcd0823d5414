/* SPDX-License-Identifier: Apache-2.0 */
#include "format/tls_report.h"

#include "base/num.h"
#include "base/utf8.h"
#include "format/date.h"

#include <jansson.h>
#include <string.h>

/* ---- writing ---- */

/* Sticky: after a failure nothing is added and `failed` is set. */
struct writer {
    bool failed;
};

static json_t *kept(struct writer *w, json_t *j)
{
    w->failed |= !j;
    return j;
}

static void set(struct writer *w, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        w->failed = true;
}

static json_t *text(struct writer *w, str s)
{
    BUF_AUTO struct buf clean = BUF_INIT(65536);
    utf8_add_lossy(&clean, s);
    w->failed |= !buf_ok(&clean);
    return kept(w, json_stringn(clean.data ? clean.data : "", clean.len));
}

static void set_text(struct writer *w, json_t *object, const char *key, str s)
{
    if (!str_empty(s))
        set(w, object, key, text(w, s));
}

static void set_texts(struct writer *w, json_t *object, const char *key, const str *s, size_t n)
{
    json_t *list = kept(w, json_array());
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list, text(w, s[i])) != 0)
            w->failed = true;
    set(w, object, key, list);
}

static void set_time(struct writer *w, json_t *object, const char *key, int64_t seconds)
{
    BUF_AUTO struct buf time = BUF_INIT(64);
    date_render_rfc3339(&time, seconds);
    set_text(w, object, key, buf_str(&time));
}

static json_t *failure(struct writer *w, const struct tls_report_failure *f)
{
    json_t *j = kept(w, json_object());
    set_text(w, j, "result-type", f->type);
    set_text(w, j, "sending-mta-ip", f->sending_ip);
    set_text(w, j, "receiving-mx-hostname", f->mx);
    set_text(w, j, "receiving-mx-helo", f->helo);
    set_text(w, j, "receiving-ip", f->receiving_ip);
    set(w, j, "failed-session-count", kept(w, json_integer((json_int_t)f->count)));
    set_text(w, j, "additional-information", f->information);
    set_text(w, j, "failure-reason-code", f->reason);
    return j;
}

static json_t *policy(struct writer *w, const struct tls_report_policy *p)
{
    json_t *j = kept(w, json_object()), *what = kept(w, json_object());
    json_t *summary = kept(w, json_object()), *failures = kept(w, json_array());
    set_text(w, what, "policy-type", p->type);
    if (p->nstrings > 0)
        set_texts(w, what, "policy-string", p->strings, p->nstrings);
    set_text(w, what, "policy-domain", p->domain);
    if (p->nmx > 0)
        set_texts(w, what, "mx-host", p->mx, p->nmx);
    set(w, summary, "total-successful-session-count",
        kept(w, json_integer((json_int_t)p->successful)));
    set(w, summary, "total-failure-session-count", kept(w, json_integer((json_int_t)p->failed)));
    for (size_t i = 0; i < p->nfailures; i++)
        if (json_array_append_new(failures, failure(w, &p->failures[i])) != 0)
            w->failed = true;
    set(w, j, "policy", what);
    set(w, j, "summary", summary);
    if (p->nfailures > 0)
        set(w, j, "failure-details", failures);
    else
        json_decref(failures);
    return j;
}

static int add_bytes(const char *bytes, size_t len, void *out)
{
    buf_add(out, str_of(bytes, len));
    return 0;
}

enum err tls_report_render(struct buf *out, const struct tls_report *r)
{
    struct writer w = {0};
    json_t *j = kept(&w, json_object()), *range = kept(&w, json_object());
    json_t *policies = kept(&w, json_array());
    set_text(&w, j, "organization-name", r->organization);
    set_time(&w, range, "start-datetime", r->begin_s);
    set_time(&w, range, "end-datetime", r->end_s);
    set(&w, j, "date-range", range);
    set_text(&w, j, "contact-info", r->contact);
    set_text(&w, j, "report-id", r->report_id);
    for (size_t i = 0; i < r->npolicies; i++)
        if (json_array_append_new(policies, policy(&w, &r->policies[i])) != 0)
            w.failed = true;
    set(&w, j, "policies", policies);
    if (!w.failed && json_dump_callback(j, add_bytes, out, JSON_INDENT(1)) != 0)
        w.failed = true;
    json_decref(j);
    return w.failed ? ERR_NOMEM : buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

/* ---- reading ---- */

/* Brackets outside of strings, and what they hold. */
static enum err look_first(str json)
{
    size_t depth = 0, values = 0;
    bool quoted = false;
    if (json.len > TLS_REPORT_BYTES_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.data[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (quoted)
            continue;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        if (quoted || (c != '{' && c != '[' && c != ','))
            continue;
        depth += c != ',';
        if (depth > TLS_REPORT_DEPTH_MAX || ++values > TLS_REPORT_VALUES_MAX)
            return ERR_LIMIT;
    }
    return ERR_OK;
}

struct parse {
    struct arena *arena;
    enum err err;
};

static str copy(struct parse *p, const json_t *j)
{
    str s = STR_NONE;
    if (!json_is_string(j))
        return STR_NONE;
    str all = str_head(str_of(json_string_value(j), json_string_length(j)), TLS_REPORT_TEXT_MAX);
    while (!utf8_valid(all)) /* cut inside of a character */
        all = str_head(all, all.len - 1);
    char *to = arena_alloc(p->arena, all.len + 1);
    if (!to) {
        p->err = ERR_LIMIT;
        return s;
    }
    for (size_t i = 0; i < all.len; i++) {
        uint8_t c = (uint8_t)all.data[i];
        to[i] = (char)(c < 0x20 || c == 0x7f ? ' ' : c);
    }
    return str_of(to, all.len);
}

static str get(struct parse *p, const json_t *object, const char *key)
{
    return copy(p, json_object_get(object, key));
}

/* A list, or one text where a list should be. */
static void get_texts(struct parse *p, const json_t *j, const str **out, size_t *n)
{
    size_t count = json_is_string(j) ? 1 : MIN(json_array_size(j), (size_t)TLS_REPORT_STRINGS_MAX);
    str *list = ARENA_ARRAY(p->arena, str, count + 1);
    if (!list)
        p->err = ERR_LIMIT;
    for (size_t i = 0; list && i < count; i++)
        list[i] = copy(p, json_is_string(j) ? j : json_array_get(j, i));
    *out = list;
    *n = list ? count : 0;
}

static uint64_t get_count(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));
    return n < 0 ? 0 : MIN((uint64_t)n, (uint64_t)TLS_REPORT_COUNT_MAX);
}

static bool digits(str *s, size_t n, int *out)
{
    uint64_t value;
    if (s->len < n || !num_parse_u64(str_head(*s, n), 9999, &value))
        return false;
    *out = (int)value;
    *s = str_skip(*s, n);
    return true;
}

static bool literal(str *s, const char *chars)
{
    if (str_empty(*s) || !strchr(chars, s->data[0]) || !s->data[0])
        return false;
    *s = str_skip(*s, 1);
    return true;
}

/* RFC 3339 5.6. */
static bool parse_time(str s, int64_t *out)
{
    int y, mo, d, h, mi, se, zh = 0, zm = 0;
    if (!digits(&s, 4, &y) || !literal(&s, "-") || !digits(&s, 2, &mo) || !literal(&s, "-") ||
        !digits(&s, 2, &d) || !literal(&s, "Tt ") || !digits(&s, 2, &h) || !literal(&s, ":") ||
        !digits(&s, 2, &mi) || !literal(&s, ":") || !digits(&s, 2, &se))
        return false;
    if (mo < 1 || mo > 12 || d < 1 || d > 31 || h > 24 || mi > 59 || se > 60)
        return false;
    if (literal(&s, "."))
        while (!str_empty(s) && s.data[0] >= '0' && s.data[0] <= '9')
            s = str_skip(s, 1);
    bool west = str_starts(s, STR("-"));
    if (!str_empty(s) && !literal(&s, "Zz") &&
        (!literal(&s, "+-") || !digits(&s, 2, &zh) || !literal(&s, ":") || !digits(&s, 2, &zm)))
        return false;
    int64_t zone = (int64_t)zh * 3600 + (int64_t)zm * 60;
    *out = date_days(y, mo, d) * 86400 + h * 3600 + mi * 60 + se - (west ? -zone : zone);
    return str_empty(s);
}

static void take_failures(struct parse *p, const json_t *j, struct tls_report_policy *out)
{
    size_t n = MIN(json_array_size(j), (size_t)TLS_REPORT_FAILURES_MAX);
    struct tls_report_failure *list = ARENA_ARRAY(p->arena, struct tls_report_failure, n + 1);
    if (!list)
        p->err = ERR_LIMIT;
    for (size_t i = 0; list && i < n; i++) {
        const json_t *f = json_array_get(j, i);
        list[i] = (struct tls_report_failure){
            .type = get(p, f, "result-type"),
            .sending_ip = get(p, f, "sending-mta-ip"),
            .mx = get(p, f, "receiving-mx-hostname"),
            .helo = get(p, f, "receiving-mx-helo"),
            .receiving_ip = get(p, f, "receiving-ip"),
            .information = get(p, f, "additional-information"),
            .reason = get(p, f, "failure-reason-code"),
            .count = get_count(f, "failed-session-count"),
        };
    }
    out->failures = list;
    out->nfailures = list ? n : 0;
}

static void take_policies(struct parse *p, const json_t *j, struct tls_report *out)
{
    size_t n = MIN(json_array_size(j), (size_t)TLS_REPORT_POLICIES_MAX);
    struct tls_report_policy *list = ARENA_ARRAY(p->arena, struct tls_report_policy, n + 1);
    if (!list)
        p->err = ERR_LIMIT;
    for (size_t i = 0; list && i < n && p->err == ERR_OK; i++) {
        const json_t *one = json_array_get(j, i), *what = json_object_get(one, "policy");
        const json_t *summary = json_object_get(one, "summary");
        list[i].type = get(p, what, "policy-type");
        list[i].domain = get(p, what, "policy-domain");
        get_texts(p, json_object_get(what, "policy-string"), &list[i].strings, &list[i].nstrings);
        get_texts(p, json_object_get(what, "mx-host"), &list[i].mx, &list[i].nmx);
        list[i].successful = get_count(summary, "total-successful-session-count");
        list[i].failed = get_count(summary, "total-failure-session-count");
        take_failures(p, json_object_get(one, "failure-details"), &list[i]);
    }
    out->policies = list;
    out->npolicies = list ? n : 0;
}

enum err tls_report_parse(struct arena *a, str json, struct tls_report *out)
{
    struct parse p = {.arena = a};
    *out = (struct tls_report){0};
    TRY(look_first(json));
    json_t *j = json_loadb(json.data ? json.data : "", json.len, 0, NULL);
    const json_t *range = json_object_get(j, "date-range");
    if (json_is_array(json_object_get(j, "policies"))) {
        out->organization = get(&p, j, "organization-name");
        out->contact = get(&p, j, "contact-info");
        out->report_id = get(&p, j, "report-id");
        take_policies(&p, json_object_get(j, "policies"), out);
    }
    bool whole = !str_empty(out->report_id) && out->npolicies > 0 &&
                 parse_time(get(&p, range, "start-datetime"), &out->begin_s) &&
                 parse_time(get(&p, range, "end-datetime"), &out->end_s) &&
                 out->begin_s <= out->end_s;
    json_decref(j);
    return p.err != ERR_OK ? p.err : whole ? ERR_OK : ERR_SYNTAX;
}
