/* SPDX-License-Identifier: Apache-2.0
 *
 * MAIL and RCPT with their ESMTP parameters: one row a parameter, one function a value shape.
 */
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/limits.h"
#include "format/smtp_fault.h"
#include "format/smtp_syntax.h"

struct param_context {
    struct arena *arena;
    uint32_t offered;
    str value;
    bool has_value;
    struct smtp_mail *mail; /* one of the two */
    struct smtp_rcpt *rcpt;
};

/* Each gives ERR_OK, ERR_SYNTAX for a bad value, or ERR_NOMEM. */
typedef enum err param_parse_fn(struct param_context *c);

static enum err parse_size(struct param_context *c)
{
    /* RFC 1870 4: up to 20 digits. */
    return c->value.len <= 20 && num_parse_u64(c->value, UINT64_MAX, &c->mail->size) ? ERR_OK
                                                                                     : ERR_SYNTAX;
}

static enum err parse_body(struct param_context *c)
{
    if (str_eq_nocase(c->value, STR("7BIT")))
        c->mail->body = SMTP_BODY_7BIT;
    else if (str_eq_nocase(c->value, STR("8BITMIME")))
        c->mail->body = SMTP_BODY_8BITMIME;
    else if ((c->offered & SMTP_MAIL_BINARYMIME) && str_eq_nocase(c->value, STR("BINARYMIME")))
        c->mail->body = SMTP_BODY_BINARYMIME;
    else
        return ERR_SYNTAX;
    return ERR_OK;
}

static enum err parse_flag(struct param_context *c) { return c->has_value ? ERR_SYNTAX : ERR_OK; }

static enum err parse_ret(struct param_context *c)
{
    if (str_eq_nocase(c->value, STR("FULL")))
        c->mail->ret = SMTP_RET_FULL;
    else if (str_eq_nocase(c->value, STR("HDRS")))
        c->mail->ret = SMTP_RET_HDRS;
    else
        return ERR_SYNTAX;
    return ERR_OK;
}

static bool printable(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x20 || s.data[i] == 0x7f)
            return false;
    return true;
}

/* RFC 3461 4.4: printable US-ASCII after decoding, so that it can stand in a header field. */
static enum err parse_envid(struct param_context *c)
{
    if (!c->value.len || c->value.len > SMTP_ENVID_MAX)
        return ERR_SYNTAX;
    TRY(smtp_xtext_decode(c->arena, c->value, &c->mail->envid));
    return printable(c->mail->envid) ? ERR_OK : ERR_SYNTAX;
}

/* RFC 4954 5: an xtext mailbox or "<>". Many clients send it without xtext, "<a@b>" too. */
static enum err parse_auth(struct param_context *c)
{
    if (str_eq(c->value, STR("<>")))
        return ERR_OK;
    str text;
    TRY(smtp_xtext_decode(c->arena, c->value, &text));
    if (text.len > 2 && text.data[0] == '<' && text.data[text.len - 1] == '>')
        text = str_sub(text, 1, text.len - 2);
    enum err e = addr_parse(c->arena, text, 0, &c->mail->auth);
    return e == ERR_LIMIT ? ERR_SYNTAX : e;
}

/* RFC 4865 5: up to 9 digits. */
static enum err parse_holdfor(struct param_context *c)
{
    return c->value.len <= 9 && num_parse_u64(c->value, 999999999, &c->mail->hold_for_s)
               ? ERR_OK
               : ERR_SYNTAX;
}

static enum err parse_holduntil(struct param_context *c)
{
    return smtp_date_parse(c->value, &c->mail->hold_until_s) ? ERR_OK : ERR_SYNTAX;
}

