/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house.h"

#include "app/house_abuse.h"
#include "app/house_acme.h"
#include "app/house_control.h"
#include "app/house_queue.h"
#include "app/house_reports.h"
#include "base/log.h"
#include "base/num.h"
#include "core/acme_crypto.h"
#include "core/acme_rows.h"
#include "core/policy_web.h"
#include "core/snapshot.h"
#include "os/file.h"
#include "os/offload.h"

#include <stdio.h>

#define OFFLOAD_THREADS 4

/* ---- configuration ---- */

static enum err house_config_load(str text, struct house_config **out)
{
    struct config c;
    BUF_AUTO struct buf error = BUF_INIT(4096);
    enum err e = config_parse(STR("posthouse.conf"), text, &c, &error);
    if (e != ERR_OK) {
        LOG_ERROR("house", "configuration not taken: %.*s", STR_ARG(buf_str(&error)));
        return e;
    }
    struct house_config *h = ARENA_NEW(&c.arena, struct house_config);
    if (!h) {
        config_free(&c);
        return ERR_NOMEM;
    }
    h->pop3 = (struct pop3_config){
        .hostname = c.server_hostname,
        .errors_max = (uint32_t)c.pop3_errors_max,
        .login_timeout_ms = c.pop3_login_timeout,
        .idle_timeout_ms = c.pop3_idle_timeout,
        .auth_plain_loopback = c.auth_plain_on_loopback,
    };
    h->imap = (struct imap_config){
        .hostname = c.server_hostname,
        .errors_max = (uint32_t)c.imap_errors_max,
        .login_timeout_ms = c.imap_login_timeout,
        .idle_timeout_ms = c.imap_idle_timeout,
        .keepalive_ms = c.imap_keepalive,
        .append_max = c.imap_append_max,
        .message_limit = (uint32_t)c.imap_message_limit,
        .auth_plain_loopback = c.auth_plain_on_loopback,
    };
    h->refs = 1;
    h->all = c; /* the arena moves along */
    *out = h;
    return ERR_OK;
}

struct house_config *house_config_hold(struct house_process *h)
{
    pthread_mutex_lock(&h->config_lock);
    struct house_config *c = h->config;
    atomic_fetch_add(&c->refs, 1);
    pthread_mutex_unlock(&h->config_lock);
    return c;
}

void house_config_drop(struct house_config *h)
{
    if (atomic_fetch_sub(&h->refs, 1) > 1)
        return;
    struct config all = h->all;
    config_free(&all);
}

/* ---- threads ---- */

struct remote {
    struct loop_task task;
    struct completion done;
    void (*fn)(void *arg);
    void *arg;
};

static void remote_run(struct loop_task *task)
{
    struct remote *r = container_of(task, struct remote, task);
    r->fn(r->arg);
    completion_done(&r->done);
}

void house_run_on(struct house_thread *t, void (*fn)(void *arg), void *arg)
{
    struct remote r = {.task = {.fn = remote_run}, .fn = fn, .arg = arg};
    completion_init(&r.done);
    loop_post(t->loop, &r.task);
    completion_wait(&r.done);
}

/* ---- links ---- */

struct attach {
    struct ipc_slot *slot;
    int fd;
    enum err result;
};

static void attach_here(void *arg)
{
    struct attach *a = arg;
    a->result = ipc_slot_attach(a->slot, a->fd);
}

static struct ipc_slot *slot_of(struct house_thread *t, uint32_t role, uint32_t number)
{
    if (role == ROLE_GATE)
        return number < t->house->server->ngates ? &t->gates[number].slot : NULL;
    return role < ROLES ? t->slots[role] : NULL;
}

static enum err on_attach(void *ctx, struct ipc_attach_args *a, struct arena *arena,
                          struct ipc_attach_results *r) WAITS
{
    struct house_process *h = ctx;
    if (a->thread >= h->nthreads)
        return ERR_INVALID;
    struct house_thread *t = &h->threads[a->thread];
    struct attach attach = {.slot = slot_of(t, a->role, a->number), .fd = a->link};
    if (!attach.slot)
        return ERR_INVALID;
    if (a->role == ROLE_GATE && a->thread == 0)
        grants_reset(&h->grants[a->number]); /* a new process: nobody has signed in through it */
    a->link = -1;
    house_run_on(t, attach_here, &attach);
    return attach.result;
}

