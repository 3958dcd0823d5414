/* SPDX-License-Identifier: Apache-2.0
 *
 * AUTH at a smart host (RFC 4954): SCRAM-SHA-256 (RFC 7677), PLAIN (RFC 4616), LOGIN.
 */
#include "proto/relay/smtp_private.h"

#include "base/code.h"
#include "base/num.h"
#include "format/sasl.h"
#include "os/rand.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define SASL_LINE_MAX 16384
#define ITERATIONS_MAX 200000 /* a hostile server may not keep us computing */

static enum err outcome(const struct smtp_client *c)
{
    if (smtp_client_class(c) == 2)
        return ERR_OK;
    return c->dead ? ERR_EOF : ERR_DENIED;
}

/* "prefix base64(secret)" and the reply; the secret is wiped. */
static enum err say(struct smtp_client *c, const char *prefix, struct buf *secret) WAITS
{
    BUF_AUTO struct buf line = BUF_INIT(SASL_LINE_MAX);
    buf_add_c(&line, prefix);
    code_base64(&line, buf_str(secret));
    buf_add_c(&line, "\r\n");
    enum err e = buf_ok(&line) && buf_ok(secret)
                     ? smtp_client_ask(c, buf_str(&line), c->timeouts.other)
                     : ERR_LIMIT;
    if (line.data)
        OPENSSL_cleanse(line.data, line.len);
    if (secret->data)
        OPENSSL_cleanse(secret->data, secret->len);
    buf_reset(secret);
    return e;
}

static enum err plain(struct smtp_client *c, str login, str password) WAITS
{
    BUF_AUTO struct buf b = BUF_INIT(SASL_LINE_MAX / 2);
    buf_add_char(&b, 0);
    buf_add(&b, login);
    buf_add_char(&b, 0);
    buf_add(&b, password);
    TRY(say(c, "AUTH PLAIN ", &b));
    return outcome(c);
}

static enum err login_method(struct smtp_client *c, str login, str password) WAITS
{
    BUF_AUTO struct buf b = BUF_INIT(SASL_LINE_MAX / 2);
    TRY(smtp_client_ask(c, STR("AUTH LOGIN\r\n"), c->timeouts.other));
    const str answers[] = {login, password};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        if (c->reply.code != 334)
            return smtp_client_class(c) == 2 ? ERR_SYNTAX : outcome(c);
        buf_add(&b, answers[i]);
        TRY(say(c, "", &b));
    }
    return outcome(c);
}

static bool hmac(const uint8_t key[32], str text, uint8_t out[32])
{
    unsigned n = 32;
    return HMAC(EVP_sha256(), key, 32, (const uint8_t *)text.data, text.len, out, &n) != NULL;
}

struct scram {
    struct buf auth_message; /* RFC 5802 3 */
    uint8_t proof[32], server_signature[32];
};

static bool scram_compute(struct scram *s, str password, const struct scram_server_first *first)
{
    uint8_t salted[32], client_key[32], stored_key[32], server_key[32], signature[32];
    bool ok = PKCS5_PBKDF2_HMAC(password.data, (int)password.len, (const uint8_t *)first->salt.data,
                                (int)first->salt.len, (int)first->iterations, EVP_sha256(), 32,
                                salted) == 1 &&
              hmac(salted, STR("Client Key"), client_key) &&
              EVP_Digest(client_key, 32, stored_key, NULL, EVP_sha256(), NULL) == 1 &&
              hmac(stored_key, buf_str(&s->auth_message), signature) &&
              hmac(salted, STR("Server Key"), server_key) &&
              hmac(server_key, buf_str(&s->auth_message), s->server_signature);
    for (size_t i = 0; i < 32; i++)
        s->proof[i] = client_key[i] ^ signature[i];
    OPENSSL_cleanse(salted, sizeof(salted));
    OPENSSL_cleanse(client_key, sizeof(client_key));
    return ok;
}

static enum err challenge(struct smtp_client *c, struct buf *out)
{
    if (c->reply.code != 334)
        return smtp_client_class(c) == 2 ? ERR_SYNTAX : outcome(c);
    buf_reset(out);
    return code_base64_decode(out, str_trim(buf_str(&c->reply.text)));
}

static enum err scram_final(struct smtp_client *c, struct scram *s, struct arena *a) WAITS
{
    BUF_AUTO struct buf in = BUF_INIT(SASL_LINE_MAX);
    str signature;
    if (smtp_client_class(c) == 2) /* RFC 4954 4: no data with success; then nothing is proved */
        return ERR_AUTH;
    TRY(challenge(c, &in));
    TRY(scram_server_final_parse(a, buf_str(&in), &signature));
    if (!str_eq_secret(signature, str_of(s->server_signature, 32)))
        return ERR_AUTH; /* it does not know the password: not our smart host */
    BUF_AUTO struct buf nothing = BUF_INIT(16);
    TRY(say(c, "", &nothing));
    return outcome(c);
}

static enum err scram(struct smtp_client *c, str login, str password) WAITS
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    BUF_AUTO struct buf first = BUF_INIT(SASL_LINE_MAX / 2);
    BUF_AUTO struct buf in = BUF_INIT(SASL_LINE_MAX);
    BUF_AUTO struct buf nonce = BUF_INIT(64);
    struct scram s = {.auth_message = BUF_INIT(3 * SASL_LINE_MAX)};
    uint8_t random[18];
    rand_bytes(random, sizeof(random));
    code_base64(&nonce, str_of(random, sizeof(random)));
    scram_client_first_render(&first, "n,,", login, buf_str(&nonce));
    buf_add(&s.auth_message, str_skip(buf_str(&first), 3)); /* without the gs2 header */
    enum err e = say(c, "AUTH SCRAM-SHA-256 ", &first);
    struct scram_server_first server = {0};
    if (e == ERR_OK)
        e = challenge(c, &in);
    if (e == ERR_OK)
        e = scram_server_first_parse(&a, buf_str(&in), &server);
    if (e == ERR_OK && (!str_starts(server.nonce, buf_str(&nonce)) ||
                        server.nonce.len <= nonce.len || server.iterations > ITERATIONS_MAX))
        e = ERR_AUTH;
    if (e == ERR_OK) {
        BUF_AUTO struct buf final = BUF_INIT(SASL_LINE_MAX / 2);
        buf_addf(&final, "c=biws,r=%.*s", STR_ARG(server.nonce));
        buf_addf(&s.auth_message, ",%.*s,%.*s", STR_ARG(buf_str(&in)), STR_ARG(buf_str(&final)));
        if (!buf_ok(&s.auth_message) || !scram_compute(&s, password, &server))
            e = ERR_LIMIT;
        buf_add_c(&final, ",p=");
        code_base64(&final, str_of(s.proof, sizeof(s.proof)));
        if (e == ERR_OK)
            e = say(c, "", &final);
    }
    if (e == ERR_OK)
        e = scram_final(c, &s, &a);
    buf_free(&s.auth_message);
    return e;
}

enum err smtp_client_auth(struct smtp_client *c, str login, str password)
{
    struct address peer;
    bool here = sock_peer(stream_fd(c->stream), &peer) == ERR_OK && address_is_loopback(&peer);
    bool private = stream_is_tls(c->stream) || here;
    if (c->ehlo.mechs & SMTP_MECH_SCRAM_SHA_256)
        return scram(c, login, password);
    if (private && (c->ehlo.mechs & SMTP_MECH_PLAIN))
        return plain(c, login, password);
    if (private && (c->ehlo.mechs & SMTP_MECH_LOGIN))
        return login_method(c, login, password);
    return ERR_UNSUPPORTED;
}
