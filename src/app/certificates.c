/* SPDX-License-Identifier: Apache-2.0 */
#include "app/certificates.h"

#include "app/apart.h"
#include "app/server.h"
#include "core/acme.h"
#include "core/acme_crypto.h"
#include "net/tls_keys.h"
#include "os/clock.h"
#include "os/file.h"

#include <fcntl.h>
#include <string.h>

#define PEM_MAX 524288
#define KEY_BEGIN STR("-----BEGIN PRIVATE KEY-----")
#define KEY_END STR("-----END PRIVATE KEY-----")

str certificates_folder(const struct config *c, struct arena *a)
{
    if (!str_empty(c->acme_folder))
        return c->acme_folder;
    return arena_fmt(a, "%.*s.tls", STR_ARG(c->server_data));
}

static str file_path(const struct config *c, struct arena *a, const char *name)
{
    return arena_fmt(a, "%.*s/%s", STR_ARG(certificates_folder(c, a)), name);
}

static enum err read_file(const struct config *c, struct arena *a, const char *name, str *out)
{
    BUF_AUTO struct buf text = BUF_INIT(PEM_MAX);
    enum err e = file_read_whole(AT_FDCWD, file_path(c, a, name), &text);
    if (e == ERR_OK && !arena_dup(a, buf_str(&text), out))
        e = ERR_NOMEM;
    if (text.data)
        explicit_bzero(text.data, text.len);
    return e;
}

enum err certificates_acme(const struct config *c, struct arena *a, struct tls_certificate *out)
{
    TRY(read_file(c, a, "acme.pem", &out->chain_pem));
    out->key_pem = out->chain_pem;
    return ERR_OK;
}

/* ---- all of them, without their keys ---- */

struct load {
    const struct config *config;
    int keys;
};

/* Only what is a certificate in the files goes on. */
static enum err load_client_ca(const struct config *c, struct buf *answer)
{
    BUF_AUTO struct buf all = BUF_INIT(PEM_MAX);
    for (size_t i = 0; i < c->tls_client_ca.count; i++) {
        BUF_AUTO struct buf text = BUF_INIT(PEM_MAX), chain = BUF_INIT(PEM_MAX);
        str path = c->tls_client_ca.items[i];
        enum err e = file_read_whole(AT_FDCWD, path, &text);
        if (e == ERR_OK)
            e = certificate_chain(buf_str(&text), &chain);
        if (e == ERR_OK && chain.len == 0)
            e = ERR_INVALID;
        buf_add(&all, buf_str(&chain));
        if (e == ERR_OK && buf_ok(&all))
            continue;
        buf_addf(answer, "tls.client_ca: %.*s %s.", STR_ARG(path),
                 e == ERR_INVALID ? "holds no certificate" : "cannot be read");
        return e == ERR_OK ? ERR_LIMIT : e;
    }
    buf_add_sized(answer, buf_str(&all));
    return ERR_OK;
}

/* Answers the CAs of clients and the chains, sized; or a sentence. */
static enum err load_apart(void *arg, struct buf *answer)
{
    struct load *l = arg;
    ARENA_AUTO struct arena a = ARENA_INIT(16777216);
    BUF_AUTO struct buf chain = BUF_INIT(PEM_MAX);
    struct tls_certificate *certs = ARENA_ARRAY(&a, struct tls_certificate, CERTIFICATES_MAX);
    struct tls_keys *keys;
    size_t n = 0, bad = 0;
    if (!certs)
        return ERR_NOMEM;
    TRY(server_certificates(l->config, &a, certs, CERTIFICATES_MAX, &n, answer));
    enum err e = tls_keys_open(certs, n, &bad, &keys);
    if (e != ERR_OK) {
        const struct config_list *named = &l->config->tls_certificates;
        buf_addf(answer, "tls.certificates: %.*s is not a certificate with its key.",
                 STR_ARG(bad < named->count ? named->items[bad] : STR("the one from acme.folder")));
        return e;
    }
    tls_keys_close(keys);
    TRY(load_client_ca(l->config, answer));
    for (size_t i = 0; i < n; i++) {
        buf_reset(&chain);
        TRY(certificate_chain(certs[i].chain_pem, &chain));
        buf_add_sized(answer, buf_str(&chain));
    }
    return certificates_fill(certs, n, STR_NONE, l->keys);
}

enum err certificates_load(const struct config *c, struct arena *a, struct tls_certificate *certs,
                           size_t max, size_t *n, str *client_ca, int *keys, struct buf *error)
{
    BUF_AUTO struct buf answer = BUF_INIT(APART_ANSWER_MAX);
    FD_AUTO int fd = -1;
    str text;
    TRY(file_memory("keys", &fd));
    enum err e = apart_run(load_apart, &(struct load){c, fd}, &answer);
    if (e != ERR_OK) {
        buf_add(error, buf_str(&answer));
        if (answer.len == 0)
            buf_addf(error, "tls.certificates: they cannot be read: %s.", err_text(e));
        return e;
    }
    if (!file_is_sealed(fd) || !arena_dup(a, buf_str(&answer), &text))
        return ERR_NOMEM;
    struct reader r = reader_of(text);
    *client_ca = read_sized(&r);
    for (*n = 0; !str_empty(r.rest) && !r.failed && *n < max; (*n)++)
        certs[*n] = (struct tls_certificate){.chain_pem = read_sized(&r)};
    if (r.failed || !str_empty(r.rest))
        return ERR_LIMIT;
    *keys = fd;
    fd = -1;
    return ERR_OK;
}

