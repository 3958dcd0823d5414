/* SPDX-License-Identifier: Apache-2.0 */
#include "app/config.h"

#include "app/json.h"
#include "app/mail_policy.h"
#include "base/log.h"
#include "base/num.h"
#include "core/acme.h"

#include <assert.h>
#include <string.h>

enum config_type {
    CONFIG_STRING,
    CONFIG_BOOL,
    CONFIG_COUNT,
    CONFIG_BYTES,
    CONFIG_DURATION,
    CONFIG_LIST,
    CONFIG_LISTEN,
    CONFIG_NETWORKS
};
enum config_when { CONFIG_RELOAD, CONFIG_RESTART };

struct config_row {
    const char *section, *key;
    enum config_type type;
    const char *fallback;
    enum config_when when;
    const char *text;
    size_t offset;
};

static const struct config_row rows[] = {
#define CONFIG(section, key, type, fallback, when, text)                                           \
    {#section,                                                                                     \
     #key,                                                                                         \
     CONFIG_##type,                                                                                \
     fallback,                                                                                     \
     CONFIG_##when,                                                                                \
     text,                                                                                         \
     offsetof(struct config, section##_##key)},
#include "app/config.def"
#undef CONFIG
};
#define ROWS ARRAY_LEN(rows)

static void *field(struct config *c, const struct config_row *r) { return (char *)c + r->offset; }
static const void *field_const(const struct config *c, const struct config_row *r)
{
    return (const char *)c + r->offset;
}

/* ---- values ---- */

static bool take_bool(str v, bool *out)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"yes", true},    {"no", false}, {"true", true},
                 {"false", false}, {"on", true},  {"off", false}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_eq_nocase(v, str_c(words[i].word))) {
            *out = words[i].value;
            return true;
        }
    }
    return false;
}

/* Cuts the next item of a comma list; false at the end. */
static bool next_item(str *rest, str *item)
{
    while (!str_empty(*rest)) {
        str_cut(*rest, ',', item, rest);
        *item = str_trim(*item);
        if (!str_empty(*item))
            return true;
    }
    return false;
}

static size_t count_items(str v)
{
    size_t n = 0;
    for (str item; next_item(&v, &item);)
        n++;
    return n;
}

static bool take_port(str v, uint16_t *out)
{
    uint64_t n;
    if (!num_parse_u64(v, 65535, &n))
        return false;
    *out = (uint16_t)n;
    return true;
}

static bool take_listen(str v, struct config_listen *out)
{
    *out = (struct config_listen){0};
    if (str_find_char(v, '/') != STR_NPOS || str_ends(v, STR(".sock"))) {
        out->path = v;
        return true;
    }
    size_t colon = str_rfind_char(v, ':');
    str host = colon == STR_NPOS ? STR("*") : str_head(v, colon);
    str port = colon == STR_NPOS ? v : str_skip(v, colon + 1);
    if (!take_port(port, &out->address.port))
        return false;
    if (str_eq(host, STR("*"))) {
        out->any = true;
        out->address.family = 6;
        return true;
    }
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
        host = str_sub(host, 1, host.len - 2);
    uint16_t number = out->address.port;
    if (!address_parse(host, &out->address))
        return false;
    out->address.port = number;
    return true;
}

static bool take_network(str v, struct smtp_network *out)
{
    str host, bits;
    bool has_bits = str_cut(v, '/', &host, &bits);
    *out = (struct smtp_network){0};
    if (!address_parse(host, &out->address))
        return false;
    unsigned max = out->address.family == 4 ? 32 : 128;
    uint64_t n = max;
    if (has_bits && !num_parse_u64(bits, max, &n))
        return false;
    out->bits = (unsigned)n;
    return true;
}

static const char *take_list(struct config *c, str v, size_t n, struct config_list *out)
{
    str *items = ARENA_ARRAY(&c->arena, str, n + 1);
    if (!items)
        return "too long";
    size_t i = 0;
    for (str item; next_item(&v, &item);)
        items[i++] = item;
    *out = (struct config_list){items, n};
    return NULL;
}

