/* SPDX-License-Identifier: Apache-2.0
 *
 * Mailboxes and messages of one account, step by step.
 */
#include "core/test_world.h"

#include <pthread.h>

#include "base/log.h"
#include "base/num.h"
#include "core/subscription.h"
#include "core/test_slow_store.h"

static void new_accounts_have_their_mailboxes_once(void **state)
{
    struct world w;
    world_open(&w);
    OK(account_create_mailboxes(w.account));
    struct account_status s;
    account_status(w.account, &s);
    assert_int_equal(s.mailboxes, 6);
    static const char *in_order[] = {"Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"};
    for (size_t i = 0; i < 6; i++) {
        const struct mailbox *m = mailbox_at(w.account, i);
        assert_true(str_eq(m->path, str_c(in_order[i])));
        assert_true(m->subscribed);
    }
    assert_ptr_equal(mailbox_by_role(w.account, ROLE_TRASH), mailbox_find(w.account, STR("Trash")));
    assert_ptr_equal(mailbox_find(w.account, STR("inBox")), mailbox_by_role(w.account, ROLE_INBOX));
    world_close(&w);
}

static void names_are_checked_and_normalised(void **state)
{
    static const struct {
        str in, out;
        enum err e;
    } cases[] = {
        {STR_INIT("inbox"), STR_INIT("INBOX"), ERR_OK},
        {STR_INIT("inbox/x"), STR_INIT("INBOX/x"), ERR_OK},
        {STR_INIT("inboxes"), STR_INIT("inboxes"), ERR_OK},
        {STR_INIT("e\xcc\x81"), STR_INIT("\xc3\xa9"), ERR_OK},
        {STR_INIT("a//b"), STR_INIT(""), ERR_INVALID},
        {STR_INIT("/a"), STR_INIT(""), ERR_INVALID},
        {STR_INIT("a/"), STR_INIT(""), ERR_INVALID},
        {STR_INIT("a/../b"), STR_INIT(""), ERR_INVALID},
        {STR_INIT("a\nb"), STR_INIT(""), ERR_INVALID},
        {STR_INIT("\xff"), STR_INIT(""), ERR_INVALID},
        {STR_INIT(""), STR_INIT(""), ERR_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        BUF_AUTO struct buf out = BUF_INIT(8192);
        assert_int_equal(mailbox_name_normalize(cases[i].in, &out), cases[i].e);
        if (cases[i].e == ERR_OK)
            assert_true(str_eq(buf_str(&out), cases[i].out));
    }
    char big[MAILBOX_PATH_MAX + 1];
    memset(big, 'x', sizeof big);
    BUF_AUTO struct buf out = BUF_INIT(8192);
    assert_int_equal(mailbox_name_normalize(str_of(big, sizeof big), &out), ERR_LIMIT);
}

static void mailboxes_are_made_renamed_and_deleted(void **state)
{
    struct world w;
    uint32_t id, again;
    world_open(&w);
    struct account *a = w.account;
    OK(mailbox_create(a, STR("work/2026/may"), ROLE_NONE, &id));
    assert_non_null(mailbox_find(a, STR("work/2026")));
    assert_true(mailbox_has_children(a, mailbox_find(a, STR("work"))));
    assert_int_equal(mailbox_create(a, STR("work"), ROLE_NONE, NULL), ERR_EXISTS);
    assert_int_equal(mailbox_create(a, STR("bin"), ROLE_TRASH, NULL), ERR_EXISTS);
    assert_int_equal(mailbox_delete(a, STR("work")), ERR_HAS_CHILDREN);
    assert_int_equal(mailbox_delete(a, STR("INBOX")), ERR_DENIED);
    assert_int_equal(mailbox_rename(a, STR("work"), STR("work/x")), ERR_INVALID);
    assert_int_equal(mailbox_rename(a, STR("nothing"), STR("x")), ERR_NOT_FOUND);
    assert_int_equal(mailbox_rename(a, STR("work"), STR("Sent")), ERR_EXISTS);
    uint32_t validity = mailbox_get(a, id)->uidvalidity;
    OK(mailbox_rename(a, STR("work"), STR("old/job")));
    assert_true(str_eq(mailbox_get(a, id)->path, STR("old/job/2026/may")));
    assert_int_equal(mailbox_get(a, id)->uidvalidity, validity);
    add_message(a, id, 0);
    OK(mailbox_delete(a, STR("old/job/2026/may")));
    assert_null(mailbox_find(a, STR("old/job/2026/may")));
    OK(mailbox_purge(a));
    OK(mailbox_create(a, STR("old/job/2026/may"), ROLE_NONE, &again));
    assert_int_not_equal(id, again);
    assert_true(mailbox_get(a, again)->uidvalidity > validity); /* rule: store-3 */
    struct account_status s;
    account_status(a, &s);
    assert_int_equal(s.messages, 0);
    assert_int_equal(s.bytes, 0);
    OK(mailbox_subscribe(a, STR("old/job"), true));
    assert_true(mailbox_find(a, STR("old/job"))->subscribed);
    OK(mailbox_set_role(a, again, ROLE_FLAGGED));
    assert_int_equal(mailbox_get(a, again)->role, ROLE_FLAGGED);
    world_close(&w);
}

static size_t lines_logged;
static void count_line(enum log_level level, str line) { lines_logged++; }

static void purge_beside_purges(void *arg)
{
    static const char *const names[] = {"a", "b", "c"};
    struct world w = {.store = arg};
    uint32_t id;
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    OK(account_create_mailboxes(w.account));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        OK(mailbox_create(w.account, str_c(names[i]), ROLE_NONE, &id));
        add_message(w.account, id, 0);
        OK(mailbox_delete(w.account, str_c(names[i]))); /* its own purge begins */
    }
    OK(mailbox_purge(w.account));
    account_close(w.account);
    accounts_close(w.accounts);
    store_is_clean(w.store);
}

