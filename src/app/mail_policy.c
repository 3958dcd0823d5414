/* SPDX-License-Identifier: Apache-2.0 */
#include "app/mail_policy.h"

#include "base/num.h"
#include "core/directory.h"
#include "core/dns_name.h"
#include "core/dnsbl.h"
#include "proto/relay/scan.h"

#define GREYLIST_DELAY_MAX 86400000 /* ms */
#define REPORT_MAILBOX_MAX 64       /* RFC 5321 4.5.3.1.1 */

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

static enum err take_sites(struct config *c, const struct config_list *list, bool allows,
                           struct dnsbl_site *out, str *word)
{
    for (size_t i = 0; i < list->count; i++) {
        *word = list->items[i];
        if (!dnsbl_site_parse(list->items[i], &out[i]) || (allows && out[i].weight != 1) ||
            dns_name_of(out[i].zone, &c->arena, &out[i].zone) != ERR_OK)
            return ERR_INVALID;
        out[i].allows = allows;
    }
    return ERR_OK;
}

static enum err take_blocklists(struct config *c, struct smtp_policy *out, const char **bad,
                                str *word)
{
    size_t n = c->blocklist_zones.count, total = n + c->blocklist_allow_zones.count;
    struct dnsbl_site *sites = ARENA_ARRAY(&c->arena, struct dnsbl_site, total + 1);
    *bad = "blocklist.zones and blocklist.allow_zones have too many lists";
    if (total > DNSBL_ZONES_MAX)
        return ERR_INVALID;
    if (!sites)
        return ERR_NOMEM;
    *bad = "blocklist.threshold is at least 1";
    if (c->blocklist_threshold == 0)
        return ERR_INVALID;
    *bad = "blocklist.zones has items like bl.example, bl.example=127.0.0.[2..11]*2, not \"%\"";
    TRY(take_sites(c, &c->blocklist_zones, false, sites, word));
    *bad = "blocklist.allow_zones has items like wl.example=127.0.0.2, not \"%\"";
    TRY(take_sites(c, &c->blocklist_allow_zones, true, sites + n, word));
    out->blocklists = sites;
    out->nblocklists = total;
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

static enum err take_greylist(struct config *c, struct smtp_policy *out, const char **bad,
                              str *word)
{
    const struct config_list *list = &c->greylist_exempt_recipients;
    str *recipients = ARENA_ARRAY(&c->arena, str, list->count + 1);
    if (!recipients)
        return ERR_NOMEM;
    out->greylist = (struct smtp_greylist){
        .enabled = c->greylist_enabled,
        .spf_pass = c->greylist_spf_pass,
        .exempt = c->greylist_exempt.items,
        .nexempt = c->greylist_exempt.count,
        .recipients = recipients,
        .nrecipients = list->count,
    };
    *bad = "greylist.exempt_recipients names domains and addresses, not \"%\"";
    for (size_t i = 0; i < list->count; i++) {
        *word = list->items[i];
        bool address = str_find_char(*word, '@') != STR_NPOS;
        enum err e = address ? directory_normalise(*word, &c->arena, &recipients[i])
                             : dns_name_of(*word, &c->arena, &recipients[i]);
        if (e != ERR_OK)
            return ERR_INVALID;
    }
    *bad = "greylist.sender is domain or address, not \"%\"";
    *word = c->greylist_sender;
    if (!str_eq(*word, STR("domain")) && !str_eq(*word, STR("address")))
        return ERR_INVALID;
    *bad = "greylist.delay is at least 1s, greylist.window and greylist.lifetime are longer";
    bool times = c->greylist_delay >= 1000 && c->greylist_window > c->greylist_delay &&
                 c->greylist_lifetime > c->greylist_delay &&
                 c->greylist_delay <= GREYLIST_DELAY_MAX;
    return times ? ERR_OK : ERR_INVALID;
}

static bool take_doing(str word, enum scan_doing *out)
{
    static const char *const words[] = {
        [SCAN_DO_ACCEPT] = "accept",   [SCAN_DO_TAG] = "tag",
        [SCAN_DO_REWRITE] = "rewrite", [SCAN_DO_QUARANTINE] = "quarantine",
        [SCAN_DO_DEFER] = "defer",     [SCAN_DO_REJECT] = "reject",
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!str_eq(word, str_c(words[i])))
            continue;
        *out = (enum scan_doing)i;
        return true;
    }
    return false;
}

