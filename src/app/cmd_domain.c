/* SPDX-License-Identifier: Apache-2.0 */
#include "app/command.h"
#include "os/clock.h"

#define PAGE 200

static enum err failed(struct command_run *r, enum err e, str name)
{
    switch (e) {
    case ERR_EXISTS:
        return command_fail(r, e, "The domain %.*s exists already.", STR_ARG(name));
    case ERR_NO_DOMAIN:
    case ERR_NOT_FOUND:
        return command_fail(r, e, "There is no domain %.*s.", STR_ARG(name));
    case ERR_HAS_CHILDREN:
        return command_fail(r, e, "The domain %.*s still has addresses; remove them first.",
                            STR_ARG(name));
    case ERR_SYNTAX:
    case ERR_INVALID:
        return command_fail(r, e, "%.*s is not a domain name.", STR_ARG(name));
    default:
        return command_fail(r, e, "The domain %.*s: %s.", STR_ARG(name), err_text(e));
    }
}

/* The options over what is there. */
static enum err take_options(struct command_run *r, struct domain *d)
{
    const str *catch_all = command_option(r, "catch-all");
    const str *separator = command_option(r, "separator");
    if (catch_all) {
        d->catch_all = STR_NONE;
        if (!str_empty(*catch_all) &&
            directory_normalise(*catch_all, &r->arena, &d->catch_all) != ERR_OK)
            return command_fail(r, ERR_INVALID, "--catch-all is an address, not \"%.*s\".",
                                STR_ARG(*catch_all));
    }
    if (separator && separator->len > 1)
        return command_fail(r, ERR_INVALID, "--separator is one character, like +.");
    if (separator)
        d->separator = str_empty(*separator) ? 0 : (uint8_t)separator->data[0];
    return command_quota_options(r, &d->quota_bytes, &d->quota_messages);
}

static void show(struct report *r, const struct domain *d)
{
    char separator = (char)d->separator;
    report_str(r, "domain", d->name);
    report_str(r, "catch_all", d->catch_all);
    report_str(r, "separator", str_of(&separator, d->separator != 0));
    report_u64(r, "quota", d->quota_bytes);
    report_u64(r, "quota_messages", d->quota_messages);
    report_time(r, "created", d->created_s);
}

enum err domain_add(struct command_run *r)
{
    struct domain d = {.separator = '+', .created_s = clock_wall_s()};
    enum err e = directory_normalise_domain(r->args[0], &r->arena, &d.name);
    if (e != ERR_OK)
        return failed(r, e, r->args[0]);
    TRY(take_options(r, &d));
    e = directory_domain_add(r->admin->directory, &d);
    if (e != ERR_OK)
        return failed(r, e, d.name);
    report_str(&r->report, "domain", d.name);
    report_say(&r->report, "Added the domain %.*s.", STR_ARG(d.name));
    return ERR_OK;
}

static enum err get(struct command_run *r, struct domain *d)
{
    str name;
    enum err e = directory_normalise_domain(r->args[0], &r->arena, &name);
    if (e == ERR_OK)
        e = directory_domain_get(r->admin->directory, name, &r->arena, d);
    return e == ERR_OK ? e : failed(r, e, r->args[0]);
}

enum err domain_show(struct command_run *r)
{
    struct domain d;
    TRY(get(r, &d));
    show(&r->report, &d);
    return ERR_OK;
}

enum err domain_set(struct command_run *r)
{
    struct domain d;
    TRY(get(r, &d));
    TRY(take_options(r, &d));
    enum err e = directory_domain_set(r->admin->directory, &d);
    if (e != ERR_OK)
        return failed(r, e, d.name);
    show(&r->report, &d);
    report_say(&r->report, "Changed the domain %.*s.", STR_ARG(d.name));
    return ERR_OK;
}

enum err domain_remove(struct command_run *r)
{
    struct domain d;
    TRY(get(r, &d));
    enum err e = directory_domain_remove(r->admin->directory, d.name);
    if (e != ERR_OK)
        return failed(r, e, d.name);
    report_str(&r->report, "domain", d.name);
    report_say(&r->report, "Removed the domain %.*s.", STR_ARG(d.name));
    return ERR_OK;
}

struct page {
    struct command_run *run;
    size_t rows;
    char last[DIR_DOMAIN_MAX];
    size_t last_len;
};

static bool list_one(void *arg, const struct domain *d)
{
    struct page *p = arg;
    report_item(&p->run->report);
    show(&p->run->report, d);
    report_item_end(&p->run->report);
    p->rows++;
    p->last_len = str_head(d->name, sizeof(p->last)).len;
    __builtin_memcpy(p->last, d->name.data, p->last_len);
    return true;
}

enum err domain_list(struct command_run *r)
{
    struct page p = {.run = r};
    report_list(&r->report, "domains");
    do {
        p.rows = 0;
        char after[DIR_DOMAIN_MAX];
        __builtin_memcpy(after, p.last, p.last_len);
        TRY(directory_domains(r->admin->directory, str_of(after, p.last_len), PAGE, list_one, &p));
    } while (p.rows == PAGE);
    report_list_end(&r->report);
    return ERR_OK;
}
