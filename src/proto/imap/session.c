/* SPDX-License-Identifier: Apache-2.0
 *
 * The session from top to bottom: a complete command → its row → its state → its handler → news and
 * the tagged answer; and when nothing is there to do, parked without a stack.
 */
#include "proto/imap/session.h"

#include <assert.h>

#include "base/log.h"
#include "base/num.h"

enum state { ANY, NOAUTH, AUTH, SELECTED };
enum { UID = 1, UIDONLY = 2, NUMBERS = 4, STREAMS = 8 };

struct command {
    str name;
    imap_command_fn *run;
    enum state state;
    unsigned flags;
};

static const struct command commands[] = {
#define COMMAND(name, handler, state, flags) {STR_INIT(#name), imap_cmd_##handler, state, flags},
#include "proto/imap/commands.def"
#undef COMMAND
};

static const struct command *command_find(str name, bool uid)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const struct command *c = &commands[i];
        bool exists = uid ? c->flags & (UID | UIDONLY) : !(c->flags & UIDONLY);
        if (exists && str_eq_nocase(c->name, name))
            return c;
    }
    return NULL;
}

static void serve_command(struct imap *x, const struct command *command, struct imap_cursor *c)
{
    if (command->state == NOAUTH && x->account)
        imap_bad_text(x, "Signed in already");
    else if (command->state >= AUTH && !x->account)
        imap_bad_text(x, "Sign in first");
    else if (command->state == SELECTED && !x->selected)
        imap_bad_text(x, "Select a mailbox first");
    else if (!str_empty(x->unread) && !(command->flags & STREAMS))
        imap_bad_text(x, "No message data is expected here");
    else if (!x->uid && (command->flags & NUMBERS) && imap_has(x, IMAP_ENABLED_UIDONLY))
        imap_bad_text(x, IMAP_UIDREQUIRED);
    else if (imap_rights_recheck(x)) {
        /* Expunges may be told at the end of a command that names no sequence numbers
         * (RFC 9051 7.5.1). */
        x->tells_expunges = x->uid || !(command->flags & NUMBERS);
        x->progress_ms = deadline_in_ms(IMAP_PROGRESS_MS);
        command->run(x, c);
    }
}

/* The name of the command: "FETCH", or "UID" and "FETCH". */
static str command_name(struct imap *x, struct imap_cursor *c)
{
    imap_sp(c);
    str name = imap_atom(c);
    x->uid = imap_ok(c) && str_eq_nocase(name, STR("UID"));
    if (x->uid) {
        imap_sp(c);
        name = imap_atom(c);
    }
    if (imap_ok(c) && !imap_at_end(c))
        imap_sp(c);
    return name;
}

static void serve_text(struct imap *x)
{
    struct imap_cursor c = imap_cursor_of(buf_str(&x->command), &x->scratch, imap_utf8_names(x));
    x->answered = false;
    x->tag = imap_tag(&c);
    if (!imap_ok(&c)) {
        x->tag = STR("*");
        imap_bad(x, &c);
        return;
    }
    str name = command_name(x, &c);
    const struct command *command = imap_ok(&c) ? command_find(name, x->uid) : NULL;
    if (!imap_ok(&c))
        imap_bad(x, &c);
    else if (!command)
        imap_bad_text(x, "Command not known");
    else
        serve_command(x, command, &c);
    assert(x->answered || x->idling || x->closing || stream_error(x->stream) != ERR_OK);
}

/* Message data that come although the command was refused (LITERAL+), and what follows them up to
 * the end of the command. A client that waits for "+" has been told not to send. */
void imap_drop_unread(struct imap *x)
{
    struct imap_literal literal;
    while (!str_empty(x->unread) && imap_literal_at_end(x->unread, &literal) && literal.nonsync) {
        str line;
        if (literal.size > IMAP_DROP_MAX)
            imap_refuse_literal(x->stream);
        if (imap_read_bytes(x->stream, literal.size, NULL) != ERR_OK ||
            stream_line(x->stream, IMAP_LINE_MAX, &line, NULL) != ERR_OK)
            return;
        x->unread = line;
    }
    x->unread = STR_NONE;
}

/* A command that could not be read whole: its tag, if it has one, gets BAD. */
static void too_large(struct imap *x)
{
    struct imap_cursor c = imap_cursor_of(buf_str(&x->command), &x->scratch, false);
    x->answered = false;
    x->tag = imap_tag(&c);
    if (!imap_ok(&c))
        x->tag = STR("*");
    imap_bad_text(x, "[TOOBIG] Command too large");
}

static void end(struct imap *x)
{
    struct arena arena = x->arena;
    void (*ended)(void *) = x->ended;
    void *arg = x->ended_arg;
    struct account *account = x->account;
    x->account = NULL; /* stays open until all is said */
    imap_session_forget(x);
    if (stream_flush(x->stream) != ERR_OK)
        LOG_DEBUG("imap", "connection lost account=%llu", (unsigned long long)x->who.account);
    stream_close(x->stream);
    account_close(account);
    buf_free(&x->command);
    buf_free(&x->idle_tag);
    arena_free(&x->scratch);
    arena_free(&arena); /* x lived in it */
    if (ended)
        ended(arg);
}

