/* Splits and merges on a shard: it makes the targets beside their sources, again and again, and
 * once these are sealed keeps what it made on its disk; when the map has the targets in the places
 * of the sources, it gives these up first and opens the targets then. */
#include "tests/simulation/simulation.h"

#include <string.h>

#define FAILS 40 /* one target in so many cannot be made */

static struct world *world_of(const struct shard *shard)
{
    return shard->process.world;
}

/* What makes this target, and which of the targets it is; NULL: nothing does. */
static const Quire__Reshape *reshape_of(const struct map *map, int slot,
                                        const Quire__ReshapeTarget **target)
{
    for (size_t i = 0; map != NULL && i < map->message->n_ranges; i++) {
        const Quire__Reshape *reshape = map->message->ranges[i]->reshape;
        for (size_t k = 0; reshape != NULL && k < reshape->n_targets; k++) {
            *target = reshape->targets[k];
            if ((*target)->id == id_of(slot))
                return reshape;
        }
    }
    return NULL;
}

static const Quire__Reshape *reshape_at(const struct shard *shard, int source)
{
    const Quire__Range *range = shard->map == NULL ? NULL : range_in(shard->map, source);
    return range == NULL ? NULL : range->reshape;
}

/* Whether the sources are as the map has them: under these epochs, and sealed. */
static bool is_of_now(const struct shard *shard, const Quire__Reshape *reshape,
                      const struct image *image)
{
    if (!image->there || !image->sealed || !reshape->sealed)
        return false;
    for (size_t i = 0; i < reshape->n_sources; i++)
        if (image->epoch[i] != range_in(shard->map, slot_of(reshape->sources[i]))->epoch)
            return false;
    return true;
}

/* Those in sync build. */
static bool builds(struct shard *shard, const Quire__Reshape *reshape)
{
    for (size_t i = 0; i < reshape->n_sources; i++) {
        int slot = slot_of(reshape->sources[i]);
        const struct replica *source = &shard->replica[slot];
        if (source->core == NULL || !source->has_data ||
            !map_range_in_sync(range_in(shard->map, slot), shard->process.id))
            return false;
    }
    return true;
}

/* ---- what it says ---- */

struct derived_report reshape_report(const struct shard *shard, int slot)
{
    struct derived_report report = {0};
    const Quire__Reshape *reshape = reshape_at(shard, slot);
    const struct replica *source = &shard->replica[slot];
    if (reshape == NULL || source->core == NULL)
        return report;
    report.derived = true;
    report.seq = UINT64_MAX;
    for (size_t i = 0; i < reshape->n_targets; i++) {
        const struct derived *derived = &shard->derived[slot_of(reshape->targets[i]->id)];
        const struct image *image = reshape->sealed ? &derived->kept : &derived->memory;
        uint64_t seq = image->seq[reshape->sources[0] == id_of(slot) ? 0 : 1];
        report.failed |= derived->failed;
        report.derived &= image->there && (!reshape->sealed || is_of_now(shard, reshape, image));
        report.seq = seq < report.seq ? seq : report.seq;
    }
    uint64_t end = source->state.applied;
    report.drained = reshape->sealed && !source->broken &&
                     replication_role(source->core) == REPLICATION_PRIMARY &&
                     replication_epoch(source->core) == range_in(shard->map, slot)->epoch &&
                     replication_committed(source->core) == end &&
                     replication_last(source->core) == end;
    return report;
}

/* While it takes no writes the others wait for what it says: it does not wait for its turn. */
static void tell_news(struct shard *shard, const Quire__Reshape *reshape)
{
    bool news = false;
    for (size_t i = 0; i < reshape->n_sources && reshape->sealed; i++) {
        int slot = slot_of(reshape->sources[i]);
        struct derived_report report = reshape_report(shard, slot), *said = &shard->said[slot];
        news |= report.derived != said->derived || report.drained != said->drained ||
                (report.derived && report.seq != said->seq);
        *said = report;
    }
    for (int i = 0; i < world_of(shard)->coordinators && news; i++)
        post_own(&shard->process, 0, EVENT_REGISTER)->other = COORDINATORS_MAX + i;
}

bool reshape_seals(const struct replica *replica)
{
    const Quire__Reshape *reshape = reshape_at(replica->shard, replica->range);
    return reshape != NULL && reshape->sealed;
}

/* ---- building ---- */

static void later(struct shard *shard, int slot, uint64_t delay, enum event_kind kind)
{
    struct event *event = post_own(&shard->process, delay, kind);
    event->number = (uint64_t)slot;
    event->number2 = shard->derived[slot].generation;
}

static void build_later(struct shard *shard, int slot, bool sealed)
{
    struct world *world = world_of(shard);
    uint64_t most = world->manner.derive_ms;
    uint64_t delay = sealed ? 10 : 30;
    if (most > delay && one_in(world, sealed ? 8 : 3))
        delay = most;
    later(shard, slot, (1 + below(world, delay)) * MS, EVENT_DERIVED);
}

