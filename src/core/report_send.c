/* SPDX-License-Identifier: Apache-2.0 */
#include "core/report_send_private.h"

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "core/dkim_keys.h"
#include "core/dns_name.h"
#include "core/queue.h"
#include "core/report_taken.h"
#include "format/mime_cold.h"
#include "format/report_mail.h"
#include "os/file.h"

#include <stdlib.h>
#include <string.h>

#define SENDING_ARENA 33554432
#define POST_TIMEOUT_MS 60000
#define POST_ANSWER_MAX 65536
#define DAYS_PAGE 200

int64_t report_due_s(str hostname, enum report_kind kind, uint32_t day, str domain)
{
    BUF_AUTO struct buf text = BUF_INIT(1024);
    buf_addf(&text, "%.*s %d %u %.*s", STR_ARG(hostname), kind, day, STR_ARG(domain));
    return ((int64_t)day + 1) * REPORT_DAY_S + REPORT_DELAY_S +
           (int64_t)(str_hash_stable(buf_str(&text)) % REPORT_JITTER_S);
}

/* ---- state ---- */

enum err report_sent_get(struct store *s, const struct report_key *k, struct arena *a,
                         struct report_sent *out)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    struct store_key key = report_key_day(SPACE_REPORT_SENT, k->kind, k->day, k->domain);
    str copy;
    TRY(store_get(s, STORE_PARTITION_REPORTS, key_str(&key), &value));
    if (!arena_dup(a, buf_str(&value), &copy))
        return ERR_NOMEM;
    return report_sent_decode(copy, out);
}

/* The SENT row, and with DONE also the end of the day's rows. */
static enum err put_state(struct report_sending *g) WAITS
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    struct store_op ops[4] = {{0}};
    const struct report_key *k = &g->key;
    uint8_t zero[REPORT_HASH] = {0};
    struct store_key sent = report_key_day(SPACE_REPORT_SENT, k->kind, k->day, k->domain);
    struct store_key day = report_key_day(SPACE_REPORT_DAY, k->kind, k->day, k->domain);
    struct store_key from[2], to[2];
    size_t n = 0;
    g->sent.changed_s = g->now_s;
    report_sent_encode(&g->sent, &value);
    if (!buf_ok(&value))
        return ERR_LIMIT;
    ops[n++] =
        (struct store_op){.kind = STORE_PUT, .key = key_str(&sent), .value = buf_str(&value)};
    if (g->sent.state == REPORT_DONE)
        ops[n++] = (struct store_op){.kind = STORE_DELETE, .key = key_str(&day)};
    for (size_t i = 0; g->sent.state == REPORT_DONE && i < 2; i++) {
        enum space s = i ? SPACE_REPORT_COUNT : SPACE_REPORT_SEEN;
        from[i] = report_key_seen(s, k->kind, k->day, k->domain, zero);
        to[i] = report_key_seen(s, k->kind, k->day, k->domain, report_overflow);
        store_key_next(&to[i]); /* the row of what had no room too */
        ops[n++] = (struct store_op){
            .kind = STORE_DELETE_RANGE, .key = key_str(&from[i]), .value = key_str(&to[i])};
    }
    struct store_commit c = {.partition = STORE_PARTITION_REPORTS,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = ops,
                             .nops = n};
    struct store_result r;
    return store_commit(g->store, &c, &r);
}

static enum err done(struct report_sending *g, str text) WAITS
{
    g->sent.state = REPORT_DONE;
    g->sent.text = text;
    enum err e = put_state(g);
    LOG_INFO("report", "%s day=%u domain=%.*s id=%.*s what=%.*s noted=%s",
             report_kind_name(g->key.kind), g->key.day, STR_ARG(g->key.domain), STR_ARG(g->id),
             STR_ARG(text), e == ERR_OK ? "yes" : "no");
    return e;
}

