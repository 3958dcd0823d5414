/* SPDX-License-Identifier: Apache-2.0
 *
 * err: how the world fails. (When the programmer fails, assert() ends the process.)
 * A function that can fail returns enum err and is marked MUST; err.def says what each wire shows.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/str.h"

enum err {
#define ERR(name, ...) ERR_##name,
#include "base/err.def"
#undef ERR
    ERR_COUNT
};

enum err_class { ERR_CLASS_OK, ERR_CLASS_TEMP, ERR_CLASS_PERM };

struct err_info {
    const char *name; /* "QUOTA" */
    enum err_class class;
    int smtp_code;
    const char *enhanced;  /* RFC 3463 */
    const char *imap_code; /* RFC 5530 and others; may be "" */
    int http_status;
    const char *jmap_type;
    const char *text;
};

const struct err_info *err_info(enum err e);
static inline enum err_class err_class(enum err e) { return err_info(e)->class; }
static inline const char *err_name(enum err e) { return err_info(e)->name; }
static inline const char *err_text(enum err e) { return err_info(e)->text; }

#define MUST __attribute__((warn_unused_result))
/* The function may wait: the fiber that calls it can be switched out, and anything that other
 * fibers change may have changed when it returns. Off a fiber it blocks the thread instead. */
#define WAITS
/* Returns the error to the caller's caller. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum err try_err_ = (call);                                                                \
        if (try_err_ != ERR_OK)                                                                    \
            return try_err_;                                                                       \
    } while (0)

#endif
