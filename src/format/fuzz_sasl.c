/* SPDX-License-Identifier: Apache-2.0 */
#include "format/sasl.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    str msg = str_of(data, size), s;
    struct sasl_plain plain;
    struct scram_client_first first;
    struct scram_client_final final;
    struct scram_server_first server;
    struct sasl_oauth oauth;
    if (sasl_plain_parse(msg, &plain) == ERR_OK) {
        BUF_AUTO struct buf out = BUF_INIT(65536);
        sasl_plain_render(&out, &plain);
        assert(str_eq(buf_str(&out), msg));
    }
    if (scram_client_first_parse(&a, msg, &first) == ERR_OK) {
        assert(first.gs2_header.len + first.bare.len == msg.len && first.user.len);
        BUF_AUTO struct buf out = BUF_INIT(1 << 20);
        scram_client_first_render(&out, "n,,", first.user, first.nonce);
        struct scram_client_first again;
        assert(scram_client_first_parse(&a, buf_str(&out), &again) == ERR_OK);
        assert(str_eq(again.user, first.user) && str_eq(again.nonce, first.nonce));
    }
    if (scram_client_final_parse(&a, msg, &final) == ERR_OK)
        (void)scram_binding_matches(final.binding, STR("n,,"), STR_NONE);
    int ok = scram_server_first_parse(&a, msg, &server) == ERR_OK;
    ok |= scram_server_final_parse(&a, msg, &s) == ERR_OK;
    ok |= sasl_oauthbearer_parse(&a, msg, &oauth) == ERR_OK;
    ok |= sasl_xoauth2_parse(msg, &oauth) == ERR_OK;
    ok |= sasl_login_parse(msg, &s) == ERR_OK;
    ok |= sasl_external_parse(msg, &s) == ERR_OK;
    return ok < 0;
}
