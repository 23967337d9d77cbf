/* What the coordinators agree on, as a log that only grows: an entry is committed, after those
 * before it, when the one that leads is in touch with a majority; until then it waits. Leaders
 * change; the one before may believe for a while that it still leads, but commits nothing any more.
 * What it had proposed is committed up to some point. */
#include "tests/simulation/simulation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCH_MS 20

struct proposal {
    struct proposal *next;
    uint64_t at; /* not committed before */
    size_t size;
    uint8_t bytes[];
};

struct map *newest_map(const struct world *world)
{
    return world->maps[world->map_count - 1];
}

static void add_map(struct world *world, struct map *map)
{
    if (world->map_count == world->map_room) {
        world->map_room = world->map_room == 0 ? 64 : 2 * world->map_room;
        world->maps = realloc(world->maps, world->map_room * sizeof world->maps[0]);
        if (world->maps == NULL)
            abort();
    }
    world->maps[world->map_count++] = map;
}

const Quire__Range *some_range(struct world *world)
{
    const Quire__ClusterMap *map = newest_map(world)->message;
    return map->ranges[below(world, map->n_ranges)];
}

/* ---- committing ---- */

static void say_ranges(struct world *world)
{
    const struct map *map = newest_map(world);
    char text[512];
    for (size_t i = 0; i < map->message->n_ranges && world->trace; i++) {
        const Quire__Range *range = map->message->ranges[i];
        int at = snprintf(text, sizeof text, "map %llu, range %d epoch %llu: primary %s, in sync",
                          (unsigned long long)map_epoch(map), slot_of(range->id),
                          (unsigned long long)range->epoch, range->primary + 6);
        for (size_t k = 0; k < range->n_in_sync; k++)
            at += snprintf(text + at, sizeof text - (size_t)at, " %s", range->in_sync[k] + 6);
        at += snprintf(text + at, sizeof text - (size_t)at, "; learners");
        for (size_t k = 0; k < range->n_learners; k++)
            at += snprintf(text + at, sizeof text - (size_t)at, " %s", range->learners[k] + 6);
        if (range->reshape != NULL)
            at += snprintf(text + at, sizeof text - (size_t)at, "; %s into %d%s",
                           range->reshape->n_targets == 2 ? "splits" : "merges",
                           slot_of(range->reshape->targets[0]->id),
                           range->reshape->sealed ? ", sealed" : "");
        if (range->has_origin_seq)
            at += snprintf(text + at, sizeof text - (size_t)at, "; of %llu/%llu",
                           (unsigned long long)range->origin_epoch,
                           (unsigned long long)range->origin_seq);
        if (range->n_leaving > 0)
            at += snprintf(text + at, sizeof text - (size_t)at, "; leaving");
        for (size_t k = 0; k < range->n_leaving; k++)
            at += snprintf(text + at, sizeof text - (size_t)at, " %s", range->leaving[k] + 6);
        say(world, "%s%s", text, range->fresh ? "; fresh" : "");
    }
}

static void count_failovers(struct world *world, const struct map *map)
{
    for (size_t i = 0; i < map->message->n_ranges; i++) {
        const Quire__Range *range = map->message->ranges[i];
        const Quire__Range *old = range_in(newest_map(world), slot_of(range->id));
        world->failovers += old != NULL && strcmp(old->primary, range->primary) != 0;
        for (size_t k = 0; old != NULL && k < old->n_leaving; k++)
            world->moves += !map_range_on(range, old->leaving[k]);
    }
}

static void begin_histories(struct world *world, const struct map *map)
{
    const struct map *before = newest_map(world);
    for (size_t i = 0; i < map->message->n_ranges; i++)
        if (range_in(before, slot_of(map->message->ranges[i]->id)) == NULL)
            history_begin(world, map->message->ranges[i]);
    world->slots = slot_of(map->message->next_id);
    if (world->slots > RANGES_MAX)
        abort();
}

static void commit(struct world *world, const Quire__MapChange *change)
{
    struct map *map;
    struct err err = {0};
    if (map_apply(newest_map(world), change, &map, &err) != 0) {
        say(world, "a change of the map is refused: %s", err.text);
        return;
    }
    count_failovers(world, map);
    if (newest_map(world)->message->n_ranges > 0) {
        check_change(world, newest_map(world), map);
        check_reshaped(world, newest_map(world), map);
    }
    if (change->node_set != NULL)
        world->drained[shard_of(world, change->node_set->id)] =
            world->may_drain[shard_of(world, change->node_set->id)] = change->node_set->draining;
    begin_histories(world, map);
    add_map(world, map);
    say_ranges(world);
}

