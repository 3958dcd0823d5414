/* SPDX-License-Identifier: Apache-2.0
 *
 * APPEND with MULTIAPPEND (RFC 3502) and CATENATE (RFC 4469), REPLACE (RFC 8508). Message data
 * stream into spools; the whole command is one commit. After an error the rest of the command is
 * still read where its bytes come anyway, so that the session stays in step.
 */
#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "core/spool.h"
#include "format/mime_cold.h"
#include "os/offload.h"
#include "proto/imap/reader.h"
#include "proto/imap/url.h"

#define PARSE_INLINE_MAX 262144 /* larger messages are parsed on the offload pool */

struct part {
    struct spool spool;
    str content;
    struct imap_flags flags;
    bool has_date;
    struct date date;
    struct buf mime;
};

struct append {
    struct imap *x;
    struct imap_place place;
    struct part *parts[MESSAGE_ADD_MAX];
    size_t count;
    enum err err; /* the first; then data are read and dropped */
    bool stop;    /* answered, or the stream is broken: no more is read */
    str code;     /* a better response code than that of err; NUL behind it */
    bool nul;     /* the error is a NUL in a literal that is no literal8 (RFC 9051 4.3) */
    bool replace;
    uint32_t replaced_uid;
};

static void fail(struct append *a, enum err e)
{
    if (a->err == ERR_OK)
        a->err = e;
}

static void part_free(struct part *p)
{
    spool_free(&p->spool);
    buf_free(&p->mime);
}

static struct part *part_new(struct append *a, const struct imap_append *s)
{
    uint32_t limit = a->x->config->message_limit;
    if (a->count == MESSAGE_ADD_MAX || (limit && a->count == limit)) {
        if (limit && a->err == ERR_OK)
            a->code = arena_fmt(&a->x->scratch, "MESSAGELIMIT %u", limit);
        fail(a, ERR_LIMIT);
        return NULL;
    }
    struct part *p = ARENA_NEW(&a->x->scratch, struct part);
    if (!p) {
        fail(a, ERR_LIMIT);
        return NULL;
    }
    a->parts[a->count++] = p;
    *p = (struct part){.flags = s->flags, .has_date = s->has_date, .date = s->date};
    spool_init(&p->spool, a->x->config->append_max);
    buf_init(&p->mime, MIME_COLD_MAX);
    return p;
}

/* Streams a literal into p, or nowhere. */
static void take_literal(struct append *a, struct part *p, const struct imap_literal *literal)
{
    struct stream *s = a->x->stream;
    uint64_t left = literal->size;
    if (p && a->err == ERR_OK && left > a->x->config->append_max - p->spool.size)
        fail(a, ERR_TOO_LARGE);
    a->x->unread = STR_NONE;
    if (!literal->nonsync) {
        if (a->err != ERR_OK) { /* refused before a byte of it was sent */
            a->stop = true;
            return;
        }
        stream_write(s, STR("+ OK\r\n"));
        if (stream_flush(s) != ERR_OK) {
            a->stop = true;
            return;
        }
    } else if (a->err != ERR_OK && left > IMAP_DROP_MAX) {
        imap_refuse_literal(s);
    }
    while (left > 0) {
        str in = str_head(stream_buffered(s), MIN(left, (uint64_t)STREAM_IN_MAX));
        if (in.len == 0) {
            if (stream_fill(s, 0) != ERR_OK) {
                a->stop = true;
                return;
            }
            continue;
        }
        if (!literal->binary && a->err == ERR_OK && memchr(in.data, '\0', in.len)) {
            fail(a, ERR_INVALID);
            a->nul = true;
        }
        if (p && a->err == ERR_OK) {
            spool_add(&p->spool, in);
            if (p->spool.err != ERR_OK)
                fail(a, p->spool.err);
        }
        stream_skip(s, in.len);
        left -= in.len;
    }
}

/* One line of the command, and while it ends in a URL's literal that and the next line. */
static enum err read_text(struct append *a, struct buf *text)
{
    struct stream *s = a->x->stream;
    struct imap_literal url;
    for (;;) {
        str line;
        TRY(stream_line(s, IMAP_LINE_MAX, &line, NULL));
        buf_add(text, line);
        if (!imap_literal_at_end(buf_str(text), &url) || !imap_literal_is_url(buf_str(text), &url))
            return buf_ok(text) ? ERR_OK : ERR_LIMIT;
        if (url.size > IMAP_LINE_MAX || (a->err != ERR_OK && !url.nonsync))
            return ERR_LIMIT;
        if (!url.nonsync) {
            stream_write(s, STR("+ OK\r\n"));
            TRY(stream_flush(s));
        }
        buf_add(text, STR("\r\n"));
        TRY(imap_read_bytes(s, url.size, text));
    }
}

