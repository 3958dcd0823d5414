/* SPDX-License-Identifier: Apache-2.0 */
#include "format/imap_syntax.h"

#include <string.h>

#include "base/num.h"
#include "base/utf8.h"

/* RFC 9051 9: ATOM-CHAR; the others one by one. */
static bool is_atom_char(unsigned char c)
{
    return c > 0x20 && c < 0x7f && c != '(' && c != ')' && c != '{' && c != '%' && c != '*' &&
           c != '"' && c != '\\' && c != ']';
}
static bool is_astring_char(unsigned char c) { return is_atom_char(c) || c == ']'; }
static bool is_list_char(unsigned char c) { return is_astring_char(c) || c == '%' || c == '*'; }

bool imap_literal_at_end(str line, struct imap_literal *out)
{
    *out = (struct imap_literal){0};
    if (line.len < 3 || line.data[line.len - 1] != '}')
        return false;
    size_t open = str_rfind_char(line, '{');
    if (open == STR_NPOS)
        return false;
    str digits = str_sub(line, open + 1, line.len - open - 2);
    if (digits.len && digits.data[digits.len - 1] == '+') {
        out->nonsync = true;
        digits.len--;
    }
    out->begin = open;
    if (open && line.data[open - 1] == '~') {
        out->binary = true;
        out->begin--;
    }
    return digits.len <= 19 && num_parse_u64(digits, INT64_MAX, &out->size);
}

bool imap_error_kind(struct imap_cursor *c, enum err kind, const char *text)
{
    if (!c->error) {
        c->error = text;
        c->error_pos = c->pos;
        c->kind = kind;
    }
    return false;
}

bool imap_error(struct imap_cursor *c, const char *text)
{
    return imap_error_kind(c, ERR_SYNTAX, text);
}

void imap_error_render(struct buf *out, const struct imap_cursor *c)
{
    buf_add_c(out, c->error ? c->error : "No error");
    buf_add_c(out, " at position ");
    buf_add_u64(out, c->error_pos + 1);
}

bool imap_at_end(const struct imap_cursor *c) { return !c->error && c->pos >= c->in.len; }

int imap_peek(const struct imap_cursor *c)
{
    return c->error || c->pos >= c->in.len ? -1 : (unsigned char)c->in.data[c->pos];
}

bool imap_accept(struct imap_cursor *c, char ch)
{
    if (imap_peek(c) != (unsigned char)ch)
        return false;
    c->pos++;
    return true;
}

bool imap_expect(struct imap_cursor *c, char ch)
{
    if (imap_accept(c, ch))
        return true;
    switch (ch) {
    case '(':
        return imap_error(c, "'(' expected");
    case ')':
        return imap_error(c, "')' expected");
    case '"':
        return imap_error(c, "Quote expected");
    case ']':
        return imap_error(c, "']' expected");
    default:
        return imap_error(c, "Unexpected byte");
    }
}

bool imap_sp(struct imap_cursor *c)
{
    return imap_accept(c, ' ') ? true : imap_error(c, "Space expected");
}

bool imap_end(struct imap_cursor *c)
{
    if (c->pos < c->in.len)
        return imap_error(c, "End of command expected");
    return imap_ok(c);
}

static str run_of(struct imap_cursor *c, bool (*member)(unsigned char))
{
    size_t n = c->pos;
    if (c->error)
        return STR_NONE;
    while (n < c->in.len && member((unsigned char)c->in.data[n]))
        n++;
    str s = str_sub(c->in, c->pos, n - c->pos);
    c->pos = n;
    return s;
}

str imap_tag(struct imap_cursor *c)
{
    size_t begin = c->pos;
    str s = run_of(c, is_astring_char);
    if (s.len && str_find_char(s, '+') == STR_NPOS)
        return s;
    c->pos = begin;
    imap_error(c, "Tag expected");
    return STR_NONE;
}

str imap_atom(struct imap_cursor *c)
{
    str s = run_of(c, is_atom_char);
    if (!s.len)
        imap_error(c, "Atom expected");
    return s;
}

