/* Query plan: the pure part of the two rounds of a full-text search.
 *
 *   query_parse() -> query
 *   round 1:  query_plan_ask()    query -> ShardStats.tokens and .expand
 *             query_plan_merge()  the ranges' answers -> one
 *   round 2:  query_plan_search() query + statistics -> ShardSearch, with all that scores need
 *
 * Everything made here lives in the arena that is passed, and points into the query and the
 * replies: the arena must not outlive those. No I/O; one thread at a time for an arena.
 */
#ifndef QUIRE_COORDINATOR_QUERY_PLAN_H
#define QUIRE_COORDINATOR_QUERY_PLAN_H

#include "proto/base/arena.h"
#include "proto/base/err.h"
#include "proto/quire.pb-c.h"

#include <stdbool.h>

/* Fills request->tokens with the distinct (field, token) pairs that the query scores with
 * (TEXT_FIELD_BODY counts as TEXT_FIELD_ALL), request->expand with its PREFIX and FUZZY nodes in
 * order of appearance, and expand_limit. `request` is initialised by the caller, who sets its
 * ranges. ERR_NOMEM. */
int query_plan_ask(const Quire__Query *query, struct arena *arena, Quire__ShardStats *request,
                   struct err *err);

/* Adds one range's statistics to `to`, which starts as an initialised message
 * (quire__range_stats__init; its range and seq stay 0): documents, total length and document
 * frequencies add up; the expansions of each node are merged by (distance, token) and cut at one
 * more than request->expand_limit. The result does not depend on the order of the ranges.
 * Statistics that answer something else than `request` are ERR_CORRUPT. */
int query_plan_merge(Quire__RangeStats *to, const Quire__RangeStats *from,
                     const Quire__ShardStats *request, struct arena *arena, struct err *err);

/* Fills request->query (each PREFIX and FUZZY node replaced by its expansion: NONE, a TERM, or a
 * BOOL of SHOULD TERMs with its occur and boost), ->documents, ->total_length and ->tokens. `stats`
 * may be as initialised, when no range answered. *limited: an expansion was cut, at LIMIT_EXPANSION
 * tokens, or at fewer so that the whole query keeps within LIMIT_QUERY_NODES. ERR_NOMEM. */
int query_plan_search(const Quire__Query *query, const Quire__ShardStats *asked,
                      const Quire__RangeStats *stats, struct arena *arena,
                      Quire__ShardSearch *request, bool *limited, struct err *err);

/* True when no entry can match: the query is a single NONE node. No shard needs to be asked. */
bool query_plan_is_none(const Quire__Query *query);

#endif
