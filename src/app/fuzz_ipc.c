/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder of frames between roles: what a gate in a stranger's hands may send.
 */
#include "app/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    str rest = str_of(data + 1, size - 1);
    enum err e = ERR_OK;
    while (!str_empty(rest) && e == ERR_OK) {
        ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
        size_t used = ipc_frame_check(rest, data[0] % 3, &arena, &e);
        if (used == 0)
            break;
        rest = str_skip(rest, used);
    }
    return 0;
}
