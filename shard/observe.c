#include "shard/observe.h"

#include "proto/base/clock.h"
#include "proto/http/admission_metrics.h"
#include "proto/http/http.h"
#include "proto/http/observer.h"
#include "proto/http/request_metrics.h"
#include "shard/server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define P "quire_shard_"

static const struct {
    uint16_t kind;
    const char *name;
} operations[] = {
    {QUIRE__KIND__KIND_SHARD_ASSIGN, "assign"},
    {QUIRE__KIND__KIND_SHARD_SEAL, "seal"},
    {QUIRE__KIND__KIND_SHARD_WRITE, "write"},
    {QUIRE__KIND__KIND_SHARD_GET, "get"},
    {QUIRE__KIND__KIND_SHARD_LOOKUP, "lookup"},
    {QUIRE__KIND__KIND_SHARD_BROWSE, "browse"},
    {QUIRE__KIND__KIND_SHARD_LETTERS, "letters"},
    {QUIRE__KIND__KIND_SHARD_MATCH, "match"},
    {QUIRE__KIND__KIND_SHARD_STATS, "stats"},
    {QUIRE__KIND__KIND_SHARD_SEARCH, "search"},
    {QUIRE__KIND__KIND_SHARD_EXPLAIN, "explain"},
    {QUIRE__KIND__KIND_SHARD_VERIFY, "verify"},
    {QUIRE__KIND__KIND_SHARD_SNAPSHOT, "snapshot"},
    {QUIRE__KIND__KIND_SHARD_SNAPSHOT_READ, "snapshot_read"},
    {QUIRE__KIND__KIND_REPLICA_PREPARE, "replica_prepare"},
    {QUIRE__KIND__KIND_REPLICA_CHECKPOINT, "replica_checkpoint"},
    {QUIRE__KIND__KIND_REPLICA_FETCH, "replica_fetch"},
};
#define OPERATIONS (sizeof operations / sizeof *operations)

/* X(field, name, help) */
#define GAUGES(X)                                                                                  \
    X(registered, "registered", "1 while a coordinator answers its registrations, else 0.")        \
    X(map_epoch, "map_epoch", "Epoch of the newest map whose assignment it has carried out.")      \
    X(entries, "entries", "Entries of all ranges that are open.")                                  \
    X(segments, "segments", "Segments of all ranges that are open.")                               \
    X(disk_bytes, "disk_bytes", "What the indexes take on disk, without the log.")                 \
    X(memory_bytes, "memory_bytes",                                                                \
      "What the ranges hold in memory: what is not flushed yet, and names.")                       \
    X(unflushed, "unflushed_operations",                                                           \
      "Operations that are applied and in the log, and not in an index on disk yet.")              \
    X(uncommitted, "uncommitted_operations",                                                       \
      "Operations in the logs of ranges it leads that other replicas have not confirmed yet.")     \
    X(unapplied, "unapplied_operations", "Operations that are committed and not applied yet.")     \
    X(snapshots, "snapshots", "Snapshots of ranges that are kept for whoever reads them.")         \
    X(requests_open, "requests_open", "Requests that are being answered.")                         \
    X(writes_queued, "write_queue_length", "Writes from their arrival until they are answered.")   \
    X(memory_pressure, "memory_pressure",                                                          \
      "1 while writes are refused near the memory limit, 2 while heavy reads are, too; else 0.")   \
    X(disk_short, "disk_short", "1 while writes are refused since the disk is nearly full.")       \
    X(log_broken, "log_broken", "1 once the log cannot be written: until the next start.")

static const char *const roles[] = {[REPLICATION_NONE] = "none",
                                    [REPLICATION_RECONCILING] = "reconciling",
                                    [REPLICATION_PRIMARY] = "primary",
                                    [REPLICATION_SECONDARY] = "secondary",
                                    [REPLICATION_LEARNER] = "learner"};
#define ROLES (sizeof roles / sizeof *roles)
static const char *const states[] = {[REPLICA_OPENING] = "opening",
                                     [REPLICA_OPEN] = "open",
                                     [REPLICA_LEARNING] = "copying",
                                     [REPLICA_FAILED] = "failed"};
#define STATES (sizeof states / sizeof *states)
static const char *const pools[] = {"query", "prepare", "ingest", "background", "merge", "copy"};
#define POOLS (sizeof pools / sizeof *pools)

struct shard_observe {
    struct metrics *own; /* NULL: they are somebody else's */
    struct request_metrics *requests;
    struct admission_metrics *admission;
    struct range_measures ranges;
    struct histogram *appends;
    struct metric *roles[ROLES], *states[STATES], *pools[POOLS];
#define X(field, name, help) struct metric *field;
    GAUGES(X)
#undef X
};