static const char *take_listens(struct config *c, str v, size_t n, struct config_listens *out)
{
    struct config_listen *items = ARENA_ARRAY(&c->arena, struct config_listen, n + 1);
    if (!items)
        return "too long";
    size_t i = 0;
    for (str item; next_item(&v, &item);) {
        if (!take_listen(item, &items[i++]))
            return "is not a port, an address with a port, or the path of a socket";
    }
    *out = (struct config_listens){items, n};
    return NULL;
}

static const char *take_networks(struct config *c, str v, size_t n, struct config_networks *out)
{
    struct smtp_network *items = ARENA_ARRAY(&c->arena, struct smtp_network, n + 1);
    if (!items)
        return "too long";
    size_t i = 0;
    for (str item; next_item(&v, &item);) {
        if (!take_network(item, &items[i++]))
            return "is not an address or a network like 192.0.2.0/24";
    }
    *out = (struct config_networks){items, n};
    return NULL;
}

/* NULL, or what is wrong with the value. */
static const char *take_value(struct config *c, const struct config_row *r, str v)
{
    if (!arena_dup(&c->arena, v, &v))
        return "too long";
    size_t n = count_items(v);
    if (n > CONFIG_ITEMS_MAX)
        return "has too many items";
    switch (r->type) {
    case CONFIG_STRING:
        *(str *)field(c, r) = v;
        return NULL;
    case CONFIG_BOOL:
        return take_bool(v, field(c, r)) ? NULL : "is neither yes nor no";
    case CONFIG_COUNT:
        return num_parse_u64(v, UINT32_MAX, field(c, r)) ? NULL : "is not a number";
    case CONFIG_BYTES:
        return num_parse_bytes(v, field(c, r)) ? NULL : "is not a size like 25M";
    case CONFIG_DURATION:
        return num_parse_duration(v, field(c, r)) ? NULL : "is not a time like 30s or 5m";
    case CONFIG_LIST:
        return take_list(c, v, n, field(c, r));
    case CONFIG_LISTEN:
        return take_listens(c, v, n, field(c, r));
    case CONFIG_NETWORKS:
        return take_networks(c, v, n, field(c, r));
    }
    return "has no type";
}

/* ---- the file ---- */

struct parse {
    str name;
    size_t line;
    str section;
    struct config *config;
    struct buf *error;
    size_t seen_at[ROWS]; /* line, 0: not yet */
};

static enum err wrong(struct parse *p, const char *fmt, str a, const char *b)
{
    buf_addf(p->error, "%.*s:", STR_ARG(p->name));
    if (p->line > 0)
        buf_addf(p->error, "%zu:", p->line);
    buf_add_char(p->error, ' ');
    size_t at = str_find(str_c(fmt), STR("%"));
    buf_add(p->error, str_head(str_c(fmt), at));
    if (at != STR_NPOS) {
        buf_add(p->error, a);
        buf_add(p->error, str_skip(str_c(fmt), at + 1));
    }
    buf_add_c(p->error, b);
    return ERR_INVALID;
}

static const struct config_row *find_row(str section, str key, const struct config_row **elsewhere)
{
    *elsewhere = NULL;
    for (size_t i = 0; i < ROWS; i++) {
        if (!str_eq(key, str_c(rows[i].key)))
            continue;
        if (str_eq(section, str_c(rows[i].section)))
            return &rows[i];
        *elsewhere = &rows[i];
    }
    return NULL;
}

static enum err take_section(struct parse *p, str line)
{
    if (line.data[line.len - 1] != ']')
        return wrong(p, "a section needs its closing bracket", STR_NONE, "");
    p->section = str_trim(str_sub(line, 1, line.len - 2));
    for (size_t i = 0; i < ROWS; i++) {
        if (str_eq(p->section, str_c(rows[i].section)))
            return ERR_OK;
    }
    return wrong(p, "there is no section [%]", p->section, "");
}

