/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "os/sock.h"

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291 2.5.5.2 */

bool address_parse(str text, struct address *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.data, 0, text.len))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    *out = (struct address){.family = 4};
    if (inet_pton(AF_INET, copy, out->ip) == 1)
        return true;
    if (inet_pton(AF_INET6, copy, out->ip) != 1) {
        *out = (struct address){0};
        return false;
    }
    out->family = 6;
    if (memcmp(out->ip, v4_mapped, sizeof v4_mapped) == 0) {
        memmove(out->ip, out->ip + 12, 4);
        memset(out->ip + 4, 0, 12);
        out->family = 4;
    }
    return true;
}

_Static_assert(ADDRESS_TEXT_MAX == INET6_ADDRSTRLEN, "room for the longest");

const char *address_text(const struct address *a, char out[ADDRESS_TEXT_MAX])
{
    if (a->family == 4 || a->family == 6)
        inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->ip, out, ADDRESS_TEXT_MAX);
    else
        snprintf(out, ADDRESS_TEXT_MAX, "%s", a->family == 1 ? "unix" : "unknown");
    return out;
}

void address_render(const struct address *a, struct buf *out)
{
    char text[ADDRESS_TEXT_MAX];
    buf_add_c(out, address_text(a, text));
}

bool address_in(const struct address *a, const struct address *net, unsigned prefix_bits)
{
    if (a->family != net->family || (a->family != 4 && a->family != 6))
        return false;
    unsigned bits = MIN(prefix_bits, a->family == 4 ? 32u : 128u);
    if (memcmp(a->ip, net->ip, bits / 8) != 0)
        return false;
    if (bits % 8 == 0)
        return true;
    uint8_t mask = (uint8_t)(0xff << (8 - bits % 8));
    return ((a->ip[bits / 8] ^ net->ip[bits / 8]) & mask) == 0;
}

bool address_is_loopback(const struct address *a)
{
    if (a->family == 1)
        return true;
    static const struct address v4 = {.family = 4, .ip = {127}};
    static const struct address v6 = {.family = 6, .ip = {[15] = 1}};
    return address_in(a, &v4, 8) || address_in(a, &v6, 128);
}

/* RFC 6890 and its registries: what no public sender has. */
static const struct {
    struct address net;
    unsigned bits;
} private_nets[] = {
    {{.family = 4, .ip = {0}}, 8},         {{.family = 4, .ip = {10}}, 8},
    {{.family = 4, .ip = {100, 64}}, 10},  {{.family = 4, .ip = {127}}, 8},
    {{.family = 4, .ip = {169, 254}}, 16}, {{.family = 4, .ip = {172, 16}}, 12},
    {{.family = 4, .ip = {192, 168}}, 16}, {{.family = 4, .ip = {224}}, 3},
    {{.family = 6, .ip = {0}}, 127}, /* :: and ::1 */
    {{.family = 6, .ip = {0xfc}}, 7},      {{.family = 6, .ip = {0xfe, 0x80}}, 10},
    {{.family = 6, .ip = {0xff}}, 8},
};

/* An IPv6 address that carries an IPv4 one reaches what that one reaches: compatible (RFC 4291),
 * NAT64 (RFC 6052) and 6to4 (RFC 3056). */
static bool address_embedded(const struct address *a, struct address *out)
{
    static const struct address compatible = {.family = 6};
    static const struct address nat64 = {.family = 6, .ip = {0x00, 0x64, 0xff, 0x9b}};
    static const struct address six_to_four = {.family = 6, .ip = {0x20, 0x02}};
    size_t at;
    if (address_in(a, &compatible, 96) || address_in(a, &nat64, 96))
        at = 12;
    else if (address_in(a, &six_to_four, 16))
        at = 2;
    else
        return false;
    *out = (struct address){.family = 4};
    memcpy(out->ip, a->ip + at, 4);
    return true;
}

bool address_is_private(const struct address *a)
{
    if (a->family == 1)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(private_nets); i++)
        if (address_in(a, &private_nets[i].net, private_nets[i].bits))
            return true;
    struct address inner;
    return address_embedded(a, &inner) && address_is_private(&inner);
}
