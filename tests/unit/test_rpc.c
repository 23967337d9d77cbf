/* rpc between contexts of one process, each on a loop of its own thread where it matters; here all
 * on one loop, so that every step can be awaited. Raw sockets play the other side when it
 * misbehaves. */
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/quire.pb-c.h"
#include "proto/rpc/frame.h"
#include "proto/rpc/rpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define REPEAT 28
#define HOLD 30   /* kept in `held` until the test answers it */
#define BIG 32    /* answered with RPC_FRAME_MAX + 1 bytes */
#define THREAD 34 /* answered from another thread */

static const struct rpc_identity server_identity = {RPC_ROLE_COORDINATOR, "node-a", "cluster-1"};
static const struct rpc_identity client_identity = {RPC_ROLE_CLIENT, "", ""};

struct world {
    uv_loop_t loop;
    struct rpc *here, *there;
    struct rpc_server *server;
    struct rpc_peer *peer;
    char url[64];
    struct list held;
    int held_count, served;
    pthread_t thread;
    bool thread_started;
    int closed;
    int ups, downs;
    bool destroy_on_down; /* else on up */
    char node_id[64];
};

struct result {
    struct rpc_call call;
    int times, status;
    uint16_t kind;
    char text[ERR_TEXT_MAX];
    size_t size;
    uint8_t first;
};

static void *answer_elsewhere(void *data)
{
    struct rpc_request *request = data;
    rpc_reply(request, THREAD + 1, bytes_str("from a thread"));
    return NULL;
}

static void handle(void *data, struct rpc_request *request)
{
    struct world *w = data;
    w->served++;
    snprintf(w->node_id, sizeof w->node_id, "%s", request->node_id);
    if (request->kind == REPEAT) {
        rpc_reply(request, REPEAT + 1, request->payload);
    } else if (request->kind == HOLD) {
        list_push(&w->held, &request->link);
        w->held_count++;
    } else if (request->kind == BIG) {
        uint8_t *bytes = calloc(1, RPC_FRAME_MAX + 1);
        assert_non_null(bytes);
        rpc_reply(request, BIG + 1, bytes_of(bytes, RPC_FRAME_MAX + 1));
        free(bytes);
    } else if (request->kind == THREAD) {
        assert_false(w->thread_started);
        w->thread_started = true;
        assert_int_equal(pthread_create(&w->thread, NULL, answer_elsewhere, request), 0);
    } else {
        rpc_reply_error(request, ERR_UNSUPPORTED, "kind %u is not known here", request->kind);
    }
}

static struct rpc_request *held_shift(struct world *w)
{
    struct list *link = list_shift(&w->held);
    assert_non_null(link);
    w->held_count--;
    return list_entry(link, struct rpc_request, link);
}

static void on_done(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                    struct bytes payload)
{
    struct result *r = call->data;
    r->times++;
    r->status = status;
    r->kind = kind;
    r->size = payload.size;
    r->first = payload.size ? payload.data[0] : 0;
    assert_non_null(err);
    assert_int_equal(err->code, status);
    snprintf(r->text, sizeof r->text, "%s", status ? err->text : "");
}

