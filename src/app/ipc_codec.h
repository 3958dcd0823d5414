/* SPDX-License-Identifier: Apache-2.0
 *
 * ipc_codec: the rows of ipc.def as values, and their strict codec. Used by ipc.c alone.
 */
#ifndef APP_IPC_CODEC_H
#define APP_IPC_CODEC_H

#include "app/ipc.h"

#define IPC_HEAD_BYTES 12 /* length, kind, method, id, descriptors */
enum { IPC_KIND_CALL = 0, IPC_KIND_REPLY = 1 };

/* Fields on their way out. */
struct ipc_writer {
    struct buf *bytes;
    int fds[IPC_FRAME_FDS_MAX];
    size_t nfds;
};
/* Fields on their way in: every byte and descriptor must be used up, exactly. Slices borrow from
 * the input. */
struct ipc_reader {
    struct reader r;
    const int *fds;
    size_t nfds, taken;
    bool failed;
};

struct ipc_row {
    const char *name;
    enum ipc_role callee;
    uint32_t deadline_ms;
    size_t args_size, results_size;
    void (*put_args)(struct ipc_writer *w, const void *args);
    void (*take_args)(struct ipc_reader *r, void *args);
    void (*put_results)(struct ipc_writer *w, const void *results);
    void (*take_results)(struct ipc_reader *r, void *results);
    /* Closes the descriptors that are left (>= 0) and sets them to -1. */
    void (*close_args)(void *args);
    bool (*served)(const struct ipc_service *s);
    enum err (*serve)(const struct ipc_service *s, void *ctx, void *args, struct arena *arena,
                      void *results) WAITS;
    /* Copies the BYTES of results into the arena; false at its limit. */
    bool (*keep_results)(void *results, struct arena *arena);
    void (*empty_results)(void *results); /* every FD is -1 */
    size_t args_fds, results_fds;
};
extern const struct ipc_row ipc_rows[IPC_METHODS];

struct ipc_head {
    uint32_t length; /* of all that follows the length itself */
    uint8_t kind;
    uint16_t method;
    uint32_t id;
    uint8_t nfds;
};
/* 0: more bytes are needed; 1: *head holds a plausible head (body may be incomplete); -1: not ours.
 */
int ipc_head_take(str bytes, struct ipc_head *head);
/* Appends a frame; the descriptors of its fields are w's. False when it does not fit a frame. */
bool ipc_frame_put(struct buf *out, uint8_t kind, enum ipc_method method, uint32_t id, enum err e,
                   const void *fields, struct ipc_writer *w);
bool ipc_reader_done(const struct ipc_reader *r);

#endif
