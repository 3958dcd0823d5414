/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static void to_stderr(enum log_level level, str line)
{
    char whole[LOG_LINE_MAX + 1];
    memcpy(whole, line.data, line.len);
    whole[line.len] = '\n';
    fwrite(whole, 1, line.len + 1, stderr); /* one call, so that lines do not mix */
}

static log_sink_fn *_Atomic sink_now = to_stderr;
static _Atomic int lowest_now = LOG_LEVEL_INFO;
static const char *_Atomic role_now = "-";
static uint64_t (*_Atomic clock_now)(void);

void log_set_sink(log_sink_fn *sink) { sink_now = sink ? sink : to_stderr; }
void log_set_level(enum log_level lowest) { lowest_now = (int)lowest; }
void log_set_role(const char *role) { role_now = role; }
void log_set_clock(uint64_t (*wall_ms)(void)) { clock_now = wall_ms; }

/* RFC 3339 in UTC. By hand, because gmtime may open the time zone file, which a sandboxed role
 * must not do. Days to date: years begin in March, so the leap day is the last. */
static size_t put_time(char *out, size_t room, uint64_t wall_ms)
{
    uint64_t days = wall_ms / 86400000, ms = wall_ms % 86400000, z = days + 719468;
    uint64_t era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    unsigned day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    unsigned long long year = yoe + era * 400 + (month <= 2);
    unsigned s = (unsigned)(ms / 1000);
    int n = snprintf(out, room, "%04llu-%02u-%02uT%02u:%02u:%02u.%03uZ", year, month, day, s / 3600,
                     s / 60 % 60, s % 60, (unsigned)(ms % 1000));
    assert(n > 0 && (size_t)n < room);
    return (size_t)n;
}

/* ---- one line, piece by piece ---- */

static const char cut_mark[] = " [cut]";
#define ROOM_MAX (LOG_LINE_MAX - sizeof cut_mark) /* also for a quote that must be closed */

struct line {
    char text[LOG_LINE_MAX];
    size_t len;
    bool quoted; /* behind an odd number of quotes that are not escaped */
    bool cut;    /* something had no room: nothing more is added */
};

/* As a whole or not at all. */
static void put(struct line *l, const char *bytes, size_t n)
{
    l->cut |= n > ROOM_MAX - l->len;
    if (l->cut)
        return;
    memcpy(l->text + l->len, bytes, n);
    l->len += n;
}

static void put_quote(struct line *l)
{
    put(l, "\"", 1);
    l->quoted ^= !l->cut;
}

static bool is_plain(unsigned char c) { return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\'; }

static void put_escaped(struct line *l, unsigned char c)
{
    static const char hex[] = "0123456789abcdef", named[] = "\nn\rr\tt\"\"\\\\";
    for (const char *p = named; *p; p += 2) {
        if (c == (unsigned char)*p) {
            put(l, (char[]){'\\', p[1]}, 2);
            return;
        }
    }
    put(l, (char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
}

/* What fits of it. */
static void put_bytes(struct line *l, const char *text, size_t n)
{
    while (n > 0 && !l->cut) {
        size_t run = 0, room = ROOM_MAX - l->len;
        while (run < n && is_plain((unsigned char)text[run]))
            run++;
        if (run > 0) {
            put(l, text, run < room ? run : room);
            l->cut = run > room;
        } else {
            put_escaped(l, (unsigned char)text[run++]);
        }
        text += run;
        n -= run;
    }
}

/* What would be read as something else than this value, or this word of the text, without quotes.
 */
static bool wants_quotes(const char *text, size_t n, bool value)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!is_plain(c) || c == '=' || (value && c == ' '))
            return true;
    }
    return value && n == 0;
}

static void put_text(struct line *l, const char *text, size_t n)
{
    bool value = l->len > 0 && l->text[l->len - 1] == '=';
    bool quotes = !l->quoted && wants_quotes(text, n, value);
    if (quotes)
        put_quote(l);
    put_bytes(l, text, n);
    if (quotes && !l->cut)
        put_quote(l);
}

/* ---- the format ---- */

enum size { SIZE_INT, SIZE_CHAR, SIZE_SHORT, SIZE_LONG, SIZE_LONG_LONG, SIZE_SIZE };

struct conversion {
    bool zero, precise;
    int width, precision;
    enum size size;
    char letter;
};

static int take_number(const char **f, va_list *args)
{
    int n = 0;
    if (**f == '*') {
        (*f)++;
        return va_arg(*args, int);
    }
    for (; **f >= '0' && **f <= '9' && n < 1000; (*f)++)
        n = n * 10 + (**f - '0');
    return n;
}

static enum size take_size(const char **f)
{
    static const struct {
        char text[3];
        enum size size;
    } all[] = {{"hh", SIZE_CHAR}, {"h", SIZE_SHORT},     {"ll", SIZE_LONG_LONG}, {"l", SIZE_LONG},
               {"z", SIZE_SIZE},  {"j", SIZE_LONG_LONG}, {"t", SIZE_SIZE}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t n = strlen(all[i].text);
        if (strncmp(*f, all[i].text, n) == 0) {
            *f += n;
            return all[i].size;
        }
    }
    return SIZE_INT;
}

