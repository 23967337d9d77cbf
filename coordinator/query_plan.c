#include "coordinator/query_plan.h"
#include "proto/limits.h"
#include "proto/text/analysis.h"

#include <stdlib.h>

#define OP(name) QUIRE__QUERY_NODE__OP__##name

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for the plan of a search");
}

static bool is_expandable(const Quire__QueryNode *node)
{
    return node->op == OP(PREFIX) || node->op == OP(FUZZY);
}

static uint32_t space_of(uint32_t field)
{
    return field == TEXT_FIELD_BODY ? TEXT_FIELD_ALL : field;
}

static struct bytes token_of(const Quire__TokenStat *stat)
{
    return bytes_of(stat->token.data, stat->token.len);
}

static int compare_stats(const void *a, const void *b)
{
    const Quire__TokenStat *x = *(Quire__TokenStat *const *)a, *y = *(Quire__TokenStat *const *)b;
    if (x->field != y->field)
        return x->field < y->field ? -1 : 1;
    return bytes_compare(token_of(x), token_of(y));
}

/* Sorts and leaves one of each (field, token). */
static size_t make_distinct(Quire__TokenStat **stats, size_t count)
{
    size_t distinct = 0;
    qsort(stats, count, sizeof *stats, compare_stats);
    for (size_t i = 0; i < count; i++)
        if (distinct == 0 || compare_stats(&stats[distinct - 1], &stats[i]))
            stats[distinct++] = stats[i];
    return distinct;
}

static Quire__TokenStat *make_stat(struct arena *arena, uint32_t field, ProtobufCBinaryData token,
                                   uint64_t df)
{
    Quire__TokenStat *stat = arena_alloc(arena, sizeof *stat);
    if (!stat)
        return NULL;
    quire__token_stat__init(stat);
    stat->field = field;
    stat->token = token;
    stat->document_frequency = df;
    return stat;
}

int query_plan_ask(const Quire__Query *query, struct arena *arena, Quire__ShardStats *request,
                   struct err *err)
{
    size_t most = 0;
    for (size_t i = 0; i < query->n_nodes; i++)
        most += query->nodes[i]->n_tokens;
    request->tokens = arena_alloc(arena, (most + 1) * sizeof *request->tokens);
    request->expand = arena_alloc(arena, (query->n_nodes + 1) * sizeof *request->expand);
    if (!request->tokens || !request->expand)
        return no_memory(err);
    size_t count = 0;
    request->n_expand = 0;
    for (size_t i = 0; i < query->n_nodes; i++) {
        Quire__QueryNode *node = query->nodes[i];
        if (is_expandable(node)) {
            request->expand[request->n_expand++] = node;
        } else {
            for (size_t k = 0; k < node->n_tokens; k++, count++) {
                request->tokens[count] =
                    make_stat(arena, space_of(node->field), node->tokens[k], 0);
                if (!request->tokens[count])
                    return no_memory(err);
            }
        }
    }
    request->n_tokens = make_distinct(request->tokens, count);
    request->has_expand_limit = 1;
    request->expand_limit = LIMIT_EXPANSION;
    return 0;
}

bool query_plan_is_none(const Quire__Query *query)
{
    return query->n_nodes == 1 && query->nodes[0]->op == OP(NONE);
}

/* ---- merging ---- */

static int check_range(const Quire__RangeStats *stats, const Quire__ShardStats *request,
                       struct err *err)
{
    if (stats->n_frequencies != request->n_tokens || stats->n_expansions != request->n_expand)
        return err_set(
            err, ERR_CORRUPT, "statistics of %zu tokens and %zu expansions instead of %zu and %zu",
            stats->n_frequencies, stats->n_expansions, request->n_tokens, request->n_expand);
    for (size_t i = 0; i < stats->n_expansions; i++) {
        const Quire__Expansion *expansion = stats->expansions[i];
        if (expansion->node != i || expansion->n_tokens != expansion->n_distances ||
            expansion->n_tokens > LIMIT_EXPANSION + 1)
            return err_set(err, ERR_CORRUPT, "expansion %zu does not answer the question", i);
        for (size_t k = 0; k < expansion->n_tokens; k++) {
            const Quire__TokenStat *stat = expansion->tokens[k];
            if (stat->field != space_of(request->expand[i]->field) || stat->token.len == 0 ||
                stat->token.len > TEXT_TOKEN_BYTES)
                return err_set(err, ERR_CORRUPT, "expansion %zu holds something that is no token",
                               i);
        }
    }
    return 0;
}

