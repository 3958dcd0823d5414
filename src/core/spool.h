/* SPDX-License-Identifier: Apache-2.0
 *
 * spool: the content of one message while it arrives in the gate. Small ones stay in memory, larger
 * ones grow in a memory file that is sealed at the end; the whole content is one slice for the MIME
 * pass either way. All spools of a process together are limited.
 */
#ifndef CORE_SPOOL_H
#define CORE_SPOOL_H

#include "base/buf.h"
#include "base/err.h"

#define SPOOL_MEMORY_MAX 131072        /* bytes before a message moves to a memory file */
#define SPOOL_TOTAL_MAX (512ull << 20) /* bytes of all spools of the process: then ERR_NOSPACE */

struct spool {
    struct buf memory;
    int fd;        /* of a large one; else -1 */
    uint64_t size; /* bytes so far */
    uint64_t max;  /* then ERR_TOO_LARGE */
    str mapped;    /* after spool_finish of a large one */
    enum err err;  /* sticky */
};

void spool_init(struct spool *s, uint64_t max);
void spool_free(struct spool *s); /* also closes fd */
/* Finishes `changed` and puts it in the place of s; on error s and *content are as before.
 * `changed` is used up either way. */
enum err spool_replace(struct spool *s, struct spool *changed, str *content) MUST;
/* Sticky: after an error adds vanish. ERR_TOO_LARGE, ERR_NOSPACE, ERR_NOMEM. */
void spool_add(struct spool *s, str bytes);
/* Seals s->fd, if there is one. *content lives until spool_free. */
enum err spool_finish(struct spool *s, str *content) MUST;
/* For who needs a descriptor: after it s->fd is a sealed file of a finished small one too. After an
 * error it is as it was. */
enum err spool_to_file(struct spool *s) MUST;

#endif
