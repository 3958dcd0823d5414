/* SPDX-License-Identifier: Apache-2.0
 *
 * What changes the session itself: ENABLE (RFC 5161), COMPRESS (RFC 4978), UNAUTHENTICATE
 * (RFC 8437), and signing in again after it.
 */
#include "base/num.h"
#include "proto/imap/capability.h"
#include "proto/imap/session.h"
#include "proto/imap/sign_in.h"

static const struct enabling {
    str name;
    uint32_t bits; /* what it turns on */
    uint32_t self; /* its own bit: there when it is on */
} enablings[] = {
    {STR_INIT("IMAP4rev2"), IMAP_ENABLED_REV2, IMAP_ENABLED_REV2},
    {STR_INIT("UTF8=ACCEPT"), IMAP_ENABLED_UTF8, IMAP_ENABLED_UTF8},
    {STR_INIT("CONDSTORE"), IMAP_ENABLED_CONDSTORE, IMAP_ENABLED_CONDSTORE},
    /* RFC 7162 3.2.3: QRESYNC turns on CONDSTORE */
    {STR_INIT("QRESYNC"), IMAP_ENABLED_QRESYNC | IMAP_ENABLED_CONDSTORE, IMAP_ENABLED_QRESYNC},
    {STR_INIT("UIDONLY"), IMAP_ENABLED_UIDONLY, IMAP_ENABLED_UIDONLY},
};

/* RFC 5161: what is not known is not mentioned. */
void imap_cmd_enable(struct imap *x, struct imap_cursor *c)
{
    bool wanted[ARRAY_LEN(enablings)] = {false};
    do {
        str name = imap_atom(c);
        for (size_t i = 0; i < ARRAY_LEN(enablings); i++)
            if (str_eq_nocase(enablings[i].name, name))
                wanted[i] = true;
        if (!imap_at_end(c))
            imap_sp(c);
    } while (imap_ok(c) && !imap_at_end(c));
    if (!imap_ok(c)) {
        imap_refuse(x, c);
        return;
    }
    buf_add(imap_out(x), STR("* ENABLED"));
    uint32_t bits = 0;
    for (size_t i = 0; i < ARRAY_LEN(enablings); i++)
        if (wanted[i] && !imap_has(x, enablings[i].self)) {
            buf_addf(imap_out(x), " %.*s", STR_ARG(enablings[i].name));
            bits |= enablings[i].bits;
        }
    buf_add(imap_out(x), STR("\r\n"));
    if (bits & IMAP_ENABLED_CONDSTORE)
        imap_condstore_on(x);
    x->enabled |= bits;
    imap_done(x, STR_NONE, "ENABLE completed");
}

/* From the CRLF of the answer on both directions are deflated, TLS or not: a TLS session's other
 * half is in the gate, and what it carries is this stream. */
void imap_cmd_compress(struct imap *x, struct imap_cursor *c)
{
    str method = imap_atom(c);
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!str_eq_nocase(method, STR("DEFLATE"))) {
        imap_bad_text(x, "DEFLATE is the only method");
        return;
    }
    if (x->compressed) {
        imap_no_code(x, "COMPRESSIONACTIVE", "Compression is active already");
        return;
    }
    imap_done(x, STR_NONE, "Begin deflate");
    enum err e = stream_start_deflate(x->stream);
    if (e != ERR_OK)
        stream_fail(x->stream, e);
    x->compressed = true;
}

void imap_session_forget(struct imap *x)
{
    imap_unselect(x);
    imap_search_end(x);
    imap_notify_end(x);
    imap_place_end(x);
    x->search = NULL;
    x->notify = NULL;
    x->enabled = 0;
    account_close(x->account);
    x->account = NULL;
}

void imap_cmd_unauthenticate(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    imap_session_forget(x);
    x->who = (struct auth_grant){0};
    imap_done(x, STR_NONE, "Signed out");
}

static void signed_in(struct imap *x)
{
    BUF_AUTO struct buf code = BUF_INIT(8192);
    enum err e = account_open(x->house->accounts, x->who.account, &x->account);
    if (e != ERR_OK) {
        imap_no(x, e);
        return;
    }
    buf_add(&code, STR("CAPABILITY "));
    imap_capabilities(x->stream, x->config, true, false, x->secure, x->compressed, &code);
    imap_done(x, buf_str(&code), "Signed in");
}

static void sign_in(struct imap *x, struct imap_cursor *c,
                    bool (*way)(struct imap_sign_in *s, struct imap_cursor *c)) WAITS
{
    struct imap_sign_in s = {
        .stream = x->stream, .house = x->house->house, .secure = x->secure, .arena = &x->arena};
    DEADLINE_SCOPE(x->config->login_timeout_ms);
    if (way(&s, c)) {
        x->who = s.who;
        signed_in(x);
        return;
    }
    if (!imap_ok(c)) {
        imap_refuse(x, c);
    } else if (s.bad) {
        imap_bad_text(x, s.bad);
    } else if (s.refused != ERR_OK) {
        imap_no(x, s.refused);
        if (++x->errors >= x->config->errors_max) {
            stream_write(x->stream, STR("* BYE Too many failures\r\n"));
            x->closing = true;
        }
    }
}

void imap_cmd_login(struct imap *x, struct imap_cursor *c) { sign_in(x, c, imap_sign_in_login); }

void imap_cmd_authenticate(struct imap *x, struct imap_cursor *c)
{
    sign_in(x, c, imap_sign_in_authenticate);
}
