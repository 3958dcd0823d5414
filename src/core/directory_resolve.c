/* SPDX-License-Identifier: Apache-2.0
 *
 * Whom an address reaches, and who may send as it: the same walk serves both (rule auth-3).
 */
#include "core/directory.h"
#include "core/directory_rows.h"
#include "core/transport.h"
#include "format/addr.h"

#include <assert.h>
#include <idn2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/num.h"
#include "base/utf8.h"

#define ROLE_LOOK_MAX 1000 /* accounts that are looked at for one that is active */

enum err directory_normalise_domain(str domain, struct arena *a, str *out)
{
    if (str_ends(domain, STR(".")))
        domain.len--;
    if (domain.len == 0 || domain.len > DIR_DOMAIN_MAX || !addr_domain_valid(domain))
        return ERR_SYNTAX;
    if (utf8_is_ascii(domain))
        return arena_dup_lower(a, domain, out) ? ERR_OK : ERR_LIMIT;
    str terminated;
    char *label = NULL;
    if (!arena_dup(a, domain, &terminated))
        return ERR_LIMIT;
    int rc = idn2_lookup_u8((const uint8_t *)terminated.data, (uint8_t **)&label,
                            IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK)
        return ERR_SYNTAX;
    bool copied = arena_dup(a, str_c(label), out);
    idn2_free(label);
    return copied ? ERR_OK : ERR_LIMIT;
}

static enum err normalise_local(str local, struct arena *a, str *out)
{
    if (local.len == 0 || local.len > DIR_LOCAL_MAX)
        return ERR_SYNTAX;
    if (utf8_is_ascii(local))
        return arena_dup_lower(a, local, out) ? ERR_OK : ERR_LIMIT;
    uint8_t *folded = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const uint8_t *)local.data, (utf8proc_ssize_t)local.len, &folded,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD);
    if (n < 0)
        return ERR_SYNTAX;
    bool copied = arena_dup(a, str_of(folded, (size_t)n), out);
    free(folded); /* tidy: allow alloc because utf8proc_map allocates with malloc */
    return copied ? ERR_OK : ERR_LIMIT;
}

enum err directory_normalise(str address, struct arena *a, str *out)
{
    struct addr parsed;
    str local, domain;
    if (address.len > DIR_ADDRESS_MAX)
        return ERR_SYNTAX;
    TRY(addr_parse(a, address, 0, &parsed));
    TRY(normalise_local(parsed.local, a, &local));
    TRY(directory_normalise_domain(parsed.domain, a, &domain));
    BUF_AUTO struct buf text = BUF_INIT(4 * DIR_ADDRESS_MAX);
    addr_render(&text, &(struct addr){.local = local, .domain = domain}); /* quotes what must be */
    return buf_ok(&text) && arena_dup(a, buf_str(&text), out) ? ERR_OK : ERR_LIMIT;
}

/* ---- the walk ---- */

struct walk {
    struct directory *d;
    struct arena *a;
    struct resolution_target *targets;
    size_t ntargets, cap;
    bool split; /* one is an unknown user of a domain that has users elsewhere too */
    str *seen;  /* addresses already followed */
    size_t nseen, seen_cap;
};

static enum err grow(struct arena *a, void **items, size_t count, size_t *cap, size_t size)
{
    if (count < *cap)
        return ERR_OK;
    size_t more = *cap ? *cap * 2 : 4;
    void *bigger = arena_alloc_array(a, more, size);
    if (!bigger)
        return ERR_LIMIT;
    if (count > 0)
        memcpy(bigger, *items, count * size);
    *items = bigger;
    *cap = more;
    return ERR_OK;
}

static enum err walk_target(struct walk *w, uint64_t account, str address)
{
    for (size_t i = 0; i < w->ntargets; i++) {
        const struct resolution_target *t = &w->targets[i];
        if (account ? t->account == account : str_eq(t->address, address))
            return ERR_OK;
    }
    if (w->ntargets == DIR_EXPAND_MAX)
        return ERR_LIMIT;
    TRY(grow(w->a, (void **)&w->targets, w->ntargets, &w->cap, sizeof(w->targets[0])));
    w->targets[w->ntargets++] = (struct resolution_target){account, address};
    return ERR_OK;
}

