/* SPDX-License-Identifier: Apache-2.0
 *
 * FETCH, STORE, STATUS, LIST, SELECT and the smaller ones; APPEND is in imap_append.c, NOTIFY and
 * the filters in imap_notify.c.
 */
#include "format/imap_args.h"

#include <string.h>

#include "base/num.h"

static bool take_section_parts(struct imap_cursor *c, struct imap_section *out, bool *dot)
{
    size_t cap = 0;
    *dot = false;
    while (imap_peek(c) >= '0' && imap_peek(c) <= '9') {
        uint32_t *parts =
            imap_grow(c, out->parts, out->nparts, &cap, sizeof(*parts), IMAP_SECTION_DEPTH);
        if (!parts)
            return false;
        out->parts = parts;
        parts[out->nparts++] = imap_nz_number(c);
        *dot = imap_accept(c, '.');
        if (!*dot)
            break;
    }
    return imap_ok(c);
}

static bool take_section_text(struct imap_cursor *c, struct imap_section *out)
{
    if (imap_accept_word(c, STR("HEADER.FIELDS.NOT")))
        out->kind = IMAP_SECTION_HEADER_FIELDS_NOT;
    else if (imap_accept_word(c, STR("HEADER.FIELDS")))
        out->kind = IMAP_SECTION_HEADER_FIELDS;
    else if (imap_accept_word(c, STR("HEADER")))
        out->kind = IMAP_SECTION_HEADER;
    else if (imap_accept_word(c, STR("TEXT")))
        out->kind = IMAP_SECTION_TEXT;
    else if (out->nparts && imap_accept_word(c, STR("MIME")))
        out->kind = IMAP_SECTION_MIME;
    else
        return imap_error(c, "Unknown section");
    if (out->kind != IMAP_SECTION_HEADER_FIELDS && out->kind != IMAP_SECTION_HEADER_FIELDS_NOT)
        return true;
    if (!imap_sp(c))
        return false;
    if (imap_peek(c) != '(')
        return imap_expect(c, '(');
    return imap_words(c, imap_astring, &out->fields, &out->nfields);
}

static bool take_section_range(struct imap_cursor *c, struct imap_section *out)
{
    if (!imap_accept(c, '<'))
        return imap_ok(c);
    out->partial = true;
    out->offset = imap_number64(c);
    imap_expect(c, '.');
    out->count = imap_number64(c);
    if (imap_ok(c) && !out->count)
        return imap_error(c, "Number from 1 expected");
    return imap_expect(c, '>');
}

/* The section as it is echoed: as given, but a server sends no field name as the client's kind of
 * literal (RFC 7888 4), so with one in it the list is written anew. */
static str section_echo(struct imap_cursor *c, const struct imap_section *s, str given)
{
    size_t list = str_find(given, STR("("));
    if (list == STR_NPOS || str_find(given, STR("\n")) == STR_NPOS)
        return given;
    BUF_AUTO struct buf out = BUF_INIT(2 * given.len + 16);
    buf_add(&out, str_sub(given, 0, list));
    for (size_t i = 0; i < s->nfields; i++) {
        buf_add_char(&out, i ? ' ' : '(');
        imap_render_astring(&out, s->fields[i]);
    }
    buf_add_char(&out, ')');
    str echo = STR_NONE;
    if (!buf_ok(&out) || !arena_dup(c->arena, buf_str(&out), &echo))
        imap_error_kind(c, ERR_LIMIT, "Command too large");
    return echo;
}

bool imap_take_section(struct imap_cursor *c, struct imap_section *out)
{
    bool dot;
    *out = (struct imap_section){0};
    if (!imap_expect(c, '['))
        return false;
    size_t begin = c->pos;
    if (!take_section_parts(c, out, &dot))
        return false;
    if ((dot || (!out->nparts && imap_peek(c) != ']')) && !take_section_text(c, out))
        return false;
    out->text = section_echo(c, out, str_sub(c->in, begin, c->pos - begin));
    return imap_expect(c, ']') && take_section_range(c, out);
}

