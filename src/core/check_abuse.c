/* SPDX-License-Identifier: Apache-2.0
 *
 * What greylisting and the sending limits remember: every row decodes and stands at its key; the
 * greylist's rows are counted right.
 */
#include "core/check_private.h"
#include "core/directory.h"
#include "core/greylist.h"
#include "core/send_limit.h"

struct abuse_check {
    struct check *c;
    uint64_t rows;
    int64_t counted;
    struct buf accounts; /* uint64_t, that have rows of the limits */
};

static void on_grey(void *arg, str key, str value)
{
    struct abuse_check *a = arg;
    struct greylist_row row;
    a->rows++;
    if (greylist_row_decode(key, value, &row) != ERR_OK)
        check_found(a->c, true, false, "unreadable row of the greylist");
}

static void on_count(void *arg, str key, str value)
{
    struct abuse_check *a = arg;
    struct reader r = reader_of(value);
    a->counted = (int64_t)read_be64(&r);
    if (key.len != 1 || r.failed)
        check_found(a->c, true, false, "unreadable counter of the greylist");
}

enum err check_greylist(struct check *c)
{
    struct abuse_check a = {.c = c};
    TRY(check_scan(c, SPACE_GREY_TRIPLET, on_grey, &a));
    TRY(check_scan(c, SPACE_GREY_CLIENT, on_grey, &a));
    TRY(check_scan(c, SPACE_GREY_COUNT, on_count, &a));
    if (a.counted != (int64_t)a.rows)
        check_found(c, true, true, "the greylist has %llu rows and counts %lld",
                    (unsigned long long)a.rows, (long long)a.counted);
    return ERR_OK;
}

static void on_sending(void *arg, str key, str value)
{
    struct abuse_check *a = arg;
    uint64_t account = 0;
    if (send_rows_check(key, value, &account) != ERR_OK)
        check_found(a->c, true, false, "unreadable row of a sending limit, account %llu",
                    (unsigned long long)account);
    else
        buf_add(&a->accounts, str_of(&account, sizeof account));
}

/* Rows that an account left behind do no harm: its id is never given again. */
static enum err check_accounts(struct abuse_check *a) WAITS
{
    struct directory d = {a->c->store};
    const uint64_t *ids = (const uint64_t *)a->accounts.data;
    for (size_t i = 0; i < a->accounts.len / sizeof *ids; i++) {
        ARENA_AUTO struct arena arena = ARENA_INIT(1 << 16);
        struct account_entry entry;
        enum err e = directory_account_get(&d, ids[i], &arena, &entry);
        if (e == ERR_NOT_FOUND)
            check_found(a->c, false, true, "a sending limit is left of account %llu",
                        (unsigned long long)ids[i]);
        else if (e != ERR_OK && e != ERR_CORRUPT)
            return e;
    }
    return ERR_OK;
}

enum err check_sending(struct check *c)
{
    struct abuse_check a = {.c = c, .accounts = BUF_INIT(CHECK_BYTES_MAX)};
    enum err e = check_scan(c, SPACE_SEND_USED, on_sending, &a);
    if (e == ERR_OK)
        e = check_scan(c, SPACE_SEND_LIMIT, on_sending, &a);
    if (e == ERR_OK)
        e = buf_ok(&a.accounts) ? check_accounts(&a) : ERR_NOMEM;
    buf_free(&a.accounts);
    return e;
}
