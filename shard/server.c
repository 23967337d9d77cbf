/* Server: life, dispatch, answering.
 *
 * Threads: the loop receives requests and hands them on, if they are admitted (admit.h); `query`
 * threads read; `prepare` threads prepare writes; `ingest` threads apply what other primaries
 * wrote; the replicator's thread writes the logs; `background` threads flush and open ranges and
 * read files for learners, `merge` threads merge, `copy` threads pull checkpoints; one `admin`
 * thread carries out assignments; one `verify` thread verifies. Replies go out from whichever
 * thread has them.
 *
 * Stopping: first it leaves: it leads nothing from then on, tells the coordinators so, and serves
 * until others have taken over what they can (or SERVER_LEAVE_MS are over). Then new requests are
 * refused; when those in flight are answered (or SERVER_DRAIN_MS are over) the doors are closed,
 * and a thread of its own ends the pools, flushes every range and closes the stores.
 */
#include "shard/server_internal.h"

#include "proto/base/clock.h"
#include "proto/base/data_dir.h"
#include "proto/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct operation {
    uint16_t kind;
    size_t pool; /* offset in struct server */
    void (*run)(struct work *work);
};

static const struct operation OPERATIONS[] = {
    {QUIRE__KIND__KIND_SHARD_GET, offsetof(struct server, query), serve_get},
    {QUIRE__KIND__KIND_SHARD_LOOKUP, offsetof(struct server, query), serve_lookup},
    {QUIRE__KIND__KIND_SHARD_BROWSE, offsetof(struct server, query), serve_browse},
    {QUIRE__KIND__KIND_SHARD_LETTERS, offsetof(struct server, query), serve_letters},
    {QUIRE__KIND__KIND_SHARD_MATCH, offsetof(struct server, query), serve_match},
    {QUIRE__KIND__KIND_SHARD_STATS, offsetof(struct server, query), serve_stats},
    {QUIRE__KIND__KIND_SHARD_SEARCH, offsetof(struct server, query), serve_search},
    {QUIRE__KIND__KIND_SHARD_EXPLAIN, offsetof(struct server, query), serve_explain},
    {QUIRE__KIND__KIND_SHARD_VERIFY, offsetof(struct server, verify), serve_verify},
    {QUIRE__KIND__KIND_SHARD_ASSIGN, offsetof(struct server, admin), serve_assign},
    {QUIRE__KIND__KIND_REPLICA_CHECKPOINT, offsetof(struct server, background), serve_checkpoint},
    {QUIRE__KIND__KIND_REPLICA_FETCH, offsetof(struct server, background), serve_fetch},
    {QUIRE__KIND__KIND_SHARD_SNAPSHOT, offsetof(struct server, background), serve_snapshot},
    {QUIRE__KIND__KIND_SHARD_SNAPSHOT_READ, offsetof(struct server, background),
     serve_snapshot_read},
};
#define OPERATION_COUNT (sizeof OPERATIONS / sizeof OPERATIONS[0])

/* ---- answering ---- */

static void answered(struct server *server)
{
    atomic_fetch_sub(&server->open, 1);
}

static void ending(struct server *server, struct rpc_request *request, int code)
{
    shard_observe_ended(server->observe, request, code);
    admit_write_ended(server->admit, request);
}

void serve_reply(struct server *server, struct rpc_request *request,
                 const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > RPC_FRAME_MAX) {
        serve_fail(server, request, ERR_TOO_LARGE, "the answer has %zu bytes, at most %u are sent",
                   size, RPC_FRAME_MAX);
        return;
    }
    uint8_t *packed = malloc(size + 1);
    if (packed == NULL) {
        serve_fail(server, request, ERR_NOMEM, "out of memory");
        return;
    }
    protobuf_c_message_pack(message, packed);
    ending(server, request, 0);
    rpc_reply(request, (uint16_t)(request->kind + 1), bytes_of(packed, size));
    free(packed);
    answered(server);
}

