/* SPDX-License-Identifier: Apache-2.0 */
#include "format/smtp_data.h"

#include <assert.h>
#include <string.h>

/* A held byte (CR, dot) is not given out before it is known what it means; so a split of the input
 * changes nothing. BOL must be 0: the message begins at a line start. */
enum data_state {
    DATA_BOL,    /* behind CRLF, or at the start */
    DATA_TEXT,   /* inside a line */
    DATA_CR,     /* a CR is held */
    DATA_DOT,    /* behind CRLF, a dot is held */
    DATA_DOT_CR, /* behind CRLF, a dot and a CR are held */
    DATA_LF_BOL, /* behind a bare LF (allow_bare_lf) */
    DATA_LF_DOT, /* behind a bare LF, a dot is held */
};

static const str crlf = STR_INIT("\r\n");

/* Content up to the next byte that needs a decision. Whole lines with clean line ends stay in one
 * span as long as the next line does not begin with a dot. */
static enum smtp_data_step data_text(struct smtp_data *d, str *in, str *span)
{
    const char *begin = in->data, *p = begin, *end = begin + in->len;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *stop = lf ? lf : end;
        const char *cr = memchr(p, '\r', (size_t)(stop - p));
        if (!lf || !cr || cr + 1 != lf || (lf + 1 < end && lf[1] == '.') || lf + 1 == end) {
            const char *cut = cr && cr + 1 != lf ? cr : stop;
            if (cr && cr + 1 == lf) {
                cut = lf + 1;
                d->state = DATA_BOL;
            } else {
                d->state = DATA_TEXT;
            }
            assert(cut > begin); /* the caller saw that the first byte is no line end */
            *span = str_of(begin, (size_t)(cut - begin));
            *in = str_skip(*in, span->len);
            return SMTP_DATA_SPAN;
        }
        p = lf + 1;
    }
    assert(!"a line that ends at the end of the input was given out");
    return SMTP_DATA_MORE;
}

/* At a CR or LF inside a line, nothing held. */
static enum smtp_data_step data_line_end(struct smtp_data *d, str *in, str *span)
{
    bool lf = in->data[0] == '\n';
    *in = str_skip(*in, 1);
    if (!lf) {
        d->state = DATA_CR;
        return SMTP_DATA_MORE;
    }
    if (!d->allow_bare_lf)
        return SMTP_DATA_BARE_LF;
    d->state = DATA_LF_BOL;
    *span = crlf;
    return SMTP_DATA_SPAN;
}

/* With something held and at least one byte: true when *step is the answer. */
static bool data_held(struct smtp_data *d, str *in, str *span, enum smtp_data_step *step)
{
    char c = in->data[0];
    switch ((enum data_state)d->state) {
    case DATA_CR:
        if (c != '\n') {
            *step = SMTP_DATA_BARE_CR;
            return true;
        }
        *in = str_skip(*in, 1);
        d->state = DATA_BOL;
        *span = crlf;
        *step = SMTP_DATA_SPAN;
        return true;
    case DATA_DOT_CR:
        *step = SMTP_DATA_BARE_CR;
        if (c == '\n') {
            *in = str_skip(*in, 1);
            d->state = DATA_BOL;
            *step = SMTP_DATA_END;
        }
        return true;
    case DATA_BOL:
    case DATA_LF_BOL:
        if (c == '.') {
            *in = str_skip(*in, 1);
            d->state = d->state == DATA_BOL ? DATA_DOT : DATA_LF_DOT;
        } else {
            d->state = DATA_TEXT;
        }
        return false;
    case DATA_DOT:
        d->state = DATA_TEXT; /* a transparency dot: dropped */
        if (c == '\r') {
            *in = str_skip(*in, 1);
            d->state = DATA_DOT_CR;
        }
        return false;
    case DATA_LF_DOT: /* ends nothing, whatever follows: only CRLF.CRLF does */
        d->state = DATA_TEXT;
        return false;
    case DATA_TEXT:
        break;
    }
    return false;
}

enum smtp_data_step smtp_data_next(struct smtp_data *d, str *in, str *span)
{
    *span = STR_NONE;
    while (in->len) {
        enum smtp_data_step step;
        if (d->state != DATA_TEXT) {
            if (data_held(d, in, span, &step))
                return step;
            continue;
        }
        if (in->data[0] != '\r' && in->data[0] != '\n') {
            step = data_text(d, in, span);
            assert(step == SMTP_DATA_SPAN);
            return step;
        }
        step = data_line_end(d, in, span);
        if (step != SMTP_DATA_MORE)
            return step;
    }
    return SMTP_DATA_MORE;
}

enum smtp_data_step smtp_chunk_check(struct smtp_chunk *c, str in, bool last)
{
    if (!in.len)
        return last && c->after_cr && !c->binary ? SMTP_DATA_BARE_CR : SMTP_DATA_MORE;
    const char *p = in.data, *end = p + in.len;
    if (c->binary) {
        c->mid_line = !(end[-1] == '\n' && (in.len > 1 ? end[-2] == '\r' : c->after_cr));
        c->after_cr = end[-1] == '\r';
        return SMTP_DATA_MORE;
    }
    if (c->after_cr) {
        if (*p++ != '\n')
            return SMTP_DATA_BARE_CR;
        c->after_cr = c->mid_line = false;
    }
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        const char *stop = lf ? lf : end;
        const char *cr = memchr(p, '\r', (size_t)(stop - p));
        if (cr && cr + 1 != stop)
            return SMTP_DATA_BARE_CR;
        if (lf && !cr)
            return SMTP_DATA_BARE_LF;
        c->mid_line = !lf;
        c->after_cr = cr && !lf;
        p = lf ? lf + 1 : end;
    }
    return last && c->after_cr ? SMTP_DATA_BARE_CR : SMTP_DATA_MORE;
}

enum stuff_state { STUFF_BOL, STUFF_TEXT, STUFF_CR };

/* One line of `in` from p; returns where the next begins. */
static const char *stuff_line(struct smtp_stuff *s, struct buf *out, const char *p, const char *end)
{
    if (s->state == STUFF_CR) { /* the held CR ends a line, its LF here or missing */
        buf_add(out, crlf);
        s->state = STUFF_BOL;
        if (*p == '\n')
            return p + 1;
    }
    if (s->state == STUFF_BOL && *p == '.')
        buf_add_char(out, '.');
    const char *lf = memchr(p, '\n', (size_t)(end - p));
    const char *stop = lf ? lf : end;
    const char *cr = memchr(p, '\r', (size_t)(stop - p));
    if (cr && cr + 1 == lf) {
        buf_add(out, str_of(p, (size_t)(lf + 1 - p)));
        s->state = STUFF_BOL;
        return lf + 1;
    }
    if (cr)
        stop = cr;
    buf_add(out, str_of(p, (size_t)(stop - p)));
    s->state = stop > p ? STUFF_TEXT : s->state;
    if (cr) {
        s->state = STUFF_CR;
        return cr + 1;
    }
    if (lf) {
        buf_add(out, crlf);
        s->state = STUFF_BOL;
        return lf + 1;
    }
    return end;
}

void smtp_stuff_add(struct smtp_stuff *s, struct buf *out, str in)
{
    if (!in.len)
        return;
    const char *p = in.data, *end = p + in.len;
    while (p < end)
        p = stuff_line(s, out, p, end);
}

void smtp_stuff_end(struct smtp_stuff *s, struct buf *out)
{
    if (s->state != STUFF_BOL)
        buf_add(out, crlf);
    buf_add(out, STR(".\r\n"));
    s->state = STUFF_BOL;
}
