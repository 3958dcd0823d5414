/* SPDX-License-Identifier: Apache-2.0
 *
 * LIST, LSUB, NAMESPACE (RFC 9051 6.3.9, 6.3.10; RFC 5258, 5819, 6154, 2342).
 */
#include "base/map.h"
#include "base/num.h"
#include "proto/imap/session.h"

/* RFC 9051 6.3.9: '*' matches anything, '%' anything but the delimiter. Linear in practice and
 * bounded in the worst case: on a mismatch only the last wildcard is tried again. */
bool imap_list_matches(str pattern, str name)
{
    size_t p = 0, n = 0, star_p = STR_NPOS, star_n = 0, percent_p = STR_NPOS, percent_n = 0;
    while (n < name.len) {
        char c = p < pattern.len ? pattern.data[p] : '\0';
        if (p < pattern.len && c == '*') {
            star_p = ++p;
            star_n = n;
            percent_p = STR_NPOS;
        } else if (p < pattern.len && c == '%') {
            percent_p = ++p;
            percent_n = n;
        } else if (p < pattern.len && c == name.data[n]) {
            p++;
            n++;
        } else if (percent_p != STR_NPOS && name.data[percent_n] != '/') {
            p = percent_p;
            n = ++percent_n;
        } else if (star_p != STR_NPOS) {
            p = star_p;
            n = ++star_n;
            percent_p = STR_NPOS;
        } else {
            return false;
        }
    }
    while (p < pattern.len && (pattern.data[p] == '*' || pattern.data[p] == '%'))
        p++;
    return p == pattern.len;
}

struct listing {
    struct imap *x;
    const struct imap_list *args;
    bool lsub;
};

static bool matches(const struct listing *l, str name)
{
    for (size_t i = 0; i < l->args->npatterns; i++) {
        str pattern = l->args->patterns[i];
        if (!str_empty(l->args->reference))
            pattern = arena_fmt(&l->x->scratch, "%.*s%.*s", STR_ARG(l->args->reference),
                                STR_ARG(pattern));
        if (str_starts_nocase(pattern, STR("inbox")) && str_starts(name, STR("INBOX")) &&
            (pattern.len == 5 || pattern.data[5] == '/' || pattern.data[5] == '*' ||
             pattern.data[5] == '%')) {
            if (imap_list_matches(str_skip(pattern, 5), str_skip(name, 5)))
                return true;
            continue;
        }
        if (imap_list_matches(pattern, name))
            return true;
    }
    return false;
}

static bool child_subscribed(struct account *a, const struct mailbox *m)
{
    for (size_t i = 0;; i++) {
        const struct mailbox *c = mailbox_at(a, i);
        if (!c)
            return false;
        if (c->subscribed && c->path.len > m->path.len + 1 && str_starts(c->path, m->path) &&
            c->path.data[m->path.len] == '/')
            return true;
    }
}

/* Is it chosen, and does it have chosen children only (CHILDINFO)? */
static bool chosen(const struct listing *l, struct account *a, const struct mailbox *m,
                   bool *childinfo)
{
    uint32_t select = l->args->select;
    *childinfo = false;
    if ((select & IMAP_LIST_SPECIAL_USE) && str_empty(mailbox_role_name(m->role)))
        return false;
    if (!(select & IMAP_LIST_SUBSCRIBED))
        return true;
    if (select & IMAP_LIST_RECURSIVEMATCH)
        *childinfo = child_subscribed(a, m);
    return m->subscribed || *childinfo;
}

static void list_line(const struct listing *l, struct account *a, const struct mailbox *m, str name,
                      bool childinfo)
{
    struct buf *out = imap_out(l->x);
    bool tell = l->lsub || (l->args->select | l->args->results) & IMAP_LIST_SUBSCRIBED;
    buf_add(out, l->lsub ? STR("* LSUB (") : STR("* LIST ("));
    imap_list_attributes(l->x, a, m, out);
    if (tell && m->subscribed && !l->lsub)
        buf_add(out, STR(" \\Subscribed"));
    buf_add(out, STR(") \"/\" "));
    imap_render_mailbox(out, name, imap_utf8_names(l->x));
    if (childinfo)
        buf_add(out, STR(" (\"CHILDINFO\" (\"SUBSCRIBED\"))"));
    buf_add(out, STR("\r\n"));
}

void imap_list_one(struct imap *x, const struct imap_list *args, bool lsub, struct account *a,
                   uint32_t id, str name)
{
    struct listing l = {x, args, lsub};
    bool childinfo;
    const struct mailbox *m = mailbox_get(a, id);
    if (!m || !matches(&l, name) || !chosen(&l, a, m, &childinfo))
        return;
    list_line(&l, a, m, name, childinfo);
    if (args->results & IMAP_LIST_STATUS)
        imap_render_status(x, name, m, args->status, imap_out(x));
}

/* RFC 9051 6.3.9: an empty pattern asks for the delimiter. */
static void tell_delimiter(struct imap *x)
{
    buf_add(imap_out(x), STR("* LIST (\\Noselect) \"/\" \"\"\r\n"));
}

static void serve(struct imap *x, struct imap_cursor *c, bool lsub)
{
    struct imap_list args;
    if (!imap_take_list(c, &args) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (lsub)
        args.select |= IMAP_LIST_SUBSCRIBED;
    if (!args.extended && args.npatterns == 1 && str_empty(args.patterns[0])) {
        tell_delimiter(x);
        imap_done(x, STR_NONE, "LIST completed");
        return;
    }
    enum err e = imap_list_all(x, &args, lsub);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, lsub ? "LSUB completed" : "LIST completed");
    else
        imap_no(x, e);
}

void imap_cmd_list(struct imap *x, struct imap_cursor *c) { serve(x, c, false); }

void imap_cmd_lsub(struct imap *x, struct imap_cursor *c) { serve(x, c, true); }

void imap_cmd_namespace(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    imap_render_namespaces(x, imap_out(x));
    imap_done(x, STR_NONE, "NAMESPACE completed");
}
