/* SPDX-License-Identifier: Apache-2.0 */
#include "app/gate_house.h"

#include "app/wire.h"
#include "base/log.h"
#include "base/num.h"
#include "os/file.h"

#include <stdio.h>
#include <string.h>

/* ---- links ---- */

static enum err peer_start(struct gate_house_peer *p, int fd);

static void peer_ended(struct ipc_link *l)
{
    struct gate_house_peer *p = container_of(l, struct gate_house_peer, link);
    p->running = false;
    int fd = p->next_fd;
    p->next_fd = -1;
    if (fd < 0)
        return;
    enum err e = peer_start(p, fd);
    if (e != ERR_OK)
        LOG_ERROR("gate", "no link to the house link=%s: %s", p->name, err_text(e));
}

static enum err peer_start(struct gate_house_peer *p, int fd)
{
    p->link = (struct ipc_link){.name = p->name, .ended = peer_ended};
    TRY(ipc_link_start(&p->link, fd, p->owner->group));
    p->running = true;
    event_signal(&p->owner->came_up);
    return ERR_OK;
}

enum err gate_house_attach(struct gate_house *g, uint32_t index, int fd)
{
    if (index >= g->npeers) {
        file_close(&fd);
        return ERR_INVALID;
    }
    struct gate_house_peer *p = &g->peers[index];
    if (!p->running)
        return peer_start(p, fd);
    file_close(&p->next_fd);
    p->next_fd = fd;
    ipc_link_stop(&p->link);
    return ERR_OK;
}

bool gate_house_is_up(const struct gate_house *g)
{
    for (uint32_t i = 0; i < g->npeers; i++) {
        if (!g->peers[i].link.up)
            return false;
    }
    return true;
}

static struct ipc_link *thread_link(struct gate_house *g, uint64_t thread) WAITS
{
    struct gate_house_peer *p = &g->peers[thread % g->npeers];
    uint64_t deadline = deadline_in_ms(HOUSE_WAIT_MS);
    while (!p->link.up) {
        if (event_wait(&g->came_up, deadline) != ERR_OK)
            break;
    }
    return &p->link;
}

static struct ipc_link *any_link(struct gate_house *g) WAITS { return thread_link(g, g->turn++); }

/* All attempts on one login meet in one thread, whichever gate they came by, so that the limits
 * against guessing count them together (rule auth-5). */
static struct ipc_link *login_link(struct gate_house *g, str login) WAITS
{
    char lower[64];
    size_t n = MIN(login.len, sizeof(lower));
    for (size_t i = 0; i < n; i++) {
        char c = login.data[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
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

static enum err deliver(void *ctx, uint32_t home, const struct envelope *e,
                        struct deliver_result *out) WAITS
{
    BUF_AUTO struct buf row = BUF_INIT(IPC_FRAME_MAX);
    envelope_encode(e, &row);
    if (!buf_ok(&row))
        return ERR_LIMIT;
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct ipc_deliver_results r;
    TRY(ipc_deliver(thread_link(ctx, home),
                    &(struct ipc_deliver_args){
                        .envelope = buf_str(&row),
                        .mime = e->mime,
                        .size = e->size,
                        .content = e->fd,
                    },
                    &arena, &r));
    if (r.verdicts.len != e->nrecipients)
        return ERR_UNKNOWN;
    for (size_t i = 0; i < e->nrecipients; i++) {
        uint8_t verdict = (uint8_t)r.verdicts.data[i];
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
    event_init(&g->came_up);
    event_init(&g->delivered);
    for (uint32_t i = 0; i < npeers; i++) {
        peers[i].owner = g;
        peers[i].next_fd = -1;
        snprintf(peers[i].name, sizeof(peers[i].name), "house.%u", i);
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
        .session_open = gate_session_open,
        .page = gate_page,
        .challenge = gate_challenge,
    };
}
