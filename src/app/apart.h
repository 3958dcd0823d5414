/* SPDX-License-Identifier: Apache-2.0
 *
 * apart: what must touch a private key's bytes (reading certificates from where the operator keeps
 * them, making a key, signing a certificate request) runs in a process that is forked for it and
 * then ends, so that no byte of a key was ever in the parent's memory, which every role inherits.
 */
#ifndef APP_APART_H
#define APP_APART_H

#include "base/buf.h"
#include "base/err.h"

#define APART_MS 20000
#define APART_ANSWER_MAX 4194304

typedef enum err apart_fn(void *arg, struct buf *answer);
/* Runs fn(arg) in a child with everything that this process has; its result and its answer (also on
 * error) come back. What fn changes stays with it, but for descriptors: a memory file of the
 * caller's can be filled and sealed. ERR_UNKNOWN: it died; ERR_TIMEOUT: it was killed. */
enum err apart_run(apart_fn *fn, void *arg, struct buf *answer) WAITS MUST;

#endif
