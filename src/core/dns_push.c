/* SPDX-License-Identifier: Apache-2.0 */
#include "core/dns_push.h"

#include "base/code.h"
#include "core/acme_crypto.h"
#include "os/clock.h"

#include <string.h>

enum err dns_push_key(str file, struct arena *a, struct dns_push *out)
{
    str name, secret, rest = str_trim(file);
    BUF_AUTO struct buf bytes = BUF_INIT(1024);
    if (!str_next_word(&rest, &name) || !str_next_word(&rest, &secret) ||
        !str_empty(str_trim(rest)))
        return ERR_SYNTAX;
    if (str_ends(name, STR(".")))
        name.len--;
    TRY(code_base64_decode(&bytes, secret));
    if (bytes.len < 16 || name.len > 255 || !arena_dup(a, buf_str(&bytes), &out->secret) ||
        !arena_dup_lower(a, name, &out->key_name)) /* canonical, RFC 8945 4.3.3 */
        return ERR_SYNTAX;
    explicit_bzero(bytes.data, bytes.len);
    return ERR_OK;
}

enum err dns_push_verify(const struct dns_push *p, str request_mac, uint16_t id, str answer,
                         int64_t now_s, uint8_t *rcode)
{
    struct dns_update_answer a;
    BUF_AUTO struct buf message = BUF_INIT(DNS_MESSAGE_MAX);
    BUF_AUTO struct buf input = BUF_INIT(DNS_MESSAGE_MAX * 2);
    uint8_t mac[32];
    TRY(dns_update_answer_parse(answer, &a));
    *rcode = a.rcode;
    if (a.id != id)
        return ERR_SYNTAX;
    if (!a.has_tsig || !str_eq_nocase(a.tsig.key_name, p->key_name))
        return ERR_AUTH;
    a.tsig.key_name = p->key_name;
    dns_update_answer_unsigned(&a, &message);
    if (!dns_update_tsig_input(request_mac, buf_str(&message), &a.tsig, &input))
        return ERR_AUTH;
    hmac_sha256(p->secret, buf_str(&input), mac);
    if (a.tsig.mac.len != 32 || !str_eq_secret(a.tsig.mac, str_of(mac, sizeof(mac))))
        return ERR_AUTH;
    int64_t apart = now_s - (int64_t)a.tsig.time_s;
    return apart < -DNS_TSIG_FUDGE_S || apart > DNS_TSIG_FUDGE_S ? ERR_AUTH : ERR_OK;
}

static enum err sign(const struct dns_push *p, struct dns_update *u, uint16_t id, uint8_t mac[32])
{
    struct dns_tsig t = {
        .key_name = p->key_name, .time_s = (uint64_t)clock_wall_s(), .original_id = id};
    BUF_AUTO struct buf input = BUF_INIT(DNS_MESSAGE_MAX * 2);
    TRY(dns_update_done(u));
    if (!dns_update_tsig_input(STR_NONE, buf_str(&u->out), &t, &input))
        return ERR_INVALID;
    hmac_sha256(p->secret, buf_str(&input), mac);
    return dns_update_tsig_add(&u->out, &t, str_of(mac, 32)) ? ERR_OK : ERR_LIMIT;
}

enum err dns_push(const struct dns_push *p, struct dns_update *u, struct buf *error)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1048576);
    uint8_t mac[32], rcode = 0;
    str answer;
    struct reader head = reader_of(buf_str(&u->out));
    uint16_t id = read_be16(&head);
    enum err e = sign(p, u, id, mac);
    if (e != ERR_OK) {
        buf_add_c(error, "The update is too long, or a name in it is none.");
        return e;
    }
    struct relay_exchange x = {.kind = RELAY_EXCHANGE_DNS,
                               .host = p->server,
                               .port = p->port,
                               .question = buf_str(&u->out),
                               .timeout_ms = DNS_PUSH_TIMEOUT_MS};
    if (!p->relay->exchange)
        return ERR_UNSUPPORTED;
    e = p->relay->exchange(p->relay->ctx, &x, &arena, &answer);
    if (e != ERR_OK) {
        buf_addf(error, "The name server %.*s was not reached: %s.", STR_ARG(p->server),
                 err_text(e));
        return e;
    }
    e = dns_push_verify(p, str_of(mac, sizeof(mac)), id, answer, clock_wall_s(), &rcode);
    if (rcode != 0) {
        buf_addf(error, "The name server %.*s refuses: %s.", STR_ARG(p->server),
                 dns_update_rcode_text(rcode));
        return ERR_DENIED;
    }
    if (e != ERR_OK)
        buf_addf(error, "The answer of %.*s is not signed by the key.", STR_ARG(p->server));
    return e;
}
