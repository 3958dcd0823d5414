/* SPDX-License-Identifier: Apache-2.0
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 */
#include <assert.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "net/stream_private.h"
#include "net/tls_private.h"
#include "os/sock_io.h"

#define HELD_MAX 65536 /* bytes; a certificate chain with all of a flight */

/* --- OpenSSL's view of the socket: our own calls, so that nothing raises SIGPIPE --- */

static int bio_result(BIO *b, struct stream *s, enum err e, size_t n, int retry)
{
    BIO_clear_retry_flags(b);
    if (e == ERR_OK)
        return (int)n;
    if (e == ERR_BUSY)
        BIO_set_flags(b, retry | BIO_FLAGS_SHOULD_RETRY);
    else
        s->io_error = e;
    return e == ERR_EOF ? 0 : -1;
}

static int bio_read(BIO *b, char *out, int len)
{
    struct stream *s = BIO_get_data(b);
    size_t got;
    if (len <= 0)
        return 0;
    if (s->hello.len > 0) {
        got = MIN((size_t)len, s->hello.len);
        memcpy(out, s->hello.data, got);
        buf_consume(&s->hello, got);
        if (s->hello.len == 0)
            buf_free(&s->hello);
        return bio_result(b, s, ERR_OK, got, 0);
    }
    enum err e = stream_socket_read(s, out, (size_t)len, &got);
    return bio_result(b, s, e, got, BIO_FLAGS_READ);
}

/* What is held goes first; *sent counts bytes of the part. ERR_BUSY: none of it. */
static enum err write_with_held(struct stream *s, str part, size_t *sent)
{
    str parts[] = {buf_str(&s->held), part};
    bool held = s->held.len > 0;
    TRY(sock_try_write(s->watch.fd, held ? parts : parts + 1, held ? 2 : 1, sent));
    if (!held)
        return ERR_OK;
    size_t of_held = MIN(*sent, s->held.len);
    buf_consume(&s->held, of_held);
    *sent -= of_held;
    if (s->held.len == 0)
        buf_free(&s->held);
    return *sent > 0 || part.len == 0 ? ERR_OK : ERR_BUSY;
}

static int bio_write(BIO *b, const char *data, int len)
{
    struct stream *s = BIO_get_data(b);
    size_t sent = 0;
    if (len <= 0)
        return 0;
    str part = str_of(data, (size_t)len);
    if (s->holding && s->held.len < HELD_MAX / 2) {
        buf_add(&s->held, part);
        return buf_ok(&s->held) ? len : -1;
    }
    enum err e = write_with_held(s, part, &sent);
    return bio_result(b, s, e, sent, BIO_FLAGS_WRITE);
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    const struct stream *s = BIO_get_data(b);
    if (cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP)
        return 1;
    if (cmd == BIO_CTRL_EOF)
        return s && s->io_error == ERR_EOF;
    return 0;
}

static BIO_METHOD *bio_method;
void stream_tls_init(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    assert(m);
    (void)BIO_meth_set_read(m, bio_read);
    (void)BIO_meth_set_write(m, bio_write);
    (void)BIO_meth_set_ctrl(m, bio_ctrl);
    bio_method = m;
}

/* --- reading and writing --- */

/* What a failed SSL call means; ERR_BUSY fills in *want. */
static enum err tls_error(struct stream *s, int r, int *want)
{
    switch (SSL_get_error(s->ssl, r)) {
    case SSL_ERROR_WANT_READ:
        *want = WAIT_READ;
        return ERR_BUSY;
    case SSL_ERROR_WANT_WRITE:
        *want = WAIT_WRITE;
        return ERR_BUSY;
    case SSL_ERROR_ZERO_RETURN:
        return ERR_EOF;
    default:
        s->tls_open = false;
        return s->io_error != ERR_OK && ERR_peek_error() == 0 ? s->io_error : ERR_TLS;
    }
}

enum err stream_tls_read(struct stream *s, void *out, size_t len, size_t *got, int *want)
{
    ERR_clear_error();
    int r = SSL_read_ex(s->ssl, out, len, got);
    enum err e = r > 0 ? ERR_OK : tls_error(s, r, want);
    s->drained = e == ERR_BUSY && *want == WAIT_READ;
    return e;
}

enum err stream_tls_write(struct stream *s, str bytes, size_t *sent, int *want)
{
    ERR_clear_error();
    int r = SSL_write_ex(s->ssl, bytes.data, bytes.len, sent);
    return r > 0 ? ERR_OK : tls_error(s, r, want);
}

