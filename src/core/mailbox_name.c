/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of mailboxes and roles. Pure.
 */
#include "core/account_private.h"

#include "base/num.h"
#include "base/utf8.h"

#include <utf8proc.h>

/* Control characters and the line and paragraph separators (RFC 9051 5.1, RFC 5198). */
static bool code_point_allowed(uint32_t c)
{
    return c >= 0x20 && !(c >= 0x7f && c <= 0x9f) && c != 0x2028 && c != 0x2029 &&
           !(c >= 0xfff9 && c <= 0xfffb) && (c & 0xfffe) != 0xfffe;
}

static enum err compose(str path, struct buf *out)
{
    bool ascii = true;
    for (str rest = path; rest.len;) {
        uint32_t c;
        if (!utf8_take(&rest, &c) || !code_point_allowed(c))
            return ERR_INVALID;
        ascii = ascii && c < 0x80;
    }
    if (ascii) {
        buf_add(out, path);
        return buf_ok(out) ? ERR_OK : ERR_LIMIT;
    }
    /* NFC never needs more than three times the bytes (UAX 15). The code points are written as
     * 32-bit numbers first, in place composed and encoded. */
    utf8proc_int32_t points[MAILBOX_PATH_MAX * 3];
    utf8proc_ssize_t n =
        utf8proc_decompose((const utf8proc_uint8_t *)path.data, (utf8proc_ssize_t)path.len, points,
                           ARRAY_LEN(points), UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0 || (size_t)n > ARRAY_LEN(points))
        return ERR_INVALID;
    n = utf8proc_normalize_utf32(points, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        utf8_add(out, (uint32_t)points[i]);
    return n < 0 ? ERR_INVALID : buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

enum err mailbox_name_normalize(str path, struct buf *out)
{
    if (str_empty(path))
        return ERR_INVALID;
    if (path.len > MAILBOX_PATH_MAX)
        return ERR_LIMIT;
    size_t levels = 0;
    str rest = path, level;
    for (bool more = true; more; levels++) {
        more = str_cut(rest, '/', &level, &rest);
        if (str_empty(level) || str_eq(level, STR(".")) || str_eq(level, STR("..")))
            return ERR_INVALID;
    }
    if (levels > MAILBOX_LEVELS_MAX)
        return ERR_LIMIT;
    str first;
    size_t before = out->len;
    bool below = str_cut(path, '/', &first, &rest);
    if (str_eq_nocase(first, STR("INBOX"))) {
        buf_add(out, STR("INBOX"));
        if (!below)
            return buf_ok(out) ? ERR_OK : ERR_LIMIT;
        buf_add_char(out, '/');
        path = rest;
    }
    TRY(compose(path, out));
    return out->len - before > MAILBOX_PATH_MAX ? ERR_LIMIT : ERR_OK;
}

static const str role_names[ROLE_COUNT] = {
    [ROLE_DRAFTS] = STR_INIT("\\Drafts"),   [ROLE_SENT] = STR_INIT("\\Sent"),
    [ROLE_JUNK] = STR_INIT("\\Junk"),       [ROLE_TRASH] = STR_INIT("\\Trash"),
    [ROLE_ARCHIVE] = STR_INIT("\\Archive"), [ROLE_ALL] = STR_INIT("\\All"),
    [ROLE_FLAGGED] = STR_INIT("\\Flagged"), [ROLE_IMPORTANT] = STR_INIT("\\Important"),
};

str mailbox_role_name(enum mailbox_role r) { return r < ROLE_COUNT ? role_names[r] : STR_NONE; }

enum mailbox_role mailbox_role_parse(str name)
{
    for (size_t i = 0; i < ROLE_COUNT; i++)
        if (role_names[i].len && str_eq_nocase(role_names[i], name))
            return (enum mailbox_role)i;
    return ROLE_NONE;
}

/* '/' before everything, so that a mailbox's children follow it at once. */
static unsigned rank(char c) { return c == '/' ? 0 : (unsigned char)c; }

int mailbox_path_cmp(str a, str b)
{
    size_t n = MIN(a.len, b.len);
    for (size_t i = 0; i < n; i++)
        if (a.data[i] != b.data[i])
            return rank(a.data[i]) < rank(b.data[i]) ? -1 : 1;
    return a.len < b.len ? -1 : a.len > b.len;
}