static void start(struct world *w, struct result *r, uint16_t kind, struct bytes payload,
                  uint32_t timeout_ms)
{
    memset(r, 0, sizeof *r);
    r->call.data = r;
    r->call.done = on_done;
    rpc_call_start(&r->call, w->peer, kind, payload, timeout_ms, 7);
    assert_int_equal(r->times, 0); /* never from inside */
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

/* Turns the loop until the expression holds; the test fails after 100 seconds. */
#define AWAIT(w, expression)                                                                       \
    do {                                                                                           \
        uv_timer_t timer;                                                                          \
        uv_timer_init(&(w)->loop, &timer);                                                         \
        uv_timer_start(&timer, nothing, 5, 5);                                                     \
        uint64_t await_until = clock_ms() + 100000;                                                \
        while (!(expression) && clock_ms() < await_until)                                          \
            uv_run(&(w)->loop, UV_RUN_ONCE);                                                       \
        uv_close((uv_handle_t *)&timer, NULL);                                                     \
        uv_run(&(w)->loop, UV_RUN_NOWAIT);                                                         \
        assert_true(expression);                                                                   \
    } while (0)

static void on_change(void *data, bool connected)
{
    struct world *w = data;
    if (connected)
        w->ups++;
    else
        w->downs++;
}

static void on_closed(void *data)
{
    struct world *w = data;
    w->closed++;
}

static void serve(struct world *w)
{
    struct err err = {0};
    w->there = rpc_create(&w->loop, &server_identity, &err);
    assert_non_null(w->there);
    const char *url = w->url[0] ? w->url : "tcp://127.0.0.1:0";
    assert_int_equal(rpc_server_create(w->there, url, handle, w, &w->server, &err), 0);
    if (!w->url[0]) {
        assert_true(rpc_server_port(w->server) > 0);
        snprintf(w->url, sizeof w->url, "tcp://127.0.0.1:%d", rpc_server_port(w->server));
    }
}

static void unserve(struct world *w)
{
    int closed = w->closed;
    rpc_close(w->there, on_closed, w);
    w->there = NULL;
    AWAIT(w, w->closed == closed + 1);
}

static void dial(struct world *w, const struct rpc_identity *identity)
{
    struct err err = {0};
    w->here = rpc_create(&w->loop, identity, &err);
    assert_non_null(w->here);
    assert_int_equal(rpc_peer_create(w->here, w->url, &w->peer, &err), 0);
    rpc_peer_on_change(w->peer, on_change, w);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    list_init(&w->held);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    int expected = w->closed + (w->here != NULL) + (w->there != NULL);
    if (w->here)
        rpc_close(w->here, on_closed, w);
    if (w->there)
        rpc_close(w->there, on_closed, w);
    AWAIT(w, w->closed == expected);
    /* After the context is gone an answer is still owed, and harmless. */
    while (w->held_count)
        rpc_reply(held_shift(w), HOLD + 1, bytes_str("late"));
    if (w->thread_started)
        pthread_join(w->thread, NULL);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w);
    return 0;
}

static void test_call(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    assert_false(rpc_peer_connected(w->peer));
    struct result r, unknown, thread;
    start(w, &r, REPEAT, bytes_str("abc"), 5000); /* waits for the connection */
    AWAIT(w, r.times);
    assert_int_equal(r.status, 0);
    assert_int_equal(r.kind, REPEAT + 1);
    assert_int_equal(r.size, 3);
    assert_int_equal(r.first, 'a');
    assert_true(rpc_peer_connected(w->peer));
    assert_string_equal(rpc_peer_node_id(w->peer), "node-a");
    assert_string_equal(rpc_peer_url(w->peer), w->url);
    assert_int_equal(w->ups, 1);
    assert_int_equal(rpc_server_connections(w->server), 1);
    start(w, &unknown, 9999, bytes_str(""), 5000);
    start(w, &thread, THREAD, bytes_str(""), 5000);
    AWAIT(w, unknown.times && thread.times);
    assert_int_equal(unknown.status, ERR_UNSUPPORTED);
    assert_string_equal(unknown.text, "kind 9999 is not known here");
    assert_int_equal(thread.status, 0);
    assert_int_equal(thread.size, strlen("from a thread"));
}

static void test_ipc(void **state)
{
    struct world *w = *state;
    snprintf(w->url, sizeof w->url, "ipc:///tmp/quire-test-rpc-%d.sock", (int)getpid());
    serve(w);
    assert_int_equal(rpc_server_port(w->server), 0);
    dial(w, &client_identity);
    struct result r;
    start(w, &r, REPEAT, bytes_str("abc"), 5000);
    AWAIT(w, r.times);
    assert_int_equal(r.status, 0);
}

