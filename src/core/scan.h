/* SPDX-License-Identifier: Apache-2.0
 *
 * scan: what a scanner that speaks rspamd's protocol says of a message (the JSON answer of POST
 * /checkv2). The answer is as hostile as any (rule wire-5): strict JSON, no deeper than
 * SCAN_DEPTH_MAX, and everything that may reach a reply or a message is cut, counted and cleaned
 * here.
 */
#ifndef CORE_SCAN_H
#define CORE_SCAN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define SCAN_ANSWER_MAX 262144 /* bytes of JSON */
#define SCAN_DEPTH_MAX 16
#define SCAN_SYMBOLS_MAX 40     /* that are kept, in the scanner's order */
#define SCAN_SYMBOL_NAME_MAX 64 /* bytes; longer ones are left out */
#define SCAN_FIELDS_MAX 40      /* header fields to add, and to remove */
#define SCAN_FIELD_NAME_MAX 80
#define SCAN_FIELD_VALUE_MAX 2000
#define SCAN_FIELDS_BYTES_MAX 16384 /* of all fields to add */
#define SCAN_MESSAGE_MAX 200        /* bytes of the text for a reply */
#define SCAN_SUBJECT_MAX 900
#define SCAN_SCORE_MAX 1000000

enum scan_action {
    SCAN_NO_ACTION,
    SCAN_GREYLIST,
    SCAN_ADD_HEADER, /* and every action that is not known here */
    SCAN_REWRITE_SUBJECT,
    SCAN_SOFT_REJECT,
    SCAN_REJECT,
};
const char *scan_action_name(enum scan_action a); /* rspamd's words */

struct scan_symbol {
    str name; /* of letters, digits and _ - . : */
    double score;
};
struct scan_field {
    str name;
    str value; /* printable ASCII; where it has CRLF, a tab follows */
};
/* Fields of this name: all (0), the nth (1 is the first) or the nth from the end (-1). */
struct scan_removal {
    str name;
    int index;
};
struct scan_answer {
    enum scan_action action;
    double score, required; /* finite, at most SCAN_SCORE_MAX */
    str message;            /* printable ASCII for the reply; often empty */
    str subject;            /* UTF-8 without control characters; empty: none */
    struct scan_symbol symbols[SCAN_SYMBOLS_MAX];
    size_t nsymbols;
    struct scan_field add[SCAN_FIELDS_MAX];
    size_t nadd;
    struct scan_removal remove[SCAN_FIELDS_MAX];
    size_t nremove;
};
/* ERR_SYNTAX: not such an answer. ERR_LIMIT. Texts live in the arena. */
enum err scan_answer_parse(str json, struct arena *arena, struct scan_answer *out) MUST;

/* May it be added to the message? Not a second one of what stands once (RFC 5322 3.6). */
bool scan_field_fits(str name, str message);

/* A message with some fields taken out, and its subject replaced. sink gets the bytes. */
typedef void scan_sink_fn(void *context, str bytes);
struct scan_edit {
    const struct scan_removal *remove;
    size_t nremove;
    str subject; /* empty: stays; else all Subject fields become this one */
};
/* False: there is nothing to change, and nothing was given. */
bool scan_edit_apply(const struct scan_edit *e, str message, scan_sink_fn *sink, void *context);

#endif
