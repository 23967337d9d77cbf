#include "shard/key_set.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 256 /* a power of two */

static struct bytes *find(const struct key_set *set, struct bytes key)
{
    size_t at = hash64(key.data, key.size) & (set->capacity - 1);
    while (set->slots[at].data != NULL && !bytes_equal(set->slots[at], key))
        at = (at + 1) & (set->capacity - 1);
    return &set->slots[at];
}

static void grow(struct key_set *set)
{
    struct bytes *old = set->slots;
    size_t capacity = set->capacity;
    set->capacity = capacity == 0 ? CAPACITY_MIN : 2 * capacity;
    set->slots = calloc(set->capacity, sizeof set->slots[0]);
    if (set->slots == NULL)
        abort();
    for (size_t i = 0; i < capacity; i++)
        if (old[i].data != NULL)
            *find(set, old[i]) = old[i];
    free(old);
}

bool key_set_has(const struct key_set *set, struct bytes key)
{
    return set->count > 0 && find(set, key)->data != NULL;
}

void key_set_add(struct key_set *set, struct bytes key)
{
    if (2 * set->count >= set->capacity)
        grow(set);
    struct bytes *slot = find(set, key);
    if (slot->data != NULL)
        return;
    *slot = key;
    set->count++;
}

void key_set_clear(struct key_set *set)
{
    if (set->count > 0)
        memset(set->slots, 0, set->capacity * sizeof set->slots[0]);
    set->count = 0;
}

void key_set_deinit(struct key_set *set)
{
    free(set->slots);
    *set = (struct key_set){0};
}
