/* SPDX-License-Identifier: Apache-2.0 */
#include "format/arc_syntax.h"

#include <assert.h>

#include "base/num.h"

uint32_t arc_instance_of(str value, str *rest)
{
    str tag, name, number;
    uint32_t n;
    if (!str_cut(value, ';', &tag, rest) || !str_cut(tag, '=', &name, &number) ||
        !str_eq(str_trim(name), STR("i")) || !num_parse_u32(str_trim(number), &n) ||
        n > ARC_SETS_MAX)
        return 0;
    return n;
}

/* Puts one ARC field into its set; ERR_SYNTAX for a double or malformed one. */
static enum err chain_add(struct arena *a, struct arc_set *sets, const struct dkim_field *field,
                          size_t *highest)
{
    struct dkim_signature sig = {0};
    str rest;
    uint32_t n;
    bool results = str_eq_nocase(field->name, STR("ARC-Authentication-Results"));
    bool message = str_eq_nocase(field->name, STR("ARC-Message-Signature"));
    if (!results && !message && !str_eq_nocase(field->name, STR("ARC-Seal")))
        return ERR_OK;
    if (results) {
        n = arc_instance_of(field->value, &rest);
    } else {
        enum err e =
            dkim_signature_parse(a, field->value, message ? DKIM_ARC_MESSAGE : DKIM_ARC_SEAL, &sig);
        if (e != ERR_OK)
            return e == ERR_NOMEM ? e : ERR_SYNTAX;
        n = sig.instance;
    }
    if (!n || n > ARC_SETS_MAX)
        return ERR_SYNTAX;
    struct arc_set *set = &sets[n - 1];
    const struct dkim_field **place = results   ? &set->results
                                      : message ? &set->message
                                                : &set->seal;
    if (*place)
        return ERR_SYNTAX;
    *place = field;
    if (message)
        set->message_sig = sig;
    else if (!results)
        set->seal_sig = sig;
    *highest = MAX(*highest, n);
    return ERR_OK;
}

enum err arc_chain_of(struct arena *a, const struct dkim_fields *fields, struct arc_chain *out)
{
    *out = (struct arc_chain){0};
    struct arc_set *sets = NULL;
    size_t highest = 0, seen = 0;
    for (size_t i = 0; i < fields->count; i++) {
        if (!str_starts_nocase(fields->fields[i].name, STR("ARC-")))
            continue;
        if (++seen > 3 * (size_t)ARC_SETS_MAX)
            return ERR_LIMIT;
        if (!sets)
            sets = ARENA_ARRAY(a, struct arc_set, ARC_SETS_MAX);
        if (!sets)
            return ERR_NOMEM;
        TRY(chain_add(a, sets, &fields->fields[i], &highest));
    }
    for (size_t i = 0; i < highest; i++) {
        if (!sets[i].results || !sets[i].message || !sets[i].seal)
            return ERR_SYNTAX;
        enum dkim_chain cv = sets[i].seal_sig.chain;
        if (cv == DKIM_CHAIN_FAIL)
            return i + 1 == highest ? ERR_DENIED : ERR_SYNTAX;
        if (cv != (i ? DKIM_CHAIN_PASS : DKIM_CHAIN_NONE))
            return ERR_SYNTAX;
    }
    out->sets = sets;
    out->count = highest;
    return ERR_OK;
}

enum err arc_hash_seal(struct arena *a, const struct arc_chain *chain, size_t n, dkim_sink_fn *sink,
                       void *context)
{
    assert(n >= 1 && n <= chain->count);
    for (size_t i = 0; i < n; i++) {
        const struct arc_set *set = &chain->sets[i];
        dkim_field_canon(DKIM_RELAXED, set->results->raw, true, sink, context);
        dkim_field_canon(DKIM_RELAXED, set->message->raw, true, sink, context);
        if (i + 1 < n)
            dkim_field_canon(DKIM_RELAXED, set->seal->raw, true, sink, context);
        else
            TRY(dkim_hash_own(a, &set->seal_sig, DKIM_RELAXED, set->seal->raw, sink, context));
    }
    return ERR_OK;
}
