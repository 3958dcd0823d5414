/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/resolver.h"

#include "base/log.h"
#include "base/num.h"
#include "os/clock.h"
#include "os/rand.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unbound.h>

/* https://data.iana.org/root-anchors/root-anchors.xml */
static const char *const root_anchors[] = {
    ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    ". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
};
#define OPTION_MAX 1024
#define LABEL_MAX 63
#define CLASS_IN 1
enum { RCODE_OK = 0, RCODE_NXDOMAIN = 3 };

/* Parts of the time for one answer: when a question makes the world suspect, how long the probe
 * then has, and the pauses between probes. */
#define SUSPECT_PART 20
#define PROBE_PART 5
#define DEAD_PAUSE_PART 4
#define ALIVE_PAUSE_TIMES 2
#define CACHE_WAIT_MS 25 /* for an answer that needs no network */

struct resolver {
    struct ub_ctx *ub;
    struct watch watch;
    struct fiber_group *group;
    uint64_t timeout_ms;
    size_t asked;
    struct list waiting; /* struct question */
    str *zones;          /* of one's own: their servers answer whatever the world does */
    size_t nzones;
    bool dead;          /* the probe had no answer, and goes on until it has */
    bool probing;       /* its fiber lives */
    uint64_t probed_ms; /* when it ended; 0: never */
    bool local;         /* asks servers on this host */
    struct arena arena; /* holds this struct */
};

/* ---- records ---- */

static bool name_byte_ok(uint8_t c) { return c > ' ' && c < 0x7f && c != '.' && c != '\\'; }

enum err resolver_name_parse(str bytes, struct arena *arena, size_t *used, str *out)
{
    char text[DNS_NAME_MAX + 1];
    size_t n = 0, at = 0;
    for (;;) {
        uint8_t label = at < bytes.len ? (uint8_t)bytes.data[at] : 0xff;
        if (label > LABEL_MAX || at + 1 + label > bytes.len || n + label + 1 > DNS_NAME_MAX)
            return ERR_SYNTAX;
        at++;
        if (label == 0)
            break;
        if (n > 0)
            text[n++] = '.';
        for (size_t i = 0; i < label; i++) {
            uint8_t c = (uint8_t)bytes.data[at + i];
            if (!name_byte_ok(c))
                return ERR_SYNTAX;
            text[n++] = char_lower((char)c);
        }
        at += label;
    }
    *used = at;
    return arena_dup(arena, str_of(text, n), out) ? ERR_OK : ERR_LIMIT;
}

static enum err take_whole_name(str bytes, struct arena *arena, str *out)
{
    size_t used = 0;
    TRY(resolver_name_parse(bytes, arena, &used, out));
    return used == bytes.len ? ERR_OK : ERR_SYNTAX;
}

/* RFC 7208 3.3: the strings of one record are joined without a space. */
static enum err take_txt(str bytes, struct arena *arena, str *out)
{
    char *text = arena_alloc(arena, bytes.len + 1);
    size_t n = 0;
    if (!text)
        return ERR_LIMIT;
    while (!str_empty(bytes)) {
        size_t len = (uint8_t)bytes.data[0];
        if (len + 1 > bytes.len)
            return ERR_SYNTAX;
        memcpy(text + n, bytes.data + 1, len);
        n += len;
        bytes = str_skip(bytes, len + 1);
    }
    *out = str_of(text, n);
    return ERR_OK;
}

static enum err take_bytes(str bytes, size_t len, struct arena *arena, str *out)
{
    if (len != 0 && bytes.len != len)
        return ERR_SYNTAX;
    return arena_dup(arena, bytes, out) ? ERR_OK : ERR_LIMIT;
}

