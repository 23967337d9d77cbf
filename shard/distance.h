/* Spelling distance: the optimal string alignment distance over code points. An insertion, a
 * deletion, a substitution and a swap of two neighbours count one each. (Damerau 1964; no part is
 * edited twice.)
 */
#ifndef QUIRE_SHARD_DISTANCE_H
#define QUIRE_SHARD_DISTANCE_H

#include "proto/base/arena.h"
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

/* A walk over texts of which each shares its beginning with the one before: what is known of the
 * shared bytes is not computed again. For limits of 1 and 2. */
#define DISTANCE_TEXT_MAX 32768 /* bytes of such a text */
#define DISTANCE_NO_BYTES UINT32_MAX

struct distance_state; /* after so many bytes of a text; distance.c */
struct distance_letters;

struct distance_walk {
    const struct distance_word *word;
    const struct distance_word *beginning; /* distance_walks_add(); NULL: none */
    uint64_t ends;                         /* the bits of a whole word; 0: too long a one */
    uint32_t limit;
    struct distance_letters *letters; /* of the word */
    struct distance_state *states;    /* after 0 .. capacity bytes */
    uint32_t capacity;
    uint32_t known; /* bytes of the last text that are in `text` */
    /* No text that has at least so many bytes in common with the last one is within the limit;
     * DISTANCE_NO_BYTES: that cannot be said. */
    uint32_t dead;
    uint8_t *text;               /* the last one; as far as `dead` when it is dead */
    struct distance_word *other; /* scratch */
};

/* `word` must outlive the walk, memory is the arena's. False: no memory. */
bool distance_walk_init(struct distance_walk *walk, const struct distance_word *word,
                        uint32_t limit, struct arena *arena);
/* As distance_between(), of the text that begins with the first `shared` bytes of the one before
 * (with less than walk->dead of them; 0 for the first one) and goes on with `rest`. */
uint32_t distance_walk_to(struct distance_walk *walk, uint32_t shared, struct bytes rest);
/* The last text, unless it is dead; valid until the next one. */
struct bytes distance_walk_text(const struct distance_walk *walk);

/* Walks with several words, of one limit, over the same texts. */
#define DISTANCE_WALKS_MAX 2

struct distance_walks { /* = {.limit = ...} */
    struct distance_walk walk[DISTANCE_WALKS_MAX];
    uint32_t count, limit;
    uint32_t dead; /* as of a walk: for all words */
};

/* As distance_walk_init(), of one word more. A stem that is the beginning of the word before costs
 * nothing: its rows are in those of that word. */
bool distance_walks_add(struct distance_walks *walks, const struct distance_word *word,
                        struct arena *arena);
/* As distance_walk_to(): the least of the distances. *text is the text when it is within the limit;
 * valid until the next one. */
uint32_t distance_walks_to(struct distance_walks *walks, uint32_t shared, struct bytes rest,
                           struct bytes *text);

#endif