/* Behind the opening quote. Borrowed unless there are escapes. */
static str quoted(struct imap_cursor *c)
{
    size_t n = c->pos;
    bool escapes = false;
    for (; n < c->in.len && c->in.data[n] != '"'; n++) {
        char ch = c->in.data[n];
        if (ch == '\\') {
            escapes = true;
            n++;
            if (n >= c->in.len || (c->in.data[n] != '"' && c->in.data[n] != '\\'))
                break;
        } else if (ch == '\r' || ch == '\n' || ch == '\0') {
            break;
        }
    }
    if (n >= c->in.len || c->in.data[n] != '"') {
        c->pos = MIN(n, c->in.len);
        imap_error(c, "Malformed quoted string");
        return STR_NONE;
    }
    str s = str_sub(c->in, c->pos, n - c->pos);
    if (!utf8_valid(s)) {
        imap_error(c, "Quoted string is not UTF-8");
        return STR_NONE;
    }
    c->pos = n + 1;
    if (!escapes)
        return s;
    char *to = arena_alloc(c->arena, s.len);
    size_t len = 0;
    if (!to) {
        imap_error_kind(c, ERR_NOMEM, "Command too large");
        return STR_NONE;
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '\\')
            i++;
        to[len++] = s.data[i];
    }
    return str_of(to, len);
}

/* "{n}", "{n+}", also behind '~'; true with the size, cursor behind '}'. */
static bool literal_size(struct imap_cursor *c, struct imap_literal *out)
{
    *out = (struct imap_literal){.begin = c->pos};
    out->binary = imap_accept(c, '~');
    if (!imap_expect(c, '{'))
        return false;
    out->size = imap_number64(c);
    out->nonsync = imap_accept(c, '+');
    return imap_accept(c, '}') ? true : imap_error(c, "Malformed literal");
}

static str literal(struct imap_cursor *c)
{
    struct imap_literal head;
    if (!literal_size(c, &head))
        return STR_NONE;
    if (!imap_accept(c, '\r') || !imap_accept(c, '\n') || c->in.len - c->pos < head.size) {
        imap_error(c, "Literal is not attached");
        return STR_NONE;
    }
    str s = str_sub(c->in, c->pos, head.size);
    if (!head.binary && s.len && memchr(s.data, 0, s.len)) {
        imap_error(c, "NUL in literal");
        return STR_NONE;
    }
    c->pos += head.size;
    return s;
}

str imap_string(struct imap_cursor *c)
{
    if (imap_accept(c, '"'))
        return quoted(c);
    int next = imap_peek(c);
    if (next == '{' || next == '~')
        return literal(c);
    imap_error(c, "String expected");
    return STR_NONE;
}

static str astring_of(struct imap_cursor *c, bool (*member)(unsigned char))
{
    int next = imap_peek(c);
    if (next == '"' || next == '{')
        return imap_string(c);
    str s = run_of(c, member);
    if (!s.len)
        imap_error(c, "Atom or string expected");
    return s;
}

str imap_astring(struct imap_cursor *c) { return astring_of(c, is_astring_char); }

bool imap_nstring(struct imap_cursor *c, str *out)
{
    *out = STR_NONE;
    if (imap_accept_word(c, STR("NIL")))
        return false;
    *out = imap_string(c);
    return imap_ok(c);
}

bool imap_accept_word(struct imap_cursor *c, str word)
{
    if (c->error || !str_eq_nocase(str_sub(c->in, c->pos, word.len), word))
        return false;
    size_t end = c->pos + word.len;
    if (end < c->in.len && is_atom_char((unsigned char)c->in.data[end]))
        return false;
    c->pos = end;
    return true;
}

static uint64_t number_to(struct imap_cursor *c, uint64_t max)
{
    if (c->error)
        return 0;
    str rest = str_skip(c->in, c->pos);
    uint64_t n = 0;
    if (!num_take_u64(&rest, max, &n)) {
        imap_error(c, "Number expected");
        return 0;
    }
    c->pos = c->in.len - rest.len;
    return n;
}

uint32_t imap_number(struct imap_cursor *c) { return (uint32_t)number_to(c, UINT32_MAX); }
uint64_t imap_number64(struct imap_cursor *c) { return number_to(c, INT64_MAX); }

uint32_t imap_nz_number(struct imap_cursor *c)
{
    size_t begin = c->pos;
    uint32_t n = imap_number(c);
    if (n || c->error)
        return n;
    c->pos = begin;
    imap_error(c, "Number from 1 expected");
    return 0;
}

/* The name as stored: UTF-8. */
static str mailbox_name(struct imap_cursor *c, size_t begin, str s)
{
    if (c->error)
        return STR_NONE;
    if (str_eq_nocase(s, STR("INBOX")))
        return STR("INBOX");
    if (!utf8_valid(s) || (s.len && memchr(s.data, 0, s.len))) {
        c->pos = begin;
        imap_error(c, "Mailbox name is not UTF-8");
        return STR_NONE;
    }
    if (c->utf8 || !utf8_is_ascii(s) || str_find_char(s, '&') == STR_NPOS)
        return s;
    BUF_AUTO struct buf name = BUF_INIT(s.len * 3 + 16);
    if (!utf7_imap_decode(&name, s) || !buf_ok(&name)) {
        c->pos = begin;
        imap_error(c, "Mailbox name is not modified UTF-7");
        return STR_NONE;
    }
    str out;
    if (!arena_dup(c->arena, buf_str(&name), &out))
        imap_error_kind(c, ERR_NOMEM, "Command too large");
    return out;
}

