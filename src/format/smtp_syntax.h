/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_syntax: the lines of an SMTP or LMTP client, parsed; one function a line shape.
 * RFC 5321, 2033 LMTP, 1870 SIZE, 6152 8BITMIME, 3030 BINARYMIME, 3461 DSN, 6531 SMTPUTF8,
 * 4954 AUTH, 4865 FUTURERELEASE, 2852 DELIVERBY, 6710 MT-PRIORITY, 8689 REQUIRETLS, 7293 RRVS,
 * and Postfix's XCLIENT. Lines come without CRLF. Results borrow from the line, except decoded
 * values, which live in the arena passed in. Linear time, nothing waits.
 *
 * Each parser returns ERR_OK, or ERR_SYNTAX (501, 553), ERR_UNSUPPORTED (504, 555), ERR_LIMIT or
 * ERR_NOMEM, and fills *fault with the reply to give: code, status, text and the offending bytes.
 */
#ifndef FORMAT_SMTP_SYNTAX_H
#define FORMAT_SMTP_SYNTAX_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/addr.h"

struct smtp_fault {
    int code;             /* 501 */
    const char *enhanced; /* "5.5.4" */
    const char *text;     /* static */
    str where;            /* the offending piece of the line; may be empty */
};
/* The reply line with CRLF; bytes outside printable ASCII shown as '?', where cut at 80 bytes. */
void smtp_fault_render(struct buf *out, const struct smtp_fault *fault);

/* "VERB args": verb up to the first SP, args without spaces at both ends (trailing white space
 * is tolerated, RFC 5321 4.1.1). */
void smtp_line_split(str line, str *verb, str *args);

/* A domain name or an address literal as HELO, EHLO and LHLO give it. */
struct smtp_helo {
    str name;     /* as given */
    bool literal; /* "[…]" */
};
/* Letters, digits, '-', '.', '_' and (UTF-8) U-labels; or a valid literal. An underscore is let
 * through because so many hosts have one. */
enum err smtp_parse_helo(str args, struct smtp_helo *out, struct smtp_fault *fault) MUST;

/* True for "[1.2.3.4]" and "[IPv6:…]"; ip gets the address text without brackets and tag.
 * General address literals of other kinds are refused. */
bool smtp_address_literal(str s, str *ip, bool *v6);
/* A reverse-path or forward-path. The source route is checked and dropped (RFC 5321 App. C). */
struct smtp_path {
    bool null;        /* "<>", only as reverse-path */
    bool postmaster;  /* "<Postmaster>" without domain, only as forward-path */
    bool utf8;        /* has non-ASCII bytes (RFC 6531) */
    bool literal;     /* the domain is an address literal */
    struct addr addr; /* "Postmaster" as given, without domain; both empty for null */
};
enum { SMTP_PATH_NULL_OK = 1, SMTP_PATH_POSTMASTER_OK = 2 };
/* Takes "<…>" off the front of *s. allowed: the two flags above. */
enum err smtp_take_path(struct arena *a, str *s, unsigned allowed, struct smtp_path *out,
                        struct smtp_fault *fault) MUST;
enum smtp_body { SMTP_BODY_7BIT, SMTP_BODY_8BITMIME, SMTP_BODY_BINARYMIME };
enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };
enum smtp_mail_param {
    SMTP_MAIL_SIZE = 1 << 0,
    SMTP_MAIL_BODY = 1 << 1,
    SMTP_MAIL_SMTPUTF8 = 1 << 2,
    SMTP_MAIL_RET = 1 << 3,
    SMTP_MAIL_ENVID = 1 << 4,
    SMTP_MAIL_AUTH = 1 << 5,
    SMTP_MAIL_HOLDFOR = 1 << 6,
    SMTP_MAIL_HOLDUNTIL = 1 << 7,
    SMTP_MAIL_BY = 1 << 8,
    SMTP_MAIL_MT_PRIORITY = 1 << 9,
    SMTP_MAIL_REQUIRETLS = 1 << 10,
    SMTP_MAIL_BINARYMIME = 1 << 11, /* only in offered: BODY=BINARYMIME is allowed */
};
struct smtp_mail {
    struct smtp_path from;
    uint32_t seen; /* SMTP_MAIL_ bits of the parameters given */
    uint64_t size; /* bytes, as declared */
    enum smtp_body body;
    enum smtp_ret ret;
    str envid;             /* xtext decoded, printable ASCII, at most 100 encoded (RFC 3461 4.4) */
    struct addr auth;      /* AUTH=, decoded; null for "<>" */
    uint64_t hold_for_s;   /* HOLDFOR */
    uint64_t hold_until_s; /* HOLDUNTIL, seconds since 1970 UTC */
    int64_t by_s;          /* BY: seconds from now, may be 0 or below for mode N */
    bool by_return;        /* BY mode R (N: notify) */
    bool by_trace;
    int mt_priority; /* -9 to 9 */
};
/* args: all after "MAIL" ("FROM:<…> SIZE=…"). offered: the parameters that this listener announced;
 * others are unknown (555). A path with UTF-8 needs SMTPUTF8 among the parameters. */
