/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/tls_signed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum tls_signed kind = tls_signed_kind(str_of(data, size));
    assert(kind == TLS_SIGNED_NOTHING || (size <= TLS_SIGNED_MAX && size >= 100));
    if (kind == TLS_SIGNED_1_3)
        assert(data[0] == ' ' && data[63] == ' ' && data[97] == 0);
    if (kind == TLS_SIGNED_1_2)
        assert(data[64] == 3 && data[67] + 68u == size);
    return 0;
}
