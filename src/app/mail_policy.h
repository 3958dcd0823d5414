/* SPDX-License-Identifier: Apache-2.0
 *
 * mail_policy: the sections mail_auth and blocklist of the configuration as proto/smtp uses them.
 */
#ifndef APP_MAIL_POLICY_H
#define APP_MAIL_POLICY_H

#include "app/config.h"

/* Lists live in c's arena. ERR_INVALID: *bad (a static text) says which setting is wrong; *word is
 * what it holds. ERR_NOMEM. */
enum err mail_policy_of(struct config *c, struct smtp_policy *out, const char **bad,
                        str *word) MUST;

#endif
