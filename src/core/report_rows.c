/* SPDX-License-Identifier: Apache-2.0 */
#include "core/report_rows.h"

#include "base/num.h"

#include <assert.h>
#include <string.h>

#define VERSION 1

/* ---- keys ---- */

static void key_bytes(struct store_key *k, str bytes)
{
    assert(k->len + bytes.len <= STORE_KEY_MAX);
    if (bytes.len > 0)
        memcpy(k->bytes + k->len, bytes.data, bytes.len);
    k->len = (uint8_t)(k->len + bytes.len);
}

static void key_number(struct store_key *k, uint32_t n)
{
    uint8_t be[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    key_bytes(k, str_of(be, sizeof be));
}

struct store_key report_key_days(enum space s, enum report_kind k, uint32_t day)
{
    struct store_key key = {.bytes = {(uint8_t)s, (uint8_t)k}, .len = 2};
    key_number(&key, day);
    return key;
}

struct store_key report_key_day(enum space s, enum report_kind k, uint32_t day, str domain)
{
    struct store_key key = report_key_days(s, k, day);
    key_bytes(&key, domain);
    return key;
}

struct store_key report_key_seen(enum space s, enum report_kind k, uint32_t day, str domain,
                                 const uint8_t hash[REPORT_HASH])
{
    struct store_key key = report_key_day(s, k, day, domain);
    key_bytes(&key, STR("\0"));
    key_bytes(&key, str_of(hash, REPORT_HASH));
    return key;
}

struct store_key report_key_domain(enum space s, enum report_kind k, str domain)
{
    struct store_key key = {.bytes = {(uint8_t)s, (uint8_t)k}, .len = 2};
    key_bytes(&key, domain);
    key_bytes(&key, STR("\0"));
    return key;
}

static struct store_key key_taken(enum space s, enum report_kind k, str domain, uint32_t day,
                                  const uint8_t id[REPORT_ID])
{
    struct store_key key = report_key_domain(s, k, domain);
    key_number(&key, day);
    key_bytes(&key, str_of(id, REPORT_ID));
    return key;
}

struct store_key report_key_taken(enum report_kind k, str domain, uint32_t day,
                                  const uint8_t id[REPORT_ID])
{
    return key_taken(SPACE_REPORT_TAKEN, k, domain, day, id);
}

struct store_key report_key_row(enum report_kind k, str domain, uint32_t day,
                                const uint8_t id[REPORT_ID], uint32_t n)
{
    struct store_key key = key_taken(SPACE_REPORT_ROW, k, domain, day, id);
    key_number(&key, n);
    return key;
}

static bool key_of_others(str key, size_t tail, struct report_key *out)
{
    str rest;
    if (!str_cut(str_skip(key, 2), 0, &out->domain, &rest) || rest.len != tail ||
        !key_u32(rest, 0, &out->day))
        return false;
    out->hash = str_sub(rest, 4, REPORT_ID);
    return tail == 4 + REPORT_ID || key_u32(rest, 4 + REPORT_ID, &out->n);
}

bool report_key_of(str key, struct report_key *out)
{
    *out = (struct report_key){0};
    if (key.len < 2 || (key.data[1] != REPORT_DMARC && key.data[1] != REPORT_TLS))
        return false;
    out->kind = (enum report_kind)key.data[1];
    switch ((enum space)key.data[0]) {
    case SPACE_REPORT_TAKEN:
        return key_of_others(key, 4 + REPORT_ID, out) && report_domain_valid(out->domain);
    case SPACE_REPORT_ROW:
        return key_of_others(key, 8 + REPORT_ID, out) && report_domain_valid(out->domain);
    case SPACE_REPORT_DAY:
    case SPACE_REPORT_SENT:
        out->domain = str_skip(key, 6);
        return key_u32(key, 2, &out->day) && report_domain_valid(out->domain);
    case SPACE_REPORT_SEEN:
    case SPACE_REPORT_COUNT:
        return str_cut(str_skip(key, 6), 0, &out->domain, &out->hash) &&
               key_u32(key, 2, &out->day) && out->hash.len == REPORT_HASH &&
               report_domain_valid(out->domain);
    default:
        return false;
    }
}

/* ---- values ---- */

static void start(struct buf *out, enum space s)
{
    buf_add_char(out, (char)s);
    buf_add_char(out, VERSION);
}

static bool started(struct reader *r, enum space s)
{
    uint8_t type = read_u8(r), version = read_u8(r);
    return !r->failed && type == s && version == VERSION;
}

void report_sent_encode(const struct report_sent *s, struct buf *out)
{
    start(out, SPACE_REPORT_SENT);
    buf_add_char(out, (char)s->state);
    buf_add_varint(out, s->attempts);
    buf_add_be64(out, (uint64_t)s->next_s);
    buf_add_be64(out, (uint64_t)s->changed_s);
    buf_add_be64(out, s->queue_id);
    report_text_put(out, s->id);
    report_text_put(out, s->text);
}

enum err report_sent_decode(str value, struct report_sent *s)
{
    struct reader r = reader_of(value);
    *s = (struct report_sent){0};
    if (!started(&r, SPACE_REPORT_SENT))
        return ERR_CORRUPT;
    uint8_t state = read_u8(&r);
    uint64_t attempts = read_varint(&r);
    r.failed |= state < REPORT_WAITING || state > REPORT_DONE || attempts > UINT32_MAX;
    s->state = (enum report_state)state;
    s->attempts = (uint32_t)attempts;
    s->next_s = (int64_t)read_be64(&r);
    s->changed_s = (int64_t)read_be64(&r);
    s->queue_id = read_be64(&r);
    s->id = report_text_take(&r);
    s->text = report_text_take(&r);
    return report_ended(&r);
}

void report_taken_encode(const struct report_taken *t, struct buf *out)
{
    start(out, SPACE_REPORT_TAKEN);
    buf_add_char(out, t->verified);
    buf_add_be64(out, (uint64_t)t->begin_s);
    buf_add_be64(out, (uint64_t)t->end_s);
    buf_add_be64(out, (uint64_t)t->received_s);
    report_text_put(out, t->organization);
    report_text_put(out, t->email);
    report_text_put(out, t->report_id);
    report_text_put(out, t->author);
    buf_add_sized(out, t->policy);
    buf_add_varint(out, t->count);
    buf_add_varint(out, t->passed);
    buf_add_varint(out, t->left_out);
    buf_add_varint(out, t->rows);
}

enum err report_taken_decode(str value, struct report_taken *t)
{
    struct reader r = reader_of(value);
    struct dmarc_report_policy policy;
    *t = (struct report_taken){0};
    if (!started(&r, SPACE_REPORT_TAKEN))
        return ERR_CORRUPT;
    uint8_t verified = read_u8(&r);
    r.failed |= verified > 1;
    t->verified = verified == 1;
    t->begin_s = (int64_t)read_be64(&r);
    t->end_s = (int64_t)read_be64(&r);
    t->received_s = (int64_t)read_be64(&r);
    t->organization = report_text_take(&r);
    t->email = report_text_take(&r);
    t->report_id = report_text_take(&r);
    t->author = report_text_take(&r);
    t->policy = read_sized(&r);
    t->count = read_varint(&r);
    t->passed = read_varint(&r);
    t->left_out = read_varint(&r);
    uint64_t rows = read_varint(&r);
    r.failed |= rows > UINT32_MAX;
    t->rows = (uint32_t)rows;
    if (!str_empty(t->policy))
        TRY(report_policy_take(t->policy, &policy));
    return report_ended(&r);
}

void report_body_encode(enum space s, uint64_t count, str body, struct buf *out)
{
    start(out, s);
    buf_add_varint(out, count);
    buf_add_sized(out, body);
}

enum err report_body_decode(enum space s, str value, uint64_t *count, str *body)
{
    struct reader r = reader_of(value);
    if (!started(&r, s))
        return ERR_CORRUPT;
    *count = read_varint(&r);
    *body = read_sized(&r);
    return report_ended(&r);
}
