/* The best k hits so far, by (score descending, key ascending), over all segments of a view.
 *
 * A key is fetched only for a hit that gets in or ties with the worst that is in. Keys point into
 * the segments until top_finish() copies them.
 */
#ifndef QUIRE_SHARD_SEARCH_TOP_H
#define QUIRE_SHARD_SEARCH_TOP_H

#include "proto/base/arena.h"
#include "shard/search.h"

struct top {
    struct search_hit *heap; /* the worst at 0 */
    size_t count, limit;
    uint64_t floor; /* known beforehand: as many hits as are wanted score at least this */
    bool has_after; /* only what sorts after (after_score, after_key) gets in */
    uint64_t after_score;
    struct bytes after_key;
};

bool top_init(struct top *top, size_t limit, struct arena *arena);
void top_after(struct top *top, uint64_t score, struct bytes key); /* the key is borrowed */
void top_offer_slow(struct top *top, struct segment *segment, uint32_t index, uint32_t doc,
                    uint64_t score);
/* Sorted, keys copied into the arena. False: no memory. */
bool top_finish(struct top *top, struct arena *arena);

/* The score that a hit needs at least to get in (with it, the key decides); for pruning. */
static inline uint64_t top_threshold(const struct top *top)
{
    if (top->limit == 0)
        return UINT64_MAX;
    uint64_t worst = top->count == top->limit ? top->heap[0].score : 0;
    return worst > top->floor ? worst : top->floor;
}

static inline void top_offer(struct top *top, struct segment *segment, uint32_t index, uint32_t doc,
                             uint64_t score)
{
    if (top->limit == 0 || (top->count == top->limit && score < top->heap[0].score))
        return;
    if (top->has_after && score > top->after_score)
        return;
    top_offer_slow(top, segment, index, doc, score);
}

#endif
