/* idmap: request id -> pointer, an open hash table with linear probing. Not thread-safe. */
#ifndef QUIRE_RPC_IDMAP_H
#define QUIRE_RPC_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct idmap_slot {
    uint64_t id;
    void *value; /* NULL: the slot is free */
};

struct idmap {
    struct idmap_slot *slots;
    size_t capacity; /* 0 or a power of two, at least a third of it free */
    size_t count;
};

void idmap_init(struct idmap *map);
void idmap_deinit(struct idmap *map);
/* `value` is not NULL. 0; ERR_EXISTS when the id is there already; ERR_NOMEM. */
int idmap_put(struct idmap *map, uint64_t id, void *value);
void *idmap_get(const struct idmap *map, uint64_t id);
/* Removes and returns; NULL when it is not there. */
void *idmap_take(struct idmap *map, uint64_t id);

#endif
