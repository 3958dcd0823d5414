/* SPDX-License-Identifier: Apache-2.0 */
#include "app/roles.h"

#include "base/log.h"
#include "base/num.h"
#include "format/charset.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/sandbox.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CERTIFICATES_BYTES_MAX 4194304

struct role_row {
    const char *title;
    struct sandbox_profile profile;
    const char *calls;
};
/* The profile's five members stand in the row as designated initialisers, hence the macro's shape.
 */
#define ROLE(name_, title_, read_, write_, connect_, threads_, files_, calls_)                     \
    [ROLE_##name_] = {.title = (title_),                                                           \
                      .profile = {.name = (title_), read_, write_, connect_, threads_, files_},    \
                      .calls = (calls_)},
static const struct role_row role_rows[ROLES] = {
#include "app/roles.def"
};
#undef ROLE

const struct listener_row listener_rows[LISTENER_KINDS] = {
#define LISTENER(name, serve, kind, tls, port) [LISTENER_##name] = {#name, tls, port},
#include "app/listeners.def"
#undef LISTENER
};

const struct config_listens *config_listens_of(const struct config *c, enum listener_kind kind)
{
    switch (kind) {
#define LISTENER(name, ...)                                                                        \
    case LISTENER_##name:                                                                          \
        return &c->listen_##name;
#include "app/listeners.def"
#undef LISTENER
    case LISTENER_KINDS:
        break;
    }
    assert(!"a listener without a setting");
    return NULL;
}

const char *role_name(enum role r) { return role_rows[r].title; }

const char *role_calls(enum role r) { return role_rows[r].calls; }

enum err role_enter(enum role r, const struct server *s)
{
    const struct role_row *row = &role_rows[r];
    log_set_role(row->title);
    proc_set_title(row->title);
    proc_crash_handler();
    proc_return_memory();
    /* It has no file to open afterwards. What is missing the parent has told. */
    (void)charset_preload();
    struct sandbox_paths paths = {.uid = s->uid, .gid = s->gid};
    if (row->profile.files_read || row->profile.files_write)
        paths.data_dir = s->data_dir;
    return sandbox_enter(&row->profile, &paths);
}

uint32_t asker_count(const struct server *s) { return s->ngates + s->nthreads; }

enum err asker_index(const struct server *s, uint32_t role, uint32_t number, uint32_t *out)
{
    if (role == ROLE_GATE ? number >= s->ngates : role != ROLE_HOUSE || number >= s->nthreads)
        return ERR_INVALID;
    *out = role == ROLE_GATE ? number : s->ngates + number;
    return ERR_OK;
}

void asker_name(const struct server *s, uint32_t index, char out[ASKER_NAME_MAX])
{
    bool gate = index < s->ngates;
    snprintf(out, ASKER_NAME_MAX, "%s.%u", role_name(gate ? ROLE_GATE : ROLE_HOUSE),
             gate ? index : index - s->ngates);
}

enum err text_pack(str text, const char *name, int *fd)
{
    TRY(file_memory(name, fd));
    enum err e = file_write_all_at(*fd, 0, text.data, text.len);
    if (e == ERR_OK)
        e = file_seal(*fd);
    if (e != ERR_OK)
        file_close(fd);
    return e;
}

enum err text_unpack(int fd, size_t max, struct buf *out)
{
    uint64_t size;
    TRY(file_size(fd, &size));
    if (!file_is_sealed(fd) || size > max)
        return ERR_INVALID;
    if (size == 0)
        return ERR_OK;
    char *room = buf_reserve(out, size);
    if (!room)
        return ERR_NOMEM;
    size_t got = 0;
    TRY(file_read_at(fd, 0, room, size, &got));
    buf_commit(out, got);
    return got == size ? ERR_OK : ERR_IO;
}

enum err certificates_fill(const struct tls_certificate *certs, size_t n, str client_ca, int fd)
{
    BUF_AUTO struct buf text = BUF_INIT(CERTIFICATES_BYTES_MAX);
    buf_add_sized(&text, client_ca);
    for (size_t i = 0; i < n; i++) {
        buf_add_sized(&text, certs[i].chain_pem);
        buf_add_sized(&text, certs[i].key_pem);
    }
    enum err e = buf_ok(&text) ? file_write_all_at(fd, 0, text.data, text.len) : ERR_LIMIT;
    if (text.data)
        explicit_bzero(text.data, text.len);
    return e == ERR_OK ? file_seal(fd) : e;
}

enum err certificates_pack(const struct tls_certificate *certs, size_t n, str client_ca, int *fd)
{
    TRY(file_memory("certificates", fd));
    enum err e = certificates_fill(certs, n, client_ca, *fd);
    if (e != ERR_OK)
        file_close(fd);
    return e;
}

void certificates_forget(const struct tls_certificate *certs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (certs[i].key_pem.len > 0)
            explicit_bzero((char *)(uintptr_t)certs[i].key_pem.data, certs[i].key_pem.len);
    }
}

enum err certificates_unpack(int fd, struct arena *a, struct tls_certificate *out, size_t max,
                             size_t *n, str *client_ca)
{
    BUF_AUTO struct buf text = BUF_INIT(CERTIFICATES_BYTES_MAX);
    TRY(text_unpack(fd, CERTIFICATES_BYTES_MAX, &text));
    struct reader r = reader_of(buf_str(&text));
    if (!arena_dup(a, read_sized(&r), client_ca))
        return ERR_NOMEM;
    for (*n = 0; !str_empty(r.rest) && !r.failed; (*n)++) {
        if (*n == max)
            return ERR_LIMIT;
        if (!arena_dup(a, read_sized(&r), &out[*n].chain_pem) ||
            !arena_dup(a, read_sized(&r), &out[*n].key_pem))
            return ERR_NOMEM;
    }
    if (text.data)
        explicit_bzero(text.data, text.len);
    return r.failed ? ERR_CORRUPT : ERR_OK;
}
