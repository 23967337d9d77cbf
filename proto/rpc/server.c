/* The listening side: accepts connections, hands requests to the handler, sends replies.
 *
 * nng's thread accepts; up to RPC_ACCEPTED_MAX streams wait for the loop, then accepting pauses
 * until it has taken them. When accept itself fails (no descriptors left), it is tried again a
 * little later: an error must neither spin nor stop the server for good.
 *
 * A request belongs to whoever answers it. It holds a reference to its connection's memory, so that
 * it may be answered from any thread and at any time, also after the connection, the server and the
 * whole rpc context are gone; then the reply is dropped. The connection's table of requests serves
 * to find the one that is cancelled, and to mark all of them as abandoned when the connection
 * closes.
 */
#include "proto/rpc/internal.h"

#include "proto/base/clock.h"
#include "proto/quire.pb-c.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
    struct rpc_request public; /* first: it is cast back */
    struct rpc_conn *conn;
    uint64_t id;
    atomic_bool abandoned;
};

struct rpc_server {
    struct door_item door; /* first: door items are cast back */
    struct reap_item reap;
    struct list link; /* in rpc->servers */
    struct rpc *rpc;
    nng_stream_listener *listener;
    nng_aio *aio;
    char *url;
    int port;
    rpc_handler handler;
    void *data;
    struct list conns;
    size_t conn_count;
    uint64_t retry_ms; /* when to accept again after an error; 0 = no error */

    pthread_mutex_t lock; /* everything below */
    nng_stream *accepted[RPC_ACCEPTED_MAX];
    int accepted_count;
    bool accepting, closing;
    int error;
};

struct rpc_server *server_of(struct list *link)
{
    return list_entry(link, struct rpc_server, link);
}

/* ---- requests ---- */

static struct request *request_create(struct rpc_conn *conn, const struct frame *frame,
                                      uint64_t came_ms)
{
    struct request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    struct rpc_request *public = &request->public;
    arena_init(&public->arena, 0);
    void *payload = arena_copy(&public->arena, frame->payload.data, frame->payload.size);
    if (!payload) {
        free(request);
        return NULL;
    }
    public->kind = frame->kind;
    public->trace = frame->trace;
    public->deadline_ms =
        came_ms + (frame->deadline_ms ? frame->deadline_ms : RPC_TIMEOUT_DEFAULT_MS);
    public->came_us = clock_us();
    public->read_us =
        came_ms * 1000 + 999 < public->came_us ? came_ms * 1000 + 999 : public->came_us;
    public->heavy = (frame->flags & FRAME_HEAVY) != 0;
    public->role = conn->role;
    public->node_id = conn->node_id;
    public->payload = bytes_of(payload, frame->payload.size);
    list_init(&public->link);
    request->conn = conn_ref(conn);
    request->id = frame->id;
    atomic_init(&request->abandoned, false);
    return request;
}

/* Ends the request: sends what `frame` and `text` say unless nobody waits for it, and frees it. */
static void answer(struct request *request, struct frame *frame)
{
    struct rpc_conn *conn = request->conn;
    frame->flags = FRAME_REPLY;
    frame->id = request->id;
    frame->trace = request->public.trace;
    bool failed = frame->kind == QUIRE__KIND__KIND_ERROR;
    pthread_mutex_lock(&conn->lock);
    idmap_take(&conn->requests, request->id);
    conn->held_bytes -= request->public.payload.size;
    conn_discharge(conn, sizeof *request + request->public.payload.size);
    bool wanted = !atomic_load_explicit(&request->abandoned, memory_order_relaxed);
    if (wanted && conn_send_locked(conn, frame, failed ? RPC_ERROR_SLACK : 0) == ERR_FULL) {
        struct buf payload;
        buf_init(&payload);
        struct err err;
        err_set(&err, ERR_FULL, "too many replies wait for you to read them");
        rpc_encode_error(&payload, &err);
        frame->kind = QUIRE__KIND__KIND_ERROR;
        frame->payload = buf_bytes(&payload);
        if (conn_send_locked(conn, frame, RPC_ERROR_SLACK) == ERR_FULL)
            conn_fail_locked(conn, ERR_FULL, "does not read its replies");
        buf_deinit(&payload);
    }
    pthread_mutex_unlock(&conn->lock);
    conn_unref(conn);
    arena_deinit(&request->public.arena);
    free(request);
}