static void create_family(struct metrics *metrics, const char *name, const char *help,
                          const char *label, const char *const *values, size_t count,
                          struct metric **out)
{
    char labels[64];
    for (size_t i = 0; i < count; i++) {
        snprintf(labels, sizeof labels, "%s=\"%s\"", label, values[i]);
        out[i] = metrics_gauge_of(metrics, name, help, labels);
    }
}

static void create_measures(struct shard_observe *observe, struct metrics *metrics)
{
    observe->appends = metrics_histogram(
        metrics, P "log_append_seconds",
        "Appends to the log, each with an fsync; one commits the writes of many ranges.");
    observe->ranges.flushes = metrics_histogram(
        metrics, P "flush_seconds", "Flushes of what was in memory into a segment on disk.");
    observe->ranges.merges = metrics_histogram(
        metrics, P "merge_seconds", "Merges of segments, the waits for their pace included.");
}

struct shard_observe *shard_observe_create(struct metrics *metrics)
{
    static const struct request_metrics_names names = {
        P "requests_total",
        "Requests that were answered; refused: the sender has to ask otherwise.",
        P "request_seconds", "From the arrival of a request until its answer."};
    const char *words[OPERATIONS + 1];
    struct shard_observe *observe = calloc(1, sizeof *observe);
    if (observe == NULL || (metrics == NULL && (observe->own = metrics_create()) == NULL))
        abort();
    if (metrics == NULL)
        metrics = observe->own;
    for (size_t i = 0; i < OPERATIONS; i++)
        words[i] = operations[i].name;
    words[OPERATIONS] = "unknown";
    observe->requests = request_metrics_create(metrics, &names, words, OPERATIONS + 1);
    observe->admission = admission_metrics_create(metrics, P "refusals_total", P "requests_waiting",
                                                  P "requests_at_work");
    create_measures(observe, metrics);
    create_family(metrics, P "ranges", "Ranges that are open here, by this replica's role.", "role",
                  roles, ROLES, observe->roles);
    create_family(metrics, P "replicas", "Replicas of ranges here, by state.", "state", states,
                  STATES, observe->states);
    create_family(metrics, P "pool_queue_length", "Jobs that wait for a thread, by pool.", "pool",
                  pools, POOLS, observe->pools);
#define X(field, name, help) observe->field = metrics_gauge(metrics, P name, help);
    GAUGES(X)
#undef X
    return observe;
}

void shard_observe_destroy(struct shard_observe *observe)
{
    if (observe == NULL)
        return;
    request_metrics_free(observe->requests);
    admission_metrics_free(observe->admission);
    metrics_destroy(observe->own);
    free(observe);
}

void shard_observe_ended(struct shard_observe *observe, const struct rpc_request *request, int code)
{
    size_t i = 0;
    while (i < OPERATIONS && operations[i].kind != request->kind)
        i++;
    request_metrics_ended(observe->requests, i, code, clock_us() - request->came_us);
}

const struct range_measures *shard_observe_ranges(const struct shard_observe *observe)
{
    return &observe->ranges;
}

struct histogram *shard_observe_appends(const struct shard_observe *observe)
{
    return observe->appends;
}

/* ---- looking ---- */

struct sight {
    const char *node_id;
    uint64_t roles[ROLES], states[STATES];
    struct range_figures sum;
    uint64_t unflushed, uncommitted, unapplied;
    size_t wanted;              /* replicas that should serve reads */
    size_t opening, recovering; /* of these, those that do not yet... */
    uint64_t failed;            /* ...or cannot: the first one's id */
    char why[ERR_TEXT_MAX];
};

/* A learner need not serve. */
static bool should_serve(struct replica *replica, const char *node_id)
{
    bool in_sync = false;
    pthread_mutex_lock(&replica->lock);
    for (size_t i = 0; i < replica->config->n_in_sync; i++)
        in_sync |= strcmp(replica->config->in_sync[i], node_id) == 0;
    pthread_mutex_unlock(&replica->lock);
    return in_sync;
}

static uint64_t above(uint64_t high, uint64_t low)
{
    return high > low ? high - low : 0;
}

/* Reads wait until it has applied what its log had when it was found. */
static bool recovers(struct replica *replica, const struct replica_standing *standing,
                     uint64_t applied)
{
    return standing->role == REPLICATION_NONE || standing->role == REPLICATION_RECONCILING ||
           applied < atomic_load(&replica->read_floor);
}

static void see_open(struct sight *sight, struct replica *replica, bool wanted)
{
    struct replica_standing standing;
    struct range_figures figures;
    replica_standing(replica, &standing);
    range_figures(replica->range, &figures);
    sight->roles[standing.role]++;
    sight->sum.entries += figures.entries;
    sight->sum.segments += figures.segments;
    sight->sum.disk_bytes += figures.disk_bytes;
    sight->sum.memory_bytes += figures.memory_bytes;
    sight->unflushed += above(figures.applied_seq, figures.durable_seq);
    sight->unapplied += above(standing.committed, figures.applied_seq);
    if (standing.role == REPLICATION_PRIMARY)
        sight->uncommitted += above(standing.last, standing.committed);
    sight->recovering += wanted && recovers(replica, &standing, figures.applied_seq);
}

