/* SPDX-License-Identifier: Apache-2.0
 *
 * posthouse dns DOMAIN: the zone, whether the world sees it, and writing it.
 */
#include "app/command.h"
#include "app/house_acme.h"
#include "core/dkim_keys.h"
#include "core/domain_setup.h"
#include "core/policy_web.h"
#include "os/rand.h"

#include <string.h>

struct zone {
    struct command_run *run;
    struct setup_facts facts;
    struct setup_record records[SETUP_RECORDS_MAX];
    struct dns_answer answers[SETUP_RECORDS_MAX];
    struct setup_verdict verdicts[SETUP_RECORDS_MAX];
    size_t n;
};

/* ---- facts ---- */

static uint16_t port_of(const struct config_listens *l)
{
    return l->count > 0 ? l->items[0].address.port : 0;
}

static enum err gather_tlsa(struct zone *z) WAITS
{
    struct command_run *r = z->run;
    struct house_certificate *list;
    size_t n;
    if (!r->admin->house)
        return ERR_OK;
    TRY(house_certificates(r->admin->house, &r->arena, &list, &n));
    struct setup_tlsa *tlsa = ARENA_ARRAY(&r->arena, struct setup_tlsa, n + 1);
    if (!tlsa)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (list[i].origin != CERTIFICATE_NEXT_KEY &&
            !certificate_covers(&list[i].facts, z->facts.hostname))
            continue;
        bool known = false;
        for (size_t k = 0; k < z->facts.ntlsa; k++)
            known |= memcmp(tlsa[k].sha256, list[i].facts.spki, 32) == 0;
        if (!known)
            memcpy(tlsa[z->facts.ntlsa++].sha256, list[i].facts.spki, 32);
    }
    z->facts.tlsa = tlsa;
    return ERR_OK;
}

/* The records of all keys: those that wait are published ahead, those retired stay a while. */
static enum err gather_dkim(struct zone *z) WAITS
{
    struct command_run *r = z->run;
    struct dkim_domain_keys keys;
    TRY(dkim_keys_of(r->admin->directory, z->facts.domain, &r->arena, &keys));
    struct setup_dkim *dkim = ARENA_ARRAY(&r->arena, struct setup_dkim, keys.count + 1);
    if (!dkim)
        return ERR_NOMEM;
    for (size_t i = 0; i < keys.count; i++) {
        BUF_AUTO struct buf record = BUF_INIT(8192);
        TRY(dkim_key_record(keys.keys[i].pem, &record));
        dkim[i].selector = keys.keys[i].selector;
        if (!arena_dup(&r->arena, buf_str(&record), &dkim[i].record))
            return ERR_NOMEM;
    }
    z->facts.dkim = dkim;
    z->facts.ndkim = keys.count;
    return ERR_OK;
}

/* Addresses that the configuration names; "*" says nothing about what the world sees. */
static enum err gather_addresses(struct zone *z, const struct config *c)
{
    struct address *own = ARENA_ARRAY(&z->run->arena, struct address, c->listen_smtp.count + 1);
    if (!own)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->listen_smtp.count; i++) {
        const struct config_listen *l = &c->listen_smtp.items[i];
        if (!l->any && l->address.family > 1 && !address_is_private(&l->address))
            own[z->facts.naddresses++] = l->address;
    }
    z->facts.addresses = own;
    return ERR_OK;
}

static enum err gather(struct zone *z) WAITS
{
    struct command_run *r = z->run;
    const struct config *c = r->admin->config;
    struct domain d;
    BUF_AUTO struct buf policy = BUF_INIT(65536);
    enum err e = directory_normalise_domain(r->args[0], &r->arena, &z->facts.domain);
    if (e == ERR_OK)
        e = directory_domain_get(r->admin->directory, z->facts.domain, &r->arena, &d);
    if (e != ERR_OK)
        return command_fail(r, e,
                            "There is no domain %.*s here; add it with: posthouse domain add.",
                            STR_ARG(r->args[0]));
    z->facts.hostname = c->server_hostname;
    str mailbox = r->admin->config->reports_mailbox;
    z->facts.reports_to =
        arena_fmt(&r->arena, "%.*s@%.*s", STR_ARG(str_empty(mailbox) ? STR("postmaster") : mailbox),
                  STR_ARG(z->facts.domain));
    z->facts.ports = (struct setup_ports){.submissions = port_of(&c->listen_submissions),
                                          .submission = port_of(&c->listen_submission),
                                          .imaps = port_of(&c->listen_imaps),
                                          .imap = port_of(&c->listen_imap),
                                          .pop3s = port_of(&c->listen_pop3s),
                                          .pop3 = port_of(&c->listen_pop3),
                                          .https = port_of(&c->listen_https)};
    if (house_mta_sts_mode(c) != MTA_STS_NONE) {
        policy_web_mta_sts(house_mta_sts_mode(c), c->server_hostname, &policy);
        z->facts.mta_sts_id = policy_web_mta_sts_id(buf_str(&policy), &r->arena);
    }
    TRY(gather_addresses(z, c));
    TRY(gather_tlsa(z));
    TRY(gather_dkim(z));
    return setup_records(&z->facts, &r->arena, z->records, SETUP_RECORDS_MAX, &z->n);
}

