/* rpc: requests and replies between the processes of a cluster, over nng byte streams.
 *
 * A connection is one nng stream (tcp://host:port, ipc:///path) carrying frames (frame.h). The side
 * that dials is a *peer*; the side that listens is a *server*. Every connection begins with a Hello
 * both ways (protocol version, node id, cluster id, role). Heartbeats go both ways: a side that has
 * heard nothing for RPC_SILENCE_MS drops the connection. A lost connection fails its requests at
 * once with ERR_UNAVAILABLE and the peer dials again with back-off.
 *
 * Threads: everything here belongs to the uv loop that was given at creation and must be called
 * from its thread, except rpc_reply(), rpc_reply_error() and rpc_request_abandoned(), which any
 * thread may call. nng's own threads hand frames to the loop through one door (a locked list and
 * one uv_async_t). All callbacks run on the loop's thread, exactly once, never from inside the
 * submitting call.
 */
#ifndef QUIRE_RPC_H
#define QUIRE_RPC_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/base/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define RPC_PROTOCOL_VERSION 1
#define RPC_FRAME_MAX (16u << 20) /* bytes of payload in a frame */
#define RPC_HEARTBEAT_MS 500      /* a side that sent nothing for so long sends a ping */
#define RPC_SILENCE_MS 2500       /* a side that heard nothing for so long drops the connection */
#define RPC_HELLO_MS 2000         /* a connection without a Hello for so long is dropped */
#define RPC_BACKOFF_MIN_MS 50
#define RPC_BACKOFF_MAX_MS 2000
#define RPC_SEND_QUEUE_MAX (64u << 20) /* bytes queued on a connection; beyond: ERR_FULL */
#define RPC_REQUESTS_MAX 65536         /* outstanding on one connection; beyond: ERR_FULL */
#define RPC_HELD_MAX                                                                               \
    (128u << 20) /* bytes of unanswered requests of a connection; beyond: ERR_FULL */
#define RPC_MEMORY_MAX                                                                             \
    (256u << 20)                   /* what all connections of a context hold; beyond: those of its \
                                      servers that hold more than their share are not read */
#define RPC_SHARE_MIN (128u << 10) /* a share is RPC_MEMORY_MAX by connection, at least this */
#define RPC_CONNECTIONS_MAX 10000  /* of one server; beyond: accepted and closed at once */

enum rpc_role { RPC_ROLE_CLIENT = 1, RPC_ROLE_COORDINATOR = 2, RPC_ROLE_SHARD = 3 };

/* Who we say that we are. Strings must outlive the context. */
struct rpc_identity {
    enum rpc_role role;
    const char *node_id;    /* UUID text, or "" for a client */
    const char *cluster_id; /* UUID text; "" = not known yet, matches any */
};

/* Shared state of all rpc on one loop: the door, the timer, the reaper thread that frees streams.
 */
struct rpc;

/* `loop` must outlive it. NULL when nng or the loop cannot give what is needed. */
struct rpc *rpc_create(uv_loop_t *loop, const struct rpc_identity *identity, struct err *err);
/* Changes what later Hellos say (a node learns its cluster id when it registers). */
void rpc_set_cluster_id(struct rpc *rpc, const char *cluster_id);
/* Closes every peer and server (their calls end with ERR_CANCELED), then calls `closed`; the loop
 * must go on running until then. Frees itself before `closed` is called. */
void rpc_close(struct rpc *rpc, void (*closed)(void *data), void *data);

/* ---- the calling side ---- */

struct rpc_peer;

/* Starts dialing `url`; never fails but for a malformed url (ERR_INVALID). Calls submitted while it
 * is not connected wait for the connection until their deadline; they end earlier, with
 * ERR_PROTOCOL, when what answers at `url` is no peer for us. A host name over tcp is tried at its
 * first address and then over IPv4. */
int rpc_peer_create(struct rpc *rpc, const char *url, struct rpc_peer **out, struct err *err);
/* Fails outstanding calls with ERR_CANCELED; the peer must not be used afterwards. */
void rpc_peer_destroy(struct rpc_peer *peer);
bool rpc_peer_connected(const struct rpc_peer *peer);
const char *rpc_peer_url(const struct rpc_peer *peer);
/* The node id from the other side's Hello; "" before. */
const char *rpc_peer_node_id(const struct rpc_peer *peer);
/* Called on each change; may be NULL. */
void rpc_peer_on_change(struct rpc_peer *peer, void (*changed)(void *data, bool connected),
                        void *data);

