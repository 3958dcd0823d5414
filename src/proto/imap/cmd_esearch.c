/* SPDX-License-Identifier: Apache-2.0
 *
 * ESEARCH: several mailboxes by one command (RFC 7377).
 */
#include "base/num.h"
#include "proto/imap/search_reply.h"

struct esearch {
    struct imap *x;
    const struct imap_search *args;
};

static bool is_selected(const struct imap *x, const struct account *a, uint32_t mailbox)
{
    return x->selected && account_id(x->selected->account) == account_id(a) &&
           x->selected->mailbox == mailbox;
}

/* Mailboxes without a match are not mentioned (RFC 7377 2.1). */
static enum err search_place(struct esearch *e, const struct search_place *place, str name)
{
    struct imap *x = e->x;
    struct search_program *p = NULL;
    struct search_found found = {0};
    BUF_AUTO struct buf shown = BUF_INIT(8192);
    const struct mailbox *m = view_mailbox(place->view);
    struct search_reply r = {.x = x,
                             .args = e->args,
                             .uid = true,
                             .found = &found,
                             .uidvalidity = m ? m->uidvalidity : 0};
    imap_render_mailbox(&shown, name, imap_utf8_names(x));
    r.mailbox = buf_str(&shown);
    enum err err = m ? search_compile(x, e->args, place, &x->scratch, &p) : ERR_NOT_FOUND;
    if (err == ERR_OK)
        err = search_run(x, p, place, &(struct search_span){0}, &found);
    if (err == ERR_OK)
        err = search_reply_open(&r);
    if (err == ERR_OK && (e->args->results & SEARCH_RETURN_SAVE))
        err = search_reply_save(&r);
    if (err == ERR_OK && found.uids.count > 0)
        search_reply_tell(&r);
    search_reply_close(&r);
    search_found_free(&found);
    search_program_free(p);
    return err;
}

static enum err search_selected(struct esearch *e, bool only)
{
    struct search_place place = search_place_selected(e->x);
    BUF_AUTO struct buf name = BUF_INIT(8192);
    const struct mailbox *m = view_mailbox(place.view);
    if (!m)
        return ERR_NOT_FOUND;
    imap_place_name(e->x, place.account, m, &name);
    if (!only)
        place.session = NULL; /* numbers have no meaning among several mailboxes */
    return search_place(e, &place, buf_str(&name));
}

static enum err search_listed(struct esearch *e, const struct imap_listed *row)
{
    struct search_place place = {.account = row->account, .last_uid = UINT32_MAX};
    if (is_selected(e->x, row->account, row->mailbox))
        return search_selected(e, false);
    enum err err = view_open(row->account, row->mailbox, &place.view);
    if (err == ERR_OK)
        err = search_place(e, &place, row->name);
    view_close(place.view);
    return err == ERR_NOT_FOUND ? ERR_OK : err; /* deleted meanwhile */
}

static bool wanted(const struct esearch *e, const struct imap_listed *row)
{
    if (!row->account || !(row->rights & IMAP_RIGHT('r')))
        return false;
    for (size_t i = 0; i < e->args->nsources; i++) {
        const struct imap_filter *f = &e->args->sources[i];
        if (f->kind == IMAP_FILTER_SELECTED ? is_selected(e->x, row->account, row->mailbox)
                                            : imap_filter_has(f, row))
            return true;
    }
    return false;
}

static enum err search_sources(struct esearch *e)
{
    struct imap_listing l = {0};
    enum err err = imap_listing_gather(e->x, IMAP_LISTING_SHARED, &e->x->scratch, &l);
    for (size_t i = 0; err == ERR_OK && i < l.n; i++)
        if (wanted(e, &l.rows[i]))
            err = search_listed(e, &l.rows[i]);
    imap_listing_close(&l);
    return err;
}

void imap_cmd_esearch(struct imap *x, struct imap_cursor *c)
{
    struct imap_search args;
    struct esearch e = {x, &args};
    if (!imap_take_esearch(c, &args)) {
        imap_refuse(x, c);
        return;
    }
    if (args.uses_numbers && imap_has(x, IMAP_ENABLED_UIDONLY)) {
        imap_bad_text(x, IMAP_UIDREQUIRED);
        return;
    }
    bool only =
        args.nsources == 0 || (args.nsources == 1 && args.sources[0].kind == IMAP_FILTER_SELECTED);
    bool selected = only;
    for (size_t i = 0; i < args.nsources; i++)
        selected |= args.sources[i].kind == IMAP_FILTER_SELECTED;
    if (selected && !x->selected) {
        imap_bad_text(x, "Select a mailbox first");
        return;
    }
    if ((args.results & SEARCH_RETURN_SAVE) && !only) {
        imap_bad_text(x, "SAVE needs the selected mailbox alone");
        return;
    }
    if (args.results & SEARCH_RETURN_UPDATE) {
        buf_add(imap_out(x), STR("* NO [NOUPDATE "));
        imap_render_string(imap_out(x), x->tag);
        buf_add(imap_out(x), STR("] Not kept up to date\r\n"));
    }
    enum err err = only ? search_selected(&e, true) : search_sources(&e);
    if (err == ERR_OK)
        imap_done(x, STR_NONE, "ESEARCH completed");
    else
        search_refuse(x, &args, err);
}
