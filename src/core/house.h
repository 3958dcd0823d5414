/* SPDX-License-Identifier: Apache-2.0
 *
 * house: everything that a gate may ask of the house, as one table of functions. In a gate, app/
 * fills it with calls over the wire between the roles (ipc.def); in the house and in unit tests it
 * is filled with the functions themselves. Protocol code cannot tell which. Every call may wait,
 * and answers ERR_UNAVAILABLE when the house is away (being restarted), which a client sees as 4xx.
 *
 * Slices in results live in the arena that was passed in.
 */
#ifndef CORE_HOUSE_H
#define CORE_HOUSE_H

#include "base/arena.h"
#include "base/err.h"
#include "net/stream.h"

/* For which protocol somebody signs in; bits, so that an app password can name several. */
enum protocol {
    PROTOCOL_SMTP = 1, /* submission */
    PROTOCOL_IMAP = 2,
    PROTOCOL_POP3 = 4,
    PROTOCOL_HTTP = 8,
    PROTOCOL_SIEVE = 16,
    PROTOCOL_ALL = 31,
};
#define PROTOCOLS 5 /* bits of PROTOCOL_ALL */

struct auth_attempt {
    enum protocol protocol;
    str login;             /* as the client sent it */
    str authzid;           /* whom to act as; empty: the login itself */
    struct address source; /* for limits and the log */
    bool secure;           /* TLS, or an exempted loopback connection (rule wire-3) */
};
struct auth_grant {
    uint64_t account;
    str address; /* the account's primary address */
};
struct auth_scram_salt {
    uint8_t salt[16];
    uint32_t iterations; /* the same answer shape for unknown logins, stable per login */
};

struct recipient_check {
    str address;        /* local@domain as given, domain in any case */
    uint64_t size;      /* announced message size, 0 unknown */
    uint64_t account;   /* the authenticated sender; 0: a stranger */
    bool relay_allowed; /* by a named relay entry */
};
struct recipient_verdict {
    bool local;    /* ends in mailboxes here; otherwise it goes to the queue */
    uint32_t home; /* the house thread of its (first) account, for routing `deliver` */
};

struct envelope_recipient {
    str address;    /* as accepted */
    str orcpt;      /* RFC 3461, decoded "type;address", or empty */
    uint8_t notify; /* NOTIFY_* bits; 0: default */
    bool junk;      /* judged so: into Junk, not INBOX */
};
enum { NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8 };

/* A message as the gate received it. The blob that is stored is trace + the content of fd. */
struct envelope {
    str sender;   /* reverse-path without <>; empty: null sender */
    str envid;    /* RFC 3461, decoded */
    uint8_t ret;  /* enum smtp_ret (format/smtp_syntax.h) */
    uint8_t body; /* enum smtp_body, there too */
    bool smtputf8, requiretls;
    bool tls_report;        /* ours: it goes out however TLS fails (RFC 8460 3), and uncounted */
    bool sender_failed;     /* its domain says that it is forged: no report goes there (accept-5) */
    bool one_answer;        /* SMTP: one reply for all; see struct deliver_result */
    uint8_t priority;       /* MT-PRIORITY + 9; 9 is normal; 0 unset */
    int64_t deliver_by;     /* wall seconds; 0 unset */
    bool deliver_by_notify; /* DELIVERBY mode N (else R) */
    int64_t hold_until;     /* FUTURERELEASE; wall seconds; 0 unset */
    uint64_t account;       /* authenticated sender; 0: from outside */
    struct address source;
    str helo;
    str id; /* the transaction's id, as in Received and the log */
    /* What stands above the content, CRLF ends: the judge's and the scanner's fields, Received, and
     * the Date and Message-ID that a submission lacked. */
    str trace;
    str mime;      /* mime_cold_encode() of the content, made by the gate */
    int fd;        /* sealed memory file with the content, CRLF line ends; -1: see content */
    str content;   /* of a small message, in place of fd */
    uint64_t size; /* bytes of it */
    const struct envelope_recipient *recipients;
    size_t nrecipients;
};
#define ENVELOPE_RECIPIENTS_MAX 1000

