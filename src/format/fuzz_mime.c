/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/utf8.h"
#include "format/mime_cold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Parts lie inside their parents, in order; and behind one another. */
static void check_parts(const struct mime *m)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct mime_part *p = &m->parts[i];
        assert(p->body_offset == p->header_offset + p->header_size);
        assert(p->body_offset + p->body_size <= m->message.len);
        assert(p->depth < MIME_DEPTH_MAX);
        assert((p->kind == MIME_LEAF) == (p->first_child == MIME_NO_PART));
        if (p->next != MIME_NO_PART) {
            assert(p->next > i && m->parts[p->next].parent == p->parent);
            assert(m->parts[p->next].header_offset >= p->body_offset + p->body_size);
        }
        if (p->parent == MIME_NO_PART)
            continue;
        const struct mime_part *up = &m->parts[p->parent];
        assert(p->parent < i && p->depth == up->depth + 1);
        assert(p->header_offset >= up->body_offset);
    }
}

static void check_cold(const struct mime *m, const struct mime_cold *c)
{
    struct mime_cold_iter it = mime_cold_iter_of(c);
    struct mime_cold_part p;
    size_t count = 0;
    while (mime_cold_next(&it, &p)) {
        assert(p.header_offset == m->parts[count].header_offset);
        assert(p.body_size == m->parts[count].body_size);
        assert(p.parent == m->parts[count].parent);
        count++;
    }
    assert(count == c->parts_count);
    assert(count == m->count || (c->flags & MIME_COLD_NO_PARTS));
    assert(utf8_valid(c->preview) && utf8_valid(c->base_subject) && utf8_valid(c->from_display));
    assert(utf8_valid(c->to_display) && utf8_valid(c->from_mailbox));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf row = BUF_INIT(MIME_COLD_MAX);
    struct mime m;
    struct mime_cold c;
    if (mime_cold_decode(str_of(data, size), &c) != ERR_OK)
        c.parts = str_of(data, size);
    struct mime_cold_part p;
    struct mime_cold_iter it = mime_cold_iter_of(&c);
    while (mime_cold_next(&it, &p))
        assert(p.index < size);
    enum err e = mime_parse(&a, str_of(data, size), &m);
    assert(e == ERR_OK);
    check_parts(&m);
    e = mime_cold_encode(&a, &m, &row);
    if (e == ERR_LIMIT)
        return 0;
    assert(e == ERR_OK && buf_ok(&row));
    e = mime_cold_decode(buf_str(&row), &c);
    assert(e == ERR_OK);
    check_cold(&m, &c);
    return 0;
}