/* "localhost" reaches 127.0.0.1 also where the name means ::1 first. */
static void test_name(void **state)
{
    struct world *w = *state;
    serve(w);
    snprintf(w->url, sizeof w->url, "tcp://localhost:%d", rpc_server_port(w->server));
    dial(w, &client_identity);
    struct result r;
    start(w, &r, REPEAT, bytes_str("abc"), 8000);
    AWAIT(w, r.times);
    assert_int_equal(r.status, 0);
}

static void test_bad_urls(void **state)
{
    struct world *w = *state;
    static const char *const urls[] = {"", "nonsense", "foo://bar", "tcp://", "127.0.0.1:80"};
    struct err err = {0};
    w->here = rpc_create(&w->loop, &client_identity, &err);
    assert_non_null(w->here);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct rpc_peer *peer;
        struct rpc_server *server;
        assert_int_equal(rpc_peer_create(w->here, urls[i], &peer, &err), ERR_INVALID);
        assert_null(peer);
        assert_non_null(strstr(err.text, "address"));
        assert_int_not_equal(rpc_server_create(w->here, urls[i], handle, w, &server, &err), 0);
        assert_null(server);
    }
    serve(w);
    struct rpc_server *second;
    assert_int_equal(rpc_server_create(w->there, w->url, handle, w, &second, &err), ERR_IO);
}

static void test_sizes(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    uint8_t *bytes = malloc(RPC_FRAME_MAX + 1);
    assert_non_null(bytes);
    memset(bytes, 'x', RPC_FRAME_MAX + 1);
    static struct result max, over, big, many[200];
    start(w, &max, REPEAT, bytes_of(bytes, RPC_FRAME_MAX), 8000);
    start(w, &over, REPEAT, bytes_of(bytes, RPC_FRAME_MAX + 1), 8000);
    start(w, &big, BIG, bytes_str(""), 8000);
    for (size_t i = 0; i < 200; i++)
        start(w, &many[i], REPEAT, bytes_of(bytes, i * 997), 8000);
    AWAIT(w, max.times && over.times && big.times && many[199].times);
    assert_int_equal(max.status, 0);
    assert_int_equal(max.size, RPC_FRAME_MAX);
    assert_int_equal(over.status, ERR_TOO_LARGE);
    assert_int_equal(big.status, ERR_TOO_LARGE);
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(many[i].times, 1);
        assert_int_equal(many[i].status, 0);
        assert_int_equal(many[i].size, i * 997);
    }
    free(bytes);
}

/* The server's loop does not turn while 60 MiB come in: reading pauses, nothing is lost. What does
 * not fit into the send queue is refused at once. */
static void test_flood(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    AWAIT(w, w->ups == 1);
    enum { CALLS = 80, SIZE = 1 << 20 };
    static struct result results[CALLS];
    uint8_t *bytes = calloc(1, SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < CALLS; i++)
        start(w, &results[i], HOLD, bytes_of(bytes, SIZE), 100000);
    usleep(200000); /* nng's threads go on, the loop does not */
    int done = 0, good = 0, full = 0;
    uint64_t until = clock_ms() + 100000;
    while (done < CALLS && clock_ms() < until) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        while (w->held_count) {
            struct rpc_request *request = held_shift(w);
            rpc_reply(request, HOLD + 1, request->payload);
        }
        done = good = full = 0;
        for (int i = 0; i < CALLS; i++) {
            done += results[i].times;
            good += results[i].times && results[i].status == 0;
            full += results[i].times && results[i].status == ERR_FULL;
        }
    }
    assert_int_equal(done, CALLS);
    assert_int_equal(good + full, CALLS);
    assert_true(good >= 60);
    assert_int_equal(w->downs, 0);
    free(bytes);
}

