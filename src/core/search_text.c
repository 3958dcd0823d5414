/* SPDX-License-Identifier: Apache-2.0 */
#include "core/search_text.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/addr.h"
#include "format/header.h"
#include "format/words.h"

#define SCRATCH_MAX ((size_t)16 << 20)
#define ADDR_LOOKS 4 /* signs "@" that may be those of one address */

static size_t record_length(str s)
{
    size_t n = 1;
    while (n < s.len && !search_is_record(s.data[n]))
        n++;
    return n;
}

bool search_record_next(str *rest, struct search_record *out)
{
    while (rest->len && !search_is_record(rest->data[0]))
        *rest = str_skip(*rest, 1);
    if (!rest->len)
        return false;
    size_t n = record_length(*rest);
    *out = (struct search_record){.kind = rest->data[0], .text = str_sub(*rest, 1, n - 1)};
    out->value = out->text;
    if (out->kind != SEARCH_RECORD_BODY) {
        str_cut(out->text, ':', &out->name, &out->value);
        if (str_starts(out->value, STR(" "))) /* a line that is no field may have none */
            out->value = str_skip(out->value, 1);
    }
    *rest = str_skip(*rest, n);
    return true;
}

/* ---- making it ---- */

void search_text_init(struct search_text *t, size_t max)
{
    *t = (struct search_text){0};
    buf_init(&t->out, max);
    buf_init(&t->decoded, SCRATCH_MAX);
    buf_init(&t->utf8, SCRATCH_MAX);
    buf_init(&t->plain, SCRATCH_MAX);
}

void search_text_free(struct search_text *t)
{
    buf_free(&t->out);
    buf_free(&t->decoded);
    buf_free(&t->utf8);
    buf_free(&t->plain);
    charset_conv_free(&t->conv);
}

/* In a record of a body the text goes on behind what a needle may still need. */
static void check_window(struct search_text *t, bool in_body)
{
    if (!t->window || t->out.len < t->window_max)
        return;
    t->window(t->arg, buf_str(&t->out));
    size_t keep = 0;
    if (in_body)
        while (keep < t->overlap && keep < t->out.len &&
               !search_is_record(t->out.data[t->out.len - 1 - keep]))
            keep++;
    buf_consume(&t->out, t->out.len - keep);
    if (in_body && buf_reserve(&t->out, 1)) {
        memmove(t->out.data + 1, t->out.data, t->out.len);
        t->out.data[0] = SEARCH_RECORD_BODY;
        buf_commit(&t->out, 1);
    }
}

static void begin_field(struct search_text *t, str name)
{
    buf_reset(&t->utf8);
    utf8_add_lossy(&t->utf8, name);
    if (!str_empty(name))
        buf_add(&t->utf8, STR(": "));
}

static void end_field(struct search_text *t, char kind)
{
    buf_add_char(&t->out, kind);
    search_fold_all(buf_str(&t->utf8), &t->out);
    check_window(t, false);
}

static bool has_addresses(str name)
{
    static const str names[] = {STR_INIT("From"), STR_INIT("To"), STR_INIT("Cc"), STR_INIT("Bcc")};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_nocase(name, names[i]))
            return true;
    return false;
}

/* Does the field, from *rest on, show the address just so? *rest moves on by one "@" at least, so
 * that a whole field takes linear time; every address has one of its own. */
static bool shows(str *rest, str address)
{
    size_t local = str_rfind_char(address, '@');
    if (local == STR_NPOS) /* a name, a group */
        return true;
    str field = *rest;
    size_t at = str_find_char(field, '@');
    if (at == STR_NPOS)
        return false;
    *rest = str_skip(field, at + 1);
    for (size_t i = 0; i < ADDR_LOOKS; i++) {
        if (at >= local && str_eq(str_sub(field, at - local, address.len), address)) {
            *rest = str_skip(field, at - local + address.len);
            return true;
        }
        size_t more = str_find_char(str_skip(field, at + 1), '@');
        if (more == STR_NPOS)
            return false;
        at += 1 + more;
    }
    return false;
}

