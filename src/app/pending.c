/* SPDX-License-Identifier: Apache-2.0
 *
 * What the program links against before its own folder has it; goes with those steps.
 */
#include "core/check.h"
#include "store/store.h"

enum err store_open_embedded(const struct store_options *o, struct store **out)
{
    (void)o, (void)out;
    return ERR_UNSUPPORTED;
}

enum err check_store(struct store *s, store_finding_fn *finding, void *arg,
                     struct check_result *out)
{
    (void)s, (void)finding, (void)arg, (void)out;
    return ERR_UNSUPPORTED;
}
