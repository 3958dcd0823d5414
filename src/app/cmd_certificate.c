/* SPDX-License-Identifier: Apache-2.0 */
#include "app/command.h"
#include "app/house_acme.h"
#include "base/code.h"
#include "core/acme_rows.h"

static void show_one(struct command_run *r, const struct house_certificate *c, uint32_t spread)
{
    static const char *const origins[] = {"configured", "acme", "next key"};
    BUF_AUTO struct buf hex = BUF_INIT(128);
    code_hex(&hex, str_of(c->facts.spki, sizeof(c->facts.spki)));
    report_item(&r->report);
    report_str(&r->report, "origin", str_c(origins[c->origin]));
    if (c->origin != CERTIFICATE_NEXT_KEY) {
        report_strs(&r->report, "names", c->facts.names, c->facts.nnames);
        report_time(&r->report, "expires", c->facts.not_after_s);
        report_str(&r->report, "issuer", c->facts.issuer);
    }
    if (c->origin == CERTIFICATE_ACME)
        report_time(&r->report, "renewed_at", certificate_renew_at(&c->facts, spread));
    report_str(&r->report, "tlsa", arena_fmt(&r->arena, "3 1 1 %.*s", STR_ARG(buf_str(&hex))));
    report_item_end(&r->report);
}

enum err certificate_show(struct command_run *r)
{
    struct house_process *h = r->admin->house;
    struct house_certificate *list;
    struct acme_state st;
    size_t n;
    uint32_t spread = (uint32_t)(str_hash_stable(r->admin->config->server_hostname) % 1001);
    TRY(house_certificates(h, &r->arena, &list, &n));
    TRY(acme_state_get(h->store, &r->arena, &st));
    report_list(&r->report, "certificates");
    for (size_t i = 0; i < n; i++)
        show_one(r, &list[i], spread);
    report_list_end(&r->report);
    report_bool(&r->report, "acme", r->admin->config->acme_enabled);
    report_time(&r->report, "last_success", st.last_s);
    report_u64(&r->report, "failures", st.failures);
    report_time(&r->report, "next_try", st.next_try_s);
    report_str(&r->report, "error", st.error);
    return ERR_OK;
}

enum err certificate_renew(struct command_run *r)
{
    BUF_AUTO struct buf text = BUF_INIT(65536);
    if (!r->admin->config->acme_enabled)
        return command_fail(r, ERR_INVALID,
                            "acme.enabled is no; saying yes agrees to the authority's terms.");
    bool next = command_option(r, "next-key") != NULL;
    enum err e = house_acme_now(r->admin->house, next, &text);
    if (e == ERR_BUSY)
        return command_fail(r, e, "An order is under way already.");
    if (e != ERR_OK)
        return command_fail(r, e, "No new certificate: %.*s.", STR_ARG(buf_str(&text)));
    report_say(&r->report, "A new certificate is in use.");
    return ERR_OK;
}

enum err certificate_next_key(struct command_run *r)
{
    struct ipc_certificate_next_key_results res;
    enum err e = ipc_certificate_next_key(&r->admin->house->parent,
                                          &(struct ipc_certificate_next_key_args){}, NULL, &res);
    if (e == ERR_EXISTS)
        return command_fail(r, e, "There is a next key already; see: posthouse certificate show.");
    if (e != ERR_OK)
        return command_fail(r, e, "The next key cannot be made: %s.", err_text(e));
    report_say(&r->report,
               "Made the next key. Publish its TLSA record (posthouse dns DOMAIN), wait "
               "for two days, then: posthouse certificate renew --next-key");
    return ERR_OK;
}
