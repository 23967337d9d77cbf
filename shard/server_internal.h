/* What the files of the server share: server.c (life, dispatch), serve_write.c, serve_read.c,
 * serve_search.c, serve_admin.c, serve_replica.c, serve_snapshot.c, registration.c. Nobody else
 * includes this. */
#ifndef QUIRE_SHARD_SERVER_INTERNAL_H
#define QUIRE_SHARD_SERVER_INTERNAL_H

#include "proto/base/memory_pressure.h"
#include "proto/base/pool.h"
#include "proto/rpc/rpc.h"
#include "shard/admit.h"
#include "shard/analyzers.h"
#include "shard/links.h"
#include "shard/observe.h"
#include "shard/replicas.h"
#include "shard/replicator.h"
#include "shard/reshape.h"
#include "shard/search.h"
#include "shard/server.h"
#include "shard/snapshots.h"

#include <stdatomic.h>

struct registration;

struct server {
    struct server_settings settings;
    char *dir, *node_id, *listen, *advertise, *zone;
    char cluster_id[64];
    struct rpc_identity identity;
    struct rpc *rpc;
    struct rpc_server *door;
    struct registration *registration;

    struct store_cache *cache;
    struct log_store *log;
    struct merge_pace *merge_pace;
    struct replicas *replicas;
    struct checkpoints *checkpoints;
    struct snapshots *snapshots;
    struct reshapes *reshapes;
    struct replicator *replicator;
    struct write_queue *writes; /* the replicator's */
    struct links *links;
    struct analyzers *analyzers;
    struct shard_observe *observe;
    struct admit *admit;
    struct pool *query, *prepare, *ingest, *background, *merge, *copy, *admin, *verify;

    struct err disk_short; /* code 0: there is room; the loop's, as is the next */
    uint64_t disk_checked_ms;

    struct memory_watch memory; /* the loop's */

    uint64_t incarnation; /* which life of this folder's process it is, from 1 */

    struct pool_job expire_job; /* checkpoints and snapshots that nobody reads any more */
    _Atomic bool expiring;

    uv_timer_t tick;
    uv_async_t news;       /* something that coordinators should know at once */
    _Atomic uint64_t open; /* requests not yet answered */
    pthread_mutex_t assigns_lock;
    struct list assigns; /* assignments carried out, whose ranges are being opened */
    bool leaving;        /* asked to stop: others take over what this one leads... */
    uint64_t leave_until_ms;
    bool stopping; /* ...and then nothing is taken any more */
    uint64_t stop_deadline_ms;
    size_t undoing; /* handles to be closed, when it could not be created */
    uv_thread_t closer;
    uv_async_t closed;
    void (*stopped)(void *data);
    void *stopped_data;
};

/* A request on its way through a pool. From malloc: request->arena is gone with the reply. */
struct work {
    struct pool_job job;
    struct server *server;
    struct rpc_request *request;
    struct search_budget budget;
    void (*run)(struct work *work);
};

/* ---- answering: exactly one of these ends a request; any thread ---- */

void serve_reply(struct server *server, struct rpc_request *request,
                 const ProtobufCMessage *message);
void serve_ok(struct server *server, struct rpc_request *request);
void serve_error(struct server *server, struct rpc_request *request, const struct err *err);
/* With ERR_STALE it tells the range as it is known here. */
void serve_range_error(struct server *server, struct rpc_request *request,
                       const Quire__RangeRef *ref, const struct err *err);
void serve_fail(struct server *server, struct rpc_request *request, int code, const char *format,
                ...) __attribute__((format(printf, 4, 5)));

/* Unpacks the payload into the request's arena; NULL: it has replied with ERR_PROTOCOL. */
void *serve_unpack(struct work *work, const ProtobufCMessageDescriptor *descriptor);

/* ---- several ranges in one request ---- */

struct coverage {
    uint64_t *covered;
    size_t covered_count;
    Quire__RangeFailure **failed;
    size_t failed_count;
};

/* Calls `visit` for each range that can be had; what it returns is that range's failure, except
 * that ERR_DEADLINE, ERR_CANCELED, ERR_INVALID, ERR_TOO_LARGE and ERR_NOMEM end the whole. */
int serve_ranges(struct work *work, Quire__RangeRef *const *refs, size_t count,
                 struct coverage *coverage,
                 int (*visit)(struct work *work, struct replica *replica, void *data,
                              struct err *err),
                 void *data, struct err *err);

/* From the request's arena; never NULL. */
void *serve_alloc(struct work *work, size_t count, size_t size);
struct bytes serve_copy(struct work *work, struct bytes bytes);

/* ---- the operations; on a pool thread ---- */

void serve_get(struct work *work);
void serve_lookup(struct work *work);
void serve_browse(struct work *work);
void serve_letters(struct work *work);
void serve_match(struct work *work);
void serve_stats(struct work *work);
void serve_search(struct work *work);
void serve_explain(struct work *work);
void serve_verify(struct work *work);
void serve_assign(struct work *work);
void serve_checkpoint(struct work *work);
void serve_fetch(struct work *work);
void serve_snapshot(struct work *work);
void serve_snapshot_read(struct work *work);
/* On the loop: they take their place in the queue at once. */
void serve_write(struct server *server, struct rpc_request *request);
void serve_seal(struct server *server, struct rpc_request *request);
void serve_prepare(struct server *server, struct rpc_request *request);
void serve_ack(void *server, struct rpc_request *request, const Quire__ReplicaAck *ack);
/* On the loop: answers the assignments whose ranges are open now; all of them, when stopping. */
void serve_assigned(struct server *server);

/* Room for what is written, and for flushing what has been taken; server->disk_short says what is
 * wrong. Looks at most every DISK_CHECK_MS. The loop. */
bool disk_has_room(struct server *server);
uint64_t disk_reserve(const struct server *server);

/* ---- registration.c; the loop ---- */

struct registration *registration_create(struct server *server);
void registration_tick(struct registration *registration);
/* Whether any coordinator answered last time. */
bool registration_heard(const struct registration *registration);
/* Makes the next tick tell every coordinator, whatever the time. */
void registration_hurry(struct registration *registration);
/* Ends its calls; freed when `done` is called (later). */
void registration_stop(struct registration *registration);

#endif