/* ---- sessions ---- */

struct session_end {
    struct house_thread *thread;
    struct house_config *config;
    struct imap_house imap;
    struct arena arena; /* holds this struct */
};

static void session_ended(void *arg)
{
    struct session_end *s = arg;
    struct arena arena = s->arena;
    atomic_fetch_sub(&s->thread->sessions, 1);
    house_config_drop(s->config);
    arena_free(&arena);
}

static enum err session_start(struct house_thread *t, const struct session_handoff *h,
                              struct stream *stream, struct session_end *end)
{
    switch (h->protocol) {
    case PROTOCOL_POP3:
        return pop3_start(stream, h, t->accounts, &end->config->pop3, &t->group, session_ended,
                          end);
    case PROTOCOL_IMAP:
        end->imap = (struct imap_house){.accounts = t->accounts,
                                        .directory = &t->house->directory,
                                        .config = &end->config->imap,
                                        .house = &t->table,
                                        .group = &t->group};
        return imap_start(stream, h, &end->imap, session_ended, end);
    default:
        stream_close(stream);
        return ERR_UNSUPPORTED;
    }
}

static enum err session_open(void *ctx, const struct session_handoff *h) WAITS
{
    struct house_thread *t = container_of(ctx, struct house_thread, local);
    struct stream *stream;
    TRY(stream_open_with(h->fd, h->unread, &stream));
    stream_set_peer(stream, &h->peer, &h->local);
    struct arena arena = ARENA_INIT(4096);
    struct session_end *end = ARENA_NEW(&arena, struct session_end);
    if (!end) {
        stream_close(stream);
        return ERR_NOMEM;
    }
    *end = (struct session_end){.thread = t, .config = house_config_hold(t->house), .arena = arena};
    atomic_fetch_add(&t->sessions, 1);
    enum err e = session_start(t, h, stream, end);
    if (e != ERR_OK)
        session_ended(end);
    return e;
}

/* ---- pages ---- */

static enum err page(void *ctx, str host, str path, bool secure, struct arena *arena,
                     str *body) WAITS
{
    struct house_thread *t = container_of(ctx, struct house_thread, local);
    struct house_config *c = house_config_hold(t->house);
    BUF_AUTO struct buf text = BUF_INIT(65536);
    enum mta_sts_mode mode = house_mta_sts_mode(&c->all);
    enum err e = mode == MTA_STS_NONE && secure
                     ? ERR_NOT_FOUND
                     : policy_web_answer(&t->house->directory, mode, c->all.server_hostname, host,
                                         path, secure, &text);
    house_config_drop(c);
    TRY(e);
    return arena_dup(arena, buf_str(&text), body) ? ERR_OK : ERR_NOMEM;
}

/* ---- reports ---- */

static void observe(void *ctx, str note)
{
    struct house_thread *t = container_of(ctx, struct house_thread, local);
    house_reports_observe(t->house, note);
}

static enum err take_report(void *ctx, str read) WAITS
{
    struct house_thread *t = container_of(ctx, struct house_thread, local);
    return house_reports_take(t->house, read);
}

/* Made anew for each who asks while the proof is to be seen: nothing is to be kept secret of it. */
static enum err challenge(void *ctx, str name, struct arena *arena, str *chain_pem,
                          str *key_pem) WAITS
{
    struct house_thread *t = container_of(ctx, struct house_thread, local);
    BUF_AUTO struct buf text = BUF_INIT(4096), chain = BUF_INIT(8192), key = BUF_INIT(8192);
    str lower;
    if (!arena_dup_lower(arena, name, &lower))
        return ERR_NOMEM;
    TRY(acme_alpn_get(t->house->store, lower, &text));
    TRY(acme_alpn_certificate(lower, buf_str(&text), &chain, &key));
    bool kept =
        arena_dup(arena, buf_str(&chain), chain_pem) && arena_dup(arena, buf_str(&key), key_pem);
    return kept ? ERR_OK : ERR_NOMEM;
}

/* ---- what an account may hold ---- */

