/* The controller under a toy clock: a map that its changes are applied to, and shards that say what
 * the test lets them say. For test_controller*.c: each includes it once. */
#ifndef QUIRE_TESTS_CONTROLLER_TOY_H
#define QUIRE_TESTS_CONTROLLER_TOY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/controller.h"
#include "proto/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES 6
#define RANGES 4
#define TICK 50

static char names[NODES][2] = {"a", "b", "c", "d", "e", "f"};
static char *const ids[NODES] = {names[0], names[1], names[2], names[3], names[4], names[5]};

struct toy {
    struct controller *controller;
    struct map *map;
    uint64_t now;
    uint64_t life[NODES]; /* incarnations; 0: it says nothing */
    bool idle[NODES];     /* says that it leads nothing */
    bool leaving[NODES], disk_short[NODES];
    bool behind[NODES];       /* does not carry out assignments */
    const char *state[NODES]; /* of all its ranges */
    const char *zone[NODES];
    bool claims[NODES];            /* takes itself for the primary of range 1, epoch 1 */
    Quire__ReplicaRequest request; /* of the primary of its range; range 0: none */
    bool catches_up;               /* primaries ask for every learner */
    uint64_t bytes[RANGES];        /* that a replica of it has */
    size_t changes;
    uint32_t lease[NODES]; /* the last answer */
    bool hold;             /* changes are lost on the way */
    uint64_t seq[NODES];   /* the last write that it says it has, of all its ranges */
};

static inline void take(struct toy *toy, const Quire__MapChange *change)
{
    struct map *next;
    struct err err = {0};
    if (map_apply(toy->map, change, &next, &err) != 0)
        fail_msg("a change that the map refuses: %s", err.text);
    map_unref(toy->map);
    toy->map = next;
    controller_map(toy->controller, next, toy->now);
}

static inline struct toy *toy_create(uint32_t replicas, size_t nodes, const char *const *placed)
{
    struct toy *toy = calloc(1, sizeof *toy);
    toy->now = 100000;
    toy->controller = controller_create(NULL);
    toy->map = map_create_empty();
    Quire__ClusterMap first = QUIRE__CLUSTER_MAP__INIT;
    Quire__MapChange bootstrap = QUIRE__MAP_CHANGE__INIT;
    first.cluster_id = (char *)"cluster";
    first.secret = (ProtobufCBinaryData){16, (uint8_t *)"0123456789abcdef"};
    first.next_id = 1;
    first.has_placement =
        true; /* replicas stay where a test puts them, but where it is about that */
    first.placement = QUIRE__PLACEMENT__FROZEN;
    bootstrap.bootstrap = &first;
    take(toy, &bootstrap);
    for (size_t i = 0; i < NODES; i++) {
        toy->state[i] = "serving";
        toy->life[i] = i < nodes ? 100 + i : 0;
        Quire__Node node = QUIRE__NODE__INIT;
        Quire__MapChange put = QUIRE__MAP_CHANGE__INIT;
        node.id = ids[i];
        node.address = (char *)"tcp://127.0.0.1:1";
        node.has_incarnation = true;
        node.incarnation = 100 + i;
        put.node_put = &node;
        if (i < nodes)
            take(toy, &put);
    }
    Quire__Collection collection = QUIRE__COLLECTION__INIT;
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange put = QUIRE__MAP_CHANGE__INIT;
    Quire__Range ranges[RANGES];
    Quire__Range *pointers[RANGES];
    char *members[RANGES][LIMIT_REPLICAS];
    collection.name = (char *)"words";
    collection.has_id = collection.has_replicas = true;
    collection.id = 1;
    collection.replicas = replicas;
    for (size_t i = 0; i < RANGES; i++) {
        quire__range__init(&ranges[i]);
        ranges[i].id = 2 + i;
        ranges[i].collection = 1;
        ranges[i].epoch = 1;
        ranges[i].has_lo = ranges[i].has_hi = true;
        ranges[i].lo = (ProtobufCBinaryData){i > 0, (uint8_t *)"abcdef" + i};
        ranges[i].hi = (ProtobufCBinaryData){i + 1 < RANGES, (uint8_t *)"abcdef" + i + 1};
        ranges[i].n_in_sync = strlen(placed[i]);
        for (size_t j = 0; j < ranges[i].n_in_sync; j++)
            members[i][j] = ids[placed[i][j] - 'a'];
        ranges[i].in_sync = members[i];
        ranges[i].primary = members[i][0];
        pointers[i] = &ranges[i];
    }
    set.collection = 1;
    set.n_ranges = RANGES;
    set.ranges = pointers;
    put.collection_put = &collection;
    put.ranges_replace = &set;
    take(toy, &put);
    return toy;
}

