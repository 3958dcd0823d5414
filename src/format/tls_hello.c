/* SPDX-License-Identifier: Apache-2.0 */
#include "format/tls_hello.h"

#include "base/buf.h"

enum { RECORD_HANDSHAKE = 22, CLIENT_HELLO = 1, EXT_SERVER_NAME = 0, EXT_ALPN = 16, HOST_NAME = 0 };
#define RECORD_HEAD 5

/* A vector with its length before it, in one or two bytes (RFC 8446 3.4). */
static struct reader vector8(struct reader *r) { return reader_of(read_bytes(r, read_u8(r))); }
static struct reader vector16(struct reader *r) { return reader_of(read_bytes(r, read_be16(r))); }

/* RFC 6066 3: a list, of which only the first host name counts. */
static str host_name(struct reader ext)
{
    struct reader list = vector16(&ext);
    while (list.rest.len > 0 && !list.failed) {
        uint8_t type = read_u8(&list);
        struct reader name = vector16(&list);
        if (type == HOST_NAME && !list.failed)
            return name.rest;
    }
    return STR_NONE;
}

/* RFC 7301 3.1; RFC 8737 3: "acme-tls/1" alone. */
static bool only_acme(struct reader ext)
{
    struct reader list = vector16(&ext);
    struct reader protocol = vector8(&list);
    return !list.failed && list.rest.len == 0 && str_eq(protocol.rest, STR("acme-tls/1"));
}

static enum tls_hello_step read_hello(struct reader hello, str *name)
{
    bool acme = false;
    (void)read_be16(&hello);      /* version */
    (void)read_bytes(&hello, 32); /* random */
    (void)vector8(&hello);        /* session */
    (void)vector16(&hello);       /* ciphers */
    (void)vector8(&hello);        /* compression */
    struct reader extensions = vector16(&hello);
    while (extensions.rest.len > 0 && !extensions.failed) {
        uint16_t type = read_be16(&extensions);
        struct reader ext = vector16(&extensions);
        if (type == EXT_SERVER_NAME)
            *name = host_name(ext);
        else if (type == EXT_ALPN)
            acme = only_acme(ext);
    }
    bool good = !hello.failed && !extensions.failed && acme && !str_empty(*name);
    return good ? TLS_HELLO_ACME : TLS_HELLO_OTHER;
}

enum tls_hello_step tls_hello_read(str in, str *name)
{
    struct reader r = reader_of(in);
    *name = STR_NONE;
    if (in.len > 0 && (uint8_t)in.data[0] != RECORD_HANDSHAKE)
        return TLS_HELLO_OTHER;
    if (in.len < RECORD_HEAD)
        return TLS_HELLO_MORE;
    (void)read_u8(&r);
    (void)read_be16(&r);
    uint16_t length = read_be16(&r);
    if (length > TLS_HELLO_MAX - RECORD_HEAD)
        return TLS_HELLO_OTHER;
    if (in.len < RECORD_HEAD + (size_t)length)
        return TLS_HELLO_MORE;
    r = reader_of(read_bytes(&r, length));
    uint32_t head = read_be32(&r);
    if (r.failed || head >> 24 != CLIENT_HELLO || (head & 0xffffff) != r.rest.len)
        return TLS_HELLO_OTHER;
    return read_hello(r, name);
}