static enum err quota_of(void *ctx, uint64_t account, struct quota *out) WAITS
{
    struct house_thread *t = ctx;
    struct quota_slot *slot = &t->quotas[account % QUOTA_CACHE_SLOTS];
    uint32_t generation = atomic_load(&t->house->quota_generation);
    if (slot->account == account && slot->generation == generation &&
        loop_now_ms() < slot->until_ms) {
        *out = slot->quota;
        return ERR_OK;
    }
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct account_entry entry = {0};
    enum err e = directory_account_get(&t->house->directory, account, &arena, &entry);
    if (e == ERR_NOT_FOUND) /* being removed: nothing more is added soon */
        e = ERR_OK;
    TRY(e);
    *out = (struct quota){entry.quota_bytes, entry.quota_messages};
    *slot = (struct quota_slot){account, deadline_in_ms(QUOTA_CACHE_MS), generation, *out};
    return ERR_OK;
}

static void quota_changed(void *ctx)
{
    struct house_thread *t = ctx;
    atomic_fetch_add(&t->house->quota_generation, 1);
}

/* ---- opening and closing ---- */

static struct auth_policy auth_policy_of(const struct config *c)
{
    return (struct auth_policy){.failures = (uint32_t)c->auth_failures,
                                .source_failures = (uint32_t)c->auth_source_failures,
                                .period_ms = c->auth_period,
                                .remember_ms = c->auth_remember,
                                .external = c->tls_client_ca.count > 0};
}

static enum err thread_open(struct house_thread *t)
{
    struct house_process *h = t->house;
    const struct config *c = &h->server->config;
    TRY(loop_open(&t->loop, &(struct loop_options){.name = t->name}));
    fiber_group_init(&t->group);
    relay_peer_init(&t->relay, &t->group);
    keys_peer_init(&t->keys, &t->group);
    t->slots[ROLE_RELAY] = &t->relay.slot;
    t->slots[ROLE_KEYS] = &t->keys.slot;
    TRY(accounts_open(
        &(struct accounts_options){
            .store = h->store,
            .quota_ctx = t,
            .quota = quota_of,
            .quota_changed = quota_changed,
            .snapshot_min = c->imap_snapshot_min ? (uint32_t)c->imap_snapshot_min : UINT32_MAX},
        &t->accounts));
    TRY(search_indexer_start(t->accounts, t->house->search, &t->indexer));
    TRY(view_keeper_start(t->accounts, &t->keeper));
    struct auth_policy policy = auth_policy_of(c);
    TRY(auth_open(&h->directory, &policy, &t->keys.hasher, &t->local.auth));
    t->deliver = (struct deliver_ctx){
        .accounts = t->accounts, .directory = &h->directory, .host_name = h->host_name};
    t->local.directory = h->directory;
    t->local.accounts = t->accounts;
    t->local.deliver = &t->deliver;
    t->local.threads = h->nthreads;
    t->local.send_limits = h->send_limits;
    house_abuse_policy(t, c);
    house_local_table(&t->local, &t->table);
    t->table.session_open = session_open;
    t->table.page = page;
    t->table.observe = observe;
    t->table.report_take = take_report;
    t->table.challenge = challenge;
    return ERR_OK;
}

static void *thread_main(void *arg)
{
    struct remote *opened = arg;
    struct house_thread *t = opened->arg;
    t->opened = thread_open(t);
    bool run = t->opened == ERR_OK;
    completion_done(&opened->done);
    if (run) {
        loop_run(t->loop);
        loop_close(t->loop);
    }
    return NULL;
}

static enum err thread_start(struct house_thread *t)
{
    struct remote opened = {.arg = t};
    completion_init(&opened.done);
    if (pthread_create(&t->id, NULL, thread_main, &opened) != 0)
        return ERR_NOMEM;
    completion_wait(&opened.done);
    return t->opened;
}

