/* SPDX-License-Identifier: Apache-2.0 */
#include "format/smtp_syntax.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/date.h"
#include "format/ip_text.h"
#include "format/limits.h"
#include "format/smtp_fault.h"

enum err smtp_fail(struct smtp_fault *fault, enum err e, int code, const char *enhanced,
                   const char *text, str where)
{
    *fault = (struct smtp_fault){code, enhanced, text, where};
    return e;
}

void smtp_fault_render(struct buf *out, const struct smtp_fault *fault)
{
    assert(fault->code >= 400 && fault->code < 600);
    buf_addf(out, "%d %s %s", fault->code, fault->enhanced, fault->text);
    if (fault->where.len)
        buf_add_c(out, ": ");
    str where = str_head(fault->where, 80);
    for (size_t i = 0; i < where.len; i++)
        buf_add_char(out, where.data[i] >= 0x20 && where.data[i] < 0x7f ? where.data[i] : '?');
    buf_add_c(out, "\r\n");
}

static str trim_blanks(str s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = str_skip(s, 1);
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

void smtp_line_split(str line, str *verb, str *args)
{
    str tail;
    str_cut(line, ' ', verb, &tail);
    *verb = trim_blanks(*verb);
    *args = trim_blanks(tail);
}

static bool ipv4_valid(str s)
{
    uint8_t ip[4];
    return ip_parse_v4(s, ip);
}

static bool ipv6_valid(str s)
{
    uint8_t ip[16];
    return ip_parse_v6(s, ip);
}

bool smtp_address_literal(str s, str *ip, bool *v6)
{
    if (s.len < 3 || s.len > 64 || s.data[0] != '[' || s.data[s.len - 1] != ']')
        return false;
    str in = str_sub(s, 1, s.len - 2);
    *v6 = str_starts_nocase(in, STR("IPv6:"));
    *ip = *v6 ? str_skip(in, 5) : in;
    return *v6 ? ipv6_valid(*ip) : ipv4_valid(*ip);
}

static bool helo_name_valid(str s)
{
    if (!s.len || s.len > ADDR_DOMAIN_MAX || !utf8_valid(s))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i], l = c | 32;
        if (!((c >= '0' && c <= '9') || (l >= 'a' && l <= 'z') || c == '-' || c == '.' ||
              c == '_' || c >= 0x80))
            return false;
    }
    return s.data[0] != '.';
}

enum err smtp_parse_helo(str args, struct smtp_helo *out, struct smtp_fault *fault)
{
    *out = (struct smtp_helo){.name = args};
    if (!args.len)
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "A host name is required", args);
    str ip;
    bool v6;
    if (args.data[0] == '[') {
        out->literal = true;
        if (smtp_address_literal(args, &ip, &v6))
            return ERR_OK;
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Not a valid address literal", args);
    }
    if (!helo_name_valid(args))
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Not a valid host name", args);
    return ERR_OK;
}

/* "@a,@b:" in front of the mailbox: must be accepted, should be ignored (RFC 5321 4.1.1.3). */
static enum err skip_source_route(str *s, struct smtp_fault *fault)
{
    if (!s->len || s->data[0] != '@')
        return ERR_OK;
    str route = *s;
    size_t colon = 0;
    while (colon < route.len && route.data[colon] != ':' && route.data[colon] != '>' &&
           route.data[colon] != ' ')
        colon++;
    if (colon == route.len || route.data[colon] != ':')
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.1.7", "Source route without mailbox", route);
    str hops = str_head(route, colon), hop;
    do {
        bool more = str_cut(hops, ',', &hop, &hops);
        if (hop.len < 2 || hop.data[0] != '@' || !addr_domain_valid(str_skip(hop, 1)))
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.1.7", "Malformed source route", hop);
        if (!more)
            break;
    } while (true);
    *s = str_skip(route, colon + 1);
    return ERR_OK;
}

static bool take_special_path(str *s, unsigned allowed, struct smtp_path *out)
{
    if ((allowed & SMTP_PATH_NULL_OK) && str_starts(*s, STR("<>"))) {
        out->null = true;
        *s = str_skip(*s, 2);
        return true;
    }
    if ((allowed & SMTP_PATH_POSTMASTER_OK) && str_starts_nocase(*s, STR("<Postmaster>"))) {
        out->postmaster = true;
        out->addr.local = str_sub(*s, 1, 10);
        *s = str_skip(*s, 12);
        return true;
    }
    return false;
}

