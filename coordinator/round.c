#include "coordinator/round.h"

#include "coordinator/defaults.h"
#include "coordinator/messages.h"
#include "coordinator/query_parse.h"
#include "coordinator/query_plan.h"
#include "proto/base/clock.h"
#include "proto/limits.h"

#include <string.h>

static void build_stats(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                        struct buf *out)
{
    struct round *round = scatter->data;
    Quire__ShardStats message = round->ask;
    message.ranges = ranges;
    message.n_ranges = count;
    message_pack(&message.base, out);
}

/* Two searches with equal stamps were scored alike. */
static uint64_t stamp_of(const Quire__ShardSearch *search)
{
    struct buf all;
    buf_init(&all);
    buf_append_be64(&all, search->documents);
    buf_append_be64(&all, search->total_length);
    for (size_t i = 0; i < search->n_tokens; i++) {
        const Quire__TokenStat *stat = search->tokens[i];
        buf_append_be32(&all, stat->field);
        buf_append_be64(&all, stat->document_frequency);
        buf_append_be32(&all, (uint32_t)stat->token.len);
        buf_append(&all, stat->token.data, stat->token.len);
    }
    uint64_t stamp = hash64(all.data, all.size);
    buf_deinit(&all);
    return stamp;
}

/* What is missing, in memory that outlives the map. */
static void keep_missing(struct round *round, const struct gather *gather)
{
    struct arena *arena = &round->request->arena;
    round->missing_count = gather_missing_ranges(gather, &round->missing);
    for (size_t i = 0; i < round->missing_count; i++) {
        Quire__MissingRange *missing = round->missing[i];
        missing->lo.data = arena_copy(arena, missing->lo.data, missing->lo.len);
        missing->hi.data = arena_copy(arena, missing->hi.data, missing->hi.len);
    }
}

/* Makes the message of round two from what is known of the ranges. */
static int plan_search(struct round *round, struct err *err)
{
    struct arena *arena = &round->request->arena;
    Quire__RangeStats sum = QUIRE__RANGE_STATS__INIT;
    for (size_t i = 0; i < round->known_count; i++)
        if (query_plan_merge(&sum, round->known[i], &round->ask, arena, err) != 0)
            return err->code;
    quire__shard_search__init(&round->search);
    int rc = query_plan_search(round->query, &round->ask, &sum, arena, &round->search,
                               &round->limited, err);
    round->search.k1 = round->k1;
    round->search.b = round->b;
    round->stamp = stamp_of(&round->search);
    return rc;
}

/* ---- what the ranges say ---- */

/* Looks from *at on, and round: who asks in key order finds each within a step or two. */
static const Quire__RangeStats *find_known(const Quire__RangeStats *const *known, size_t count,
                                           uint64_t range, size_t *at)
{
    for (size_t i = 0; i < count; i++, ++*at) {
        if (*at >= count)
            *at = 0;
        if (known[*at]->range == range)
            return known[*at];
    }
    return NULL;
}

const Quire__RangeStats *round_range_stats(const struct round *round, uint64_t range, size_t *at)
{
    return find_known(round->known, round->known_count, range, at);
}

uint64_t round_min_seq(const struct scatter *scatter, uint64_t range)
{
    const struct round *round = scatter->data;
    size_t at = 0;
    const Quire__RangeStats *stats = round_range_stats(round, range, &at);
    return stats != NULL ? stats->seq : 0;
}

/* The part of one shard, which has to be about what it says it covers. */
static int take_stats(struct round *round, Quire__RangeStats *const *stats, size_t count,
                      const uint64_t *covered, size_t covered_count, struct err *err)
{
    if (count != covered_count)
        return err_set(err, ERR_INTERNAL, "statistics of %zu ranges instead of %zu", count,
                       covered_count);
    for (size_t i = 0; i < count; i++) {
        if (stats[i]->range != covered[i])
            return err_set(err, ERR_INTERNAL, "statistics of range %llu instead of %llu",
                           (unsigned long long)stats[i]->range, (unsigned long long)covered[i]);
        round->known[round->known_count++] = stats[i];
    }
    return 0;
}

/* Which ranges round one was about, also those that are missing in it. */
static void keep_asked(struct round *round, const struct gather *gather)
{
    round->asked_count = gather->range_count;
    round->asked =
        arena_calloc(&round->request->arena, gather->range_count + 1, sizeof *round->asked);
    for (size_t i = 0; i < gather->range_count; i++)
        round->asked[i] = gather->ranges[i].range->id;
}

