/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house_acme.h"

#include "base/log.h"
#include "base/num.h"
#include "core/acme.h"
#include "core/acme_rows.h"
#include "core/domain_setup.h"
#include "core/policy_web.h"
#include "os/file.h"
#include "os/rand.h"

#include <fcntl.h>
#include <string.h>

#define LOOK_MS_FIRST 3000 /* the gates come up meanwhile */
#define LOOK_MS 600000
#define DOMAINS_PAGE 100
#define KEY_FILE_MAX 4096

struct house_acme {
    struct house_process *house;
    bool busy;
};

enum mta_sts_mode house_mta_sts_mode(const struct config *c)
{
    if (c->listen_https.count == 0)
        return MTA_STS_NONE;
    if (str_eq(c->mta_sts_mode, STR("enforce")))
        return MTA_STS_ENFORCE;
    return str_eq(c->mta_sts_mode, STR("testing")) ? MTA_STS_TESTING : MTA_STS_NONE;
}

/* ---- what the parent has ---- */

enum err house_certificates(struct house_process *h, struct arena *a,
                            struct house_certificate **list, size_t *n)
{
    struct ipc_certificates_show_results shown;
    *list = ARENA_ARRAY(a, struct house_certificate, HOUSE_CERTIFICATES_MAX);
    *n = 0;
    if (!*list)
        return ERR_NOMEM;
    TRY(ipc_certificates_show(&h->parent, &(struct ipc_certificates_show_args){}, a, &shown));
    struct reader r = reader_of(shown.list);
    while (!str_empty(r.rest) && *n < HOUSE_CERTIFICATES_MAX) {
        struct house_certificate *c = &(*list)[*n];
        c->origin = (enum certificate_origin)read_u8(&r);
        str value = read_sized(&r);
        if (r.failed)
            return ERR_CORRUPT;
        if (c->origin == CERTIFICATE_NEXT_KEY && value.len == sizeof(c->facts.spki))
            memcpy(c->facts.spki, value.data, value.len);
        else if (certificate_read(value, a, &c->facts) != ERR_OK)
            continue;
        (*n)++;
    }
    return ERR_OK;
}

/* ---- names ---- */

struct domains {
    str *names;
    size_t n;
    struct arena *arena;
};

static bool keep_domain(void *arg, const struct domain *d)
{
    struct domains *l = arg;
    return arena_dup(l->arena, d->name, &l->names[l->n++]) && l->n < DOMAINS_PAGE;
}

/* Does a name lead here, as far as the world can see? One that does not would spoil the order. */
static bool leads_here(struct house_process *h, const struct config *c, str name,
                       struct arena *a) WAITS
{
    const struct dns *dns = &h->threads[0].relay.table.dns;
    struct setup_facts facts = {.hostname = c->server_hostname};
    struct setup_record r = {.rule = SETUP_ALIAS, .type = DNS_CNAME, .name = name};
    struct dns_answer answer, host;
    struct setup_verdict v;
    r.target = c->server_hostname;
    return dns->query(dns->ctx, name, DNS_A, a, &answer) == ERR_OK &&
           dns->query(dns->ctx, c->server_hostname, DNS_A, a, &host) == ERR_OK &&
           setup_judge(&facts, &r, &answer, &host, a, &v) == ERR_OK && v.state == SETUP_RIGHT;
}

static void add_name(str name, str *names, size_t *n)
{
    for (size_t i = 0; i < *n; i++) {
        if (str_eq(names[i], name))
            return;
    }
    if (*n < CERTIFICATE_NAMES_MAX && certificate_name_valid(name))
        names[(*n)++] = name;
}

enum err house_acme_names(struct house_process *h, const struct config *c, struct arena *a,
                          str *names, size_t *n)
{
    str room[DOMAINS_PAGE];
    struct domains l = {.names = room, .arena = a};
    *n = 0;
    add_name(c->server_hostname, names, n);
    for (size_t i = 0; i < c->acme_names.count; i++)
        add_name(c->acme_names.items[i], names, n);
    if (house_mta_sts_mode(c) == MTA_STS_NONE)
        return ERR_OK;
    TRY(directory_domains(&h->directory, STR_NONE, DOMAINS_PAGE, keep_domain, &l));
    for (size_t i = 0; i < l.n; i++) {
        str name = arena_fmt(a, "mta-sts.%.*s", STR_ARG(l.names[i]));
        if (leads_here(h, c, name, a))
            add_name(name, names, n);
    }
    return ERR_OK;
}

/* ---- updates of DNS ---- */

