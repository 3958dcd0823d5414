/* SPDX-License-Identifier: Apache-2.0 */
#include "core/report_note.h"

#include "base/num.h"
#include "core/mail_crypto.h"
#include "os/sock.h"

#include <string.h>

enum { BIT_DKIM = 1, BIT_SPF = 2, BITS = 3 };

const uint8_t report_overflow[REPORT_HASH] = {255, 255, 255, 255, 255, 255, 255, 255,
                                              255, 255, 255, 255, 255, 255, 255, 255};

const char *report_kind_name(enum report_kind k) { return k == REPORT_TLS ? "tls" : "dmarc"; }

void report_hash(str bytes, uint8_t out[REPORT_HASH])
{
    struct mail_hash h;
    uint8_t digest[MAIL_DIGEST_BYTES] = {0};
    if (mail_hash_begin(&h) == ERR_OK) {
        mail_hash_add(&h, bytes);
        mail_hash_end(&h, digest);
    }
    memcpy(out, digest, REPORT_HASH);
}

/* ---- texts ---- */

/* What others said may hold anything: a control character becomes a space. */
void report_text_put(struct buf *out, str s)
{
    s = str_head(s, REPORT_TEXT_MAX);
    buf_add_varint(out, s.len);
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.data[i];
        buf_add_char(out, (char)(c < 0x20 || c == 0x7f ? ' ' : c));
    }
}

str report_text_take(struct reader *r)
{
    str s = read_sized(r);
    r->failed |= s.len > REPORT_TEXT_MAX;
    for (size_t i = 0; i < s.len && !r->failed; i++)
        r->failed |= (uint8_t)s.data[i] < 0x20 || (uint8_t)s.data[i] == 0x7f;
    return s;
}

static void put_list(struct buf *out, const str *list, size_t n, size_t max)
{
    n = MIN(n, max);
    buf_add_varint(out, n);
    for (size_t i = 0; i < n; i++)
        report_text_put(out, list[i]);
}

static void take_list(struct reader *r, struct arena *a, size_t max, const str **out, size_t *n)
{
    uint64_t count = read_varint(r);
    *n = 0;
    *out = NULL;
    if (r->failed || count > max) {
        r->failed = true;
        return;
    }
    str *list = ARENA_ARRAY(a, str, count + 1);
    r->failed |= !list;
    for (uint64_t i = 0; i < count && !r->failed; i++)
        list[i] = report_text_take(r);
    *out = list;
    *n = list ? count : 0;
}

enum err report_ended(const struct reader *r)
{
    return r->failed || r->rest.len ? ERR_CORRUPT : ERR_OK;
}

/* ---- DMARC ---- */

void report_dmarc_put(const struct dmarc_report_row *r, struct buf *out)
{
    struct address ip = {0};
    size_t n = MIN(r->ndkim, (size_t)DMARC_REPORT_DKIM_MAX);
    if (!address_parse(r->source_ip, &ip))
        out->failed = true;
    buf_add_char(out, (char)((r->dkim_aligned ? BIT_DKIM : 0) | (r->spf_aligned ? BIT_SPF : 0)));
    buf_add_sized(out, str_of(ip.ip, ip.family == 4 ? 4 : 16));
    report_text_put(out, r->disposition);
    report_text_put(out, r->reason);
    report_text_put(out, r->comment);
    report_text_put(out, r->header_from);
    report_text_put(out, r->envelope_from);
    report_text_put(out, r->spf_domain);
    report_text_put(out, r->spf_result);
    buf_add_varint(out, n);
    for (size_t i = 0; i < n; i++) {
        report_text_put(out, r->dkim[i].domain);
        report_text_put(out, r->dkim[i].selector);
        report_text_put(out, r->dkim[i].result);
    }
}

static bool take_ip(struct reader *r, struct arena *a, str *out)
{
    BUF_AUTO struct buf text = BUF_INIT(64);
    str ip = read_sized(r);
    struct address at = {.family = ip.len == 4 ? 4 : 6};
    if (r->failed || (ip.len != 4 && ip.len != 16))
        return false;
    memcpy(at.ip, ip.data, ip.len);
    address_render(&at, &text);
    return arena_dup(a, buf_str(&text), out);
}

