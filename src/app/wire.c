/* SPDX-License-Identifier: Apache-2.0 */
#include "app/wire.h"

#include <string.h>

str wire_address_put(const struct address *a, struct wire_address *room)
{
    room->bytes[0] = a->family;
    memcpy(room->bytes + 1, a->ip, 16);
    room->bytes[17] = (uint8_t)(a->port >> 8);
    room->bytes[18] = (uint8_t)a->port;
    return str_of(room->bytes, sizeof(room->bytes));
}

bool wire_address_take(str s, struct address *out)
{
    if (s.len != WIRE_ADDRESS_BYTES)
        return false;
    const uint8_t *b = (const uint8_t *)s.data;
    if (b[0] != 0 && b[0] != 1 && b[0] != 4 && b[0] != 6)
        return false;
    *out = (struct address){.family = b[0], .port = (uint16_t)(b[17] << 8 | b[18])};
    memcpy(out->ip, b + 1, 16);
    return true;
}

bool wire_bool_take(uint32_t n, bool *out)
{
    *out = n == 1;
    return n <= 1;
}

bool wire_protocol_take(uint32_t n, enum protocol *out)
{
    *out = (enum protocol)n;
    return n != 0 && (n & (n - 1)) == 0 && (n & PROTOCOL_ALL) == n;
}
