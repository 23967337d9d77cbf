/* Nearest: the n smallest of a stream of texts by (distance, bytes), for expansions and names; and
 * candidates, of which the nearest are asked for one after the other until there are enough that
 * will do. */
#ifndef QUIRE_SHARD_NEAREST_H
#define QUIRE_SHARD_NEAREST_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"

struct nearest_item {
    uint32_t distance;
    struct bytes text;     /* copied */
    struct bytes spelling; /* copied; may be empty */
    uint64_t number;
};

struct nearest {
    struct arena *arena;
    struct nearest_item *items; /* a heap, the worst at 0 */
    size_t count, limit;
};

/* False: no memory. */
bool nearest_init(struct nearest *nearest, size_t limit, struct arena *arena);
/* Whether (distance, text) would get in now. */
bool nearest_wants(const struct nearest *nearest, uint32_t distance, struct bytes text);
/* Takes an item that nearest_wants(). False: no memory. */
bool nearest_add(struct nearest *nearest, const struct nearest_item *item);
void nearest_sort(struct nearest *nearest); /* nothing may be added afterwards */

struct candidate {
    struct bytes text;
    uint32_t distance;
    uint32_t source, number; /* the caller's */
};

struct candidates { /* a heap, the nearest at 0, once one was taken */
    struct arena *arena;
    struct candidate *items;
    size_t count, capacity;
    bool ordered;
    struct bytes last; /* the text that was taken last */
};

void candidates_init(struct candidates *candidates, struct arena *arena);
/* Copies the text. A text may come more than once, with the same distance each time. False: no
 * memory. */
bool candidates_add(struct candidates *candidates, const struct candidate *candidate);
/* The next one by (distance, bytes), each text once; false at the end. Nothing may be added
 * afterwards. */
bool candidates_take(struct candidates *candidates, struct candidate *out);
/* The text that was taken last, as it came once more; false when it did not. */
bool candidates_take_again(struct candidates *candidates, struct candidate *out);

#endif