enum err smtp_take_path(struct arena *a, str *s, unsigned allowed, struct smtp_path *out,
                        struct smtp_fault *fault)
{
    *out = (struct smtp_path){0};
    const char *enhanced = allowed & SMTP_PATH_NULL_OK ? "5.1.7" : "5.1.3";
    if (!s->len || s->data[0] != '<')
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "The address must stand in <>", *s);
    if (take_special_path(s, allowed, out))
        return ERR_OK;
    str rest = str_skip(*s, 1);
    TRY(skip_source_route(&rest, fault));
    enum err e = addr_take(a, &rest, 0, &out->addr);
    if (e == ERR_LIMIT)
        return smtp_fail(fault, e, 501, enhanced, "Address too long", *s);
    if (e != ERR_OK)
        return smtp_fail(fault, e, 501, enhanced, "Malformed address", *s);
    if (!rest.len || rest.data[0] != '>')
        return smtp_fail(fault, ERR_SYNTAX, 501, enhanced, "Malformed address", *s);
    str domain = out->addr.domain, ip;
    bool v6;
    out->literal = domain.len && domain.data[0] == '[';
    if (out->literal && !smtp_address_literal(domain, &ip, &v6))
        return smtp_fail(fault, ERR_SYNTAX, 501, enhanced, "Malformed address literal", domain);
    out->utf8 = !addr_is_ascii(&out->addr);
    *s = str_skip(rest, 1);
    return ERR_OK;
}

enum err smtp_parse_bdat(str args, struct smtp_bdat *out, struct smtp_fault *fault)
{
    *out = (struct smtp_bdat){0};
    str size, last;
    if (str_cut(args, ' ', &size, &last)) {
        last = trim_blanks(last);
        if (!str_eq_nocase(last, STR("LAST")))
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Only LAST may follow", last);
        out->last = true;
    }
    if (!num_parse_u64(size, INT64_MAX, &out->size))
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "A chunk size is required", size);
    return ERR_OK;
}

/* RFC 4422 3.1: 1 to 20 of A-Z 0-9 - _ */
static bool mechanism_valid(str s)
{
    if (!s.len || s.len > 20)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i], l = c | 32;
        if (!((c >= '0' && c <= '9') || (l >= 'a' && l <= 'z') || c == '-' || c == '_'))
            return false;
    }
    return true;
}

enum err smtp_parse_auth(str args, struct smtp_auth *out, struct smtp_fault *fault)
{
    *out = (struct smtp_auth){0};
    out->has_initial = str_cut(args, ' ', &out->mechanism, &out->initial);
    out->initial = trim_blanks(out->initial);
    if (!mechanism_valid(out->mechanism))
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "A mechanism is required", STR_NONE);
    /* Not echoed: the response is a secret. */
    if (str_find_char(out->initial, ' ') != STR_NPOS)
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.2", "Malformed initial response", STR_NONE);
    if (str_eq(out->initial, STR("=")))
        out->initial = STR_NONE;
    return ERR_OK;
}

static const struct {
    str name;
    uint32_t bit;
    size_t offset; /* of a str, or of a port */
    bool port;
} xclient_rows[] = {
    {STR_INIT("NAME"), SMTP_XCLIENT_NAME, offsetof(struct smtp_xclient, name), false},
    {STR_INIT("ADDR"), SMTP_XCLIENT_ADDR, offsetof(struct smtp_xclient, addr), false},
    {STR_INIT("PORT"), SMTP_XCLIENT_PORT, offsetof(struct smtp_xclient, port), true},
    {STR_INIT("PROTO"), SMTP_XCLIENT_PROTO, offsetof(struct smtp_xclient, proto), false},
    {STR_INIT("HELO"), SMTP_XCLIENT_HELO, offsetof(struct smtp_xclient, helo), false},
    {STR_INIT("LOGIN"), SMTP_XCLIENT_LOGIN, offsetof(struct smtp_xclient, login), false},
    {STR_INIT("DESTADDR"), SMTP_XCLIENT_DESTADDR, offsetof(struct smtp_xclient, destaddr), false},
    {STR_INIT("DESTPORT"), SMTP_XCLIENT_DESTPORT, offsetof(struct smtp_xclient, destport), true},
};

static enum err xclient_set(struct smtp_xclient *out, size_t row, str value, str word,
                            struct smtp_fault *fault)
{
    out->seen |= xclient_rows[row].bit;
    if (str_eq_nocase(value, STR("[UNAVAILABLE]")) || str_eq_nocase(value, STR("[TEMPUNAVAIL]")))
        return ERR_OK;
    char *field = (char *)out + xclient_rows[row].offset;
    if (xclient_rows[row].port) {
        uint64_t port;
        if (!num_parse_u64(value, 65535, &port))
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Malformed port", word);
        *(uint16_t *)field = (uint16_t)port;
        return ERR_OK;
    }
    uint32_t bit = xclient_rows[row].bit;
    if (bit == SMTP_XCLIENT_ADDR || bit == SMTP_XCLIENT_DESTADDR) {
        bool v6 = str_starts_nocase(value, STR("IPV6:"));
        if (v6)
            value = str_skip(value, 5);
        if (!(v6 ? ipv6_valid(value) : ipv4_valid(value) || ipv6_valid(value)))
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Malformed address", word);
    }
    *(str *)field = value;
    return ERR_OK;
}

