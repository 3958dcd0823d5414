/* SPDX-License-Identifier: Apache-2.0
 *
 * policy_web: the two kinds of pages that this server answers to strangers: proofs of control for
 * ACME (RFC 8555 8.3) and MTA-STS policies of our domains (RFC 8461 3.3). Decided in the house,
 * asked by a gate, which has parsed the request.
 */
#ifndef CORE_POLICY_WEB_H
#define CORE_POLICY_WEB_H

#include "core/directory.h"
#include "format/mta_sts.h"

#define POLICY_WEB_CHALLENGES STR("/.well-known/acme-challenge/")
#define POLICY_WEB_MTA_STS STR("/.well-known/mta-sts.txt")
#define MTA_STS_MAX_AGE_S 604800

/* Our policy: mail for our domains comes to hostname over TLS. The id changes with the text. */
void policy_web_mta_sts(enum mta_sts_mode mode, str hostname, struct buf *text);
str policy_web_mta_sts_id(str text, struct arena *a);

/* Pages that this server has at all: others are refused without asking the house. */
bool policy_web_path(str path);
/* host: of the request, any case. secure: over TLS; a policy is given over TLS only. ERR_NOT_FOUND.
 */
enum err policy_web_answer(struct directory *d, enum mta_sts_mode mode, str hostname, str host,
                           str path, bool secure, struct buf *body) WAITS MUST;

#endif
