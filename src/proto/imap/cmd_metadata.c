/* SPDX-License-Identifier: Apache-2.0
 *
 * GETMETADATA, SETMETADATA (RFC 5464), and METADATA of LIST (RFC 9590).
 */
#include "core/metadata.h"

#include "base/num.h"
#include "proto/imap/place.h"

#define ENTRIES_MAX 100 /* named in one command */
#define TOLD_MAX ((size_t)8 << 20)

/* Any of these beside l lets a client read (RFC 5464 3.3). */
#define RIGHTS_READ                                                                                \
    (IMAP_RIGHT('r') | IMAP_RIGHT('s') | IMAP_RIGHT('w') | IMAP_RIGHT('i') | IMAP_RIGHT('p'))

/* Where the entries of a mailbox (0: the server) and scope are. */
static struct metadata_place place_of(struct imap *x, struct account *a, uint32_t mailbox,
                                      enum metadata_scope scope)
{
    struct metadata_place p = {
        .account = scope == METADATA_PRIVATE ? x->account : a,
        .store = accounts_store(x->house->accounts),
        .owner = account_id(a ? a : x->account),
        .mailbox = mailbox,
        .scope = scope,
    };
    return p;
}

struct target {
    str name; /* empty: the server */
    struct account *account;
    uint32_t mailbox;
    uint32_t rights;
    bool own;
};

static bool may_read(const struct target *t)
{
    return str_empty(t->name) || ((t->rights & IMAP_RIGHT('l')) && (t->rights & RIGHTS_READ));
}

/* ---- reading ---- */

struct telling {
    struct imap *x;
    struct buf line; /* "* METADATA name (" entries */
    size_t entries;
    bool has_maxsize;
    uint64_t maxsize, longest; /* bytes; the longest that was left out */
};

static void tell_value(struct telling *t, str name, str value)
{
    if (t->has_maxsize && value.len > t->maxsize) {
        t->longest = MAX(t->longest, (uint64_t)value.len);
        return;
    }
    if (t->entries++)
        buf_add_char(&t->line, ' ');
    imap_render_astring(&t->line, name);
    buf_add_char(&t->line, ' ');
    if (str_find_char(value, '\0') != STR_NPOS) {
        buf_addf(&t->line, "~{%zu}\r\n", value.len);
        buf_add(&t->line, value);
    } else {
        imap_render_string(&t->line, value);
    }
}

/* RFC 5464 6.1: whom to write to; told to all, set by nobody here. */
static bool tell_admin(struct telling *t, const struct target *on, str name, uint32_t depth)
{
    static const str admin = STR_INIT("/shared/admin");
    bool named = str_eq(name, admin) || (depth > 0 && str_eq(name, STR("/shared")));
    if (!str_empty(on->name) || !named)
        return str_eq(name, admin);
    str uri = arena_fmt(&t->x->scratch, "mailto:postmaster@%.*s", STR_ARG(t->x->config->hostname));
    tell_value(t, admin, uri);
    return str_eq(name, admin);
}

/* RFC 6154 4: the special use of one's own mailbox is an entry that is not stored. */
static const str special_use = STR_INIT("/private/specialuse");

static bool is_special_use(const struct target *on, str name)
{
    return on->own && on->mailbox && str_eq(name, special_use);
}

static void tell_special_use(struct telling *t, const struct target *on, str name, uint32_t depth,
                             bool missing)
{
    bool above = depth > 0 && str_eq(name, STR("/private"));
    if (!on->own || !on->mailbox || !(above || str_eq(name, special_use)))
        return;
    const struct mailbox *m = mailbox_get(on->account, on->mailbox);
    str role = m ? mailbox_role_name(m->role) : STR_NONE;
    if (!str_empty(role))
        tell_value(t, special_use, role);
    else if (!above && missing)
        buf_addf(&t->line, "%s%.*s NIL", t->entries++ ? " " : "", STR_ARG(name));
}