enum err resolver_record_parse(enum dns_type type, str bytes, struct arena *arena,
                               struct dns_record *out)
{
    struct reader r = reader_of(bytes);
    *out = (struct dns_record){0};
    switch (type) {
    case DNS_A:
        return take_bytes(bytes, 4, arena, &out->bytes);
    case DNS_AAAA:
        return take_bytes(bytes, 16, arena, &out->bytes);
    case DNS_CNAME:
    case DNS_PTR:
        return take_whole_name(bytes, arena, &out->name);
    case DNS_MX:
        out->preference = read_be16(&r);
        return r.failed ? ERR_SYNTAX : take_whole_name(r.rest, arena, &out->name);
    case DNS_SRV:
        out->preference = read_be16(&r);
        out->weight = read_be16(&r);
        out->port = read_be16(&r);
        return r.failed ? ERR_SYNTAX : take_whole_name(r.rest, arena, &out->name);
    case DNS_TXT:
        return take_txt(bytes, arena, &out->bytes);
    case DNS_TLSA:
        out->usage = read_u8(&r);
        out->selector = read_u8(&r);
        out->matching = read_u8(&r);
        return r.failed ? ERR_SYNTAX : take_bytes(r.rest, 0, arena, &out->bytes);
    }
    return ERR_UNSUPPORTED;
}

/* ---- questions ---- */

struct question {
    struct list link; /* in waiting */
    struct event done;
    struct ub_result *result; /* ub_resolve_free */
    int error;
    bool answered;
};

static void on_answer(void *arg, int error, struct ub_result *result)
{
    struct question *q = arg;
    q->error = error;
    q->result = result;
    q->answered = true;
    event_signal(&q->done);
}

static str name_text(const char *name, struct arena *arena)
{
    str s = str_c(name), out = STR_NONE;
    if (str_ends(s, STR(".")))
        s.len--;
    if (!arena_dup(arena, s, &out))
        return STR_NONE;
    for (size_t i = 0; i < out.len; i++)
        ((char *)(uintptr_t)out.data)[i] = char_lower(out.data[i]);
    return out;
}

static enum dns_status status_of(const struct ub_result *r)
{
    if (r->bogus)
        return DNS_BOGUS;
    if (r->rcode == RCODE_OK)
        return r->havedata ? DNS_FOUND : DNS_NODATA;
    return r->rcode == RCODE_NXDOMAIN || r->nxdomain ? DNS_NXDOMAIN : DNS_FAILED;
}

/* A record that does not parse is left out: the others may be good (rule: wire-5). */
static enum err take_records(const struct ub_result *r, enum dns_type type, struct arena *arena,
                             struct dns_answer *out)
{
    size_t n = 0;
    while (n < DNS_RECORDS_MAX && r->data[n])
        n++;
    struct dns_record *records = ARENA_ARRAY(arena, struct dns_record, n);
    if (!records)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++) {
        str bytes = str_of(r->data[i], r->len[i] > 0 ? (size_t)r->len[i] : 0);
        enum err e = resolver_record_parse(type, bytes, arena, &records[out->count]);
        if (e == ERR_OK)
            out->count++;
        else if (e == ERR_LIMIT)
            return e;
    }
    out->records = records;
    if (out->count == 0)
        out->status = DNS_FAILED;
    return ERR_OK;
}

static enum err take_answer(const struct ub_result *r, str name, enum dns_type type,
                            struct arena *arena, struct dns_answer *out)
{
    *out = (struct dns_answer){.status = status_of(r),
                               .secure = r->secure && !r->bogus,
                               .ttl_s = r->ttl > 0 ? (uint32_t)r->ttl : 0};
    if (r->canonname)
        out->canonical = name_text(r->canonname, arena);
    else if (!arena_dup(arena, name, &out->canonical))
        return ERR_LIMIT;
    if (out->status == DNS_BOGUS)
        LOG_WARN("dns", "bogus name=%.*s type=%d why=%s", STR_ARG(name), type,
                 r->why_bogus ? r->why_bogus : "");
    return out->status == DNS_FOUND ? take_records(r, type, arena, out) : ERR_OK;
}

/* Presentation form without escapes: what libunbound is given means what we meant. */
static enum err name_prepare(str name, char out[DNS_NAME_MAX + 2])
{
    if (str_ends(name, STR(".")))
        name.len--;
    size_t label = 0;
    if (name.len > DNS_NAME_MAX - 2)
        return ERR_SYNTAX;
    for (size_t i = 0; i < name.len; i++) {
        bool dot = name.data[i] == '.';
        if (dot ? label == 0 : !name_byte_ok((uint8_t)name.data[i]) || label == LABEL_MAX)
            return ERR_SYNTAX;
        label = dot ? 0 : label + 1;
        out[i] = char_lower(name.data[i]);
    }
    if (name.len > 0 && label == 0)
        return ERR_SYNTAX;
    out[name.len] = '.';
    out[name.len + 1] = 0;
    return ERR_OK;
}