/* RFC 2852 4: ["-" / "+"] 1*9digit ";" ("N" / "R") ["T"] */
static enum err parse_by(struct param_context *c)
{
    str s = c->value, digits, mode;
    bool minus = s.len && s.data[0] == '-';
    if (s.len && (s.data[0] == '-' || s.data[0] == '+'))
        s = str_skip(s, 1);
    uint64_t n;
    if (!str_cut(s, ';', &digits, &mode) || digits.len > 9 ||
        !num_parse_u64(digits, 999999999, &n) || mode.len < 1 || mode.len > 2)
        return ERR_SYNTAX;
    char by = mode.data[0] & ~32;
    if ((by != 'N' && by != 'R') || (mode.len == 2 && (mode.data[1] & ~32) != 'T'))
        return ERR_SYNTAX;
    c->mail->by_s = minus ? -(int64_t)n : (int64_t)n;
    c->mail->by_return = by == 'R';
    c->mail->by_trace = mode.len == 2;
    return by == 'R' && c->mail->by_s <= 0 ? ERR_SYNTAX : ERR_OK;
}

static enum err parse_priority(struct param_context *c)
{
    str s = c->value;
    bool minus = s.len && s.data[0] == '-';
    uint64_t n;
    if (minus)
        s = str_skip(s, 1);
    if (s.len != 1 || !num_parse_u64(s, 9, &n) || (minus && !n))
        return ERR_SYNTAX;
    c->mail->mt_priority = minus ? -(int)n : (int)n;
    return ERR_OK;
}

static enum err parse_notify(struct param_context *c)
{
    static const str names[] = {STR_INIT("NEVER"), STR_INIT("SUCCESS"), STR_INIT("FAILURE"),
                                STR_INIT("DELAY")};
    str list = c->value, word;
    bool more;
    do {
        size_t i = 0;
        more = str_cut(list, ',', &word, &list);
        while (i < ARRAY_LEN(names) && !str_eq_nocase(word, names[i]))
            i++;
        if (i == ARRAY_LEN(names))
            return ERR_SYNTAX;
        c->rcpt->notify |= 1u << i;
    } while (more);
    if ((c->rcpt->notify & SMTP_NOTIFY_NEVER) && c->rcpt->notify != SMTP_NOTIFY_NEVER)
        return ERR_SYNTAX;
    return ERR_OK;
}

/* RFC 6533 3: utf-8-addr-unitext has the bytes as they are and \x{HEX}; -xtext is all ASCII. */
static enum err decode_utf8_address(struct arena *a, str text, str *out)
{
    char *to = arena_alloc(a, text.len + 8);
    size_t n = 0;
    if (!to)
        return ERR_NOMEM;
    while (text.len) {
        if (!str_starts(text, STR("\\x{"))) {
            to[n++] = text.data[0];
            text = str_skip(text, 1);
            continue;
        }
        uint32_t cp = 0;
        size_t i = 3;
        for (; i < text.len && i < 9 && text.data[i] != '}'; i++) {
            int low = text.data[i] | 32;
            if (low >= 'a' && low <= 'f')
                cp = cp << 4 | (uint32_t)(low - 'a' + 10);
            else if (text.data[i] >= '0' && text.data[i] <= '9')
                cp = cp << 4 | (uint32_t)(text.data[i] - '0');
            else
                return ERR_SYNTAX;
        }
        if (i == 3 || i >= text.len || text.data[i] != '}' || cp > 0x10ffff)
            return ERR_SYNTAX;
        if (cp < 0x80) {
            to[n++] = (char)cp;
        } else if (cp < 0x800) {
            to[n++] = (char)(0xc0 | cp >> 6);
            to[n++] = (char)(0x80 | (cp & 63));
        } else if (cp < 0x10000) {
            to[n++] = (char)(0xe0 | cp >> 12);
            to[n++] = (char)(0x80 | (cp >> 6 & 63));
            to[n++] = (char)(0x80 | (cp & 63));
        } else {
            to[n++] = (char)(0xf0 | cp >> 18);
            to[n++] = (char)(0x80 | (cp >> 12 & 63));
            to[n++] = (char)(0x80 | (cp >> 6 & 63));
            to[n++] = (char)(0x80 | (cp & 63));
        }
        text = str_skip(text, i + 1);
    }
    *out = str_of(to, n);
    return utf8_valid(*out) ? ERR_OK : ERR_SYNTAX;
}

