/* SPDX-License-Identifier: Apache-2.0
 *
 * Aliases and groups: addresses that lead to others.
 */
#include "app/command.h"
#include "core/acl.h"

#define PAGE 200
#define RESOLVE_BYTES_MAX (4u << 20) /* what resolving one target may need */

enum err command_address_fail(struct command_run *r, enum err e, const char *what, str address)
{
    switch (e) {
    case ERR_EXISTS:
        return command_fail(r, e, "The address %.*s is taken.", STR_ARG(address));
    case ERR_NO_DOMAIN:
        return command_fail(r, e, "The domain of %.*s is not one of ours; add it first.",
                            STR_ARG(address));
    case ERR_NOT_FOUND:
    case ERR_NO_USER:
        return command_fail(r, e, "There is no %s %.*s.", what, STR_ARG(address));
    case ERR_SYNTAX:
        return command_fail(r, e, "%.*s is not an address.", STR_ARG(address));
    default:
        return command_fail(r, e, "The %s %.*s: %s.", what, STR_ARG(address), err_text(e));
    }
}

static enum err failed(struct command_run *r, enum err e, str address)
{
    return command_address_fail(r, e, "alias or group", address);
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

static str deliver_name(uint8_t flags)
{
    if (!(flags & ADDRESS_TO_MAILBOX))
        return STR("members");
    return flags & ADDRESS_TO_MEMBERS ? STR("both") : STR("mailbox");
}

static void show(struct report *r, const struct address_entry *e)
{
    report_str(r, "address", e->address);
    if (e->kind == ADDRESS_GROUP) {
        report_str(r, "name", e->name);
        report_bool(r, "shared", e->account != 0);
        report_str(r, "deliver", deliver_name(e->flags));
    }
    report_bool(r, "send_only", e->flags & ADDRESS_SEND_ONLY);
    report_bool(r, "receive_only", e->flags & ADDRESS_RECEIVE_ONLY);
    report_strs(r, e->kind == ADDRESS_GROUP ? "members" : "targets", e->targets, e->ntargets);
}

/* Addresses may be made in any order, so this is no error; a slip of the pen is seen all the same.
 */
static void say_unknown(struct command_run *r, const str *targets, size_t n) WAITS
{
    for (size_t i = 0; i < n; i++) {
        ARENA_AUTO struct arena scratch = ARENA_INIT(RESOLVE_BYTES_MAX);
        struct resolution to;
        if (directory_resolve(r->admin->directory, targets[i], &scratch, &to) == ERR_NO_USER)
            report_say(&r->report, "Nobody has the address %.*s yet; mail for it is refused.",
                       STR_ARG(targets[i]));
    }
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
    say_unknown(r, e->targets, e->ntargets);
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

/* Its shared mailboxes go with it. */
enum err group_remove(struct command_run *r)
{
    struct address_entry e;
    TRY(get(r, r->args[0], ADDRESS_GROUP, &e));
    TRY(remove_one(r, ADDRESS_GROUP, "group"));
    return e.account ? command_remove_mail(r, e.account) : ERR_OK;
}

/* ---- shared mailboxes ---- */

#define MEMBER_RIGHTS "lrswipkxte" /* all but to administer */

struct sharing {
    str mailbox;
    uint8_t to;
    uint32_t rights;
};

static enum err take_sharing(struct command_run *r, const struct address_entry *e,
                             struct sharing *out)
{
    const str *mailbox = command_option(r, "mailbox");
    const str *deliver = command_option(r, "deliver");
    const str *rights = command_option(r, "rights");
    out->mailbox = mailbox ? *mailbox : STR("INBOX");
    out->to = mailbox ? e->flags & (ADDRESS_TO_MAILBOX | ADDRESS_TO_MEMBERS) : ADDRESS_TO_MAILBOX;
    if (deliver && str_eq(*deliver, STR("mailbox")))
        out->to = ADDRESS_TO_MAILBOX;
    else if (deliver && str_eq(*deliver, STR("both")))
        out->to = ADDRESS_TO_MAILBOX | ADDRESS_TO_MEMBERS;
    else if (deliver && str_eq(*deliver, STR("members")))
        out->to = 0;
    else if (deliver)
        return command_fail(r, ERR_INVALID, "--deliver is mailbox, members or both.");
    if (!acl_rights_parse(rights ? *rights : STR(MEMBER_RIGHTS), &out->rights))
        return command_fail(r, ERR_INVALID, "--rights are letters of %s.", ACL_RIGHTS);
    return ERR_OK;
}

static enum err share_mailbox(struct command_run *r, struct account *a, str name,
                              const struct acl_entry *who, uint32_t rights) WAITS
{
    uint32_t id = 0;
    bool inbox = str_eq_nocase(name, STR("INBOX"));
    enum err e = mailbox_create(a, name, inbox ? ROLE_INBOX : ROLE_NONE, &id);
    BUF_AUTO struct buf normal_name = BUF_INIT(4 * MAILBOX_PATH_MAX);
    if (e != ERR_OK && e != ERR_EXISTS)
        return e;
    TRY(mailbox_name_normalize(name, &normal_name));
    const struct mailbox *m = mailbox_find(a, buf_str(&normal_name));
    if (!m)
        return ERR_NOT_FOUND;
    return acl_set(r->admin->directory, a, m->id, who, ACL_REPLACE, rights);
}

/* The rights first, then the delivery: mail never comes where nobody can see it. */
static enum err share(struct command_run *r, const struct address_entry *e,
                      const struct sharing *s) WAITS
{
    struct acl_entry who = {.kind = ACL_GROUP, .address = e->address};
    uint8_t before = e->flags & (ADDRESS_TO_MAILBOX | ADDRESS_TO_MEMBERS);
    uint64_t id;
    struct account *a;
    TRY(directory_group_share(r->admin->directory, e->address, before, &id));
    TRY(account_open(r->admin->accounts, id, &a));
    enum err failure = share_mailbox(r, a, s->mailbox, &who, s->rights);
    if (failure == ERR_OK && (s->to & ADDRESS_TO_MAILBOX) && !mailbox_find(a, STR("INBOX")))
        failure = share_mailbox(r, a, STR("INBOX"), &who, s->rights);
    account_close(a);
    TRY(failure);
    return directory_group_share(r->admin->directory, e->address, s->to, &id);
}

enum err group_share(struct command_run *r)
{
    struct address_entry e;
    struct sharing s;
    TRY(get(r, r->args[0], ADDRESS_GROUP, &e));
    TRY(take_sharing(r, &e, &s));
    enum err failure = share(r, &e, &s);
    if (failure != ERR_OK)
        return command_fail(r, failure, "Sharing %.*s of %.*s: %s.", STR_ARG(s.mailbox),
                            STR_ARG(e.address), err_text(failure));
    report_str(&r->report, "address", e.address);
    report_str(&r->report, "mailbox", s.mailbox);
    report_str(&r->report, "deliver", deliver_name(s.to));
    report_say(&r->report, "The members of %.*s share the mailbox Shared/%.*s/%.*s.",
               STR_ARG(e.address), STR_ARG(e.address), STR_ARG(s.mailbox));
    return ERR_OK;
}

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
    say_unknown(r, named, adding ? nnamed : 0);
    return ERR_OK;
}
