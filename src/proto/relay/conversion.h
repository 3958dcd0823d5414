/* SPDX-License-Identifier: Apache-2.0
 *
 * conversion: format/convert.h over the memory file of an attempt, which is mapped, so that no copy
 * of the message is made; the plan is found on a worker thread.
 */
#ifndef PROTO_RELAY_CONVERSION_H
#define PROTO_RELAY_CONVERSION_H

#include "format/convert.h"

struct conversion {
    struct arena arena;
    str mapped;
    struct convert plan; /* copy it to make the content, once for each time */
    uint64_t size;       /* bytes of the converted content */
};
/* ERR_UNSUPPORTED: *refused says why it cannot be done. End it whatever this gives. */
enum err conversion_begin(struct conversion *c, int fd, uint64_t size, enum convert_to to,
                          const char **refused) WAITS MUST;
void conversion_end(struct conversion *c); /* a zeroed one is fine */

#endif
