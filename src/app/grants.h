/* SPDX-License-Identifier: Apache-2.0
 *
 * grants: which accounts signed in through a gate lately. The house believes a gate only about
 * these, so a gate that was broken into cannot act for everybody (rule proc-1). One per gate,
 * shared by the house's threads. Nothing here waits.
 */
#ifndef APP_GRANTS_H
#define APP_GRANTS_H

#include "base/map.h"

#include <pthread.h>

#define GRANTS_MAX 100000 /* accounts per gate */
#define GRANT_MS 3600000u /* since it was last used */

struct grants {
    pthread_mutex_t lock;
    struct map accounts; /* account → time of last use, ms */
};
void grants_init(struct grants *g);
void grants_reset(struct grants *g); /* a new gate starts without any */
/* ERR_TOO_MANY: full of fresh ones. */
enum err grants_add(struct grants *g, uint64_t account, uint64_t now_ms) MUST;
/* True (and fresh again) when the account signed in through this gate lately; 0, a stranger,
 * always. */
bool grants_has(struct grants *g, uint64_t account, uint64_t now_ms);

#endif
