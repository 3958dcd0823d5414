/* SPDX-License-Identifier: Apache-2.0 */
#include "core/thread.h"

#include "format/mime_cold.h"

static uint64_t mix(uint64_t id, uint64_t subject)
{
    uint64_t pair[2] = {id, subject};
    return str_hash_stable(str_of(pair, sizeof pair));
}

static void add(struct thread_keys *out, uint64_t key)
{
    for (size_t i = 0; i < out->count; i++)
        if (out->keys[i] == key)
            return;
    if (out->count < THREAD_KEYS_MAX)
        out->keys[out->count++] = key;
}

void thread_keys_of_mime(str mime, struct thread_keys *out)
{
    struct mime_cold c;
    *out = (struct thread_keys){0};
    if (mime_cold_decode(mime, &c) != ERR_OK)
        return;
    uint64_t subject = str_hash_stable(c.base_subject);
    if (c.message_id_hash) {
        out->has_own = true;
        add(out, mix(c.message_id_hash, subject));
    }
    /* The last references are the nearest relatives. */
    for (uint32_t i = c.references_count; i > 0; i--)
        add(out, mix(mime_cold_reference(&c, i - 1), subject));
}