static int compare_expanded(const Quire__Expansion *a, size_t i, const Quire__Expansion *b,
                            size_t k)
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
        return no_memory(err);
    size_t count = 0;
    for (size_t i = 0, k = 0; count < limit && (i < to->n_tokens || k < from->n_tokens);) {
        int order = compare_expanded(to, i, from, k);
        const Quire__Expansion *source = order <= 0 ? to : from;
        size_t at = order <= 0 ? i : k;
        uint64_t df = source->tokens[at]->document_frequency;
        if (order == 0)
            df += from->tokens[k]->document_frequency;
        tokens[count] = make_stat(arena, source->tokens[at]->field, source->tokens[at]->token, df);
        if (!tokens[count])
            return no_memory(err);
        distances[count++] = source->distances[at];
        i += order <= 0;
        k += order >= 0;
    }
    to->tokens = tokens;
    to->distances = distances;
    to->n_tokens = to->n_distances = count;
    return 0;
}

/* Makes `to` an answer of zeros to the request. */
static int start_merge(Quire__RangeStats *to, const Quire__ShardStats *request, struct arena *arena,
                       struct err *err)
{
    to->frequencies = arena_calloc(arena, request->n_tokens + 1, sizeof *to->frequencies);
    to->expansions = arena_alloc(arena, (request->n_expand + 1) * sizeof *to->expansions);
    if (!to->frequencies || !to->expansions)
        return no_memory(err);
    for (size_t i = 0; i < request->n_expand; i++) {
        Quire__Expansion *expansion = arena_alloc(arena, sizeof *expansion);
        if (!expansion)
            return no_memory(err);
        quire__expansion__init(expansion);
        expansion->node = (uint32_t)i;
        to->expansions[i] = expansion;
    }
    to->n_frequencies = request->n_tokens;
    to->n_expansions = request->n_expand;
    return 0;
}

int query_plan_merge(Quire__RangeStats *to, const Quire__RangeStats *from,
                     const Quire__ShardStats *request, struct arena *arena, struct err *err)
{
    int status = check_range(from, request, err);
    if (!status && !to->frequencies)
        status = start_merge(to, request, arena, err);
    if (status)
        return status;
    size_t limit = (size_t)request->expand_limit + 1;
    to->documents += from->documents;
    to->total_length += from->total_length;
    for (size_t i = 0; i < to->n_frequencies; i++)
        to->frequencies[i] += from->frequencies[i];
    for (size_t i = 0; i < to->n_expansions && !status; i++)
        status = merge_expansion(to->expansions[i], from->expansions[i], limit, arena, err);
    return status;
}

/* ---- substitution ---- */

struct substitution {
    struct arena *arena;
    Quire__QueryNode **nodes;
    size_t count;
    size_t each; /* tokens that one expansion may have */
    bool limited;
};

static Quire__QueryNode *put_node(struct substitution *to, const Quire__QueryNode *like,
                                  Quire__QueryNode__Op op)
{
    Quire__QueryNode *node = arena_alloc(to->arena, sizeof *node);
    if (!node)
        return NULL;
    quire__query_node__init(node);
    node->op = op;
    node->has_field = like->has_field;
    node->field = like->field;
    node->text = like->text;
    to->nodes[to->count++] = node;
    return node;
}

static bool put_terms(struct substitution *to, const Quire__QueryNode *node,
                      const Quire__Expansion *expansion, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Quire__QueryNode *term = put_node(to, node, OP(TERM));
        if (!term)
            return false;
        term->tokens = &expansion->tokens[i]->token;
        term->n_tokens = 1;
    }
    return true;
}

