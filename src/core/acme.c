/* SPDX-License-Identifier: Apache-2.0
 *
 * What the authority says is JSON from a stranger, read with jansson under limits of depth and size
 * and used as values only. Every URL that it names goes through the relay's fetch, which refuses
 * private addresses.
 */
#include "core/acme.h"

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "core/acme_crypto.h"
#include "core/acme_rows.h"
#include "format/json_guard.h"

#include <jansson.h>
#include <string.h>

#define ANSWER_MAX 262144
#define FETCH_MS 30000
#define POLLS_MAX 24
#define NONCE_TRIES 4
#define PROOFS_MAX 100
#define DEPTH_MAX 16

const str acme_proof_names[ACME_PROOFS] = {
    [ACME_HTTP_01] = STR_INIT("http-01"),
    [ACME_DNS_01] = STR_INIT("dns-01"),
    [ACME_TLS_ALPN_01] = STR_INIT("tls-alpn-01"),
};

struct session {
    const struct acme *acme;
    struct buf *error;
    struct arena arena; /* of the whole order */
    str nonce;
    str new_nonce, new_account, new_order;
    struct acme_account account;
};

static enum err fail(struct session *s, enum err e, const char *what, str detail)
{
    buf_reset(s->error);
    buf_addf(s->error, "%s%s%.*s", what, str_empty(detail) ? "" : ": ", STR_ARG(detail));
    return e;
}

/* ---- JSON ---- */

static json_t *parse(str body)
{
    json_error_t ignored;
    if (!json_is_shallow(body, DEPTH_MAX)) /* the parser recurses, on a fiber's stack */
        return NULL;
    return json_loadb(body.data ? body.data : "", body.len, JSON_REJECT_DUPLICATES, &ignored);
}

/* Copied into the arena; empty when there is none. */
static str text_of(struct session *s, const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    str copy;
    if (!json_is_string(v) ||
        !arena_dup(&s->arena, str_of(json_string_value(v), json_string_length(v)), &copy))
        return STR_NONE;
    return copy;
}

static void json_free(json_t **j) { json_decref(*j); }
#define JSON_AUTO __attribute__((cleanup(json_free)))

/* RFC 8555 6.7: a problem document. */
static enum err refused(struct session *s, const struct relay_fetched *f, const char *what)
{
    JSON_AUTO json_t *problem = parse(f->body);
    str detail = text_of(s, problem, "detail");
    str type = text_of(s, problem, "type");
    if (str_empty(detail))
        detail = arena_fmt(&s->arena, "status %u", f->status);
    bool later = f->status >= 500 || f->status == 429 || str_ends(type, STR(":rateLimited"));
    return fail(s, later ? ERR_UNAVAILABLE : ERR_DENIED, what, detail);
}

/* ---- requests ---- */

static enum err ask(struct session *s, const char *method, str url, str body,
                    struct relay_fetched *out) WAITS
{
    struct relay_fetch f = {.method = str_c(method),
                            .url = url,
                            .content_type =
                                str_empty(body) ? STR_NONE : STR("application/jose+json"),
                            .body = body,
                            .answer_max = ANSWER_MAX,
                            .timeout_ms = FETCH_MS};
    const struct relay *r = s->acme->relay;
    *out = (struct relay_fetched){0};
    enum err e = r->fetch(r->ctx, &f, &s->arena, out);
    if (e != ERR_OK)
        return fail(s, err_class(e) == ERR_CLASS_TEMP ? e : ERR_UNAVAILABLE,
                    "the authority was not reached",
                    arena_fmt(&s->arena, "%.*s: %s", STR_ARG(url), err_text(e)));
    if (!str_empty(out->replay_nonce))
        s->nonce = out->replay_nonce;
    return ERR_OK;
}

static bool nonce_was_bad(struct session *s, const struct relay_fetched *f)
{
    JSON_AUTO json_t *problem = parse(f->body);
    return f->status == 400 && str_ends(text_of(s, problem, "type"), STR(":badNonce"));
}

/* A signed POST; an empty payload is a POST-as-GET (6.3). A bad nonce is tried again with the one
 * that came with the refusal (6.5). */