static enum err threads_open(struct house_process *h)
{
    for (uint32_t i = 0; i < h->nthreads; i++) {
        struct house_thread *t = &h->threads[i];
        t->house = h;
        t->number = i;
        snprintf(t->name, sizeof(t->name), "house.%u", i);
        t->gates = ARENA_ARRAY(&h->arena, struct house_gate, h->server->ngates);
        if (!t->gates)
            return ERR_NOMEM;
        for (uint32_t g = 0; g < h->server->ngates; g++) {
            struct house_gate *gate = &t->gates[g];
            gate->caller = (struct gate_caller){&t->table, &h->grants[g], i, g};
            snprintf(gate->name, sizeof(gate->name), "gate.%u/%u", g, i);
            ipc_slot_init(&gate->slot, gate->name, &house_calls_for_gates, &gate->caller,
                          &t->group);
        }
        TRY(i == 0 ? thread_open(t) : thread_start(t));
    }
    return ERR_OK;
}

static void stop_here(void *arg) { loop_stop(arg); }

/* A clean end: the threads write at once what makes the next start quick. */
struct ending {
    struct house_thread *thread;
    struct completion done;
};

static void keeper_end(void *arg) WAITS
{
    struct ending *e = arg;
    view_keeper_stop(e->thread->keeper);
    e->thread->keeper = NULL;
    completion_done(&e->done);
}

static void keeper_end_here(void *arg)
{
    struct ending *e = arg;
    if (fiber_start(&e->thread->group, "keeper end", keeper_end, e) != ERR_OK)
        completion_done(&e->done);
}

static void keepers_end(struct house_process *h) WAITS
{
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct ending *e = ARENA_ARRAY(&arena, struct ending, h->nthreads);
    for (uint32_t i = 0; e && i < h->nthreads; i++) {
        e[i].thread = &h->threads[i];
        completion_init(&e[i].done);
        if (i == 0)
            keeper_end_here(&e[i]);
        else
            house_run_on(&h->threads[i], keeper_end_here, &e[i]);
    }
    for (uint32_t i = 0; e && i < h->nthreads; i++)
        completion_wait(&e[i].done);
}

static void house_end(void *arg) WAITS
{
    struct house_process *h = arg;
    house_reports_end(h);
    search_background_stop(h->search); /* while all threads run: they make its commits */
    h->search = NULL;
    keepers_end(h);
    for (uint32_t i = 1; i < h->nthreads; i++) {
        house_run_on(&h->threads[i], stop_here, h->threads[i].loop);
        pthread_join(h->threads[i].id, NULL);
    }
    house_abuse_end(h);
    loop_stop(h->threads[0].loop);
}

static enum err on_stop(void *ctx, struct ipc_house_stop_args *a, struct arena *arena,
                        struct ipc_house_stop_results *r) WAITS
{
    struct house_process *h = ctx;
    return fiber_start(&h->threads[0].group, "end", house_end, h);
}

struct settings {
    struct house_thread *thread;
    const struct config *config;
    str host_name;
};

static void settings_here(void *arg)
{
    struct settings *s = arg;
    struct house_thread *t = s->thread;
    struct auth_policy policy = auth_policy_of(s->config);
    enum err e = auth_change(t->local.auth, &policy);
    if (e != ERR_OK)
        LOG_ERROR("house", "the limits of sign-ins stay as they were: %s", err_text(e));
    t->deliver.host_name = s->host_name;
    house_abuse_policy(t, s->config);
    house_queue_policy(t, s->config);
}

static void config_use(struct house_process *h, struct house_config *next)
{
    pthread_mutex_lock(&h->config_lock);
    struct house_config *old = h->config;
    h->config = next;
    pthread_mutex_unlock(&h->config_lock);
    if (old)
        house_config_drop(old);
}

static enum err on_reload(void *ctx, struct ipc_house_reload_args *a, struct arena *arena,
                          struct ipc_house_reload_results *r) WAITS
{
    struct house_process *h = ctx;
    struct house_config *next;
    BUF_AUTO struct buf text = BUF_INIT(CONFIG_TEXT_MAX);
    TRY(text_unpack(a->config, CONFIG_TEXT_MAX, &text));
    TRY(house_config_load(buf_str(&text), &next));
    if (!str_eq(next->all.server_hostname, h->host_name) &&
        !arena_dup(&h->arena, next->all.server_hostname, &h->host_name)) {
        house_config_drop(next);
        return ERR_NOMEM;
    }
    struct settings s = {.config = &next->all, .host_name = h->host_name};
    config_log_level(&next->all);
    atomic_fetch_add(&next->refs, 1); /* a newer one may come while threads are told of this */
    config_use(h, next);
    for (uint32_t i = 0; i < h->nthreads; i++) {
        s.thread = &h->threads[i];
        house_run_on(s.thread, settings_here, &s);
    }
    house_config_drop(next);
    return ERR_OK;
}

