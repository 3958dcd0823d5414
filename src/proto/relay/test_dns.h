/* SPDX-License-Identifier: Apache-2.0
 *
 * test_dns: a small authoritative name server on a loopback port, UDP and TCP, on a thread. It
 * serves the records that a test adds, signed for names below TEST_DNS_SIGNED (ECDSA P-256, one
 * key), and misbehaves for some names: "silent." never answers, "short." answers over TCP only,
 * "forged." has a wrong signature. Included once per program, after cmocka.
 */
#ifndef PROTO_RELAY_TEST_DNS_H
#define PROTO_RELAY_TEST_DNS_H

#include "base/buf.h"
#include "core/dns.h"
#include "os/sock.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TEST_DNS_SIGNED "signed.test"
#define TEST_DNS_RECORDS 128
enum { TYPE_SOA = 6, TYPE_RRSIG = 46, TYPE_DNSKEY = 48 };

struct test_dns_record {
    char name[256];
    uint16_t type;
    uint8_t data[2048];
    size_t len;
};
struct test_dns {
    int udp, tcp, stop[2];
    uint16_t port;
    pthread_t thread;
    struct test_dns_record records[TEST_DNS_RECORDS];
    size_t count;
    _Atomic uint32_t asked, asked_tcp;
    _Atomic bool mute; /* nothing is answered */
    EVP_PKEY *key;
    uint8_t dnskey[68];
    uint16_t key_tag;
    char anchor[512], zone_option[64];
};

static inline void test_name_put(struct buf *b, str name)
{
    while (!str_empty(name)) {
        str label;
        str_cut(name, '.', &label, &name);
        buf_add_char(b, (char)label.len);
        buf_add(b, label);
    }
    buf_add_char(b, 0);
}

static inline void test_dns_add(struct test_dns *d, const char *name, uint16_t type, str data)
{
    struct test_dns_record *r = &d->records[d->count++];
    assert_true(d->count <= TEST_DNS_RECORDS && data.len <= sizeof(r->data));
    snprintf(r->name, sizeof(r->name), "%s", name);
    r->type = type;
    r->len = data.len;
    memcpy(r->data, data.data, data.len);
}

static inline void test_dns_add_a(struct test_dns *d, const char *name, const char *ip)
{
    struct address a;
    assert_true(address_parse(str_c(ip), &a));
    test_dns_add(d, name, a.family == 4 ? DNS_A : DNS_AAAA, str_of(a.ip, a.family == 4 ? 4 : 16));
}

static inline void test_dns_add_name(struct test_dns *d, const char *name, uint16_t type,
                                     int preference, const char *target)
{
    BUF_AUTO struct buf b = BUF_INIT(2048);
    if (type == DNS_MX)
        buf_add_be16(&b, (uint16_t)preference);
    test_name_put(&b, str_c(target));
    test_dns_add(d, name, type, buf_str(&b));
}

static inline void test_dns_add_txt(struct test_dns *d, const char *name, const char *text)
{
    BUF_AUTO struct buf b = BUF_INIT(2048);
    for (str s = str_c(text); !str_empty(s); s = str_skip(s, 250)) {
        str part = str_head(s, 250);
        buf_add_char(&b, (char)part.len);
        buf_add(&b, part);
    }
    test_dns_add(d, name, DNS_TXT, buf_str(&b));
}

static inline void test_dns_add_tlsa(struct test_dns *d, const char *name, int usage, int selector,
                                     int matching, str data)
{
    BUF_AUTO struct buf b = BUF_INIT(2048);
    buf_add_char(&b, (char)usage);
    buf_add_char(&b, (char)selector);
    buf_add_char(&b, (char)matching);
    buf_add(&b, data);
    test_dns_add(d, name, DNS_TLSA, buf_str(&b));
}

/* ---- signing (RFC 4034 3.1.8.1, RFC 6605) ---- */

