/* SPDX-License-Identifier: Apache-2.0 */
#include "core/handoff.h"

#include <errno.h>

#include "os/file.h"
#include "os/sock.h"

static void describe(const struct stream *s, struct session_handoff *h)
{
    struct stream_tls_info tls = {0};
    h->peer = *stream_peer(s);
    h->local = *stream_local(s);
    h->tls = stream_is_tls(s);
    if (h->tls) {
        stream_tls_info(s, &tls);
        h->tls_version = str_c(tls.version);
    }
    h->unread = stream_buffered(s);
}

/* The house gets a copy of the descriptor; ours is closed once it has it. */
static enum err handoff_plain(struct stream *s, const struct house *house,
                              struct session_handoff *h)
{
    h->fd = file_duplicate(stream_fd(s));
    if (h->fd < 0)
        return ERR_UNAVAILABLE;
    TRY(house->session_open(house->ctx, h));
    BUF_AUTO struct buf unread = BUF_INIT(STREAM_IN_MAX);
    int fd = stream_detach(s, &unread); /* not stream_close, which would end the connection */
    file_close(&fd);
    return ERR_OK;
}

static enum err handoff_tls(struct stream *s, const struct house *house, struct session_handoff *h,
                            uint64_t idle_timeout_ms, struct fiber_group *group)
{
    int fds[2];
    struct stream *inner;
    TRY(sock_pair(fds));
    h->fd = fds[1];
    enum err e = house->session_open(house->ctx, h);
    if (e != ERR_OK) {
        file_close(&fds[0]);
        return e;
    }
    TRY(stream_open(fds[0], &inner));
    stream_skip(s, h->unread.len); /* the house has them */
    return proxy_start(s, inner, idle_timeout_ms, group, NULL, NULL);
}

enum err handoff(struct stream *s, const struct house *house, struct session_handoff *h,
                 uint64_t idle_timeout_ms, struct fiber_group *group)
{
    TRY(stream_flush(s));
    describe(s, h);
    if (h->tls)
        return handoff_tls(s, house, h, idle_timeout_ms, group);
    return handoff_plain(s, house, h);
}
