/* SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the line shape ('a' to 'i'), the rest is the line.
 */
#include "format/smtp_syntax.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is refused has a reply that is one clean line. */
static void check_fault(const struct smtp_fault *fault)
{
    BUF_AUTO struct buf out = BUF_INIT(4096);
    smtp_fault_render(&out, fault);
    assert(buf_ok(&out) && str_ends(buf_str(&out), STR("\r\n")));
    for (size_t i = 0; i + 2 < out.len; i++)
        assert(out.data[i] >= 0x20 && out.data[i] < 0x7f);
}

static void check_path(struct arena *a, const struct smtp_path *p)
{
    if (p->null || p->postmaster)
        return;
    struct addr again;
    BUF_AUTO struct buf out = BUF_INIT(4096);
    addr_render(&out, &p->addr);
    assert(addr_parse(a, buf_str(&out), 0, &again) == ERR_OK);
    assert(addr_eq(&again, &p->addr));
}

static enum err parse(struct arena *a, char shape, str line, struct smtp_fault *fault)
{
    struct smtp_helo helo;
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
    struct smtp_bdat bdat;
    struct smtp_auth auth;
    struct smtp_xclient xclient;
    str text;
    enum err e;
    switch (shape) {
    case 'a':
        return smtp_parse_helo(line, &helo, fault);
    case 'b':
        e = smtp_parse_mail(a, line, ~0u, &mail, fault);
        if (e == ERR_OK)
            check_path(a, &mail.from);
        return e;
    case 'c':
        e = smtp_parse_rcpt(a, line, ~0u, true, &rcpt, fault);
        if (e == ERR_OK)
            check_path(a, &rcpt.to);
        return e;
    case 'd':
        return smtp_parse_bdat(line, &bdat, fault);
    case 'e':
        return smtp_parse_auth(line, &auth, fault);
    case 'f':
        return smtp_parse_xclient(a, line, &xclient, fault);
    case 'g':
        return smtp_parse_text(line, true, &text, fault);
    default:
        return smtp_parse_none(line, fault);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 65536)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(4 << 20);
    struct smtp_fault fault = {0};
    str line = str_of(data + 1, size - 1), verb, args, back;
    if (parse(&a, (char)data[0], line, &fault) != ERR_OK)
        check_fault(&fault);
    smtp_line_split(line, &verb, &args);
    assert(verb.len + args.len <= line.len);
    BUF_AUTO struct buf xtext = BUF_INIT(1 << 20);
    smtp_xtext_encode(&xtext, line);
    assert(smtp_xtext_decode(&a, buf_str(&xtext), &back) == ERR_OK && str_eq(back, line));
    return 0;
}
