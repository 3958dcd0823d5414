/* SPDX-License-Identifier: Apache-2.0
 *
 * log: one line an event, with what strangers say in it, and yet no line and no pair can be forged:
 *
 *     [time] level role module: text with key=value pairs
 *
 * A %s that stands behind a '=' is a value: bare when it is printable ASCII without space, quote,
 * backslash and '=', else (also when it is empty) in quotes. Any other %s is part of the text; it
 * gets quotes too when it holds a quote, backslash, '=' or anything but printable ASCII. Between
 * quotes, and nowhere else, there are escapes: \" \\ \n \r \t \xNN. So outside of quotes each
 * '=' is of a pair that the program wrote, and a pair ends at the next space. The callers write no
 * quotes around a value themselves, and nothing but a space behind it (tidy: log).
 *
 * A line never carries a secret. The sink is set once by app (default: standard error). Nothing
 * here waits.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* printf's conversions but %n, %e, %g, %a and %o. */
void log_emit(enum log_level level, const char *module, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define LOG_DEBUG(module, ...) log_emit(LOG_LEVEL_DEBUG, module, __VA_ARGS__)
#define LOG_INFO(module, ...) log_emit(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define LOG_WARN(module, ...) log_emit(LOG_LEVEL_WARN, module, __VA_ARGS__)
#define LOG_ERROR(module, ...) log_emit(LOG_LEVEL_ERROR, module, __VA_ARGS__)

/* line: without the newline, at most LOG_LINE_MAX bytes. What is longer is cut between two bytes of
 * a value, its quote closed, and " [cut]" stands behind it. */
typedef void log_sink_fn(enum log_level level, str line);
#define LOG_LINE_MAX 2048
void log_set_sink(log_sink_fn *sink);
void log_set_level(enum log_level lowest);
void log_set_role(const char *role); /* borrowed for ever; shown in each line */
/* The wall clock for the time stamps, set by os (base makes no system calls itself). */
void log_set_clock(uint64_t (*wall_ms)(void));

#endif