static enum err post(struct session *s, str url, str payload, const char *what,
                     struct relay_fetched *out) WAITS
{
    for (int i = 0; i < NONCE_TRIES; i++) {
        if (str_empty(s->nonce))
            TRY(ask(s, "HEAD", s->new_nonce, STR_NONE, out));
        if (str_empty(s->nonce))
            return fail(s, ERR_UNAVAILABLE, "the authority gave no nonce", STR_NONE);
        struct acme_request q = {s->account.key_pem, s->account.kid, s->nonce, url, payload};
        BUF_AUTO struct buf body = BUF_INIT(1 << 20);
        if (acme_sign(&q, &body) != ERR_OK)
            return fail(s, ERR_INVALID, "the request could not be signed", STR_NONE);
        s->nonce = STR_NONE;
        TRY(ask(s, "POST", url, buf_str(&body), out));
        if (out->status >= 200 && out->status < 300)
            return ERR_OK;
        if (!nonce_was_bad(s, out))
            return refused(s, out, what);
    }
    return fail(s, ERR_UNAVAILABLE, what, STR("no nonce was good enough"));
}

static enum err open_directory(struct session *s) WAITS
{
    struct relay_fetched f;
    TRY(ask(s, "GET", s->acme->directory_url, STR_NONE, &f));
    if (f.status != 200)
        return refused(s, &f, "the authority's directory");
    JSON_AUTO json_t *j = parse(f.body);
    s->new_nonce = text_of(s, j, "newNonce");
    s->new_account = text_of(s, j, "newAccount");
    s->new_order = text_of(s, j, "newOrder");
    if (str_empty(s->new_nonce) || str_empty(s->new_account) || str_empty(s->new_order))
        return fail(s, ERR_DENIED, "this is no ACME directory", s->acme->directory_url);
    return ERR_OK;
}

/* ---- the account ---- */

static enum err make_account(struct session *s) WAITS
{
    BUF_AUTO struct buf pem = BUF_INIT(8192);
    BUF_AUTO struct buf payload = BUF_INIT(8192);
    struct relay_fetched f;
    TRY(acme_make_key(&pem));
    s->account = (struct acme_account){.directory_url = s->acme->directory_url};
    if (!arena_dup(&s->arena, buf_str(&pem), &s->account.key_pem))
        return ERR_NOMEM;
    explicit_bzero(pem.data, pem.len);
    buf_add_c(&payload, "{\"termsOfServiceAgreed\":true");
    if (!str_empty(s->acme->contact)) {
        JSON_AUTO json_t *mail = json_sprintf("mailto:%.*s", STR_ARG(s->acme->contact));
        char room[1024];
        size_t n = mail ? json_dumpb(mail, room, sizeof(room), JSON_ENCODE_ANY) : 0;
        if (n == 0 || n > sizeof(room))
            return fail(s, ERR_INVALID, "acme.contact is no mail address", s->acme->contact);
        buf_addf(&payload, ",\"contact\":[%.*s]", (int)n, room);
    }
    buf_add_char(&payload, '}');
    TRY(post(s, s->new_account, buf_str(&payload), "the authority refuses an account", &f));
    if (str_empty(f.location))
        return fail(s, ERR_DENIED, "the authority named no account", STR_NONE);
    s->account.kid = f.location;
    LOG_INFO("acme", "account kid=%.*s", STR_ARG(s->account.kid));
    return acme_account_put(s->acme->store, &s->account);
}

static enum err open_account(struct session *s) WAITS
{
    enum err e = acme_account_get(s->acme->store, &s->arena, &s->account);
    if (e == ERR_OK && str_eq(s->account.directory_url, s->acme->directory_url))
        return ERR_OK;
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return fail(s, e, "the account's row cannot be read", str_c(err_text(e)));
    return make_account(s);
}

/* ---- waiting for the authority ---- */

