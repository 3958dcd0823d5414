/* SPDX-License-Identifier: Apache-2.0
 *
 * search_private: shared by the search*.c files.
 */
#ifndef CORE_SEARCH_PRIVATE_H
#define CORE_SEARCH_PRIVATE_H

#include "core/search_text.h"

/* What search looks at in a message, still encoded, in order. Each may answer false to end it. */
struct search_sink {
    bool (*header)(void *arg, char kind, str block);
    bool (*begin)(void *arg, enum cte cte, str charset, bool html);
    bool (*body)(void *arg, str raw); /* SEARCH_FEED_MAX each but the last */
    bool (*end)(void *arg);
};
/* ERR_NOT_FOUND, ERR_CORRUPT (nothing can be read), and temporary ones. */
enum err search_walk(struct account *a, uint64_t message, const struct search_sink *sink,
                     void *arg) WAITS MUST;

/* Yields when the fiber has run for some ms. */
struct search_slice {
    uint64_t since_ms;
};
#define SEARCH_SLICE_MS 4
bool search_slice_over(struct search_slice *s) WAITS; /* it was, and others have run */

/* Scans one message. */
enum err search_scan(struct account *a, uint64_t message, struct search_matcher *m) WAITS MUST;

#endif
