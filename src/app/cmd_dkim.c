/* SPDX-License-Identifier: Apache-2.0 */
#include "app/command.h"
#include "base/num.h"
#include "core/dkim_keys.h"
#include "os/clock.h"

static enum err failed(struct command_run *r, enum err e, str domain)
{
    switch (e) {
    case ERR_NO_DOMAIN:
        return command_fail(r, e, "There is no domain %.*s.", STR_ARG(domain));
    case ERR_EXISTS:
        return command_fail(r, e, "This selector is in use.");
    case ERR_INVALID:
        return command_fail(r, e, "A selector is one label of lower-case letters and digits.");
    case ERR_NOT_FOUND:
        return command_fail(r, e, "There is no such key.");
    case ERR_BUSY:
        return command_fail(r, e,
                            "The new keys have not waited a day for their records to spread; "
                            "--now switches all the same.");
    default:
        return command_fail(r, e, "Keys of %.*s: %s.", STR_ARG(domain), err_text(e));
    }
}

static enum err domain_arg(struct command_run *r, str *domain)
{
    enum err e = directory_normalise_domain(r->args[0], &r->arena, domain);
    return e == ERR_OK ? e : failed(r, ERR_NO_DOMAIN, r->args[0]);
}

static void show(struct command_run *r, const struct dkim_domain_key *k)
{
    static const str uses[] = {STR_INIT(""), STR_INIT("waiting"), STR_INIT("signing"),
                               STR_INIT("retired")};
    BUF_AUTO struct buf name = BUF_INIT(512), record = BUF_INIT(8192);
    buf_addf(&name, "%.*s._domainkey.%.*s", STR_ARG(k->selector), STR_ARG(k->domain));
    report_item(&r->report);
    report_str(&r->report, "selector", k->selector);
    report_str(&r->report, "state", uses[k->use]);
    report_str(&r->report, "kind", k->ed25519 ? STR("ed25519") : STR("rsa"));
    report_time(&r->report, "since", k->changed_s);
    report_str(&r->report, "name", buf_str(&name));
    if (dkim_key_record(k->pem, &record) == ERR_OK)
        report_str(&r->report, "txt", buf_str(&record));
    report_item_end(&r->report);
}

static enum err add(struct command_run *r, str domain, str selector, bool ed25519)
{
    struct dkim_domain_key k;
    enum err e = dkim_keys_add(r->admin->directory, domain, selector, ed25519, clock_wall_s(),
                               &r->arena, &k);
    if (e != ERR_OK)
        return failed(r, e, domain);
    show(r, &k);
    return ERR_OK;
}

enum err dkim_cmd_add(struct command_run *r)
{
    str domain;
    const str *selector = command_option(r, "selector"), *kind = command_option(r, "kind");
    TRY(domain_arg(r, &domain));
    bool ed25519 = kind && str_eq(*kind, STR("ed25519"));
    if (kind && !ed25519 && !str_eq(*kind, STR("rsa")))
        return command_fail(r, ERR_INVALID, "--kind is rsa or ed25519.");
    report_list(&r->report, "keys");
    TRY(add(r, domain, selector ? *selector : STR_NONE, ed25519));
    report_list_end(&r->report);
    report_say(&r->report, "Publish the record, then: posthouse dkim rotate %.*s", STR_ARG(domain));
    return ERR_OK;
}

enum err dkim_cmd_list(struct command_run *r)
{
    str domain;
    struct dkim_domain_keys keys;
    TRY(domain_arg(r, &domain));
    enum err e = dkim_keys_of(r->admin->directory, domain, &r->arena, &keys);
    if (e != ERR_OK)
        return failed(r, e, domain);
    report_list(&r->report, "keys");
    for (size_t i = 0; i < keys.count; i++)
        show(r, &keys.keys[i]);
    report_list_end(&r->report);
    return ERR_OK;
}

/* Nothing waits: a new key of each kind, which will. */
static enum err begin_rotation(struct command_run *r, str domain)
{
    report_list(&r->report, "keys");
    TRY(add(r, domain, STR_NONE, false));
    TRY(add(r, domain, STR_NONE, true));
    report_list_end(&r->report);
    report_say(&r->report,
               "Publish the records, wait a day, then again: posthouse dkim rotate %.*s",
               STR_ARG(domain));
    return ERR_OK;
}

enum err dkim_cmd_rotate(struct command_run *r)
{
    str domain;
    TRY(domain_arg(r, &domain));
    enum err e = dkim_keys_switch(r->admin->directory, domain, command_option(r, "now") != NULL,
                                  clock_wall_s());
    if (e == ERR_NOT_FOUND)
        return begin_rotation(r, domain);
    if (e != ERR_OK)
        return failed(r, e, domain);
    TRY(dkim_cmd_list(r));
    report_say(&r->report, "The new keys sign. Leave records of retired keys for a week.");
    return ERR_OK;
}

enum err dkim_cmd_remove(struct command_run *r)
{
    str domain;
    TRY(domain_arg(r, &domain));
    enum err e = dkim_keys_remove(r->admin->directory, domain, r->args[1]);
    if (e != ERR_OK)
        return failed(r, e, domain);
    report_say(&r->report, "Removed the key %.*s.", STR_ARG(r->args[1]));
    return ERR_OK;
}
