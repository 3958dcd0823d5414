/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/tls_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str name, before;
    enum tls_hello_step step = tls_hello_read(str_of(data, size), &name);
    assert(step != TLS_HELLO_MORE || size < TLS_HELLO_MAX);
    if (step == TLS_HELLO_ACME) {
        assert(name.len > 0 && name.data > (const char *)data);
        assert(name.data + name.len <= (const char *)data + size);
    }
    if (step == TLS_HELLO_OTHER || size == 0) /* more bytes change nothing then */
        return 0;
    enum tls_hello_step sooner = tls_hello_read(str_of(data, size - 1), &before);
    assert(sooner == TLS_HELLO_MORE || (sooner == step && before.len == name.len));
    return 0;
}
