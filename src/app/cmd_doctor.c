/* SPDX-License-Identifier: Apache-2.0
 *
 * posthouse doctor: what this host and the world say about the server. What concerns the host is
 * looked at here, also when no server runs; the rest is asked of the running one (doctor network).
 */
#include "app/client.h"
#include "app/command.h"
#include "app/house.h"
#include "app/house_control.h"
#include "app/server.h"
#include "core/acme_crypto.h"
#include "os/file.h"
#include "os/ports.h"

#include <fcntl.h>
#include <string.h>

#define FREE_PERCENT_MIN 5
#define EXPIRY_WARN_S (14 * 86400)
#define CLOCK_MIN_S 1767225600 /* 2026: before this program was */
#define BANNER_MS 15000

static void line(struct command_run *r, const char *check, bool good, str found, const char *fix)
{
    report_item(&r->report);
    report_str(&r->report, "result", good ? STR("ok") : STR("FAIL"));
    report_str(&r->report, "check", str_c(check));
    report_str(&r->report, "found", found);
    if (!good)
        report_str(&r->report, "fix", str_c(fix));
    report_item_end(&r->report);
    r->exit_code |= !good;
}

/* ---- this host ---- */

static void check_folder(struct command_run *r, str dir)
{
    unsigned mode = 0;
    uint64_t free = 0, total = 0;
    enum err e = ports_file_mode(dir, &mode);
    line(r, "data folder", e == ERR_OK, dir, "Begin with: posthouse init DOMAIN.");
    if (e != ERR_OK)
        return;
    line(r, "folder mode", (mode & 077) == 0, arena_fmt(&r->arena, "%04o", mode),
         "Others can look into the mail: chmod 700 the data folder.");
    FD_AUTO int fd = -1;
    if (file_open(AT_FDCWD, dir, FILE_READ | FILE_DIR, &fd) != ERR_OK ||
        file_free_bytes(fd, &free, &total) != ERR_OK)
        return;
    uint64_t percent = total ? free / (total / 100 + 1) : 0;
    line(r, "disk", percent >= FREE_PERCENT_MIN,
         arena_fmt(&r->arena, "%llu%% free", (unsigned long long)percent),
         "Make room: at store.reserve_percent mail is answered with 452.");
}

static void check_port(struct command_run *r, const char *name, const struct config_listen *l,
                       bool running)
{
    BUF_AUTO struct buf who = BUF_INIT(512);
    if (l->address.family == 0)
        return;
    bool same;
    enum err e = ports_listener(l->address.port, &who, &same);
    /* After an upgrade the server still runs the file that was replaced. */
    same |= str_starts(buf_str(&who), STR("posthouse "));
    bool ours = e == ERR_OK && running && (who.len == 0 || same);
    str found = arena_fmt(&r->arena, "%s %u: %.*s", name, l->address.port,
                          e == ERR_NOT_FOUND ? 4 : (int)who.len,
                          e == ERR_NOT_FOUND ? "free"
                          : who.len          ? who.data
                                             : "");
    line(r, "port", ours || (e == ERR_NOT_FOUND && !running), found,
         running ? "The server does not have this port: stop the other program, then posthouse ctl "
                   "reload."
                 : "Another program has this port: stop it, or change the setting listen.");
}

static void check_ports(struct command_run *r, const struct config *c, bool running)
{
    for (enum listener_kind k = 0; k < LISTENER_KINDS; k++) {
        const struct config_listens *l = config_listens_of(c, k);
        for (size_t i = 0; i < l->count; i++)
            check_port(r, listener_rows[k].name, &l->items[i], running);
    }
}

static void check_certificates(struct command_run *r, const struct config *c)
{
    struct tls_certificate *certs =
        ARENA_ARRAY(&r->arena, struct tls_certificate, CERTIFICATES_MAX);
    BUF_AUTO struct buf error = BUF_INIT(65536);
    struct certificate_facts f;
    size_t n = 0;
    bool covered = false;
    int64_t now = clock_wall_s();
    if (!certs || server_certificates(c, &r->arena, certs, CERTIFICATES_MAX, &n, &error)) {
        line(r, "certificates", false, arena_fmt(&r->arena, "%.*s", STR_ARG(buf_str(&error))),
             "Name readable PEM files in tls.certificates, or run this as root.");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (certificate_read(certs[i].chain_pem, &r->arena, &f) != ERR_OK)
            continue;
        covered |= certificate_covers(&f, c->server_hostname);
        int64_t left = (f.not_after_s - now) / 86400;
        line(r, "certificate", f.not_before_s <= now && now + EXPIRY_WARN_S < f.not_after_s,
             arena_fmt(&r->arena, "%.*s: %lld days", STR_ARG(f.nnames ? f.names[0] : f.issuer),
                       (long long)left),
             "It is not valid, or not for long: renew it (posthouse certificate renew).");
    }
    line(r, "certificate name", covered, c->server_hostname,
         "No certificate covers server.hostname: set acme.enabled, or name one in "
         "tls.certificates.");
}