static void test_deadlines_and_cancel(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    struct result slow, cancelled, fine;
    uint64_t began = clock_ms();
    start(w, &slow, HOLD, bytes_str("1"), 200);
    start(w, &cancelled, HOLD, bytes_str("2"), 5000);
    AWAIT(w, w->held_count == 2);
    rpc_call_cancel(&cancelled.call);
    rpc_call_cancel(&cancelled.call); /* twice does no harm */
    assert_int_equal(cancelled.times, 0);
    AWAIT(w, slow.times && cancelled.times);
    assert_int_equal(slow.status, ERR_DEADLINE);
    assert_int_equal(cancelled.status, ERR_CANCELED);
    assert_in_range(clock_ms() - began, 195, 4900);
    struct rpc_request *first = held_shift(w), *second = held_shift(w);
    assert_int_equal(first->trace, 7);
    AWAIT(w, rpc_request_abandoned(first) && rpc_request_abandoned(second));
    rpc_reply(first, HOLD + 1, bytes_str("too late"));
    rpc_reply(second, HOLD + 1, bytes_str("not wanted"));
    start(w, &fine, REPEAT, bytes_str("x"), 5000);
    AWAIT(w, fine.times);
    assert_int_equal(fine.status, 0);
    assert_int_equal(slow.times, 1);
    assert_int_equal(cancelled.times, 1);
}

static void test_no_server(void **state)
{
    struct world *w = *state;
    snprintf(w->url, sizeof w->url, "tcp://127.0.0.1:1");
    dial(w, &client_identity);
    struct result r, cancelled;
    start(w, &r, REPEAT, bytes_str("x"), 300);
    start(w, &cancelled, REPEAT, bytes_str("x"), 3000);
    rpc_call_cancel(&cancelled.call);
    AWAIT(w, r.times && cancelled.times);
    assert_int_equal(r.status, ERR_DEADLINE);
    assert_non_null(strstr(r.text, "tcp://127.0.0.1:1"));
    assert_non_null(strstr(r.text, "refused"));
    assert_int_equal(cancelled.status, ERR_CANCELED);
}

/* The server goes away and comes back: calls in its hands end, later ones wait for it. */
static void test_reconnect(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    struct result r, lost, later;
    start(w, &r, REPEAT, bytes_str("x"), 5000);
    AWAIT(w, r.times);
    start(w, &lost, HOLD, bytes_str("x"), 5000);
    AWAIT(w, w->held_count == 1);
    unserve(w);
    AWAIT(w, lost.times && w->downs == 1);
    assert_int_equal(lost.status, ERR_UNAVAILABLE);
    struct rpc_request *request = held_shift(w);
    assert_true(rpc_request_abandoned(request));
    rpc_reply_error(request, ERR_INTERNAL, "nobody hears this");
    assert_false(rpc_peer_connected(w->peer));
    start(w, &later, REPEAT, bytes_str("x"), 8000);
    serve(w);
    AWAIT(w, later.times);
    assert_int_equal(later.status, 0);
    assert_int_equal(w->ups, 2);
}

static void test_destroy_cancels(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    struct result sent, again;
    start(w, &sent, HOLD, bytes_str("x"), 5000);
    AWAIT(w, w->held_count == 1);
    start(w, &again, HOLD, bytes_str("x"), 5000);
    rpc_peer_destroy(w->peer);
    w->peer = NULL;
    assert_int_equal(sent.times, 0);
    AWAIT(w, sent.times && again.times);
    assert_int_equal(sent.status, ERR_CANCELED);
    assert_int_equal(again.status, ERR_CANCELED);
    AWAIT(w, rpc_server_connections(w->server) == 0);
}

static void test_other_cluster(void **state)
{
    struct world *w = *state;
    serve(w);
    static const struct rpc_identity stranger = {RPC_ROLE_SHARD, "node-b", "cluster-2"};
    dial(w, &stranger);
    struct result r;
    start(w, &r, REPEAT, bytes_str("x"), 8000);
    AWAIT(w, r.times); /* long before its deadline */
    assert_int_equal(r.status, ERR_PROTOCOL);
    assert_non_null(strstr(r.text, "cluster-1"));
    assert_non_null(strstr(r.text, "cluster-2"));
    assert_int_equal(w->served, 0);
    /* It learns better, and the next connection is accepted. */
    rpc_set_cluster_id(w->here, "cluster-1");
    start(w, &r, REPEAT, bytes_str("x"), 8000);
    AWAIT(w, r.times);
    if (r.status == ERR_PROTOCOL) { /* the attempt that was under way */
        start(w, &r, REPEAT, bytes_str("x"), 8000);
        AWAIT(w, r.times);
    }
    assert_int_equal(r.status, 0);
    assert_string_equal(w->node_id, "node-b");
}

