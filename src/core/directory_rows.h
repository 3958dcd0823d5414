/* SPDX-License-Identifier: Apache-2.0
 *
 * directory_rows: keys and rows of the directory partition. Every row begins with its version byte.
 *
 *   'D' domain                      → domain row
 *   'A' domain 00 local             → address row (account, alias or group)
 *   'H' …                           → who shares mailboxes with whom (acl_share.c); derived
 *   'I' account id                  → account row
 *   'C' account id, credential id   → credential row
 *   'G' account id, address         → granted sender address (empty row)
 *   'M' entry                       → shared metadata of the server (metadata.c)
 *   'K' domain 00 selector          → DKIM key row
 *   'N'                             → next account id
 *   'R' match, name                 → route row (core/transport.h)
 *   'S'                             → 32 secret bytes of this store
 */
#ifndef CORE_DIRECTORY_ROWS_H
#define CORE_DIRECTORY_ROWS_H

#include "core/credentials.h"

#define DIRECTORY_ROW_VERSION 1

enum {
    DIR_SPACE_ADDRESS = 'A',
    DIR_SPACE_CREDENTIAL = 'C',
    DIR_SPACE_DKIM = 'K', /* core/dkim_keys.h */
    DIR_SPACE_DOMAIN = 'D',
    DIR_SPACE_GRANT = 'G',
    DIR_SPACE_SHARE = 'H',
    DIR_SPACE_ACCOUNT = 'I',
    DIR_SPACE_METADATA = 'M',
    DIR_SPACE_NEXT = 'N',
    DIR_SPACE_ROUTE = 'R',
    DIR_SPACE_SECRET = 'S'
};

/* ERR_LIMIT when the name does not fit into a key. */
enum err key_domain(struct store_key *k, str domain) MUST;
enum err key_address(struct store_key *k, str address) MUST;
enum err key_grant(struct store_key *k, uint64_t account, str address) MUST;
#define DIR_GRANT_ADDRESS_AT 9 /* in its key: behind space and account */
void key_account(struct store_key *k, uint64_t id);
void key_credential(struct store_key *k, uint64_t account, uint32_t id);
void key_next_account(struct store_key *k);
/* The first key after every key that begins with these bytes. */
void key_after_prefix(struct store_key *k, str prefix);

void domain_row_encode(const struct domain *d, struct buf *out);
void account_row_encode(const struct account_entry *e, struct buf *out);
void address_row_encode(const struct address_entry *e, struct buf *out);
void credential_row_encode(const struct credential *c, struct buf *out);
/* Slices are borrowed from row; arrays live in the arena. ERR_CORRUPT, ERR_LIMIT. */
enum err domain_row_decode(str row, str name, struct domain *out) MUST;
enum err account_row_decode(str row, uint64_t id, struct account_entry *out) MUST;
enum err address_row_decode(str row, str address, struct arena *a, struct address_entry *out) MUST;
enum err credential_row_decode(str row, uint32_t id, struct credential *out) MUST;
/* "A" domain 00 local → local@domain. */
enum err address_of_key(str key, struct arena *a, str *out) MUST;

#endif
