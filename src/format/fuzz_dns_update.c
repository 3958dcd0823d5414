/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers to updates; and what is built from any text parses as a message.
 */
#include <assert.h>

#include "format/dns_update.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void build(str in)
{
    struct dns_update u;
    BUF_AUTO struct buf rdata = BUF_INIT(DNS_MESSAGE_MAX);
    bool fits = dns_rdata_txt(in, &rdata);
    dns_update_begin(&u, 7, in);
    if (fits)
        dns_update_add(&u, in, 16, 60, buf_str(&rdata));
    struct dns_tsig t = {.key_name = in, .original_id = 7};
    if (dns_update_done(&u) == ERR_OK && dns_update_tsig_add(&u.out, &t, STR("mac"))) {
        u.out.data[2] = (char)(u.out.data[2] | (char)0x80); /* as if it were an answer */
        struct dns_update_answer a;
        assert(dns_update_answer_parse(buf_str(&u.out), &a) == ERR_OK && a.has_tsig);
    }
    buf_free(&u.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_update_answer a;
    str in = str_of(data, size);
    if (dns_update_answer_parse(in, &a) == ERR_OK) {
        BUF_AUTO struct buf out = BUF_INIT(DNS_MESSAGE_MAX);
        dns_update_answer_unsigned(&a, &out);
        assert(out.len <= size || !buf_ok(&out));
    }
    build(in);
    return 0;
}
