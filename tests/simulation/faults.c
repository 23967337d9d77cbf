/* What goes wrong, by the profile of the schedule: densely, and mended some time later or in the
 * end; in some schedules just one thing happens, and then nobody may wait for long (P4). */
#include "coordinator/controller_move.h"
#include "coordinator/controller_reshape.h"
#include "tests/simulation/simulation.h"

#include <string.h>

enum fault {
    FAULT_STRIKE,
    FAULT_RESTART,
    FAULT_RESUME,
    FAULT_MEND_LINKS,
    FAULT_MEND_LINK,
    FAULT_MEND_DISK,
    FAULT_MEND_SHORT,
    FAULT_END,
};

static struct event *later(struct world *world, uint64_t delay, enum fault what, int place)
{
    struct event *event = post(world, delay, EVENT_FAULT, place);
    event->number = what;
    return event;
}

static uint64_t up_to(struct world *world, uint64_t most)
{
    return one_in(world, 2) || most == 0 ? 0 : 1 + below(world, most);
}

void faults_start(struct world *world)
{
    const struct profile *profile = world->profile;
    if (world->schedule != SCHEDULE_ANY) {
        world->end = 20000 * MS; /* FAULT_END comes before */
        later(world, 1500 * MS + below(world, 1000 * MS), FAULT_STRIKE, 0);
        return;
    }
    world->loss = (unsigned)up_to(world, profile->loss);
    world->duplicate = (unsigned)up_to(world, profile->duplicate);
    if (!one_in(world, 3))
        world->slow = profile->slow + below(world, 10 * profile->slow);
    later(world, 200 * MS + below(world, 800 * MS), FAULT_STRIKE, 0);
}

static uint64_t a_while(struct world *world)
{
    const struct profile *profile = world->profile;
    return one_in(world, 3) ? below(world, profile->long_ms * MS)
                            : 20 * MS + below(world, profile->while_ms * MS);
}

static bool exists(const struct world *world, int place)
{
    return place < SHARDS_MAX ? place < world->shards : place - SHARDS_MAX < world->coordinators;
}

static struct shard *shard_at(struct world *world, int place)
{
    return place < SHARDS_MAX ? &world->shard[place] : NULL;
}

/* Primaries and the leader more often than others. */
static int some_place(struct world *world)
{
    if (below(world, 16) < world->profile->coordinators)
        return SHARDS_MAX + (world->leader >= 0 && one_in(world, 2)
                                 ? world->leader
                                 : (int)below(world, (uint64_t)world->coordinators));
    if (one_in(world, 2))
        return (int)below(world, (uint64_t)world->shards);
    return shard_of(world, some_range(world)->primary);
}

/* ---- connections ---- */

static void links_lost(struct world *world, int place, bool all)
{
    for (int i = 0; i < PLACES; i++)
        if (i != place && exists(world, i) && (all || !one_in(world, 5)))
            post(world, below(world, 3 * MS), EVENT_LINK, i)->other = place;
}

static void links_made(struct world *world, int place)
{
    for (int i = 0; i < PLACES; i++) {
        if (i == place || !exists(world, i))
            continue;
        post(world, below(world, 200 * MS), EVENT_LINKED, i)->other = place;
        post(world, below(world, 200 * MS), EVENT_LINKED, place)->other = i;
    }
}

/* Connections that close and are made again: both ends are told. */
static void reset_links(struct world *world, int place)
{
    say(world, "connections of place %d are reset", place);
    for (int i = 0; i < PLACES; i++) {
        if (i == place || !exists(world, i) || one_in(world, 2))
            continue;
        post(world, below(world, 3 * MS), EVENT_LINK, i)->other = place;
        post(world, below(world, 3 * MS), EVENT_LINK, place)->other = i;
    }
    links_made(world, place);
}

static bool cut_off_from(struct world *world, int from, unsigned whom)
{
    return whom == 0 || (whom == 1 && from >= SHARDS_MAX) || (whom == 2 && from < SHARDS_MAX) ||
           (whom == 3 && one_in(world, 2));
}

