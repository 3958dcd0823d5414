/* SPDX-License-Identifier: Apache-2.0 */
#include "format/cte.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"

static const struct {
    str name;
    enum cte cte;
} names[] = {
    {STR_INIT("7bit"), CTE_7BIT},           {STR_INIT("8bit"), CTE_8BIT},
    {STR_INIT("binary"), CTE_BINARY},       {STR_INIT("base64"), CTE_BASE64},
    {STR_INIT("quoted-printable"), CTE_QP},
};

enum cte cte_find(str token)
{
    token = str_trim(token);
    size_t end = 0;
    while (end < token.len && !memchr(" \t\r\n;(", token.data[end], 6))
        end++;
    token.len = end;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_nocase(token, names[i].name))
            return names[i].cte;
    return token.len ? CTE_UNKNOWN : CTE_7BIT;
}

str cte_name(enum cte c) { return c < ARRAY_LEN(names) ? names[c].name : STR_NONE; }

/* Collects output; without out it only counts. */
struct sink {
    struct buf *out;
    uint64_t total;
    size_t len;
    char bytes[1024];
};

static void sink_flush(struct sink *s)
{
    s->total += s->len;
    if (s->out)
        buf_add(s->out, str_of(s->bytes, s->len));
    s->len = 0;
}

static inline void put(struct sink *s, char c)
{
    if (s->len == sizeof(s->bytes))
        sink_flush(s);
    s->bytes[s->len++] = c;
}

static void put_str(struct sink *s, str bytes)
{
    sink_flush(s);
    s->total += bytes.len;
    if (s->out)
        buf_add(s->out, bytes);
}

/* Value of each byte as a base64 digit; 64 is padding, 65 is junk. */
static uint8_t sextets[256];

__attribute__((constructor)) static void sextets_fill(void)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    memset(sextets, 65, sizeof(sextets));
    for (uint8_t i = 0; i < 64; i++)
        sextets[(uint8_t)digits[i]] = i;
    sextets['='] = 64;
}

static void base64_flush(struct cte_decoder *d, struct sink *s)
{
    if (d->count >= 2)
        put(s, (char)(d->bits >> (d->count == 2 ? 4 : 10)));
    if (d->count == 3)
        put(s, (char)(d->bits >> 2));
    d->count = 0;
    d->bits = 0;
}