static void add_source(struct image *image, const Quire__ReshapeTarget *target, size_t which,
                       const struct replica *source)
{
    const struct state *from = &source->state;
    struct bytes lo = bytes_of(target->lo.data, target->lo.len);
    struct bytes hi = bytes_of(target->hi.data, target->hi.len);
    image->seq[which] = from->applied;
    image->epoch[which] = replication_epoch(source->core);
    for (int i = 0; i < KEYS; i++)
        if (source->shard->process.world->history[source->range].covers[i] && key_within(i, lo, hi))
            image->state.key[i] = from->key[i];
    for (int i = 0; i < CLIENTS; i++) {
        if (from->batch[i] <= image->state.batch[i])
            continue;
        image->state.batch[i] = from->batch[i];
        image->state.seq[i] = from->seq[i];
    }
}

static void build(struct shard *shard, int slot)
{
    struct world *world = world_of(shard);
    struct derived *derived = &shard->derived[slot];
    const Quire__ReshapeTarget *target;
    const Quire__Reshape *reshape = reshape_of(shard->map, slot, &target);
    struct image image = {.there = true, .sealed = reshape->sealed};
    build_later(shard, slot, reshape->sealed);
    if (derived->failed)
        return;
    for (size_t i = 0; i < reshape->n_sources; i++)
        add_source(&image, target, i, &shard->replica[slot_of(reshape->sources[i])]);
    derived->memory = image;
    bool kept = is_of_now(shard, reshape, &derived->kept);
    if (kept && (image.seq[0] < derived->kept.seq[0] || image.seq[1] < derived->kept.seq[1]))
        return; /* a source was opened just now, and does not know yet what is committed */
    kept = kept && memcmp(derived->kept.seq, image.seq, sizeof image.seq) == 0;
    if (reshape->sealed && !derived->writing && !kept && !shard->stuck) {
        derived->writing = true;
        derived->written = image;
        uint64_t took = shard->disk_slow ? 200 * MS : 5 * MS;
        later(shard, slot, 100 + below(world, took), EVENT_DERIVED_KEPT);
    }
    tell_news(shard, reshape);
}

static void keep(struct shard *shard, int slot)
{
    struct derived *derived = &shard->derived[slot];
    const Quire__ReshapeTarget *target;
    const Quire__Reshape *reshape = reshape_of(shard->map, slot, &target);
    derived->writing = false;
    if (shard->disk_full || !is_of_now(shard, reshape, &derived->written))
        return;
    derived->kept = derived->written;
    tell_news(shard, reshape);
}

void reshape_event(struct shard *shard, const struct event *event)
{
    int slot = (int)event->number;
    struct derived *derived = &shard->derived[slot];
    if (!derived->building || derived->generation != event->number2)
        return;
    if (event->kind == EVENT_DERIVED)
        build(shard, slot);
    else
        keep(shard, slot);
}

static void stop(struct derived *derived)
{
    derived->generation++;
    derived->building = derived->failed = derived->writing = false;
    derived->memory.there = false;
}

void reshape_follow(struct shard *shard)
{
    struct world *world = world_of(shard);
    for (int i = 0; i < world->slots; i++) {
        struct derived *derived = &shard->derived[i];
        const Quire__ReshapeTarget *target;
        const Quire__Reshape *reshape = reshape_of(shard->map, i, &target);
        bool wanted = reshape != NULL && builds(shard, reshape);
        if (!wanted && derived->building)
            stop(derived);
        if (wanted ? !is_of_now(shard, reshape, &derived->kept)
                   : shard->replica[i].copy != COPY_INSTALLS)
            derived->kept.there = false;
        if (!wanted || derived->building)
            continue;
        derived->building = true;
        derived->generation++;
        derived->failed = world->schedule == SCHEDULE_ANY && one_in(world, FAILS);
        build_later(shard, i, reshape->sealed);
    }
}

void reshape_close(struct shard *shard)
{
    for (int i = 0; i < world_of(shard)->slots; i++) {
        struct derived *derived = &shard->derived[i];
        if (derived->writing && !shard->disk_full && one_in(world_of(shard), 2))
            derived->kept = derived->written;
        stop(derived);
        shard->said[i] = (struct derived_report){0};
    }
}

/* ---- the targets take their places ---- */

static uint64_t highest(const uint64_t pair[2])
{
    return pair[0] > pair[1] ? pair[0] : pair[1];
}

bool reshape_installs(struct replica *replica, const Quire__Range *range)
{
    struct shard *shard = replica->shard;
    struct world *world = world_of(shard);
    const struct image *kept = &shard->derived[replica->range].kept;
    if (!range->has_origin_epoch || !kept->there || highest(kept->epoch) != range->origin_epoch ||
        highest(kept->seq) != range->origin_seq)
        return false;
    replica->copied = kept->state;
    replica->copied.applied = range->origin_seq;
    replica->copied.epoch = range->origin_epoch;
    replica->copy = COPY_INSTALLS;
    replica->generation++;
    uint64_t most = world->schedule == SCHEDULE_ANY && one_in(world, 3) ? 100 * MS : 2 * MS;
    struct event *event = post_own(&shard->process, below(world, most), EVENT_INSTALLED);
    event->number = (uint64_t)replica->range;
    event->number2 = replica->generation;
    return true;
}
