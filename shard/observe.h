/* Observe: what a shard tells of itself over HTTP (proto/http), and counts for it.
 *
 * What happens with every request, append, flush and merge is counted in atomics, on whichever
 * thread it ends. What the shard knows anyway is copied from it with each look of the loop
 * (OBSERVER_MS), so it is as old as that at most. The table of metrics: README.md, "Metrics".
 */
#ifndef QUIRE_SHARD_OBSERVE_H
#define QUIRE_SHARD_OBSERVE_H

#include "proto/http/http.h"
#include "proto/rpc/rpc.h"
#include "shard/range.h"

struct server;
struct shard_observe;

/* `metrics` outlives it; NULL: counted, and shown to nobody. */
struct shard_observe *shard_observe_create(struct metrics *metrics);
/* NULL is allowed. */
void shard_observe_destroy(struct shard_observe *observe);

/* A request is about to be answered: code 0, or the error's. Once for each; any thread. */
void shard_observe_ended(struct shard_observe *observe, const struct rpc_request *request,
                         int code);
/* What the ranges and the log measure themselves with; as old as the observer. */
const struct range_measures *shard_observe_ranges(const struct shard_observe *observe);
struct histogram *shard_observe_appends(const struct shard_observe *observe);

#endif
