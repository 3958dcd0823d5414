/* SPDX-License-Identifier: Apache-2.0
 *
 * Attachments of strangers: unpacked, then read as XML or JSON, whatever they are. XML in one go
 * and in small pieces says the same.
 */
#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "format/dmarc_report.h"
#include "format/report_mail.h"
#include "format/tls_report.h"
#include "format/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX 262144

static enum err on_row(void *ctx, const struct dmarc_report_row *r)
{
    size_t *n = ctx;
    *n += 1;
    assert(r->ndkim <= DMARC_REPORT_DKIM_MAX && r->count <= DMARC_REPORT_COUNT_MAX);
    assert(r->source_ip.len > 0 && r->header_from.len <= DMARC_REPORT_TEXT_MAX);
    return ERR_OK;
}

static enum err read_xml(str xml, size_t piece, size_t *rows)
{
    ARENA_AUTO struct arena a = ARENA_INIT(262144);
    struct dmarc_report_reader *r;
    struct dmarc_report_head h;
    size_t skipped;
    enum err e = dmarc_report_reader_open(&a, 1, on_row, rows, &r);
    assert(e == ERR_OK);
    for (; xml.len && e == ERR_OK; xml = str_skip(xml, piece))
        e = dmarc_report_reader_feed(r, str_head(xml, piece));
    if (e == ERR_OK)
        e = dmarc_report_reader_end(r, &h, &skipped);
    assert(e != ERR_OK || (h.domain.len > 0 && h.begin_s <= h.end_s));
    dmarc_report_reader_close(r);
    return e;
}

static void read_json(str json)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 22);
    BUF_AUTO struct buf out = BUF_INIT(1 << 22);
    struct tls_report t, again;
    if (tls_report_parse(&a, json, &t) != ERR_OK || tls_report_render(&out, &t) != ERR_OK)
        return;
    ARENA_AUTO struct arena b = ARENA_INIT(1 << 22);
    enum err e = tls_report_parse(&b, buf_str(&out), &again);
    assert(e == ERR_LIMIT || t.begin_s < 0 || (e == ERR_OK && again.npolicies == t.npolicies));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    BUF_AUTO struct buf out = BUF_INIT(OUT_MAX), address = BUF_INIT(300);
    struct unpack *u = NULL;
    str piece;
    if (size > 65536)
        return 0;
    (void)report_mailto(str_of(data, size), &address);
    enum err e = unpack_open(&a, str_of(data, size), OUT_MAX, &u);
    while (e == ERR_OK && (e = unpack_next(u, &piece)) == ERR_OK)
        buf_add(&out, piece);
    unpack_close(u);
    assert(out.len <= OUT_MAX);
    size_t whole = 0, split = 0;
    enum err first = read_xml(buf_str(&out), OUT_MAX, &whole);
    enum err second = read_xml(buf_str(&out), 1 + size % 97, &split);
    assert(first == ERR_LIMIT || second == ERR_LIMIT || first == second);
    assert(first != ERR_OK || second != ERR_OK || whole == split);
    read_json(buf_str(&out));
    return 0;
}