static enum err tell_entry(struct telling *t, const struct target *on, str given, uint32_t depth,
                           bool missing)
{
    enum metadata_scope scope;
    const struct metadata_value *values;
    size_t n;
    str name;
    TRY(metadata_name(given, &t->x->scratch, &scope, &name));
    if (scope == METADATA_SHARED && tell_admin(t, on, name, depth))
        return ERR_OK;
    tell_special_use(t, on, name, depth, missing);
    if (is_special_use(on, name))
        return ERR_OK;
    struct metadata_place p = place_of(t->x, on->account, on->mailbox, scope);
    TRY(metadata_list(&p, name, depth, &t->x->scratch, &values, &n));
    for (size_t i = 0; i < n; i++)
        if (!is_special_use(on, values[i].name))
            tell_value(t, values[i].name, values[i].value);
    if (n == 0 && missing) /* an entry that was asked for by name and is not there is NIL */
        buf_addf(&t->line, "%s%.*s NIL", t->entries++ ? " " : "", STR_ARG(name));
    return buf_ok(&t->line) ? ERR_OK : ERR_LIMIT;
}

static void begin(struct telling *t, str name)
{
    buf_add(&t->line, STR("* METADATA "));
    imap_render_mailbox(&t->line, name, imap_utf8_names(t->x));
    buf_add(&t->line, STR(" ("));
}

static void finish(struct telling *t)
{
    if (t->entries) {
        buf_add(imap_out(t->x), buf_str(&t->line));
        buf_add(imap_out(t->x), STR(")\r\n"));
    }
    buf_free(&t->line);
}

enum err imap_metadata_tell(struct imap *x, const struct imap_listed *row, const str *entries,
                            size_t n)
{
    struct target on = {row->name, row->account, row->mailbox, row->rights, row->own};
    struct telling t = {.x = x, .line = BUF_INIT(TOLD_MAX)};
    enum err e = ERR_OK;
    if (!may_read(&on))
        return ERR_OK;
    begin(&t, row->name);
    for (size_t i = 0; i < MIN(n, (size_t)ENTRIES_MAX) && e == ERR_OK; i++)
        e = tell_entry(&t, &on, entries[i], 0, true);
    if (e != ERR_OK)
        t.entries = 0;
    finish(&t);
    return e;
}

/* The mailbox, or the server. False: answered. */
static bool open_target(struct imap *x, str name, struct target *t)
{
    struct imap_place place = {0};
    *t = (struct target){.name = name, .own = true};
    if (str_empty(name))
        return true;
    enum err e = imap_place_find(x, name, 0, &place);
    if (e != ERR_OK) {
        imap_place_close(&place);
        imap_no(x, e);
        return false;
    }
    t->account = place.account;
    t->mailbox = place.mailbox;
    t->rights = place.rights;
    t->own = place.own;
    return true;
}

static void refuse(struct imap *x, enum err e)
{
    if (e == ERR_INVALID)
        imap_bad_text(x, "Entry names begin with /private or /shared");
    else
        imap_no(x, e);
}

void imap_cmd_getmetadata(struct imap *x, struct imap_cursor *c)
{
    struct imap_getmetadata args;
    struct target on;
    struct telling t = {.x = x, .line = BUF_INIT(TOLD_MAX)};
    if (!imap_take_getmetadata(c, &args) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!open_target(x, args.mailbox, &on))
        return;
    t.has_maxsize = args.has_maxsize;
    t.maxsize = args.maxsize;
    begin(&t, args.mailbox);
    enum err e = may_read(&on) ? ERR_OK : ERR_DENIED;
    if (args.count > ENTRIES_MAX)
        e = ERR_LIMIT;
    for (size_t i = 0; i < args.count && e == ERR_OK; i++)
        e = tell_entry(&t, &on, args.entries[i], args.depth, args.depth == 0);
    if (e != ERR_OK)
        t.entries = 0;
    finish(&t);
    account_close(on.account);
    if (e != ERR_OK) {
        refuse(x, e);
        return;
    }
    str code = t.longest ? arena_fmt(&x->scratch, "METADATA LONGENTRIES %llu",
                                     (unsigned long long)t.longest)
                         : STR_NONE;
    imap_done(x, code, "GETMETADATA completed");
}

/* ---- writing ---- */

struct changes {
    struct metadata_change *list[2]; /* by scope */
    size_t n[2];
    bool has_use; /* the special use of one's own mailbox is among them */
    enum mailbox_role use;
};