void serve_ok(struct server *server, struct rpc_request *request)
{
    ending(server, request, 0);
    rpc_reply(request, QUIRE__KIND__KIND_OK, bytes_of(NULL, 0));
    answered(server);
}

void serve_error(struct server *server, struct rpc_request *request, const struct err *err)
{
    ending(server, request, err->code);
    rpc_reply_err(request, err);
    answered(server);
}

void serve_fail(struct server *server, struct rpc_request *request, int code, const char *format,
                ...)
{
    struct err err = {.code = code};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(err.text, sizeof err.text, format, arguments);
    va_end(arguments);
    serve_error(server, request, &err);
}

void *serve_unpack(struct work *work, const ProtobufCMessageDescriptor *descriptor)
{
    struct rpc_request *request = work->request;
    void *message = protobuf_c_message_unpack(descriptor, arena_protobuf(&request->arena),
                                              request->payload.size, request->payload.data);
    if (message == NULL)
        serve_fail(work->server, request, ERR_PROTOCOL, "a malformed %s message",
                   descriptor->short_name);
    return message;
}

void *serve_alloc(struct work *work, size_t count, size_t size)
{
    void *memory = arena_calloc(&work->request->arena, count + 1, size);
    if (memory == NULL)
        abort(); /* arenas of requests have no limit: the process is out of memory */
    return memory;
}

struct bytes serve_copy(struct work *work, struct bytes bytes)
{
    uint8_t *copy = serve_alloc(work, bytes.size, 1);
    memcpy(copy, bytes.data, bytes.size);
    return bytes_of(copy, bytes.size);
}

static bool ends_all(int code)
{
    return code == ERR_DEADLINE || code == ERR_CANCELED || code == ERR_INVALID ||
           code == ERR_TOO_LARGE || code == ERR_NOMEM;
}

/* With ERR_STALE: the range as it is known here, when that is newer than the request. */
static Quire__Range *current_of(struct server *server, struct rpc_request *request,
                                const Quire__RangeRef *ref, const struct err *err)
{
    struct replica *replica =
        err->code == ERR_STALE ? replicas_find(server->replicas, ref->id) : NULL;
    if (replica == NULL)
        return NULL;
    Quire__Range *current = replica_current(replica, ref->epoch, &request->arena);
    replica_unref(replica);
    return current;
}

void serve_range_error(struct server *server, struct rpc_request *request,
                       const Quire__RangeRef *ref, const struct err *err)
{
    Quire__Error message = QUIRE__ERROR__INIT;
    struct buf packed = {0};
    message.code = (uint32_t)err->code;
    message.text = (char *)(uintptr_t)err->text;
    message.current = current_of(server, request, ref, err);
    quire__error__pack(&message, buf_extend(&packed, quire__error__get_packed_size(&message)));
    ending(server, request, err->code);
    rpc_reply(request, QUIRE__KIND__KIND_ERROR, buf_bytes(&packed));
    buf_deinit(&packed);
    answered(server);
}

static void add_failure(struct work *work, struct coverage *coverage, const Quire__RangeRef *ref,
                        const struct err *err)
{
    Quire__RangeFailure *failure = serve_alloc(work, 1, sizeof *failure);
    quire__range_failure__init(failure);
    failure->id = ref->id;
    failure->current = current_of(work->server, work->request, ref, err);
    failure->code = (uint32_t)err->code;
    failure->text = (char *)serve_copy(work, bytes_str(err->text)).data;
    coverage->failed[coverage->failed_count++] = failure;
}