static bool substitute(struct substitution *to, const Quire__QueryNode *node,
                       const Quire__Expansion *expansion)
{
    size_t count = expansion ? expansion->n_tokens : 0;
    if (count > to->each) {
        count = to->each;
        to->limited = true;
    }
    if (!put_terms(to, node, expansion, count))
        return false;
    if (count != 1) {
        Quire__QueryNode *parent = put_node(to, node, count == 0 ? OP(NONE) : OP(BOOL));
        if (!parent)
            return false;
        parent->has_arity = count > 0;
        parent->arity = (uint32_t)count;
    }
    Quire__QueryNode *root = to->nodes[to->count - 1];
    root->has_occur = node->has_occur;
    root->occur = node->occur;
    root->has_boost = node->has_boost;
    root->boost = node->boost;
    return true;
}

/* The nodes that are left are shared out evenly, whatever the expansions hold: a fixed share keeps
 * the answer independent of everything but the query. An expansion to n > 1 tokens takes the place
 * of its node and n more. */
static size_t share(const Quire__Query *query, size_t expandable)
{
    if (expandable == 0)
        return 0;
    size_t tokens = 0;
    for (size_t i = 0; i < query->n_nodes; i++)
        tokens += query->nodes[i]->n_tokens;
    size_t left = query->n_nodes < LIMIT_QUERY_NODES ? LIMIT_QUERY_NODES - query->n_nodes : 0;
    size_t left_tokens = tokens < LIMIT_QUERY_TOKENS ? LIMIT_QUERY_TOKENS - tokens : 0;
    left = left < left_tokens ? left : left_tokens;
    size_t each = left / expandable;
    each = each < LIMIT_EXPANSION ? each : LIMIT_EXPANSION;
    return each > 1 ? each : 1;
}

/* Without any answer (stats is empty) the tokens are in no entry. */
static int gather_tokens(const Quire__ShardStats *asked, const Quire__RangeStats *stats,
                         struct arena *arena, Quire__ShardSearch *request, struct err *err)
{
    size_t most = asked->n_tokens;
    for (size_t i = 0; i < stats->n_expansions; i++)
        most += stats->expansions[i]->n_tokens;
    Quire__TokenStat **tokens = arena_alloc(arena, (most + 1) * sizeof *tokens);
    if (!tokens)
        return no_memory(err);
    size_t count = 0;
    for (size_t i = 0; i < asked->n_tokens; i++) {
        const Quire__TokenStat *token = asked->tokens[i];
        tokens[count] = make_stat(arena, token->field, token->token,
                                  i < stats->n_frequencies ? stats->frequencies[i] : 0);
        if (!tokens[count++])
            return no_memory(err);
    }
    for (size_t i = 0; i < stats->n_expansions; i++)
        for (size_t k = 0; k < stats->expansions[i]->n_tokens; k++)
            tokens[count++] = stats->expansions[i]->tokens[k];
    request->tokens = tokens;
    request->n_tokens = make_distinct(tokens, count);
    return 0;
}

int query_plan_search(const Quire__Query *query, const Quire__ShardStats *asked,
                      const Quire__RangeStats *stats, struct arena *arena,
                      Quire__ShardSearch *request, bool *limited, struct err *err)
{
    *limited = false;
    struct substitution to = {.arena = arena, .each = share(query, asked->n_expand)};
    Quire__Query *out = arena_alloc(arena, sizeof *out);
    size_t most = query->n_nodes + asked->n_expand * (to.each + 1);
    to.nodes = arena_alloc(arena, (most + 1) * sizeof *to.nodes);
    if (!out || !to.nodes)
        return no_memory(err);
    quire__query__init(out);
    size_t expansion = 0;
    for (size_t i = 0; i < query->n_nodes; i++) {
        Quire__QueryNode *node = query->nodes[i];
        if (!is_expandable(node)) {
            to.nodes[to.count++] = node;
            continue;
        }
        const Quire__Expansion *with =
            expansion < stats->n_expansions ? stats->expansions[expansion] : NULL;
        expansion++;
        if (!substitute(&to, node, with))
            return no_memory(err);
    }
    out->nodes = to.nodes;
    out->n_nodes = to.count;
    request->query = out;
    request->documents = stats->documents;
    request->total_length = stats->total_length;
    *limited = to.limited;
    return gather_tokens(asked, stats, arena, request, err);
}
