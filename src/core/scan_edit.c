/* SPDX-License-Identifier: Apache-2.0 */
#include "core/scan.h"

#include "base/num.h"
#include "format/header.h"
#include "format/words.h"

#define SUBJECT_BYTES_MAX 8192
#define RULES_MAX 128

bool scan_field_fits(str name, str message)
{
    static const str once[] = {STR_INIT("Subject"),   STR_INIT("To"),       STR_INIT("Cc"),
                               STR_INIT("Bcc"),       STR_INIT("Reply-To"), STR_INIT("In-Reply-To"),
                               STR_INIT("References")};
    struct header_field f;
    for (size_t i = 0; i < ARRAY_LEN(once); i++)
        if (str_eq_nocase(once[i], name))
            return !header_find(message, name, &f);
    return true;
}

struct walk {
    const struct scan_edit *edit;
    unsigned seen[RULES_MAX], total[RULES_MAX]; /* fields of each rule's name */
    bool subject_given;
};

static bool rule_hits(struct walk *w, size_t i, str name)
{
    const struct scan_removal *r = &w->edit->remove[i];
    if (!str_eq_nocase(r->name, name))
        return false;
    unsigned n = ++w->seen[i];
    return r->index == 0 || (r->index > 0 && n == (unsigned)r->index) ||
           (r->index < 0 && w->total[i] - n + 1 == (unsigned)-r->index);
}

static bool goes(struct walk *w, str name)
{
    bool hit = !str_empty(w->edit->subject) && str_eq_nocase(name, STR("Subject"));
    for (size_t i = 0; i < MIN(w->edit->nremove, (size_t)RULES_MAX); i++)
        hit |= rule_hits(w, i, name);
    return hit;
}

static void count_names(struct walk *w, str message)
{
    struct header_iter it = header_iter_of(message);
    struct header_field f;
    while (header_next(&it, &f))
        for (size_t i = 0; i < MIN(w->edit->nremove, (size_t)RULES_MAX); i++)
            w->total[i] += str_eq_nocase(w->edit->remove[i].name, f.name);
}

static void give_subject(struct walk *w, scan_sink_fn *sink, void *context)
{
    BUF_AUTO struct buf field = BUF_INIT(SUBJECT_BYTES_MAX);
    if (str_empty(w->edit->subject) || w->subject_given)
        return;
    w->subject_given = true;
    buf_add_c(&field, "Subject: ");
    words_encode(&field, w->edit->subject, field.len);
    buf_add_c(&field, "\r\n");
    if (buf_ok(&field))
        sink(context, buf_str(&field));
}

bool scan_edit_apply(const struct scan_edit *e, str message, scan_sink_fn *sink, void *context)
{
    struct walk w = {.edit = e};
    struct header_iter it = header_iter_of(message);
    struct header_field f;
    size_t given = 0;
    bool changed = false;
    count_names(&w, message);
    if (!str_empty(e->subject)) {
        changed = true; /* where it was, or first when there was none */
        struct header_field old;
        if (!header_find(message, STR("Subject"), &old))
            give_subject(&w, sink, context);
    }
    while (header_next(&it, &f)) {
        if (!goes(&w, f.name))
            continue;
        changed = true;
        sink(context, str_sub(message, given, f.offset - given));
        if (str_eq_nocase(f.name, STR("Subject")))
            give_subject(&w, sink, context);
        given = f.offset + f.size;
    }
    if (changed)
        sink(context, str_skip(message, given));
    return changed;
}
