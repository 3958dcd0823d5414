/* SPDX-License-Identifier: Apache-2.0 */
#include "format/smtp_reply.h"

#include <assert.h>

#include "base/num.h"
#include "format/limits.h"

static void add_printable(struct buf *out, str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = text.data[i];
        buf_add_char(out, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
}

static void add_line(struct buf *out, int code, bool last, const char *enhanced, str text)
{
    assert(code >= 200 && code < 600);
    buf_add_u64(out, (uint64_t)code);
    buf_add_char(out, last ? ' ' : '-');
    size_t room = SMTP_REPLY_TEXT_MAX - 6;
    if (enhanced && *enhanced) {
        str status = str_c(enhanced);
        buf_add(out, status);
        buf_add_char(out, ' ');
        room -= status.len + 1;
    }
    add_printable(out, str_head(text, room));
    buf_add_c(out, "\r\n");
}

void smtp_reply(struct buf *out, int code, const char *enhanced, str text)
{
    str line;
    bool more;
    do {
        more = str_cut(text, '\n', &line, &text);
        add_line(out, code, !more, enhanced, line);
    } while (more);
}

bool smtp_status_take(str *text, struct smtp_reply_status *out)
{
    str s = *text;
    uint64_t class, subject, detail;
    if (!num_take_u64(&s, 5, &class) || !s.len || s.data[0] != '.')
        return false;
    s = str_skip(s, 1);
    if (!num_take_u64(&s, 999, &subject) || !s.len || s.data[0] != '.')
        return false;
    s = str_skip(s, 1);
    if (!num_take_u64(&s, 999, &detail) || (s.len && s.data[0] != ' '))
        return false;
    if (class != 2 && class != 4 && class != 5)
        return false;
    *out = (struct smtp_reply_status){true, (unsigned)class, (unsigned)subject, (unsigned)detail};
    *text = str_skip(s, 1);
    return true;
}

void smtp_reply_reader_init(struct smtp_reply_reader *r)
{
    *r = (struct smtp_reply_reader){.text = BUF_INIT(SMTP_REPLY_BYTES_MAX)};
}

void smtp_reply_reader_reset(struct smtp_reply_reader *r)
{
    buf_reset(&r->text);
    struct buf text = r->text;
    *r = (struct smtp_reply_reader){.text = text};
}

void smtp_reply_reader_free(struct smtp_reply_reader *r) { buf_free(&r->text); }

enum err smtp_reply_reader_add(struct smtp_reply_reader *r, str line)
{
    uint64_t code;
    assert(!r->done);
    if (line.len > SMTP_REPLY_LINE_MAX || ++r->lines > SMTP_REPLY_LINES_MAX)
        return ERR_LIMIT;
    if (!num_parse_u64(str_head(line, 3), 599, &code) || line.len < 3 || code < 200)
        return ERR_SYNTAX;
    if (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-')
        return ERR_SYNTAX;
    if (r->lines > 1 && r->code != (int)code)
        return ERR_SYNTAX;
    r->code = (int)code;
    r->done = line.len == 3 || line.data[3] == ' ';
    str text = str_skip(line, 4);
    struct smtp_reply_status status;
    /* RFC 2034 4: the class of the status fits the first digit of the code. */
    if (smtp_status_take(&text, &status) && !r->status.given && status.class == code / 100)
        r->status = status;
    if (r->lines > 1)
        buf_add_char(&r->text, '\n');
    add_printable(&r->text, text);
    return buf_ok(&r->text) ? ERR_OK : ERR_LIMIT;
}

static const struct {
    str name;
    uint32_t bit;
} ext_rows[] =
    {
        {STR_INIT("PIPELINING"), SMTP_EXT_PIPELINING},
        {STR_INIT("SIZE"), SMTP_EXT_SIZE},
        {STR_INIT("8BITMIME"), SMTP_EXT_8BITMIME},
        {STR_INIT("ENHANCEDSTATUSCODES"), SMTP_EXT_ENHANCEDSTATUSCODES},
        {STR_INIT("STARTTLS"), SMTP_EXT_STARTTLS},
        {STR_INIT("AUTH"), SMTP_EXT_AUTH},
        {STR_INIT("DSN"), SMTP_EXT_DSN},
        {STR_INIT("SMTPUTF8"), SMTP_EXT_SMTPUTF8},
        {STR_INIT("CHUNKING"), SMTP_EXT_CHUNKING},
        {STR_INIT("BINARYMIME"), SMTP_EXT_BINARYMIME},
        {STR_INIT("REQUIRETLS"), SMTP_EXT_REQUIRETLS},
        {STR_INIT("DELIVERBY"), SMTP_EXT_DELIVERBY},
        {STR_INIT("FUTURERELEASE"), SMTP_EXT_FUTURERELEASE},
        {STR_INIT("MT-PRIORITY"), SMTP_EXT_MT_PRIORITY},
        {STR_INIT("RRVS"), SMTP_EXT_RRVS},
        {STR_INIT("LIMITS"), SMTP_EXT_LIMITS},
        {STR_INIT("XCLIENT"), SMTP_EXT_XCLIENT},
},
  mech_rows[] = {
      {STR_INIT("PLAIN"), SMTP_MECH_PLAIN},
      {STR_INIT("LOGIN"), SMTP_MECH_LOGIN},
      {STR_INIT("SCRAM-SHA-1"), SMTP_MECH_SCRAM_SHA_1},
      {STR_INIT("SCRAM-SHA-256"), SMTP_MECH_SCRAM_SHA_256},
      {STR_INIT("SCRAM-SHA-256-PLUS"), SMTP_MECH_SCRAM_SHA_256_PLUS},
      {STR_INIT("EXTERNAL"), SMTP_MECH_EXTERNAL},
      {STR_INIT("OAUTHBEARER"), SMTP_MECH_OAUTHBEARER},
      {STR_INIT("XOAUTH2"), SMTP_MECH_XOAUTH2},
};

static void ehlo_mechs(str rest, struct smtp_ehlo *out)
{
    str word;
    while (str_next_word(&rest, &word))
        for (size_t i = 0; i < ARRAY_LEN(mech_rows); i++)
            if (str_eq_nocase(word, mech_rows[i].name))
                out->mechs |= mech_rows[i].bit;
}

/* RFC 9422 3: name=value words; unknown ones and malformed values are ignored. */
static void ehlo_limits(str rest, struct smtp_ehlo *out)
{
    str word, name, value;
    while (str_next_word(&rest, &word)) {
        uint64_t n;
        if (!str_cut(word, '=', &name, &value) || !num_parse_u64(value, 999999, &n) || !n)
            continue;
        if (str_eq_nocase(name, STR("MAILMAX")))
            out->mail_max = n;
        else if (str_eq_nocase(name, STR("RCPTMAX")))
            out->rcpt_max = n;
        else if (str_eq_nocase(name, STR("RCPTDOMAINMAX")))
            out->rcpt_domain_max = n;
    }
}

static void ehlo_line(str line, struct smtp_ehlo *out)
{
    str word, first;
    if (!str_next_word(&line, &word))
        return;
    /* "AUTH=PLAIN LOGIN": an old form that some servers still send. */
    if (str_starts_nocase(word, STR("AUTH="))) {
        out->ext |= SMTP_EXT_AUTH;
        ehlo_mechs(str_skip(word, 5), out);
        ehlo_mechs(line, out);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(ext_rows); i++) {
        if (!str_eq_nocase(word, ext_rows[i].name))
            continue;
        out->ext |= ext_rows[i].bit;
        if (ext_rows[i].bit == SMTP_EXT_AUTH)
            ehlo_mechs(line, out);
        else if (ext_rows[i].bit == SMTP_EXT_LIMITS)
            ehlo_limits(line, out);
        else if (ext_rows[i].bit == SMTP_EXT_SIZE && str_next_word(&line, &first))
            (void)num_parse_u64(first, UINT64_MAX, &out->size_max);
        else if (ext_rows[i].bit == SMTP_EXT_DELIVERBY && str_next_word(&line, &first))
            (void)num_parse_u64(first, 999999999, &out->by_min_s);
        return;
    }
}

void smtp_ehlo_parse(str text, struct smtp_ehlo *out)
{
    *out = (struct smtp_ehlo){0};
    str line;
    str_cut(text, '\n', &line, &text); /* the first line is the server's name */
    while (text.len) {
        str_cut(text, '\n', &line, &text);
        ehlo_line(line, out);
    }
}
