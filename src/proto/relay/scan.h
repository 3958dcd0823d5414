/* SPDX-License-Identifier: Apache-2.0
 *
 * scan: a message to the scanner of the configuration, over HTTP as rspamd speaks it.
 */
#ifndef PROTO_RELAY_SCAN_H
#define PROTO_RELAY_SCAN_H

#include "proto/relay/fetch.h"

/* url: scanner.url; empty: ERR_UNSUPPORTED. Errors as struct relay says. */
enum err scan_run(const struct fetch_options *o, str url, const struct relay_scan *q,
                  struct arena *arena, str *json) WAITS MUST;
/* scanner.url can be used: empty, http or https. */
bool scan_url_valid(str url);

#endif
