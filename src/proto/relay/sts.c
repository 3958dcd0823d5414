/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/sts.h"

#include "base/log.h"
#include "base/map.h"
#include "base/num.h"
#include "os/clock.h"

/* What is known of one domain; in its own arena. */
struct entry {
    str id;   /* of the policy held */
    str body; /* its text; empty: none is held */
    uint64_t until_ms;
    str failed_id; /* what could not be fetched, not tried again before … */
    enum err failed;
    uint64_t retry_ms;
    struct arena arena;
};
struct sts {
    struct map domains;
    struct arena arena;
};

enum err sts_open(struct sts **out)
{
    struct arena arena = ARENA_INIT(4096);
    struct sts *s = ARENA_NEW(&arena, struct sts);
    if (!s)
        return ERR_NOMEM;
    s->arena = arena;
    map_init_nocase(&s->domains, STS_DOMAINS_MAX);
    *out = s;
    return ERR_OK;
}

static void entry_free(struct entry *e)
{
    if (!e)
        return;
    struct arena arena = e->arena;
    arena_free(&arena);
}

void sts_close(struct sts *s)
{
    void *e;
    if (!s)
        return;
    for (size_t i = 0; map_next(&s->domains, &i, NULL, &e);)
        entry_free(e);
    map_free(&s->domains);
    struct arena arena = s->arena;
    arena_free(&arena);
}

/* At the limit room is made by forgetting some other domain. */
static void keep(struct sts *s, str domain, struct entry *e)
{
    void *old = NULL;
    if (s->domains.count >= STS_DOMAINS_MAX && !map_get(&s->domains, domain)) {
        size_t i = 0;
        str key;
        if (map_next(&s->domains, &i, &key, &old))
            entry_free(map_remove(&s->domains, key));
        old = NULL;
    }
    if (map_put(&s->domains, domain, e, &old) != ERR_OK)
        old = e;
    entry_free(old);
}

static struct entry *entry_new(str id, str body, uint64_t until_ms, str failed_id)
{
    struct arena arena = ARENA_INIT(4 * MTA_STS_POLICY_MAX);
    struct entry *e = ARENA_NEW(&arena, struct entry);
    struct entry fresh = {.until_ms = until_ms, .retry_ms = deadline_in_ms(STS_RETRY_MS)};
    if (!e || !arena_dup(&arena, id, &fresh.id) || !arena_dup(&arena, body, &fresh.body) ||
        !arena_dup(&arena, failed_id, &fresh.failed_id)) {
        arena_free(&arena);
        return NULL;
    }
    *e = fresh;
    e->arena = arena;
    return e;
}

/* RFC 8461 3.1: exactly one record; several are as none. */
static bool find_id(const struct dns *dns, str domain, struct arena *arena, str *id) WAITS
{
    struct dns_answer a;
    size_t found = 0;
    str name = arena_fmt(arena, "_mta-sts.%.*s", STR_ARG(domain));
    if (str_empty(name) || dns->query(dns->ctx, name, DNS_TXT, arena, &a) != ERR_OK)
        return false;
    for (size_t i = 0; a.status == DNS_FOUND && i < a.count; i++) {
        enum err e = mta_sts_txt_parse(a.records[i].bytes, id);
        found += e != ERR_NOT_FOUND;
        if (e != ERR_OK)
            *id = STR_NONE;
    }
    return found == 1 && !str_empty(*id);
}

static enum err fetch_policy(const struct fetch_options *o, str domain, struct arena *arena,
                             struct relay_fetched *out, struct mta_sts_policy *policy) WAITS
{
    struct relay_fetch f = {
        .method = STR("GET"),
        .url = arena_fmt(arena, "https://mta-sts.%.*s/.well-known/mta-sts.txt", STR_ARG(domain)),
        .answer_max = MTA_STS_POLICY_MAX,
        .timeout_ms = STS_FETCH_TIMEOUT_MS,
    };
    TRY(fetch_run(o, &f, arena, out));
    /* RFC 8461 3.3: 200 and text/plain, nothing else; no redirect is followed. */
    if (out->status != 200 || !str_starts_nocase(out->content_type, STR("text/plain")))
        return ERR_NOT_FOUND;
    return mta_sts_policy_parse(arena, out->body, policy);
}

static struct mta_sts_policy held(const struct entry *e, struct arena *arena)
{
    struct mta_sts_policy p = {.mode = MTA_STS_NONE};
    str body;
    if (!e || str_empty(e->body) || e->until_ms <= clock_mono_ms() ||
        !arena_dup(arena, e->body, &body) || mta_sts_policy_parse(arena, body, &p) != ERR_OK)
        return (struct mta_sts_policy){.mode = MTA_STS_NONE};
    return p;
}

struct mta_sts_policy sts_find(struct sts *s, const struct fetch_options *o, str domain,
                               struct arena *arena, enum err *fetched_as)
{
    str id = STR_NONE;
    *fetched_as = ERR_OK;
    bool published = find_id(o->dns, domain, arena, &id);
    const struct entry *e = map_get(&s->domains, domain);
    /* RFC 8461 5.1: without an answer the held policy stays in force. */
    bool known = e && !str_empty(e->body) && str_eq(e->id, id) && e->until_ms > clock_mono_ms();
    bool pause = e && str_eq(e->failed_id, id) && e->retry_ms > clock_mono_ms();
    if (published && !known && pause)
        *fetched_as = e->failed;
    if (!published || known || pause)
        return held(e, arena);
    struct relay_fetched fetched;
    struct mta_sts_policy policy;
    enum err result = fetch_policy(o, domain, arena, &fetched, &policy);
    *fetched_as = result;
    struct entry *fresh;
    if (result == ERR_OK) {
        uint64_t age_s = MIN(policy.max_age_s, (uint64_t)STS_AGE_MAX_S);
        fresh = entry_new(id, fetched.body, deadline_in_ms(age_s * 1000), STR_NONE);
    } else {
        LOG_INFO("sts", "no policy domain=%.*s cause=%s", STR_ARG(domain), err_name(result));
        e = map_get(&s->domains, domain); /* it may be another by now */
        fresh =
            e ? entry_new(e->id, e->body, e->until_ms, id) : entry_new(STR_NONE, STR_NONE, 0, id);
    }
    if (fresh)
        fresh->failed = result;
    if (fresh)
        keep(s, domain, fresh);
    return result == ERR_OK ? policy : held(map_get(&s->domains, domain), arena);
}
