#include "shard/search_plan.h"
#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/document.h"

#include <math.h>
#include <stdlib.h>

static int compare_stats(const void *a, const void *b)
{
    const Quire__TokenStat *x = *(Quire__TokenStat *const *)a, *y = *(Quire__TokenStat *const *)b;
    if (x->field != y->field)
        return x->field < y->field ? -1 : 1;
    return bytes_compare(bytes_of(x->token.data, x->token.len),
                         bytes_of(y->token.data, y->token.len));
}

struct stats { /* request->tokens, sorted */
    Quire__TokenStat **sorted;
    size_t count;
};

static int find_frequency(const struct stats *stats, uint8_t space, struct bytes token,
                          uint64_t *df, struct err *err)
{
    Quire__TokenStat wanted = {.field = space, .token = {token.size, (uint8_t *)token.data}};
    Quire__TokenStat *key = &wanted;
    Quire__TokenStat **found = stats->count ? bsearch(&key, stats->sorted, stats->count,
                                                      sizeof *stats->sorted, compare_stats)
                                            : NULL;
    if (!found)
        return err_set(err, ERR_INVALID, "no statistics for the token '%.*s' of field %u",
                       (int)token.size, (const char *)token.data, space);
    *df = (*found)->document_frequency;
    return 0;
}

static int plan_tokens(struct search_plan *plan, struct plan_node *node,
                       const Quire__QueryNode *from, const struct stats *stats, struct arena *arena,
                       struct err *err)
{
    struct bytes *tokens = arena_alloc(arena, from->n_tokens * sizeof *tokens);
    uint32_t *offsets = arena_alloc(arena, from->n_tokens * sizeof *offsets);
    if (!tokens || !offsets)
        return err_set(err, ERR_NOMEM, "out of memory for a query");
    node->df = UINT64_MAX;
    for (size_t i = 0; i < from->n_tokens; i++) {
        tokens[i] = bytes_of(from->tokens[i].data, from->tokens[i].len);
        offsets[i] = from->n_offsets ? from->offsets[i] : (uint32_t)i;
        uint64_t df = 0;
        int status = find_frequency(stats, plan_space(node->field), tokens[i], &df, err);
        if (status)
            return status;
        node->idf += score_idf(plan->collection.documents, df);
        node->df = df < node->df ? df : node->df;
    }
    node->tokens = tokens;
    node->offsets = offsets;
    node->token_count = (uint32_t)from->n_tokens;
    plan->cursor_count += node->token_count;
    return 0;
}

/* A category is the list of its documents, and adds nothing to a score. */
static int plan_category(struct search_plan *plan, struct plan_node *node, struct arena *arena,
                         struct err *err)
{
    uint8_t space[DOCUMENT_CATEGORY_TOKEN_BYTES];
    struct buf key = {0};
    text_key(bytes_str(node->text), &key);
    struct bytes token = document_category_token(buf_bytes(&key), space);
    struct bytes *tokens = arena_alloc(arena, sizeof *tokens);
    uint8_t *copy = arena_copy(arena, token.data, token.size);
    buf_deinit(&key);
    if (!tokens || !copy)
        return err_set(err, ERR_NOMEM, "out of memory for a query");
    *tokens = bytes_of(copy, token.size);
    node->field = TEXT_FIELD_CATEGORY_KEY;
    node->tokens = tokens;
    node->token_count = 1;
    plan->cursor_count++;
    return 0;
}

static int plan_node(struct search_plan *plan, struct plan_node *node, const Quire__QueryNode *from,
                     const struct stats *stats, struct arena *arena, struct err *err)
{
    node->op = from->op;
    node->occur = from->has_occur ? from->occur : QUIRE__QUERY_NODE__OCCUR__SHOULD;
    node->field = (uint8_t)from->field;
    node->slop = from->slop;
    node->text = from->text;
    node->boost = from->has_boost ? (double)from->boost : 1.0;
    switch (from->op) {
    case QUIRE__QUERY_NODE__OP__TERM:
    case QUIRE__QUERY_NODE__OP__PHRASE:
        return plan_tokens(plan, node, from, stats, arena, err);
    case QUIRE__QUERY_NODE__OP__CATEGORY:
        return plan_category(plan, node, arena, err);
    case QUIRE__QUERY_NODE__OP__PREFIX:
    case QUIRE__QUERY_NODE__OP__FUZZY:
        return err_set(err, ERR_INVALID, "a prefix or near spelling was not expanded");
    default:
        return 0;
    }
}

