/* SPDX-License-Identifier: Apache-2.0
 *
 * What the world sees of a record, against what it should be. Each judge looks at one kind; what is
 * published and good enough is right, also when it is not letter for letter what we would write.
 */
#include "core/domain_setup.h"

#include "base/code.h"
#include "format/dkim_syntax.h"
#include "format/dmarc_syntax.h"
#include "format/mta_sts.h"
#include "format/spf_syntax.h"
#include "format/tlsrpt.h"

#include <string.h>

struct judged {
    const struct setup_facts *facts;
    const struct setup_record *record;
    const struct dns_answer *answer, *host;
    struct arena *arena;
    struct setup_verdict *out;
};

const char *setup_state_name(enum setup_state s)
{
    static const char *const names[] = {"right", "wrong", "missing", "unknown"};
    return names[s];
}

enum dns_type setup_question(const struct setup_record *r)
{
    return r->rule == SETUP_ALIAS ? DNS_A : r->type;
}

static enum err say(struct judged *j, enum setup_state state, str found, str advice)
{
    *j->out = (struct setup_verdict){state, found, advice};
    return ERR_OK;
}

static str should_be(struct judged *j)
{
    BUF_AUTO struct buf line = BUF_INIT(DNS_MESSAGE_MAX * 4);
    setup_render(j->record, &line);
    str copy;
    if (!arena_dup(j->arena, str_trim(buf_str(&line)), &copy))
        return STR_NONE;
    for (size_t i = 0; i < copy.len; i++) { /* what is said in a sentence has no control bytes */
        char *c = (char *)(uintptr_t)&copy.data[i];
        if (*c == '\t')
            *c = ' ';
    }
    return copy;
}

static enum err missing(struct judged *j)
{
    return say(j, SETUP_MISSING, STR_NONE, arena_fmt(j->arena, "Add: %.*s", STR_ARG(should_be(j))));
}

static enum err wrong(struct judged *j, str found, const char *why)
{
    return say(j, SETUP_WRONG, found,
               arena_fmt(j->arena, "%s Change it to: %.*s", why, STR_ARG(should_be(j))));
}

static bool has_bytes(const struct dns_answer *a, str bytes)
{
    for (size_t i = 0; a && i < a->count; i++) {
        if (str_eq(a->records[i].bytes, bytes))
            return true;
    }
    return false;
}

static str addresses_text(struct judged *j)
{
    BUF_AUTO struct buf text = BUF_INIT(65536);
    for (size_t i = 0; i < j->answer->count; i++) {
        struct address ip = {.family = j->answer->records[i].bytes.len == 4 ? 4 : 6};
        memcpy(ip.ip, j->answer->records[i].bytes.data, ip.family == 4 ? 4 : 16);
        buf_add_c(&text, i ? " " : "");
        address_render(&ip, &text);
    }
    str copy;
    return arena_dup(j->arena, buf_str(&text), &copy) ? copy : STR_NONE;
}

static enum err judge_address(struct judged *j)
{
    if (has_bytes(j->answer, j->record->data))
        return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
    return wrong(j, addresses_text(j), "The host name leads elsewhere.");
}

static enum err judge_mx(struct judged *j)
{
    const struct dns_record *ours = NULL, *best = &j->answer->records[0];
    for (size_t i = 0; i < j->answer->count; i++) {
        const struct dns_record *r = &j->answer->records[i];
        if (str_eq(r->name, j->facts->hostname) && (!ours || r->preference < ours->preference))
            ours = r;
        if (r->preference < best->preference)
            best = r;
    }
    if (!ours)
        return wrong(j, best->name, "Mail for the domain goes elsewhere.");
    if (ours->preference > best->preference)
        return wrong(j, best->name, "Another host is preferred.");
    if (j->answer->count > 1)
        return say(j, SETUP_RIGHT, STR_NONE,
                   STR("There are other MX hosts; each must know the users and refuse what this "
                       "one refuses."));
    return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
}

/* ---- texts ---- */

static size_t count_texts(const struct judged *j, str prefix, const struct dns_record **found)
{
    size_t n = 0;
    for (size_t i = 0; i < j->answer->count; i++) {
        if (str_starts_nocase(j->answer->records[i].bytes, prefix)) {
            *found = &j->answer->records[i];
            n++;
        }
    }
    return n;
}

static bool prefix_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

