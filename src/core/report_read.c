/* SPDX-License-Identifier: Apache-2.0 */
#include "core/report_read.h"

#include "base/log.h"
#include "base/num.h"
#include "core/dns_name.h"
#include "format/cte.h"
#include "format/header.h"
#include "format/mime.h"
#include "format/unpack.h"
#include "os/fiber.h"
#include "os/rand.h"

#define PIECES_A_TURN 8     /* of UNPACK_PIECE bytes; then others run */
#define READER_ARENA 262144 /* bytes of reader and unpacker */
#define TLS_ARENA 4194304   /* bytes of a parsed TLS report */

/* ---- the wire ---- */

void report_read_put(const struct report_read_head *h, str rows, struct buf *out)
{
    BUF_AUTO struct buf taken = BUF_INIT(REPORT_BODY_MAX);
    report_taken_encode(&h->taken, &taken);
    out->failed |= !buf_ok(&taken);
    buf_add_char(out, (char)h->kind);
    buf_add_sized(out, h->domain);
    buf_add_sized(out, buf_str(&taken));
    buf_add_sized(out, rows);
}

enum err report_read_take(struct reader *r, struct report_read_head *h, struct reader *rows)
{
    uint8_t kind = read_u8(r);
    *h = (struct report_read_head){.kind = (enum report_kind)kind, .domain = read_sized(r)};
    str taken = read_sized(r);
    *rows = reader_of(read_sized(r));
    if (r->failed || (kind != REPORT_DMARC && kind != REPORT_TLS))
        return ERR_CORRUPT;
    return report_taken_decode(taken, &h->taken);
}

void report_read_row_put(uint64_t count, str body, struct buf *rows)
{
    buf_add_varint(rows, count);
    buf_add_sized(rows, body);
}

enum err report_read_row_take(struct reader *rows, struct report_read_row *out)
{
    out->count = read_varint(rows);
    out->body = read_sized(rows);
    return rows->failed || out->body.len > REPORT_BODY_MAX ? ERR_CORRUPT : ERR_OK;
}

/* ---- gathering ---- */

struct gathering {
    const struct report_facts *facts;
    struct report_read_head head;
    struct buf rows;
};

static void gather(struct gathering *g, uint64_t count, bool passed, str body)
{
    struct report_taken *t = &g->head.taken;
    t->count += count;
    t->passed += passed ? count : 0;
    if (t->rows == REPORT_ROWS_MAX || g->rows.len + body.len + 32 > REPORT_READ_MAX) {
        t->left_out += count;
        return;
    }
    report_read_row_put(count, body, &g->rows);
    t->rows++;
}

static enum err gathered(struct gathering *g, struct buf *out)
{
    ARENA_AUTO struct arena a = ARENA_INIT(4096);
    str domain;
    if (dns_name_of(str_trim(g->head.domain), &a, &domain) != ERR_OK ||
        !report_domain_valid(domain))
        return ERR_SYNTAX;
    g->head.domain = domain;
    g->head.taken.verified = g->facts->verified;
    g->head.taken.author = g->facts->author;
    g->head.taken.received_s = g->facts->now_s;
    report_read_put(&g->head, buf_str(&g->rows), out);
    return buf_ok(out) && buf_ok(&g->rows) ? ERR_OK : ERR_LIMIT;
}

/* ---- DMARC ---- */

static enum err on_row(void *ctx, const struct dmarc_report_row *r)
{
    struct gathering *g = ctx;
    BUF_AUTO struct buf body = BUF_INIT(REPORT_BODY_MAX);
    report_dmarc_put(r, &body);
    if (buf_ok(&body))
        gather(g, r->count, r->dkim_aligned || r->spf_aligned, buf_str(&body));
    return ERR_OK;
}

static enum err feed_all(struct unpack *u, struct dmarc_report_reader *reader, str piece) WAITS
{
    enum err e = ERR_OK;
    for (unsigned i = 1; e == ERR_OK; i++) {
        TRY(dmarc_report_reader_feed(reader, piece));
        if (i % PIECES_A_TURN == 0 && fiber_current())
            fiber_yield();
        e = unpack_next(u, &piece);
    }
    return e == ERR_EOF ? ERR_OK : e;
}

