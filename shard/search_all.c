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
    bool positions;                  /* a phrase, or a word of the body */
    struct posting_cursor **cursors; /* of the lists */
    uint32_t freq;                   /* of a required phrase, in the document under consideration */
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
    for (uint32_t i = 0; i < clause->count; i++) /* positions are stored by frequencies */
        if (!clause->cursors[i]->block.has_freqs &&
            !search_list_freqs(all->context, &clause->lists[i]))
            return 0;
    return clause->positions
               ? search_phrase_frequency(all->context, clause->node, clause->cursors, doc)
               : posting_freq(clause->cursors[0]);
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

/* Whether all phrases are there. */
static bool has_phrases(struct all_search *all, uint32_t doc)
{
    for (uint32_t i = 0; i < all->required_count; i++) {
        struct clause *clause = &all->required[i];
        if (!clause->positions)
            continue;
        clause->freq = clause_frequency(all, clause, doc);
        if (clause->freq == 0)
            return false;
    }
    return true;
}

/* What the phrases add that has_phrases() found. */
static uint64_t phrases_sum(const struct all_search *all, uint8_t norm)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < all->required_count; i++) {
        const struct clause *clause = &all->required[i];
        if (clause->positions && clause_scored(clause))
            sum += score_part(&clause->node->score, clause->freq, norm);
    }
    return sum;
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

/* Whether the document may get in: from cheap to dear, bounds of blocks, then frequencies. Adds the
 * scores of the required words to *words. */
static bool may_get_in(struct all_search *all, uint32_t doc, uint64_t *words)
{
    uint64_t threshold = top_threshold(&all->collector->top), phrases = 0, optional = 0;
    if (all->collector->top.limit == 0)
        return false;
    if (threshold > 0) {
        optional = optional_bound(all, doc);
        if (required_bound(all, doc) + optional < threshold)
            return false;
    }
    required_parts(all, search_norm(all->context, doc), words, &phrases);
    return *words + phrases + optional >= threshold;
}

/* A document that is in all required lists. As long as hits are counted it matters first whether it
 * is one; afterwards, whether it could get in. */
