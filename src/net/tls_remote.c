/* SPDX-License-Identifier: Apache-2.0
 *
 * A private key that is elsewhere: an OpenSSL provider with three kinds of key (RSA, EC, Ed25519)
 * whose private half is a `struct tls_signer`. libssl asks such a key for a signature over the
 * whole content, the signer's answer comes back while the handshake's fiber waits inside of the
 * call (docs/decisions/007-keys.md). The provider lives in a library context of its own, so that
 * nobody else's look-up of "RSA" finds it.
 *
 * tidy: allow alloc because keys live and die one by one
 */
#include <assert.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "net/tls_private.h"

#define PARAM_KEY "posthouse-key" /* a struct remote_origin, when a key is made */
typedef void (*remote_fn)(void);

struct remote_origin {
    EVP_PKEY *public;
    const struct tls_signer *signer;
    uint8_t id[TLS_KEY_ID_BYTES];
};

/* ---- keys ---- */

static void *key_new(void *provider) { return calloc(1, sizeof(struct remote_origin)); }

static void key_free(void *key)
{
    struct remote_origin *k = key;
    if (k)
        EVP_PKEY_free(k->public);
    free(k);
}

static int key_has(const void *key, int selection) { return 1; }

static int key_match(const void *one, const void *other, int selection)
{
    const struct remote_origin *a = one, *b = other;
    return EVP_PKEY_eq(a->public, b->public) == 1;
}

static int key_import(void *key, int selection, const OSSL_PARAM params[])
{
    struct remote_origin *k = key, from;
    void *bytes = &from;
    size_t len;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, PARAM_KEY);
    if (!p || OSSL_PARAM_get_octet_string(p, &bytes, sizeof from, &len) != 1 ||
        len != sizeof from || EVP_PKEY_up_ref(from.public) != 1)
        return 0;
    *k = from;
    return 1;
}

static const OSSL_PARAM *key_import_types(int selection)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_octet_string(PARAM_KEY, NULL, 0), OSSL_PARAM_END};
    return types;
}

/* The public half only: it is what a certificate is compared with. Whoever asks for more must come
 * to this provider. */
static int key_export(void *key, int selection, OSSL_CALLBACK *take, void *arg)
{
    const struct remote_origin *k = key;
    if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY)
        return 0;
    return EVP_PKEY_export(k->public, selection, take, arg);
}

static const OSSL_PARAM *key_export_types(int selection)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_END,
    };
    return types;
}

static int key_get_params(void *key, OSSL_PARAM params[])
{
    const struct remote_origin *k = key;
    return EVP_PKEY_get_params(k->public, params);
}

static const OSSL_PARAM *key_gettable_params(void *provider)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
        OSSL_PARAM_END,
    };
    return types;
}

static const OSSL_DISPATCH key_functions[] = {
    {OSSL_FUNC_KEYMGMT_NEW, (remote_fn)key_new},
    {OSSL_FUNC_KEYMGMT_FREE, (remote_fn)key_free},
    {OSSL_FUNC_KEYMGMT_HAS, (remote_fn)key_has},
    {OSSL_FUNC_KEYMGMT_MATCH, (remote_fn)key_match},
    {OSSL_FUNC_KEYMGMT_IMPORT, (remote_fn)key_import},
    {OSSL_FUNC_KEYMGMT_IMPORT_TYPES, (remote_fn)key_import_types},
    {OSSL_FUNC_KEYMGMT_EXPORT, (remote_fn)key_export},
    {OSSL_FUNC_KEYMGMT_EXPORT_TYPES, (remote_fn)key_export_types},
    {OSSL_FUNC_KEYMGMT_GET_PARAMS, (remote_fn)key_get_params},
    {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (remote_fn)key_gettable_params},
    {0, NULL},
};

/* ---- signatures ---- */

struct remote_signing {
    const struct remote_origin *key; /* the EVP_PKEY of the operation holds it */
    char digest[32];                 /* empty: the key's own */
    bool pss;
};

static void *signing_new(void *provider, const char *properties)
{
    return calloc(1, sizeof(struct remote_signing));
}

static void signing_free(void *ctx) { free(ctx); }

static bool is_pss(const OSSL_PARAM *p)
{
    int number;
    if (p->data_type == OSSL_PARAM_UTF8_STRING)
        return str_eq_nocase(str_of(p->data, p->data_size), STR(OSSL_PKEY_RSA_PAD_MODE_PSS));
    return OSSL_PARAM_get_int(p, &number) == 1 && number == RSA_PKCS1_PSS_PADDING;
}

/* A salt as long as the digest is all that RFC 8446 4.2.3 knows. */
static bool is_digest_long(const OSSL_PARAM *p)
{
    int number;
    if (p->data_type == OSSL_PARAM_UTF8_STRING)
        return str_eq_nocase(str_of(p->data, p->data_size), STR(OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST));
    return OSSL_PARAM_get_int(p, &number) == 1 && number == RSA_PSS_SALTLEN_DIGEST;
}

