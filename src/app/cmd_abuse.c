/* SPDX-License-Identifier: Apache-2.0
 *
 * The greylist and the sending limits, as an administrator sees them.
 */
#include "app/house_abuse.h"

#include "app/command.h"
#include "base/num.h"
#include "os/clock.h"

#define LIST_MAX 100000 /* rows of one answer; --limit asks for fewer */

/* ---- the greylist ---- */

enum grey_state { GREY_ANY, GREY_WAITING, GREY_PASSED, GREY_CLIENT };
static const char *const grey_states[] = {"", "waiting", "passed", "client"};

struct grey_filter {
    struct command_run *run;
    struct greylist_policy policy;
    int64_t now_s;
    const str *network, *sender, *recipient;
    enum grey_state state;
    uint64_t left;
};

static enum err take_filter(struct command_run *r, struct grey_filter *f)
{
    const str *state = command_option(r, "state");
    *f = (struct grey_filter){.run = r,
                              .policy = house_greylist_policy(r->admin->config),
                              .now_s = clock_wall_s(),
                              .network = command_option(r, "network"),
                              .sender = command_option(r, "sender"),
                              .recipient = command_option(r, "recipient"),
                              .left = LIST_MAX};
    TRY(command_count_option(r, "limit", LIST_MAX, &f->left));
    for (size_t i = GREY_WAITING; state && i < ARRAY_LEN(grey_states); i++)
        if (str_eq(*state, str_c(grey_states[i])))
            f->state = (enum grey_state)i;
    if (state && f->state == GREY_ANY)
        return command_fail(r, ERR_INVALID, "--state is one of waiting, passed, client.");
    return ERR_OK;
}

static enum grey_state state_of(const struct greylist_row *g)
{
    return g->client ? GREY_CLIENT : g->passed ? GREY_PASSED : GREY_WAITING;
}

static bool matches(const struct grey_filter *f, const struct greylist_row *g)
{
    BUF_AUTO struct buf network = BUF_INIT(128);
    greylist_network(g, &network);
    return (f->state == GREY_ANY || f->state == state_of(g)) &&
           (!f->network || str_eq_nocase(*f->network, buf_str(&network))) &&
           (!f->sender || (!g->client && str_eq_nocase(*f->sender, g->sender))) &&
           (!f->recipient || (!g->client && str_eq_nocase(*f->recipient, g->recipient)));
}

static void show_row(struct grey_filter *f, const struct greylist_row *g)
{
    struct report *r = &f->run->report;
    BUF_AUTO struct buf network = BUF_INIT(128);
    greylist_network(g, &network);
    report_item(r);
    report_str(r, "network", buf_str(&network));
    report_str(r, "state", str_c(grey_states[state_of(g)]));
    report_str(r, "sender", g->sender);
    report_str(r, "recipient", g->recipient);
    if (g->client) {
        report_u64(r, "passed", g->count);
        report_bool(r, "allowed", f->policy.clients_after && g->count >= f->policy.clients_after);
    }
    report_time(r, "first", g->first_s);
    report_time(r, "last", g->last_s);
    report_time(r, "over",
                state_of(g) == GREY_WAITING ? g->first_s + f->policy.window_s
                                            : g->last_s + f->policy.lifetime_s);
    report_item_end(r);
}

static bool list_row(void *arg, const struct greylist_row *g)
{
    struct grey_filter *f = arg;
    if (f->left == 0)
        return false;
    if (greylist_is_over(&f->policy, g, f->now_s) || !matches(f, g))
        return true;
    f->left--;
    show_row(f, g);
    return true;
}

enum err greylist_cmd_list(struct command_run *r)
{
    struct grey_filter f;
    struct store_key from = {.len = 0};
    TRY(take_filter(r, &f));
    report_list(&r->report, "rows");
    do {
        TRY(greylist_page(r->admin->directory->store, &from, list_row, &f));
    } while (from.len > 0 && f.left > 0);
    report_list_end(&r->report);
    return ERR_OK;
}

static bool remove_row(void *arg, const struct greylist_row *g) { return matches(arg, g); }

enum err greylist_cmd_remove(struct command_run *r)
{
    struct grey_filter f;
    struct store_key from = {.len = 0};
    uint64_t removed = 0;
    TRY(take_filter(r, &f));
    bool any = f.network || f.sender || f.recipient || f.state != GREY_ANY;
    if (any == (command_option(r, "all") != NULL))
        return command_fail(r, ERR_INVALID,
                            "Say which: --network, --sender, --recipient, --state, or --all.");
    do {
        TRY(greylist_remove_page(r->admin->directory->store, &from, remove_row, &f, &removed));
    } while (from.len > 0);
    report_u64(&r->report, "removed", removed);
    report_say(&r->report, "Forgot %llu.", (unsigned long long)removed);
    return ERR_OK;
}

/* ---- sending limits ---- */

static const struct {
    const char *option, *sent, *limit;
} limits[SEND_LIMITS] = {
    [SEND_MESSAGES_HOUR] = {"messages-hour", "sent_messages_hour", "limit_messages_hour"},
    [SEND_MESSAGES_DAY] = {"messages-day", "sent_messages_day", "limit_messages_day"},
    [SEND_RECIPIENTS_HOUR] = {"recipients-hour", "sent_recipients_hour", "limit_recipients_hour"},
    [SEND_RECIPIENTS_DAY] = {"recipients-day", "sent_recipients_day", "limit_recipients_day"},
};

static struct send_limits *table_of(const struct command_run *r)
{
    return r->admin->house ? r->admin->house->send_limits : NULL;
}

static enum err read_status(struct command_run *r, uint64_t account, struct send_status *s) WAITS
{
    struct send_policy p = house_send_policy(r->admin->config);
    return send_limit_status(table_of(r), r->admin->directory->store, &p, account, clock_wall_s(),
                             s);
}

enum err command_send_status(struct command_run *r, uint64_t account)
{
    struct send_status s;
    TRY(read_status(r, account, &s));
    for (unsigned i = 0; i < SEND_LIMITS; i++) {
        report_u64(&r->report, limits[i].sent, s.used[i]);
        report_u64(&r->report, limits[i].limit, s.limits.max[i]);
    }
    bool own = false;
    for (unsigned i = 0; i < SEND_LIMITS; i++)
        own |= s.own.set[i];
    report_bool(&r->report, "own_limits", own);
    return ERR_OK;
}

enum err command_send_forget(struct command_run *r, uint64_t account)
{
    return send_limit_forget(table_of(r), r->admin->directory->store, account);
}

static enum err take_limits(struct command_run *r, struct send_override *o, bool *changed)
{
    for (unsigned i = 0; i < SEND_LIMITS; i++) {
        const str *value = command_option(r, limits[i].option);
        if (!value)
            continue;
        uint64_t n = 0;
        if (!str_empty(*value) && !num_parse_u64(*value, UINT32_MAX, &n))
            return command_fail(r, ERR_INVALID, "--%s is a number, or empty for the default.",
                                limits[i].option);
        o->set[i] = !str_empty(*value);
        o->max[i] = (uint32_t)n;
        *changed = true;
    }
    return ERR_OK;
}

enum err account_limit(struct command_run *r)
{
    struct account_entry e;
    struct send_status s;
    bool changed = false;
    TRY(command_account_find(r, r->args[0], &e));
    TRY(read_status(r, e.id, &s));
    TRY(take_limits(r, &s.own, &changed));
    if (changed)
        TRY(send_limit_set(table_of(r), r->admin->directory->store, e.id, &s.own));
    report_str(&r->report, "address", e.address);
    return command_send_status(r, e.id);
}
