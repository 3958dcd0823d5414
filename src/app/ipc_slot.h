/* SPDX-License-Identifier: Apache-2.0
 *
 * ipc_slot: the place of a link whose other end is a process that may die and come back. A newer
 * link starts when the one before has ended. One thread.
 */
#ifndef APP_IPC_SLOT_H
#define APP_IPC_SLOT_H

#include "app/ipc.h"

struct ipc_slot {
    struct ipc_link link;
    const char *name;                  /* borrowed, like the three below */
    const struct ipc_service *service; /* or NULL: the other end asks nothing */
    void *ctx;
    struct fiber_group *group;
    struct event came_up;
    uint32_t starts; /* links so far: tells a call whether its link was replaced */
    bool running;    /* until the link's `ended` */
    int next_fd;     /* a newer link; or -1 */
};
void ipc_slot_init(struct ipc_slot *s, const char *name, const struct ipc_service *service,
                   void *ctx, struct fiber_group *group);
/* A (new) link; takes fd, also on error. */
enum err ipc_slot_attach(struct ipc_slot *s, int fd) MUST;
/* The link once it is up; NULL when it is not within wait_ms. */
struct ipc_link *ipc_slot_up(struct ipc_slot *s, uint64_t wait_ms) WAITS;

#endif