static const struct {
    str name;
    enum imap_fetch_kind kind;
    bool section;
} fetch_rows[] = {
    /* longer names before their beginnings do not matter: a name ends where no atom byte follows,
     * or at '[' */
    {STR_INIT("ENVELOPE"), IMAP_FETCH_ENVELOPE, false},
    {STR_INIT("FLAGS"), IMAP_FETCH_FLAGS, false},
    {STR_INIT("INTERNALDATE"), IMAP_FETCH_INTERNALDATE, false},
    {STR_INIT("RFC822"), IMAP_FETCH_RFC822, false},
    {STR_INIT("RFC822.HEADER"), IMAP_FETCH_RFC822_HEADER, false},
    {STR_INIT("RFC822.SIZE"), IMAP_FETCH_RFC822_SIZE, false},
    {STR_INIT("RFC822.TEXT"), IMAP_FETCH_RFC822_TEXT, false},
    {STR_INIT("BODY"), IMAP_FETCH_BODY_SECTION, true},
    {STR_INIT("BODY"), IMAP_FETCH_BODY, false},
    {STR_INIT("BODYSTRUCTURE"), IMAP_FETCH_BODYSTRUCTURE, false},
    {STR_INIT("UID"), IMAP_FETCH_UID, false},
    {STR_INIT("BODY.PEEK"), IMAP_FETCH_BODY_PEEK, true},
    {STR_INIT("BINARY"), IMAP_FETCH_BINARY, true},
    {STR_INIT("BINARY.PEEK"), IMAP_FETCH_BINARY_PEEK, true},
    {STR_INIT("BINARY.SIZE"), IMAP_FETCH_BINARY_SIZE, true},
    {STR_INIT("MODSEQ"), IMAP_FETCH_MODSEQ, false},
    {STR_INIT("EMAILID"), IMAP_FETCH_EMAILID, false},
    {STR_INIT("THREADID"), IMAP_FETCH_THREADID, false},
    {STR_INIT("SAVEDATE"), IMAP_FETCH_SAVEDATE, false},
    {STR_INIT("PREVIEW"), IMAP_FETCH_PREVIEW, false},
};