static enum err later(struct report_sending *g, str text) WAITS
{
    uint64_t pause = (uint64_t)REPORT_RETRY_S << MIN(g->sent.attempts, 8u);
    g->sent.attempts++;
    g->sent.next_s = g->now_s + (int64_t)MIN(pause, (uint64_t)REPORT_RETRY_MAX_S);
    g->sent.text = text;
    if (g->sent.state != REPORT_PREPARED)
        g->sent.state = REPORT_WAITING;
    LOG_INFO("report", "%s day=%u domain=%.*s waits: %.*s", report_kind_name(g->key.kind),
             g->key.day, STR_ARG(g->key.domain), STR_ARG(text));
    return put_state(g);
}

/* ---- who sends ---- */

static bool first_domain(void *arg, const struct domain *d)
{
    struct report_sending *g = arg;
    str copy;
    if (arena_dup(&g->arena, d->name, &copy))
        g->from_domain = copy;
    return false;
}

/* Reports pass DMARC only from a domain that signs: one of ours. */
static enum err find_sender(struct report_sending *g) WAITS
{
    struct directory *d = g->s->deliver->directory;
    struct domain dom;
    str first;
    g->from = g->s->set.from;
    size_t at = str_rfind_char(g->from, '@');
    if (!str_empty(g->from) && at != STR_NPOS)
        return dns_name_of(str_skip(g->from, at + 1), &g->arena, &g->from_domain);
    g->from_domain = STR_NONE;
    for (str tail = g->s->set.hostname; !str_empty(tail) && str_empty(g->from_domain);
         str_cut(tail, '.', &first, &tail))
        if (directory_domain_get(d, tail, &g->arena, &dom) == ERR_OK)
            g->from_domain = tail;
    if (str_empty(g->from_domain))
        TRY(directory_domains(d, STR_NONE, 1, first_domain, g));
    if (str_empty(g->from_domain))
        return ERR_NOT_FOUND;
    g->from = arena_fmt(&g->arena, "postmaster@%.*s", STR_ARG(g->from_domain));
    return str_empty(g->from) ? ERR_NOMEM : ERR_OK;
}

/* The same for the same report, whenever it is made (RFC 9990, "Report-ID"). */
static enum err find_id(struct report_sending *g)
{
    uint8_t hash[REPORT_HASH];
    BUF_AUTO struct buf text = BUF_INIT(1024), hex = BUF_INIT(64);
    buf_addf(&text, "%.*s %d %u %.*s", STR_ARG(g->s->set.hostname), g->key.kind, g->key.day,
             STR_ARG(g->key.domain));
    report_hash(buf_str(&text), hash);
    code_hex(&hex, str_of(hash, sizeof hash));
    return arena_dup(&g->arena, buf_str(&hex), &g->id) ? ERR_OK : ERR_NOMEM;
}

/* ---- the message ---- */

static enum err render(struct report_sending *g, const str *to, size_t nto, struct buf *out)
{
    struct report_mail m = {.tls = g->key.kind == REPORT_TLS,
                            .organization = g->s->set.organization,
                            .from = g->from,
                            .to = to,
                            .nto = nto,
                            .domain = g->key.domain,
                            .submitter = g->from_domain,
                            .id = g->id,
                            .boundary = arena_fmt(&g->arena, "=_%.*s", STR_ARG(g->id)),
                            .begin_s = report_begin_s(g),
                            .end_s = report_end_s(g),
                            .now_s = g->now_s,
                            .packed = buf_str(&g->packed)};
    report_mail_render(out, &m);
    return buf_ok(out) && !str_empty(m.boundary) ? ERR_OK : ERR_LIMIT;
}

/* ERR_DENIED: no key signs for the domain. */
static enum err sign(struct report_sending *g, str message, struct buf *signed_message) WAITS
{
    FD_AUTO int fd = -1;
    TRY(file_memory("report", &fd));
    TRY(file_write_all_at(fd, 0, message.data, message.len));
    struct envelope e = {.fd = fd, .size = message.len};
    TRY(dkim_sign_envelope(g->s->deliver->directory, &e, g->now_s, signed_message));
    if (signed_message->len == 0)
        return ERR_DENIED;
    buf_add(signed_message, message);
    return buf_ok(signed_message) ? ERR_OK : ERR_LIMIT;
}

