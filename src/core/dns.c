/* SPDX-License-Identifier: Apache-2.0 */
#include "core/dns.h"

#include <assert.h>

void dns_reverse_name(const uint8_t *ip, size_t len, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    assert(len == 4 || len == 16);
    if (len == 4) {
        buf_addf(out, "%u.%u.%u.%u.in-addr.arpa", ip[3], ip[2], ip[1], ip[0]);
        return;
    }
    for (size_t i = 16; i-- > 0;) {
        buf_add_char(out, digits[ip[i] & 15]);
        buf_add_char(out, '.');
        buf_add_char(out, digits[ip[i] >> 4]);
        buf_add_char(out, '.');
    }
    buf_add_c(out, "ip6.arpa");
}