static void suspect(struct resolver *r);

/* Below a zone of one's own. */
static bool is_own(const struct resolver *r, str name)
{
    for (size_t i = 0; i < r->nzones; i++) {
        str zone = r->zones[i];
        if (str_ends_nocase(name, zone) &&
            (name.len == zone.len || name.data[name.len - zone.len - 1] == '.'))
            return true;
    }
    return false;
}

/* ERR_OK: q->result, for ub_resolve_free. ERR_TIMEOUT: asked, and no answer came. patient: whatever
 * is known of the world, `deadline` is waited for. */
static enum err ask(struct resolver *r, const char *text, enum dns_type type, bool patient,
                    uint64_t deadline, struct question *q) WAITS
{
    int id = 0;
    enum err e = ERR_OK;
    bool hopeless = !patient && r->dead; /* but the cache may know */
    event_init(&q->done);
    if (hopeless)
        deadline = MIN(deadline, deadline_in_ms(CACHE_WAIT_MS));
    uint64_t doubt = patient || hopeless ? deadline : deadline_in_ms(r->timeout_ms / SUSPECT_PART);
    if (ub_resolve_async(r->ub, text, (int)type, CLASS_IN, q, on_answer, &id) != 0)
        return ERR_UNAVAILABLE;
    list_push_back(&r->waiting, &q->link);
    while (e == ERR_OK && !q->answered && (patient || hopeless || !r->dead)) {
        e = event_wait(&q->done, MIN(doubt, deadline));
        if (e == ERR_TIMEOUT && !q->answered && doubt < deadline) {
            suspect(r);
            doubt = deadline;
            e = ERR_OK;
        }
    }
    list_remove(&q->link);
    if (q->answered)
        return ERR_OK;
    ub_cancel(r->ub, id); /* on_answer does not come any more */
    return e == ERR_OK ? ERR_TIMEOUT : e;
}

static enum err query(void *ctx, str name, enum dns_type type, struct arena *arena,
                      struct dns_answer *out) WAITS
{
    struct resolver *r = ctx;
    char text[DNS_NAME_MAX + 2];
    *out = (struct dns_answer){.status = DNS_FAILED};
    TRY(name_prepare(name, text));
    if (r->asked >= RESOLVER_QUERIES_MAX)
        return ERR_BUSY;
    struct question q = {0};
    bool own = is_own(r, name_text(text, arena));
    r->asked++;
    enum err e = ask(r, text, type, own, deadline_in_ms(r->timeout_ms), &q);
    r->asked--;
    if (e == ERR_TIMEOUT) /* that is an answer */
        return arena_dup(arena, name, &out->canonical) ? ERR_OK : ERR_LIMIT;
    if (e == ERR_OK && q.error == 0 && q.result)
        e = take_answer(q.result, name_text(text, arena), type, arena, out);
    ub_resolve_free(q.result);
    if (!own && e == ERR_OK && out->status == DNS_FAILED)
        suspect(r);
    return e;
}

/* ---- is anybody there? ---- */

/* A name that no cache holds: the root servers, or a forwarder, must say that it does not exist. It
 * is ours, so nobody can make it fail by what he sends us. */
static bool world_answers(struct resolver *r) WAITS
{
    char text[32];
    struct question q = {0};
    snprintf(text, sizeof(text), "%015llx.", (unsigned long long)rand_below(UINT64_MAX >> 4));
    uint64_t deadline = deadline_in_ms(r->timeout_ms / PROBE_PART);
    bool answered = ask(r, text, DNS_A, true, deadline, &q) == ERR_OK && q.error == 0 && q.result &&
                    status_of(q.result) != DNS_FAILED;
    ub_resolve_free(q.result);
    return answered;
}

static void probe(void *arg) WAITS
{
    struct resolver *r = arg;
    do {
        bool dead = !world_answers(r);
        if (fiber_canceled())
            break;
        if (dead && !r->dead)
            LOG_WARN("dns", "no name server answers; questions fail at once until one does");
        else if (!dead && r->dead)
            LOG_INFO("dns", "name servers answer again");
        r->dead = dead;
        LIST_EACH (it, &r->waiting)
            event_signal(&container_of(it, struct question, link)->done);
    } while (r->dead && wait_until(deadline_in_ms(r->timeout_ms / DEAD_PAUSE_PART)) == ERR_TIMEOUT);
    r->probed_ms = clock_mono_ms();
    r->probing = false;
}