static int signing_set(void *ctx, const OSSL_PARAM params[])
{
    struct remote_signing *s = ctx;
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
    if (p)
        s->pss = is_pss(p);
    p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
    return !p || is_digest_long(p);
}

static const OSSL_PARAM *signing_settable(void *ctx, void *provider)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_END,
    };
    return types;
}

static int signing_begin(void *ctx, const char *digest, void *key, const OSSL_PARAM params[])
{
    struct remote_signing *s = ctx;
    str name = str_c(digest);
    if (!key || name.len >= sizeof s->digest)
        return 0;
    *s = (struct remote_signing){.key = key};
    if (name.len > 0)
        memcpy(s->digest, name.data, name.len);
    return params ? signing_set(ctx, params) : 1;
}

/* Other fibers use the library while this one waits: what they left in the thread's queue of errors
 * must not be taken for this handshake's. */
static enum err ask(const struct remote_signing *s, str content, struct buf *signature) WAITS
{
    uint16_t scheme = tls_scheme_find(EVP_PKEY_get_base_id(s->key->public), s->digest, s->pss);
    if (scheme == 0)
        return ERR_UNSUPPORTED;
    const struct tls_signer *signer = s->key->signer;
    enum err e = signer->sign(signer->ctx, s->key->id, scheme, content, signature);
    ERR_clear_error();
    return e;
}

static int signing_do(void *ctx, unsigned char *out, size_t *out_len, size_t out_size,
                      const unsigned char *content, size_t len)
{
    struct remote_signing *s = ctx;
    int max = EVP_PKEY_get_size(s->key->public);
    if (!out) {
        *out_len = (size_t)MAX(max, 0);
        return max > 0;
    }
    BUF_AUTO struct buf signature = BUF_INIT(TLS_SIGNATURE_MAX);
    enum err e = ask(s, str_of(content, len), &signature);
    if (e == ERR_OK && (!buf_ok(&signature) || signature.len == 0 || signature.len > out_size))
        e = ERR_LIMIT;
    if (e != ERR_OK) {
        LOG_WARN("tls", "no signature for a handshake digest=%s cause=%s", s->digest, err_name(e));
        return 0;
    }
    memcpy(out, signature.data, signature.len);
    *out_len = signature.len;
    return 1;
}

static const OSSL_DISPATCH signing_functions[] = {
    {OSSL_FUNC_SIGNATURE_NEWCTX, (remote_fn)signing_new},
    {OSSL_FUNC_SIGNATURE_FREECTX, (remote_fn)signing_free},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, (remote_fn)signing_begin},
    {OSSL_FUNC_SIGNATURE_DIGEST_SIGN, (remote_fn)signing_do},
    {OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, (remote_fn)signing_set},
    {OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, (remote_fn)signing_settable},
    {0, NULL},
};

/* ---- the provider ---- */

#define PROPERTIES "provider=posthouse"
static const OSSL_ALGORITHM key_kinds[] = {
    {"RSA:rsaEncryption", PROPERTIES, key_functions, NULL},
    {"EC:id-ecPublicKey", PROPERTIES, key_functions, NULL},
    {"ED25519", PROPERTIES, key_functions, NULL},
    {NULL, NULL, NULL, NULL},
};
static const OSSL_ALGORITHM signature_kinds[] = {
    {"RSA:rsaEncryption", PROPERTIES, signing_functions, NULL},
    {"EC:id-ecPublicKey", PROPERTIES, signing_functions, NULL},
    {"ED25519", PROPERTIES, signing_functions, NULL},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
    *no_cache = 0;
    if (operation == OSSL_OP_KEYMGMT)
        return key_kinds;
    return operation == OSSL_OP_SIGNATURE ? signature_kinds : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                         const OSSL_DISPATCH **out, void **ctx)
{
    static const OSSL_DISPATCH functions[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (remote_fn)query}, {0, NULL}};
    *out = functions;
    *ctx = (void *)(uintptr_t)handle; /* any that is not NULL */
    return 1;
}

static OSSL_LIB_CTX *library;

void tls_remote_init(void)
{
    library = OSSL_LIB_CTX_new();
    int ok = library && OSSL_PROVIDER_add_builtin(library, "posthouse", provider_init) == 1 &&
             OSSL_PROVIDER_load(library, "posthouse") != NULL;
    assert(ok);
}

static EVP_PKEY *make(const char *kind, struct remote_origin *from)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(PARAM_KEY, from, sizeof *from),
                           OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(library, kind, NULL);
    if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

EVP_PKEY *tls_remote_key(X509 *leaf, const struct tls_signer *signer)
{
    struct remote_origin from = {.public = X509_get0_pubkey(leaf), .signer = signer};
    if (!from.public || !tls_key_id(leaf, from.id))
        return NULL;
    switch (EVP_PKEY_get_base_id(from.public)) {
    case EVP_PKEY_RSA:
        return make("RSA", &from);
    case EVP_PKEY_EC:
        return make("EC", &from);
    case EVP_PKEY_ED25519:
        return make("ED25519", &from);
    default:
        return NULL;
    }
}
