/* SPDX-License-Identifier: Apache-2.0
 *
 * Aliases and groups: addresses that lead to others.
 */
#include "app/command.h"

#define PAGE 200

static enum err failed(struct command_run *r, enum err e, str address)
{
    switch (e) {
    case ERR_EXISTS:
        return command_fail(r, e, "The address %.*s is taken.", STR_ARG(address));
    case ERR_NO_DOMAIN:
        return command_fail(r, e, "The domain of %.*s is not one of ours; add it first.",
                            STR_ARG(address));
    case ERR_NOT_FOUND:
        return command_fail(r, e, "There is no such alias or group: %.*s.", STR_ARG(address));
    case ERR_SYNTAX:
        return command_fail(r, e, "%.*s is not an address.", STR_ARG(address));
    default:
        return command_fail(r, e, "The address %.*s: %s.", STR_ARG(address), err_text(e));
    }
}

static enum err normal(struct command_run *r, str address, str *out)
{
    enum err e = directory_normalise(address, &r->arena, out);
    return e == ERR_OK ? e : failed(r, e, address);
}

/* Arguments from `from` on as normal addresses. */
static enum err take_targets(struct command_run *r, size_t from, const str **out, size_t *n)
{
    *n = r->nargs - from;
    str *targets = ARENA_ARRAY(&r->arena, str, *n + 1);
    if (!targets)
        return ERR_NOMEM;
    for (size_t i = 0; i < *n; i++)
        TRY(normal(r, r->args[from + i], &targets[i]));
    *out = targets;
    return ERR_OK;
}

static enum err get(struct command_run *r, str address, enum address_kind kind,
                    struct address_entry *out)
{
    str name;
    TRY(normal(r, address, &name));
    enum err e = directory_address_get(r->admin->directory, name, &r->arena, out);
    if (e == ERR_OK && out->kind != kind)
        e = ERR_NOT_FOUND;
    return e == ERR_OK ? e : failed(r, e, name);
}

static void show(struct report *r, const struct address_entry *e)
{
    report_str(r, "address", e->address);
    if (e->kind == ADDRESS_GROUP)
        report_str(r, "name", e->name);
    report_bool(r, "send_only", e->flags & ADDRESS_SEND_ONLY);
    report_bool(r, "receive_only", e->flags & ADDRESS_RECEIVE_ONLY);
    report_strs(r, e->kind == ADDRESS_GROUP ? "members" : "targets", e->targets, e->ntargets);
}

static enum err add(struct command_run *r, struct address_entry *e, const char *what)
{
    TRY(normal(r, r->args[0], &e->address));
    TRY(take_targets(r, 1, &e->targets, &e->ntargets));
    enum err failure = directory_address_add(r->admin->directory, e);
    if (failure != ERR_OK)
        return failed(r, failure, e->address);
    report_str(&r->report, "address", e->address);
    report_say(&r->report, "Added the %s %.*s.", what, STR_ARG(e->address));
    return ERR_OK;
}

static enum err remove_one(struct command_run *r, enum address_kind kind, const char *what)
{
    struct address_entry e;
    TRY(get(r, r->args[0], kind, &e));
    enum err failure = directory_address_remove(r->admin->directory, e.address);
    if (failure != ERR_OK)
        return failed(r, failure, e.address);
    report_str(&r->report, "address", e.address);
    report_say(&r->report, "Removed the %s %.*s.", what, STR_ARG(e.address));
    return ERR_OK;
}

struct page {
    struct command_run *run;
    size_t rows;
    size_t last_len;
    char last[DIR_ADDRESS_MAX];
};

static bool list_one(void *arg, const struct address_entry *e)
{
    struct page *p = arg;
    report_item(&p->run->report);
    show(&p->run->report, e);
    report_item_end(&p->run->report);
    p->rows++;
    p->last_len = str_head(e->address, sizeof(p->last)).len;
    __builtin_memcpy(p->last, e->address.data, p->last_len);
    return true;
}

static enum err list(struct command_run *r, enum address_kind kind, const char *key)
{
    const str *given = command_option(r, "domain");
    str domain = STR_NONE;
    if (given && directory_normalise_domain(*given, &r->arena, &domain) != ERR_OK)
        return command_fail(r, ERR_INVALID, "%.*s is not a domain name.", STR_ARG(*given));
    struct page p = {.run = r};
    report_list(&r->report, key);
    do {
        p.rows = 0;
        char after[DIR_ADDRESS_MAX];
        __builtin_memcpy(after, p.last, p.last_len);
        TRY(directory_addresses(r->admin->directory, domain, str_of(after, p.last_len), 1u << kind,
                                PAGE, list_one, &p));
    } while (p.rows == PAGE);
    report_list_end(&r->report);
    return ERR_OK;
}

enum err alias_add(struct command_run *r)
{
    struct address_entry e = {.kind = ADDRESS_ALIAS};
    if (command_option(r, "send-only"))
        e.flags |= ADDRESS_SEND_ONLY;
    if (command_option(r, "receive-only"))
        e.flags |= ADDRESS_RECEIVE_ONLY;
    if (e.flags == (ADDRESS_SEND_ONLY | ADDRESS_RECEIVE_ONLY))
        return command_fail(r, ERR_INVALID, "--send-only and --receive-only exclude one another.");
    return add(r, &e, "alias");
}

enum err alias_list(struct command_run *r) { return list(r, ADDRESS_ALIAS, "aliases"); }

enum err alias_remove(struct command_run *r) { return remove_one(r, ADDRESS_ALIAS, "alias"); }

enum err group_add(struct command_run *r)
{
    const str *name = command_option(r, "name");
    struct address_entry e = {.kind = ADDRESS_GROUP, .name = name ? *name : STR_NONE};
    return add(r, &e, "group");
}

enum err group_list(struct command_run *r) { return list(r, ADDRESS_GROUP, "groups"); }

enum err group_show(struct command_run *r)
{
    struct address_entry e;
    TRY(get(r, r->args[0], ADDRESS_GROUP, &e));
    show(&r->report, &e);
    return ERR_OK;
}

enum err group_remove(struct command_run *r) { return remove_one(r, ADDRESS_GROUP, "group"); }

static bool contains(const str *list, size_t n, str what)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(list[i], what))
            return true;
    }
    return false;
}

enum err group_members_set(struct command_run *r)
{
    bool adding = str_eq(r->args[0], STR("add"));
    if (!adding && !str_eq(r->args[0], STR("remove")))
        return command_fail(r, ERR_INVALID, "After member comes add or remove.");
    struct address_entry e;
    const str *named;
    size_t nnamed, kept = 0;
    TRY(get(r, r->args[1], ADDRESS_GROUP, &e));
    TRY(take_targets(r, 2, &named, &nnamed));
    str *members = ARENA_ARRAY(&r->arena, str, e.ntargets + nnamed + 1);
    if (!members)
        return ERR_NOMEM;
    for (size_t i = 0; i < e.ntargets; i++) {
        if (adding || !contains(named, nnamed, e.targets[i]))
            members[kept++] = e.targets[i];
    }
    for (size_t i = 0; adding && i < nnamed; i++) {
        if (!contains(members, kept, named[i]))
            members[kept++] = named[i];
    }
    e.targets = members;
    e.ntargets = kept;
    enum err failure = directory_address_set(r->admin->directory, &e);
    if (failure != ERR_OK)
        return failed(r, failure, e.address);
    show(&r->report, &e);
    report_say(&r->report, "The group %.*s has %zu members.", STR_ARG(e.address), kept);
    return ERR_OK;
}