int serve_ranges(struct work *work, Quire__RangeRef *const *refs, size_t count,
                 struct coverage *coverage,
                 int (*visit)(struct work *work, struct replica *replica, void *data,
                              struct err *err),
                 void *data, struct err *err)
{
    coverage->covered = serve_alloc(work, count, sizeof coverage->covered[0]);
    coverage->failed = serve_alloc(work, count, sizeof coverage->failed[0]);
    for (size_t i = 0; i < count; i++) {
        struct replica *replica = NULL;
        struct err own = {0};
        int code = replicas_acquire(work->server->replicas, refs[i], work->request->deadline_ms,
                                    &replica, &own);
        if (code == 0)
            code = visit(work, replica, data, &own);
        if (replica != NULL) {
            replica_damaged(replica, &own);
            replica_unref(replica);
        }
        if (code == 0) {
            coverage->covered[coverage->covered_count++] = refs[i]->id;
        } else if (ends_all(code)) {
            *err = own;
            return code;
        } else {
            add_failure(work, coverage, refs[i], &own);
        }
    }
    return 0;
}

/* ---- dispatch ---- */

static bool request_abandoned(void *data)
{
    return rpc_request_abandoned(data);
}

static void run_work(struct pool_job *job)
{
    struct work *work = (struct work *)job;
    work->request->began_us = clock_us();
    if (rpc_request_abandoned(work->request))
        serve_fail(work->server, work->request, ERR_DEADLINE,
                   "the deadline passed while the request was waiting");
    else
        work->run(work);
    free(work);
}

static void hand_over(struct server *server, struct rpc_request *request,
                      const struct operation *operation)
{
    struct pool *pool = *(struct pool **)((char *)server + operation->pool);
    struct work *work = calloc(1, sizeof *work);
    if (work == NULL) {
        serve_fail(server, request, ERR_NOMEM, "out of memory");
        return;
    }
    *work = (struct work){.job.run = run_work,
                          .server = server,
                          .request = request,
                          .budget = {request->deadline_ms, request_abandoned, request},
                          .run = operation->run};
    if (pool == server->query)
        admit_read(server->admit, work);
    else if ((pool == server->verify || operation->run == serve_snapshot_read) &&
             !admit_aside(server->admit, request))
        free(work);
    else if (pool_submit(pool, &work->job) != 0) {
        free(work);
        admit_full(server->admit, request, ADMISSION_HEAVY);
    }
}

static void on_request(void *data, struct rpc_request *request)
{
    struct server *server = data;
    atomic_fetch_add(&server->open, 1);
    if (server->stopping) {
        serve_fail(server, request, ERR_UNAVAILABLE, "the shard is stopping");
        return;
    }
    if (request->role == RPC_ROLE_CLIENT) {
        serve_fail(server, request, ERR_UNSUPPORTED,
                   "a shard answers coordinators; clients connect to one of those");
        return;
    }
    if (request->kind == QUIRE__KIND__KIND_SHARD_WRITE) {
        serve_write(server, request);
        return;
    }
    if (request->kind == QUIRE__KIND__KIND_SHARD_SEAL) {
        serve_seal(server, request);
        return;
    }
    if (request->kind == QUIRE__KIND__KIND_REPLICA_PREPARE) {
        serve_prepare(server, request);
        return;
    }
    for (size_t i = 0; i < OPERATION_COUNT; i++) {
        if (OPERATIONS[i].kind == request->kind) {
            hand_over(server, request, &OPERATIONS[i]);
            return;
        }
    }
    serve_fail(server, request, ERR_UNSUPPORTED, "a shard does not know requests of kind %u",
               request->kind);
}

/* ---- starting ---- */

static char *copy_text(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    if (text != NULL && copy == NULL)
        abort();
    return copy;
}

/* A folder that has been part of a cluster has a log. Without it the shard cannot know what it
 * lacks, and must not pass for the one that it was. */
static int check_log(struct server *server, const char *path, struct err *err)
{
    char member[4096];
    snprintf(member, sizeof member, "%s/cluster-id", server->dir);
    if (access(member, F_OK) != 0 || store_exists(path))
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "the log in %s is lost, and with it what was written last: move %s away, and "
                   "the shard starts as a new one",
                   path, server->dir);
}

