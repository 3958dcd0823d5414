/* SPDX-License-Identifier: Apache-2.0 */
#include "core/arc.h"

#include "core/dns_name.h"
#include "format/authres.h"

enum err arc_begin(struct arc_check *c, struct arena *a, const struct dkim_fields *fields,
                   struct dkim_bodies *bodies, struct dkim_keys *keys)
{
    *c = (struct arc_check){0};
    enum err e = arc_chain_of(a, fields, &c->chain);
    if (e == ERR_NOMEM)
        return e;
    if (e != ERR_OK) {
        c->chain.count = 0;
        c->broken = true;
    }
    if (!c->chain.count)
        return ERR_OK;
    const struct arc_set *newest = &c->chain.sets[c->chain.count - 1];
    c->seal_keys = ARENA_ARRAY(a, struct dkim_key_entry *, c->chain.count);
    if (!c->seal_keys)
        return ERR_NOMEM;
    c->body = dkim_bodies_want(bodies, a, &newest->message_sig);
    c->message_key = dkim_keys_want(keys, a, &newest->message_sig);
    for (size_t i = 0; i < c->chain.count; i++)
        c->seal_keys[i] = dkim_keys_want(keys, a, &c->chain.sets[i].seal_sig);
    return ERR_OK;
}

static struct dkim_judgement failed(const char *reason)
{
    return (struct dkim_judgement){DKIM_RESULT_FAIL, reason};
}

static struct dkim_judgement judge_seal(const struct arc_check *c, struct arena *a, size_t n)
{
    struct dkim_judgement j;
    struct mail_hash hash;
    uint8_t digest[MAIL_DIGEST_BYTES];
    const struct dkim_signature *sig = &c->chain.sets[n - 1].seal_sig;
    const struct dkim_key_entry *key = c->seal_keys[n - 1];
    if (sig->algorithm == DKIM_RSA_SHA1 || !key)
        return failed("a seal that cannot be verified");
    if (!dkim_key_fits(sig, key, &j))
        return j;
    if (mail_hash_begin(&hash) != ERR_OK)
        return (struct dkim_judgement){DKIM_RESULT_TEMPERROR, "out of memory"};
    enum err e = arc_hash_seal(a, &c->chain, n, mail_hash_add, &hash);
    mail_hash_end(&hash, digest);
    if (e == ERR_OK)
        e = mail_signature_verify(key->key.ed25519, key->key.key, digest, sig->signature);
    return e == ERR_OK ? (struct dkim_judgement){DKIM_RESULT_PASS, NULL}
                       : failed("a seal does not verify");
}

/* Whatever is not a pass and not temporary is a failed chain. */
static struct dkim_judgement folded(struct dkim_judgement j)
{
    if (j.result != DKIM_RESULT_PASS && j.result != DKIM_RESULT_TEMPERROR)
        j.result = DKIM_RESULT_FAIL;
    return j;
}

struct dkim_judgement arc_judge(const struct arc_check *c, struct arena *a,
                                const struct dkim_fields *fields, int64_t now_s)
{
    if (c->broken)
        return failed("broken chain");
    if (!c->chain.count)
        return (struct dkim_judgement){DKIM_RESULT_NONE, NULL};
    const struct arc_set *newest = &c->chain.sets[c->chain.count - 1];
    struct dkim_judgement j = dkim_judge(a, fields, &newest->message_sig, newest->message->raw,
                                         c->body, c->message_key, now_s);
    for (size_t n = c->chain.count; n > 0 && j.result == DKIM_RESULT_PASS; n--)
        j = judge_seal(c, a, n);
    return folded(j);
}

static bool results_say_pass(const struct arc_set *set, struct arena *a, str author_domain)
{
    str value;
    struct authres r;
    if (!arc_instance_of(set->results->value, &value) || authres_parse(a, value, &r) != ERR_OK)
        return false;
    for (size_t i = 0; i < r.count; i++) {
        const struct authres_result *one = &r.results[i];
        if (!str_eq_nocase(one->method, STR("dmarc")) || !str_eq_nocase(one->result, STR("pass")))
            continue;
        for (size_t k = 0; k < one->count; k++)
            if (str_eq_nocase(one->properties[k].name, STR("from")) &&
                !str_eq_nocase(one->properties[k].value, author_domain))
                return false;
        return true;
    }
    return false;
}

bool arc_vouches(const struct arc_check *c, struct arena *a, const str *sealers, size_t nsealers,
                 str author_domain)
{
    for (size_t n = c->chain.count; n > 0; n--) {
        const struct arc_set *set = &c->chain.sets[n - 1];
        bool trusted = false;
        for (size_t i = 0; i < nsealers; i++)
            trusted |= dns_name_within(set->seal_sig.domain, sealers[i]);
        if (!trusted)
            return false; /* what lies behind a stranger's seal is the stranger's word */
        if (results_say_pass(set, a, author_domain))
            return true;
    }
    return false;
}
