/* SPDX-License-Identifier: Apache-2.0 */
#include "core/transport.h"

#include "base/map.h"
#include "base/num.h"
#include "core/directory_rows.h"

#include <string.h>

#define VERSION 1
#define ROW_MAX 8192
#define TABLE_BYTES_MAX (32u << 20)

struct transport {
    struct directory *directory;
    struct arena own;  /* holds this struct */
    struct arena rows; /* of the table */
    struct map table;  /* match and name -> struct transport_row */
    uint64_t version;  /* of the directory, when it was read */
    bool loaded, by_sender;
};

/* ---- rows ---- */

static enum err row_key(enum transport_match match, str name, struct store_key *k)
{
    *k = (struct store_key){.bytes = {DIR_SPACE_ROUTE, (uint8_t)match}, .len = 2};
    if (name.len > STORE_KEY_MAX - 2u)
        return ERR_LIMIT;
    if (name.len)
        memcpy(k->bytes + 2, name.data, name.len);
    k->len = (uint8_t)(2 + name.len);
    return ERR_OK;
}

static void row_encode(const struct transport_row *r, struct buf *out)
{
    buf_add_char(out, VERSION);
    buf_add_char(out, (char)r->action);
    buf_add_char(out, (char)r->tls);
    buf_add_char(out, (char)((r->split ? 1 : 0) | (r->implicit_tls ? 2 : 0)));
    buf_add_be16(out, r->port);
    buf_add_sized(out, r->host);
    buf_add_sized(out, r->login);
    buf_add_sized(out, r->password);
    buf_add_sized(out, r->source);
    buf_add_sized(out, r->helo);
    buf_add_sized(out, r->text);
}

static enum err row_decode(str key, str value, struct transport_row *out)
{
    struct reader r = reader_of(value);
    *out = (struct transport_row){0};
    if (key.len < 2 || read_u8(&r) != VERSION)
        return ERR_CORRUPT;
    out->match = (enum transport_match)key.data[1];
    out->name = str_skip(key, 2);
    out->action = read_u8(&r);
    out->tls = read_u8(&r);
    uint8_t bits = read_u8(&r);
    out->split = bits & 1;
    out->implicit_tls = bits & 2;
    out->port = read_be16(&r);
    out->host = read_sized(&r);
    out->login = read_sized(&r);
    out->password = read_sized(&r);
    out->source = read_sized(&r);
    out->helo = read_sized(&r);
    out->text = read_sized(&r);
    bool ok =
        !r.failed && !r.rest.len && out->action <= TRANSPORT_HOLD && out->tls <= RELAY_TLS_NEVER;
    return ok ? ERR_OK : ERR_CORRUPT;
}

static enum err normalise(enum transport_match match, str name, struct arena *a, str *out)
{
    *out = STR_NONE;
    if (match == TRANSPORT_DEFAULT)
        return str_empty(name) ? ERR_OK : ERR_SYNTAX;
    if (match == TRANSPORT_ACCOUNT || str_find_char(name, '@') != STR_NPOS)
        return match == TRANSPORT_RECIPIENT ? ERR_SYNTAX : directory_normalise(name, a, out);
    if (match != TRANSPORT_RECIPIENT || !str_starts(name, STR(".")))
        return directory_normalise_domain(name, a, out);
    TRY(directory_normalise_domain(str_skip(name, 1), a, out));
    *out = arena_fmt(a, ".%.*s", STR_ARG(*out));
    return str_empty(*out) ? ERR_LIMIT : ERR_OK;
}

/* A row that could not be used is refused here, not at the first message. */
static enum err check_row(const struct transport_row *r)
{
    struct address a;
    bool host = r->action == TRANSPORT_SMTP || r->action == TRANSPORT_LMTP;
    if (host == str_empty(r->host))
        return ERR_INVALID;
    if (r->split && (r->match != TRANSPORT_RECIPIENT || !host))
        return ERR_INVALID;
    if (!str_empty(r->source) && !address_parse(r->source, &a))
        return ERR_INVALID;
    return str_empty(r->login) == str_empty(r->password) ? ERR_OK : ERR_INVALID;
}