static void resume(void *arg);

/* Something that may be told while no command runs. */
static bool has_news(const struct imap *x)
{
    if (x->idling && x->selected && mailbox_session_has_news(&x->selected->view))
        return true;
    return imap_notify_has_news(x);
}

static void tell(struct imap *x)
{
    if (x->idling)
        imap_tell_news(x, true);
    if (x->notify && !x->closing)
        imap_notify_tell(x);
}

static uint64_t quiet_until(const struct imap *x)
{
    uint64_t end = x->quiet_since_ms + x->config->idle_timeout_ms;
    if (!x->idling || !x->config->keepalive_ms)
        return end;
    return MIN(end, deadline_in_ms(x->config->keepalive_ms));
}

/* Nothing to do: everything is given back but the session itself. */
static bool park(struct imap *x)
{
    bool listens = x->idling || x->notify;
    if (!stream_is_idle(x->stream) || (listens && has_news(x)))
        return false;
    buf_free(&x->command);
    arena_free(&x->scratch);
    arena_init(&x->scratch, IMAP_COMMAND_ARENA_MAX);
    return stream_park(x->stream, &x->park, listens ? &x->wake : NULL, quiet_until(x),
                       x->house->group, "imap", resume, x) == ERR_OK;
}

static enum err serve_next(struct imap *x)
{
    if (x->idling) {
        str line;
        enum err e = stream_line(x->stream, IMAP_LINE_MAX, &line, NULL);
        if (e == ERR_OK || e == ERR_LINE_TOO_LONG)
            imap_idle_line(x, line);
        return e == ERR_LINE_TOO_LONG ? ERR_OK : e;
    }
    bool streams;
    enum err e = imap_read_command(x->stream, &x->command, true, &streams);
    arena_reset(&x->scratch);
    if (e == ERR_OK) {
        x->unread = streams ? buf_str(&x->command) : STR_NONE;
        serve_text(x);
        imap_drop_unread(x);
    } else if (e == ERR_LINE_TOO_LONG || (e == ERR_LIMIT && stream_error(x->stream) == ERR_OK)) {
        too_large(x);
        e = ERR_OK;
    }
    return e;
}

/* Serves what has arrived. True: parked. False: the session is over. */
static bool serve(struct imap *x)
{
    while (!x->closing && stream_error(x->stream) == ERR_OK) {
        tell(x);
        if (x->closing)
            return false;
        if (!stream_has_input(x->stream)) {
            if (stream_flush(x->stream) != ERR_OK)
                return false;
            if (park(x))
                return true;
            if ((x->idling || x->notify) && has_news(x))
                continue;
        }
        if (serve_next(x) != ERR_OK)
            return false;
        x->quiet_since_ms = loop_now_ms();
    }
    return false;
}

static void resume(void *arg)
{
    struct imap *x = arg;
    bool over = loop_now_ms() >= x->quiet_since_ms + x->config->idle_timeout_ms;
    if (x->park.reason == PARK_CANCELED) {
        stream_write(x->stream, STR("* BYE Service is going down\r\n"));
    } else if (x->park.reason == PARK_DEADLINE && over) {
        stream_write(x->stream, STR("* BYE Autologout; idle for too long\r\n"));
    } else {
        if (x->park.reason == PARK_DEADLINE) /* keeps NAT and dead peers honest */
            stream_write(x->stream, STR("* OK Still here\r\n"));
        if (serve(x))
            return;
    }
    end(x);
}

static void start(void *arg)
{
    struct imap *x = arg;
    enum err e = account_open(x->house->accounts, x->who.account, &x->account);
    if (e != ERR_OK) {
        stream_writef(x->stream, "* BYE %s\r\n", err_text(e));
        end(x);
        return;
    }
    x->quiet_since_ms = loop_now_ms();
    stream_write(x->stream, x->greeting);
    if (!serve(x))
        end(x);
}

enum err imap_start(struct stream *s, const struct session_handoff *h, struct imap_house *house,
                    void (*ended)(void *arg), void *arg)
{
    struct arena arena = ARENA_INIT(IMAP_SESSION_ARENA_MAX);
    struct imap *x = ARENA_NEW(&arena, struct imap);
    if (!x || !arena_dup(&arena, h->greeting, &x->greeting) ||
        !arena_dup(&arena, h->who.address, &x->who.address)) {
        arena_free(&arena);
        stream_close(s);
        return ERR_NOMEM;
    }
    x->stream = s;
    x->house = house;
    x->config = house->config;
    x->who.account = h->who.account;
    x->secure = h->tls || (house->config->auth_plain_loopback && address_is_loopback(&h->peer));
    x->ended = ended;
    x->ended_arg = arg;
    x->arena = arena;
    event_init(&x->wake);
    arena_init(&x->scratch, IMAP_COMMAND_ARENA_MAX);
    buf_init(&x->command, IMAP_COMMAND_MAX);
    buf_init(&x->idle_tag, 1024);
    stream_set_timeouts(s, house->config->idle_timeout_ms, house->config->idle_timeout_ms);
    enum err e = fiber_start(house->group, "imap", start, x);
    if (e != ERR_OK) {
        arena = x->arena;
        arena_free(&arena);
        stream_close(s);
    }
    return e;
}