static bool is_fetch_name(int ch)
{
    return (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z') || ch == '.';
}

static bool fetch_add(struct imap_cursor *c, struct imap_fetch *out, size_t *cap,
                      struct imap_fetch_item item)
{
    struct imap_fetch_item *items =
        imap_grow(c, out->items, out->count, cap, sizeof(*items), IMAP_LIST_MAX);
    if (!items)
        return false;
    out->items = items;
    items[out->count++] = item;
    return true;
}

/* "PREVIEW (LAZY)" (RFC 8970). */
static bool take_preview_modifiers(struct imap_cursor *c, struct imap_fetch_item *item)
{
    if (!str_starts(str_skip(c->in, c->pos), STR(" (")))
        return true;
    c->pos += 2;
    if (!imap_accept_word(c, STR("LAZY")))
        return imap_error(c, "Unknown PREVIEW modifier");
    item->kind = IMAP_FETCH_PREVIEW_LAZY;
    return imap_expect(c, ')');
}

/* BINARY takes part numbers only; BINARY.SIZE no range (RFC 3516 4.3). */
static bool check_binary(struct imap_cursor *c, const struct imap_fetch_item *item)
{
    bool binary = item->kind == IMAP_FETCH_BINARY || item->kind == IMAP_FETCH_BINARY_PEEK ||
                  item->kind == IMAP_FETCH_BINARY_SIZE;
    if (binary && item->section.kind != IMAP_SECTION_ALL)
        return imap_error(c, "BINARY takes a part number only");
    if (item->kind == IMAP_FETCH_BINARY_SIZE && item->section.partial)
        return imap_error(c, "BINARY.SIZE takes no range");
    return true;
}

static bool take_fetch_att(struct imap_cursor *c, struct imap_fetch *out, size_t *cap)
{
    size_t begin = c->pos;
    while (is_fetch_name(imap_peek(c)))
        c->pos++;
    str name = str_sub(c->in, begin, c->pos - begin);
    bool section = imap_peek(c) == '[';
    for (size_t i = 0; i < ARRAY_LEN(fetch_rows); i++) {
        if (fetch_rows[i].section != section || !str_eq_nocase(name, fetch_rows[i].name))
            continue;
        struct imap_fetch_item item = {.kind = fetch_rows[i].kind};
        if (section && (!imap_take_section(c, &item.section) || !check_binary(c, &item)))
            return false;
        if (item.kind == IMAP_FETCH_PREVIEW && !take_preview_modifiers(c, &item))
            return false;
        return fetch_add(c, out, cap, item);
    }
    c->pos = begin;
    return imap_error(c, "Unknown FETCH item");
}

/* ALL, FAST, FULL (RFC 9051 6.4.5). */
static bool take_fetch_macro(struct imap_cursor *c, struct imap_fetch *out)
{
    static const enum imap_fetch_kind kinds[] = {IMAP_FETCH_FLAGS, IMAP_FETCH_INTERNALDATE,
                                                 IMAP_FETCH_RFC822_SIZE, IMAP_FETCH_ENVELOPE,
                                                 IMAP_FETCH_BODY};
    size_t n = 0, cap = 0;
    if (imap_accept_word(c, STR("FAST")))
        n = 3;
    else if (imap_accept_word(c, STR("ALL")))
        n = 4;
    else if (imap_accept_word(c, STR("FULL")))
        n = 5;
    for (size_t i = 0; i < n; i++)
        if (!fetch_add(c, out, &cap, (struct imap_fetch_item){.kind = kinds[i]}))
            return false;
    return n > 0;
}

bool imap_take_fetch_atts(struct imap_cursor *c, struct imap_fetch *out)
{
    size_t cap = 0;
    out->items = NULL;
    out->count = 0;
    if (take_fetch_macro(c, out))
        return imap_ok(c);
    if (!imap_accept(c, '('))
        return take_fetch_att(c, out, &cap);
    do {
        if (!take_fetch_att(c, out, &cap))
            return false;
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')');
}

static int64_t partial_number(struct imap_cursor *c)
{
    bool minus = imap_accept(c, '-');
    int64_t n = imap_nz_number(c);
    return minus ? -n : n;
}

bool imap_take_partial(struct imap_cursor *c, struct imap_partial *out)
{
    out->first = partial_number(c);
    if (!imap_expect(c, ':'))
        return false;
    out->last = partial_number(c);
    if (imap_ok(c) && (out->first < 0) != (out->last < 0))
        return imap_error(c, "Both ends of PARTIAL count from the same side");
    /* RFC 9394 4: 500:400 is 400:500, and -500:-400 is -400:-500. */
    if ((out->first < 0 && out->first < out->last) || (out->first > 0 && out->first > out->last)) {
        int64_t last = out->last;
        out->last = out->first;
        out->first = last;
    }
    return imap_ok(c);
}

static bool take_fetch_modifiers(struct imap_cursor *c, struct imap_fetch *out)
{
    if (!imap_expect(c, '('))
        return false;
    do {
        if (imap_accept_word(c, STR("CHANGEDSINCE"))) {
            out->has_changedsince = true;
            imap_sp(c);
            out->changedsince = imap_number64(c);
        } else if (imap_accept_word(c, STR("VANISHED"))) {
            out->vanished = true;
        } else if (imap_accept_word(c, STR("PARTIAL"))) {
            out->has_partial = true;
            imap_sp(c);
            imap_take_partial(c, &out->partial);
        } else {
            return imap_error(c, "Unknown FETCH modifier");
        }
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')');
}

bool imap_take_fetch(struct imap_cursor *c, struct imap_fetch *out)
{
    *out = (struct imap_fetch){0};
    if (!imap_seq_set(c, &out->seq) || !imap_sp(c) || !imap_take_fetch_atts(c, out))
        return false;
    if (imap_accept(c, ' ') && !take_fetch_modifiers(c, out))
        return false;
    /* RFC 7162 3.2.6: VANISHED only with CHANGEDSINCE. */
    if (out->vanished && !out->has_changedsince)
        return imap_error(c, "VANISHED needs CHANGEDSINCE");
    return imap_ok(c);
}

bool imap_take_store(struct imap_cursor *c, struct imap_store *out)
{
    *out = (struct imap_store){0};
    if (!imap_seq_set(c, &out->seq) || !imap_sp(c))
        return false;
    if (imap_accept(c, '(')) {
        if (!imap_accept_word(c, STR("UNCHANGEDSINCE")))
            return imap_error(c, "Unknown STORE modifier");
        imap_sp(c);
        out->has_unchangedsince = true;
        out->unchangedsince = imap_number64(c);
        if (!imap_expect(c, ')') || !imap_sp(c))
            return false;
    }
    if (imap_accept(c, '+'))
        out->op = IMAP_STORE_ADD;
    else if (imap_accept(c, '-'))
        out->op = IMAP_STORE_REMOVE;
    if (imap_accept_word(c, STR("FLAGS.SILENT")))
        out->silent = true;
    else if (!imap_accept_word(c, STR("FLAGS")))
        return imap_error(c, "FLAGS expected");
    return imap_sp(c) && imap_flags_loose(c, &out->flags);
}

struct word_row {
    str name;
    uint32_t bit;
};

static uint32_t take_bit(struct imap_cursor *c, const struct word_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (imap_accept_word(c, rows[i].name))
            return rows[i].bit;
    return 0;
}

uint32_t imap_take_status_items(struct imap_cursor *c)
{
    static const struct word_row rows[] = {
        {STR_INIT("MESSAGES"), IMAP_STATUS_MESSAGES},
        {STR_INIT("RECENT"), IMAP_STATUS_RECENT},
        {STR_INIT("UIDNEXT"), IMAP_STATUS_UIDNEXT},
        {STR_INIT("UIDVALIDITY"), IMAP_STATUS_UIDVALIDITY},
        {STR_INIT("UNSEEN"), IMAP_STATUS_UNSEEN},
        {STR_INIT("DELETED"), IMAP_STATUS_DELETED},
        {STR_INIT("SIZE"), IMAP_STATUS_SIZE},
        {STR_INIT("HIGHESTMODSEQ"), IMAP_STATUS_HIGHESTMODSEQ},
        {STR_INIT("APPENDLIMIT"), IMAP_STATUS_APPENDLIMIT},
        {STR_INIT("MAILBOXID"), IMAP_STATUS_MAILBOXID},
        {STR_INIT("DELETED-STORAGE"), IMAP_STATUS_DELETED_STORAGE},
    };
    uint32_t bits = 0;
    if (!imap_expect(c, '('))
        return 0;
    do {
        uint32_t bit = take_bit(c, rows, ARRAY_LEN(rows));
        if (!bit) {
            imap_error(c, "Unknown STATUS item");
            return 0;
        }
        bits |= bit;
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')') ? bits : 0;
}

static bool take_list_select(struct imap_cursor *c, struct imap_list *out)
{
    static const struct word_row rows[] = {
        {STR_INIT("SUBSCRIBED"), IMAP_LIST_SUBSCRIBED},
        {STR_INIT("REMOTE"), IMAP_LIST_REMOTE},
        {STR_INIT("RECURSIVEMATCH"), IMAP_LIST_RECURSIVEMATCH},
        {STR_INIT("SPECIAL-USE"), IMAP_LIST_SPECIAL_USE},
    };
    out->extended = true;
    if (imap_accept(c, ')'))
        return true;
    do {
        uint32_t bit = take_bit(c, rows, ARRAY_LEN(rows));
        if (!bit)
            return imap_error(c, "Unknown LIST selection option");
        out->select |= bit;
    } while (imap_accept(c, ' '));
    /* RFC 5258 3.1: RECURSIVEMATCH needs a companion other than REMOTE. */
    if ((out->select & IMAP_LIST_RECURSIVEMATCH) &&
        !(out->select & (IMAP_LIST_SUBSCRIBED | IMAP_LIST_SPECIAL_USE)))
        return imap_error(c, "RECURSIVEMATCH needs another option");
    return imap_expect(c, ')');
}

static bool take_list_return(struct imap_cursor *c, struct imap_list *out)
{
    static const struct word_row rows[] = {
        {STR_INIT("SUBSCRIBED"), IMAP_LIST_SUBSCRIBED},
        {STR_INIT("CHILDREN"), IMAP_LIST_CHILDREN},
        {STR_INIT("SPECIAL-USE"), IMAP_LIST_SPECIAL_USE},
        {STR_INIT("MYRIGHTS"), IMAP_LIST_MYRIGHTS},
        {STR_INIT("STATUS"), IMAP_LIST_STATUS},
        {STR_INIT("METADATA"), IMAP_LIST_METADATA},
    };
    out->extended = true;
    if (!imap_sp(c) || !imap_expect(c, '('))
        return false;
    if (imap_accept(c, ')'))
        return true;
    do {
        uint32_t bit = take_bit(c, rows, ARRAY_LEN(rows));
        if (!bit)
            return imap_error(c, "Unknown LIST return option");
        out->results |= bit;
        if (bit == IMAP_LIST_STATUS && imap_sp(c))
            out->status = imap_take_status_items(c);
        if (bit == IMAP_LIST_METADATA && imap_sp(c))
            imap_words(c, imap_astring, &out->metadata, &out->nmetadata);
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')');
}

bool imap_take_list(struct imap_cursor *c, struct imap_list *out)
{
    *out = (struct imap_list){0};
    if (imap_accept(c, '(') && (!take_list_select(c, out) || !imap_sp(c)))
        return false;
    out->reference = imap_mailbox(c);
    if (!imap_sp(c))
        return false;
    out->extended |= imap_peek(c) == '(';
    if (!imap_words(c, imap_list_mailbox, &out->patterns, &out->npatterns))
        return false;
    if (!imap_accept(c, ' '))
        return true;
    if (!imap_accept_word(c, STR("RETURN")))
        return imap_error(c, "RETURN expected");
    return take_list_return(c, out);
}

/* RFC 7162 3.2.5: (uidvalidity modseq [known-uids] [(seqs uids)]). */
static bool take_qresync(struct imap_cursor *c, struct imap_select *out)
{
    out->qresync = true;
    if (!imap_sp(c) || !imap_expect(c, '('))
        return false;
    out->uidvalidity = imap_nz_number(c);
    imap_sp(c);
    out->modseq = imap_number64(c);
    if (imap_accept(c, ' ')) {
        if (imap_peek(c) != '(') {
            if (!imap_seq_set(c, &out->known_uids))
                return false;
            if (!imap_accept(c, ' '))
                return imap_expect(c, ')');
        }
        imap_expect(c, '(');
        if (!imap_seq_set(c, &out->seqs) || !imap_sp(c) || !imap_seq_set(c, &out->seq_uids))
            return false;
        imap_expect(c, ')');
    }
    return imap_expect(c, ')');
}

bool imap_take_select(struct imap_cursor *c, struct imap_select *out)
{
    *out = (struct imap_select){0};
    out->mailbox = imap_mailbox(c);
    if (!imap_accept(c, ' '))
        return imap_ok(c);
    if (!imap_expect(c, '('))
        return false;
    do {
        if (imap_accept_word(c, STR("CONDSTORE")))
            out->condstore = true;
        else if (imap_accept_word(c, STR("QRESYNC")))
            take_qresync(c, out);
        else
            return imap_error(c, "Unknown SELECT parameter");
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')');
}

static str take_use(struct imap_cursor *c)
{
    size_t begin = c->pos;
    if (!imap_accept(c, '\\')) {
        imap_error(c, "Special use expected");
        return STR_NONE;
    }
    imap_atom(c);
    return str_sub(c->in, begin, c->pos - begin);
}

bool imap_take_create(struct imap_cursor *c, struct imap_create *out)
{
    *out = (struct imap_create){0};
    out->mailbox = imap_mailbox(c);
    if (!imap_accept(c, ' '))
        return imap_ok(c);
    imap_expect(c, '(');
    if (imap_ok(c) && !imap_accept_word(c, STR("USE")))
        return imap_error(c, "Unknown CREATE parameter");
    if (!imap_sp(c))
        return false;
    if (imap_peek(c) != '(')
        return imap_expect(c, '(');
    return imap_words(c, take_use, &out->uses, &out->nuses) && imap_expect(c, ')');
}

static bool take_pairs(struct imap_cursor *c, str (*take_name)(struct imap_cursor *), bool none,
                       struct imap_pairs *out)
{
    size_t cap = 0;
    if (!imap_expect(c, '('))
        return false;
    if (none && imap_accept(c, ')'))
        return true;
    do {
        struct imap_pair *pairs =
            imap_grow(c, out->pairs, out->count, &cap, sizeof(*pairs), IMAP_LIST_MAX);
        if (!pairs)
            return false;
        out->pairs = pairs;
        struct imap_pair *p = &pairs[out->count++];
        *p = (struct imap_pair){.name = take_name(c)};
        imap_sp(c);
        p->nil = !imap_nstring(c, &p->value);
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')');
}

bool imap_take_id(struct imap_cursor *c, struct imap_pairs *out)
{
    *out = (struct imap_pairs){0};
    return imap_accept_word(c, STR("NIL")) || take_pairs(c, imap_string, true, out);
}

bool imap_take_setmetadata(struct imap_cursor *c, str *mailbox, struct imap_pairs *out)
{
    *out = (struct imap_pairs){0};
    *mailbox = imap_mailbox(c);
    return imap_sp(c) && take_pairs(c, imap_astring, false, out);
}

bool imap_take_setquota(struct imap_cursor *c, struct imap_quota *out)
{
    size_t cap = 0;
    *out = (struct imap_quota){0};
    out->root = imap_astring(c);
    if (!imap_sp(c) || !imap_expect(c, '('))
        return false;
    if (imap_accept(c, ')'))
        return true;
    do {
        struct imap_quota_resource *r =
            imap_grow(c, out->resources, out->count, &cap, sizeof(*r), 64);
        if (!r)
            return false;
        out->resources = r;
        r[out->count].name = imap_atom(c);
        imap_sp(c);
        r[out->count++].limit = imap_number64(c);
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')');
}

bool imap_take_rights(struct imap_cursor *c, char *op, uint32_t *rights)
{
    size_t begin = c->pos;
    str s = imap_astring(c);
    *op = '=';
    *rights = 0;
    if (s.len && (s.data[0] == '+' || s.data[0] == '-')) {
        *op = s.data[0];
        s = str_skip(s, 1);
    }
    for (size_t i = 0; i < s.len; i++) {
        size_t bit = str_find_char(STR(IMAP_RIGHTS), s.data[i]);
        if (bit != STR_NPOS)
            *rights |= 1u << bit;
        else if (s.data[i] == 'c') /* RFC 4314 2.1.1 */
            *rights |= 1u << 6 | 1u << 7;
        else if (s.data[i] == 'd')
            *rights |= 1u << 8 | 1u << 9 | 1u << 7;
        else {
            c->pos = begin;
            return imap_error(c, "Unknown right");
        }
    }
    return imap_ok(c);
}

void imap_render_rights(struct buf *out, uint32_t rights)
{
    for (size_t i = 0; i < sizeof(IMAP_RIGHTS) - 1; i++)
        if (rights & 1u << i)
            buf_add_char(out, IMAP_RIGHTS[i]);
    if (!rights)
        buf_add_c(out, "\"\"");
}

static bool take_metadata_options(struct imap_cursor *c, struct imap_getmetadata *out)
{
    do {
        if (imap_accept_word(c, STR("MAXSIZE"))) {
            imap_sp(c);
            out->has_maxsize = true;
            out->maxsize = imap_number64(c);
        } else if (imap_accept_word(c, STR("DEPTH"))) {
            imap_sp(c);
            if (imap_accept_word(c, STR("infinity")))
                out->depth = UINT32_MAX;
            else if (imap_accept_word(c, STR("1")))
                out->depth = 1;
            else if (!imap_accept_word(c, STR("0")))
                return imap_error(c, "DEPTH is 0, 1 or infinity");
        } else {
            return imap_error(c, "Unknown GETMETADATA option");
        }
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')') && imap_sp(c);
}

bool imap_take_getmetadata(struct imap_cursor *c, struct imap_getmetadata *out)
{
    *out = (struct imap_getmetadata){0};
    if (imap_accept(c, '(') && !take_metadata_options(c, out))
        return false;
    out->mailbox = imap_mailbox(c);
    if (!imap_sp(c))
        return false;
    /* RFC 5464 4.2 shows the options behind the mailbox too. */
    if (str_starts_nocase(str_skip(c->in, c->pos), STR("(MAXSIZE ")) ||
        str_starts_nocase(str_skip(c->in, c->pos), STR("(DEPTH "))) {
        c->pos++;
        if (!take_metadata_options(c, out))
            return false;
    }
    return imap_words(c, imap_astring, &out->entries, &out->count);
}

bool imap_take_uidbatches(struct imap_cursor *c, uint32_t *size, uint32_t *first, uint32_t *last)
{
    *first = *last = 0;
    *size = imap_nz_number(c);
    if (imap_accept(c, ' ')) {
        *first = imap_nz_number(c);
        imap_expect(c, ':');
        *last = imap_nz_number(c);
    }
    return imap_ok(c);
}
