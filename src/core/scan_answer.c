/* SPDX-License-Identifier: Apache-2.0 */
#include "core/scan.h"

#include "base/num.h"
#include "base/utf8.h"
#include "format/json_guard.h"

#include <jansson.h>
#include <math.h>

static const char *const action_names[] = {
    [SCAN_NO_ACTION] = "no action",     [SCAN_GREYLIST] = "greylist",
    [SCAN_ADD_HEADER] = "add header",   [SCAN_REWRITE_SUBJECT] = "rewrite subject",
    [SCAN_SOFT_REJECT] = "soft reject", [SCAN_REJECT] = "reject",
};

const char *scan_action_name(enum scan_action a) { return action_names[a]; }

static void json_free(json_t **j) { json_decref(*j); }
#define JSON_AUTO __attribute__((cleanup(json_free)))

static str string_of(const json_t *v)
{
    return json_is_string(v) ? str_of(json_string_value(v), json_string_length(v)) : STR_NONE;
}

static bool number_of(const json_t *v, double *out)
{
    double n = json_number_value(v);
    if (!json_is_number(v) || !isfinite(n))
        return false;
    *out = fmin(fmax(n, -SCAN_SCORE_MAX), SCAN_SCORE_MAX);
    return true;
}

/* ---- texts ---- */

static bool is_name_char(char c, bool symbol)
{
    bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return word || c == '-' || c == '_' || (symbol && (c == '.' || c == ':'));
}

static bool is_name(str s, size_t max, bool symbol)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_name_char(s.data[i], symbol))
            return false;
    return s.len > 0 && s.len <= max;
}

static enum err keep_printable(str s, size_t max, struct arena *arena, str *out)
{
    BUF_AUTO struct buf b = BUF_INIT(max);
    s = str_head(s, max);
    for (size_t i = 0; i < s.len; i++)
        buf_add_char(&b, s.data[i] >= ' ' && s.data[i] < 0x7f ? s.data[i] : '?');
    return arena_dup(arena, buf_str(&b), out) ? ERR_OK : ERR_LIMIT;
}

/* Line breaks stand only where they fold (RFC 5322 2.2.3): a continuation begins with a tab and
 * has something in it. */
static enum err keep_value(str s, struct arena *arena, str *out)
{
    BUF_AUTO struct buf b = BUF_INIT(2 * SCAN_FIELD_VALUE_MAX);
    bool fold = false;
    size_t column = 0;
    s = str_trim(str_head(s, SCAN_FIELD_VALUE_MAX));
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool blank = c == ' ' || c == '\t';
        /* What is blank where a line breaks is the break's. */
        fold |= c == '\r' || c == '\n' || (blank && column > 200);
        if (fold && (blank || c == '\r' || c == '\n'))
            continue;
        if (fold) {
            buf_add_c(&b, "\r\n\t");
            column = 0;
            fold = false;
        }
        if (column++ < 900) /* RFC 5322 2.1.1: a word without end is cut */
            buf_add_char(&b, c == '\t' || (c >= ' ' && c < 0x7f) ? c : '?');
    }
    return arena_dup(arena, str_trim(buf_str(&b)), out) ? ERR_OK : ERR_LIMIT;
}

static enum err keep_subject(str s, struct arena *arena, str *out)
{
    BUF_AUTO struct buf b = BUF_INIT(SCAN_SUBJECT_MAX);
    s = str_head(s, SCAN_SUBJECT_MAX);
    while (s.len > 0 && !utf8_valid(s)) /* cut inside a character */
        s = str_head(s, s.len - 1);
    for (size_t i = 0; i < s.len; i++)
        buf_add_char(&b, (uint8_t)s.data[i] < ' ' || s.data[i] == 0x7f ? ' ' : s.data[i]);
    return arena_dup(arena, str_trim(buf_str(&b)), out) ? ERR_OK : ERR_LIMIT;
}

/* ---- what it found ---- */

static enum err take_action(const json_t *v, struct scan_answer *out)
{
    str word = string_of(v);
    if (str_empty(word))
        return ERR_SYNTAX;
    out->action = SCAN_ADD_HEADER;
    for (size_t i = 0; i < ARRAY_LEN(action_names); i++)
        if (str_eq(word, str_c(action_names[i])))
            out->action = (enum scan_action)i;
    return ERR_OK;
}

static enum err take_symbols(json_t *v, struct arena *arena, struct scan_answer *out)
{
    const char *key;
    json_t *symbol;
    if (v && !json_is_object(v))
        return ERR_SYNTAX;
    json_object_foreach(v, key, symbol)
    {
        struct scan_symbol *s = &out->symbols[out->nsymbols];
        double score = 0;
        if (!number_of(json_is_object(symbol) ? json_object_get(symbol, "score") : symbol, &score))
            return ERR_SYNTAX;
        if (out->nsymbols == SCAN_SYMBOLS_MAX || !is_name(str_c(key), SCAN_SYMBOL_NAME_MAX, true))
            continue;
        if (!arena_dup(arena, str_c(key), &s->name))
            return ERR_LIMIT;
        s->score = score;
        out->nsymbols++;
    }
    return ERR_OK;
}

