/* SPDX-License-Identifier: Apache-2.0 */
#include "format/received.h"

#include "base/num.h"
#include "format/date.h"
#include "format/header.h"

/* Inside a field or comment: no controls, no parentheses, no backslash. */
static void add_safe(struct buf *out, str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i];
        bool bad = c <= 0x20 || c == 0x7f || c == '(' || c == ')' || c == '\\' || c == ';' ||
                   c == '<' || c == '>';
        buf_add_char(out, bad ? '?' : (char)c);
    }
}

static void add_client(struct buf *out, const struct received *r)
{
    bool v6 = str_find_char(r->client_ip, ':') != STR_NPOS;
    buf_add_c(out, "Received: from ");
    add_safe(out, r->helo.len ? r->helo : STR("unknown"));
    if (!r->client_ip.len)
        return;
    buf_add_c(out, " (");
    if (r->client_name.len) {
        add_safe(out, r->client_name);
        buf_add_char(out, ' ');
    }
    buf_add_c(out, v6 ? "[IPv6:" : "[");
    add_safe(out, r->client_ip);
    buf_add_c(out, "])");
}

void received_render(struct buf *out, const struct received *r)
{
    add_client(out, r);
    if (r->tls.len) {
        buf_add_c(out, "\r\n\t(using ");
        str rest = r->tls, word;
        for (bool first = true; str_next_word(&rest, &word); first = false) {
            if (!first)
                buf_add_char(out, ' ');
            add_safe(out, word);
        }
        buf_add_char(out, ')');
    }
    buf_add_c(out, "\r\n\tby ");
    add_safe(out, r->by);
    buf_add_c(out, " with ");
    add_safe(out, r->with);
    if (r->id.len) {
        buf_add_c(out, " id ");
        add_safe(out, r->id);
    }
    if (r->recipient) {
        buf_add_c(out, "\r\n\tfor <");
        addr_render(out, r->recipient);
        buf_add_char(out, '>');
    }
    buf_add_c(out, "; ");
    date_render(out, r->now_s, r->zone_minutes);
    buf_add_c(out, "\r\n");
}

void return_path_render(struct buf *out, const struct addr *sender)
{
    buf_add_c(out, "Return-Path: <");
    addr_render(out, sender);
    buf_add_c(out, ">\r\n");
}

str received_protocol(bool lmtp, bool extended, bool tls, bool auth, bool utf8)
{
    static const str names[3][4] = {
        {STR_INIT("ESMTP"), STR_INIT("ESMTPA"), STR_INIT("ESMTPS"), STR_INIT("ESMTPSA")},
        {STR_INIT("LMTP"), STR_INIT("LMTPA"), STR_INIT("LMTPS"), STR_INIT("LMTPSA")},
        {STR_INIT("UTF8SMTP"), STR_INIT("UTF8SMTPA"), STR_INIT("UTF8SMTPS"),
         STR_INIT("UTF8SMTPSA")},
    };
    static const str utf8_lmtp[4] = {STR_INIT("UTF8LMTP"), STR_INIT("UTF8LMTPA"),
                                     STR_INIT("UTF8LMTPS"), STR_INIT("UTF8LMTPSA")};
    size_t column = (tls ? 2 : 0) + (auth ? 1 : 0);
    if (lmtp)
        return utf8 ? utf8_lmtp[column] : names[1][column];
    if (!extended)
        return STR("SMTP");
    return names[utf8 ? 2 : 0][column];
}

size_t received_count(str header)
{
    struct header_iter it = header_iter_of(header);
    struct header_field field;
    size_t n = 0;
    while (header_next(&it, &field))
        n += str_eq_nocase(field.name, STR("Received"));
    return n;
}
