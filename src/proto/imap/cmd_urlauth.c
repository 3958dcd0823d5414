/* SPDX-License-Identifier: Apache-2.0
 *
 * GENURLAUTH, URLFETCH, RESETKEY (RFC 4467) with the mechanism INTERNAL: the token is "01" and the
 * HMAC of the URL under a key of its mailbox, in hex. Only mailboxes of one's own account can be
 * named: a right that was given is not handed on by a URL.
 */
#include "core/urlkey.h"

#include "base/num.h"
#include "os/clock.h"
#include "proto/imap/url.h"

#define URLS_MAX 100 /* in one command */
#define WRITE_PIECE 65536
#define TOKEN_LEN (2 + 2 * URLKEY_BYTES)

static void token_of(const uint8_t mac[URLKEY_BYTES], char out[TOKEN_LEN])
{
    static const char digits[] = "0123456789abcdef";
    out[0] = '0';
    out[1] = '1';
    for (size_t i = 0; i < URLKEY_BYTES; i++) {
        out[2 + 2 * i] = digits[mac[i] >> 4];
        out[3 + 2 * i] = digits[mac[i] & 15];
    }
}

/* Does the name in a URL mean this account? */
static bool names_account(struct imap *x, str user, uint64_t account)
{
    struct account_entry e;
    return directory_account_find(x->house->directory, user, &x->scratch, &e) == ERR_OK &&
           e.id == account && e.state == ACCOUNT_ACTIVE;
}

/* ---- GENURLAUTH ---- */

static bool access_known(str access)
{
    return str_eq_nocase(access, STR("authuser")) || str_eq_nocase(access, STR("anonymous")) ||
           (str_starts_nocase(access, STR("user+")) && access.len > 5) ||
           (str_starts_nocase(access, STR("submit+")) && access.len > 7);
}

static enum err sign_url(struct imap *x, str text, char token[TOKEN_LEN])
{
    struct imap_url url;
    uint8_t mac[URLKEY_BYTES];
    TRY(imap_url_parse(&x->scratch, text, &url));
    if (str_empty(url.host) || str_empty(url.access) || !str_empty(url.token) ||
        !access_known(url.access))
        return ERR_SYNTAX;
    if (!names_account(x, url.user, account_id(x->account)))
        return ERR_DENIED;
    const struct mailbox *m = mailbox_find(x->account, url.mailbox);
    if (!m || (url.uidvalidity && url.uidvalidity != m->uidvalidity))
        return ERR_NOT_FOUND;
    TRY(urlkey_sign(x->account, m->id, url.rump, true, mac));
    token_of(mac, token);
    return ERR_OK;
}

static enum err gen_one(struct imap *x, str url, str mechanism, struct buf *out)
{
    BUF_AUTO struct buf signed_url = BUF_INIT(IMAP_URL_MAX + 256);
    char token[TOKEN_LEN];
    if (!str_eq_nocase(mechanism, STR("INTERNAL")))
        return ERR_UNSUPPORTED;
    TRY(sign_url(x, url, token));
    buf_addf(&signed_url, "%.*s:internal:", STR_ARG(url));
    buf_add(&signed_url, str_of(token, sizeof token));
    if (!buf_ok(&signed_url))
        return ERR_LIMIT;
    buf_add_char(out, ' ');
    imap_render_string(out, buf_str(&signed_url));
    return ERR_OK;
}

void imap_cmd_genurlauth(struct imap *x, struct imap_cursor *c)
{
    str urls[URLS_MAX], mechanisms[URLS_MAX];
    size_t n = 0;
    BUF_AUTO struct buf line = BUF_INIT((size_t)1 << 20);
    do {
        urls[n] = imap_astring(c);
        imap_sp(c);
        mechanisms[n++] = imap_atom(c);
    } while (imap_ok(c) && n < URLS_MAX && imap_accept(c, ' '));
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    enum err e = ERR_OK;
    buf_add(&line, STR("* GENURLAUTH"));
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = gen_one(x, urls[i], mechanisms[i], &line);
    buf_add(&line, STR("\r\n"));
    if (e == ERR_SYNTAX) {
        imap_bad_text(x, "Not a URL that can be signed");
        return;
    }
    if (e != ERR_OK) {
        imap_no(x, e);
        return;
    }
    buf_add(imap_out(x), buf_str(&line));
    imap_done(x, STR_NONE, "GENURLAUTH completed");
}

/* ---- URLFETCH ---- */

