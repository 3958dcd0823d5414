/* SPDX-License-Identifier: Apache-2.0
 *
 * Folding, text, segments; and that answers with the index equal those of a full scan, on random
 * mailboxes, while messages come and go.
 */
#include "core/test_world.h"

#include "base/code.h"
#include "base/num.h"
#include "base/utf8.h"
#include "core/account_private.h"
#include "core/search_index.h"
#include "store/test_folder.h"

/* ---- a small random source, printed so that a failure can be played again ---- */
static uint64_t seed = 1;
static uint32_t pick(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static void fold(const char *in, const char *want)
{
    BUF_AUTO struct buf out = BUF_INIT(4096);
    search_fold_all(str_c(in), &out);
    assert_int_equal(out.len, strlen(want));
    assert_memory_equal(out.data, want, out.len);
    for (size_t cut = 0; cut <= strlen(in); cut++) { /* however it is cut */
        struct search_fold f = {0};
        buf_reset(&out);
        search_fold_add(&f, str_head(str_c(in), cut), &out);
        search_fold_add(&f, str_skip(str_c(in), cut), &out);
        search_fold_end(&f, &out);
        assert_int_equal(out.len, strlen(want));
        assert_memory_equal(out.data, want, out.len);
    }
}

static void folding_is_nfkd_and_casefold(void **state)
{
    fold("Hello", "hello");
    fold("\xc3\x89", "e\xcc\x81");  /* precomposed */
    fold("E\xcc\x81", "e\xcc\x81"); /* and not */
    fold("Stra\xc3\x9f"
         "e",
         "strasse");
    fold("\xef\xac\x81", "fi");                                   /* ligature */
    fold("a\xcc\x81\xcc\xa3", "a\xcc\xa3\xcc\x81");               /* marks in canonical order */
    fold("\xed\x95\x9c", "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab"); /* Hangul */
    fold("\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd");
    fold("\xe7\xe7\xa7\x92", "\xef\xbf\xbd\xe7\xa7\x92"); /* a lead byte that leads nothing */
    fold("\xf0\x9f\xe7\xa7\x92", "\xef\xbf\xbd\xef\xbf\xbd\xe7\xa7\x92");
    fold("a\xff"
         "B",
         "a\xef\xbf\xbd"
         "b");
    fold("", "");
}

static void tokens_are_maximal_runs(void **state)
{
    str rest = STR("ab-c3 \xe6\xbc\xa2\xe5\xad\x97xy"),
        want[] = {STR("ab"), STR("c3"), STR("\xe6\xbc\xa2\xe5\xad\x97"), STR("xy")};
    struct search_token t;
    for (size_t i = 0; i < 4; i++) {
        assert_true(search_token_next(&rest, &t));
        assert_true(str_eq(t.text, want[i]));
        assert_int_equal(t.chars, i == 2);
    }
    assert_false(search_token_next(&rest, &t));
}

/* ---- random mail ---- */

static const char *const words[] = {
    "alpha",
    "Beta",
    "GAMMA",
    "alphabet",
    "delta-one",
    "x",
    "42",
    "2026-11-23",
    "caf\xc3\xa9",
    "cafe\xcc\x81",
    "Stra\xc3\x9f"
    "e",
    "STRASSE",
    "na\xc3\xafve",
    "\xe6\xbc\xa2\xe5\xad\x97",
    "\xe6\xbc\xa2",
    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe3\x81\xae\xe6\xbc\xa2\xe5\xad\x97",
    "\xed\x95\x9c\xea\xb8\x80",
    "\xe0\xb8\xa0\xe0\xb8\xb2\xe0\xb8\xa9\xe0\xb8\xb2",
    "\xf0\x9f\x98\x80",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbccccccccccccccccccccccc"
    "ccccccd",
    "user@example.test",
    "<tag>",
    "user(note)@ example.test",
    "\"Al \\\"pha\\\"\" <\"x\"@42>",
    "a&b",
    "running",
    "runs",
    "--",
    "Re:",
    "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82",
};
#define WORDS (sizeof words / sizeof *words)

static void random_text(struct buf *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            buf_add(out, pick(8) ? STR(" ") : STR("\r\n"));
        buf_add_c(out, words[pick(WORDS)]);
    }
}