/* ---- raw sockets ---- */

static int raw_connect(struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)rpc_server_port(w->server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void append_hello(struct buf *out, uint32_t protocol)
{
    Quire__Hello hello = QUIRE__HELLO__INIT;
    uint8_t payload[64];
    hello.protocol = protocol;
    hello.role = RPC_ROLE_CLIENT;
    struct frame frame = {.kind = QUIRE__KIND__KIND_HELLO,
                          .payload = bytes_of(payload, quire__hello__pack(&hello, payload))};
    frame_append(out, &frame);
}

/* Reads until the other side closes; what came is in `in`. */
static bool raw_closed(int fd, struct buf *in)
{
    uint8_t bytes[4096];
    for (;;) {
        ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n <= 0)
            return n == 0;
        buf_append(in, bytes, (size_t)n);
    }
}

static void test_other_version(void **state)
{
    struct world *w = *state;
    serve(w);
    int fd = raw_connect(w);
    struct buf out = {0}, in = {0};
    append_hello(&out, 77);
    assert_int_equal(send(fd, out.data, out.size, MSG_NOSIGNAL), out.size);
    AWAIT(w, raw_closed(fd, &in));
    struct frame frame;
    size_t size, next;
    struct err err = {0};
    assert_int_equal(frame_decode(buf_bytes(&in), 1000, &frame, &size, &err), FRAME_COMPLETE);
    assert_int_equal(frame.kind, QUIRE__KIND__KIND_HELLO);
    struct bytes rest = bytes_of(in.data + size, in.size - size);
    assert_int_equal(frame_decode(rest, 1000, &frame, &next, &err), FRAME_COMPLETE);
    assert_int_equal(frame.kind, QUIRE__KIND__KIND_ERROR);
    Quire__Error *error = quire__error__unpack(NULL, frame.payload.size, frame.payload.data);
    assert_non_null(error);
    assert_non_null(strstr(error->text, "version 1"));
    assert_non_null(strstr(error->text, "version 77"));
    quire__error__free_unpacked(error, NULL);
    close(fd);
    buf_deinit(&out);
    buf_deinit(&in);
}

/* Sends these bytes after a Hello (or without one); the server must hang up, and serve on. */
static void expect_hang_up(struct world *w, bool hello, struct bytes bytes)
{
    struct buf out = {0}, in = {0};
    int fd = raw_connect(w);
    if (hello)
        append_hello(&out, RPC_PROTOCOL_VERSION);
    buf_append_bytes(&out, bytes);
    assert_int_equal(send(fd, out.data, out.size, MSG_NOSIGNAL), out.size);
    struct buf sink = {0};
    uint8_t byte;
    AWAIT(w, raw_closed(fd, &sink) ||
                 (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == ECONNRESET));
    close(fd);
    buf_deinit(&sink);
    buf_deinit(&out);
    buf_deinit(&in);
}

