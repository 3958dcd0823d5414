/* SPDX-License-Identifier: Apache-2.0
 *
 * The house's half: TRANSACTION and UPDATE (RFC 1939 5, 6). The session numbers the messages that
 * were there when it began; other sessions go on using the mailbox, so a message may be gone when
 * it is asked for. Between commands the session has no stack.
 */
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "core/message.h"
#include "core/view.h"
#include "format/smtp_data.h"
#include "proto/pop3/common.h"
#include "proto/pop3/pop3.h"

#define SESSION_ARENA_MAX ((size_t)64 << 20) /* numbers over two million messages */
#define PIECE_MAX 32768                      /* bytes of a message between two flushes */

struct entry {
    uint64_t message, size;
    uint32_t uid;
    bool deleted;
};

struct pop3 {
    struct stream *stream;
    struct accounts *accounts;
    struct account *account;
    const struct pop3_config *config;
    struct fiber_group *group;
    struct arena arena; /* the session's; holds this struct too */
    struct auth_grant who;
    struct entry *entries;
    size_t count;
    uint32_t inbox, uidvalidity;
    uint32_t errors;
    bool closing;
    struct park park;
    str greeting;
    void (*ended)(void *arg);
    void *ended_arg;
};

typedef void command_fn(struct pop3 *x, str args) WAITS;
#define COMMAND(verb, handler) static command_fn do_##handler;
#include "proto/pop3/commands.def"

static const struct command {
    str verb;
    command_fn *run;
} commands[] = {
#define COMMAND(verb, handler) {STR_INIT(#verb), do_##handler},
#include "proto/pop3/commands.def"
};

static void say_bad(struct pop3 *x, const char *text)
{
    stream_writef(x->stream, "-ERR %s\r\n", text);
    if (++x->errors >= x->config->errors_max)
        x->closing = true;
}

static void say_err(struct pop3 *x, enum err e)
{
    stream_writef(x->stream, "-ERR %s%s\r\n",
                  err_class(e) == ERR_CLASS_TEMP ? "[SYS/TEMP] " : "[SYS/PERM] ", err_text(e));
}

/* The message that a number names, or NULL and an answer. */
static struct entry *entry_named(struct pop3 *x, str number)
{
    uint64_t n;
    if (!num_parse_u64(number, UINT32_MAX, &n) || n == 0) {
        say_bad(x, "A message number is needed");
        return NULL;
    }
    if (n > x->count || x->entries[n - 1].deleted) {
        say_bad(x, "No such message");
        return NULL;
    }
    return &x->entries[n - 1];
}

static void totals(const struct pop3 *x, size_t *count, uint64_t *bytes)
{
    *count = 0;
    *bytes = 0;
    for (size_t i = 0; i < x->count; i++)
        if (!x->entries[i].deleted) {
            ++*count;
            *bytes += x->entries[i].size;
        }
}

static void do_capa(struct pop3 *x, str args)
{
    pop3_capabilities(stream_out(x->stream), false, STR_NONE);
}

static void do_stat(struct pop3 *x, str args)
{
    size_t count;
    uint64_t bytes;
    totals(x, &count, &bytes);
    stream_writef(x->stream, "+OK %zu %llu\r\n", count, (unsigned long long)bytes);
}

static void line_size(struct pop3 *x, size_t i, struct buf *out)
{
    buf_add_u64(out, i + 1);
    buf_add_char(out, ' ');
    buf_add_u64(out, x->entries[i].size);
}

/* Stable for ever: UIDs are never used twice under one UIDVALIDITY (rule store-3). */
static void line_unique(struct pop3 *x, size_t i, struct buf *out)
{
    buf_add_u64(out, i + 1);
    buf_add_char(out, ' ');
    buf_add_u64(out, x->uidvalidity);
    buf_add_char(out, '.');
    buf_add_u64(out, x->entries[i].uid);
}

typedef void line_fn(struct pop3 *x, size_t i, struct buf *out);

static void listing(struct pop3 *x, str args, line_fn *line)
{
    if (!str_empty(args)) {
        struct entry *e = entry_named(x, args);
        if (!e)
            return;
        buf_add(stream_out(x->stream), STR("+OK "));
        line(x, (size_t)(e - x->entries), stream_out(x->stream));
        buf_add(stream_out(x->stream), STR("\r\n"));
        return;
    }
    stream_write(x->stream, STR("+OK\r\n"));
    for (size_t i = 0; i < x->count; i++) {
        if (x->entries[i].deleted)
            continue;
        line(x, i, stream_out(x->stream));
        buf_add(stream_out(x->stream), STR("\r\n"));
        stream_out_check(x->stream);
    }
    stream_write(x->stream, STR(".\r\n"));
}

static void do_list(struct pop3 *x, str args) { listing(x, args, line_size); }