static inline void toy_destroy(struct toy *toy)
{
    controller_destroy(toy->controller);
    map_unref(toy->map);
    free(toy);
}

static inline const Quire__Range *range(const struct toy *toy, size_t i)
{
    return toy->map->message->ranges[i];
}

static inline void hear(struct toy *toy, size_t i)
{
    Quire__Node node = QUIRE__NODE__INIT;
    Quire__Register message = QUIRE__REGISTER__INIT;
    Quire__RangeReport reports[RANGES];
    Quire__RangeReport *pointers[RANGES];
    Quire__ReplicaRequest asked[RANGES * LIMIT_MEMBERS], *requests[RANGES * LIMIT_MEMBERS + 1];
    message.requests = requests;
    node.id = ids[i];
    node.address = (char *)"tcp://127.0.0.1:1";
    node.zone = (char *)toy->zone[i];
    node.has_incarnation = true;
    node.incarnation = toy->life[i];
    message.node = &node;
    message.leaving = toy->leaving[i];
    message.disk_short = toy->disk_short[i];
    for (size_t r = 0; r < toy->map->message->n_ranges; r++) {
        if (!map_range_on(range(toy, r), node.id))
            continue;
        bool claims = toy->claims[i] && r == 0;
        Quire__RangeReport *report = &reports[message.n_ranges];
        quire__range_report__init(report);
        report->id = range(toy, r)->id;
        report->epoch = claims || toy->behind[i] ? 1 : range(toy, r)->epoch;
        report->state = (char *)toy->state[i];
        report->has_last_seq = true;
        report->last_seq = report->entries = toy->seq[i];
        report->bytes = toy->bytes[r];
        bool leads = claims || strcmp(range(toy, r)->primary, node.id) == 0;
        report->role = (char *)(!leads ? "secondary" : toy->idle[i] ? "none" : "primary");
        pointers[message.n_ranges++] = report;
        if (leads && toy->request.range == report->id)
            requests[message.n_requests++] = &toy->request;
        for (size_t l = 0; l < range(toy, r)->n_learners && leads && toy->catches_up; l++) {
            Quire__ReplicaRequest *request = &asked[message.n_requests];
            quire__replica_request__init(request);
            request->range = report->id;
            request->epoch = report->epoch;
            request->node = range(toy, r)->learners[l];
            request->in_sync = true;
            requests[message.n_requests++] = request;
        }
    }
    message.ranges = pointers;
    toy->lease[i] = controller_heard(toy->controller, &message, toy->now);
}

/* Everybody registers every 250 ms; what the controller wants happens. */
static inline void run(struct toy *toy, uint64_t ms)
{
    for (uint64_t end = toy->now + ms; toy->now < end;) {
        toy->now += TICK;
        for (size_t i = 0; i < NODES && toy->now % 250 == 0; i++)
            if (toy->life[i] != 0)
                hear(toy, i);
        for (int bound = 0; bound < 20; bound++) {
            struct arena arena;
            arena_init(&arena, 0);
            Quire__MapChange *change = controller_next(toy->controller, &arena, toy->now);
            if (change != NULL) {
                toy->changes++;
                if (!toy->hold)
                    take(toy, change);
            }
            arena_deinit(&arena);
            if (change == NULL)
                break;
            assert_true(bound < 19);
        }
    }
}

static inline void kill_node(struct toy *toy, size_t i)
{
    toy->life[i] = 0;
    controller_link(toy->controller, ids[i], false, toy->now);
}

static inline void expect(const struct toy *toy, size_t i, const char *in_sync,
                          const char *learners)
{
    const Quire__Range *it = range(toy, i);
    char have[2][16] = {"", ""};
    for (size_t j = 0; j < it->n_in_sync; j++)
        if (strcmp(it->in_sync[j], it->primary) == 0)
            strcat(have[0], it->in_sync[j]);
    for (size_t n = 0; n < NODES; n++) {
        if (map_range_in_sync(it, ids[n]) && strcmp(ids[n], it->primary) != 0)
            strcat(have[0], ids[n]);
        if (map_range_learns(it, ids[n]))
            strcat(have[1], ids[n]);
    }
    assert_string_equal(have[0], in_sync);
    assert_string_equal(have[1], learners);
}

static const char *const three[RANGES] = {"abc", "bca", "cab", "abc"};

static inline struct toy *leading(uint32_t replicas, size_t nodes, const char *const *placed)
{
    struct toy *toy = toy_create(replicas, nodes, placed);
    controller_lead(toy->controller, true, toy->now);
    run(toy, 3000);
    return toy;
}

#endif