/* Does a term name this server, without asking DNS again? */
static bool spf_names_us(const struct judged *j, const struct spf_term *t)
{
    bool own_domain = str_empty(t->domain) || str_eq_nocase(t->domain, j->facts->domain);
    switch (t->mechanism) {
    case SPF_MX:
        return own_domain;
    case SPF_A:
        return str_eq_nocase(t->domain, j->facts->hostname) ||
               (own_domain && str_eq(j->facts->domain, j->facts->hostname));
    case SPF_IP4:
        for (size_t i = 0; j->host && i < j->host->count; i++) {
            const str *ip = &j->host->records[i].bytes;
            if (ip->len == 4 && prefix_equal((const uint8_t *)ip->data, t->ip, t->prefix4))
                return true;
        }
        return false;
    default:
        return false;
    }
}

static enum err judge_spf(struct judged *j)
{
    const struct dns_record *found = NULL;
    size_t n = count_texts(j, STR("v=spf1"), &found);
    struct spf_record spf;
    if (n == 0)
        return missing(j);
    if (n > 1)
        return wrong(j, found->bytes, "There are several SPF records, so none counts.");
    if (spf_record_parse(j->arena, found->bytes, &spf) != ERR_OK)
        return wrong(j, found->bytes, "The SPF record is malformed.");
    bool elsewhere = !str_empty(spf.redirect);
    for (size_t i = 0; i < spf.count; i++) {
        const struct spf_term *t = &spf.terms[i];
        if (t->qualifier == SPF_PASS && spf_names_us(j, t))
            return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
        if (t->qualifier == SPF_PASS && t->mechanism == SPF_ALL)
            return wrong(j, found->bytes, "+all lets everybody send as the domain.");
        elsewhere |= t->mechanism == SPF_INCLUDE || t->mechanism == SPF_EXISTS;
    }
    if (elsewhere)
        return say(j, SETUP_UNKNOWN, found->bytes,
                   STR("Whether the included records name this server was not followed; \"mx\" in "
                       "the record itself is certain."));
    return wrong(j, found->bytes, "The SPF record does not name this server.");
}

static enum err judge_dkim(struct judged *j)
{
    struct dkim_key ours, theirs;
    if (dkim_key_parse(j->arena, j->record->data, &ours) != ERR_OK)
        return ERR_INVALID;
    for (size_t i = 0; i < j->answer->count; i++) {
        if (dkim_key_parse(j->arena, j->answer->records[i].bytes, &theirs) == ERR_OK &&
            theirs.ed25519 == ours.ed25519 && str_eq(theirs.key, ours.key) && !theirs.revoked)
            return say(j, j->answer->count > 1 ? SETUP_WRONG : SETUP_RIGHT, STR_NONE,
                       j->answer->count > 1
                           ? STR("Several texts at one selector: remove the others.")
                           : STR_NONE);
    }
    return wrong(j, j->answer->records[0].bytes, "The published key is not ours.");
}

static enum err judge_dmarc(struct judged *j)
{
    const struct dns_record *found = NULL;
    size_t n = count_texts(j, STR("v=DMARC1"), &found);
    struct dmarc_record d;
    if (n == 0)
        return missing(j);
    if (n > 1)
        return wrong(j, found->bytes, "There are several DMARC records, so none counts.");
    if (dmarc_record_parse(j->arena, found->bytes, &d) != ERR_OK)
        return wrong(j, found->bytes, "The DMARC record is malformed.");
    if (d.policy == DMARC_NONE || d.testing)
        return say(j, SETUP_RIGHT, found->bytes,
                   STR("The policy only watches; p=quarantine or p=reject once the reports are "
                       "clean."));
    return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
}

static enum err judge_mta_sts(struct judged *j)
{
    const struct dns_record *found = NULL;
    size_t n = count_texts(j, STR("v=STSv1"), &found);
    str ours, theirs;
    if (n == 0)
        return missing(j);
    if (n > 1)
        return wrong(j, found->bytes, "There are several MTA-STS records, so none counts.");
    if (mta_sts_txt_parse(found->bytes, &theirs) != ERR_OK)
        return wrong(j, found->bytes, "The MTA-STS record is malformed.");
    if (mta_sts_txt_parse(j->record->data, &ours) == ERR_OK && str_eq(ours, theirs))
        return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
    return wrong(j, found->bytes, "The policy has changed and its id has not.");
}

