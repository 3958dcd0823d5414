/* SPDX-License-Identifier: Apache-2.0
 *
 * The message passes by once. Its header is kept; when it ends it is known which bodies are to be
 * hashed, which keys to be asked for and whose policy counts, so that DNS works while the body
 * arrives.
 */
#include "core/mail_auth_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "core/dns_name.h"
#include "os/loop.h"

/* ---- tasks ---- */

static void task_fiber(void *arg)
{
    struct mail_auth_task *t = arg;
    t->run(t->auth);
}

/* On a fiber of its own where there is a loop; what could not start is done at the end. */
static void task_start(struct mail_auth *m, size_t which, const char *name,
                       void (*run)(struct mail_auth *m))
{
    struct mail_auth_task *t = &m->tasks[which];
    *t = (struct mail_auth_task){.auth = m, .run = run, .wanted = true};
    t->started =
        loop_current() && fiber_current() && fiber_start(&m->group, name, task_fiber, t) == ERR_OK;
}

static void ask_spf(struct mail_auth *m) WAITS
{
    struct spf_question q = {
        .source = m->facts->source,
        .helo = m->facts->helo,
        .sender = m->facts->sender,
        .receiver = m->facts->hostname,
    };
    spf_check(m->dns, &q, &m->arena, &m->spf);
}

static void ask_keys(struct mail_auth *m) WAITS
{
    while (m->keys.next < m->keys.count && !fiber_canceled())
        dkim_key_ask(m->dns, &m->arena, &m->keys.entries[m->keys.next++]);
}

/* The policy, and what alignment will want to know, so that the decision finds it all here. */
static void ask_dmarc(struct mail_auth *m) WAITS
{
    bool temporary = false;
    dmarc_find(&m->walks, m->author_domain, &m->dmarc);
    if (!m->dmarc.found)
        return;
    if (!str_empty(m->spf.domain))
        dmarc_aligned(&m->walks, &m->dmarc, m->author_domain, m->spf.domain,
                      m->dmarc.record.strict_spf, &temporary);
    for (size_t i = 0; i < m->nchecks && !fiber_canceled(); i++)
        if (m->checks[i].parsed == ERR_OK)
            dmarc_aligned(&m->walks, &m->dmarc, m->author_domain, m->checks[i].sig.domain,
                          m->dmarc.record.strict_dkim, &temporary);
}

/* ---- begin ---- */

/* What spf_check will be asked about; known before it has an answer. */
static void name_spf_domain(struct mail_auth *m)
{
    const struct addr *sender = &m->facts->sender;
    str domain = addr_is_null(sender) ? m->facts->helo : sender->domain;
    m->spf = (struct spf_answer){.result = SPF_RESULT_TEMPERROR, .helo = addr_is_null(sender)};
    if (dns_name_of(domain, &m->arena, &m->spf.domain) != ERR_OK)
        m->spf.domain = STR_NONE;
}

enum err mail_auth_begin(const struct dns *dns, const struct mail_auth_facts *facts,
                         struct mail_auth **out)
{
    /* tidy: allow alloc because it lives beside its own arena and is freed by name */
    struct mail_auth *m = calloc(1, sizeof(*m));
    if (!m)
        return ERR_NOMEM;
    m->dns = dns;
    m->facts = facts;
    arena_init(&m->arena, MAIL_AUTH_ARENA_MAX);
    buf_init(&m->header, MAIL_AUTH_HEADER_MAX);
    fiber_group_init(&m->group);
    m->walks = (struct dmarc_walks){.dns = dns, .arena = &m->arena};
    m->dmarc.temporary = true; /* until an answer is there */
    *out = m;
    name_spf_domain(m);
    if (facts->source.family == 4 || facts->source.family == 6)
        task_start(m, TASK_SPF, "spf", ask_spf);
    else
        m->spf.result = SPF_RESULT_NONE;
    return ERR_OK;
}

/* ---- the header ---- */

static void add_check(struct mail_auth *m, const struct dkim_field *field)
{
    m->nsignatures++;
    if (m->nchecks == DKIM_CHECKS_MAX)
        return;
    struct dkim_check *c = &m->checks[m->nchecks++];
    c->field = field;
    c->parsed = dkim_signature_parse(&m->arena, field->value, DKIM_SIGNATURE, &c->sig);
    if (c->parsed != ERR_OK || c->sig.algorithm == DKIM_RSA_SHA1)
        return;
    c->body = dkim_bodies_want(&m->bodies, &m->arena, &c->sig);
    c->key = dkim_keys_want(&m->keys, &m->arena, &c->sig);
}

/* A line feed alone ends the header for some readers and not for signers. */
static bool has_bare_lf(str s)
{
    for (size_t at = 0, lf; (lf = str_find_char(str_skip(s, at), '\n')) != STR_NPOS; at += lf + 1)
        if (at + lf == 0 || s.data[at + lf - 1] != '\r')
            return true;
    return false;
}