/* The command's text goes on behind the literal: a new cursor over what comes next. */
static void next_text(struct append *a, struct imap_cursor *c)
{
    BUF_AUTO struct buf text = BUF_INIT(4 * IMAP_LINE_MAX);
    str copy;
    enum err e = read_text(a, &text);
    if (e == ERR_OK && !arena_dup(&a->x->scratch, buf_str(&text), &copy))
        e = ERR_LIMIT;
    if (e != ERR_OK) { /* what comes behind a literal that is too long is dropped */
        if (!arena_dup(&a->x->scratch, buf_str(&text), &a->x->unread))
            a->x->unread = STR_NONE;
        fail(a, e);
        a->stop = true;
        return;
    }
    struct imap_literal more;
    a->x->unread = imap_literal_at_end(copy, &more) ? copy : STR_NONE;
    *c = imap_cursor_of(copy, &a->x->scratch, imap_utf8_names(a->x));
}

/* ---- CATENATE URLs ---- */

/* A URL with a host names this one, and nobody else's mail (RFC 4469 3). */
static bool is_ours(const struct imap *x, const struct imap_url *url)
{
    return (str_empty(url->host) || str_eq_nocase(url->host, x->config->hostname)) &&
           (str_empty(url->user) || str_eq_nocase(url->user, x->who.address));
}

static void take_url(struct append *a, struct part *p, str text)
{
    struct imap_url url;
    struct imap_place place = {0};
    if (!p || a->err != ERR_OK)
        return;
    enum err e = imap_url_parse(&a->x->scratch, text, &url);
    if (e == ERR_OK && !is_ours(a->x, &url))
        e = ERR_NOT_FOUND;
    if (e == ERR_OK)
        e = imap_place_find(a->x, url.mailbox, IMAP_RIGHT('r'), &place);
    if (e == ERR_OK)
        e = imap_url_spool(a->x, place.account, place.mailbox, &url, &p->spool);
    imap_place_close(&place);
    if (e != ERR_OK) {
        BUF_AUTO struct buf code = BUF_INIT(8192);
        buf_add(&code, STR("BADURL "));
        imap_render_astring(&code, text);
        buf_add_char(&code, '\0');
        fail(a, e);
        a->code = buf_ok(&code) ? arena_fmt(&a->x->scratch, "%s", code.data) : STR("BADURL");
    }
}

/* ---- structure ---- */

struct parse_job {
    str content;
    struct buf *out;
    enum err err;
};

static void parse(void *arg)
{
    struct parse_job *job = arg;
    struct mime m;
    ARENA_AUTO struct arena scratch = ARENA_INIT(MIME_ARENA_MAX);
    job->err = mime_parse(&scratch, job->content, &m);
    if (job->err == ERR_OK)
        job->err = mime_cold_encode(&scratch, &m, job->out);
    if (job->err == ERR_OK && !buf_ok(job->out))
        job->err = ERR_NOMEM;
}

static enum err part_finish(struct part *p)
{
    struct parse_job job = {.out = &p->mime};
    if (p->spool.size == 0)
        return ERR_INVALID;
    TRY(spool_finish(&p->spool, &p->content));
    job.content = p->content;
    if (job.content.len > PARSE_INLINE_MAX)
        TRY(offload_run(parse, &job));
    else
        parse(&job);
    return job.err;
}

/* ---- the commit ---- */

static enum err keywords_of(struct append *a, const struct part *p, uint64_t *bits)
{
    *bits = 0;
    if (p->flags.count == 0 || !(a->place.rights & IMAP_RIGHT('w')))
        return ERR_OK;
    return mailbox_keywords(a->place.account, a->place.mailbox, p->flags.keywords, p->flags.count,
                            bits);
}

/* RFC 4314 4: flags that the rights do not allow are left out. */
static uint32_t flags_of(const struct append *a, const struct part *p)
{
    uint32_t flags = imap_flags_to(p->flags.system), rights = a->place.rights;
    if (!(rights & IMAP_RIGHT('s')))
        flags &= ~(uint32_t)FLAG_SEEN;
    if (!(rights & IMAP_RIGHT('t')))
        flags &= ~(uint32_t)FLAG_DELETED;
    if (!(rights & IMAP_RIGHT('w')))
        flags &= FLAG_SEEN | FLAG_DELETED;
    return flags;
}

static enum err commit(struct append *a, struct message_added *added, struct message_add_result *r)
{
    struct message_new *news = ARENA_ARRAY(&a->x->scratch, struct message_new, a->count);
    if (!news)
        return ERR_LIMIT;
    for (size_t i = 0; i < a->count; i++) {
        struct part *p = a->parts[i];
        news[i] = MESSAGE_NEW_INIT;
        news[i].fd = p->spool.fd;
        news[i].data = p->content;
        news[i].len = p->spool.size;
        news[i].mime = buf_str(&p->mime);
        news[i].flags = flags_of(a, p);
        if (p->has_date)
            news[i].internal_date = p->date.seconds;
        TRY(keywords_of(a, p, &news[i].keywords));
    }
    return message_add(a->place.account, a->place.mailbox, news, a->count, NULL, added, r);
}

