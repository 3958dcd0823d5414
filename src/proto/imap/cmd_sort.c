/* SPDX-License-Identifier: Apache-2.0
 *
 * SORT (RFC 5256 3, RFC 5267 for RETURN, RFC 5957 for DISPLAYFROM and DISPLAYTO).
 */
#include "proto/imap/search_context.h"
#include "proto/imap/search_sort.h"

static enum err sort_selected(struct imap *x, const struct imap_search *args,
                              const struct imap_cursor *c, size_t start)
{
    struct search_place place = search_place_selected(x);
    struct search_program *p = NULL;
    struct search_found found = {0};
    struct search_reply r = {.x = x, .args = args, .uid = x->uid, .found = &found, .sorted = true};
    search_context_mark(x, &r);
    enum err e = search_compile(x, args, &place, &x->scratch, &p);
    if (e == ERR_OK)
        e = search_run(x, p, &place, &(struct search_span){0}, &found);
    if (e == ERR_OK)
        e = search_reply_open(&r);
    if (e == ERR_OK)
        e = search_sort(&place, args, &found, &r.uids);
    if (e == ERR_OK && !search_reply_number(&r))
        e = ERR_NOMEM;
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

void imap_cmd_sort(struct imap *x, struct imap_cursor *c)
{
    struct imap_search args;
    size_t start = c->pos;
    if (!imap_take_sort(c, &args)) {
        imap_refuse(x, c);
        return;
    }
    if (args.uses_numbers && imap_has(x, IMAP_ENABLED_UIDONLY)) {
        imap_bad_text(x, IMAP_UIDREQUIRED);
        return;
    }
    if (args.uses_modseq)
        imap_condstore_on(x);
    enum err e = sort_selected(x, &args, c, start);
    if (e == ERR_OK) {
        imap_done(x, STR_NONE, "SORT completed");
        return;
    }
    if (args.results & SEARCH_RETURN_SAVE && x->search)
        set_free(&x->search->saved);
    search_refuse(x, &args, e);
}
