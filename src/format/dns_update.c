/* SPDX-License-Identifier: Apache-2.0 */
#include "format/dns_update.h"

#include <assert.h>
#include <string.h>

#define HEADER_BYTES 12
#define CLASS_IN 1
#define CLASS_NONE 254
#define CLASS_ANY 255
#define TYPE_SOA 6
#define TYPE_TSIG 250
#define OPCODE_UPDATE 5
#define TEXT_MAX 60000
#define RECORDS_MAX 64 /* of an answer, which repeats at most the zone and a signature */
static const char algorithm[] = "\x0bhmac-sha256"; /* with its final root label */

/* ---- names and record data ---- */

/* Wire form, never compressed: an update must not depend on where a name stood before. */
bool dns_rdata_name(str name, struct buf *out)
{
    str label;
    size_t total = 1;
    while (!str_empty(name)) {
        (void)str_cut(name, '.', &label, &name);
        total += label.len + 1;
        if (label.len == 0 || label.len > 63 || total > 255)
            return false;
        buf_add_char(out, (char)label.len);
        buf_add(out, label);
    }
    buf_add_char(out, 0);
    return true;
}

bool dns_rdata_mx(uint16_t preference, str name, struct buf *out)
{
    buf_add_be16(out, preference);
    return dns_rdata_name(name, out);
}

bool dns_rdata_srv(uint16_t priority, uint16_t weight, uint16_t port, str name, struct buf *out)
{
    buf_add_be16(out, priority);
    buf_add_be16(out, weight);
    buf_add_be16(out, port);
    return dns_rdata_name(name, out);
}

bool dns_rdata_txt(str text, struct buf *out)
{
    if (text.len > TEXT_MAX)
        return false;
    do {
        str piece = str_head(text, 255);
        buf_add_char(out, (char)piece.len);
        buf_add(out, piece);
        text = str_skip(text, piece.len);
    } while (!str_empty(text));
    return true;
}

bool dns_rdata_tlsa(uint8_t usage, uint8_t selector, uint8_t matching, str data, struct buf *out)
{
    buf_add_char(out, (char)usage);
    buf_add_char(out, (char)selector);
    buf_add_char(out, (char)matching);
    buf_add(out, data);
    return true;
}

/* ---- the message ---- */

static void put_be16_at(struct buf *b, size_t at, uint16_t n)
{
    assert(b->failed || at + 2 <= b->len);
    if (b->failed)
        return;
    b->data[at] = (char)(n >> 8);
    b->data[at + 1] = (char)n;
}

static uint16_t be16_at(str s, size_t at)
{
    struct reader r = reader_of(str_skip(s, at));
    return read_be16(&r);
}

void dns_update_begin(struct dns_update *u, uint16_t id, str zone)
{
    *u = (struct dns_update){.out = BUF_INIT(DNS_MESSAGE_MAX)};
    buf_add_be16(&u->out, id);
    buf_add_be16(&u->out, OPCODE_UPDATE << 11);
    buf_add_be16(&u->out, 1); /* zone */
    buf_add_be16(&u->out, 0); /* prerequisites */
    buf_add_be16(&u->out, 0); /* updates, counted at the end */
    buf_add_be16(&u->out, 0); /* additional */
    u->out.failed |= !dns_rdata_name(zone, &u->out);
    buf_add_be16(&u->out, TYPE_SOA);
    buf_add_be16(&u->out, CLASS_IN);
}

static void add_record(struct dns_update *u, str name, uint16_t type, uint16_t class,
                       uint32_t ttl_s, str rdata)
{
    u->out.failed |= !dns_rdata_name(name, &u->out) || rdata.len > UINT16_MAX;
    buf_add_be16(&u->out, type);
    buf_add_be16(&u->out, class);
    buf_add_be32(&u->out, ttl_s);
    buf_add_be16(&u->out, (uint16_t)rdata.len);
    buf_add(&u->out, rdata);
    u->updates++;
    put_be16_at(&u->out, 8, u->updates);
}