static void commit_packed(struct world *world, const struct proposal *proposal)
{
    struct arena arena;
    arena_init(&arena, 0);
    Quire__MapChange *change =
        quire__map_change__unpack(arena_protobuf(&arena), proposal->size, proposal->bytes);
    if (change == NULL)
        abort();
    commit(world, change);
    arena_deinit(&arena);
}

/* ---- leading ---- */

static bool has_majority(const struct world *world, int leader)
{
    int count = 0;
    if (!runs(&world->coordinator[leader].process))
        return false;
    for (int i = 0; i < world->coordinators; i++)
        count += i == leader || (runs(&world->coordinator[i].process) &&
                                 reachable(world, SHARDS_MAX + leader, SHARDS_MAX + i) &&
                                 reachable(world, SHARDS_MAX + i, SHARDS_MAX + leader));
    return 2 * count > world->coordinators;
}

static struct proposal *take_proposal(struct world *world)
{
    struct proposal *first = world->proposals;
    world->proposals = first->next;
    if (world->proposals == NULL)
        world->proposals_end = &world->proposals;
    return first;
}

/* Of what the last leader had proposed, so much is committed by the next one. */
static void settle_proposals(struct world *world)
{
    size_t count = 0;
    for (const struct proposal *at = world->proposals; at != NULL; at = at->next)
        count++;
    for (size_t kept = below(world, count + 1); world->proposals != NULL;) {
        struct proposal *proposal = take_proposal(world);
        if (kept > 0) {
            commit_packed(world, proposal);
            kept--;
        }
        free(proposal);
    }
}

static void elect(struct world *world, int next)
{
    settle_proposals(world);
    if (world->leader >= 0 && world->leader != next) {
        struct coordinator *old = &world->coordinator[world->leader];
        uint64_t until = world->now + below(world, (CONTROLLER_DEPOSED_MS - 60) * MS);
        if (until < old->believes_until)
            old->believes_until = until;
    }
    world->leader = next;
    coordinator_learn(&world->coordinator[next], map_epoch(newest_map(world)));
    if (world->coordinator[next].leads) /* it was deposed meanwhile, and has learned that by this */
        coordinator_lead(&world->coordinator[next], false);
    coordinator_lead(&world->coordinator[next], true);
}

void consensus_change_leader(struct world *world)
{
    int first = (int)below(world, (uint64_t)world->coordinators);
    for (int i = 0; i < world->coordinators; i++) {
        int next = (first + i) % world->coordinators;
        if (has_majority(world, next)) {
            elect(world, next);
            return;
        }
    }
}

static void watch(struct world *world)
{
    post(world, WATCH_MS * MS, EVENT_ELECTION, 0);
    if (world->leader >= 0 && has_majority(world, world->leader) &&
        world->coordinator[world->leader].leads) {
        world->coordinator[world->leader].believes_until = UINT64_MAX;
        world->leaderless_since = 0;
        return;
    }
    if (world->leaderless_since == 0) {
        world->leaderless_since = world->now;
        world->elect_at = world->now + (150 + below(world, 600)) * MS;
        if (world->leader >= 0 && world->coordinator[world->leader].leads)
            world->coordinator[world->leader].believes_until =
                world->now + (50 + below(world, 500)) * MS;
    }
    if (world->now >= world->elect_at)
        consensus_change_leader(world);
}

void consensus_propose(struct coordinator *coordinator, const Quire__MapChange *change)
{
    struct world *world = coordinator->process.world;
    bool leads = world->leader == coordinator->process.place - SHARDS_MAX;
    bool written = world->manner.unwritten == 0 || !one_in(world, world->manner.unwritten);
    if (!leads || !written)
        return; /* it will never be committed */
    size_t size = quire__map_change__get_packed_size(change);
    struct proposal *proposal = malloc(sizeof *proposal + size);
    if (proposal == NULL)
        abort();
    uint64_t took = 500 + below(world, 8 * MS);
    if (world->manner.agree_ms != 0 && one_in(world, 2))
        took += below(world, world->manner.agree_ms * MS);
    *proposal = (struct proposal){.at = world->now + took, .size = size};
    quire__map_change__pack(change, proposal->bytes);
    *world->proposals_end = proposal;
    world->proposals_end = &proposal->next;
    post(world, took, EVENT_PROPOSAL, coordinator->process.place);
}