static void notice(struct world *world, int place, int other)
{
    post(world, below(world, 100 * MS), EVENT_LINK, other)->other = place;
    post(world, below(world, 100 * MS), EVENT_LINK, place)->other = other;
}

static void cut_links(struct world *world, int place)
{
    unsigned whom = (unsigned)below(world, 4), way = (unsigned)below(world, 3);
    for (int i = 0; i < PLACES; i++) {
        if (i == place || !exists(world, i) || !cut_off_from(world, i, whom))
            continue;
        world->cut[place][i] |= way != 1;
        world->cut[i][place] |= way != 0;
        if (one_in(world, 3))
            notice(world, place, i);
    }
    say(world, "links of place %d are cut (%u, %u)", place, whom, way);
    later(world, a_while(world), FAULT_MEND_LINKS, place);
}

static void cut(struct world *world, int place, int other, unsigned way)
{
    say(world, "the link between places %d and %d is cut (%u)", place, other, way);
    world->cut[place][other] |= way != 1;
    world->cut[other][place] |= way != 0;
    if (one_in(world, 2))
        notice(world, place, other);
}

/* One link; the next mending of either place mends it, too. */
static void cut_link(struct world *world, int place)
{
    int other = one_in(world, 2) ? (int)below(world, PLACES) : some_place(world);
    if (other == place || !exists(world, other))
        return;
    cut(world, place, other, (unsigned)below(world, 3));
    later(world, a_while(world), FAULT_MEND_LINK, place)->other = other;
}

static void mend_link(struct world *world, int place, int other)
{
    world->cut[place][other] = world->cut[other][place] = false;
    post(world, below(world, 200 * MS), EVENT_LINKED, place)->other = other;
    post(world, below(world, 200 * MS), EVENT_LINKED, other)->other = place;
}

static void mend_links(struct world *world, int place)
{
    for (int i = 0; i < PLACES; i++)
        world->cut[place][i] = world->cut[i][place] = false;
    links_made(world, place);
}

/* ---- processes ---- */

static void crash(struct world *world, int place, bool all)
{
    if (!process_at(world, place)->up)
        return;
    if (place < SHARDS_MAX)
        shard_crash(&world->shard[place]);
    else
        coordinator_crash(&world->coordinator[place - SHARDS_MAX]);
    links_lost(world, place, all);
}

static void restart(struct world *world, int place)
{
    if (process_at(world, place)->up)
        return;
    if (place < SHARDS_MAX)
        shard_start(&world->shard[place]);
    else
        coordinator_start(&world->coordinator[place - SHARDS_MAX]);
    links_made(world, place);
}

static void stand_still(struct world *world, int place)
{
    struct process *process = process_at(world, place);
    if (!runs(process))
        return;
    say(world, "place %d stands still", place);
    process->paused = true;
}

/* What cannot write its log any more is started anew when there is room again. */
static void mend_disk(struct world *world, struct shard *shard)
{
    bool was_full = shard->disk_full;
    shard->disk_slow = shard->disk_full = false;
    if (!was_full || !shard->process.up)
        return;
    process_resume(&shard->process);
    crash(world, shard->process.place, true);
    later(world, 50 * MS, FAULT_RESTART, shard->process.place);
}

/* ---- operators ---- */

static int count_true(const struct world *world, const bool of_shard[])
{
    int count = 0;
    for (int i = 0; i < world->shards; i++)
        count += of_shard[i];
    return count;
}

int count_drained(const struct world *world)
{
    return count_true(world, world->drained);
}

/* No more of them than can do without. */
static void drain(struct world *world, int place)
{
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    Quire__NodeSetting setting = QUIRE__NODE_SETTING__INIT;
    if (world->leader < 0)
        return;
    setting.id = world->shard[place].process.id;
    setting.draining = !world->drained[place];
    if (setting.draining && count_true(world, world->may_drain) + world->replicas >= world->shards)
        return;
    world->may_drain[place] |= setting.draining;
    say(world, "shard %d is %s", place, setting.draining ? "drained" : "wanted again");
    change.node_set = &setting;
    consensus_propose(&world->coordinator[world->leader], &change);
}

