/* SPDX-License-Identifier: Apache-2.0
 *
 * client: runs a STORE or SERVER command in the running server, or over the store alone.
 */
#ifndef APP_CLIENT_H
#define APP_CLIENT_H

#include "app/command.h"
#include "app/config.h"

/* words: as command_parse took them into r. Prints; gives the exit status. */
int client_run(struct command_run *r, const str *words, size_t n);
/* server.data of the configuration that r names, or --data. ERR_INVALID with r->error. */
enum err client_data_dir(struct command_run *r, struct config *config, str *out) MUST;
void client_print(const struct buf *out, const struct buf *errors);

#endif