void dns_update_clear(struct dns_update *u, str name, uint16_t type)
{
    add_record(u, name, type, CLASS_ANY, 0, STR_NONE);
}

void dns_update_add(struct dns_update *u, str name, uint16_t type, uint32_t ttl_s, str rdata)
{
    add_record(u, name, type, CLASS_IN, ttl_s, rdata);
}

void dns_update_remove(struct dns_update *u, str name, uint16_t type, str rdata)
{
    add_record(u, name, type, CLASS_NONE, 0, rdata);
}

enum err dns_update_done(const struct dns_update *u)
{
    return buf_ok(&u->out) ? ERR_OK : ERR_INVALID;
}

/* ---- TSIG ---- */

static void add_time(uint64_t time_s, struct buf *out) /* 48 bits */
{
    buf_add_be16(out, (uint16_t)(time_s >> 32));
    buf_add_be32(out, (uint32_t)time_s);
}

static void add_algorithm(struct buf *out) { buf_add(out, str_of(algorithm, sizeof(algorithm))); }

bool dns_update_tsig_input(str request_mac, str message, const struct dns_tsig *t, struct buf *out)
{
    if (!str_empty(request_mac)) {
        buf_add_be16(out, (uint16_t)request_mac.len);
        buf_add(out, request_mac);
    }
    /* The id as the sender wrote it, whatever stands there after a forwarder (4.2). */
    buf_add_be16(out, t->original_id);
    buf_add(out, str_skip(message, 2));
    bool ok = dns_rdata_name(t->key_name, out);
    buf_add_be16(out, CLASS_ANY);
    buf_add_be32(out, 0);
    add_algorithm(out);
    add_time(t->time_s, out);
    buf_add_be16(out, DNS_TSIG_FUDGE_S);
    buf_add_be16(out, t->error);
    buf_add_be16(out, (uint16_t)t->other.len);
    buf_add(out, t->other);
    return ok && buf_ok(out);
}

bool dns_update_tsig_add(struct buf *message, const struct dns_tsig *t, str mac)
{
    if (message->len < HEADER_BYTES)
        return false;
    bool ok = dns_rdata_name(t->key_name, message);
    buf_add_be16(message, TYPE_TSIG);
    buf_add_be16(message, CLASS_ANY);
    buf_add_be32(message, 0);
    buf_add_be16(message, (uint16_t)(sizeof(algorithm) + 10 + mac.len + 6 + t->other.len));
    add_algorithm(message);
    add_time(t->time_s, message);
    buf_add_be16(message, DNS_TSIG_FUDGE_S);
    buf_add_be16(message, (uint16_t)mac.len);
    buf_add(message, mac);
    buf_add_be16(message, t->original_id);
    buf_add_be16(message, t->error);
    buf_add_be16(message, (uint16_t)t->other.len);
    buf_add(message, t->other);
    put_be16_at(message, 10, (uint16_t)(be16_at(buf_str(message), 10) + 1));
    return ok && buf_ok(message);
}

/* ---- answers ---- */

/* Reads a name at *at, following compression backwards only (so it ends); out may be NULL. */
static bool take_name(str message, size_t *at, struct buf *out)
{
    size_t p = *at, limit = *at;
    bool jumped = false;
    for (size_t total = 0; total <= 255;) {
        if (p >= message.len)
            return false;
        uint8_t n = (uint8_t)message.data[p];
        if ((n & 0xc0) == 0xc0) {
            if (p + 2 > message.len)
                return false;
            size_t to = be16_at(message, p) & 0x3fff;
            if (to >= limit)
                return false;
            if (!jumped)
                *at = p + 2;
            jumped = true;
            p = limit = to;
            continue;
        }
        if (n > 63 || p + 1 + n > message.len)
            return false;
        p += 1 + (size_t)n;
        total += 1 + (size_t)n;
        if (n == 0) {
            if (!jumped)
                *at = p;
            return total <= 255;
        }
        if (out) {
            if (out->len)
                buf_add_char(out, '.');
            buf_add(out, str_sub(message, p - n, n));
        }
    }
    return false;
}

