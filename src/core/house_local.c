/* SPDX-License-Identifier: Apache-2.0 */
#include "core/house_local.h"

#include <string.h>

#include "base/log.h"
#include "core/dkim_keys.h"
#include "core/forward.h"
#include "os/clock.h"

#define SIGNED_TRACE_MAX 131072 /* bytes of trace fields and signatures */

static enum err call_auth_password(void *ctx, const struct auth_attempt *at, str password,
                                   struct arena *arena, struct auth_grant *out)
{
    struct house_local *h = ctx;
    return auth_password(h->auth, at, password, arena, out);
}

static enum err call_auth_scram_salt(void *ctx, const struct auth_attempt *at,
                                     struct auth_scram_salt *out)
{
    struct house_local *h = ctx;
    return auth_scram_salt(h->auth, at, out);
}

static enum err call_auth_scram_verify(void *ctx, const struct auth_attempt *at, str auth_message,
                                       str proof, uint8_t signature[32], struct arena *arena,
                                       struct auth_grant *out)
{
    struct house_local *h = ctx;
    return auth_scram_verify(h->auth, at, auth_message, proof, signature, arena, out);
}

static enum err call_auth_external(void *ctx, const struct auth_attempt *at, struct arena *arena,
                                   struct auth_grant *out)
{
    struct house_local *h = ctx;
    return auth_external(h->auth, at, arena, out);
}

/* Does the message still fit into the account? Its row is read, not its view opened: this thread
 * need not be the account's home, and a second view would follow every delivery there. */
static enum err quota_ask(struct house_local *h, uint64_t id, uint64_t size)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    BUF_AUTO struct buf row = BUF_INIT(STORE_VALUE_MAX);
    struct account_entry e;
    struct head_row head;
    TRY(directory_account_get(&h->directory, id, &a, &e));
    if (!e.quota_bytes && !e.quota_messages)
        return ERR_OK;
    struct store_key key = key_head();
    enum err err = store_get(h->directory.store, id, key_str(&key), &row);
    if (err != ERR_OK)
        return err == ERR_NOT_FOUND ? ERR_OK : err; /* nothing there yet */
    TRY(head_decode(buf_str(&row), &head));
    if (e.quota_bytes && (head.bytes >= e.quota_bytes || size > e.quota_bytes - head.bytes))
        return ERR_QUOTA;
    return e.quota_messages && head.messages >= e.quota_messages ? ERR_QUOTA : ERR_OK;
}

enum err recipient_decide(struct house_local *h, const struct recipient_check *c,
                          struct recipient_verdict *out)
{
    ARENA_AUTO struct arena a = ARENA_INIT((size_t)1 << 20);
    struct resolution r;
    *out = (struct recipient_verdict){0};
    enum err e = forward_resolve(&h->directory, c->address, &a, &r);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_NO_USER : e;
    /* Rule wire-7: what is not ours needs a signed-in sender or a named relay entry. */
    if (!r.here)
        return c->account || c->relay_allowed ? ERR_OK : ERR_RELAY;
    out->local = true;
    enum err full = ERR_OK;
    size_t fits = 0;
    for (size_t i = 0; i < r.ntargets; i++) {
        uint64_t id = r.targets[i].account;
        e = id ? quota_ask(h, id, c->size) : ERR_OK;
        if (e == ERR_OK) {
            if (fits++ == 0 && id)
                out->home = (uint32_t)(id % h->threads);
        } else if (e == ERR_QUOTA) {
            full = e;
        } else {
            return e;
        }
    }
    /* A group is refused only when nobody in it has room. */
    return fits > 0 ? ERR_OK : full;
}

static enum err call_recipient_check(void *ctx, const struct recipient_check *c,
                                     struct recipient_verdict *out)
{
    return recipient_decide(ctx, c, out);
}

static enum err call_sender_check(void *ctx, uint64_t account, str address)
{
    struct house_local *h = ctx;
    if (str_empty(address))
        return ERR_OK;
    return directory_may_send(&h->directory, account, address);
}