void rpc_reply(struct rpc_request *request, uint16_t kind, struct bytes payload)
{
    if (payload.size > RPC_FRAME_MAX) {
        rpc_reply_error(request, ERR_TOO_LARGE, "the answer has %zu bytes, the limit is %u",
                        payload.size, RPC_FRAME_MAX);
        return;
    }
    struct frame frame = {.kind = kind, .payload = payload};
    answer((struct request *)request, &frame);
}

void rpc_reply_err(struct rpc_request *request, const struct err *err)
{
    struct buf payload;
    buf_init(&payload);
    rpc_encode_error(&payload, err);
    struct frame frame = {.kind = QUIRE__KIND__KIND_ERROR, .payload = buf_bytes(&payload)};
    answer((struct request *)request, &frame);
    buf_deinit(&payload);
}

void rpc_reply_error(struct rpc_request *request, int code, const char *format, ...)
{
    struct err err = {.code = code};
    va_list args;
    va_start(args, format);
    vsnprintf(err.text, sizeof err.text, format, args);
    va_end(args);
    rpc_reply_err(request, &err);
}

bool rpc_request_abandoned(const struct rpc_request *request)
{
    const struct request *whole = (const struct request *)request;
    return atomic_load_explicit(&whole->abandoned, memory_order_relaxed) ||
           clock_ms() >= request->deadline_ms;
}

void server_abandon_requests(struct rpc_conn *conn)
{
    for (size_t i = 0; i < conn->requests.capacity; i++) {
        struct request *request = conn->requests.slots[i].value;
        if (request)
            atomic_store_explicit(&request->abandoned, true, memory_order_relaxed);
    }
}

void server_cancel_request(struct rpc_conn *conn, uint64_t id)
{
    pthread_mutex_lock(&conn->lock);
    struct request *request = idmap_get(&conn->requests, id);
    if (request)
        atomic_store_explicit(&request->abandoned, true, memory_order_relaxed);
    pthread_mutex_unlock(&conn->lock);
}

/* ---- the connections' events ---- */

/* An answer to a request that never was one: there is nothing to free. */
static void turn_away(struct rpc_conn *conn, const struct frame *request, int code,
                      const char *text)
{
    struct buf payload;
    struct err err;
    buf_init(&payload);
    err_set(&err, code, "%s", text);
    rpc_encode_error(&payload, &err);
    struct frame frame = {.kind = QUIRE__KIND__KIND_ERROR,
                          .flags = FRAME_REPLY,
                          .id = request->id,
                          .trace = request->trace,
                          .payload = buf_bytes(&payload)};
    pthread_mutex_lock(&conn->lock);
    if (conn_send_locked(conn, &frame, RPC_ERROR_SLACK) == ERR_FULL)
        conn_fail_locked(conn, ERR_FULL, "does not read its replies");
    pthread_mutex_unlock(&conn->lock);
    buf_deinit(&payload);
}

static void on_request(struct rpc_server *server, struct rpc_conn *conn, const struct frame *frame,
                       uint64_t came_ms)
{
    if (frame->deadline_ms && clock_ms() >= came_ms + frame->deadline_ms) {
        turn_away(conn, frame, ERR_DEADLINE, "its time was over before the server came to it");
        return;
    }
    struct request *request = request_create(conn, frame, came_ms);
    if (!request) {
        turn_away(conn, frame, ERR_NOMEM, "the server is out of memory");
        return;
    }
    size_t size = frame->payload.size;
    int status = ERR_FULL;
    pthread_mutex_lock(&conn->lock);
    bool first = conn->requests.count == 0; /* a single large one always has room */
    if (conn->requests.count < RPC_REQUESTS_MAX &&
        (first || conn->held_bytes + size <= RPC_HELD_MAX))
        status = idmap_put(&conn->requests, frame->id, request);
    if (!status) {
        conn->held_bytes += size;
        conn_charge(conn, sizeof *request + size);
    }
    pthread_mutex_unlock(&conn->lock);
    if (!status) {
        server->handler(server->data, &request->public);
        return;
    }
    conn_unref(conn);
    arena_deinit(&request->public.arena);
    free(request);
    if (status == ERR_EXISTS)
        conn_close(conn, ERR_PROTOCOL, "a request id that is in use");
    else
        turn_away(conn, frame, status, "too many requests of this connection are unanswered");
}

