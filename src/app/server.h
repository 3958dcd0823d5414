/* SPDX-License-Identifier: Apache-2.0
 *
 * server: makes what the roles inherit: sockets bound, certificates read. One sentence in *error
 * says what is wrong and where.
 */
#ifndef APP_SERVER_H
#define APP_SERVER_H

#include "app/roles.h"

void server_init(struct server *s); /* nothing is open */
/* Over s->config, s->data_dir: counts of gates and threads, the service user, the data folder, the
 * control socket, sockets, certificates. */
enum err server_open(struct server *s, struct buf *error) MUST;
void server_stop_listening(struct server *s); /* the gates still have theirs */
void server_close(struct server *s);

/* Reads and parses a configuration file. */
enum err server_config_read(str path, struct config *out, struct buf *error) MUST;
/* Reads tls.certificates with their keys; with `certs` empty, n is 0. The PEM texts live in the
 * arena. */
enum err server_certificates(const struct config *c, struct arena *a, struct tls_certificate *certs,
                             size_t max, size_t *n, struct buf *error) MUST;
/* Binds what is new in s->config and unbinds what is gone; opened and closed (SOCKETS_MAX each) say
 * which. All or nothing. */
enum err server_sockets(struct server *s, bool opened[SOCKETS_MAX], bool closed[SOCKETS_MAX],
                        struct buf *error) MUST;
/* The port of the first socket of that kind, also where the system chose it; 0: there is none. */
uint16_t server_port(const struct server *s, enum listener_kind kind);
/* A path relative to the data folder, or as it is when absolute. */
str server_path(const struct server *s, str path, struct arena *a);

#endif
