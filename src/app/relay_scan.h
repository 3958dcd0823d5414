/* SPDX-License-Identifier: Apache-2.0
 *
 * relay_scan: a message to the scanner of the configuration, over HTTP as rspamd speaks it.
 */
#ifndef APP_RELAY_SCAN_H
#define APP_RELAY_SCAN_H

#include "proto/relay/fetch.h"

/* url: scanner.url; empty: ERR_UNSUPPORTED. Errors as struct relay says. */
enum err relay_scan_run(const struct fetch_options *o, str url, const struct relay_scan *q,
                        struct arena *arena, str *json) WAITS MUST;
/* scanner.url can be used: empty, http or https. */
bool relay_scan_url_valid(str url);

#endif
