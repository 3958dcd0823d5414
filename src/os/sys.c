/* SPDX-License-Identifier: Apache-2.0 */
#include "os/sys.h"

#include <errno.h>

static const struct {
    int number;
    enum err err;
} sys_errors[] = {
    {ENOENT, ERR_NOT_FOUND},
    {ENOTDIR, ERR_NOT_FOUND},
    {EEXIST, ERR_EXISTS},
    {EADDRINUSE, ERR_EXISTS},
    {ENOTEMPTY, ERR_EXISTS},
    {EACCES, ERR_DENIED},
    {EPERM, ERR_DENIED},
    {EROFS, ERR_DENIED},
    {ENOSPC, ERR_NOSPACE},
    {EDQUOT, ERR_NOSPACE},
    {ENOMEM, ERR_NOMEM},
    {ENOBUFS, ERR_NOMEM},
    {EMFILE, ERR_LIMIT},
    {ENFILE, ERR_LIMIT},
    {EFBIG, ERR_TOO_LARGE},
    {ENAMETOOLONG, ERR_INVALID},
    {EINVAL, ERR_INVALID},
    {EBUSY, ERR_BUSY},
    {EPIPE, ERR_EOF},
    {ECONNRESET, ERR_EOF},
    {ECONNABORTED, ERR_EOF},
    {ENOTCONN, ERR_EOF},
    {ETIMEDOUT, ERR_TIMEOUT},
    {ECONNREFUSED, ERR_UNAVAILABLE},
    {ENETUNREACH, ERR_UNAVAILABLE},
    {EHOSTUNREACH, ERR_UNAVAILABLE},
    {ENETDOWN, ERR_UNAVAILABLE},
    {EHOSTDOWN, ERR_UNAVAILABLE},
    {EADDRNOTAVAIL, ERR_UNAVAILABLE},
    {EOPNOTSUPP, ERR_UNSUPPORTED},
    {ENOSYS, ERR_UNSUPPORTED},
    {EAFNOSUPPORT, ERR_UNSUPPORTED},
};

enum err sys_err(int errno_value)
{
    for (size_t i = 0; i < sizeof sys_errors / sizeof sys_errors[0]; i++)
        if (sys_errors[i].number == errno_value)
            return sys_errors[i].err;
    return ERR_IO;
}