static enum err read_header(struct mail_auth *m)
{
    str header = buf_str(&m->header);
    if (!buf_ok(&m->header) || has_bare_lf(header))
        return ERR_LIMIT;
    TRY(dkim_fields_of(&m->arena, header, &m->fields));
    for (size_t i = 0; i < m->fields.count; i++)
        if (str_eq_nocase(m->fields.fields[i].name, STR("DKIM-Signature")))
            add_check(m, &m->fields.fields[i]);
    TRY(arc_begin(&m->arc, &m->arena, &m->fields, &m->bodies, &m->keys));
    return mail_auth_author(&m->arena, &m->fields, &m->author_domain, &m->author_problem);
}

static void header_complete(struct mail_auth *m)
{
    m->in_body = true;
    if (read_header(m) != ERR_OK) {
        m->header_broken = true;
        m->nchecks = 0;
        m->author_domain = STR_NONE;
        m->author_problem = "unusable header";
        return;
    }
    for (size_t i = 0; i < MIN(m->keys.count, (size_t)MAIL_AUTH_KEY_FIBERS); i++)
        task_start(m, TASK_KEYS + i, "dkim keys", ask_keys);
    if (!str_empty(m->author_domain))
        task_start(m, TASK_DMARC, "dmarc", ask_dmarc);
}

/* Offset behind the empty line, or STR_NPOS. from: where new bytes begin. */
static size_t header_end(str s, size_t from)
{
    if (str_starts(s, STR("\r\n")))
        return 2;
    from = from > 3 ? from - 3 : 0;
    size_t at = str_find(str_skip(s, from), STR("\r\n\r\n"));
    return at == STR_NPOS ? at : from + at + 4;
}

void mail_auth_content(struct mail_auth *m, str piece)
{
    if (m->in_body) {
        dkim_bodies_add(&m->bodies, piece);
        return;
    }
    size_t before = m->header.len;
    str taken = str_head(piece, MAIL_AUTH_HEADER_MAX - before);
    buf_add(&m->header, taken);
    if (!buf_ok(&m->header) || (m->header.len < 2 && taken.len == piece.len))
        return;
    size_t end = header_end(buf_str(&m->header), before);
    if (end != STR_NPOS) {
        buf_truncate(&m->header, end);
        header_complete(m);
        dkim_bodies_add(&m->bodies, str_skip(piece, end - before));
    } else if (m->header.len == MAIL_AUTH_HEADER_MAX) {
        m->header.failed = true;
        header_complete(m);
    }
}

/* ---- the end ---- */

static void end_tasks(struct mail_auth *m) WAITS
{
    if (m->group.count == 0)
        return; /* also off a fiber, where none was started */
    fiber_group_cancel(&m->group);
    fiber_group_join(&m->group);
}

static void wait_for_answers(struct mail_auth *m, uint64_t deadline_ms) WAITS
{
    while (m->group.count > 0 && event_wait(&m->group.ended, deadline_ms) == ERR_OK)
        ;
    end_tasks(m);
}

static void run_what_could_not_start(struct mail_auth *m, uint64_t deadline_ms)
{
    for (size_t i = 0; i < TASKS; i++) {
        struct mail_auth_task *t = &m->tasks[i];
        uint64_t now = clock_mono_ms();
        if (!t->wanted || t->started || now >= deadline_ms)
            continue;
        DEADLINE_SCOPE(deadline_ms == DEADLINE_NEVER ? DEADLINE_NEVER : deadline_ms - now);
        t->run(m);
    }
}

static void judge(struct mail_auth *m)
{
    int64_t now_s = clock_wall_s();
    for (size_t i = 0; i < m->nchecks; i++) {
        struct dkim_check *c = &m->checks[i];
        c->judgement =
            c->parsed == ERR_OK
                ? dkim_judge(&m->arena, &m->fields, &c->sig, c->field->raw, c->body, c->key, now_s)
                : (struct dkim_judgement){DKIM_RESULT_PERMERROR, "malformed signature"};
    }
    if (m->header_broken)
        m->arc_judgement = (struct dkim_judgement){DKIM_RESULT_NONE, NULL};
    else
        m->arc_judgement = arc_judge(&m->arc, &m->arena, &m->fields, now_s);
}

enum err mail_auth_end(struct mail_auth *m, uint64_t deadline_ms, struct arena *arena,
                       struct mail_auth_verdict *out)
{
    if (!m->in_body)
        header_complete(m);
    dkim_bodies_end(&m->bodies);
    wait_for_answers(m, deadline_ms);
    run_what_could_not_start(m, deadline_ms);
    m->walks.dns = NULL; /* the decision asks nobody */
    judge(m);
    return mail_auth_decide(m, arena, out);
}

void mail_auth_free(struct mail_auth *m)
{
    if (!m)
        return;
    end_tasks(m);
    dkim_bodies_free(&m->bodies);
    buf_free(&m->header);
    arena_free(&m->arena);
    free(m); /* tidy: allow alloc because mail_auth_begin made it */
}
