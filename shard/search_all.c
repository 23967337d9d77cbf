/* All of some words and phrases, with others that may add to the score and others that must not be
 * there: a block-max conjunction.
 *
 * The shortest of the lists that a hit must be in leads. Of each of its blocks the bounds of all
 * clauses are looked at before it is decoded; its own scores, a block at a time, before the other
 * lists are moved; and bounds of their blocks before those are decoded. A document that is in all
 * lists is checked for phrases last, and not even then when the rarest of its words bounds its
 * score too low.
 *
 * While hits have to be counted, documents cannot be passed over, but scores can.
 */
#include "proto/limits.h"
#include "shard/search_collect.h"
#include "shard/search_list.h"

struct clause {
    const struct plan_node *node;
    struct search_list *lists; /* of each token, in the node's order */
    uint32_t count;
    /* The first so many of them bound its frequency: a phrase is nowhere more frequent than any of
     * its words; a near phrase than its first one, since several beginnings may share what follows.
     */
    uint32_t bounding;
    bool positions; /* a phrase, or a word of the body */
};

struct all_search {
    struct search_context *context;
    struct collector *collector;
    struct clause *required, *optional, *excluded;
    uint32_t required_count, optional_count, excluded_count;
    struct search_list **order; /* of the required clauses, the shortest first */
    uint32_t order_count;
    struct clause *lead; /* the clause of order[0] */
    bool scores;         /* some clause may add to a score */
};

/* ---- clauses ---- */

/* From where its lists are to `to`. */
static uint64_t clause_bound(const struct clause *clause, uint32_t to)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < clause->bounding; i++) {
        uint64_t bound = search_list_bound(&clause->lists[i], to);
        least = bound < least ? bound : least;
    }
    return least;
}

static bool clause_reach(struct all_search *all, struct clause *clause, uint32_t target)
{
    for (uint32_t i = 0; i < clause->count; i++) {
        struct search_list *list = &clause->lists[i];
        if (list->ended || (target > list->last && !search_list_reach(all->context, list, target)))
            return false;
    }
    return true;
}

/* Whether all its words are in the document. */
static bool clause_seek(struct all_search *all, struct clause *clause, uint32_t doc)
{
    for (uint32_t i = 0; i < clause->count; i++) {
        struct search_list *list = &clause->lists[i];
        if (list->ended || search_list_seek(all->context, list, doc) != doc)
            return false;
    }
    return true;
}

/* Its frequency in the document that all its lists stand on; 0: words are there, but no phrase. */
static uint32_t clause_frequency(struct all_search *all, struct clause *clause, uint32_t doc)
{
    struct posting_cursor *cursors[LIMIT_PHRASE_TOKENS];
    struct posting_cursor *first = clause->lists[0].cursor;
    if (!clause->positions)
        return search_list_freqs(all->context, &clause->lists[0]) ? posting_freq(first) : 0;
    for (uint32_t i = 0; i < clause->count; i++) {
        cursors[i] = clause->lists[i].cursor;
        /* Positions are stored by frequencies. */
        if (!search_list_freqs(all->context, &clause->lists[i]))
            return 0;
    }
    return search_phrase_frequency(all->context, clause->node, cursors, doc);
}

/* No more than this, from frequencies alone. */
static uint64_t clause_most(struct all_search *all, struct clause *clause, uint8_t norm)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < clause->bounding; i++) {
        uint64_t part = search_list_part(all->context, &clause->lists[i], norm);
        least = part < least ? part : least;
    }
    return least;
}

static bool clause_scored(const struct clause *clause)
{
    return clause->lists[0].score != NULL;
}

/* ---- one document that is in all required lists ---- */

static bool is_excluded(struct all_search *all, uint32_t doc)
{
    for (uint32_t i = 0; i < all->excluded_count; i++) {
        struct clause *clause = &all->excluded[i];
        if (clause_seek(all, clause, doc) &&
            (!clause->positions || clause_frequency(all, clause, doc) > 0))
            return true;
    }
    return false;
}

/* What the required clauses add at most, from the bounds of the blocks that they stand in. */
static uint64_t required_bound(const struct all_search *all, uint32_t doc)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < all->required_count; i++)
        if (clause_scored(&all->required[i]))
            sum += clause_bound(&all->required[i], doc);
    return sum;
}

static uint64_t optional_bound(struct all_search *all, uint32_t doc)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < all->optional_count; i++) {
        struct clause *clause = &all->optional[i];
        if (clause_reach(all, clause, doc))
            sum += clause_bound(clause, doc);
    }
    return sum;
}

