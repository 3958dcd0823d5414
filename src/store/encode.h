/* SPDX-License-Identifier: Apache-2.0
 *
 * encode: a commit as one block of memory, ready for the journal but for the header's place,
 * version and number. Runs on the submitting thread, so that copying and checksums of many
 * submitters go side by side.
 */
#ifndef STORE_ENCODE_H
#define STORE_ENCODE_H

#include "store/engine.h"
#include "store/record.h"

struct encoded {
    char *bytes; /* header, meta, blobs, padding; malloc */
    uint32_t length, meta_length;
    uint8_t format; /* of the record */
};
/* ERR_NOMEM; ERR_IO when a blob's file is shorter than said. */
enum err encode_commit(const struct store_commit *c, struct encoded *out) MUST;
static inline str encoded_meta(const struct encoded *e)
{
    return str_of(e->bytes + RECORD_HEADER, e->meta_length);
}

#endif
