/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader: expat says where an element begins and ends, a table says which of them count, and
 * one row at a time is gathered in fixed places.
 */
#include "format/dmarc_report.h"

#include "base/num.h"
#include "format/ip_text.h"

#include <expat.h>
#include <string.h>

enum element {
    ELEMENT_OTHER,
    ELEMENT_TOP,
#define BRANCH(parent, name, id) ELEMENT_##id,
#define LEAF(parent, name, id)
#include "format/dmarc_report.def"
#undef BRANCH
#undef LEAF
    LEAVES,
    LEAVES_BEFORE = LEAVES - 1,
#define BRANCH(parent, name, id)
#define LEAF(parent, name, id) ELEMENT_##id,
#include "format/dmarc_report.def"
#undef BRANCH
#undef LEAF
    ELEMENTS
};
#define NLEAVES (ELEMENTS - LEAVES)

static const struct {
    enum element parent;
    str name;
    enum element id;
} elements[] = {
#define BRANCH(parent, name, id) {ELEMENT_##parent, STR_INIT(name), ELEMENT_##id},
#define LEAF(parent, name, id) {ELEMENT_##parent, STR_INIT(name), ELEMENT_##id},
#include "format/dmarc_report.def"
#undef BRANCH
#undef LEAF
};

struct place {
    uint16_t len;
    char bytes[DMARC_REPORT_TEXT_MAX];
};
struct dmarc_report_reader {
    XML_Parser parser;
    dmarc_report_row_fn *row;
    void *ctx;
    enum err err;
    enum element open[DMARC_REPORT_DEPTH_MAX];
    size_t depth, count, skipped;
    uint64_t fed;
    bool complete; /* </feedback> was there */
    struct place leaves[NLEAVES];
    struct {
        struct place domain, selector, result;
    } dkim[DMARC_REPORT_DKIM_MAX];
    size_t ndkim;
};

static struct place *leaf(struct dmarc_report_reader *r, enum element e)
{
    return &r->leaves[e - LEAVES];
}

static str text(const struct place *p) { return str_trim(str_of(p->bytes, p->len)); }
static str leaf_text(struct dmarc_report_reader *r, enum element e) { return text(leaf(r, e)); }

static void fail(struct dmarc_report_reader *r, enum err e)
{
    if (r->err == ERR_OK)
        r->err = e;
    (void)XML_StopParser(r->parser, XML_FALSE);
}

/* ---- a row ---- */

static bool is_address(str s)
{
    uint8_t ip[16];
    return ip_parse_v4(s, ip) || ip_parse_v6(s, ip);
}

static void forget_row(struct dmarc_report_reader *r)
{
    for (enum element e = ELEMENT_SOURCE_IP; e < ELEMENTS; e++)
        leaf(r, e)->len = 0;
    r->ndkim = 0;
}

static void give_row(struct dmarc_report_reader *r)
{
    struct dmarc_report_row row = {
        .source_ip = leaf_text(r, ELEMENT_SOURCE_IP),
        .disposition = leaf_text(r, ELEMENT_DISPOSITION),
        .dkim_aligned = str_eq_nocase(leaf_text(r, ELEMENT_ALIGNED_DKIM), STR("pass")),
        .spf_aligned = str_eq_nocase(leaf_text(r, ELEMENT_ALIGNED_SPF), STR("pass")),
        .reason = leaf_text(r, ELEMENT_REASON_TYPE),
        .comment = leaf_text(r, ELEMENT_REASON_COMMENT),
        .header_from = leaf_text(r, ELEMENT_HEADER_FROM),
        .envelope_from = leaf_text(r, ELEMENT_ENVELOPE_FROM),
        .ndkim = r->ndkim,
        .spf_domain = leaf_text(r, ELEMENT_SPF_DOMAIN),
        .spf_result = leaf_text(r, ELEMENT_SPF_RESULT),
    };
    for (size_t i = 0; i < r->ndkim; i++)
        row.dkim[i] = (struct dmarc_report_dkim){
            text(&r->dkim[i].domain), text(&r->dkim[i].selector), text(&r->dkim[i].result)};
    if (!is_address(row.source_ip) ||
        !num_parse_u64(leaf_text(r, ELEMENT_COUNT), DMARC_REPORT_COUNT_MAX, &row.count)) {
        r->skipped++;
        return;
    }
    enum err e = r->row(r->ctx, &row);
    if (e != ERR_OK)
        fail(r, e);
}