/* FROM, TO, CC, BCC ask the envelope (RFC 9051 6.4.4), whose addresses have no comments, white
 * space and quotes inside and whose names have no escapes. Where the field shows them otherwise, a
 * second record of its name has them as they are meant. */
static void add_meant(struct search_text *t, const struct header_field *f, char kind)
{
    ARENA_AUTO struct arena scratch = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf address = BUF_INIT(SCRATCH_MAX);
    struct addr_list list;
    bool escapes = str_find_char(f->value, '\\') != STR_NPOS, any = false;
    str rest = f->value;
    if (addr_list_parse(&scratch, f->value, &list) != ERR_OK)
        return; /* no header is so long */
    begin_field(t, f->name);
    for (size_t i = 0; i < list.count; i++) {
        buf_reset(&address);
        addr_render(&address, &list.items[i].addr);
        if (shows(&rest, buf_str(&address)) && !escapes)
            continue;
        any = true;
        words_decode(&t->utf8, list.items[i].name);
        buf_add(&t->utf8, STR(" <"));
        words_decode(&t->utf8, buf_str(&address));
        buf_add(&t->utf8, STR(">, "));
    }
    if (any)
        end_field(t, kind);
}

void search_text_header(struct search_text *t, str block, char kind)
{
    struct header_iter it = header_iter_of(block);
    struct header_field f;
    while (header_next(&it, &f)) {
        begin_field(t, f.name);
        words_decode(&t->utf8, f.value);
        end_field(t, kind);
        if (kind == SEARCH_RECORD_FIELD && has_addresses(f.name))
            add_meant(t, &f, kind);
    }
}

void search_text_body_begin(struct search_text *t, enum cte cte, str charset, bool html)
{
    charset = str_trim(charset);
    t->unnamed = str_empty(charset) || str_eq_nocase(charset, STR("us-ascii"));
    t->first = true;
    t->is_html = html;
    t->fold = (struct search_fold){0};
    cte_decoder_init(&t->cte, cte);
    charset_conv_free(&t->conv);
    charset_conv_init(&t->conv, t->unnamed ? NULL : charset_find(charset));
    html_text_init(&t->html);
    buf_add_char(&t->out, SEARCH_RECORD_BODY);
}

/* Valid but for a character that the end cuts. */
static bool looks_utf8(str s)
{
    for (size_t cut = 0; cut < 4 && cut <= s.len; cut++)
        if (utf8_valid(str_head(s, s.len - cut)))
            return true;
    return false;
}

static void fold_utf8(struct search_text *t, str utf8)
{
    if (t->is_html) {
        buf_reset(&t->plain);
        html_text_add(&t->html, utf8, &t->plain);
        utf8 = buf_str(&t->plain);
    }
    search_fold_add(&t->fold, utf8, &t->out);
    check_window(t, true);
}

static void convert(struct search_text *t)
{
    /* What says no charset is UTF-8 if its beginning is, else windows-1252. */
    if (t->first && t->unnamed && !looks_utf8(buf_str(&t->decoded)))
        charset_conv_init(&t->conv, charset_find(STR("windows-1252")));
    t->first = false;
    buf_reset(&t->utf8);
    charset_conv_add(&t->conv, buf_str(&t->decoded), &t->utf8);
    fold_utf8(t, buf_str(&t->utf8));
}

void search_text_body(struct search_text *t, str raw)
{
    assert(raw.len <= SEARCH_FEED_MAX);
    buf_reset(&t->decoded);
    cte_decode(&t->cte, raw, &t->decoded);
    convert(t);
}

void search_text_body_end(struct search_text *t)
{
    buf_reset(&t->decoded);
    cte_decode_end(&t->cte, &t->decoded);
    convert(t);
    buf_reset(&t->utf8);
    charset_conv_end(&t->conv, &t->utf8);
    fold_utf8(t, buf_str(&t->utf8));
    if (t->is_html) {
        buf_reset(&t->plain);
        html_text_end(&t->html, &t->plain);
        search_fold_add(&t->fold, buf_str(&t->plain), &t->out);
    }
    search_fold_end(&t->fold, &t->out);
}

