/* SPDX-License-Identifier: Apache-2.0 */
#include "store/test_folder.h"

#include <assert.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

char *test_folder_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    int rc = asprintf(&path, "%s/posthouse-store-XXXXXX", base != NULL ? base : "/tmp");
    assert(rc > 0);
    char *made = mkdtemp(path);
    assert(made != NULL);
    return made;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    return remove(path);
}

void test_folder_remove(char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}
