/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house.h"

#include "app/command.h"
#include "base/num.h"
#include "core/auth.h"
#include "core/mailbox.h"
#include "core/message.h"
#include "os/clock.h"

#define PAGE 200

static enum err failed(struct command_run *r, enum err e, str address)
{
    return command_address_fail(r, e, "account", address);
}

enum err command_account_find(struct command_run *r, str address, struct account_entry *out)
{
    str normal;
    enum err e = directory_normalise(address, &r->arena, &normal);
    if (e == ERR_OK)
        e = directory_account_find(r->admin->directory, normal, &r->arena, out);
    return e == ERR_OK ? e : failed(r, e, address);
}

/* The threads of a running house ask again what an account may hold. */
static void limits_changed(struct command_run *r)
{
    if (r->admin->house)
        atomic_fetch_add(&r->admin->house->quota_generation, 1);
}

/* ---- passwords ---- */

/* The given one, or a new one that is shown once; c says for what. */
static enum err set_password(struct command_run *r, uint64_t account, struct credential *c,
                             bool *made, uint32_t *id) WAITS
{
    *made = str_empty(r->secret);
    if (*made)
        r->secret = password_generate(&r->arena);
    if (str_empty(r->secret))
        return ERR_NOMEM;
    c->created_s = clock_wall_s();
    enum err e = credential_set_password(r->admin->directory, r->admin->hasher, account, c,
                                         r->secret, PASSWORD_COST_DEFAULT, id);
    if (e == ERR_INVALID || e == ERR_SYNTAX)
        return command_fail(r, e, "The password is empty, too long or has control characters.");
    return e;
}

static void show_password(struct command_run *r, bool made)
{
    if (made)
        report_str(&r->report, "password", r->secret);
}

/* ---- showing ---- */

static void show(struct report *r, const struct account_entry *e)
{
    report_str(r, "address", e->address);
    report_u64(r, "id", e->id);
    report_str(r, "name", e->name);
    report_u64(r, "quota", e->quota_bytes);
    report_u64(r, "quota_messages", e->quota_messages);
    report_bool(r, "disabled", e->state == ACCOUNT_DISABLED);
    report_bool(r, "admin", e->admin);
    report_time(r, "created", e->created_s);
}

static enum err show_usage(struct command_run *r, uint64_t id)
{
    struct account *a;
    TRY(account_open(r->admin->accounts, id, &a));
    struct account_status s;
    account_status(a, &s);
    account_close(a);
    report_u64(&r->report, "messages", s.messages);
    report_u64(&r->report, "bytes", s.bytes);
    report_u64(&r->report, "mailboxes", s.mailboxes);
    return ERR_OK;
}

enum err account_show(struct command_run *r)
{
    struct account_entry e;
    TRY(command_account_find(r, r->args[0], &e));
    show(&r->report, &e);
    TRY(show_usage(r, e.id));
    return command_send_status(r, e.id);
}

struct page {
    struct command_run *run;
    const str *domain;
    size_t rows;
    uint64_t last;
};

static bool list_one(void *arg, const struct account_entry *e)
{
    struct page *p = arg;
    p->rows++;
    p->last = e->id;
    str local, domain;
    str_cut(e->address, '@', &local, &domain);
    if (e->state == ACCOUNT_OF_GROUP || (p->domain && !str_eq_nocase(domain, *p->domain)))
        return true;
    report_item(&p->run->report);
    show(&p->run->report, e);
    report_item_end(&p->run->report);
    return true;
}

enum err account_list(struct command_run *r)
{
    struct page p = {.run = r, .domain = command_option(r, "domain")};
    report_list(&r->report, "accounts");
    do {
        p.rows = 0;
        TRY(directory_accounts(r->admin->directory, p.last, PAGE, list_one, &p));
    } while (p.rows == PAGE);
    report_list_end(&r->report);
    return ERR_OK;
}

/* ---- changing ---- */

static enum err first_mailboxes(struct command_run *r, uint64_t id)
{
    struct account *a;
    TRY(account_open(r->admin->accounts, id, &a));
    enum err e = account_create_mailboxes(a);
    account_close(a);
    return e;
}

