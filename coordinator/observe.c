#include "coordinator/observe.h"

#include "coordinator/coordinator.h"
#include "coordinator/server.h"
#include "coordinator/siblings.h"
#include "coordinator/stats_cache.h"
#include "proto/base/clock.h"
#include "proto/http/admission_metrics.h"
#include "proto/http/http.h"
#include "proto/http/observer.h"
#include "proto/http/request_metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPERATIONS_MAX 64
#define P "quire_coordinator_"

/* X(field, kind, name, help) */
#define FIGURES(X)                                                                                 \
    X(map_epoch, gauge, "map_epoch", "Epoch of the cluster map that it answers with.")             \
    X(leads, gauge, "leads", "1 while it leads the coordinators, else 0.")                         \
    X(has_leader, gauge, "has_leader",                                                             \
      "1 while it knows who leads the coordinators: the map can change then; else 0.")             \
    X(coordinators, gauge, "coordinators", "Coordinators that the map names.")                     \
    X(coordinators_up, gauge, "coordinators_up", "Of these, itself and those it is connected to.") \
    X(shards, gauge, "shards", "Shards that the map names.")                                       \
    X(shards_up, gauge, "shards_up", "Of these, those that it can send calls to.")                 \
    X(collections, gauge, "collections", "Collections.")                                           \
    X(ranges, gauge, "ranges", "Ranges of all collections.")                                       \
    X(ranges_without_primary, gauge, "ranges_without_primary",                                     \
      "Ranges whose primary's shard is not up.")                                                   \
    X(ranges_short_of_replicas, gauge, "ranges_short_of_replicas",                                 \
      "Ranges with fewer replicas in sync than their collection wants.")                           \
    X(requests_open, gauge, "requests_open", "Requests that are being answered.")                  \
    X(connections, gauge, "connections", "Connections of clients, shards and coordinators to it.") \
    X(calls, counter, "shard_calls_total", "First calls to shards for reads.")                     \
    X(retries, counter, "shard_retries_total",                                                     \
      "Calls for reads to the next replica after a failure.")                                      \
    X(hedges, counter, "shard_hedges_total",                                                       \
      "Second calls for reads to another replica, beside a slow first one.")                       \
    X(hedges_won, counter, "shard_hedges_won_total", "Second calls that answered first.")          \
    X(cancelled, counter, "shard_calls_cancelled_total",                                           \
      "Calls for reads given up since the other one of a pair had answered.")                      \
    X(searches, counter, "searches_total", "Searches that were sent to shards.")                   \
    X(one_round, counter, "searches_one_round_total",                                              \
      "Of these, those that took one round, with statistics that were kept.")                      \
    X(outdated, counter, "searches_outdated_total",                                                \
      "Of these, those that were begun with statistics that had changed.")                         \
    X(incomplete, counter, "searches_incomplete_total",                                            \
      "Searches whose answer did not cover every range.")                                          \
    X(cache_bytes, gauge, "statistics_cache_bytes", "Memory of the statistics that are kept.")     \
    X(cache_limit, gauge, "statistics_cache_limit_bytes", "The most that it may have.")

struct coordinator_observe {
    struct metrics *own; /* NULL: they are somebody else's */
    struct request_metrics *requests;
    struct admission_metrics *admission;
    struct metric *searches_limit, *memory_pressure;
#define X(field, kind, name, help) struct metric *field;
    FIGURES(X)
#undef X
};

struct coordinator_observe *coordinator_observe_create(struct metrics *metrics)
{
    static const struct request_metrics_names names = {
        P "requests_total",
        "Requests that were answered; refused: the sender has to ask otherwise.",
        P "request_seconds", "From the arrival of a request until its answer."};
    const char *operations[OPERATIONS_MAX];
    size_t count = server_operations(operations, OPERATIONS_MAX);
    struct coordinator_observe *observe = calloc(1, sizeof *observe);
    if (observe == NULL || (metrics == NULL && (observe->own = metrics_create()) == NULL))
        abort();
    if (metrics == NULL)
        metrics = observe->own;
    observe->requests = request_metrics_create(metrics, &names, operations, count);
    observe->admission = admission_metrics_create(metrics, P "refusals_total", P "requests_waiting",
                                                  P "requests_at_work");
    observe->memory_pressure = metrics_gauge(
        metrics, P "memory_pressure",
        "1 while writes are refused near the memory limit, 2 while heavy reads are, too; else 0.");
    observe->searches_limit = metrics_gauge(
        metrics, P "searches_limit", "Searches that are under way at a time, at most, as found.");
#define X(field, kind, name, help) observe->field = metrics_##kind(metrics, P name, help);
    FIGURES(X)
#undef X
    return observe;
}

