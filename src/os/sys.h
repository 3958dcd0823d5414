/* SPDX-License-Identifier: Apache-2.0
 *
 * sys: what errno means to the program.
 */
#ifndef OS_SYS_H
#define OS_SYS_H

#include "base/err.h"

/* Never ERR_OK. Interrupted and would-block calls are handled where they happen and do not come
 * here. */
enum err sys_err(int errno_value);

#endif