/* The scores of the required words are added to *words; what the phrases may add to *phrases. */
static void required_parts(struct all_search *all, uint8_t norm, uint64_t *words, uint64_t *phrases)
{
    for (uint32_t i = 0; i < all->required_count; i++) {
        struct clause *clause = &all->required[i];
        if (clause_scored(clause))
            *(clause->positions ? phrases : words) += clause_most(all, clause, norm);
    }
}

/* Whether all phrases are there; with `score` theirs are added to *sum. */
static bool required_phrases(struct all_search *all, uint32_t doc, uint8_t norm, bool score,
                             uint64_t *sum)
{
    for (uint32_t i = 0; i < all->required_count; i++) {
        struct clause *clause = &all->required[i];
        if (!clause->positions)
            continue;
        uint32_t freq = clause_frequency(all, clause, doc);
        if (freq == 0)
            return false;
        if (score && clause_scored(clause))
            *sum += score_part(&clause->node->score, freq, norm);
    }
    return true;
}

static uint64_t optional_sum(struct all_search *all, uint32_t doc, uint8_t norm)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < all->optional_count; i++) {
        struct clause *clause = &all->optional[i];
        if (!clause_seek(all, clause, doc))
            continue;
        uint32_t freq = clause_frequency(all, clause, doc);
        sum += freq > 0 ? score_part(&clause->node->score, freq, norm) : 0;
    }
    return sum;
}

/* From cheap to dear: bounds of blocks, frequencies, positions. */
static void consider(struct all_search *all, uint32_t doc)
{
    struct collector *collector = all->collector;
    uint64_t threshold = top_threshold(&collector->top), sum = 0, phrases = 0, optional = 0;
    bool score = collector->top.limit > 0;
    uint8_t norm = 0;
    if (!collector_wants(collector, doc))
        return;
    if (score && threshold > 0) {
        optional = optional_bound(all, doc);
        score = required_bound(all, doc) + optional >= threshold;
    }
    if (score) {
        norm = search_norm(all->context, doc);
        required_parts(all, norm, &sum, &phrases);
        score = threshold == 0 || sum + phrases + optional >= threshold;
    }
    if ((!score && !collector_counts(collector)) || is_excluded(all, doc) ||
        !required_phrases(all, doc, norm, score, &sum))
        return;
    collector_count(collector, doc);
    if (score)
        collector_offer(collector, doc, sum + optional_sum(all, doc, norm));
}

/* ---- blocks of the lead ---- */

/* Of the required clauses but `but`, and the optional ones; lists stand at `from`. UINT64_MAX: no
 * hit from here on. */
static uint64_t others_bound(struct all_search *all, const struct clause *but, uint32_t from,
                             uint32_t to)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < all->required_count; i++) {
        struct clause *clause = &all->required[i];
        if (!clause_reach(all, clause, from))
            return UINT64_MAX;
        if (clause != but && clause_scored(clause))
            sum += clause_bound(clause, to);
    }
    for (uint32_t i = 0; i < all->optional_count; i++)
        if (clause_reach(all, &all->optional[i], from))
            sum += clause_bound(&all->optional[i], to);
    return sum;
}

/* The first document that all required lists may share, from `doc` on, which the lead has: `doc`
 * itself when they do. */
static uint32_t meet(struct all_search *all, uint32_t doc)
{
    for (uint32_t i = 1; i < all->order_count; i++) {
        struct search_list *list = all->order[i];
        uint32_t at = list->ended ? POSTING_END : search_list_seek(all->context, list, doc);
        if (at != doc)
            return at;
    }
    return doc;
}

/* Bounds at the document's own blocks, before any but the lead's is decoded. */
static bool hopeless(struct all_search *all, uint32_t doc, uint64_t lead_part, uint64_t threshold)
{
    uint64_t others = others_bound(all, all->lead, doc, doc);
    return others == UINT64_MAX || lead_part + others < threshold;
}

/* The decoded block of the lead, from `from` on. `parts`: its scores, when those help to pass over
 * documents; `others`: what all other clauses add at most. The document to go on with. */
static uint32_t walk_block(struct all_search *all, uint32_t from, const uint32_t *parts,
                           uint64_t others)
{
    struct search_list *lead = all->order[0];
    struct posting_cursor *cursor = lead->cursor;
    const struct posting_block *block = &cursor->block;
    uint32_t i = search_find(block->docs, 0, from);
    while (i < block->count && !all->context->status) {
        uint32_t doc = block->docs[i];
        if (parts) {
            uint64_t threshold = top_threshold(&all->collector->top);
            if (parts[i] + others < threshold ||
                (all->order_count > 1 && hopeless(all, doc, parts[i], threshold))) {
                i++;
                continue;
            }
        }
        uint32_t next = meet(all, doc);
        if (next == doc) {
            cursor->index = i++;
            consider(all, doc);
        } else if (next > lead->last) {
            return next;
        } else {
            i = search_find(block->docs, i, next);
        }
    }
    return lead->last + 1;
}

