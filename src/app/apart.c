/* SPDX-License-Identifier: Apache-2.0 */
#include "app/apart.h"

#include "app/roles.h"
#include "base/num.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/proc.h"

struct job {
    apart_fn *fn;
    void *arg;
    int fd; /* be16 result and the answer, sealed */
};

static int job_run(void *arg)
{
    struct job *j = arg;
    BUF_AUTO struct buf answer = BUF_INIT(APART_ANSWER_MAX);
    BUF_AUTO struct buf text = BUF_INIT(APART_ANSWER_MAX + 2);
    proc_set_title("apart");
    enum err e = proc_hide_memory();
    if (e == ERR_OK)
        e = j->fn(j->arg, &answer);
    buf_add_be16(&text, (uint16_t)(e == ERR_OK && !buf_ok(&answer) ? ERR_LIMIT : e));
    buf_add(&text, buf_str(&answer));
    if (!buf_ok(&text) || file_write_all_at(j->fd, 0, text.data, text.len) != ERR_OK ||
        file_seal(j->fd) != ERR_OK)
        return 1;
    return 0;
}

enum err apart_run(apart_fn *fn, void *arg, struct buf *answer)
{
    FD_AUTO int fd = -1;
    int pid;
    BUF_AUTO struct buf text = BUF_INIT(APART_ANSWER_MAX + 2);
    TRY(file_memory("apart", &fd));
    TRY(proc_fork(job_run, &(struct job){fn, arg, fd}, &pid));
    TRY(proc_await(pid, deadline_in_ms(APART_MS)));
    if (text_unpack(fd, APART_ANSWER_MAX + 2, &text) != ERR_OK)
        return ERR_UNKNOWN;
    struct reader r = reader_of(buf_str(&text));
    uint16_t e = read_be16(&r);
    if (r.failed || e >= ERR_COUNT)
        return ERR_UNKNOWN;
    buf_add(answer, r.rest);
    return (enum err)e;
}
