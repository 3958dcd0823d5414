/* SPDX-License-Identifier: Apache-2.0 */
#include "format/header.h"

#include <assert.h>
#include <string.h>

static bool is_wsp(char c) { return c == ' ' || c == '\t'; }

/* Offset behind the line end of the line at pos. */
static size_t line_end(str block, size_t pos)
{
    const char *nl = memchr(block.data + pos, '\n', block.len - pos);
    return nl ? (size_t)(nl - block.data) + 1 : block.len;
}

size_t header_empty_line(str block, size_t pos)
{
    if (pos < block.len && block.data[pos] == '\n')
        return 1;
    return pos + 1 < block.len && block.data[pos] == '\r' && block.data[pos + 1] == '\n' ? 2 : 0;
}

/* RFC 5322 2.2: printable US-ASCII without the colon; 4.5.1 lets white space precede the colon. */
static str field_name(str line)
{
    size_t colon = str_find_char(str_head(line, HEADER_NAME_MAX + 1), ':');
    if (colon == STR_NPOS)
        return STR_NONE;
    while (colon > 0 && is_wsp(line.data[colon - 1]))
        colon--;
    for (size_t i = 0; i < colon; i++)
        if (line.data[i] <= ' ' || line.data[i] > '~')
            return STR_NONE;
    return str_head(line, colon);
}

void header_take_field(str block, size_t *pos, struct header_field *f)
{
    assert(*pos < block.len);
    size_t first_end = line_end(block, *pos), end = first_end;
    while (end < block.len && is_wsp(block.data[end]))
        end = line_end(block, end);
    str all = str_sub(block, *pos, end - *pos);
    *f = (struct header_field){.offset = *pos, .size = all.len};
    *pos = end;
    if (all.len && all.data[all.len - 1] == '\n')
        all.len--;
    if (all.len && all.data[all.len - 1] == '\r')
        all.len--;
    f->name = field_name(str_head(all, first_end - f->offset));
    f->value = all;
    if (f->name.len) {
        size_t colon = f->name.len;
        while (all.data[colon] != ':')
            colon++;
        f->value = str_skip(all, colon + 1);
    }
}

struct header_iter header_iter_of(str block) { return (struct header_iter){.block = block}; }

static bool iter_finish(struct header_iter *it)
{
    while (it->pos < it->block.len && !header_empty_line(it->block, it->pos))
        it->pos = line_end(it->block, it->pos);
    it->done = true;
    it->end_fields = it->pos;
    it->end = it->pos += header_empty_line(it->block, it->pos);
    return false;
}

bool header_next(struct header_iter *it, struct header_field *f)
{
    if (it->done)
        return false;
    if (it->pos >= it->block.len || header_empty_line(it->block, it->pos))
        return iter_finish(it);
    if (it->count == HEADER_FIELDS_MAX || it->pos >= HEADER_SIZE_MAX) {
        it->limit =
            it->count == HEADER_FIELDS_MAX ? LIMIT_HEADER_FIELDS_MAX : LIMIT_HEADER_SIZE_MAX;
        return iter_finish(it);
    }
    header_take_field(it->block, &it->pos, f);
    it->count++;
    return true;
}

size_t header_size(str block)
{
    struct header_iter it = header_iter_of(block);
    iter_finish(&it);
    return it.end;
}

bool header_find(str block, str name, struct header_field *f)
{
    struct header_iter it = header_iter_of(block);
    while (header_next(&it, f))
        if (str_eq_nocase(f->name, name))
            return true;
    return false;
}

void header_unfold(struct buf *out, str value)
{
    value = str_trim(value);
    while (value.len) {
        const char *nl = memchr(value.data, '\n', value.len);
        size_t n = nl ? (size_t)(nl - value.data) : value.len;
        size_t keep = nl && n && value.data[n - 1] == '\r' ? n - 1 : n;
        buf_add(out, str_head(value, keep));
        value = str_skip(value, n + 1);
    }
}

bool header_unfold_arena(struct arena *a, str value, str *out)
{
    value = str_trim(value);
    *out = value;
    if (!value.len || !memchr(value.data, '\n', value.len))
        return true;
    char *to = arena_alloc(a, value.len);
    *out = STR_NONE;
    if (!to)
        return false;
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        bool crlf = value.data[i] == '\r' && i + 1 < value.len && value.data[i + 1] == '\n';
        if (!crlf && value.data[i] != '\n')
            to[len++] = value.data[i];
    }
    *out = str_of(to, len);
    return true;
}

static bool is_listed(str name, const str *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq_nocase(name, names[i]))
            return true;
    return false;
}

void header_filter(struct buf *out, str block, const str *names, size_t count, bool invert)
{
    struct header_iter it = header_iter_of(block);
    struct header_field f;
    while (header_next(&it, &f)) {
        if ((f.name.len && is_listed(f.name, names, count)) == invert)
            continue;
        buf_add(out, str_sub(block, f.offset, f.size));
        if (f.size && block.data[f.offset + f.size - 1] != '\n')
            buf_add(out, STR("\r\n"));
    }
    if (it.limit != LIMIT_NONE && invert)
        buf_add(out, str_sub(block, f.offset + f.size, it.end_fields - f.offset - f.size));
    buf_add(out, STR("\r\n"));
}
