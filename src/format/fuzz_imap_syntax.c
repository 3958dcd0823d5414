/* SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the command ('a' to 't'), the rest are its arguments.
 */
#include <assert.h>

#include "format/imap_search_syntax.h"
#include "format/imap_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take_append(struct imap_cursor *c)
{
    struct imap_append append = {0};
    for (size_t i = 0; i < c->in.len + 2; i++) {
        enum imap_append_step step = imap_append_next(c, &append);
        if (step == IMAP_APPEND_LITERAL || step == IMAP_APPEND_TEXT || step == IMAP_APPEND_END ||
            step == IMAP_APPEND_BAD)
            return;
    }
    assert(!"APPEND goes on without taking anything");
}

static void take_small(struct imap_cursor *c, char which)
{
    struct imap_pairs pairs;
    struct imap_quota quota;
    struct imap_getmetadata metadata;
    struct imap_notify notify;
    struct imap_seq seq;
    uint32_t a, b, n;
    str s;
    char op;
    switch (which) {
    case 'l':
        imap_take_id(c, &pairs);
        break;
    case 'm':
        imap_take_setquota(c, &quota);
        break;
    case 'n':
        imap_take_rights(c, &op, &n);
        break;
    case 'o':
        imap_take_getmetadata(c, &metadata);
        break;
    case 'p':
        imap_take_setmetadata(c, &s, &pairs);
        break;
    case 'q':
        imap_take_notify(c, &notify);
        break;
    case 'r':
        imap_take_uidbatches(c, &n, &a, &b);
        break;
    case 's':
        if (imap_seq_set(c, &seq)) {
            SET_AUTO struct set set = {0};
            assert(imap_seq_resolve(&seq, 7, &set) == ERR_OK);
        }
        break;
    default:
        imap_date(c);
    }
}

static void take(struct imap_cursor *c, char which)
{
    struct imap_fetch fetch;
    struct imap_store store;
    struct imap_list list;
    struct imap_select select;
    struct imap_create create;
    struct imap_search search;
    switch (which) {
    case 'a':
        imap_take_fetch(c, &fetch);
        break;
    case 'b':
        imap_take_store(c, &store);
        break;
    case 'c':
        imap_take_status_items(c);
        break;
    case 'd':
        imap_take_list(c, &list);
        break;
    case 'e':
        imap_take_select(c, &select);
        break;
    case 'f':
        imap_take_create(c, &create);
        break;
    case 'g':
        imap_take_search(c, &search);
        break;
    case 'h':
        imap_take_sort(c, &search);
        break;
    case 'i':
        imap_take_thread(c, &search);
        break;
    case 'j':
        imap_take_esearch(c, &search);
        break;
    case 'k':
        take_append(c);
        break;
    default:
        take_small(c, which);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 65536)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(16 << 20);
    str text = str_of(data + 1, size - 1);
    struct imap_cursor c = imap_cursor_of(text, &a, data[0] & 0x80);
    take(&c, (char)(data[0] & 0x7f));
    assert(c.pos <= text.len && c.error_pos <= text.len);
    struct imap_literal head;
    if (imap_literal_at_end(text, &head))
        assert(head.begin < text.len);
    (void)imap_literal_is_message(text);
    struct imap_url url;
    (void)!imap_url_parse(&a, text, &url);
    /* what we render is read back as the same */
    BUF_AUTO struct buf wire = BUF_INIT(1 << 20);
    imap_render_astring(&wire, text);
    struct imap_cursor back = imap_cursor_of(buf_str(&wire), &a, false);
    str s = imap_astring(&back);
    if (str_find_char(text, '\0') == STR_NPOS)
        assert(imap_end(&back) && str_eq(s, text));
    return 0;
}
