/* SPDX-License-Identifier: Apache-2.0 */
#include "app/json.h"

#include "base/utf8.h"

static void before_value(struct json *j)
{
    if (j->comma)
        buf_add_char(j->out, ',');
    j->comma = true;
}

void json_open(struct json *j, char bracket)
{
    before_value(j);
    buf_add_char(j->out, bracket);
    j->comma = false;
}

void json_close(struct json *j, char bracket)
{
    buf_add_char(j->out, bracket);
    j->comma = true;
}

static void put_string(struct buf *out, str s)
{
    buf_add_char(out, '"');
    while (!str_empty(s)) {
        uint32_t point;
        utf8_take(&s, &point);
        if (point == '"' || point == '\\')
            buf_addf(out, "\\%c", (char)point);
        else if (point < 0x20 || point == 0x7f)
            buf_addf(out, "\\u%04x", point);
        else
            utf8_add(out, point);
    }
    buf_add_char(out, '"');
}

void json_key(struct json *j, const char *key)
{
    before_value(j);
    put_string(j->out, str_c(key));
    buf_add_char(j->out, ':');
    j->comma = false;
}

void json_str(struct json *j, str value)
{
    before_value(j);
    put_string(j->out, value);
}

void json_u64(struct json *j, uint64_t value)
{
    before_value(j);
    buf_add_u64(j->out, value);
}

void json_bool(struct json *j, bool value)
{
    before_value(j);
    buf_add_c(j->out, value ? "true" : "false");
}

void json_raw(struct json *j, str value)
{
    before_value(j);
    buf_add(j->out, value);
}
