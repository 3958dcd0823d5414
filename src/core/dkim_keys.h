/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_keys: the signing keys of our domains, in the directory, and their rotation. A key waits
 * (its record is to be published), signs, and is retired (its record stays while signatures made
 * with it are on their way). Several keys may sign: one of each kind.
 */
#ifndef CORE_DKIM_KEYS_H
#define CORE_DKIM_KEYS_H

#include "core/directory.h"
#include "core/dkim_sign.h"
#include "core/house.h"

#define DKIM_DOMAIN_KEYS_MAX 16
#define DKIM_PUBLISH_WAIT_S 86400 /* a record may be absent from caches for so long */
#define DKIM_SELECTOR_MAX 63      /* bytes: one label */

enum dkim_use { DKIM_WAITING = 1, DKIM_SIGNING = 2, DKIM_RETIRED = 3 };
struct dkim_domain_key {
    str domain, selector;
    enum dkim_use use;
    bool ed25519;
    int64_t created_s, changed_s; /* changed: when `use` became what it is */
    str pem;
};
struct dkim_domain_keys {
    struct dkim_domain_key keys[DKIM_DOMAIN_KEYS_MAX];
    size_t count;
};

/* All of a domain, by selector; slices live in the arena. Also for a domain that is not ours. */
enum err dkim_keys_of(struct directory *d, str domain, struct arena *a,
                      struct dkim_domain_keys *out) WAITS MUST;
/* Makes a key that waits, with a selector of its own when none is given. ERR_NO_DOMAIN, ERR_EXISTS,
 * ERR_INVALID (the selector is no label), ERR_LIMIT. */
enum err dkim_keys_add(struct directory *d, str domain, str selector, bool ed25519, int64_t now_s,
                       struct arena *a, struct dkim_domain_key *out) WAITS MUST;
/* Those that wait begin to sign; those of the same kind that signed retire. One commit.
 * ERR_NOT_FOUND: none waits. ERR_BUSY: others sign, and one has not waited DKIM_PUBLISH_WAIT_S
 * (unless at_once). */
enum err dkim_keys_switch(struct directory *d, str domain, bool at_once, int64_t now_s) WAITS MUST;
/* ERR_NOT_FOUND. */
enum err dkim_keys_remove(struct directory *d, str domain, str selector) WAITS MUST;

/* The signature fields for a message of a signed-in sender, to stand before its trace: made with
 * the keys that sign for the domain of From; nothing appended when there are none. Hashing and
 * signing run on a worker. */
enum err dkim_sign_envelope(struct directory *d, const struct envelope *e, int64_t now_s,
                            struct buf *out) WAITS MUST;

#endif