static void base64_add(struct cte_decoder *d, str chunk, struct sink *s)
{
    const uint8_t *p = (const uint8_t *)chunk.data, *end = p + chunk.len;
    while (p < end) {
        while (d->count == 0 && end - p >= 4 && s->len + 3 <= sizeof(s->bytes)) {
            uint8_t a = sextets[p[0]], b = sextets[p[1]], c = sextets[p[2]], e = sextets[p[3]];
            if ((a | b | c | e) > 63)
                break;
            uint32_t bits = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | e;
            s->bytes[s->len++] = (char)(bits >> 16);
            s->bytes[s->len++] = (char)(bits >> 8);
            s->bytes[s->len++] = (char)bits;
            p += 4;
        }
        if (p == end)
            return;
        uint8_t v = sextets[*p++];
        if (v == 64)
            base64_flush(d, s);
        else if (v < 64) {
            d->bits = d->bits << 6 | v;
            if (++d->count == 4) {
                put(s, (char)(d->bits >> 16));
                put(s, (char)(d->bits >> 8));
                put(s, (char)d->bits);
                d->count = 0;
                d->bits = 0;
            }
        }
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void qp_put_spaces(struct cte_decoder *d, struct sink *s)
{
    for (uint32_t i = 0; i < d->spaces; i++)
        put(s, d->space_map[i / 64] >> i % 64 & 1 ? '\t' : ' ');
    d->spaces = 0;
}

/* What was held back turned out to be plain text. In the order of the input: "=" stands before the
 * white space, CR behind it. */
static void qp_release(struct cte_decoder *d, struct sink *s)
{
    bool cr = d->count && d->held[d->count - 1] == '\r';
    for (uint8_t i = 0; i < d->count - cr; i++)
        put(s, (char)d->held[i]);
    qp_put_spaces(d, s);
    if (cr)
        put(s, '\r');
    d->count = 0;
}

static void qp_line_end(struct cte_decoder *d, struct sink *s)
{
    bool soft = d->count && d->held[0] == '=';
    bool cr = d->count && d->held[d->count - 1] == '\r';
    if (!soft && cr)
        put(s, '\r');
    if (!soft)
        put(s, '\n');
    d->count = 0;
    d->spaces = 0;
}

static void qp_hold(struct cte_decoder *d, char c)
{
    assert(d->count < sizeof(d->held));
    d->held[d->count++] = (uint8_t)c;
}

static void qp_space(struct cte_decoder *d, char c, struct sink *s)
{
    if (d->spaces == CTE_SPACES_MAX)
        qp_release(d, s);
    uint64_t *word = &d->space_map[d->spaces / 64], bit = 1ull << d->spaces % 64;
    *word = c == '\t' ? *word | bit : *word & ~bit;
    d->spaces++;
}

/* One byte that is not the plain case. */
static void qp_byte(struct cte_decoder *d, char c, struct sink *s)
{
    bool cr_held = d->count && d->held[d->count - 1] == '\r';
    bool open = d->count && d->held[0] == '=' && !cr_held && d->spaces == 0;
    if (c == '\n' && (cr_held || d->count < 2)) {
        qp_line_end(d, s);
        return;
    }
    if (open && hex_value(c) >= 0) {
        if (d->count == 2) {
            put(s, (char)(hex_value((char)d->held[1]) << 4 | hex_value(c)));
            d->count = 0;
        } else
            qp_hold(d, c);
        return;
    }
    bool soft = d->count == 1 && d->held[0] == '=';
    if ((c == ' ' || c == '\t') && (d->count == 0 || soft)) {
        qp_space(d, c, s);
        return;
    }
    if (c == '\r' && (d->count == 0 || soft)) {
        qp_hold(d, c);
        return;
    }
    qp_release(d, s);
    if (c == '=' || c == '\r')
        qp_hold(d, c);
    else if (c == ' ' || c == '\t')
        qp_space(d, c, s);
    else
        put(s, c);
}

static void qp_add(struct cte_decoder *d, str chunk, struct sink *s)
{
    size_t i = 0;
    while (i < chunk.len) {
        size_t from = i;
        if (d->count == 0 && d->spaces == 0)
            while (i < chunk.len && chunk.data[i] != '=' && (uint8_t)chunk.data[i] > ' ')
                i++;
        if (i - from > 16)
            put_str(s, str_sub(chunk, from, i - from));
        else
            for (; from < i; from++)
                put(s, chunk.data[from]);
        if (i < chunk.len)
            qp_byte(d, chunk.data[i++], s);
    }
}

void cte_decoder_init(struct cte_decoder *d, enum cte cte)
{
    *d = (struct cte_decoder){.cte = cte};
}

static void decode(struct cte_decoder *d, str chunk, struct sink *s)
{
    if (d->cte == CTE_BASE64)
        base64_add(d, chunk, s);
    else if (d->cte == CTE_QP)
        qp_add(d, chunk, s);
    else
        put_str(s, chunk);
}

static void decode_end(struct cte_decoder *d, struct sink *s)
{
    if (d->cte == CTE_BASE64)
        base64_flush(d, s);
    /* White space and "=" at the end of the body stand before a line end too. */
    if (d->cte == CTE_QP && d->count == 2 && d->held[0] == '=' && d->held[1] != '\r')
        qp_release(d, s);
    if (d->cte == CTE_QP && d->count == 1 && d->held[0] == '\r')
        put(s, '\r');
    cte_decoder_init(d, d->cte);
}

void cte_decode(struct cte_decoder *d, str chunk, struct buf *out)
{
    struct sink s;
    s.out = out;
    s.total = s.len = 0;
    decode(d, chunk, &s);
    sink_flush(&s);
}

void cte_decode_end(struct cte_decoder *d, struct buf *out)
{
    struct sink s;
    s.out = out;
    s.total = s.len = 0;
    decode_end(d, &s);
    sink_flush(&s);
}

uint64_t cte_decoded_size(enum cte cte, str body)
{
    struct cte_decoder d;
    struct sink s;
    s.out = NULL;
    s.total = s.len = 0;
    cte_decoder_init(&d, cte);
    decode(&d, body, &s);
    decode_end(&d, &s);
    sink_flush(&s);
    return s.total;
}

enum { LINE_MAX_CHARS = 76 };

void cte_encoder_init(struct cte_encoder *e, enum cte cte)
{
    *e = (struct cte_encoder){.cte = cte};
}

static void base64_put_group(struct cte_encoder *e, struct sink *s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = (uint32_t)e->held[0] << 16 | (uint32_t)e->held[1] << 8 | e->held[2];
    if (e->column == LINE_MAX_CHARS) {
        put(s, '\r');
        put(s, '\n');
        e->column = 0;
    }
    for (uint8_t i = 0; i < 4; i++)
        put(s, i <= e->count ? digits[bits >> (18 - 6 * i) & 63] : '=');
    e->column += 4;
    memset(e->held, 0, sizeof(e->held));
    e->count = 0;
}

static void base64_put(struct cte_encoder *e, uint8_t c, struct sink *s)
{
    e->held[e->count++] = c;
    if (e->count == 3)
        base64_put_group(e, s);
}

/* Room for n more characters and a soft line break. */
static void qp_room(struct cte_encoder *e, uint8_t n, struct sink *s)
{
    if (e->column + n >= LINE_MAX_CHARS) {
        put(s, '=');
        put(s, '\r');
        put(s, '\n');
        e->column = 0;
    }
    e->column += n;
}

static void qp_put_escaped(struct cte_encoder *e, uint8_t c, struct sink *s)
{
    static const char hex[] = "0123456789ABCDEF";
    qp_room(e, 3, s);
    put(s, '=');
    put(s, hex[c >> 4]);
    put(s, hex[c & 15]);
}

/* A dash that begins a line is written out: a soft line break may not make a delimiter of the text
 * behind it (RFC 2046 5.1.1). */
static void qp_put_plain(struct cte_encoder *e, uint8_t c, struct sink *s)
{
    if (c == '-' && (e->column == 0 || e->column + 1 >= LINE_MAX_CHARS)) {
        qp_put_escaped(e, c, s);
        return;
    }
    qp_room(e, 1, s);
    put(s, (char)c);
}

/* Writes what is held (one white space, then one CR), knowing whether a line end follows. */
static void qp_put_held(struct cte_encoder *e, bool line_end, struct sink *s)
{
    for (uint8_t i = 0; i < e->count; i++) {
        if (e->held[i] != '\r' && !line_end)
            qp_put_plain(e, e->held[i], s);
        else if (e->held[i] != '\r' || !line_end)
            qp_put_escaped(e, e->held[i], s);
    }
    e->count = 0;
}

static void qp_put(struct cte_encoder *e, uint8_t c, struct sink *s)
{
    bool cr_held = e->count && e->held[e->count - 1] == '\r';
    if (c == '\n' && cr_held) {
        qp_put_held(e, true, s);
        put(s, '\r');
        put(s, '\n');
        e->column = 0;
        return;
    }
    if (c == '\r' && !cr_held) {
        e->held[e->count++] = c;
        return;
    }
    qp_put_held(e, false, s);
    if (c == ' ' || c == '\t' || c == '\r')
        e->held[e->count++] = c;
    else if (c < ' ' || c > '~' || c == '=')
        qp_put_escaped(e, c, s);
    else
        qp_put_plain(e, c, s);
}

void cte_encode(struct cte_encoder *e, str chunk, struct buf *out)
{
    struct sink s;
    s.out = out;
    s.total = s.len = 0;
    if (e->cte != CTE_BASE64 && e->cte != CTE_QP) {
        buf_add(out, chunk);
        return;
    }
    for (size_t i = 0; i < chunk.len; i++) {
        if (e->cte == CTE_BASE64)
            base64_put(e, (uint8_t)chunk.data[i], &s);
        else
            qp_put(e, (uint8_t)chunk.data[i], &s);
    }
    sink_flush(&s);
}

void cte_encode_end(struct cte_encoder *e, struct buf *out)
{
    struct sink s;
    s.out = out;
    s.total = s.len = 0;
    if (e->cte == CTE_BASE64 && e->count)
        base64_put_group(e, &s);
    if (e->cte == CTE_BASE64 && e->column) {
        put(&s, '\r');
        put(&s, '\n');
    }
    if (e->cte == CTE_QP) {
        bool space = e->count && e->held[0] != '\r';
        bool cr = e->count && e->held[e->count - 1] == '\r';
        if (space && !cr)
            qp_put_escaped(e, e->held[0], &s);
        else
            qp_put_held(e, false, &s);
    }
    sink_flush(&s);
    cte_encoder_init(e, e->cte);
}
