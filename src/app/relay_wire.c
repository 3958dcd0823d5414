/* SPDX-License-Identifier: Apache-2.0 */
#include "app/relay_wire.h"

#include "app/wire.h"
#include "base/num.h"
#include "core/report_note.h"

#define CANONICAL_MAX 1024 /* with escapes (RFC 1035 5.1) */
#define ENHANCED_MAX 11    /* "5.999.999" and some */
#define HOST_MAX 512       /* "mx1.example.net [192.0.2.1]" */
#define TLS_TEXT_MAX 128
#define REPLY_TEXT_MAX 65536
#define CODE_MAX 599
#define FETCH_FIELD_MAX 16384
#define SCAN_TEXT_MAX 1024

static enum err done(const struct reader *r)
{
    return !r->failed && str_empty(r->rest) ? ERR_OK : ERR_CORRUPT;
}

static bool read_flag(struct reader *r)
{
    uint8_t n = read_u8(r);
    r->failed |= n > 1;
    return n == 1;
}

static unsigned read_choice(struct reader *r, unsigned last)
{
    uint8_t n = read_u8(r);
    r->failed |= n > last;
    return n > last ? 0 : n;
}

/* Printable ASCII without spaces, at most max bytes. */
static str read_word(struct reader *r, size_t max)
{
    str s = read_sized(r);
    r->failed |= s.len > max;
    for (size_t i = 0; i < s.len && !r->failed; i++)
        r->failed |= (uint8_t)s.data[i] <= ' ' || (uint8_t)s.data[i] >= 0x7f;
    return s;
}

/* A text that cannot break out of its line; newline: it may have several. */
static str read_text(struct reader *r, size_t max, bool newline)
{
    str s = read_sized(r);
    r->failed |= s.len > max;
    for (size_t i = 0; i < s.len && !r->failed; i++) {
        uint8_t c = (uint8_t)s.data[i];
        r->failed |= (c < ' ' && c != '\t' && !(newline && c == '\n')) || c == 0x7f;
    }
    return s;
}

/* ---- DNS ---- */

bool wire_dns_type_take(uint32_t n, enum dns_type *out)
{
    *out = (enum dns_type)n;
    switch (*out) {
    case DNS_A:
    case DNS_CNAME:
    case DNS_PTR:
    case DNS_MX:
    case DNS_TXT:
    case DNS_AAAA:
    case DNS_SRV:
    case DNS_TLSA:
        return true;
    }
    return false;
}

void wire_answer_put(const struct dns_answer *a, struct buf *out)
{
    buf_add_char(out, (char)a->status);
    buf_add_char(out, a->secure);
    buf_add_be32(out, a->ttl_s);
    buf_add_sized(out, a->canonical);
    buf_add_varint(out, a->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct dns_record *r = &a->records[i];
        buf_add_be16(out, r->preference);
        buf_add_be16(out, r->weight);
        buf_add_be16(out, r->port);
        buf_add_char(out, (char)r->usage);
        buf_add_char(out, (char)r->selector);
        buf_add_char(out, (char)r->matching);
        buf_add_sized(out, r->name);
        buf_add_sized(out, r->bytes);
    }
}

static bool bytes_fit(enum dns_type type, size_t len)
{
    switch (type) {
    case DNS_A:
        return len == 4;
    case DNS_AAAA:
        return len == 16;
    case DNS_TXT:
    case DNS_TLSA:
        return true;
    default:
        return len == 0;
    }
}

static void take_record(struct reader *r, enum dns_type type, struct dns_record *out)
{
    *out = (struct dns_record){0};
    out->preference = read_be16(r);
    out->weight = read_be16(r);
    out->port = read_be16(r);
    out->usage = read_u8(r);
    out->selector = read_u8(r);
    out->matching = read_u8(r);
    out->name = read_word(r, DNS_NAME_MAX);
    out->bytes = read_sized(r);
    r->failed |= !bytes_fit(type, out->bytes.len);
}

enum err wire_answer_take(str bytes, enum dns_type type, struct arena *arena,
                          struct dns_answer *out)
{
    struct reader r = reader_of(bytes);
    *out = (struct dns_answer){0};
    out->status = (enum dns_status)read_choice(&r, DNS_BOGUS);
    out->secure = read_flag(&r);
    out->ttl_s = read_be32(&r);
    out->canonical = read_word(&r, CANONICAL_MAX);
    uint64_t n = read_varint(&r);
    if (r.failed || n > DNS_RECORDS_MAX || (n > 0) != (out->status == DNS_FOUND))
        return ERR_CORRUPT;
    struct dns_record *records = ARENA_ARRAY(arena, struct dns_record, n + 1);
    if (!records)
        return ERR_NOMEM;
    for (uint64_t i = 0; i < n; i++)
        take_record(&r, type, &records[i]);
    out->records = records;
    out->count = n;
    return done(&r);
}

