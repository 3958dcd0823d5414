/* SPDX-License-Identifier: Apache-2.0
 *
 * relay: everything that the house (or a gate) may ask of the relay role, as one table, like
 * core/house.h. The house decides what is tried when (core/queue_schedule); the relay does what
 * goes out: it resolves, connects, speaks SMTP or LMTP, and reports in the remote's own words. It
 * keeps no state that matters: connections and caches can be lost at any moment.
 */
#ifndef CORE_RELAY_H
#define CORE_RELAY_H

#include "core/dns.h"
#include "core/house.h"

/* How the next hop is found. */
enum relay_kind {
    RELAY_MX,         /* MX of the domain, then A and AAAA (RFC 5321 5) */
    RELAY_HOST,       /* a smart host: name or literal, port */
    RELAY_LMTP,       /* the same, speaking LMTP */
    RELAY_LMTP_LOCAL, /* LMTP on a Unix socket that the parent opened */
};
enum relay_tls {
    RELAY_TLS_OPPORTUNISTIC, /* DANE and MTA-STS where they are published, else what is offered */
    RELAY_TLS_ENCRYPT,       /* TLS or nothing; any certificate */
    RELAY_TLS_VERIFY,        /* TLS with a certificate for the name */
    RELAY_TLS_NEVER,
};
struct relay_route {
    enum relay_kind kind;
    enum relay_tls tls;
    bool implicit_tls;     /* port 465 style */
    str host;              /* RELAY_HOST, RELAY_LMTP: name or "[literal]"; else empty */
    uint16_t port;         /* 0: the usual one */
    str login, password;   /* AUTH at a smart host; empty: none */
    struct address source; /* own address to bind to; family 0: any */
    str helo;              /* empty: the host name of the configuration */
};

struct relay_recipient {
    str address;
    str orcpt;
    uint8_t notify; /* NOTIFY_* */
};
/* One attempt: one message to recipients of one next-hop domain. */
struct relay_job {
    str domain; /* of the recipients: what is resolved and what DANE and MTA-STS are about */
    struct relay_route route;
    const struct envelope
        *envelope; /* sender, envid, ret, body, smtputf8, requiretls, deliver_by … */
    int fd;        /* memory file with trace and content as stored; stays the caller's */
    uint64_t size; /* bytes in it */
    const struct relay_recipient *recipients;
    size_t nrecipients;
};

enum relay_outcome {
    RELAY_DELIVERED,        /* the remote took the responsibility */
    RELAY_DELIVERED_NO_DSN, /* the same, and it cannot do DSN: NOTIFY=SUCCESS gets "relayed" */
    RELAY_TEMPORARY,        /* 4xx, or no connection: try again */
    RELAY_PERMANENT,        /* 5xx, null MX, no such domain, policy */
};
struct relay_verdict {
    enum relay_outcome outcome;
    uint16_t code; /* of the reply; 0 when there was none */
    str enhanced;  /* "5.1.1"; ours when the remote gave none */
    str text;      /* the remote's own words, or ours */
    str host;      /* who said it: "mx1.example.net [192.0.2.1]"; empty: we did */
};
struct relay_report {
    struct relay_verdict *verdicts; /* nrecipients, in the arena */
    bool connected; /* a host of the destination answered: back-off concerns the message only */
    str tls;        /* "TLSv1.3 verified by DANE", empty: plain */
    uint32_t took_ms;
    str *notes; /* for TLS reports: report_tls_put of each session (core/report_note.h) */
    size_t nnotes;
};
#define RELAY_NOTES_MAX 32

/* An HTTPS (or, for tests and ACME challenges, HTTP) request through the one module that refuses
 * private addresses (rule web-3). */
struct relay_fetch {
    str method; /* GET, HEAD, POST */
    str url;
    str content_type, body; /* POST */
    uint64_t answer_max;    /* bytes */
    uint64_t timeout_ms;
};
struct relay_fetched {
    uint32_t status;
    str content_type, location, replay_nonce;
    str body; /* in the arena */
};

/* One question and one answer over TCP: dynamic updates of DNS (RFC 2136), and the look at another
 * host's port 25 (doctor). Asked by the house for its operator only, so private addresses are not
 * refused. */
enum relay_exchange_kind {
    RELAY_EXCHANGE_DNS,    /* 2 bytes of length before each (RFC 1035 4.2.2) */
    RELAY_EXCHANGE_BANNER, /* sends nothing (question is empty); the answer is the first line */
};
#define RELAY_EXCHANGE_MAX 65535 /* bytes of question and answer */
struct relay_exchange {
    enum relay_exchange_kind kind;
    str host; /* name or literal address */
    uint16_t port;
    str question;
    uint64_t timeout_ms;
};

/* A message for the scanner that the configuration names (rspamd's protocol, core/scan.h): who is
 * asked stands in the relay's own configuration and nowhere in this. */
#define RELAY_SCAN_RECIPIENTS_MAX 200 /* that are named to it */
struct relay_scan {
    str sender; /* empty: null */
    const str *recipients;
    size_t nrecipients;
    struct address source;
    str helo, id, user; /* user: the address of whoever signed in; empty: nobody did */
    int fd;             /* sealed memory file with the content; stays the caller's */
    uint64_t size, timeout_ms;
};

struct relay {
    void *ctx;
    /* ERR_OK: out says what became of each recipient; where the final reply was lost, that
     * is RELAY_TEMPORARY with "4.4.2" (it may arrive twice, never not at all). Another error:
     * nothing was tried, or nothing is known (ERR_UNKNOWN: the relay died); try again. */
    enum err (*attempt)(void *ctx, const struct relay_job *job, struct arena *arena,
                        struct relay_report *out) WAITS;
    enum err (*fetch)(void *ctx, const struct relay_fetch *f, struct arena *arena,
                      struct relay_fetched *out) WAITS;
    /* The answer lives in the arena. ERR_UNAVAILABLE: no address, or refused; ERR_TIMEOUT, ERR_EOF,
     * ERR_LIMIT. */
    enum err (*exchange)(void *ctx, const struct relay_exchange *x, struct arena *arena,
                         str *answer) WAITS;
    /* The scanner's answer as it came, in the arena: JSON of at most SCAN_ANSWER_MAX bytes that
     * nobody has looked at. ERR_UNSUPPORTED: no scanner is named; ERR_BUSY; what fetch may give. */
    enum err (*scan)(void *ctx, const struct relay_scan *q, struct arena *arena, str *json) WAITS;
    struct dns dns;
};

#endif