/* An address, with or without brackets, becomes a literal as SMTP writes it (RFC 5321 4.1.3). */
static str as_literal(str host, struct arena *a)
{
    struct address parsed;
    str ip = host;
    if (ip.len > 2 && ip.data[0] == '[' && ip.data[ip.len - 1] == ']')
        ip = str_sub(ip, 1, ip.len - 2);
    if (str_starts_nocase(ip, STR("IPv6:")))
        ip = str_skip(ip, 5);
    if (!address_parse(ip, &parsed))
        return host;
    return arena_fmt(a, parsed.family == 6 ? "[IPv6:%.*s]" : "[%.*s]", STR_ARG(ip));
}

static enum err commit_op(struct directory *d, struct store_op op, bool present)
{
    struct store_expect expect = {STORE_EXPECT_PRESENT, op.key, STR_NONE};
    struct store_commit c = {.partition = STORE_PARTITION_DIRECTORY,
                             .expect_version = STORE_ANY_VERSION,
                             .expects = &expect,
                             .nexpects = present ? 1 : 0,
                             .ops = &op,
                             .nops = 1};
    struct store_result result;
    return store_commit(d->store, &c, &result);
}

enum err transport_set(struct directory *d, const struct transport_row *r)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    BUF_AUTO struct buf value = BUF_INIT(ROW_MAX);
    struct store_key key;
    str name;
    TRY(check_row(r));
    TRY(normalise(r->match, r->name, &a, &name));
    TRY(row_key(r->match, name, &key));
    struct transport_row row = *r;
    row.host = as_literal(r->host, &a);
    row_encode(&row, &value);
    if (!buf_ok(&value))
        return ERR_LIMIT;
    return commit_op(d, (struct store_op){STORE_PUT, key_str(&key), buf_str(&value), 0}, false);
}

enum err transport_remove(struct directory *d, enum transport_match match, str name)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct store_key key;
    TRY(normalise(match, name, &a, &name));
    TRY(row_key(match, name, &key));
    enum err e = commit_op(d, (struct store_op){STORE_DELETE, key_str(&key), STR_NONE, 0}, true);
    return e == ERR_CONFLICT ? ERR_NOT_FOUND : e;
}

struct each {
    transport_row_fn *fn;
    void *arg;
};

static bool each_row(void *arg, const struct store_row *row)
{
    struct each *w = arg;
    struct transport_row r;
    if (row_decode(row->key, row->value, &r) != ERR_OK)
        return true; /* set aside */
    return w->fn(w->arg, &r);
}

enum err transport_each(struct directory *d, transport_row_fn *fn, void *arg)
{
    struct store_key from = {.bytes = {DIR_SPACE_ROUTE}, .len = 1};
    struct store_key to = {.bytes = {DIR_SPACE_ROUTE + 1}, .len = 1};
    struct store_scan q = {
        .partition = STORE_PARTITION_DIRECTORY, .from = key_str(&from), .to = key_str(&to)};
    struct each w = {.fn = fn, .arg = arg};
    return store_scan_all(d->store, &q, each_row, &w);
}

enum err transport_split(struct directory *d, str domain)
{
    BUF_AUTO struct buf value = BUF_INIT(ROW_MAX);
    struct store_key key;
    struct transport_row r;
    TRY(row_key(TRANSPORT_RECIPIENT, domain, &key));
    TRY(store_get(d->store, STORE_PARTITION_DIRECTORY, key_str(&key), &value));
    TRY(row_decode(key_str(&key), buf_str(&value), &r));
    return r.split ? ERR_OK : ERR_NOT_FOUND;
}

/* ---- the table in memory ---- */

