/* SPDX-License-Identifier: Apache-2.0
 *
 * json_guard: a look at JSON before a parser that recurses gets it: fibers have small stacks, and
 * who nests ten thousand arrays would overflow one. Linear; validates nothing else.
 */
#ifndef FORMAT_JSON_GUARD_H
#define FORMAT_JSON_GUARD_H

#include "base/str.h"

/* No more than depth_max arrays and objects inside one another. */
bool json_is_shallow(str text, unsigned depth_max);

#endif
