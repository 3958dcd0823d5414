/* SPDX-License-Identifier: Apache-2.0 */
#include "app/gate_house.h"

#include "app/wire.h"
#include "base/log.h"
#include "base/num.h"
#include "core/greylist.h"
#include "os/file.h"

#include <stdio.h>
#include <string.h>

/* ---- links ---- */

struct ipc_slot *gate_house_slot(struct gate_house *g, uint32_t thread)
{
    return thread < g->npeers ? &g->peers[thread].slot : NULL;
}

static struct ipc_link *thread_link(struct gate_house *g, uint64_t thread) WAITS
{
    struct ipc_slot *s = &g->peers[thread % g->npeers].slot;
    struct ipc_link *up = ipc_slot_up(s, HOUSE_WAIT_MS);
    return up ? up : &s->link; /* a call over one that is down says so */
}

/* The thread with the least to do; of equals the one asked last, which is awake. */
static struct ipc_link *any_link(struct gate_house *g) WAITS
{
    for (uint32_t i = 0; i < g->npeers; i++) {
        const struct ipc_link *l = &g->peers[i].slot.link, *best = &g->peers[g->last].slot.link;
        if (l->up && (!best->up || l->pending.count < best->pending.count))
            g->last = i;
    }
    return thread_link(g, g->last);
}

/* All attempts on one login meet in one thread, whichever gate they came by, so that the limits
 * against guessing count them together (rule auth-5). */
static struct ipc_link *login_link(struct gate_house *g, str login) WAITS
{
    char lower[64];
    size_t n = MIN(login.len, sizeof(lower));
    for (size_t i = 0; i < n; i++)
        lower[i] = char_lower(login.data[i]);
    return thread_link(g, str_hash_stable(str_of(lower, n)));
}

/* ---- the table ---- */

static enum err gate_auth_password(void *ctx, const struct auth_attempt *a, str password,
                                   struct arena *arena, struct auth_grant *out) WAITS
{
    struct wire_address source;
    struct ipc_auth_password_results r;
    TRY(ipc_auth_password(login_link(ctx, a->login),
                          &(struct ipc_auth_password_args){
                              .protocol = a->protocol,
                              .login = a->login,
                              .authzid = a->authzid,
                              .source = wire_address_put(&a->source, &source),
                              .secure = a->secure,
                              .password = password,
                          },
                          arena, &r));
    *out = (struct auth_grant){r.account, r.address};
    return ERR_OK;
}

static enum err gate_auth_scram_salt(void *ctx, const struct auth_attempt *a,
                                     struct auth_scram_salt *out) WAITS
{
    struct wire_address source;
    struct ipc_auth_scram_salt_results r;
    ARENA_AUTO struct arena arena = ARENA_INIT(4096);
    TRY(ipc_auth_scram_salt(login_link(ctx, a->login),
                            &(struct ipc_auth_scram_salt_args){
                                .protocol = a->protocol,
                                .login = a->login,
                                .authzid = a->authzid,
                                .source = wire_address_put(&a->source, &source),
                                .secure = a->secure,
                            },
                            &arena, &r));
    if (r.salt.len != sizeof(out->salt))
        return ERR_UNAVAILABLE;
    memcpy(out->salt, r.salt.data, sizeof(out->salt));
    out->iterations = r.iterations;
    return ERR_OK;
}

static enum err gate_auth_scram_verify(void *ctx, const struct auth_attempt *a, str auth_message,
                                       str proof, uint8_t signature[32], struct arena *arena,
                                       struct auth_grant *out) WAITS
{
    struct wire_address source;
    struct ipc_auth_scram_verify_results r;
    TRY(ipc_auth_scram_verify(login_link(ctx, a->login),
                              &(struct ipc_auth_scram_verify_args){
                                  .protocol = a->protocol,
                                  .login = a->login,
                                  .authzid = a->authzid,
                                  .source = wire_address_put(&a->source, &source),
                                  .secure = a->secure,
                                  .auth_message = auth_message,
                                  .proof = proof,
                              },
                              arena, &r));
    if (r.signature.len != 32)
        return ERR_UNAVAILABLE;
    memcpy(signature, r.signature.data, 32);
    *out = (struct auth_grant){r.account, r.address};
    return ERR_OK;
}

