/* SPDX-License-Identifier: Apache-2.0
 *
 * Each code point is folded and decomposed by itself; marks are then put into canonical order
 * (Unicode 3.11). More than 32 marks on one character are ordered by 32.
 */
#include "core/search.h"

#include <string.h>
#include <utf8proc.h>

#include "base/num.h"
#include "base/utf8.h"

static void flush_marks(struct search_fold *f, struct buf *out)
{
    for (unsigned i = 1; i < f->nmarks; i++) /* stable, and short */
        for (unsigned k = i; k > 0 && f->classes[k - 1] > f->classes[k]; k--) {
            uint32_t mark = f->marks[k];
            uint8_t class = f->classes[k];
            f->marks[k] = f->marks[k - 1];
            f->classes[k] = f->classes[k - 1];
            f->marks[k - 1] = mark;
            f->classes[k - 1] = class;
        }
    for (unsigned i = 0; i < f->nmarks; i++)
        utf8_add(out, f->marks[i]);
    f->nmarks = 0;
}

static void add_folded(struct search_fold *f, uint32_t code, struct buf *out)
{
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)code);
    if (p->combining_class == 0) {
        if (f->nmarks)
            flush_marks(f, out);
        utf8_add(out, code);
        return;
    }
    if (f->nmarks == ARRAY_LEN(f->marks))
        flush_marks(f, out);
    f->marks[f->nmarks] = code;
    f->classes[f->nmarks++] = (uint8_t)p->combining_class;
}

static void add_code(struct search_fold *f, uint32_t code, struct buf *out)
{
    utf8proc_int32_t parts[32];
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(
        (utf8proc_int32_t)code, parts, ARRAY_LEN(parts),
        UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD, &boundary);
    if (n < 0 || n > (utf8proc_ssize_t)ARRAY_LEN(parts)) {
        add_folded(f, code, out);
        return;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++)
        add_folded(f, (uint32_t)parts[i], out);
}

/* Lower case of a run of ASCII. */
static str take_ascii(struct search_fold *f, str s, struct buf *out)
{
    size_t n = 0;
    while (n < s.len && (uint8_t)s.data[n] < 0x80)
        n++;
    if (n == 0)
        return s;
    if (f->nmarks)
        flush_marks(f, out);
    char *to = buf_reserve(out, n);
    if (!to)
        return STR_NONE;
    for (size_t i = 0; i < n; i++) {
        char c = s.data[i];
        to[i] = (char)(c + ((c >= 'A' && c <= 'Z') ? 32 : 0));
    }
    buf_commit(out, n);
    return str_skip(s, n);
}

static size_t sequence_length(uint8_t lead)
{
    return lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
}

/* Is s, at a chunk's end, the beginning of a character whose other bytes may follow? */
static bool is_cut(str s)
{
    for (size_t i = 1; i < s.len; i++) {
        if (((uint8_t)s.data[i] & 0xc0) != 0x80)
            return false;
    }
    return s.len < sequence_length((uint8_t)s.data[0]);
}

/* A character that the chunk's end has cut; false: more is needed. */
static bool complete_partial(struct search_fold *f, str *s, struct buf *out)
{
    size_t need = sequence_length((uint8_t)f->partial[0]);
    while (f->npartial < need && s->len) {
        if (((uint8_t)s->data[0] & 0xc0) != 0x80)
            break;
        f->partial[f->npartial++] = s->data[0];
        *s = str_skip(*s, 1);
    }
    if (f->npartial < need && !s->len)
        return false;
    uint32_t code;
    for (str rest = str_of(f->partial, f->npartial); rest.len;) {
        utf8_take(&rest, &code);
        add_code(f, code, out);
    }
    f->npartial = 0;
    return true;
}

void search_fold_add(struct search_fold *f, str s, struct buf *out)
{
    if (f->npartial && !complete_partial(f, &s, out))
        return;
    while ((s = take_ascii(f, s, out)).len) {
        if (s.len < sizeof(f->partial) && is_cut(s)) {
            memcpy(f->partial, s.data, s.len);
            f->npartial = (uint8_t)s.len;
            return;
        }
        uint32_t code;
        utf8_take(&s, &code);
        add_code(f, code, out);
    }
}

void search_fold_end(struct search_fold *f, struct buf *out)
{
    uint32_t code;
    for (str rest = str_of(f->partial, f->npartial); rest.len;) {
        utf8_take(&rest, &code);
        add_code(f, code, out);
    }
    f->npartial = 0;
    flush_marks(f, out);
}

void search_fold_all(str utf8, struct buf *out)
{
    struct search_fold f = {0};
    search_fold_add(&f, utf8, out);
    search_fold_end(&f, out);
}
