/* SPDX-License-Identifier: Apache-2.0
 *
 * What mail_auth.c (gathering while the message arrives) and mail_auth_decide.c (the verdict and
 * its field) share.
 */
#ifndef CORE_MAIL_AUTH_PRIVATE_H
#define CORE_MAIL_AUTH_PRIVATE_H

#include "core/arc.h"
#include "core/dmarc.h"
#include "core/mail_auth.h"
#include "core/spf.h"
#include "os/fiber.h"

#define MAIL_AUTH_KEY_FIBERS 4 /* keys that are asked for at the same time */

struct dkim_check {
    const struct dkim_field *field;
    struct dkim_signature sig;
    enum err parsed;
    struct dkim_body_hash *body;
    struct dkim_key_entry *key;
    struct dkim_judgement judgement;
};

/* Work beside the arrival of the message; each ends, cancelled or not. */
struct mail_auth_task {
    struct mail_auth *auth;
    void (*run)(struct mail_auth *m);
    bool wanted, started;
};
enum { TASK_SPF, TASK_DMARC, TASK_KEYS, TASKS = TASK_KEYS + MAIL_AUTH_KEY_FIBERS };

struct mail_auth {
    const struct dns *dns;
    const struct mail_auth_facts *facts;
    struct arena arena; /* all that is needed until the verdict */
    struct fiber_group group;
    struct mail_auth_task tasks[TASKS];

    struct buf header;  /* until its empty line */
    bool in_body;       /* the empty line was seen */
    bool header_broken; /* too large, bare line ends, or no memory: nothing in it is believed */
    struct dkim_fields fields;

    struct spf_answer spf;
    struct dkim_check checks[DKIM_CHECKS_MAX];
    size_t nchecks, nsignatures;
    struct dkim_bodies bodies;
    struct dkim_keys keys;
    struct arc_check arc;
    struct dkim_judgement arc_judgement;

    str author_domain;
    const char *author_problem; /* why there is none; NULL with no From at all */
    struct dmarc_walks walks;
    struct dmarc_found dmarc;
};

/* The domains of From: one → *out; none or several: empty, and *problem says why (NULL: none). */
enum err mail_auth_author(struct arena *a, const struct dkim_fields *fields, str *out,
                          const char **problem) MUST;
/* All judgements are made: the verdict. Asks nothing any more. */
enum err mail_auth_decide(struct mail_auth *m, struct arena *arena,
                          struct mail_auth_verdict *out) MUST;

#endif
