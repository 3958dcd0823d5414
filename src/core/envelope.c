/* SPDX-License-Identifier: Apache-2.0
 *
 * The row form of an envelope: for the wire between roles and for queue rows.
 */
#include "core/house.h"

#include <string.h>

#define VERSION 1
enum {
    BIT_SMTPUTF8 = 1,
    BIT_REQUIRETLS = 2,
    BIT_DELIVER_BY_NOTIFY = 4,
    BIT_SENDER_FAILED = 8,
    BIT_ONE_ANSWER = 16,
    BIT_TLS_REPORT = 32,
};

void envelope_encode(const struct envelope *e, struct buf *out)
{
    buf_add_char(out, VERSION);
    buf_add_char(
        out, (char)((e->smtputf8 ? BIT_SMTPUTF8 : 0) | (e->requiretls ? BIT_REQUIRETLS : 0) |
                    (e->deliver_by_notify ? BIT_DELIVER_BY_NOTIFY : 0) |
                    (e->sender_failed ? BIT_SENDER_FAILED : 0) |
                    (e->one_answer ? BIT_ONE_ANSWER : 0) | (e->tls_report ? BIT_TLS_REPORT : 0)));
    buf_add_char(out, (char)e->ret);
    buf_add_char(out, (char)e->body);
    buf_add_char(out, (char)e->priority);
    buf_add_be64(out, (uint64_t)e->deliver_by);
    buf_add_be64(out, (uint64_t)e->hold_until);
    buf_add_be64(out, e->account);
    buf_add_be64(out, e->size);
    buf_add_char(out, (char)e->source.family);
    buf_add(out, str_of(e->source.ip, sizeof e->source.ip));
    buf_add_be16(out, e->source.port);
    buf_add_sized(out, e->sender);
    buf_add_sized(out, e->envid);
    buf_add_sized(out, e->helo);
    buf_add_sized(out, e->id);
    buf_add_sized(out, e->trace);
    buf_add_varint(out, e->nrecipients);
    for (size_t i = 0; i < e->nrecipients; i++) {
        const struct envelope_recipient *r = &e->recipients[i];
        buf_add_sized(out, r->address);
        buf_add_sized(out, r->orcpt);
        buf_add_char(out, (char)r->notify);
        buf_add_char(out, (char)r->junk);
    }
}

static enum err decode_recipients(struct reader *r, struct arena *arena, struct envelope *e)
{
    uint64_t n = read_varint(r);
    if (r->failed || n > ENVELOPE_RECIPIENTS_MAX)
        return ERR_CORRUPT;
    struct envelope_recipient *all = ARENA_ARRAY(arena, struct envelope_recipient, n);
    if (!all)
        return ERR_NOMEM;
    for (uint64_t i = 0; i < n; i++) {
        str address = read_sized(r), orcpt = read_sized(r);
        if (!arena_dup(arena, address, &all[i].address) || !arena_dup(arena, orcpt, &all[i].orcpt))
            return ERR_NOMEM;
        all[i].notify = read_u8(r);
        all[i].junk = read_u8(r);
    }
    e->recipients = all;
    e->nrecipients = n;
    return ERR_OK;
}

enum err envelope_decode(str bytes, struct arena *arena, struct envelope *e)
{
    struct reader r = reader_of(bytes);
    *e = (struct envelope){.fd = -1};
    if (read_u8(&r) != VERSION)
        return ERR_CORRUPT;
    uint8_t bits = read_u8(&r);
    e->smtputf8 = bits & BIT_SMTPUTF8;
    e->requiretls = bits & BIT_REQUIRETLS;
    e->deliver_by_notify = bits & BIT_DELIVER_BY_NOTIFY;
    e->sender_failed = bits & BIT_SENDER_FAILED;
    e->one_answer = bits & BIT_ONE_ANSWER;
    e->tls_report = bits & BIT_TLS_REPORT;
    e->ret = read_u8(&r);
    e->body = read_u8(&r);
    e->priority = read_u8(&r);
    e->deliver_by = (int64_t)read_be64(&r);
    e->hold_until = (int64_t)read_be64(&r);
    e->account = read_be64(&r);
    e->size = read_be64(&r);
    e->source.family = read_u8(&r);
    str ip = read_bytes(&r, sizeof e->source.ip);
    if (r.failed)
        return ERR_CORRUPT;
    memcpy(e->source.ip, ip.data, ip.len);
    e->source.port = read_be16(&r);
    str *texts[] = {&e->sender, &e->envid, &e->helo, &e->id, &e->trace};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!arena_dup(arena, read_sized(&r), texts[i]))
            return ERR_NOMEM;
    TRY(decode_recipients(&r, arena, e));
    return r.failed || r.rest.len ? ERR_CORRUPT : ERR_OK;
}
