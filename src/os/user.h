/* SPDX-License-Identifier: Apache-2.0
 *
 * user: whom the process runs as, and what it stands on. Nothing here waits.
 */
#ifndef OS_USER_H
#define OS_USER_H

#include "base/buf.h"
#include "base/err.h"

bool user_is_root(void);
int user_process_id(void);
/* ERR_NOT_FOUND. */
enum err user_find(str name, unsigned *uid, unsigned *gid) MUST;
/* Whose file or folder it is. */
enum err user_owner(str path, unsigned *uid, unsigned *gid) MUST;
/* Makes the file or folder theirs. */
enum err user_give(str path, unsigned uid, unsigned gid) MUST;
unsigned user_processors(void); /* that this process may use, at least 1 */
/* An empty folder of our own below the system's place for temporary files. */
enum err user_temporary_dir(const char *prefix, struct buf *path) MUST;
void user_remove_dir(str path);                              /* if it is empty */
enum err user_absolute_path(str path, struct buf *out) MUST; /* of something that exists */
/* A line from standard input, without echo when that is a terminal (prompt goes to standard error).
 * ERR_EOF, ERR_LIMIT. */
enum err user_read_secret(const char *prompt, struct buf *out) MUST;

#endif