enum err smtp_parse_mail(struct arena *a, str args, uint32_t offered, struct smtp_mail *out,
                         struct smtp_fault *fault) MUST;

enum smtp_rcpt_param {
    SMTP_RCPT_NOTIFY = 1 << 0,
    SMTP_RCPT_ORCPT = 1 << 1,
    SMTP_RCPT_RRVS = 1 << 2,
};
enum smtp_notify {
    SMTP_NOTIFY_NEVER = 1 << 0,
    SMTP_NOTIFY_SUCCESS = 1 << 1,
    SMTP_NOTIFY_FAILURE = 1 << 2,
    SMTP_NOTIFY_DELAY = 1 << 3,
};
struct smtp_rcpt {
    struct smtp_path to;
    uint32_t seen;    /* SMTP_RCPT_ bits */
    uint32_t notify;  /* SMTP_NOTIFY_ bits; 0 when not given */
    str orcpt_type;   /* "rfc822", "utf-8" */
    str orcpt;        /* decoded */
    uint64_t rrvs_s;  /* seconds since 1970 UTC */
    bool rrvs_reject; /* ";R" */
};
/* args: all after "RCPT". utf8: the transaction has SMTPUTF8. */
enum err smtp_parse_rcpt(struct arena *a, str args, uint32_t offered, bool utf8,
                         struct smtp_rcpt *out, struct smtp_fault *fault) MUST;

struct smtp_bdat {
    uint64_t size; /* bytes that follow */
    bool last;
};
enum err smtp_parse_bdat(str args, struct smtp_bdat *out, struct smtp_fault *fault) MUST;

struct smtp_auth {
    str mechanism; /* as given; compare without case */
    bool has_initial;
    str initial; /* base64 text; empty for "=" */
};
enum err smtp_parse_auth(str args, struct smtp_auth *out, struct smtp_fault *fault) MUST;

/* XCLIENT (Postfix XCLIENT_README). Unavailable values are seen with an empty slice. */
enum smtp_xclient_attr {
    SMTP_XCLIENT_NAME = 1 << 0,
    SMTP_XCLIENT_ADDR = 1 << 1,
    SMTP_XCLIENT_PORT = 1 << 2,
    SMTP_XCLIENT_PROTO = 1 << 3,
    SMTP_XCLIENT_HELO = 1 << 4,
    SMTP_XCLIENT_LOGIN = 1 << 5,
    SMTP_XCLIENT_DESTADDR = 1 << 6,
    SMTP_XCLIENT_DESTPORT = 1 << 7,
};
struct smtp_xclient {
    uint32_t seen;
    str name, addr, proto, helo, login, destaddr; /* xtext decoded; addr without "IPV6:" */
    uint16_t port, destport;
};
enum err smtp_parse_xclient(struct arena *a, str args, struct smtp_xclient *out,
                            struct smtp_fault *fault) MUST;

/* VRFY, EXPN (required), NOOP, HELP (optional): one String (RFC 5321 4.1.2) or free printable text.
 */
enum err smtp_parse_text(str args, bool required, str *out, struct smtp_fault *fault) MUST;
/* RSET, DATA, QUIT, STARTTLS: nothing may follow. */
enum err smtp_parse_none(str args, struct smtp_fault *fault) MUST;

/* xtext (RFC 3461 4). Decode: any byte may come out; ERR_SYNTAX. */
void smtp_xtext_encode(struct buf *out, str bytes);
enum err smtp_xtext_decode(struct arena *a, str text, str *out) MUST;

/* "2026-01-31T10:00:00Z" or with an offset (RFC 3339) to seconds since 1970. */
bool smtp_date_parse(str s, uint64_t *seconds);

#endif
