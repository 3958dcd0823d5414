/* SPDX-License-Identifier: Apache-2.0
 *
 * From a message to its headers and text parts, in memory that does not grow with the message.
 */
#include <string.h>

#include "base/num.h"
#include "core/search_private.h"
#include "os/clock.h"
#include "os/fiber.h"
#include "os/offload.h"

#define WHOLE_MAX 262144 /* messages up to this are read at once */
#define HEADER_READ_MAX (HEADER_SIZE_MAX + 65536)

bool search_slice_over(struct search_slice *s)
{
    uint64_t now = clock_mono_ms();
    if (!s->since_ms)
        s->since_ms = now;
    if (now - s->since_ms < SEARCH_SLICE_MS)
        return false;
    if (fiber_current())
        fiber_yield();
    s->since_ms = clock_mono_ms();
    return true;
}

struct walk {
    struct account *account;
    struct message_cold cold;
    struct mime_cold mime;
    const struct search_sink *sink;
    void *arg;
    struct buf row, whole, part;
    struct arena arena;
    struct search_slice slice;
    bool stopped;
};

/* Bytes of the message as clients read it. */
static enum err read_range(struct walk *w, uint64_t offset, uint64_t len, str *out)
{
    search_slice_over(&w->slice);
    if (w->whole.len) {
        *out = str_sub(buf_str(&w->whole), offset, len);
        return ERR_OK;
    }
    buf_reset(&w->part);
    TRY(message_read(w->account, &w->cold, offset, len, &w->part));
    *out = buf_str(&w->part);
    return ERR_OK;
}

static enum err give_header(struct walk *w, char kind, uint64_t offset, uint64_t size)
{
    str block;
    TRY(read_range(w, offset, MIN(size, (uint64_t)HEADER_READ_MAX), &block));
    w->stopped = !w->sink->header(w->arg, kind, block);
    return ERR_OK;
}

static enum err give_body(struct walk *w, const struct mime_cold_part *p, bool html)
{
    uint64_t at = message_content_offset(&w->cold) + p->body_offset, left = p->body_size;
    w->stopped = !w->sink->begin(w->arg, p->cte, p->charset, html);
    while (left > 0 && !w->stopped) {
        str raw;
        uint64_t n = MIN(left, (uint64_t)SEARCH_FEED_MAX);
        TRY(read_range(w, at, n, &raw));
        w->stopped = !w->sink->body(w->arg, raw);
        at += n;
        left -= n;
    }
    if (!w->stopped)
        w->stopped = !w->sink->end(w->arg);
    return ERR_OK;
}

static enum err give_part(struct walk *w, const struct mime_cold_part *p, uint8_t *kinds)
{
    bool html;
    kinds[p->index] = (uint8_t)p->kind;
    if (p->index > 0) {
        bool inside = p->parent < p->index && kinds[p->parent] == MIME_MESSAGE;
        TRY(give_header(w, inside ? SEARCH_RECORD_BODY : SEARCH_RECORD_PART,
                        message_content_offset(&w->cold) + p->header_offset, p->header_size));
    }
    if (w->stopped || p->kind != MIME_LEAF || !search_type_is_text(p->type, &html))
        return ERR_OK;
    return give_body(w, p, html);
}

struct parse_job {
    struct walk *w;
    struct buf *bytes;
    enum err e;
};

static void parse_all(void *arg)
{
    struct parse_job *j = arg;
    struct mime m;
    j->e = mime_parse(&j->w->arena, buf_str(j->bytes), &m);
    if (j->e == ERR_OK)
        j->e = mime_cold_parts_of(&j->w->arena, &m, &j->w->mime);
}

/* A row without its parts: the message has to be parsed again. */
static enum err find_parts(struct walk *w)
{
    if (!(w->mime.flags & MIME_COLD_NO_PARTS))
        return ERR_OK;
    BUF_AUTO struct buf bytes = BUF_INIT(STORE_BLOB_MAX);
    TRY(message_read(w->account, &w->cold, message_content_offset(&w->cold), w->cold.content_len,
                     &bytes));
    struct parse_job j = {w, &bytes, ERR_OK};
    TRY(offload_run(parse_all, &j));
    return j.e;
}

