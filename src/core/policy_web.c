/* SPDX-License-Identifier: Apache-2.0 */
#include "core/policy_web.h"

#include "core/acme_rows.h"

void policy_web_mta_sts(enum mta_sts_mode mode, str hostname, struct buf *text)
{
    struct mta_sts_policy p = {
        .mode = mode, .max_age_s = MTA_STS_MAX_AGE_S, .mx = &hostname, .nmx = 1};
    mta_sts_policy_render(text, &p);
}

str policy_web_mta_sts_id(str text, struct arena *a)
{
    return arena_fmt(a, "%016llx", (unsigned long long)str_hash_stable(text));
}

bool policy_web_path(str path)
{
    return str_eq(path, POLICY_WEB_MTA_STS) ||
           (str_starts(path, POLICY_WEB_CHALLENGES) && path.len > POLICY_WEB_CHALLENGES.len);
}

static enum err answer_policy(struct directory *d, enum mta_sts_mode mode, str hostname, str host,
                              struct buf *body) WAITS
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct domain domain;
    str label, name;
    (void)str_cut(host, '.', &label, &name);
    if (!str_eq_nocase(label, STR("mta-sts")) ||
        directory_normalise_domain(name, &a, &name) != ERR_OK)
        return ERR_NOT_FOUND;
    enum err e = directory_domain_get(d, name, &a, &domain);
    if (e != ERR_OK)
        return e == ERR_NO_DOMAIN ? ERR_NOT_FOUND : e;
    policy_web_mta_sts(mode, hostname, body);
    return buf_ok(body) ? ERR_OK : ERR_LIMIT;
}

enum err policy_web_answer(struct directory *d, enum mta_sts_mode mode, str hostname, str host,
                           str path, bool secure, struct buf *body)
{
    if (str_eq(path, POLICY_WEB_MTA_STS))
        return secure ? answer_policy(d, mode, hostname, host, body) : ERR_NOT_FOUND;
    if (!policy_web_path(path))
        return ERR_NOT_FOUND;
    return acme_challenge_get(d->store, str_skip(path, POLICY_WEB_CHALLENGES.len), body);
}
