/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys role: the private keys of certificates, and the hashing of passwords, in a process that
 * can open no file and no connection. It knows the parent, gates and house threads as links
 * (keys_calls.c). One loop thread; what takes long runs on workers.
 */
#include "app/ipc_slot.h"
#include "app/keys_calls.h"
#include "app/roles.h"
#include "base/log.h"
#include "base/num.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/offload.h"
#include "os/proc.h"
#include "os/user.h"

#include <stdio.h>
#include <stdlib.h>

#define BEFORE_MS 60000 /* handshakes under way at a reload end within */

struct keys_link {
    struct ipc_slot slot;
    struct keys_caller caller;
    char name[ASKER_NAME_MAX];
};
struct keys_process {
    struct server *server;
    struct loop *loop;
    struct fiber_group group;
    struct ipc_link parent;
    struct keys_state state;
    struct keys_link *links; /* the gates', then the house threads' */
    uint32_t nlinks;
    struct event replaced; /* a set of keys */
    struct arena arena;
};

/* ---- keys ---- */

static enum err set_read(int fd, struct key_set **out)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16777216);
    struct tls_certificate *certs = ARENA_ARRAY(&arena, struct tls_certificate, CERTIFICATES_MAX);
    struct key_set *s = calloc(1, sizeof(*s)); /* tidy: allow alloc because sets are replaced */
    size_t n = 0;
    str client_ca;
    enum err e = certs && s
                     ? certificates_unpack(fd, &arena, certs, CERTIFICATES_MAX, &n, &client_ca)
                     : ERR_NOMEM;
    if (e == ERR_OK)
        e = tls_keys_open(certs, n, NULL, &s->keys);
    certificates_forget(certs, n);
    if (e != ERR_OK) {
        free(s); /* tidy: allow alloc because sets are replaced */
        return e;
    }
    s->uses = 1;
    *out = s;
    return ERR_OK;
}

static void before_drop(struct keys_process *p)
{
    key_set_drop(p->state.before);
    p->state.before = NULL;
}

/* The keys before are forgotten when the last handshake that may want them has ended. */
static void retire(void *arg) WAITS
{
    struct keys_process *p = arg;
    enum err e = event_wait(&p->replaced, deadline_in_ms(BEFORE_MS));
    if (e == ERR_TIMEOUT)
        before_drop(p);
}

static enum err on_load(void *ctx, struct ipc_keys_load_args *a, struct arena *arena,
                        struct ipc_keys_load_results *r) WAITS
{
    struct keys_process *p = ctx;
    struct key_set *next;
    TRY(set_read(a->certificates, &next));
    before_drop(p);
    p->state.before = p->state.now;
    p->state.now = next;
    event_signal(&p->replaced); /* its waiter leaves, ours comes */
    if (fiber_start(&p->group, "retire", retire, p) != ERR_OK)
        before_drop(p);
    return ERR_OK;
}

/* ---- links ---- */

static enum err on_attach(void *ctx, struct ipc_attach_args *a, struct arena *arena,
                          struct ipc_attach_results *r) WAITS
{
    struct keys_process *p = ctx;
    uint32_t i;
    TRY(asker_index(p->server, a->role, a->number, &i));
    int fd = a->link;
    a->link = -1;
    p->links[i].caller.warned = false;
    return ipc_slot_attach(&p->links[i].slot, fd);
}

static enum err links_open(struct keys_process *p)
{
    const struct server *s = p->server;
    p->nlinks = asker_count(s);
    p->links = ARENA_ARRAY(&p->arena, struct keys_link, p->nlinks);
    if (!p->links)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < p->nlinks; i++) {
        bool gate = i < s->ngates;
        struct keys_link *l = &p->links[i];
        asker_name(s, i, l->name);
        l->caller = (struct keys_caller){.state = &p->state, .name = l->name};
        ipc_slot_init(&l->slot, l->name, gate ? &keys_calls_for_gates : &keys_calls_for_house,
                      &l->caller, &p->group);
    }
    return ERR_OK;
}

static const struct ipc_service from_parent = {
    .role = IPC_ROLE_KEYS,
    .attach = on_attach,
    .keys_load = on_load,
};

static void parent_gone(struct ipc_link *l)
{
    struct keys_process *p = l->ctx;
    loop_stop(p->loop);
}

/* ---- life ---- */

static void say_ready(void *arg) WAITS
{
    struct keys_process *p = arg;
    struct ipc_ready_results r;
    if (ipc_ready(&p->parent, &(struct ipc_ready_args){}, NULL, &r) != ERR_OK)
        loop_stop(p->loop);
}

/* Hashes take all processors at most, and never those workers that signatures wait for. */
static enum err keys_open(struct keys_process *p, int control)
{
    unsigned processors = MIN(user_processors(), (unsigned)THREADS_MAX);
    config_log_level(&p->server->config);
    fiber_group_init(&p->group);
    event_init(&p->replaced);
    p->state.room.running_max = processors;
    event_init(&p->state.room.freed);
    TRY(offload_start(2 * processors));
    TRY(limit_open(GATES_MAX, SIGNS_PER_S_MAX, 1000, SIGNS_PER_S_MAX, &p->state.rates));
    TRY(links_open(p));
    p->parent = (struct ipc_link){
        .name = "parent", .service = &from_parent, .ctx = p, .ended = parent_gone};
    TRY(ipc_link_start(&p->parent, control, &p->group));
    return fiber_start(&p->group, "ready", say_ready, p);
}

int keys_main(struct server *s, int control)
{
    struct arena arena = ARENA_INIT(67108864);
    struct keys_process *p = ARENA_NEW(&arena, struct keys_process);
    if (!p)
        return 1;
    *p = (struct keys_process){.server = s, .arena = arena};
    enum err e = role_enter(ROLE_KEYS, s);
    if (e == ERR_OK)
        e = proc_hide_memory(); /* a change of user shows it again on some systems */
    if (e == ERR_OK)
        e = loop_open(&p->loop, &(struct loop_options){.name = "keys"});
    if (e == ERR_OK)
        e = keys_open(p, control);
    if (e != ERR_OK) {
        LOG_ERROR("keys", "cannot start: %s", err_text(e));
        return 1;
    }
    loop_run(p->loop);
    offload_stop();
    return 0;
}
