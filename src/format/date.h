/* SPDX-License-Identifier: Apache-2.0
 *
 * date: dates of mail and IMAP as seconds since 1970-01-01 00:00 UTC in 64 bits (rule: wire-8).
 * Years 0 to 9999. A leap second counts as the second before. No clock, no locale, no tz database.
 */
#ifndef FORMAT_DATE_H
#define FORMAT_DATE_H

#include "base/buf.h"

struct date {
    int64_t seconds;  /* UTC */
    int zone_minutes; /* east of UTC; -0000 and unknown zones are 0 */
    bool zone_known;  /* false for -0000, military and unknown zones (RFC 5322 4.3) */
};

struct date_civil {
    int year, month, day; /* month and day from 1 */
    int hour, minute, second;
    int weekday; /* 0 is Sunday */
};

int64_t date_days(int year, int month, int day); /* days since 1970-01-01, proleptic Gregorian */
struct date_civil date_civil_of(int64_t seconds);

/* RFC 5322 3.3 with obs-date (4.3): comments, missing weekday or seconds, years of two or three
 * digits, named zones; also asctime order and missing zone, as old mail has. */
bool date_parse(str s, struct date *out);
/* IMAP date-time without its quotes: "17-Jul-1996 02:44:25 -0700" (RFC 9051). */
bool date_parse_imap(str s, struct date *out);
/* IMAP date without its quotes: "1-Feb-1994". Days since 1970-01-01. */
bool date_parse_imap_day(str s, int64_t *days);

/* "Fri, 21 Nov 1997 09:55:06 -0600" in the zone given. */
void date_render(struct buf *out, int64_t seconds, int zone_minutes);
/* "17-Jul-1996 02:44:25 -0700" with a leading space for one-digit days, no quotes. */
void date_render_imap(struct buf *out, int64_t seconds, int zone_minutes);
/* "2026-11-23T05:57:10Z" (RFC 3339). */
void date_render_rfc3339(struct buf *out, int64_t seconds);

#endif
