/* What must hold of splits and merges. Each says in one sentence what did not. */
#include "tests/simulation/simulation.h"

#include <string.h>

typedef unsigned long long ull;

/* ---- the ranges cover the key space exactly once: by probes, not by what validates maps ---- */

static int count_holders(const struct map *map, struct bytes key)
{
    int count = 0;
    for (size_t i = 0; i < map->message->n_ranges; i++) {
        struct bytes lo = map_range_lo(map->message->ranges[i]);
        struct bytes hi = map_range_hi(map->message->ranges[i]);
        count += bytes_compare(lo, key) <= 0 && (hi.size == 0 || bytes_compare(key, hi) < 0);
    }
    return count;
}

static void check_cover(struct world *world, const struct map *map)
{
    uint8_t key[2] = {0, 0xff};
    for (size_t i = 0; i <= 2 * (KEYS + 2); i++) {
        key[0] = (uint8_t)('a' - 1 + i / 2);
        size_t size = i == 0 ? 0 : 1 + i % 2;
        int holders = count_holders(map, bytes_of(key, size));
        if (holders != 1)
            violated(world, "map %llu has %d ranges for the key \"%.*s\"", (ull)map_epoch(map),
                     holders, (int)size, (const char *)key);
    }
}

/* ---- what takes whose place ---- */

static bool same_in_sync(const Quire__Range *a, const Quire__Range *b)
{
    for (size_t i = 0; i < a->n_in_sync; i++)
        if (!map_range_in_sync(b, a->in_sync[i]))
            return false;
    return a->n_in_sync == b->n_in_sync;
}

static void check_target(struct world *world, const Quire__Range *source,
                         const Quire__Range *target)
{
    struct history *history = &world->history[slot_of(source->id)];
    int from = slot_of(source->id), to = slot_of(target->id);
    uint64_t least =
        history->count > history->acknowledged ? history->count : history->acknowledged;
    if (target->origin_seq < least)
        violated(world, "range %d begins after seq %llu; range %d, which it replaces, had %llu", to,
                 (ull)target->origin_seq, from, (ull)least);
    if (target->epoch <= source->epoch || target->origin_epoch < source->epoch)
        violated(world, "range %d has an older epoch than range %d, which it replaces", to, from);
    if (!same_in_sync(source, target))
        violated(world, "range %d is in sync elsewhere than range %d, which it replaces", to, from);
    history->replaced = true;
    history->replaced_by[to % 2] = to; /* of a split they follow one another */
}

/* Each range that is gone has targets, and they have come. */
static void check_source(struct world *world, const Quire__Range *source, const struct map *after)
{
    const Quire__Reshape *reshape = source->reshape;
    struct history *history = &world->history[slot_of(source->id)];
    history->replaced_by[0] = history->replaced_by[1] = -1;
    if (reshape == NULL || !reshape->sealed)
        violated(world, "range %d is gone, and was not sealed", slot_of(source->id));
    for (size_t i = 0; reshape != NULL && i < reshape->n_targets; i++) {
        const Quire__Range *target = range_in(after, slot_of(reshape->targets[i]->id));
        if (target == NULL)
            violated(world, "range %d is gone, and its target %d did not come", slot_of(source->id),
                     slot_of(reshape->targets[i]->id));
        else
            check_target(world, source, target);
    }
    if (reshape != NULL && reshape->sources[0] == source->id)
        *(reshape->n_targets == 2 ? &world->splits : &world->merges) += 1;
}

static void check_come(struct world *world, const Quire__Range *range, const struct map *before)
{
    for (size_t i = 0; i < before->message->n_ranges; i++) {
        const Quire__Reshape *reshape = before->message->ranges[i]->reshape;
        for (size_t k = 0; reshape != NULL && k < reshape->n_targets; k++)
            if (reshape->targets[k]->id == range->id)
                return;
    }
    violated(world, "range %d came from nowhere", slot_of(range->id));
}

void check_reshaped(struct world *world, const struct map *before, const struct map *after)
{
    check_cover(world, after);
    for (size_t i = 0; i < before->message->n_ranges; i++) {
        const Quire__Range *range = before->message->ranges[i];
        if (range_in(after, slot_of(range->id)) == NULL)
            check_source(world, range, after);
    }
    for (size_t i = 0; i < after->message->n_ranges; i++) {
        const Quire__Range *range = after->message->ranges[i];
        if (range_in(before, slot_of(range->id)) == NULL)
            check_come(world, range, before);
    }
}

/* ---- a source that was replaced ---- */

void check_replaced(struct world *world, int slot)
{
    const struct history *history = &world->history[slot];
    bool over = false;
    for (int i = 0; i < 2; i++) {
        int target = history->replaced_by[i];
        over |= target >= 0 && world->history[target].acknowledged > world->history[target].origin;
    }
    for (int i = 0; i < world->shards && over; i++)
        if (replica_leads(&world->shard[i].replica[slot]))
            violated(world,
                     "shard %d would answer reads as the primary of range %d, and what took its "
                     "place has acknowledged writes",
                     i, slot);
}

/* ---- a target that is not open yet ---- */

bool check_prepared(const struct shard *shard, int slot, uint64_t seq)
{
    const struct history *history = &shard->process.world->history[slot];
    const struct image *kept = &shard->derived[slot].kept;
    if (!kept->there || seq > history->origin)
        return false;
    for (int i = 0; i < KEYS; i++)
        if (kept->state.key[i].count != history->start.key[i].count ||
            kept->state.key[i].digest != history->start.key[i].digest)
            return false;
    return true;
}