/* ---- the running server ---- */

static bool ask_network(struct command_run *r, int fd)
{
    BUF_AUTO struct buf argv = BUF_INIT(4096);
    struct ipc_command_results res;
    const str *probe = command_option(r, "probe");
    buf_add(&argv, str_of("doctor\0network", sizeof("doctor\0network")));
    if (probe)
        buf_addf(&argv, "--probe=%.*s%c", STR_ARG(*probe), 0);
    struct ipc_command_args args = {.argv = buf_str(&argv), .json = r->json};
    BUF_AUTO struct buf out = BUF_INIT(COMMAND_OUT_MAX);
    if (ipc_call_once(fd, IPC_command, &args, &r->arena, &res) != ERR_OK)
        return false;
    FD_AUTO int output = res.output;
    FD_AUTO int errors = res.errors;
    if (output < 0 || text_unpack(output, COMMAND_OUT_MAX, &out) != ERR_OK)
        return false;
    if (r->json)
        report_json(&r->report, "network", str_trim(buf_str(&out)));
    else
        buf_add(r->report.out, buf_str(&out));
    r->exit_code |= res.exit_code != 0;
    return true;
}

enum err doctor_host(struct command_run *r)
{
    struct config c;
    str dir;
    TRY(client_data_dir(r, &c, &dir));
    struct server *s = ARENA_NEW(&r->arena, struct server);
    if (!s)
        return ERR_NOMEM;
    s->data_dir = dir;
    FD_AUTO int fd = -1;
    bool running =
        sock_connect_unix(server_path(s, STR(CONTROL_SOCKET_NAME), &r->arena), &fd) == ERR_OK;
    report_list(&r->report, "checks");
    check_folder(r, dir);
    line(r, "clock", clock_wall_s() > CLOCK_MIN_S, STR_NONE,
         "The clock is far behind: run chrony or systemd-timesyncd.");
    check_ports(r, &c, running);
    check_certificates(r, &c);
    if (!running)
        line(r, "server", false, STR("no server runs, so the network was not looked at"),
             "posthouse serve");
    report_list_end(&r->report);
    if (running && !ask_network(r, fd))
        report_say(&r->report, "The server did not answer; the network was not looked at.");
    config_free(&c);
    return ERR_OK;
}

/* ---- in the server: the world ---- */

struct world {
    struct command_run *run;
    const struct relay *relay;
    const struct config *config;
};

static bool query(struct world *w, str name, enum dns_type type, struct dns_answer *out) WAITS
{
    const struct dns *d = &w->relay->dns;
    return d->query(d->ctx, name, type, &w->run->arena, out) == ERR_OK &&
           out->status == DNS_FOUND && out->count > 0;
}

static bool is_listed(struct world *w, str zone, const uint8_t *ip, size_t len) WAITS
{
    static const str suffixes[] = {STR_INIT(".in-addr.arpa"), STR_INIT(".ip6.arpa")};
    BUF_AUTO struct buf name = BUF_INIT(512);
    struct dns_answer a;
    dns_reverse_name(ip, len, &name);
    str head = str_head(buf_str(&name), name.len - suffixes[len == 16].len);
    str full = arena_fmt(&w->run->arena, "%.*s.%.*s", STR_ARG(head), STR_ARG(zone));
    /* 127.255.255.x says that the list does not answer this resolver, not that it lists. */
    return query(w, full, DNS_A, &a) && a.records[0].bytes.len == 4 &&
           (uint8_t)a.records[0].bytes.data[0] == 127 && (uint8_t)a.records[0].bytes.data[1] != 255;
}

