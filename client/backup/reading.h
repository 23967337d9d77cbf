/* Reading JSON that a backup holds, of which nothing is taken on trust: lines.c, manifest.c. Nobody
 * else includes this. */
#ifndef QUIRE_BACKUP_READING_H
#define QUIRE_BACKUP_READING_H

#include "proto/base/arena.h"

#include <stdbool.h>
#include <stdlib.h>

struct reading {
    struct arena *arena; /* of what is read */
    bool bad;            /* something is not what it should be: all of it is worth nothing */
};

/* Zeros, with room for one more; of the arena. */
static inline void *reading_take(struct reading *it, size_t count, size_t size)
{
    void *memory = arena_calloc(it->arena, count + 1, size);
    if (memory == NULL)
        abort(); /* the arenas used here have no limit */
    return memory;
}

#endif
