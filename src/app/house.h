/* SPDX-License-Identifier: Apache-2.0
 *
 * house: the process that holds the store. One loop per thread; an account's home thread is its id
 * modulo the number of threads. Thread 0 also speaks with the parent and serves the control socket.
 */
#ifndef APP_HOUSE_H
#define APP_HOUSE_H

#include "app/house_calls.h"
#include "app/keys_peer.h"
#include "app/relay_peer.h"
#include "app/roles.h"
#include "core/house_local.h"
#include "core/search.h"
#include "os/chan.h"
#include "os/loop.h"
#include "proto/imap/imap.h"
#include "proto/pop3/pop3.h"

#include <stdatomic.h>

#define QUOTA_CACHE_SLOTS 1024 /* accounts whose limits a thread remembers */
#define QUOTA_CACHE_MS 5000

/* The configuration as sessions use it; an old one lives until its last session ends. */
struct house_config {
    struct config all; /* its arena holds this struct too */
    struct pop3_config pop3;
    struct imap_config imap;
    _Atomic size_t refs;
};

struct quota_slot {
    uint64_t account, until_ms;
    uint32_t generation;
    struct quota quota;
};

struct house_process;
struct queue_schedule;
/* The house's end of a link to a gate. */
struct house_gate {
    struct ipc_slot slot;
    struct gate_caller caller;
    char name[40];
};
struct house_thread {
    struct house_process *house;
    uint32_t number;
    char name[24];
    pthread_t id; /* not of thread 0 */
    struct loop *loop;
    struct fiber_group group; /* links, sessions, background work */
    struct accounts *accounts;
    struct search_indexer *indexer;
    struct view_keeper *keeper;
    struct deliver_ctx deliver;
    struct house_local local;
    struct house table;
    struct house_gate *gates;      /* one per gate */
    struct queue_schedule *queue;  /* NULL before it runs; house_queue.c */
    struct relay_peer relay;       /* its table is what goes out from this thread */
    struct keys_peer keys;         /* its hasher is where passwords of this thread are hashed */
    struct ipc_slot *slots[ROLES]; /* of the two; others: NULL */
    struct quota_slot quotas[QUOTA_CACHE_SLOTS];
    _Atomic size_t sessions;
    enum err opened;
};

struct house_control;
struct report_collector;
struct house_acme;
struct house_process {
    struct server *server;
    struct store *store;
    struct directory directory;
    struct search_background *search; /* keeps the indexes of all accounts */
    struct house_thread *threads;
    uint32_t nthreads;
    struct grants *grants;       /* one per gate */
    pthread_mutex_t config_lock; /* of the pointer and of taking a reference by it */
    struct house_config *config; /* only through hold and drop */
    str host_name;               /* server.hostname, in the arena: reports may use an old one */
    _Atomic uint32_t quota_generation; /* a change makes the threads ask again */
    struct ipc_link parent;
    struct send_limits *send_limits; /* house_abuse.c */
    struct house_control *control;
    struct house_acme *acme;
    struct report_collector *reports; /* house_reports.c */
    uint64_t started_ms;
    struct arena arena;
};

/* Runs fn(arg) on the thread's loop, outside any fiber, and waits for it. fn must not wait. */
void house_run_on(struct house_thread *t, void (*fn)(void *arg), void *arg) WAITS;

/* The configuration as it is now, until it is dropped; from any thread. */
struct house_config *house_config_hold(struct house_process *h);
void house_config_drop(struct house_config *c);

/* house_dev.c: example.test, user1 … userN with the password "secret", where they do not exist. */
enum err house_dev_accounts(struct house_process *h, uint32_t n) WAITS MUST;

#endif