static enum err gate_auth_external(void *ctx, const struct auth_attempt *a, struct arena *arena,
                                   struct auth_grant *out) WAITS
{
    struct wire_address source;
    struct ipc_auth_external_results r;
    TRY(ipc_auth_external(login_link(ctx, a->login),
                          &(struct ipc_auth_external_args){
                              .protocol = a->protocol,
                              .login = a->login,
                              .authzid = a->authzid,
                              .source = wire_address_put(&a->source, &source),
                              .secure = a->secure,
                          },
                          arena, &r));
    *out = (struct auth_grant){r.account, r.address};
    return ERR_OK;
}

static enum err gate_recipient_check(void *ctx, const struct recipient_check *c,
                                     struct recipient_verdict *out) WAITS
{
    struct ipc_recipient_check_results r;
    TRY(ipc_recipient_check(any_link(ctx),
                            &(struct ipc_recipient_check_args){
                                .address = c->address,
                                .size = c->size,
                                .account = c->account,
                                .relay_allowed = c->relay_allowed,
                            },
                            NULL, &r));
    *out = (struct recipient_verdict){.local = r.local != 0, .home = r.home};
    return ERR_OK;
}

static enum err gate_sender_check(void *ctx, uint64_t account, str address) WAITS
{
    struct ipc_sender_check_results r;
    return ipc_sender_check(any_link(ctx),
                            &(struct ipc_sender_check_args){.account = account, .address = address},
                            NULL, &r);
}

/* In the frame it costs both sides a third of what a memory file does. A house that does not keep
 * up gets files, of which only the descriptors wait in the link. */
static bool fits_frame(const struct ipc_link *l, const struct envelope *e)
{
    return e->size <= DELIVER_SMALL_MAX && l->out.len <= SMALL_OUT_MAX;
}

static enum err deliver_small(struct ipc_link *l, str row, const struct envelope *e,
                              struct arena *arena, str *verdicts, str *text) WAITS
{
    struct ipc_deliver_small_results r;
    TRY(ipc_deliver_small(
        l,
        &(struct ipc_deliver_small_args){.envelope = row, .mime = e->mime, .content = e->content},
        arena, &r));
    *verdicts = r.verdicts;
    *text = r.text;
    return ERR_OK;
}

static enum err deliver_file(struct ipc_link *l, str row, const struct envelope *e,
                             struct arena *arena, str *verdicts, str *text) WAITS
{
    FD_AUTO int made = -1;
    struct ipc_deliver_results r;
    if (e->fd < 0) {
        TRY(file_memory("message", &made));
        TRY(file_write_all_at(made, 0, e->content.data, e->content.len));
        TRY(file_seal(made));
    }
    TRY(ipc_deliver(l,
                    &(struct ipc_deliver_args){
                        .envelope = row,
                        .mime = e->mime,
                        .size = e->size,
                        .content = e->fd < 0 ? made : e->fd,
                    },
                    arena, &r));
    *verdicts = r.verdicts;
    *text = r.text;
    return ERR_OK;
}

static enum err deliver(void *ctx, uint32_t home, const struct envelope *e,
                        struct deliver_result *out) WAITS
{
    BUF_AUTO struct buf row = BUF_INIT(IPC_FRAME_MAX);
    envelope_encode(e, &row);
    if (!buf_ok(&row))
        return ERR_LIMIT;
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    str verdicts, text;
    struct ipc_link *l = thread_link(ctx, home);
    if (e->fd < 0 && fits_frame(l, e))
        TRY(deliver_small(l, buf_str(&row), e, &arena, &verdicts, &text));
    else
        TRY(deliver_file(l, buf_str(&row), e, &arena, &verdicts, &text));
    if (verdicts.len != e->nrecipients || text.len >= DELIVER_TEXT_MAX)
        return ERR_UNKNOWN;
    memset(out->text, 0, sizeof(out->text));
    if (text.len > 0)
        memcpy(out->text, text.data, text.len);
    for (size_t i = 0; i < e->nrecipients; i++) {
        uint8_t verdict = (uint8_t)verdicts.data[i];
        out->recipients[i] = verdict < ERR_COUNT ? (enum err)verdict : ERR_UNKNOWN;
    }
    return ERR_OK;
}

static enum err gate_deliver(void *ctx, uint32_t home, const struct envelope *e,
                             struct deliver_result *out) WAITS
{
    struct gate_house *g = ctx;
    g->delivering++;
    enum err result = deliver(ctx, home, e, out);
    g->delivering--;
    event_signal(&g->delivered);
    return result;
}

