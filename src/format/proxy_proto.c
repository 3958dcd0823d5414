/* SPDX-License-Identifier: Apache-2.0 */
#include "format/proxy_proto.h"

#include <string.h>

#include "base/num.h"
#include "format/ip_text.h"

enum { V1_MAX = 107, V2_FIXED = 16 };

/* line: "PROXY TCP4 a b p q" without CRLF; single spaces (2.1 of the specification). */
static bool v1_line(str line, struct proxy_header *out)
{
    str family, source, dest, port;
    line = str_skip(line, 6);
    str_cut(line, ' ', &family, &line);
    if (str_eq(family, STR("UNKNOWN"))) {
        out->local = true;
        return true;
    }
    str_cut(line, ' ', &source, &line);
    str_cut(line, ' ', &dest, &line);
    if (!str_cut(line, ' ', &port, &line))
        return false;
    uint64_t p, q;
    if (!num_parse_u64(port, 65535, &p) || !num_parse_u64(line, 65535, &q))
        return false;
    out->source_port = (uint16_t)p;
    out->dest_port = (uint16_t)q;
    if (str_eq(family, STR("TCP4"))) {
        out->family = PROXY_INET;
        return ip_parse_v4(source, out->source) && ip_parse_v4(dest, out->dest);
    }
    out->family = PROXY_INET6;
    return str_eq(family, STR("TCP6")) && ip_parse_v6(source, out->source) &&
           ip_parse_v6(dest, out->dest);
}

static enum proxy_result v1_parse(str in, struct proxy_header *out, size_t *used)
{
    str window = str_head(in, V1_MAX);
    size_t lf = str_find_char(window, '\n');
    if (lf == STR_NPOS)
        return in.len >= V1_MAX ? PROXY_BAD : PROXY_MORE;
    if (lf < 7 || window.data[lf - 1] != '\r')
        return PROXY_BAD;
    out->version = 1;
    *used = lf + 1;
    return v1_line(str_head(window, lf - 1), out) ? PROXY_DONE : PROXY_BAD;
}

static unsigned be16(const char *p) { return (unsigned)(uint8_t)p[0] << 8 | (uint8_t)p[1]; }

enum { TLV_ALPN = 0x01, TLV_AUTHORITY = 0x02, TLV_SSL = 0x20 };

static bool v2_tlvs(str rest, struct proxy_header *out)
{
    while (rest.len) {
        if (rest.len < 3)
            return false;
        unsigned type = (uint8_t)rest.data[0], size = be16(rest.data + 1);
        if (rest.len - 3 < size)
            return false;
        str value = str_sub(rest, 3, size);
        if (type == TLV_ALPN)
            out->alpn = value;
        else if (type == TLV_AUTHORITY)
            out->authority = value;
        else if (type == TLV_SSL && size >= 1)
            out->tls = (value.data[0] & 1) != 0;
        rest = str_skip(rest, 3 + size);
    }
    return true;
}

static enum proxy_result v2_parse(str in, struct proxy_header *out, size_t *used)
{
    if (in.len < V2_FIXED)
        return PROXY_MORE;
    unsigned command = (uint8_t)in.data[12], family = (uint8_t)in.data[13];
    size_t size = be16(in.data + 14);
    if (command >> 4 != 2 || (command & 15) > 1 || V2_FIXED + size > PROXY_HEADER_MAX)
        return PROXY_BAD;
    if (in.len < V2_FIXED + size)
        return PROXY_MORE;
    str body = str_sub(in, V2_FIXED, size);
    out->version = 2;
    *used = V2_FIXED + size;
    out->local = (command & 15) == 0;
    if (out->local)
        return PROXY_DONE; /* the rest must be ignored (2.2) */
    size_t n = family >> 4 == 1 ? 4 : 16;
    switch (family >> 4) {
    case 1:
    case 2:
        /* Only streams make sense for mail. */
        if ((family & 15) != 1 || body.len < 2 * n + 4)
            return PROXY_BAD;
        out->family = n == 4 ? PROXY_INET : PROXY_INET6;
        memcpy(out->source, body.data, n);
        memcpy(out->dest, body.data + n, n);
        out->source_port = (uint16_t)be16(body.data + 2 * n);
        out->dest_port = (uint16_t)be16(body.data + 2 * n + 2);
        return v2_tlvs(str_skip(body, 2 * n + 4), out) ? PROXY_DONE : PROXY_BAD;
    case 3:
        out->family = PROXY_UNIX;
        return body.len >= 216 && v2_tlvs(str_skip(body, 216), out) ? PROXY_DONE : PROXY_BAD;
    case 0:
        out->local = true; /* UNSPEC: the receiver uses the socket's addresses */
        return PROXY_DONE;
    default:
        return PROXY_BAD;
    }
}

enum proxy_result proxy_header_parse(str in, struct proxy_header *out, size_t *used)
{
    static const char v2_signature[] = "\r\n\r\n\0\r\nQUIT\n";
    *out = (struct proxy_header){0};
    *used = 0;
    size_t n = MIN(in.len, sizeof(v2_signature) - 1);
    if (n && memcmp(in.data, v2_signature, n) == 0)
        return n < sizeof(v2_signature) - 1 ? PROXY_MORE : v2_parse(in, out, used);
    n = MIN(in.len, 6);
    if (n && memcmp(in.data, "PROXY ", n) != 0)
        return PROXY_BAD;
    return n < 6 ? PROXY_MORE : v1_parse(in, out, used);
}
