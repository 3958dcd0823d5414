/* SPDX-License-Identifier: Apache-2.0
 *
 * conformance: what every engine must do. A test program opens its engine and runs all of it:
 *   CONFORMANCE_TESTS(name) gives the cmocka rows. Not part of the program.
 */
#ifndef STORE_CONFORMANCE_H
#define STORE_CONFORMANCE_H

#include "store/store.h"

/* The engine under test. */
struct conformance_engine {
    struct store *(*open)(void);
    void (*close)(struct store *s);
};
extern const struct conformance_engine conformance_engine;

/* All tests as one cmocka group; returns the number of failures. */
int conformance_run(const char *engine);

#endif
