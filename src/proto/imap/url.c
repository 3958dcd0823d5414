/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/url.h"

#include "base/num.h"
#include "proto/imap/fetch.h"

#define PIECE_MAX 65536

static bool add_piece(void *arg, str piece)
{
    spool_add(arg, piece);
    return true;
}

static bool section_of(struct imap *x, str text, struct imap_section *out)
{
    if (str_empty(text))
        return true;
    str whole = arena_fmt(&x->scratch, "[%.*s]", STR_ARG(text));
    struct imap_cursor c = imap_cursor_of(whole, &x->scratch, true);
    return imap_take_section(&c, out) && imap_end(&c);
}

/* The part of size bytes that ";PARTIAL=" leaves (RFC 5550 3.3), from *offset on. */
static uint64_t partial_of(const struct imap_url *url, uint64_t size, uint64_t *offset)
{
    if (!url->partial)
        return size;
    uint64_t skip = MIN(url->offset, size);
    *offset += skip;
    return url->count ? MIN(size - skip, url->count) : size - skip;
}

static enum err add_range(const struct fetch_text *t, const struct imap_section *section,
                          const struct imap_url *url, struct spool *out)
{
    struct fetch_range r = fetch_section_range(t, section);
    if (!r.exists)
        return ERR_NOT_FOUND;
    r.size = partial_of(url, r.size, &r.offset);
    for (uint64_t at = 0; at < r.size; at += PIECE_MAX)
        TRY(message_pieces(t->account, t->cold, r.offset + at,
                           MIN(r.size - at, (uint64_t)PIECE_MAX), add_piece, out));
    return out->err;
}

static enum err add_fields(const struct fetch_text *t, const struct imap_section *section,
                           const struct imap_url *url, struct spool *out)
{
    BUF_AUTO struct buf fields = BUF_INIT(FETCH_FIELDS_MAX);
    uint64_t offset = 0;
    TRY(fetch_header_fields(t, section, &fields));
    uint64_t size = partial_of(url, fields.len, &offset);
    spool_add(out, str_sub(buf_str(&fields), (size_t)offset, (size_t)size));
    return out->err;
}

static enum err message_of(struct account *a, uint32_t mailbox, const struct imap_url *url,
                           uint64_t *message)
{
    struct mailbox_view *view;
    TRY(view_open(a, mailbox, &view));
    const struct message_row *row = view_find(view, url->uid);
    const struct mailbox *m = view_mailbox(view);
    bool valid = row && m && (!url->uidvalidity || url->uidvalidity == m->uidvalidity);
    *message = valid ? row->message : 0;
    view_close(view);
    return valid ? ERR_OK : ERR_NOT_FOUND;
}

enum err imap_url_spool(struct imap *x, struct account *a, uint32_t mailbox,
                        const struct imap_url *url, struct spool *out)
{
    struct message_cold cold;
    struct mime_cold mime;
    struct imap_section section = {0};
    uint64_t message;
    BUF_AUTO struct buf raw = BUF_INIT(STORE_VALUE_MAX);
    if (!section_of(x, url->section, &section))
        return ERR_SYNTAX;
    TRY(message_of(a, mailbox, url, &message));
    TRY(message_cold(a, message, &raw, &cold));
    TRY(mime_cold_decode(cold.mime, &mime));
    struct fetch_text t = {.account = a, .cold = &cold, .mime = &mime, .scratch = &x->scratch};
    bool fields = section.kind == IMAP_SECTION_HEADER_FIELDS ||
                  section.kind == IMAP_SECTION_HEADER_FIELDS_NOT;
    return fields ? add_fields(&t, &section, url, out) : add_range(&t, &section, url, out);
}
