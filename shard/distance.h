/* Spelling distance: the optimal string alignment distance over code points. An insertion, a
 * deletion, a substitution and a swap of two neighbours count one each. (Damerau 1964; no part is
 * edited twice.)
 */
#ifndef QUIRE_SHARD_DISTANCE_H
#define QUIRE_SHARD_DISTANCE_H

#include "proto/base/bytes.h"

#define DISTANCE_POINTS_MAX 4200 /* code points; the key of the longest headword has fewer */

/* One side of many comparisons. Bytes that are not UTF-8 count as code points of their own. */
struct distance_word {
    uint32_t count;
    uint32_t points[DISTANCE_POINTS_MAX];
};

/* Beyond DISTANCE_POINTS_MAX the rest is left out. */
void distance_word_init(struct distance_word *word, struct bytes text);
/* The distance, or limit + 1 when it is larger than limit. */
uint32_t distance_between(const struct distance_word *a, const struct distance_word *b,
                          uint32_t limit);

/* The bytes of the first code point; empty for an empty text. */
struct bytes distance_first_letter(struct bytes text);

#endif
