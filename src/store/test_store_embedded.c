/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "store/conformance.h"
#include "store/test_folder.h"

static char *folder;

static struct store *open_it(void)
{
    struct store *s = NULL;
    folder = test_folder_new();
    /* Small segments: the suite crosses many. */
    struct store_options o = {
        .dir = str_c(folder), .create = true, .segment_bytes = 65536, .index_flush_bytes = 1 << 20};
    return store_open_embedded(&o, &s) == ERR_OK ? s : NULL;
}

static void close_it(struct store *s)
{
    store_close(s);
    test_folder_remove(folder);
}

const struct conformance_engine conformance_engine = {open_it, close_it};

int main(void) { return conformance_run("embedded"); }
