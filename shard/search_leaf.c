/* The leaves: a word, a word of the body, a phrase, a category, everything, nothing. */
#include "proto/limits.h"
#include "shard/search_iter.h"

struct leaf {
    struct iter iter;
    const struct plan_node *node;
    struct posting_cursor **cursors; /* of each token, in the node's order */
    struct posting_cursor **by_cost; /* the same, rarest first */
    uint32_t count;
    uint32_t freq; /* of the document that matches() said yes to */
};

static uint64_t no_score(struct iter *it)
{
    return 0;
}

static struct leaf *leaf_create(struct search_context *context, const struct plan_node *node,
                                const struct iter_ops *ops)
{
    struct leaf *leaf = search_alloc(context, 1, sizeof *leaf);
    if (!leaf)
        return NULL;
    leaf->iter.ops = ops;
    leaf->iter.context = context;
    leaf->iter.asked = POSTING_END;
    leaf->iter.doc = POSTING_END;
    leaf->node = node;
    return leaf;
}

/* ---- nothing, everything ---- */

static void none_advance(struct iter *it, uint32_t target)
{
    it->doc = POSTING_END;
}

static const struct iter_ops none_ops = {.advance = none_advance, .score = no_score};

struct iter *iter_none(struct search_context *context)
{
    struct leaf *leaf = leaf_create(context, NULL, &none_ops);
    return leaf ? &leaf->iter : NULL;
}

static void all_advance(struct iter *it, uint32_t target)
{
    bool on =
        target < it->context->doc_limit && (target % POSTING_BLOCK || search_tick(it->context));
    it->doc = on ? target : POSTING_END;
}

static const struct iter_ops all_ops = {.advance = all_advance, .score = no_score};

static struct iter *every_document(struct search_context *context, const struct plan_node *node)
{
    struct leaf *leaf = leaf_create(context, node, &all_ops);
    if (!leaf)
        return NULL;
    leaf->iter.cost = context->doc_limit;
    leaf->iter.doc = context->doc_limit > 0 ? 0 : POSTING_END;
    return &leaf->iter;
}

/* ---- words ---- */

static void term_advance(struct iter *it, uint32_t target)
{
    it->doc = search_cursor_seek(it->context, ((struct leaf *)it)->cursors[0], target);
}

static uint64_t term_score(struct iter *it)
{
    struct leaf *leaf = (struct leaf *)it;
    return score_part(&leaf->node->score, search_cursor_freq(it->context, leaf->cursors[0]),
                      search_norm(it->context, it->doc));
}

static const struct iter_ops term_ops = {.advance = term_advance, .score = term_score};
static const struct iter_ops category_ops = {.advance = term_advance, .score = no_score};

static uint64_t counted_score(struct iter *it)
{
    struct leaf *leaf = (struct leaf *)it;
    return score_part(&leaf->node->score, leaf->freq, search_norm(it->context, it->doc));
}

/* ---- phrases ---- */

static void phrase_advance(struct iter *it, uint32_t target)
{
    struct leaf *leaf = (struct leaf *)it;
    uint32_t doc = search_cursor_seek(it->context, leaf->by_cost[0], target);
    for (uint32_t i = 1; doc != POSTING_END && i < leaf->count;) {
        uint32_t at = search_cursor_seek(it->context, leaf->by_cost[i], doc);
        if (at == doc) {
            i++;
        } else {
            doc = at == POSTING_END ? at : search_cursor_seek(it->context, leaf->by_cost[0], at);
            i = 1;
        }
    }
    it->doc = doc;
}

/* How many times the phrase occurs: beginnings from which each further word follows in order, the
 * steps longer than the phrase's own by `slop` in all. From a beginning the nearest next position
 * is always the best one, and as beginnings rise those never fall back: one pass over each list. */
