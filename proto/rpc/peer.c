/* The dialing side: keeps one connection to one url, and the calls that go over it.
 *
 *                 time is up            dialed             their Hello
 *      WAITING -------------> DIALING --------> GREETING ------------> READY
 *         ^                     |                  |                     |
 *         +---------------------+------------------+---------------------+
 *                   failed, refused or lost: back-off with jitter
 *
 *      any of them --- rpc_peer_destroy() ---> CLOSING --- reaped ---> (freed)
 *
 * A call is WAITING while there is no connection (its payload is kept in the call), SENT once it is
 * in a connection's buffer, and FINISHING when its end is decided but its callback has not run yet.
 * A lost connection ends its SENT calls with ERR_UNAVAILABLE: nobody knows whether the other side
 * has acted on them, so whether to try again is for the caller to say. WAITING calls stay, except
 * when the other side is not one that we can ever talk to (ERR_PROTOCOL): that is worth an answer
 * at once.
 *
 * The delay before dialing again doubles from RPC_BACKOFF_MIN_MS to RPC_BACKOFF_MAX_MS, of which a
 * random half is taken off, so that the clients of a server that comes back do not come all
 * together. A connection that held for RPC_BACKOFF_MAX_MS starts the count anew.
 */
#include "proto/rpc/internal.h"

#include "proto/base/clock.h"
#include "proto/quire.pb-c.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum peer_state { PEER_WAITING, PEER_DIALING, PEER_GREETING, PEER_READY, PEER_CLOSING };
#define PEER_DIALERS 2

enum call_state { CALL_WAITING = 1, CALL_SENT, CALL_FINISHING };

static const struct sm_state peer_states[] = {
    [PEER_WAITING] = {.name = "waiting", .allowed = SM_TO(PEER_DIALING) | SM_TO(PEER_CLOSING)},
    [PEER_DIALING] = {.name = "dialing",
                      .allowed = SM_TO(PEER_GREETING) | SM_TO(PEER_WAITING) | SM_TO(PEER_CLOSING)},
    [PEER_GREETING] = {.name = "greeting",
                       .allowed = SM_TO(PEER_READY) | SM_TO(PEER_WAITING) | SM_TO(PEER_CLOSING)},
    [PEER_READY] = {.name = "ready", .allowed = SM_TO(PEER_WAITING) | SM_TO(PEER_CLOSING)},
    [PEER_CLOSING] = {.name = "closing", .final = true},
};

struct rpc_peer {
    struct door_item door; /* first: door items are cast back */
    struct reap_item reap;
    struct list link; /* in rpc->peers */
    struct rpc *rpc;
    nng_stream_dialer *dialers[PEER_DIALERS];
    int dialer_count;
    int turn; /* the dialer that is, or will be, in use */
    nng_aio *aio;

    struct sm sm;
    char *url;
    struct rpc_conn *conn; /* in GREETING and READY */
    char node_id[RPC_ID_SIZE];
    uint64_t ready_ms;      /* since when */
    uint64_t dial_ms;       /* when to dial, in WAITING */
    int attempts;           /* dialed without lasting success */
    char why[ERR_TEXT_MAX]; /* there is no connection */
    struct list waiting, sent;
    struct idmap calls; /* the sent ones */
    size_t call_count;
    size_t waiting_bytes;
    uint64_t next_id;
    void (*changed)(void *data, bool connected);
    void *changed_data;

    pthread_mutex_t lock; /* everything below */
    bool dialed;
    int dial_status;
    nng_stream *stream; /* dialed, not yet taken by the loop */
};

static bool peer_is(const struct rpc_peer *peer, enum peer_state state)
{
    return sm_state(&peer->sm) == (int)state;
}

struct rpc_peer *peer_of(struct list *link)
{
    return list_entry(link, struct rpc_peer, link);
}

/* ---- calls ---- */

