/* Statistics cache: what ranges said of their documents, tokens and expansions, each with the seq
 * of the range that it was read at. With it the usual search needs one round instead of two.
 *
 * Why it cannot make a score wrong. What is found here is presumed, not known: the search that is
 * made with it names the seq of each range, and a range that has moved on does not evaluate but
 * says what its statistics are now (ShardSearch.seqs). Equal seq of a range means equal content, on
 * any replica and after any restart, and the id of a range is never given to another one (a split
 * gives new ids). So nothing has to be told to this cache: a coordinator that never hears of a
 * write, of another coordinator or of a change of the map is slower by a round, not wrong.
 *
 * All that is kept of a range is valid at one seq, that of its record (documents and total length).
 * What is older is not found any more, and goes when its room is needed.
 *
 *   (range, "")     -> seq, documents, total length      the record
 *   (range, token)  -> seq, document frequency
 *   (range, prefix or near spelling)  -> seq, expansion
 *
 * Memory: at most `limit` bytes, table and malloc's own share included. When they are full, the
 * items that were not used since the last time round go first (CLOCK, as a queue with a second
 * chance).
 *
 * Pure code: no I/O, no clock. One thread.
 */
#ifndef QUIRE_COORDINATOR_STATS_CACHE_H
#define QUIRE_COORDINATOR_STATS_CACHE_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/quire.pb-c.h"

struct stats_cache;

/* What is asked of each range, in the form that the cache looks up: made once, used for each. */
struct stats_questions {
    struct bytes *keys; /* in the arena: first the tokens, then the expansions */
    uint64_t *hashes;
    size_t token_count;
    size_t expand_count;
};

/* `limit` 0: keeps nothing. */
struct stats_cache *stats_cache_create(size_t limit);
void stats_cache_destroy(struct stats_cache *cache);

void stats_questions_init(struct stats_questions *questions, const Quire__ShardStats *ask,
                          struct arena *arena);

/* What the range said at the newest seq known of it; NULL unless all of the answer is there. In the
 * arena. */
Quire__RangeStats *stats_cache_find(struct stats_cache *cache, uint64_t range,
                                    const struct stats_questions *questions, struct arena *arena);

/* Keeps an answer to these questions, unless something newer is known of the range. The answer has
 * been checked to fit (query_plan_merge). */
void stats_cache_put(struct stats_cache *cache, const struct stats_questions *questions,
                     const Quire__RangeStats *stats);

/* The range is at this seq now: what is older need not be tried. */
void stats_cache_written(struct stats_cache *cache, uint64_t range, uint64_t seq);
/* Nothing is known of the range any more. */
void stats_cache_forget(struct stats_cache *cache, uint64_t range);

size_t stats_cache_bytes(const struct stats_cache *cache);
size_t stats_cache_limit(const struct stats_cache *cache);

#endif