static bool orcpt_type_valid(str s)
{
    if (!s.len || s.len > 40)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i];
        if (c <= 0x20 || c >= 0x7f || strchr("()<>@,;:\\\"/[]?=", c))
            return false;
    }
    return true;
}

static enum err parse_orcpt(struct param_context *c)
{
    str address;
    if (c->value.len > SMTP_ORCPT_MAX || !str_cut(c->value, ';', &c->rcpt->orcpt_type, &address) ||
        !address.len || !orcpt_type_valid(c->rcpt->orcpt_type))
        return ERR_SYNTAX;
    if (str_eq_nocase(c->rcpt->orcpt_type, STR("utf-8")))
        TRY(decode_utf8_address(c->arena, address, &c->rcpt->orcpt));
    else
        TRY(smtp_xtext_decode(c->arena, address, &c->rcpt->orcpt));
    for (size_t i = 0; i < c->rcpt->orcpt.len; i++)
        if ((unsigned char)c->rcpt->orcpt.data[i] < 0x20 || c->rcpt->orcpt.data[i] == 0x7f)
            return ERR_SYNTAX;
    return ERR_OK;
}

/* RFC 7293 5.1: date-time, optionally ";C" (continue) or ";R" (reject). */
static enum err parse_rrvs(struct param_context *c)
{
    str date, action;
    if (str_cut(c->value, ';', &date, &action)) {
        if (action.len != 1 || ((action.data[0] & ~32) != 'C' && (action.data[0] & ~32) != 'R'))
            return ERR_SYNTAX;
        c->rcpt->rrvs_reject = (action.data[0] & ~32) == 'R';
    }
    return smtp_date_parse(date, &c->rcpt->rrvs_s) ? ERR_OK : ERR_SYNTAX;
}

struct param_row {
    str name;
    uint32_t bit;
    param_parse_fn *parse;
    const char *bad; /* what to say about a bad value */
};
static const struct param_row mail_rows[] = {
    {STR_INIT("SIZE"), SMTP_MAIL_SIZE, parse_size, "Malformed SIZE"},
    {STR_INIT("BODY"), SMTP_MAIL_BODY, parse_body, "Unknown BODY"},
    {STR_INIT("SMTPUTF8"), SMTP_MAIL_SMTPUTF8, parse_flag, "SMTPUTF8 takes no value"},
    {STR_INIT("RET"), SMTP_MAIL_RET, parse_ret, "RET must be FULL or HDRS"},
    {STR_INIT("ENVID"), SMTP_MAIL_ENVID, parse_envid, "Malformed ENVID"},
    {STR_INIT("AUTH"), SMTP_MAIL_AUTH, parse_auth, "Malformed AUTH"},
    {STR_INIT("HOLDFOR"), SMTP_MAIL_HOLDFOR, parse_holdfor, "Malformed HOLDFOR"},
    {STR_INIT("HOLDUNTIL"), SMTP_MAIL_HOLDUNTIL, parse_holduntil, "Malformed HOLDUNTIL"},
    {STR_INIT("BY"), SMTP_MAIL_BY, parse_by, "Malformed BY"},
    {STR_INIT("MT-PRIORITY"), SMTP_MAIL_MT_PRIORITY, parse_priority, "MT-PRIORITY is -9 to 9"},
    {STR_INIT("REQUIRETLS"), SMTP_MAIL_REQUIRETLS, parse_flag, "REQUIRETLS takes no value"},
};
static const struct param_row rcpt_rows[] = {
    {STR_INIT("NOTIFY"), SMTP_RCPT_NOTIFY, parse_notify, "Malformed NOTIFY"},
    {STR_INIT("ORCPT"), SMTP_RCPT_ORCPT, parse_orcpt, "Malformed ORCPT"},
    {STR_INIT("RRVS"), SMTP_RCPT_RRVS, parse_rrvs, "Malformed RRVS"},
};