static inline void test_dns_key(struct test_dns *d)
{
    d->key = EVP_EC_gen("P-256");
    uint8_t point[65];
    size_t len = 0;
    assert_int_equal(EVP_PKEY_get_octet_string_param(d->key, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                     sizeof(point), &len),
                     1);
    memcpy(d->dnskey, "\x01\x01\x03\x0d", 4);
    memcpy(d->dnskey + 4, point + 1, 64);
    uint32_t tag = 0;
    for (size_t i = 0; i < sizeof(d->dnskey); i++)
        tag += i & 1 ? d->dnskey[i] : (uint32_t)d->dnskey[i] << 8;
    d->key_tag = (uint16_t)(tag + (tag >> 16));
    BUF_AUTO struct buf b = BUF_INIT(512);
    test_name_put(&b, STR(TEST_DNS_SIGNED));
    buf_add(&b, str_of(d->dnskey, sizeof(d->dnskey)));
    uint8_t digest[32];
    unsigned n;
    EVP_Digest(b.data, b.len, digest, &n, EVP_sha256(), NULL);
    int at = snprintf(d->anchor, sizeof(d->anchor), TEST_DNS_SIGNED ". DS %u 13 2 ", d->key_tag);
    for (size_t i = 0; i < 32; i++)
        at += snprintf(d->anchor + at, 3, "%02x", digest[i]);
    test_dns_add(d, TEST_DNS_SIGNED, TYPE_DNSKEY, str_of(d->dnskey, sizeof(d->dnskey)));
}

static inline int test_dns_order(const void *a, const void *b)
{
    const struct test_dns_record *const *x = a, *const *y = b;
    return str_cmp(str_of((*x)->data, (*x)->len), str_of((*y)->data, (*y)->len));
}

static inline void test_dns_sign(struct test_dns *d, const char *name, uint16_t type,
                                 const struct test_dns_record **set, size_t n, struct buf *rrsig)
{
    BUF_AUTO struct buf b = BUF_INIT(65536);
    unsigned labels = 1;
    for (const char *c = name; *c; c++)
        labels += *c == '.';
    uint32_t now = (uint32_t)time(NULL);
    buf_add_be16(rrsig, type);
    buf_add_char(rrsig, 13);
    buf_add_char(rrsig, (char)labels);
    buf_add_be32(rrsig, 60);
    buf_add_be32(rrsig, now + 86400);
    buf_add_be32(rrsig, now - 86400);
    buf_add_be16(rrsig, d->key_tag);
    test_name_put(rrsig, STR(TEST_DNS_SIGNED));
    buf_add(&b, buf_str(rrsig));
    qsort(set, n, sizeof(set[0]), test_dns_order);
    for (size_t i = 0; i < n; i++) {
        test_name_put(&b, str_c(name));
        buf_add_be16(&b, type);
        buf_add_be16(&b, 1);
        buf_add_be32(&b, 60);
        buf_add_be16(&b, (uint16_t)set[i]->len);
        buf_add(&b, str_of(set[i]->data, set[i]->len));
    }
    if (strncmp(name, "forged.", 7) == 0)
        b.data[b.len - 1] ^= 1;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t der[128], raw[64];
    size_t len = sizeof(der);
    EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, d->key);
    EVP_DigestSign(ctx, der, &len, (uint8_t *)b.data, b.len);
    EVP_MD_CTX_free(ctx);
    const uint8_t *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ECDSA_SIG_free(sig);
    buf_add(rrsig, str_of(raw, 64));
}

/* ---- answering ---- */

static inline void test_dns_rr(struct buf *out, uint16_t type, str data)
{
    buf_add_be16(out, 0xc00c);
    buf_add_be16(out, type);
    buf_add_be16(out, 1);
    buf_add_be32(out, 60);
    buf_add_be16(out, (uint16_t)data.len);
    buf_add(out, data);
}