static void test_garbage(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    struct buf frame = {0};
    expect_hang_up(w, false, bytes_str("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    expect_hang_up(w, true, bytes_str("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    frame_append(&frame, &(struct frame){.kind = REPEAT, .id = 1, .payload = bytes_str("x")});
    expect_hang_up(w, false, buf_bytes(&frame)); /* no Hello */
    frame.data[FRAME_HEADER] ^= 1;
    expect_hang_up(w, true, buf_bytes(&frame)); /* wrong checksum */
    memset(frame.data + 8, 0xff, 4);
    expect_hang_up(w, true, buf_bytes(&frame)); /* 4 GiB */
    buf_clear(&frame);
    append_hello(&frame, RPC_PROTOCOL_VERSION);
    expect_hang_up(w, true, buf_bytes(&frame)); /* a second Hello */
    buf_clear(&frame);
    frame_append(&frame, &(struct frame){.kind = HOLD, .id = 5});
    frame_append(&frame, &(struct frame){.kind = HOLD, .id = 5});
    expect_hang_up(w, true, buf_bytes(&frame)); /* the same id twice */
    buf_deinit(&frame);
    static uint8_t large[RPC_FRAME_MAX / 64];
    struct buf hello = {0};
    frame_append(&hello, &(struct frame){.kind = QUIRE__KIND__KIND_HELLO,
                                         .payload = bytes_of(large, sizeof large)});
    expect_hang_up(w, false, bytes_of(hello.data, 100)); /* a Hello of 256 KiB */
    buf_deinit(&hello);
    struct result r;
    start(w, &r, REPEAT, bytes_str("x"), 5000);
    AWAIT(w, r.times);
    assert_int_equal(r.status, 0);
}

/* A client that asks and asks and never reads: its replies fill the queue, then become errors, then
 * its connection is dropped. Others are not disturbed. */
static void test_not_reading(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    int fd = raw_connect(w);
    struct buf out = {0};
    append_hello(&out, RPC_PROTOCOL_VERSION);
    assert_int_equal(send(fd, out.data, out.size, MSG_NOSIGNAL), out.size);
    AWAIT(w, rpc_server_connections(w->server) == 2);
    static uint8_t large[1 << 20];
    buf_clear(&out);
    for (uint64_t id = 1; id <= 100; id++)
        frame_append(&out, &(struct frame){
                               .kind = REPEAT, .id = id, .payload = bytes_of(large, sizeof large)});
    for (uint64_t id = 1000; id < 21000;
         id++) /* each answered with an error, when the queue is full */
        frame_append(&out,
                     &(struct frame){.kind = REPEAT, .id = id, .payload = bytes_of(large, 200)});
    size_t at = 0;
    uint64_t until = clock_ms() + 100000;
    bool gone = false;
    while (!gone && clock_ms() < until) {
        ssize_t n =
            at < out.size ? send(fd, out.data + at, out.size - at, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        at += n > 0 ? (size_t)n : 0;
        uv_run(&w->loop, UV_RUN_NOWAIT);
        gone = rpc_server_connections(w->server) == 1;
    }
    assert_true(gone);
    close(fd);
    buf_deinit(&out);
    struct result r;
    start(w, &r, REPEAT, bytes_str("x"), 5000);
    AWAIT(w, r.times);
    assert_int_equal(r.status, 0);
}

/* The least that the bytes of a large frame say, again and again, but never its end. */
static void send_start(int fd, size_t *sent, size_t most)
{
    static uint8_t zeros[256 << 10];
    size_t left = most - *sent;
    if (left == 0)
        return;
    ssize_t n =
        send(fd, zeros, left < sizeof zeros ? left : sizeof zeros, MSG_DONTWAIT | MSG_NOSIGNAL);
    *sent += n > 0 ? (size_t)n : 0;
}

/* Many that begin the largest frames and do not end them: together they are not given more than
 * RPC_MEMORY_MAX and a little, others are served meanwhile, and in the end they make room. */
static void test_memory(void **state)
{
    enum { STRANGERS = 24 };
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    AWAIT(w, w->ups == 1);
    int fds[STRANGERS];
    size_t sent[STRANGERS] = {0}, total = 0;
    struct buf out = {0};
    append_hello(&out, RPC_PROTOCOL_VERSION);
    size_t start_of_frame = out.size;
    struct frame large = {.kind = HOLD, .id = 1};
    frame_append(&out, &large);
    memcpy(out.data + start_of_frame + 8, &(uint32_t){RPC_FRAME_MAX}, 4);
    for (int i = 0; i < STRANGERS; i++) {
        fds[i] = raw_connect(w);
        assert_int_equal(send(fds[i], out.data, out.size, MSG_NOSIGNAL), out.size);
    }
    buf_deinit(&out);
    AWAIT(w, rpc_server_connections(w->server) == 1 + STRANGERS);
    uint64_t until = clock_ms() + 100000, asked = 0;
    struct result r = {.times = 1};
    while (rpc_server_connections(w->server) > 1 + STRANGERS / 2 && clock_ms() < until) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        if (r.times == 0)
            continue;
        assert_int_equal(r.status, 0);
        /* In turns, and no faster than it answers: all at once they make the server copy more than
         * it can within RPC_SILENCE_MS under ThreadSanitizer. */
        send_start(fds[asked % STRANGERS], &sent[asked % STRANGERS], RPC_FRAME_MAX - 1);
        start(w, &r, REPEAT, bytes_str("x"), 5000);
        asked++;
    }
    for (int i = 0; i < STRANGERS; i++)
        total += sent[i];
    assert_true(asked > 10);
    assert_true(total < (size_t)STRANGERS * (RPC_FRAME_MAX - 1)); /* not all were read to the end */
    assert_true(rpc_server_connections(w->server) <= 1 + STRANGERS / 2);
    for (int i = 0; i < STRANGERS; i++)
        close(fds[i]);
    AWAIT(w, r.times);
    assert_int_equal(r.status, 0);
}

/* A client that says nothing, or half a frame and then nothing, is dropped; one that is merely idle
 * is kept by heartbeats. */
static void test_silence(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    AWAIT(w, w->ups == 1);
    int mute = raw_connect(w), half = raw_connect(w);
    struct buf out = {0}, in = {0};
    append_hello(&out, RPC_PROTOCOL_VERSION);
    frame_append(&out, &(struct frame){.kind = REPEAT, .id = 1, .payload = bytes_str("xyz")});
    assert_int_equal(send(half, out.data, out.size - 2, MSG_NOSIGNAL), out.size - 2);
    AWAIT(w, rpc_server_connections(w->server) == 3);
    uint64_t began = clock_ms();
    AWAIT(w, raw_closed(mute, &in) && raw_closed(half, &in));
    assert_in_range(clock_ms() - began, RPC_HELLO_MS - 100, RPC_SILENCE_MS + 6000);
    AWAIT(w, clock_ms() - began > RPC_SILENCE_MS + 500);
    assert_int_equal(rpc_server_connections(w->server), 1);
    assert_int_equal(w->ups, 1);
    assert_int_equal(w->downs, 0);
    close(mute);
    close(half);
    buf_deinit(&out);
    buf_deinit(&in);
}

/* ---- the other side is no server of ours ---- */

static int raw_listen(struct world *w, int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(w->url, sizeof w->url, "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

/* Whoever dials a web server by mistake learns it at once, not at the deadline. */
static void test_dial_stranger(void **state)
{
    struct world *w = *state;
    int listener = raw_listen(w, 8), fd = -1;
    dial(w, &client_identity);
    struct result r;
    start(w, &r, REPEAT, bytes_str("x"), 9000);
    AWAIT(w, fd >= 0 || (fd = accept(listener, NULL, NULL)) >= 0);
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    assert_int_equal(send(fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
    AWAIT(w, r.times);
    assert_int_equal(r.status, ERR_PROTOCOL);
    assert_non_null(strstr(r.text, "not a frame"));
    close(fd);
    close(listener);
}

static void test_dial_mute(void **state)
{
    struct world *w = *state;
    int listener = raw_listen(w, 8); /* the kernel accepts, nobody speaks */
    dial(w, &client_identity);
    struct result r;
    start(w, &r, REPEAT, bytes_str("x"), RPC_HELLO_MS + 800);
    AWAIT(w, r.times);
    assert_int_equal(r.status, ERR_DEADLINE);
    assert_non_null(strstr(r.text, "no Hello"));
    close(listener);
}

/* The kernel does not even answer: closing does not wait for that. */
static void test_close_while_dialing(void **state)
{
    struct world *w = *state;
    int listener = raw_listen(w, 0), fds[4];
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    for (int i = 0; i < 4; i++) { /* the queue is full after one or two */
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(fds[i], (struct sockaddr *)&address, sizeof address);
    }
    dial(w, &client_identity);
    struct result r;
    start(w, &r, REPEAT, bytes_str("x"), 9000);
    AWAIT(w, true);
    uint64_t began = clock_ms();
    rpc_close(w->here, on_closed, w);
    w->here = NULL;
    AWAIT(w, w->closed == 1);
    assert_int_equal(r.times, 1);
    assert_int_equal(r.status, ERR_CANCELED);
    assert_in_range(clock_ms() - began, 0, 8000);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    close(listener);
}

/* A peer that is destroyed from its own callback, when it comes up and when it goes down. */
static void destroy_on_change(void *data, bool connected)
{
    struct world *w = data;
    on_change(data, connected);
    if (connected != w->destroy_on_down) {
        rpc_peer_destroy(w->peer);
        w->peer = NULL;
    }
}

static void test_destroy_from_change(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    rpc_peer_on_change(w->peer, destroy_on_change, w);
    struct result r;
    start(w, &r, HOLD, bytes_str("x"), 5000);
    AWAIT(w, w->ups == 1 && r.times);
    assert_null(w->peer);
    assert_int_equal(r.status, ERR_CANCELED);
    struct err err;
    w->destroy_on_down = true;
    assert_int_equal(rpc_peer_create(w->here, w->url, &w->peer, &err), 0);
    rpc_peer_on_change(w->peer, destroy_on_change, w);
    AWAIT(w, w->ups == 2);
    unserve(w);
    AWAIT(w, w->downs == 1);
    assert_null(w->peer);
}

/* The loop itself does not turn for longer than silence is borne: nobody is blamed for that. */
static void test_away(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    struct result r;
    start(w, &r, HOLD, bytes_str("x"), 9000);
    AWAIT(w, w->held_count == 1);
    usleep((RPC_SILENCE_MS + 500) * 1000);
    AWAIT(w, true);
    struct rpc_request *request = held_shift(w);
    rpc_reply(request, HOLD + 1, request->payload);
    AWAIT(w, r.times);
    assert_int_equal(r.status, 0);
    assert_int_equal(w->downs, 0);
}

/* Callbacks may do anything: each of these calls starts the next one, the last destroys the peer.
 */
struct chain {
    struct world *w;
    struct rpc_call call;
    int left;
    bool over;
};

static void chain_done(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                       struct bytes payload)
{
    (void)err;
    (void)kind;
    (void)payload;
    struct chain *chain = call->data;
    assert_int_equal(status, 0);
    if (--chain->left) {
        rpc_call_start(call, chain->w->peer, REPEAT, bytes_str("next"), 5000, 0);
    } else {
        rpc_peer_destroy(chain->w->peer);
        rpc_close(chain->w->here, on_closed, chain->w);
        chain->w->here = NULL;
        chain->over = true;
    }
}

static void test_reentry(void **state)
{
    struct world *w = *state;
    serve(w);
    dial(w, &client_identity);
    struct chain chain = {.w = w, .left = 50};
    chain.call.data = &chain;
    chain.call.done = chain_done;
    rpc_call_start(&chain.call, w->peer, REPEAT, bytes_str("first"), 5000, 0);
    AWAIT(w, chain.over && w->closed == 1);
}

int main(void)
{
    log_configure(LOG_ERROR, false, "test");
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_call),
        TEST(test_ipc),
        TEST(test_name),
        TEST(test_bad_urls),
        TEST(test_flood),
        TEST(test_not_reading),
        TEST(test_memory),
        TEST(test_sizes),
        TEST(test_deadlines_and_cancel),
        TEST(test_no_server),
        TEST(test_reconnect),
        TEST(test_destroy_cancels),
        TEST(test_other_cluster),
        TEST(test_other_version),
        TEST(test_garbage),
        TEST(test_silence),
        TEST(test_reentry),
        TEST(test_away),
        TEST(test_dial_stranger),
        TEST(test_dial_mute),
        TEST(test_close_while_dialing),
        TEST(test_destroy_from_change),
    };
    return cmocka_run_group_tests_name("rpc", tests, NULL, NULL);
}