static void on_ready(void *owner, struct rpc_conn *conn)
{
    (void)owner;
    (void)conn;
}

static void on_frame(void *owner, struct rpc_conn *conn, const struct frame *frame,
                     uint64_t came_ms)
{
    if (frame->kind == QUIRE__KIND__KIND_CANCEL)
        server_cancel_request(conn, frame->id);
    else if (!(frame->flags & FRAME_REPLY)) /* we asked nothing; signals of a later version */
        on_request(owner, conn, frame, came_ms);
}

static void on_lost(void *owner, struct rpc_conn *conn, const struct err *err)
{
    struct rpc_server *server = owner;
    list_remove(&conn->owner_link);
    server->conn_count--;
    /* That clients come and go is no news; that one does not behave is. */
    if (err->code != ERR_UNAVAILABLE)
        rpc_log(server->rpc, "connection dropped", conn->url, err->text);
}

static const struct conn_events server_events = {true, on_ready, on_frame, on_lost};

/* ---- accepting ---- */

static void accept_locked(struct rpc_server *server)
{
    server->accepting = true;
    nng_stream_listener_accept(server->listener, server->aio);
}

static void accepted(void *data) /* on a thread of nng */
{
    struct rpc_server *server = data;
    int status = nng_aio_result(server->aio);
    pthread_mutex_lock(&server->lock);
    server->accepting = false;
    if (status)
        server->error = status;
    else
        server->accepted[server->accepted_count++] = nng_aio_get_output(server->aio, 0);
    if (!status && !server->closing && server->accepted_count < RPC_ACCEPTED_MAX)
        accept_locked(server);
    pthread_mutex_unlock(&server->lock);
    rpc_door_push(server->rpc, &server->door);
}

/* "tcp://127.0.0.1:51234", for log lines. */
static void describe(const struct rpc_server *server, nng_stream *stream, char *out, size_t size)
{
    nng_sockaddr address;
    char host[INET6_ADDRSTRLEN];
    if (nng_stream_get_addr(stream, NNG_OPT_REMADDR, &address))
        snprintf(out, size, "%s", server->url);
    else if (address.s_family == NNG_AF_INET &&
             inet_ntop(AF_INET, &address.s_in.sa_addr, host, sizeof host))
        snprintf(out, size, "tcp://%s:%u", host, ntohs(address.s_in.sa_port));
    else if (address.s_family == NNG_AF_INET6 &&
             inet_ntop(AF_INET6, &address.s_in6.sa_addr, host, sizeof host))
        snprintf(out, size, "tcp://[%s]:%u", host, ntohs(address.s_in6.sa_port));
    else
        snprintf(out, size, "%s", server->url);
}

static void admit(struct rpc_server *server, nng_stream *stream)
{
    char url[128];
    describe(server, stream, url, sizeof url);
    if (server->conn_count >= RPC_CONNECTIONS_MAX) {
        rpc_log(server->rpc, "connection refused", url, "the server has too many");
        nng_stream_close(stream); /* nothing was started on it */
        nng_stream_free(stream);
        return;
    }
    struct rpc_conn *conn = conn_create(server->rpc, stream, url, &server_events, server);
    if (!conn)
        return;
    list_push(&server->conns, &conn->owner_link);
    server->conn_count++;
}

static void visit(struct door_item *item, bool reaped)
{
    struct rpc_server *server = (struct rpc_server *)item;
    nng_stream *streams[RPC_ACCEPTED_MAX];
    pthread_mutex_lock(&server->lock);
    bool closing = server->closing;
    int error = server->error, count = closing ? 0 : server->accepted_count;
    memcpy(streams, server->accepted, (size_t)count * sizeof streams[0]);
    server->accepted_count -= count;
    server->error = 0;
    if (!closing && !server->accepting && !error && !server->retry_ms)
        accept_locked(server);
    pthread_mutex_unlock(&server->lock);
    for (int i = 0; i < count; i++)
        admit(server, streams[i]);
    if (reaped) {
        struct rpc *rpc = server->rpc;
        pthread_mutex_destroy(&server->lock);
        free(server->url);
        free(server);
        rpc_left(rpc);
    } else if (error && !closing) {
        rpc_log(server->rpc, "accepting failed", server->url, nng_strerror(error));
        server->retry_ms = clock_ms() + RPC_ACCEPT_RETRY_MS;
        rpc_tick_at(server->rpc, server->retry_ms);
    }
}