static void keep_dkim(struct dmarc_report_reader *r)
{
    if (r->ndkim == DMARC_REPORT_DKIM_MAX)
        return;
    r->dkim[r->ndkim].domain = *leaf(r, ELEMENT_DKIM_DOMAIN);
    r->dkim[r->ndkim].selector = *leaf(r, ELEMENT_DKIM_SELECTOR);
    r->dkim[r->ndkim++].result = *leaf(r, ELEMENT_DKIM_RESULT);
}

/* ---- what expat calls ---- */

static enum element find(enum element parent, const char *name)
{
    str s = str_c(name);
    size_t colon = str_rfind_char(s, ':'); /* whatever prefix the namespace has */
    if (colon != STR_NPOS)
        s = str_skip(s, colon + 1);
    for (size_t i = 0; parent != ELEMENT_OTHER && i < ARRAY_LEN(elements); i++)
        if (elements[i].parent == parent && str_eq(elements[i].name, s))
            return elements[i].id;
    return ELEMENT_OTHER;
}

static void on_start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
    struct dmarc_report_reader *r = ctx;
    (void)attributes;
    if (r->err != ERR_OK)
        return;
    if (r->depth == DMARC_REPORT_DEPTH_MAX || ++r->count > DMARC_REPORT_ELEMENTS_MAX) {
        fail(r, ERR_LIMIT);
        return;
    }
    enum element e = find(r->depth ? r->open[r->depth - 1] : ELEMENT_TOP, name);
    if (r->depth == 0 && e != ELEMENT_FEEDBACK) {
        fail(r, ERR_SYNTAX);
        return;
    }
    r->open[r->depth++] = e;
    if (e > LEAVES_BEFORE)
        leaf(r, e)->len = 0; /* of several the last counts */
    if (e == ELEMENT_RECORD)
        forget_row(r);
    if (e == ELEMENT_DKIM) {
        leaf(r, ELEMENT_DKIM_DOMAIN)->len = leaf(r, ELEMENT_DKIM_SELECTOR)->len = 0;
        leaf(r, ELEMENT_DKIM_RESULT)->len = 0;
    }
}

static void on_end(void *ctx, const XML_Char *name)
{
    struct dmarc_report_reader *r = ctx;
    (void)name;
    if (r->err != ERR_OK || r->depth == 0)
        return;
    enum element e = r->open[--r->depth];
    if (e == ELEMENT_DKIM)
        keep_dkim(r);
    else if (e == ELEMENT_RECORD)
        give_row(r);
    else if (e == ELEMENT_FEEDBACK)
        r->complete = true;
}

/* Expat gives valid UTF-8; a character that no longer fits is left out whole. */
static void on_text(void *ctx, const XML_Char *s, int len)
{
    struct dmarc_report_reader *r = ctx;
    if (r->err != ERR_OK || r->depth == 0 || r->open[r->depth - 1] <= LEAVES_BEFORE)
        return;
    struct place *p = leaf(r, r->open[r->depth - 1]);
    size_t n = MIN((size_t)len, sizeof p->bytes - p->len);
    while (n > 0 && n < (size_t)len && ((uint8_t)s[n] & 0xc0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)s[i];
        p->bytes[p->len++] = (char)(c < 0x20 || c == 0x7f ? ' ' : c);
    }
}

static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system_id,
                       const XML_Char *public_id, int internal)
{
    (void)name, (void)system_id, (void)public_id, (void)internal;
    fail(ctx, ERR_SYNTAX);
}

/* Names of one byte a character that some say and few mean: Latin 1 where it is that nearly, else
 * what is not ASCII is not known. */
static int on_encoding(void *ctx, const XML_Char *name, XML_Encoding *info)
{
    str label = str_c(name);
    bool latin = str_ends(label, STR("1252")) || str_ends(label, STR("8859-15"));
    (void)ctx;
    if (!str_starts_nocase(label, STR("windows-125")) &&
        !str_starts_nocase(label, STR("iso-8859-")))
        return XML_STATUS_ERROR;
    for (int i = 0; i < 256; i++)
        info->map[i] = i < 0x80 || (latin && i >= 0xa0) ? i : 0xfffd;
    info->data = NULL;
    info->convert = NULL;
    info->release = NULL;
    return XML_STATUS_OK;
}

