/* SPDX-License-Identifier: Apache-2.0
 *
 * IMAP's ENVELOPE, BODY and BODYSTRUCTURE (RFC 9051 7.5.2), and the base subject (RFC 5256 2.1).
 */
#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "format/addr.h"
#include "format/header.h"
#include "format/mime.h"
#include "format/params.h"
#include "format/words.h"

enum { QUOTED_MAX = 1000 }; /* longer strings go out as literals; clients have line limits */

static bool can_quote(str s)
{
    if (s.len > QUOTED_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if ((uint8_t)s.data[i] >= 0x80 || s.data[i] == '\r' || s.data[i] == '\n' || !s.data[i])
            return false;
    return true;
}

static void add_escaped(struct buf *out, str s, const char *escape)
{
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] && !strchr(escape, s.data[i]))
            continue;
        buf_add(out, str_sub(s, from, i - from));
        if (s.data[i])
            buf_add_char(out, '\\');
        buf_add_char(out, s.data[i] ? s.data[i] : ' ');
        from = i + 1;
    }
    buf_add(out, str_skip(s, from));
}

static void add_string(struct buf *out, str s)
{
    if (can_quote(s)) {
        buf_add_char(out, '"');
        add_escaped(out, s, "\"\\");
        buf_add_char(out, '"');
        return;
    }
    buf_add_char(out, '{');
    buf_add_u64(out, s.len);
    buf_add(out, STR("}\r\n"));
    add_escaped(out, s, "");
}

static void add_nstring(struct buf *out, str s)
{
    if (s.data)
        add_string(out, s);
    else
        buf_add(out, STR("NIL"));
}

/* A raw field value, unfolded. */
static enum err add_field(struct arena *a, struct buf *out, str raw)
{
    str value = STR_NONE;
    if (raw.data && !header_unfold_arena(a, raw, &value))
        return ERR_LIMIT;
    add_nstring(out, value.data || !raw.data ? value : STR(""));
    return ERR_OK;
}

/* NIL as host marks a group, so a missing part of a mailbox is an empty string. */
static void add_address(struct buf *out, const struct addr_item *item)
{
    bool group = item->kind == ADDR_GROUP_START;
    if (item->kind == ADDR_GROUP_END) {
        buf_add(out, STR("(NIL NIL NIL NIL)"));
        return;
    }
    buf_add_char(out, '(');
    add_nstring(out, item->name.len && !group ? item->name : STR_NONE);
    buf_add_char(out, ' ');
    add_nstring(out, item->route.len ? item->route : STR_NONE);
    buf_add_char(out, ' ');
    add_string(out, group ? item->name : item->addr.local);
    buf_add_char(out, ' ');
    if (group)
        buf_add(out, STR("NIL"));
    else
        add_string(out, item->addr.domain);
    buf_add_char(out, ')');
}

static enum err add_addresses(struct arena *a, struct buf *out, str raw)
{
    struct addr_list list = {.count = 0};
    if (raw.data)
        TRY(addr_list_parse(a, raw, &list));
    if (!list.count) {
        buf_add(out, STR("NIL"));
        return ERR_OK;
    }
    buf_add_char(out, '(');
    for (size_t i = 0; i < list.count; i++)
        add_address(out, &list.items[i]);
    buf_add_char(out, ')');
    return ERR_OK;
}

/* In the order of the envelope. */
enum { F_DATE, F_SUBJECT, F_FROM, F_SENDER, F_REPLY_TO, F_TO, F_CC, F_BCC, F_IN_REPLY_TO, F_ID };

static const str envelope_fields[] = {
    STR_INIT("Date"),        STR_INIT("Subject"),    STR_INIT("From"), STR_INIT("Sender"),
    STR_INIT("Reply-To"),    STR_INIT("To"),         STR_INIT("Cc"),   STR_INIT("Bcc"),
    STR_INIT("In-Reply-To"), STR_INIT("Message-ID"),
};