static enum err gate_greylist(void *ctx, const struct greylist_question *q, uint32_t *wait_s) WAITS
{
    struct wire_address source;
    struct ipc_greylist_results r;
    TRY(ipc_greylist(any_link(ctx),
                     &(struct ipc_greylist_args){.source = wire_address_put(&q->source, &source),
                                                 .sender = q->sender,
                                                 .recipient = q->recipient},
                     NULL, &r));
    *wait_s = r.wait_s;
    return ERR_OK;
}

static enum err gate_session_open(void *ctx, const struct session_handoff *h) WAITS
{
    FD_AUTO int fd = h->fd; /* ours, also on error; the house has its own copy when it answers */
    struct wire_address peer, local;
    struct ipc_session_open_results r;
    return ipc_session_open(thread_link(ctx, h->who.account),
                            &(struct ipc_session_open_args){
                                .protocol = h->protocol,
                                .account = h->who.account,
                                .address = h->who.address,
                                .peer = wire_address_put(&h->peer, &peer),
                                .local = wire_address_put(&h->local, &local),
                                .tls = h->tls,
                                .tls_version = h->tls_version,
                                .unread = h->unread,
                                .greeting = h->greeting,
                                .connection = fd,
                            },
                            NULL, &r);
}

/* ---- reports ---- */

void gate_house_tell(struct gate_house *g)
{
    struct buf notes = g->notes;
    struct ipc_observe_results r;
    if (notes.len == 0)
        return;
    buf_init(&g->notes, NOTES_MAX);
    enum err e =
        ipc_observe(thread_link(g, 0), &(struct ipc_observe_args){buf_str(&notes)}, NULL, &r);
    if (e != ERR_OK || g->notes_lost > 0)
        LOG_WARN("gate", "notes for reports lost bytes=%zu too_many=%llu cause=%s",
                 e != ERR_OK ? notes.len : 0, (unsigned long long)g->notes_lost, err_name(e));
    g->notes_lost = 0;
    buf_free(&notes);
}

static void tell_fiber(void *arg) WAITS
{
    struct gate_house *g = arg;
    while (g->notes.len > 0 && wait_until(deadline_in_ms(NOTES_PAUSE_MS)) == ERR_TIMEOUT)
        gate_house_tell(g);
    g->telling = false;
}

static void gate_observe(void *ctx, str note)
{
    struct gate_house *g = ctx;
    if (g->notes.len + note.len > NOTES_MAX) {
        g->notes_lost++;
        return;
    }
    buf_add(&g->notes, note);
    if (!g->telling)
        g->telling = fiber_start(g->group, "notes", tell_fiber, g) == ERR_OK;
}

static enum err gate_report_take(void *ctx, str read) WAITS
{
    struct ipc_report_take_results r;
    return ipc_report_take(any_link(ctx), &(struct ipc_report_take_args){read}, NULL, &r);
}

static enum err gate_page(void *ctx, str host, str path, bool secure, struct arena *arena,
                          str *body) WAITS
{
    struct ipc_page_results r;
    TRY(ipc_page(any_link(ctx), &(struct ipc_page_args){host, path, secure}, arena, &r));
    *body = r.body;
    return ERR_OK;
}

static enum err gate_challenge(void *ctx, str name, struct arena *arena, str *chain_pem,
                               str *key_pem) WAITS
{
    struct ipc_challenge_results r;
    TRY(ipc_challenge(any_link(ctx), &(struct ipc_challenge_args){name}, arena, &r));
    *chain_pem = r.chain;
    *key_pem = r.key;
    return ERR_OK;
}

void gate_house_init(struct gate_house *g, struct gate_house_peer *peers, uint32_t npeers,
                     struct fiber_group *group)
{
    *g = (struct gate_house){.peers = peers, .npeers = npeers, .group = group};
    event_init(&g->delivered);
    buf_init(&g->notes, NOTES_MAX);
    for (uint32_t i = 0; i < npeers; i++) {
        snprintf(peers[i].name, sizeof(peers[i].name), "house.%u", i);
        ipc_slot_init(&peers[i].slot, peers[i].name, NULL, NULL, group);
    }
    g->table = (struct house){
        .ctx = g,
        .auth_password = gate_auth_password,
        .auth_scram_salt = gate_auth_scram_salt,
        .auth_scram_verify = gate_auth_scram_verify,
        .auth_external = gate_auth_external,
        .recipient_check = gate_recipient_check,
        .sender_check = gate_sender_check,
        .deliver = gate_deliver,
        .greylist = gate_greylist,
        .session_open = gate_session_open,
        .observe = gate_observe,
        .report_take = gate_report_take,
        .page = gate_page,
        .challenge = gate_challenge,
    };
}
