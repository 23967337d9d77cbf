/* What the files of rpc share. Nobody else includes this.
 *
 *   rpc.c          the context: door, reaper, one timer, deadlines, the ends of calls
 *   wire.c         Hello and Error messages
 *   connection.c   one stream: gathered writes, parsing, Hello, heartbeats, orderly close
 *   peer.c         the dialing side: reconnection, calls
 *   server.c       the listening side: accepting, requests, replies
 *   frame.c, idmap.c, heap.c   no I/O
 *
 * Threads. The loop's thread owns everything. nng's threads run the aio callbacks, which touch only
 * what their object's `lock` guards, and wake the loop through the door. The reaper thread does
 * what may wait for a callback to end: it stops and frees aios, streams, dialers and listeners.
 */
#ifndef QUIRE_RPC_INTERNAL_H
#define QUIRE_RPC_INTERNAL_H

#include "proto/base/sm.h"
#include "proto/rpc/frame.h"
#include "proto/rpc/idmap.h"
#include "proto/rpc/rpc.h"

#include <nng/nng.h>
#include <pthread.h>
#include <stdatomic.h>

#define RPC_TICK_MS 100
#define RPC_HELLO_MAX 4096         /* bytes of the first frame, before we know who it is */
#define RPC_ERROR_SLACK (1u << 20) /* room for error replies above RPC_SEND_QUEUE_MAX */
#define RPC_INBOUND_MAX (4u << 20) /* parsed bytes that wait for the loop; beyond: stop reading */
#define RPC_BLOCK_MIN (16u << 10)  /* receive buffers: small for the many idle connections, */
#define RPC_BLOCK_MAX (256u << 10) /* larger while they come back full */
#define RPC_STALL_MS 10000         /* a side that takes no byte for so long is dropped */
#define RPC_ACCEPTED_MAX 64        /* streams that wait for the loop; beyond: stop accepting */
#define RPC_ACCEPT_RETRY_MS 100    /* after accept failed, for want of descriptors say */
#define RPC_REFUSED_MS 500         /* how long the Error frame of a refusal may take to leave */
#define RPC_TIMEOUT_DEFAULT_MS 600000 /* for a request that comes without a deadline */
#define RPC_STARVED_MS 5000 /* how long a connection may hold memory that others need, unasked */
#define RPC_ID_SIZE 64

/* What the connections of a context hold: received bytes, unanswered requests, unsent frames. It
 * outlives the context, as connections may. */
struct rpc_budget {
    atomic_int refs;
    atomic_size_t bytes;
    atomic_size_t conns;
};

/* An object that other threads announce to the loop. Announcing it twice before the loop has looked
 * is one visit. The reaper's announcement is the last one: the visit that is told `reaped` may free
 * the object. Whether it has come is decided under the door's lock, when the visit begins; were it
 * read from the object later, an earlier visit could free what the reaper is about to announce. */
struct door_item {
    struct list link;
    bool queued, reaped;
    void (*run)(struct door_item *item, bool reaped); /* on the loop's thread */
};

/* Work for the reaper thread; `run` ends by announcing the object at the door. */
struct reap_item {
    struct list link;
    void (*run)(struct reap_item *item);
};

struct heap { /* of calls, the earliest deadline on top */
    struct rpc_call **items;
    size_t count, capacity;
};

#define HEAP_NONE SIZE_MAX

int heap_push(struct heap *heap, struct rpc_call *call);    /* 0 or ERR_NOMEM */
void heap_remove(struct heap *heap, struct rpc_call *call); /* nothing when it is not in */
struct rpc_call *heap_first(const struct heap *heap);       /* NULL when empty */
void heap_deinit(struct heap *heap);

struct rpc {
    uv_loop_t *loop;
    enum rpc_role role;
    char node_id[RPC_ID_SIZE];
    char cluster_id[RPC_ID_SIZE];

