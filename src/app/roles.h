/* SPDX-License-Identifier: Apache-2.0
 *
 * roles: the processes and their authority (roles.def), and what all of them inherit from the
 * parent.
 */
#ifndef APP_ROLES_H
#define APP_ROLES_H

#include "app/config.h"
#include "app/ipc.h"
#include "net/tls.h"

enum role {
#define ROLE(name, ...) ROLE_##name,
#include "app/roles.def"
#undef ROLE
    ROLES
};

enum listener_kind {
#define LISTENER(name, ...) LISTENER_##name,
#include "app/listeners.def"
#undef LISTENER
    LISTENER_KINDS
};
struct listener_row {
    const char *name;
    bool implicit_tls;
    uint16_t dev_port; /* added to BASE; 0: a socket path */
};
extern const struct listener_row listener_rows[LISTENER_KINDS];
const struct config_listens *config_listens_of(const struct config *c, enum listener_kind kind);

#define SOCKETS_MAX 64
#define GATES_MAX 64
#define THREADS_MAX 64
#define CERTIFICATES_MAX 64

/* A bound and listening socket. */
struct server_socket {
    enum listener_kind kind;
    struct config_listen where; /* its slices live in the config that named it */
    char text[120];             /* "smtp *:25", for comparing and the log */
    int fd;                     /* -1: free slot; the first gate's, and of a path everybody's */
    int more[GATES_MAX];        /* the other gates' own, by number; or -1 */
};
static inline int server_socket_fd(const struct server_socket *k, uint32_t gate)
{
    return gate > 0 && k->more[gate] >= 0 ? k->more[gate] : k->fd;
}

/* What the parent has made and its children inherit when they are forked. */
struct server {
    struct config config;
    str config_path;   /* read again at a reload; empty: there is none (dev) */
    str data_dir;      /* absolute */
    bool memory_store; /* dev without --store */
    uint32_t accounts; /* dev: so many test accounts are made at start */
    uint32_t ngates, nthreads;
    bool stay_who_we_are;     /* dev: no service user */
    unsigned uid, gid;        /* the service user; 0: stay who we are */
    struct tls_server *tls;   /* certificates without their keys, or NULL */
    struct tls_signer signer; /* tls's: each gate fills in its own */
    int keys_fd; /* certificates with their keys, sealed, for the role that holds them; or -1 */
    struct server_socket sockets[SOCKETS_MAX];
    int control_fd; /* listening; the house's */
};

/* The ends that ask relay and keys, as these two number them: the gates, then the house's threads.
 */
uint32_t asker_count(const struct server *s);
/* ERR_INVALID: there is no such end. */
enum err asker_index(const struct server *s, uint32_t role, uint32_t number, uint32_t *out) MUST;
#define ASKER_NAME_MAX 24
void asker_name(const struct server *s, uint32_t index, char out[ASKER_NAME_MAX]);

/* The child's life: gives up authority, then runs until the parent says stop or goes away. control
 * is the child's end of its link to the parent. The result is the exit status. */
int gate_main(struct server *s, uint32_t number, int control);
int house_main(struct server *s, int control);
int relay_main(struct server *s, int control);
int keys_main(struct server *s, int control);

/* Applies the role's row; a process that cannot be confined must not run. */
enum err role_enter(enum role r, const struct server *s) MUST;
const char *role_name(enum role r);
/* What the row says that it may ask: words for people, held against links.def by a test. */
const char *role_calls(enum role r);

/* PEM texts of certificates, and of the CAs of clients' (empty: none), in one sealed memory file
 * and back. */
enum err certificates_pack(const struct tls_certificate *certs, size_t n, str client_ca,
                           int *fd) MUST;
/* The same into an empty memory file. */
enum err certificates_fill(const struct tls_certificate *certs, size_t n, str client_ca,
                           int fd) MUST;
enum err certificates_unpack(int fd, struct arena *a, struct tls_certificate *out, size_t max,
                             size_t *n, str *client_ca) MUST;
/* Wipes the texts of keys, which are in memory of the caller's. */
void certificates_forget(const struct tls_certificate *certs, size_t n);
/* A text in a sealed memory file and back. */
enum err text_pack(str text, const char *name, int *fd) MUST;
enum err text_unpack(int fd, size_t max, struct buf *out) MUST;

#endif
