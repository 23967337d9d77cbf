#include "coordinator/suggest.h"

#include "coordinator/messages.h"
#include "coordinator/query_plan.h"
#include "proto/base/clock.h"

#include <string.h>

static void build_ask(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                      struct buf *out)
{
    const struct suggest *suggest = scatter->data;
    Quire__ShardStats message = suggest->suggestion.request;
    message.ranges = ranges;
    message.n_ranges = count;
    message_pack(&message.base, out);
}

/* Half an answer could differ from the whole one: none is given. */
static char *read_answers(struct suggest *suggest, struct scatter *scatter)
{
    struct arena *arena = &scatter->request->arena;
    const struct suggestion *suggestion = &suggest->suggestion;
    Quire__RangeStats sum = QUIRE__RANGE_STATS__INIT;
    struct err err = {0};
    if (scatter->status != 0 || gather_missing(&scatter->gather) > 0)
        return NULL;
    for (size_t i = 0; i < scatter->gather.piece_count; i++) {
        const Quire__ShardStatsReply *answer = (const Quire__ShardStatsReply *)scatter->replies[i];
        for (size_t k = 0; answer != NULL && k < answer->n_ranges; k++)
            if (query_plan_merge(&sum, answer->ranges[k], &suggestion->request, arena, &err) != 0)
                return NULL;
    }
    return query_suggest_text(suggestion, suggest->analyzer, &sum, arena);
}

static void on_answers(struct scatter *scatter)
{
    struct suggest *suggest = scatter->data;
    suggest->done(suggest->data, read_answers(suggest, scatter));
}

bool suggest_start(struct suggest *suggest, const struct round *round, const char *query,
                   void (*done)(void *data, char *text), void *data)
{
    uint64_t now = clock_ms();
    if (round->none || round->missing_count > 0 || round->deadline_ms <= now ||
        !query_suggest_ask(round->analyzer, bytes_str(query), round->query, round->search.tokens,
                           round->search.n_tokens, &round->request->arena, &suggest->suggestion))
        return false;
    suggest->analyzer = round->analyzer;
    suggest->data = data;
    suggest->done = done;
    suggest->scatter = (struct scatter){
        .coordinator = round->coordinator,
        .request = round->request,
        .collection = round->collection,
        .kind = QUIRE__KIND__KIND_SHARD_STATS,
        .reply_type = &quire__shard_stats_reply__descriptor,
        .deadline_ms = now + (round->deadline_ms - now) / 4,
        .view = round->view,
        .trace = round->trace,
        .trace_name = "did you mean",
        .data = suggest,
        .build = build_ask,
        .done = on_answers,
    };
    scatter_start(&suggest->scatter);
    return true;
}
