/* SPDX-License-Identifier: Apache-2.0
 *
 * fetch: one HTTP/1.1 request over TLS (RFC 9112), the only way out for HTTP. It refuses private
 * and link-local addresses after resolution and connects to the very address that it judged (rule
 * web-3). No redirect is followed: the caller sees `location`. Answers are hostile: header and body
 * are limited, and the time is for the whole.
 */
#ifndef PROTO_RELAY_FETCH_H
#define PROTO_RELAY_FETCH_H

#include "core/relay.h"
#include "net/tls.h"

#define FETCH_HEADER_MAX 65536
#define FETCH_LINE_MAX 8192
#define FETCH_TIMEOUT_MS_MAX 300000

struct fetch_options {
    const struct dns *dns;
    struct tls_client *verify; /* for https; NULL: ERR_TLS */
    bool private_ok, ipv6;
    uint64_t connect_ms;
};
/* ERR_SYNTAX (the URL, method or answer), ERR_DENIED (private address), ERR_NOT_FOUND (no such
 * host), ERR_TOO_LARGE, ERR_TLS, ERR_TIMEOUT, ERR_EOF, ERR_UNAVAILABLE (DNS). */
enum err fetch_run(const struct fetch_options *o, const struct relay_fetch *f, struct arena *arena,
                   struct relay_fetched *out) WAITS MUST;

/* The one exemption from the rule: a peer that the configuration names, url from there and from
 * nowhere else, may have a private address or be this host. POSTs a file, streamed; fields are more
 * header lines, CRLF ends. Errors as above, ERR_IO: the file is shorter. */
struct fetch_upload {
    str fields;
    int fd;
    uint64_t size;
};
enum err fetch_named(const struct fetch_options *o, str url, const struct fetch_upload *up,
                     uint64_t answer_max, uint64_t timeout_ms, struct arena *arena,
                     struct relay_fetched *out) WAITS MUST;
bool fetch_url_valid(str url);

#endif