/* Children of each node, in the query's order. */
static void plan_children(struct search_plan *plan, const Quire__Query *query, uint32_t *first)
{
    search_subtrees(query, first);
    uint32_t used = 0;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        uint32_t arity = query->nodes[i]->arity;
        plan->nodes[i].first = used;
        plan->nodes[i].count = arity;
        uint32_t child = i;
        for (uint32_t k = arity; k-- > 0;) {
            child = k + 1 == arity ? i - 1 : first[child] - 1;
            plan->children[used + k] = child;
        }
        used += arity;
    }
}

/* Downwards: parents stand behind their children. */
static void plan_boosts(struct search_plan *plan)
{
    for (uint32_t i = plan->node_count; i-- > 0;) {
        struct plan_node *node = &plan->nodes[i];
        if (node->boost > SCORE_BOOST_MAX)
            node->boost = SCORE_BOOST_MAX;
        for (uint32_t k = 0; k < node->count; k++)
            plan->nodes[plan->children[node->first + k]].boost *= node->boost;
        node->score.weight = node->boost * node->idf * SCORE_ONE;
        node->score.table = plan->table;
    }
}

/* ---- the query as a flat list of clauses ---- */

static bool add_clauses(struct search_plan *plan, uint32_t index, Quire__QueryNode__Occur occur);

/* A group in which all are wanted: its parts are wanted where it is wanted. */
static bool add_all(struct search_plan *plan, const struct plan_node *node,
                    Quire__QueryNode__Occur occur)
{
    for (uint32_t i = 0; i < node->count; i++) {
        uint32_t child = plan->children[node->first + i];
        Quire__QueryNode__Occur own = plan->nodes[child].occur;
        bool scores =
            own == QUIRE__QUERY_NODE__OCCUR__MUST || own == QUIRE__QUERY_NODE__OCCUR__SHOULD;
        if (occur == QUIRE__QUERY_NODE__OCCUR__FILTER && scores)
            own = own == QUIRE__QUERY_NODE__OCCUR__MUST ? QUIRE__QUERY_NODE__OCCUR__FILTER : own;
        if (occur == QUIRE__QUERY_NODE__OCCUR__FILTER && own == QUIRE__QUERY_NODE__OCCUR__SHOULD)
            continue;
        if (!add_clauses(plan, child, own))
            return false;
    }
    return true;
}

/* A group in which any is enough: flat where any is enough, or none is wanted. */
static bool add_any(struct search_plan *plan, const struct plan_node *node,
                    Quire__QueryNode__Occur occur)
{
    if (occur != QUIRE__QUERY_NODE__OCCUR__SHOULD && occur != QUIRE__QUERY_NODE__OCCUR__MUST_NOT)
        return false;
    for (uint32_t i = 0; i < node->count; i++) {
        uint32_t child = plan->children[node->first + i];
        if (plan->nodes[child].occur != QUIRE__QUERY_NODE__OCCUR__SHOULD ||
            !add_clauses(plan, child, occur))
            return false;
    }
    return true;
}

static bool add_clauses(struct search_plan *plan, uint32_t index, Quire__QueryNode__Occur occur)
{
    const struct plan_node *node = &plan->nodes[index];
    bool optional =
        occur == QUIRE__QUERY_NODE__OCCUR__SHOULD || occur == QUIRE__QUERY_NODE__OCCUR__MUST_NOT;
    switch (node->op) {
    case QUIRE__QUERY_NODE__OP__TERM:
    case QUIRE__QUERY_NODE__OP__PHRASE:
        if (node->score.weight > SCORE_WEIGHT_MAX)
            return false;
        plan->clauses[plan->clause_count++] = (struct plan_clause){node, occur};
        return true;
    case QUIRE__QUERY_NODE__OP__BOOL:
        for (uint32_t i = 0; i < node->count; i++) {
            Quire__QueryNode__Occur own = plan->nodes[plan->children[node->first + i]].occur;
            if (own == QUIRE__QUERY_NODE__OCCUR__MUST || own == QUIRE__QUERY_NODE__OCCUR__FILTER)
                return !optional && add_all(plan, node, occur);
        }
        return add_any(plan, node, occur);
    case QUIRE__QUERY_NODE__OP__CATEGORY:
        if (occur == QUIRE__QUERY_NODE__OCCUR__SHOULD)
            return false;
        if (occur == QUIRE__QUERY_NODE__OCCUR__MUST)
            occur = QUIRE__QUERY_NODE__OCCUR__FILTER;
        plan->clauses[plan->clause_count++] = (struct plan_clause){node, occur};
        return true;
    case QUIRE__QUERY_NODE__OP__NONE:
        return optional;
    default:
        return false;
    }
}

