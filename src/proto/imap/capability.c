/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/capability.h"

#include "base/num.h"
#include "core/sasl.h"

enum when { ALWAYS, BEFORE, AFTER };

static const struct capability {
    str name;
    enum when when;
} capabilities[] = {
#define CAPABILITY(name, when) {STR_INIT(name), when},
#include "proto/imap/capability.def"
#undef CAPABILITY
};

static void sign_in_ways(const struct stream *s, bool tls_offered, bool secure, struct buf *out)
{
    BUF_AUTO struct buf mechanisms = BUF_INIT(512);
    str rest, word;
    if (tls_offered)
        buf_add(out, STR(" STARTTLS"));
    if (!secure)
        buf_add(out, STR(" LOGINDISABLED"));
    sasl_mechanisms(s, secure, &mechanisms);
    for (rest = buf_str(&mechanisms); str_next_word(&rest, &word);)
        buf_addf(out, " AUTH=%.*s", STR_ARG(word));
}

void imap_capabilities(const struct stream *s, const struct imap_config *config, bool signed_in,
                       bool tls_offered, bool secure, bool compressed, struct buf *out)
{
    size_t before = out->len;
    for (size_t i = 0; i < ARRAY_LEN(capabilities); i++) {
        if (capabilities[i].when == (signed_in ? BEFORE : AFTER))
            continue;
        if (out->len > before)
            buf_add_char(out, ' ');
        buf_add(out, capabilities[i].name);
    }
    if (!signed_in) {
        sign_in_ways(s, tls_offered, secure, out);
        return;
    }
    if (!compressed)
        buf_add(out, STR(" COMPRESS=DEFLATE"));
    buf_addf(out, " APPENDLIMIT=%llu", (unsigned long long)config->append_max);
    if (config->message_limit)
        buf_addf(out, " MESSAGELIMIT=%u", config->message_limit);
}
