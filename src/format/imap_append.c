/* SPDX-License-Identifier: Apache-2.0
 *
 * APPEND and REPLACE: the text around literals that are streamed (RFC 9051 6.3.12, 3502, 4469,
 * 6855).
 */
#include "format/imap_args.h"

enum append_state {
    APPEND_MESSAGE, /* a message's flags, date and data come; or, after the first, the end */
    APPEND_DATA,    /* "{n}", "~{n}", "UTF8 (" or "CATENATE (" comes */
    APPEND_AFTER,   /* behind the literal of a whole message */
    APPEND_PART,    /* behind a CATENATE part: ' ' and the next, or ')' */
};

static enum imap_append_step append_message(struct imap_cursor *c, struct imap_append *a)
{
    if (a->messages) {
        if (imap_at_end(c))
            return IMAP_APPEND_END;
        if (!imap_sp(c))
            return IMAP_APPEND_BAD;
    }
    a->flags = (struct imap_flags){0};
    a->has_date = a->in_utf8 = a->utf8 = false;
    if (imap_peek(c) == '(' && (!imap_flag_list(c, &a->flags) || !imap_sp(c)))
        return IMAP_APPEND_BAD;
    if (imap_peek(c) == '"') {
        if (!imap_date_time(c, &a->date) || !imap_sp(c))
            return IMAP_APPEND_BAD;
        a->has_date = true;
    }
    a->state = APPEND_DATA;
    return imap_ok(c) ? IMAP_APPEND_MESSAGE : IMAP_APPEND_BAD;
}

/* One part of CATENATE; the cursor stands at TEXT or URL. */
static enum imap_append_step append_part(struct imap_cursor *c, struct imap_append *a)
{
    a->state = APPEND_PART;
    if (imap_accept_word(c, STR("URL"))) {
        imap_sp(c);
        a->url = imap_astring(c);
        return imap_ok(c) ? IMAP_APPEND_URL : IMAP_APPEND_BAD;
    }
    if (imap_accept_word(c, STR("TEXT"))) {
        imap_sp(c);
        if (imap_ok(c) && imap_accept_word(c, STR("UTF8"))) {
            imap_sp(c);
            imap_expect(c, '(');
            a->in_utf8 = a->utf8 = true;
        }
        return imap_literal_head(c, &a->literal) ? IMAP_APPEND_TEXT : IMAP_APPEND_BAD;
    }
    imap_error(c, "TEXT or URL expected");
    return IMAP_APPEND_BAD;
}

static enum imap_append_step append_data(struct imap_cursor *c, struct imap_append *a)
{
    if (imap_accept_word(c, STR("CATENATE"))) {
        if (!imap_sp(c) || !imap_expect(c, '('))
            return IMAP_APPEND_BAD;
        return append_part(c, a);
    }
    if (imap_accept_word(c, STR("UTF8"))) {
        if (!imap_sp(c) || !imap_expect(c, '('))
            return IMAP_APPEND_BAD;
        a->in_utf8 = a->utf8 = true;
    }
    if (!imap_literal_head(c, &a->literal))
        return IMAP_APPEND_BAD;
    a->state = APPEND_AFTER;
    return IMAP_APPEND_LITERAL;
}

static enum imap_append_step append_complete(struct imap_append *a)
{
    a->messages++;
    a->state = APPEND_MESSAGE;
    return IMAP_APPEND_COMPLETE;
}

enum imap_append_step imap_append_next(struct imap_cursor *c, struct imap_append *a)
{
    if (!imap_ok(c))
        return IMAP_APPEND_BAD;
    switch ((enum append_state)a->state) {
    case APPEND_MESSAGE:
        return append_message(c, a);
    case APPEND_DATA:
        return append_data(c, a);
    case APPEND_AFTER:
        if (a->in_utf8 && !imap_expect(c, ')'))
            return IMAP_APPEND_BAD;
        return append_complete(a);
    case APPEND_PART:
        if (a->in_utf8 && !imap_expect(c, ')'))
            return IMAP_APPEND_BAD;
        a->in_utf8 = false;
        if (imap_accept(c, ' '))
            return append_part(c, a);
        return imap_expect(c, ')') ? append_complete(a) : IMAP_APPEND_BAD;
    }
    return IMAP_APPEND_BAD;
}

bool imap_literal_is_url(str text, const struct imap_literal *literal)
{
    str before = str_head(text, literal->begin);
    return str_ends_nocase(before, STR("(URL ")) || str_ends_nocase(before, STR(" URL "));
}

bool imap_literal_is_message(str line)
{
    struct imap_literal head;
    if (!imap_literal_at_end(line, &head))
        return false;
    /* A quoted mailbox with escapes needs a few bytes; a name that fails is an argument anyway. */
    ARENA_AUTO struct arena scratch = ARENA_INIT(65536);
    struct imap_cursor c = imap_cursor_of(line, &scratch, false);
    imap_tag(&c);
    imap_sp(&c);
    if (imap_accept_word(&c, STR("UID")))
        imap_sp(&c);
    if (imap_accept_word(&c, STR("REPLACE"))) {
        imap_sp(&c);
        struct imap_seq seq;
        imap_seq_set(&c, &seq);
    } else if (!imap_accept_word(&c, STR("APPEND"))) {
        return false;
    }
    imap_sp(&c);
    if (c.pos == head.begin || !imap_ok(&c))
        return false; /* the mailbox itself */
    imap_astring(&c);
    if (!imap_sp(&c))
        return false;
    return !imap_literal_is_url(line, &head);
}
