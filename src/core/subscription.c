/* SPDX-License-Identifier: Apache-2.0 */
#include "core/subscription.h"

#include <stdlib.h>

#include "base/num.h"
#include "core/account_private.h"

#define VERSION 1
#define HEAD 2 /* bytes before the name */

void subscription_keep(struct change *c, uint32_t mailbox, str path)
{
    BUF_AUTO struct buf row = BUF_INIT(HEAD + MAILBOX_PATH_MAX);
    buf_add_char(&row, SPACE_SUBSCRIBED);
    buf_add_char(&row, VERSION);
    buf_add(&row, path);
    change_put(c, key_subscribed(0, mailbox), buf_str(&row));
}

bool subscription_row_valid(str key, str value)
{
    uint64_t owner;
    bool kept = key.len == 13 && key_u64(key, 1, &owner) && owner == 0;
    return key.len == 13 && value.len >= HEAD && value.data[0] == SPACE_SUBSCRIBED &&
           (value.len > HEAD) == kept;
}

struct kept {
    struct arena *arena;
    str names[SUBSCRIPTIONS_KEPT_MAX];
    uint32_t mailboxes[SUBSCRIPTIONS_KEPT_MAX];
    size_t n;
    bool failed;
};

static bool kept_row(void *arg, const struct store_row *row)
{
    struct kept *k = arg;
    if (!subscription_row_valid(row->key, row->value) || row->value.data[1] != VERSION ||
        !key_u32(row->key, 9, &k->mailboxes[k->n]))
        return true; /* check tells of it */
    if (!arena_dup(k->arena, str_skip(row->value, HEAD), &k->names[k->n]))
        k->failed = true;
    else
        k->n++;
    return !k->failed && k->n < SUBSCRIPTIONS_KEPT_MAX;
}

static enum err read_kept(struct account *a, struct arena *arena, struct kept **out)
{
    struct store_key from = key_subscribed(0, 0), to = key_subscribed(1, 0);
    struct store_scan q = {.partition = a->id,
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .limit = SUBSCRIPTIONS_KEPT_MAX};
    *out = ARENA_NEW(arena, struct kept);
    if (!*out)
        return ERR_LIMIT;
    (*out)->arena = arena;
    TRY(store_scan(accounts_store(a->owner), &q, kept_row, *out, NULL));
    return (*out)->failed ? ERR_LIMIT : ERR_OK;
}

static int by_path(const void *a, const void *b)
{
    return mailbox_path_cmp(*(const str *)a, *(const str *)b);
}

enum err subscription_kept(struct account *a, struct arena *arena, const str **names, size_t *n)
{
    struct kept *k;
    TRY(read_kept(a, arena, &k));
    qsort(k->names, k->n, sizeof(str), by_path);
    *names = k->names;
    *n = k->n;
    return ERR_OK;
}

static enum err forget_step(struct change *c, void *arg)
{
    const struct kept *k = arg;
    for (size_t i = 0; i < k->n; i++)
        change_delete(c, key_subscribed(0, k->mailboxes[i]));
    change_note(c, CHANGE_MAILBOX_CHANGED, 0); /* none that exists */
    return ERR_OK;
}

enum err subscription_forget(struct account *a, str path)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(4 << 20);
    struct kept *k;
    size_t n = 0;
    TRY(account_ready(a));
    TRY(read_kept(a, &arena, &k));
    for (size_t i = 0; i < k->n; i++)
        if (str_eq(k->names[i], path))
            k->mailboxes[n++] = k->mailboxes[i];
    k->n = n;
    return n ? change_run_step(a, forget_step, k) : ERR_NOT_FOUND;
}