static enum err finish_dmarc(struct gathering *g, struct dmarc_report_reader *reader,
                             struct buf *out)
{
    struct dmarc_report_head h;
    size_t skipped;
    BUF_AUTO struct buf policy = BUF_INIT(REPORT_BODY_MAX);
    TRY(dmarc_report_reader_end(reader, &h, &skipped));
    if (skipped > 0)
        LOG_INFO("report", "no usable address or count: rows skipped=%zu domain=%.*s", skipped,
                 STR_ARG(h.domain));
    report_policy_put(&h.policy, &policy);
    g->head.kind = REPORT_DMARC;
    g->head.domain = h.domain;
    g->head.taken.organization = h.org_name;
    g->head.taken.email = h.email;
    g->head.taken.report_id = h.report_id;
    g->head.taken.begin_s = h.begin_s;
    g->head.taken.end_s = h.end_s;
    g->head.taken.policy = buf_str(&policy);
    return gathered(g, out);
}

static enum err read_dmarc(struct unpack *u, str piece, struct arena *a,
                           const struct report_facts *f, struct buf *out) WAITS
{
    struct dmarc_report_reader *reader = NULL;
    struct gathering g = {.facts = f, .rows = BUF_INIT(REPORT_READ_MAX)};
    enum err e = dmarc_report_reader_open(a, (unsigned long)rand_u64(), on_row, &g, &reader);
    if (e == ERR_OK)
        e = feed_all(u, reader, piece);
    if (e == ERR_OK)
        e = finish_dmarc(&g, reader, out);
    dmarc_report_reader_close(reader);
    buf_free(&g.rows);
    return e;
}

/* ---- TLS ---- */

static void gather_session(struct gathering *g, const struct tls_report_policy *p,
                           const struct tls_report_failure *f, uint64_t count)
{
    struct report_tls_note n = {.policy_type = p->type,
                                .strings = p->strings,
                                .nstrings = p->nstrings,
                                .mx = p->mx,
                                .nmx = p->nmx};
    BUF_AUTO struct buf body = BUF_INIT(REPORT_BODY_MAX);
    if (f)
        n.failure = *f;
    if (f && str_empty(f->type))
        n.failure.type = STR("validation-failure");
    report_tls_put(&n, &body);
    if (buf_ok(&body) && count > 0)
        gather(g, count, !f, buf_str(&body));
}

static void gather_policy(struct gathering *g, const struct tls_report_policy *p)
{
    uint64_t told = 0;
    gather_session(g, p, NULL, p->successful);
    for (size_t i = 0; i < p->nfailures; i++) {
        gather_session(g, p, &p->failures[i], p->failures[i].count);
        told += p->failures[i].count;
    }
    static const struct tls_report_failure untold = {.type = STR_INIT("validation-failure")};
    if (p->failed > told) /* failures that the report counts without a word */
        gather_session(g, p, &untold, p->failed - told);
}

enum err report_read_tls(const struct tls_report *t, const struct report_facts *f, struct buf *out)
{
    for (size_t i = 0; i < t->npolicies; i++) {
        bool earlier = false;
        for (size_t k = 0; k < i; k++)
            earlier |= str_eq_nocase(t->policies[k].domain, t->policies[i].domain);
        if (earlier)
            continue;
        struct gathering g = {
            .facts = f,
            .head = {.kind = REPORT_TLS,
                     .domain = t->policies[i].domain,
                     .taken = {.organization = t->organization,
                               .email = t->contact,
                               .report_id = t->report_id,
                               .begin_s = t->begin_s,
                               .end_s = t->end_s}},
            .rows = BUF_INIT(REPORT_READ_MAX),
        };
        for (size_t k = i; k < t->npolicies; k++)
            if (str_eq_nocase(t->policies[k].domain, t->policies[i].domain))
                gather_policy(&g, &t->policies[k]);
        enum err e = gathered(&g, out);
        buf_free(&g.rows);
        TRY(e);
    }
    return ERR_OK;
}