static void on_news(void *data)
{
    struct server *server = data;
    uv_async_send(&server->news);
}

static int start_replicator(struct server *server, struct err *err)
{
    struct replicator_settings settings = {.log = server->log,
                                           .replicas = &server->replicas,
                                           .queue_bytes = server->settings.memory_bytes,
                                           .data = server,
                                           .news = on_news,
                                           .answer = serve_ack};
    int code = replicator_create(&settings, &server->replicator, err);
    if (code == 0)
        server->writes = replicator_queue(server->replicator);
    return code;
}

static int start_replicas(struct server *server, struct err *err)
{
    struct replicas_settings settings = {
        .dir = server->dir,
        .memory_budget = server->settings.memory_bytes,
        .means = {.cache = server->cache,
                  .log = server->log,
                  .background = server->background,
                  .merge = server->merge,
                  .ingest = server->ingest,
                  .copy = server->copy,
                  .merge_pace = server->merge_pace,
                  .checkpoints = server->checkpoints,
                  .reshapes = server->reshapes,
                  .replicator = server->replicator,
                  .links = server->links,
                  .node_id = server->node_id,
                  .measures = shard_observe_ranges(server->observe),
                  .disk_left_bytes = disk_reserve(server)},
        .opened = on_news,
        .data = server};
    return replicas_create(&settings, &server->replicas, err);
}

static int start_reshapes(struct server *server, struct err *err)
{
    struct reshapes_settings settings = {.dir = server->dir,
                                         .log = server->log,
                                         .checkpoints = server->checkpoints,
                                         .replicas = &server->replicas,
                                         .disk_left_bytes = disk_reserve(server),
                                         .data = server,
                                         .news = on_news};
    return reshapes_create(&settings, &server->reshapes, err);
}

static int open_stores(struct server *server, struct err *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/log", server->dir);
    if (check_log(server, path, err) != 0)
        return ERR_CORRUPT;
    server->cache = store_cache_create(server->settings.cache_bytes);
    int code = log_store_open(path, &server->log, err);
    if (code != 0)
        return code;
    log_store_measure(server->log, shard_observe_appends(server->observe));
    int threads = server->settings.threads;
    server->query = pool_create("query", threads, (size_t)threads);
    server->prepare = pool_create("prepare", threads, SERVER_INGEST_QUEUE);
    server->ingest = pool_create("ingest", threads, SERVER_INGEST_QUEUE);
    server->admit = admit_create(server);
    server->background = pool_create("background", threads < 2 ? 2 : threads, 4096);
    server->merge = pool_create("merge", threads < 4 ? 2 : threads / 2, 4096);
    server->copy = pool_create("copy", 2, 4096);
    server->admin = pool_create("admin", 1, 64);
    server->verify = pool_create("verify", 1, 64);
    server->analyzers = analyzers_create();
    server->merge_pace = merge_pace_create(server->settings.merge_bytes_per_second, NULL);
    if (!server->cache || !server->query || !server->prepare || !server->ingest || !server->admit ||
        !server->background || !server->merge || !server->copy || !server->admin ||
        !server->verify || !server->analyzers || !server->merge_pace)
        return err_set(err, ERR_NOMEM, "cannot start threads");
    code = checkpoints_create(server->dir, server->log, &server->checkpoints, err);
    if (code == 0)
        code = snapshots_create(&server->snapshots, err);
    if (code == 0)
        code = start_reshapes(server, err);
    if (code == 0)
        code = start_replicator(server, err);
    return code == 0 ? start_replicas(server, err) : code;
}