static void move(struct world *world)
{
    Quire__MapChange *change;
    struct arena arena;
    struct err err = {0};
    if (world->leader < 0 || !runs(&world->coordinator[world->leader].process))
        return;
    struct coordinator *leader = &world->coordinator[world->leader];
    const Quire__Range *range = some_range(world);
    const char *from = map_range_member(range, below(world, map_range_members(range)));
    const char *to = world->shard[below(world, (uint64_t)world->shards)].process.id;
    arena_init(&arena, 0);
    if (controller_move(leader->controller, range->id, from, to, &arena, local_ms(&leader->process),
                        &change, &err) == 0) {
        say(world, "range %llu is to move from %s to %s", (unsigned long long)range->id, from, to);
        consensus_propose(leader, change);
    }
    arena_deinit(&arena);
}

static struct coordinator *working_leader(struct world *world)
{
    if (world->leader < 0 || !runs(&world->coordinator[world->leader].process))
        return NULL;
    return &world->coordinator[world->leader];
}

/* Mostly between two keys of the range. */
static void split(struct world *world)
{
    Quire__MapChange *change;
    struct arena arena;
    struct err err = {0};
    struct coordinator *leader = working_leader(world);
    const Quire__Range *range = some_range(world);
    uint8_t inside[KEYS], at[3];
    size_t count = 0, size = one_in(world, 2) ? 1 : 1 + below(world, sizeof at);
    for (int i = 1; i < KEYS; i++)
        if (key_in(range, i - 1) && key_in(range, i))
            inside[count++] = (uint8_t)('a' + i);
    at[0] = count == 0 || one_in(world, 8) ? (uint8_t)('a' + below(world, KEYS + 1))
                                           : inside[below(world, count)];
    at[1] = (uint8_t)below(world, 256);
    at[2] = (uint8_t)below(world, 256);
    if (leader == NULL || world->slots + 2 > RANGES_MAX)
        return;
    arena_init(&arena, 0);
    if (controller_split(leader->controller, range->id, bytes_of(at, size), &arena,
                         local_ms(&leader->process), &change, &err) == 0) {
        say(world, "range %d is to be split at %c and %zu bytes", slot_of(range->id), at[0],
            size - 1);
        world->reshape_asked = true;
        consensus_propose(leader, change);
    }
    arena_deinit(&arena);
}

static void merge(struct world *world)
{
    Quire__MapChange *change;
    struct arena arena;
    struct err err = {0};
    struct coordinator *leader = working_leader(world);
    const Quire__Range *range = some_range(world);
    if (leader == NULL || world->slots + 1 > RANGES_MAX)
        return;
    arena_init(&arena, 0);
    if (controller_merge(leader->controller, range->id, &arena, local_ms(&leader->process), &change,
                         &err) == 0) {
        say(world, "range %d is to be merged with the next one", slot_of(range->id));
        world->reshape_asked = true;
        consensus_propose(leader, change);
    }
    arena_deinit(&arena);
}

/* ---- which, and when ---- */

static void strike(struct world *world)
{
    int place = some_place(world);
    struct shard *shard = shard_at(world, place);
    switch (world->profile->kinds[below(world, world->profile->kind_count)]) {
    case KIND_CRASH:
        crash(world, place, false);
        later(world, a_while(world), FAULT_RESTART, place);
        break;
    case KIND_STILL:
        stand_still(world, place);
        later(world, a_while(world), FAULT_RESUME, place);
        break;
    case KIND_CUT:
        cut_links(world, place);
        break;
    case KIND_LINK:
        cut_link(world, place);
        break;
    case KIND_RESET:
        reset_links(world, place);
        break;
    case KIND_LEADER:
        consensus_change_leader(world);
        break;
    case KIND_LEAVE:
        if (shard != NULL && runs(&shard->process) && !shard->leaving) {
            shard_leave(shard);
            later(world, 2500 * MS + a_while(world), FAULT_RESTART, place);
        }
        break;
    case KIND_SHORT:
        if (shard == NULL || shard->disk_short)
            break;
        say(world, "little is left on the disk of shard %d", place);
        shard->disk_short = true;
        later(world, a_while(world), FAULT_MEND_SHORT, place);
        break;
    case KIND_DRAIN:
        drain(world, shard != NULL ? place : (int)below(world, (uint64_t)world->shards));
        break;
    case KIND_MOVE:
        move(world);
        break;
    case KIND_SPLIT:
        split(world);
        break;
    case KIND_MERGE:
        merge(world);
        break;
    case KIND_DISK:
        if (shard == NULL || shard->disk_full)
            break;
        shard->disk_full = one_in(world, 3);
        shard->disk_slow = !shard->disk_full;
        say(world, "the disk of shard %d is %s", place, shard->disk_full ? "full" : "slow");
        later(world, a_while(world), FAULT_MEND_DISK, place);
    }
    later(world, below(world, world->profile->every_ms * MS), FAULT_STRIKE, 0);
}