void server_tick(struct rpc_server *server, uint64_t now)
{
    if (!server->retry_ms || now < server->retry_ms)
        return;
    server->retry_ms = 0;
    pthread_mutex_lock(&server->lock);
    accept_locked(server);
    pthread_mutex_unlock(&server->lock);
}

/* On the reaper's thread. */
static void reap(struct reap_item *item)
{
    struct rpc_server *server = list_entry(item, struct rpc_server, reap);
    nng_stream_listener_close(server->listener);
    nng_aio_stop(server->aio);
    nng_aio_free(server->aio);
    nng_stream_listener_free(server->listener);
    pthread_mutex_lock(&server->lock);
    for (int i = 0; i < server->accepted_count; i++) {
        nng_stream_close(server->accepted[i]);
        nng_stream_free(server->accepted[i]);
    }
    server->accepted_count = 0;
    pthread_mutex_unlock(&server->lock);
    rpc_door_push_reaped(server->rpc, &server->door);
}

/* ---- life ---- */

static int listen_on(struct rpc_server *server, struct err *err)
{
    int status = nng_stream_listener_alloc(&server->listener, server->url);
    if (status)
        return err_set(err, status == NNG_ENOMEM ? ERR_NOMEM : ERR_INVALID,
                       "address \"%.200s\": %s", server->url, nng_strerror(status));
    (void)nng_stream_listener_set_bool(server->listener, NNG_OPT_TCP_NODELAY, true); /* peer.c */
    status = nng_stream_listener_listen(server->listener);
    if (status)
        return err_set(err, ERR_IO, "listen on %.200s: %s", server->url, nng_strerror(status));
    if (nng_stream_listener_get_int(server->listener, NNG_OPT_TCP_BOUND_PORT, &server->port))
        server->port = 0; /* ipc */
    if (nng_aio_alloc(&server->aio, accepted, server))
        return err_set(err, ERR_NOMEM, "listen on %.200s: out of memory", server->url);
    return 0;
}

int rpc_server_create(struct rpc *rpc, const char *url, rpc_handler handler, void *data,
                      struct rpc_server **out, struct err *err)
{
    *out = NULL;
    if (rpc->closing)
        return err_set(err, ERR_CLOSED, "rpc is closing");
    struct rpc_server *server = calloc(1, sizeof *server);
    if (!server || !(server->url = strdup(url))) {
        free(server);
        return err_set(err, ERR_NOMEM, "listen on %.200s: out of memory", url);
    }
    server->rpc = rpc;
    int status = listen_on(server, err);
    if (status) {
        if (server->listener)
            nng_stream_listener_free(server->listener);
        free(server->url);
        free(server);
        return status;
    }
    server->door.run = visit;
    server->reap.run = reap;
    server->handler = handler;
    server->data = data;
    list_init(&server->conns);
    pthread_mutex_init(&server->lock, NULL);
    list_push(&rpc->servers, &server->link);
    rpc->live++;
    pthread_mutex_lock(&server->lock);
    accept_locked(server);
    pthread_mutex_unlock(&server->lock);
    *out = server;
    return 0;
}

void rpc_server_destroy(struct rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    assert(!server->closing);
    server->closing = true;
    pthread_mutex_unlock(&server->lock);
    for (struct list *link; (link = list_shift(&server->conns));)
        conn_abandon(list_entry(link, struct rpc_conn, owner_link));
    server->conn_count = 0;
    list_remove(&server->link);
    rpc_reap(server->rpc, &server->reap);
}

size_t rpc_server_connections(const struct rpc_server *server)
{
    return server->conn_count;
}

int rpc_server_port(const struct rpc_server *server)
{
    return server->port;
}
