/* SPDX-License-Identifier: Apache-2.0
 *
 * LIST, LSUB, NAMESPACE (RFC 9051 6.3.9, 6.3.10; RFC 5258, 5819, 6154, 2342).
 */
#include "base/num.h"
#include "proto/imap/place.h"

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
    struct imap_listing all;
    str *patterns; /* with the reference in front */
    bool *named;   /* of each row of all: a pattern matches it */
};

static bool pattern_matches(str pattern, str name)
{
    bool inbox = str_starts_nocase(pattern, STR("inbox")) && str_starts(name, STR("INBOX")) &&
                 (pattern.len == 5 || strchr("/*%", pattern.data[5]));
    return inbox ? imap_list_matches(str_skip(pattern, 5), str_skip(name, 5))
                 : imap_list_matches(pattern, name);
}

static bool matches(const struct listing *l, str name)
{
    for (size_t i = 0; i < l->args->npatterns; i++)
        if (pattern_matches(l->patterns[i], name))
            return true;
    return false;
}

/* Can a pattern match a name below this level? */
static bool may_reach(str pattern, str level)
{
    size_t n = 0;
    while (n < pattern.len && !strchr("*%", pattern.data[n]))
        n++;
    str fixed = str_head(pattern, n);
    return fixed.len < level.len ? str_starts(level, fixed) : str_starts(fixed, level);
}

static bool wants_shared(const struct listing *l)
{
    for (size_t i = 0; i < l->args->npatterns; i++)
        if (may_reach(l->patterns[i], PLACE_OTHERS) || may_reach(l->patterns[i], PLACE_SHARED))
            return true;
    return false;
}

static bool is_below(str name, str parent)
{
    return name.len > parent.len && name.data[parent.len] == '/' && str_starts(name, parent);
}

/* What the selection options ask for. */
static bool is_selected(const struct listing *l, const struct imap_listed *row)
{
    uint32_t select = l->args->select;
    if ((select & IMAP_LIST_SPECIAL_USE) && str_empty(mailbox_role_name(row->role)))
        return false;
    return select & IMAP_LIST_SUBSCRIBED ? row->subscribed : !row->gone;
}

/* Is a selected mailbox below? hidden_only: one that the patterns do not name by itself. */
static bool child_selected(const struct listing *l, size_t at, bool hidden_only)
{
    for (size_t i = at + 1; i < l->all.n && is_below(l->all.rows[i].name, l->all.rows[at].name);
         i++)
        if (is_selected(l, &l->all.rows[i]) && !(hidden_only && l->named[i]))
            return true;
    return false;
}

enum chosen { CHOSEN_NOT, CHOSEN, CHOSEN_LEVEL /* only for what is below */ };

static enum chosen chosen(const struct listing *l, size_t at, bool *childinfo)
{
    bool selected = is_selected(l, &l->all.rows[at]);
    /* RFC 9051 6.3.9.4: a name that is told for its children's sake alone is left out where all of
     * them are told themselves. */
    *childinfo = (l->args->select & IMAP_LIST_RECURSIVEMATCH) && child_selected(l, at, !selected);
    if (selected || *childinfo)
        return CHOSEN;
    return l->lsub && child_selected(l, at, true) ? CHOSEN_LEVEL : CHOSEN_NOT;
}

static void attributes(const struct listing *l, const struct imap_listed *row, bool level,
                       struct buf *out)
{
    bool tell = !l->lsub && ((l->args->select | l->args->results) & IMAP_LIST_SUBSCRIBED);
    str role = row->account ? mailbox_role_name(row->role) : STR_NONE;
    if (!row->account && l->args->extended)
        buf_add(out, STR("\\NonExistent "));
    else if ((!row->account && !row->subscribed) || level)
        buf_add(out, STR("\\Noselect "));
    buf_add(out, row->children ? STR("\\HasChildren") : STR("\\HasNoChildren"));
    if (!str_empty(role))
        buf_addf(out, " %.*s", STR_ARG(role));
    if (tell && row->subscribed)
        buf_add(out, STR(" \\Subscribed"));
}

/* The selection options that what is below meets (RFC 5258 6). */
static void child_info(uint32_t select, struct buf *out)
{
    buf_add(out, STR(" (\"CHILDINFO\" ("));
    if (select & IMAP_LIST_SUBSCRIBED)
        buf_add(out, STR("\"SUBSCRIBED\""));
    if (select & IMAP_LIST_SPECIAL_USE)
        buf_add_c(out, select & IMAP_LIST_SUBSCRIBED ? " \"SPECIAL-USE\"" : "\"SPECIAL-USE\"");
    buf_add(out, STR("))"));
}

