/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "os/file.h"

int file_duplicate(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }

enum err file_map(int fd, uint64_t len, str *out)
{
    assert(len > 0);
    if (len > SIZE_MAX)
        return ERR_NOMEM;
    void *p = mmap(NULL, (size_t)len, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return errno == ENOMEM ? ERR_NOMEM : ERR_IO;
    *out = str_of(p, (size_t)len);
    return ERR_OK;
}

void file_unmap(str mapped)
{
    int rc = munmap((void *)mapped.data, mapped.len);
    assert(rc == 0);
    (void)rc;
}