static enum err queue_message(struct report_sending *g, const str *to, size_t nto,
                              str message) WAITS
{
    BUF_AUTO struct buf cold = BUF_INIT(STORE_VALUE_MAX);
    ARENA_AUTO struct arena scratch = ARENA_INIT(MIME_ARENA_MAX);
    struct mime mime;
    struct queue_recipient rows[DMARC_URIS_MAX];
    struct queue_made made = {.content = message, .rows = rows, .n = nto};
    TRY(mime_parse(&scratch, message, &mime));
    TRY(mime_cold_encode(&scratch, &mime, &cold));
    struct envelope e = {.fd = -1,
                         .helo = g->s->set.hostname,
                         .id = g->id,
                         .mime = buf_str(&cold),
                         .size = message.len,
                         .tls_report = g->key.kind == REPORT_TLS};
    made.envelope = &e;
    for (size_t i = 0; i < nto; i++)
        rows[i] = (struct queue_recipient){
            .state = QUEUE_READY, .address = to[i], .original = to[i], .notify = NOTIFY_NEVER};
    if (!buf_ok(&cold))
        return ERR_LIMIT;
    return queue_add_as(g->store, g->sent.queue_id, &made);
}

/* Those that take a message of this size. */
static size_t choose(const struct report_sending *g, size_t size, str *to)
{
    size_t n = 0;
    for (size_t i = 0; i < g->nto; i++) {
        const struct report_destination *d = &g->to[i];
        if (!str_empty(d->address) && !d->here && (d->size_max == 0 || size <= d->size_max))
            to[n++] = d->address;
    }
    return n;
}

static enum err mail(struct report_sending *g, struct buf *said) WAITS
{
    str to[DMARC_URIS_MAX];
    BUF_AUTO struct buf message = BUF_INIT(REPORT_MESSAGE_BYTES);
    BUF_AUTO struct buf with_signature = BUF_INIT(REPORT_MESSAGE_BYTES + 65536);
    size_t n = choose(g, 0, to), wanted = n;
    if (n == 0)
        return ERR_OK;
    TRY(render(g, to, n, &message));
    n = choose(g, message.len, to);
    if (n < wanted) {
        buf_addf(said, "%zu addresses take no report of %zu bytes; ", wanted - n, message.len);
        buf_reset(&message);
        if (n == 0)
            return ERR_OK;
        TRY(render(g, to, n, &message));
    }
    TRY(sign(g, buf_str(&message), &with_signature));
    if (g->sent.state != REPORT_PREPARED) {
        g->sent.state = REPORT_PREPARED;
        g->sent.queue_id = queue_id_new();
        TRY(put_state(g));
    }
    TRY(queue_message(g, to, n, buf_str(&with_signature)));
    buf_add_c(said, "sent to");
    for (size_t i = 0; i < n; i++)
        buf_addf(said, " %.*s", STR_ARG(to[i]));
    return ERR_OK;
}

/* RFC 8460 5.4. */
static enum err post(struct report_sending *g, const struct report_destination *d,
                     struct buf *said) WAITS
{
    struct relay_fetch f = {.method = STR("POST"),
                            .url = d->url,
                            .content_type = STR("application/tlsrpt+gzip"),
                            .body = buf_str(&g->packed),
                            .answer_max = POST_ANSWER_MAX,
                            .timeout_ms = POST_TIMEOUT_MS};
    struct relay_fetched got = {0};
    const struct relay *r = g->s->relay;
    enum err e = r->fetch ? r->fetch(r->ctx, &f, &g->arena, &got) : ERR_UNSUPPORTED;
    if (e == ERR_OK && got.status / 100 == 2) {
        buf_addf(said, " posted to %.*s", STR_ARG(d->url));
        return ERR_OK;
    }
    buf_addf(said, " %.*s answers %u (%s)", STR_ARG(d->url), got.status, err_text(e));
    return ERR_UNAVAILABLE;
}

