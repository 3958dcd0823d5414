/* SPDX-License-Identifier: Apache-2.0
 *
 * Address lists of header fields, tolerant. One pass; a position only moves forward, but for one
 * repair: "user@host <user@host>", where what looked like an address was the name, is copied a
 * second time, once per item.
 */
#include <assert.h>
#include <string.h>

#include "format/addr.h"

struct parser {
    struct arena *arena;
    str in;
    size_t pos;
    /* Text of names and of addresses; each is never longer than the input it comes from. */
    char *names, *parts;
    size_t names_len, parts_len;
    struct addr_list *list;
    size_t cap;
    bool in_group;
    /* The item under way. */
    size_t start;                /* its first byte */
    size_t name_from, part_from; /* where its texts begin in names and parts */
    bool gap;                    /* white space seen since the last word */
    str comment;                 /* last one, raw, without parentheses */
};

static bool at_end(const struct parser *p) { return p->pos >= p->in.len; }

static char peek(const struct parser *p) { return p->in.data[p->pos]; }

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Takes a comment (RFC 5322 3.2.2); an open one reaches to the end. A counter, no recursion. */
static void take_comment(struct parser *p)
{
    size_t depth = 0, from = p->pos + 1;
    for (; p->pos < p->in.len; p->pos++) {
        char c = peek(p);
        if (c == '\\')
            p->pos++;
        else if (c == '(')
            depth++;
        else if (c == ')' && --depth == 0)
            break;
    }
    size_t end = p->pos < p->in.len ? p->pos : p->in.len;
    p->comment = str_sub(p->in, from, end > from ? end - from : 0);
    p->pos = end < p->in.len ? end + 1 : p->in.len;
}

static void skip_cfws(struct parser *p)
{
    while (!at_end(p) && (is_space(peek(p)) || peek(p) == '(')) {
        p->gap = true;
        if (peek(p) == '(')
            take_comment(p);
        else
            p->pos++;
    }
}

static void add_name(struct parser *p, char c)
{
    assert(p->names_len <= p->in.len);
    p->names[p->names_len++] = c;
}

static void add_part(struct parser *p, char c)
{
    assert(p->parts_len <= p->in.len);
    p->parts[p->parts_len++] = c;
}

static str name_so_far(const struct parser *p)
{
    return str_of(p->names + p->name_from, p->names_len - p->name_from);
}

static str part_so_far(const struct parser *p)
{
    return str_of(p->parts + p->part_from, p->parts_len - p->part_from);
}

/* Raw text into names: escapes undone, white space made one space. */
static str name_from_raw(struct parser *p, str raw)
{
    raw = str_trim(raw);
    p->names_len = p->name_from;
    bool gap = false;
    for (size_t i = 0; i < raw.len; i++) {
        if (is_space(raw.data[i])) {
            gap = true;
            continue;
        }
        if (gap)
            add_name(p, ' ');
        gap = false;
        if (raw.data[i] == '\\' && i + 1 < raw.len)
            i++;
        add_name(p, raw.data[i]);
    }
    return name_so_far(p);
}

/* A quoted string goes to both texts. Line ends inside vanish (RFC 5322 3.2.4). */
static void take_quoted(struct parser *p, bool to_name)
{
    for (p->pos++; !at_end(p) && peek(p) != '"'; p->pos++) {
        if (peek(p) == '\\' && p->pos + 1 < p->in.len)
            p->pos++;
        else if (peek(p) == '\r' || peek(p) == '\n')
            continue;
        if (to_name)
            add_name(p, peek(p));
        add_part(p, peek(p));
    }
    if (!at_end(p))
        p->pos++;
}

static void take_atom(struct parser *p, const char *stops, bool to_name)
{
    while (!at_end(p) && !is_space(peek(p)) && !(peek(p) && strchr(stops, peek(p)))) {
        if (to_name)
            add_name(p, peek(p));
        add_part(p, peek(p));
        p->pos++;
    }
}

static enum err push(struct parser *p, struct addr_item item)
{
    struct addr_list *l = p->list;
    if (l->count == ADDRS_PER_FIELD_MAX && item.kind != ADDR_GROUP_END) {
        l->limit = LIMIT_ADDRS_PER_FIELD_MAX;
        p->pos = p->in.len;
        return ERR_OK;
    }
    if (l->count == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 4;
        struct addr_item *items = ARENA_ARRAY(p->arena, struct addr_item, cap);
        if (!items)
            return ERR_LIMIT;
        if (l->count)
            memcpy(items, l->items, l->count * sizeof(*items));
        l->items = items;
        p->cap = cap;
    }
    l->items[l->count++] = item;
    return ERR_OK;
}

static void begin_item(struct parser *p)
{
    p->start = p->pos;
    p->name_from = p->names_len;
    p->part_from = p->parts_len;
    p->gap = false;
    p->comment = STR_NONE;
}

/* Behind "@": a domain, its inner white space and comments dropped. Ends before a stop. */
static str take_domain(struct parser *p)
{
    p->part_from = p->parts_len;
    bool dot = true;
    for (;;) {
        skip_cfws(p);
        if (at_end(p) || (!dot && peek(p) != '.'))
            break;
        size_t before = p->pos;
        if (peek(p) == '[') {
            while (!at_end(p) && peek(p) != ']' && peek(p) != '>') {
                if (!is_space(peek(p)))
                    add_part(p, peek(p));
                p->pos++;
            }
            if (!at_end(p) && peek(p) == ']') {
                add_part(p, ']');
                p->pos++;
            }
        } else {
            take_atom(p, "()<>[],;:\"", false);
        }
        if (p->pos == before)
            break;
        dot = p->in.data[p->pos - 1] == '.';
    }
    return part_so_far(p);
}