static inline size_t test_dns_question(const uint8_t *q, size_t len, char *name)
{
    size_t at = 12, n = 0;
    while (at < len && q[at] && n + q[at] + 2 < 256) {
        if (n)
            name[n++] = '.';
        for (size_t i = 0; i < q[at]; i++) {
            char c = (char)q[at + 1 + i];
            name[n++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        }
        at += 1u + q[at];
    }
    name[n] = 0;
    return at + 5 <= len ? at + 1 : 0;
}

/* False: no answer at all. */
static inline bool test_dns_answer(struct test_dns *d, const uint8_t *q, size_t len, bool tcp,
                                   struct buf *out)
{
    char name[256];
    size_t end = test_dns_question(q, len, name);
    if (d->mute || len < 17 || end == 0 || strncmp(name, "silent.", 7) == 0)
        return false;
    uint16_t type = (uint16_t)(q[end] << 8 | q[end + 1]);
    bool cut = !tcp && strncmp(name, "short.", 6) == 0, exists = false;
    const struct test_dns_record *set[TEST_DNS_RECORDS];
    size_t n = 0, answers = 0;
    uint16_t found = type;
    for (size_t i = 0; i < d->count; i++) {
        const struct test_dns_record *r = &d->records[i];
        bool same = strcmp(r->name, name) == 0;
        exists |= same || str_ends(str_c(r->name), str_c(name));
        if (same && (r->type == type || r->type == DNS_CNAME)) {
            set[n++] = r;
            found = r->type;
        }
    }
    buf_add(out, str_of(q, 2));
    buf_add_be16(out, (uint16_t)(0x8400 | (cut ? 0x200 : 0) | (exists ? 0 : 3)));
    buf_add_be16(out, 1);
    size_t counts = out->len;
    buf_add_be16(out, 0);
    buf_add_be16(out, 0);
    buf_add_be16(out, 0);
    buf_add(out, str_of(q + 12, end + 4 - 12));
    bool is_signed = str_ends(str_c(name), STR(TEST_DNS_SIGNED));
    if (n && !cut && is_signed) {
        BUF_AUTO struct buf rrsig = BUF_INIT(512);
        test_dns_sign(d, name, found, set, n, &rrsig);
        test_dns_rr(out, TYPE_RRSIG, buf_str(&rrsig));
        answers++;
    }
    for (size_t i = 0; i < n && !cut; i++, answers++)
        test_dns_rr(out, found, str_of(set[i]->data, set[i]->len));
    out->data[counts + 1] = (char)answers;
    return true;
}

static inline void test_dns_tcp(struct test_dns *d)
{
    uint8_t q[2048];
    int c = accept(d->tcp, NULL, NULL);
    ssize_t n = c >= 0 ? recv(c, q, sizeof(q), 0) : 0;
    BUF_AUTO struct buf out = BUF_INIT(65536);
    if (n > 2 && test_dns_answer(d, q + 2, (size_t)n - 2, true, &out)) {
        uint8_t size[2] = {(uint8_t)(out.len >> 8), (uint8_t)out.len};
        d->asked_tcp++;
        (void)!send(c, size, 2, MSG_MORE);
        (void)!send(c, out.data, out.len, MSG_NOSIGNAL);
    }
    if (c >= 0)
        close(c);
}

static inline void *test_dns_main(void *arg)
{
    struct test_dns *d = arg;
    struct pollfd p[3] = {{d->udp, POLLIN, 0}, {d->tcp, POLLIN, 0}, {d->stop[0], POLLIN, 0}};
    while (poll(p, 3, -1) >= 0 && !(p[2].revents & (POLLIN | POLLHUP))) {
        uint8_t q[2048];
        struct sockaddr_in from;
        socklen_t len = sizeof(from);
        if (p[1].revents & POLLIN)
            test_dns_tcp(d);
        if (!(p[0].revents & POLLIN))
            continue;
        ssize_t n = recvfrom(d->udp, q, sizeof(q), 0, (struct sockaddr *)&from, &len);
        BUF_AUTO struct buf out = BUF_INIT(65536);
        d->asked++;
        if (n > 0 && test_dns_answer(d, q, (size_t)n, false, &out))
            (void)!sendto(d->udp, out.data, out.len, 0, (struct sockaddr *)&from, len);
    }
    return NULL;
}

static inline void test_dns_open(struct test_dns *d)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    memset(d, 0, sizeof(*d));
    test_dns_key(d);
    for (int tries = 0; tries < 50 && d->port == 0; tries++) {
        d->udp = socket(AF_INET, SOCK_DGRAM, 0);
        d->tcp = socket(AF_INET, SOCK_STREAM, 0);
        at.sin_port = 0;
        assert_int_equal(bind(d->udp, (struct sockaddr *)&at, len), 0);
        getsockname(d->udp, (struct sockaddr *)&at, &len);
        if (bind(d->tcp, (struct sockaddr *)&at, len) == 0 && listen(d->tcp, 16) == 0) {
            d->port = ntohs(at.sin_port);
            break;
        }
        close(d->udp);
        close(d->tcp);
    }
    assert_true(d->port != 0 && pipe(d->stop) == 0);
    snprintf(d->zone_option, sizeof(d->zone_option), "test 127.0.0.1@%u", d->port);
}

static inline void test_dns_start(struct test_dns *d)
{
    assert_int_equal(pthread_create(&d->thread, NULL, test_dns_main, d), 0);
}

static inline void test_dns_close(struct test_dns *d)
{
    close(d->stop[1]);
    pthread_join(d->thread, NULL);
    close(d->stop[0]);
    close(d->udp);
    close(d->tcp);
    EVP_PKEY_free(d->key);
}

#endif
