/* A shard process: what it is told by the coordinators, and what it tells them. */
#include "tests/simulation/simulation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAVE_MS 2000 /* so long it waits for others to take over */

int shard_of(const struct world *world, const char *id)
{
    for (int i = 0; i < world->shards; i++)
        if (strcmp(world->shard[i].process.id, id) == 0)
            return i;
    abort();
}

void shard_init(struct world *world, int index)
{
    struct shard *shard = &world->shard[index];
    shard->process.world = world;
    shard->process.place = index;
    shard->process.rate = 0.95 + (double)below(world, 101) / 1000;
    snprintf(shard->process.id, sizeof shard->process.id, "shard-%d", index);
    for (int i = 0; i < RANGES_MAX; i++)
        replica_init(shard, i);
}

void shard_deinit(struct shard *shard)
{
    process_stop(&shard->process);
    for (int i = 0; i < RANGES_MAX; i++)
        replica_deinit(&shard->replica[i]);
    map_unref(shard->map);
}

void shard_start(struct shard *shard)
{
    struct world *world = shard->process.world;
    process_start(&shard->process);
    shard->leaving = false;
    shard->assigning = shard->assigns_until = 0;
    say(world, "shard %d starts, incarnation %llu", shard->process.place,
        (unsigned long long)shard->process.life);
    for (int i = 0; i < world->slots; i++)
        if (shard->replica[i].has_data)
            replica_open(&shard->replica[i]);
    post_own(&shard->process, below(world, TICK_MS * MS), EVENT_TICK);
    for (int i = 0; i < world->coordinators; i++)
        post_own(&shard->process, below(world, REGISTER_MS * MS), EVENT_REGISTER)->other = i;
    for (int i = 0; i < world->coordinators; i++)
        post(world, below(world, 100 * MS), EVENT_LINKED, SHARDS_MAX + i)->other =
            shard->process.place;
}

void shard_crash(struct shard *shard)
{
    say(shard->process.world, "shard %d is gone", shard->process.place);
    for (int i = 0; i < shard->process.world->slots; i++)
        replica_close(&shard->replica[i]);
    reshape_close(shard);
    process_stop(&shard->process);
    map_unref(shard->map);
    shard->map = NULL;
}

void shard_leave(struct shard *shard)
{
    say(shard->process.world, "shard %d was asked to stop", shard->process.place);
    shard->leaving = true;
    shard->leaving_since = shard->process.world->now;
    for (int i = 0; i < shard->process.world->slots; i++)
        if (shard->replica[i].core != NULL)
            replication_resign(shard->replica[i].core);
    for (int i = 0; i < shard->process.world->coordinators; i++)
        post_own(&shard->process, 0, EVENT_REGISTER)->other = COORDINATORS_MAX + i;
}

/* ---- assignments ---- */

static bool holds(const struct shard *shard, int index)
{
    const Quire__Range *range = range_in(shard->map, index);
    return range != NULL && map_range_on(range, shard->process.id);
}

static void carry_out(struct shard *shard, int index)
{
    struct replica *replica = &shard->replica[index];
    const Quire__Range *range = range_in(shard->map, index);
    bool in_sync = map_range_in_sync(range, shard->process.id);
    if (replica->copy == COPY_INSTALLS)
        return; /* it is configured when that is done */
    if (replica->core == NULL && !replica->has_data && reshape_installs(replica, range))
        return;
    bool begins = !replica->has_data && in_sync && range->fresh;
    if (replica->core == NULL || begins) {
        replica->has_data |= begins;
        replica_open(replica);
    }
    replica_configure(replica);
}

/* It writes down which one it has seen, and opens and drops files. */
static void assign(struct shard *shard, uint64_t epoch)
{
    struct world *world = shard->process.world;
    uint64_t most = world->manner.assign_ms;
    if (shard->assigns_until < world->now)
        shard->assigns_until = world->now;
    if (epoch <= shard->assigning)
        return;
    shard->assigning = epoch;
    shard->assigns_until += below(world, most != 0 && one_in(world, 4) ? most * MS : 1 * MS);
    struct event *event =
        post_own(&shard->process, shard->assigns_until - world->now, EVENT_ASSIGNED);
    event->number = epoch;
}

