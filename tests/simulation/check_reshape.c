/* What must hold of splits and merges. Each says in one sentence what did not. */
#include "tests/simulation/simulation.h"

#include <string.h>

typedef unsigned long long ull;

/* ---- the ranges cover the key space exactly once: by probes, not by what validates maps ---- */

struct probe {
    size_t size;
    uint8_t bytes[4];
};

/* Shorter ones come before those that they begin. */
static int compare(ProtobufCBinaryData a, const struct probe *b)
{
    for (size_t i = 0; i < a.len && i < b->size; i++)
        if (a.data[i] != b->bytes[i])
            return a.data[i] < b->bytes[i] ? -1 : 1;
    return a.len == b->size ? 0 : a.len < b->size ? -1 : 1;
}

static void check_probe(struct world *world, const struct map *map, const struct probe *key)
{
    const Quire__Range *holder = NULL;
    int count = 0;
    for (size_t i = 0; i < map->message->n_ranges; i++) {
        const Quire__Range *range = map->message->ranges[i];
        if (compare(range->lo, key) > 0 || (range->hi.len > 0 && compare(range->hi, key) <= 0))
            continue;
        holder = range;
        count++;
    }
    if (count != 1)
        violated(world, "map %llu has %d ranges for a key that begins with %02x%02x (%zu bytes)",
                 (ull)map_epoch(map), count, key->bytes[0], key->bytes[1], key->size);
    else if (map_range_of(map, 1, bytes_of(key->bytes, key->size)) != holder)
        violated(world, "map %llu finds another range than %d for a key", (ull)map_epoch(map),
                 slot_of(holder->id));
}

static void add_byte(struct probe *key, uint8_t byte)
{
    if (key->size < sizeof key->bytes)
        key->bytes[key->size++] = byte;
}

/* Each bound, what is right before it and right behind it. */
static void check_bound(struct world *world, const struct map *map, ProtobufCBinaryData bound)
{
    struct probe key = {.size = bound.len};
    if (bound.len == 0 || bound.len >= sizeof key.bytes)
        return;
    memcpy(key.bytes, bound.data, bound.len);
    check_probe(world, map, &key);
    add_byte(&key, 0);
    check_probe(world, map, &key);
    key.size = bound.len;
    if (key.bytes[bound.len - 1]-- == 0) {
        key.size--; /* what it begins with */
    } else {
        add_byte(&key, 0xff);
    }
    check_probe(world, map, &key);
}

static void check_cover(struct world *world, const struct map *map)
{
    uint64_t random = map_epoch(map) * 0x9e3779b97f4a7c15ull ^ world->seed;
    for (size_t i = 0; i < map->message->n_ranges; i++) {
        check_bound(world, map, map->message->ranges[i]->lo);
        check_bound(world, map, map->message->ranges[i]->hi);
    }
    for (int i = 0; i < 3 * KEYS; i++) {
        struct probe key = {0};
        random = (random ^ random >> 31) * 0xbf58476d1ce4e5b9ull;
        if (i > 0)
            add_byte(&key, i <= KEYS ? (uint8_t)('a' + i - 1) : (uint8_t)(random >> 56));
        for (uint64_t k = random >> 48 & 3; k > 0 && i > KEYS; k--)
            add_byte(&key, (uint8_t)(random >> (8 * k)));
        check_probe(world, map, &key);
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
        const Quire__Range *next = range_in(after, slot_of(range->id));
        if (next == NULL)
            check_source(world, range, after);
        else if (range->reshape != NULL && next->reshape == NULL)
            world->aborts += range->reshape->sources[0] == range->id;
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