static void check_lists(struct world *w, str ip, str text) WAITS
{
    static const str usual[] = {STR_INIT("zen.spamhaus.org"), STR_INIT("bl.spamcop.net")};
    const str *zones = usual;
    size_t n = 2;
    if (w->config->blocklist_zones.count > 0) {
        zones = w->config->blocklist_zones.items;
        n = w->config->blocklist_zones.count;
    }
    for (size_t i = 0; i < n; i++) {
        struct dnsbl_site site;
        str zone = dnsbl_site_parse(zones[i], &site) ? site.zone : zones[i];
        bool listed = is_listed(w, zone, (const uint8_t *)ip.data, ip.len);
        line(w->run, "block list", !listed,
             arena_fmt(&w->run->arena, "%.*s at %.*s", STR_ARG(text), STR_ARG(zone)),
             "Others refuse mail from this address: find the cause, then ask the list to take it "
             "off.");
    }
}

static void check_address(struct world *w, str ip) WAITS
{
    BUF_AUTO struct buf name = BUF_INIT(512);
    BUF_AUTO struct buf text = BUF_INIT(128);
    struct address a = {.family = ip.len == 4 ? 4 : 6};
    struct dns_answer ptr;
    memcpy(a.ip, ip.data, ip.len);
    address_render(&a, &text);
    dns_reverse_name(a.ip, ip.len, &name);
    bool found = query(w, buf_str(&name), DNS_PTR, &ptr), agrees = false;
    for (size_t i = 0; found && i < ptr.count; i++)
        agrees |= str_eq(ptr.records[i].name, w->config->server_hostname);
    line(w->run, "reverse name", agrees,
         arena_fmt(&w->run->arena, "%.*s is %.*s", STR_ARG(buf_str(&text)),
                   STR_ARG(found ? ptr.records[0].name : STR("nobody"))),
         "Ask whoever gives you the address to set its PTR record to server.hostname.");
    check_lists(w, ip, buf_str(&text));
}

static void check_name(struct world *w) WAITS
{
    static const enum dns_type types[] = {DNS_A, DNS_AAAA};
    struct dns_answer a;
    bool any = false;
    for (size_t t = 0; t < 2; t++) {
        bool found = query(w, w->config->server_hostname, types[t], &a);
        any |= found;
        for (size_t i = 0; found && i < a.count; i++) {
            if (a.records[i].bytes.len == (t == 0 ? 4u : 16u))
                check_address(w, a.records[i].bytes);
        }
    }
    line(w->run, "host name", any, w->config->server_hostname,
         "The name has no address: add an A record, or correct server.hostname.");
}

static void check_outgoing(struct world *w, str probe) WAITS
{
    struct relay_exchange x = {
        .kind = RELAY_EXCHANGE_BANNER, .host = probe, .port = 25, .timeout_ms = BANNER_MS};
    str banner = STR_NONE;
    enum err e = w->relay->exchange(w->relay->ctx, &x, &w->run->arena, &banner);
    line(w->run, "outgoing port 25", e == ERR_OK && str_starts(banner, STR("220")),
         e == ERR_OK ? banner : str_c(err_text(e)),
         "Port 25 to the world is closed: ask the provider to open it, or use a smart host.");
}

/* Asked the way a stranger from outside would ask (rule wire-7). */
static void check_relaying(struct world *w) WAITS
{
    const struct house *table = &w->run->admin->house->threads[0].table;
    struct recipient_check c = {.address = STR("probe@relay-test.invalid")};
    struct recipient_verdict v;
    bool closed = table->recipient_check(table->ctx, &c, &v) == ERR_RELAY;
    for (size_t i = 0; i < w->config->smtp_relays.count; i++)
        closed &= w->config->smtp_relays.items[i].bits >= 8;
    line(w->run, "open relay", closed, closed ? STR("strangers cannot relay") : STR("OPEN"),
         "smtp.relays names far too large a network: name single hosts.");
}

enum err doctor_network(struct command_run *r)
{
    const str *probe = command_option(r, "probe");
    struct world w = {r, &r->admin->house->threads[0].relay.table, r->admin->config};
    report_list(&r->report, "checks");
    check_name(&w);
    check_outgoing(&w, probe ? *probe : STR("gmail-smtp-in.l.google.com"));
    check_relaying(&w);
    report_list_end(&r->report);
    return ERR_OK;
}