static void add_base64(struct buf *out, str s)
{
    BUF_AUTO struct buf enc = BUF_INIT(65536);
    struct cte_encoder e;
    cte_encoder_init(&e, CTE_BASE64);
    cte_encode(&e, s, &enc);
    cte_encode_end(&e, &enc);
    buf_add(out, buf_str(&enc));
}

static void random_header(struct buf *out, const char *name)
{
    BUF_AUTO struct buf text = BUF_INIT(4096);
    random_text(&text, 1 + pick(4));
    buf_addf(out, "%s: ", name);
    if (pick(2)) {
        buf_add(out, STR("=?utf-8?B?"));
        BUF_AUTO struct buf b = BUF_INIT(8192);
        add_base64(&b, str_head(buf_str(&text), 45));
        buf_add(out, str_trim(buf_str(&b)));
        buf_add(out, STR("?="));
    } else {
        for (size_t i = 0; i < text.len; i++)
            if (text.data[i] != '\r' && text.data[i] != '\n')
                buf_add_char(out, text.data[i]);
    }
    buf_add(out, STR("\r\n"));
}

static void random_part(struct buf *out)
{
    static const char *const charsets[] = {"utf-8", "iso-8859-1", "", "x-none"};
    BUF_AUTO struct buf text = BUF_INIT(65536);
    bool html = pick(4) == 0;
    random_text(&text, pick(60));
    uint32_t how = pick(3), charset = pick(4);
    buf_addf(out, "Content-Type: text/%s", html ? "html" : "plain");
    if (charset != 2)
        buf_addf(out, "; charset=%s", charsets[charset]);
    buf_addf(out, "\r\nContent-Transfer-Encoding: %s\r\n\r\n",
             how == 0   ? "8bit"
             : how == 1 ? "base64"
                        : "quoted-printable");
    if (how == 0) {
        buf_add(out, buf_str(&text));
    } else if (how == 1) {
        add_base64(out, buf_str(&text));
    } else {
        struct cte_encoder e;
        cte_encoder_init(&e, CTE_QP);
        cte_encode(&e, buf_str(&text), out);
        cte_encode_end(&e, out);
    }
    buf_add(out, STR("\r\n"));
}

static void random_message(struct buf *out)
{
    static const char *const names[] = {"From", "To", "Cc", "Subject", "X-Other", "Bcc"};
    for (uint32_t i = 0, n = pick(8); i < n; i++)
        random_header(out, names[pick(6)]);
    if (pick(3)) {
        random_part(out);
        return;
    }
    buf_add(out, STR("Content-Type: multipart/mixed; boundary=bb\r\n\r\n"));
    for (uint32_t i = 0, n = pick(4); i < n; i++) {
        buf_add(out, STR("--bb\r\n"));
        if (pick(5) == 0) {
            buf_add(out, STR("Content-Type: message/rfc822\r\n\r\n"));
            random_header(out, "Subject");
        }
        random_part(out);
    }
    buf_add(out, STR("--bb--\r\n"));
}

static void random_term(struct arena *arena, struct search_term *t)
{
    BUF_AUTO struct buf text = BUF_INIT(65536);
    BUF_AUTO struct buf folded = BUF_INIT(65536);
    t->field = (enum search_field)pick(SEARCH_IN_TEXT + 1);
    t->name = pick(2) ? STR("x-other") : STR("subject");
    t->fuzzy = pick(6) == 0;
    random_text(&text, 1 + pick(3));
    str s = buf_str(&text);
    if (pick(3) && !t->fuzzy) { /* a piece of it, cut anywhere */
        size_t from = pick((uint32_t)s.len);
        s = str_sub(s, from, 1 + pick(12));
        while (s.len && ((uint8_t)s.data[0] & 0xc0) == 0x80)
            s = str_skip(s, 1);
        while (s.len && !utf8_valid(s))
            s.len--;
    }
    search_fold_all(s, &folded);
    assert_true(arena_dup(arena, buf_str(&folded), &t->text));
}

#define TERMS 12