static void walk(struct all_search *all)
{
    struct search_list *lead = all->order[0];
    struct search_context *context = all->context;
    uint32_t target = 0, parts[POSTING_BLOCK];
    while (target != POSTING_END && !context->status && search_list_reach(context, lead, target)) {
        uint32_t last = lead->cursor->blocks.last_doc[lead->block];
        uint64_t threshold = top_threshold(&all->collector->top), others = 0;
        bool prune = !collector_counts(all->collector) && threshold > 0, scored = false;
        if (prune) {
            others = others_bound(all, all->lead, target, last);
            if (others == UINT64_MAX)
                return;
            uint64_t own = clause_scored(all->lead) ? clause_bound(all->lead, last) : 0;
            if (own + others < threshold) {
                target = last + 1;
                continue;
            }
            scored = all->lead->count == 1 && !all->lead->positions && clause_scored(all->lead);
        }
        if (!search_list_decode(context, lead) ||
            (scored && !search_list_parts(context, lead, parts)))
            return;
        target = walk_block(all, target, scored ? parts : NULL, others);
    }
}

/* ---- beginning ---- */

/* False: some token is not in the segment, or context->status is set. */
static bool open_clause(struct all_search *all, struct clause *clause, const struct plan_node *node,
                        bool scored)
{
    *clause = (struct clause){.node = node, .count = node->token_count};
    clause->bounding = node->slop > 0 ? 1 : node->token_count;
    clause->positions = node->token_count > 1 || node->field == TEXT_FIELD_BODY;
    clause->lists = search_alloc(all->context, clause->count, sizeof *clause->lists);
    for (uint32_t i = 0; clause->lists && i < clause->count; i++)
        if (!search_list_open(all->context, &clause->lists[i], node->field, node->tokens[i],
                              scored ? &node->score : NULL))
            return false;
    return clause->lists != NULL;
}

/* False: nothing can match. */
static bool open_clauses(struct all_search *all)
{
    const struct search_plan *plan = all->context->plan;
    for (uint32_t i = 0; i < plan->clause_count; i++) {
        Quire__QueryNode__Occur occur = plan->clauses[i].occur;
        const struct plan_node *node = plan->clauses[i].node;
        bool required =
            occur == QUIRE__QUERY_NODE__OCCUR__MUST || occur == QUIRE__QUERY_NODE__OCCUR__FILTER;
        bool scored =
            occur == QUIRE__QUERY_NODE__OCCUR__MUST || occur == QUIRE__QUERY_NODE__OCCUR__SHOULD;
        struct clause *clause = required ? &all->required[all->required_count]
                                : scored ? &all->optional[all->optional_count]
                                         : &all->excluded[all->excluded_count];
        bool there = open_clause(all, clause, node, scored);
        if (all->context->status || (required && !there))
            return false;
        all->required_count += there && required;
        all->optional_count += there && !required && scored;
        all->excluded_count += there && !required && !scored;
    }
    return true;
}

static void order_lists(struct all_search *all)
{
    for (uint32_t c = 0; c < all->required_count; c++) {
        struct clause *clause = &all->required[c];
        for (uint32_t i = 0; i < clause->count; i++) {
            struct search_list *list = &clause->lists[i];
            uint32_t k = all->order_count++;
            for (; k > 0 && all->order[k - 1]->cursor->df > list->cursor->df; k--)
                all->order[k] = all->order[k - 1];
            all->order[k] = list;
            if (k == 0)
                all->lead = clause;
        }
    }
}

void search_all(struct search_context *context, struct collector *collector)
{
    const struct search_plan *plan = context->plan;
    struct all_search *all = search_alloc(context, 1, sizeof *all);
    struct clause *clauses = search_alloc(context, 3 * (size_t)plan->clause_count, sizeof *clauses);
    if (!all || !clauses)
        return;
    *all = (struct all_search){.context = context,
                               .collector = collector,
                               .required = clauses,
                               .optional = clauses + plan->clause_count,
                               .excluded = clauses + 2 * (size_t)plan->clause_count};
    all->order = search_alloc(context, plan->cursor_count, sizeof(struct search_list *));
    if (!all->order || !open_clauses(all))
        return;
    order_lists(all);
    walk(all);
}
