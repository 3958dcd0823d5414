/* SPDX-License-Identifier: Apache-2.0
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 * tidy: allow system because certificate sets are shared by threads
 */
#include "net/tls.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/num.h"
#include "net/tls_private.h"
#include "os/clock.h"
#include "os/rand.h"

/* Forward secrecy and AEAD only; ECDSA before RSA because it is cheaper to sign. */
#define CIPHERS_TLS12                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_TLS13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
/* Old mail servers that we only talk to without verification may know no better. */
#define CIPHERS_CLIENT CIPHERS_TLS12 ":DHE+AESGCM:ECDHE+AES:RSA+AESGCM:!aNULL"
#define GROUPS "X25519:P-256:P-384"
#define SIGNATURES                                                                                 \
    "ECDSA+SHA256:ECDSA+SHA384:ed25519:RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:"              \
    "RSA+SHA256:RSA+SHA384:RSA+SHA512"
#define NAMES_MAX 100000
#define CERTIFICATES_MAX 10000
enum { DANE_TA = 2, DANE_EE = 3 }; /* RFC 7218 2.1 */
#define CLIENT_SESSIONS_MAX 256
#define ALPN_MAX 255

struct tls_set {
    atomic_size_t refs;
    struct tls_server *server;
    SSL_CTX **contexts; /* the first is the default */
    size_t count;
    struct map names; /* nocase; name to SSL_CTX, borrowed from contexts */
};
struct tls_server {
    pthread_mutex_t lock; /* of set */
    struct tls_set *set;
    const struct tls_signer *signer; /* or NULL */
    struct tls_tickets *tickets;
    unsigned char alpn[ALPN_MAX]; /* as on the wire */
    size_t alpn_len;
    struct buf client_ca;
};
struct tls_client {
    SSL_CTX *ctx;
    enum tls_verify verify;
    pthread_mutex_t lock; /* of sessions */
    struct map sessions;  /* host name to SSL_SESSION */
};

/* Made before the roles are forked, so that they are the same in all of them. */
static struct tls_tickets *process_tickets;

static void tickets_init(void)
{
    unsigned char seed[TLS_TICKETS_SEED];
    rand_bytes(seed, sizeof seed);
    process_tickets = tls_tickets_new(seed, clock_mono_ms());
    assert(process_tickets);
    OPENSSL_cleanse(seed, sizeof seed);
}

void tls_turn(void)
{
    tls_init();
    tls_tickets_turn(process_tickets, clock_mono_ms());
}

static void init_once(void)
{
    /* Everything that would open a file or look for a module later is done here. */
    int ok = OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
                                  OPENSSL_INIT_ADD_ALL_CIPHERS | OPENSSL_INIT_ADD_ALL_DIGESTS |
                                  OPENSSL_INIT_NO_LOAD_CONFIG,
                              NULL);
    assert(ok == 1);
    unsigned char seed[16];
    ok = RAND_bytes(seed, sizeof seed) == 1 && RAND_priv_bytes(seed, sizeof seed) == 1;
    assert(ok);
    SSL_CTX *warm = SSL_CTX_new(TLS_method()); /* activates the default provider */
    assert(warm);
    SSL_CTX_free(warm);
    stream_tls_init();
    tls_remote_init();
    tickets_init();
}

void tls_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int e = pthread_once(&once, init_once);
    assert(e == 0);
}

static void log_openssl(const char *what, size_t index)
{
    char reason[160] = "no reason given";
    unsigned long code = ERR_get_error();
    if (code)
        ERR_error_string_n(code, reason, sizeof reason);
    LOG_ERROR("tls", "%s number=%zu reason=%s", what, index + 1, reason);
    ERR_clear_error();
}

static SSL_CTX *context_new(const SSL_METHOD *method, const char *ciphers)
{
    SSL_CTX *c = SSL_CTX_new(method);
    if (!c)
        return NULL;
    (void)SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(c, 1); /* fewer reads; the buffer is released when it is empty */
    SSL_CTX_set_verify_depth(c, 8);
    if (SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(c, ciphers) != 1 ||
        SSL_CTX_set_ciphersuites(c, CIPHERS_TLS13) != 1 ||
        SSL_CTX_set1_groups_list(c, GROUPS) != 1) {
        SSL_CTX_free(c);
        return NULL;
    }
    return c;
}

