/* SPDX-License-Identifier: Apache-2.0
 *
 * ipc: calls between roles over a Unix stream socket, as rows of ipc.def. The caller sees a plain
 * function that waits; the callee is a fiber per call. Many calls are in flight on one link and
 * their frames are gathered into few writes.
 *
 * The other end may be in a stranger's hands (a gate that was broken into): every length, number
 * and descriptor is checked against the row, and the first wrong one ends the link with a log line.
 *
 * A frame: be32 length of what follows, u8 kind (0 call, 1 reply), be16 method, be32 call id,
 * u8 number of descriptors; a reply has be16 enum err; then the fields in the row's order: U32
 * be32, U64 be64, BYTES varint length and bytes, FD nothing (the next descriptor beside the bytes).
 */
#ifndef APP_IPC_H
#define APP_IPC_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "os/fiber.h"
#include "os/sock.h"
#include "os/wait.h"

#define IPC_FRAME_MAX 2097152u       /* bytes of one frame */
#define IPC_CALLS_MAX 1024           /* a server runs at most so many calls of one link */
#define IPC_CALL_BYTES_MAX 33554432u /* and holds at most so many bytes of arguments */
#define DELIVER_SMALL_MAX 65536      /* content of a message beside its rows */
#define IPC_PENDING_MAX 16384        /* calls that a client has in flight on one link */
#define IPC_OUT_MAX 16777216u        /* bytes waiting to be sent; above it ERR_BUSY */
#define IPC_FDS_QUEUED_MAX 64        /* descriptors received ahead of their frames */
#define IPC_FRAME_FDS_MAX 2          /* descriptors of one frame */
#define IPC_OUT_FDS_MAX 1024         /* descriptors waiting to be sent */

enum ipc_role {
    IPC_ROLE_PARENT,
    IPC_ROLE_GATE,
    IPC_ROLE_HOUSE,
    IPC_ROLE_RELAY,
    IPC_ROLE_KEYS,
    IPC_ROLE_CHILD, /* as a callee: any but the parent */
};

enum ipc_method {
#define IPC(name, ...) IPC_##name,
#include "app/ipc.def"
#undef IPC
    IPC_METHODS
};

typedef uint32_t ipc_U32;
typedef uint64_t ipc_U64;
typedef str ipc_BYTES;
typedef int ipc_FD;

#define F(type, field) ipc_##type field;
#define IPC(name, callee, ms, args, results)                                                       \
    struct ipc_##name##_args {                                                                     \
        args                                                                                       \
    };                                                                                             \
    struct ipc_##name##_results {                                                                  \
        results                                                                                    \
    };
#include "app/ipc.def"
#undef IPC
#undef F

/* What one end serves. A NULL function is a method that this link's other end may not call. ctx is
 * the link's. Slices in args live until the function returns; slices in results must live in the
 * arena. */
struct ipc_service {
    enum ipc_role role;
#define IPC(name, ...)                                                                             \
    enum err (*name)(void *ctx, struct ipc_##name##_args *args, struct arena *arena,               \
                     struct ipc_##name##_results *results) WAITS;
#include "app/ipc.def"
#undef IPC
};

struct ipc_fd_queued {
    size_t at; /* offset in the output where its frame begins */
    int fd;    /* the link's: closed when sent */
};
struct ipc_link {
    const char *name;
    const struct ipc_service *service; /* or NULL */
    void *ctx;
    void (*ended)(struct ipc_link *l); /* or NULL; the last that is done with l; on a fiber */
    bool up;
    /* the module's */
    int fd;
    struct watch watch;
    struct fiber_group io, calls;
    struct map pending;
    uint32_t next_id;
    struct buf in, out, sending;
    struct ipc_fd_queued out_fds[IPC_OUT_FDS_MAX];
    size_t nout_fds;
    int in_fds[IPC_FDS_QUEUED_MAX];
    size_t nin_fds;
    struct event write_wanted, calls_changed;
    size_t ncalls, call_bytes;
};

/* Starts the link over fd (taken, also on error) on fibers of the group, which outlives it. l is
 * zero but for name, service, ctx, ended, and stays in place until `ended` runs. */
enum err ipc_link_start(struct ipc_link *l, int fd, struct fiber_group *group) MUST;
/* Ends the link: calls of this end get ERR_UNAVAILABLE, calls being served finish unheard. */
void ipc_link_stop(struct ipc_link *l);

/* The client ends: ipc_auth_password(link, &args, arena, &results) and so on. arena (may be NULL
 * when no result is BYTES) holds the results. ERR_UNAVAILABLE: the link is down, went down, no
 * answer came in time, or the other end was cancelled; ERR_BUSY: too much in flight. ERR_CANCELED:
 * the caller was, never the other end. */
#define IPC(name, ...)                                                                             \
    enum err ipc_##name(struct ipc_link *l, const struct ipc_##name##_args *args,                  \
                        struct arena *arena, struct ipc_##name##_results *results) WAITS MUST;
#include "app/ipc.def"
#undef IPC

/* One call over a connected socket, from code that is not on a fiber (a command). */
enum err ipc_call_once(int fd, enum ipc_method method, const void *args, struct arena *arena,
                       void *results) MUST;

/* The decoder by itself, for the fuzzer: takes one frame off the front of bytes. Gives the bytes
 * used, 0 when the frame is not complete; ERR_CORRUPT in *e when no frame can begin so. */
size_t ipc_frame_check(str bytes, size_t fds_there, struct arena *arena, enum err *e);

#endif
