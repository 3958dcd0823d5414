/* SPDX-License-Identifier: Apache-2.0
 *
 * THREAD (RFC 5256 3).
 */
#include "base/num.h"
#include "os/offload.h"
#include "proto/imap/search_sort.h"
#include "proto/imap/search_thread.h"

struct threading {
    struct imap *x;
    const struct imap_search *args;
    struct buf messages, pool, refs, out;
    enum err e;
};

static void add_row(void *arg, const struct message_row *row, const struct mime_cold *m)
{
    struct threading *t = arg;
    struct thread_message v = {
        .number = t->x->uid ? row->uid : mailbox_session_seq(&t->x->selected->view, row->uid),
        .sent = search_sent(row, m),
        .subject = (uint32_t)t->pool.len,
        .refs = (uint32_t)(t->refs.len / sizeof(uint64_t)),
    };
    if (m) {
        v.is_reply = m->flags & MIME_COLD_IS_REPLY;
        v.id = m->message_id_hash;
        v.nrefs = m->references_count;
        search_fold_all(m->base_subject, &t->pool);
        for (uint32_t i = 0; i < m->references_count; i++) {
            uint64_t ref = mime_cold_reference(m, i);
            buf_add(&t->refs, str_of(&ref, sizeof ref));
        }
    }
    v.subject_len = (uint32_t)t->pool.len - v.subject;
    buf_add(&t->messages, str_of(&v, sizeof v));
}

static void thread_now(void *arg)
{
    struct threading *t = arg;
    struct thread_input in = {
        .messages = (const struct thread_message *)t->messages.data,
        .count = t->messages.len / sizeof(struct thread_message),
        .pool = buf_str(&t->pool),
        .refs = (const uint64_t *)t->refs.data,
    };
    t->e = t->args->thread == THREAD_ORDEREDSUBJECT ? thread_ordered_subject(&in, &t->out)
                                                    : thread_references(&in, &t->out);
}

static enum err thread_found(struct threading *t, const struct search_place *place,
                             const struct search_found *found)
{
    TRY(search_each_row(place, &found->uids, true, add_row, t));
    if (!buf_ok(&t->messages) || !buf_ok(&t->pool) || !buf_ok(&t->refs))
        return ERR_LIMIT;
    TRY(offload_run(thread_now, t));
    return t->e;
}

static void tell(struct threading *t)
{
    struct buf *out = imap_out(t->x);
    buf_add(out, STR("* THREAD"));
    if (t->out.len)
        buf_add_char(out, ' ');
    for (size_t at = 0; at < t->out.len; at += 16384) {
        buf_add(imap_out(t->x), str_sub(buf_str(&t->out), at, 16384));
        imap_flush_check(t->x);
    }
    buf_add(imap_out(t->x), STR("\r\n"));
}

static enum err thread_selected(struct imap *x, const struct imap_search *args)
{
    struct search_place place = search_place_selected(x);
    struct search_program *p = NULL;
    struct search_found found = {0};
    struct threading t = {.x = x, .args = args};
    buf_init(&t.messages, SEARCH_SORT_BYTES_MAX);
    buf_init(&t.pool, SEARCH_SORT_BYTES_MAX);
    buf_init(&t.refs, SEARCH_SORT_BYTES_MAX);
    buf_init(&t.out, SEARCH_SORT_BYTES_MAX);
    enum err e = search_compile(x, args, &place, &x->scratch, &p);
    if (e == ERR_OK)
        e = search_run(x, p, &place, &(struct search_span){0}, &found);
    if (e == ERR_OK)
        e = thread_found(&t, &place, &found);
    if (e == ERR_OK)
        tell(&t);
    buf_free(&t.messages);
    buf_free(&t.pool);
    buf_free(&t.refs);
    buf_free(&t.out);
    search_found_free(&found);
    search_program_free(p);
    return e;
}

void imap_cmd_thread(struct imap *x, struct imap_cursor *c)
{
    struct imap_search args;
    if (!imap_take_thread(c, &args)) {
        imap_refuse(x, c);
        return;
    }
    if (args.uses_numbers && imap_has(x, IMAP_ENABLED_UIDONLY)) {
        imap_bad_text(x, IMAP_UIDREQUIRED);
        return;
    }
    if (args.thread == THREAD_REFS) {
        imap_bad_text(x, "Threading algorithm not known");
        return;
    }
    enum err e = thread_selected(x, &args);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "THREAD completed");
    else
        search_refuse(x, &args, e);
}
