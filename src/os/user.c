/* SPDX-License-Identifier: Apache-2.0 */
#include "os/user.h"

#include "os/sys.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

bool user_is_root(void) { return geteuid() == 0; }

int user_process_id(void) { return getpid(); }

static bool c_string(str s, char *out, size_t size)
{
    if (s.len == 0 || s.len >= size || memchr(s.data, 0, s.len))
        return false;
    memcpy(out, s.data, s.len);
    out[s.len] = 0;
    return true;
}

enum err user_find(str name, unsigned *uid, unsigned *gid)
{
    char text[256];
    const struct passwd *p = c_string(name, text, sizeof(text)) ? getpwnam(text) : NULL;
    if (!p)
        return ERR_NOT_FOUND;
    *uid = p->pw_uid;
    *gid = p->pw_gid;
    return ERR_OK;
}

enum err user_owner(str path, unsigned *uid, unsigned *gid)
{
    char text[PATH_MAX];
    struct stat st;
    if (!c_string(path, text, sizeof(text)))
        return ERR_INVALID;
    if (stat(text, &st) != 0)
        return sys_err(errno);
    *uid = st.st_uid;
    *gid = st.st_gid;
    return ERR_OK;
}

enum err user_give(str path, unsigned uid, unsigned gid)
{
    char text[PATH_MAX];
    if (!c_string(path, text, sizeof(text)))
        return ERR_INVALID;
    return lchown(text, uid, gid) == 0 ? ERR_OK : sys_err(errno);
}

unsigned user_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 0 ? (unsigned)n : 1;
}

enum err user_temporary_dir(const char *prefix, struct buf *path)
{
    const char *base = getenv("TMPDIR");
    char text[PATH_MAX];
    int n = snprintf(text, sizeof(text), "%s/%s-XXXXXX", base && base[0] ? base : "/tmp", prefix);
    if (n < 0 || (size_t)n >= sizeof(text))
        return ERR_LIMIT;
    if (!mkdtemp(text))
        return sys_err(errno);
    buf_add_c(path, text);
    return buf_ok(path) ? ERR_OK : ERR_LIMIT;
}

void user_remove_dir(str path)
{
    char text[PATH_MAX];
    if (c_string(path, text, sizeof(text)))
        (void)!rmdir(text);
}

enum err user_absolute_path(str path, struct buf *out)
{
    char text[PATH_MAX], real[PATH_MAX];
    if (!c_string(path, text, sizeof(text)))
        return ERR_INVALID;
    if (!realpath(text, real))
        return sys_err(errno);
    buf_add_c(out, real);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

/* Byte by byte: what stands after the line is not ours. */
static enum err read_line(struct buf *out)
{
    for (;;) {
        char c;
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_err(errno);
        if (n == 0)
            return out->len ? ERR_OK : ERR_EOF;
        if (c == '\n')
            return ERR_OK;
        buf_add_char(out, c);
        if (!buf_ok(out))
            return ERR_LIMIT;
    }
}

enum err user_read_secret(const char *prompt, struct buf *out)
{
    struct termios before, quiet;
    bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        fputs(prompt, stderr);
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    enum err e = read_line(out);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputs("\n", stderr);
    }
    if (out->len && out->data[out->len - 1] == '\r')
        buf_truncate(out, out->len - 1);
    return e;
}