/* Takes the call out of every list, map and heap. */
static void detach(struct rpc_call *call)
{
    struct rpc_peer *peer = call->peer;
    list_remove(&call->link);
    heap_remove(&peer->rpc->deadlines, call);
    if (call->state == CALL_SENT)
        idmap_take(&peer->calls, call->id);
    else
        peer->waiting_bytes -= call->queued.size;
    peer->call_count--;
    call->peer = NULL;
    call->state = CALL_FINISHING;
}

static void finish(struct rpc_call *call, int status, const char *text)
{
    struct rpc *rpc = call->peer->rpc;
    detach(call);
    rpc_finish(rpc, call, status, text);
}

void peer_expire(struct rpc_call *call)
{
    struct rpc_peer *peer = call->peer;
    struct err err;
    if (call->state == CALL_SENT)
        err_set(&err, ERR_DEADLINE, "no answer from %s in time", peer->url);
    else
        err_set(&err, ERR_DEADLINE, "no connection to %s: %s", peer->url,
                peer->why[0] ? peer->why : "not established in time");
    finish(call, err.code, err.text);
}

/* Puts the call into the connection's buffer. ERR_CLOSED when the connection is about to be lost.
 */
static int transmit(struct rpc_call *call, struct bytes payload)
{
    struct rpc_peer *peer = call->peer;
    uint64_t now = clock_ms();
    uint64_t left = call->deadline_ms > now ? call->deadline_ms - now : 1;
    call->id = ++peer->next_id;
    int status = idmap_put(&peer->calls, call->id, call);
    if (status)
        return status;
    struct frame frame = {.kind = call->kind,
                          .flags = call->heavy ? FRAME_HEAVY : 0,
                          .deadline_ms = (uint32_t)left,
                          .id = call->id,
                          .trace = call->trace,
                          .payload = payload};
    status = conn_send(peer->conn, &frame, 0);
    if (status)
        idmap_take(&peer->calls, call->id);
    else
        call->state = CALL_SENT;
    return status;
}

static void start(struct rpc_call *call, struct bytes payload)
{
    struct rpc_peer *peer = call->peer;
    int status = ERR_CLOSED;
    if (payload.size > RPC_FRAME_MAX)
        status = ERR_TOO_LARGE;
    else if (peer->call_count > RPC_REQUESTS_MAX)
        status = ERR_FULL;
    else if (heap_push(&peer->rpc->deadlines, call))
        status = ERR_NOMEM;
    else if (peer_is(peer, PEER_READY))
        status = transmit(call, payload);
    if (status == 0) {
        list_push(&peer->sent, &call->link);
    } else if (status != ERR_CLOSED) {
        finish(call, status, err_name(status));
    } else if (peer->waiting_bytes + payload.size > RPC_SEND_QUEUE_MAX) {
        finish(call, ERR_FULL, "too many bytes wait for the connection");
    } else {
        buf_append_bytes(&call->queued, payload);
        peer->waiting_bytes += payload.size;
        list_push(&peer->waiting, &call->link);
    }
}

void rpc_call_start(struct rpc_call *call, struct rpc_peer *peer, uint16_t kind,
                    struct bytes payload, uint32_t timeout_ms, uint64_t trace)
{
    list_init(&call->link);
    buf_init(&call->queued);
    call->peer = peer;
    call->id = 0;
    call->deadline_ms = clock_ms() + (timeout_ms ? timeout_ms : 1);
    call->trace = trace;
    call->heap_index = HEAP_NONE;
    call->state = CALL_WAITING;
    call->status = 0;
    call->kind = kind;
    peer->call_count++;
    start(call, payload);
    if (call->state != CALL_FINISHING)
        rpc_wake_at(peer->rpc, call->deadline_ms);
}

void rpc_call_cancel(struct rpc_call *call)
{
    if (call->state == CALL_FINISHING)
        return;
    if (call->state == CALL_SENT && call->peer->conn) {
        struct frame frame = {.kind = QUIRE__KIND__KIND_CANCEL, .id = call->id};
        conn_send(call->peer->conn, &frame, 0); /* a courtesy: nothing depends on it */
    }
    finish(call, ERR_CANCELED, "canceled by the caller");
}

