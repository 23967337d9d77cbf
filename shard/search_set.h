/* Categories of documents: which bear one of some, to filter by, and how many matches bear each
 * (facets). Categories are compared by term key. Segments number their spellings, so facets count
 * by number and look at each name once.
 */
#ifndef QUIRE_SHARD_SEARCH_SET_H
#define QUIRE_SHARD_SEARCH_SET_H

#include "proto/base/arena.h"
#include "shard/search.h"
#include "shard/segment.h"

/* The token of a category's term key (document_category_token()); data NULL: no memory. */
struct bytes category_token(struct bytes key, struct arena *arena);
/* A bit for each document of the segment, set where it bears one of the categories. */
int category_bits(const struct view_segment *in, const struct bytes *tokens, size_t count,
                  struct arena *arena, uint64_t **out, struct err *err);

struct facets;

struct facets *facets_create(struct arena *arena);
/* Counting goes on in `segment`; what was counted in the one before is kept. False: no memory. */
bool facets_segment(struct facets *facets, struct segment *segment);
void facets_count(struct facets *facets, struct segment *segment, uint32_t doc);
/* All that were counted, one for each key: at most LIMIT_FACET_VALUES_SHARD, the most frequent ones
 * (then by key). False: no memory. */
bool facets_finish(struct facets *facets, struct search_facet **out, size_t *count);

#endif
