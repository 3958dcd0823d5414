/* SPDX-License-Identifier: Apache-2.0 */
#include "net/proxy.h"

#include "net/stream_private.h"
#include "net/test_net.h"
#include "os/sock_io.h"

static struct pki pki;
static struct tls_server *server;
static struct tls_client *client;

/* client outer.a ==(maybe TLS)== outer.b [proxy] inner.a ==== inner.b house */
static struct ends outer, inner;
static struct fiber_group proxies;
static unsigned done_count;

static int setup(void **state)
{
    pki_make(&pki);
    struct tls_certificate c = pki_certificate(&pki, PKI_A_EC);
    OK(tls_server_open(&c, 1, NULL, &server));
    OK(tls_client_open(TLS_VERIFY_NAME, buf_str(&pki.ca), &client));
    return 0;
}

static int teardown(void **state)
{
    tls_server_close(server);
    tls_client_close(client);
    pki_free(&pki);
    return 0;
}

static void count_done(void *arg) { done_count++; }

static void handshake_client(void *arg)
{
    OK(stream_start_tls_client(((struct ends *)arg)->a, client, STR("a.example")));
}

static void start_tls(struct ends *p)
{
    struct fiber_group g;
    fiber_group_init(&g);
    OK(fiber_start(&g, "client", handshake_client, p));
    OK(stream_start_tls_server(p->b, server));
    fiber_group_join(&g);
}

static void connect_proxy(bool tls, uint64_t idle_ms)
{
    done_count = 0;
    fiber_group_init(&proxies);
    ends_open(&outer);
    ends_open(&inner);
    if (tls)
        start_tls(&outer);
    OK(proxy_start(outer.b, inner.a, idle_ms, &proxies, count_done, NULL));
    outer.b = inner.a = NULL;
}

static void expect_line(struct stream *s, const char *text)
{
    str line;
    OK(stream_line(s, 100, &line, NULL));
    assert_str(line, text);
}

static void say(struct stream *s, const char *text)
{
    stream_write(s, str_c(text));
    OK(stream_flush(s));
}

static void finish(void)
{
    stream_close(outer.a);
    stream_close(inner.b);
    outer.a = inner.b = NULL;
    fiber_group_join(&proxies);
    assert_int_equal(done_count, 1);
}

#define BULK (10u << 20)
static char *noise;
struct flow {
    struct stream *s;
    size_t shift; /* each direction sends other bytes */
    uint64_t seed;
};

static size_t next_size(struct flow *f)
{
    f->seed = f->seed * 6364136223846793005u + 1442695040888963407u;
    return (f->seed >> 40) % ((f->seed >> 33) & 1 ? 90000 : 700) + 1;
}

static void write_flow(void *arg)
{
    struct flow *f = arg;
    for (size_t at = 0; at < BULK;) {
        size_t n = MIN(next_size(f), BULK - at);
        stream_write(f->s, str_of(noise + f->shift + at, n));
        if (f->seed >> 63)
            OK(stream_flush(f->s));
        at += n;
    }
    OK(stream_flush(f->s));
    stream_end_write(f->s);
}

static void read_flow(void *arg)
{
    struct flow *f = arg;
    size_t at = 0;
    while (at < BULK) {
        OK(stream_fill(f->s, 0));
        str got = stream_buffered(f->s);
        got = str_head(got, MAX(1, got.len / (next_size(f) % 3 + 1)));
        assert_true(at + got.len <= BULK);
        assert_memory_equal(got.data, noise + f->shift + at, got.len);
        at += got.len;
        stream_skip(f->s, got.len);
    }
    assert_int_equal(at, BULK);
}

static void bulk_main(void *arg)
{
    struct fiber_group g;
    fiber_group_init(&g);
    noise = malloc(BULK + 4096);
    fill_noise(noise, BULK + 4096, 11);
    connect_proxy(*(bool *)arg, 0);
    struct flow f[4] = {{outer.a, 0, 1}, {inner.b, 0, 2}, {inner.b, 4096, 3}, {outer.a, 4096, 4}};
    OK(fiber_start(&g, "w1", write_flow, &f[0]));
    OK(fiber_start(&g, "r1", read_flow, &f[1]));
    OK(fiber_start(&g, "w2", write_flow, &f[2]));
    OK(fiber_start(&g, "r2", read_flow, &f[3]));
    fiber_group_join(&g);
    assert_int_equal(stream_fill(outer.a, 0), ERR_EOF);
    assert_int_equal(stream_fill(inner.b, 0), ERR_EOF);
    finish();
    free(noise);
}

static void test_ten_megabytes_both_ways(void **state)
{
    run_fibers(bulk_main, NULL, &(bool){false});
    run_fibers(bulk_main, NULL, &(bool){true});
}

static void half_close_main(void *arg)
{
    connect_proxy(*(bool *)arg, 0);
    say(outer.a, "QUIT\r\n");
    stream_end_write(outer.a);
    expect_line(inner.b, "QUIT");
    assert_int_equal(stream_fill(inner.b, 0), ERR_EOF);
    inner.b->error = ERR_OK; /* the house answers after the end of the commands */
    say(inner.b, "bye\r\n");
    expect_line(outer.a, "bye");
    assert_int_equal(done_count, 0);
    stream_close(inner.b);
    inner.b = NULL;
    assert_int_equal(stream_fill(outer.a, 0), ERR_EOF);
    fiber_group_join(&proxies);
    finish();
}