/* ---- what it wants changed ---- */

/* Fields that say which way a message has come are ours to write. Who wrote it has been looked at
 * (rule auth-3, DMARC); how it is built is told apart from what is added (mime_cold). */
static bool is_ours(str name)
{
    static const str names[] = {STR_INIT("Received"),     STR_INIT("Return-Path"),
                                STR_INIT("Delivered-To"), STR_INIT("From"),
                                STR_INIT("Sender"),       STR_INIT("Date"),
                                STR_INIT("Message-ID"),   STR_INIT("MIME-Version")};
    if (str_starts_nocase(name, STR("Content-")))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_nocase(names[i], name))
            return true;
    return false;
}

static enum err add_field(str name, str value, struct arena *arena, struct scan_answer *out,
                          size_t *bytes)
{
    struct scan_field *f = &out->add[out->nadd];
    if (out->nadd == SCAN_FIELDS_MAX || is_ours(name) || !is_name(name, SCAN_FIELD_NAME_MAX, false))
        return ERR_OK;
    TRY(keep_value(value, arena, &f->value));
    if (!arena_dup(arena, name, &f->name))
        return ERR_LIMIT;
    *bytes += f->name.len + f->value.len + 4;
    out->nadd += *bytes <= SCAN_FIELDS_BYTES_MAX;
    return ERR_OK;
}

/* "value", {"value": "…", "order": n}, or a list of those. */
static enum err take_value(str name, const json_t *v, struct arena *arena, struct scan_answer *out,
                           size_t *bytes)
{
    if (json_is_object(v))
        v = json_object_get(v, "value");
    if (!json_is_string(v))
        return ERR_SYNTAX;
    return add_field(name, string_of(v), arena, out, bytes);
}

static enum err take_additions(json_t *v, struct arena *arena, struct scan_answer *out)
{
    const char *key;
    json_t *value, *item;
    size_t i, bytes = 0;
    if (v && !json_is_object(v))
        return ERR_SYNTAX;
    json_object_foreach(v, key, value)
    {
        if (!json_is_array(value)) {
            TRY(take_value(str_c(key), value, arena, out, &bytes));
            continue;
        }
        json_array_foreach(value, i, item) TRY(take_value(str_c(key), item, arena, out, &bytes));
    }
    return ERR_OK;
}

static enum err take_removals(json_t *v, struct arena *arena, struct scan_answer *out)
{
    const char *key;
    json_t *value;
    if (v && !json_is_object(v))
        return ERR_SYNTAX;
    json_object_foreach(v, key, value)
    {
        json_int_t n = json_is_array(value) ? 0 : json_integer_value(value);
        str name = str_c(key);
        if (!json_is_array(value) && !json_is_integer(value))
            return ERR_SYNTAX;
        if (out->nremove == SCAN_FIELDS_MAX || is_ours(name) ||
            !is_name(name, SCAN_FIELD_NAME_MAX, false) || n > 10000 || n < -10000)
            continue;
        struct scan_removal *r = &out->remove[out->nremove++];
        if (!arena_dup(arena, name, &r->name))
            return ERR_LIMIT;
        r->index = (int)n;
    }
    return ERR_OK;
}

static enum err take_all(json_t *root, struct arena *arena, struct scan_answer *out)
{
    json_t *milter = json_object_get(root, "milter");
    json_t *messages = json_object_get(root, "messages");
    if (!json_is_object(root) || (milter && !json_is_object(milter)))
        return ERR_SYNTAX;
    TRY(take_action(json_object_get(root, "action"), out));
    if (!number_of(json_object_get(root, "score"), &out->score) ||
        !number_of(json_object_get(root, "required_score"), &out->required))
        return ERR_SYNTAX;
    TRY(take_symbols(json_object_get(root, "symbols"), arena, out));
    TRY(take_additions(json_object_get(milter, "add_headers"), arena, out));
    TRY(take_removals(json_object_get(milter, "remove_headers"), arena, out));
    TRY(keep_subject(string_of(json_object_get(root, "subject")), arena, &out->subject));
    return keep_printable(string_of(json_object_get(messages, "smtp_message")), SCAN_MESSAGE_MAX,
                          arena, &out->message);
}

enum err scan_answer_parse(str json, struct arena *arena, struct scan_answer *out)
{
    json_error_t ignored;
    *out = (struct scan_answer){0};
    if (json.len > SCAN_ANSWER_MAX || !json_is_shallow(json, SCAN_DEPTH_MAX))
        return ERR_SYNTAX;
    JSON_AUTO json_t *root =
        json_loadb(json.data ? json.data : "", json.len, JSON_REJECT_DUPLICATES, &ignored);
    return root ? take_all(root, arena, out) : ERR_SYNTAX;
}
