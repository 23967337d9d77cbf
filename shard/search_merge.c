/* Adding up the statistics of ranges: sums, and expansions merged as two sorted lists. */
#include "proto/limits.h"
#include "shard/search.h"

static struct bytes token_of(const Quire__TokenStat *stat)
{
    return bytes_of(stat->token.data, stat->token.len);
}

static int compare_at(const Quire__Expansion *a, size_t i, const Quire__Expansion *b, size_t k)
{
    if (i == a->n_tokens || k == b->n_tokens)
        return i == a->n_tokens ? 1 : -1;
    if (a->distances[i] != b->distances[k])
        return a->distances[i] < b->distances[k] ? -1 : 1;
    return bytes_compare(token_of(a->tokens[i]), token_of(b->tokens[k]));
}

static int merge_expansion(Quire__Expansion *to, const Quire__Expansion *from, size_t limit,
                           struct arena *arena, struct err *err)
{
    size_t most = to->n_tokens + from->n_tokens;
    Quire__TokenStat **tokens = arena_alloc(arena, (most + 1) * sizeof *tokens);
    uint32_t *distances = arena_alloc(arena, (most + 1) * sizeof *distances);
    if (!tokens || !distances)
        return err_set(err, ERR_NOMEM, "out of memory for statistics");
    size_t count = 0, i = 0, k = 0;
    while (count < limit && (i < to->n_tokens || k < from->n_tokens)) {
        int order = compare_at(to, i, from, k);
        const Quire__Expansion *source = order <= 0 ? to : from;
        size_t at = order <= 0 ? i : k;
        Quire__TokenStat *stat = arena_copy(arena, source->tokens[at], sizeof *stat);
        if (!stat)
            return err_set(err, ERR_NOMEM, "out of memory for statistics");
        if (order == 0)
            stat->document_frequency += from->tokens[k]->document_frequency;
        tokens[count] = stat;
        distances[count++] = source->distances[at];
        i += order <= 0;
        k += order >= 0;
    }
    to->tokens = tokens;
    to->distances = distances;
    to->n_tokens = to->n_distances = count;
    return 0;
}

static bool same_shape(const Quire__ShardStatsReply *a, const Quire__ShardStatsReply *b)
{
    if (a->n_tokens != b->n_tokens || a->n_expansions != b->n_expansions)
        return false;
    for (size_t i = 0; i < a->n_tokens; i++)
        if (a->tokens[i]->field != b->tokens[i]->field ||
            !bytes_equal(token_of(a->tokens[i]), token_of(b->tokens[i])))
            return false;
    for (size_t i = 0; i < b->n_expansions; i++)
        if (a->expansions[i]->node != b->expansions[i]->node ||
            b->expansions[i]->n_tokens != b->expansions[i]->n_distances)
            return false;
    return true;
}

int search_statistics_add(Quire__ShardStatsReply *to, const Quire__ShardStatsReply *from,
                          uint32_t expand_limit, struct arena *arena, struct err *err)
{
    if (!same_shape(to, from))
        return err_set(err, ERR_INTERNAL, "statistics of different questions");
    to->documents += from->documents;
    to->total_length += from->total_length;
    for (size_t i = 0; i < to->n_tokens; i++)
        to->tokens[i]->document_frequency += from->tokens[i]->document_frequency;
    uint32_t limit = expand_limit < LIMIT_EXPANSION ? expand_limit : LIMIT_EXPANSION;
    for (size_t i = 0; i < to->n_expansions; i++) {
        int status =
            merge_expansion(to->expansions[i], from->expansions[i], (size_t)limit + 1, arena, err);
        if (status)
            return status;
    }
    return 0;
}
