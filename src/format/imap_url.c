/* SPDX-License-Identifier: Apache-2.0 */
#include "format/imap_url.h"

#include "base/num.h"
#include "base/utf8.h"
#include "format/limits.h"
#include "format/smtp_syntax.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes percent encoding off; the result is UTF-8 without controls. */
static enum err unescape(struct arena *a, str s, str *out)
{
    char *to = arena_alloc(a, s.len + 1);
    size_t n = 0;
    if (!to)
        return ERR_NOMEM;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i];
        if (c == '%') {
            int high = i + 2 < s.len ? hex_value(s.data[i + 1]) : -1;
            int low = i + 2 < s.len ? hex_value(s.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return ERR_SYNTAX;
            c = (unsigned char)(high << 4 | low);
            i += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return ERR_SYNTAX;
        to[n++] = (char)c;
    }
    *out = str_of(to, n);
    return utf8_valid(*out) ? ERR_OK : ERR_SYNTAX;
}

/* [user[;AUTH=mech]@]host[:port] */
static enum err take_server(struct arena *a, str s, struct imap_url *out)
{
    str user, mech;
    size_t at = str_rfind_char(s, '@');
    if (at != STR_NPOS) {
        str_cut(str_head(s, at), ';', &user, &mech);
        if (mech.len) {
            if (!str_starts_nocase(mech, STR("AUTH=")))
                return ERR_SYNTAX;
            TRY(unescape(a, str_skip(mech, 5), &out->auth));
        }
        TRY(unescape(a, user, &out->user));
        s = str_skip(s, at + 1);
    }
    size_t colon = str_rfind_char(s, ':');
    size_t bracket = str_rfind_char(s, ']');
    if (colon != STR_NPOS && (bracket == STR_NPOS || colon > bracket)) {
        uint64_t port;
        if (!num_parse_u64(str_skip(s, colon + 1), 65535, &port))
            return ERR_SYNTAX;
        out->port = (uint32_t)port;
        s = str_head(s, colon);
    }
    TRY(unescape(a, s, &out->host));
    return out->host.len ? ERR_OK : ERR_SYNTAX;
}

static bool nz_u32(str s, uint32_t *out) { return num_parse_u32(s, out) && *out != 0; }

/* ";NAME=" up to the next ';' (the slash before it belongs to the separator). */
static bool take_param(str *s, str name, str *value)
{
    str rest = *s;
    if (str_starts(rest, STR("/;")))
        rest = str_skip(rest, 1);
    if (!str_starts(rest, STR(";")) || !str_starts_nocase(str_skip(rest, 1), name) ||
        str_sub(rest, 1 + name.len, 1).len == 0 || rest.data[1 + name.len] != '=')
        return false;
    rest = str_skip(rest, name.len + 2);
    size_t end = str_find_char(rest, ';');
    if (end == STR_NPOS)
        end = rest.len;
    else if (end && rest.data[end - 1] == '/')
        end--;
    *value = str_head(rest, end);
    *s = str_skip(rest, end);
    return true;
}

static enum err take_partial(str value, struct imap_url *out)
{
    str offset, count;
    out->partial = true;
    bool has = str_cut(value, '.', &offset, &count);
    if (!num_parse_u64(offset, INT64_MAX, &out->offset))
        return ERR_SYNTAX;
    return !has || (num_parse_u64(count, INT64_MAX, &out->count) && out->count) ? ERR_OK
                                                                                : ERR_SYNTAX;
}

/* ";EXPIRE=" date ";URLAUTH=" access [":" mechanism ":" token] */
static enum err take_urlauth(struct arena *a, str url, str *path, struct imap_url *out)
{
    str value, access, rest;
    if (take_param(path, STR("EXPIRE"), &value)) {
        TRY(unescape(a, value, &value));
        out->has_expire = smtp_date_parse(value, &out->expire_s);
        if (!out->has_expire)
            return ERR_SYNTAX;
    }
    if (!take_param(path, STR("URLAUTH"), &value))
        return out->has_expire ? ERR_SYNTAX : ERR_OK;
    if (!str_cut(value, ':', &access, &rest))
        out->rump = url;
    else if (!str_cut(rest, ':', &out->mechanism, &out->token) || !out->mechanism.len ||
             out->token.len < 32)
        return ERR_SYNTAX;
    else
        out->rump = str_head(url, (size_t)(access.data + access.len - url.data));
    for (size_t i = 0; i < out->token.len; i++)
        if (hex_value(out->token.data[i]) < 0)
            return ERR_SYNTAX;
    TRY(unescape(a, access, &out->access));
    return out->access.len && out->uid ? ERR_OK : ERR_SYNTAX;
}

/* Where the mailbox ends: at the first ';' of a known parameter. */
static str take_mailbox(str *path)
{
    size_t end = str_find_char(*path, ';');
    if (end == STR_NPOS)
        end = path->len;
    else if (end && path->data[end - 1] == '/')
        end--;
    str mailbox = str_head(*path, end);
    *path = str_skip(*path, end);
    return mailbox;
}

enum err imap_url_parse(struct arena *a, str url, struct imap_url *out)
{
    *out = (struct imap_url){0};
    str path = url, server, value;
    if (url.len > IMAP_URL_MAX)
        return ERR_SYNTAX;
    if (str_starts_nocase(url, STR("imap://"))) {
        path = str_skip(url, 7);
        size_t slash = str_find_char(path, '/');
        server = slash == STR_NPOS ? path : str_head(path, slash);
        path = slash == STR_NPOS ? STR_NONE : str_skip(path, slash);
        TRY(take_server(a, server, out));
    }
    if (!path.len)
        return out->host.len ? ERR_OK : ERR_SYNTAX;
    if (path.data[0] != '/')
        return ERR_SYNTAX;
    path = str_skip(path, 1);
    TRY(unescape(a, take_mailbox(&path), &out->mailbox));
    if (take_param(&path, STR("UIDVALIDITY"), &value) && !nz_u32(value, &out->uidvalidity))
        return ERR_SYNTAX;
    if (take_param(&path, STR("UID"), &value)) {
        if (!nz_u32(value, &out->uid))
            return ERR_SYNTAX;
        if (take_param(&path, STR("SECTION"), &value))
            TRY(unescape(a, value, &out->section));
        if (take_param(&path, STR("PARTIAL"), &value))
            TRY(take_partial(value, out));
        TRY(take_urlauth(a, url, &path, out));
    }
    if (str_eq(path, STR("/")))
        path = STR_NONE;
    return path.len ? ERR_SYNTAX : ERR_OK;
}
