/* SPDX-License-Identifier: Apache-2.0
 *
 * bench_search [messages]: SEARCH over an account on the memory engine, with the index and by a
 * full scan. The texts are words of a Zipf-like distribution, 4 KB each, with the headers of real
 * mail: ids, dates and addresses that are different in every message.
 */
#include <stdlib.h>
#include <string.h>

#include "core/mailbox.h"
#include "core/search.h"
#include "format/mime_cold.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/offload.h"

#include "must.h"

static uint64_t state = 88172645463325252u;
static uint32_t pick(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 11) % n;
}

/* Word number n of a made-up language. */
static void add_word(struct buf *out, uint32_t n)
{
    static const char *const syllables[] = {"ba", "ke", "lo", "mi", "nu", "ra", "se", "ti",
                                            "vo", "da", "fe", "go", "hi", "ju", "pa", "zu"};
    do {
        buf_add_c(out, syllables[n % 16]);
        n /= 16;
    } while (n);
}

static uint32_t zipf(void)
{
    uint32_t range = 1u << (3 + pick(13)); /* 8 to 32,768: small numbers are common */
    return pick(range);
}

static void make_message(struct buf *out, uint32_t i)
{
    buf_reset(out);
    buf_addf(out, "From: ");
    add_word(out, pick(3000));
    buf_addf(out, " <user%u@example%u.test>\r\nTo: me@example.test\r\nSubject: ", pick(3000),
             pick(400));
    for (int k = 0; k < 6; k++) {
        add_word(out, zipf());
        buf_add_char(out, ' ');
    }
    buf_addf(out,
             "\r\nMessage-ID: <%08x%08x.%u@example.test>\r\nDate: Mon, 23 Nov 2026 %02u:%02u:%02u "
             "+0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
             pick(UINT32_MAX), pick(UINT32_MAX), i, pick(24), pick(60), pick(60));
    for (uint32_t column = 0; out->len < 4096; column++) {
        add_word(out, zipf());
        buf_add(out, column % 12 == 11 ? STR("\r\n") : STR(" "));
    }
    if (i % 10000 == 77)
        buf_add(out, STR("the needle-in-haystack zyxwvut\r\n"));
}

static void fill(struct account *a, uint32_t inbox, uint32_t n)
{
    BUF_AUTO struct buf text = BUF_INIT(65536);
    BUF_AUTO struct buf mime = BUF_INIT(65536);
    for (uint32_t i = 0; i < n; i++) {
        ARENA_AUTO struct arena arena = ARENA_INIT(MIME_ARENA_MAX);
        struct mime m;
        struct message_added added;
        struct message_add_result r;
        make_message(&text, i);
        buf_reset(&mime);
        MUST_OK(mime_parse(&arena, buf_str(&text), &m));
        MUST_OK(mime_cold_encode(&arena, &m, &mime));
        struct message_new new = MESSAGE_NEW_INIT;
        new.data = buf_str(&text);
        new.mime = buf_str(&mime);
        MUST_OK(message_add(a, inbox, &new, 1, NULL, &added, &r));
    }
}

static double ask(struct account *a, const struct search_term *t, uint32_t n, bool no_index,
                  size_t *found)
{
    BUF_AUTO struct buf ids = BUF_INIT(SIZE_MAX / 2);
    BUF_AUTO struct buf answers = BUF_INIT(SIZE_MAX / 2);
    for (uint64_t id = 1; id <= n; id++)
        buf_add(&ids, str_of(&id, sizeof id));
    uint8_t *got = (uint8_t *)buf_reserve(&answers, n);
    struct search_query q = {.terms = t, .nterms = 1, .no_index = no_index};
    double best = 1e9;
    for (int i = 0; i < (no_index ? 1 : 5); i++) {
        uint64_t begin = clock_mono_ns();
        MUST_OK(search_messages(a, &q, (uint64_t *)ids.data, n, got));
        double ms = (double)(clock_mono_ns() - begin) / 1e6;
        best = ms < best ? ms : best;
    }
    *found = 0;
    for (uint32_t i = 0; i < n; i++)
        *found += got[i] != 0;
    return best;
}

