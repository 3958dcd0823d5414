/* SPDX-License-Identifier: Apache-2.0
 *
 * A field is held back as long as its name may still become ours; then until its end, when its
 * authserv-id is read. Everything else goes straight through.
 */
#include "core/authres_filter.h"

#include "format/authres.h"

#define SCRATCH_MAX 1048576

/* START must be 0. A line ends with CRLF, or with LF in binary content. */
enum state {
    START,     /* at the first byte of a line that may begin a field */
    NAME,      /* held bytes are the beginning of a name that may be the one */
    HELD,      /* within an Authentication-Results field */
    HELD_LINE, /* at the first byte of a line behind one: a continuation? */
    FORGED,    /* within one that is too long to hold, and ours: it vanishes */
    FORGED_LINE,
    OTHER, /* within another field */
    EMPTY, /* behind a CR at the beginning of a line */
    BODY,
};

static const str field_name = STR_INIT("Authentication-Results");

static void give(struct authres_filter *f)
{
    if (f->held.len)
        f->sink(f->context, buf_str(&f->held));
    buf_reset(&f->held);
}

/* too_long: only its beginning is held; a name that cannot be read there is hiding. */
static bool is_ours(const struct authres_filter *f, bool too_long)
{
    struct authres r;
    ARENA_AUTO struct arena scratch = ARENA_INIT(SCRATCH_MAX);
    str name, value, held = buf_str(&f->held);
    r.id = STR_NONE;
    str_cut(held, ':', &name, &value);
    enum err e = authres_parse(&scratch, value, &r);
    return str_eq_nocase(r.id, f->id) || (too_long && e != ERR_OK && str_empty(r.id));
}

/* The held field is complete. */
static void decide(struct authres_filter *f)
{
    if (is_ours(f, f->held.len >= AUTHRES_FILTER_HELD_MAX)) {
        f->removed++;
        buf_reset(&f->held);
    } else {
        give(f);
    }
}

static void hold(struct authres_filter *f, char c)
{
    if (f->held.max == 0)
        buf_init(&f->held, AUTHRES_FILTER_HELD_MAX);
    buf_add_char(&f->held, c);
}

/* The held bytes with c: still on the way to "Authentication-Results" WSP* ":"? */
static enum state name_step(const struct authres_filter *f, char c)
{
    size_t n = f->held.len;
    if (n < field_name.len)
        return (c | 32) == (field_name.data[n] | 32) && c != '\r' && c != '\n' ? NAME : OTHER;
    if (c == ':')
        return HELD;
    return c == ' ' || c == '\t' ? NAME : OTHER;
}

/* Another field, or the empty line, begins with c. */
static void begin_line(struct authres_filter *f, char c)
{
    f->state = c == '\n' ? BODY : c == '\r' ? EMPTY : (uint8_t)name_step(f, c);
    if (f->state != NAME)
        f->sink(f->context, str_of(&c, 1));
    else
        hold(f, c);
}

static void in_name(struct authres_filter *f, char c)
{
    enum state next = f->held.len >= AUTHRES_FILTER_HELD_MAX - 1 ? OTHER : name_step(f, c);
    hold(f, c);
    f->state = (uint8_t)next;
    if (next != OTHER)
        return;
    give(f);
    if (c == '\n')
        f->state = START;
}

static void in_held(struct authres_filter *f, char c)
{
    hold(f, c);
    f->state = c == '\n' ? HELD_LINE : HELD;
    if (f->held.len < AUTHRES_FILTER_HELD_MAX)
        return;
    uint32_t removed = f->removed;
    decide(f);
    f->state =
        f->removed > removed ? (c == '\n' ? FORGED_LINE : FORGED) : (c == '\n' ? START : OTHER);
}

static void step(struct authres_filter *f, char c)
{
    switch ((enum state)f->state) {
    case START:
        begin_line(f, c);
        break;
    case NAME:
        in_name(f, c);
        break;
    case HELD_LINE:
        if (c == ' ' || c == '\t') {
            in_held(f, c);
            break;
        }
        decide(f);
        begin_line(f, c);
        break;
    case HELD:
        in_held(f, c);
        break;
    case FORGED_LINE:
        if (c != ' ' && c != '\t') {
            begin_line(f, c);
            break;
        }
        f->state = FORGED;
        break;
    case FORGED:
        f->state = c == '\n' ? FORGED_LINE : FORGED;
        break;
    case EMPTY:
        f->sink(f->context, str_of(&c, 1));
        f->state = c == '\n' ? BODY : OTHER;
        break;
    case OTHER:
    case BODY:
        break; /* taken in runs */
    }
}

void authres_filter_add(struct authres_filter *f, str piece)
{
    while (piece.len) {
        if (f->state == BODY) {
            f->sink(f->context, piece);
            return;
        }
        if (f->state == OTHER) {
            size_t lf = str_find_char(piece, '\n');
            str run = lf == STR_NPOS ? piece : str_head(piece, lf + 1);
            f->sink(f->context, run);
            f->state = lf == STR_NPOS ? OTHER : START;
            piece = str_skip(piece, run.len);
            continue;
        }
        step(f, piece.data[0]);
        piece = str_skip(piece, 1);
    }
}

void authres_filter_end(struct authres_filter *f)
{
    if (f->state == HELD || f->state == HELD_LINE)
        decide(f);
    else
        give(f);
}

void authres_filter_free(struct authres_filter *f) { buf_free(&f->held); }