static void envelope_find(str header, str values[])
{
    struct header_iter it = header_iter_of(header);
    struct header_field f;
    while (header_next(&it, &f))
        for (size_t i = 0; i < ARRAY_LEN(envelope_fields); i++)
            if (f.name.len == envelope_fields[i].len && !values[i].data &&
                str_eq_nocase(f.name, envelope_fields[i]))
                values[i] = f.value.data ? f.value : STR("");
    /* RFC 9051 7.5.2: absent or empty, these two are From. */
    if (!str_trim(values[F_SENDER]).len)
        values[F_SENDER] = values[F_FROM];
    if (!str_trim(values[F_REPLY_TO]).len)
        values[F_REPLY_TO] = values[F_FROM];
}

static enum err render_envelope(struct arena *a, str header, struct buf *out)
{
    str values[ARRAY_LEN(envelope_fields)] = {{0}};
    envelope_find(header, values);
    buf_add_char(out, '(');
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        if (i)
            buf_add_char(out, ' ');
        if (i >= F_FROM && i <= F_BCC)
            TRY(add_addresses(a, out, values[i]));
        else
            TRY(add_field(a, out, values[i]));
    }
    buf_add_char(out, ')');
    return ERR_OK;
}

enum err mime_render_envelope(str header, struct buf *out)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    return render_envelope(&a, header, out);
}

/* more: rendered pairs to end with, or none. */
static enum err add_params(struct arena *a, struct buf *out, const struct param_list *list,
                           str more)
{
    if (!list->count && str_empty(more)) {
        buf_add(out, STR("NIL"));
        return ERR_OK;
    }
    for (size_t i = 0; i < list->count; i++) {
        str value;
        buf_add_char(out, i ? ' ' : '(');
        add_string(out, list->params[i].name);
        buf_add_char(out, ' ');
        if (!header_unfold_arena(a, list->params[i].value, &value))
            return ERR_LIMIT;
        add_string(out, value);
    }
    if (!str_empty(more))
        buf_add_char(out, list->count ? ' ' : '(');
    buf_add(out, more);
    buf_add_char(out, ')');
    return ERR_OK;
}

static bool has_param(const struct param_list *list, str name)
{
    for (size_t i = 0; i < list->count; i++)
        if (str_eq_nocase(list->params[i].name, name))
            return true;
    return false;
}

static enum err parse_joined(struct arena *a, str raw, struct param_value *out)
{
    TRY(params_parse(a, raw, out));
    return params_join(a, &out->params);
}

/* body-fld-param: of a text part that says none the default charset (RFC 2045 5.2). */
static enum err add_type_params(struct arena *a, struct buf *out, const struct mime_part *p)
{
    struct param_value v = {.params.count = 0};
    if (p->content_type.data)
        TRY(parse_joined(a, p->content_type, &v));
    bool plain = str_eq_nocase(p->type, STR("text")) && !has_param(&v.params, STR("charset")) &&
                 !has_param(&v.params, STR("charset*"));
    return add_params(a, out, &v.params, plain ? STR("\"charset\" \"us-ascii\"") : STR_NONE);
}

/* body-fld-dsp */
static enum err add_disposition(struct arena *a, struct buf *out, str raw)
{
    struct param_value v = {.params.count = 0};
    if (raw.data)
        TRY(parse_joined(a, raw, &v));
    if (!v.type.len) {
        buf_add(out, STR("NIL"));
        return ERR_OK;
    }
    buf_add_char(out, '(');
    add_string(out, v.type);
    buf_add_char(out, ' ');
    TRY(add_params(a, out, &v.params, STR_NONE));
    buf_add_char(out, ')');
    return ERR_OK;
}

/* body-fld-lang: a string, or a list of several */
static enum err add_language(struct arena *a, struct buf *out, str raw)
{
    str all = STR_NONE, one;
    if (raw.data && !header_unfold_arena(a, raw, &all))
        return ERR_LIMIT;
    bool list = str_find_char(all, ',') != STR_NPOS, first = true;
    if (!list) {
        add_nstring(out, all.len ? all : STR_NONE);
        return ERR_OK;
    }
    for (bool more = true; more;) {
        more = str_cut(all, ',', &one, &all);
        one = str_trim(one);
        if (!one.len)
            continue;
        buf_add_char(out, first ? '(' : ' ');
        add_string(out, one);
        first = false;
    }
    buf_add(out, first ? STR("NIL") : STR(")"));
    return ERR_OK;
}

