/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_push: sends a dynamic update (format/dns_update.h) to a zone's primary, signed with TSIG
 * (HMAC-SHA-256, RFC 8945), through the relay, and believes only a signed answer.
 */
#ifndef CORE_DNS_PUSH_H
#define CORE_DNS_PUSH_H

#include "core/relay.h"
#include "format/dns_update.h"

#define DNS_PUSH_TIMEOUT_MS 15000

struct dns_push {
    const struct relay *relay;
    str server; /* name or literal */
    uint16_t port;
    str key_name; /* lower case */
    str secret;   /* bytes */
};
/* u is complete and is signed here. ERR_DENIED: the name server refuses; ERR_AUTH: its answer is
 * not signed by the key; others as relay->exchange. *error gets a sentence. */
enum err dns_push(const struct dns_push *p, struct dns_update *u, struct buf *error) WAITS MUST;
/* "NAME SECRET" of a key file; the secret is base64. ERR_SYNTAX. */
enum err dns_push_key(str file, struct arena *a, struct dns_push *out) MUST;
/* Checks an answer to a signed request. now_s: the answer's time must be near. */
enum err dns_push_verify(const struct dns_push *p, str request_mac, uint16_t id, str answer,
                         int64_t now_s, uint8_t *rcode) MUST;

#endif
