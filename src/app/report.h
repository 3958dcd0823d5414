/* SPDX-License-Identifier: Apache-2.0
 *
 * report: what a command says, as lines for people or as one JSON object for programs, from the
 * same calls. Text: a field outside of items is "key: value"; an item is one line, its first field
 * bare and the others key=value; empty fields are left out. JSON: {"ok":true, fields, lists,
 * "message":"…"}.
 */
#ifndef APP_REPORT_H
#define APP_REPORT_H

#include "app/json.h"
#include "base/err.h"

struct report {
    bool json;
    struct buf *out;
    struct buf message; /* sentences, kept for the end of the object */
    struct json j;
    bool in_item, first, discarded;
};
void report_open(struct report *r, bool json, struct buf *out);
void report_close(struct report *r);
void report_discard(struct report *r); /* nothing is said, not even that all went well */
/* In place of everything said so far. text: one sentence. */
void report_failure(struct report *r, enum err e, str text, struct buf *errors);

void report_say(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_list(struct report *r, const char *key);
void report_list_end(struct report *r);
void report_item(struct report *r);
void report_item_end(struct report *r);
void report_str(struct report *r, const char *key, str value);
void report_u64(struct report *r, const char *key, uint64_t value);
void report_bool(struct report *r, const char *key, bool value);     /* text: key, only when true */
void report_time(struct report *r, const char *key, int64_t wall_s); /* RFC 3339; 0: left out */
void report_strs(struct report *r, const char *key, const str *values, size_t n);
void report_json(struct report *r, const char *key,
                 str value); /* JSON already; text: a list of objects is items */

#endif