enum err report_dmarc_take(str body, struct arena *a, struct dmarc_report_row *out)
{
    struct reader r = reader_of(body);
    *out = (struct dmarc_report_row){0};
    uint8_t bits = read_u8(&r);
    out->dkim_aligned = bits & BIT_DKIM;
    out->spf_aligned = bits & BIT_SPF;
    if (bits > BITS || !take_ip(&r, a, &out->source_ip))
        return ERR_CORRUPT;
    str *texts[] = {&out->disposition,   &out->reason,     &out->comment,   &out->header_from,
                    &out->envelope_from, &out->spf_domain, &out->spf_result};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = report_text_take(&r);
    uint64_t n = read_varint(&r);
    if (n > DMARC_REPORT_DKIM_MAX)
        return ERR_CORRUPT;
    for (uint64_t i = 0; i < n; i++) {
        out->dkim[i].domain = report_text_take(&r);
        out->dkim[i].selector = report_text_take(&r);
        out->dkim[i].result = report_text_take(&r);
    }
    out->ndkim = n;
    return report_ended(&r);
}

void report_policy_put(const struct dmarc_report_policy *p, struct buf *out)
{
    const str *texts[] = {&p->p, &p->sp, &p->np, &p->adkim, &p->aspf, &p->fo};
    buf_add_char(out, p->testing);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        report_text_put(out, *texts[i]);
}

enum err report_policy_take(str head, struct dmarc_report_policy *p)
{
    struct reader r = reader_of(head);
    *p = (struct dmarc_report_policy){0};
    str *texts[] = {&p->p, &p->sp, &p->np, &p->adkim, &p->aspf, &p->fo};
    uint8_t testing = read_u8(&r);
    r.failed |= testing > 1;
    p->testing = testing == 1;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = report_text_take(&r);
    return report_ended(&r);
}

/* ---- TLS ---- */

void report_tls_put(const struct report_tls_note *n, struct buf *out)
{
    const struct tls_report_failure *f = &n->failure;
    const str *texts[] = {&f->type,         &f->sending_ip,  &f->mx,    &f->helo,
                          &f->receiving_ip, &f->information, &f->reason};
    report_text_put(out, n->policy_type);
    put_list(out, n->strings, n->nstrings, REPORT_LINES_MAX);
    put_list(out, n->mx, n->nmx, REPORT_HOSTS_MAX);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        report_text_put(out, *texts[i]);
}

enum err report_tls_take(str body, struct arena *a, struct report_tls_note *n)
{
    struct reader r = reader_of(body);
    *n = (struct report_tls_note){0};
    struct tls_report_failure *f = &n->failure;
    str *texts[] = {&f->type,         &f->sending_ip,  &f->mx,    &f->helo,
                    &f->receiving_ip, &f->information, &f->reason};
    n->policy_type = report_text_take(&r);
    take_list(&r, a, REPORT_LINES_MAX, &n->strings, &n->nstrings);
    take_list(&r, a, REPORT_HOSTS_MAX, &n->mx, &n->nmx);
    for (size_t i = 0; i < ARRAY_LEN(texts) && !r.failed; i++)
        *texts[i] = report_text_take(&r);
    return report_ended(&r);
}

/* ---- notes ---- */

/* Lower-case host names, so that a key's domain ends at its first zero. */
bool report_domain_valid(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
            return false;
    }
    return s.len > 0 && s.len <= REPORT_DOMAIN_MAX;
}

void report_note_put(const struct report_note *n, struct buf *out)
{
    buf_add_char(out, (char)n->kind);
    buf_add_sized(out, n->domain);
    buf_add_sized(out, n->head);
    buf_add_sized(out, n->body);
}

enum err report_note_take(struct reader *r, struct report_note *n)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct dmarc_report_policy policy;
    struct dmarc_report_row row;
    struct report_tls_note tls;
    uint8_t kind = read_u8(r);
    *n = (struct report_note){(enum report_kind)kind, read_sized(r), STR_NONE, STR_NONE};
    n->head = read_sized(r);
    n->body = read_sized(r);
    if (r->failed || !report_domain_valid(n->domain) || n->body.len > REPORT_BODY_MAX)
        return ERR_CORRUPT;
    switch (n->kind) {
    case REPORT_DMARC:
        TRY(report_policy_take(n->head, &policy));
        return report_dmarc_take(n->body, &a, &row);
    case REPORT_TLS:
        return str_empty(n->head) ? report_tls_take(n->body, &a, &tls) : ERR_CORRUPT;
    }
    return ERR_CORRUPT;
}
