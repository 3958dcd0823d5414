/* SPDX-License-Identifier: Apache-2.0
 *
 * parent: binds the ports, forks the roles and keeps them alive. It parses nothing from the
 * network: its input is the configuration, signals, and strict frames from its children.
 */
#ifndef APP_PARENT_H
#define APP_PARENT_H

#include "app/roles.h"

/* Called once, when every gate accepts and the links that links.def calls needed are up. */
typedef void parent_ready_fn(void *arg, const struct server *s);

/* Runs until SIGTERM, SIGINT or `posthouse ctl stop`; the result is the exit status. SIGHUP
 * reloads. s is filled in (server.h) and stays the caller's. */
int parent_run(struct server *s, parent_ready_fn *ready, void *arg);

#endif
