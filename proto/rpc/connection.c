/* A connection: one nng stream, ours from the moment it was dialed or accepted.
 *
 *                  their Hello fits
 *        HELLO -----------------------> READY
 *        |   \                            |
 *        |    \ it does not               | error, silence,
 *        |     \                          | owner has gone
 *        |      +---> REFUSED             |
 *        |               | told them so   |
 *        v               v                v
 *        +----------> CLOSING <-----------+
 *                        | reaped
 *                        v
 *                      CLOSED
 *
 * Sending. A frame is appended to `out`; when no send is in flight, `out` becomes `flight` and is
 * given to nng, otherwise it leaves with everything else that has gathered when the one in flight
 * completes. At one request at a time that is one write a frame; under load, one write for hundreds
 * of frames. Any thread may send: the operation is started under the lock. nng runs callbacks on
 * its own threads and never from inside the call that starts an operation.
 *
 * Receiving. nng's thread fills a block, looks for whole frames and checks their sums, hands the
 * block to the loop and takes what is left of it, the start of a frame, over into the next block. A
 * block grows with the bytes that really came, never on the word of a length field. When more than
 * RPC_INBOUND_MAX bytes wait for the loop, reading pauses, and TCP slows the sender down.
 *
 * Memory. Every connection counts what it holds. When all of them together hold more than
 * RPC_MEMORY_MAX, a server's connection that holds more than its share is not read until others,
 * or itself, have let go of some; more replies for it are refused. One that has no request to be
 * answered and still sits on more than its share (the start of a large frame that does not come to
 * its end) is dropped after RPC_STARVED_MS.
 *
 * The end. After the first error, or when it is not wanted any more: `closing` is set under the
 * lock, so that nothing is started from then on; the stream is closed, which aborts what is in
 * flight; the reaper stops both aios (waiting for their callbacks), frees them and the stream, and
 * announces that. That order matters: an operation that is started on a stopped aio never
 * completes, and an aio that is freed under its callback is a crash. Requests of the connection
 * that are still being answered hold references to its memory; their replies find `closing` and are
 * dropped.
 */
#include "proto/rpc/internal.h"

#include "proto/base/clock.h"
#include "proto/quire.pb-c.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_CAPACITY                                                                              \
    (1u << 20) /* a send buffer that has grown beyond is freed when it is empty                    \
                */

static const struct sm_state conn_states[] = {
    [CONN_HELLO] = {.name = "hello",
                    .allowed = SM_TO(CONN_READY) | SM_TO(CONN_REFUSED) | SM_TO(CONN_CLOSING)},
    [CONN_READY] = {.name = "ready", .allowed = SM_TO(CONN_CLOSING)},
    [CONN_REFUSED] = {.name = "refused", .allowed = SM_TO(CONN_CLOSING)},
    [CONN_CLOSING] = {.name = "closing", .allowed = SM_TO(CONN_CLOSED)},
    [CONN_CLOSED] = {.name = "closed", .final = true},
};

bool conn_is(const struct rpc_conn *conn, enum conn_state state)
{
    return sm_state(&conn->sm) == (int)state;
}

static void move(struct rpc_conn *conn, enum conn_state state)
{
    sm_move(&conn->sm, (int)state);
    conn->since_ms = clock_ms();
}

