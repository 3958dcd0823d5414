/* SPDX-License-Identifier: Apache-2.0
 *
 * acl_private: shared by the acl*.c files.
 */
#ifndef CORE_ACL_PRIVATE_H
#define CORE_ACL_PRIVATE_H

#include "core/acl.h"

enum err acl_who_is_member(struct directory *d, struct acl_who *who, str group,
                           bool *member) WAITS MUST;
/* The derived row of (grantee, owner), each time with another value. */
enum err acl_hint_put(struct directory *d, const struct acl_entry *who, uint64_t owner) WAITS MUST;
/* Takes it away if no list of the owner names the grantee any more. */
enum err acl_hint_tidy(struct directory *d, struct account *owner,
                       const struct acl_entry *who) WAITS MUST;

#endif