/* A primary and one of its replicas, of some range. */
static void cut_replicas(struct world *world)
{
    const Quire__Range *range = some_range(world);
    int one = shard_of(world, range->primary);
    int other = shard_of(world, range->in_sync[below(world, range->n_in_sync)]);
    if (one == other)
        return;
    cut(world, one, other, (unsigned)below(world, 3));
}

static void strike_once(struct world *world)
{
    int place = some_place(world);
    uint64_t look = 3000;
    switch (world->schedule) {
    case SCHEDULE_CRASH:
        crash(world, place, true);
        break;
    case SCHEDULE_SILENCE:
        stand_still(world, place);
        look = 6500;
        break;
    case SCHEDULE_LINK:
        cut_replicas(world);
        break;
    case SCHEDULE_DRAIN:
        drain(world, place < SHARDS_MAX ? place : (int)below(world, (uint64_t)world->shards));
        break;
    case SCHEDULE_STUCK:
        for (int i = 0; i < world->shards; i++)
            world->shard[i].stuck = place >= SHARDS_MAX || i == place;
        look = 4500;
        /* fall through */
    case SCHEDULE_SPLIT:
        if (one_in(world, 2))
            split(world);
        else
            merge(world);
        break;
    default:
        if (place >= SHARDS_MAX)
            place = (int)below(world, (uint64_t)world->shards);
        shard_leave(&world->shard[place]);
    }
    later(world, look * MS, FAULT_END, 0);
}

void fault_event(struct world *world, struct event *event)
{
    struct process *process = process_at(world, event->place);
    switch ((enum fault)event->number) {
    case FAULT_RESTART:
        restart(world, event->place);
        break;
    case FAULT_RESUME:
        process_resume(process);
        break;
    case FAULT_MEND_LINKS:
        mend_links(world, event->place);
        break;
    case FAULT_MEND_LINK:
        mend_link(world, event->place, event->other);
        break;
    case FAULT_MEND_SHORT:
        world->shard[event->place].disk_short = false;
        break;
    case FAULT_MEND_DISK:
        mend_disk(world, &world->shard[event->place]);
        break;
    case FAULT_END:
        world->end = world->now;
        break;
    case FAULT_STRIKE:
        if (world->healed)
            break;
        if (world->schedule == SCHEDULE_ANY)
            strike(world);
        else
            strike_once(world);
        break;
    }
}

void heal(struct world *world)
{
    say(world, "everything is mended");
    world->healed = true;
    world->loss = world->duplicate = 0;
    world->slow = 0;
    world->manner.assign_ms = world->manner.derive_ms = world->manner.agree_ms =
        world->manner.unwritten = 0;
    for (int i = 0; i < PLACES; i++) {
        if (!exists(world, i))
            continue;
        mend_links(world, i);
        process_resume(process_at(world, i));
        if (i < SHARDS_MAX) {
            world->shard[i].disk_short = world->shard[i].stuck = false;
            mend_disk(world, &world->shard[i]);
        }
        later(world, below(world, 300 * MS), FAULT_RESTART, i);
        /* Who is about to stop is started again after it did. */
        later(world, 3000 * MS, FAULT_RESTART, i);
    }
}
