/* Status: the map, and what is known of those who carry it. Sizes are what the shards said with
 * their last heartbeat; the numbers of entries are counted now, as far as the primaries answer
 * within a second. */
#include "coordinator/join.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "coordinator/siblings.h"
#include "coordinator/stats_cache.h"
#include "proto/base/clock.h"

#include <string.h>

#define STATUS_COUNT_MS 1000

struct status {
    struct coordinator *coordinator;
    struct rpc_request *request;
    struct map *map; /* held */
    Quire__StatusReply reply;
    size_t open;
};

static void reply_and_release(struct status *status)
{
    struct map *map = status->map;
    request_reply(status->request, &status->reply.base);
    map_unref(map);
}

static void build_count(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                        struct buf *out)
{
    (void)scatter;
    Quire__ShardStats message = QUIRE__SHARD_STATS__INIT;
    message.n_ranges = count;
    message.ranges = ranges;
    message_pack(&message.base, out);
}

/* A range that counts serves, whatever its shard's last heartbeat said. */
static void set_entries(struct status *status, uint64_t range, uint64_t entries)
{
    for (size_t i = 0; i < status->reply.n_ranges; i++) {
        Quire__RangeStatus *it = status->reply.ranges[i];
        if (it->id == range) {
            it->has_entries = true;
            it->entries = entries;
            if (strcmp(it->state, "opening") == 0)
                it->state = arena_strdup(&status->request->arena, "serving");
        }
    }
}

static void on_count(struct scatter *scatter)
{
    struct status *status = scatter->data;
    for (size_t i = 0; scatter->status == 0 && i < scatter->gather.piece_count; i++) {
        const Quire__ShardStatsReply *answer = (const Quire__ShardStatsReply *)scatter->replies[i];
        const struct gather_range *range = &scatter->gather.ranges[i];
        if (answer != NULL && range->state == GATHER_COVERED && answer->n_ranges == 1)
            set_entries(status, range->range->id, answer->ranges[0]->documents);
    }
    if (--status->open == 0)
        reply_and_release(status);
}

static void start_count(struct status *status, uint64_t collection)
{
    struct scatter *scatter = arena_calloc(&status->request->arena, 1, sizeof *scatter);
    scatter->coordinator = status->coordinator;
    scatter->request = status->request;
    scatter->collection = collection;
    scatter->piece_per_range = true; /* so that piece i is range i */
    scatter->once = true;
    scatter->view.from_primary = true; /* who has applied what it acknowledged */
    scatter->kind = QUIRE__KIND__KIND_SHARD_STATS;
    scatter->reply_type = &quire__shard_stats_reply__descriptor;
    scatter->deadline_ms = coordinator_deadline(status->request, STATUS_COUNT_MS);
    scatter->data = status;
    scatter->build = build_count;
    scatter->done = on_count;
    scatter_start(scatter);
}

static Quire__Node *describe_node(struct arena *arena, const struct node *node,
                                  const Quire__Node *in_map)
{
    Quire__Node *out = arena_alloc(arena, sizeof *out);
    quire__node__init(out);
    out->id = arena_strdup(arena, node->id);
    out->address = arena_strdup(arena, node->address);
    out->zone = node->zone[0] != '\0' ? arena_strdup(arena, node->zone) : NULL;
    out->has_alive = true;
    out->alive = node->up;
    out->has_last_seen_ms = node->seen_wall_ms != 0;
    out->last_seen_ms = node->seen_wall_ms;
    out->has_draining = in_map->has_draining;
    out->draining = in_map->draining;
    return out;
}