static void compare(struct account *a, uint64_t last)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    struct search_term terms[TERMS];
    BUF_AUTO struct buf ids = BUF_INIT(1 << 20);
    for (uint64_t id = 1; id <= last; id++) {
        BUF_AUTO struct buf raw = BUF_INIT(STORE_VALUE_MAX);
        struct message_cold cold;
        if (message_cold(a, id, &raw, &cold) == ERR_OK)
            buf_add(&ids, str_of(&id, sizeof id));
    }
    last = ids.len / sizeof(uint64_t);
    uint64_t *id = (uint64_t *)ids.data;
    if (pick(2)) /* in any order, and twice */
        for (uint64_t i = 0; i < last; i++) {
            uint64_t *other = &id[pick((uint32_t)last)], held = *other;
            *other = id[i];
            id[i] = pick(20) ? held : *other;
        }
    for (size_t k = 0; k < TERMS; k++)
        random_term(&arena, &terms[k]);
    uint8_t *with = ARENA_ARRAY(&arena, uint8_t, last * TERMS + 1);
    uint8_t *without = ARENA_ARRAY(&arena, uint8_t, last * TERMS + 1);
    assert_non_null(with);
    assert_non_null(without);
    struct search_query q = {.terms = terms, .nterms = TERMS};
    OK(search_messages(a, &q, (uint64_t *)ids.data, last, with));
    q.no_index = true;
    OK(search_messages(a, &q, (uint64_t *)ids.data, last, without));
    for (uint64_t i = 0; i < last; i++)
        for (size_t k = 0; k < TERMS; k++)
            if (with[i * TERMS + k] != without[i * TERMS + k]) {
                fprintf(stderr, "message %llu field %d fuzzy %d text \"%.*s\": %d, scan %d\n",
                        (unsigned long long)((uint64_t *)ids.data)[i], terms[k].field,
                        terms[k].fuzzy, STR_ARG(terms[k].text), with[i * TERMS + k],
                        without[i * TERMS + k]);
                fail();
            }
}

static uint64_t add_random(struct world *w, uint32_t mailbox)
{
    BUF_AUTO struct buf m = BUF_INIT(1 << 20);
    struct message_added added;
    struct message_add_result r;
    random_message(&m);
    OK(add_text(w->account, mailbox, buf_str(&m), 0, NULL, &added, &r));
    return added.message;
}

static void index_equals_scan(void **state)
{
    struct world w;
    uint64_t last = 0;
    const char *given = getenv("SEARCH_SEED");
    uint64_t begin = given ? strtoull(given, NULL, 10) : 7;
    world_open(&w);
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    seed = begin;
    fprintf(stderr, "SEARCH_SEED=%llu\n", (unsigned long long)begin);
    for (int round = 0; round < 40; round++) {
        for (uint32_t i = 0, n = 1 + pick(20); i < n; i++)
            last = add_random(&w, inbox);
        if (pick(4)) /* else: the newest are scanned */
            OK(search_index_update(w.account));
        if (pick(2)) {
            struct set uids = set_of(1 + pick((uint32_t)last), (uint32_t)last), gone = {0};
            uids.ranges[0].last = MIN(uids.ranges[0].last, uids.ranges[0].first + pick(6));
            OK(message_expunge(w.account, inbox, &uids, &gone, NULL));
            set_free(&uids);
            set_free(&gone);
        }
        compare(w.account, last);
    }
    struct search_index_status s;
    OK(search_index_update(w.account));
    OK(search_index_status(w.account, &s));
    assert_int_equal(s.last, last);
    assert_true(s.segments < 20);
    OK(search_index_drop(w.account));
    compare(w.account, last);
    OK(search_index_update(w.account));
    compare(w.account, last);
    world_close(&w);
}

/* ---- addresses ---- */

static uint8_t found(struct account *a, uint64_t message, enum search_field field, str text)
{
    struct search_term term = {.field = field, .text = text};
    struct search_query q = {.terms = &term, .nterms = 1};
    uint8_t with, without;
    OK(search_messages(a, &q, &message, 1, &with));
    q.no_index = true;
    OK(search_messages(a, &q, &message, 1, &without));
    assert_int_equal(with, without);
    return with;
}

