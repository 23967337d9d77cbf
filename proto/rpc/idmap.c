#include "proto/rpc/idmap.h"

#include "proto/base/err.h"

#include <stdlib.h>

#define IDMAP_FIRST 16

void idmap_init(struct idmap *map)
{
    *map = (struct idmap){0};
}

void idmap_deinit(struct idmap *map)
{
    free(map->slots);
    *map = (struct idmap){0};
}

/* Ids are mostly consecutive, or chosen by a stranger: the multiplication spreads both (Knuth). */
static size_t home(const struct idmap *map, uint64_t id)
{
    return (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (map->capacity - 1);
}

static struct idmap_slot *find(const struct idmap *map, uint64_t id)
{
    size_t at = home(map, id);
    while (map->slots[at].value && map->slots[at].id != id)
        at = (at + 1) & (map->capacity - 1);
    return &map->slots[at];
}

static int grow(struct idmap *map)
{
    struct idmap larger = {.capacity = map->capacity ? map->capacity * 2 : IDMAP_FIRST,
                           .count = map->count};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return ERR_NOMEM;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].value)
            *find(&larger, map->slots[i].id) = map->slots[i];
    free(map->slots);
    *map = larger;
    return 0;
}

int idmap_put(struct idmap *map, uint64_t id, void *value)
{
    if (map->count * 3 >= map->capacity * 2) {
        int status = grow(map);
        if (status)
            return status;
    }
    struct idmap_slot *slot = find(map, id);
    if (slot->value)
        return ERR_EXISTS;
    *slot = (struct idmap_slot){id, value};
    map->count++;
    return 0;
}

void *idmap_get(const struct idmap *map, uint64_t id)
{
    return map->count ? find(map, id)->value : NULL;
}

void *idmap_take(struct idmap *map, uint64_t id)
{
    if (!map->count)
        return NULL;
    struct idmap_slot *slot = find(map, id);
    void *value = slot->value;
    if (!value)
        return NULL;
    map->count--;
    /* Close the gap: whatever follows and could not be reached across it moves into it. */
    size_t mask = map->capacity - 1, gap = (size_t)(slot - map->slots);
    for (size_t at = (gap + 1) & mask; map->slots[at].value; at = (at + 1) & mask) {
        size_t want = home(map, map->slots[at].id);
        if (((at - want) & mask) >= ((at - gap) & mask)) {
            map->slots[gap] = map->slots[at];
            gap = at;
        }
    }
    map->slots[gap].value = NULL;
    return value;
}
