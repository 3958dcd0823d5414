/* SPDX-License-Identifier: Apache-2.0 */
#include "format/date.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"

static const char month_names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
static const char month_shown[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char weekday_shown[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

/* Both conversions after "chrono-compatible low-level date algorithms" (H. Hinnant): eras of 400
 * years that begin in March, so that the leap day is the last of its year. */
int64_t date_days(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

struct date_civil date_civil_of(int64_t seconds)
{
    int64_t days = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t mp = (5 * day_of_year + 2) / 153;
    int month = (int)(mp < 10 ? mp + 3 : mp - 9);
    return (struct date_civil){
        .year = (int)(year_of_era + era * 400 + (month <= 2)),
        .month = month,
        .day = (int)(day_of_year - (153 * mp + 2) / 5 + 1),
        .hour = (int)(rest / 3600),
        .minute = (int)(rest / 60 % 60),
        .second = (int)(rest % 60),
        .weekday = (int)(((days % 7) + 11) % 7),
    };
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* 1 to 12, or 0. Only the first three letters count: "Sept", "July". */
static int month_of(str word)
{
    for (int m = 0; m < 12 && word.len >= 3; m++)
        if (str_starts_nocase(word, str_of(month_names + 3 * m, 3)))
            return m + 1;
    return 0;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* What has been seen so far; -1 is nothing yet. */
struct parts {
    int day, month, year, hour, minute, second, zone;
    bool zone_seen, zone_known;
};

static bool parts_to_date(const struct parts *p, struct date *out)
{
    if (p->year < 0 || p->year > 9999 || p->month < 1 || p->day < 1 ||
        p->day > days_in_month(p->year, p->month))
        return false;
    int hour = MAX(p->hour, 0), minute = MAX(p->minute, 0), second = MAX(p->second, 0);
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    if (second == 60)
        second = 59;
    out->zone_minutes = p->zone;
    out->zone_known = p->zone_known;
    out->seconds = date_days(p->year, p->month, p->day) * 86400 + hour * 3600 + minute * 60 +
                   second - (int64_t)p->zone * 60;
    return true;
}

/* Takes digits off; the value saturates. Returns how many there were. */
static size_t take_digits(str *s, int *value)
{
    size_t n = 0;
    *value = 0;
    for (; n < s->len && is_digit(s->data[n]); n++)
        if (*value < 1000000)
            *value = *value * 10 + (s->data[n] - '0');
    *s = str_skip(*s, n);
    return n;
}

static str take_alpha(str *s)
{
    size_t n = 0;
    while (n < s->len && is_alpha(s->data[n]))
        n++;
    str word = str_head(*s, n);
    *s = str_skip(*s, n);
    return word;
}

static void skip_comment(str *s)
{
    size_t depth = 0, i = 0;
    for (; i < s->len; i++) {
        if (s->data[i] == '\\')
            i++;
        else if (s->data[i] == '(')
            depth++;
        else if (s->data[i] == ')' && --depth == 0)
            break;
    }
    *s = str_skip(*s, i + 1);
}

/* White space and comments, which obs-date lets stand between all tokens. */
static void skip_cfws(str *s)
{
    while (s->len && (s->data[0] == '(' || strchr(" \t\r\n", s->data[0])) && s->data[0]) {
        if (s->data[0] == '(')
            skip_comment(s);
        else
            *s = str_skip(*s, 1);
    }
}

/* ":" and a number behind it. */
static bool take_colon_number(str *s, int *value)
{
    skip_cfws(s);
    if (!s->len || s->data[0] != ':')
        return false;
    *s = str_skip(*s, 1);
    skip_cfws(s);
    return take_digits(s, value) > 0;
}

/* RFC 5322 4.3 */
static void zone_by_name(str word, struct parts *p)
{
    static const struct {
        char name[4];
        int hours;
    } zones[] = {{"UT", 0},   {"GMT", 0},  {"UTC", 0},  {"Z", 0},    {"EST", -5}, {"EDT", -4},
                 {"CST", -6}, {"CDT", -5}, {"MST", -7}, {"MDT", -6}, {"PST", -8}, {"PDT", -7},
                 {"BST", 1},  {"CET", 1},  {"MET", 1},  {"EET", 2},  {"JST", 9}};
    if (p->zone_seen)
        return;
    p->zone_seen = true;
    for (size_t i = 0; i < ARRAY_LEN(zones); i++)
        if (str_eq_nocase(word, str_c(zones[i].name))) {
            p->zone = zones[i].hours * 60;
            p->zone_known = true;
        }
    if (str_eq_nocase(word, STR("CEST")) || str_eq_nocase(word, STR("MEST"))) {
        p->zone = 120;
        p->zone_known = true;
    }
}

static void zone_by_offset(str *s, bool west, struct parts *p)
{
    int n;
    size_t digits = take_digits(s, &n);
    if (digits == 2 && s->len > 2 && s->data[0] == ':' && is_digit(s->data[1])) {
        int minutes;
        *s = str_skip(*s, 1);
        take_digits(s, &minutes);
        n = n * 100 + MIN(minutes, 99);
        digits = 4;
    }
    if (digits < 3 || digits > 4 || n / 100 > 23 || n % 100 > 59)
        return;
    p->zone_seen = true;
    p->zone_known = !(west && n == 0);
    p->zone = (n / 100 * 60 + n % 100) * (west ? -1 : 1);
}

static void take_number(str *s, struct parts *p)
{
    int n, minute;
    size_t digits = take_digits(s, &n);
    if (p->hour < 0 && take_colon_number(s, &minute)) {
        p->hour = n;
        p->minute = minute;
        int fraction;
        if (take_colon_number(s, &p->second) && s->len > 1 && s->data[0] == '.') {
            *s = str_skip(*s, 1);
            take_digits(s, &fraction);
        }
    } else if (p->day < 0 && digits <= 2) {
        p->day = n;
    } else if (p->year < 0 && p->day >= 0) {
        /* RFC 5322 4.3 */
        if (digits <= 2)
            n += n < 50 ? 2000 : 1900;
        else if (digits == 3)
            n += 1900;
        p->year = n;
    }
}

static void take_word(str *s, struct parts *p)
{
    str word = take_alpha(s);
    int month = month_of(word);
    if (month && p->month < 0)
        p->month = month;
    else if (p->hour >= 0 && str_eq_nocase(word, STR("PM")))
        p->hour += p->hour < 12 ? 12 : 0;
    else if (p->hour >= 0 && str_eq_nocase(word, STR("AM")))
        p->hour = p->hour == 12 ? 0 : p->hour;
    else if (p->hour >= 0)
        zone_by_name(word, p);
}

bool date_parse(str s, struct date *out)
{
    struct parts p = {-1, -1, -1, -1, -1, -1, 0, false, false};
    s = str_trim(s);
    while (s.len) {
        char c = s.data[0];
        if (c == '(')
            skip_comment(&s);
        else if (is_digit(c))
            take_number(&s, &p);
        else if (is_alpha(c))
            take_word(&s, &p);
        else {
            s = str_skip(s, 1);
            if ((c == '+' || c == '-') && p.hour >= 0 && s.len && is_digit(s.data[0]))
                zone_by_offset(&s, c == '-', &p);
        }
    }
    return parts_to_date(&p, out);
}

static bool take_char(str *s, char c)
{
    if (!s->len || s->data[0] != c)
        return false;
    *s = str_skip(*s, 1);
    return true;
}

static bool take_fixed(str *s, size_t digits, int *value)
{
    str before = str_head(*s, digits);
    str left = before;
    if (before.len != digits || take_digits(&left, value) != digits)
        return false;
    *s = str_skip(*s, digits);
    return true;
}

/* day "-" month "-" year, the day of one or two digits or with a leading space. */
static bool take_imap_day(str *s, struct parts *p)
{
    bool padded = take_char(s, ' ');
    size_t digits = take_digits(s, &p->day);
    if (digits < 1 || digits > (padded ? 1 : 2) || !take_char(s, '-'))
        return false;
    str month = take_alpha(s);
    p->month = month_of(month);
    return month.len == 3 && p->month && take_char(s, '-') && take_fixed(s, 4, &p->year);
}

bool date_parse_imap(str s, struct date *out)
{
    struct parts p = {.zone_known = true};
    if (!take_imap_day(&s, &p) || !take_char(&s, ' ') || !take_fixed(&s, 2, &p.hour) ||
        !take_char(&s, ':') || !take_fixed(&s, 2, &p.minute) || !take_char(&s, ':') ||
        !take_fixed(&s, 2, &p.second) || !take_char(&s, ' '))
        return false;
    bool west = take_char(&s, '-');
    int zone;
    if ((!west && !take_char(&s, '+')) || !take_fixed(&s, 4, &zone) || s.len)
        return false;
    if (zone / 100 > 23 || zone % 100 > 59)
        return false;
    p.zone = (zone / 100 * 60 + zone % 100) * (west ? -1 : 1);
    return parts_to_date(&p, out);
}

bool date_parse_imap_day(str s, int64_t *days)
{
    struct parts p = {.zone_known = true};
    struct date d;
    if (!take_imap_day(&s, &p) || s.len || !parts_to_date(&p, &d))
        return false;
    *days = date_days(p.year, p.month, p.day);
    return true;
}

static void add_two(struct buf *out, int n)
{
    char two[2] = {(char)('0' + n / 10 % 10), (char)('0' + n % 10)};
    buf_add(out, str_of(two, 2));
}

static void add_year(struct buf *out, int year)
{
    year = MIN(MAX(year, 0), 9999);
    add_two(out, year / 100);
    add_two(out, year % 100);
}

static void add_time(struct buf *out, const struct date_civil *c)
{
    add_two(out, c->hour);
    buf_add_char(out, ':');
    add_two(out, c->minute);
    buf_add_char(out, ':');
    add_two(out, c->second);
}

static void add_zone(struct buf *out, int minutes)
{
    buf_add_char(out, ' ');
    buf_add_char(out, minutes < 0 ? '-' : '+');
    minutes = minutes < 0 ? -minutes : minutes;
    add_two(out, minutes / 60);
    add_two(out, minutes % 60);
}

void date_render(struct buf *out, int64_t seconds, int zone_minutes)
{
    struct date_civil c = date_civil_of(seconds + (int64_t)zone_minutes * 60);
    buf_add_c(out, weekday_shown[c.weekday]);
    buf_add(out, STR(", "));
    buf_add_u64(out, (uint64_t)c.day);
    buf_add_char(out, ' ');
    buf_add_c(out, month_shown[c.month - 1]);
    buf_add_char(out, ' ');
    add_year(out, c.year);
    buf_add_char(out, ' ');
    add_time(out, &c);
    add_zone(out, zone_minutes);
}

void date_render_imap(struct buf *out, int64_t seconds, int zone_minutes)
{
    struct date_civil c = date_civil_of(seconds + (int64_t)zone_minutes * 60);
    if (c.day < 10)
        buf_add_char(out, ' ');
    buf_add_u64(out, (uint64_t)c.day);
    buf_add_char(out, '-');
    buf_add_c(out, month_shown[c.month - 1]);
    buf_add_char(out, '-');
    add_year(out, c.year);
    buf_add_char(out, ' ');
    add_time(out, &c);
    add_zone(out, zone_minutes);
}

void date_render_rfc3339(struct buf *out, int64_t seconds)
{
    struct date_civil c = date_civil_of(seconds);
    add_year(out, c.year);
    buf_add_char(out, '-');
    add_two(out, c.month);
    buf_add_char(out, '-');
    add_two(out, c.day);
    buf_add_char(out, 'T');
    add_time(out, &c);
    buf_add_char(out, 'Z');
}