static enum err walk_seen(struct walk *w, str address, bool *before)
{
    *before = false;
    for (size_t i = 0; i < w->nseen; i++)
        if (str_eq(w->seen[i], address)) {
            *before = true;
            return ERR_OK;
        }
    TRY(grow(w->a, (void **)&w->seen, w->nseen, &w->seen_cap, sizeof(w->seen[0])));
    w->seen[w->nseen++] = address;
    return ERR_OK;
}

static str domain_of(str address) { return str_skip(address, str_rfind_char(address, '@') + 1); }

/* ---- addresses that every domain has ---- */

static bool first_active(void *arg, const struct account_entry *e)
{
    uint64_t *id = arg;
    if (e->state == ACCOUNT_ACTIVE)
        *id = e->id;
    return *id == 0;
}

/* RFC 5321 4.5.1, RFC 2142 4: mail to postmaster and abuse reaches somebody in every domain, also
 * where nobody thought of it: the first account of the server. */
static enum err role_entry(struct walk *w, str local, struct address_entry *out)
{
    struct account_entry first;
    uint64_t id = 0;
    if (!str_eq(local, STR("postmaster")) && !str_eq(local, STR("abuse")))
        return ERR_NO_USER;
    TRY(directory_accounts(w->d, 0, ROLE_LOOK_MAX, first_active, &id));
    if (id == 0)
        return ERR_NO_USER;
    TRY(directory_account_get(w->d, id, w->a, &first));
    *out = (struct address_entry){.address = first.address, .kind = ADDRESS_ACCOUNT, .account = id};
    return ERR_OK;
}

/* The entry that receives for address: itself, without its +tag, the domain's catch-all, or that
 * of a role. ERR_NO_DOMAIN: foreign. ERR_NO_USER. */
static enum err entry_for(struct walk *w, str address, struct address_entry *out)
{
    enum err e = directory_address_get(w->d, address, w->a, out);
    if (e != ERR_NOT_FOUND)
        return e;
    struct domain dom;
    TRY(directory_domain_get(w->d, domain_of(address), w->a, &dom));
    str local = str_head(address, str_rfind_char(address, '@')), base, tag;
    if (dom.separator && str_cut(local, (char)dom.separator, &base, &tag) && base.len > 0) {
        str plain = arena_fmt(w->a, "%.*s@%.*s", STR_ARG(base), STR_ARG(dom.name));
        e = directory_address_get(w->d, plain, w->a, out);
        if (e != ERR_NOT_FOUND)
            return e;
    }
    if (!str_empty(dom.catch_all) && !str_eq(dom.catch_all, address))
        e = directory_address_get(w->d, dom.catch_all, w->a, out);
    return e == ERR_NOT_FOUND ? role_entry(w, local, out) : e;
}

static enum err walk_account(struct walk *w, uint64_t account, str address)
{
    struct account_entry e;
    TRY(directory_account_get(w->d, account, w->a, &e));
    if (e.state == ACCOUNT_DISABLED)
        return ERR_DISABLED;
    return walk_target(w, account, address);
}

/* Follows one address. Recursion is bounded by DIR_DEPTH_MAX. */
static enum err walk_address(struct walk *w, str address, unsigned depth)
{
    struct address_entry entry;
    bool before;
    if (depth > DIR_DEPTH_MAX)
        return ERR_LOOP;
    TRY(walk_seen(w, address, &before));
    if (before)
        return ERR_OK;
    enum err e = entry_for(w, address, &entry);
    if (e == ERR_NO_DOMAIN)
        return walk_target(w, 0, address);
    if (e == ERR_NO_USER && transport_split(w->d, domain_of(address)) == ERR_OK) {
        w->split = true;
        return walk_target(w, 0, address);
    }
    TRY(e);
    if (entry.flags & ADDRESS_SEND_ONLY)
        return ERR_DENIED;
    if (entry.kind == ADDRESS_ACCOUNT)
        return walk_account(w, entry.account, address);
    if ((entry.flags & ADDRESS_TO_MAILBOX) && entry.account) {
        TRY(walk_account(w, entry.account, address));
        if (!(entry.flags & ADDRESS_TO_MEMBERS))
            return ERR_OK;
    }
    enum err worst = ERR_NO_USER; /* an empty group reaches nobody */
    size_t reached = 0;
    for (size_t i = 0; i < entry.ntargets; i++) {
        e = walk_address(w, entry.targets[i], depth + 1);
        if (e == ERR_OK)
            reached++;
        else if (err_class(e) == ERR_CLASS_TEMP)
            return e; /* try the whole recipient again later, rather than forget a member */
        else
            worst = e;
    }
    return reached > 0 || (entry.flags & ADDRESS_TO_MAILBOX) ? ERR_OK : worst;
}