/* --- server --- */

static SSL_CTX *find_name(struct tls_set *set, str name)
{
    SSL_CTX *c = map_get(&set->names, name);
    size_t dot = str_find_char(name, '.');
    if (c || dot == STR_NPOS)
        return c;
    char wild[256];
    str rest = str_skip(name, dot);
    if (rest.len + 1 > sizeof wild)
        return NULL;
    wild[0] = '*'; /* RFC 6125 6.4.3: the whole left-most label */
    memcpy(wild + 1, rest.data, rest.len);
    return map_get(&set->names, str_of(wild, rest.len + 1));
}

static int server_name(SSL *ssl, int *alert, void *unused)
{
    struct tls_set *set = SSL_get_app_data(ssl);
    str name = str_c(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    SSL_CTX *c = set && name.len > 0 ? find_name(set, name) : NULL;
    if (c)
        (void)SSL_set_SSL_CTX(ssl, c);
    return name.len > 0 ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *unused)
{
    const struct tls_set *set = SSL_get_app_data(ssl);
    if (!set || set->server->alpn_len == 0)
        return SSL_TLSEXT_ERR_NOACK;
    unsigned char *chosen;
    int r = SSL_select_next_proto(&chosen, out_len, set->server->alpn,
                                  (unsigned)set->server->alpn_len, in, in_len);
    *out = chosen;
    /* RFC 7301 3.2: a client for another protocol is sent away, which also stops cross-protocol
     * attacks. */
    return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A client certificate that does not verify is no error: the client just has no name by it. */
static int accept_any(int ok, X509_STORE_CTX *ctx) { return 1; }

static bool store_add_pem(X509_STORE *store, str pem)
{
    BIO *b = BIO_new_mem_buf(pem.data, (int)pem.len);
    size_t count = 0;
    for (X509 *x; b && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)); X509_free(x))
        count += X509_STORE_add_cert(store, x) == 1;
    BIO_free(b);
    ERR_clear_error(); /* the end of the text is reported as an error */
    return count > 0;
}

/* Clients choose among their certificates by these. */
static STACK_OF(X509_NAME) * names_of(str pem)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    BIO *b = BIO_new_mem_buf(pem.data, (int)pem.len);
    for (X509 *x; names && b && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)); X509_free(x)) {
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));
        if (!name || sk_X509_NAME_push(names, name) <= 0)
            X509_NAME_free(name);
    }
    BIO_free(b);
    ERR_clear_error();
    return names;
}

/* ca_pem empty: none is asked. */
static bool ask_clients(SSL_CTX *c, str ca_pem)
{
    bool ask = ca_pem.len > 0;
    X509_STORE *store = X509_STORE_new();
    if (!store || (ask && !store_add_pem(store, ca_pem))) {
        X509_STORE_free(store);
        return false;
    }
    SSL_CTX_set_cert_store(c, store); /* owns it */
    SSL_CTX_set_client_CA_list(c, names_of(ca_pem));
    SSL_CTX_set_verify(c, ask ? SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE : SSL_VERIFY_NONE,
                       ask ? accept_any : NULL);
    return true;
}

static SSL_CTX *server_context_new(struct tls_server *t)
{
    static const unsigned char id[] = "posthouse";
    SSL_CTX *c = context_new(TLS_server_method(), CIPHERS_TLS12);
    if (!c)
        return NULL;
    (void)SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    tls_tickets_attach(c);
    (void)SSL_CTX_set_tlsext_servername_callback(c, server_name);
    SSL_CTX_set_alpn_select_cb(c, choose_alpn, NULL);
    if (SSL_CTX_set_session_id_context(c, id, sizeof id - 1) != 1 ||
        SSL_CTX_set1_sigalgs_list(c, SIGNATURES) != 1 ||
        (t->client_ca.len > 0 && !ask_clients(c, buf_str(&t->client_ca)))) {
        SSL_CTX_free(c);
        return NULL;
    }
    return c;
}