/* Ends round one: `known` holds what was asked for. */
static void statistics_taken(struct round *round, const struct gather *gather, int rc,
                             struct err *err)
{
    size_t span = trace_begin(round->trace, 0, "plan", clock_us());
    if (rc == 0)
        rc = plan_search(round, err);
    trace_end(round->trace, span, clock_us());
    if (rc != 0) {
        request_error(round->request, ERR_INTERNAL, "statistics of a shard: %s", err->text);
        return;
    }
    for (size_t i = 0; round->cacheable && i < round->known_count; i++)
        stats_cache_put(round->coordinator->statistics, &round->questions, round->known[i]);
    keep_missing(round, gather);
    keep_asked(round, gather);
    round->presumed = false;
    round->done(round);
}

static void make_room_for(struct round *round, size_t ranges)
{
    round->known = arena_calloc(&round->request->arena, ranges + 1, sizeof *round->known);
    round->known_count = 0;
}

static void on_stats(struct scatter *scatter)
{
    struct round *round = scatter->data;
    struct err err = {0};
    int rc = 0;
    if (round->complete ? !scatter_require_all(scatter) : !scatter_accepted(scatter))
        return;
    make_room_for(round, scatter->gather.range_count);
    for (size_t i = 0; i < scatter->gather.piece_count && rc == 0; i++) {
        const Quire__ShardStatsReply *answer = (const Quire__ShardStatsReply *)scatter->replies[i];
        if (answer != NULL)
            rc = take_stats(round, answer->ranges, answer->n_ranges, answer->covered,
                            answer->n_covered, &err);
    }
    statistics_taken(round, &scatter->gather, rc, &err);
}

/* A shard that does not answer must not eat the time of round two as well: the answer would miss
 * everything. */
static uint64_t first_deadline(const struct round *round)
{
    uint64_t now = clock_ms();
    return round->deadline_ms > now ? now + (round->deadline_ms - now) * 2 / 5 : now;
}

static void prepare_scatter(struct round *round)
{
    round->scatter = (struct scatter){
        .coordinator = round->coordinator,
        .request = round->request,
        .collection = round->collection,
        .kind = QUIRE__KIND__KIND_SHARD_STATS,
        .reply_type = &quire__shard_stats_reply__descriptor,
        .deadline_ms = round->complete ? round->deadline_ms : first_deadline(round),
        .view = round->view,
        .trace = round->trace,
        .trace_name = "statistics",
        .data = round,
        .build = build_stats,
        .done = on_stats,
    };
}

/* ---- what the cache says ---- */

static bool any_up(struct coordinator *coordinator, const Quire__Range *range)
{
    for (size_t i = 0; i < range->n_in_sync; i++) {
        const struct node *node = nodes_find(&coordinator->nodes, range->in_sync[i]);
        if (node != NULL && node->up)
            return true;
    }
    return false;
}

/* Whether all ranges are known, by nodes that are there. */
static bool presume(struct round *round)
{
    struct coordinator *coordinator = round->coordinator;
    struct map_ranges ranges = map_ranges(coordinator->map, round->collection);
    make_room_for(round, ranges.count);
    for (size_t i = 0; i < ranges.count; i++) {
        const Quire__Range *range = ranges.items[i];
        const Quire__RangeStats *stats = NULL;
        if (any_up(coordinator, range))
            stats = stats_cache_find(coordinator->statistics, range->id, &round->questions,
                                     &round->request->arena);
        if (stats == NULL)
            return false;
        round->known[round->known_count++] = stats;
    }
    struct err err = {0};
    return ranges.count > 0 && plan_search(round, &err) == 0;
}

void round_presume(struct round *round, Quire__ShardSearch *message)
{
    message->ask = &round->ask;
    message->n_seqs = message->n_ranges;
    message->seqs =
        arena_calloc(&round->request->arena, message->n_ranges + 1, sizeof *message->seqs);
    size_t at = 0;
    for (size_t i = 0; i < message->n_ranges; i++) {
        const Quire__RangeStats *stats = round_range_stats(round, message->ranges[i]->id, &at);
        /* A range that the map got in this moment is at no seq that anybody knows. */
        message->seqs[i] = stats != NULL ? stats->seq : UINT64_MAX;
    }
}

/* What a shard says now, or what it has just confirmed. */
static int take_answer(struct round *round, const Quire__ShardSearchReply *answer,
                       const Quire__RangeStats **before, size_t before_count, struct err *err)
{
    if (answer->n_moved_on > 0)
        return take_stats(round, answer->moved_on, answer->n_moved_on, answer->covered,
                          answer->n_covered, err);
    size_t at = 0;
    for (size_t i = 0; i < answer->n_covered; i++) {
        const Quire__RangeStats *stats = find_known(before, before_count, answer->covered[i], &at);
        if (stats == NULL)
            return err_set(err, ERR_INTERNAL, "range %llu confirms what was not asked",
                           (unsigned long long)answer->covered[i]);
        round->known[round->known_count++] = stats;
    }
    return 0;
}