static void list_line(const struct listing *l, const struct imap_listed *row, bool level,
                      bool childinfo)
{
    struct buf *out = imap_out(l->x);
    buf_add(out, l->lsub ? STR("* LSUB (") : STR("* LIST ("));
    attributes(l, row, level, out);
    buf_add(out, STR(") \"/\" "));
    imap_render_mailbox(out, row->name, imap_utf8_names(l->x));
    if (childinfo)
        child_info(l->args->select, out);
    buf_add(out, STR("\r\n"));
}

/* RFC 8440. */
static void tell_rights(struct imap *x, const struct imap_listed *row)
{
    struct buf *out = imap_out(x);
    buf_add(out, STR("* MYRIGHTS "));
    imap_render_mailbox(out, row->name, imap_utf8_names(x));
    buf_add_char(out, ' ');
    imap_render_rights(out, row->rights);
    buf_add(out, STR("\r\n"));
}

/* What RETURN asks for besides the line. */
static enum err tell_more(const struct listing *l, const struct imap_listed *row)
{
    uint32_t results = l->args->results;
    const struct mailbox *m = mailbox_get(row->account, row->mailbox);
    if (m && (results & IMAP_LIST_STATUS) && (row->rights & IMAP_RIGHT('r')))
        imap_render_status(l->x, row->name, m, l->args->status, imap_out(l->x));
    if (results & IMAP_LIST_MYRIGHTS)
        tell_rights(l->x, row);
    if (results & IMAP_LIST_METADATA)
        return imap_metadata_tell(l->x, row, l->args->metadata, l->args->nmetadata);
    return ERR_OK;
}

/* With the reference in front, and composed as names are. What is no name as it stands stays. */
static enum err take_pattern(struct listing *l, str given, str *out)
{
    BUF_AUTO struct buf normal = BUF_INIT(4 * MAILBOX_PATH_MAX);
    struct arena *a = &l->x->scratch;
    *out = str_empty(l->args->reference)
               ? given
               : arena_fmt(a, "%.*s%.*s", STR_ARG(l->args->reference), STR_ARG(given));
    if (mailbox_name_normalize(*out, &normal) != ERR_OK || str_eq(buf_str(&normal), *out))
        return ERR_OK;
    return arena_dup(a, buf_str(&normal), out) ? ERR_OK : ERR_LIMIT;
}

static enum err list_all(struct listing *l)
{
    struct imap *x = l->x;
    l->patterns = ARENA_ARRAY(&x->scratch, str, l->args->npatterns + 1);
    if (!l->patterns)
        return ERR_LIMIT;
    for (size_t i = 0; i < l->args->npatterns; i++)
        TRY(take_pattern(l, l->args->patterns[i], &l->patterns[i]));
    unsigned what = wants_shared(l) ? IMAP_LISTING_SHARED : 0;
    if ((l->args->select | l->args->results) & IMAP_LIST_SUBSCRIBED)
        what |= IMAP_LISTING_GONE;
    TRY(imap_listing_gather(x, what, &x->scratch, &l->all));
    l->named = ARENA_ARRAY(&x->scratch, bool, l->all.n + 1);
    if (!l->named)
        return ERR_LIMIT;
    for (size_t i = 0; i < l->all.n; i++)
        l->named[i] = matches(l, l->all.rows[i].name);
    for (size_t i = 0; i < l->all.n && stream_error(x->stream) == ERR_OK; i++) {
        const struct imap_listed *row = &l->all.rows[i];
        bool childinfo;
        enum chosen how = l->named[i] ? chosen(l, i, &childinfo) : CHOSEN_NOT;
        if (how == CHOSEN_NOT)
            continue;
        list_line(l, row, how == CHOSEN_LEVEL, childinfo);
        if (row->account && how == CHOSEN)
            TRY(tell_more(l, row));
        imap_flush_check(x);
    }
    return ERR_OK;
}

/* RFC 9051 6.3.9: an empty pattern asks for the delimiter. */
static void tell_delimiter(struct imap *x, bool lsub)
{
    buf_addf(imap_out(x), "* %s (\\Noselect) \"/\" \"\"\r\n", lsub ? "LSUB" : "LIST");
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
        tell_delimiter(x, lsub);
        imap_done(x, STR_NONE, lsub ? "LSUB completed" : "LIST completed");
        return;
    }
    struct listing l = {.x = x, .args = &args, .lsub = lsub};
    enum err e = list_all(&l);
    imap_listing_close(&l.all);
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
