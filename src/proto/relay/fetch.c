/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/fetch.h"

#include "base/num.h"
#include "net/stream.h"
#include "proto/relay/dial.h"
#include "proto/relay/mx.h"

struct url {
    bool tls;
    str host, path;
    uint16_t port;
};

static bool token_ok(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((uint8_t)s.data[i] <= ' ' || (uint8_t)s.data[i] >= 0x7f)
            return false;
    }
    return !str_empty(s);
}

static bool url_parse(str text, struct url *u)
{
    str host, path;
    *u = (struct url){.tls = str_starts_nocase(text, STR("https://"))};
    if (!token_ok(text) || (!u->tls && !str_starts_nocase(text, STR("http://"))))
        return false;
    text = str_skip(text, u->tls ? 8 : 7);
    size_t slash = str_find_char(text, '/');
    host = str_head(text, slash == STR_NPOS ? text.len : slash);
    path = slash == STR_NPOS ? STR("/") : str_skip(text, slash);
    size_t fragment = str_find_char(path, '#');
    u->path = fragment == STR_NPOS ? path : str_head(path, fragment);
    u->port = u->tls ? 443 : 80;
    size_t close = str_rfind_char(host, ']'), colon = str_rfind_char(host, ':');
    if (colon != STR_NPOS && (close == STR_NPOS || colon > close)) {
        uint64_t port = 0;
        if (!num_parse_u64(str_skip(host, colon + 1), 65535, &port) || port == 0)
            return false;
        u->port = (uint16_t)port;
        host = str_head(host, colon);
    }
    u->host = host;
    return !str_empty(host) && str_find_char(host, '@') == STR_NPOS;
}

/* "[2001:db8::1]" as an SMTP literal, "192.0.2.1" too, so that mx_addresses takes them. */
static str host_literal(str host, struct arena *arena)
{
    struct address a;
    if (str_starts(host, STR("[")))
        return arena_fmt(arena, "[IPv6:%.*s", STR_ARG(str_skip(host, 1)));
    return address_parse(host, &a) ? arena_fmt(arena, "[%.*s]", STR_ARG(host)) : host;
}

static enum err connect_to(const struct fetch_options *o, const struct url *u, struct arena *arena,
                           struct stream **out) WAITS
{
    struct mx_addresses at;
    enum mx_status s = mx_addresses(o->dns, host_literal(u->host, arena), u->port, o->ipv6,
                                    o->private_ok, arena, &at);
    if (s == MX_FAILED)
        return ERR_UNAVAILABLE;
    if (s != MX_OK)
        return at.refused ? ERR_DENIED : ERR_NOT_FOUND;
    int fd;
    struct address used;
    TRY(dial(at.list, at.count, NULL, o->connect_ms, &fd, &used));
    TRY(stream_open(fd, out));
    stream_set_peer(*out, &used, &(struct address){0});
    return ERR_OK;
}

static void write_body(struct stream *s, const struct relay_fetch *f,
                       const struct fetch_upload *up) WAITS
{
    if (!str_eq(f->method, STR("POST")))
        return;
    if (up)
        stream_write_file(s, up->fd, 0, up->size);
    else
        stream_write(s, f->body);
}

static void write_request(struct stream *s, const struct url *u, const struct relay_fetch *f,
                          const struct fetch_upload *up) WAITS
{
    uint64_t length = up ? up->size : f->body.len;
    stream_writef(s, "%.*s %.*s HTTP/1.1\r\nHost: %.*s", STR_ARG(f->method), STR_ARG(u->path),
                  STR_ARG(u->host));
    if (u->port != (u->tls ? 443 : 80))
        stream_writef(s, ":%u", u->port);
    stream_write(s, STR("\r\nUser-Agent: Posthouse\r\nAccept: */*\r\nConnection: close\r\n"));
    if (str_eq(f->method, STR("POST")))
        stream_writef(s, "Content-Type: %.*s\r\nContent-Length: %llu\r\n", STR_ARG(f->content_type),
                      (unsigned long long)length);
    if (up)
        stream_write(s, up->fields);
    stream_write(s, STR("\r\n"));
    write_body(s, f, up);
}

/* ---- the answer ---- */

struct answer {
    bool chunked, has_length;
    uint64_t length;
};

static enum err read_status(struct stream *s, uint32_t *status) WAITS
{
    str line, version, code;
    TRY(stream_line(s, FETCH_LINE_MAX, &line, NULL));
    uint64_t n = 0;
    if (!str_next_word(&line, &version) || !str_starts(version, STR("HTTP/1.")) ||
        !str_next_word(&line, &code) || code.len != 3 || !num_parse_u64(code, 599, &n) || n < 100)
        return ERR_SYNTAX;
    *status = (uint32_t)n;
    return ERR_OK;
}

static enum err take_field(str name, str value, struct arena *arena, struct answer *a,
                           struct relay_fetched *out)
{
    str *keep = NULL;
    if (str_eq_nocase(name, STR("content-type")))
        keep = &out->content_type;
    else if (str_eq_nocase(name, STR("location")))
        keep = &out->location;
    else if (str_eq_nocase(name, STR("replay-nonce")))
        keep = &out->replay_nonce;
    else if (str_eq_nocase(name, STR("transfer-encoding")))
        a->chunked = str_ends_nocase(value, STR("chunked"));
    else if (str_eq_nocase(name, STR("content-length"))) {
        uint64_t n;
        if (!num_parse_u64(value, UINT64_MAX, &n) || (a->has_length && n != a->length))
            return ERR_SYNTAX; /* RFC 9112 6.3 */
        a->has_length = true;
        a->length = n;
    }
    return !keep || arena_dup(arena, value, keep) ? ERR_OK : ERR_LIMIT;
}