static const struct ipc_service from_parent = {
    .role = IPC_ROLE_HOUSE,
    .attach = on_attach,
    .house_reload = on_reload,
    .house_stop = on_stop,
};

static void parent_gone(struct ipc_link *l)
{
    struct house_process *h = l->ctx;
    if (!loop_stopping(h->threads[0].loop) &&
        fiber_start(&h->threads[0].group, "end", house_end, h) != ERR_OK)
        loop_stop(h->threads[0].loop);
}

static enum err house_store_open(struct house_process *h)
{
    const struct server *s = h->server;
    if (s->memory_store)
        return store_open_memory(&h->store);
    return store_open_embedded(
        &(struct store_options){.dir = s->data_dir,
                                .create = true,
                                .cache_bytes = s->config.store_cache,
                                .reserve_percent = (unsigned)s->config.store_reserve_percent},
        &h->store);
}

/* On a fiber of thread 0: what may wait before the house is ready. */
static void house_ready(void *arg) WAITS
{
    struct house_process *h = arg;
    enum err e = house_dev_accounts(h, h->server->accounts);
    if (e == ERR_OK)
        e = house_queue_start(h);
    if (e == ERR_OK)
        e = house_abuse_start(h);
    if (e == ERR_OK)
        e = house_reports_start(h);
    if (e == ERR_OK)
        e = house_control_start(h);
    if (e == ERR_OK)
        e = house_acme_start(h);
    struct ipc_ready_results r;
    if (e == ERR_OK)
        e = ipc_ready(&h->parent, &(struct ipc_ready_args){}, NULL, &r);
    if (e == ERR_OK)
        return;
    LOG_ERROR("house", "cannot serve: %s", err_text(e));
    house_end(h);
}

static enum err house_open(struct house_process *h, int control)
{
    struct server *s = h->server;
    BUF_AUTO struct buf text = BUF_INIT(CONFIG_TEXT_MAX);
    config_render(&s->config, false, &text);
    struct house_config *config;
    TRY(house_config_load(buf_str(&text), &config));
    pthread_mutex_init(&h->config_lock, NULL);
    config_use(h, config);
    if (!arena_dup(&h->arena, config->all.server_hostname, &h->host_name))
        return ERR_NOMEM;
    TRY(offload_start(OFFLOAD_THREADS));
    TRY(house_store_open(h));
    h->directory = (struct directory){h->store};
    TRY(house_reports_open(h));
    h->grants = ARENA_ARRAY(&h->arena, struct grants, s->ngates);
    h->threads = ARENA_ARRAY(&h->arena, struct house_thread, h->nthreads);
    if (!h->grants || !h->threads)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < s->ngates; i++)
        grants_init(&h->grants[i]);
    TRY(house_abuse_open(h));
    TRY(search_background_start(h->store, &h->search));
    TRY(threads_open(h));
    h->parent = (struct ipc_link){
        .name = "parent", .service = &from_parent, .ctx = h, .ended = parent_gone};
    TRY(ipc_link_start(&h->parent, control, &h->threads[0].group));
    return fiber_start(&h->threads[0].group, "ready", house_ready, h);
}

int house_main(struct server *s, int control)
{
    struct arena arena = ARENA_INIT(268435456);
    struct house_process *h = ARENA_NEW(&arena, struct house_process);
    if (!h)
        return 1;
    *h = (struct house_process){.server = s, .nthreads = s->nthreads, .arena = arena};
    enum err e = role_enter(ROLE_HOUSE, s);
    if (e == ERR_OK)
        e = house_open(h, control);
    if (e != ERR_OK) {
        LOG_ERROR("house", "cannot start data=%.*s cause=%s", STR_ARG(s->data_dir), err_name(e));
        return 1;
    }
    loop_run(h->threads[0].loop);
    offload_stop();
    store_close(h->store);
    LOG_INFO("house", "store closed");
    return 0;
}