/* ---- attempts ---- */

static void put_route(const struct relay_route *t, struct buf *out)
{
    struct wire_address source;
    buf_add_char(out, (char)t->kind);
    buf_add_char(out, (char)t->tls);
    buf_add_char(out, t->implicit_tls);
    buf_add_be16(out, t->port);
    buf_add_sized(out, t->host);
    buf_add_sized(out, t->login);
    buf_add_sized(out, t->password);
    buf_add_sized(out, wire_address_put(&t->source, &source));
    buf_add_sized(out, t->helo);
}

static void take_route(struct reader *r, struct relay_route *out)
{
    *out = (struct relay_route){0};
    out->kind = (enum relay_kind)read_choice(r, RELAY_LMTP_LOCAL);
    out->tls = (enum relay_tls)read_choice(r, RELAY_TLS_NEVER);
    out->implicit_tls = read_flag(r);
    out->port = read_be16(r);
    out->host = read_sized(r);
    out->login = read_sized(r);
    out->password = read_sized(r);
    r->failed |= !wire_address_take(read_sized(r), &out->source);
    out->helo = read_sized(r);
}

void wire_job_put(const struct relay_job *job, struct buf *out)
{
    struct envelope e = *job->envelope; /* its own recipients are not this job's */
    e.recipients = NULL;
    e.nrecipients = 0;
    BUF_AUTO struct buf envelope = BUF_INIT(out->max);
    envelope_encode(&e, &envelope);
    out->failed |= !buf_ok(&envelope);
    buf_add_sized(out, job->domain);
    put_route(&job->route, out);
    buf_add_sized(out, buf_str(&envelope));
    buf_add_varint(out, job->nrecipients);
    for (size_t i = 0; i < job->nrecipients; i++) {
        buf_add_sized(out, job->recipients[i].address);
        buf_add_sized(out, job->recipients[i].orcpt);
        buf_add_char(out, (char)job->recipients[i].notify);
    }
}

enum err wire_job_take(str bytes, struct arena *arena, struct relay_job *out)
{
    struct reader r = reader_of(bytes);
    *out = (struct relay_job){.fd = -1};
    out->domain = read_sized(&r);
    take_route(&r, &out->route);
    struct envelope *e = ARENA_NEW(arena, struct envelope);
    str row = read_sized(&r);
    uint64_t n = read_varint(&r);
    if (r.failed || n == 0 || n > ENVELOPE_RECIPIENTS_MAX)
        return ERR_CORRUPT;
    struct relay_recipient *recipients = ARENA_ARRAY(arena, struct relay_recipient, n);
    if (!e || !recipients)
        return ERR_NOMEM;
    TRY(envelope_decode(row, arena, e));
    for (uint64_t i = 0; i < n; i++) {
        recipients[i] = (struct relay_recipient){0};
        recipients[i].address = read_sized(&r);
        recipients[i].orcpt = read_sized(&r);
        recipients[i].notify = read_u8(&r);
    }
    out->envelope = e;
    out->recipients = recipients;
    out->nrecipients = n;
    return done(&r);
}

void wire_report_put(const struct relay_report *report, size_t n, struct buf *out)
{
    buf_add_char(out, report->connected);
    buf_add_be32(out, report->took_ms);
    buf_add_sized(out, report->tls);
    for (size_t i = 0; i < n; i++) {
        const struct relay_verdict *v = &report->verdicts[i];
        buf_add_char(out, (char)v->outcome);
        buf_add_be16(out, v->code);
        buf_add_sized(out, v->enhanced);
        buf_add_sized(out, v->text);
        buf_add_sized(out, v->host);
    }
    buf_add_varint(out, report->nnotes);
    for (size_t i = 0; i < report->nnotes; i++)
        buf_add_sized(out, report->notes[i]);
}

static void take_notes(struct reader *r, struct arena *arena, struct relay_report *out)
{
    struct report_tls_note note;
    uint64_t n = read_varint(r);
    r->failed |= n > RELAY_NOTES_MAX;
    out->notes = r->failed ? NULL : ARENA_ARRAY(arena, str, n + 1);
    r->failed |= !out->notes;
    for (uint64_t i = 0; i < n && !r->failed; i++) {
        str body = read_sized(r);
        r->failed |= body.len > REPORT_BODY_MAX || report_tls_take(body, arena, &note) != ERR_OK;
        out->notes[out->nnotes++] = body;
    }
}