/* Everything but the loop's things; also half-made. Blocks. */
static void close_stores(struct server *server)
{
    pool_destroy(server->admin);
    pool_destroy(server->verify);
    pool_destroy(server->query);
    pool_destroy(server->copy);
    pool_destroy(server->prepare);
    pool_destroy(server->ingest);
    replicator_stop(server->replicator);
    pool_destroy(server->background);
    pool_destroy(server->merge);
    snapshots_destroy(server->snapshots); /* they hold replicas */
    reshapes_stop(server->reshapes);
    replicas_destroy(server->replicas);
    reshapes_destroy(server->reshapes);
    replicator_destroy(server->replicator);
    checkpoints_destroy(server->checkpoints);
    merge_pace_destroy(server->merge_pace);
    log_store_close(server->log);
    store_cache_destroy(server->cache);
    analyzers_destroy(server->analyzers);
}

static void server_free(struct server *server)
{
    free(server->dir);
    free(server->node_id);
    free(server->listen);
    free(server->advertise);
    free(server->zone);
    shard_observe_destroy(server->observe);
    admit_destroy(server->admit);
    free(server);
}

static void maintain(void *data, struct replica *replica)
{
    const struct server *server = data;
    bool pressed = server->memory.pressure != ADMISSION_EASE;
    replica_maintain(replica);
    replica_halve(replica);
    replica_flush_old(replica, pressed ? SERVER_PRESSED_FLUSH_MS : SERVER_FLUSH_MS);
}

static void tick(uv_timer_t *timer);

static void run_expire(struct pool_job *job)
{
    struct server *server = list_entry(job, struct server, expire_job);
    checkpoints_expire(server->checkpoints, clock_ms());
    snapshots_expire(server->snapshots, server->replicas, clock_ms());
    atomic_store(&server->expiring, false);
}

static void on_news_here(uv_async_t *async)
{
    struct server *server = async->data;
    serve_assigned(server);
    if (server->registration == NULL)
        return;
    registration_hurry(server->registration);
    registration_tick(server->registration);
}

static void on_acked(void *data, uint64_t range, const char *from, const Quire__ReplicaAck *ack)
{
    struct server *server = data;
    replicator_acked(server->replicator, range, from, ack);
}

static void on_lost(void *data, uint64_t range, const char *to, bool disconnected)
{
    struct server *server = data;
    replicator_lost(server->replicator, range, to, disconnected);
}