enum err transport_open(struct directory *d, struct transport **out)
{
    struct arena own = ARENA_INIT(65536);
    struct transport *t = ARENA_NEW(&own, struct transport);
    if (!t)
        return ERR_NOMEM;
    *t = (struct transport){.directory = d, .own = own, .rows = ARENA_INIT(TABLE_BYTES_MAX)};
    map_init(&t->table, TRANSPORT_ROWS_MAX);
    *out = t;
    return ERR_OK;
}

void transport_close(struct transport *t)
{
    if (!t)
        return;
    map_free(&t->table);
    arena_free(&t->rows);
    struct arena own = t->own;
    arena_free(&own);
}

struct load {
    struct arena rows;
    struct map table;
    bool failed, by_sender;
};

static str table_key(enum transport_match match, str name, struct buf *out)
{
    buf_reset(out);
    buf_add_char(out, (char)match);
    buf_add(out, name);
    return buf_str(out);
}

static bool load_row(void *arg, const struct transport_row *r)
{
    struct load *l = arg;
    BUF_AUTO struct buf key = BUF_INIT(STORE_KEY_MAX);
    struct transport_row *copy = ARENA_NEW(&l->rows, struct transport_row);
    l->failed = true;
    if (!copy)
        return false;
    *copy = *r;
    str *texts[] = {&copy->name,   &copy->host, &copy->login, &copy->password,
                    &copy->source, &copy->helo, &copy->text};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (!arena_dup(&l->rows, *texts[i], texts[i]))
            return false;
    l->by_sender = l->by_sender || r->match == TRANSPORT_SENDER || r->match == TRANSPORT_ACCOUNT;
    l->failed = map_put(&l->table, table_key(r->match, r->name, &key), copy, NULL) != ERR_OK;
    return !l->failed;
}

enum err transport_refresh(struct transport *t)
{
    uint64_t version = store_version(t->directory->store, STORE_PARTITION_DIRECTORY);
    if (t->loaded && version == t->version)
        return ERR_OK;
    struct load l = {.rows = ARENA_INIT(TABLE_BYTES_MAX)};
    map_init(&l.table, TRANSPORT_ROWS_MAX);
    enum err e = transport_each(t->directory, load_row, &l);
    if (e == ERR_OK && l.failed)
        e = ERR_LIMIT;
    if (e != ERR_OK) {
        map_free(&l.table);
        arena_free(&l.rows);
        return e;
    }
    map_free(&t->table);
    arena_free(&t->rows);
    t->rows = l.rows;
    t->table = l.table;
    t->by_sender = l.by_sender;
    t->version = version;
    t->loaded = true;
    return ERR_OK;
}

bool transport_by_sender(const struct transport *t) { return t->by_sender; }

/* ---- choosing ---- */

struct choose {
    struct transport *t;
    const struct transport_row *way;
    str source, helo;
    struct buf key;
};

/* The rows are asked in the order of the header comment. */
static void ask(struct choose *c, enum transport_match match, str name)
{
    const struct transport_row *r = map_get(&c->t->table, table_key(match, name, &c->key));
    if (!r)
        return;
    bool only_dress = r->action == TRANSPORT_MX && match == TRANSPORT_SENDER;
    if (!c->way && !only_dress)
        c->way = r;
    if (str_empty(c->source))
        c->source = r->source;
    if (str_empty(c->helo))
        c->helo = r->helo;
}

static str domain_part(str address)
{
    size_t at = str_rfind_char(address, '@');
    return at == STR_NPOS ? STR_NONE : str_skip(address, at + 1);
}

static void ask_recipient(struct choose *c, str domain)
{
    ask(c, TRANSPORT_RECIPIENT, domain);
    for (size_t dot; (dot = str_find_char(domain, '.')) != STR_NPOS;) {
        ask(c, TRANSPORT_RECIPIENT, str_skip(domain, dot));
        domain = str_skip(domain, dot + 1);
    }
}

struct charged {
    str account, sender; /* normalised; empty: none that a row could name */
};