static enum err read_header(struct stream *s, struct arena *arena, struct answer *a,
                            struct relay_fetched *out) WAITS
{
    *a = (struct answer){0};
    for (size_t used = 0; used < FETCH_HEADER_MAX;) {
        str line, name, value;
        TRY(stream_line(s, FETCH_LINE_MAX, &line, NULL));
        used += line.len + 2;
        if (str_empty(line))
            return ERR_OK;
        if (!str_cut(line, ':', &name, &value))
            return ERR_SYNTAX;
        TRY(take_field(name, str_trim(value), arena, a, out));
    }
    return ERR_TOO_LARGE;
}

/* Exactly n bytes. */
static enum err read_exact(struct stream *s, uint64_t n, struct buf *body) WAITS
{
    if (n > body->max - body->len)
        return ERR_TOO_LARGE;
    while (n > 0) {
        TRY(stream_fill(s, 0));
        str part = str_head(stream_buffered(s), (size_t)MIN(n, (uint64_t)SIZE_MAX));
        buf_add(body, part);
        stream_skip(s, part.len);
        n -= part.len;
    }
    return buf_ok(body) ? ERR_OK : ERR_TOO_LARGE;
}

static enum err read_to_end(struct stream *s, struct buf *body) WAITS
{
    enum err e;
    while ((e = stream_fill(s, 0)) == ERR_OK) {
        str part = stream_buffered(s);
        buf_add(body, part);
        if (!buf_ok(body))
            return ERR_TOO_LARGE;
        stream_skip(s, part.len);
    }
    return e == ERR_EOF ? ERR_OK : e;
}

static bool hex_parse(str s, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return false;
        *out = *out << 4 | (unsigned)digit;
    }
    return s.len > 0 && s.len <= 12;
}

/* RFC 9112 7.1. The trailer is not read: the connection ends here. */
static enum err read_chunks(struct stream *s, struct buf *body) WAITS
{
    for (;;) {
        str line, size, extension;
        uint64_t n;
        TRY(stream_line(s, FETCH_LINE_MAX, &line, NULL));
        str_cut(line, ';', &size, &extension);
        if (!hex_parse(str_trim(size), &n))
            return ERR_SYNTAX;
        if (n == 0)
            return ERR_OK;
        TRY(read_exact(s, n, body));
        TRY(stream_line(s, FETCH_LINE_MAX, &line, NULL));
        if (!str_empty(line))
            return ERR_SYNTAX;
    }
}

static enum err read_answer(struct stream *s, const struct relay_fetch *f, struct arena *arena,
                            struct relay_fetched *out) WAITS
{
    struct answer a;
    for (int i = 0; i < 8; i++) { /* 1xx before the answer proper */
        *out = (struct relay_fetched){0};
        TRY(read_status(s, &out->status));
        TRY(read_header(s, arena, &a, out));
        if (out->status >= 200)
            break;
    }
    if (out->status < 200)
        return ERR_SYNTAX;
    if (str_eq(f->method, STR("HEAD")) || out->status == 204 || out->status == 304)
        return ERR_OK;
    BUF_AUTO struct buf body = BUF_INIT(f->answer_max);
    if (a.chunked)
        TRY(read_chunks(s, &body));
    else if (a.has_length)
        TRY(read_exact(s, a.length, &body));
    else
        TRY(read_to_end(s, &body));
    return arena_dup(arena, buf_str(&body), &out->body) ? ERR_OK : ERR_LIMIT;
}

static enum err exchange(const struct fetch_options *o, const struct url *u,
                         const struct relay_fetch *f, const struct fetch_upload *up,
                         struct stream *s, struct arena *arena, struct relay_fetched *out) WAITS
{
    if (u->tls)
        TRY(stream_start_tls_client(s, o->verify, u->host));
    write_request(s, u, f, up);
    TRY(stream_flush(s));
    return read_answer(s, f, arena, out);
}

static enum err run(const struct fetch_options *o, const struct relay_fetch *f,
                    const struct fetch_upload *up, struct arena *arena,
                    struct relay_fetched *out) WAITS
{
    struct url u;
    struct stream *s;
    bool method = str_eq(f->method, STR("GET")) || str_eq(f->method, STR("HEAD")) ||
                  str_eq(f->method, STR("POST"));
    bool type = str_empty(f->content_type) || str_find_char(f->content_type, '\n') == STR_NPOS;
    if (!method || !type || !url_parse(f->url, &u))
        return ERR_SYNTAX;
    if (u.tls && !o->verify)
        return ERR_TLS;
    uint64_t ms = f->timeout_ms ? f->timeout_ms : 30000;
    DEADLINE_SCOPE(MIN(ms, (uint64_t)FETCH_TIMEOUT_MS_MAX));
    TRY(connect_to(o, &u, arena, &s));
    enum err e = exchange(o, &u, f, up, s, arena, out);
    stream_close(s);
    return e;
}

enum err fetch_run(const struct fetch_options *o, const struct relay_fetch *f, struct arena *arena,
                   struct relay_fetched *out)
{
    return run(o, f, NULL, arena, out);
}

enum err fetch_named(const struct fetch_options *o, str url, const struct fetch_upload *up,
                     uint64_t answer_max, uint64_t timeout_ms, struct arena *arena,
                     struct relay_fetched *out)
{
    struct fetch_options named = *o;
    struct relay_fetch f = {.method = STR("POST"),
                            .url = url,
                            .content_type = STR("message/rfc822"),
                            .answer_max = answer_max,
                            .timeout_ms = timeout_ms};
    named.private_ok = true;
    return run(&named, &f, up, arena, out);
}

bool fetch_url_valid(str url)
{
    struct url u;
    return url_parse(url, &u);
}