/* RFC 4467 3: who may use it. "submit+" is for a submission server's own session, which nobody is
 * here. */
static bool may_use(struct imap *x, str access)
{
    if (str_eq_nocase(access, STR("anonymous")) || str_eq_nocase(access, STR("authuser")))
        return true;
    return str_starts_nocase(access, STR("user+")) &&
           names_account(x, str_skip(access, 5), account_id(x->account));
}

static enum err verify(struct account *owner, const struct imap_url *url, uint32_t *mailbox)
{
    uint8_t mac[URLKEY_BYTES];
    char token[TOKEN_LEN];
    const struct mailbox *m = mailbox_find(owner, url->mailbox);
    if (!m)
        return ERR_NOT_FOUND;
    *mailbox = m->id;
    TRY(urlkey_sign(owner, m->id, url->rump, false, mac));
    token_of(mac, token);
    /* Constant in time: the token is what an attacker guesses. */
    return str_eq_secret(url->token, str_of(token, sizeof token)) ? ERR_OK : ERR_DENIED;
}

static enum err fetch_url(struct imap *x, str text, struct spool *out)
{
    struct imap_url url;
    struct account_entry entry;
    struct account *owner;
    uint32_t mailbox;
    TRY(imap_url_parse(&x->scratch, text, &url));
    if (str_empty(url.token) || !str_eq_nocase(url.mechanism, STR("INTERNAL")) ||
        !may_use(x, url.access))
        return ERR_DENIED;
    if (url.has_expire && clock_wall_s() >= (int64_t)MIN(url.expire_s, (uint64_t)INT64_MAX))
        return ERR_EXPIRED;
    TRY(directory_account_find(x->house->directory, url.user, &x->scratch, &entry));
    if (entry.state != ACCOUNT_ACTIVE)
        return ERR_DISABLED;
    TRY(account_open(x->house->accounts, entry.id, &owner));
    enum err e = verify(owner, &url, &mailbox);
    if (e == ERR_OK)
        e = imap_url_spool(x, owner, mailbox, &url, out);
    account_close(owner);
    return e;
}

/* Whatever is wrong, the answer is NIL: it must not say what is there (RFC 4467 8). */
static void tell_url(struct imap *x, str url)
{
    struct spool spool;
    str content = STR_NONE;
    spool_init(&spool, STORE_BLOB_MAX);
    enum err e = fetch_url(x, url, &spool);
    if (e == ERR_OK && spool.size)
        e = spool_finish(&spool, &content);
    buf_add(imap_out(x), STR("* URLFETCH "));
    imap_render_string(imap_out(x), url);
    if (e != ERR_OK) {
        buf_add(imap_out(x), STR(" NIL\r\n"));
    } else {
        buf_addf(imap_out(x), " {%zu}\r\n", content.len);
        for (size_t at = 0; at < content.len; at += WRITE_PIECE) {
            size_t before = imap_out(x)->len;
            buf_add(imap_out(x), str_sub(content, at, WRITE_PIECE));
            imap_hide_nul(imap_out(x), before);
            imap_flush_check(x);
        }
        stream_write(x->stream, STR("\r\n"));
    }
    imap_flush_check(x);
    spool_free(&spool);
}

void imap_cmd_urlfetch(struct imap *x, struct imap_cursor *c)
{
    str urls[URLS_MAX];
    size_t n = 0;
    do
        urls[n++] = imap_astring(c);
    while (imap_ok(c) && n < URLS_MAX && imap_accept(c, ' '));
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    for (size_t i = 0; i < n && stream_error(x->stream) == ERR_OK; i++)
        tell_url(x, urls[i]);
    imap_done(x, STR_NONE, "URLFETCH completed");
}

/* ---- RESETKEY ---- */

void imap_cmd_resetkey(struct imap *x, struct imap_cursor *c)
{
    uint32_t mailbox = 0;
    bool known = true;
    if (!imap_at_end(c)) {
        str name = imap_mailbox(c);
        const struct mailbox *m = imap_ok(c) ? mailbox_find(x->account, name) : NULL;
        mailbox = m ? m->id : 0;
        known = m != NULL;
        while (imap_ok(c) && imap_accept(c, ' '))
            imap_atom(c); /* mechanisms: there is one */
    }
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    enum err e = known ? urlkey_reset(x->account, mailbox) : ERR_NOT_FOUND;
    if (e == ERR_OK)
        imap_done(x, STR("URLMECH INTERNAL"), "All URLs signed before are void");
    else
        imap_no(x, e);
}
