/* SPDX-License-Identifier: Apache-2.0
 *
 * config: posthouse.conf as a struct, one field per row of config.def. Nothing is guessed: an
 * unknown, misplaced, repeated or malformed setting refuses, and the error names file and line.
 */
#ifndef APP_CONFIG_H
#define APP_CONFIG_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "os/sock.h"
#include "proto/smtp/smtp.h"

#define CONFIG_TEXT_MAX 1048576 /* bytes of the file */
#define CONFIG_ITEMS_MAX 1000   /* items of one list */

struct config_list {
    const str *items;
    size_t count;
};
struct config_listen {
    struct address address; /* family 0: it is a path */
    str path;
    bool any; /* "*": all addresses of both families */
};
struct config_listens {
    const struct config_listen *items;
    size_t count;
};
struct config_networks {
    const struct smtp_network *items;
    size_t count;
};

typedef str config_STRING;
typedef bool config_BOOL;
typedef uint64_t config_COUNT;
typedef uint64_t config_BYTES;
typedef uint64_t config_DURATION;
typedef struct config_list config_LIST;
typedef struct config_listens config_LISTEN;
typedef struct config_networks config_NETWORKS;

struct config {
#define CONFIG(section, key, type, ...) config_##type section##_##key;
#include "app/config.def"
#undef CONFIG
    struct arena arena; /* holds everything above */
};

/* Reads text over the defaults. name stands in errors ("FILE:LINE: …", one sentence each, in
 * *error; its buffer). On failure nothing is left in *out. ERR_INVALID, ERR_LIMIT. */
enum err config_parse(str name, str text, struct config *out, struct buf *error) MUST;
void config_free(struct config *c);

/* The whole configuration as a file that parses to it; comments: with descriptions. */
void config_render(const struct config *c, bool comments, struct buf *out);
void config_render_json(const struct config *c, struct buf *out);
/* posthouse.conf(5) as troff. */
void config_manual(struct buf *out);
/* Text of a manual as troff takes it: a "-" that can be copied, no line that is a request. */
void config_manual_text(const char *text, struct buf *out);
/* Settings that differ and take effect only after a restart: " section.key" each. */
void config_restart_changes(const struct config *from, const struct config *to, struct buf *out);

void config_log_level(const struct config *c); /* log.level holds from now on */

#define CONFIG_PATH_DEFAULT "/etc/posthouse/posthouse.conf"

#endif
