/* SPDX-License-Identifier: Apache-2.0 */
#include "app/ipc_slot.h"

#include "base/log.h"
#include "base/num.h"
#include "os/file.h"

static enum err slot_start(struct ipc_slot *s, int fd);

static void slot_ended(struct ipc_link *l)
{
    struct ipc_slot *s = container_of(l, struct ipc_slot, link);
    s->running = false;
    int fd = s->next_fd;
    s->next_fd = -1;
    if (fd >= 0 && slot_start(s, fd) != ERR_OK)
        LOG_ERROR("ipc", "no link to %s", s->name);
}

static enum err slot_start(struct ipc_slot *s, int fd)
{
    s->link = (struct ipc_link){
        .name = s->name, .service = s->service, .ctx = s->ctx, .ended = slot_ended};
    TRY(ipc_link_start(&s->link, fd, s->group));
    s->running = true;
    s->starts++;
    event_signal(&s->came_up);
    return ERR_OK;
}

void ipc_slot_init(struct ipc_slot *s, const char *name, const struct ipc_service *service,
                   void *ctx, struct fiber_group *group)
{
    *s = (struct ipc_slot){
        .name = name, .service = service, .ctx = ctx, .group = group, .next_fd = -1};
    event_init(&s->came_up);
}

enum err ipc_slot_attach(struct ipc_slot *s, int fd)
{
    if (!s->running)
        return slot_start(s, fd);
    file_close(&s->next_fd);
    s->next_fd = fd;
    ipc_link_stop(&s->link);
    return ERR_OK;
}

struct ipc_link *ipc_slot_up(struct ipc_slot *s, uint64_t wait_ms)
{
    uint64_t deadline = deadline_in_ms(wait_ms);
    while (!s->link.up) {
        if (event_wait(&s->came_up, deadline) != ERR_OK)
            return NULL;
    }
    return &s->link;
}