static enum err judge_tlsrpt(struct judged *j)
{
    const struct dns_record *found = NULL;
    struct tlsrpt_record t;
    if (count_texts(j, STR("v=TLSRPTv1"), &found) != 1)
        return found ? wrong(j, found->bytes, "There are several TLS-RPT records.") : missing(j);
    if (tlsrpt_parse(j->arena, found->bytes, &t) != ERR_OK)
        return wrong(j, found->bytes, "The TLS-RPT record is malformed.");
    return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
}

/* ---- the others ---- */

static enum err judge_alias(struct judged *j)
{
    if (str_eq(j->answer->canonical, j->facts->hostname))
        return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
    for (size_t i = 0; i < j->answer->count; i++) {
        if (has_bytes(j->host, j->answer->records[i].bytes))
            return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
    }
    return wrong(j, addresses_text(j), "The name leads elsewhere.");
}

static bool tlsa_is_ours(const struct setup_facts *f, const struct dns_record *r)
{
    for (size_t i = 0; i < f->ntlsa; i++) {
        if (str_eq(r->bytes, str_of(f->tlsa[i].sha256, 32)))
            return true;
    }
    return false;
}

/* A record of no key of ours is an alarm: were it the only one, mail would stop (RFC 7672 2.1). */
static enum err judge_tlsa(struct judged *j)
{
    bool found = false;
    const struct dns_record *stale = NULL;
    for (size_t i = 0; i < j->answer->count; i++) {
        const struct dns_record *r = &j->answer->records[i];
        bool spki = r->usage == 3 && r->selector == 1 && r->matching == 1;
        found |= spki && str_eq(r->bytes, j->record->data);
        if (r->usage == 3 && !(spki && tlsa_is_ours(j->facts, r)))
            stale = r;
    }
    if (!found)
        return wrong(j, STR_NONE, "The published TLSA records do not name this key.");
    if (stale) {
        BUF_AUTO struct buf hex = BUF_INIT(65536);
        buf_addf(&hex, "%u %u %u ", stale->usage, stale->selector, stale->matching);
        code_hex(&hex, stale->bytes);
        str text;
        if (!arena_dup(j->arena, buf_str(&hex), &text))
            return ERR_NOMEM;
        return say(
            j, SETUP_WRONG, text,
            arena_fmt(j->arena, "No certificate here has this key; remove: %.*s", STR_ARG(text)));
    }
    if (!j->answer->secure)
        return say(j, SETUP_RIGHT, STR_NONE,
                   STR("The zone is not signed with DNSSEC, so nobody uses this record yet."));
    return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
}

static enum err judge_srv(struct judged *j)
{
    for (size_t i = 0; i < j->answer->count; i++) {
        const struct dns_record *r = &j->answer->records[i];
        if (str_eq(r->name, j->record->target) && r->port == j->record->port)
            return say(j, SETUP_RIGHT, STR_NONE, STR_NONE);
    }
    const struct dns_record *r = &j->answer->records[0];
    return wrong(j, arena_fmt(j->arena, "%.*s port %u", STR_ARG(r->name), r->port),
                 "Programs that set themselves up are sent elsewhere.");
}

enum err setup_judge(const struct setup_facts *f, const struct setup_record *r,
                     const struct dns_answer *answer, const struct dns_answer *host,
                     struct arena *a, struct setup_verdict *out)
{
    static enum err (*const judges[])(struct judged *) = {
        [SETUP_ADDRESS] = judge_address, [SETUP_MX] = judge_mx,
        [SETUP_SPF] = judge_spf,         [SETUP_DKIM] = judge_dkim,
        [SETUP_DMARC] = judge_dmarc,     [SETUP_MTA_STS] = judge_mta_sts,
        [SETUP_TLSRPT] = judge_tlsrpt,   [SETUP_ALIAS] = judge_alias,
        [SETUP_TLSA] = judge_tlsa,       [SETUP_SRV] = judge_srv,
    };
    struct judged j = {f, r, answer, host, a, out};
    switch (answer->status) {
    case DNS_FAILED:
        return say(&j, SETUP_UNKNOWN, STR_NONE, STR("There was no answer; try again later."));
    case DNS_BOGUS:
        return say(&j, SETUP_WRONG, STR_NONE,
                   STR("DNSSEC validation fails: the zone's signatures or its DS record are "
                       "broken, and half of the world does not see it."));
    case DNS_NODATA:
    case DNS_NXDOMAIN:
        return missing(&j);
    case DNS_FOUND:
        return answer->count > 0 ? judges[r->rule](&j) : missing(&j);
    }
    return ERR_INVALID;
}