static void describe_state(Quire__RangeStatus *out, struct arena *arena, struct nodes *nodes)
{
    struct node *node = nodes_find(nodes, out->primary);
    if (node == NULL || !node->up) {
        out->state = arena_strdup(arena, "unreachable");
        return;
    }
    const Quire__RangeReport *report = node_report(node, out->id);
    if (report == NULL) {
        out->state = arena_strdup(arena, "opening");
        return;
    }
    out->state = arena_strdup(arena, report->state);
    out->has_entries = out->has_bytes = true;
    out->entries = report->entries;
    out->bytes = report->bytes;
    out->has_memory_bytes = report->has_memory_bytes;
    out->memory_bytes = report->memory_bytes;
    out->has_segments = report->has_segments;
    out->segments = report->segments;
    out->has_committed_seq = report->has_committed_seq;
    out->committed_seq = report->committed_seq;
    out->has_durable_seq = report->has_durable_seq;
    out->durable_seq = report->durable_seq;
}

static Quire__ReplicaStatus *describe_replica(struct status *status, const Quire__Range *range,
                                              const char *id)
{
    struct arena *arena = &status->request->arena;
    Quire__ReplicaStatus *out = arena_alloc(arena, sizeof *out);
    struct node *node = nodes_find(&status->coordinator->nodes, id);
    const Quire__RangeReport *report =
        node != NULL && node->up ? node_report(node, range->id) : NULL;
    const char *unheard = node != NULL && node->up ? "opening" : "unreachable";
    quire__replica_status__init(out);
    out->node = arena_strdup(arena, id);
    out->role = (char *)(strcmp(id, range->primary) == 0 ? "primary"
                         : map_range_in_sync(range, id)  ? "secondary"
                                                         : "learner");
    out->state = arena_strdup(arena, report != NULL ? report->state : unheard);
    if (report == NULL)
        return out;
    out->has_epoch = true;
    out->epoch = report->epoch;
    out->has_last_seq = report->has_last_seq;
    out->last_seq = report->last_seq;
    out->has_committed_seq = report->has_committed_seq;
    out->committed_seq = report->committed_seq;
    out->has_durable_seq = report->has_durable_seq;
    out->durable_seq = report->durable_seq;
    return out;
}

static void describe_replicas(struct status *status, const Quire__Range *range,
                              Quire__RangeStatus *out)
{
    const Quire__Collection *collection = map_collection_by_id(status->map, range->collection);
    size_t count = map_range_members(range);
    out->has_replicas_wanted = true;
    out->replicas_wanted = collection->has_replicas ? collection->replicas : 1;
    out->n_learners = range->n_learners;
    out->learners = range->learners;
    out->n_leaving = range->n_leaving;
    out->leaving = range->leaving;
    if (range->reshape != NULL)
        out->reshape = (char *)(range->reshape->n_sources > 1 ? "merge" : "split");
    out->replicas = arena_calloc(&status->request->arena, count, sizeof *out->replicas);
    out->replicas[out->n_replicas++] = describe_replica(status, range, range->primary);
    for (size_t i = 0; i < count; i++)
        if (strcmp(map_range_member(range, i), range->primary) != 0)
            out->replicas[out->n_replicas++] =
                describe_replica(status, range, map_range_member(range, i));
}

static Quire__RangeStatus *describe_range(struct status *status, const Quire__Range *range)
{
    struct arena *arena = &status->request->arena;
    Quire__RangeStatus *out = arena_alloc(arena, sizeof *out);
    quire__range_status__init(out);
    out->id = range->id;
    out->collection = map_collection_by_id(status->map, range->collection)->name;
    out->epoch = range->epoch;
    out->has_lo = out->has_hi = true;
    out->lo = range->lo;
    out->hi = range->hi;
    out->primary = range->primary;
    out->n_in_sync = range->n_in_sync;
    out->in_sync = range->in_sync;
    describe_replicas(status, range, out);
    describe_state(out, arena, &status->coordinator->nodes);
    return out;
}

static Quire__Node *describe_coordinator(struct status *status, const Quire__Coordinator *from)
{
    struct sibling *sibling = siblings_find(status->coordinator, from->id);
    bool self = strcmp(from->id, status->coordinator->node_id) == 0;
    Quire__Node *out = arena_alloc(&status->request->arena, sizeof *out);
    quire__node__init(out);
    out->id = from->id;
    out->address = from->address;
    out->has_alive = true;
    out->alive = self || (sibling != NULL && sibling_alive(sibling));
    out->has_last_seen_ms = out->alive;
    out->last_seen_ms = out->alive ? clock_wall_ms() : 0;
    return out;
}

