/* SPDX-License-Identifier: Apache-2.0
 *
 * session: what the files of proto/smtp share. A session is one function (smtp_serve); this is what
 * it knows between two commands.
 */
#ifndef PROTO_SMTP_SESSION_H
#define PROTO_SMTP_SESSION_H

#include "core/authres_filter.h"
#include "core/mail_auth.h"
#include "core/spool.h"
#include "format/smtp_data.h"
#include "format/smtp_reply.h"
#include "format/smtp_syntax.h"
#include "proto/smtp/smtp.h"

#define SMTP_CONNECTION_ARENA_MAX 65536
#define SMTP_TRANSACTION_ARENA_MAX 4194304 /* bytes: 1,000 recipients with their ORCPT */
#define SMTP_RECEIVED_MAX 50               /* Received fields: more is a loop (RFC 5321 6.3) */
#define SMTP_ID_MAX 24
#define SMTP_HOLD_MAX_S 31536000 /* FUTURERELEASE: a year */
#define SMTP_BY_MIN_S 60         /* DELIVERBY mode R: below, nobody could do it */

struct smtp_transaction {
    bool open; /* MAIL was accepted */
    struct smtp_mail mail;
    struct envelope_recipient *recipients;
    size_t nrecipients, cap;
    uint32_t home;            /* house thread of the first local recipient */
    bool chunking;            /* BDAT was used */
    bool spf_asked, spf_pass; /* for the greylist */
    bool sender_failed;       /* judged as forged: it gets no reports */
    bool broken;              /* a BDAT failed: only RSET helps (RFC 3030 2) */
    struct smtp_chunk chunk;
    struct spool spool;
    bool spooling;
    struct mail_auth_facts facts;
    struct mail_auth *auth; /* judges the message while it arrives; or NULL */
    struct authres_filter filter;
    bool filtering;
    str observation;      /* of the judge, for a report; empty: nothing to count */
    str author;           /* domain of From, as judged; empty: unknown */
    bool author_verified; /* DMARC passed */
    int refusal_code;     /* set: this is answered instead of the error's own text */
    const char *refusal_status;
    str refusal;
    char id[SMTP_ID_MAX];
};

struct smtp {
    struct stream *stream;
    const struct smtp_listener *listener;
    const struct smtp_config *config;
    const struct house *house;
    struct arena connection;  /* lives as long as the session */
    struct arena transaction; /* until the transaction ends */
    struct smtp_transaction t;
    str helo;
    bool extended; /* EHLO or LHLO, not HELO */
    bool secure;   /* credentials may be sent */
    bool closing;
    struct auth_grant who; /* account 0: nobody signed in */
    uint32_t errors, transactions;
    bool relay_named;        /* the peer has a relay entry */
    struct dnsbl *blocklist; /* or NULL */
    uint64_t blocklist_deadline_ms;
    bool blocklist_waited, listed, allow_listed;
};

/* Replies; they leave when the client waits for them. */
void smtp_say(struct smtp *x, int code, const char *enhanced, const char *text) WAITS;
void smtp_say_str(struct smtp *x, int code, const char *enhanced, str text) WAITS;
void smtp_say_err(struct smtp *x, enum err e) WAITS;                   /* the row's text */
void smtp_say_fault(struct smtp *x, const struct smtp_fault *f) WAITS; /* counts as an error */
/* 421 to a client whose time is up, or while the service ends; the stream has failed already. */
void smtp_say_last(struct smtp *x, enum err e);
/* A bad command: counts, and closes at errors_max. */
void smtp_say_bad(struct smtp *x, int code, const char *enhanced, const char *text) WAITS;

/* Rule wire-1 holds for command lines too: false has answered, and the session ends. */
bool smtp_line_ends_well(struct smtp *x, str line, bool crlf) WAITS;
/* What the peer may do follows from its address; then the greeting. */
void smtp_greet(struct smtp *x) WAITS;
/* Ends the transaction, if one is open. */
void smtp_reset(struct smtp *x) WAITS;
bool smtp_in_networks(const struct address *a, const struct smtp_network *nets, size_t n);
/* What this listener announces, as SMTP_MAIL_ and SMTP_RCPT_ bits. */
uint32_t smtp_mail_offered(const struct smtp *x);
uint32_t smtp_rcpt_offered(const struct smtp *x);

typedef void smtp_command_fn(struct smtp *x, str args) WAITS;
#define COMMAND(verb, handler, kinds, needs) smtp_command_fn smtp_cmd_##handler;
#include "proto/smtp/commands.def"
#undef COMMAND

/* accept.c: the complete message goes to the house, with our fields above it (trace.h), and the
 * client hears what became of it. */
void smtp_accept(struct smtp *x) WAITS;

/* greylist.c: may this stranger's message come already? False has answered. */
bool smtp_greylist_may(struct smtp *x, str recipient) WAITS;

/* judge.c: who is responsible for what comes from outside. */
/* Asks the block lists about the peer, beside the session. */
void smtp_source_ask(struct smtp *x) WAITS;
/* Waits for them; false has answered. */
bool smtp_source_may(struct smtp *x) WAITS;
/* Whose word counts nothing yet: on the port for servers, not signed in, not named. */
bool smtp_is_stranger(const struct smtp *x);
/* The content begins; comes in pieces; is complete: all of it goes through here into the spool. */
void smtp_judge_begin(struct smtp *x);
void smtp_content(struct smtp *x, str bytes);
void smtp_content_end(struct smtp *x);
/* The verdict: appends to the trace, marks recipients for Junk, or an error with the refusal set.
 */
enum err smtp_judge(struct smtp *x, struct buf *trace) WAITS MUST;
void smtp_judge_free(struct smtp *x) WAITS;

/* scan.c: what the scanner says: appends to the trace, may change *content (which stays that of the
 * spool), mark recipients for Junk, or an error with the refusal set. */
enum err smtp_scan(struct smtp *x, str *content, struct buf *trace) WAITS MUST;

/* report.c: what is judged is noted for reports to others, and reports of others are read. */
/* refused: the message is, and this is counted at once; else the observation waits. */
void smtp_observe(struct smtp *x, const struct mail_auth_verdict *v, bool refused);
/* Reads a report of others, if the message is one: then it is not observed. A report that cannot be
 * read is mail like any other. */
void smtp_report(struct smtp *x, str content) WAITS;
/* The message has come to its end here: what was observed is counted. */
void smtp_observed(struct smtp *x);

#endif
