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
static void keep_missing(struct round *round)
{
    struct arena *arena = &round->request->arena;
    round->missing_count = gather_missing_ranges(&round->scatter.gather, &round->missing);
    for (size_t i = 0; i < round->missing_count; i++) {
        Quire__MissingRange *missing = round->missing[i];
        missing->lo.data = arena_copy(arena, missing->lo.data, missing->lo.len);
        missing->hi.data = arena_copy(arena, missing->hi.data, missing->hi.len);
    }
}

static void on_stats(struct scatter *scatter)
{
    struct round *round = scatter->data;
    struct rpc_request *request = round->request;
    struct arena *arena = &request->arena;
    struct err err = {0};
    if (round->complete ? !scatter_require_all(scatter) : !scatter_accepted(scatter))
        return;
    Quire__ShardStatsReply stats = QUIRE__SHARD_STATS_REPLY__INIT;
    for (size_t i = 0; i < scatter->gather.piece_count; i++) {
        const Quire__ShardStatsReply *answer = (const Quire__ShardStatsReply *)scatter->replies[i];
        if (answer != NULL && query_plan_merge(&stats, answer, &round->ask, arena, &err) != 0) {
            request_error(request, ERR_INTERNAL, "statistics of a shard: %s", err.text);
            return;
        }
    }
    quire__shard_search__init(&round->search);
    if (query_plan_search(round->query, &round->ask, &stats, arena, &round->search, &round->limited,
                          &err) != 0) {
        request_error(request, err.code, "%s", err.text);
        return;
    }
    round->search.k1 = round->k1;
    round->search.b = round->b;
    round->stamp = stamp_of(&round->search);
    keep_missing(round);
    round->done(round);
}

static void done_at_once(struct later_item *item)
{
    struct scatter *scatter = list_entry(item, struct scatter, later);
    struct round *round = scatter->data;
    round->done(round);
}

/* A shard that does not answer must not eat the time of round two as well: the answer would miss
 * everything. */
static uint64_t first_deadline(const struct round *round)
{
    uint64_t now = clock_ms();
    return round->deadline_ms > now ? now + (round->deadline_ms - now) * 2 / 5 : now;
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
    round->collection = collection->id;
    round->k1 = collection->has_k1 ? collection->k1 : DEFAULT_K1;
    round->b = collection->has_b ? collection->b : DEFAULT_B;
    round->none = query_plan_is_none(round->query);
    quire__shard_stats__init(&round->ask);
    if (query_plan_ask(round->query, arena, &round->ask, &err) != 0) {
        request_error(request, err.code, "%s", err.text);
        return false;
    }
    struct scatter *scatter = &round->scatter;
    scatter->coordinator = round->coordinator;
    scatter->request = request;
    scatter->collection = collection->id;
    scatter->kind = QUIRE__KIND__KIND_SHARD_STATS;
    scatter->reply_type = &quire__shard_stats_reply__descriptor;
    scatter->deadline_ms = round->complete ? round->deadline_ms : first_deadline(round);
    scatter->data = round;
    scatter->build = build_stats;
    scatter->done = on_stats;
    if (round->none)
        later_post(&round->coordinator->later, &scatter->later, 0, done_at_once);
    else
        scatter_start(scatter);
    return true;
}