/* All calls that were sent, and the waiting ones too if said so. */
static void finish_all(struct rpc_peer *peer, bool waiting_too, int status, const char *text)
{
    while (!list_empty(&peer->sent))
        finish(list_entry(peer->sent.next, struct rpc_call, link), status, text);
    while (waiting_too && !list_empty(&peer->waiting))
        finish(list_entry(peer->waiting.next, struct rpc_call, link), status, text);
}

static void transmit_waiting(struct rpc_peer *peer)
{
    while (!list_empty(&peer->waiting)) {
        struct rpc_call *call = list_entry(peer->waiting.next, struct rpc_call, link);
        size_t size = call->queued.size;
        int status = transmit(call, buf_bytes(&call->queued));
        if (status == ERR_CLOSED)
            break; /* they wait for the next connection */
        if (status) {
            finish(call, status, err_name(status));
            continue;
        }
        peer->waiting_bytes -= size;
        buf_deinit(&call->queued);
        list_remove(&call->link);
        list_push(&peer->sent, &call->link);
    }
}

/* ---- the connection's events ---- */

static void on_ready(void *owner, struct rpc_conn *conn)
{
    struct rpc_peer *peer = owner;
    sm_move(&peer->sm, PEER_READY);
    peer->ready_ms = clock_ms();
    peer->why[0] = 0;
    memcpy(peer->node_id, conn->node_id, sizeof peer->node_id);
    transmit_waiting(peer);
    if (peer->changed)
        peer->changed(peer->changed_data, true); /* may destroy the peer */
}

static void on_frame(void *owner, struct rpc_conn *conn, const struct frame *frame,
                     uint64_t came_ms)
{
    (void)conn;
    (void)came_ms;
    struct rpc_peer *peer = owner;
    if (!(frame->flags & FRAME_REPLY))
        return; /* signals of a later version */
    struct rpc_call *call = idmap_get(&peer->calls, frame->id);
    if (!call)
        return; /* cancelled or expired */
    struct err err = {0};
    detach(call);
    if (frame->kind == QUIRE__KIND__KIND_ERROR) {
        rpc_decode_error(frame->payload, &err);
        call->done(call, err.code, &err, 0, bytes_of(NULL, 0));
    } else {
        call->done(call, 0, &err, frame->kind, frame->payload); /* may destroy the peer */
    }
}

static void wait_to_dial(struct rpc_peer *peer, const char *why)
{
    sm_move(&peer->sm, PEER_WAITING);
    snprintf(peer->why, sizeof peer->why, "%s", why);
    int doublings = peer->attempts < 10 ? peer->attempts : 10;
    uint32_t delay = RPC_BACKOFF_MIN_MS << doublings;
    if (delay > RPC_BACKOFF_MAX_MS)
        delay = RPC_BACKOFF_MAX_MS;
    peer->attempts++;
    peer->dial_ms = clock_ms() + delay / 2 + rpc_random(peer->rpc, delay / 2 + 1);
    rpc_tick_at(peer->rpc, peer->dial_ms);
}

static void on_lost(void *owner, struct rpc_conn *conn, const struct err *err)
{
    struct rpc_peer *peer = owner;
    assert(peer->conn == conn);
    bool was_ready = peer_is(peer, PEER_READY);
    peer->conn = NULL;
    if (was_ready && clock_ms() - peer->ready_ms >= RPC_BACKOFF_MAX_MS)
        peer->attempts = 0;
    rpc_log(peer->rpc, "connection lost", peer->url, err->text);
    wait_to_dial(peer, err->text);
    struct err told;
    err_set(&told, ERR_UNAVAILABLE, "connection to %s lost: %s", peer->url, err->text);
    finish_all(peer, false, told.code, told.text);
    if (err->code == ERR_PROTOCOL) {
        err_set(&told, ERR_PROTOCOL, "%s: %s", peer->url, err->text);
        finish_all(peer, true, told.code, told.text);
    }
    if (was_ready && peer->changed)
        peer->changed(peer->changed_data, false); /* may destroy the peer */
}

