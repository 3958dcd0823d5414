/* SPDX-License-Identifier: Apache-2.0
 *
 * house_abuse: the sending limits and the greylist in the house: opened with the store, told of the
 * configuration, and their work in the background on thread 0.
 */
#ifndef APP_HOUSE_ABUSE_H
#define APP_HOUSE_ABUSE_H

#include "app/house.h"

struct send_policy house_send_policy(const struct config *c);
struct greylist_policy house_greylist_policy(const struct config *c);

enum err house_abuse_open(struct house_process *h) MUST;                 /* before the threads */
void house_abuse_policy(struct house_thread *t, const struct config *c); /* on the thread */
enum err house_abuse_start(struct house_process *h) MUST;
void house_abuse_end(struct house_process *h) WAITS; /* when no other thread runs any more */

#endif