static uint32_t phrase_count(const struct plan_node *node, const uint32_t *const *positions,
                             const uint32_t *counts, uint32_t *at, uint32_t end)
{
    uint32_t found = 0;
    uint32_t last = node->token_count - 1;
    for (uint32_t i = 0; i <= last; i++)
        at[i] = 0;
    for (uint32_t start = 0; start < counts[0]; start++) {
        uint32_t here = positions[0][start];
        for (uint32_t i = 1; i <= last; i++) {
            uint32_t least = here + node->offsets[i] - node->offsets[i - 1];
            while (at[i] < counts[i] && positions[i][at[i]] < least)
                at[i]++;
            if (at[i] == counts[i])
                return found;
            here = positions[i][at[i]];
        }
        if (here >= end)
            return found;
        if (here - positions[0][start] - node->offsets[last] <= node->slop)
            found++;
    }
    return found;
}

uint32_t search_phrase_frequency(struct search_context *context, const struct plan_node *node,
                                 struct posting_cursor *const *cursors, uint32_t doc)
{
    const uint32_t *positions[LIMIT_PHRASE_TOKENS];
    uint32_t counts[LIMIT_PHRASE_TOKENS], at[LIMIT_PHRASE_TOKENS];
    if (!search_tick(context)) /* an entry may have millions of positions */
        return 0;
    for (uint32_t i = 0; i < node->token_count; i++) {
        context->status = cursors[i]->ops->positions(cursors[i], cursors[i]->index, &positions[i],
                                                     &counts[i], context->err);
        if (context->status)
            return 0;
    }
    uint32_t end = UINT32_MAX;
    if (node->field == TEXT_FIELD_BODY)
        end = context->segment->ops->body_length(context->segment, doc);
    return phrase_count(node, positions, counts, at, end);
}

/* A phrase, or a word of the body: occurrences below the body's length are what counts. */
static bool counted_matches(struct iter *it)
{
    struct leaf *leaf = (struct leaf *)it;
    leaf->freq = search_phrase_frequency(it->context, leaf->node, leaf->cursors, it->doc);
    return leaf->freq > 0;
}

static const struct iter_ops body_ops = {
    .advance = term_advance, .matches = counted_matches, .score = counted_score};

static const struct iter_ops phrase_ops = {
    .advance = phrase_advance, .matches = counted_matches, .score = counted_score};

static void sort_by_cost(struct posting_cursor **cursors, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct posting_cursor *cursor = cursors[i];
        uint32_t k = i;
        for (; k > 0 && cursors[k - 1]->df > cursor->df; k--)
            cursors[k] = cursors[k - 1];
        cursors[k] = cursor;
    }
}

static struct iter *words(struct search_context *context, const struct plan_node *node)
{
    bool phrase = node->token_count > 1;
    const struct iter_ops *ops = phrase                                   ? &phrase_ops
                                 : node->field == TEXT_FIELD_BODY         ? &body_ops
                                 : node->field == TEXT_FIELD_CATEGORY_KEY ? &category_ops
                                                                          : &term_ops;
    struct leaf *leaf = leaf_create(context, node, ops);
    if (!leaf)
        return NULL;
    leaf->cursors = search_alloc(context, node->token_count, sizeof(struct posting_cursor *));
    leaf->by_cost = search_alloc(context, node->token_count, sizeof(struct posting_cursor *));
    if (!leaf->cursors || !leaf->by_cost)
        return NULL;
    leaf->count = node->token_count;
    for (uint32_t i = 0; i < node->token_count; i++) {
        leaf->cursors[i] = search_open(context, node->field, node->tokens[i]);
        if (!leaf->cursors[i])
            return context->status ? NULL : iter_none(context);
        leaf->by_cost[i] = leaf->cursors[i];
    }
    sort_by_cost(leaf->by_cost, leaf->count);
    leaf->iter.two_phase = ops->matches != NULL;
    leaf->iter.cost = leaf->by_cost[0]->df;
    ops->advance(&leaf->iter, 0);
    return &leaf->iter;
}

struct iter *iter_leaf(struct search_context *context, const struct plan_node *node)
{
    return node->token_count > 0 ? words(context, node) : every_document(context, node);
}

uint32_t iter_leaf_frequency(const struct iter *it)
{
    const struct leaf *leaf = (const struct leaf *)it;
    if (leaf->count == 0)
        return 0;
    return it->two_phase ? leaf->freq : search_cursor_freq(it->context, leaf->cursors[0]);
}