static bool take_doings(const struct config *c, struct smtp_scanner *out, const char **bad,
                        str *word)
{
    struct {
        const char *text;
        str word;
        enum scan_doing *place;
        bool rewrite;
    } rows[] = {
        {"scanner.reject has no action \"%\"", c->scanner_reject, &out->on_reject, false},
        {"scanner.soft_reject has no action \"%\"", c->scanner_soft_reject, &out->on_soft_reject,
         false},
        {"scanner.greylist has no action \"%\"", c->scanner_greylist, &out->on_greylist, false},
        {"scanner.add_header has no action \"%\"", c->scanner_add_header, &out->on_add_header,
         false},
        {"scanner.rewrite_subject has no action \"%\"", c->scanner_rewrite_subject,
         &out->on_rewrite_subject, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        *bad = rows[i].text;
        *word = rows[i].word;
        if (!take_doing(rows[i].word, rows[i].place) ||
            (*rows[i].place == SCAN_DO_REWRITE && !rows[i].rewrite))
            return false;
    }
    *bad = "scanner.failure is defer, tag or accept, not \"%\"";
    *word = c->scanner_failure;
    return take_doing(*word, &out->on_failure) &&
           (out->on_failure <= SCAN_DO_TAG || out->on_failure == SCAN_DO_DEFER);
}

static enum err take_scanner(struct config *c, struct smtp_policy *out, const char **bad, str *word)
{
    out->scanner = (struct smtp_scanner){
        .enabled = !str_empty(c->scanner_url),
        .submissions = c->scanner_submissions,
        .deadline_ms = c->scanner_deadline,
        .size_max = c->scanner_size_max,
    };
    if (!take_doings(c, &out->scanner, bad, word))
        return ERR_INVALID;
    *bad = "scanner.url is an address like http://127.0.0.1:11333, not \"%\"";
    *word = c->scanner_url;
    if (!scan_url_valid(*word))
        return ERR_INVALID;
    *bad = "scanner.deadline is between 1ms and 5m";
    bool ok = c->scanner_deadline > 0 && c->scanner_deadline <= FETCH_TIMEOUT_MS_MAX;
    return ok ? ERR_OK : ERR_INVALID;
}

/* It stands in records (mailto:MAILBOX@DOMAIN), where commas, semicolons and ! mean more. */
static bool report_mailbox_valid(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && c != '-' && c != '_' && c != '+' && (c != '.' || i == 0 || i + 1 == s.len))
            return false;
    }
    return s.len <= REPORT_MAILBOX_MAX;
}

enum err mail_policy_of(struct config *c, struct smtp_policy *out, const char **bad, str *word)
{
    *out = (struct smtp_policy){
        .verify = c->mail_auth_verify,
        .deadline_ms = c->mail_auth_deadline,
        .ntrusted_sealers = c->mail_auth_trusted_sealers.count,
        .blocklist_threshold = (uint32_t)c->blocklist_threshold,
        .blocklist_exempt = c->blocklist_exempt.items,
        .nblocklist_exempt = c->blocklist_exempt.count,
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
    *bad = "reports.mailbox is what stands before the @ of an address, not \"%\"";
    *word = c->reports_mailbox;
    if (!report_mailbox_valid(*word))
        return ERR_INVALID;
    TRY(take_blocklists(c, out, bad, word));
    TRY(take_greylist(c, out, bad, word));
    return take_scanner(c, out, bad, word);
}