/* Asks again until the status is neither "pending" nor "processing". */
static enum err poll(struct session *s, str url, const char *what, json_t **out) WAITS
{
    uint64_t first = s->acme->poll_ms_first ? s->acme->poll_ms_first : 1000, pause = first;
    for (int i = 0; i < POLLS_MAX; i++) {
        struct relay_fetched f;
        TRY(post(s, url, STR_NONE, what, &f));
        json_t *j = parse(f.body);
        str status = text_of(s, j, "status");
        if (!str_eq(status, STR("pending")) && !str_eq(status, STR("processing"))) {
            *out = j;
            return ERR_OK;
        }
        json_decref(j);
        if (wait_until(deadline_in_ms(pause)) != ERR_TIMEOUT)
            return fail(s, ERR_CANCELED, what, STR("the server is ending"));
        pause = MIN(pause * 2, first * 16);
    }
    return fail(s, ERR_TIMEOUT, what, STR("the authority did not decide in time"));
}

/* ---- proofs ---- */

struct proof {
    str name, url, token, authorization;
};

static enum err show_proof(struct session *s, const struct proof *p, bool shown) WAITS
{
    const struct acme *a = s->acme;
    if (a->proof == ACME_HTTP_01)
        return shown ? acme_challenge_put(a->store, p->token, p->authorization)
                     : acme_challenge_remove(a->store, p->token);
    if (a->proof == ACME_TLS_ALPN_01)
        return shown ? acme_alpn_put(a->store, p->name, p->authorization)
                     : acme_alpn_remove(a->store, p->name);
    BUF_AUTO struct buf value = BUF_INIT(256);
    if (shown)
        acme_dns_value(p->authorization, &value);
    return a->dns_proof(a->ctx, p->name, buf_str(&value));
}

static enum err find_proof(struct session *s, const json_t *authorization, struct proof *out)
{
    const json_t *list = json_object_get(authorization, "challenges");
    BUF_AUTO struct buf text = BUF_INIT(1024);
    out->name = text_of(s, json_object_get(authorization, "identifier"), "value");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        if (!str_eq(text_of(s, c, "type"), acme_proof_names[s->acme->proof]))
            continue;
        out->url = text_of(s, c, "url");
        out->token = text_of(s, c, "token");
        if (!acme_token_valid(out->token))
            return fail(s, ERR_DENIED, "the authority's token is malformed", out->name);
        buf_addf(&text, "%.*s.", STR_ARG(out->token));
        TRY(acme_thumbprint(s->account.key_pem, &text));
        return arena_dup(&s->arena, buf_str(&text), &out->authorization) ? ERR_OK : ERR_NOMEM;
    }
    return fail(s, ERR_DENIED, "the authority offers no such proof for the name", out->name);
}

/* What the authority says of the proof that failed. */
static enum err unproven(struct session *s, const json_t *authorization, str name)
{
    const json_t *list = json_object_get(authorization, "challenges");
    str detail = STR_NONE;
    for (size_t i = 0; str_empty(detail) && i < json_array_size(list); i++)
        detail = text_of(s, json_object_get(json_array_get(list, i), "error"), "detail");
    return fail(s, ERR_DENIED, "the authority could not see that the name is ours",
                arena_fmt(&s->arena, "%.*s: %.*s", STR_ARG(name), STR_ARG(detail)));
}

static enum err prove_one(struct session *s, str url, const struct proof *p) WAITS
{
    struct relay_fetched f;
    JSON_AUTO json_t *j = NULL;
    enum err e = show_proof(s, p, true);
    if (e != ERR_OK) {
        str why = s->error->len > 0 ? buf_str(s->error) : str_c(err_text(e));
        return fail(s, e, "the proof could not be shown",
                    arena_fmt(&s->arena, "%.*s: %.*s", STR_ARG(p->name), STR_ARG(why)));
    }
    TRY(post(s, p->url, STR("{}"), "the authority does not look at the proof", &f));
    TRY(poll(s, url, "waiting for the proof", &j));
    return str_eq(text_of(s, j, "status"), STR("valid")) ? ERR_OK : unproven(s, j, p->name);
}