static enum err take_here(struct report_sending *g, struct buf *said) WAITS
{
    BUF_AUTO struct buf read = BUF_INIT(5 * REPORT_READ_MAX);
    bool here = false;
    size_t taken;
    for (size_t i = 0; i < g->nto; i++)
        here |= g->to[i].here;
    if (!here)
        return ERR_OK;
    TRY(report_build_taken(g, &read));
    TRY(report_take(g->s->deliver->directory, buf_str(&read), g->now_s, &taken));
    buf_add_c(said, "taken here; ");
    return ERR_OK;
}

/* ---- one report ---- */

static enum err give_out(struct report_sending *g) WAITS
{
    BUF_AUTO struct buf said = BUF_INIT(4096);
    size_t urls = 0, posted = 0;
    str text;
    TRY(take_here(g, &said));
    TRY(report_build(g));
    enum err e = mail(g, &said);
    if (e == ERR_DENIED)
        return later(g,
                     arena_fmt(&g->arena, "no DKIM key signs for %.*s", STR_ARG(g->from_domain)));
    TRY(e);
    for (size_t i = 0; i < g->nto; i++) {
        urls += !str_empty(g->to[i].url);
        posted += !str_empty(g->to[i].url) && post(g, &g->to[i], &said) == ERR_OK;
    }
    if (!arena_dup(&g->arena, str_trim(buf_str(&said)), &text))
        return ERR_NOMEM;
    /* With another way, or none that will ever work, it is over. */
    bool mailed = g->sent.state == REPORT_PREPARED;
    if (urls > 0 && posted == 0 && !mailed)
        return later(g, text);
    return done(g, text);
}

static enum err send_report(struct report_sending *g) WAITS
{
    const struct report_settings *set = &g->s->set;
    bool wanted = g->key.kind == REPORT_TLS ? set->tls : set->dmarc;
    TRY(find_id(g));
    g->sent.id = g->id;
    if (!wanted)
        return done(g, STR("not sent: switched off"));
    if (g->now_s > report_end_s(g) + REPORT_AGE_MAX_S)
        return done(g, STR("not sent: too old"));
    enum err e = find_sender(g);
    if (e == ERR_NOT_FOUND || e == ERR_SYNTAX)
        return later(g, STR("no address to send from"));
    TRY(e);
    e = report_where(g);
    if (e == ERR_UNAVAILABLE)
        return later(g, STR("the DNS does not answer"));
    TRY(e);
    if (g->nto == 0)
        return done(g, STR("not sent: nobody asks for it"));
    e = report_build_read(g);
    if (e == ERR_NOT_FOUND)
        return done(g, STR("not sent: no rows"));
    TRY(e);
    return give_out(g);
}

static enum err send_one(struct report_sender *s, const struct report_key *k, int64_t now_s) WAITS
{
    struct report_sending *g;
    enum err e;
    if (now_s < report_due_s(s->set.hostname, k->kind, k->day, k->domain))
        return ERR_OK;
    /* tidy: allow alloc because it is too large for the stack of a fiber */
    g = calloc(1, sizeof *g);
    if (!g)
        return ERR_NOMEM;
    g->s = s;
    g->store = s->deliver->directory->store;
    g->now_s = now_s;
    g->key = *k;
    arena_init(&g->arena, SENDING_ARENA);
    buf_init(&g->packed, REPORT_PACKED_BYTES);
    e = report_sent_get(g->store, k, &g->arena, &g->sent);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK;
    if (e == ERR_OK && g->sent.state == REPORT_DONE)
        e = put_state(g); /* rows that came too late */
    else if (e == ERR_OK && g->sent.next_s <= now_s)
        e = send_report(g);
    if (e != ERR_OK && e != ERR_CANCELED)
        LOG_WARN("report", "%s day=%u domain=%.*s cause=%s", report_kind_name(k->kind), k->day,
                 STR_ARG(k->domain), err_name(e));
    buf_free(&g->packed);
    arena_free(&g->arena);
    free(g); /* tidy: allow alloc because it was made here */
    return e;
}

