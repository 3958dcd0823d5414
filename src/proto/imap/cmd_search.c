/* SPDX-License-Identifier: Apache-2.0
 *
 * SEARCH (RFC 9051 6.4.4 with 4731, 5182, 5267, 9394).
 */
#include "base/num.h"
#include "proto/imap/search_context.h"

/* What the options of one command may not ask together; text for BAD, or NULL. */
static const char *objection(const struct imap *x, const struct imap_search *args)
{
    if (!str_empty(args->charset) && imap_has(x, IMAP_ENABLED_UTF8) &&
        !str_eq_nocase(args->charset, STR("UTF-8")))
        return "No charset but UTF-8 after ENABLE UTF8=ACCEPT (RFC 6855)";
    return NULL;
}

static enum err search_selected(struct imap *x, const struct imap_search *args,
                                const struct imap_cursor *c, size_t start)
{
    struct search_place place = search_place_selected(x);
    struct search_program *p = NULL;
    struct search_found found = {0};
    struct search_reply r = {.x = x, .args = args, .uid = x->uid, .found = &found};
    search_context_mark(x, &r);
    enum err e = search_compile(x, args, &place, &x->scratch, &p);
    if (e == ERR_OK)
        e = search_run(x, p, &place, &(struct search_span){0}, &found);
    if (e == ERR_OK)
        e = search_reply_open(&r);
    if (e == ERR_OK && (args->results & SEARCH_RETURN_SAVE))
        e = search_reply_save(&r);
    if (e == ERR_OK)
        search_reply_tell(&r);
    if (e == ERR_OK && (args->results & SEARCH_RETURN_UPDATE))
        search_context_start(x, c, start, &r);
    search_reply_close(&r);
    search_found_free(&found);
    search_program_free(p);
    return e;
}

void imap_cmd_search(struct imap *x, struct imap_cursor *c)
{
    struct imap_search args;
    size_t start = c->pos;
    if (!imap_take_search(c, &args)) {
        imap_refuse(x, c);
        return;
    }
    if (args.uses_numbers && imap_has(x, IMAP_ENABLED_UIDONLY)) {
        imap_bad_text(x, IMAP_UIDREQUIRED);
        return;
    }
    const char *why = objection(x, &args);
    if (why) {
        imap_bad_text(x, why);
        return;
    }
    if (args.uses_modseq)
        imap_condstore_on(x);
    enum err e = search_selected(x, &args, c, start);
    if (e == ERR_OK) {
        imap_done(x, STR_NONE, "SEARCH completed");
        return;
    }
    if (args.results & SEARCH_RETURN_SAVE && x->search)
        set_free(&x->search->saved); /* RFC 5182 2.1: NO leaves the empty set */
    search_refuse(x, &args, e);
}
