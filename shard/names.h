/* Names: headwords and other names of a range by term key: exact, prefix, substring and near
 * spelling. Reads the `name` family, and for near spellings the index over it; any thread. */
#ifndef QUIRE_SHARD_NAMES_H
#define QUIRE_SHARD_NAMES_H

#include "proto/base/arena.h"
#include "proto/quire.pb-c.h"
#include "shard/name_index.h"
#include "shard/search.h"

/* Optimal string alignment distance over code points (a swap of neighbours counts one), cut off at
 * limit + 1. */
uint32_t names_distance(struct bytes a, struct bytes b, uint32_t limit);

/* At most request->match->limit + 1 names, by (distance, key); near spellings keep the first
 * letter. Appends to the arena; *names is an array of messages as ShardMatchReply wants it. */
int names_match(struct name_index *index, const Quire__ShardMatch *request,
                const struct search_budget *budget, struct arena *arena,
                Quire__MatchedName ***names, size_t *count, struct err *err);

#endif