static void set_free(struct tls_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        SSL_CTX_free(set->contexts[i]);
    free(set->contexts);
    map_free(&set->names);
    free(set);
}

void tls_set_put(struct tls_set *set)
{
    if (set && atomic_fetch_sub(&set->refs, 1) == 1)
        set_free(set);
}

struct tls_set *tls_server_set_get(struct tls_server *t)
{
    pthread_mutex_lock(&t->lock);
    struct tls_set *set = t->set;
    atomic_fetch_add(&set->refs, 1);
    pthread_mutex_unlock(&t->lock);
    return set;
}

SSL_CTX *tls_set_default(struct tls_set *set) { return set->contexts[0]; }

struct tls_tickets *tls_set_tickets(const struct tls_set *set) { return set->server->tickets; }

static str dns_name(const GENERAL_NAMES *names, int i)
{
    const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
    if (g->type != GEN_DNS)
        return STR_NONE;
    return str_of(ASN1_STRING_get0_data(g->d.dNSName), (size_t)ASN1_STRING_length(g->d.dNSName));
}

static int key_kind(X509 *leaf) { return EVP_PKEY_get_base_id(X509_get0_pubkey(leaf)); }

static bool has_kind(SSL_CTX *c, int kind)
{
    bool found = false;
    for (long more = SSL_CTX_set_current_cert(c, SSL_CERT_SET_FIRST); more == 1 && !found;
         more = SSL_CTX_set_current_cert(c, SSL_CERT_SET_NEXT))
        found = key_kind(SSL_CTX_get0_certificate(c)) == kind;
    return found;
}

/* A context that already serves all of these names with the other kind of key (so that one
 * handshake can offer ECDSA and RSA), or NULL. */
static SSL_CTX *context_for(struct tls_set *set, const struct tls_pair *c)
{
    SSL_CTX *found = NULL;
    for (int i = 0; i < sk_GENERAL_NAME_num(c->names); i++) {
        str name = dns_name(c->names, i);
        SSL_CTX *has = name.len > 0 ? map_get(&set->names, name) : found;
        if (i > 0 && has != found)
            return NULL;
        found = has;
    }
    return found && !has_kind(found, key_kind(c->leaf)) ? found : NULL;
}

static bool set_add_names(struct tls_set *set, const struct tls_pair *c, SSL_CTX *ctx)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(c->names); i++) {
        str name = dns_name(c->names, i);
        if (name.len == 0 || map_get(&set->names, name))
            continue; /* the first certificate for a name wins */
        if (map_put(&set->names, name, ctx, NULL) != ERR_OK)
            return false;
    }
    return true;
}

static bool set_add(struct tls_set *set, const struct tls_certificate *in)
{
    struct tls_pair c;
    bool ok = tls_pair_parse(in, set->server->signer, &c);
    SSL_CTX *ctx = ok ? context_for(set, &c) : NULL;
    if (ok && !ctx) {
        ctx = server_context_new(set->server);
        ok = ctx != NULL;
        if (ok)
            set->contexts[set->count++] = ctx;
    }
    ok = ok && SSL_CTX_use_cert_and_key(ctx, c.leaf, c.key, c.chain, 1) == 1 &&
         set_add_names(set, &c, ctx);
    tls_pair_free(&c);
    return ok;
}

static enum err set_build(struct tls_server *t, const struct tls_certificate *certs, size_t ncerts,
                          struct tls_set **out)
{
    if (ncerts == 0 || ncerts > CERTIFICATES_MAX)
        return ERR_INVALID;
    struct tls_set *set = calloc(1, sizeof *set);
    if (!set || !(set->contexts = calloc(ncerts, sizeof(SSL_CTX *)))) {
        free(set);
        return ERR_NOMEM;
    }
    atomic_init(&set->refs, 1);
    set->server = t;
    map_init_nocase(&set->names, NAMES_MAX);
    for (size_t i = 0; i < ncerts; i++) {
        if (set_add(set, &certs[i]))
            continue;
        log_openssl("certificate or key not usable", i);
        set_free(set);
        return ERR_INVALID;
    }
    *out = set;
    return ERR_OK;
}