static bool any_moved_on(const struct scatter *searched)
{
    for (size_t i = 0; i < searched->gather.piece_count; i++) {
        const Quire__ShardSearchReply *answer =
            (const Quire__ShardSearchReply *)searched->replies[i];
        if (answer != NULL && answer->n_moved_on > 0)
            return true;
    }
    return false;
}

static void forget_missing(struct round *round, const struct gather *gather)
{
    for (size_t i = 0; i < gather->range_count; i++)
        if (gather->ranges[i].state == GATHER_MISSING)
            stats_cache_forget(round->coordinator->statistics, gather->ranges[i].range->id);
}

/* A range has moved on: with what the shards just said, and what the others confirmed, this was
 * round one. */
static void take_moved_on(struct round *round, struct scatter *searched)
{
    struct err err = {0};
    int rc = 0;
    const Quire__RangeStats **before = round->known;
    size_t before_count = round->known_count;
    round->coordinator->searches.outdated++;
    make_room_for(round, searched->gather.range_count);
    for (size_t i = 0; i < searched->gather.piece_count && rc == 0; i++) {
        const Quire__ShardSearchReply *answer =
            (const Quire__ShardSearchReply *)searched->replies[i];
        if (answer != NULL)
            rc = take_answer(round, answer, before, before_count, &err);
    }
    statistics_taken(round, &searched->gather, rc, &err);
}

static void begin_again(struct round *round)
{
    round->presumed = false;
    prepare_scatter(round);
    scatter_start(&round->scatter);
}

bool round_confirmed(struct round *round, struct scatter *searched)
{
    if (searched->status != 0)
        return true;
    forget_missing(round, &searched->gather);
    if (searched->unsettled) {
        begin_again(round);
        return false;
    }
    if (!any_moved_on(searched))
        return true;
    if (round->complete ? scatter_require_all(searched) : scatter_accepted(searched))
        take_moved_on(round, searched);
    return false;
}

bool round_fits(struct round *round, const struct scatter *searched)
{
    const struct gather *gather = &searched->gather;
    if (searched->status != 0)
        return true;
    for (size_t i = 0, at = 0; i < gather->range_count; i++, at++) {
        while (at < round->asked_count && round->asked[at] != gather->ranges[i].range->id)
            at++;
        if (at < round->asked_count)
            continue;
        begin_again(round);
        return false;
    }
    return true;
}

/* ---- start ---- */

static void done_at_once(struct later_item *item)
{
    struct scatter *scatter = list_entry(item, struct scatter, later);
    struct round *round = scatter->data;
    round->done(round);
}

bool round_start(struct round *round, const Quire__Collection *collection, const char *text,
                 bool all, bool strict)
{
    struct rpc_request *request = round->request;
    struct arena *arena = &request->arena;
    struct err err = {0};
    size_t size = strlen(text);
    if (size > LIMIT_QUERY_BYTES) {
        request_error(request, ERR_TOO_LARGE, "a query has at most %u bytes, this one has %zu",
                      LIMIT_QUERY_BYTES, size);
        return false;
    }
    struct analyzer *analyzer = coordinator_analyzer(
        round->coordinator, collection->language != NULL ? collection->language : "none", &err);
    struct query_parse_options options = {.all = all, .strict = strict};
    if (analyzer == NULL ||
        query_parse(analyzer, bytes_of(text, size), &options, arena, &round->query,
                    &round->warnings, &round->warning_count, &err) != 0) {
        request_error(request, err.code, "%s", err.text);
        return false;
    }
    round->analyzer = analyzer;
    round->collection = collection->id;
    round->k1 = collection->has_k1 ? collection->k1 : DEFAULT_K1;
    round->b = collection->has_b ? collection->b : DEFAULT_B;
    round->none = query_plan_is_none(round->query);
    quire__shard_stats__init(&round->ask);
    if (query_plan_ask(round->query, arena, &round->ask, &err) != 0) {
        request_error(request, err.code, "%s", err.text);
        return false;
    }
    round->cacheable = map_ranges(round->coordinator->map, collection->id).count <=
                       ROUND_CACHED_MAX / (round->ask.n_tokens + round->ask.n_expand + 1);
    if (round->cacheable)
        stats_questions_init(&round->questions, &round->ask, arena);
    prepare_scatter(round);
    round->presumed = !round->none && round->may_presume && round->cacheable && presume(round);
    if (round->none || round->presumed)
        later_post(&round->coordinator->later, &round->scatter.later, 0, done_at_once);
    else
        scatter_start(&round->scatter);
    return true;
}