static void what_another_purge_has_ended_is_ended(void **state)
{
    struct slow_store *s = slow_open(1, 0);
    log_set_sink(count_line);
    on_fiber(purge_beside_purges, &s->store);
    log_set_sink(NULL);
    assert_int_equal(lines_logged, 0);
    store_close(&s->store);
}

static void a_deleted_name_stays_subscribed(void **state)
{
    struct world w;
    struct arena arena = ARENA_INIT(1 << 20);
    const str *names;
    size_t n;
    world_open(&w);
    struct account *a = w.account;
    OK(mailbox_create(a, STR("b"), ROLE_NONE, NULL));
    OK(mailbox_create(a, STR("a/x"), ROLE_NONE, NULL));
    OK(mailbox_create(a, STR("c"), ROLE_NONE, NULL));
    OK(mailbox_subscribe(a, STR("b"), true));
    OK(mailbox_subscribe(a, STR("a/x"), true));
    OK(mailbox_delete(a, STR("b")));
    OK(mailbox_delete(a, STR("a/x")));
    OK(mailbox_delete(a, STR("c")));
    OK(subscription_kept(a, &arena, &names, &n));
    assert_int_equal(n, 2);
    assert_true(str_eq(names[0], STR("a/x")) && str_eq(names[1], STR("b")));
    assert_int_equal(mailbox_subscribe(a, STR("b"), true), ERR_NOT_FOUND);
    assert_int_equal(mailbox_subscribe(a, STR("c"), false), ERR_NOT_FOUND);
    OK(mailbox_subscribe(a, STR("b"), false));
    OK(subscription_kept(a, &arena, &names, &n));
    assert_int_equal(n, 1);
    arena_free(&arena);
    world_close(&w);
}

static void renaming_inbox_moves_its_messages(void **state)
{
    struct world w;
    world_open(&w);
    struct account *a = w.account;
    uint32_t inbox = mailbox_id(a, "INBOX");
    add_message(a, inbox, 0);
    add_message(a, inbox, FLAG_SEEN);
    OK(mailbox_rename(a, STR("INBOX"), STR("Before")));
    assert_int_equal(mailbox_get(a, inbox)->state.messages, 0);
    assert_int_equal(mailbox_get(a, inbox)->state.uidnext, 3);
    assert_int_equal(mailbox_find(a, STR("Before"))->state.messages, 2);
    world_close(&w);
}

