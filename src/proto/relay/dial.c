/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/dial.h"

#include "base/num.h"
#include "os/fiber.h"
#include "os/file.h"

struct race {
    struct fiber_group group;
    struct event changed;
    const struct address *source;
    uint64_t deadline_ms;
    size_t running;
    int fd; /* of the winner */
    struct address winner;
    enum err error;
};
struct runner {
    struct race *race;
    struct address to;
};

static void run(void *arg) WAITS
{
    struct runner *r = arg;
    struct race *race = r->race;
    int fd = -1;
    const struct address *from = race->source;
    if (from && from->family != r->to.family)
        from = NULL;
    enum err e = sock_connect(&r->to, from, race->deadline_ms, &fd);
    if (e == ERR_OK && race->fd < 0) {
        race->fd = fd;
        race->winner = r->to;
    } else if (e == ERR_OK) {
        file_close(&fd);
    } else if (e != ERR_CANCELED) {
        race->error = e;
    }
    race->running--;
    event_signal(&race->changed);
}

/* Until there is a winner, or nobody runs, or the deadline. */
static void await(struct race *race, uint64_t deadline_ms) WAITS
{
    while (race->fd < 0 && race->running > 0) {
        if (event_wait(&race->changed, deadline_ms) != ERR_OK)
            return;
    }
}

enum err dial(const struct address *to, size_t n, const struct address *source, uint64_t ms,
              int *fd, struct address *used)
{
    struct runner runners[DIAL_MAX];
    struct race race = {
        .source = source, .deadline_ms = deadline_in_ms(ms), .fd = -1, .error = ERR_TIMEOUT};
    fiber_group_init(&race.group);
    event_init(&race.changed);
    for (size_t i = 0; i < MIN(n, (size_t)DIAL_MAX) && race.fd < 0 && !fiber_canceled(); i++) {
        runners[i] = (struct runner){&race, to[i]};
        race.running++;
        enum err e = fiber_start(&race.group, "dial", run, &runners[i]);
        if (e != ERR_OK) {
            race.running--;
            race.error = e;
        }
        await(&race, deadline_in_ms(DIAL_STAGGER_MS));
    }
    await(&race, race.deadline_ms);
    fiber_group_cancel(&race.group);
    fiber_group_join(&race.group);
    if (race.fd < 0)
        return fiber_canceled() ? ERR_CANCELED : race.error;
    *fd = race.fd;
    *used = race.winner;
    return ERR_OK;
}