/* RFC 9051 6.4.4 and 7.5.2 */
static void addresses_are_found_as_the_envelope_has_them(void **state)
{
    static const str text = STR_INIT(
        "From: \"Ann \\\"Bee\\\" C\" <first (one (two) @x) @ (three)\r\n example . test>\r\n"
        "To: friends: \"second\"@example.test, Third . One @ [192.0.2.1],\r\n"
        " plain@example.test;, \"a b\" <fifth@example.test>\r\n"
        "Cc: shown@example.test (Name)\r\n"
        "Subject: sixth (one)@example.test\r\n\r\nbody\r\n");
    struct world w;
    struct message_added added;
    struct message_add_result r;
    world_open(&w);
    OK(add_text(w.account, mailbox_id(w.account, "INBOX"), text, 0, NULL, &added, &r));
    for (int round = 0; round < 2; round++) {
        uint64_t m = added.message;
        assert_true(found(w.account, m, SEARCH_IN_FROM, STR("first@example.test")));
        assert_true(found(w.account, m, SEARCH_IN_FROM, STR("ann \"bee\" c")));
        assert_true(found(w.account, m, SEARCH_IN_FROM, STR("one (two)"))); /* as written, too */
        assert_true(found(w.account, m, SEARCH_IN_TO, STR("second@exam")));
        assert_true(found(w.account, m, SEARCH_IN_TO, STR("third.one@[192.0.2.1]")));
        assert_true(found(w.account, m, SEARCH_IN_TO, STR("plain@example.test;")));
        assert_true(found(w.account, m, SEARCH_IN_TO, STR("<fifth@example.test>")));
        assert_true(found(w.account, m, SEARCH_IN_TEXT, STR("first@example.test")));
        assert_false(found(w.account, m, SEARCH_IN_FROM, STR("second@exam")));
        assert_false(found(w.account, m, SEARCH_IN_SUBJECT, STR("sixth@example.test")));
        OK(search_index_update(w.account));
    }
    world_close(&w);
}

/* Only what is not shown is written a second time. */
/* Records of a header block, and the text of the last. */
static size_t records_of(str block, char kind, struct search_text *t, str *last)
{
    struct search_record r;
    size_t n = 0;
    buf_reset(&t->out);
    search_text_header(t, block, kind);
    for (str rest = buf_str(&t->out); search_record_next(&rest, &r); n++)
        *last = r.text;
    return n;
}

static void addresses_that_are_shown_are_not_repeated(void **state)
{
    struct search_text t;
    str last;
    search_text_init(&t, 1 << 20);
    str shown = STR("From: (a@b) \"A, B\" <Ann@X.test>, b@y, c@z (C)\r\nTo: g:;, me\r\n");
    assert_int_equal(records_of(shown, SEARCH_RECORD_FIELD, &t, &last), 2);
    assert_true(str_eq(last, STR("to: g:;, me")));
    str hidden = STR("Cc: a@b, c @d, e@f\r\n");
    assert_int_equal(records_of(hidden, SEARCH_RECORD_FIELD, &t, &last), 2);
    assert_true(str_eq(last, STR("cc:  <c@d>, ")));
    assert_int_equal(records_of(hidden, SEARCH_RECORD_PART, &t, &last), 1);
    search_text_free(&t);
}

/* ---- in the background ---- */

#define ARRIVALS 5
#define WITHIN_MS 1000    /* of an arrival, when there is nothing else to do */
#define PATIENCE_MS 60000 /* of this test with the machine */

struct background {
    struct world w;
    uint32_t inbox;
    struct event changed;
    struct change_watcher watcher;
    bool done;
};

/* Until the message is in the index; woken by the index's own commits. */
static uint64_t await_indexed(struct background *b, uint64_t message)
{
    uint64_t begin = clock_mono_ms();
    struct search_index_status s = {0};
    for (;;) {
        b->watcher.dirty = false;
        OK(search_index_status(b->w.account, &s));
        if (s.last >= message)
            return clock_mono_ms() - begin;
        if (!b->watcher.dirty)
            OK(event_wait(&b->changed, begin + PATIENCE_MS));
    }
}

/* A machine that others use may stall, so the best of some counts: a design that takes longer fails
 * each time. */