static void render_uids(const struct message_added *added, size_t n, uint32_t uidvalidity,
                        struct buf *out)
{
    SET_AUTO struct set uids = {0};
    for (size_t i = 0; i < n; i++)
        if (set_add(&uids, added[i].uid) != ERR_OK)
            return;
    buf_addf(out, "APPENDUID %u ", uidvalidity);
    set_render(&uids, out);
}

static void finish(struct append *a)
{
    struct imap *x = a->x;
    struct message_added *added = ARENA_ARRAY(&x->scratch, struct message_added, a->count + 1);
    struct message_add_result r;
    BUF_AUTO struct buf code = BUF_INIT(4096);
    enum err e = added ? ERR_OK : ERR_LIMIT;
    for (size_t i = 0; e == ERR_OK && i < a->count; i++)
        e = part_finish(a->parts[i]);
    if (e == ERR_OK)
        e = commit(a, added, &r);
    if (e != ERR_OK) {
        imap_no(x, e);
        return;
    }
    render_uids(added, a->count, r.uidvalidity, &code);
    if (!a->replace) {
        imap_done(x, buf_str(&code), "APPEND completed");
        return;
    }
    SET_AUTO struct set old = {0};
    SET_AUTO struct set expunged = {0};
    if (set_add(&old, a->replaced_uid) == ERR_OK)
        e = message_expunge(x->selected->account, x->selected->mailbox, &old, &expunged, NULL);
    buf_addf(imap_out(x), "* OK [%.*s] Replacement\r\n", STR_ARG(buf_str(&code)));
    x->tells_expunges = true;
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "REPLACE completed");
    else
        imap_no(x, e);
}

static void answer_failure(struct append *a)
{
    if (stream_error(a->x->stream) != ERR_OK)
        return;
    if (a->nul)
        imap_no_code(a->x, "CANNOT", "Only a literal8, ~{n}, may hold NUL");
    else if (!str_empty(a->code))
        imap_no_code(a->x, a->code.data, err_text(a->err));
    else
        imap_no(a->x, a->err);
}

/* Walks through the command's text and data. */
static void run(struct append *a, struct imap_cursor *c)
{
    struct imap_append state = {0};
    struct part *p = NULL;
    while (!a->stop) {
        enum imap_append_step step = imap_append_next(c, &state);
        if (step == IMAP_APPEND_MESSAGE) {
            p = part_new(a, &state);
        } else if (step == IMAP_APPEND_LITERAL || step == IMAP_APPEND_TEXT) {
            take_literal(a, p, &state.literal);
            if (!a->stop)
                next_text(a, c);
        } else if (step == IMAP_APPEND_URL) {
            take_url(a, p, state.url);
        } else if (step == IMAP_APPEND_END) {
            if (a->err == ERR_OK)
                finish(a);
            break;
        } else if (step == IMAP_APPEND_BAD) {
            imap_refuse(a->x, c);
            return;
        }
    }
    if (!a->x->answered)
        answer_failure(a);
}

static void serve(struct imap *x, struct imap_cursor *c, bool replace, uint32_t replaced_uid)
{
    str name = imap_mailbox(c);
    imap_sp(c);
    if (!imap_ok(c)) {
        imap_refuse(x, c);
        return;
    }
    struct append *a = ARENA_NEW(&x->scratch, struct append);
    if (!a) {
        imap_no(x, ERR_LIMIT);
        return;
    }
    a->x = x;
    a->replace = replace;
    a->replaced_uid = replaced_uid;
    enum err e = imap_place_find(x, name, IMAP_RIGHT('i'), &a->place);
    if (e == ERR_NOT_FOUND)
        a->code = STR("TRYCREATE");
    if (e != ERR_OK)
        fail(a, e);
    run(a, c);
    for (size_t i = 0; i < a->count; i++)
        part_free(a->parts[i]);
    imap_place_close(&a->place);
}

void imap_cmd_append(struct imap *x, struct imap_cursor *c) { serve(x, c, false, 0); }

/* RFC 8508: append there and expunge here, together. */
void imap_cmd_replace(struct imap *x, struct imap_cursor *c)
{
    uint32_t number = imap_nz_number(c);
    imap_sp(c);
    if (!imap_ok(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!imap_may(x, IMAP_RIGHT('t') | IMAP_RIGHT('e')))
        return;
    uint32_t uid = x->uid ? number : mailbox_session_uid(&x->selected->view, number);
    if (!uid || !view_find(x->selected->view.view, uid)) {
        imap_no(x, ERR_NOT_FOUND);
        return;
    }
    serve(x, c, true, uid);
}
