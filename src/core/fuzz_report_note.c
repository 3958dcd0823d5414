/* SPDX-License-Identifier: Apache-2.0
 *
 * What the house believes of a gate and the relay about reports, and what a gate makes of a message
 * that says it carries one. What is read out of a message the house takes.
 */
#include <assert.h>

#include "core/report_read.h"
#include "core/report_rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_body(enum report_kind kind, str body)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    BUF_AUTO struct buf again = BUF_INIT(65536);
    struct dmarc_report_row row;
    struct report_tls_note tls;
    if (kind == REPORT_DMARC && report_dmarc_take(body, &a, &row) == ERR_OK)
        report_dmarc_put(&row, &again);
    else if (kind == REPORT_TLS && report_tls_take(body, &a, &tls) == ERR_OK)
        report_tls_put(&tls, &again);
    else
        return;
    assert(buf_ok(&again) && again.len <= body.len);
}

static void check_notes(str in)
{
    struct reader r = reader_of(in);
    struct report_note n;
    while (!str_empty(r.rest) && report_note_take(&r, &n) == ERR_OK) {
        BUF_AUTO struct buf out = BUF_INIT(65536);
        struct report_key k;
        report_note_put(&n, &out);
        check_body(n.kind, n.body);
        struct store_key key =
            report_key_seen(SPACE_REPORT_SEEN, n.kind, 7, n.domain, report_overflow);
        assert(report_key_of(key_str(&key), &k) && str_eq(k.domain, n.domain) && k.day == 7);
    }
}

/* made: by us, so it must be as it should. */
static void check_read(str in, bool made)
{
    struct reader r = reader_of(in), rows;
    struct report_read_head h;
    struct report_read_row row;
    while (!str_empty(r.rest)) {
        enum err e = report_read_take(&r, &h, &rows);
        assert(!made || (e == ERR_OK && report_domain_valid(h.domain)));
        if (e != ERR_OK)
            return;
        uint32_t n = 0;
        while (!str_empty(rows.rest)) {
            e = report_read_row_take(&rows, &row);
            assert(!made || e == ERR_OK);
            if (e != ERR_OK)
                return;
            check_body(h.kind, row.body);
            n++;
        }
        assert(!made || n == h.taken.rows);
    }
}

static void check_message(str in)
{
    BUF_AUTO struct buf out = BUF_INIT(REPORT_READ_MAX);
    struct report_facts f = {.author = STR("a.test"), .now_s = 1};
    if (report_may_be(in) && report_read(in, &f, &out) == ERR_OK)
        check_read(buf_str(&out), true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct report_key k;
    struct report_sent sent;
    if (size < 1 || size > 65536)
        return 0;
    str in = str_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        check_notes(in);
        break;
    case 1:
        check_read(in, false);
        break;
    case 2:
        (void)report_key_of(in, &k);
        (void)!report_sent_decode(in, &sent);
        break;
    default:
        check_message(in);
        break;
    }
    return 0;
}
