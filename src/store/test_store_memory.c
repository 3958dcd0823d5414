/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "store/conformance.h"

static struct store *open_it(void)
{
    struct store *s = NULL;
    return store_open_memory(&s) == ERR_OK ? s : NULL;
}

const struct conformance_engine conformance_engine = {open_it, store_close};

int main(void) { return conformance_run("memory"); }