static void commit_proposals(struct world *world)
{
    struct coordinator *leader = &world->coordinator[world->leader];
    while (world->proposals != NULL && world->proposals->at <= world->now &&
           has_majority(world, world->leader)) {
        struct proposal *proposal = take_proposal(world);
        commit_packed(world, proposal);
        free(proposal);
        coordinator_learn(leader, map_epoch(newest_map(world)));
        leader->told_at = 0;
    }
}

void consensus_event(struct world *world, struct event *event)
{
    if (event->kind == EVENT_ELECTION)
        watch(world);
    commit_proposals(world);
}

/* ---- the first map ---- */

static void add_ranges(struct world *world, Quire__ClusterMap *first, struct arena *arena)
{
    static const char *const bounds[] = {"d", "g"};
    first->ranges = arena_calloc(arena, RANGES_FIRST, sizeof first->ranges[0]);
    for (int i = 0; i < world->ranges; i++) {
        Quire__Range *range = arena_alloc(arena, sizeof *range);
        quire__range__init(range);
        range->id = id_of(i);
        range->collection = 1;
        range->epoch = 1;
        range->has_lo = range->has_hi = range->has_fresh = range->fresh = 1;
        if (i > 0)
            range->lo = (ProtobufCBinaryData){1, (uint8_t *)bounds[i - 1]};
        if (i + 1 < world->ranges)
            range->hi = (ProtobufCBinaryData){1, (uint8_t *)bounds[i]};
        range->in_sync = arena_calloc(arena, SHARDS_MAX, sizeof range->in_sync[0]);
        for (int k = 0; k < world->replicas; k++)
            range->in_sync[range->n_in_sync++] = world->shard[(i + k) % world->shards].process.id;
        range->primary = range->in_sync[0];
        first->ranges[first->n_ranges++] = range;
    }
}

static void add_nodes(struct world *world, Quire__ClusterMap *first, struct arena *arena)
{
    first->nodes = arena_calloc(arena, SHARDS_MAX, sizeof first->nodes[0]);
    for (int i = 0; i < world->shards; i++) {
        Quire__Node *node = arena_alloc(arena, sizeof *node);
        quire__node__init(node);
        node->id = world->shard[i].process.id;
        node->address = (char *)"tcp://simulated:1";
        node->has_incarnation = 1;
        node->incarnation = world->shard[i].process.life;
        first->nodes[first->n_nodes++] = node;
    }
}

void consensus_start(struct world *world)
{
    static uint8_t secret[16];
    struct arena arena;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    Quire__ClusterMap first = QUIRE__CLUSTER_MAP__INIT;
    Quire__Collection collection = QUIRE__COLLECTION__INIT, *collections[] = {&collection};
    arena_init(&arena, 0);
    collection.name = (char *)"words";
    collection.has_id = collection.has_replicas = 1;
    collection.id = 1;
    collection.replicas = (uint32_t)world->replicas;
    first.cluster_id = (char *)"simulated";
    first.secret = (ProtobufCBinaryData){sizeof secret, secret};
    first.next_id = id_of(world->ranges);
    first.collections = collections;
    first.n_collections = 1;
    first.has_placement = true;
    first.placement = QUIRE__PLACEMENT__FROZEN;
    if (world->manner.motion)
        first.placement = one_in(world, 2) ? QUIRE__PLACEMENT__LIVELY : QUIRE__PLACEMENT__STEADY;
    add_nodes(world, &first, &arena);
    add_ranges(world, &first, &arena);
    change.bootstrap = &first;
    add_map(world, map_create_empty());
    commit(world, &change);
    arena_deinit(&arena);
    world->leader = -1;
    world->proposals_end = &world->proposals;
    for (int i = 0; i < world->coordinators; i++) {
        coordinator_start(&world->coordinator[i]);
        coordinator_learn(&world->coordinator[i], map_epoch(newest_map(world)));
    }
    elect(world, (int)below(world, (uint64_t)world->coordinators));
    post(world, WATCH_MS * MS, EVENT_ELECTION, 0);
}

void consensus_deinit(struct world *world)
{
    while (world->proposals != NULL)
        free(take_proposal(world));
    for (uint64_t i = 0; i < world->map_count; i++)
        map_unref(world->maps[i]);
    free(world->maps);
}
