/* SPDX-License-Identifier: Apache-2.0
 *
 * What others report about a domain of ours, and what we are going to report about theirs.
 */
#include "app/command.h"
#include "app/house_reports.h"
#include "base/map.h"
#include "base/num.h"
#include "core/report_taken.h"
#include "os/clock.h"

#include <stdlib.h>

#define DAYS_DEFAULT 30
#define DAYS_MAX 3650
#define LINES_MAX                                                                                  \
    5000 /* sources, reporters or failures that are told apart; the rest is one line */

/* One line of a list: everything with the same key. */
struct line {
    str key, second, third;
    uint64_t count, passed, dkim, spf, quarantined, rejected, reports;
    bool unverified;
};
struct table {
    struct map lines;
    struct arena arena;
    struct line rest;
};
struct summary {
    struct command_run *run;
    enum report_kind kind;
    str domain;
    int64_t from_s;
    uint64_t reports, count, passed, left_out;
    struct table sources, reporters;
    struct arena scratch;
};

static void table_init(struct table *t)
{
    map_init(&t->lines, LINES_MAX);
    arena_init(&t->arena, 16 << 20);
    t->rest = (struct line){.key = STR("others")};
}

static void table_free(struct table *t)
{
    map_free(&t->lines);
    arena_free(&t->arena);
}

static struct line *line_of(struct table *t, str key, str second, str third)
{
    BUF_AUTO struct buf name = BUF_INIT(4096);
    buf_add_sized(&name, key);
    buf_add_sized(&name, second);
    buf_add_sized(&name, third);
    struct line *l = map_get(&t->lines, buf_str(&name));
    if (l)
        return l;
    l = ARENA_NEW(&t->arena, struct line);
    if (!l || !arena_dup(&t->arena, key, &l->key) || !arena_dup(&t->arena, second, &l->second) ||
        !arena_dup(&t->arena, third, &l->third) ||
        map_put(&t->lines, buf_str(&name), l, NULL) != ERR_OK)
        return &t->rest;
    return l;
}