static enum err call_greylist(void *ctx, const struct greylist_question *q, uint32_t *wait_s)
{
    struct house_local *h = ctx;
    return greylist_ask(h->directory.store, &h->greylist, q, clock_wall_s(), wait_s);
}

/* Of somebody who signed in: with our signatures. */
static enum err deliver_signed(struct house_local *h, const struct envelope *e,
                               struct deliver_result *out) WAITS
{
    struct envelope ours = *e;
    BUF_AUTO struct buf trace = BUF_INIT(SIGNED_TRACE_MAX);
    enum err signed_ = dkim_sign_envelope(&h->directory, e, clock_wall_s(), &trace);
    if (signed_ != ERR_OK)
        LOG_WARN("house", "not signed id=%.*s cause=%s", STR_ARG(e->id), err_name(signed_));
    if (signed_ != ERR_OK && err_class(signed_) == ERR_CLASS_TEMP)
        return signed_;
    buf_add(&trace, e->trace);
    ours.trace = buf_str(&trace);
    return buf_ok(&trace) ? deliver_envelope(h->deliver, &ours, out) : ERR_LIMIT;
}

static void say_limited(const struct envelope *e, const struct send_refusal *why,
                        struct deliver_result *out)
{
    BUF_AUTO struct buf text = BUF_INIT(DELIVER_TEXT_MAX - 1);
    send_refusal_text(why, &text);
    LOG_WARN("send", "limited account=%llu sender=%.*s id=%.*s recipients=%zu limit=%u wait_s=%llu",
             (unsigned long long)e->account, STR_ARG(e->sender), STR_ARG(e->id), e->nrecipients,
             why->max, (unsigned long long)why->wait_s);
    if (buf_ok(&text))
        memcpy(out->text, text.data, text.len);
    for (size_t i = 0; i < e->nrecipients; i++)
        out->recipients[i] = why->wait_s ? ERR_SEND_LIMIT : ERR_DENIED;
}

static bool any_accepted(const struct envelope *e, const struct deliver_result *r)
{
    for (size_t i = 0; i < e->nrecipients; i++)
        if (r->recipients[i] == ERR_OK)
            return true;
    return false;
}

/* Its share is taken first, so that many at once stay below the limit. */
static enum err deliver_limited(struct house_local *h, const struct envelope *e,
                                struct deliver_result *out) WAITS
{
    struct send_refusal why;
    int64_t now = clock_wall_s();
    uint32_t n = (uint32_t)e->nrecipients;
    if (!h->send_limits)
        return deliver_signed(h, e, out);
    enum err limit = send_limit_take(h->send_limits, e->account, n, now, &why);
    if (limit == ERR_SEND_LIMIT) {
        say_limited(e, &why, out);
        return ERR_OK;
    }
    TRY(limit);
    enum err err = deliver_signed(h, e, out);
    /* With an unknown outcome it may be on its way. */
    if ((err != ERR_OK && err != ERR_UNKNOWN) || (err == ERR_OK && !any_accepted(e, out)))
        send_limit_give_back(h->send_limits, e->account, n, now);
    return err;
}

static enum err call_deliver(void *ctx, uint32_t home, const struct envelope *e,
                             struct deliver_result *out)
{
    struct house_local *h = ctx;
    (void)home;
    memset(out->text, 0, sizeof(out->text));
    return e->account ? deliver_limited(h, e, out) : deliver_envelope(h->deliver, e, out);
}

void house_local_table(struct house_local *h, struct house *out)
{
    *out = (struct house){
        .ctx = h,
        .auth_password = call_auth_password,
        .auth_scram_salt = call_auth_scram_salt,
        .auth_scram_verify = call_auth_scram_verify,
        .auth_external = call_auth_external,
        .recipient_check = call_recipient_check,
        .sender_check = call_sender_check,
        .deliver = call_deliver,
        .greylist = call_greylist,
    };
}