static enum err read_tls(struct unpack *u, str piece, const struct report_facts *f, struct buf *out)
{
    BUF_AUTO struct buf json = BUF_INIT(TLS_REPORT_BYTES_MAX);
    ARENA_AUTO struct arena a = ARENA_INIT(TLS_ARENA);
    struct tls_report t;
    enum err e = ERR_OK;
    while (e == ERR_OK) {
        buf_add(&json, piece);
        if (!buf_ok(&json))
            return ERR_LIMIT;
        e = unpack_next(u, &piece);
    }
    if (e != ERR_EOF)
        return e;
    TRY(tls_report_parse(&a, buf_str(&json), &t));
    return report_read_tls(&t, f, out);
}

/* ---- in a message ---- */

static enum err read_packed(str packed, const struct report_facts *f, struct buf *out) WAITS
{
    ARENA_AUTO struct arena a = ARENA_INIT(READER_ARENA);
    struct unpack *u = NULL;
    str piece = STR_NONE;
    enum err e = unpack_open(&a, packed, DMARC_REPORT_BYTES_MAX, &u);
    if (e == ERR_OK)
        e = unpack_next(u, &piece);
    str begin = str_trim(str_starts(piece, STR("\xef\xbb\xbf")) ? str_skip(piece, 3) : piece);
    if (e != ERR_OK) {
        e = e == ERR_EOF ? ERR_NOT_FOUND : e;
    } else if (str_starts(begin, STR("{"))) {
        e = read_tls(u, str_skip(piece, (size_t)(begin.data - piece.data)), f, out);
    } else if (str_starts(begin, STR("<")) || str_starts(piece, STR("\xff\xfe")) ||
               str_starts(piece, STR("\xfe\xff"))) {
        e = read_dmarc(u, piece, &a, f, out);
    } else {
        e = ERR_NOT_FOUND;
    }
    unpack_close(u);
    return e;
}

/* What senders call the attachment differs; text for people is the only thing it never is. */
static bool may_hold(const struct mime_part *p)
{
    bool text = str_eq_nocase(p->type, STR("text"));
    return p->kind == MIME_LEAF && p->body_size > 0 && p->body_size <= 2 * REPORT_PACKED_MAX &&
           (!text || str_eq_nocase(p->subtype, STR("xml"))) &&
           (text || str_eq_nocase(p->type, STR("application")));
}

static enum err read_part(const struct mime *m, const struct mime_part *p,
                          const struct report_facts *f, struct buf *out) WAITS
{
    BUF_AUTO struct buf packed = BUF_INIT(REPORT_PACKED_MAX);
    struct cte_decoder d;
    cte_decoder_init(&d, p->cte);
    cte_decode(&d, mime_body(m, p), &packed);
    cte_decode_end(&d, &packed);
    if (!buf_ok(&packed))
        return ERR_LIMIT;
    return read_packed(buf_str(&packed), f, out);
}

bool report_may_be(str content)
{
    struct header_iter it = header_iter_of(content);
    struct header_field f;
    while (header_next(&it, &f)) {
        if (str_eq_nocase(f.name, STR("TLS-Report-Domain")))
            return true;
        if (str_eq_nocase(f.name, STR("Content-Type")) &&
            (str_find_nocase(f.value, STR("application/")) != STR_NPOS ||
             str_find_nocase(f.value, STR("multipart/")) != STR_NPOS ||
             str_find_nocase(f.value, STR("text/xml")) != STR_NPOS))
            return true;
    }
    return false;
}

enum err report_read(str content, const struct report_facts *f, struct buf *out)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    struct mime m;
    enum err first = ERR_NOT_FOUND;
    TRY(mime_parse(&a, content, &m));
    for (size_t i = 0, tried = 0; i < m.count && tried < REPORT_PARTS_MAX; i++) {
        if (!may_hold(&m.parts[i]))
            continue;
        tried++;
        size_t before = out->len;
        enum err e = read_part(&m, &m.parts[i], f, out);
        if (e == ERR_OK)
            return ERR_OK;
        buf_truncate(out, before);
        out->failed = false;
        first = first == ERR_NOT_FOUND ? e : first;
    }
    return first;
}