str imap_mailbox(struct imap_cursor *c)
{
    size_t begin = c->pos;
    return mailbox_name(c, begin, imap_astring(c));
}

str imap_list_mailbox(struct imap_cursor *c)
{
    size_t begin = c->pos;
    return mailbox_name(c, begin, astring_of(c, is_list_char));
}

bool imap_date_time(struct imap_cursor *c, struct date *out)
{
    size_t begin = c->pos;
    *out = (struct date){0};
    if (!imap_expect(c, '"'))
        return false;
    str s = quoted(c);
    if (imap_ok(c) && !date_parse_imap(s, out)) {
        c->pos = begin;
        return imap_error(c, "Malformed date-time");
    }
    return imap_ok(c);
}

int64_t imap_date(struct imap_cursor *c)
{
    size_t begin = c->pos;
    int64_t days = 0;
    str s = imap_astring(c);
    if (imap_ok(c) && !date_parse_imap_day(s, &days)) {
        c->pos = begin;
        imap_error(c, "Malformed date");
        return 0;
    }
    return days;
}

bool imap_literal_head(struct imap_cursor *c, struct imap_literal *out)
{
    if (!literal_size(c, out))
        return false;
    if (imap_accept(c, '\r'))
        imap_accept(c, '\n');
    return imap_at_end(c) ? true : imap_error(c, "The literal must end the line");
}

void *imap_grow(struct imap_cursor *c, void *array, size_t count, size_t *cap, size_t size,
                size_t max)
{
    if (c->error)
        return NULL;
    size_t more = *cap ? *cap * 2 : 4;
    if (count < MIN(*cap, max))
        return array;
    if (count >= max) {
        imap_error_kind(c, ERR_LIMIT, "Too many items");
        return NULL;
    }
    void *grown = arena_alloc_array(c->arena, more, size);
    if (!grown) {
        imap_error_kind(c, ERR_NOMEM, "Command too large");
        return NULL;
    }
    if (count)
        memcpy(grown, array, count * size);
    *cap = more;
    return grown;
}

bool imap_words(struct imap_cursor *c, str (*take)(struct imap_cursor *), str **out, size_t *count)
{
    size_t cap = 0;
    bool list = imap_accept(c, '(');
    *out = NULL;
    *count = 0;
    do {
        str *words = imap_grow(c, *out, *count, &cap, sizeof(str), IMAP_LIST_MAX);
        if (!words)
            return false;
        *out = words;
        words[*count] = take(c);
        if (!imap_ok(c))
            return false;
        ++*count;
    } while (list && imap_accept(c, ' '));
    return !list || imap_expect(c, ')');
}

static uint32_t seq_number(struct imap_cursor *c)
{
    return imap_accept(c, '*') ? 0 : imap_nz_number(c);
}

bool imap_seq_set(struct imap_cursor *c, struct imap_seq *out)
{
    size_t cap = 0;
    *out = (struct imap_seq){0};
    if (imap_accept(c, '$')) {
        out->saved = true;
        return true;
    }
    do {
        struct imap_seq_range *ranges =
            imap_grow(c, out->ranges, out->count, &cap, sizeof(*ranges), IMAP_SEQ_RANGES_MAX);
        if (!ranges)
            return false;
        out->ranges = ranges;
        uint32_t first = seq_number(c);
        uint32_t last = imap_accept(c, ':') ? seq_number(c) : first;
        ranges[out->count++] = (struct imap_seq_range){first, last};
    } while (imap_accept(c, ','));
    return imap_ok(c);
}

enum err imap_seq_resolve(const struct imap_seq *seq, uint32_t star, struct set *out)
{
    for (size_t i = 0; i < seq->count; i++) {
        uint32_t first = seq->ranges[i].first, last = seq->ranges[i].last;
        if ((!first || !last) && !star)
            continue;
        first = first ? first : star;
        last = last ? last : star;
        TRY(set_add_range(out, MIN(first, last), MAX(first, last)));
    }
    return ERR_OK;
}