enum err tls_server_open(const struct tls_certificate *certs, size_t ncerts,
                         const struct tls_signer *signer, struct tls_server **out)
{
    tls_init();
    *out = NULL;
    struct tls_server *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    pthread_mutex_init(&t->lock, NULL);
    t->signer = signer;
    t->client_ca = BUF_INIT(1u << 20);
    t->tickets = process_tickets;
    enum err e = set_build(t, certs, ncerts, &t->set);
    if (e != ERR_OK) {
        tls_server_close(t);
        return e;
    }
    *out = t;
    return ERR_OK;
}

enum err tls_server_reload(struct tls_server *t, const struct tls_certificate *certs, size_t ncerts)
{
    struct tls_set *set;
    TRY(set_build(t, certs, ncerts, &set));
    pthread_mutex_lock(&t->lock);
    struct tls_set *old = t->set;
    t->set = set;
    pthread_mutex_unlock(&t->lock);
    tls_set_put(old);
    return ERR_OK;
}

void tls_server_set_alpn(struct tls_server *t, const str *names, size_t n)
{
    t->alpn_len = 0;
    for (size_t i = 0; i < n; i++) {
        assert(names[i].len > 0 && t->alpn_len + names[i].len + 1 <= ALPN_MAX);
        t->alpn[t->alpn_len] = (unsigned char)names[i].len;
        memcpy(t->alpn + t->alpn_len + 1, names[i].data, names[i].len);
        t->alpn_len += names[i].len + 1;
    }
}

enum err tls_server_set_client_ca(struct tls_server *t, str ca_pem)
{
    for (size_t i = 0; i < t->set->count; i++)
        if (!ask_clients(t->set->contexts[i], ca_pem))
            return ERR_INVALID; /* the first says so, before any is changed */
    buf_reset(&t->client_ca);
    buf_add(&t->client_ca, ca_pem);
    return buf_ok(&t->client_ca) ? ERR_OK : ERR_NOMEM;
}