static void describe_coordinators(struct status *status)
{
    struct coordinator *coordinator = status->coordinator;
    const Quire__ClusterMap *map = status->map->message;
    Quire__StatusReply *reply = &status->reply;
    Quire__Coordinator self = QUIRE__COORDINATOR__INIT;
    uint64_t leader;
    const char *address;
    consensus_leader(coordinator->consensus, &leader, &address);
    reply->coordinators =
        arena_calloc(&status->request->arena, map->n_coordinators + 1, sizeof *reply->coordinators);
    for (size_t i = 0; i < map->n_coordinators; i++) {
        const Quire__Coordinator *it = map->coordinators[i];
        reply->coordinators[reply->n_coordinators++] = describe_coordinator(status, it);
        if (leader != 0 && it->raft_id == leader)
            reply->leader = it->id;
    }
    if (join_find(coordinator, coordinator->node_id) != NULL)
        return;
    self.id = coordinator->node_id; /* the map does not name it yet */
    self.address = coordinator->advertise;
    reply->coordinators[reply->n_coordinators++] = describe_coordinator(status, &self);
    if (consensus_is_leader(coordinator->consensus))
        reply->leader = coordinator->node_id;
}

static void describe_searches(struct status *status)
{
    struct coordinator *coordinator = status->coordinator;
    Quire__SearchFigures *out = arena_alloc(&status->request->arena, sizeof *out);
    quire__search_figures__init(out);
    out->searches = coordinator->searches.all;
    out->one_round = coordinator->searches.one_round;
    out->outdated = coordinator->searches.outdated;
    out->cache_bytes = stats_cache_bytes(coordinator->statistics);
    out->cache_limit = stats_cache_limit(coordinator->statistics);
    status->reply.searches = out;
}

static void describe_reads(struct status *status)
{
    const struct hedge *hedge = &status->coordinator->hedge;
    Quire__ReadFigures *out = arena_alloc(&status->request->arena, sizeof *out);
    quire__read_figures__init(out);
    out->calls = hedge->calls;
    out->again = hedge->again;
    out->hedges = hedge->hedges;
    out->hedges_won = hedge->won;
    out->given_up = hedge->given_up;
    out->has_refused = true;
    out->refused = admit_refused(status->coordinator);
    status->reply.reads = out;
}

void op_status(struct coordinator *coordinator, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    struct status *status = arena_calloc(arena, 1, sizeof *status);
    Quire__StatusReply *reply = &status->reply;
    status->coordinator = coordinator;
    status->request = request;
    status->map = map_ref(coordinator->map);
    const Quire__ClusterMap *map = status->map->message;
    quire__status_reply__init(reply);
    reply->cluster_id = coordinator->cluster_id;
    reply->map_epoch = map->epoch;
    reply->has_placement = true;
    reply->placement = map->placement;
    reply->software = (char *)"quire " QUIRE_VERSION;
    describe_coordinators(status);
    describe_searches(status);
    describe_reads(status);
    reply->nodes = arena_calloc(arena, map->n_nodes + 1, sizeof *reply->nodes);
    for (size_t i = 0; i < map->n_nodes; i++) {
        struct node *node = nodes_find(&coordinator->nodes, map->nodes[i]->id);
        if (node != NULL)
            reply->nodes[reply->n_nodes++] = describe_node(arena, node, map->nodes[i]);
    }
    reply->ranges = arena_calloc(arena, map->n_ranges + 1, sizeof *reply->ranges);
    for (size_t i = 0; i < map->n_ranges; i++)
        reply->ranges[reply->n_ranges++] = describe_range(status, map->ranges[i]);
    status->open = map->n_collections;
    if (status->open == 0) {
        reply_and_release(status);
        return;
    }
    for (size_t i = 0; i < map->n_collections; i++)
        start_count(status, map->collections[i]->id);
}