static int open_network(struct server *server, struct err *err)
{
    const struct links_events events = {server, on_acked, on_lost};
    server->identity = (struct rpc_identity){RPC_ROLE_SHARD, server->node_id, server->cluster_id};
    server->rpc = rpc_create(server->settings.loop, &server->identity, err);
    if (server->rpc == NULL)
        return ERR_INTERNAL;
    server->links = links_create(server->settings.loop, server->rpc, &events);
    return server->links != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static int open_door(struct server *server, struct err *err)
{
    return rpc_server_create(server->rpc, server->listen, on_request, server, &server->door, err);
}

/* Durable before anything is said in the name of this life. */
static int begin_life(struct server *server, struct err *err)
{
    int code = data_dir_read_number(server->dir, "incarnation", &server->incarnation, err);
    if (code != 0 && code != ERR_NOT_FOUND)
        return code;
    return data_dir_write_number(server->dir, "incarnation", ++server->incarnation, err);
}

/* "" when it has joined none yet. */
static int read_cluster_id(struct server *server, struct err *err)
{
    int code = data_dir_read(server->dir, "cluster-id", server->cluster_id,
                             sizeof server->cluster_id, err);
    if (code == ERR_NOT_FOUND)
        return 0;
    if (code == 0 && !uuid_valid(server->cluster_id))
        code = err_set(err, ERR_CORRUPT, "%s/cluster-id does not hold a cluster's id", server->dir);
    return code;
}

/* ---- a server that did not come to be ---- */

static void undone(void *data)
{
    --*(size_t *)data;
}

static void undone_handle(uv_handle_t *handle)
{
    struct server *server = handle->data;
    --server->undoing;
}

/* The loop may be used by others: it is run until what was begun has ended. */
static void undo(struct server *server)
{
    if (server->links != NULL)
        links_stop(server->links);
    close_stores(server);
    server->undoing = 1 + (server->links != NULL) + (server->rpc != NULL);
    if (server->rpc != NULL)
        rpc_close(server->rpc, undone, &server->undoing);
    while (server->undoing > 1u + (server->links != NULL))
        uv_run(server->settings.loop, UV_RUN_ONCE);
    if (server->links != NULL)
        links_free(server->links, undone, &server->undoing);
    uv_close((uv_handle_t *)&server->news, undone_handle);
    while (server->undoing > 0)
        uv_run(server->settings.loop, UV_RUN_ONCE);
    pthread_mutex_destroy(&server->assigns_lock);
    server_free(server);
}

static int open_all(struct server *server, struct err *err)
{
    int code = read_cluster_id(server, err);
    if (code == 0)
        code = begin_life(server, err);
    if (code == 0)
        code = open_network(server, err);
    if (code == 0)
        code = open_stores(server, err);
    if (code == 0)
        code = open_door(server, err);
    if (code != 0 || server->settings.coordinator_count == 0)
        return code;
    server->registration = registration_create(server);
    return server->registration != NULL
               ? 0
               : err_set(err, ERR_INVALID, "a coordinator's url is malformed");
}

int server_create(const struct server_settings *settings, struct server **out, struct err *err)
{
    *out = NULL;
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    server->settings = *settings;
    server->memory.limit = settings->memory_limit;
    server->dir = copy_text(settings->dir);
    server->node_id = copy_text(settings->node_id);
    server->listen = copy_text(settings->listen);
    server->advertise = copy_text(settings->advertise);
    server->zone = copy_text(settings->zone);
    server->observe = shard_observe_create(settings->metrics);
    list_init(&server->assigns);
    pthread_mutex_init(&server->assigns_lock, NULL);
    uv_async_init(settings->loop, &server->news, on_news_here);
    server->news.data = server;
    int code = open_all(server, err);
    if (code != 0) {
        undo(server);
        return code;
    }
    uv_timer_init(settings->loop, &server->tick);
    server->tick.data = server;
    uv_timer_start(&server->tick, tick, 0, SERVER_TICK_MS);
    *out = server;
    return 0;
}

int server_port(const struct server *server)
{
    return rpc_server_port(server->door);
}

/* ---- stopping ---- */

struct flush_list {
    struct replica **replicas;
    size_t count, capacity;
};

static void list_replica(void *data, struct replica *replica)
{
    struct flush_list *list = data;
    if (atomic_load(&replica->state) != REPLICA_OPEN)
        return;
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->replicas = realloc(list->replicas, list->capacity * sizeof list->replicas[0]);
        if (list->replicas == NULL)
            abort();
    }
    replica_ref(replica);
    list->replicas[list->count++] = replica;
}

/* A thread of its own: flushing takes its time, and the loop must run to close the doors. */
static void close_in_thread(void *data)
{
    struct server *server = data;
    struct flush_list list = {0};
    replicas_close(server->replicas);
    reshapes_stop(server->reshapes);
    replicator_rest(server->replicator);
    replicas_each(server->replicas, list_replica, &list);
    for (size_t i = 0; i < list.count; i++)
        range_stop(list.replicas[i]->range); /* merges give up, flushes do not */
    pool_destroy(server->admin);
    pool_destroy(server->verify);
    pool_destroy(server->query);
    pool_destroy(server->copy);
    pool_destroy(server->prepare);
    pool_destroy(server->ingest);
    replicator_stop(server->replicator);
    server->admin = server->verify = server->query = server->copy = server->prepare = NULL;
    server->ingest = NULL;
    for (size_t i = 0; i < list.count; i++) {
        struct err err = {0};
        if (replica_flush(list.replicas[i], &err) != 0)
            log_event(LOG_ERROR, "flush failed", LOG_U64("range", list.replicas[i]->id),
                      LOG_STR("error", err.text));
        replica_unref(list.replicas[i]);
    }
    free(list.replicas);
    close_stores(server);
    uv_async_send(&server->closed);
}