/* A question had no answer: one domain's trouble, or everybody's? */
static void suspect(struct resolver *r)
{
    uint64_t again = r->probed_ms + ALIVE_PAUSE_TIMES * r->timeout_ms;
    if (r->probing || (r->probed_ms && clock_mono_ms() < again))
        return;
    r->probing = fiber_start(r->group, "resolver probe", probe, r) == ERR_OK;
}

static void process(void *arg) WAITS
{
    struct resolver *r = arg;
    /* Edge-triggered: what came meanwhile is looked for until there is none. */
    while (wait_fd(&r->watch, WAIT_READ, DEADLINE_NEVER) == ERR_OK) {
        do
            (void)ub_process(r->ub);
        while (ub_poll(r->ub));
    }
}

/* ---- opening ---- */

static enum err refuse(const char *what, str text, int error)
{
    LOG_ERROR("dns", "%s \"%.*s\" is not usable: %s", what, STR_ARG(text), ub_strerror(error));
    return ERR_INVALID;
}

static enum err option(struct resolver *r, const char *name, const char *value)
{
    char key[64], text[OPTION_MAX];
    snprintf(key, sizeof(key), "%s:", name);
    snprintf(text, sizeof(text), "%s", value);
    int error = ub_ctx_set_option(r->ub, key, text);
    return error == 0 ? ERR_OK : refuse(name, str_c(value), error);
}

static bool terminated(str s, char *out, size_t size)
{
    if (s.len >= size)
        return false;
    if (s.len > 0)
        memcpy(out, s.data, s.len);
    out[s.len] = 0;
    return true;
}

static enum err set_forward(struct resolver *r, str address)
{
    char text[OPTION_MAX];
    int error = UB_SYNTAX;
    if (terminated(address, text, sizeof(text)))
        error = ub_ctx_set_fwd(r->ub, text);
    r->local |= str_starts(address, STR("127.")) || str_starts(address, STR("::1"));
    return error == 0 ? ERR_OK : refuse("forwarder", address, error);
}

static enum err set_zone(struct resolver *r, str line)
{
    char zone[OPTION_MAX], address[OPTION_MAX];
    str rest = line, name, at;
    int error = UB_SYNTAX;
    if (str_next_word(&rest, &name) && str_next_word(&rest, &at) &&
        terminated(name, zone, sizeof(zone)) && terminated(at, address, sizeof(address)))
        error = ub_ctx_set_stub(r->ub, zone, address, 0);
    else
        at = STR_NONE;
    r->local |= str_starts(at, STR("127.")) || str_starts(at, STR("::1"));
    if (error != 0)
        return refuse("zone", line, error);
    str own = str_ends(name, STR(".")) ? str_head(name, name.len - 1) : name;
    if (str_empty(own))
        return ERR_OK; /* the root: the world */
    return arena_dup(&r->arena, own, &r->zones[r->nzones++]) ? ERR_OK : ERR_LIMIT;
}

static enum err set_anchor(struct resolver *r, str line)
{
    char text[OPTION_MAX];
    int error = UB_SYNTAX;
    if (terminated(line, text, sizeof(text)))
        error = ub_ctx_add_ta(r->ub, text);
    return error == 0 ? ERR_OK : refuse("trust anchor", line, error);
}

/* "ZONE …": the zone without its final dot; "" is the root. */
static str zone_of(str line)
{
    str zone = STR_NONE;
    (void)str_next_word(&line, &zone);
    return str_ends(zone, STR(".")) ? str_head(zone, zone.len - 1) : zone;
}

static bool anchored(const struct resolver_options *o, str zone)
{
    for (size_t i = 0; i < o->nanchors; i++) {
        if (str_eq_nocase(zone_of(o->anchors[i]), zone))
            return true;
    }
    return false;
}

/* A zone of one's own without a key of its own: the world above knows nothing of it. */
static enum err set_insecure(struct resolver *r, const struct resolver_options *o, bool *own_root)
{
    *own_root = anchored(o, STR_NONE);
    for (size_t i = 0; i < o->nzones; i++) {
        char text[OPTION_MAX];
        str zone = zone_of(o->zones[i]);
        *own_root |= str_empty(zone);
        if (str_empty(zone) || anchored(o, zone) || !terminated(zone, text, sizeof(text)))
            continue;
        TRY(option(r, "domain-insecure", text));
    }
    return ERR_OK;
}