static void assigned(struct shard *shard, uint64_t epoch)
{
    if (epoch < shard->durable_map_epoch || (shard->map != NULL && epoch <= map_epoch(shard->map)))
        return;
    shard->durable_map_epoch = epoch;
    map_unref(shard->map);
    shard->map = map_ref(shard->process.world->maps[epoch]);
    int slots = shard->process.world->slots;
    for (int i = 0; i < slots; i++) /* before those that take their places */
        if (!holds(shard, i))
            replica_drop(&shard->replica[i]);
    for (int i = 0; i < slots; i++)
        if (holds(shard, i))
            carry_out(shard, i);
    reshape_follow(shard);
}

/* ---- registration ---- */

/* In sync of a range that is not new: it has what was acknowledged. */
static bool is_expected(const struct shard *shard, int index)
{
    const Quire__Range *range = shard->map == NULL ? NULL : range_in(shard->map, index);
    return range != NULL && !range->fresh && map_range_in_sync(range, shard->process.id);
}

static void tell(struct shard *shard, int coordinator)
{
    struct world *world = shard->process.world;
    struct register_body body = {.from = shard->process.place,
                                 .life = shard->process.life,
                                 .sent_ms = local_ms(&shard->process),
                                 .map_epoch = shard->map == NULL ? 0 : map_epoch(shard->map),
                                 .leaving = shard->leaving,
                                 .disk_short = shard->disk_full || shard->disk_short};
    for (int i = 0; i < world->slots; i++) {
        struct replica *replica = &shard->replica[i];
        if (replica->copy == COPY_INSTALLS && holds(shard, i))
            body.range[i].epoch = range_in(shard->map, i)->epoch; /* it is being opened */
        if (replica->core == NULL)
            continue;
        body.range[i].held = replica->has_data;
        body.range[i].broken = replica->broken;
        body.range[i].lost = !replica->has_data && is_expected(shard, i);
        body.range[i].derived = reshape_report(shard, i);
        body.range[i].role = replication_role(replica->core);
        body.range[i].epoch = replication_epoch(replica->core);
        body.range[i].committed = replica->state.applied;
        body.range[i].durable = replica->flushed.applied;
        body.range[i].last = replication_last(replica->core);
        body.range[i].want_epoch = replica->want_epoch;
        memcpy(body.range[i].want, replica->want, sizeof replica->want);
        memcpy(body.range[i].want_in_sync, replica->want_in_sync, sizeof replica->want_in_sync);
    }
    transmit(world, EVENT_REGISTER, shard->process.place, SHARDS_MAX + coordinator, &body,
             sizeof body);
}

static void forget_wishes(struct shard *shard)
{
    for (int i = 0; i < shard->process.world->slots; i++)
        memset(shard->replica[i].want, 0, sizeof shard->replica[i].want);
}

static void registered(struct shard *shard, const struct registered_body *body)
{
    if (body->life != shard->process.life || body->lease_ms == 0)
        return;
    for (int i = 0; i < shard->process.world->slots; i++)
        if (shard->replica[i].core != NULL)
            replication_lease(shard->replica[i].core, body->sent_ms + body->lease_ms);
}

/* ---- events ---- */

/* Primary, or one of several in-sync replicas: who stops now makes others wait. */
static bool is_needed(const struct replica *replica)
{
    if (replica->core == NULL)
        return false;
    switch (replication_role(replica->core)) {
    case REPLICATION_PRIMARY:
    case REPLICATION_RECONCILING:
        return true;
    case REPLICATION_SECONDARY:
        return range_in(replica->shard->map, replica->range)->n_in_sync > 1;
    default:
        return false;
    }
}

static bool needed(const struct shard *shard)
{
    for (int i = 0; i < shard->process.world->slots; i++)
        if (is_needed(&shard->replica[i]))
            return true;
    return false;
}

static void links_close(struct shard *shard)
{
    struct world *world = shard->process.world;
    for (int i = 0; i < PLACES; i++)
        if (i != shard->process.place)
            post(world, below(world, 3 * MS), EVENT_LINK, i)->other = shard->process.place;
}

