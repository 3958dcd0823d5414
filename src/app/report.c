/* SPDX-License-Identifier: Apache-2.0 */
#include "app/report.h"

#include "base/utf8.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define MESSAGE_MAX 65536

void report_open(struct report *r, bool json, struct buf *out)
{
    *r = (struct report){.json = json, .out = out, .j = json_of(out)};
    buf_init(&r->message, MESSAGE_MAX);
    if (!json)
        return;
    json_open(&r->j, '{');
    json_key(&r->j, "ok");
    json_bool(&r->j, true);
}

void report_close(struct report *r)
{
    if (r->json && !r->discarded) {
        if (r->message.len > 0) {
            json_key(&r->j, "message");
            json_str(&r->j, buf_str(&r->message));
        }
        json_close(&r->j, '}');
        buf_add_char(r->out, '\n');
    }
    buf_free(&r->message);
}

void report_discard(struct report *r)
{
    r->discarded = true;
    buf_reset(r->out);
}

void report_failure(struct report *r, enum err e, str text, struct buf *errors)
{
    buf_reset(r->out);
    buf_free(&r->message);
    if (!r->json) {
        buf_addf(errors, "posthouse: %.*s\n", STR_ARG(text));
        return;
    }
    r->j = json_of(r->out);
    json_open(&r->j, '{');
    json_key(&r->j, "ok");
    json_bool(&r->j, false);
    json_key(&r->j, "code");
    json_str(&r->j, str_c(err_name(e)));
    json_key(&r->j, "error");
    json_str(&r->j, text);
    json_close(&r->j, '}');
    buf_add_char(r->out, '\n');
}

void report_say(struct report *r, const char *fmt, ...)
{
    char line[2048];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    str text = str_of(line, n < 0 ? 0 : (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
    if (!r->json) {
        buf_add(r->out, text);
        buf_add_char(r->out, '\n');
        return;
    }
    if (r->message.len > 0)
        buf_add_char(&r->message, '\n');
    buf_add(&r->message, text);
}

void report_list(struct report *r, const char *key)
{
    if (!r->json)
        return;
    json_key(&r->j, key);
    json_open(&r->j, '[');
}

void report_list_end(struct report *r)
{
    if (r->json)
        json_close(&r->j, ']');
}

void report_item(struct report *r)
{
    r->in_item = r->first = true;
    if (r->json)
        json_open(&r->j, '{');
}

void report_item_end(struct report *r)
{
    r->in_item = false;
    if (r->json)
        json_close(&r->j, '}');
    else
        buf_add_char(r->out, '\n');
}

/* Of both sets of control characters (ISO 6429), and those that turn the text about (UAX 9). */
static bool is_obeyed(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* What a terminal obeys never reaches it from stored text. */
static void add_plain(struct buf *out, str s)
{
    while (s.len > 0) {
        uint32_t c;
        if (!utf8_take(&s, &c) || is_obeyed(c))
            buf_add_char(out, '?');
        else
            utf8_add(out, c);
    }
}

static void text_field(struct report *r, const char *key, str value)
{
    if (str_empty(value))
        return;
    if (!r->in_item)
        buf_addf(r->out, "%s: ", key);
    else if (!r->first)
        buf_addf(r->out, "  %s=", key);
    r->first = false;
    add_plain(r->out, value);
    if (!r->in_item)
        buf_add_char(r->out, '\n');
}

void report_str(struct report *r, const char *key, str value)
{
    if (!r->json) {
        text_field(r, key, value);
        return;
    }
    json_key(&r->j, key);
    json_str(&r->j, value);
}

void report_u64(struct report *r, const char *key, uint64_t value)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    if (!r->json) {
        text_field(r, key, str_of(digits, (size_t)n));
        return;
    }
    json_key(&r->j, key);
    json_u64(&r->j, value);
}

void report_bool(struct report *r, const char *key, bool value)
{
    if (!r->json) {
        if (value)
            text_field(r, key, STR("yes"));
        return;
    }
    json_key(&r->j, key);
    json_bool(&r->j, value);
}

void report_time(struct report *r, const char *key, int64_t wall_s)
{
    if (wall_s == 0)
        return;
    char text[40];
    struct tm tm;
    time_t t = (time_t)wall_s;
    gmtime_r(&t, &tm);
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    report_str(r, key, str_of(text, n));
}

void report_strs(struct report *r, const char *key, const str *values, size_t n)
{
    if (r->json) {
        json_key(&r->j, key);
        json_open(&r->j, '[');
        for (size_t i = 0; i < n; i++)
            json_str(&r->j, values[i]);
        json_close(&r->j, ']');
        return;
    }
    BUF_AUTO struct buf joined = BUF_INIT(1048576);
    for (size_t i = 0; i < n; i++)
        buf_addf(&joined, "%s%.*s", i ? "," : "", STR_ARG(values[i]));
    text_field(r, key, buf_str(&joined));
}

/* A list of objects is a line for each; all else stands as it is. */
static bool text_rows(struct report *r, const char *key, str value)
{
    json_t *rows = json_loadb(value.data, value.len, JSON_REJECT_DUPLICATES, NULL), *row, *field;
    const char *name;
    size_t i;
    if (json_is_array(rows))
        report_list(r, key);
    json_array_foreach(rows, i, row)
    {
        report_item(r);
        json_object_foreach(row, name, field)
        {
            if (json_is_string(field))
                report_str(r, name, str_c(json_string_value(field)));
            else if (json_is_integer(field))
                report_u64(r, name, (uint64_t)json_integer_value(field));
            else if (json_is_boolean(field))
                report_bool(r, name, json_is_true(field));
        }
        report_item_end(r);
    }
    bool is_list = json_is_array(rows);
    if (is_list)
        report_list_end(r);
    json_decref(rows);
    return is_list;
}

void report_json(struct report *r, const char *key, str value)
{
    if (!r->json) {
        if (!text_rows(r, key, value))
            text_field(r, key, value);
        return;
    }
    json_key(&r->j, key);
    json_raw(&r->j, value);
}