static void arrivals_are_quick(struct background *b)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < ARRIVALS; i++)
        best = MIN(best, await_indexed(b, add_random(&b->w, b->inbox)));
    fprintf(stderr, "in the index after %llu ms\n", (unsigned long long)best);
    assert_true(best <= WITHIN_MS);
}

/* Deliveries, flags and expunges go on while the index is made and merged. */
static void index_follows_a_flood(struct background *b)
{
    struct search_index_status s;
    uint64_t last = 0;
    for (int i = 0; i < 600; i++) {
        last = add_random(&b->w, b->inbox);
        if (i % 50 == 49) {
            uint32_t first = 1 + pick((uint32_t)last - 10);
            struct set uids = set_of(first, first + 3), gone = {0};
            OK(message_expunge(b->w.account, b->inbox, &uids, &gone, NULL));
            set_free(&uids);
            set_free(&gone);
            await_indexed(b, last);
        }
        fiber_yield();
    }
    await_indexed(b, last);
    OK(search_index_status(b->w.account, &s));
    assert_int_equal(s.last, last);
    compare(b->w.account, last);
}

static void background_run(void *arg)
{
    struct background *b = arg;
    struct search_background *search;
    struct search_indexer *indexer;
    b->inbox = mailbox_id(b->w.account, "INBOX");
    OK(search_background_start(b->w.store, &search));
    OK(search_indexer_start(b->w.accounts, search, &indexer));
    event_init(&b->changed);
    b->watcher.event = &b->changed;
    account_watch(b->w.account, &b->watcher);
    arrivals_are_quick(b);
    index_follows_a_flood(b);
    uint64_t last = add_random(&b->w, b->inbox); /* stopped while it has something to do */
    search_background_stop(search);
    compare(b->w.account, last);
    last = add_random(&b->w, b->inbox); /* nobody hears of it */
    compare(b->w.account, last);
    search_indexer_stop(indexer);
    OK(search_background_start(b->w.store, &search));
    OK(search_indexer_start(b->w.accounts, search, &indexer));
    struct accounts *other = world_accounts(&b->w); /* as after a start: its first opening tells */
    struct account *opened;
    other->indexer = indexer;
    OK(account_open(other, ACCOUNT, &opened));
    await_indexed(b, last);
    account_close(opened);
    search_background_stop(search);
    accounts_close(other);
    change_watcher_stop(&b->watcher);
    search_indexer_stop(indexer);
    b->done = true;
}

static void background_keeps_up(void **state)
{
    struct background b = {0};
    world_open(&b.w);
    on_fiber(background_run, &b);
    assert_true(b.done);
    world_close(&b.w);
}

/* A large segment goes to the disk ahead of its commit; it is there after a start, and is dropped
 * with the index. */
static void large_segments_are_staged(void **state)
{
    char *dir = test_folder_new();
    struct world w = {0};
    struct store_options o = {.dir = str_c(dir), .create = true};
    struct store_stats stats;
    struct search_index_status s;
    uint64_t last = 0;
    OK(store_open_embedded(&o, &w.store));
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    OK(account_create_mailboxes(w.account));
    for (int i = 0; i < 150; i++) {
        BUF_AUTO struct buf m = BUF_INIT(1 << 20);
        struct message_added added;
        struct message_add_result r;
        buf_add(&m, STR("Subject: noise\r\n\r\n"));
        for (int k = 0; k < 300; k++)
            buf_addf(&m, "%08x%s", (unsigned)pick(UINT32_MAX), k % 8 == 7 ? "\r\n" : " ");
        OK(add_text(w.account, mailbox_id(w.account, "INBOX"), buf_str(&m), 0, NULL, &added, &r));
        last = added.message;
    }
    OK(search_index_update(w.account));
    OK(search_index_status(w.account, &s));
    assert_true(s.segments == 1 && s.bytes >= SEARCH_STAGE_BYTES && s.last == last);
    store_stats(w.store, &stats);
    assert_int_equal(stats.segments, 2); /* the journal, and what was staged */
    account_close(w.account);
    accounts_close(w.accounts);
    store_close(w.store);
    OK(store_open_embedded(&o, &w.store));
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    compare(w.account, last);
    store_is_clean(w.store);
    OK(search_index_drop(w.account));
    world_close(&w);
    test_folder_remove(dir);
}