static enum err authorize(struct session *s, str url) WAITS
{
    struct relay_fetched f;
    struct proof p = {0};
    TRY(post(s, url, STR_NONE, "the authorization", &f));
    JSON_AUTO json_t *j = parse(f.body);
    if (str_eq(text_of(s, j, "status"), STR("valid")))
        return ERR_OK; /* proven lately */
    TRY(find_proof(s, j, &p));
    enum err e = prove_one(s, url, &p);
    if (show_proof(s, &p, false) != ERR_OK)
        LOG_WARN("acme", "a proof was left behind name=%.*s", STR_ARG(p.name));
    return e;
}

/* ---- the order ---- */

static enum err place_order(struct session *s, const str *names, size_t n, str *url,
                            json_t **order) WAITS
{
    BUF_AUTO struct buf payload = BUF_INIT(65536);
    struct relay_fetched f;
    buf_add_c(&payload, "{\"identifiers\":[");
    for (size_t i = 0; i < n; i++) {
        if (!certificate_name_valid(names[i]))
            return fail(s, ERR_INVALID, "this is no name for a certificate", names[i]);
        buf_addf(&payload, "%s{\"type\":\"dns\",\"value\":\"%.*s\"}", i ? "," : "",
                 STR_ARG(names[i]));
    }
    buf_add_c(&payload, "]}");
    TRY(post(s, s->new_order, buf_str(&payload), "the authority refuses the order", &f));
    *url = f.location;
    *order = parse(f.body);
    return str_empty(*url) || !*order ? fail(s, ERR_DENIED, "the order has no name", STR_NONE)
                                      : ERR_OK;
}

static enum err prove_all(struct session *s, const json_t *order) WAITS
{
    const json_t *list = json_object_get(order, "authorizations");
    if (json_array_size(list) > PROOFS_MAX)
        return fail(s, ERR_DENIED, "too many proofs are asked for", STR_NONE);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v))
            return fail(s, ERR_DENIED, "the order is malformed", STR_NONE);
        TRY(authorize(s, str_of(json_string_value(v), json_string_length(v))));
    }
    return ERR_OK;
}

static enum err finalize(struct session *s, str url, const json_t *order, str request_der,
                         struct buf *chain_pem) WAITS
{
    struct relay_fetched f;
    JSON_AUTO json_t *done = NULL;
    BUF_AUTO struct buf payload = BUF_INIT(1 << 20);
    buf_add_c(&payload, "{\"csr\":\"");
    code_base64url(&payload, request_der);
    buf_add_c(&payload, "\"}");
    TRY(post(s, text_of(s, order, "finalize"), buf_str(&payload), "the request is refused", &f));
    TRY(poll(s, url, "waiting for the certificate", &done));
    if (!str_eq(text_of(s, done, "status"), STR("valid")))
        return fail(s, ERR_DENIED, "the order failed",
                    text_of(s, json_object_get(done, "error"), "detail"));
    TRY(post(s, text_of(s, done, "certificate"), STR_NONE, "the certificate", &f));
    buf_add(chain_pem, f.body);
    return buf_ok(chain_pem) && f.body.len > 0
               ? ERR_OK
               : fail(s, ERR_DENIED, "the chain is empty or too long", STR_NONE);
}

static enum err obtain(struct session *s, const str *names, size_t n, str request_der,
                       struct buf *chain_pem) WAITS
{
    str url;
    JSON_AUTO json_t *order = NULL;
    TRY(open_directory(s));
    TRY(open_account(s));
    enum err e = place_order(s, names, n, &url, &order);
    TRY(e);
    TRY(prove_all(s, order));
    return finalize(s, url, order, request_der, chain_pem);
}

enum err acme_obtain(const struct acme *a, const str *names, size_t n, str request_der,
                     struct buf *chain_pem, struct buf *error)
{
    struct session s = {.acme = a, .error = error, .arena = ARENA_INIT(33554432)};
    enum err e = obtain(&s, names, n, request_der, chain_pem);
    if (e != ERR_OK && error->len == 0)
        buf_add_c(error, err_text(e));
    arena_free(&s.arena);
    return e;
}

uint64_t acme_retry_s(uint32_t failures)
{
    uint64_t hours = (uint64_t)1 << MIN(failures > 0 ? failures - 1 : 0, 5u);
    return MIN(hours, 24) * 3600;
}
