/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the change log, for QRESYNC, NOTIFY and states of later protocols.
 */
#include "core/account_private.h"

#include "base/num.h"

struct walk {
    account_change_fn *fn;
    void *arg;
    struct arena arena;
    uint64_t expected;
    enum err failed;
    bool stopped;
};

static enum err walk_entries(struct walk *w, str value, uint64_t version)
{
    struct reader r;
    uint64_t nonce;
    arena_reset(&w->arena);
    enum err e = change_decode_start(value, &r, &nonce);
    while (e == ERR_OK && !w->stopped) {
        struct change_entry entry;
        e = change_decode_entry(&r, &w->arena, &entry);
        if (e == ERR_OK)
            w->stopped = !w->fn(w->arg, version, &entry);
        set_free(&entry.uids);
    }
    return e == ERR_EOF ? ERR_OK : e;
}

static bool walk_row(void *arg, const struct store_row *row)
{
    struct walk *w = arg;
    uint64_t version;
    if (!key_u64(row->key, 1, &version))
        w->failed = ERR_CORRUPT;
    else if (version != w->expected++)
        w->failed = ERR_EXPIRED; /* cut while we read, or damaged */
    else
        w->failed = walk_entries(w, row->value, version);
    return w->failed == ERR_OK && !w->stopped;
}

enum err account_changes(struct account *a, uint64_t since, account_change_fn *fn, void *arg)
{
    uint64_t until = a->pub_version;
    if (since >= until)
        return ERR_OK;
    if (since < a->pub.change_floor)
        return ERR_EXPIRED;
    struct walk w = {.fn = fn, .arg = arg, .arena = ARENA_INIT(1 << 20), .expected = since + 1};
    struct store_key from = key_change(w.expected), to = key_change(until + 1);
    struct store_scan q = {.partition = a->id, .from = key_str(&from), .to = key_str(&to)};
    enum err e = store_scan_all(accounts_store(a->owner), &q, walk_row, &w);
    arena_free(&w.arena);
    if (e != ERR_OK || w.failed != ERR_OK)
        return e != ERR_OK ? e : w.failed;
    return w.stopped || w.expected > until ? ERR_OK : ERR_EXPIRED;
}

struct expunged {
    uint32_t mailbox;
    struct set *out;
    enum err failed;
};

static bool take_expunged(void *arg, uint64_t version, const struct change_entry *e)
{
    struct expunged *x = arg;
    if (e->kind == CHANGE_EXPUNGED && e->mailbox == x->mailbox)
        x->failed = set_union(x->out, &e->uids);
    return x->failed == ERR_OK;
}

/* RFC 7162 3.2.5.2 lets a server that does not remember name all UIDs that do not exist. */
static enum err all_absent(struct account *a, uint32_t mailbox, struct set *out)
{
    struct mailbox_view *v;
    TRY(view_open(a, mailbox, &v));
    uint64_t next = view_mailbox(v) ? view_mailbox(v)->state.uidnext : 1;
    const struct message_row *rows;
    uint64_t from = 1;
    enum err e = ERR_OK;
    for (size_t i = 0, n; e == ERR_OK && (n = view_run(v, i, &rows)) > 0; i += n) {
        for (size_t k = 0; e == ERR_OK && k < n; k++) {
            if (rows[k].uid > from)
                e = set_add_range(out, (uint32_t)from, rows[k].uid - 1);
            from = (uint64_t)rows[k].uid + 1;
        }
    }
    if (e == ERR_OK && from < next)
        e = set_add_range(out, (uint32_t)from, (uint32_t)(next - 1));
    view_close(v);
    return e;
}

enum err account_expunged_since(struct account *a, uint32_t mailbox, uint64_t since,
                                struct set *out)
{
    struct expunged x = {.mailbox = mailbox, .out = out};
    if (!mailbox_get(a, mailbox))
        return ERR_NOT_FOUND;
    enum err e = account_changes(a, since, take_expunged, &x);
    if (e == ERR_EXPIRED || e == ERR_CORRUPT)
        return all_absent(a, mailbox, out);
    return e == ERR_OK ? x.failed : e;
}