void tls_server_close(struct tls_server *t)
{
    if (!t)
        return;
    tls_set_put(t->set);
    buf_free(&t->client_ca);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* --- client --- */

static void sessions_forget(struct tls_client *t)
{
    void *session;
    for (size_t i = 0; map_next(&t->sessions, &i, NULL, &session);)
        SSL_SESSION_free(session);
    map_free(&t->sessions);
    map_init_nocase(&t->sessions, CLIENT_SESSIONS_MAX);
}

/* Keeps the newest session of each host. */
static int session_new(SSL *ssl, SSL_SESSION *session)
{
    struct tls_client *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    str host = str_c(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    void *old = NULL;
    if (host.len == 0)
        return 0;
    pthread_mutex_lock(&t->lock);
    if (t->sessions.count >= CLIENT_SESSIONS_MAX)
        sessions_forget(t);
    enum err e = map_put(&t->sessions, host, session, &old);
    pthread_mutex_unlock(&t->lock);
    SSL_SESSION_free(old);
    return e == ERR_OK;
}

static bool load_roots(X509_STORE *store, str ca_pem)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                        "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};
    if (ca_pem.len > 0)
        return store_add_pem(store, ca_pem);
    const char *set = getenv(X509_get_default_cert_file_env());
    if (set && X509_STORE_load_file(store, set) == 1)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (X509_STORE_load_file(store, files[i]) == 1)
            return true;
    return false;
}

enum err tls_client_open(enum tls_verify verify, str ca_pem, struct tls_client **out)
{
    tls_init();
    *out = NULL;
    struct tls_client *t = calloc(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->verify = verify;
    pthread_mutex_init(&t->lock, NULL);
    map_init_nocase(&t->sessions, CLIENT_SESSIONS_MAX);
    t->ctx = context_new(TLS_client_method(),
                         verify == TLS_VERIFY_NONE ? CIPHERS_CLIENT : CIPHERS_TLS12);
    enum err e = t->ctx ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK && verify != TLS_VERIFY_NONE &&
        !load_roots(SSL_CTX_get_cert_store(t->ctx), ca_pem)) {
        log_openssl("no trusted root certificates", 0);
        e = ERR_INVALID;
    }
    if (e != ERR_OK) {
        tls_client_close(t);
        return e;
    }
    if (SSL_CTX_dane_enable(t->ctx) != 1) {
        tls_client_close(t);
        return ERR_NOMEM;
    }
    (void)SSL_CTX_set_app_data(t->ctx, t);
    (void)SSL_CTX_set_session_cache_mode(t->ctx,
                                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(t->ctx, session_new);
    SSL_CTX_set_verify(t->ctx, verify == TLS_VERIFY_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    *out = t;
    return ERR_OK;
}

void tls_client_close(struct tls_client *t)
{
    if (!t)
        return;
    sessions_forget(t);
    map_free(&t->sessions);
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

SSL_CTX *tls_client_context(struct tls_client *t) { return t->ctx; }

enum err tls_client_prepare(struct tls_client *t, SSL *ssl, str host_name)
{
    char host[256];
    if (host_name.len >= sizeof host || str_find_char(host_name, 0) != STR_NPOS)
        return ERR_INVALID;
    if (host_name.len > 0)
        memcpy(host, host_name.data, host_name.len);
    host[host_name.len] = 0;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_time(param, (time_t)clock_wall_s()); /* rule: wire-8 */
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (host_name.len == 0)
        return t->verify == TLS_VERIFY_NAME ? ERR_INVALID : ERR_OK;
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return ERR_OK; /* an address literal: no SNI (RFC 6066 3) */
    ERR_clear_error();
    if (SSL_set_tlsext_host_name(ssl, host) != 1 ||
        X509_VERIFY_PARAM_set1_host(param, host, host_name.len) != 1)
        return ERR_NOMEM;
    pthread_mutex_lock(&t->lock);
    SSL_SESSION *session = map_get(&t->sessions, host_name);
    if (session && SSL_SESSION_is_resumable(session))
        (void)SSL_set_session(ssl, session);
    pthread_mutex_unlock(&t->lock);
    return ERR_OK;
}

static bool add_dane_names(SSL *ssl, const struct tls_expect *expect)
{
    char host[256];
    for (size_t i = 0; i < expect->nnames; i++) {
        str name = expect->names[i];
        if (name.len == 0 || name.len >= sizeof host)
            continue;
        memcpy(host, name.data, name.len);
        host[name.len] = 0;
        if (SSL_add1_host(ssl, host) != 1)
            return false;
    }
    return true;
}

/* RFC 7672 3.1: usages 2 and 3 only; 3.1.1: with 3 neither names nor dates count. A session is
 * never resumed here: it may come from a handshake that proved nothing. */
enum err tls_client_prepare_dane(SSL *ssl, const struct tls_expect *expect)
{
    char host[256];
    size_t usable = 0;
    if (expect->name.len == 0 || expect->name.len >= sizeof host)
        return ERR_INVALID;
    memcpy(host, expect->name.data, expect->name.len);
    host[expect->name.len] = 0;
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_time(param, (time_t)clock_wall_s());
    if (SSL_dane_enable(ssl, host) <= 0 || !add_dane_names(ssl, expect))
        return ERR_NOMEM;
    (void)SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    for (size_t i = 0; i < expect->ndane; i++) {
        const struct tls_dane_record *r = &expect->dane[i];
        if (r->usage != DANE_TA && r->usage != DANE_EE)
            continue;
        usable += SSL_dane_tlsa_add(ssl, r->usage, r->selector, r->matching,
                                    (const unsigned char *)r->data.data, r->data.len) > 0;
    }
    ERR_clear_error();
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return usable > 0 ? ERR_OK : ERR_UNSUPPORTED;
}
