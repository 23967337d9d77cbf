/* What a query from the wire must be before anything is done with it. protobuf-c checks next to
 * nothing: enums may hold any number, strings any bytes, lists any length. */
#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/document.h"
#include "shard/search.h"
#include "shard/search_plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int check_tokens(const Quire__QueryNode *node, size_t least, size_t most, size_t index,
                        struct err *err)
{
    if (node->n_tokens < least || node->n_tokens > most)
        return err_set(err, ERR_INVALID, "query node %zu has %zu tokens instead of %zu to %zu",
                       index, node->n_tokens, least, most);
    for (size_t i = 0; i < node->n_tokens; i++) {
        size_t size = node->tokens[i].len;
        if (size == 0 || size > TEXT_TOKEN_BYTES)
            return err_set(err, ERR_INVALID, "query node %zu has a token of %zu bytes (limit %d)",
                           index, size, TEXT_TOKEN_BYTES);
    }
    return 0;
}

/* Positions of different fields are DOCUMENT_POSITION_GAP apart: no step of a phrase may be that
 * long, else it would reach from one field into the next. */
static int check_phrase(const Quire__QueryNode *node, size_t index, struct err *err)
{
    int status = check_tokens(node, 1, LIMIT_PHRASE_TOKENS, index, err);
    if (status)
        return status;
    if (node->n_offsets && node->n_offsets != node->n_tokens)
        return err_set(err, ERR_INVALID, "query node %zu has %zu tokens but %zu offsets", index,
                       node->n_tokens, node->n_offsets);
    if (node->slop >= DOCUMENT_POSITION_GAP - 1)
        return err_set(err, ERR_INVALID, "query node %zu has a slop of %u (limit %d)", index,
                       node->slop, DOCUMENT_POSITION_GAP - 2);
    if (node->n_offsets && node->offsets[0] != 0)
        return err_set(err, ERR_INVALID, "query node %zu: offsets do not start at 0", index);
    for (size_t i = 1; i < node->n_offsets; i++) {
        uint32_t before = node->offsets[i - 1], here = node->offsets[i];
        if (here <= before || here - before + node->slop >= DOCUMENT_POSITION_GAP)
            return err_set(err, ERR_INVALID, "query node %zu: offset %zu is out of range", index,
                           i);
    }
    if (node->field != TEXT_FIELD_ALL && node->field != TEXT_FIELD_BODY)
        return err_set(err, ERR_INVALID, "query node %zu: field %u keeps no positions", index,
                       node->field);
    return 0;
}

static int check_category(const Quire__QueryNode *node, size_t index, struct err *err)
{
    if (!node->text)
        return err_set(err, ERR_INVALID, "query node %zu names no category", index);
    size_t size = strlen(node->text);
    if (size == 0 || size > LIMIT_HEADWORD_BYTES)
        return err_set(err, ERR_INVALID, "query node %zu: a category of %zu bytes (limit %d)",
                       index, size, LIMIT_HEADWORD_BYTES);
    if (!text_valid(bytes_str(node->text), NULL))
        return err_set(err, ERR_INVALID, "query node %zu: the category is not UTF-8", index);
    return 0;
}

static int check_common(const Quire__QueryNode *node, size_t index, struct err *err)
{
    if (node->has_occur && (node->occur < QUIRE__QUERY_NODE__OCCUR__SHOULD ||
                            node->occur > QUIRE__QUERY_NODE__OCCUR__FILTER))
        return err_set(err, ERR_INVALID, "query node %zu: unknown occur %d", index,
                       (int)node->occur);
    if (node->has_boost &&
        !(isfinite(node->boost) && node->boost > 0 && (double)node->boost <= SCORE_BOOST_MAX))
        return err_set(err, ERR_INVALID, "query node %zu: a boost is above 0 and at most 1000",
                       index);
    if (node->field > TEXT_FIELD_BODY)
        return err_set(err, ERR_INVALID, "query node %zu: unknown field %u", index, node->field);
    if (node->op != QUIRE__QUERY_NODE__OP__BOOL && node->arity != 0)
        return err_set(err, ERR_INVALID, "query node %zu: a leaf with %u children", index,
                       node->arity);
    return 0;
}

