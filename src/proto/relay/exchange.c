/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/exchange.h"

#include "base/num.h"
#include "net/stream.h"

#include <string.h>

#define BANNER_MAX 2048

struct addresses {
    struct address list[EXCHANGE_ADDRESSES_MAX];
    size_t count;
};

static void resolve_family(const struct dns *dns, const struct relay_exchange *x,
                           enum dns_type type, struct arena *arena, struct addresses *out) WAITS
{
    struct dns_answer a;
    size_t bytes = type == DNS_A ? 4 : 16;
    if (dns->query(dns->ctx, x->host, type, arena, &a) != ERR_OK || a.status != DNS_FOUND)
        return;
    for (size_t i = 0; i < a.count && out->count < EXCHANGE_ADDRESSES_MAX; i++) {
        if (a.records[i].bytes.len != bytes)
            continue;
        struct address *to = &out->list[out->count++];
        *to = (struct address){.family = type == DNS_A ? 4 : 6, .port = x->port};
        memcpy(to->ip, a.records[i].bytes.data, bytes);
    }
}

static enum err connect_to(const struct addresses *at, struct stream **out) WAITS
{
    enum err e = ERR_UNAVAILABLE;
    for (size_t i = 0; i < at->count; i++) {
        int fd;
        e = sock_connect(&at->list[i], NULL, DEADLINE_NEVER, &fd);
        if (e == ERR_OK)
            return stream_open(fd, out);
        if (e == ERR_TIMEOUT || e == ERR_CANCELED)
            return e;
    }
    return e;
}

static enum err read_message(struct stream *s, struct arena *arena, str *answer) WAITS
{
    size_t want = 2;
    for (;;) {
        str in = stream_buffered(s);
        if (in.len >= 2)
            want = 2 + (((size_t)(uint8_t)in.data[0] << 8) | (uint8_t)in.data[1]);
        if (in.len >= 2 && in.len >= want)
            return arena_dup(arena, str_sub(in, 2, want - 2), answer) ? ERR_OK : ERR_NOMEM;
        TRY(stream_fill(s, in.len));
    }
}

static enum err talk(struct stream *s, const struct relay_exchange *x, struct arena *arena,
                     str *answer) WAITS
{
    stream_set_timeouts(s, x->timeout_ms, x->timeout_ms);
    if (x->kind == RELAY_EXCHANGE_BANNER) {
        str line;
        TRY(stream_line(s, BANNER_MAX, &line, NULL));
        return arena_dup(arena, line, answer) ? ERR_OK : ERR_NOMEM;
    }
    char length[2] = {(char)(x->question.len >> 8), (char)x->question.len};
    stream_set_in_max(s, RELAY_EXCHANGE_MAX + 3);
    stream_write(s, str_of(length, 2));
    stream_write(s, x->question);
    TRY(stream_flush(s));
    return read_message(s, arena, answer);
}

enum err exchange_run(const struct dns *dns, const struct relay_exchange *x, struct arena *arena,
                      str *answer)
{
    struct addresses at = {.count = 1};
    struct stream *s;
    if (x->question.len > RELAY_EXCHANGE_MAX || x->port == 0)
        return ERR_INVALID;
    DEADLINE_SCOPE(MIN(x->timeout_ms, (uint64_t)EXCHANGE_TIMEOUT_MS_MAX));
    if (address_parse(x->host, &at.list[0])) {
        at.list[0].port = x->port;
    } else {
        at.count = 0;
        resolve_family(dns, x, DNS_A, arena, &at);
        resolve_family(dns, x, DNS_AAAA, arena, &at);
    }
    TRY(connect_to(&at, &s));
    enum err e = talk(s, x, arena, answer);
    stream_close(s);
    return e;
}