enum err account_add(struct command_run *r)
{
    struct account_entry e = {.protocols = PROTOCOL_ALL, .created_s = clock_wall_s()};
    struct credential secret = {.protocols = PROTOCOL_ALL};
    struct domain domain;
    bool made;
    uint32_t credential;
    const str *name = command_option(r, "name");
    enum err failure = directory_normalise(r->args[0], &r->arena, &e.address);
    if (failure != ERR_OK)
        return failed(r, failure, r->args[0]);
    str local, host;
    str_cut(e.address, '@', &local, &host);
    if (directory_domain_get(r->admin->directory, host, &r->arena, &domain) == ERR_OK) {
        e.quota_bytes = domain.quota_bytes;
        e.quota_messages = domain.quota_messages;
    }
    e.name = name ? *name : STR_NONE;
    TRY(command_quota_options(r, &e.quota_bytes, &e.quota_messages));
    failure = directory_account_add(r->admin->directory, &e, &e.id);
    if (failure != ERR_OK)
        return failed(r, failure, e.address);
    failure = set_password(r, e.id, &secret, &made, &credential);
    if (failure == ERR_OK)
        failure = first_mailboxes(r, e.id);
    if (failure != ERR_OK) { /* nothing half made stays */
        (void)!directory_account_remove(r->admin->directory, e.id);
        return r->error.len ? failure : failed(r, failure, e.address);
    }
    report_str(&r->report, "address", e.address);
    show_password(r, made);
    report_say(&r->report,
               made ? "Added the account %.*s; its password is shown only now."
                    : "Added the account %.*s.",
               STR_ARG(e.address));
    return ERR_OK;
}

enum err account_password(struct command_run *r)
{
    struct account_entry e;
    struct credential secret = {.protocols = PROTOCOL_ALL};
    bool made;
    uint32_t id;
    TRY(command_account_find(r, r->args[0], &e));
    TRY(set_password(r, e.id, &secret, &made, &id));
    report_str(&r->report, "address", e.address);
    show_password(r, made);
    report_say(&r->report,
               made ? "The account %.*s has a new password; it is shown only now."
                    : "The account %.*s has a new password.",
               STR_ARG(e.address));
    return ERR_OK;
}

static enum err set(struct command_run *r, struct account_entry *e)
{
    enum err failure = directory_account_set(r->admin->directory, e);
    limits_changed(r);
    return failure == ERR_OK ? ERR_OK : failed(r, failure, e->address);
}

enum err account_quota_set(struct command_run *r)
{
    struct account_entry e;
    TRY(command_account_find(r, r->args[0], &e));
    TRY(command_quota_options(r, &e.quota_bytes, &e.quota_messages));
    TRY(set(r, &e));
    show(&r->report, &e);
    return show_usage(r, e.id);
}

enum err account_disable(struct command_run *r)
{
    struct account_entry e;
    TRY(command_account_find(r, r->args[0], &e));
    e.state = ACCOUNT_DISABLED;
    TRY(set(r, &e));
    report_say(&r->report, "Disabled the account %.*s.", STR_ARG(e.address));
    return ERR_OK;
}

enum err account_enable(struct command_run *r)
{
    struct account_entry e;
    TRY(command_account_find(r, r->args[0], &e));
    e.state = ACCOUNT_ACTIVE;
    TRY(set(r, &e));
    report_say(&r->report, "Enabled the account %.*s.", STR_ARG(e.address));
    return ERR_OK;
}

enum err account_admin(struct command_run *r)
{
    struct account_entry e;
    TRY(command_account_find(r, r->args[0], &e));
    e.admin = !command_option(r, "off");
    TRY(set(r, &e));
    report_bool(&r->report, "admin", e.admin);
    report_say(&r->report,
               e.admin ? "The account %.*s may set the limits of others."
                       : "The account %.*s may no longer set the limits of others.",
               STR_ARG(e.address));
    return ERR_OK;
}

/* ---- removing ---- */

