/* SPDX-License-Identifier: Apache-2.0
 *
 * report_send_private: shared by report_send.c (the states), report_where.c (the destinations) and
 * report_build.c (the report).
 */
#ifndef CORE_REPORT_SEND_PRIVATE_H
#define CORE_REPORT_SEND_PRIVATE_H

#include "core/report_read.h"
#include "core/report_send.h"

#define REPORT_TEXT_BYTES 16777216  /* of a report before it is packed */
#define REPORT_PACKED_BYTES 8388608 /* … and after */
#define REPORT_MESSAGE_BYTES 16777216

struct report_destination {
    str address;       /* mailto */
    str url;           /* or https */
    uint64_t size_max; /* of the message; 0: none */
    bool here;         /* of a domain of ours: the rows are taken, nothing is sent */
};
struct report_counted {
    uint64_t count;
    str body;
};
struct report_sending {
    struct report_sender *s;
    struct store *store;
    struct arena arena;
    struct report_key key;
    int64_t now_s;
    struct report_sent sent;
    /* who sends */
    str from, from_domain, id;
    /* to whom */
    struct report_destination to[DMARC_URIS_MAX];
    size_t nto;
    /* what */
    struct report_counted *rows;
    size_t nrows;
    uint64_t overflow;
    str policy; /* the DAY row's head */
    struct buf packed;
};
static inline int64_t report_begin_s(const struct report_sending *g)
{
    return (int64_t)g->key.day * REPORT_DAY_S;
}
static inline int64_t report_end_s(const struct report_sending *g)
{
    return report_begin_s(g) + REPORT_DAY_S - 1;
}

/* Reads the rows of the day. ERR_NOT_FOUND: there are none. */
enum err report_build_read(struct report_sending *g) WAITS MUST;
/* Renders and packs them. */
enum err report_build(struct report_sending *g) MUST;
/* The same rows as a report of our own about a domain of ours. */
enum err report_build_taken(struct report_sending *g, struct buf *out) MUST;
/* Fills in `to`; none: nobody asks. ERR_UNAVAILABLE: the DNS does not answer. */
enum err report_where(struct report_sending *g) WAITS MUST;

#endif