static const struct conn_events peer_events = {false, on_ready, on_frame, on_lost};

/* ---- dialing ---- */

static void dialed(void *data) /* on a thread of nng */
{
    struct rpc_peer *peer = data;
    int status = nng_aio_result(peer->aio);
    pthread_mutex_lock(&peer->lock);
    peer->dialed = true;
    peer->dial_status = status;
    peer->stream = status ? NULL : nng_aio_get_output(peer->aio, 0);
    pthread_mutex_unlock(&peer->lock);
    rpc_door_push(peer->rpc, &peer->door);
}

static void dial_turn(struct rpc_peer *peer)
{
    nng_aio_set_timeout(peer->aio, RPC_HELLO_MS);
    nng_stream_dialer_dial(peer->dialers[peer->turn], peer->aio);
}

static void dial(struct rpc_peer *peer)
{
    sm_move(&peer->sm, PEER_DIALING);
    peer->turn = 0;
    dial_turn(peer);
}

static void stream_discard(nng_stream *stream)
{
    if (!stream)
        return;
    nng_stream_close(stream);
    nng_stream_free(stream);
}

static void on_dialed(struct rpc_peer *peer, int status, nng_stream *stream)
{
    if (!peer_is(peer, PEER_DIALING)) {
        stream_discard(stream); /* destroyed meanwhile */
        return;
    }
    if (status && peer->turn + 1 < peer->dialer_count) {
        peer->turn++;
        dial_turn(peer);
        return;
    }
    if (!status) {
        peer->conn = conn_create(peer->rpc, stream, peer->url, &peer_events, peer);
        if (peer->conn)
            sm_move(&peer->sm, PEER_GREETING);
        else
            status = NNG_ENOMEM;
    }
    if (!status)
        return;
    const char *why = status == NNG_EADDRINVAL ? "no such host" : nng_strerror(status);
    if (peer->attempts == 0) /* not at every attempt: it may stay away for days */
        rpc_log(peer->rpc, "cannot connect", peer->url, why);
    wait_to_dial(peer, why);
}

static void peer_free(struct rpc_peer *peer)
{
    pthread_mutex_destroy(&peer->lock);
    idmap_deinit(&peer->calls);
    free(peer->url);
    free(peer);
}

static void visit(struct door_item *item, bool reaped)
{
    struct rpc_peer *peer = (struct rpc_peer *)item;
    pthread_mutex_lock(&peer->lock);
    bool done = peer->dialed;
    int status = peer->dial_status;
    nng_stream *stream = peer->stream;
    peer->dialed = false;
    peer->stream = NULL;
    pthread_mutex_unlock(&peer->lock);
    if (done)
        on_dialed(peer, status, stream);
    if (reaped) {
        struct rpc *rpc = peer->rpc;
        sm_deinit(&peer->sm);
        peer_free(peer);
        rpc_left(rpc);
    }
}

void peer_tick(struct rpc_peer *peer, uint64_t now)
{
    if (!peer_is(peer, PEER_WAITING))
        return;
    if (peer->dial_ms <= now)
        dial(peer);
}

static void dialers_free(struct rpc_peer *peer)
{
    for (int i = 0; i < peer->dialer_count; i++)
        nng_stream_dialer_free(peer->dialers[i]);
    peer->dialer_count = 0;
}

/* True for "tcp://name:port" where the host is a name, not a numeric address. */
static bool names_host(const char *url)
{
    static const char scheme[] = "tcp://";
    char host[256];
    struct in_addr address;
    if (strncmp(url, scheme, strlen(scheme)) != 0 || url[strlen(scheme)] == '[')
        return false;
    snprintf(host, sizeof host, "%s", url + strlen(scheme));
    host[strcspn(host, ":/")] = 0;
    return inet_pton(AF_INET, host, &address) != 1;
}

/* 0 or an error of nng. */
/* nng 1.5 documents that small writes are not held back, and turns the delay on for each stream
 * that was not told (README.md, "The delay of small writes"). ipc does not know the option. */
