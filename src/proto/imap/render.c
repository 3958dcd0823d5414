/* SPDX-License-Identifier: Apache-2.0
 *
 * What several families show in the same way: flags, ids, the frame of a FETCH response.
 */
#include "base/num.h"
#include "proto/imap/session.h"

static const struct {
    uint32_t core, imap;
    str name;
} flag_table[] = {
    {FLAG_SEEN, IMAP_FLAG_SEEN, STR_INIT("\\Seen")},
    {FLAG_ANSWERED, IMAP_FLAG_ANSWERED, STR_INIT("\\Answered")},
    {FLAG_FLAGGED, IMAP_FLAG_FLAGGED, STR_INIT("\\Flagged")},
    {FLAG_DELETED, IMAP_FLAG_DELETED, STR_INIT("\\Deleted")},
    {FLAG_DRAFT, IMAP_FLAG_DRAFT, STR_INIT("\\Draft")},
};

uint32_t imap_flags_of(uint32_t flags)
{
    uint32_t out = 0;
    for (size_t i = 0; i < ARRAY_LEN(flag_table); i++)
        if (flags & flag_table[i].core)
            out |= flag_table[i].imap;
    return out;
}

uint32_t imap_flags_to(uint32_t flags)
{
    uint32_t out = 0;
    for (size_t i = 0; i < ARRAY_LEN(flag_table); i++)
        if (flags & flag_table[i].imap)
            out |= flag_table[i].core;
    return out;
}

void imap_render_row_flags(const struct message_row *row, const struct keyword_table *keywords,
                           struct buf *out)
{
    bool first = true;
    buf_add_char(out, '(');
    for (size_t i = 0; row->flags && i < ARRAY_LEN(flag_table); i++)
        if (row->flags & flag_table[i].core) {
            if (!first)
                buf_add_char(out, ' ');
            buf_add(out, flag_table[i].name);
            first = false;
        }
    for (uint64_t bits = row->keywords; bits; bits &= bits - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(bits);
        if (bit >= keywords->count)
            break;
        if (!first)
            buf_add_char(out, ' ');
        buf_add(out, keywords->names[bit]);
        first = false;
    }
    buf_add_char(out, ')');
}

void imap_fetch_open(struct imap *x, uint32_t seq, uint32_t uid, struct buf *out)
{
    bool uidonly = imap_has(x, IMAP_ENABLED_UIDONLY);
    buf_add(out, STR("* "));
    buf_add_u64(out, uidonly ? uid : seq);
    buf_add(out, uidonly ? STR(" UIDFETCH (") : STR(" FETCH ("));
}

void imap_fetch_close(struct buf *out) { buf_add(out, STR(")\r\n")); }

void imap_fetch_flags(struct imap *x, uint32_t seq, const struct message_row *row,
                      const struct keyword_table *keywords, bool with_uid, bool with_modseq)
{
    struct buf *out = imap_out(x);
    imap_fetch_open(x, seq, row->uid, out);
    if (with_uid && !imap_has(x, IMAP_ENABLED_UIDONLY)) {
        buf_add(out, STR("UID "));
        buf_add_u64(out, row->uid);
        buf_add_char(out, ' ');
    }
    buf_add(out, STR("FLAGS "));
    imap_render_row_flags(row, keywords, out);
    if (with_modseq) {
        buf_add(out, STR(" MODSEQ ("));
        buf_add_u64(out, row->modseq);
        buf_add_char(out, ')');
    }
    imap_fetch_close(out);
}

void imap_hide_nul(struct buf *out, size_t from)
{
    char *p = out->data + from, *end = out->data + out->len;
    while (p < end && (p = memchr(p, '\0', (size_t)(end - p))))
        *p++ = (char)0x80;
}

void imap_render_id(char kind, uint64_t id, struct buf *out)
{
    buf_addf(out, "(%c%016llx)", kind, (unsigned long long)id);
}