static enum err parse_params(struct param_context *c, str rest, const struct param_row *rows,
                             size_t nrows, uint32_t *seen, struct smtp_fault *fault)
{
    str word, name;
    size_t count = 0;
    while (str_next_word(&rest, &word)) {
        size_t i = 0;
        if (++count > SMTP_PARAMS_MAX)
            return smtp_fail(fault, ERR_LIMIT, 501, "5.5.4", "Too many parameters", word);
        c->has_value = str_cut(word, '=', &name, &c->value);
        while (i < nrows && !str_eq_nocase(name, rows[i].name))
            i++;
        if (i == nrows || !(c->offered & rows[i].bit))
            return smtp_fail(fault, ERR_UNSUPPORTED, 555, "5.5.4", "Unknown parameter", name);
        if (*seen & rows[i].bit)
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Parameter given twice", name);
        *seen |= rows[i].bit;
        enum err e = rows[i].parse(c);
        if (e == ERR_NOMEM)
            return smtp_fail(fault, e, 452, "4.3.1", "Out of memory", STR_NONE);
        if (e != ERR_OK)
            return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", rows[i].bad, word);
    }
    return ERR_OK;
}

/* "FROM:" or "TO:", then (against the grammar, but seen everywhere) white space. */
static enum err take_keyword(str *args, str keyword, const char *text, struct smtp_fault *fault)
{
    if (!str_starts_nocase(*args, keyword))
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", text, *args);
    *args = str_skip(*args, keyword.len);
    while (args->len && args->data[0] == ' ')
        *args = str_skip(*args, 1);
    return ERR_OK;
}

static enum err params_begin(str rest, struct smtp_fault *fault)
{
    if (rest.len && rest.data[0] != ' ' && rest.data[0] != '\t')
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Malformed address", rest);
    return ERR_OK;
}

enum err smtp_parse_mail(struct arena *a, str args, uint32_t offered, struct smtp_mail *out,
                         struct smtp_fault *fault)
{
    *out = (struct smtp_mail){0};
    TRY(take_keyword(&args, STR("FROM:"), "MAIL FROM:<address> is required", fault));
    TRY(smtp_take_path(a, &args, SMTP_PATH_NULL_OK, &out->from, fault));
    TRY(params_begin(args, fault));
    struct param_context c = {.arena = a, .offered = offered, .mail = out};
    TRY(parse_params(&c, args, mail_rows, ARRAY_LEN(mail_rows), &out->seen, fault));
    if (out->from.utf8 && !(out->seen & SMTP_MAIL_SMTPUTF8))
        return smtp_fail(fault, ERR_SYNTAX, 553, "5.6.7", "The address needs SMTPUTF8",
                         out->from.addr.domain);
    /* RFC 4865 3: one of the two. */
    if ((out->seen & SMTP_MAIL_HOLDFOR) && (out->seen & SMTP_MAIL_HOLDUNTIL))
        return smtp_fail(fault, ERR_SYNTAX, 501, "5.5.4", "Both HOLDFOR and HOLDUNTIL", STR_NONE);
    return ERR_OK;
}

enum err smtp_parse_rcpt(struct arena *a, str args, uint32_t offered, bool utf8,
                         struct smtp_rcpt *out, struct smtp_fault *fault)
{
    *out = (struct smtp_rcpt){0};
    TRY(take_keyword(&args, STR("TO:"), "RCPT TO:<address> is required", fault));
    TRY(smtp_take_path(a, &args, SMTP_PATH_POSTMASTER_OK, &out->to, fault));
    TRY(params_begin(args, fault));
    struct param_context c = {.arena = a, .offered = offered, .rcpt = out};
    TRY(parse_params(&c, args, rcpt_rows, ARRAY_LEN(rcpt_rows), &out->seen, fault));
    if (out->to.utf8 && !utf8)
        return smtp_fail(fault, ERR_SYNTAX, 553, "5.6.7", "The address needs SMTPUTF8",
                         out->to.addr.domain);
    return ERR_OK;
}
