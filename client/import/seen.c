#include "client/import/seen.h"

#include <assert.h>
#include <stdlib.h>

/* An open-addressed table with linear probing, at most half full. */
struct slot {
    uint64_t hash;   /* of name and value, mixed */
    uint32_t number; /* 0: free */
};

struct seen {
    struct slot *slots;
    size_t capacity; /* a power of two */
    size_t count;
};

static uint64_t mix(uint64_t name, uint64_t value)
{
    uint64_t hash = name * UINT64_C(0x9e3779b97f4a7c15) ^ value;

    hash ^= hash >> 32;
    hash *= UINT64_C(0xd6e8feb86659fd93);
    return hash ^ hash >> 29;
}

struct seen *seen_create(void)
{
    struct seen *seen = calloc(1, sizeof *seen);

    if (seen == NULL)
        return NULL;
    seen->capacity = 64;
    seen->slots = calloc(seen->capacity, sizeof *seen->slots);
    if (seen->slots == NULL) {
        free(seen);
        return NULL;
    }
    return seen;
}

void seen_destroy(struct seen *seen)
{
    if (seen == NULL)
        return;
    free(seen->slots);
    free(seen);
}

static struct slot *probe(const struct seen *seen, uint64_t hash)
{
    size_t at = (size_t)hash & (seen->capacity - 1);

    while (seen->slots[at].number != 0 && seen->slots[at].hash != hash)
        at = (at + 1) & (seen->capacity - 1);
    return &seen->slots[at];
}

uint32_t seen_find(const struct seen *seen, uint64_t name, uint64_t value)
{
    return probe(seen, mix(name, value))->number;
}

static void grow(struct seen *seen)
{
    struct seen bigger = {.capacity = seen->capacity * 2};

    bigger.slots = calloc(bigger.capacity, sizeof *bigger.slots);
    assert(bigger.slots != NULL);
    for (size_t i = 0; i < seen->capacity; i++)
        if (seen->slots[i].number != 0)
            *probe(&bigger, seen->slots[i].hash) = seen->slots[i];
    free(seen->slots);
    seen->slots = bigger.slots;
    seen->capacity = bigger.capacity;
}

void seen_put(struct seen *seen, uint64_t name, uint64_t value, uint32_t number)
{
    struct slot *slot;

    assert(number != 0);
    if ((seen->count + 1) * 2 > seen->capacity)
        grow(seen);
    slot = probe(seen, mix(name, value));
    if (slot->number == 0)
        seen->count++;
    slot->hash = mix(name, value);
    slot->number = number;
}
