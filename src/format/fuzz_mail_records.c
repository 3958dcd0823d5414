/* SPDX-License-Identifier: Apache-2.0
 *
 * DMARC, MTA-STS, TLS-RPT, Authentication-Results; and reports rendered with hostile text.
 */
#include <assert.h>

#include "base/utf8.h"
#include "format/authres.h"
#include "format/dmarc_syntax.h"
#include "format/dsn.h"
#include "format/mta_sts.h"
#include "format/smtp_data.h"
#include "format/tlsrpt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_authres(struct arena *a, str in)
{
    struct authres r, again;
    if (authres_parse(a, in, &r) != ERR_OK)
        return;
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    authres_render(&out, &r);
    assert(authres_parse(a, buf_str(&out), &again) == ERR_OK && again.count == r.count);
}

/* rule: wire-1: whatever the remote said, our report has CRLF only, and no line too long. */
static void check_dsn(str in)
{
    struct dsn_recipient rcpt = {.address = in,
                                 .orcpt = in,
                                 .diagnostic = in,
                                 .explanation = in,
                                 .remote_mta = in,
                                 .status = STR("5.0.0")};
    struct dsn d = {.reporting_mta = STR("a.test"),
                    .from = in,
                    .to = in,
                    .message_id = STR("x"),
                    .boundary = STR("b"),
                    .envid = in,
                    .recipients = &rcpt,
                    .count = 1,
                    .original = STR("A: b\r\n")};
    BUF_AUTO struct buf out = BUF_INIT(4 << 20);
    struct smtp_chunk c = {0};
    dsn_render(&out, &d);
    assert(smtp_chunk_check(&c, buf_str(&out), true) == SMTP_DATA_MORE && !c.mid_line);
    str rest = buf_str(&out), line;
    while (rest.len) {
        str_cut(rest, '\n', &line, &rest);
        assert(line.len <= 999);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 32768)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(32 << 20);
    str in = str_of(data, size), id;
    struct dmarc_record dmarc;
    struct mta_sts_policy policy;
    struct tlsrpt_record tlsrpt;
    (void)!dmarc_record_parse(&a, in, &dmarc);
    (void)!mta_sts_txt_parse(in, &id);
    (void)!tlsrpt_parse(&a, in, &tlsrpt);
    if (mta_sts_policy_parse(&a, in, &policy) == ERR_OK)
        (void)mta_sts_mx_matches(&policy, in);
    check_authres(&a, in);
    check_dsn(in);
    return 0;
}