bool stream_tls_has_pending(const struct stream *s)
{
    return s->hello.len > 0 || SSL_has_pending(s->ssl) == 1;
}

void stream_tls_end_write(struct stream *s)
{
    if (!s->tls_open)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(s->ssl);
}

void stream_tls_free(struct stream *s)
{
    buf_free(&s->held);
    SSL_free(s->ssl);
    s->ssl = NULL;
}

/* --- the handshake --- */

static enum err send_held(struct stream *s) WAITS
{
    while (s->held.len > 0) {
        size_t sent;
        enum err e = write_with_held(s, STR_NONE, &sent);
        if (e == ERR_BUSY || (e == ERR_OK && s->held.len > 0))
            e = stream_raw_wait(s, WAIT_WRITE, s->write_ms);
        TRY(e);
    }
    return ERR_OK;
}

/* As the server a flight is one write, and in TLS 1.3 the tickets behind the last flight, for which
 * no client waits, go out together with what the session says first. */
static enum err handshake_once(struct stream *s, int *want) WAITS
{
    ERR_clear_error();
    s->holding = SSL_is_server(s->ssl) == 1;
    int r = SSL_do_handshake(s->ssl);
    enum err e = r == 1 ? ERR_OK : tls_error(s, r, want);
    s->holding = false;
    if (r == 1 && SSL_version(s->ssl) >= TLS1_3_VERSION)
        return ERR_OK;
    enum err sent = send_held(s);
    return e == ERR_OK || e == ERR_BUSY ? (sent == ERR_OK ? e : sent) : e;
}

static enum err handshake(struct stream *s) WAITS
{
    for (;;) {
        int want;
        enum err e = handshake_once(s, &want);
        if (e == ERR_OK)
            return ERR_OK;
        if (e == ERR_BUSY)
            e = stream_raw_wait(s, want, s->read_ms);
        if (e != ERR_OK)
            return e;
        if (s->error != ERR_OK)
            return s->error;
    }
}

static void log_failure(const struct stream *s, enum err e)
{
    char peer[ADDRESS_TEXT_MAX], reason[160] = "";
    unsigned long code = ERR_peek_error();
    if (code)
        ERR_error_string_n(code, reason, sizeof reason);
    LOG_INFO("tls", "handshake failed peer=%s cause=%s reason=%s", address_text(&s->peer, peer),
             err_name(e), reason);
}

/* rule: wire-2. What came before the handshake in the clear must not be taken for what came after.
 */
static enum err may_start(struct stream *s)
{
    if (s->error != ERR_OK)
        return s->error;
    if (s->ssl || s->z || s->in.len > s->in_at)
        return stream_stick(s, ERR_INVALID);
    return stream_flush(s);
}

static enum err attach(struct stream *s, SSL_CTX *ctx)
{
    BIO *b = bio_method ? BIO_new(bio_method) : NULL;
    SSL *ssl = SSL_new(ctx);
    if (!b || !ssl) {
        BIO_free(b);
        SSL_free(ssl);
        return stream_stick(s, ERR_NOMEM);
    }
    BIO_set_data(b, s);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    s->ssl = ssl;
    s->held = BUF_INIT(HELD_MAX);
    return ERR_OK;
}

static enum err run_handshake(struct stream *s)
{
    s->io_error = ERR_OK;
    enum err e = handshake(s);
    s->tls_open = e == ERR_OK;
    if (e == ERR_OK)
        return ERR_OK;
    log_failure(s, e);
    return stream_stick(s, e);
}

enum err stream_start_tls_server(struct stream *s, struct tls_server *t)
{
    TRY(may_start(s));
    struct tls_set *set = tls_server_set_get(t);
    enum err e = attach(s, tls_set_default(set));
    if (e == ERR_OK) {
        SSL_set_accept_state(s->ssl);
        (void)SSL_set_app_data(s->ssl, set);
        e = run_handshake(s);
        (void)SSL_set_app_data(s->ssl, NULL);
    }
    tls_set_put(set);
    return e;
}

enum err stream_start_tls_server_seen(struct stream *s, struct tls_server *t)
{
    str seen = stream_buffered(s);
    s->hello = BUF_INIT(s->in_max);
    buf_add(&s->hello, seen);
    if (!buf_ok(&s->hello))
        return stream_stick(s, ERR_NOMEM);
    stream_skip(s, seen.len);
    return stream_start_tls_server(s, t);
}