static enum err take_setting(struct parse *p, str line)
{
    str key, value;
    if (!str_cut(line, '=', &key, &value))
        return wrong(p, "expected [section] or key = value, found \"%\"", line, "");
    key = str_trim(key);
    value = str_trim(value);
    const struct config_row *elsewhere, *r = find_row(p->section, key, &elsewhere);
    if (!r && elsewhere) {
        wrong(p, "the setting % belongs into section [", key, elsewhere->section);
        buf_add_c(p->error, "]");
        return ERR_INVALID;
    }
    if (!r)
        return wrong(p, "there is no setting %", key, "");
    size_t *seen = &p->seen_at[r - rows];
    if (*seen) {
        wrong(p, "the setting % was already given in line ", key, "");
        buf_add_u64(p->error, *seen);
        return ERR_INVALID;
    }
    *seen = p->line;
    const char *bad = take_value(p->config, r, value);
    if (!bad)
        return ERR_OK;
    wrong(p, "the value of % ", key, bad);
    return ERR_INVALID;
}

static enum err take_line(struct parse *p, str line)
{
    line = str_trim(line);
    if (str_empty(line) || line.data[0] == '#' || line.data[0] == ';')
        return ERR_OK;
    if (line.data[0] == '[')
        return take_section(p, line);
    return take_setting(p, line);
}

static const str levels[] = {STR_INIT("debug"), STR_INIT("info"), STR_INIT("warn"),
                             STR_INIT("error")};

static bool one_of(str word, const str *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (str_eq(word, words[i]))
            return true;
    }
    return false;
}

static enum err check_policy(struct parse *p)
{
    struct smtp_policy policy;
    const char *bad;
    str word;
    enum err e = mail_policy_of(p->config, &policy, &bad, &word);
    return e == ERR_INVALID ? wrong(p, bad, word, "") : e;
}

static enum err check_words(struct parse *p)
{
    const struct config *c = p->config;
    static const str modes[] = {STR_INIT("none"), STR_INIT("testing"), STR_INIT("enforce")};
    if (!one_of(c->acme_proof, acme_proof_names, ACME_PROOFS))
        return wrong(p, "acme.proof is http-01, tls-alpn-01 or dns-01, not \"%\"", c->acme_proof,
                     "");
    if (!one_of(c->mta_sts_mode, modes, ARRAY_LEN(modes)))
        return wrong(p, "mta_sts.mode is none, testing or enforce, not \"%\"", c->mta_sts_mode, "");
    if (c->acme_enabled && str_eq(c->acme_proof, STR("dns-01")) && str_empty(c->dns_update_server))
        return wrong(p, "acme.proof is dns-01, but dns_update.server names no name server",
                     STR_NONE, "");
    if (c->acme_enabled && str_eq(c->acme_proof, STR("tls-alpn-01")) && c->listen_https.count == 0)
        return wrong(p, "acme.proof is tls-alpn-01, but listen.https is off", STR_NONE, "");
    return ERR_OK;
}

/* Would the second fail to bind beside the first? Port 0 is any free one. */
static bool listens_clash(const struct config_listen *a, const struct config_listen *b)
{
    if (a->address.family == 0 || b->address.family == 0)
        return a->address.family == b->address.family && str_eq(a->path, b->path);
    bool same = a->address.family == b->address.family &&
                memcmp(a->address.ip, b->address.ip, sizeof(a->address.ip)) == 0;
    return a->address.port != 0 && a->address.port == b->address.port && (a->any || b->any || same);
}

