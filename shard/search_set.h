/* Categories of documents: a set of them to filter by, and how many matches bear each (facets).
 * Categories are compared by term key; segments number their spellings, so both work on numbers and
 * look at each name once.
 */
#ifndef QUIRE_SHARD_SEARCH_SET_H
#define QUIRE_SHARD_SEARCH_SET_H

#include "proto/base/arena.h"
#include "shard/search.h"
#include "shard/segment.h"

struct category_set;

/* Documents of `segment` with a category of one of the keys. Keys are borrowed. NULL: no memory. */
struct category_set *category_set_create(struct segment *segment, const struct bytes *keys,
                                         size_t count, struct arena *arena);
bool category_set_has(struct category_set *set, uint32_t doc);

struct facets;

struct facets *facets_create(struct arena *arena);
/* Counting goes on in `segment`; what was counted in the one before is kept. False: no memory. */
bool facets_segment(struct facets *facets, struct segment *segment);
void facets_count(struct facets *facets, struct segment *segment, uint32_t doc);
/* All that were counted, one for each key: at most LIMIT_FACET_VALUES_SHARD, the most frequent ones
 * (then by key). False: no memory. */
bool facets_finish(struct facets *facets, struct search_facet **out, size_t *count);

#endif