int search_check_node(const Quire__QueryNode *node, size_t index, struct err *err)
{
    int status = check_common(node, index, err);
    if (status)
        return status;
    switch (node->op) {
    case QUIRE__QUERY_NODE__OP__TERM:
        return check_tokens(node, 1, 1, index, err);
    case QUIRE__QUERY_NODE__OP__PHRASE:
        return check_phrase(node, index, err);
    case QUIRE__QUERY_NODE__OP__PREFIX:
        return check_tokens(node, 1, 2, index, err);
    case QUIRE__QUERY_NODE__OP__FUZZY:
        if (node->distance < 1 || node->distance > 2)
            return err_set(err, ERR_INVALID, "query node %zu: a distance of %u (1 or 2)", index,
                           node->distance);
        return check_tokens(node, 1, 2, index, err);
    case QUIRE__QUERY_NODE__OP__CATEGORY:
        return check_category(node, index, err);
    case QUIRE__QUERY_NODE__OP__ALL:
    case QUIRE__QUERY_NODE__OP__NONE:
    case QUIRE__QUERY_NODE__OP__BOOL:
        return 0;
    default:
        return err_set(err, ERR_INVALID, "query node %zu: unknown operation %d", index,
                       (int)node->op);
    }
}

int search_check(const Quire__Query *query, struct err *err)
{
    if (!query || query->n_nodes == 0)
        return err_set(err, ERR_INVALID, "an empty query");
    if (query->n_nodes > LIMIT_QUERY_NODES)
        return err_set(err, ERR_TOO_LARGE, "a query of %zu nodes (limit %d)", query->n_nodes,
                       LIMIT_QUERY_NODES);
    size_t waiting = 0; /* subtrees that no parent has taken yet */
    size_t tokens = 0;
    for (size_t i = 0; i < query->n_nodes; i++) {
        const Quire__QueryNode *node = query->nodes[i];
        int status = search_check_node(node, i, err);
        if (status)
            return status;
        tokens += node->n_tokens;
        if (tokens > LIMIT_QUERY_TOKENS) /* each opens a list */
            return err_set(err, ERR_TOO_LARGE, "a query of more than %d tokens",
                           LIMIT_QUERY_TOKENS);
        if (node->arity > waiting)
            return err_set(err, ERR_INVALID,
                           "query node %zu: %u children, but only %zu stand before it", i,
                           node->arity, waiting);
        waiting = waiting - node->arity + 1;
    }
    if (waiting != 1)
        return err_set(err, ERR_INVALID, "a query of %zu trees instead of one", waiting);
    return 0;
}

void search_subtrees(const Quire__Query *query, uint32_t *first)
{
    /* first[] doubles as the stack: the subtree before node i ends at i - 1, the one before that
     * where the first one begins, and so on. */
    for (uint32_t i = 0; i < query->n_nodes; i++) {
        uint32_t start = i;
        for (uint32_t k = 0; k < query->nodes[i]->arity; k++)
            start = first[start - 1];
        first[i] = start;
    }
}

static int compare_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static bool shows_in_text(const Quire__QueryNode *node)
{
    return (node->op == QUIRE__QUERY_NODE__OP__TERM || node->op == QUIRE__QUERY_NODE__OP__PHRASE) &&
           plan_space(node->field) == TEXT_FIELD_ALL;
}

size_t search_tokens(const Quire__Query *query, struct arena *arena, struct bytes **out)
{
    *out = NULL;
    uint32_t *first = arena_alloc(arena, query->n_nodes * sizeof *first);
    bool *excluded = arena_calloc(arena, query->n_nodes, sizeof *excluded);
    size_t most = 0;
    for (size_t i = 0; i < query->n_nodes; i++)
        most += query->nodes[i]->n_tokens;
    struct bytes *tokens = arena_alloc(arena, (most + 1) * sizeof *tokens);
    if (!first || !excluded || !tokens)
        return 0;
    search_subtrees(query, first);
    for (size_t i = 0; i < query->n_nodes; i++)
        if (query->nodes[i]->occur == QUIRE__QUERY_NODE__OCCUR__MUST_NOT)
            memset(excluded + first[i], 1, i + 1 - first[i]);
    size_t count = 0;
    for (size_t i = 0; i < query->n_nodes; i++) {
        const Quire__QueryNode *node = query->nodes[i];
        if (excluded[i] || !shows_in_text(node))
            continue;
        for (size_t k = 0; k < node->n_tokens; k++)
            tokens[count++] = bytes_of(node->tokens[k].data, node->tokens[k].len);
    }
    qsort(tokens, count, sizeof *tokens, compare_bytes);
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++)
        if (distinct == 0 || !bytes_equal(tokens[distinct - 1], tokens[i]))
            tokens[distinct++] = tokens[i];
    *out = tokens;
    return distinct;
}