enum err wire_report_take(str bytes, size_t n, struct arena *arena, struct relay_report *out)
{
    struct reader r = reader_of(bytes);
    *out = (struct relay_report){0};
    out->connected = read_flag(&r);
    out->took_ms = read_be32(&r);
    out->tls = read_text(&r, TLS_TEXT_MAX, false);
    out->verdicts = ARENA_ARRAY(arena, struct relay_verdict, n + 1);
    if (!out->verdicts)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        out->verdicts[i] = (struct relay_verdict){0};
        out->verdicts[i].outcome = (enum relay_outcome)read_choice(&r, RELAY_PERMANENT);
        out->verdicts[i].code = read_be16(&r);
        r.failed |= out->verdicts[i].code > CODE_MAX;
        out->verdicts[i].enhanced = read_word(&r, ENHANCED_MAX);
        out->verdicts[i].text = read_text(&r, REPLY_TEXT_MAX, true);
        out->verdicts[i].host = read_text(&r, HOST_MAX, false);
    }
    take_notes(&r, arena, out);
    return done(&r);
}

/* ---- fetches ---- */

void wire_fetch_put(const struct relay_fetch *f, struct buf *out)
{
    buf_add_sized(out, f->method);
    buf_add_sized(out, f->url);
    buf_add_sized(out, f->content_type);
    buf_add_sized(out, f->body);
    buf_add_be64(out, f->answer_max);
    buf_add_be64(out, f->timeout_ms);
}

enum err wire_fetch_take(str bytes, struct relay_fetch *out)
{
    struct reader r = reader_of(bytes);
    *out = (struct relay_fetch){0};
    out->method = read_sized(&r);
    out->url = read_sized(&r);
    out->content_type = read_sized(&r);
    out->body = read_sized(&r);
    out->answer_max = read_be64(&r);
    out->timeout_ms = read_be64(&r);
    return done(&r);
}

void wire_fetched_put(const struct relay_fetched *f, struct buf *out)
{
    buf_add_be32(out, f->status);
    buf_add_sized(out, f->content_type);
    buf_add_sized(out, f->location);
    buf_add_sized(out, f->replay_nonce);
    buf_add_sized(out, f->body);
}

enum err wire_fetched_take(str bytes, uint64_t body_max, struct relay_fetched *out)
{
    struct reader r = reader_of(bytes);
    *out = (struct relay_fetched){0};
    out->status = read_be32(&r);
    out->content_type = read_text(&r, FETCH_FIELD_MAX, false);
    out->location = read_text(&r, FETCH_FIELD_MAX, false);
    out->replay_nonce = read_text(&r, FETCH_FIELD_MAX, false);
    out->body = read_sized(&r);
    r.failed |= out->body.len > body_max;
    return done(&r);
}

/* ---- scans ---- */

void wire_scan_put(const struct relay_scan *q, struct buf *out)
{
    struct wire_address source;
    size_t n = MIN(q->nrecipients, (size_t)RELAY_SCAN_RECIPIENTS_MAX);
    buf_add_sized(out, q->sender);
    buf_add_varint(out, n);
    for (size_t i = 0; i < n; i++)
        buf_add_sized(out, q->recipients[i]);
    buf_add_sized(out, wire_address_put(&q->source, &source));
    buf_add_sized(out, q->helo);
    buf_add_sized(out, q->id);
    buf_add_sized(out, q->user);
    buf_add_be64(out, q->timeout_ms);
}

/* A gate's words become fields of an HTTP request: none may have a line end in it. */
enum err wire_scan_take(str bytes, struct arena *arena, struct relay_scan *out)
{
    struct reader r = reader_of(bytes);
    *out = (struct relay_scan){.fd = -1};
    out->sender = read_text(&r, SCAN_TEXT_MAX, false);
    uint64_t n = read_varint(&r);
    if (r.failed || n > RELAY_SCAN_RECIPIENTS_MAX)
        return ERR_CORRUPT;
    str *recipients = ARENA_ARRAY(arena, str, n + 1);
    if (!recipients)
        return ERR_NOMEM;
    for (uint64_t i = 0; i < n; i++)
        recipients[i] = read_text(&r, SCAN_TEXT_MAX, false);
    out->recipients = recipients;
    out->nrecipients = (size_t)n;
    r.failed |= !wire_address_take(read_sized(&r), &out->source);
    out->helo = read_text(&r, SCAN_TEXT_MAX, false);
    out->id = read_text(&r, SCAN_TEXT_MAX, false);
    out->user = read_text(&r, SCAN_TEXT_MAX, false);
    out->timeout_ms = read_be64(&r);
    return done(&r);
}