static bool take_tsig(str rdata, struct dns_tsig *t)
{
    struct reader r = reader_of(rdata);
    str name = read_bytes(&r, sizeof(algorithm));
    if (r.failed || !str_eq_nocase(name, str_of(algorithm, sizeof(algorithm))))
        return false;
    t->time_s = (uint64_t)read_be16(&r) << 32;
    t->time_s |= read_be32(&r);
    uint16_t fudge = read_be16(&r);
    t->mac = read_bytes(&r, read_be16(&r));
    t->original_id = read_be16(&r);
    t->error = read_be16(&r);
    t->other = read_bytes(&r, read_be16(&r));
    return !r.failed && str_empty(r.rest) && fudge == DNS_TSIG_FUDGE_S;
}

static bool take_record(str message, size_t *at, bool last, struct dns_update_answer *out)
{
    size_t start = *at;
    BUF_AUTO struct buf owner = BUF_INIT(sizeof(out->key_name_room));
    if (!take_name(message, at, &owner))
        return false;
    struct reader r = reader_of(str_skip(message, *at));
    uint16_t type = read_be16(&r);
    read_be16(&r);
    read_be32(&r);
    str rdata = read_bytes(&r, read_be16(&r));
    if (r.failed)
        return false;
    *at = message.len - r.rest.len;
    if (type != TYPE_TSIG)
        return true;
    /* The last of the message, or it is an error (RFC 8945 5.1). */
    if (!last || !take_tsig(rdata, &out->tsig) || !buf_ok(&owner))
        return false;
    if (owner.len)
        memcpy(out->key_name_room, owner.data, owner.len);
    out->tsig.key_name = str_of(out->key_name_room, owner.len);
    out->has_tsig = true;
    out->unsigned_part = str_head(message, start);
    return true;
}

enum err dns_update_answer_parse(str message, struct dns_update_answer *out)
{
    *out = (struct dns_update_answer){.unsigned_part = message};
    if (message.len < HEADER_BYTES)
        return ERR_SYNTAX;
    uint16_t flags = be16_at(message, 2);
    out->id = be16_at(message, 0);
    out->rcode = flags & 15;
    if (!(flags & 0x8000) || ((flags >> 11) & 15) != OPCODE_UPDATE)
        return ERR_SYNTAX;
    size_t zones = be16_at(message, 4), records = 0, at = HEADER_BYTES;
    for (size_t i = 6; i < HEADER_BYTES; i += 2)
        records += be16_at(message, i);
    if (zones > 1 || records > RECORDS_MAX)
        return ERR_SYNTAX;
    if (zones == 1) {
        if (!take_name(message, &at, NULL) || at + 4 > message.len)
            return ERR_SYNTAX;
        at += 4;
    }
    for (size_t i = 0; i < records; i++) {
        if (!take_record(message, &at, i + 1 == records, out))
            return ERR_SYNTAX;
    }
    return at == message.len ? ERR_OK : ERR_SYNTAX;
}

void dns_update_answer_unsigned(const struct dns_update_answer *a, struct buf *out)
{
    size_t start = out->len;
    buf_add(out, a->unsigned_part);
    if (a->has_tsig)
        put_be16_at(out, start + 10, (uint16_t)(be16_at(a->unsigned_part, 10) - 1));
}

const char *dns_update_rcode_text(uint8_t rcode)
{
    switch (rcode) {
    case 0:
        return "done";
    case 1:
        return "FORMERR: the name server did not understand the update";
    case 2:
        return "SERVFAIL: the name server failed";
    case 4:
        return "NOTIMP: the name server takes no updates";
    case 5:
        return "REFUSED: the name server does not allow this key to change these names";
    case 8:
        return "NXRRSET: records that should be there are not";
    case 9:
        return "NOTAUTH: the server is not the zone's primary, or the key or the clock is wrong";
    case 10:
        return "NOTZONE: a name is outside of the zone";
    default:
        return "an error of the name server";
    }
}
