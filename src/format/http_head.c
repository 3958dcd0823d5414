/* SPDX-License-Identifier: Apache-2.0 */
#include "format/http_head.h"

/* RFC 9110 5.6.2 */
static bool is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c != 0 && str_find_char(STR("!#$%&'*+-.^_`|~"), (char)c) != STR_NPOS;
}

static bool is_token(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_token_char((unsigned char)s.data[i]))
            return false;
    }
    return s.len > 0;
}

/* Field values: visible bytes, SP, HT, obs-text; no other control characters (RFC 9110 5.5). */
static bool is_value(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_visible(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c <= 0x20 || c >= 0x7f)
            return false;
    }
    return true;
}

/* A line that ends with CRLF; a bare CR or LF is no line end (rule wire-1 in spirit). */
static bool take_line(str *rest, str *line)
{
    size_t lf = str_find_char(*rest, '\n');
    if (lf == STR_NPOS || lf == 0 || rest->data[lf - 1] != '\r')
        return false;
    *line = str_head(*rest, lf - 1);
    *rest = str_skip(*rest, lf + 1);
    return str_find_char(*line, '\r') == STR_NPOS;
}

static enum err parse_request_line(str line, struct http_head *out)
{
    str target, version;
    if (!str_cut(line, ' ', &out->method, &line) || !str_cut(line, ' ', &target, &version) ||
        !is_token(out->method))
        return ERR_SYNTAX;
    bool one_one = str_eq(version, STR("HTTP/1.1"));
    if (!one_one && !str_eq(version, STR("HTTP/1.0")))
        return str_starts(version, STR("HTTP/")) ? ERR_UNSUPPORTED : ERR_SYNTAX;
    out->keep = one_one;
    /* Only the origin form (RFC 9112 3.2.1): this is no proxy. */
    if (!str_starts(target, STR("/")) || !is_visible(target) ||
        str_find_char(target, '#') != STR_NPOS)
        return ERR_SYNTAX;
    (void)str_cut(target, '?', &out->path, &out->query);
    return ERR_OK;
}

/* uri-host [":" port] as names and IPv4 addresses give it, or an IP literal. */
static bool parse_host(str value, str *host)
{
    str port;
    if (str_starts(value, STR("["))) {
        size_t end = str_find_char(value, ']');
        if (end == STR_NPOS)
            return false;
        *host = str_head(value, end + 1);
        port = str_skip(value, end + 1);
        if (port.len > 0 && port.data[0] != ':')
            return false;
        port = str_skip(port, 1);
    } else {
        (void)str_cut(value, ':', host, &port);
        for (size_t i = 0; i < host->len; i++) {
            char c = host->data[i];
            if (!is_token_char((unsigned char)c) || c == '%')
                return false;
        }
    }
    for (size_t i = 0; i < port.len; i++) {
        if (port.data[i] < '0' || port.data[i] > '9')
            return false;
    }
    return host->len > 0 && port.len <= 5;
}

struct fields {
    bool host, length, transfer;
};

static enum err parse_field(str line, struct http_head *out, struct fields *seen)
{
    str name, value;
    if (!str_cut(line, ':', &name, &value) || !is_token(name) || !is_value(value))
        return ERR_SYNTAX; /* a folded line begins with a space, so it is none either */
    value = str_trim(value);
    if (str_eq_nocase(name, STR("host"))) {
        if (seen->host || !parse_host(value, &out->host))
            return ERR_SYNTAX;
        seen->host = true;
    } else if (str_eq_nocase(name, STR("content-length"))) {
        if (seen->length || value.len == 0 || value.len > 18)
            return ERR_SYNTAX;
        seen->length = true;
        for (size_t i = 0; i < value.len; i++) {
            if (value.data[i] < '0' || value.data[i] > '9')
                return ERR_SYNTAX;
            out->body |= value.data[i] != '0';
        }
    } else if (str_eq_nocase(name, STR("transfer-encoding"))) {
        seen->transfer = out->body = true;
    } else if (str_eq_nocase(name, STR("connection"))) {
        if (str_find_nocase(value, STR("close")) != STR_NPOS)
            out->keep = false;
    }
    return ERR_OK;
}

enum err http_head_parse(str head, struct http_head *out)
{
    *out = (struct http_head){0};
    struct fields seen = {0};
    str line;
    if (!take_line(&head, &line))
        return ERR_SYNTAX;
    TRY(parse_request_line(line, out));
    bool one_one = out->keep;
    for (size_t n = 0; !str_empty(head); n++) {
        if (n == HTTP_FIELDS_MAX)
            return ERR_LIMIT;
        if (!take_line(&head, &line))
            return ERR_SYNTAX;
        TRY(parse_field(line, out, &seen));
    }
    /* RFC 9112 3.2, 6.3: no Host in 1.1, or two ways to say how long the body is. */
    if ((one_one && !seen.host) || (seen.length && seen.transfer))
        return ERR_SYNTAX;
    out->keep = out->keep && !out->body;
    return ERR_OK;
}
