/* SPDX-License-Identifier: Apache-2.0
 *
 * forward: mail for an address of ours that leads to another host. Its bytes stay as they came (so
 * that DKIM holds); only the envelope sender is rewritten (core/srs.h).
 */
#ifndef CORE_FORWARD_H
#define CORE_FORWARD_H

#include "core/directory.h"
#include "core/queue.h"

/* directory_resolve(), and where the directory knows nobody: an address that we made with SRS
 * leads back to the sender it was made from; a forged or expired one is ERR_NO_USER. */
enum err forward_resolve(struct directory *d, str address, struct arena *a,
                         struct resolution *out) WAITS MUST;
/* The envelope sender for this recipient: the message's own, or rewritten when the recipient came
 * to be by an alias of ours and the sender is somebody else's. In the arena or borrowed. */
enum err forward_sender(struct directory *d, const struct envelope *e,
                        const struct queue_recipient *r, struct arena *a, str *out) WAITS MUST;

#endif