#define DELIVER_TEXT_MAX 160 /* bytes, with the NUL */
/* What becomes of each recipient; LMTP answers one by one. With one_answer a recipient that fails
 * for good is OK once another is accepted: a 5xx would deny what those others have, so the failed
 * one is reported to the sender instead (RFC 5321 4.2.5, 6.1). If all fail, each has its reason. */
struct deliver_result {
    enum err *recipients; /* nrecipients, the caller's memory */
    /* More than the error's own text says, when all are refused: printable ASCII; or empty. */
    char text[DELIVER_TEXT_MAX];
};

/* A recipient that a stranger's message is for (core/greylist.h). */
struct greylist_question;

/* A session that the gate hands on after authentication. fd: the client's socket (plain) or one end
 * of a pair that the gate proxies to the TLS session. */
struct session_handoff {
    enum protocol protocol;
    struct auth_grant who;
    struct address peer, local;
    bool tls;
    str tls_version;
    str unread; /* bytes the gate had read already */
    /* What the house writes first ("+OK …", "a1 OK …"), so that nothing overtakes it. */
    str greeting;
    int fd; /* taken, also on error */
};

struct house {
    void *ctx;
    enum err (*auth_password)(void *ctx, const struct auth_attempt *a, str password,
                              struct arena *arena, struct auth_grant *out) WAITS;
    /* SCRAM-SHA-256 (RFC 7677): the gate parses, the house computes. */
    enum err (*auth_scram_salt)(void *ctx, const struct auth_attempt *a,
                                struct auth_scram_salt *out) WAITS;
    /* auth_message as in RFC 5802 3; proof: 32 bytes; signature gets 32 bytes. */
    enum err (*auth_scram_verify)(void *ctx, const struct auth_attempt *a, str auth_message,
                                  str proof, uint8_t signature[32], struct arena *arena,
                                  struct auth_grant *out) WAITS;
    /* SASL EXTERNAL: login is the name from a verified client certificate. */
    enum err (*auth_external)(void *ctx, const struct auth_attempt *a, struct arena *arena,
                              struct auth_grant *out) WAITS;
    /* ERR_NO_USER, ERR_QUOTA, ERR_RELAY, ERR_DISABLED, … as RCPT will answer. */
    enum err (*recipient_check)(void *ctx, const struct recipient_check *c,
                                struct recipient_verdict *out) WAITS;
    /* May this account use this sender address? ERR_SENDER. The null sender is always allowed. */
    enum err (*sender_check)(void *ctx, uint64_t account, str address) WAITS;
    /* *wait_s: 0, or how long the client is to wait before it tries again. */
    enum err (*greylist)(void *ctx, const struct greylist_question *q, uint32_t *wait_s) WAITS;
    /* ERR_OK: out->recipients says what became of each; every OK one is durable. Another error
     * stands for all. */
    enum err (*deliver)(void *ctx, uint32_t home, const struct envelope *e,
                        struct deliver_result *out) WAITS;
    enum err (*session_open)(void *ctx, const struct session_handoff *h) WAITS;
    /* Something to count for aggregate reports (core/report_note.h: report_note_put). Never waits;
     * may be lost. NULL: nobody counts. */
    void (*observe)(void *ctx, str note);
    /* A report of others that the gate has read (core/report_read.h). NULL: nobody keeps them. */
    enum err (*report_take)(void *ctx, str read) WAITS;
    /* One of the pages of core/policy_web.h; secure: asked for over TLS. ERR_NOT_FOUND. */
    enum err (*page)(void *ctx, str host, str path, bool secure, struct arena *arena,
                     str *body) WAITS;
    /* The certificate (and its key) that proves the name to an authority that asks by TLS-ALPN-01
     * (RFC 8737). ERR_NOT_FOUND: nothing is to be proven of it. */
    enum err (*challenge)(void *ctx, str name, struct arena *arena, str *chain_pem,
                          str *key_pem) WAITS;
};

/* The row form of an envelope without fd, mime (for the wire between roles and for queue rows). */
void envelope_encode(const struct envelope *e, struct buf *out);
enum err envelope_decode(str bytes, struct arena *arena, struct envelope *out) MUST;

#endif