static void measure(struct account *a, uint32_t n)
{
    static const struct {
        const char *what;
        struct search_term term;
    } rows[] = {
        {"TEXT, one word, rare", {.field = SEARCH_IN_TEXT, .text = STR_INIT("zyxwvut")}},
        {"TEXT, one word, nowhere", {.field = SEARCH_IN_TEXT, .text = STR_INIT("qqqqq")}},
        {"TEXT, inside words, common", {.field = SEARCH_IN_TEXT, .text = STR_INIT("bake")}},
        {"TEXT, two letters", {.field = SEARCH_IN_TEXT, .text = STR_INIT("ba")}},
        {"TEXT, phrase, rare", {.field = SEARCH_IN_TEXT, .text = STR_INIT("needle-in-hay")}},
        {"TEXT, phrase, common", {.field = SEARCH_IN_TEXT, .text = STR_INIT("ba ke")}},
        {"BODY, one word", {.field = SEARCH_IN_BODY, .text = STR_INIT("lobami")}},
        {"SUBJECT, one word", {.field = SEARCH_IN_SUBJECT, .text = STR_INIT("lobami")}},
        {"FROM, address", {.field = SEARCH_IN_FROM, .text = STR_INIT("user17@example3.test")}},
        {"FUZZY TEXT, two words",
         {.field = SEARCH_IN_TEXT, .text = STR_INIT("lobami zyxwvuts"), .fuzzy = true}},
    };
    printf("%-30s %10s %10s %10s\n", "", "found", "index ms", "scan ms");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t found, scanned;
        double with = ask(a, &rows[i].term, n, false, &found);
        double without = ask(a, &rows[i].term, n, true, &scanned);
        printf("%-30s %10zu %10.1f %10.1f%s\n", rows[i].what, found, with, without,
               found == scanned ? "" : "   DIFFERENT");
        fflush(stdout);
    }
}

struct run {
    uint32_t n;
    const char *dir;
};

static void run(void *arg)
{
    struct run *r = arg;
    struct store *store;
    struct accounts *as;
    struct account *a;
    if (r->dir)
        MUST_OK(store_open_embedded(&(struct store_options){.dir = str_c(r->dir), .create = true},
                                    &store));
    else
        MUST_OK(store_open_memory(&store));
    MUST_OK(accounts_open(&(struct accounts_options){.store = store}, &as));
    MUST_OK(account_open(as, 5000, &a));
    MUST_OK(account_create_mailboxes(a));
    uint64_t begin = clock_mono_ms();
    fill(a, mailbox_find(a, STR("INBOX"))->id, r->n);
    printf("%u messages added in %.1f s\n", r->n, (double)(clock_mono_ms() - begin) / 1e3);
    begin = clock_mono_ms();
    MUST_OK(search_index_update(a));
    struct search_index_status s;
    MUST_OK(search_index_status(a, &s));
    double seconds = (double)(clock_mono_ms() - begin) / 1e3;
    printf("indexed in %.1f s: %llu segments, %.1f MB, %.0f messages/s\n", seconds,
           (unsigned long long)s.segments, (double)s.bytes / 1e6, r->n / seconds);
    measure(a, r->n);
    account_close(a);
    accounts_close(as);
    store_close(store);
}

int main(int argc, char **argv)
{
    struct run r = {argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 20000,
                    argc > 2 ? argv[2] : NULL};
    struct loop *loop;
    struct fiber_group group;
    MUST_OK(offload_start(2));
    MUST_OK(loop_open(&loop, &(struct loop_options){.name = "bench", .slice_warn_ms = 20}));
    fiber_group_init(&group);
    MUST_OK(fiber_start(&group, "bench", run, &r));
    loop_run_until_idle(loop);
    loop_close(loop);
    offload_stop();
    return 0;
}