static enum err check_listen_pair(struct parse *p, size_t first, size_t second)
{
    const struct config_listens *a = field(p->config, &rows[first]);
    const struct config_listens *b = field(p->config, &rows[second]);
    for (size_t i = 0; i < a->count; i++) {
        for (size_t j = first == second ? i + 1 : 0; j < b->count; j++) {
            if (!listens_clash(&a->items[i], &b->items[j]))
                continue;
            p->line = p->seen_at[second] ? p->seen_at[second] : p->seen_at[first];
            wrong(p, "listen.% and listen.", str_c(rows[first].key), rows[second].key);
            buf_add_c(p->error,
                      a->items[i].address.family ? " want the same port" : " want the same socket");
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

static enum err check_listens(struct parse *p)
{
    for (size_t first = 0; first < ROWS; first++) {
        for (size_t second = first; second < ROWS; second++) {
            if (rows[first].type == CONFIG_LISTEN && rows[second].type == CONFIG_LISTEN)
                TRY(check_listen_pair(p, first, second));
        }
    }
    return ERR_OK;
}

static enum err check_whole(struct parse *p)
{
    const struct config *c = p->config;
    p->line = 0;
    if (!one_of(c->log_level, levels, ARRAY_LEN(levels)))
        return wrong(p, "log.level is debug, info, warn or error, not \"%\"", c->log_level, "");
    if (str_empty(c->server_hostname) || str_find_char(c->server_hostname, ' ') != STR_NPOS)
        return wrong(p, "server.hostname is not a host name", STR_NONE, "");
    if (str_empty(c->server_data))
        return wrong(p, "server.data names no folder", STR_NONE, "");
    if (c->smtp_recipients_max == 0 || c->smtp_recipients_max > 1000)
        return wrong(p, "smtp.recipients_max is between 1 and 1000", STR_NONE, "");
    if (c->server_gates > 64 || c->server_house_threads > 64)
        return wrong(p, "server.gates and server.house_threads are at most 64", STR_NONE, "");
    if (c->store_reserve_percent > 50)
        return wrong(p, "store.reserve_percent is at most 50", STR_NONE, "");
    TRY(check_words(p));
    TRY(check_listens(p));
    return check_policy(p);
}

static void take_defaults(struct config *c)
{
    for (size_t i = 0; i < ROWS; i++) {
        const char *bad = take_value(c, &rows[i], str_c(rows[i].fallback));
        assert(!bad);
    }
}

enum err config_parse(str name, str text, struct config *out, struct buf *error)
{
    *out = (struct config){0};
    arena_init(&out->arena, 2 * CONFIG_TEXT_MAX + 262144);
    take_defaults(out);
    struct parse p = {.name = name, .config = out, .error = error};
    enum err e =
        text.len > CONFIG_TEXT_MAX ? wrong(&p, "the file is too long", STR_NONE, "") : ERR_OK;
    while (e == ERR_OK && !str_empty(text)) {
        str line;
        str_cut(text, '\n', &line, &text);
        p.line++;
        e = take_line(&p, line);
    }
    if (e == ERR_OK)
        e = check_whole(&p);
    if (e != ERR_OK)
        config_free(out);
    return e;
}

void config_free(struct config *c)
{
    arena_free(&c->arena);
    *c = (struct config){0};
}

/* ---- as text ---- */

static void put_bytes(struct buf *out, uint64_t n)
{
    static const char units[] = {'G', 'M', 'K'};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t unit = 1ull << (30 - 10 * i);
        if (n >= unit && n % unit == 0) {
            buf_add_u64(out, n / unit);
            buf_add_char(out, units[i]);
            return;
        }
    }
    buf_add_u64(out, n);
}

static void put_duration(struct buf *out, uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (ms % units[i].ms != 0)
        i++;
    buf_add_u64(out, ms / units[i].ms);
    buf_add_c(out, ms ? units[i].unit : "");
}

static void put_listen(struct buf *out, const struct config_listen *l)
{
    if (!str_empty(l->path)) {
        buf_add(out, l->path);
        return;
    }
    if (l->any)
        buf_add_char(out, '*');
    else if (l->address.family == 6)
        buf_add_char(out, '[');
    if (!l->any)
        address_render(&l->address, out);
    if (!l->any && l->address.family == 6)
        buf_add_char(out, ']');
    buf_addf(out, ":%u", l->address.port);
}

static void put_value(struct buf *out, const struct config *c, const struct config_row *r)
{
    const void *f = field_const(c, r);
    const struct config_list *list = f;
    const struct config_listens *listens = f;
    const struct config_networks *networks = f;
    switch (r->type) {
    case CONFIG_STRING:
        buf_add(out, *(const str *)f);
        return;
    case CONFIG_BOOL:
        buf_add_c(out, *(const bool *)f ? "yes" : "no");
        return;
    case CONFIG_COUNT:
        buf_add_u64(out, *(const uint64_t *)f);
        return;
    case CONFIG_BYTES:
        put_bytes(out, *(const uint64_t *)f);
        return;
    case CONFIG_DURATION:
        put_duration(out, *(const uint64_t *)f);
        return;
    case CONFIG_LIST:
        for (size_t i = 0; i < list->count; i++)
            buf_addf(out, "%s%.*s", i ? ", " : "", STR_ARG(list->items[i]));
        return;
    case CONFIG_LISTEN:
        for (size_t i = 0; i < listens->count; i++) {
            buf_add_c(out, i ? ", " : "");
            put_listen(out, &listens->items[i]);
        }
        return;
    case CONFIG_NETWORKS:
        for (size_t i = 0; i < networks->count; i++) {
            buf_add_c(out, i ? ", " : "");
            address_render(&networks->items[i].address, out);
            buf_addf(out, "/%u", networks->items[i].bits);
        }
        return;
    }
}

void config_render(const struct config *c, bool comments, struct buf *out)
{
    const char *section = "";
    for (size_t i = 0; i < ROWS; i++) {
        if (!str_eq(str_c(section), str_c(rows[i].section)))
            buf_addf(out, "%s[%s]\n", i ? "\n" : "", rows[i].section);
        section = rows[i].section;
        if (comments)
            buf_addf(out, "# %s\n", rows[i].text);
        buf_addf(out, "%s = ", rows[i].key);
        put_value(out, c, &rows[i]);
        buf_add_char(out, '\n');
    }
}

void config_render_json(const struct config *c, struct buf *out)
{
    struct json j = json_of(out);
    json_open(&j, '{');
    for (size_t i = 0; i < ROWS; i++) {
        if (i == 0 || !str_eq(str_c(rows[i - 1].section), str_c(rows[i].section))) {
            if (i)
                json_close(&j, '}');
            json_key(&j, rows[i].section);
            json_open(&j, '{');
        }
        BUF_AUTO struct buf value = BUF_INIT(CONFIG_TEXT_MAX);
        put_value(&value, c, &rows[i]);
        json_key(&j, rows[i].key);
        json_str(&j, buf_str(&value));
    }
    json_close(&j, '}');
    json_close(&j, '}');
}

void config_manual_text(const char *text, struct buf *out)
{
    if (*text == '.' || *text == '\'')
        buf_add_c(out, "\\&");
    for (; *text; text++) {
        if (*text == '-')
            buf_add_c(out, "\\-");
        else if (*text == '\\')
            buf_add_c(out, "\\e");
        else
            buf_add_char(out, *text);
    }
}

void config_manual(struct buf *out)
{
    buf_add_c(out, ".TH POSTHOUSE.CONF 5\n.SH NAME\nposthouse.conf \\- settings of posthouse\n"
                   ".SH DESCRIPTION\nSections in brackets, then lines of the form key = value. "
                   "Lines that begin with # are comments. An unknown, repeated or misplaced "
                   "setting is refused.\n");
    for (size_t i = 0; i < ROWS; i++) {
        const struct config_row *r = &rows[i];
        if (i == 0 || !str_eq(str_c(rows[i - 1].section), str_c(r->section)))
            buf_addf(out, ".SH [%s]\n", r->section);
        buf_addf(out, ".TP\n.B %s\n", r->key);
        config_manual_text(r->text, out);
        buf_add_c(out, "\nDefault: ");
        config_manual_text(r->fallback[0] ? r->fallback : "empty", out);
        buf_addf(out, ". A change takes effect after a %s.\n",
                 r->when == CONFIG_RELOAD ? "reload" : "restart");
    }
}

void config_restart_changes(const struct config *from, const struct config *to, struct buf *out)
{
    for (size_t i = 0; i < ROWS; i++) {
        BUF_AUTO struct buf a = BUF_INIT(CONFIG_TEXT_MAX);
        BUF_AUTO struct buf b = BUF_INIT(CONFIG_TEXT_MAX);
        put_value(&a, from, &rows[i]);
        put_value(&b, to, &rows[i]);
        if (rows[i].when == CONFIG_RESTART && !str_eq(buf_str(&a), buf_str(&b)))
            buf_addf(out, " %s.%s", rows[i].section, rows[i].key);
    }
}

void config_log_level(const struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        if (str_eq(c->log_level, levels[i]))
            log_set_level((enum log_level)i);
    }
}