/* ---- looking ---- */

static const struct dns *resolver(struct command_run *r)
{
    return r->admin->house ? &r->admin->house->threads[0].relay.table.dns : NULL;
}

static bool same_group(const struct setup_record *a, const struct setup_record *b)
{
    return a->type == b->type && str_eq(a->name, b->name);
}

/* One question on a fiber of its own, so that a dead resolver costs its deadline once. */
struct question {
    const struct dns *dns;
    struct arena *arena;
    str name;
    enum dns_type type;
    struct dns_answer *out;
};

static void ask(void *arg) WAITS
{
    struct question *q = arg;
    if (q->dns->query(q->dns->ctx, q->name, q->type, q->arena, q->out) != ERR_OK)
        *q->out = (struct dns_answer){.status = DNS_FAILED};
}

static enum err ask_all(struct zone *z, struct dns_answer *host) WAITS
{
    struct command_run *r = z->run;
    struct question *q = ARENA_ARRAY(&r->arena, struct question, z->n + 1);
    struct fiber_group group;
    if (!q)
        return ERR_NOMEM;
    fiber_group_init(&group);
    q[z->n] = (struct question){resolver(r), &r->arena, z->facts.hostname, DNS_A, host};
    enum err e = fiber_start(&group, "dns", ask, &q[z->n]);
    for (size_t i = 0; i < z->n && e == ERR_OK; i++) {
        const struct setup_record *rec = &z->records[i];
        if (i > 0 && same_group(rec, &z->records[i - 1]))
            continue;
        q[i] = (struct question){resolver(r), &r->arena, rec->name, setup_question(rec),
                                 &z->answers[i]};
        e = fiber_start(&group, "dns", ask, &q[i]);
    }
    fiber_group_join(&group);
    return e;
}

static enum err look(struct zone *z) WAITS
{
    struct dns_answer host = {.status = DNS_FAILED};
    TRY(ask_all(z, &host));
    for (size_t i = 0; i < z->n; i++) {
        const struct setup_record *rec = &z->records[i];
        if (i > 0 && same_group(rec, &z->records[i - 1]))
            z->answers[i] = z->answers[i - 1];
        TRY(setup_judge(&z->facts, rec, &z->answers[i], &host, &z->run->arena, &z->verdicts[i]));
    }
    return ERR_OK;
}

/* ---- saying ---- */

static void say_zone(struct zone *z)
{
    struct report *out = &z->run->report;
    BUF_AUTO struct buf line = BUF_INIT(1 << 20);
    report_list(out, "records");
    for (size_t i = 0; i < z->n; i++) {
        buf_reset(&line);
        setup_render(&z->records[i], &line);
        if (!z->run->json) {
            buf_add(out->out, buf_str(&line));
            continue;
        }
        report_item(out);
        report_str(out, "name", z->records[i].name);
        report_str(out, "type", str_c(setup_type_name(z->records[i].type)));
        report_str(out, "record", str_trim(buf_str(&line)));
        report_bool(out, "optional", z->records[i].optional);
        report_item_end(out);
    }
    report_list_end(out);
    if (!z->run->admin->house)
        report_say(out, "; no server runs, so TLSA records are left out");
}