static enum err set_anchors(struct resolver *r, const struct resolver_options *o)
{
    bool own_root;
    if (!o->dnssec)
        return ERR_OK;
    TRY(set_insecure(r, o, &own_root));
    for (size_t i = 0; i < o->nanchors; i++)
        TRY(set_anchor(r, o->anchors[i]));
    for (size_t i = 0; !own_root && i < ARRAY_LEN(root_anchors); i++)
        TRY(set_anchor(r, str_c(root_anchors[i])));
    return ERR_OK;
}

static enum err set_limits(struct resolver *r, const struct resolver_options *o)
{
    uint64_t cache = o->cache_bytes ? o->cache_bytes : 8388608;
    char text[32];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(cache / 3));
    TRY(option(r, "msg-cache-size", text));
    TRY(option(r, "key-cache-size", "1m"));
    TRY(option(r, "neg-cache-size", "512k"));
    TRY(option(r, "infra-cache-numhosts", "5000"));
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(cache * 2 / 3));
    TRY(option(r, "rrset-cache-size", text));
    TRY(option(r, "num-queries-per-thread", "2000"));
    TRY(option(r, "outgoing-range", "4000"));
    return option(r, "outgoing-num-tcp", "64");
}

static enum err set_up(struct resolver *r, const struct resolver_options *o)
{
    TRY(option(r, "do-tcp", "yes"));
    TRY(option(r, "do-ip6", o->ipv6 ? "yes" : "no"));
    TRY(option(r, "edns-buffer-size", "1232"));
    /* Names of private addresses are for whoever asks to judge. */
    TRY(option(r, "unblock-lan-zones", "yes"));
    TRY(option(r, "insecure-lan-zones", "yes"));
    /* The probe asks for names that do not exist; the cache must not answer for the root. */
    TRY(option(r, "aggressive-nsec", "no"));
    TRY(option(r, "infra-keep-probing", "yes"));
    TRY(set_limits(r, o));
    r->zones = ARENA_ARRAY(&r->arena, str, o->nzones);
    if (!r->zones)
        return ERR_NOMEM;
    for (size_t i = 0; i < o->nforward; i++)
        TRY(set_forward(r, o->forward[i]));
    for (size_t i = 0; i < o->nzones; i++)
        TRY(set_zone(r, o->zones[i]));
    if (r->local)
        TRY(option(r, "do-not-query-localhost", "no"));
    TRY(set_anchors(r, o));
    /* Without this libunbound forks a process. */
    if (ub_ctx_async(r->ub, 1) != 0)
        return ERR_UNSUPPORTED;
    /* Zones of one's own may be below "test.". This also ends libunbound's set-up, which needs more
     * stack than a fiber has. */
    return ub_ctx_zone_remove(r->ub, "test.") == 0 ? ERR_OK : ERR_NOMEM;
}

enum err resolver_open(const struct resolver_options *o, struct fiber_group *group,
                       struct resolver **out)
{
    assert(!fiber_current());
    struct arena arena = ARENA_INIT(16384);
    struct resolver *r = ARENA_NEW(&arena, struct resolver);
    if (!r)
        return ERR_NOMEM;
    *r = (struct resolver){.ub = ub_ctx_create(),
                           .group = group,
                           .timeout_ms = o->timeout_ms ? o->timeout_ms : 20000,
                           .arena = arena};
    list_init(&r->waiting);
    enum err e = r->ub ? set_up(r, o) : ERR_NOMEM;
    if (e == ERR_OK)
        e = watch_open(&r->watch, ub_fd(r->ub));
    if (e == ERR_OK)
        e = fiber_start(group, "resolver", process, r);
    if (e != ERR_OK) {
        resolver_close(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

void resolver_dns(struct resolver *r, struct dns *out)
{
    *out = (struct dns){.ctx = r, .query = query};
}

void resolver_close(struct resolver *r)
{
    if (!r)
        return;
    watch_close(&r->watch);
    ub_ctx_delete(r->ub);
    struct arena arena = r->arena;
    arena_free(&arena);
}