static void a_message_is_read_back(void **state)
{
    struct world w;
    world_open(&w);
    struct account *a = w.account;
    str text = STR("Subject: hello\r\n\r\nbody\r\n");
    str whole = STR("Return-Path: <>\r\nDelivered-To: a@example.test\r\nReceived: by here\r\n"
                    "Subject: hello\r\n\r\nbody\r\n");
    struct message_added added;
    struct message_add_result result;
    struct message_cold cold;
    BUF_AUTO struct buf raw = BUF_INIT(65536), out = BUF_INIT(65536);
    OK(add_text(a, mailbox_id(a, "INBOX"), text, 0, NULL, &added, &result));
    assert_int_equal(added.size, whole.len);
    OK(message_cold(a, added.message, &raw, &cold));
    OK(message_read(a, &cold, 0, UINT64_MAX, &out));
    assert_true(str_eq(buf_str(&out), whole));
    for (size_t from = 0; from <= whole.len + 1; from += 3)
        for (size_t len = 0; len < 60; len += 7) {
            buf_reset(&out);
            OK(message_read(a, &cold, from, len, &out));
            assert_true(str_eq(buf_str(&out), str_sub(whole, from, len)));
        }
    struct mime_cold m;
    OK(mime_cold_decode(cold.mime, &m));
    assert_true(str_eq(m.base_subject, STR("hello")));
    assert_int_equal(message_cold(a, 999, &raw, &cold), ERR_NOT_FOUND);
    world_close(&w);
}

static void tokens_add_once(void **state)
{
    struct world w;
    world_open(&w);
    struct message_added added;
    struct message_add_result result;
    struct store_token token = {{1, 2, 3}};
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    str text = STR("x: y\r\n\r\n");
    OK(add_text(w.account, inbox, text, 0, &token, &added, &result));
    assert_false(result.repeated);
    OK(add_text(w.account, inbox, text, 0, &token, &added, &result));
    assert_true(result.repeated);
    assert_int_equal(mailbox_get(w.account, inbox)->state.messages, 1);
    assert_int_equal(add_message(w.account, inbox, 0), 2);
    world_close(&w);
}

static void flags_change_and_count(void **state)
{
    struct world w;
    world_open(&w);
    struct account *a = w.account;
    uint32_t inbox = mailbox_id(a, "INBOX");
    for (int i = 0; i < 5; i++)
        add_message(a, inbox, 0);
    assert_int_equal(mailbox_get(a, inbox)->state.unseen, 5);
    struct flag_result r;
    SET_AUTO struct set uids = set_of(2, 9);
    struct flag_change c = {.how = FLAGS_ADD, .flags = FLAG_SEEN | FLAG_DELETED};
    OK(message_set_flags(a, inbox, &uids, &c, NULL, &r));
    assert_int_equal(set_size(&r.changed), 4);
    uint64_t first = r.modseq;
    set_free(&r.changed);
    assert_int_equal(mailbox_get(a, inbox)->state.unseen, 1);
    assert_int_equal(mailbox_get(a, inbox)->state.deleted, 4);
    OK(message_set_flags(a, inbox, &uids, &c, NULL, &r)); /* nothing new, no commit */
    assert_int_equal(r.changed.count, 0);
    assert_int_equal(r.modseq, 0);
    uint64_t bits;
    str names[] = {STR_INIT("$Forwarded"), STR_INIT("$forwarded"), STR_INIT("work")};
    OK(mailbox_keywords(a, inbox, names, 3, &bits));
    assert_int_equal(bits, 3);
    assert_int_equal(mailbox_keywords(a, inbox, &(str)STR_INIT("a b"), 1, &bits), ERR_INVALID);
    SET_AUTO struct set three = set_of(3, 3);
    c = (struct flag_change){.how = FLAGS_REPLACE, .flags = FLAG_SEEN, .keywords = 2};
    OK(message_set_flags(a, inbox, &three, &c, NULL, &r));
    set_free(&r.changed);
    c = (struct flag_change){.how = FLAGS_REMOVE,
                             .flags = FLAG_DELETED,
                             .has_unchanged_since = true,
                             .unchanged_since = first};
    OK(message_set_flags(a, inbox, &uids, &c, NULL, &r));
    assert_int_equal(set_size(&r.changed), 3);
    assert_true(set_has(&r.failed, 3)); /* RFC 7162 3.1.3 */
    set_free(&r.changed);
    set_free(&r.failed);
    for (uint32_t i = bits ? 2 : 0; i < KEYWORDS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%u", i);
        OK(mailbox_keywords(a, inbox, &(str){name, strlen(name)}, 1, &bits));
    }
    assert_int_equal(mailbox_keywords(a, inbox, &(str)STR_INIT("more"), 1, &bits), ERR_LIMIT);
    world_close(&w);
}