/* rule: store-1 */
static void unreadable_index_is_made_anew(void **state)
{
    struct world w;
    world_open(&w);
    uint64_t last = 0;
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    for (int i = 0; i < 60; i++)
        last = add_random(&w, inbox);
    OK(search_index_update(w.account));
    /* A row that nobody can read, where the next segment would go. */
    struct store_key key = key_search(last + 1);
    struct store_op op = {.kind = STORE_PUT, .key = key_str(&key), .value = STR("rubbish")};
    struct store_commit c = {
        .partition = ACCOUNT, .expect_version = STORE_ANY_VERSION, .ops = &op, .nops = 1};
    struct store_result r;
    OK(store_commit(w.store, &c, &r));
    account_close(w.account);
    accounts_close(w.accounts);
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    compare(w.account, last);
    OK(search_index_update(w.account));
    struct search_index_status s;
    OK(search_index_status(w.account, &s));
    assert_int_equal(s.last, last);
    compare(w.account, last);
    account_close(w.account);
    accounts_close(w.accounts);
    store_close(w.store);
}

/* The first segment as a program of another version wrote it. */
static void put_old_segment(struct world *w)
{
    struct search_manifest m = {0};
    BUF_AUTO struct buf blob = BUF_INIT(SEGMENT_BLOB_MAX), row = BUF_INIT(1024);
    OK(search_manifest_read(w->account, &m));
    struct search_part part = manifest_parts(&m)[0];
    OK(store_blob_read(w->store, &part.row.blob, 0, UINT64_MAX, &blob));
    blob.data[4] = 1; /* the version, and its checksum */
    uint32_t crc = code_crc32c(0, blob.data, SEGMENT_HEADER - 4);
    memcpy(blob.data + SEGMENT_HEADER - 4, &crc, sizeof crc);
    struct store_blob_new new = {.data = buf_str(&blob), .fd = -1, .len = blob.len};
    struct blob_id drop = part.row.blob;
    new.id = part.row.blob = blob_id_new();
    search_row_encode(&part.row, &row);
    struct store_key key = key_search(part.first);
    struct store_op op = {.kind = STORE_PUT, .key = key_str(&key), .value = buf_str(&row)};
    struct store_commit c = {.partition = ACCOUNT,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1,
                             .blobs = &new,
                             .nblobs = 1,
                             .drops = &drop,
                             .ndrops = 1};
    struct store_result r;
    OK(store_commit(w->store, &c, &r));
    buf_free(&m.rows);
}

/* rule: store-1 */
static void index_of_another_version_is_made_anew(void **state)
{
    struct world w;
    struct search_index_status s;
    world_open(&w);
    uint64_t last = 0;
    uint32_t inbox = mailbox_id(w.account, "INBOX");
    for (int i = 0; i < 60; i++)
        last = add_random(&w, inbox);
    OK(search_index_update(w.account));
    put_old_segment(&w);
    account_close(w.account);
    accounts_close(w.accounts);
    w.accounts = world_accounts(&w);
    OK(account_open(w.accounts, ACCOUNT, &w.account));
    compare(w.account, last);
    OK(search_index_status(w.account, &s));
    assert_int_equal(s.segments, 0);
    OK(search_index_update(w.account));
    OK(search_index_status(w.account, &s));
    assert_int_equal(s.last, last);
    compare(w.account, last);
    account_close(w.account); /* the commit that was not the account's has no change row */
    accounts_close(w.accounts);
    store_close(w.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folding_is_nfkd_and_casefold),
        cmocka_unit_test(tokens_are_maximal_runs),
        cmocka_unit_test(index_equals_scan),
        cmocka_unit_test(addresses_are_found_as_the_envelope_has_them),
        cmocka_unit_test(addresses_that_are_shown_are_not_repeated),
        cmocka_unit_test(background_keeps_up),
        cmocka_unit_test(large_segments_are_staged),
        cmocka_unit_test(unreadable_index_is_made_anew),
        cmocka_unit_test(index_of_another_version_is_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