enum err stream_start_tls_client(struct stream *s, struct tls_client *t, str host_name)
{
    TRY(may_start(s));
    TRY(attach(s, tls_client_context(t)));
    SSL_set_connect_state(s->ssl);
    enum err e = tls_client_prepare(t, s->ssl, host_name);
    if (e != ERR_OK)
        return stream_stick(s, e);
    return run_handshake(s);
}

enum err stream_start_tls_expect(struct stream *s, struct tls_client *t,
                                 const struct tls_expect *expect)
{
    if (expect->ndane == 0)
        return stream_start_tls_client(s, t, expect->name);
    TRY(may_start(s));
    TRY(attach(s, tls_client_context(t)));
    SSL_set_connect_state(s->ssl);
    enum err e = tls_client_prepare_dane(s->ssl, expect);
    if (e == ERR_UNSUPPORTED)
        stream_tls_free(s);
    if (e != ERR_OK)
        return e == ERR_UNSUPPORTED ? e : stream_stick(s, e);
    return run_handshake(s);
}

bool stream_is_tls(const struct stream *s) { return s->ssl != NULL; }

enum tls_fault stream_tls_fault(const struct stream *s)
{
    long result = s->ssl ? SSL_get_verify_result(s->ssl) : X509_V_OK;
    switch (result) {
    case X509_V_OK:
        return TLS_FAULT_OTHER;
    case X509_V_ERR_DANE_NO_MATCH:
        return TLS_FAULT_DANE;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_FAULT_NAME;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_FAULT_DATE;
    default:
        return TLS_FAULT_TRUST;
    }
}

/* --- what was agreed --- */

static char *name_dup(const unsigned char *data, int len)
{
    if (!data || len <= 0 || memchr(data, 0, (size_t)len))
        return NULL;
    return strndup((const char *)data, (size_t)len);
}

/* The RFC822 subjectAltName, else the subject's common name. */
static char *certificate_name(X509 *x)
{
    char *name = NULL;
    GENERAL_NAMES *alt = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; !name && i < sk_GENERAL_NAME_num(alt); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(alt, i);
        if (g->type == GEN_EMAIL)
            name = name_dup(ASN1_STRING_get0_data(g->d.rfc822Name),
                            ASN1_STRING_length(g->d.rfc822Name));
    }
    GENERAL_NAMES_free(alt);
    if (name)
        return name;
    X509_NAME *subject = X509_get_subject_name(x);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    unsigned char *utf8 = NULL;
    int len = at < 0 ? -1
                     : ASN1_STRING_to_UTF8(
                           &utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    name = name_dup(utf8, len);
    OPENSSL_free(utf8);
    return name;
}

static str client_name(struct stream *s)
{
    X509 *x = SSL_is_server(s->ssl) ? SSL_get0_peer_certificate(s->ssl) : NULL;
    if (!s->client_name && x && SSL_get_verify_result(s->ssl) == X509_V_OK)
        s->client_name = certificate_name(x);
    return str_c(s->client_name);
}

void stream_tls_info(const struct stream *s, struct stream_tls_info *out)
{
    *out = (struct stream_tls_info){.version = "", .cipher = ""};
    if (!s->ssl)
        return;
    const unsigned char *alpn;
    unsigned alpn_len;
    SSL_get0_alpn_selected(s->ssl, &alpn, &alpn_len);
    out->version = SSL_get_version(s->ssl);
    out->cipher = SSL_get_cipher_name(s->ssl);
    out->server_name = str_c(SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name));
    out->alpn = str_of(alpn, alpn_len);
    /* The name is only kept, never changed: const for the caller. */
    out->client_certificate_name = client_name((struct stream *)(uintptr_t)s);
    out->resumed = SSL_session_reused(s->ssl) == 1;
}

enum err stream_channel_binding(struct stream *s, str type, struct buf *out)
{
    if (!s->ssl || !s->tls_open)
        return ERR_UNSUPPORTED;
    if (str_eq(type, STR("tls-exporter"))) {
        static const char label[] = "EXPORTER-Channel-Binding"; /* RFC 9266 2 */
        unsigned char key[32];
        if (SSL_version(s->ssl) < TLS1_3_VERSION ||
            SSL_export_keying_material(s->ssl, key, sizeof key, label, sizeof label - 1, NULL, 0,
                                       1) != 1)
            return ERR_UNSUPPORTED;
        buf_add(out, str_of(key, sizeof key));
    } else if (str_eq(type, STR("tls-server-end-point"))) {
        TRY(tls_end_point(s->ssl, out));
    } else {
        return ERR_UNSUPPORTED;
    }
    return buf_ok(out) ? ERR_OK : ERR_NOMEM;
}