static enum err remove_inbox_mail(struct account *a) WAITS
{
    const struct mailbox *inbox = mailbox_find(a, STR("INBOX"));
    if (!inbox || inbox->state.uidnext <= 1)
        return ERR_OK;
    SET_AUTO struct set all = {0};
    SET_AUTO struct set gone = {0};
    TRY(set_add_range(&all, 1, (uint32_t)(inbox->state.uidnext - 1)));
    return message_expunge(a, inbox->id, &all, &gone, NULL);
}

/* Children come after their parents, so the last goes first. */
static enum err remove_mailboxes(struct command_run *r, struct account *a) WAITS
{
    for (;;) {
        const struct mailbox *last = NULL, *m;
        for (size_t i = 0; (m = mailbox_at(a, i)); i++) {
            if (!str_eq_nocase(m->path, STR("INBOX")))
                last = m;
        }
        str path;
        if (!last)
            break;
        if (!arena_dup(&r->arena, last->path, &path))
            return ERR_NOMEM;
        TRY(mailbox_delete(a, path));
    }
    TRY(remove_inbox_mail(a));
    return mailbox_purge(a);
}

enum err command_remove_mail(struct command_run *r, uint64_t account)
{
    struct account *a;
    TRY(account_open(r->admin->accounts, account, &a));
    enum err e = remove_mailboxes(r, a);
    account_close(a);
    return e;
}

/* First nobody can reach it any more, then its mail goes. */
enum err account_remove(struct command_run *r)
{
    struct account_entry e;
    TRY(command_account_find(r, r->args[0], &e));
    enum err failure = directory_account_remove(r->admin->directory, e.id);
    if (failure == ERR_OK)
        failure = command_remove_mail(r, e.id);
    if (failure == ERR_OK)
        failure = command_send_forget(r, e.id);
    if (failure != ERR_OK)
        return failed(r, failure, e.address);
    report_str(&r->report, "address", e.address);
    report_say(&r->report, "Removed the account %.*s and its mail.", STR_ARG(e.address));
    return ERR_OK;
}

/* ---- app passwords ---- */

static enum err take_protocols(struct command_run *r, uint32_t *out)
{
    const str *given = command_option(r, "protocols");
    *out = given ? 0 : PROTOCOL_ALL;
    str rest = given ? *given : STR_NONE, word;
    while (!str_empty(rest)) {
        str_cut(rest, ',', &word, &rest);
        uint32_t bit = 0;
        for (uint32_t one = 1; one < PROTOCOL_ALL; one <<= 1) {
            if (str_eq_nocase(str_trim(word), str_c(protocol_name(one))))
                bit = one;
        }
        if (!bit)
            return command_fail(r, ERR_INVALID,
                                "--protocols is a list of smtp, imap, pop3, http, sieve, not "
                                "\"%.*s\".",
                                STR_ARG(word));
        *out |= bit;
    }
    return *out ? ERR_OK : command_fail(r, ERR_INVALID, "--protocols names none.");
}

static enum err app_password_add(struct command_run *r, const struct account_entry *e)
{
    struct credential c = {.id = CREDENTIAL_NEW};
    bool made;
    uint32_t id;
    uint64_t expires_ms;
    const str *name = command_option(r, "name"), *expires = command_option(r, "expires");
    if (!name || str_empty(*name))
        return command_fail(r, ERR_INVALID, "--name says which program it is for.");
    if (expires && !num_parse_duration(*expires, &expires_ms))
        return command_fail(r, ERR_INVALID, "--expires is a time like 90d.");
    TRY(take_protocols(r, &c.protocols));
    r->secret = STR_NONE;
    c.name = *name;
    c.expires_s = expires ? clock_wall_s() + (int64_t)(expires_ms / 1000) : 0;
    TRY(set_password(r, e->id, &c, &made, &id));
    report_str(&r->report, "address", e->address);
    report_u64(&r->report, "id", id);
    show_password(r, true);
    report_say(&r->report, "Added the app password \"%.*s\"; it is shown only now.",
               STR_ARG(*name));
    return ERR_OK;
}