static void see(void *data, struct replica *replica)
{
    struct sight *sight = data;
    int state = atomic_load(&replica->state);
    bool wanted = should_serve(replica, sight->node_id);
    sight->states[state]++;
    sight->wanted += wanted;
    if (state == REPLICA_OPEN)
        see_open(sight, replica, wanted);
    else if (state == REPLICA_FAILED && wanted && sight->failed == 0) {
        sight->failed = replica->id;
        snprintf(sight->why, sizeof sight->why, "%s", replica->error.text);
    } else if (wanted && state != REPLICA_FAILED)
        sight->opening++;
}

/* False: `room` says why. */
static bool is_ready(const struct server *server, const struct sight *sight, char *room,
                     size_t size)
{
    if (server->registration == NULL || !registration_heard(server->registration))
        snprintf(room, size, "the shard is not registered: no coordinator of its cluster answers");
    else if (replicator_map_epoch(server->replicator) == 0)
        snprintf(room, size, "the shard waits for a coordinator to say which ranges it holds");
    else if (replicator_broken(server->replicator))
        snprintf(room, size,
                 "the shard cannot write its log, and takes no writes until it is "
                 "started anew");
    else if (sight->opening > 0)
        snprintf(room, size, "%zu of %zu ranges are not open yet", sight->opening, sight->wanted);
    else if (sight->failed != 0)
        snprintf(room, size, "range %llu does not open: %.180s", (unsigned long long)sight->failed,
                 sight->why);
    else if (sight->recovering > 0)
        snprintf(room, size,
                 "%zu of %zu ranges do not serve yet: they apply their logs, or wait "
                 "for other replicas",
                 sight->recovering, sight->wanted);
    else
        return true;
    return false;
}

static void set(struct metric *metric, uint64_t value)
{
    metric_set(metric, (int64_t)value);
}

/* Those that wait for a query thread. */
static uint64_t reads_waiting(const struct admission *admission)
{
    uint64_t count = 0;
    for (int i = 0; i < ADMISSION_CLASSES; i++)
        count += admission->classes[i].waiting;
    return count;
}

static void show(struct server *server, const struct sight *sight)
{
    struct shard_observe *observe = server->observe;
    struct pool *const from[POOLS] = {server->query,      server->prepare, server->ingest,
                                      server->background, server->merge,   server->copy};
    struct admission admission;
    admit_look(server->admit, &admission);
    admission_metrics_show(observe->admission, &admission);
    for (size_t i = 0; i < ROLES; i++)
        set(observe->roles[i], sight->roles[i]);
    for (size_t i = 0; i < STATES; i++)
        set(observe->states[i], sight->states[i]);
    for (size_t i = 0; i < POOLS; i++)
        set(observe->pools[i],
            from[i] == server->query ? reads_waiting(&admission) : pool_depth(from[i]));
    set(observe->registered,
        server->registration != NULL && registration_heard(server->registration));
    set(observe->map_epoch, replicator_map_epoch(server->replicator));
    set(observe->entries, sight->sum.entries);
    set(observe->segments, sight->sum.segments);
    set(observe->disk_bytes, sight->sum.disk_bytes);
    set(observe->memory_bytes, sight->sum.memory_bytes);
    set(observe->unflushed, sight->unflushed);
    set(observe->uncommitted, sight->uncommitted);
    set(observe->unapplied, sight->unapplied);
    set(observe->snapshots, snapshots_count(server->snapshots));
    set(observe->requests_open, atomic_load(&server->open));
    set(observe->writes_queued, write_queue_count(server->writes));
    set(observe->memory_pressure, (uint64_t)server->memory.pressure);
    set(observe->disk_short, server->disk_short.code != 0);
    set(observe->log_broken, replicator_broken(server->replicator));
}

/* Once it stops taking requests its parts go, on another thread. */
void server_look(struct server *server, struct observer *observer)
{
    char why[HTTP_REASON_MAX];
    struct sight sight = {.node_id = server->node_id};
    if (server->stopping) {
        observer_set_ready(observer, false, "the shard is stopping");
        return;
    }
    replicas_each(server->replicas, see, &sight);
    show(server, &sight);
    if (server->leaving)
        observer_set_ready(observer, false,
                           "the shard is stopping: others take over what it leads");
    else if (is_ready(server, &sight, why, sizeof why))
        observer_set_ready(observer, true, "");
    else
        observer_set_ready(observer, false, why);
}
