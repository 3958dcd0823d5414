/* SPDX-License-Identifier: Apache-2.0 */
#include "app/gate_web.h"

#include "base/log.h"
#include "core/policy_web.h"
#include "format/http_head.h"
#include "format/tls_hello.h"
#include "net/tls.h"
#include "os/clock.h"

static const char *status_text(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Service Unavailable";
    }
}

static void answer(struct stream *s, unsigned status, str body, bool head, bool keep) WAITS
{
    stream_writef(s,
                  "HTTP/1.1 %u %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                  "X-Content-Type-Options: nosniff\r\n%s%s\r\n",
                  status, status_text(status), body.len,
                  status == 405 ? "Allow: GET, HEAD\r\n" : "", keep ? "" : "Connection: close\r\n");
    if (!head)
        stream_write(s, body);
}

/* Reads up to the empty line; the head stays in the buffer, *len bytes of it with that line. */
static enum err read_head(struct stream *s, size_t *len) WAITS
{
    for (;;) {
        str in = stream_buffered(s);
        size_t end = str_find(in, STR("\r\n\r\n"));
        if (end != STR_NPOS) {
            *len = end + 4;
            return ERR_OK;
        }
        if (in.len >= HTTP_HEAD_MAX)
            return ERR_LIMIT;
        TRY(stream_fill(s, in.len));
    }
}

static unsigned find_page(const struct house *house, const struct http_head *h, bool secure,
                          struct arena *arena, str *body) WAITS
{
    if (!str_eq(h->method, STR("GET")) && !str_eq(h->method, STR("HEAD")))
        return 405;
    if (!policy_web_path(h->path) || !house->page)
        return 404;
    enum err e = house->page(house->ctx, h->host, h->path, secure, arena, body);
    if (e == ERR_OK)
        return 200;
    return err_class(e) == ERR_CLASS_TEMP ? 503 : 404;
}

/* One request; false: it was the last. */
static bool serve_one(struct stream *s, const struct house *house, bool secure) WAITS
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1048576);
    struct http_head h = {0};
    size_t len = 0;
    str body = STR_NONE;
    enum err e = read_head(s, &len);
    if (e == ERR_OK) /* the parser does not want the empty line */
        e = http_head_parse(str_head(stream_buffered(s), len - 2), &h);
    switch (e) {
    case ERR_OK:
        break;
    case ERR_LIMIT:
    case ERR_LINE_TOO_LONG:
        answer(s, 431, STR_NONE, false, false);
        return false;
    case ERR_UNSUPPORTED:
        answer(s, 505, STR_NONE, false, false);
        return false;
    case ERR_SYNTAX:
        answer(s, 400, STR_NONE, false, false);
        return false;
    default:
        return false; /* gone */
    }
    unsigned status = find_page(house, &h, secure, &arena, &body);
    answer(s, status, status == 200 ? body : STR_NONE, str_eq(h.method, STR("HEAD")), h.keep);
    LOG_DEBUG("web", "status=%u path=%.*s", status, STR_ARG(h.path));
    stream_skip(s, len);
    return h.keep;
}

/* ---- proofs by TLS-ALPN-01 ---- */

static enum tls_hello_step read_hello(struct stream *s, str *name) WAITS
{
    enum tls_hello_step step = TLS_HELLO_MORE;
    while (step == TLS_HELLO_MORE) {
        if (stream_fill(s, stream_buffered(s).len) != ERR_OK)
            return TLS_HELLO_OTHER;
        step = tls_hello_read(stream_buffered(s), name);
    }
    return step;
}

/* RFC 8737 3: the certificate that proves, "acme-tls/1" agreed, and then nothing. Without a proof
 * for the name there is no handshake. */
static void show_proof(struct stream *s, const struct house *house, str name) WAITS
{
    static const str protocol = STR_INIT("acme-tls/1");
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct tls_certificate proof;
    struct tls_server *tls = NULL;
    enum err e = house->challenge
                     ? house->challenge(house->ctx, name, &arena, &proof.chain_pem, &proof.key_pem)
                     : ERR_NOT_FOUND;
    if (e == ERR_OK)
        e = tls_server_open(&proof, 1, NULL, &tls);
    LOG_INFO("web", "asked for a proof name=%.*s cause=%s", STR_ARG(name), err_name(e));
    if (e == ERR_OK) {
        tls_server_set_alpn(tls, &protocol, 1);
        e = stream_start_tls_server_seen(s, tls);
    }
    stream_close(s);
    if (tls)
        tls_server_close(tls);
}

/* False: s is closed. */
static bool start_tls(struct stream *s, const struct house *house, struct tls_server *tls) WAITS
{
    str name;
    if (read_hello(s, &name) == TLS_HELLO_ACME) {
        show_proof(s, house, name);
        return false;
    }
    if (tls && stream_start_tls_server_seen(s, tls) == ERR_OK)
        return true;
    stream_close(s);
    return false;
}

void gate_web_serve(struct stream *s, const struct house *house, bool secure,
                    struct tls_server *tls)
{
    DEADLINE_SCOPE(WEB_SESSION_MS);
    stream_set_timeouts(s, WEB_TIMEOUT_MS, WEB_TIMEOUT_MS);
    if (secure && !start_tls(s, house, tls))
        return;
    bool more = true;
    for (int i = 0; more && i < WEB_REQUESTS_MAX; i++)
        more = serve_one(s, house, secure);
    enum err gone = stream_flush(s);
    (void)gone;
    stream_close(s);
}
