/* SPDX-License-Identifier: Apache-2.0 */
#include "core/srs.h"

#include "base/code.h"

#include <openssl/hmac.h>

#define HASH_CHARS 8
#define ADDRESS_MAX 1024
#define DAY_S 86400
#define DAYS 1024 /* two characters of base32 */

static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";

static void add_lower(struct buf *out, str s)
{
    for (size_t i = 0; i < s.len; i++)
        buf_add_char(out, char_lower(s.data[i]));
}

/* Case is lost on the way through many hosts, so it does not count. */
static void add_hash(struct buf *out, const uint8_t *secret, const char *kind, str text)
{
    BUF_AUTO struct buf lower = BUF_INIT(ADDRESS_MAX + 8), encoded = BUF_INIT(128);
    uint8_t mac[32] = {0};
    unsigned len = sizeof mac;
    buf_add_c(&lower, kind);
    add_lower(&lower, text);
    if (!HMAC(EVP_sha256(), secret, SRS_SECRET_BYTES, (const uint8_t *)lower.data, lower.len, mac,
              &len))
        out->failed = true;
    code_base32(&encoded, str_of(mac, 5));
    buf_add(out, str_head(buf_str(&encoded), HASH_CHARS));
}

static bool split_address(str address, str *local, str *domain)
{
    size_t at = str_rfind_char(address, '@');
    if (at == STR_NPOS || at == 0 || at + 1 == address.len || address.len > ADDRESS_MAX)
        return false;
    *local = str_head(address, at);
    *domain = str_skip(address, at + 1);
    return true;
}

/* SRS separators may be '=', '+' or '-' behind the tag. */
static bool has_tag(str local, const char *tag)
{
    return local.len > 5 && str_starts_nocase(local, str_c(tag)) &&
           (local.data[4] == '=' || local.data[4] == '+' || local.data[4] == '-');
}

enum err srs_forward(const uint8_t secret[SRS_SECRET_BYTES], str sender, str ours, int64_t now_s,
                     struct buf *out)
{
    BUF_AUTO struct buf rest = BUF_INIT(ADDRESS_MAX + 64);
    str local, domain;
    if (str_empty(sender))
        return ERR_OK;
    if (!split_address(sender, &local, &domain) || str_empty(ours))
        return ERR_SYNTAX;
    const char *kind = "SRS0";
    if (has_tag(local, "SRS1")) { /* the first forwarder stays, the last one is replaced by us */
        str hash, tail;
        if (!str_cut(str_skip(local, 5), '=', &hash, &tail))
            return ERR_SYNTAX;
        kind = "SRS1";
        buf_add(&rest, tail);
    } else if (has_tag(local, "SRS0")) {
        kind = "SRS1";
        buf_addf(&rest, "%.*s=%.*s", STR_ARG(domain), STR_ARG(str_skip(local, 4)));
    } else {
        uint64_t day = (uint64_t)(now_s / DAY_S) % DAYS;
        buf_addf(&rest, "%c%c=%.*s=%.*s", digits[day >> 5], digits[day & 31], STR_ARG(domain),
                 STR_ARG(local));
    }
    buf_addf(out, "%s=", kind);
    add_hash(out, secret, kind, buf_str(&rest));
    buf_addf(out, "=%.*s@%.*s", STR_ARG(buf_str(&rest)), STR_ARG(ours));
    return buf_ok(out) && buf_ok(&rest) ? ERR_OK : ERR_LIMIT;
}

bool srs_is(str address)
{
    str local, domain;
    return split_address(address, &local, &domain) &&
           (has_tag(local, "SRS0") || has_tag(local, "SRS1"));
}

static bool digit_of(char c, uint64_t *out)
{
    c = char_lower(c);
    size_t at = c ? str_find_char(STR("abcdefghijklmnopqrstuvwxyz234567"), c) : STR_NPOS;
    *out = at;
    return at != STR_NPOS;
}

static enum err check_day(str day, int64_t now_s)
{
    uint64_t high, low;
    if (day.len != 2 || !digit_of(day.data[0], &high) || !digit_of(day.data[1], &low))
        return ERR_SYNTAX;
    uint64_t today = (uint64_t)(now_s / DAY_S) % DAYS;
    uint64_t age = (today + DAYS - (high << 5 | low)) % DAYS;
    return age <= SRS_DAYS_MAX || age == DAYS - 1 /* a clock just behind */ ? ERR_OK : ERR_EXPIRED;
}

static enum err reverse_first(str rest, int64_t now_s, struct buf *out)
{
    str day, domain, local;
    if (!str_cut(rest, '=', &day, &rest) || !str_cut(rest, '=', &domain, &local) ||
        str_empty(domain) || str_empty(local))
        return ERR_SYNTAX;
    TRY(check_day(day, now_s));
    buf_addf(out, "%.*s@%.*s", STR_ARG(local), STR_ARG(domain));
    return ERR_OK;
}

/* Back to the forwarder that was first, who knows the rest. */
static enum err reverse_second(str rest, struct buf *out)
{
    str forwarder, tail;
    if (!str_cut(rest, '=', &forwarder, &tail) || str_empty(forwarder) || tail.len < 2)
        return ERR_SYNTAX;
    buf_addf(out, "SRS0%.*s@%.*s", STR_ARG(tail), STR_ARG(forwarder));
    return ERR_OK;
}

enum err srs_reverse(const uint8_t secret[SRS_SECRET_BYTES], str address, int64_t now_s,
                     struct buf *out)
{
    BUF_AUTO struct buf wanted = BUF_INIT(64), lower = BUF_INIT(64);
    str local, domain, hash, rest;
    if (!srs_is(address) || !split_address(address, &local, &domain))
        return ERR_SYNTAX;
    bool first = has_tag(local, "SRS0");
    if (!str_cut(str_skip(local, 5), '=', &hash, &rest) || hash.len != HASH_CHARS)
        return ERR_SYNTAX;
    add_hash(&wanted, secret, first ? "SRS0" : "SRS1", rest);
    add_lower(&lower, hash);
    if (!buf_ok(&wanted) || !str_eq_secret(buf_str(&wanted), buf_str(&lower)))
        return ERR_DENIED;
    TRY(first ? reverse_first(rest, now_s, out) : reverse_second(rest, out));
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}
