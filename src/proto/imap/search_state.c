/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/search_context.h"

struct imap_search_state *search_state(struct imap *x)
{
    if (!x->search) {
        x->search = ARENA_NEW(&x->arena, struct imap_search_state);
        if (x->search)
            list_init(&x->search->contexts);
    }
    return x->search;
}

const struct set *imap_search_saved(const struct imap *x)
{
    return x->search ? &x->search->saved : NULL;
}

void imap_search_unselected(struct imap *x)
{
    if (x->search) {
        set_free(&x->search->saved);
        search_contexts_free(x);
    }
}

void imap_search_end(struct imap *x) { imap_search_unselected(x); }