/* The root of a query that only wants words and excludes others is an `any` with exclusions. */
static bool add_root(struct search_plan *plan)
{
    uint32_t root = plan->node_count - 1;
    const struct plan_node *node = &plan->nodes[root];
    if (node->op != QUIRE__QUERY_NODE__OP__BOOL)
        return add_clauses(plan, root, QUIRE__QUERY_NODE__OCCUR__MUST);
    return add_all(plan, node, QUIRE__QUERY_NODE__OCCUR__MUST);
}

static void count_clauses(struct search_plan *plan, bool *words)
{
    *words = true;
    for (uint32_t i = 0; i < plan->clause_count; i++) {
        const struct plan_node *node = plan->clauses[i].node;
        *words &= node->token_count == 1 && node->field != TEXT_FIELD_BODY;
        switch (plan->clauses[i].occur) {
        case QUIRE__QUERY_NODE__OCCUR__SHOULD:
            plan->should_count++;
            if (node->df > plan->most_frequent)
                plan->most_frequent = node->df;
            break;
        case QUIRE__QUERY_NODE__OCCUR__MUST_NOT:
            plan->not_count++;
            break;
        default:
            plan->must_count++;
            *words &= plan->clauses[i].occur == QUIRE__QUERY_NODE__OCCUR__MUST;
        }
    }
}

static void plan_shape(struct search_plan *plan)
{
    bool words;
    plan->shape = PLAN_TREE;
    if (!add_root(plan))
        return;
    if (plan->clause_count == 1 && plan->clauses[0].occur == QUIRE__QUERY_NODE__OCCUR__SHOULD)
        plan->clauses[0].occur = QUIRE__QUERY_NODE__OCCUR__MUST;
    count_clauses(plan, &words);
    if (words && plan->must_count <= 1 && plan->must_count + plan->should_count > 0)
        plan->shape = PLAN_ANY;
    else if (plan->must_count > 0)
        plan->shape = PLAN_ALL;
}

static int check_numbers(const Quire__ShardSearch *request, struct err *err)
{
    if (!(isfinite(request->k1) && request->k1 >= 0 && request->k1 <= 1000))
        return err_set(err, ERR_INVALID, "k1 is not between 0 and 1000");
    if (!(request->b >= 0 && request->b <= 1))
        return err_set(err, ERR_INVALID, "b is not between 0 and 1");
    if (request->limit > LIMIT_HITS + 1)
        return err_set(err, ERR_INVALID, "%u hits asked for (limit %d)", request->limit,
                       LIMIT_HITS);
    return 0;
}

int search_plan_build(const Quire__ShardSearch *request, struct arena *arena,
                      struct search_plan **out, struct err *err)
{
    *out = NULL;
    int status = check_numbers(request, err);
    if (status)
        return status;
    const Quire__Query *query = request->query;
    size_t nodes = query->n_nodes;
    struct search_plan *plan = arena_calloc(arena, 1, sizeof *plan);
    struct stats stats = {.count = request->n_tokens};
    stats.sorted = arena_alloc(arena, (stats.count + 1) * sizeof *stats.sorted);
    uint32_t *first = arena_alloc(arena, nodes * sizeof *first);
    if (!plan || !stats.sorted || !first)
        goto no_memory;
    plan->nodes = arena_calloc(arena, nodes, sizeof *plan->nodes);
    plan->children = arena_alloc(arena, nodes * sizeof *plan->children);
    plan->clauses = arena_alloc(arena, nodes * sizeof *plan->clauses);
    if (!plan->nodes || !plan->children || !plan->clauses)
        goto no_memory;
    for (size_t i = 0; i < stats.count; i++)
        stats.sorted[i] = request->tokens[i];
    qsort(stats.sorted, stats.count, sizeof *stats.sorted, compare_stats);
    plan->node_count = (uint32_t)nodes;
    plan->collection = (struct score_collection){
        .documents = request->documents,
        .total_length = request->total_length,
        .k1 = request->k1,
        .b = request->b,
    };
    plan->table = score_table_get(&plan->collection);
    for (size_t i = 0; i < nodes; i++) {
        status = plan_node(plan, &plan->nodes[i], query->nodes[i], &stats, arena, err);
        if (status)
            return status;
    }
    plan_children(plan, query, first);
    plan_boosts(plan);
    plan_shape(plan);
    *out = plan;
    return 0;
no_memory:
    return err_set(err, ERR_NOMEM, "out of memory for a query");
}
