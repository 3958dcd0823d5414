/* SPDX-License-Identifier: Apache-2.0 */
#include "app/mail_policy.h"

#include "base/num.h"
#include "core/dns_name.h"
#include "core/dnsbl.h"

static bool take_action(str word, enum mail_disposition *out)
{
    static const str words[] = {
        [MAIL_ACCEPT] = STR_INIT("tag"),
        [MAIL_QUARANTINE] = STR_INIT("quarantine"),
        [MAIL_REJECT] = STR_INIT("reject"),
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!str_eq(words[i], word))
            continue;
        *out = (enum mail_disposition)i;
        return true;
    }
    return false;
}

static enum err take_domains(struct config *c, struct smtp_policy *out, str *word)
{
    const struct config_list *list = &c->mail_auth_domains;
    struct smtp_domain_policy *rows =
        ARENA_ARRAY(&c->arena, struct smtp_domain_policy, list->count + 1);
    if (!rows)
        return ERR_NOMEM;
    for (size_t i = 0; i < list->count; i++) {
        str domain, action;
        *word = list->items[i];
        if (!str_cut(list->items[i], '=', &domain, &action) ||
            !take_action(str_trim(action), &rows[i].most) ||
            dns_name_of(str_trim(domain), &c->arena, &rows[i].domain) != ERR_OK)
            return ERR_INVALID;
    }
    out->domains = rows;
    out->ndomains = list->count;
    return ERR_OK;
}

static enum err take_names(struct config *c, const struct config_list *list, const str **out,
                           str *word)
{
    str *names = ARENA_ARRAY(&c->arena, str, list->count + 1);
    if (!names)
        return ERR_NOMEM;
    for (size_t i = 0; i < list->count; i++) {
        *word = list->items[i];
        if (dns_name_of(list->items[i], &c->arena, &names[i]) != ERR_OK)
            return ERR_INVALID;
    }
    *out = names;
    return ERR_OK;
}

static bool take_actions(const struct config *c, struct smtp_policy *out, const char **bad,
                         str *word)
{
    const struct {
        const char *text;
        str word;
        enum mail_disposition *place;
    } rows[] = {
        {"mail_auth.reject is reject, quarantine or tag, not \"%\"", c->mail_auth_reject,
         &out->on_reject},
        {"mail_auth.quarantine is reject, quarantine or tag, not \"%\"", c->mail_auth_quarantine,
         &out->on_quarantine},
        {"mail_auth.spf_fail is reject, quarantine or tag, not \"%\"", c->mail_auth_spf_fail,
         &out->on_spf_fail},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        *bad = rows[i].text;
        *word = rows[i].word;
        if (!take_action(rows[i].word, rows[i].place))
            return false;
    }
    *bad = "mail_auth.temporary is tag or defer, not \"%\"";
    *word = c->mail_auth_temporary;
    out->defer_temporary = str_eq(*word, STR("defer"));
    if (!out->defer_temporary && !str_eq(*word, STR("tag")))
        return false;
    *bad = "blocklist.action is reject or quarantine, not \"%\"";
    *word = c->blocklist_action;
    out->blocklist_tags = str_eq(*word, STR("quarantine"));
    return out->blocklist_tags || str_eq(*word, STR("reject"));
}

enum err mail_policy_of(struct config *c, struct smtp_policy *out, const char **bad, str *word)
{
    *out = (struct smtp_policy){
        .verify = c->mail_auth_verify,
        .deadline_ms = c->mail_auth_deadline,
        .ntrusted_sealers = c->mail_auth_trusted_sealers.count,
        .nblocklists = c->blocklist_zones.count,
        .blocklist_deadline_ms = c->blocklist_deadline,
        .observe = c->reports_dmarc,
        .report_mailbox = c->reports_mailbox,
    };
    if (!take_actions(c, out, bad, word))
        return ERR_INVALID;
    *bad = "mail_auth.domains has items like example.com=tag, not \"%\"";
    TRY(take_domains(c, out, word));
    *bad = "mail_auth.trusted_sealers names domains, not \"%\"";
    TRY(take_names(c, &c->mail_auth_trusted_sealers, &out->trusted_sealers, word));
    *bad = "blocklist.zones names domains, not \"%\"";
    if (c->blocklist_zones.count > DNSBL_ZONES_MAX) {
        *bad = "blocklist.zones has too many lists";
        return ERR_INVALID;
    }
    return take_names(c, &c->blocklist_zones, &out->blocklists, word);
}