enum err house_dns_push(struct house_process *h, const struct config *c, struct arena *a,
                        struct dns_push *out, struct buf *error)
{
    str port;
    uint64_t number = 53;
    *out = (struct dns_push){.relay = &h->threads[0].relay.table};
    (void)str_cut(c->dns_update_server, '@', &out->server, &port);
    if (str_empty(out->server) || (!str_empty(port) && !num_parse_u64(port, 65535, &number))) {
        buf_add_c(error, "dns_update.server names no name server.");
        return ERR_INVALID;
    }
    out->port = (uint16_t)number;
    BUF_AUTO struct buf text = BUF_INIT(KEY_FILE_MAX);
    enum err e = file_read_whole(
        AT_FDCWD,
        arena_fmt(a, "%.*s/%.*s", STR_ARG(h->server->data_dir), STR_ARG(c->dns_update_key)), &text);
    if (e == ERR_OK)
        e = dns_push_key(buf_str(&text), a, out);
    if (text.data)
        explicit_bzero(text.data, text.len);
    if (e != ERR_OK)
        buf_addf(error,
                 "dns_update.key: the file %.*s in the data folder is not \"NAME SECRET\": %s.",
                 STR_ARG(c->dns_update_key), err_text(e));
    return e;
}

str house_dns_zone(struct house_process *h, const struct config *c, str name, struct arena *a)
{
    str best = STR_NONE, first, rest;
    for (size_t i = 0; i < c->dns_update_zones.count; i++) {
        str zone = c->dns_update_zones.items[i];
        if (setup_in_zone(name, zone) && zone.len > best.len)
            best = zone;
    }
    for (str tail = name; str_empty(best) && !str_empty(tail);) {
        struct domain d;
        if (directory_domain_get(&h->directory, tail, a, &d) == ERR_OK)
            best = tail;
        (void)str_cut(tail, '.', &first, &tail);
    }
    if (!str_empty(best))
        return best;
    (void)str_cut(name, '.', &first, &rest);
    return rest;
}

struct order {
    struct house_process *house;
    const struct config *config;
    struct arena arena;
    struct buf *text;
};

/* DNS-01 (RFC 8555 8.4). */
static enum err dns_proof(void *ctx, str name, str value) WAITS
{
    struct order *o = ctx;
    struct dns_push push;
    struct dns_update u;
    BUF_AUTO struct buf rdata = BUF_INIT(1024);
    TRY(house_dns_push(o->house, o->config, &o->arena, &push, o->text));
    str record = arena_fmt(&o->arena, "_acme-challenge.%.*s", STR_ARG(name));
    dns_update_begin(&u, (uint16_t)rand_below(65536),
                     house_dns_zone(o->house, o->config, name, &o->arena));
    dns_update_clear(&u, record, DNS_TXT);
    if (!str_empty(value) && dns_rdata_txt(value, &rdata))
        dns_update_add(&u, record, DNS_TXT, 60, buf_str(&rdata));
    enum err e = dns_push(&push, &u, o->text);
    buf_free(&u.out);
    if (e == ERR_OK && !str_empty(value)) {
        e = wait_until(deadline_in_ms(o->config->dns_update_wait));
        e = e == ERR_TIMEOUT ? ERR_OK : e;
    }
    return e;
}

/* ---- an order ---- */

static enum acme_proof proof_of(const struct config *c)
{
    for (unsigned i = 0; i < ACME_PROOFS; i++) {
        if (str_eq(c->acme_proof, acme_proof_names[i]))
            return (enum acme_proof)i;
    }
    return ACME_HTTP_01; /* the configuration was checked */
}

static enum err run_order(struct order *o, bool next_key) WAITS
{
    const struct config *c = o->config;
    struct house_process *h = o->house;
    str names[CERTIFICATE_NAMES_MAX];
    size_t n = 0;
    struct ipc_certificate_request_results request;
    struct ipc_certificate_install_results installed;
    BUF_AUTO struct buf list = BUF_INIT(65536), chain = BUF_INIT(ACME_CHAIN_MAX);
    TRY(house_acme_names(h, c, &o->arena, names, &n));
    for (size_t i = 0; i < n; i++) {
        buf_add(&list, names[i]);
        buf_add_char(&list, 0);
    }
    enum err e = ipc_certificate_request(
        &h->parent, &(struct ipc_certificate_request_args){buf_str(&list), next_key}, &o->arena,
        &request);
    if (e != ERR_OK) {
        buf_addf(o->text, "no request for a certificate: %s",
                 e == ERR_NOT_FOUND ? "there is no next key; make it with next-key" : err_text(e));
        return e;
    }
    struct acme acme = {
        .relay = &h->threads[0].relay.table,
        .store = h->store,
        .directory_url = c->acme_directory,
        .contact = c->acme_contact,
        .proof = proof_of(c),
        .ctx = o,
        .dns_proof = dns_proof,
    };
    TRY(acme_obtain(&acme, names, n, request.request, &chain, o->text));
    e = ipc_certificate_install(&h->parent,
                                &(struct ipc_certificate_install_args){buf_str(&chain), next_key},
                                &o->arena, &installed);
    if (e != ERR_OK)
        buf_addf(o->text, "the certificate that came was not taken: %s", err_text(e));
    return e;
}

