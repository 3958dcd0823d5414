/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_mailbox: a small mailbox in memory for the fuzzers of sessions, made anew for each input:
 * what one deletes is there for the next.
 */
#ifndef CORE_FUZZ_MAILBOX_H
#define CORE_FUZZ_MAILBOX_H

#include <assert.h>

#include "base/log.h"
#include "core/mailbox.h"
#include "core/message.h"
#include "format/mime_cold.h"

#define FUZZ_ACCOUNT 4000u
#define MUST_BE_OK(call)                                                                           \
    do {                                                                                           \
        enum err must_ = (call);                                                                   \
        assert(must_ == ERR_OK);                                                                   \
    } while (0)

static inline void fuzz_silent(enum log_level level, str line) { (void)level; }

static inline enum err fuzz_no_quota(void *ctx, uint64_t account, struct quota *out)
{
    *out = (struct quota){0};
    return ERR_OK;
}

static inline void fuzz_put(struct account *a, str text)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf cold = BUF_INIT(65536);
    struct mime m;
    struct message_new n = MESSAGE_NEW_INIT;
    struct message_added added;
    struct message_add_result result;
    MUST_BE_OK(mime_parse(&arena, text, &m));
    MUST_BE_OK(mime_cold_encode(&arena, &m, &cold));
    n.data = text;
    n.mime = buf_str(&cold);
    MUST_BE_OK(message_add(a, mailbox_find(a, STR("INBOX"))->id, &n, 1, NULL, &added, &result));
}

/* FUZZ_ACCOUNT with these messages in INBOX. The caller closes both. */
static inline struct accounts *fuzz_mailbox(const str *texts, size_t n, struct store **store)
{
    struct accounts *as;
    struct account *a;
    MUST_BE_OK(store_open_memory(store));
    MUST_BE_OK(
        accounts_open(&(struct accounts_options){.store = *store, .quota = fuzz_no_quota}, &as));
    MUST_BE_OK(account_open(as, FUZZ_ACCOUNT, &a));
    MUST_BE_OK(account_create_mailboxes(a));
    for (size_t i = 0; i < n; i++)
        fuzz_put(a, texts[i]);
    account_close(a);
    return as;
}

#endif
