/* SPDX-License-Identifier: Apache-2.0
 *
 * urlkey: the secret of a mailbox that signs URLs into it (RFC 4467, mechanism INTERNAL). Made when
 * it is first needed, replaced by RESETKEY, gone with the mailbox.
 */
#ifndef CORE_URLKEY_H
#define CORE_URLKEY_H

#include "core/mailbox.h"

#define URLKEY_BYTES 32

/* HMAC-SHA-256 of the URL's rump under the mailbox's key. make: if there is none; else
 * ERR_NOT_FOUND. */
enum err urlkey_sign(struct account *a, uint32_t mailbox, str rump, bool make,
                     uint8_t out[URLKEY_BYTES]) WAITS MUST;
/* Every URL signed so far is void. mailbox 0: all of the account. */
enum err urlkey_reset(struct account *a, uint32_t mailbox) WAITS MUST;
/* For check. */
bool urlkey_row_valid(str row);

#endif