static enum err walk(struct walk *w, uint64_t message)
{
    struct mime_cold_part p;
    TRY(message_cold(w->account, message, &w->row, &w->cold));
    TRY(mime_cold_decode(w->cold.mime, &w->mime));
    TRY(find_parts(w));
    if (message_size(&w->cold) <= WHOLE_MAX)
        TRY(message_read(w->account, &w->cold, 0, UINT64_MAX, &w->whole));
    uint8_t *kinds = ARENA_ARRAY(&w->arena, uint8_t, (size_t)w->mime.parts_count + 1);
    if (!kinds)
        return ERR_NOMEM;
    struct mime_cold_iter it = mime_cold_iter_of(&w->mime);
    if (!mime_cold_next(&it, &p))
        return ERR_OK;
    TRY(give_header(w, SEARCH_RECORD_FIELD, 0, message_content_offset(&w->cold) + p.header_size));
    do {
        if (w->stopped || p.index > w->mime.parts_count)
            break;
        TRY(give_part(w, &p, kinds));
    } while (mime_cold_next(&it, &p));
    return ERR_OK;
}

enum err search_walk(struct account *a, uint64_t message, const struct search_sink *sink, void *arg)
{
    struct walk w = {.account = a, .sink = sink, .arg = arg, .arena = ARENA_INIT(MIME_ARENA_MAX)};
    buf_init(&w.row, STORE_VALUE_MAX);
    buf_init(&w.whole, WHOLE_MAX);
    buf_init(&w.part, HEADER_READ_MAX);
    enum err e = walk(&w, message);
    buf_free(&w.row);
    buf_free(&w.whole);
    buf_free(&w.part);
    arena_free(&w.arena);
    return e;
}

/* ---- scanning ---- */

#define WINDOW_MAX 262144
#define OVERLAP_MIN 256 /* words of a fuzzy term */

struct scan {
    struct search_matcher *matcher;
    struct search_text text;
    bool needs_body;
};

static void scan_window(void *arg, str records)
{
    struct scan *s = arg;
    search_match(s->matcher, records);
}

static bool scan_header(void *arg, char kind, str block)
{
    struct scan *s = arg;
    search_text_header(&s->text, block, kind);
    if (kind == SEARCH_RECORD_FIELD) { /* often all that is asked for */
        search_text_end(&s->text);
        buf_reset(&s->text.out);
        return s->needs_body && !search_match_done(s->matcher);
    }
    return true;
}

static bool scan_begin(void *arg, enum cte cte, str charset, bool html)
{
    struct scan *s = arg;
    search_text_body_begin(&s->text, cte, charset, html);
    return true;
}

static bool scan_body(void *arg, str raw)
{
    struct scan *s = arg;
    search_text_body(&s->text, raw);
    return !search_match_done(s->matcher);
}

static bool scan_end(void *arg)
{
    struct scan *s = arg;
    search_text_body_end(&s->text);
    return true;
}

enum err search_scan(struct account *a, uint64_t message, struct search_matcher *m)
{
    static const struct search_sink sink = {scan_header, scan_begin, scan_body, scan_end};
    struct scan s = {.matcher = m};
    search_match_begin(m);
    search_text_init(&s.text, (size_t)16 << 20);
    s.text.window = scan_window;
    s.text.arg = &s;
    s.text.window_max = WINDOW_MAX;
    s.text.overlap = OVERLAP_MIN;
    for (size_t k = 0; k < m->nterms; k++) {
        s.text.overlap = MAX(s.text.overlap, m->terms[k].text.len);
        s.needs_body |= m->terms[k].field == SEARCH_IN_BODY || m->terms[k].field == SEARCH_IN_TEXT;
    }
    s.text.window_max += s.text.overlap;
    enum err e = search_walk(a, message, &sink, &s);
    search_text_end(&s.text);
    if (e == ERR_OK)
        search_match_end(m);
    else
        memset(m->answers, 0, m->nterms);
    if (e == ERR_OK && !buf_ok(&s.text.out))
        e = ERR_LIMIT;
    search_text_free(&s.text);
    return e;
}
