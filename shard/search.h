/* Search in one view: the evaluation of a query as ShardSearch describes it, the statistics round
 * before it, and explanations. Reads the view only; any thread, concurrently.
 */
#ifndef QUIRE_SHARD_SEARCH_H
#define QUIRE_SHARD_SEARCH_H

#include "proto/base/arena.h"
#include "proto/quire.pb-c.h"
#include "shard/view.h"

#include <stdbool.h>

/* How an evaluation stops early; both may be 0/NULL. Checked between blocks. */
struct search_budget {
    uint64_t deadline_ms; /* absolute, clock_ms() */
    bool (*abandoned)(void *data);
    void *data;
};

/* One hit before it is dressed. Sorted by (score descending, key ascending). */
struct search_hit {
    uint64_t score;
    struct bytes key; /* term key, 0, sense; in the arena */
    uint32_t segment; /* index in view->segments */
    uint32_t doc;
};

struct search_facet {
    struct bytes value; /* as written, of the smallest spelling when several fold to one key */
    uint64_t count;
};

struct search_result {
    struct search_hit *hits;
    size_t hit_count;
    uint64_t total; /* exact, unless: */
    bool total_is_lower_bound;
    struct search_facet *facets; /* all of them (at most LIMIT_FACET_VALUES_SHARD), unordered */
    size_t facet_count;
};

/* Checks a query that came over the wire: arity, limits, boosts, tokens. ERR_INVALID with a
 * sentence. Every function below may be given only checked queries.
 * ERR_TOO_LARGE beyond LIMIT_QUERY_NODES or LIMIT_QUERY_TOKENS. */
int search_check(const Quire__Query *query, struct err *err);

/* Evaluates. Hits are counted up to request->total_limit; beyond, they may be passed over without
 * being counted. ERR_DEADLINE, ERR_CANCELED, ERR_CORRUPT, ERR_NOMEM. Results live in `arena`. */
int search_run(struct view *view, const Quire__ShardSearch *request,
               const struct search_budget *budget, struct arena *arena, struct search_result *out,
               struct err *err);

/* The same hits without passing over anything, and the exact total, whatever the limit: what
 * search_run() has to agree with. */
int search_run_exhaustive(struct view *view, const Quire__ShardSearch *request,
                          const struct search_budget *budget, struct arena *arena,
                          struct search_result *out, struct err *err);

/* What the statistics round asks of one view; out->range is the caller's to set. ERR_INVALID,
 * ERR_TOO_LARGE, ERR_CORRUPT, ERR_NOMEM. The coordinator adds up the ranges (query_plan_merge). */
int search_statistics(struct view *view, const Quire__ShardStats *request, struct arena *arena,
                      Quire__RangeStats *out, struct err *err);

/* Why an entry has its score; *out fields live in `arena`. ERR_NOT_FOUND when there is no such
 * entry. */
int search_explain(struct view *view, const Quire__ShardExplain *request, struct arena *arena,
                   Quire__ExplainReply *out, struct err *err);

/* The stemmed tokens that a query looks for, distinct and sorted: what snippets mark. */
size_t search_tokens(const Quire__Query *query, struct arena *arena, struct bytes **out);

#endif
