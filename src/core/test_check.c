/* SPDX-License-Identifier: Apache-2.0
 *
 * check finds each kind of damage, and nothing where there is none. rule: accept-2, store-2
 */
#include "core/test_world.h"

#include "base/num.h"
#include "core/queue.h"

struct findings {
    struct buf text;
    unsigned fatal;
};

static void collect(void *arg, bool fatal, uint64_t partition, str text)
{
    struct findings *f = arg;
    f->fatal += fatal;
    buf_add(&f->text, text);
    buf_add_char(&f->text, '\n');
}

static unsigned expect_finding(struct store *s, const char *part)
{
    struct findings f = {.text = BUF_INIT(1 << 20)};
    struct check_result r;
    OK(check_store(s, collect, &f, &r));
    if (str_find(buf_str(&f.text), str_c(part)) == STR_NPOS)
        fail_msg("no \"%s\" in:\n%.*s", part, STR_ARG(buf_str(&f.text)));
    unsigned n = f.fatal;
    assert_int_equal(r.findings, n);
    buf_free(&f.text);
    return n;
}

/* Keeps the version: damage is not a commit that anybody knows of. */
static void damage(struct world *w, uint64_t partition, enum store_op_kind kind,
                   struct store_key key, str value, const struct blob_id *ref)
{
    struct store_op op = {.kind = kind, .key = key_str(&key), .value = value};
    struct store_commit c = {.partition = partition,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1,
                             .refs = ref,
                             .nrefs = ref ? 1 : 0};
    struct store_result r;
    OK(store_commit(w->store, &c, &r));
}

static void put(struct world *w, struct store_key key, str value)
{
    damage(w, ACCOUNT, STORE_PUT, key, value, NULL);
}

static void drop(struct world *w, struct store_key key)
{
    damage(w, ACCOUNT, STORE_DELETE, key, STR_NONE, NULL);
}

/* An account with messages, one of them in two mailboxes; nothing closed, the check looks from
 * outside. */
static void with_mail(struct world *w)
{
    struct message_copied c;
    SET_AUTO struct set one = set_of(1, 1);
    world_open(w);
    uint32_t inbox = mailbox_id(w->account, "INBOX");
    for (int i = 0; i < 3; i++)
        add_message(w->account, inbox, 0);
    OK(message_copy(w->account, inbox, &one, w->account, mailbox_id(w->account, "Sent"), &c));
    set_free(&c.source);
    set_free(&c.target);
    store_is_clean(w->store);
}

static void without_closing_checks(struct world *w)
{
    account_close(w->account);
    accounts_close(w->accounts);
    store_close(w->store);
}

struct fault {
    const char *finding;
    void (*make)(struct world *w, uint32_t inbox);
};

static void no_instance(struct world *w, uint32_t inbox) { drop(w, key_instance(inbox, 2)); }
static void no_place(struct world *w, uint32_t inbox) { drop(w, key_at(2, inbox, 2)); }
static void no_content(struct world *w, uint32_t inbox) { drop(w, key_message(2)); }
static void no_state(struct world *w, uint32_t inbox) { drop(w, key_state(inbox)); }
static void no_mailbox(struct world *w, uint32_t inbox) { drop(w, key_mailbox(inbox)); }
static void no_head(struct world *w, uint32_t inbox) { drop(w, key_head()); }
static void no_change(struct world *w, uint32_t inbox) { drop(w, key_change(2)); }
static void bad_instance(struct world *w, uint32_t inbox)
{
    put(w, key_instance(inbox, 2), STR("\x04\x01short"));
}
static void bad_content(struct world *w, uint32_t inbox) { put(w, key_message(2), STR("?")); }
static void bad_mailbox(struct world *w, uint32_t inbox) { put(w, key_mailbox(inbox), STR("?")); }
static void bad_head(struct world *w, uint32_t inbox) { put(w, key_head(), STR("?")); }
static void bad_thread(struct world *w, uint32_t inbox) { put(w, key_thread(7), STR("?")); }
static void extra_place(struct world *w, uint32_t inbox) { put(w, key_at(2, inbox, 77), STR_NONE); }

static void wrong_counters(struct world *w, uint32_t inbox)
{
    BUF_AUTO struct buf v = BUF_INIT(200);
    struct state_row s = mailbox_get(w->account, inbox)->state;
    s.unseen++;
    state_encode(&s, &v);
    put(w, key_state(inbox), buf_str(&v));
}

static void low_uidnext(struct world *w, uint32_t inbox)
{
    BUF_AUTO struct buf v = BUF_INIT(200);
    struct state_row s = mailbox_get(w->account, inbox)->state;
    s.uidnext = 3;
    state_encode(&s, &v);
    put(w, key_state(inbox), buf_str(&v));
}

static void more_references(struct world *w, uint32_t inbox)
{
    struct message_cold cold;
    BUF_AUTO struct buf raw = BUF_INIT(65536);
    OK(message_cold(w->account, 2, &raw, &cold));
    damage(w, ACCOUNT + 7, STORE_DELETE, key_thread(1), STR_NONE, &cold.blob);
}

