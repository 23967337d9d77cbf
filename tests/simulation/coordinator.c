/* A coordinator: the edge of a controller. */
#include "tests/simulation/simulation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TELL_MS 100    /* a leader tells the others so often what is committed */
#define CHANGES_MAX 64 /* wanted at once; more: the controller does not see its own proposals */

static struct world *world_of(const struct coordinator *coordinator)
{
    return coordinator->process.world;
}

static int index_of(const struct coordinator *coordinator)
{
    return coordinator->process.place - SHARDS_MAX;
}

void coordinator_init(struct world *world, int index)
{
    struct coordinator *coordinator = &world->coordinator[index];
    coordinator->process.world = world;
    coordinator->process.place = SHARDS_MAX + index;
    coordinator->process.rate = 0.95 + (double)below(world, 101) / 1000;
    snprintf(coordinator->process.id, sizeof coordinator->process.id, "coordinator-%d", index);
}

void coordinator_deinit(struct coordinator *coordinator)
{
    if (coordinator->process.up)
        controller_destroy(coordinator->controller);
    process_stop(&coordinator->process);
    map_unref(coordinator->map);
}

void coordinator_start(struct coordinator *coordinator)
{
    struct world *world = world_of(coordinator);
    const struct controller_options options = {
        .replace_ms = REPLACE_MS, .calm_ms = CALM_MS, .range_bytes = RANGE_BYTES};
    process_start(&coordinator->process);
    say(world, "coordinator %d starts", index_of(coordinator));
    coordinator->leads = false;
    memset(coordinator->linked, 0, sizeof coordinator->linked);
    coordinator->controller = controller_create(&options);
    if (coordinator->map != NULL)
        controller_map(coordinator->controller, coordinator->map, local_ms(&coordinator->process));
    post_own(&coordinator->process, below(world, TICK_MS * MS), EVENT_TICK);
}

void coordinator_crash(struct coordinator *coordinator)
{
    say(world_of(coordinator), "coordinator %d is gone", index_of(coordinator));
    coordinator->leads = false;
    controller_destroy(coordinator->controller);
    coordinator->controller = NULL;
    process_stop(&coordinator->process);
}

void coordinator_lead(struct coordinator *coordinator, bool leads)
{
    say(world_of(coordinator), "coordinator %d %s", index_of(coordinator),
        leads ? "leads" : "knows that it does not lead any more");
    coordinator->leads = leads;
    coordinator->believes_until = UINT64_MAX;
    controller_lead(coordinator->controller, leads, local_ms(&coordinator->process));
}

/* ---- the map ---- */

static void assign(struct coordinator *coordinator, int shard)
{
    struct map_body body = {map_epoch(coordinator->map)};
    transmit(world_of(coordinator), EVENT_ASSIGN, coordinator->process.place, shard, &body,
             sizeof body);
}

void coordinator_learn(struct coordinator *coordinator, uint64_t epoch)
{
    struct world *world = world_of(coordinator);
    if (coordinator->map != NULL && epoch <= map_epoch(coordinator->map))
        return;
    map_unref(coordinator->map);
    coordinator->map = map_ref(world->maps[epoch]);
    controller_map(coordinator->controller, coordinator->map, local_ms(&coordinator->process));
    for (int i = 0; i < world->shards; i++)
        assign(coordinator, i);
}

static void tell_followers(struct coordinator *coordinator)
{
    struct world *world = world_of(coordinator);
    struct map_body body = {map_epoch(coordinator->map)};
    coordinator->told_at = world->now;
    for (int i = 0; i < world->coordinators; i++)
        if (i != index_of(coordinator))
            transmit(world, EVENT_MAP, coordinator->process.place, SHARDS_MAX + i, &body,
                     sizeof body);
}

/* What the controller wants. */
static void act(struct coordinator *coordinator)
{
    struct world *world = world_of(coordinator);
    Quire__MapChange *change;
    struct arena arena;
    int count = 0;
    if (!coordinator->leads || coordinator->map == NULL)
        return;
    arena_init(&arena, 0);
    while ((change = controller_next(coordinator->controller, &arena,
                                     local_ms(&coordinator->process))) != NULL) {
        consensus_propose(coordinator, change);
        if (++count == CHANGES_MAX) {
            violated(world, "the controller of coordinator %d wants changes without end",
                     index_of(coordinator));
            break;
        }
    }
    arena_deinit(&arena);
}

/* ---- shards ---- */

static void link_made(struct coordinator *coordinator, int shard)
{
    struct world *world = world_of(coordinator);
    if (coordinator->linked[shard])
        return;
    coordinator->linked[shard] = true;
    controller_link(coordinator->controller, world->shard[shard].process.id, true,
                    local_ms(&coordinator->process));
}

static void link_lost(struct coordinator *coordinator, int shard)
{
    struct world *world = world_of(coordinator);
    if (!coordinator->linked[shard])
        return;
    coordinator->linked[shard] = false;
    controller_link(coordinator->controller, world->shard[shard].process.id, false,
                    local_ms(&coordinator->process));
}

static const char *role_name(enum replication_role role)
{
    switch (role) {
    case REPLICATION_RECONCILING:
    case REPLICATION_PRIMARY:
        return "primary";
    case REPLICATION_SECONDARY:
        return "secondary";
    default:
        return "learner";
    }
}

