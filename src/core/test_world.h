/* SPDX-License-Identifier: Apache-2.0
 *
 * test_world: a store, accounts on it, and messages to put there. For the tests of core only.
 */
#ifndef CORE_TEST_WORLD_H
#define CORE_TEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/account.h"
#include "core/check.h"
#include "core/mailbox.h"
#include "core/message.h"
#include "format/mime_cold.h"
#include "os/file.h"
#include "os/loop.h"

#define OK(call) assert_int_equal((call), ERR_OK)
#define ACCOUNT 5000u

struct world {
    struct store *store;
    struct accounts *accounts;
    struct account *account;
    struct quota quota;
};

static enum err world_quota(void *ctx, uint64_t account, struct quota *out)
{
    *out = ((struct world *)ctx)->quota;
    return ERR_OK;
}

static inline struct accounts *world_accounts(struct world *w)
{
    struct accounts *as;
    OK(accounts_open(
        &(struct accounts_options){.store = w->store, .quota_ctx = w, .quota = world_quota}, &as));
    return as;
}

static inline void world_open(struct world *w)
{
    *w = (struct world){0};
    OK(store_open_memory(&w->store));
    w->accounts = world_accounts(w);
    OK(account_open(w->accounts, ACCOUNT, &w->account));
    OK(account_create_mailboxes(w->account));
}

static void show_finding(void *arg, bool fatal, uint64_t partition, str text)
{
    if (fatal)
        fprintf(stderr, "partition %llu: %.*s\n", (unsigned long long)partition, STR_ARG(text));
}

/* Everything in the store agrees with everything. */
static inline void store_is_clean(struct store *s)
{
    struct check_result r;
    OK(check_store(s, show_finding, NULL, &r));
    assert_int_equal(r.findings, 0);
}

static inline void world_close(struct world *w)
{
    store_is_clean(w->store);
    account_close(w->account);
    accounts_close(w->accounts);
    store_close(w->store);
}

static inline uint32_t mailbox_id(struct account *a, const char *path)
{
    const struct mailbox *m = mailbox_find(a, str_c(path));
    assert_non_null(m);
    return m->id;
}

/* The cold row's bytes of a message. */
static inline void mime_of(str message, struct buf *out)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(MIME_ARENA_MAX);
    struct mime m;
    OK(mime_parse(&arena, message, &m));
    OK(mime_cold_encode(&arena, &m, out));
}

static inline enum err add_text(struct account *a, uint32_t mailbox, str text, uint32_t flags,
                                const struct store_token *token, struct message_added *added,
                                struct message_add_result *result)
{
    BUF_AUTO struct buf mime = BUF_INIT(65536);
    mime_of(text, &mime);
    struct message_new m = MESSAGE_NEW_INIT;
    m.data = text;
    m.mime = buf_str(&mime);
    m.flags = flags;
    m.prefix = STR("Return-Path: <>\r\nDelivered-To: a@example.test\r\n");
    m.trace = STR("Received: by here\r\n");
    return message_add(a, mailbox, &m, 1, token, added, result);
}

static inline uint32_t add_message(struct account *a, uint32_t mailbox, uint32_t flags)
{
    struct message_added added;
    struct message_add_result result;
    OK(add_text(a, mailbox, STR("Subject: hello\r\n\r\nbody\r\n"), flags, NULL, &added, &result));
    return added.uid;
}

static inline struct set set_of(uint32_t first, uint32_t last)
{
    struct set s = {0};
    OK(set_add_range(&s, first, last));
    return s;
}

/* Runs fn(arg) on a fiber of a loop of its own, until nothing is left to do. */
static inline void on_fiber(fiber_fn *fn, void *arg)
{
    struct loop *loop;
    struct fiber_group group;
    OK(loop_open(&loop, &(struct loop_options){.name = "test", .slice_warn_ms = 10000}));
    fiber_group_init(&group);
    OK(fiber_start(&group, "test", fn, arg));
    loop_run_until_idle(loop);
    loop_close(loop);
}

#endif