static int dialer_alloc(nng_stream_dialer **dialer, const char *url)
{
    int status = nng_stream_dialer_alloc(dialer, url);
    if (status == 0)
        (void)nng_stream_dialer_set_bool(*dialer, NNG_OPT_TCP_NODELAY, true);
    return status;
}

static int dialers_alloc(struct rpc_peer *peer)
{
    int status = dialer_alloc(&peer->dialers[0], peer->url);
    if (status)
        return status;
    peer->dialer_count = 1;
    if (names_host(peer->url)) {
        struct buf buf = {0};
        buf_printf(&buf, "tcp4%s", peer->url + strlen("tcp"));
        /* Where nng does not know tcp4, the first dialer alone has to do. */
        if (!dialer_alloc(&peer->dialers[1], buf_text(&buf)))
            peer->dialer_count = 2;
        buf_deinit(&buf);
    }
    return 0;
}

/* On the reaper's thread. The callback of a dial that was under way has run when this returns; a
 * stream that it left behind is the next visitor's. */
static void reap(struct reap_item *item)
{
    struct rpc_peer *peer = list_entry(item, struct rpc_peer, reap);
    for (int i = 0; i < peer->dialer_count; i++)
        nng_stream_dialer_close(peer->dialers[i]);
    nng_aio_stop(peer->aio);
    nng_aio_free(peer->aio);
    dialers_free(peer);
    rpc_door_push_reaped(peer->rpc, &peer->door);
}

/* ---- life ---- */

int rpc_peer_create(struct rpc *rpc, const char *url, struct rpc_peer **out, struct err *err)
{
    *out = NULL;
    if (rpc->closing)
        return err_set(err, ERR_CLOSED, "rpc is closing");
    struct rpc_peer *peer = calloc(1, sizeof *peer);
    if (!peer || !(peer->url = strdup(url)))
        goto err_after_alloc;
    int status = dialers_alloc(peer);
    if (status && status != NNG_ENOMEM) {
        free(peer->url);
        free(peer);
        return err_set(err, ERR_INVALID, "address \"%.200s\": %s", url, nng_strerror(status));
    }
    if (status)
        goto err_after_alloc;
    if (nng_aio_alloc(&peer->aio, dialed, peer))
        goto err_after_dialers;
    peer->door.run = visit;
    peer->reap.run = reap;
    peer->rpc = rpc;
    sm_init(&peer->sm, "peer", peer_states, PEER_CLOSING + 1, PEER_WAITING, NULL);
    list_init(&peer->waiting);
    list_init(&peer->sent);
    pthread_mutex_init(&peer->lock, NULL);
    list_push(&rpc->peers, &peer->link);
    rpc->live++;
    rpc_tick_at(rpc, clock_ms() + RPC_TICK_MS);
    dial(peer);
    *out = peer;
    return 0;

err_after_dialers:
    dialers_free(peer);
err_after_alloc:
    if (peer)
        free(peer->url);
    free(peer);
    return err_set(err, ERR_NOMEM, "address \"%.200s\": out of memory", url);
}

void rpc_peer_destroy(struct rpc_peer *peer)
{
    sm_move(&peer->sm, PEER_CLOSING);
    peer->changed = NULL;
    finish_all(peer, true, ERR_CANCELED, "connection closed by this side");
    if (peer->conn)
        conn_abandon(peer->conn);
    peer->conn = NULL;
    list_remove(&peer->link);
    rpc_reap(peer->rpc, &peer->reap);
}

bool rpc_peer_connected(const struct rpc_peer *peer)
{
    return peer_is(peer, PEER_READY);
}

const char *rpc_peer_url(const struct rpc_peer *peer)
{
    return peer->url;
}

const char *rpc_peer_node_id(const struct rpc_peer *peer)
{
    return peer->node_id;
}

void rpc_peer_on_change(struct rpc_peer *peer, void (*changed)(void *data, bool connected),
                        void *data)
{
    peer->changed = changed;
    peer->changed_data = data;
}