static enum err note_result(struct house_process *h, enum err e, str text) WAITS
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct acme_state st;
    int64_t now = clock_wall_s();
    TRY(acme_state_get(h->store, &a, &st));
    if (e == ERR_OK) {
        st = (struct acme_state){.last_s = now};
    } else {
        st.failures++;
        uint64_t pause = acme_retry_s(st.failures);
        st.next_try_s = now + (int64_t)(pause + rand_below(pause / 4));
        st.error = text;
    }
    return acme_state_put(h->store, &st);
}

enum err house_acme_now(struct house_process *h, bool next_key, struct buf *text)
{
    struct house_acme *m = h->acme;
    if (m->busy)
        return ERR_BUSY;
    m->busy = true;
    struct house_config *c = house_config_hold(h);
    struct order o = {.house = h, .config = &c->all, .arena = ARENA_INIT(16777216), .text = text};
    enum err e = run_order(&o, next_key);
    arena_free(&o.arena);
    house_config_drop(c);
    if (e == ERR_OK)
        LOG_INFO("acme", "a new certificate is in use");
    else
        LOG_ERROR("acme", "no new certificate: %.*s", STR_ARG(buf_str(text)));
    if (note_result(h, e, buf_str(text)) != ERR_OK)
        LOG_WARN("acme", "the result could not be noted");
    m->busy = false;
    return e;
}

/* ---- when ---- */

/* Not everybody at once. */
static uint32_t spread_of(const struct config *c)
{
    return (uint32_t)(str_hash_stable(c->server_hostname) % 1001);
}

static bool fresh(struct house_process *h, const struct config *c,
                  const struct certificate_facts *f, struct arena *a) WAITS
{
    str names[CERTIFICATE_NAMES_MAX];
    size_t n = 0;
    if (clock_wall_s() >= certificate_renew_at(f, spread_of(c)) ||
        house_acme_names(h, c, a, names, &n) != ERR_OK)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!certificate_covers(f, names[i]))
            return false;
    }
    return true;
}

static bool due(struct house_process *h, const struct config *c) WAITS
{
    ARENA_AUTO struct arena a = ARENA_INIT(16777216);
    struct house_certificate *list;
    struct acme_state st;
    size_t n;
    if (!c->acme_enabled || acme_state_get(h->store, &a, &st) != ERR_OK ||
        clock_wall_s() < st.next_try_s || house_certificates(h, &a, &list, &n) != ERR_OK)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (list[i].origin == CERTIFICATE_ACME && fresh(h, c, &list[i].facts, &a))
            return false;
    }
    return true;
}

/* Until the certificate's renewal, or the next look in any case. */
static uint64_t pause_ms(struct house_process *h, const struct config *c) WAITS
{
    ARENA_AUTO struct arena a = ARENA_INIT(16777216);
    struct house_certificate *list;
    size_t n = 0;
    int64_t now = clock_wall_s(), next = now + LOOK_MS / 1000;
    if (house_certificates(h, &a, &list, &n) != ERR_OK)
        return LOOK_MS;
    for (size_t i = 0; i < n; i++) {
        if (list[i].origin == CERTIFICATE_ACME)
            next = MIN(next, certificate_renew_at(&list[i].facts, spread_of(c)));
    }
    return next > now ? (uint64_t)(next - now) * 1000 : LOOK_MS; /* late: the next try is awaited */
}

static void acme_fiber(void *arg) WAITS
{
    struct house_process *h = arg;
    uint64_t pause = LOOK_MS_FIRST;
    while (wait_until(deadline_in_ms(pause)) == ERR_TIMEOUT) {
        struct house_config *c = house_config_hold(h);
        bool now = due(h, &c->all);
        BUF_AUTO struct buf text = BUF_INIT(65536);
        enum err e = now ? house_acme_now(h, false, &text) : ERR_OK;
        pause = e == ERR_OK ? pause_ms(h, &c->all) : LOOK_MS;
        house_config_drop(c);
        if (e == ERR_CANCELED)
            break;
    }
}

enum err house_acme_start(struct house_process *h)
{
    h->acme = ARENA_NEW(&h->arena, struct house_acme);
    if (!h->acme)
        return ERR_NOMEM;
    h->acme->house = h;
    return fiber_start(&h->threads[0].group, "acme", acme_fiber, h);
}