/* Skips to the end of the item: a comma, a semicolon, the end; or "<" when wanted. */
static void skip_rest(struct parser *p, bool stop_at_angle)
{
    while (!at_end(p)) {
        char c = peek(p);
        if (c == ',' || c == ';' || (stop_at_angle && c == '<'))
            return;
        if (c == '(') {
            take_comment(p);
        } else if (c == '"') {
            for (p->pos++; !at_end(p) && peek(p) != '"'; p->pos++)
                if (peek(p) == '\\')
                    p->pos++;
            p->pos = p->pos < p->in.len ? p->pos + 1 : p->in.len;
        } else {
            p->pos++;
        }
    }
}

/* obs-route "@a,@b:" (RFC 5322 4.4), without white space. */
static str take_route(struct parser *p)
{
    size_t from = p->parts_len;
    while (!at_end(p) && peek(p) != ':' && peek(p) != '>') {
        if (peek(p) == '(') {
            take_comment(p);
            continue;
        }
        if (!is_space(peek(p)))
            add_part(p, peek(p));
        p->pos++;
    }
    if (!at_end(p) && peek(p) == ':') {
        p->pos++;
        return str_of(p->parts + from, p->parts_len - from);
    }
    /* "<@host>" is no route. */
    p->parts_len = from;
    return STR_NONE;
}

/* Behind "<". */
static void take_angle(struct parser *p, struct addr_item *item)
{
    skip_cfws(p);
    size_t route_at = p->pos;
    if (!at_end(p) && peek(p) == '@') {
        item->route = take_route(p);
        if (!item->route.data) {
            /* All of it is read again: what lies ahead is not yet a comment of this item. */
            p->pos = route_at;
            p->comment = STR_NONE;
        }
    }
    p->part_from = p->parts_len;
    for (skip_cfws(p); !at_end(p) && peek(p) != '@' && peek(p) != '>'; skip_cfws(p)) {
        if (peek(p) == '"') {
            take_quoted(p, false);
        } else if (strchr(")(<", peek(p))) {
            p->pos++;
        } else {
            take_atom(p, "@>\"()<", false);
        }
    }
    item->addr.local = part_so_far(p);
    if (!at_end(p) && peek(p) == '@') {
        p->pos++;
        item->addr.domain = take_domain(p);
    }
    while (!at_end(p) && peek(p) != '>' && peek(p) != ',')
        p->pos++;
    if (!at_end(p) && peek(p) == '>')
        p->pos++;
}

static enum err finish_angle(struct parser *p, str name)
{
    struct addr_item item = {.kind = ADDR_MAILBOX, .name = name};
    size_t names_len = p->names_len;
    p->comment = STR_NONE;
    take_angle(p, &item);
    skip_rest(p, false);
    p->names_len = names_len;
    if (!item.name.len && p->comment.len) {
        p->name_from = p->names_len;
        item.name = name_from_raw(p, p->comment);
    }
    return push(p, item);
}

static enum err finish_bare(struct parser *p)
{
    struct addr_item item = {.kind = ADDR_MAILBOX, .addr.local = part_so_far(p)};
    p->pos++;
    item.addr.domain = take_domain(p);
    skip_rest(p, true);
    if (!at_end(p) && peek(p) == '<') {
        str raw = str_sub(p->in, p->start, p->pos - p->start);
        p->pos++;
        return finish_angle(p, name_from_raw(p, raw));
    }
    p->names_len = p->name_from;
    if (p->comment.len)
        item.name = name_from_raw(p, p->comment);
    return push(p, item);
}

static enum err group_start(struct parser *p)
{
    p->pos++;
    p->in_group = true;
    return push(p, (struct addr_item){.kind = ADDR_GROUP_START, .name = name_so_far(p)});
}

/* Words without "@" or "<" up to a separator: a local name. */
static enum err finish_words(struct parser *p)
{
    str words = name_so_far(p);
    if (!words.len)
        return ERR_OK;
    return push(p, (struct addr_item){.kind = ADDR_MAILBOX, .addr.local = words});
}

/* One list element, up to its separator (not taken). */
static enum err take_item(struct parser *p)
{
    begin_item(p);
    for (;;) {
        skip_cfws(p);
        if (at_end(p) || peek(p) == ',' || peek(p) == ';')
            return finish_words(p);
        char c = peek(p);
        if (c == '@')
            return finish_bare(p);
        if (c == '<') {
            p->pos++;
            return finish_angle(p, name_so_far(p));
        }
        if (c == ':' && !p->in_group && p->names_len > p->name_from)
            return group_start(p);
        if (p->gap && p->names_len > p->name_from)
            add_name(p, ' ');
        p->gap = false;
        if (c == '"')
            take_quoted(p, true);
        else if (c == ')' || c == '>' || c == ':')
            p->pos++;
        else
            take_atom(p, "@<>,;:\"()", true);
    }
}

enum err addr_list_parse(struct arena *a, str value, struct addr_list *out)
{
    *out = (struct addr_list){.limit = LIMIT_NONE};
    struct parser p = {.arena = a, .in = value, .list = out};
    p.names = arena_alloc(a, value.len + 1);
    p.parts = arena_alloc(a, value.len + 1);
    if (!p.names || !p.parts)
        return ERR_LIMIT;
    while (!at_end(&p)) {
        TRY(take_item(&p));
        if (at_end(&p))
            break;
        if (peek(&p) == ';' && p.in_group) {
            p.in_group = false;
            TRY(push(&p, (struct addr_item){.kind = ADDR_GROUP_END}));
        }
        if (peek(&p) == ',' || peek(&p) == ';')
            p.pos++;
    }
    return p.in_group ? push(&p, (struct addr_item){.kind = ADDR_GROUP_END}) : ERR_OK;
}
