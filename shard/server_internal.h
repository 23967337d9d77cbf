/* What the files of the server share: server.c (life, dispatch), serve_write.c, serve_read.c,
 * serve_search.c, serve_admin.c, registration.c. Nobody else includes this. */
#ifndef QUIRE_SHARD_SERVER_INTERNAL_H
#define QUIRE_SHARD_SERVER_INTERNAL_H

#include "proto/base/pool.h"
#include "proto/rpc/rpc.h"
#include "shard/analyzers.h"
#include "shard/committer.h"
#include "shard/replicas.h"
#include "shard/search.h"
#include "shard/server.h"

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
    struct committer *committer;
    struct analyzers *analyzers;
    struct pool *query, *ingest, *background, *merge, *admin, *verify;

    struct err disk_short; /* code 0: there is room; the loop's, as is the next */
    uint64_t disk_checked_ms;

    uv_timer_t tick;
    uv_async_t assigned;   /* an assignment was carried out: coordinators should know at once */
    _Atomic uint64_t open; /* requests not yet answered */
    bool stopping;
    uint64_t stop_deadline_ms;
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
/* On the loop: they take their place in the committer's queue at once. */
void serve_write(struct server *server, struct rpc_request *request);
void serve_seal(struct server *server, struct rpc_request *request);

/* ---- registration.c; the loop ---- */

struct registration *registration_create(struct server *server);
void registration_tick(struct registration *registration);
/* Makes the next tick tell every coordinator, whatever the time. */
void registration_hurry(struct registration *registration);
/* Ends its calls; freed when `done` is called (later). */
void registration_stop(struct registration *registration);

#endif
