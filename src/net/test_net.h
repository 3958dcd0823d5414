/* SPDX-License-Identifier: Apache-2.0
 *
 * test_net: what the tests of net share. Included once per program, after cmocka.
 */
#ifndef NET_TEST_NET_H
#define NET_TEST_NET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"
#include "net/stream.h"
#include "net/tls.h"
#include "os/loop.h"
#include "os/rand.h"

#define OK(call) assert_int_equal((call), ERR_OK)
#define assert_str(s, text)                                                                        \
    do {                                                                                           \
        str got_ = (s);                                                                            \
        assert_int_equal(got_.len, strlen(text));                                                  \
        assert_memory_equal(got_.data ? got_.data : "", text, got_.len);                           \
    } while (0)

struct ends {
    struct stream *a, *b;
};

static inline void ends_open(struct ends *p)
{
    int fds[2];
    OK(sock_pair(fds));
    OK(stream_open(fds[0], &p->a));
    OK(stream_open(fds[1], &p->b));
    stream_set_timeouts(p->a, 20000, 20000);
    stream_set_timeouts(p->b, 20000, 20000);
}

static inline void ends_close(struct ends *p)
{
    stream_close(p->a);
    stream_close(p->b);
    *p = (struct ends){0};
}

/* Runs one or two functions on fibers until all is quiet. */
static inline void run_fibers(fiber_fn *one, fiber_fn *two, void *arg)
{
    struct loop *l;
    struct fiber_group g;
    OK(loop_open(&l, &(struct loop_options){.name = "test", .slice_warn_ms = 5000}));
    fiber_group_init(&g);
    OK(fiber_start(&g, "one", one, arg));
    if (two)
        OK(fiber_start(&g, "two", two, arg));
    loop_run_until_idle(l);
    loop_close(l);
}

/* Bytes that do not compress away, the same for the same seed. */
static inline void fill_noise(char *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (char)(seed >> 56);
    }
}

/* A CA with certificates for two names. */
struct pki {
    struct buf ca, ca_key, cert[4], key[4];
};
enum { PKI_A_EC, PKI_A_RSA, PKI_B_EC, PKI_OTHER_EC };

static inline void pki_make(struct pki *p)
{
    static const str a[] = {STR_INIT("mail.a.example"), STR_INIT("a.example")};
    static const str b[] = {STR_INIT("*.b.example")};
    p->ca = p->ca_key = BUF_INIT(65536);
    for (size_t i = 0; i < ARRAY_LEN(p->cert); i++)
        p->cert[i] = p->key[i] = BUF_INIT(65536);
    OK(tls_make_ca(STR("Test CA"), &p->ca, &p->ca_key));
    for (size_t i = 0; i < ARRAY_LEN(p->cert); i++)
        OK(tls_make_certificate(buf_str(&p->ca), buf_str(&p->ca_key), i == PKI_B_EC ? b : a,
                                i == PKI_B_EC ? 1 : 2, i == PKI_A_RSA, &p->cert[i], &p->key[i]));
}

static inline void pki_free(struct pki *p)
{
    buf_free(&p->ca);
    buf_free(&p->ca_key);
    for (size_t i = 0; i < ARRAY_LEN(p->cert); i++) {
        buf_free(&p->cert[i]);
        buf_free(&p->key[i]);
    }
}

static inline struct tls_certificate pki_certificate(const struct pki *p, int which)
{
    return (struct tls_certificate){buf_str(&p->cert[which]), buf_str(&p->key[which])};
}

#endif