static void copies_share_and_moves_keep_the_message(void **state)
{
    struct world w;
    world_open(&w);
    struct account *a = w.account, *other;
    uint32_t inbox = mailbox_id(a, "INBOX"), archive = mailbox_id(a, "Archive");
    for (int i = 0; i < 3; i++)
        add_message(a, inbox, FLAG_FLAGGED);
    uint64_t bits;
    OK(mailbox_keywords(a, inbox, &(str)STR_INIT("red"), 1, &bits));
    SET_AUTO struct set all = set_of(1, UINT32_MAX), one = set_of(1, 1), gone = {0};
    struct flag_result fr;
    OK(message_set_flags(a, inbox, &one, &(struct flag_change){.how = FLAGS_ADD, .keywords = bits},
                         NULL, &fr));
    set_free(&fr.changed);
    struct message_copied c;
    OK(message_copy(a, inbox, &all, a, archive, &c));
    assert_int_equal(set_size(&c.target), 3);
    set_free(&c.source);
    set_free(&c.target);
    OK(message_copy(a, inbox, &all, a, inbox, &c)); /* into itself */
    assert_int_equal(set_size(&c.target), 3);
    set_free(&c.source);
    set_free(&c.target);
    struct mailbox_view *v, *v2;
    OK(view_open(a, inbox, &v));
    OK(view_open(a, archive, &v2));
    assert_int_equal(view_count(v), 6);
    assert_int_equal(view_find(v, 1)->message, view_find(v, 4)->message);
    assert_int_equal(view_find(v, 1)->message, view_find(v2, 1)->message);
    assert_int_equal(view_find(v2, 1)->keywords, 1);
    struct store_stats stats;
    store_stats(w.store, &stats);
    assert_int_equal(stats.blobs, 3);
    /* The last instance takes the blob along, not one before. */
    OK(message_expunge(a, inbox, &all, &gone, NULL));
    assert_int_equal(set_size(&gone), 6);
    store_stats(w.store, &stats);
    assert_int_equal(stats.blobs, 3);
    OK(message_move(a, archive, &one, a, inbox, &c));
    assert_int_equal(view_count(v), 1);
    assert_int_equal(view_last_uid(v), 7);
    set_free(&c.source);
    set_free(&c.target);
    OK(account_open(w.accounts, ACCOUNT + 1, &other));
    OK(account_create_mailboxes(other));
    OK(message_copy(a, archive, &all, other, mailbox_id(other, "INBOX"), &c));
    assert_int_equal(set_size(&c.target), 2);
    set_free(&c.source);
    set_free(&c.target);
    OK(message_move(a, archive, &all, other, mailbox_id(other, "Sent"), &c));
    assert_int_equal(set_size(&c.target), 2);
    set_free(&c.source);
    set_free(&c.target);
    assert_int_equal(view_count(v2), 0);
    store_stats(w.store, &stats);
    assert_int_equal(stats.blobs, 3);
    OK(message_expunge(other, mailbox_id(other, "INBOX"), &all, &gone, NULL));
    OK(message_expunge(other, mailbox_id(other, "Sent"), &all, &gone, NULL));
    store_stats(w.store, &stats);
    assert_int_equal(stats.blobs, 1);
    view_close(v);
    view_close(v2);
    account_close(other);
    world_close(&w);
}

static void quota_is_kept(void **state)
{
    struct world w;
    world_open(&w);
    struct account *a = w.account;
    uint32_t inbox = mailbox_id(a, "INBOX");
    struct message_added added;
    struct message_add_result result;
    str text = STR("Subject: hello\r\n\r\nbody\r\n");
    w.quota.messages = 2;
    OK(add_text(a, inbox, text, 0, NULL, &added, &result));
    OK(add_text(a, inbox, text, 0, NULL, &added, &result));
    assert_int_equal(add_text(a, inbox, text, 0, NULL, &added, &result), ERR_QUOTA);
    SET_AUTO struct set all = set_of(1, UINT32_MAX);
    struct message_copied c;
    assert_int_equal(message_copy(a, inbox, &all, a, mailbox_id(a, "Sent"), &c), ERR_QUOTA);
    OK(message_move(a, inbox, &all, a, mailbox_id(a, "Sent"), &c)); /* needs no more room */
    set_free(&c.source);
    set_free(&c.target);
    w.quota = (struct quota){.bytes = 2 * added.size + 10};
    assert_int_equal(add_text(a, inbox, text, 0, NULL, &added, &result), ERR_QUOTA);
    world_close(&w);
}