static void consider(struct all_search *all, uint32_t doc)
{
    struct collector *collector = all->collector;
    bool counts = collector_counts(collector);
    uint64_t sum = 0;
    if (!collector_wants(collector, doc) || (!counts && !may_get_in(all, doc, &sum)) ||
        is_excluded(all, doc) || !has_phrases(all, doc))
        return;
    collector_count(collector, doc);
    if (counts && !may_get_in(all, doc, &sum))
        return;
    uint8_t norm = search_norm(all->context, doc);
    collector_offer(collector, doc, sum + phrases_sum(all, norm) + optional_sum(all, doc, norm));
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

/* The first document that the lists from order[from] on may share, from `doc` on: `doc` itself when
 * they do. */
static uint32_t meet(struct all_search *all, uint32_t from, uint32_t doc)
{
    for (uint32_t i = from; i < all->order_count; i++) {
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

/* The decoded block of the lead, from `from` on, where its scores `parts` help to pass over
 * documents; `others`: what all other clauses add at most. The document to go on with. */
static uint32_t walk_scored(struct all_search *all, uint32_t from, const uint32_t *parts,
                            uint64_t others)
{
    struct search_list *lead = all->order[0];
    struct posting_cursor *cursor = lead->cursor;
    const struct posting_block *block = &cursor->block;
    uint32_t i = posting_find(block->docs, 0, from);
    while (i < block->count && !all->context->status) {
        uint32_t doc = block->docs[i];
        uint64_t threshold = top_threshold(&all->collector->top);
        if (parts[i] + others < threshold ||
            (all->order_count > 1 && hopeless(all, doc, parts[i], threshold))) {
            i++;
            continue;
        }
        uint32_t next = meet(all, 1, doc);
        if (next == doc) {
            cursor->index = i++;
            consider(all, doc);
        } else if (next > lead->last) {
            return next;
        } else {
            i = posting_find(block->docs, i, next);
        }
    }
    return lead->last + 1;
}

/* Documents of two sorted lists that are in both. */
struct pairs {
    uint32_t count;
    uint8_t first[POSTING_BLOCK], second[POSTING_BLOCK]; /* their indices */
};

/* The documents of `second` are entered in a table by what they are above the first of them; those
 * of `first` look themselves up: no branch depends on the data. */
#define JOIN_SPAN 2048
static void join_by_table(const uint32_t *first, uint32_t i, uint32_t i_end, const uint32_t *second,
                          uint32_t k, uint32_t k_end, struct pairs *out)
{
    uint8_t table[JOIN_SPAN];
    uint32_t base = second[k];
    memset(table, 0, second[k_end - 1] - base + 1);
    for (; k < k_end; k++)
        table[second[k] - base] = (uint8_t)(POSTING_BLOCK | k);
    for (; i < i_end && first[i] <= second[k_end - 1]; i++) {
        uint8_t there = table[first[i] - base];
        out->first[out->count] = (uint8_t)i;
        out->second[out->count] = there & (POSTING_BLOCK - 1);
        out->count += there / POSTING_BLOCK;
    }
}

/* The documents first[i .. i_end - 1], which are at or above second[k], that are in
 * second[k .. k_end - 1] as well. */
static void join(const uint32_t *first, uint32_t i, uint32_t i_end, const uint32_t *second,
                 uint32_t k, uint32_t k_end, struct pairs *out)
{
    out->count = 0;
    if (i_end - i >= (k_end - k) / 8 && second[k_end - 1] - second[k] < JOIN_SPAN) {
        join_by_table(first, i, i_end, second, k, k_end, out);
        return;
    }
    for (; i < i_end && first[i] <= second[k_end - 1]; i++) {
        k = posting_find(second, k, first[i]);
        if (second[k] != first[i])
            continue;
        out->first[out->count] = (uint8_t)i;
        out->second[out->count++] = (uint8_t)k;
    }
}

/* The first index of a block whose document is above `doc`. */
static uint32_t index_above(const struct posting_block *block, uint32_t from, uint32_t doc)
{
    return doc >= block->docs[block->count - 1] ? block->count
                                                : posting_find(block->docs, from, doc + 1);
}

/* The decoded block of the lead, from `from` on, joined with the blocks of the next shortest list;
 * the others are asked about what is in both. The document to go on with. */
static uint32_t walk_joined(struct all_search *all, uint32_t from)
{
    struct search_list *lead = all->order[0], *next = all->order[1];
    const struct posting_block *block = &lead->cursor->block, *other = &next->cursor->block;
    uint32_t i = posting_find(block->docs, 0, from);
    while (i < block->count && !all->context->status) {
        uint32_t at =
            next->ended ? POSTING_END : search_list_seek(all->context, next, block->docs[i]);
        if (at > lead->last)
            return at;
        i = posting_find(block->docs, i, at);
        uint32_t end = lead->last < next->last ? lead->last : next->last;
        uint32_t i_end = index_above(block, i, end);
        struct pairs pairs;
        join(block->docs, i, i_end, other->docs, next->cursor->index,
             index_above(other, next->cursor->index, end), &pairs);
        for (uint32_t k = 0; k < pairs.count; k++) {
            uint32_t doc = block->docs[pairs.first[k]];
            lead->cursor->index = pairs.first[k];
            next->cursor->index = pairs.second[k];
            if (collector_wants(all->collector, doc) &&
                (all->order_count == 2 || meet(all, 2, doc) == doc))
                consider(all, doc);
        }
        i = i_end;
    }
    return lead->last + 1;
}

static uint32_t walk_alone(struct all_search *all, uint32_t from)
{
    struct posting_cursor *cursor = all->order[0]->cursor;
    uint32_t i = posting_find(cursor->block.docs, 0, from);
    for (; i < cursor->block.count && !all->context->status; i++) {
        cursor->index = i;
        consider(all, cursor->block.docs[i]);
    }
    return all->order[0]->last + 1;
}

static void walk(struct all_search *all)
{
    struct search_list *lead = all->order[0];
    struct search_context *context = all->context;
    uint32_t target = 0, parts[POSTING_BLOCK];
    while (!context->status && (target = collector_next(all->collector, target)) != POSTING_END &&
           search_list_reach(context, lead, target)) {
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
        if (scored)
            target = walk_scored(all, target, parts, others);
        else
            target = all->order_count > 1 ? walk_joined(all, target) : walk_alone(all, target);
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
    clause->cursors = search_alloc(all->context, clause->count, sizeof(struct posting_cursor *));
    for (uint32_t i = 0; clause->lists && clause->cursors && i < clause->count; i++)
        clause->cursors[i] = clause->lists[i].cursor;
    return clause->lists && clause->cursors;
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