/* Disposition, language, location: the end of both extension lists. */
static enum err add_extension(struct arena *a, struct buf *out, const struct mime_part *p)
{
    buf_add_char(out, ' ');
    TRY(add_disposition(a, out, p->disposition));
    buf_add_char(out, ' ');
    TRY(add_language(a, out, p->language));
    buf_add_char(out, ' ');
    return add_field(a, out, p->location);
}

/* type … octets: body-fields of a leaf or a message */
static enum err add_fields(struct arena *a, struct buf *out, const struct mime_part *p)
{
    buf_add_char(out, '(');
    add_string(out, p->type);
    buf_add_char(out, ' ');
    add_string(out, p->subtype);
    buf_add_char(out, ' ');
    TRY(add_type_params(a, out, p));
    buf_add_char(out, ' ');
    TRY(add_field(a, out, p->id));
    buf_add_char(out, ' ');
    TRY(add_field(a, out, p->description));
    buf_add_char(out, ' ');
    str encoding = params_token(p->encoding);
    add_string(out, encoding.len ? encoding : STR("7bit"));
    buf_add_char(out, ' ');
    buf_add_u64(out, p->body_size);
    return ERR_OK;
}

static enum err open_body(struct arena *a, const struct mime *m, const struct mime_part *p,
                          struct buf *out)
{
    if (p->kind == MIME_MULTIPART) {
        buf_add_char(out, '(');
        return ERR_OK;
    }
    TRY(add_fields(a, out, p));
    if (p->kind == MIME_MESSAGE) {
        assert(p->first_child != MIME_NO_PART);
        buf_add_char(out, ' ');
        TRY(render_envelope(a, mime_header(m, &m->parts[p->first_child]), out));
        buf_add_char(out, ' ');
    }
    return ERR_OK;
}

static enum err close_body(struct arena *a, const struct mime_part *p, bool extended,
                           struct buf *out)
{
    if (p->kind == MIME_MULTIPART) {
        buf_add_char(out, ' ');
        add_string(out, p->subtype);
        if (extended) {
            struct param_value v = {.params.count = 0};
            buf_add_char(out, ' ');
            TRY(params_parse(a, p->content_type, &v));
            TRY(add_params(a, out, &v.params, STR_NONE));
        }
    } else {
        if (p->kind == MIME_MESSAGE || str_eq_nocase(p->type, STR("text"))) {
            buf_add_char(out, ' ');
            buf_add_u64(out, p->body_lines);
        }
        if (extended) {
            buf_add_char(out, ' ');
            TRY(add_field(a, out, p->md5));
        }
    }
    if (extended)
        TRY(add_extension(a, out, p));
    buf_add_char(out, ')');
    return ERR_OK;
}

/* Walks the tree by its links, so that the stack does not grow with the depth. */
enum err mime_render_body(const struct mime *m, bool extended, struct buf *out)
{
    /* Reset for each part: what it needs is bounded by one header, not by the message. */
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    uint32_t i = 0;
    for (;;) {
        const struct mime_part *p = &m->parts[i];
        arena_reset(&a);
        TRY(open_body(&a, m, p, out));
        if (p->first_child != MIME_NO_PART) {
            i = p->first_child;
            continue;
        }
        for (;;) {
            TRY(close_body(&a, &m->parts[i], extended, out));
            if (m->parts[i].next != MIME_NO_PART || m->parts[i].parent == MIME_NO_PART)
                break;
            i = m->parts[i].parent;
        }
        if (m->parts[i].next == MIME_NO_PART)
            return ERR_OK;
        i = m->parts[i].next;
    }
}

/* subj-blob: "[" without brackets inside "]" and white space; its length or 0 */
static size_t blob_len(str s)
{
    size_t i = 1;
    if (!s.len || s.data[0] != '[')
        return 0;
    while (i < s.len && s.data[i] != '[' && s.data[i] != ']')
        i++;
    if (i >= s.len || s.data[i] != ']')
        return 0;
    for (i++; i < s.len && s.data[i] == ' ';)
        i++;
    return i;
}

