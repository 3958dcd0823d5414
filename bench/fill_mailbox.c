/* SPDX-License-Identifier: Apache-2.0
 *
 * fill_mailbox STORE ADDRESS COUNT: puts messages into the INBOX of an account of a store that no
 * server has open, through core, many in a commit. Small texts in threads of four, a third read.
 */
#include <stdlib.h>

#include "base/num.h"
#include "core/directory.h"
#include "core/mailbox.h"
#include "core/message.h"
#include "format/mime_cold.h"
#include "os/clock.h"
#include "os/loop.h"
#include "os/offload.h"

#include "must.h"

#define FIBERS 64
#define BATCH 64

struct filling {
    struct account *account;
    uint32_t inbox, count, next;
};

static void make_message(struct buf *out, uint32_t i)
{
    static const char *const words[] = {"offer",   "report", "plan",    "visit",
                                        "invoice", "draft",  "budget",  "order",
                                        "meeting", "answer", "numbers", "sample"};
    uint32_t thread = i / 4, mix = i * 2654435761u;
    buf_addf(out, "From: Person %u <person%u@partner%u.test>\r\nTo: me@example.test\r\n",
             mix % 3001, mix % 3001, mix % 401);
    buf_addf(out, "Subject: %s%s %s of %u\r\nMessage-ID: <%u.%u@partner.test>\r\n",
             i % 4 ? "Re: " : "", words[mix >> 8 & 7], words[mix >> 16 & 7], thread, i, mix);
    if (i % 4)
        buf_addf(out, "References: <%u.%u@partner.test>\r\n", thread * 4, thread * 4 * 2654435761u);
    buf_addf(out, "Date: Mon, %u Nov 2026 %02u:%02u:%02u +0000\r\n\r\nThe %s is ready.\r\n",
             1 + i % 28, i / 3600 % 24, i / 60 % 60, i % 60, words[mix >> 4 & 7]);
}

static void add_batch(struct filling *f, uint32_t first, uint32_t n)
{
    struct message_new news[BATCH];
    struct message_added added[BATCH];
    struct message_add_result result;
    struct buf texts[BATCH], mimes[BATCH];
    for (uint32_t i = 0; i < n; i++) {
        ARENA_AUTO struct arena arena = ARENA_INIT(MIME_ARENA_MAX);
        struct mime m;
        buf_init(&texts[i], 4096);
        buf_init(&mimes[i], 65536);
        make_message(&texts[i], first + i);
        MUST_OK(mime_parse(&arena, buf_str(&texts[i]), &m));
        MUST_OK(mime_cold_encode(&arena, &m, &mimes[i]));
        news[i] = MESSAGE_NEW_INIT;
        news[i].data = buf_str(&texts[i]);
        news[i].mime = buf_str(&mimes[i]);
        news[i].flags = i % 3 ? 0 : FLAG_SEEN;
        news[i].internal_date = 1700000000 + first + i;
    }
    MUST_OK(message_add(f->account, f->inbox, news, n, NULL, added, &result));
    for (uint32_t i = 0; i < n; i++) {
        buf_free(&texts[i]);
        buf_free(&mimes[i]);
    }
}

static void fill(void *arg)
{
    struct filling *f = arg;
    while (f->next < f->count) {
        uint32_t first = f->next;
        uint32_t n = f->count - first < BATCH ? f->count - first : BATCH;
        f->next += n;
        add_batch(f, first, n);
    }
}

struct run {
    struct store *store;
    const char *address;
    uint32_t count;
};

static void run(void *arg)
{
    struct run *r = arg;
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 16);
    struct directory d = {.store = r->store};
    struct account_entry entry;
    struct accounts *as;
    struct fiber_group group;
    struct filling f = {.count = r->count};
    MUST_OK(directory_account_find(&d, str_c(r->address), &arena, &entry));
    MUST_OK(accounts_open(&(struct accounts_options){.store = r->store}, &as));
    MUST_OK(account_open(as, entry.id, &f.account));
    MUST_OK(account_create_mailboxes(f.account));
    f.inbox = mailbox_find(f.account, STR("INBOX"))->id;
    fiber_group_init(&group);
    for (int i = 0; i < FIBERS; i++)
        MUST_OK(fiber_start(&group, "fill", fill, &f));
    fiber_group_join(&group);
    account_close(f.account);
    accounts_close(as);
}

int main(int argc, char **argv)
{
    struct run r = {.address = argc > 2 ? argv[2] : ""};
    struct loop *loop;
    struct fiber_group group;
    if (argc != 4 || !num_parse_u32(str_c(argv[3]), &r.count)) {
        fprintf(stderr, "fill_mailbox STORE ADDRESS COUNT\n");
        return 2;
    }
    MUST_OK(offload_start(2));
    MUST_OK(store_open_embedded(&(struct store_options){.dir = str_c(argv[1])}, &r.store));
    MUST_OK(loop_open(&loop, &(struct loop_options){.name = "fill", .slice_warn_ms = 10000}));
    fiber_group_init(&group);
    MUST_OK(fiber_start(&group, "run", run, &r));
    loop_run_until_idle(loop);
    loop_close(loop);
    store_close(r.store);
    offload_stop();
    return 0;
}