static void threads_join_by_reference_and_subject(void **state)
{
    struct world w;
    world_open(&w);
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    static const str texts[] = {
        STR_INIT("Message-ID: <1@x>\r\nSubject: plan\r\n\r\n"),
        STR_INIT("Message-ID: <2@x>\r\nReferences: <1@x>\r\nSubject: Re: plan\r\n\r\n"),
        STR_INIT("Message-ID: <3@x>\r\nReferences: <1@x>\r\nSubject: other\r\n\r\n"),
        STR_INIT("Message-ID: <5@x>\r\nReferences: <4@x>\r\nSubject: Re: late\r\n\r\n"),
        STR_INIT("Message-ID: <4@x>\r\nSubject: late\r\n\r\n"),
        STR_INIT("Subject: plan\r\n\r\n"),
    };
    static const int same_as[] = {0, 0, 2, 3, 3, 5};
    uint64_t threads[6];
    for (size_t i = 0; i < 6; i++) {
        struct message_added added;
        struct message_add_result result;
        OK(add_text(w.account, inbox, texts[i], 0, NULL, &added, &result));
        threads[i] = added.thread;
        assert_int_equal(threads[i], threads[same_as[i]]);
        for (int k = 0; k < same_as[i]; k++)
            assert_int_not_equal(threads[k], threads[same_as[i]]);
    }
    world_close(&w);
}

struct counted {
    size_t n, found;
};

static bool count_cold(void *arg, size_t i, enum err e, const struct message_cold *c)
{
    struct counted *k = arg;
    assert_int_equal(i, k->n);
    k->n++;
    k->found += e == ERR_OK;
    assert_true(e == ERR_OK || e == ERR_NOT_FOUND);
    return true;
}

static void cold_rows_are_read_in_any_order(void **state)
{
    struct world w;
    world_open(&w);
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    for (int i = 0; i < 30; i++)
        add_message(w.account, inbox, 0);
    uint64_t ids[] = {1, 2, 3, 5, 9, 10, 30, 29, 28, 500, 501, 502, 4, 4, 12, 13, 31, 32};
    struct counted k = {0};
    OK(message_cold_each(w.account, ids, ARRAY_LEN(ids), count_cold, &k));
    assert_int_equal(k.n, ARRAY_LEN(ids));
    assert_int_equal(k.found, ARRAY_LEN(ids) - 5);
    world_close(&w);
}

static void history_tells_what_was_expunged(void **state)
{
    struct world w;
    world_open(&w);
    struct account *a = w.account;
    uint32_t inbox = mailbox_id(a, "INBOX");
    for (int i = 0; i < 10; i++)
        add_message(a, inbox, 0);
    struct account_status before;
    account_status(a, &before);
    SET_AUTO struct set some = set_of(3, 5), gone = {0}, told = {0};
    OK(message_expunge(a, inbox, &some, &gone, NULL));
    OK(account_expunged_since(a, inbox, before.version, &told));
    assert_int_equal(set_size(&told), 3);
    assert_true(set_has(&told, 4));
    set_free(&told);
    struct account_status after;
    account_status(a, &after);
    OK(account_expunged_since(a, inbox, after.version, &told));
    assert_int_equal(told.count, 0);
    world_close(&w);
}

static void an_account_is_the_same_when_opened_again(void **state)
{
    struct world w;
    world_open(&w);
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    for (int i = 0; i < 3; i++)
        add_message(w.account, inbox, i == 1 ? FLAG_SEEN : 0);
    account_close(w.account);
    accounts_close(w.accounts);
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    const struct mailbox *m = mailbox_find(w.account, STR("INBOX"));
    assert_int_equal(m->id, inbox);
    assert_int_equal(m->state.messages, 3);
    assert_int_equal(m->state.unseen, 2);
    assert_int_equal(add_message(w.account, inbox, 0), 4);
    world_close(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_accounts_have_their_mailboxes_once),
        cmocka_unit_test(names_are_checked_and_normalised),
        cmocka_unit_test(mailboxes_are_made_renamed_and_deleted),
        cmocka_unit_test(what_another_purge_has_ended_is_ended),
        cmocka_unit_test(a_deleted_name_stays_subscribed),
        cmocka_unit_test(renaming_inbox_moves_its_messages),
        cmocka_unit_test(a_message_is_read_back),
        cmocka_unit_test(tokens_add_once),
        cmocka_unit_test(flags_change_and_count),
        cmocka_unit_test(copies_share_and_moves_keep_the_message),
        cmocka_unit_test(quota_is_kept),
        cmocka_unit_test(threads_join_by_reference_and_subject),
        cmocka_unit_test(cold_rows_are_read_in_any_order),
        cmocka_unit_test(history_tells_what_was_expunged),
        cmocka_unit_test(an_account_is_the_same_when_opened_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