static void say_verdicts(struct zone *z)
{
    struct report *out = &z->run->report;
    size_t bad = 0, better = 0;
    report_list(out, "records");
    for (size_t i = 0; i < z->n; i++) {
        const struct setup_record *rec = &z->records[i];
        const struct setup_verdict *v = &z->verdicts[i];
        report_item(out);
        report_str(out, "state", str_c(setup_state_name(v->state)));
        report_str(out, "type", str_c(setup_type_name(rec->type)));
        report_str(out, "name", rec->name);
        report_bool(out, "optional", rec->optional);
        report_str(out, "found", v->found);
        report_str(out, "advice", v->advice);
        report_item_end(out);
        bad += v->state != SETUP_RIGHT && !rec->optional;
        better += v->state != SETUP_RIGHT && rec->optional;
    }
    report_list_end(out);
    report_u64(out, "not_right", bad);
    report_u64(out, "could_be_better", better);
    report_say(out, bad      ? "Mail for or from the domain will have trouble."
                    : better ? "The domain works; what is optional could be better."
                             : "The domain is set up.");
    z->run->exit_code = bad ? 1 : 0;
}

/* ---- writing ---- */

static bool group_is_right(const struct zone *z, size_t from, size_t n)
{
    for (size_t i = from; i < from + n; i++) {
        if (z->verdicts[i].state != SETUP_RIGHT)
            return false;
    }
    return true;
}

static size_t group_length(const struct zone *z, size_t from)
{
    size_t n = 1;
    while (from + n < z->n && same_group(&z->records[from], &z->records[from + n]))
        n++;
    return n;
}

static void say_written(struct zone *z, size_t i, str what, str error)
{
    struct report *out = &z->run->report;
    report_item(out);
    report_str(out, "result", what);
    report_str(out, "type", str_c(setup_type_name(z->records[i].type)));
    report_str(out, "name", z->records[i].name);
    report_str(out, "error", error);
    report_item_end(out);
}

static enum err clear_the_way(struct zone *z, const struct dns_push *push, str zone, size_t i,
                              struct buf *error) WAITS
{
    struct dns_update u;
    if (!setup_in_the_way(&z->records[i], &z->answers[i]))
        return ERR_OK;
    dns_update_begin(&u, (uint16_t)rand_below(65536), zone);
    enum err e = setup_update_clear(&u, &z->records[i]);
    if (e == ERR_OK)
        e = dns_push(push, &u, error);
    buf_free(&u.out);
    return e;
}

/* Each group is an update of its own, so that one that is refused does not hold up the others. */
static enum err write_group(struct zone *z, const struct dns_push *push, size_t i, size_t n) WAITS
{
    struct command_run *r = z->run;
    struct dns_update u;
    BUF_AUTO struct buf error = BUF_INIT(65536);
    str zone = house_dns_zone(r->admin->house, r->admin->config, z->records[i].name, &r->arena);
    dns_update_begin(&u, (uint16_t)rand_below(65536), zone);
    enum err e = setup_update_group(&u, &z->records[i], n, &z->answers[i]);
    if (e == ERR_UNAVAILABLE)
        buf_add_c(&error, "What is there now is not known; try again later.");
    if (e == ERR_OK)
        e = clear_the_way(z, push, zone, i, &error);
    if (e == ERR_OK)
        e = dns_push(push, &u, &error);
    buf_free(&u.out);
    str copy;
    if (!arena_dup(&r->arena, buf_str(&error), &copy))
        return ERR_NOMEM;
    say_written(z, i, e == ERR_OK ? STR("written") : STR("failed"), copy);
    r->exit_code |= e != ERR_OK;
    return ERR_OK;
}

static enum err write_zone(struct zone *z) WAITS
{
    struct command_run *r = z->run;
    struct dns_push push;
    TRY(house_dns_push(r->admin->house, r->admin->config, &r->arena, &push, &r->error));
    report_list(&r->report, "updates");
    for (size_t i = 0; i < z->n;) {
        size_t n = group_length(z, i);
        if (group_is_right(z, i, n))
            say_written(z, i, STR("right already"), STR_NONE);
        else
            TRY(write_group(z, &push, i, n));
        i += n;
    }
    report_list_end(&r->report);
    return ERR_OK;
}

enum err dns_zone(struct command_run *r)
{
    struct zone *z = ARENA_NEW(&r->arena, struct zone);
    bool check = command_option(r, "check") != NULL, update = command_option(r, "update") != NULL;
    if (!z)
        return ERR_NOMEM;
    z->run = r;
    if ((check || update) && !r->admin->house)
        return command_fail(r, ERR_UNAVAILABLE,
                            "No server runs, and only it can ask the DNS; without --check the "
                            "records are shown.");
    TRY(gather(z));
    if (!check && !update) {
        say_zone(z);
        return ERR_OK;
    }
    TRY(look(z));
    if (update)
        return write_zone(z);
    say_verdicts(z);
    return ERR_OK;
}
