/* A coordinator that answers as a test wants: a real rpc server on a thread of its own, with a
 * handler of the test's. */
#ifndef QUIRE_TESTS_FAKE_COORDINATOR_H
#define QUIRE_TESTS_FAKE_COORDINATOR_H

#include "proto/quire.pb-c.h"
#include "proto/rpc/rpc.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum fake_command { FAKE_NONE, FAKE_DOWN, FAKE_UP, FAKE_STOP };

struct fake {
    char url[128];
    rpc_handler handler;
    void *data;
    uv_loop_t loop;
    uv_async_t async;
    struct rpc *rpc;
    struct rpc_server *server;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t obeyed;
    enum fake_command command;
    atomic_uint requests; /* that came */
    unsigned tries;
    struct list held; /* requests that the handler does not answer; fake's thread */
};

static void fake_request(void *data, struct rpc_request *request)
{
    struct fake *fake = data;
    atomic_fetch_add(&fake->requests, 1);
    fake->handler(fake, request);
}

/* For handlers: answer at the end, with an error that nobody reads any more. */
static inline void fake_hold(struct fake *fake, struct rpc_request *request)
{
    list_push(&fake->held, &request->link);
}

static void fake_release(struct fake *fake)
{
    struct list *link;
    while ((link = list_shift(&fake->held)) != NULL)
        rpc_reply_error(list_entry(link, struct rpc_request, link), ERR_CANCELED,
                        "the fake goes away");
}

static void fake_closed(void *data)
{
    struct fake *fake = data;
    uv_close((uv_handle_t *)&fake->async, NULL);
}

static void fake_obey(uv_async_t *async)
{
    struct fake *fake = async->data;
    struct err err;
    pthread_mutex_lock(&fake->lock);
    switch (fake->command) {
    case FAKE_DOWN:
        rpc_server_destroy(fake->server);
        fake->server = NULL;
        fake_release(fake);
        break;
    case FAKE_UP:
        if (rpc_server_create(fake->rpc, fake->url, fake_request, fake, &fake->server, &err) == 0)
            break;
        if (++fake->tries > 1000) {
            fprintf(stderr, "fake: %s\n", err.text);
            abort();
        }
        /* The server before it is still letting go of the address: let the loop turn. */
        pthread_mutex_unlock(&fake->lock);
        usleep(5000);
        uv_async_send(&fake->async);
        return;
    case FAKE_STOP:
        fake_release(fake);
        rpc_close(fake->rpc, fake_closed, fake);
        break;
    case FAKE_NONE:
        break;
    }
    fake->command = FAKE_NONE;
    pthread_cond_signal(&fake->obeyed);
    pthread_mutex_unlock(&fake->lock);
}

static void fake_tell(struct fake *fake, enum fake_command command)
{
    pthread_mutex_lock(&fake->lock);
    fake->command = command;
    uv_async_send(&fake->async);
    while (fake->command != FAKE_NONE)
        pthread_cond_wait(&fake->obeyed, &fake->lock);
    pthread_mutex_unlock(&fake->lock);
}

static void *fake_run(void *data)
{
    struct fake *fake = data;
    uv_run(&fake->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* A port that nobody listens on. (A path for ipc would do as well, but a server that goes away
 * removes its path late, and with it that of the server which has come in its place.) */
static inline int fake_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* `up` false: it has an address, but nobody listens there until FAKE_UP. */
static void fake_start(struct fake *fake, rpc_handler handler, void *data, bool up)
{
    static const struct rpc_identity identity = {RPC_ROLE_COORDINATOR,
                                                 "11111111-2222-4333-8444-555555555555", ""};
    struct err err;
    memset(fake, 0, sizeof(*fake));
    snprintf(fake->url, sizeof(fake->url), "tcp://127.0.0.1:%d", fake_port());
    fake->handler = handler;
    fake->data = data;
    list_init(&fake->held);
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->obeyed, NULL);
    uv_loop_init(&fake->loop);
    uv_async_init(&fake->loop, &fake->async, fake_obey);
    fake->async.data = fake;
    fake->rpc = rpc_create(&fake->loop, &identity, &err);
    assert_non_null(fake->rpc);
    pthread_create(&fake->thread, NULL, fake_run, fake);
    if (up)
        fake_tell(fake, FAKE_UP);
}

static void fake_stop(struct fake *fake)
{
    fake_tell(fake, FAKE_STOP);
    pthread_join(fake->thread, NULL);
    assert_int_equal(uv_loop_close(&fake->loop), 0);
}

/* protobuf-c's structs have no const. */
static inline char *lend(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* Replies with a message. */
static inline void fake_reply(struct rpc_request *request, uint16_t kind,
                              const ProtobufCMessage *message)
{
    struct buf payload = {0};
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > 0)
        protobuf_c_message_pack(message, buf_extend(&payload, size));
    rpc_reply(request, kind, buf_bytes(&payload));
    buf_deinit(&payload);
}

#endif