static int by_count(const void *a, const void *b)
{
    const struct line *x = *(struct line *const *)a, *y = *(struct line *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return str_cmp(x->key, y->key);
}

typedef void show_fn(struct report *r, const struct line *l);

static enum err show_table(struct summary *s, struct table *t, const char *name, show_fn *show)
{
    struct line **all = ARENA_ARRAY(&t->arena, struct line *, t->lines.count + 1);
    size_t n = 0;
    void *value;
    if (!all)
        return ERR_NOMEM;
    for (size_t i = 0; map_next(&t->lines, &i, NULL, &value);)
        all[n++] = value;
    if (n > 1)
        qsort(all, n, sizeof *all, by_count);
    if (t->rest.count > 0)
        all[n++] = &t->rest;
    report_list(&s->run->report, name);
    for (size_t i = 0; i < n; i++) {
        report_item(&s->run->report);
        show(&s->run->report, all[i]);
        report_item_end(&s->run->report);
    }
    report_list_end(&s->run->report);
    return ERR_OK;
}

/* ---- gathering ---- */

static bool on_taken(void *arg, const struct report_key *k, const struct report_taken *t)
{
    struct summary *s = arg;
    (void)k;
    struct line *l = line_of(&s->reporters, t->organization, t->email, t->author);
    l->reports++;
    l->count += t->count;
    l->passed += t->passed;
    l->unverified |= !t->verified;
    s->reports++;
    s->count += t->count;
    s->passed += t->passed;
    s->left_out += t->left_out;
    return true;
}

static void add_dmarc(struct summary *s, uint64_t count, str body)
{
    struct dmarc_report_row r;
    arena_reset(&s->scratch);
    if (report_dmarc_take(body, &s->scratch, &r) != ERR_OK)
        return;
    struct line *l = line_of(&s->sources, r.source_ip, r.header_from, STR_NONE);
    l->count += count;
    l->dkim += r.dkim_aligned ? count : 0;
    l->spf += r.spf_aligned ? count : 0;
    l->passed += r.dkim_aligned || r.spf_aligned ? count : 0;
    l->quarantined += str_eq_nocase(r.disposition, STR("quarantine")) ? count : 0;
    l->rejected += str_eq_nocase(r.disposition, STR("reject")) ? count : 0;
}

static void add_tls(struct summary *s, uint64_t count, str body)
{
    struct report_tls_note n;
    arena_reset(&s->scratch);
    if (report_tls_take(body, &s->scratch, &n) != ERR_OK)
        return;
    bool good = str_empty(n.failure.type);
    struct line *l = line_of(&s->sources, good ? STR("successful") : n.failure.type, n.policy_type,
                             n.failure.mx);
    l->count += count;
    l->passed += good ? count : 0;
}

static bool on_row(void *arg, const struct report_key *k, uint64_t count, str body)
{
    struct summary *s = arg;
    (void)k;
    if (s->kind == REPORT_TLS)
        add_tls(s, count, body);
    else
        add_dmarc(s, count, body);
    return true;
}

/* ---- showing ---- */

static void show_source(struct report *r, const struct line *l)
{
    report_str(r, "source", l->key);
    report_str(r, "from", l->second);
    report_u64(r, "messages", l->count);
    report_u64(r, "passed", l->passed);
    report_u64(r, "dkim", l->dkim);
    report_u64(r, "spf", l->spf);
    report_u64(r, "quarantined", l->quarantined);
    report_u64(r, "rejected", l->rejected);
}

static void show_result(struct report *r, const struct line *l)
{
    report_str(r, "result", l->key);
    report_str(r, "policy", l->second);
    report_str(r, "mx", l->third);
    report_u64(r, "sessions", l->count);
}

static void show_reporter(struct report *r, const struct line *l)
{
    report_str(r, "organization", l->key);
    report_str(r, "contact", l->second);
    report_str(r, "author", l->third);
    report_u64(r, "reports", l->reports);
    report_u64(r, "count", l->count);
    report_u64(r, "passed", l->passed);
    report_bool(r, "unverified", l->unverified);
}

static enum err show(struct summary *s)
{
    struct report *r = &s->run->report;
    bool tls = s->kind == REPORT_TLS;
    report_str(r, "domain", s->domain);
    report_time(r, "since", s->from_s);
    report_u64(r, "reports", s->reports);
    report_u64(r, tls ? "sessions" : "messages", s->count);
    report_u64(r, "passed", s->passed);
    if (s->left_out > 0)
        report_u64(r, "not_told_apart", s->left_out);
    TRY(show_table(s, &s->sources, tls ? "results" : "sources", tls ? show_result : show_source));
    return show_table(s, &s->reporters, "reporters", show_reporter);
}

static enum err gather(struct summary *s) WAITS
{
    struct store *store = s->run->admin->directory->store;
    TRY(report_taken_list(store, s->kind, s->domain, s->from_s, on_taken, s));
    return report_rows_list(store, s->kind, s->domain, (uint32_t)(s->from_s / REPORT_DAY_S), on_row,
                            s);
}

static enum err summarize(struct command_run *r, enum report_kind kind) WAITS
{
    struct summary s = {.run = r, .kind = kind, .scratch = ARENA_INIT(65536)};
    uint64_t days = DAYS_DEFAULT;
    TRY(command_count_option(r, "days", DAYS_MAX, &days));
    if (directory_normalise_domain(r->args[0], &r->arena, &s.domain) != ERR_OK ||
        !report_domain_valid(s.domain))
        return command_fail(r, ERR_NO_DOMAIN, "%.*s is not the name of a domain.",
                            STR_ARG(r->args[0]));
    int64_t today = clock_wall_s() / REPORT_DAY_S;
    s.from_s = MAX(today - (int64_t)days, (int64_t)0) * REPORT_DAY_S;
    table_init(&s.sources);
    table_init(&s.reporters);
    enum err e = gather(&s);
    if (e == ERR_OK)
        e = show(&s);
    table_free(&s.sources);
    table_free(&s.reporters);
    arena_free(&s.scratch);
    return e;
}

enum err report_cmd_dmarc(struct command_run *r) { return summarize(r, REPORT_DMARC); }
enum err report_cmd_tls(struct command_run *r) { return summarize(r, REPORT_TLS); }

/* ---- ours about others ---- */

static enum err show_day(void *arg, const struct report_key *k, const struct report_sent *sent)
{
    static const char *const states[] = {"collecting", "waiting", "prepared", "done"};
    struct command_run *r = arg;
    struct report_settings set = report_settings_of(r->admin->config);
    int64_t due = report_due_s(set.hostname, k->kind, k->day, k->domain);
    report_item(&r->report);
    report_str(&r->report, "domain", k->domain);
    report_str(&r->report, "kind", str_c(report_kind_name(k->kind)));
    report_time(&r->report, "day", (int64_t)k->day * REPORT_DAY_S);
    report_str(&r->report, "state", str_c(states[sent->state]));
    if (sent->state == REPORT_DONE)
        report_time(&r->report, "ended", sent->changed_s);
    else
        report_time(&r->report, "due", MAX(due, sent->next_s));
    if (sent->queue_id)
        report_u64(&r->report, "queue", sent->queue_id);
    report_str(&r->report, "id", sent->id);
    report_str(&r->report, "result", sent->text);
    report_item_end(&r->report);
    return ERR_OK;
}

static enum err show_done(void *arg, const struct report_key *k, const struct report_sent *sent)
{
    return sent->state == REPORT_DONE ? show_day(arg, k, sent) : ERR_OK;
}

enum err report_cmd_pending(struct command_run *r)
{
    struct store *s = r->admin->directory->store;
    report_list(&r->report, "pending");
    TRY(report_days(s, SPACE_REPORT_DAY, UINT32_MAX, show_day, r));
    report_list_end(&r->report);
    report_list(&r->report, "sent");
    TRY(report_days(s, SPACE_REPORT_SENT, UINT32_MAX, show_done, r));
    report_list_end(&r->report);
    return ERR_OK;
}
