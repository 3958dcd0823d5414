/* SPDX-License-Identifier: Apache-2.0 */
#include "format/tls_signed.h"

#define SPACES 64 /* RFC 8446 4.4.3 */
#define RANDOMS 64
#define NAMED_CURVE 3 /* RFC 8422 5.4 */
#define UNCOMPRESSED 4

/* With the zero byte behind it. */
static const char context[] = "TLS 1.3, server CertificateVerify";

static const struct {
    uint8_t group[2];
    uint8_t point_len;
    bool uncompressed; /* the point begins with its form */
} groups[] = {
    {{0, 23}, 65, true},  /* P-256 */
    {{0, 24}, 97, true},  /* P-384 */
    {{0, 29}, 32, false}, /* X25519 */
};

static bool is_1_3(str content)
{
    str head = str_head(content, SPACES), rest = str_skip(content, SPACES);
    for (size_t i = 0; i < head.len; i++) {
        if (head.data[i] != ' ')
            return false;
    }
    if (!str_starts(rest, str_of(context, sizeof(context))))
        return false;
    size_t hash = rest.len - sizeof(context);
    return hash == 32 || hash == 48; /* SHA-256, SHA-384: the suites' hashes */
}

static bool is_1_2(str content)
{
    str params = str_skip(content, RANDOMS);
    if (params.len < 5)
        return false;
    const uint8_t *p = (const uint8_t *)params.data;
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (p[0] == NAMED_CURVE && p[1] == groups[i].group[0] && p[2] == groups[i].group[1])
            return p[3] == groups[i].point_len && params.len == 4u + groups[i].point_len &&
                   (!groups[i].uncompressed || p[4] == UNCOMPRESSED);
    }
    return false;
}

enum tls_signed tls_signed_kind(str content)
{
    if (content.len > TLS_SIGNED_MAX)
        return TLS_SIGNED_NOTHING;
    if (is_1_3(content))
        return TLS_SIGNED_1_3;
    return is_1_2(content) ? TLS_SIGNED_1_2 : TLS_SIGNED_NOTHING;
}

bool tls_signed_allowed(enum tls_signed kind, uint16_t scheme)
{
    bool pkcs1 = scheme == 0x0401 || scheme == 0x0501 || scheme == 0x0601;
    return kind == TLS_SIGNED_1_2 || (kind == TLS_SIGNED_1_3 && !pkcs1);
}