    uv_async_t door;
    pthread_mutex_t door_lock; /* door_items and the items' fields */
    struct list door_items;

    pthread_t reaper;
    pthread_mutex_t reap_lock; /* the next two */
    struct list reap_items;
    bool reap_stop;
    pthread_cond_t reap_wake;

    uv_timer_t timer;
    uint64_t timer_at; /* when it is set to fire; UINT64_MAX = it is not */
    uint64_t tick_at;  /* the next look at connections and peers */
    uint64_t ticked;   /* the last one */
    struct heap deadlines;
    struct list finished; /* calls whose `done` is due */
    struct list conns, peers, servers;
    struct rpc_budget *budget;
    size_t live; /* connections, peers and servers that the reaper has not returned */

    uint64_t random;
    uint64_t log_at; /* the limiter of lines that strangers can cause */
    uint64_t log_dropped;

    bool closing;
    int handles; /* uv handles not closed yet */
    void (*closed)(void *data);
    void *closed_data;
};

/* ---- rpc.c ---- */
void rpc_door_push(struct rpc *rpc, struct door_item *item);        /* any thread */
void rpc_door_push_reaped(struct rpc *rpc, struct door_item *item); /* the reaper, at last */
void rpc_reap(struct rpc *rpc, struct reap_item *item);
void rpc_wake_at(struct rpc *rpc, uint64_t at_ms); /* the timer */
void rpc_tick_at(struct rpc *rpc, uint64_t at_ms); /* the timer, and a tick with it */
uint32_t rpc_random(struct rpc *rpc, uint32_t below);
/* An object was returned by the reaper and is gone; the last one lets a closing context end. */
void rpc_left(struct rpc *rpc);
/* The call ends with `status` on a later turn of the loop; it is in no list and no map any more. */
void rpc_finish(struct rpc *rpc, struct rpc_call *call, int status, const char *text);
/* Lines about what others do to us: at most a few a second, at LOG_DEBUG inside a client. */
void rpc_log(struct rpc *rpc, const char *event, const char *url, const char *why);

/* ---- connection.c ---- */
enum conn_state { CONN_HELLO, CONN_READY, CONN_REFUSED, CONN_CLOSING, CONN_CLOSED };

struct rpc_conn;

/* Where a connection reports to, on the loop's thread. Any of them may close the connection. */
struct conn_events {
    bool limited; /* the other side is a stranger: held to its share of the budget */
    void (*ready)(void *owner, struct rpc_conn *conn);
    void (*frame)(void *owner, struct rpc_conn *conn, const struct frame *frame, uint64_t came_ms);
    /* Once, and nothing after it. `err` is why. */
    void (*lost)(void *owner, struct rpc_conn *conn, const struct err *err);
};

struct block { /* received bytes on the way to the loop */
    struct list link;
    size_t size;   /* bytes received into it */
    size_t parsed; /* bytes of whole frames whose checksum was right */
    size_t capacity;
    uint64_t came_ms;
    uint8_t data[];
};

struct rpc_conn {
    struct door_item door; /* first: door items are cast back */
    struct reap_item reap;
    struct list link; /* in rpc->conns */
    struct rpc *rpc;
    atomic_int refs;
    nng_stream *stream;
    nng_aio *send_aio, *recv_aio;
    _Atomic uint64_t heard_ms;
    struct rpc_budget *budget;
    atomic_size_t own_bytes; /* this one's part of it */
    bool limited;

    /* the loop's */
    struct sm sm;
    const struct conn_events *events; /* NULL once the owner has let go */
    void *owner;
    struct list owner_link;
    char url[128];
    uint64_t since_ms;  /* of the present state */
    struct err refusal; /* why we refuse it, in CONN_REFUSED */
    enum rpc_role role; /* of the other side, as is the next */
    char node_id[RPC_ID_SIZE];

