/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes as a run of packed rows and as a manifest of a snapshot: whatever is read says the same
 * when it is written and read again.
 */
#include <assert.h>
#include <string.h>

#include "core/row_pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void rows(str bytes, size_t n)
{
    static struct message_row first[ROW_PACK_ROWS], again[ROW_PACK_ROWS];
    BUF_AUTO struct buf out = BUF_INIT(ROW_PACK_MAX);
    if (row_unpack(bytes, n, first) != ERR_OK)
        return;
    row_pack(first, n, &out);
    assert(buf_ok(&out));
    enum err e = row_unpack(buf_str(&out), n, again);
    assert(e == ERR_OK && memcmp(first, again, n * sizeof *first) == 0);
}

static void manifest(str value)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 18);
    BUF_AUTO struct buf out = BUF_INIT(STORE_VALUE_MAX);
    struct snapshot_row row, again;
    if (snapshot_row_decode(value, &arena, &row) != ERR_OK)
        return;
    snapshot_row_encode(&row, &out);
    enum err e = snapshot_row_decode(buf_str(&out), &arena, &again);
    assert(e == ERR_OK && again.nparts == row.nparts && again.version == row.version);
    for (size_t i = 0; i < row.nparts; i++)
        assert(row.parts[i].last == again.parts[i].last &&
               row.parts[i].rows <= again.parts[i].last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    rows(str_of(data + 2, size - 2), 1 + (size_t)(data[0] | data[1] << 8) % ROW_PACK_ROWS);
    manifest(str_of(data, size));
    return 0;
}