static enum err who_sends(struct transport *t, const struct envelope *e, struct arena *a,
                          struct charged *out) WAITS
{
    struct account_entry entry;
    *out = (struct charged){0};
    if (e->account) {
        enum err err = directory_account_get(t->directory, e->account, a, &entry);
        if (err == ERR_OK)
            out->account = entry.address;
        else if (err != ERR_NOT_FOUND)
            return err;
    }
    if (directory_normalise(e->sender, a, &out->sender) != ERR_OK)
        out->sender = STR_NONE;
    return ERR_OK;
}

static void ask_all(struct choose *c, str domain, const struct charged *who)
{
    ask_recipient(c, domain);
    if (!str_empty(who->account))
        ask(c, TRANSPORT_ACCOUNT, who->account);
    if (!str_empty(who->sender)) {
        ask(c, TRANSPORT_SENDER, who->sender);
        ask(c, TRANSPORT_SENDER, domain_part(who->sender));
    }
    ask(c, TRANSPORT_DEFAULT, STR_NONE);
}

static uint64_t way_key(const struct transport_choice *c, str domain)
{
    BUF_AUTO struct buf b = BUF_INIT(8192);
    const struct relay_route *r = &c->route;
    buf_addf(&b, "%d %d %d %d %u ", (int)c->action, (int)r->kind, (int)r->tls, r->implicit_tls,
             r->port);
    buf_add_sized(&b, r->host);
    buf_add_sized(&b, r->login);
    buf_add_sized(&b, r->helo);
    buf_add(&b, str_of(r->source.ip, sizeof r->source.ip));
    buf_add(&b, domain); /* jobs are of one domain, whatever the host */
    return str_hash_stable(buf_str(&b));
}

static void fill_route(const struct choose *c, struct transport_choice *out)
{
    static const enum relay_kind kinds[] = {
        [TRANSPORT_MX] = RELAY_MX, [TRANSPORT_SMTP] = RELAY_HOST, [TRANSPORT_LMTP] = RELAY_LMTP};
    const struct transport_row *w = c->way;
    if (out->action > TRANSPORT_LMTP)
        return;
    out->route.kind = kinds[out->action];
    out->route.tls = w ? w->tls : RELAY_TLS_OPPORTUNISTIC;
    if (!w || out->action == TRANSPORT_MX)
        return;
    if (out->action == TRANSPORT_LMTP && str_find_char(w->host, '/') != STR_NPOS)
        out->route.kind = RELAY_LMTP_LOCAL;
    out->route.implicit_tls = w->implicit_tls;
    out->route.port = w->port;
}

enum err transport_choose(struct transport *t, str recipient, const struct envelope *e,
                          struct arena *arena, struct transport_choice *out)
{
    struct choose c = {.t = t, .key = BUF_INIT(STORE_KEY_MAX + 16)};
    str domain = domain_part(recipient), lower;
    struct charged who = {0};
    *out = (struct transport_choice){0};
    TRY(transport_refresh(t));
    if (t->by_sender) {
        TRY(who_sends(t, e, arena, &who));
        TRY(transport_refresh(t));
    }
    if (directory_normalise_domain(domain, arena, &lower) == ERR_OK)
        domain = lower;
    /* From here nothing waits, so the table stays as it is until all is copied. */
    ask_all(&c, domain, &who);
    buf_free(&c.key);
    out->action = c.way ? c.way->action : TRANSPORT_MX;
    fill_route(&c, out);
    if (!str_empty(c.source) && !address_parse(c.source, &out->route.source))
        return ERR_CORRUPT;
    bool ok = arena_dup(arena, c.helo, &out->route.helo);
    if (c.way)
        ok = ok && arena_dup(arena, c.way->host, &out->route.host) &&
             arena_dup(arena, c.way->login, &out->route.login) &&
             arena_dup(arena, c.way->password, &out->route.password) &&
             arena_dup(arena, c.way->text, &out->text);
    out->key = way_key(out, domain);
    return ok ? ERR_OK : ERR_LIMIT;
}