static enum err app_password_list(struct command_run *r, const struct account_entry *e)
{
    const struct credential *list;
    size_t n;
    TRY(credentials_list(r->admin->directory, e->id, &r->arena, &list, &n));
    report_list(&r->report, "app_passwords");
    for (size_t i = 0; i < n; i++) {
        if (list[i].id == 0)
            continue;
        str names[PROTOCOLS];
        size_t used = 0;
        for (uint32_t one = 1; one < PROTOCOL_ALL; one <<= 1) {
            if (list[i].protocols & one)
                names[used++] = str_c(protocol_name(one));
        }
        report_item(&r->report);
        report_u64(&r->report, "id", list[i].id);
        report_str(&r->report, "name", list[i].name);
        report_strs(&r->report, "protocols", names, used);
        report_time(&r->report, "created", list[i].created_s);
        report_time(&r->report, "expires", list[i].expires_s);
        report_item_end(&r->report);
    }
    report_list_end(&r->report);
    return ERR_OK;
}

static enum err app_password_remove(struct command_run *r, const struct account_entry *e)
{
    uint32_t id;
    if (r->nargs < 3 || !num_parse_u32(r->args[2], &id) || id == 0)
        return command_fail(r, ERR_INVALID, "Which one? Name the ID that the list shows.");
    enum err failure = credential_remove(r->admin->directory, e->id, id);
    if (failure == ERR_NOT_FOUND)
        return command_fail(r, failure, "There is no app password %u.", id);
    TRY(failure);
    report_say(&r->report, "Removed the app password %u.", id);
    return ERR_OK;
}

enum err account_app_password(struct command_run *r)
{
    static const struct {
        const char *verb;
        enum err (*run)(struct command_run *r, const struct account_entry *e);
    } verbs[] = {
        {"add", app_password_add}, {"list", app_password_list}, {"remove", app_password_remove}};
    struct account_entry e;
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (!str_eq(r->args[0], str_c(verbs[i].verb)))
            continue;
        TRY(command_account_find(r, r->args[1], &e));
        return verbs[i].run(r, &e);
    }
    return command_fail(r, ERR_INVALID, "After app-password comes add, list or remove.");
}

/* ---- granted senders ---- */

static enum err send_as_list(struct command_run *r, const struct account_entry *e)
{
    const str *list;
    size_t n;
    TRY(directory_grants(r->admin->directory, e->id, &r->arena, &list, &n));
    report_str(&r->report, "address", e->address);
    report_strs(&r->report, "send_as", list, n);
    return ERR_OK;
}

static enum err send_as_set(struct command_run *r, const struct account_entry *e, bool granted)
{
    str sender, domain;
    struct domain known;
    if (r->nargs < 3)
        return command_fail(r, ERR_INVALID, "Which sender? Name its address.");
    if (directory_normalise(r->args[2], &r->arena, &sender) != ERR_OK)
        return command_fail(r, ERR_INVALID, "%.*s is not an address.", STR_ARG(r->args[2]));
    domain = str_skip(sender, str_rfind_char(sender, '@') + 1);
    enum err failure = directory_domain_get(r->admin->directory, domain, &r->arena, &known);
    if (granted && failure == ERR_NO_DOMAIN)
        return command_fail(r, failure, "%.*s is not a domain of this server.", STR_ARG(domain));
    if (granted)
        TRY(failure);
    TRY(directory_grant_send(r->admin->directory, e->id, sender, granted));
    report_str(&r->report, "sender", sender);
    report_say(&r->report,
               granted ? "%.*s may send as %.*s."
                       : "%.*s sends as %.*s only if it receives its mail.",
               STR_ARG(e->address), STR_ARG(sender));
    return ERR_OK;
}

enum err account_send_as(struct command_run *r)
{
    struct account_entry e;
    bool list = str_eq(r->args[0], STR("list")), add = str_eq(r->args[0], STR("add"));
    if (!list && !add && !str_eq(r->args[0], STR("remove")))
        return command_fail(r, ERR_INVALID, "After send-as comes add, list or remove.");
    TRY(command_account_find(r, r->args[1], &e));
    return list ? send_as_list(r, &e) : send_as_set(r, &e, add);
}
