/* SPDX-License-Identifier: Apache-2.0
 *
 * sandbox_impl: the Landlock half of os/sandbox.h. Private to os/.
 */
#ifndef OS_SANDBOX_IMPL_H
#define OS_SANDBOX_IMPL_H

#include "os/sandbox.h"

/* Builds the rules while files can still be opened. *ruleset: -1 where the kernel has no Landlock.
 */
enum err landlock_prepare(const struct sandbox_profile *p, str data_dir, int *ruleset) MUST;
enum err landlock_enter(int ruleset) MUST; /* after no_new_privs; -1: nothing to do */

#endif
