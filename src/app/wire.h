/* SPDX-License-Identifier: Apache-2.0
 *
 * wire: small values as BYTES fields of ipc.def.
 */
#ifndef APP_WIRE_H
#define APP_WIRE_H

#include "core/house.h"

#define WIRE_ADDRESS_BYTES 19 /* family, 16 bytes, be16 port */
struct wire_address {
    uint8_t bytes[WIRE_ADDRESS_BYTES];
};
/* Borrows from *room. */
str wire_address_put(const struct address *a, struct wire_address *room);
/* Strict: false unless it is what wire_address_put makes. */
bool wire_address_take(str s, struct address *out);
bool wire_bool_take(uint32_t n, bool *out);
bool wire_protocol_take(uint32_t n, enum protocol *out); /* exactly one */

#endif