enum err smtp_parse_xclient(struct arena *a, str args, struct smtp_xclient *out,
                            struct smtp_fault *fault)
{
    *out = (struct smtp_xclient){0};
    str word, name, value;
    while (str_next_word(&args, &word)) {
        size_t row = 0;
        if (!str_cut(word, '=', &name, &value))
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Attribute without value", word);
        while (row < ARRAY_LEN(xclient_rows) && !str_eq_nocase(name, xclient_rows[row].name))
            row++;
        if (row == ARRAY_LEN(xclient_rows))
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Unknown attribute", name);
        if (out->seen & xclient_rows[row].bit)
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Attribute given twice", name);
        enum err e = smtp_xtext_decode(a, value, &value);
        if (e != ERR_OK)
            return smtp_fail(fault, e, 501, "5.5.4", "Malformed attribute value", word);
        for (size_t i = 0; i < value.len; i++)
            if ((unsigned char)value.data[i] < 0x20 || value.data[i] == 0x7f)
                return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Control character", word);
        TRY(xclient_set(out, row, value, word, fault));
    }
    if (!out->seen)
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Attributes are required", args);
    return ERR_OK;
}

enum err smtp_parse_text(str args, bool required, str *out, struct smtp_fault *fault)
{
    *out = args;
    if (required && !args.len)
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "An argument is required", args);
    for (size_t i = 0; i < args.len; i++)
        if ((unsigned char)args.data[i] < 0x20 || args.data[i] == 0x7f)
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Control character", args);
    if (!utf8_valid(args))
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Not UTF-8", args);
    return ERR_OK;
}

enum err smtp_parse_none(str args, struct smtp_fault *fault)
{
    if (args.len)
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "No argument is allowed", args);
    return ERR_OK;
}

void smtp_xtext_encode(struct buf *out, str bytes)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = bytes.data[i];
        if (c > 0x20 && c < 0x7f && c != '+' && c != '=') {
            buf_add_char(out, (char)c);
        } else {
            buf_add_char(out, '+');
            buf_add_char(out, digits[c >> 4]);
            buf_add_char(out, digits[c & 15]);
        }
    }
}

/* RFC 3461 4: hexchar has upper case digits only; -1 for anything else. */
static int xtext_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum err smtp_xtext_decode(struct arena *a, str text, str *out)
{
    *out = STR_NONE;
    char *to = arena_alloc(a, text.len + 1);
    size_t n = 0;
    if (!to)
        return ERR_NOMEM;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = text.data[i];
        if (c <= 0x20 || c >= 0x7f || c == '=')
            return ERR_SYNTAX;
        if (c == '+') {
            if (text.len - i < 3)
                return ERR_SYNTAX;
            int high = xtext_digit(text.data[i + 1]), low = xtext_digit(text.data[i + 2]);
            if (high < 0 || low < 0)
                return ERR_SYNTAX;
            c = (unsigned char)(high << 4 | low);
            i += 2;
        }
        to[n++] = (char)c;
    }
    *out = str_of(to, n);
    return ERR_OK;
}

static bool take_digits(str *s, size_t n, int *out)
{
    uint64_t value;
    if (s->len < n || !num_parse_u64(str_head(*s, n), 9999, &value))
        return false;
    *out = (int)value;
    *s = str_skip(*s, n);
    return true;
}
static bool take_char(str *s, char c)
{
    if (!s->len || (s->data[0] | 32) != (c | 32))
        return false;
    *s = str_skip(*s, 1);
    return true;
}

bool smtp_date_parse(str s, uint64_t *seconds)
{
    static const int month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, hour, minute, second, zone_hour = 0, zone_minute = 0, sign = 0;
    if (!take_digits(&s, 4, &year) || !take_char(&s, '-') || !take_digits(&s, 2, &month) ||
        !take_char(&s, '-') || !take_digits(&s, 2, &day) || !take_char(&s, 'T') ||
        !take_digits(&s, 2, &hour) || !take_char(&s, ':') || !take_digits(&s, 2, &minute) ||
        !take_char(&s, ':') || !take_digits(&s, 2, &second))
        return false;
    if (take_char(&s, '.')) {
        uint64_t fraction;
        s = str_skip(s, 0);
        if (!num_take_u64(&s, UINT64_MAX, &fraction))
            return false;
    }
    if (!take_char(&s, 'Z')) {
        sign = s.len && s.data[0] == '-' ? -1 : 1;
        if (!s.len || (s.data[0] != '+' && s.data[0] != '-'))
            return false;
        s = str_skip(s, 1);
        if (!take_digits(&s, 2, &zone_hour) || !take_char(&s, ':') ||
            !take_digits(&s, 2, &zone_minute))
            return false;
    }
    if (s.len || year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days[month - 1] ||
        hour > 23 || minute > 59 || second > 60 || zone_hour > 23 || zone_minute > 59)
        return false;
    int64_t t = date_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second -
                sign * (zone_hour * 3600 + zone_minute * 60);
    if (t < 0)
        return false;
    *seconds = (uint64_t)t;
    return true;
}