/* f: behind the '%', afterwards behind the letter. */
static struct conversion take_conversion(const char **f, va_list *args)
{
    struct conversion c = {0};
    for (; **f && strchr("-+ #0", **f); (*f)++)
        c.zero |= **f == '0';
    c.width = take_number(f, args);
    c.precise = **f == '.';
    if (c.precise) {
        (*f)++;
        c.precision = take_number(f, args);
        c.precise = c.precision >= 0;
    }
    c.size = take_size(f);
    c.letter = **f;
    *f += c.letter != 0;
    return c;
}

static long long take_signed(enum size size, va_list *args)
{
    return size == SIZE_LONG        ? va_arg(*args, long)
           : size == SIZE_LONG_LONG ? va_arg(*args, long long)
           : size == SIZE_SIZE      ? va_arg(*args, ptrdiff_t)
                                    : va_arg(*args, int);
}

static unsigned long long take_unsigned(enum size size, va_list *args)
{
    unsigned long long v = size == SIZE_LONG        ? va_arg(*args, unsigned long)
                           : size == SIZE_LONG_LONG ? va_arg(*args, unsigned long long)
                           : size == SIZE_SIZE      ? va_arg(*args, size_t)
                                                    : va_arg(*args, unsigned);
    return size == SIZE_CHAR ? (unsigned char)v : size == SIZE_SHORT ? (unsigned short)v : v;
}

static void put_number(struct line *l, const struct conversion *c, va_list *args)
{
    char out[512]; /* 1.8e308 with its digits */
    int n = 0;
    switch (c->letter) {
    case 'd':
    case 'i':
        n = snprintf(out, sizeof out, c->zero ? "%0*lld" : "%*lld", c->width,
                     take_signed(c->size, args));
        break;
    case 'u':
        n = snprintf(out, sizeof out, c->zero ? "%0*llu" : "%*llu", c->width,
                     take_unsigned(c->size, args));
        break;
    case 'x':
    case 'X':
        n = snprintf(out, sizeof out, c->zero ? "%0*llx" : "%*llx", c->width,
                     take_unsigned(c->size, args));
        break;
    case 'f':
        n = snprintf(out, sizeof out, "%*.*f", c->width, c->precise ? c->precision : 6,
                     va_arg(*args, double));
        break;
    case 'p':
        n = snprintf(out, sizeof out, "%p", va_arg(*args, void *));
        break;
    default: /* of an unknown letter the argument's size is not known either */
        l->cut = true;
        return;
    }
    if (n > 0)
        put(l, out, (size_t)n < sizeof out ? (size_t)n : sizeof out - 1);
}

static void put_conversion(struct line *l, const struct conversion *c, va_list *args)
{
    char one;
    const char *text;
    switch (c->letter) {
    case '%':
        put(l, "%", 1);
        break;
    case 'c':
        one = (char)va_arg(*args, int);
        put_text(l, &one, 1);
        break;
    case 's':
        text = va_arg(*args, const char *);
        text = text ? text : "(null)";
        put_text(l, text, c->precise ? strnlen(text, (size_t)c->precision) : strlen(text));
        break;
    default:
        put_number(l, c, args);
    }
}

static void put_format(struct line *l, const char *fmt, va_list *args)
{
    while (*fmt && !l->cut) {
        size_t n = strcspn(fmt, "%\"");
        put_bytes(l, fmt, n);
        fmt += n;
        if (*fmt == '"') {
            put_quote(l);
            fmt++;
        } else if (*fmt == '%') {
            fmt++;
            struct conversion conversion = take_conversion(&fmt, args);
            put_conversion(l, &conversion, args);
        }
    }
}

void log_emit(enum log_level level, const char *module, const char *fmt, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    assert((unsigned)level <= LOG_LEVEL_ERROR);
    if ((int)level < lowest_now)
        return;
    struct line l;
    uint64_t (*clock)(void) = clock_now;
    l.len = clock ? put_time(l.text, sizeof l.text, clock()) : 0;
    l.quoted = l.cut = false;
    int head = snprintf(l.text + l.len, 128, "%s%s %.32s %.32s: ", l.len ? " " : "", names[level],
                        role_now, module);
    assert(head > 0 && head < 128);
    l.len += (size_t)head;
    va_list args;
    va_start(args, fmt);
    put_format(&l, fmt, &args);
    va_end(args);
    if (l.cut) {
        if (l.quoted)
            l.text[l.len++] = '"';
        memcpy(l.text + l.len, cut_mark, sizeof cut_mark - 1);
        l.len += sizeof cut_mark - 1;
    }
    log_sink_fn *sink = sink_now;
    sink(level, str_of(l.text, l.len));
}