    pthread_mutex_t lock; /* everything below */
    bool closing;         /* no new operation on the stream */
    bool sending;
    struct buf out;      /* gathered while a send is in flight */
    struct buf flight;   /* being sent */
    size_t flown;        /* bytes of `flight` that have left */
    uint64_t sent_ms;    /* when the last send began */
    bool tell_flushed;   /* announce when everything has left */
    bool paused;         /* not receiving until the loop has caught up, or there is memory */
    uint64_t paused_ms;  /* since when */
    bool greeted;        /* one frame was parsed; the receive callback's, as are the next two */
    size_t block_size;   /* what the next block is made for */
    struct block *block; /* being received into */
    struct block *spare;
    struct list inbound; /* blocks of whole frames for the loop */
    size_t inbound_bytes;
    struct err error;      /* the first one, for the loop to act on */
    struct idmap requests; /* of a server's connection: id -> request */
    size_t held_bytes;     /* of them */
};

/* Takes over `stream`, says Hello and begins to read. NULL when out of memory (the stream is
 * freed). The connection belongs to rpc; `owner` may close it and must forget it at `lost`. */
struct rpc_conn *conn_create(struct rpc *rpc, nng_stream *stream, const char *url,
                             const struct conn_events *events, void *owner);
/* Ends it with this reason; harmless when it has ended already. Calls `lost`. Not from a tick. */
void conn_close(struct rpc_conn *conn, int code, const char *text);
/* conn_close() without `lost`: the owner goes away. */
void conn_abandon(struct rpc_conn *conn);
bool conn_is(const struct rpc_conn *conn, enum conn_state state);
/* Queues a frame. ERR_FULL beyond RPC_SEND_QUEUE_MAX + slack, ERR_CLOSED. Any thread; the second
 * one with conn->lock held. */
int conn_send(struct rpc_conn *conn, const struct frame *frame, size_t slack);
int conn_send_locked(struct rpc_conn *conn, const struct frame *frame, size_t slack);
/* Has the loop close it; any thread, with conn->lock held. */
void conn_fail_locked(struct rpc_conn *conn, int code, const char *text);
/* Heartbeats and silence; closes nothing by itself but announces it, so that lists can be walked.
 */
void conn_tick(struct rpc_conn *conn, uint64_t now);
/* Counts all its times from now on: we were away ourselves. */
void conn_forgive(struct rpc_conn *conn, uint64_t now);
/* Counts bytes that the connection holds, or no longer holds. Any thread. */
void conn_charge(struct rpc_conn *conn, size_t bytes);
void conn_discharge(struct rpc_conn *conn, size_t bytes);
void budget_unref(struct rpc_budget *budget);
struct rpc_conn *conn_ref(struct rpc_conn *conn);
void conn_unref(struct rpc_conn *conn); /* any thread */
/* ---- wire.c ---- */
/* Encodes our Hello, an Error message. */
void rpc_encode_hello(struct buf *out, const struct rpc *rpc);
void rpc_encode_error(struct buf *out, const struct err *err);
/* Reads one; the text is cut and made printable. */
void rpc_decode_error(struct bytes payload, struct err *err);
/* Reads the other side's Hello and decides whether we fit together: 0, or ERR_PROTOCOL with a
 * sentence that names what differs. */
int rpc_check_hello(const struct rpc *rpc, struct bytes payload, enum rpc_role *role,
                    char node_id[RPC_ID_SIZE], struct err *err);

/* ---- peer.c ---- */
void peer_tick(struct rpc_peer *peer, uint64_t now);
struct rpc_peer *peer_of(struct list *link); /* from rpc->peers */
void peer_expire(struct rpc_call *call);     /* its deadline has passed */

/* ---- server.c ---- */
void server_tick(struct rpc_server *server, uint64_t now);
struct rpc_server *server_of(struct list *link); /* from rpc->servers */
/* Marks the requests of a closing connection; with conn->lock held. */
void server_abandon_requests(struct rpc_conn *conn);
void server_cancel_request(struct rpc_conn *conn, uint64_t id);

#endif