static void add_requests(struct world *world, const struct register_body *body, int range,
                         Quire__Register *message, struct arena *arena)
{
    for (int i = 0; i < world->shards; i++) {
        if (!body->range[range].want[i])
            continue;
        Quire__ReplicaRequest *request = arena_alloc(arena, sizeof *request);
        quire__replica_request__init(request);
        request->range = id_of(range);
        request->epoch = body->range[range].want_epoch;
        request->node = world->shard[i].process.id;
        request->in_sync = body->range[range].want_in_sync[i];
        message->requests[message->n_requests++] = request;
    }
}

static const char *state_name(bool held, bool broken, bool lost)
{
    if (lost)
        return "failed";
    if (!held)
        return "opening";
    return broken ? "read-only" : "serving";
}

/* Its size, and where its middle is. */
static void add_size(const struct world *world, int range, Quire__RangeReport *report,
                     struct arena *arena)
{
    int middle = 0;
    uint64_t keys = keys_of(&world->history[range], &middle);
    uint8_t letter = (uint8_t)('a' + middle);
    report->bytes = RANGE_BYTES / 2; /* neither too large nor small */
    if (!world->sizes || world->healed || world->slots + 2 > RANGES_MAX)
        return;
    report->bytes = keys * keys * SIZE_UNIT;
    report->has_middle = true;
    report->middle = (ProtobufCBinaryData){1, arena_copy(arena, &letter, 1)};
}

static void add_report(struct world *world, const struct register_body *body, int range,
                       Quire__Register *message, struct arena *arena)
{
    Quire__RangeReport *report = arena_alloc(arena, sizeof *report);
    quire__range_report__init(report);
    report->id = id_of(range);
    report->epoch = body->range[range].epoch;
    report->state = (char *)state_name(body->range[range].held, body->range[range].broken,
                                       body->range[range].lost);
    report->has_committed_seq = report->has_durable_seq = report->has_last_seq = 1;
    report->committed_seq = body->range[range].committed;
    report->durable_seq = body->range[range].durable;
    report->last_seq = body->range[range].last;
    report->role = (char *)role_name(body->range[range].role);
    add_size(world, range, report, arena);
    report->has_derived_seq = body->range[range].derived.derived;
    report->derived_seq = body->range[range].derived.seq;
    report->has_derived_failed = report->derived_failed = body->range[range].derived.failed;
    report->has_drained = report->drained = body->range[range].derived.drained;
    message->ranges[message->n_ranges++] = report;
}

static uint32_t ask_controller(struct coordinator *coordinator, const struct register_body *body)
{
    struct world *world = world_of(coordinator);
    Quire__Register message = QUIRE__REGISTER__INIT;
    Quire__Node node = QUIRE__NODE__INIT;
    Quire__RangeReport *reports[RANGES_MAX];
    Quire__ReplicaRequest *requests[RANGES_MAX * SHARDS_MAX];
    struct arena arena;
    arena_init(&arena, 0);
    node.id = world->shard[body->from].process.id;
    node.address = (char *)"tcp://simulated:1";
    node.has_incarnation = 1;
    node.incarnation = body->life;
    message.node = &node;
    message.has_map_epoch = 1;
    message.map_epoch = body->map_epoch;
    message.has_leaving = message.has_disk_short = 1;
    message.leaving = body->leaving;
    message.disk_short = body->disk_short;
    message.ranges = reports;
    message.requests = requests;
    for (int i = 0; i < world->slots; i++) {
        if (body->range[i].epoch == 0)
            continue;
        add_report(world, body, i, &message, &arena);
        add_requests(world, body, i, &message, &arena);
    }
    uint32_t lease =
        controller_heard(coordinator->controller, &message, local_ms(&coordinator->process));
    arena_deinit(&arena);
    return lease;
}

static void heard(struct coordinator *coordinator, const struct register_body *body)
{
    struct world *world = world_of(coordinator);
    if (coordinator->map == NULL)
        return;
    const struct process *from = &world->shard[body->from].process;
    if (from->up && from->life == body->life) /* else: the last word of one that is gone */
        link_made(coordinator, body->from);
    struct registered_body reply = {.life = body->life, .sent_ms = body->sent_ms};
    reply.lease_ms = ask_controller(coordinator, body);
    transmit(world, EVENT_REGISTERED, coordinator->process.place, body->from, &reply, sizeof reply);
    if (body->map_epoch < map_epoch(coordinator->map))
        assign(coordinator, body->from);
    act(coordinator);
}

/* ---- events ---- */

static void tick(struct coordinator *coordinator)
{
    struct world *world = world_of(coordinator);
    act(coordinator);
    if (coordinator->leads && world->now >= coordinator->told_at + TELL_MS * MS)
        tell_followers(coordinator);
    post_own(&coordinator->process, TICK_MS * MS, EVENT_TICK);
}

void coordinator_event(struct coordinator *coordinator, struct event *event)
{
    struct world *world = world_of(coordinator);
    const struct map_body *map = event->body;
    /* Who stood still finds out that it was deposed before anything else. */
    if (coordinator->leads && world->now >= coordinator->believes_until)
        coordinator_lead(coordinator, false);
    switch (event->kind) {
    case EVENT_TICK:
        tick(coordinator);
        break;
    case EVENT_REGISTER:
        heard(coordinator, event->body);
        break;
    case EVENT_MAP:
        coordinator_learn(coordinator, map->epoch);
        break;
    case EVENT_LINK:
        if (event->other < world->shards)
            link_lost(coordinator, event->other);
        act(coordinator);
        break;
    case EVENT_LINKED:
        if (event->other < world->shards && world->shard[event->other].process.up &&
            reachable(world, coordinator->process.place, event->other) &&
            reachable(world, event->other, coordinator->process.place))
            link_made(coordinator, event->other);
        break;
    default:
        abort();
    }
}