/* Of a text that may hold a chain too: the key alone. */
static str key_in(str pem)
{
    size_t from = str_find(pem, KEY_BEGIN);
    str rest = from == STR_NPOS ? STR_NONE : str_skip(pem, from);
    size_t end = str_find(rest, KEY_END);
    return end == STR_NPOS ? STR_NONE : str_head(rest, end + KEY_END.len);
}

static enum err make_key(const struct config *c, struct arena *a, const char *name, str *out)
{
    BUF_AUTO struct buf pem = BUF_INIT(8192);
    TRY(file_make_dirs(certificates_folder(c, a)));
    TRY(acme_make_key(&pem));
    enum err e = file_replace(AT_FDCWD, file_path(c, a, name), buf_str(&pem));
    if (e == ERR_OK && !arena_dup(a, buf_str(&pem), out))
        e = ERR_NOMEM;
    explicit_bzero(pem.data, pem.len);
    return e;
}

/* The key stays at a renewal, so a TLSA record of it never goes stale (RFC 7671 8.1). */
static enum err find_key(const struct config *c, struct arena *a, bool next, str *out)
{
    static const char *const names[] = {"acme.pem", "acme.key"};
    if (next)
        return read_file(c, a, "acme-next.key", out);
    for (size_t i = 0; i < 2; i++) {
        enum err e = read_file(c, a, names[i], out);
        if (e == ERR_OK)
            *out = key_in(*out);
        if (e != ERR_NOT_FOUND)
            return e == ERR_OK && str_empty(*out) ? ERR_CORRUPT : e;
    }
    return make_key(c, a, "acme.key", out);
}

static void add_public(enum certificate_origin origin, str pem, struct buf *list)
{
    BUF_AUTO struct buf leaf = BUF_INIT(PEM_MAX);
    if (certificate_leaf(pem, &leaf) != ERR_OK)
        return;
    buf_add_char(list, (char)origin);
    buf_add_sized(list, buf_str(&leaf));
}

enum err certificates_show(const struct config *c, struct buf *list)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16777216);
    struct tls_certificate *certs = ARENA_ARRAY(&a, struct tls_certificate, CERTIFICATES_MAX);
    BUF_AUTO struct buf error = BUF_INIT(4096);
    struct tls_certificate own;
    uint8_t spki[32];
    size_t n = 0;
    str next;
    if (!certs)
        return ERR_NOMEM;
    bool acme = certificates_acme(c, &a, &own) == ERR_OK;
    TRY(server_certificates(c, &a, certs, CERTIFICATES_MAX, &n, &error));
    for (size_t i = 0; i < n; i++)
        add_public(acme && i + 1 == n ? CERTIFICATE_ACME : CERTIFICATE_CONFIGURED,
                   certs[i].chain_pem, list);
    if (read_file(c, &a, "acme-next.key", &next) == ERR_OK && acme_key_spki(next, spki) == ERR_OK) {
        buf_add_char(list, CERTIFICATE_NEXT_KEY);
        buf_add_sized(list, str_of(spki, sizeof(spki)));
    }
    return buf_ok(list) ? ERR_OK : ERR_LIMIT;
}

enum err certificates_request(const struct config *c, str names, bool next, struct buf *der)
{
    ARENA_AUTO struct arena a = ARENA_INIT(2097152);
    str list[CERTIFICATE_NAMES_MAX], key;
    size_t n = 0;
    while (!str_empty(names)) {
        if (n == CERTIFICATE_NAMES_MAX)
            return ERR_LIMIT;
        (void)str_cut(names, 0, &list[n++], &names);
    }
    TRY(find_key(c, &a, next, &key));
    return certificate_request(key, list, n, der);
}

enum err certificates_install(const struct config *c, str chain_pem, bool next)
{
    ARENA_AUTO struct arena a = ARENA_INIT(4194304);
    BUF_AUTO struct buf whole = BUF_INIT(PEM_MAX);
    struct certificate_facts facts;
    uint8_t spki[32];
    str key;
    if (chain_pem.len > ACME_CHAIN_MAX || str_find(chain_pem, STR("PRIVATE KEY")) != STR_NPOS)
        return ERR_INVALID;
    TRY(find_key(c, &a, next, &key));
    TRY(acme_key_spki(key, spki));
    TRY(certificate_read(chain_pem, &a, &facts));
    if (memcmp(spki, facts.spki, sizeof(spki)) != 0 || facts.not_after_s <= clock_wall_s())
        return ERR_INVALID;
    buf_addf(&whole, "%.*s\n%.*s\n", STR_ARG(str_trim(chain_pem)), STR_ARG(str_trim(key)));
    enum err e = buf_ok(&whole)
                     ? file_replace(AT_FDCWD, file_path(c, &a, "acme.pem"), buf_str(&whole))
                     : ERR_LIMIT;
    if (whole.data)
        explicit_bzero(whole.data, whole.len);
    if (e == ERR_OK) /* its key is in acme.pem now */
        (void)!file_remove(AT_FDCWD, file_path(c, &a, next ? "acme-next.key" : "acme.key"));
    return e;
}

enum err certificates_next_key(const struct config *c)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1048576);
    str key;
    enum err e = read_file(c, &a, "acme-next.key", &key);
    if (e != ERR_NOT_FOUND)
        return e == ERR_OK ? ERR_EXISTS : e;
    return make_key(c, &a, "acme-next.key", &key);
}