static enum err sort_changes(struct imap *x, const struct imap_pairs *pairs, struct changes *out)
{
    for (int scope = 0; scope < 2; scope++) {
        out->list[scope] = ARENA_ARRAY(&x->scratch, struct metadata_change, pairs->count + 1);
        if (!out->list[scope])
            return ERR_LIMIT;
    }
    for (size_t i = 0; i < pairs->count; i++) {
        enum metadata_scope scope;
        struct metadata_change change = {.value = pairs->pairs[i].value,
                                         .remove = pairs->pairs[i].nil};
        TRY(metadata_name(pairs->pairs[i].name, &x->scratch, &scope, &change.name));
        if (str_eq(change.name, STR("/shared")) || str_eq(change.name, STR("/private")))
            return ERR_INVALID;
        out->list[scope][out->n[scope]++] = change;
    }
    return ERR_OK;
}

/* The uses that a value lists (RFC 6154 4). ERR_EXISTS: not one, or none that can be given. */
static enum err parse_uses(str value, enum mailbox_role *out)
{
    str one;
    *out = ROLE_NONE;
    for (bool more = true; more;) {
        more = str_cut(value, ' ', &one, &value);
        enum mailbox_role role = mailbox_role_parse(one);
        if (str_empty(one))
            continue;
        if (role == ROLE_NONE || role == ROLE_ALL || (*out != ROLE_NONE && role != *out))
            return ERR_EXISTS;
        *out = role;
    }
    return ERR_OK;
}

/* Takes the special use out of the changes. ERR_EXISTS: that one cannot be given. */
static enum err take_use(const struct target *on, struct changes *c)
{
    struct metadata_change *list = c->list[METADATA_PRIVATE];
    size_t kept = 0;
    for (size_t i = 0; i < c->n[METADATA_PRIVATE]; i++) {
        if (!is_special_use(on, list[i].name)) {
            list[kept++] = list[i];
            continue;
        }
        c->has_use = true;
        TRY(parse_uses(list[i].remove ? STR_NONE : list[i].value, &c->use));
    }
    c->n[METADATA_PRIVATE] = kept;
    if (!c->has_use)
        return ERR_OK;
    const struct mailbox *m = mailbox_get(on->account, on->mailbox);
    const struct mailbox *other = c->use ? mailbox_by_role(on->account, c->use) : NULL;
    if (!m || (other && other != m) || (m->role == ROLE_INBOX && c->use))
        return ERR_EXISTS;
    c->has_use = m->role != ROLE_INBOX; /* which has none to lose */
    return ERR_OK;
}

/* RFC 5464 3.3: l and w for shared ones, what reading needs for private ones. The server's shared
 * entries are for its administrators alone. */
static enum err may_set(const struct target *on, const struct changes *changes)
{
    if (!may_read(on))
        return ERR_DENIED;
    if (changes->n[METADATA_SHARED] && (str_empty(on->name) || !(on->rights & IMAP_RIGHT('w'))))
        return ERR_DENIED;
    return ERR_OK;
}

static enum err set_all(struct imap *x, const struct target *on, struct changes *changes)
{
    TRY(may_set(on, changes));
    TRY(take_use(on, changes));
    for (int scope = 0; scope < 2; scope++) {
        if (!changes->n[scope])
            continue;
        struct metadata_place p = place_of(x, on->account, on->mailbox, (enum metadata_scope)scope);
        TRY(metadata_set(&p, changes->list[scope], changes->n[scope]));
    }
    return changes->has_use ? mailbox_set_role(on->account, on->mailbox, changes->use) : ERR_OK;
}

void imap_cmd_setmetadata(struct imap *x, struct imap_cursor *c)
{
    struct imap_pairs pairs;
    struct changes changes = {0};
    struct target on;
    str name;
    if (!imap_take_setmetadata(c, &name, &pairs) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    enum err e = pairs.count > ENTRIES_MAX ? ERR_LIMIT : sort_changes(x, &pairs, &changes);
    if (e != ERR_OK) {
        refuse(x, e);
        return;
    }
    if (!open_target(x, name, &on))
        return;
    e = set_all(x, &on, &changes);
    account_close(on.account);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "SETMETADATA completed");
    else if (e == ERR_EXISTS)
        imap_no_code(x, "USEATTR", "That special use cannot be given");
    else if (e == ERR_TOO_LARGE)
        imap_no_code(x, arena_fmt(&x->scratch, "METADATA MAXSIZE %d", METADATA_VALUE_MAX).data,
                     "A value is too long");
    else if (e == ERR_LIMIT)
        imap_no_code(x, "METADATA TOOMANY", "There are too many entries");
    else
        imap_no(x, e);
}
