/* A set of entry keys (term key, 0, sense), which it borrows: they must outlive it. Start with {0}.
 * One thread at a time. */
#ifndef QUIRE_SHARD_KEY_SET_H
#define QUIRE_SHARD_KEY_SET_H

#include "proto/base/bytes.h"

#include <stdbool.h>

struct key_set {
    struct bytes *slots; /* open addressing; no data: free */
    size_t count, capacity;
};

bool key_set_has(const struct key_set *set, struct bytes key);
/* Aborts the process when memory is out. A key that is in it stays as it is. */
void key_set_add(struct key_set *set, struct bytes key);
void key_set_clear(struct key_set *set); /* keeps the memory */
void key_set_deinit(struct key_set *set);

#endif