static void wrong_size(struct world *w, uint32_t inbox)
{
    struct message_cold cold;
    BUF_AUTO struct buf raw = BUF_INIT(65536), v = BUF_INIT(65536);
    OK(message_cold(w->account, 2, &raw, &cold));
    cold.content_len++;
    cold_encode(&cold, &v);
    put(w, key_message(2), buf_str(&v));
}

static void each_damage_is_found(void **state)
{
    static const struct fault faults[] = {
        {"message 2: is said to be in mailbox", no_instance},
        {"message 2 does not know that it is there", no_place},
        {"message 2 has no content row", no_content},
        {"its state is missing", no_state},
        {"rows of a mailbox that is not there", no_mailbox},
        {"the account's own row is missing", no_head},
        {"change rows of versions 2 to 2 are missing", no_change},
        {"unreadable message row", bad_instance},
        {"unreadable content row of message 2", bad_content},
        {"unreadable mailbox row", bad_mailbox},
        {"unreadable account row", bad_head},
        {"unreadable thread row", bad_thread},
        {"is said to be in mailbox", extra_place},
        {"counters say", wrong_counters},
        {"uidnext 3 is not above uid 3", low_uidnext},
        {"1 references, the store counts 2", more_references},
        {"rows say", wrong_size},
        {"nothing refers to it", no_content},
    };
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct world w;
        with_mail(&w);
        faults[i].make(&w, mailbox_id(w.account, "INBOX"));
        expect_finding(w.store, faults[i].finding);
        without_closing_checks(&w);
    }
}

static void queue_damage_is_found(void **state)
{
    for (int i = 0; i < 4; i++) {
        struct world w;
        struct queue_message m;
        int fd;
        world_open(&w);
        OK(file_memory("test", &fd));
        OK(file_write_all_at(fd, 0, "hello\r\n", 7));
        struct envelope e = {.sender = STR("a@b"), .fd = fd, .size = 7};
        struct queue_recipient rs[2] = {{.state = QUEUE_READY, .address = STR("x@y")},
                                        {.state = QUEUE_READY, .address = STR("z@y")}};
        OK(queue_add(w.store, &e, rs, 2, &m));
        store_is_clean(w.store);
        struct store_key keys[] = {
            key_queue_message(m.id),
            key_queue_due(rs[1].due_ms, m.id, 1),
            key_queue_recipient(m.id, 0),
            key_queue_left(m.id),
        };
        static const char *const texts[] = {"nothing refers to it", "would never come due",
                                            "due row without its recipient",
                                            "2 recipients, counted 0"};
        damage(&w, queue_partition(m.id), STORE_DELETE, keys[i], STR_NONE, NULL);
        expect_finding(w.store, texts[i]);
        file_close(&fd);
        without_closing_checks(&w);
    }
}

/* rule: store-1. Derived rows can be dropped while mail flows: nothing is lost, check has nothing
 * against it, and the next message makes its own again. */
static void derived_rows_can_be_dropped(void **state)
{
    struct world w;
    struct message_added added;
    struct message_add_result result;
    static const uint8_t from[] = {SPACE_THREAD}, to[] = {SPACE_THREAD + 1};
    struct store_op ops[2] = {{.kind = STORE_DELETE_RANGE,
                               .key = str_of(from, sizeof from),
                               .value = str_of(to, sizeof to)}};
    struct store_commit c = {
        .partition = ACCOUNT, .expect_version = STORE_ANY_VERSION, .ops = ops, .nops = 2};
    struct store_result r;
    BUF_AUTO struct buf nothing = BUF_INIT(256);
    BUF_AUTO struct buf row = BUF_INIT(STORE_VALUE_MAX);
    world_open(&w);
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    str first = STR("Message-ID: <1@x>\r\nSubject: s\r\n\r\n");
    str second = STR("Message-ID: <2@x>\r\nReferences: <1@x>\r\nSubject: Re: s\r\n\r\n");
    OK(add_text(w.account, inbox, first, 0, NULL, &added, &result));
    /* Every commit says what it changed: here nothing that a client sees. The nonce is the head's.
     */
    struct store_key last = key_change(2), change = key_change(3);
    struct reader reader;
    uint64_t nonce;
    OK(store_get(w.store, ACCOUNT, key_str(&last), &row));
    OK(change_decode_start(buf_str(&row), &reader, &nonce));
    change_encode_start(nonce, &nothing);
    ops[1] =
        (struct store_op){.kind = STORE_PUT, .key = key_str(&change), .value = buf_str(&nothing)};
    OK(store_commit(w.store, &c, &r));
    assert_int_equal(r.version, 3);
    store_is_clean(w.store);
    /* The account's head moved by itself; a fresh look sees the whole mailbox. */
    account_close(w.account);
    accounts_close(w.accounts);
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    OK(add_text(w.account, inbox, second, 0, NULL, &added, &result));
    assert_int_equal(added.uid, 2);
    world_close(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_damage_is_found),
        cmocka_unit_test(queue_damage_is_found),
        cmocka_unit_test(derived_rows_can_be_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