void coordinator_observe_destroy(struct coordinator_observe *observe)
{
    if (observe == NULL)
        return;
    request_metrics_free(observe->requests);
    admission_metrics_free(observe->admission);
    metrics_destroy(observe->own);
    free(observe);
}

void coordinator_observe_ended(struct coordinator_observe *observe,
                               const struct rpc_request *request, int code)
{
    request_metrics_ended(observe->requests, server_operation(request->kind), code,
                          clock_us() - request->came_us);
}

/* ---- looking ---- */

static void set(struct metric *metric, uint64_t value)
{
    metric_set(metric, (int64_t)value);
}

static void look_at_ranges(struct coordinator *coordinator, const Quire__ClusterMap *map)
{
    struct coordinator_observe *observe = coordinator->observe;
    uint64_t headless = 0, lacking = 0;
    for (size_t i = 0; i < map->n_ranges; i++) {
        const Quire__Range *range = map->ranges[i];
        const struct node *primary = nodes_find(&coordinator->nodes, range->primary);
        const Quire__Collection *collection =
            map_collection_by_id(coordinator->map, range->collection);
        size_t wanted = collection != NULL && collection->has_replicas ? collection->replicas : 1;
        headless += primary == NULL || !primary->up;
        lacking += range->n_in_sync < wanted;
    }
    set(observe->ranges, map->n_ranges);
    set(observe->ranges_without_primary, headless);
    set(observe->ranges_short_of_replicas, lacking);
}

static void look_at_map(struct coordinator *coordinator)
{
    struct coordinator_observe *observe = coordinator->observe;
    const Quire__ClusterMap *map = coordinator->map->message;
    uint64_t leader, up = 0;
    const char *address;
    consensus_leader(coordinator->consensus, &leader, &address);
    for (size_t i = 0; i < map->n_coordinators; i++) {
        const char *id = map->coordinators[i]->id;
        const struct sibling *sibling = siblings_find(coordinator, id);
        up += strcmp(id, coordinator->node_id) == 0 || (sibling != NULL && sibling_alive(sibling));
    }
    set(observe->map_epoch, map_epoch(coordinator->map));
    set(observe->leads, consensus_is_leader(coordinator->consensus));
    set(observe->has_leader, leader != 0);
    set(observe->coordinators, map->n_coordinators);
    set(observe->coordinators_up, up);
    set(observe->shards, map->n_nodes);
    set(observe->shards_up, nodes_up_count(&coordinator->nodes));
    set(observe->collections, map->n_collections);
    look_at_ranges(coordinator, map);
}

static void look_at_figures(struct coordinator *coordinator)
{
    struct coordinator_observe *observe = coordinator->observe;
    const struct hedge *hedge = &coordinator->hedge;
    bool listens = coordinator->server != NULL;
    admission_metrics_show(observe->admission, &coordinator->admit.policy);
    set(observe->searches_limit,
        (uint64_t)coordinator->admit.policy.classes[ADMISSION_SEARCH].limit);
    set(observe->memory_pressure, (uint64_t)coordinator->admit.policy.pressure);
    set(observe->requests_open, coordinator->requests);
    set(observe->connections, listens ? rpc_server_connections(coordinator->server) : 0);
    set(observe->calls, hedge->calls);
    set(observe->retries, hedge->again);
    set(observe->hedges, hedge->hedges);
    set(observe->hedges_won, hedge->won);
    set(observe->cancelled, hedge->given_up);
    set(observe->searches, coordinator->searches.all);
    set(observe->one_round, coordinator->searches.one_round);
    set(observe->outdated, coordinator->searches.outdated);
    set(observe->incomplete, coordinator->searches.incomplete);
    set(observe->cache_bytes, stats_cache_bytes(coordinator->statistics));
    set(observe->cache_limit, stats_cache_limit(coordinator->statistics));
}

/* NULL: it is ready. */
static const char *why_not(const struct coordinator *coordinator, char *room, size_t size)
{
    if (coordinator->removed)
        return "the coordinator was removed from its cluster";
    if (coordinator->server != NULL)
        return NULL;
    if (coordinator->join_url[0] == '\0')
        return "the coordinator has no map of the cluster yet: none of the coordinators leads";
    snprintf(room, size, "the coordinator has not joined the cluster of %.150s yet",
             coordinator->join_url);
    return room;
}

void coordinator_observe_look(struct coordinator *coordinator, struct observer *observer)
{
    char room[HTTP_REASON_MAX];
    if (coordinator == NULL || coordinator->closing) {
        observer_set_ready(observer, false, "the coordinator is stopping");
        return;
    }
    const char *why = why_not(coordinator, room, sizeof room);
    observer_set_ready(observer, why == NULL, why);
    look_at_map(coordinator);
    look_at_figures(coordinator);
}