enum err directory_resolve(struct directory *d, str address, struct arena *a,
                           struct resolution *out)
{
    struct walk w = {.d = d, .a = a};
    *out = (struct resolution){0};
    TRY(directory_normalise(address, a, &out->address));
    TRY(walk_address(&w, out->address, 0));
    if (w.ntargets == 0)
        return ERR_LOOP; /* aliases that lead only to one another: nobody would get the message */
    out->targets = w.targets;
    out->ntargets = w.ntargets;
    out->here = w.split || !(w.ntargets == 1 && w.targets[0].account == 0 &&
                             str_eq(w.targets[0].address, out->address));
    /* RFC 5321 2.4: the local part belongs to its host, upper and lower case included. */
    if (!out->here && !arena_dup(a, address, &w.targets[0].address))
        return ERR_LIMIT;
    return ERR_OK;
}

/* Follows members, not how the group's mail is delivered. */
static enum err member_walk(struct walk *w, str address, uint64_t account, unsigned depth,
                            bool *member)
{
    struct address_entry e;
    bool before;
    TRY(walk_seen(w, address, &before));
    if (before || depth > DIR_DEPTH_MAX)
        return ERR_OK;
    enum err err = directory_address_get(w->d, address, w->a, &e);
    if (err != ERR_OK)
        return err == ERR_NOT_FOUND && depth > 0 ? ERR_OK : err;
    if (e.kind == ADDRESS_ACCOUNT)
        *member = e.account == account;
    for (size_t i = 0; e.kind != ADDRESS_ACCOUNT && i < e.ntargets && !*member; i++)
        TRY(member_walk(w, e.targets[i], account, depth + 1, member));
    return ERR_OK;
}

enum err directory_is_member(struct directory *d, str group, uint64_t account, bool *member)
{
    ARENA_AUTO struct arena a = ARENA_INIT((size_t)16 << 20);
    struct walk w = {.d = d, .a = &a};
    str normal;
    *member = false;
    TRY(directory_normalise(group, &a, &normal));
    return member_walk(&w, normal, account, 0, member);
}

/* Does the address reach the account, following only aliases (a group's address is granted, not
 * received as one's own)? */
static enum err reaches(struct walk *w, str address, uint64_t account, unsigned depth)
{
    struct address_entry e;
    bool before;
    TRY(walk_seen(w, address, &before));
    if (before || depth > DIR_DEPTH_MAX)
        return ERR_SENDER;
    enum err found = entry_for(w, address, &e);
    if (found == ERR_NO_DOMAIN || found == ERR_NO_USER)
        return ERR_SENDER;
    TRY(found);
    if (e.flags & ADDRESS_RECEIVE_ONLY)
        return ERR_SENDER;
    if (e.kind == ADDRESS_ACCOUNT)
        return e.account == account ? ERR_OK : ERR_SENDER;
    if (e.kind == ADDRESS_GROUP)
        return ERR_SENDER;
    for (size_t i = 0; i < e.ntargets; i++) {
        found = reaches(w, e.targets[i], account, depth + 1);
        if (found != ERR_SENDER)
            return found;
    }
    return ERR_SENDER;
}

enum err directory_may_send(struct directory *d, uint64_t account, str address)
{
    ARENA_AUTO struct arena a = ARENA_INIT((size_t)1 << 20);
    struct walk w = {.d = d, .a = &a};
    str normal;
    struct store_key key;
    if (directory_normalise(address, &a, &normal) != ERR_OK)
        return ERR_SENDER;
    if (key_grant(&key, account, normal) == ERR_OK) {
        BUF_AUTO struct buf row = BUF_INIT(64);
        enum err e = store_get(d->store, STORE_PARTITION_DIRECTORY, key_str(&key), &row);
        if (e != ERR_NOT_FOUND)
            return e;
    }
    return reaches(&w, normal, account, 0);
}