void search_text_end(struct search_text *t)
{
    if (t->window && t->out.len)
        t->window(t->arg, buf_str(&t->out));
}

bool search_type_is_text(str type, bool *html)
{
    static const str texts[] = {STR_INIT("application/json"), STR_INIT("application/xml"),
                                STR_INIT("application/javascript"), STR_INIT("application/ics")};
    *html =
        str_eq_nocase(type, STR("text/html")) || str_eq_nocase(type, STR("application/xhtml+xml"));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (str_eq_nocase(type, texts[i]))
            return true;
    return *html || str_empty(type) || str_starts_nocase(type, STR("text/")) ||
           str_starts_nocase(type, STR("message/"));
}

/* ---- matching ---- */

void search_match_begin(struct search_matcher *m)
{
    memset(m->answers, 0, m->nterms);
    if (m->best)
        memset(m->best, 0, m->nterms * sizeof *m->best);
}

/* The text of a record that a term looks at; false: none. */
static bool looks_at(const struct search_term *t, const struct search_record *r, str *text)
{
    static const str names[] = {
        [SEARCH_IN_SUBJECT] = STR_INIT("subject"), [SEARCH_IN_FROM] = STR_INIT("from"),
        [SEARCH_IN_TO] = STR_INIT("to"),           [SEARCH_IN_CC] = STR_INIT("cc"),
        [SEARCH_IN_BCC] = STR_INIT("bcc"),
    };
    *text = r->value;
    switch (t->field) {
    case SEARCH_IN_TEXT:
        *text = r->text;
        return true;
    case SEARCH_IN_BODY:
        return r->kind == SEARCH_RECORD_BODY;
    case SEARCH_IN_HEADER:
        return r->kind == SEARCH_RECORD_FIELD && str_eq(r->name, t->name);
    default:
        return r->kind == SEARCH_RECORD_FIELD && str_eq(r->name, names[t->field]);
    }
}

static void match_fuzzy(struct search_matcher *m, size_t k, str text)
{
    const struct search_fuzzy *f = &m->fuzzy[k];
    struct search_token token;
    while (search_token_next(&text, &token))
        for (size_t w = 0; w < f->count; w++)
            if (m->best[k][w] < SEARCH_MATCH) {
                unsigned score = search_fuzzy_word(m->stems, &f->words[w], &token);
                m->best[k][w] = (uint8_t)MAX(score, m->best[k][w]);
            }
}

static void match_record(struct search_matcher *m, const struct search_record *r)
{
    for (size_t k = 0; k < m->nterms; k++) {
        const struct search_term *t = &m->terms[k];
        str text;
        if (m->answers[k] || !looks_at(t, r, &text))
            continue;
        if (t->fuzzy)
            match_fuzzy(m, k, text);
        else if (str_find(text, t->text) != STR_NPOS)
            m->answers[k] = SEARCH_MATCH;
    }
}

void search_match(struct search_matcher *m, str records)
{
    struct search_record r;
    bool by_record = false;
    for (size_t k = 0; k < m->nterms; k++) {
        const struct search_term *t = &m->terms[k];
        if (t->field != SEARCH_IN_TEXT || t->fuzzy)
            by_record = true;
        else if (!m->answers[k] && str_find(records, t->text) != STR_NPOS)
            m->answers[k] = SEARCH_MATCH;
    }
    while (by_record && search_record_next(&records, &r))
        match_record(m, &r);
}

bool search_match_done(const struct search_matcher *m)
{
    for (size_t k = 0; k < m->nterms; k++)
        if (!m->answers[k])
            return false;
    return true;
}

void search_match_end(struct search_matcher *m)
{
    for (size_t k = 0; k < m->nterms; k++) {
        const struct search_term *t = &m->terms[k];
        if (t->fuzzy && m->fuzzy)
            m->answers[k] = search_fuzzy_score(&m->fuzzy[k], m->best[k]);
        else if (str_empty(t->text) && (t->field == SEARCH_IN_TEXT || t->field == SEARCH_IN_BODY))
            m->answers[k] = SEARCH_MATCH;
    }
}