static void on_async_closed(uv_handle_t *handle)
{
    struct server *server = handle->data;
    void (*stopped)(void *data) = server->stopped;
    void *data = server->stopped_data;
    pthread_mutex_destroy(&server->assigns_lock);
    server_free(server);
    stopped(data);
}

static void on_news_closed(uv_handle_t *handle)
{
    struct server *server = handle->data;
    uv_close((uv_handle_t *)&server->closed, on_async_closed);
}

static void on_links_freed(void *data)
{
    struct server *server = data;
    uv_close((uv_handle_t *)&server->news, on_news_closed);
}

static void on_rpc_closed(void *data)
{
    struct server *server = data;
    links_free(server->links, on_links_freed, server);
}

static void on_stores_closed(uv_async_t *async)
{
    struct server *server = async->data;
    uv_thread_join(&server->closer);
    rpc_close(server->rpc, on_rpc_closed, server);
}

static void on_tick_closed(uv_handle_t *handle)
{
    struct server *server = handle->data;
    uv_async_init(server->settings.loop, &server->closed, on_stores_closed);
    server->closed.data = server;
    links_stop(server->links);
    if (uv_thread_create(&server->closer, close_in_thread, server) != 0)
        abort();
}

static void drain(struct server *server)
{
    serve_assigned(server);
    if (atomic_load(&server->open) > 0 && clock_ms() < server->stop_deadline_ms)
        return;
    uv_timer_stop(&server->tick);
    uv_close((uv_handle_t *)&server->tick, on_tick_closed);
}

static void begin_drain(struct server *server)
{
    server->stopping = true;
    server->stop_deadline_ms = clock_ms() + SERVER_DRAIN_MS;
    if (server->registration != NULL)
        registration_stop(server->registration);
    server->registration = NULL;
}

/* Others wait for it when it goes: for its lease to run out, or for its acknowledgements. */
static void see_needed(void *data, struct replica *replica)
{
    struct replica_standing standing;
    replica_standing(replica, &standing);
    *(bool *)data |= standing.in_sync > 1 && (standing.role == REPLICATION_PRIMARY ||
                                              standing.role == REPLICATION_RECONCILING ||
                                              standing.role == REPLICATION_SECONDARY);
}

static void leave(struct server *server)
{
    bool needed = false;
    replicas_each(server->replicas, see_needed, &needed);
    if (!needed || clock_ms() >= server->leave_until_ms ||
        !registration_heard(server->registration)) /* nobody will appoint others */
        begin_drain(server);
    else
        registration_tick(server->registration);
}

static void tick(uv_timer_t *timer)
{
    struct server *server = timer->data;
    if (server->stopping) {
        drain(server);
        return;
    }
    if (server->leaving) {
        leave(server);
        return;
    }
    if (memory_watch_look(&server->memory, clock_ms()))
        admit_pressure(server->admit, server->memory.pressure);
    (void)disk_has_room(server); /* also for merges, when nobody writes */
    replicas_each(server->replicas, maintain, server);
    replicas_retry(server->replicas, clock_ms());
    reshapes_look(server->reshapes);
    if (server->registration != NULL)
        registration_tick(server->registration);
    if (pool_depth(server->background) == 0 && !atomic_exchange(&server->expiring, true)) {
        server->expire_job.run = run_expire;
        if (pool_submit(server->background, &server->expire_job) != 0)
            atomic_store(&server->expiring, false);
    }
}

void server_stop(struct server *server, void (*stopped)(void *data), void *data)
{
    server->stopped = stopped;
    server->stopped_data = data;
    server->leaving = true;
    server->leave_until_ms = clock_ms() + SERVER_LEAVE_MS;
    replicator_resign(server->replicator);
    if (server->registration == NULL)
        begin_drain(server);
    else
        registration_hurry(server->registration);
    uv_timer_start(&server->tick, tick, 0, 20);
}