static void test_half_close(void **state)
{
    run_fibers(half_close_main, NULL, &(bool){false});
    run_fibers(half_close_main, NULL, &(bool){true});
}

/* What was read ahead before, and what is still to be sent, is not lost. */
static void buffered_main(void *arg)
{
    ends_open(&outer);
    ends_open(&inner);
    fiber_group_init(&proxies);
    done_count = 0;
    start_tls(&outer);
    say(outer.a, "LOGIN\r\nSELECT\r\n");
    expect_line(outer.b, "LOGIN");
    stream_write(outer.b, STR("ok\r\n"));
    OK(proxy_start(outer.b, inner.a, 0, &proxies, count_done, NULL));
    expect_line(outer.a, "ok");
    expect_line(inner.b, "SELECT");
    finish();
}

static void test_buffered_goes_first(void **state) { run_fibers(buffered_main, NULL, NULL); }

/* Either end goes away hard, in the middle of a flow: the other end is closed, once. */
static void gone_main(void *arg)
{
    bool outside = *(bool *)arg;
    connect_proxy(true, 0);
    struct stream **gone = outside ? &outer.a : &inner.b, **left = outside ? &inner.b : &outer.a;
    say(*left, "data that nobody will read\r\n");
    stream_fail(*gone, ERR_IO); /* no close_notify */
    stream_close(*gone);
    *gone = NULL;
    assert_int_equal(stream_fill(*left, 0), ERR_EOF);
    finish();
}

static void test_gone(void **state)
{
    run_fibers(gone_main, NULL, &(bool){true});
    run_fibers(gone_main, NULL, &(bool){false});
}

static void idle_main(void *arg)
{
    connect_proxy(false, 20);
    say(outer.a, "hello\r\n");
    expect_line(inner.b, "hello");
    assert_int_equal(stream_fill(inner.b, 0), ERR_EOF);
    fiber_group_join(&proxies);
    finish();
}

static void test_idle_ends(void **state) { run_fibers(idle_main, NULL, NULL); }

/* Nobody reads: the writer is held up after what the sockets and one chunk hold. */
static void pressure_main(void *arg)
{
    connect_proxy(false, 0);
    stream_set_timeouts(outer.a, 50, 50);
    char *much = calloc(1, 64 << 20);
    stream_write(outer.a, str_of(much, 64 << 20));
    assert_int_equal(stream_error(outer.a), ERR_TIMEOUT);
    free(much);
    assert_int_equal(proxies.count, 1); /* one direction waits, the other is parked */
    fiber_group_cancel(&proxies);
    finish();
}

static void test_back_pressure(void **state) { run_fibers(pressure_main, NULL, NULL); }

#define MANY 1000
static struct ends many_outer[MANY], many_inner[MANY];

static void many_main(void *arg)
{
    fiber_group_init(&proxies);
    done_count = 0;
    for (int i = 0; i < MANY; i++) {
        ends_open(&many_outer[i]);
        ends_open(&many_inner[i]);
        if (i % 20 == 0)
            start_tls(&many_outer[i]);
        OK(proxy_start(many_outer[i].b, many_inner[i].a, 0, &proxies, count_done, NULL));
    }
    for (int i = 0; i < MANY; i++)
        say(many_outer[i].a, "ping\r\n");
    for (int i = 0; i < MANY; i++) {
        expect_line(many_inner[i].b, "ping");
        say(many_inner[i].b, "pong\r\n");
    }
    for (int i = 0; i < MANY; i++)
        expect_line(many_outer[i].a, "pong");
    fiber_yield();
    assert_int_equal(proxies.count, 0); /* no fiber, no stack */
    size_t parked = 0;
    LIST_EACH (it, &proxies.parked)
        parked++;
    assert_int_equal(parked, 2 * MANY);
    for (int i = 0; i < MANY; i++) {
        assert_null(many_outer[i].b->in.data); /* and no buffers */
        assert_null(many_outer[i].b->out.data);
        assert_null(many_inner[i].a->out.data);
    }
    for (int i = 0; i < MANY; i++)
        stream_close(i % 2 ? many_outer[i].a : many_inner[i].b);
    for (int i = 0; i < MANY; i++) {
        struct stream *left = i % 2 ? many_inner[i].b : many_outer[i].a;
        assert_int_equal(stream_fill(left, 0), ERR_EOF);
        stream_close(left);
    }
    fiber_group_join(&proxies);
    assert_int_equal(done_count, MANY);
}

static void test_a_thousand_idle(void **state) { run_fibers(many_main, NULL, NULL); }

static void cancel_main(void *arg)
{
    connect_proxy(true, 0);
    fiber_yield();
    fiber_group_cancel(&proxies);
    fiber_group_join(&proxies);
    assert_int_equal(done_count, 1);
    assert_int_equal(stream_fill(inner.b, 0), ERR_EOF);
    finish();
}

static void test_cancel(void **state) { run_fibers(cancel_main, NULL, NULL); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_megabytes_both_ways),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_buffered_goes_first),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_idle_ends),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_a_thousand_idle),
        cmocka_unit_test(test_cancel),
    };
    tls_init();
    return cmocka_run_group_tests(tests, setup, teardown);
}