/* One call; allocated by the caller, who must not touch or free it until `done` has been called. */
struct rpc_call {
    struct list link;      /* rpc's */
    struct rpc_peer *peer; /* rpc's */
    uint64_t id;           /* rpc's */
    uint64_t deadline_ms;  /* rpc's: absolute, clock_ms() */
    struct buf queued; /* rpc's: the payload while the connection is down, later the error text */
    uint64_t trace;    /* rpc's */
    size_t heap_index; /* rpc's */
    int state;         /* rpc's */
    int status;        /* rpc's */
    uint16_t kind;     /* rpc's */
    bool heavy;        /* the caller's: it takes long by nature (rpc_request.heavy) */
    void *data;        /* the caller's */
    /* status 0: `kind` and `payload` are the reply (payload valid during the callback only). A
     * reply of kind Error arrives as its code and text in `err`. Otherwise: ERR_DEADLINE,
     * ERR_UNAVAILABLE (the connection was lost after the request may have been sent), ERR_CANCELED,
     * ERR_FULL, ERR_TOO_LARGE (above RPC_FRAME_MAX), ERR_NOMEM, ERR_PROTOCOL (the two sides do not
     * fit together: other protocol version or other cluster; says which). `err` is never NULL. */
    void (*done)(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                 struct bytes payload);
};

/* Sends `payload` (copied before return). `timeout_ms` > 0. `trace` is any number, 0 for none. */
void rpc_call_start(struct rpc_call *call, struct rpc_peer *peer, uint16_t kind,
                    struct bytes payload, uint32_t timeout_ms, uint64_t trace);
/* Ends the call with ERR_CANCELED (on a later turn of the loop) and tells the server. */
void rpc_call_cancel(struct rpc_call *call);

/* ---- the answering side ---- */

struct rpc_server;

/* A request being answered. It keeps the payload alive; exactly one rpc_reply*() ends it, from any
 * thread, also after its connection was lost (then the reply is dropped). */
struct rpc_request {
    uint16_t kind;
    uint64_t trace;
    uint64_t deadline_ms; /* absolute, clock_ms() of this process */
    uint64_t read_us;     /* when its last byte was read, clock_us(); up to 1 ms late */
    uint64_t came_us;     /* when it was handed to the handler, clock_us() */
    bool heavy;           /* who sent it says that it takes long by nature */
    enum rpc_role role;   /* of the other side */
    const char *node_id;  /* of the other side; valid during the request */
    struct bytes payload; /* valid until the reply */
    struct arena arena;   /* released with the reply; the handler's to use, one thread at a time */
    void *data;           /* the handler's */
    struct list link;     /* the handler's, while it holds the request */
    uint64_t began_us;    /* the handler's: when work on it began; 0: not yet */
    uint8_t class;        /* the handler's: enum admission_class */
    bool congested;       /* the handler's: where its work was done others waited for long */
    void *spans;          /* the handler\'s: what it spent its time with */
};

typedef void (*rpc_handler)(void *data, struct rpc_request *request);

/* Listens at once; ERR_INVALID for a malformed url, ERR_IO when the address is taken or not ours.
 */
int rpc_server_create(struct rpc *rpc, const char *url, rpc_handler handler, void *data,
                      struct rpc_server **out, struct err *err);
/* Stops accepting and closes its connections. */
void rpc_server_destroy(struct rpc_server *server);
size_t rpc_server_connections(const struct rpc_server *server);
/* The port it listens on (the one that was found, when the url said port 0); 0 for ipc. */
int rpc_server_port(const struct rpc_server *server);

/* True once the caller has cancelled, gone away, or its deadline has passed: work may stop (an
 * rpc_reply is still owed). Any thread. */
bool rpc_request_abandoned(const struct rpc_request *request);

/* `payload` is copied. A payload above RPC_FRAME_MAX becomes an ERR_TOO_LARGE error reply. */
void rpc_reply(struct rpc_request *request, uint16_t kind, struct bytes payload);
void rpc_reply_error(struct rpc_request *request, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with all that `err` says, retry_after_ms too. */
void rpc_reply_err(struct rpc_request *request, const struct err *err);

#endif
