/* SPDX-License-Identifier: Apache-2.0
 *
 * must: for the programs of this folder, which end when something fails.
 */
#ifndef BENCH_MUST_H
#define BENCH_MUST_H

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

#define MUST_OK(call)                                                                              \
    do {                                                                                           \
        enum err e_ = (call);                                                                      \
        if (e_ != ERR_OK) {                                                                        \
            fprintf(stderr, "%s: %s\n", #call, err_name(e_));                                      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif
