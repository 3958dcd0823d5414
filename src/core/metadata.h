/* SPDX-License-Identifier: Apache-2.0
 *
 * metadata: annotations of mailboxes and of the server (RFC 5464). An entry's name is ASCII and the
 * same in any case: "/private/comment", "/shared/vendor/…". Shared entries live in the mailbox's
 * account, those of the server in the directory partition; private ones in the account of the one
 * who wrote them, also those about others' mailboxes. Names are kept in lower case.
 */
#ifndef CORE_METADATA_H
#define CORE_METADATA_H

#include "core/mailbox.h"

enum metadata_scope { METADATA_SHARED = 0, METADATA_PRIVATE = 1 };
#define METADATA_NAME_MAX 200    /* bytes */
#define METADATA_VALUE_MAX 61440 /* bytes */
#define METADATA_ENTRIES_MAX 100 /* of one mailbox and scope */

/* What entries belong to. */
struct metadata_place {
    struct account *account; /* where they are kept; NULL: the server's shared ones, with store */
    struct store *store;
    uint64_t owner;   /* whose mailbox; the account itself for its own and for the server's */
    uint32_t mailbox; /* 0: the server */
    enum metadata_scope scope;
};

/* "/private/x", "/shared/x": checked and in lower case, in the arena. ERR_INVALID (no such scope,
 * empty parts, '*' or '%', not ASCII), ERR_LIMIT (name too long). */
enum err metadata_name(str name, struct arena *a, enum metadata_scope *scope, str *out) MUST;

struct metadata_value {
    str name, value;
};
/* The entries at or below a prefix: depth 0 only itself, 1 its children too, UINT32_MAX all; an
 * empty prefix is above all. In order of name, in the arena. */
enum err metadata_list(const struct metadata_place *p, str prefix, uint32_t depth, struct arena *a,
                       const struct metadata_value **out, size_t *n) WAITS MUST;

struct metadata_change {
    str name;
    str value;
    bool remove;
};
/* All or none. ERR_TOO_LARGE (a value), ERR_LIMIT (ENTRIES_MAX), ERR_NOT_FOUND (mailbox). The
 * change log notes the names (but of private ones about others' mailboxes). */
enum err metadata_set(const struct metadata_place *p, const struct metadata_change *changes,
                      size_t n) WAITS MUST;

/* For check. ERR_CORRUPT. */
enum err metadata_decode(str row, str *value) MUST;

#endif