/* ---- the reader ---- */

enum err dmarc_report_reader_open(struct arena *a, unsigned long salt, dmarc_report_row_fn *row,
                                  void *ctx, struct dmarc_report_reader **out)
{
    struct dmarc_report_reader *r = ARENA_NEW(a, struct dmarc_report_reader);
    if (!r)
        return ERR_NOMEM;
    r->row = row;
    r->ctx = ctx;
    r->parser = XML_ParserCreate(NULL);
    if (!r->parser)
        return ERR_NOMEM;
    XML_SetUserData(r->parser, r);
    (void)XML_SetHashSalt(r->parser, salt | 1); /* 0 would be none */
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
    XML_SetUnknownEncodingHandler(r->parser, on_encoding, r);
    *out = r;
    return ERR_OK;
}

enum err dmarc_report_reader_feed(struct dmarc_report_reader *r, str piece)
{
    if (r->err != ERR_OK)
        return r->err;
    if (piece.len > INT32_MAX)
        return ERR_LIMIT;
    r->fed += piece.len;
    if (XML_Parse(r->parser, piece.data, (int)piece.len, XML_FALSE) != XML_STATUS_OK)
        fail(r, XML_GetErrorCode(r->parser) == XML_ERROR_NO_MEMORY ? ERR_NOMEM : ERR_SYNTAX);
    /* What expat holds back is the token that has not ended. It looks at it anew each time. */
    XML_Index done = XML_GetCurrentByteIndex(r->parser);
    if (r->err == ERR_OK && done >= 0 &&
        r->fed - MIN((uint64_t)done, r->fed) > DMARC_REPORT_TOKEN_MAX + piece.len)
        fail(r, ERR_LIMIT);
    return r->err;
}

static bool end_time(struct dmarc_report_reader *r, enum element e, int64_t *out)
{
    uint64_t n;
    str digits = leaf_text(r, e);
    str whole;
    str_cut(digits, '.', &whole, &digits); /* some write fractions */
    if (!num_parse_u64(whole, INT64_MAX, &n))
        return false;
    *out = (int64_t)n;
    return true;
}

enum err dmarc_report_reader_end(struct dmarc_report_reader *r, struct dmarc_report_head *h,
                                 size_t *skipped)
{
    if (r->err == ERR_OK &&
        (XML_Parse(r->parser, "", 0, XML_TRUE) != XML_STATUS_OK || !r->complete))
        fail(r, ERR_SYNTAX);
    TRY(r->err);
    *h = (struct dmarc_report_head){
        .org_name = leaf_text(r, ELEMENT_ORG_NAME),
        .email = leaf_text(r, ELEMENT_EMAIL),
        .contact = leaf_text(r, ELEMENT_CONTACT),
        .report_id = leaf_text(r, ELEMENT_REPORT_ID),
        .error = leaf_text(r, ELEMENT_ERROR),
        .generator = leaf_text(r, ELEMENT_GENERATOR),
        .domain = leaf_text(r, ELEMENT_DOMAIN),
        .policy = {.p = leaf_text(r, ELEMENT_P),
                   .sp = leaf_text(r, ELEMENT_SP),
                   .np = leaf_text(r, ELEMENT_NP),
                   .adkim = leaf_text(r, ELEMENT_ADKIM),
                   .aspf = leaf_text(r, ELEMENT_ASPF),
                   .fo = leaf_text(r, ELEMENT_FO),
                   .testing = str_eq_nocase(leaf_text(r, ELEMENT_TESTING), STR("y"))},
    };
    *skipped = r->skipped;
    bool whole = !str_empty(h->domain) && !str_empty(h->report_id) &&
                 end_time(r, ELEMENT_BEGIN, &h->begin_s) && end_time(r, ELEMENT_END, &h->end_s);
    return whole && h->begin_s <= h->end_s ? ERR_OK : ERR_SYNTAX;
}

void dmarc_report_reader_close(struct dmarc_report_reader *r)
{
    if (r && r->parser)
        XML_ParserFree(r->parser);
    if (r)
        r->parser = NULL;
}