static void do_uidl(struct pop3 *x, str args) { listing(x, args, line_unique); }

/* What of a message goes out: all of it, or the header and so many lines (TOP). */
struct sending {
    struct buf *out;
    struct smtp_stuff stuff;
    bool top, in_body, at_line_start, done;
    uint64_t lines_left;
};

/* How much of piece TOP still sends; looks for the empty line, then counts lines. */
static size_t top_length(struct sending *s, str piece)
{
    size_t i = 0;
    while (i < piece.len) {
        if (s->in_body && s->lines_left == 0) {
            s->done = true;
            return i;
        }
        const char *lf = memchr(piece.data + i, '\n', piece.len - i);
        size_t end = lf ? (size_t)(lf - piece.data) + 1 : piece.len;
        bool only_cr = end - i == 1 || (end - i == 2 && piece.data[i] == '\r');
        bool empty = lf && s->at_line_start && only_cr;
        if (lf && s->in_body)
            s->lines_left--;
        else if (empty)
            s->in_body = true;
        /* A CR at the end of a piece may begin the empty line's CRLF. */
        s->at_line_start =
            lf != NULL || (s->at_line_start && end - i == 1 && piece.data[i] == '\r');
        i = end;
    }
    return piece.len;
}

static bool send_piece(void *arg, str piece)
{
    struct sending *s = arg;
    if (s->top)
        piece = str_head(piece, top_length(s, piece));
    smtp_stuff_add(&s->stuff, s->out, piece);
    return !s->done;
}

static void send_message(struct pop3 *x, const struct entry *e, struct sending *s)
{
    BUF_AUTO struct buf raw = BUF_INIT(STORE_VALUE_MAX);
    struct message_cold cold;
    enum err err = message_cold(x->account, e->message, &raw, &cold);
    if (err == ERR_NOT_FOUND) {
        say_bad(x, "The message was deleted meanwhile");
        return;
    }
    if (err != ERR_OK) {
        say_err(x, err);
        return;
    }
    stream_writef(x->stream, "+OK %llu octets\r\n", (unsigned long long)e->size);
    s->out = stream_out(x->stream);
    s->at_line_start = true;
    for (uint64_t at = 0; at < e->size && !s->done; at += PIECE_MAX) {
        err = message_pieces(x->account, &cold, at, MIN(e->size - at, PIECE_MAX), send_piece, s);
        if (err != ERR_OK) { /* after +OK only closing tells the client that it has not got all */
            LOG_ERROR("pop3", "message unreadable account=%llu uid=%u cause=%s",
                      (unsigned long long)x->who.account, e->uid, err_name(err));
            stream_fail(x->stream, err);
            return;
        }
        stream_out_check(x->stream);
    }
    smtp_stuff_end(&s->stuff, stream_out(x->stream));
}

static void do_retr(struct pop3 *x, str args)
{
    struct entry *e = entry_named(x, args);
    if (e)
        send_message(x, e, &(struct sending){.top = false});
}

static void do_top(struct pop3 *x, str args)
{
    str number, lines;
    uint64_t n;
    str_cut(args, ' ', &number, &lines);
    if (!num_parse_u64(str_trim(lines), UINT32_MAX, &n)) {
        say_bad(x, "TOP needs a message number and a number of lines");
        return;
    }
    struct entry *e = entry_named(x, number);
    if (e)
        send_message(x, e, &(struct sending){.top = true, .lines_left = n});
}

static void do_dele(struct pop3 *x, str args)
{
    struct entry *e = entry_named(x, args);
    if (!e)
        return;
    e->deleted = true;
    stream_write(x->stream, STR("+OK Marked, QUIT deletes it\r\n"));
}

static void do_rset(struct pop3 *x, str args)
{
    for (size_t i = 0; i < x->count; i++)
        x->entries[i].deleted = false;
    stream_writef(x->stream, "+OK %zu messages\r\n", x->count);
}

static void do_noop(struct pop3 *x, str args) { stream_write(x->stream, STR("+OK\r\n")); }

static void do_lang(struct pop3 *x, str args) { pop3_lang(stream_out(x->stream), args); }

/* UPDATE: only QUIT deletes, in one commit (RFC 1939 6). */
static enum err update(struct pop3 *x)
{
    SET_AUTO struct set uids = {0};
    SET_AUTO struct set expunged = {0};
    for (size_t i = 0; i < x->count; i++)
        if (x->entries[i].deleted)
            TRY(set_add(&uids, x->entries[i].uid));
    if (uids.count == 0)
        return ERR_OK;
    return message_expunge(x->account, x->inbox, &uids, &expunged, NULL);
}

static void do_quit(struct pop3 *x, str args)
{
    enum err e = update(x);
    if (e == ERR_OK)
        stream_write(x->stream, STR("+OK Goodbye\r\n"));
    else
        stream_write(x->stream, STR("-ERR [SYS/TEMP] Some deleted messages were not removed\r\n"));
    x->closing = true;
}