/* subj-refwd: "re", "fw" or "fwd", maybe a blob, a colon; its length or 0 */
static size_t refwd_len(str s)
{
    size_t i = 2;
    if (str_starts_nocase(s, STR("fwd")))
        i = 3;
    else if (!str_starts_nocase(s, STR("re")) && !str_starts_nocase(s, STR("fw")))
        return 0;
    while (i < s.len && s.data[i] == ' ')
        i++;
    i += blob_len(str_skip(s, i));
    return i < s.len && s.data[i] == ':' ? i + 1 : 0;
}

/* subj-leader: blobs and one subj-refwd, or white space */
static size_t leader_len(str s)
{
    size_t i = 0, n;
    while (i < s.len && s.data[i] == ' ')
        i++;
    if (i)
        return i;
    while ((n = blob_len(str_skip(s, i))) > 0)
        i += n;
    n = refwd_len(str_skip(s, i));
    return n ? i + n : 0;
}

static str cut_trailers(str s, bool *is_reply)
{
    for (;;) {
        while (s.len && s.data[s.len - 1] == ' ')
            s.len--;
        if (!str_ends_nocase(s, STR("(fwd)")))
            return s;
        s.len -= 5;
        *is_reply = true;
    }
}

static str cut_leaders(str s, bool *is_reply)
{
    for (;;) {
        size_t n = leader_len(s);
        if (n) {
            *is_reply |= s.data[0] != ' ';
            s = str_skip(s, n);
            continue;
        }
        n = blob_len(s);
        if (!n || n == s.len)
            return s;
        s = str_skip(s, n);
    }
}

/* The input is cut first, so the loops, which look at a blob twice, stay small. */
void mime_base_subject(str raw, struct buf *out, bool *is_reply)
{
    BUF_AUTO struct buf text = BUF_INIT(16 * MIME_BASE_SUBJECT_MAX);
    *is_reply = false;
    words_decode(&text, str_head(raw, 4 * MIME_BASE_SUBJECT_MAX));
    size_t to = 0;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != ' ' || (to && text.data[to - 1] != ' '))
            text.data[to++] = text.data[i];
    str s = str_head(buf_str(&text), to);
    for (;;) {
        s = cut_leaders(cut_trailers(s, is_reply), is_reply);
        if (!str_starts_nocase(s, STR("[fwd:")) || !str_ends(s, STR("]")))
            break;
        *is_reply = true;
        s = str_sub(s, 5, s.len - 6);
    }
    if (s.len > MIME_BASE_SUBJECT_MAX) {
        s.len = MIME_BASE_SUBJECT_MAX;
        while (s.len && ((uint8_t)s.data[s.len] & 0xc0) == 0x80)
            s.len--;
    }
    buf_add(out, s);
}

static bool has_space(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] == ' ' || s.data[i] == '\t' || s.data[i] == '\r' || s.data[i] == '\n')
            return true;
    return false;
}

static bool next_in_angles(str *rest, str *id)
{
    size_t open = str_find_char(*rest, '<');
    if (open == STR_NPOS) {
        *rest = STR_NONE;
        return false;
    }
    *rest = str_skip(*rest, open + 1);
    size_t close = str_find_char(*rest, '>');
    if (close == STR_NPOS) {
        *rest = STR_NONE;
        return false;
    }
    *id = str_trim(str_head(*rest, close));
    *rest = str_skip(*rest, close + 1);
    return true;
}

bool mime_next_message_id(str *rest, str *id)
{
    while (next_in_angles(rest, id)) {
        size_t inner = has_space(*id) ? str_rfind_char(*id, '<') : STR_NPOS;
        if (inner != STR_NPOS) /* "<"from <id>": the one in front was never closed */
            *id = str_skip(*id, inner + 1);
        if (!str_empty(*id) && !has_space(*id))
            return true;
    }
    return false;
}