static const struct {
    str name;
    uint32_t bit;
} flag_rows[] = {
    {STR_INIT("\\Answered"), IMAP_FLAG_ANSWERED}, {STR_INIT("\\Flagged"), IMAP_FLAG_FLAGGED},
    {STR_INIT("\\Deleted"), IMAP_FLAG_DELETED},   {STR_INIT("\\Seen"), IMAP_FLAG_SEEN},
    {STR_INIT("\\Draft"), IMAP_FLAG_DRAFT},       {STR_INIT("\\Recent"), IMAP_FLAG_RECENT},
};

static bool take_flag(struct imap_cursor *c, struct imap_flags *out, size_t *cap)
{
    size_t begin = c->pos;
    bool system = imap_accept(c, '\\');
    if (!imap_atom(c).len)
        return false;
    str flag = str_sub(c->in, begin, c->pos - begin);
    for (size_t i = 0; system && i < ARRAY_LEN(flag_rows); i++) {
        if (str_eq_nocase(flag, flag_rows[i].name)) {
            out->system |= flag_rows[i].bit;
            return true;
        }
    }
    str *keywords = imap_grow(c, out->keywords, out->count, cap, sizeof(str), IMAP_FLAGS_MAX);
    if (!keywords)
        return false;
    out->keywords = keywords;
    keywords[out->count++] = flag;
    return true;
}

bool imap_flag_list(struct imap_cursor *c, struct imap_flags *out)
{
    size_t cap = 0;
    *out = (struct imap_flags){0};
    if (!imap_expect(c, '('))
        return false;
    if (imap_accept(c, ')'))
        return true;
    do {
        if (!take_flag(c, out, &cap))
            return false;
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')');
}

bool imap_flags_loose(struct imap_cursor *c, struct imap_flags *out)
{
    size_t cap = 0;
    if (imap_peek(c) == '(')
        return imap_flag_list(c, out);
    *out = (struct imap_flags){0};
    do {
        if (!take_flag(c, out, &cap))
            return false;
    } while (imap_accept(c, ' '));
    return true;
}

void imap_render_quoted(struct buf *out, str s)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '"' || s.data[i] == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, s.data[i]);
    }
    buf_add_char(out, '"');
}

/* 8-bit text goes as a literal, which every client understands. */
static bool can_quote(str s)
{
    if (s.len > IMAP_QUOTED_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = s.data[i];
        if (ch == '\r' || ch == '\n' || ch == 0 || ch >= 0x80)
            return false;
    }
    return true;
}

void imap_render_string(struct buf *out, str s)
{
    if (can_quote(s)) {
        imap_render_quoted(out, s);
        return;
    }
    buf_add_char(out, '{');
    buf_add_u64(out, s.len);
    buf_add_c(out, "}\r\n");
    buf_add(out, s);
}

void imap_render_nstring(struct buf *out, bool given, str s)
{
    if (given)
        imap_render_string(out, s);
    else
        buf_add_c(out, "NIL");
}

void imap_render_astring(struct buf *out, str s)
{
    bool atom = s.len && s.len <= IMAP_QUOTED_MAX && !str_eq_nocase(s, STR("NIL"));
    for (size_t i = 0; atom && i < s.len; i++)
        atom = is_atom_char((unsigned char)s.data[i]);
    if (atom)
        buf_add(out, s);
    else
        imap_render_string(out, s);
}

void imap_render_mailbox(struct buf *out, str name, bool utf8)
{
    if (utf8 && !utf8_is_ascii(name)) {
        imap_render_quoted(out, name);
        return;
    }
    if (utf8 || (utf8_is_ascii(name) && str_find_char(name, '&') == STR_NPOS)) {
        imap_render_astring(out, name);
        return;
    }
    BUF_AUTO struct buf wire = BUF_INIT(name.len * 4 + 64);
    utf7_imap_encode(&wire, name);
    imap_render_astring(out, buf_str(&wire));
}

void imap_render_flags(struct buf *out, uint32_t system, const str *keywords, size_t count)
{
    const char *gap = "(";
    for (size_t i = 0; i < ARRAY_LEN(flag_rows); i++) {
        if (system & flag_rows[i].bit) {
            buf_add_c(out, gap);
            buf_add(out, flag_rows[i].name);
            gap = " ";
        }
    }
    for (size_t i = 0; i < count; i++) {
        buf_add_c(out, gap);
        buf_add(out, keywords[i]);
        gap = " ";
    }
    buf_add_c(out, *gap == '(' ? "()" : ")");
}

void imap_render_date_time(struct buf *out, int64_t seconds, int zone_minutes)
{
    buf_add_char(out, '"');
    date_render_imap(out, seconds, zone_minutes);
    buf_add_char(out, '"');
}
