/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_update: dynamic updates of a zone (RFC 2136) with transaction signatures (TSIG, RFC 8945) as
 * bytes. No cryptography here: the caller computes HMAC-SHA-256 over what dns_update_tsig_input()
 * gives and adds the result. Messages go over TCP, so they may be up to 65,535 bytes.
 */
#ifndef FORMAT_DNS_UPDATE_H
#define FORMAT_DNS_UPDATE_H

#include "base/buf.h"
#include "base/err.h"

#define DNS_MESSAGE_MAX 65535
#define DNS_TSIG_FUDGE_S 300

/* Builds one update. A name that is none, or too much, makes `failed`; ask once at the end. */
struct dns_update {
    struct buf out; /* the message so far */
    uint16_t updates;
};
/* Names are without final dot; frees nothing: the caller's buf_free(&u->out). */
void dns_update_begin(struct dns_update *u, uint16_t id, str zone);
/* All records of the name and type go (RFC 2136 2.5.2). */
void dns_update_clear(struct dns_update *u, str name, uint16_t type);
/* One record comes, or goes (2.5.1, 2.5.4). */
void dns_update_add(struct dns_update *u, str name, uint16_t type, uint32_t ttl_s, str rdata);
void dns_update_remove(struct dns_update *u, str name, uint16_t type, str rdata);
/* ERR_INVALID: something that was put in is no name, or too long. */
enum err dns_update_done(const struct dns_update *u) MUST;

/* Record data. false: not a name, or text beyond 60,000 bytes. */
bool dns_rdata_name(str name, struct buf *out);
bool dns_rdata_mx(uint16_t preference, str name, struct buf *out);
bool dns_rdata_srv(uint16_t priority, uint16_t weight, uint16_t port, str name, struct buf *out);
bool dns_rdata_txt(str text, struct buf *out); /* cut into strings of 255 bytes */
bool dns_rdata_tlsa(uint8_t usage, uint8_t selector, uint8_t matching, str data, struct buf *out);

struct dns_tsig {
    str key_name; /* lower case, without final dot */
    uint64_t time_s;
    uint16_t original_id;
    uint16_t error;
    str other;
    str mac; /* of a parsed answer; borrowed */
};
/* What is hashed (RFC 8945 4.3): [length and bytes of request_mac, when there is one] message
 * (without its TSIG) and variables. false: the key's name is none. */
bool dns_update_tsig_input(str request_mac, str message, const struct dns_tsig *t, struct buf *out);
/* Adds the TSIG record to a complete message and counts it. */
bool dns_update_tsig_add(struct buf *message, const struct dns_tsig *t, str mac);

struct dns_update_answer {
    uint16_t id;
    uint8_t rcode; /* 0: done; RFC 2136 2.2 */
    bool has_tsig;
    struct dns_tsig tsig; /* its key name in key_name_room */
    char key_name_room[256];
    str unsigned_part; /* the message up to the TSIG, whose counts still say that it follows */
};
/* Any answer to an update. ERR_SYNTAX: malformed, or not an answer to an update. */
enum err dns_update_answer_parse(str message, struct dns_update_answer *out) MUST;
/* unsigned_part as it was before the TSIG was added: one additional record less. */
void dns_update_answer_unsigned(const struct dns_update_answer *a, struct buf *out);
const char *dns_update_rcode_text(uint8_t rcode);

#endif
