/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/conversion.h"

#include "format/limits.h"
#include "os/file.h"
#include "os/offload.h"

struct job {
    struct conversion *c;
    enum convert_to to;
    const char *refused;
    enum err err;
};

static void work(void *arg)
{
    struct job *j = arg;
    j->err = convert_plan(&j->c->arena, j->c->mapped, j->to, &j->c->plan, &j->refused);
    if (j->err == ERR_OK)
        j->c->size = convert_size(&j->c->plan);
}

enum err conversion_begin(struct conversion *c, int fd, uint64_t size, enum convert_to to,
                          const char **refused)
{
    struct job j = {.c = c, .to = to};
    *c = (struct conversion){.arena = ARENA_INIT(2 * (size_t)MIME_ARENA_MAX)};
    TRY(file_map(fd, size, &c->mapped));
    TRY(offload_run(work, &j));
    *refused = j.refused;
    if (j.err != ERR_LIMIT)
        return j.err;
    *refused = "It is too large a structure";
    return ERR_UNSUPPORTED;
}

void conversion_end(struct conversion *c)
{
    if (!str_empty(c->mapped))
        file_unmap(c->mapped);
    arena_free(&c->arena);
    *c = (struct conversion){0};
}