/* ---- all ---- */

struct day_page {
    struct store_key keys[DAYS_PAGE];
    str values[DAYS_PAGE];
    struct arena arena;
    size_t n;
    bool failed;
};

static bool on_day(void *arg, const struct store_row *row)
{
    struct day_page *p = arg;
    memcpy(p->keys[p->n].bytes, row->key.data, row->key.len);
    p->keys[p->n].len = (uint8_t)row->key.len;
    p->failed |= !arena_dup(&p->arena, row->value, &p->values[p->n]);
    p->n++;
    return true;
}

static enum err page_of(struct store *s, enum space space, const struct store_key *from,
                        struct day_page *p) WAITS
{
    struct store_key to = key_space_end(space);
    struct store_scan q = {.partition = STORE_PARTITION_REPORTS,
                           .from = key_str(from),
                           .to = key_str(&to),
                           .limit = DAYS_PAGE};
    p->n = 0;
    arena_reset(&p->arena);
    TRY(store_scan(s, &q, on_day, p, NULL));
    return p->failed ? ERR_NOMEM : ERR_OK;
}

static enum err give_page(struct store *s, enum space space, uint32_t before, struct day_page *p,
                          report_day_fn *fn, void *arg) WAITS
{
    enum err first = ERR_OK;
    for (size_t i = 0; i < p->n; i++) {
        ARENA_AUTO struct arena a = ARENA_INIT(65536);
        struct report_key k;
        struct report_sent sent = {0};
        if (!report_key_of(key_str(&p->keys[i]), &k) || k.day >= before)
            continue; /* what is no key `check` names */
        enum err e = space == SPACE_REPORT_SENT ? report_sent_decode(p->values[i], &sent)
                                                : report_sent_get(s, &k, &a, &sent);
        if (e == ERR_NOT_FOUND || e == ERR_OK)
            e = fn(arg, &k, &sent);
        if (e == ERR_CANCELED)
            return e;
        first = first == ERR_OK ? e : first;
    }
    return first;
}

enum err report_days(struct store *s, enum space space, uint32_t before, report_day_fn *fn,
                     void *arg)
{
    /* tidy: allow alloc because it is too large for the stack of a fiber */
    struct day_page *p = calloc(1, sizeof *p);
    struct store_key from = key_space(space);
    enum err first = ERR_OK, e;
    if (!p)
        return ERR_NOMEM;
    arena_init(&p->arena, (size_t)DAYS_PAGE * 16384);
    do {
        e = page_of(s, space, &from, p);
        if (e == ERR_OK && p->n > 0) {
            from = p->keys[p->n - 1];
            store_key_next(&from);
            enum err given = give_page(s, space, before, p, fn, arg);
            first = first == ERR_OK ? given : first;
        }
    } while (e == ERR_OK && first != ERR_CANCELED && p->n == DAYS_PAGE);
    arena_free(&p->arena);
    free(p); /* tidy: allow alloc because it was made here */
    return e == ERR_OK ? first : e;
}

struct due {
    struct report_sender *s;
    int64_t now_s;
};

static enum err send_day(void *arg, const struct report_key *k, const struct report_sent *sent)
{
    struct due *d = arg;
    (void)sent;
    return send_one(d->s, k, d->now_s);
}

enum err report_send_due(struct report_sender *s, int64_t now_s)
{
    struct due d = {s, now_s};
    return report_days(s->deliver->directory->store, SPACE_REPORT_DAY,
                       (uint32_t)(now_s / REPORT_DAY_S), send_day, &d);
}
