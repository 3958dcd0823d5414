/* SPDX-License-Identifier: Apache-2.0
 *
 * json: writes JSON (RFC 8259) into a buf. Commas come by themselves; invalid UTF-8 becomes U+FFFD.
 */
#ifndef APP_JSON_H
#define APP_JSON_H

#include "base/buf.h"

struct json {
    struct buf *out;
    bool comma; /* something stands before on this level */
};
static inline struct json json_of(struct buf *out) { return (struct json){out, false}; }
void json_open(struct json *j, char bracket);  /* '{' or '[' */
void json_close(struct json *j, char bracket); /* '}' or ']' */
void json_key(struct json *j, const char *key);
void json_str(struct json *j, str value);
void json_u64(struct json *j, uint64_t value);
void json_bool(struct json *j, bool value);
void json_raw(struct json *j, str value); /* JSON already */

#endif
