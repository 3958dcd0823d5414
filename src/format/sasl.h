/* SPDX-License-Identifier: Apache-2.0
 *
 * sasl: the messages of SASL mechanisms, base64 already taken off. RFC 4422, 4616 PLAIN, LOGIN,
 * 5802 and 7677 SCRAM, 7628 OAUTHBEARER, Google's XOAUTH2. Syntax only: no key is derived here,
 * and names are not normalised (core does that); but all text is valid UTF-8 without NUL or other
 * controls, or the message is refused with ERR_SYNTAX. Results borrow from the message, except
 * decoded values, which live in the arena. Nothing waits.
 */
#ifndef FORMAT_SASL_H
#define FORMAT_SASL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* Valid UTF-8, no control (C0, DEL, C1), 1 to SASL_TEXT_MAX bytes. */
bool sasl_text_valid(str s);

struct sasl_plain {
    str authzid; /* may be empty */
    str authcid, password;
};
enum err sasl_plain_parse(str msg, struct sasl_plain *out) MUST;
void sasl_plain_render(struct buf *out, const struct sasl_plain *m);

/* LOGIN: two prompts, two answers (draft-murchison-sasl-login). */
enum err sasl_login_parse(str msg, str *out) MUST; /* one answer, checked as text */

/* EXTERNAL (RFC 4422 App. A): an authorization identity or nothing. */
enum err sasl_external_parse(str msg, str *authzid) MUST;

/* SCRAM (RFC 5802 7). */
enum scram_binding {
    SCRAM_BINDING_NONE,        /* 'n': the client has none */
    SCRAM_BINDING_UNSUPPORTED, /* 'y': the client has, but thinks that the server has not */
    SCRAM_BINDING_EXPORTER,    /* p=tls-exporter (RFC 9266) */
    SCRAM_BINDING_ENDPOINT,    /* p=tls-server-end-point (RFC 5929) */
    SCRAM_BINDING_UNIQUE,      /* p=tls-unique (RFC 5929) */
    SCRAM_BINDING_OTHER,       /* p= with another name */
};
struct scram_client_first {
    enum scram_binding binding;
    str gs2_header; /* "n,a=x,": begins the channel binding data of the final message */
    str bare;       /* client-first-message-bare: begins the AuthMessage */
    str authzid;    /* unescaped; may be empty */
    str user;       /* unescaped */
    str nonce;
};
enum err scram_client_first_parse(struct arena *a, str msg, struct scram_client_first *out) MUST;

struct scram_client_final {
    str binding;       /* decoded: gs2 header, then the binding's bytes */
    str nonce;         /* client's and server's joined */
    str proof;         /* decoded */
    str without_proof; /* ends the AuthMessage */
};
enum err scram_client_final_parse(struct arena *a, str msg, struct scram_client_final *out) MUST;
/* True when `binding` is exactly gs2_header followed by cb_data (constant time in the contents). */
bool scram_binding_matches(str binding, str gs2_header, str cb_data);

void scram_server_first(struct buf *out, str nonce, str salt, uint32_t iterations);
void scram_server_final(struct buf *out, str signature);

/* The client side, for smart hosts. */
void scram_client_first_render(struct buf *out, const char *gs2_header, str user, str nonce);
struct scram_server_first {
    str nonce, salt;     /* salt decoded */
    uint32_t iterations; /* 1 to SCRAM_ITERATIONS_MAX */
};
enum err scram_server_first_parse(struct arena *a, str msg, struct scram_server_first *out) MUST;
/* ERR_AUTH for "e=…"; *signature decoded. */
enum err scram_server_final_parse(struct arena *a, str msg, str *signature) MUST;

/* Bearer tokens. */
struct sasl_oauth {
    str authzid; /* the user asked for; may be empty for OAUTHBEARER */
    str host, port;
    str token; /* b64token (RFC 6750 2.1) */
};
enum err sasl_oauthbearer_parse(struct arena *a, str msg, struct sasl_oauth *out) MUST;
enum err sasl_xoauth2_parse(str msg, struct sasl_oauth *out) MUST;
/* The JSON of a failure (RFC 7628 3.2.2), before base64. scope may be empty. */
void sasl_oauth_error(struct buf *out, const char *status, str scope);

#endif