static void tick(struct shard *shard)
{
    struct world *world = shard->process.world;
    forget_wishes(shard);
    for (int i = 0; i < world->slots; i++)
        if (shard->replica[i].core != NULL)
            replication_tick(shard->replica[i].core, local_ms(&shard->process));
    post_own(&shard->process, TICK_MS * MS, EVENT_TICK);
    if (shard->leaving && (!needed(shard) || world->now > shard->leaving_since + LEAVE_MS * MS)) {
        links_close(shard);
        shard_crash(shard);
    }
}

static struct replica *current(struct shard *shard, uint64_t range, uint64_t generation)
{
    struct replica *replica = &shard->replica[range];
    return replica->generation == generation ? replica : NULL;
}

static void acked(struct shard *shard, const struct ack_body *body)
{
    struct replica *replica = &shard->replica[body->range];
    if (body->life != shard->process.life)
        return;
    shard->process.world->answered[body->call] = true;
    if (replica->core != NULL)
        replication_acked(replica->core, shard->process.world->shard[body->from].process.id,
                          &body->ack, local_ms(&shard->process));
}

static void lost(struct shard *shard, int other)
{
    if (other >= shard->process.world->shards)
        return;
    for (int i = 0; i < shard->process.world->slots; i++)
        if (shard->replica[i].core != NULL)
            replication_lost(shard->replica[i].core, shard->process.world->shard[other].process.id,
                             true, local_ms(&shard->process));
}

static void register_event(struct shard *shard, int which)
{
    bool extra = which >= COORDINATORS_MAX; /* out of turn */
    tell(shard, extra ? which - COORDINATORS_MAX : which);
    if (!extra)
        post_own(&shard->process, REGISTER_MS * MS, EVENT_REGISTER)->other = which;
}

static void of_replica(struct shard *shard, struct event *event)
{
    uint64_t range = event->kind == EVENT_WRITTEN ? (uint64_t)event->other : event->number;
    uint64_t generation = event->kind == EVENT_WRITTEN ? event->number : event->number2;
    struct replica *replica = current(shard, range, generation);
    if (replica == NULL)
        return;
    if (event->kind == EVENT_INSTALLED)
        replica_installed(replica);
    else if (event->kind == EVENT_WRITTEN)
        replica_written(replica);
    else if (event->kind == EVENT_FLUSH)
        replica_flush(replica);
    else
        replica_copied(replica, &shard->process.world->shard[event->other].replica[range]);
}

void shard_event(struct shard *shard, struct event *event)
{
    const struct prepare_body *prepare = event->body;
    const struct request *request = event->body;
    const struct map_body *map = event->body;
    struct replica *replica;
    switch (event->kind) {
    case EVENT_TICK:
        tick(shard);
        break;
    case EVENT_FLUSH:
    case EVENT_WRITTEN:
    case EVENT_COPIED:
    case EVENT_INSTALLED:
        of_replica(shard, event);
        break;
    case EVENT_DERIVED:
    case EVENT_DERIVED_KEPT:
        reshape_event(shard, event);
        break;
    case EVENT_PREPARE:
        if (shard->replica[prepare->range].core != NULL)
            replica_prepare(&shard->replica[prepare->range], prepare);
        break;
    case EVENT_ACK:
        acked(shard, event->body);
        break;
    case EVENT_CALL_TIMEOUT:
        replica = &shard->replica[event->number];
        if (replica->core != NULL && !shard->process.world->answered[event->number2])
            replication_lost(replica->core, shard->process.world->shard[event->other].process.id,
                             false, local_ms(&shard->process));
        break;
    case EVENT_REGISTER:
        register_event(shard, event->other);
        break;
    case EVENT_REGISTERED:
        registered(shard, event->body);
        break;
    case EVENT_ASSIGN:
        assign(shard, map->epoch);
        break;
    case EVENT_ASSIGNED:
        assigned(shard, event->number);
        break;
    case EVENT_LINK:
        lost(shard, event->other);
        break;
    case EVENT_LINKED:
        break;
    case EVENT_REQUEST:
        replica_serve(&shard->replica[request->range], request);
        break;
    default:
        abort();
    }
}
