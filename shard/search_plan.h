/* Search plan: a checked query as a tree with its statistics and scores worked in. Made once for a
 * request and view, the same for all segments; never changes while it is evaluated.
 */
#ifndef QUIRE_SHARD_SEARCH_PLAN_H
#define QUIRE_SHARD_SEARCH_PLAN_H

#include "proto/base/arena.h"
#include "proto/quire.pb-c.h"
#include "shard/score.h"
#include "shard/segment.h"

struct plan_node {
    Quire__QueryNode__Op op;
    Quire__QueryNode__Occur occur;
    uint8_t field; /* enum text_field as asked, TEXT_FIELD_BODY included; a category's is set */
    uint32_t first, count; /* of its children in plan->children */
    const struct bytes *tokens;
    const uint32_t *offsets; /* PHRASE: of each token, from 0 */
    uint32_t token_count;
    uint32_t slop;
    const char *text; /* as typed, or NULL */
    double boost;     /* the boosts of its groups multiplied in, at most SCORE_BOOST_MAX */
    double idf;       /* PHRASE: the sum over its tokens */
    uint64_t df;      /* PHRASE: the smallest of its tokens */
    struct score_term score;
};

/* How a query can be evaluated without its tree. */
enum plan_shape {
    PLAN_TREE, /* not at all */
    /* Any of some words (SHOULD), or one word (MUST) and perhaps some; none of others (MUST_NOT).
     */
    PLAN_ANY,
    /* All of some words and phrases (MUST, FILTER), perhaps some (SHOULD), none of others. */
    PLAN_ALL
};

struct plan_clause {
    const struct plan_node *node; /* TERM, PHRASE or CATEGORY */
    Quire__QueryNode__Occur occur;
};

struct search_plan {
    struct score_collection collection;
    const struct score_table *table; /* of the thread that made the plan and evaluates it */
    struct plan_node *nodes;         /* in the query's order: the root is the last */
    uint32_t node_count;
    uint32_t *children;    /* indices of nodes */
    uint32_t cursor_count; /* posting lists that a segment may have to open */
    enum plan_shape shape;
    struct plan_clause *clauses; /* unless PLAN_TREE */
    uint32_t clause_count;
    uint32_t should_count, must_count, not_count; /* clauses of each kind; FILTER is must */
    uint64_t most_frequent;                       /* document frequency of a SHOULD word */
};

/* `request->query` is checked (search_check). ERR_INVALID for what cannot be evaluated (PREFIX,
 * FUZZY, a token without statistics, numbers out of range); ERR_NOMEM. The plan lives in `arena`
 * and points into the request. */
int search_plan_build(const Quire__ShardSearch *request, struct arena *arena,
                      struct search_plan **out, struct err *err);

/* The list that a field's words are looked up in: TEXT_FIELD_BODY is a part of TEXT_FIELD_ALL. */
static inline uint8_t plan_space(uint32_t field)
{
    return field == TEXT_FIELD_BODY ? TEXT_FIELD_ALL : (uint8_t)field;
}

/* The first node of the subtree of each node, itself when it is a leaf; `first` has room for all
 * nodes. */
void search_subtrees(const Quire__Query *query, uint32_t *first);

/* Checks a node by itself; `index` is for the message. */
int search_check_node(const Quire__QueryNode *node, size_t index, struct err *err);

#endif
