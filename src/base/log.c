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

/* Appends text with everything but printable ASCII escaped; false when it did not all fit. */
static bool put_escaped(char *line, size_t *len, size_t max, const char *text, size_t text_len)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < text_len; i++) {
        unsigned char c = (unsigned char)text[i];
        char esc[4] = {(char)c};
        size_t n = 1;
        if (c == '\\' || c == '\n' || c == '\r' || c == '\t') {
            esc[0] = '\\';
            esc[1] = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : '\\';
            n = 2;
        } else if (c < 0x20 || c > 0x7e) {
            memcpy(esc, (char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
            n = 4;
        }
        if (*len + n > max)
            return false;
        memcpy(line + *len, esc, n);
        *len += n;
    }
    return true;
}

void log_emit(enum log_level level, const char *module, const char *fmt, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    static const char mark[] = " [cut]";
    assert((unsigned)level <= LOG_LEVEL_ERROR);
    if ((int)level < lowest_now)
        return;
    char line[LOG_LINE_MAX], text[LOG_LINE_MAX];
    uint64_t (*clock)(void) = clock_now;
    size_t len = clock ? put_time(line, sizeof line, clock()) : 0;
    int head = snprintf(line + len, 128, "%s%s %.32s %.32s: ", len ? " " : "", names[level],
                        role_now, module);
    assert(head > 0 && head < 128);
    len += (size_t)head;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0)
        n = 0;
    bool whole = (size_t)n < sizeof text;
    const size_t max = sizeof line - (sizeof mark - 1);
    if (!put_escaped(line, &len, max, text, whole ? (size_t)n : sizeof text - 1) || !whole) {
        memcpy(line + len, mark, sizeof mark - 1);
        len += sizeof mark - 1;
    }
    log_sink_fn *sink = sink_now;
    sink(level, str_of(line, len));
}