/* ---- the session ---- */

static enum err entries_load(struct pop3 *x)
{
    struct mailbox_view *view;
    const struct mailbox *inbox = mailbox_find(x->account, STR("INBOX"));
    if (!inbox) { /* nothing was ever delivered */
        TRY(account_create_mailboxes(x->account));
        inbox = mailbox_find(x->account, STR("INBOX"));
        if (!inbox)
            return ERR_UNAVAILABLE;
    }
    x->inbox = inbox->id;
    x->uidvalidity = inbox->uidvalidity;
    TRY(view_open(x->account, x->inbox, &view));
    size_t count = view_count(view), n;
    x->entries = count ? ARENA_ARRAY(&x->arena, struct entry, count) : NULL;
    const struct message_row *rows;
    for (size_t i = 0; (x->entries || !count) && (n = view_run(view, i, &rows)) > 0; i += n)
        for (size_t k = 0; k < n; k++)
            x->entries[x->count++] = (struct entry){
                .message = rows[k].message, .size = rows[k].size, .uid = rows[k].uid};
    view_close(view);
    return x->count == count ? ERR_OK : ERR_LIMIT;
}

static void end(struct pop3 *x)
{
    struct arena arena = x->arena;
    void (*ended)(void *) = x->ended;
    void *arg = x->ended_arg;
    if (stream_flush(x->stream) != ERR_OK)
        LOG_DEBUG("pop3", "connection lost account=%llu", (unsigned long long)x->who.account);
    stream_close(x->stream);
    account_close(x->account);
    arena_free(&arena); /* x lived in it */
    if (ended)
        ended(arg);
}

static void serve_line(struct pop3 *x, str line)
{
    str verb, args;
    pop3_split(line, &verb, &args);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq_nocase(commands[i].verb, verb)) {
            commands[i].run(x, args);
            return;
        }
    say_bad(x, "Command not known");
}

static void resume(void *arg);

/* Serves what has arrived. True: the session waits for more, without a stack. */
static bool serve(struct pop3 *x)
{
    while (!x->closing && stream_error(x->stream) == ERR_OK) {
        str line;
        if (!stream_has_input(x->stream)) {
            if (stream_flush(x->stream) != ERR_OK)
                return false;
            if (stream_is_idle(x->stream) &&
                stream_park(x->stream, &x->park, NULL, deadline_in_ms(x->config->idle_timeout_ms),
                            x->group, "pop3", resume, x) == ERR_OK)
                return true;
        }
        enum err e = stream_line(x->stream, POP3_LINE_MAX, &line, NULL);
        if (e == ERR_LINE_TOO_LONG)
            say_bad(x, "Line too long");
        else if (e == ERR_OK)
            serve_line(x, line);
        else
            return false;
    }
    return false;
}

static void resume(void *arg)
{
    struct pop3 *x = arg;
    if (x->park.reason == PARK_DEADLINE) /* RFC 1939 3: no UPDATE, nothing is deleted */
        stream_write(x->stream, STR("-ERR [SYS/TEMP] Timed out\r\n"));
    else if (x->park.reason == PARK_CANCELED)
        stream_write(x->stream, STR("-ERR [SYS/TEMP] Service is going down\r\n"));
    else if (serve(x))
        return;
    end(x);
}

static void start(void *arg)
{
    struct pop3 *x = arg;
    enum err e = account_open(x->accounts, x->who.account, &x->account);
    if (e == ERR_OK)
        e = entries_load(x);
    if (e != ERR_OK) {
        say_err(x, e);
        end(x);
        return;
    }
    stream_write(x->stream, x->greeting);
    if (!serve(x))
        end(x);
}

enum err pop3_start(struct stream *s, const struct session_handoff *h, struct accounts *accounts,
                    const struct pop3_config *config, struct fiber_group *group,
                    void (*ended)(void *arg), void *arg)
{
    struct arena arena = ARENA_INIT(SESSION_ARENA_MAX);
    struct pop3 *x = ARENA_NEW(&arena, struct pop3);
    if (!x || !arena_dup(&arena, h->greeting, &x->greeting) ||
        !arena_dup(&arena, h->who.address, &x->who.address)) {
        arena_free(&arena);
        stream_close(s);
        return ERR_NOMEM;
    }
    x->stream = s;
    x->accounts = accounts;
    x->config = config;
    x->group = group;
    x->who.account = h->who.account;
    x->ended = ended;
    x->ended_arg = arg;
    x->arena = arena;
    stream_set_timeouts(s, config->idle_timeout_ms, config->idle_timeout_ms);
    enum err e = fiber_start(group, "pop3", start, x);
    if (e != ERR_OK) {
        arena = x->arena;
        arena_free(&arena);
        stream_close(s);
    }
    return e;
}