/* Notes the first error for the loop; with the lock held. */
static void note_error(struct rpc_conn *conn, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void note_error(struct rpc_conn *conn, int code, const char *format, ...)
{
    if (conn->error.code)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(conn->error.text, sizeof conn->error.text, format, args);
    va_end(args);
    conn->error.code = code;
}

void conn_fail_locked(struct rpc_conn *conn, int code, const char *text)
{
    if (conn->closing)
        return;
    note_error(conn, code, "%s", text);
    rpc_door_push(conn->rpc, &conn->door);
}

/* ---- the budget ---- */

void budget_unref(struct rpc_budget *budget)
{
    if (atomic_fetch_sub_explicit(&budget->refs, 1, memory_order_acq_rel) == 1)
        free(budget);
}

void conn_charge(struct rpc_conn *conn, size_t bytes)
{
    atomic_fetch_add_explicit(&conn->own_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&conn->budget->bytes, bytes, memory_order_relaxed);
}

void conn_discharge(struct rpc_conn *conn, size_t bytes)
{
    atomic_fetch_sub_explicit(&conn->own_bytes, bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&conn->budget->bytes, bytes, memory_order_relaxed);
}

/* Whether it holds more than its share while there is too little for all. */
static bool greedy(struct rpc_conn *conn)
{
    struct rpc_budget *budget = conn->budget;
    if (!conn->limited ||
        atomic_load_explicit(&budget->bytes, memory_order_relaxed) <= RPC_MEMORY_MAX)
        return false;
    size_t conns = atomic_load_explicit(&budget->conns, memory_order_relaxed);
    size_t share = RPC_MEMORY_MAX / (conns ? conns : 1);
    return atomic_load_explicit(&conn->own_bytes, memory_order_relaxed) >
           (share > RPC_SHARE_MIN ? share : RPC_SHARE_MIN);
}

/* ---- sending ---- */

static void send_rest(struct rpc_conn *conn)
{
    nng_iov iov = {.iov_buf = conn->flight.data + conn->flown,
                   .iov_len = conn->flight.size - conn->flown};
    nng_aio_set_iov(conn->send_aio, 1, &iov);
    conn->sent_ms = clock_ms();
    nng_stream_send(conn->stream, conn->send_aio);
}

static void send_gathered(struct rpc_conn *conn)
{
    struct buf empty = conn->flight;
    conn->flight = conn->out;
    conn->out = empty;
    conn->flown = 0;
    conn->sending = true;
    send_rest(conn);
}

static void sent(void *data) /* on a thread of nng */
{
    struct rpc_conn *conn = data;
    int status = nng_aio_result(conn->send_aio);
    bool tell = false;
    pthread_mutex_lock(&conn->lock);
    if (conn->closing) {
        conn->sending = false;
    } else if (status) {
        conn->sending = false;
        note_error(conn, ERR_UNAVAILABLE, "sending: %s", nng_strerror(status));
        tell = true;
    } else {
        conn->flown += nng_aio_count(conn->send_aio);
        assert(conn->flown <= conn->flight.size);
        if (conn->flown < conn->flight.size) {
            send_rest(conn);
        } else {
            conn_discharge(conn, conn->flight.size);
            buf_clear(&conn->flight);
            if (conn->flight.capacity > KEEP_CAPACITY)
                buf_deinit(&conn->flight);
            conn->flown = 0;
            conn->sending = false;
            if (conn->out.size)
                send_gathered(conn);
            else
                tell = conn->tell_flushed;
        }
    }
    pthread_mutex_unlock(&conn->lock);
    if (tell)
        rpc_door_push(conn->rpc, &conn->door);
}

int conn_send_locked(struct rpc_conn *conn, const struct frame *frame, size_t slack)
{
    if (conn->closing || conn->error.code)
        return ERR_CLOSED;
    size_t queued = conn->out.size + conn->flight.size - conn->flown;
    size_t limit = RPC_SEND_QUEUE_MAX + slack;
    size_t size = FRAME_HEADER + frame->payload.size;
    if (queued + size > limit)
        return ERR_FULL;
    if (queued && slack == 0 && size > RPC_ERROR_SLACK && greedy(conn))
        return ERR_FULL; /* what is queued is what it does not read */
    conn_charge(conn, size);
    frame_append(&conn->out, frame);
    if (!conn->sending)
        send_gathered(conn);
    return 0;
}

int conn_send(struct rpc_conn *conn, const struct frame *frame, size_t slack)
{
    pthread_mutex_lock(&conn->lock);
    int status = conn_send_locked(conn, frame, slack);
    pthread_mutex_unlock(&conn->lock);
    return status;
}

/* ---- receiving, on threads of nng ---- */

static struct block *block_create(struct rpc_conn *conn, size_t capacity)
{
    struct block *block = malloc(sizeof *block + capacity);
    if (block) {
        block->size = block->parsed = 0;
        block->capacity = capacity;
        conn_charge(conn, capacity);
    }
    return block;
}

static void block_free(struct rpc_conn *conn, struct block *block)
{
    if (!block)
        return;
    conn_discharge(conn, block->capacity);
    free(block);
}

static void receive_locked(struct rpc_conn *conn)
{
    struct block *block = conn->block;
    nng_iov iov = {.iov_buf = block->data + block->size, .iov_len = block->capacity - block->size};
    nng_aio_set_iov(conn->recv_aio, 1, &iov);
    nng_stream_recv(conn->stream, conn->recv_aio);
}

/* Finds the whole frames of the block. *need is the size of the frame that it ends in the middle
 * of, 0 when that is not known yet. */
static int parse(struct rpc_conn *conn, struct block *block, size_t *need, struct err *err)
{
    for (;;) {
        struct frame frame;
        size_t size, limit = conn->greeted ? RPC_FRAME_MAX : RPC_HELLO_MAX;
        struct bytes rest = bytes_of(block->data + block->parsed, block->size - block->parsed);
        switch (frame_decode(rest, limit, &frame, &size, err)) {
        case FRAME_COMPLETE:
            block->parsed += size;
            conn->greeted = true;
            break;
        case FRAME_PARTIAL:
            *need = size;
            return 0;
        case FRAME_BAD:
            return err->code;
        }
    }
}

/* Sees to it that conn->block has room. When the present block has whole frames in it, returns it
 * for the loop, and the start of the next frame moves on to a new one. */
static int next_block(struct rpc_conn *conn, size_t need, struct block **done)
{
    struct block *block = conn->block;
    size_t tail = block->size - block->parsed;
    *done = NULL;
    if (block->size == block->capacity && conn->block_size < RPC_BLOCK_MAX)
        conn->block_size *= 2;
    else if (block->size < block->capacity / 8 && conn->block_size > RPC_BLOCK_MIN)
        conn->block_size /= 2;
    if (!block->parsed && block->size < block->capacity)
        return 0;
    size_t want = tail * 4 < need ? tail * 4 : need;
    if (want < conn->block_size)
        want = conn->block_size;
    assert(want > tail);
    pthread_mutex_lock(&conn->lock);
    struct block *fresh = conn->spare;
    conn->spare = NULL;
    pthread_mutex_unlock(&conn->lock);
    if (fresh && fresh->capacity < want) {
        block_free(conn, fresh);
        fresh = NULL;
    }
    if (!fresh)
        fresh = block_create(conn, want);
    if (!fresh)
        return ERR_NOMEM;
    memcpy(fresh->data, block->data + block->parsed, tail);
    fresh->size = tail;
    fresh->parsed = 0;
    conn->block = fresh;
    if (block->parsed)
        *done = block;
    else
        block_free(conn, block);
    return 0;
}

static void received(void *data)
{
    struct rpc_conn *conn = data;
    struct err err = {0};
    struct block *done = NULL;
    bool tell = false;
    size_t need = 0;
    int result = nng_aio_result(conn->recv_aio);
    size_t count = result ? 0 : nng_aio_count(conn->recv_aio);
    if (result || !count) {
        err_set(&err, ERR_UNAVAILABLE, "receiving: %s",
                result ? nng_strerror(result) : "end of stream");
    } else {
        uint64_t now = clock_ms();
        atomic_store_explicit(&conn->heard_ms, now, memory_order_relaxed);
        conn->block->size += count;
        conn->block->came_ms = now;
        if (!parse(conn, conn->block, &need, &err)) {
            if (next_block(conn, need, &done))
                err_set(&err, ERR_NOMEM, "out of memory");
        } else if (conn->block->parsed) {
            done = conn->block; /* what came before the bad frame is good, and is delivered */
            conn->block = NULL;
        }
    }
    pthread_mutex_lock(&conn->lock);
    if (done) {
        list_push(&conn->inbound, &done->link);
        conn->inbound_bytes += done->size;
        tell = true;
    }
    if (conn->closing) {
        tell = false;
    } else if (err.code) {
        note_error(conn, err.code, "%s", err.text);
        tell = true;
    } else if (conn->inbound_bytes >= RPC_INBOUND_MAX || greedy(conn)) {
        conn->paused = true;
        conn->paused_ms = clock_ms();
    } else {
        receive_locked(conn);
    }
    pthread_mutex_unlock(&conn->lock);
    if (tell)
        rpc_door_push(conn->rpc, &conn->door);
}

/* ---- on the loop ---- */

/* Tells the other side why, and closes when that has left. */
static void refuse(struct rpc_conn *conn, const struct err *why)
{
    struct buf payload;
    buf_init(&payload);
    rpc_encode_error(&payload, why);
    struct frame frame = {.kind = QUIRE__KIND__KIND_ERROR, .flags = FRAME_REPLY};
    frame.payload = buf_bytes(&payload);
    conn->refusal = *why;
    move(conn, CONN_REFUSED);
    pthread_mutex_lock(&conn->lock);
    conn->tell_flushed = true;
    conn_send_locked(conn, &frame, RPC_ERROR_SLACK);
    pthread_mutex_unlock(&conn->lock);
    buf_deinit(&payload);
}

static void greet(struct rpc_conn *conn, const struct frame *frame)
{
    struct err err = {0};
    if (frame->kind == QUIRE__KIND__KIND_ERROR) {
        rpc_decode_error(frame->payload, &err);
        err_prefix(&err, "refused by the other side");
        conn_close(conn, ERR_PROTOCOL, err.text);
    } else if (frame->kind != QUIRE__KIND__KIND_HELLO) {
        conn_close(conn, ERR_PROTOCOL, "the first frame is not a Hello");
    } else if (rpc_check_hello(conn->rpc, frame->payload, &conn->role, conn->node_id, &err)) {
        refuse(conn, &err);
    } else {
        move(conn, CONN_READY);
        conn->events->ready(conn->owner, conn);
    }
}

static void dispatch(struct rpc_conn *conn, const struct frame *frame, uint64_t came_ms)
{
    struct err err = {0};
    if (conn_is(conn, CONN_HELLO)) {
        greet(conn, frame);
    } else if (frame->kind == QUIRE__KIND__KIND_HELLO) {
        conn_close(conn, ERR_PROTOCOL, "a second Hello");
    } else if (frame->kind == QUIRE__KIND__KIND_ERROR && frame->id == 0) {
        rpc_decode_error(frame->payload, &err);
        err_prefix(&err, "refused by the other side");
        conn_close(conn, ERR_PROTOCOL, err.text);
    } else if (frame->kind != QUIRE__KIND__KIND_PING) {
        conn->events->frame(conn->owner, conn, frame, came_ms);
    }
}

static void deliver(struct rpc_conn *conn, const struct block *block)
{
    for (size_t at = 0; at < block->parsed;) {
        if (!conn_is(conn, CONN_HELLO) && !conn_is(conn, CONN_READY))
            return;
        struct frame frame;
        at += frame_read(block->data + at, &frame);
        dispatch(conn, &frame, block->came_ms);
    }
}

/* One empty block is kept for the next receive. */
static void block_release(struct rpc_conn *conn, struct block *block)
{
    pthread_mutex_lock(&conn->lock);
    conn->inbound_bytes -= block->size;
    if (!conn->spare && !conn->closing && block->capacity <= RPC_BLOCK_MAX) {
        conn->spare = block;
        block = NULL;
    }
    pthread_mutex_unlock(&conn->lock);
    block_free(conn, block);
}

static void visit(struct door_item *item, bool reaped)
{
    struct rpc_conn *conn = (struct rpc_conn *)item;
    struct list blocks;
    list_init(&blocks);
    pthread_mutex_lock(&conn->lock);
    list_splice(&blocks, &conn->inbound);
    struct err err = conn->error;
    bool flushed = !conn->sending && !conn->out.size;
    pthread_mutex_unlock(&conn->lock);
    conn_ref(conn);
    for (struct list *link; (link = list_shift(&blocks));) {
        struct block *block = list_entry(link, struct block, link);
        deliver(conn, block);
        block_release(conn, block);
    }
    if (reaped) {
        struct rpc *rpc = conn->rpc;
        move(conn, CONN_CLOSED);
        conn_unref(conn); /* the stream's; the next one is this function's */
        rpc_left(rpc);
    } else if (conn_is(conn, CONN_REFUSED) && (flushed || err.code)) {
        /* Often the other side has refused us as well, and closed: the reason is still the same. */
        conn_close(conn, conn->refusal.code, conn->refusal.text);
    } else if (err.code) {
        conn_close(conn, err.code, err.text);
    } else {
        pthread_mutex_lock(&conn->lock);
        if (conn->paused && !conn->closing && !conn->error.code && !greedy(conn)) {
            conn->paused = false;
            /* What it may have said meanwhile lies unread in the socket. */
            atomic_store_explicit(&conn->heard_ms, clock_ms(), memory_order_relaxed);
            receive_locked(conn);
        }
        pthread_mutex_unlock(&conn->lock);
    }
    conn_unref(conn);
}

void conn_tick(struct rpc_conn *conn, uint64_t now)
{
    uint64_t heard = atomic_load_explicit(&conn->heard_ms, memory_order_relaxed);
    uint64_t age = now > conn->since_ms ? now - conn->since_ms : 0;
    pthread_mutex_lock(&conn->lock);
    bool idle = !conn->sending && !conn->out.size;
    uint64_t quiet = now > conn->sent_ms ? now - conn->sent_ms : 0;
    if (conn->error.code) {
        /* The loop will be told, or has been. */
    } else if (conn_is(conn, CONN_HELLO) && age > RPC_HELLO_MS) {
        note_error(conn, ERR_UNAVAILABLE, "no Hello within %d ms", RPC_HELLO_MS);
    } else if (conn_is(conn, CONN_REFUSED) && age > RPC_REFUSED_MS) {
        note_error(conn, conn->refusal.code, "%s", conn->refusal.text);
    } else if (conn_is(conn, CONN_READY) && !conn->paused && now > heard + RPC_SILENCE_MS) {
        note_error(conn, ERR_UNAVAILABLE, "silent for %d ms", RPC_SILENCE_MS);
    } else if (!idle && quiet > RPC_STALL_MS) {
        note_error(conn, ERR_UNAVAILABLE, "takes nothing for %d ms", RPC_STALL_MS);
    } else if (conn_is(conn, CONN_READY) && idle && quiet >= RPC_HEARTBEAT_MS) {
        conn_send_locked(conn, &(struct frame){.kind = QUIRE__KIND__KIND_PING}, 0);
    }
    bool waits = conn->paused && greedy(conn);
    if (waits && !conn->requests.count && idle && now > conn->paused_ms + RPC_STARVED_MS)
        note_error(conn, ERR_FULL, "holds %zu bytes that others need",
                   atomic_load_explicit(&conn->own_bytes, memory_order_relaxed));
    bool tell = conn->error.code != 0 || (conn->paused && !waits);
    pthread_mutex_unlock(&conn->lock);
    if (tell)
        rpc_door_push(conn->rpc, &conn->door);
}

void conn_forgive(struct rpc_conn *conn, uint64_t now)
{
    atomic_store_explicit(&conn->heard_ms, now, memory_order_relaxed);
    conn->since_ms = now;
    pthread_mutex_lock(&conn->lock);
    /* An idle one has owed a heartbeat all this time: that one goes out now. */
    if (conn->sending)
        conn->sent_ms = now;
    pthread_mutex_unlock(&conn->lock);
}

/* ---- life ---- */

/* On the reaper's thread. */
static void reap(struct reap_item *item)
{
    struct rpc_conn *conn = list_entry(item, struct rpc_conn, reap);
    nng_aio_stop(conn->send_aio);
    nng_aio_stop(conn->recv_aio);
    nng_aio_free(conn->send_aio);
    nng_aio_free(conn->recv_aio);
    nng_stream_free(conn->stream);
    rpc_door_push_reaped(conn->rpc, &conn->door);
}

void conn_close(struct rpc_conn *conn, int code, const char *text)
{
    if (conn_is(conn, CONN_CLOSING) || conn_is(conn, CONN_CLOSED))
        return;
    move(conn, CONN_CLOSING);
    pthread_mutex_lock(&conn->lock);
    conn->closing = true;
    server_abandon_requests(conn);
    pthread_mutex_unlock(&conn->lock);
    nng_stream_close(conn->stream);
    list_remove(&conn->link);
    const struct conn_events *events = conn->events;
    conn->events = NULL;
    /* The reaper may let go of the connection before `lost` returns. */
    conn_ref(conn);
    rpc_reap(conn->rpc, &conn->reap);
    if (events) {
        struct err err;
        err_set(&err, code, "%s", text);
        events->lost(conn->owner, conn, &err);
    }
    conn_unref(conn);
}

void conn_abandon(struct rpc_conn *conn)
{
    conn->events = NULL;
    conn_close(conn, ERR_CANCELED, "");
}

struct rpc_conn *conn_ref(struct rpc_conn *conn)
{
    atomic_fetch_add_explicit(&conn->refs, 1, memory_order_relaxed);
    return conn;
}

void conn_unref(struct rpc_conn *conn)
{
    if (atomic_fetch_sub_explicit(&conn->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (struct list *link; (link = list_shift(&conn->inbound));)
        free(list_entry(link, struct block, link));
    free(conn->block);
    free(conn->spare);
    buf_deinit(&conn->out);
    buf_deinit(&conn->flight);
    assert(conn->requests.count == 0);
    idmap_deinit(&conn->requests);
    pthread_mutex_destroy(&conn->lock);
    atomic_fetch_sub(&conn->budget->bytes, atomic_load(&conn->own_bytes));
    atomic_fetch_sub(&conn->budget->conns, 1);
    budget_unref(conn->budget);
    free(conn);
}

static void say_hello(struct rpc_conn *conn)
{
    struct buf payload;
    buf_init(&payload);
    rpc_encode_hello(&payload, conn->rpc);
    struct frame frame = {.kind = QUIRE__KIND__KIND_HELLO, .payload = buf_bytes(&payload)};
    pthread_mutex_lock(&conn->lock);
    conn_send_locked(conn, &frame, 0);
    receive_locked(conn);
    pthread_mutex_unlock(&conn->lock);
    buf_deinit(&payload);
}

struct rpc_conn *conn_create(struct rpc *rpc, nng_stream *stream, const char *url,
                             const struct conn_events *events, void *owner)
{
    struct rpc_conn *conn = calloc(1, sizeof *conn);
    struct block *block = NULL;
    if (!conn)
        goto err_after_alloc;
    conn->budget = rpc->budget;
    conn->limited = events->limited;
    block = block_create(conn, RPC_BLOCK_MIN);
    if (!block)
        goto err_after_alloc;
    if (nng_aio_alloc(&conn->send_aio, sent, conn))
        goto err_after_alloc;
    if (nng_aio_alloc(&conn->recv_aio, received, conn))
        goto err_after_send_aio;
    /* The stream's own limits are ours: heartbeats and RPC_STALL_MS. */
    nng_aio_set_timeout(conn->send_aio, NNG_DURATION_INFINITE);
    nng_aio_set_timeout(conn->recv_aio, NNG_DURATION_INFINITE);
    uint64_t now = clock_ms();
    conn->door.run = visit;
    conn->reap.run = reap;
    conn->rpc = rpc;
    atomic_init(&conn->refs, 1);
    conn->stream = stream;
    atomic_init(&conn->heard_ms, now);
    sm_init(&conn->sm, "connection", conn_states, CONN_CLOSED + 1, CONN_HELLO, NULL);
    conn->events = events;
    conn->owner = owner;
    list_init(&conn->owner_link);
    snprintf(conn->url, sizeof conn->url, "%s", url);
    conn->since_ms = conn->sent_ms = now;
    pthread_mutex_init(&conn->lock, NULL);
    conn->block = block;
    conn->block_size = RPC_BLOCK_MIN;
    list_init(&conn->inbound);
    atomic_fetch_add(&conn->budget->refs, 1);
    atomic_fetch_add(&conn->budget->conns, 1);
    list_push(&rpc->conns, &conn->link);
    rpc->live++;
    rpc_tick_at(rpc, now + RPC_TICK_MS);
    say_hello(conn);
    return conn;

err_after_send_aio:
    nng_aio_free(conn->send_aio);
err_after_alloc:
    if (conn)
        block_free(conn, block);
    free(conn);
    /* Nothing was ever started on the stream, so nothing has to be waited for. */
    nng_stream_close(stream);
    nng_stream_free(stream);
    return NULL;
}
