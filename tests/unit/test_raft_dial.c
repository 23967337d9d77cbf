/* Raft's dialling: the listener of libraft understands the handshake, who does not answer is given
 * up, and a close ends what is under way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/raft_dial.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct side { /* what raft_uv_init() is otherwise */
    struct raft_dialer dialer;
    struct raft_uv_connect request;
    uv_loop_t *loop;
    raft_id accepted; /* who dialled; 0: nobody yet */
    char from[64];
    int status;
    unsigned done, closed;
};

static void on_stream_closed(uv_handle_t *handle)
{
    raft_free(handle);
}

static void on_accept(struct raft_uv_transport *transport, raft_id id, const char *address,
                      uv_stream_t *stream)
{
    struct side *side = transport->data;
    side->accepted = id;
    snprintf(side->from, sizeof side->from, "%s", address);
    uv_close((uv_handle_t *)stream, on_stream_closed);
}

static void on_dialled(struct raft_uv_connect *request, uv_stream_t *stream, int status)
{
    struct side *side = request->data;
    side->done++;
    side->status = status;
    assert_int_equal(stream != NULL, status == 0);
    if (stream != NULL)
        uv_close((uv_handle_t *)stream, on_stream_closed);
}

static void on_closed(struct raft_uv_transport *transport)
{
    ((struct side *)transport->data)->closed++;
}

static void side_open(struct side *side, uv_loop_t *loop, raft_id id, const char *address)
{
    *side = (struct side){.loop = loop};
    assert_int_equal(raft_dial_init(&side->dialer, loop, NULL), 0);
    side->dialer.transport.data = side;
    side->request.data = side;
    assert_int_equal(side->dialer.transport.init(&side->dialer.transport, id, address), 0);
}

static void side_dial(struct side *side, const char *address)
{
    side->done = 0;
    assert_int_equal(side->dialer.transport.connect(&side->dialer.transport, &side->request, 2,
                                                    address, on_dialled),
                     0);
    assert_int_equal(side->done, 0);
}

static void side_close(struct side *side)
{
    side->dialer.transport.close(&side->dialer.transport, on_closed);
    while (side->closed == 0)
        uv_run(side->loop, UV_RUN_ONCE);
    raft_dial_deinit(&side->dialer);
}

/* A port of our own that is free: the socket that had it is closed. */
static void free_address(char *out, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    snprintf(out, size, "127.0.0.1:%d", ntohs(address.sin_port));
    close(fd);
}

static void finish(uv_loop_t *loop)
{
    while (uv_run(loop, UV_RUN_DEFAULT) != 0)
        continue;
    assert_int_equal(uv_loop_close(loop), 0);
}

static void test_handshake(void **state)
{
    static const char *const froms[] = {"127.0.0.1:1", "127.0.0.1:17400", "10.20.30.40:12345"};
    (void)state;
    for (size_t i = 0; i < 3; i++) { /* with and without padding */
        uv_loop_t loop;
        struct side a, b;
        char address[64];
        uv_loop_init(&loop);
        free_address(address, sizeof address);
        side_open(&a, &loop, 0x1122334455667788u + i, froms[i]);
        side_open(&b, &loop, 2, address);
        assert_int_equal(b.dialer.transport.listen(&b.dialer.transport, on_accept), 0);
        side_dial(&a, address);
        while (a.done == 0 || b.accepted == 0)
            uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(a.status, 0);
        assert_true(b.accepted == 0x1122334455667788u + i);
        assert_string_equal(b.from, froms[i]);
        side_close(&a);
        side_close(&b);
        finish(&loop);
    }
}

/* Dialled by a name, while it listens at another address than its own. */
static void test_name(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct side a, b;
    char listen[64], named[64];
    uv_loop_init(&loop);
    free_address(listen, sizeof listen);
    snprintf(named, sizeof named, "localhost%s", strchr(listen, ':'));
    side_open(&a, &loop, 7, "a.example:17400");
    side_open(&b, &loop, 2, listen);
    assert_int_equal(b.dialer.transport.listen(&b.dialer.transport, on_accept), 0);
    side_dial(&a, named);
    while (a.done == 0 || b.accepted == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(a.status, 0);
    assert_true(b.accepted == 7);
    assert_string_equal(b.from, "a.example:17400");
    side_close(&b);
    side_dial(&a, named); /* nobody is there any more */
    while (a.done == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(a.status, RAFT_NOCONNECTION);
    side_close(&a);
    finish(&loop);
}

/* It is closed while a name is looked up: told so, once. */
static void test_close_during_lookup(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct side a;
    uv_loop_init(&loop);
    side_open(&a, &loop, 1, "127.0.0.1:1");
    side_dial(&a, "localhost:1");
    side_close(&a);
    assert_int_equal(a.done, 1);
    finish(&loop);
}

static void test_refused(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct side a;
    char address[64];
    uv_loop_init(&loop);
    free_address(address, sizeof address);
    side_open(&a, &loop, 1, "127.0.0.1:1");
    for (int i = 0; i < 3; i++) {
        side_dial(&a, address);
        while (a.done == 0)
            uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(a.status, RAFT_NOCONNECTION);
    }
    side_close(&a);
    finish(&loop);
}

/* A listener that takes no further connection, whose packets are dropped as by a cut network. */
struct deaf {
    int listener, fillers[8];
    char address[64];
};

static void deaf_open(struct deaf *deaf)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    deaf->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(deaf->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(deaf->listener, 0), 0);
    assert_int_equal(getsockname(deaf->listener, (struct sockaddr *)&address, &length), 0);
    snprintf(deaf->address, sizeof deaf->address, "127.0.0.1:%d", ntohs(address.sin_port));
    for (size_t i = 0; i < 8; i++) {
        deaf->fillers[i] = socket(AF_INET, SOCK_STREAM, 0);
        fcntl(deaf->fillers[i], F_SETFL, O_NONBLOCK);
        (void)connect(deaf->fillers[i], (struct sockaddr *)&address, sizeof address);
    }
}

static void deaf_close(struct deaf *deaf)
{
    for (size_t i = 0; i < 8; i++)
        close(deaf->fillers[i]);
    close(deaf->listener);
}

/* The kernel would try for two minutes. */
static void test_no_answer(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct side a;
    struct deaf deaf;
    deaf_open(&deaf);
    uv_loop_init(&loop);
    side_open(&a, &loop, 1, "127.0.0.1:1");
    side_dial(&a, deaf.address);
    uint64_t began = uv_hrtime();
    while (a.done == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(a.status, RAFT_NOCONNECTION);
    uint64_t ms = (uv_hrtime() - began) / 1000000;
    assert_true(ms >= RAFT_DIAL_MS / 2); /* it was no refusal */
    assert_true(ms < 60000);
    side_close(&a);
    finish(&loop);
    deaf_close(&deaf);
}

static void test_close_under_way(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct side a;
    struct deaf deaf;
    deaf_open(&deaf);
    for (int turns = 0; turns < 3; turns++) {
        uv_loop_init(&loop);
        side_open(&a, &loop, 1, "127.0.0.1:1");
        side_dial(&a, deaf.address);
        for (int i = 0; i < turns; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        side_close(&a);
        assert_int_equal(a.done, 1);
        assert_int_equal(a.status, RAFT_CANCELED);
        assert_int_equal(a.closed, 1);
        finish(&loop);
    }
    deaf_close(&deaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake),           cmocka_unit_test(test_name),
        cmocka_unit_test(test_close_during_lookup), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_answer),           cmocka_unit_test(test_close_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
