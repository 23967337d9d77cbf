/* Any of some words: block-max MAXSCORE in windows of documents.
 *
 * Within a window of 4,096 documents each list has a bound. The lists whose bounds together cannot
 * reach the threshold are not essential: a document that only they have cannot get in. So only the
 * others are walked (Turtle and Flood, "Query evaluation: strategies and optimizations", 1995; with
 * bounds by block, as Ding and Suel 2011, and by window, as Lucene's MaxScoreBulkScorer):
 *
 *   several essential lists   each adds its parts into an array of sums that stays in the
 * first-level cache, a block at a time, without a heap or a comparison per posting; then the window
 * is swept one, or one without which the threshold is out of reach its blocks are looked at one by
 * one, and only those scored whose bound suffices
 *
 * Either way a document is completed by the remaining lists in the order of what they can still
 * add, and given up as soon as it cannot get in any more. So a long question costs little more than
 * its rare words.
 *
 * Counting is another matter: all lists have to be read, but neither frequencies nor scores, and
 * with a limit only until it is reached. It goes before, by bitmaps.
 *
 * Sums are integers: the same as those of search_tree(), in whatever order.
 */
#include "shard/search_collect.h"
#include "shard/search_list.h"

#include <string.h>

#define WINDOW 4096

struct or_list {
    struct search_list list;
    uint64_t bound; /* in the window */
    bool required;  /* without it no document of the window gets in */
};

struct or_search {
    struct search_context *context;
    struct collector *collector;
    struct or_list **lists; /* non-essential ones first: rising by bound for a posting */
    uint32_t count;
    struct search_list *excluded;
    uint32_t excluded_count;
    uint64_t *rest; /* of `lists`: rest[i] = the sum of the bounds of 0 .. i - 1 */
    uint64_t sums[WINDOW];
    uint64_t hit[WINDOW / 64]; /* bit set: some list has the document */
};

/* ---- one document ---- */

static bool is_excluded(struct or_search * or, uint32_t doc)
{
    for (uint32_t i = 0; i < or->excluded_count; i++) {
        struct search_list *list = & or->excluded[i];
        if (!list->ended && search_list_seek(or->context, list, doc) == doc)
            return true;
    }
    return false;
}

/* `sum` is what all lists from lists[count] on add to the document; those before follow, the
 * greatest bound first. */
static void complete(struct or_search * or, uint32_t count, uint32_t doc, uint64_t sum)
{
    const struct top *top = & or->collector->top;
    for (uint32_t i = count; i-- > 0;) {
        struct search_list *list = & or->lists[i]->list;
        if (sum + or->rest[i + 1] < top_threshold(top))
            return;
        bool there =
            !list->ended && (doc <= list->last || search_list_reach(or->context, list, doc));
        if (there) {
            if (sum + list->block_max[list->block] + or->rest[i] < top_threshold(top))
                return;
            there = search_list_seek(or->context, list, doc) == doc;
        }
        if (there)
            sum += search_list_part(or->context, list, search_norm(or->context, doc));
        else if (or->lists[i]->required)
            return;
    }
    if (sum >= top_threshold(top) && collector_wants(or->collector, doc) && !is_excluded(or, doc))
        collector_offer(or->collector, doc, sum);
}

/* ---- one essential list ---- */

/* No document of [from, to] gets more from the lists 0 .. count - 1. */
static uint64_t others_bound(struct or_search * or, uint32_t count, uint32_t from, uint32_t to)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct search_list *list = & or->lists[i]->list;
        bool there = !list->ended && search_list_reach(or->context, list, from);
        if (there)
            sum += search_list_bound(list, to);
        else if (or->lists[i]->required)
            return 0;
    }
    return sum;
}

static void lead_block(struct or_search * or, uint32_t count, uint32_t from, uint32_t end,
                       uint64_t others)
{
    struct search_list *lead = & or->lists[count]->list;
    const struct posting_block *block = &lead->cursor->block;
    uint32_t parts[POSTING_BLOCK];
    if (!search_list_decode(or->context, lead) || !search_list_parts(or->context, lead, parts))
        return;
    for (uint32_t i = search_find(block->docs, 0, from); i < block->count; i++) {
        if (block->docs[i] >= end)
            break;
        if (parts[i] + others >= top_threshold(& or->collector->top))
            complete(or, count, block->docs[i], parts[i]);
    }
}

/* Others' bounds in the very block pay while they are few. */
#define REFINE_MOST 4

static void walk_lead(struct or_search * or, uint32_t count, uint32_t base, uint32_t end)
{
    struct search_list *lead = & or->lists[count]->list;
    const struct posting_cursor *cursor = lead->cursor;
    uint32_t target = base;
    while (target < end && search_list_reach(or->context, lead, target)) {
        uint32_t last = cursor->blocks.last_doc[lead->block];
        uint64_t threshold = top_threshold(& or->collector->top),
                 own = lead->block_max[lead->block];
        uint64_t others = or->rest[count];
        if (own + others >= threshold && count > 0 && count <= REFINE_MOST && threshold > 0)
            others = others_bound(or, count, target, last < end ? last : end - 1);
        if (own + others >= threshold)
            lead_block(or, count, target, end, others);
        if (last == POSTING_END - 1)
            return;
        target = last + 1;
    }
}

/* ---- several essential lists ---- */

static void add_list(struct or_search * or, struct search_list *list, uint32_t base, uint32_t end)
{
    const struct posting_block *block = &list->cursor->block;
    uint8_t norms[POSTING_BLOCK];
    uint32_t parts[POSTING_BLOCK], target = base;
    while (target < end && search_list_reach(or->context, list, target)) {
        if (!search_list_decode(or->context, list) || list->last < target ||
            !search_list_freqs(or->context, list))
            return;
        uint32_t from = search_find(block->docs, 0, target), to = block->count;
        while (to > from && block->docs[to - 1] >= end)
            to--;
        search_norms(or->context, block->docs + from, to - from, norms);
        score_parts(list->score, block->freqs + from, norms, to - from, parts);
        for (uint32_t i = from; i < to; i++) {
            uint32_t at = block->docs[i] - base;
            or->hit[at / 64] |= UINT64_C(1) << (at % 64);
            or->sums[at] += parts[i - from];
        }
        if (to < block->count)
            return;
        target = list->last + 1;
    }
}

static void walk_several(struct or_search * or, uint32_t count, uint32_t base, uint32_t end)
{
    for (uint32_t i = count; i < or->count; i++)
        add_list(or, & or->lists[i]->list, base, end);
    uint64_t rest = or->rest[count];
    for (uint32_t word = 0; word < WINDOW / 64; word++) {
        for (uint64_t bits = or->hit[word]; bits; bits &= bits - 1) {
            uint32_t at = word * 64 + (uint32_t)__builtin_ctzll(bits);
            uint64_t sum = or->sums[at];
            or->sums[at] = 0;
            if (sum + rest >= top_threshold(& or->collector->top))
                complete(or, count, base + at, sum);
        }
        or->hit[word] = 0;
    }
}

/* ---- windows ---- */

/* Rising by bound for a posting: the longest lists with the least to give come first. */
static bool before(const struct or_list *a, const struct or_list *b)
{
    return (double)a->bound * b->list.cursor->df < (double)b->bound * a->list.cursor->df;
}

/* The order of the last window is nearly right. */
static void sort_lists(struct or_search * or)
{
    for (uint32_t i = 1; i < or->count; i++) {
        struct or_list *list = or->lists[i];
        uint32_t k = i;
        for (; k > 0 && before(list, or->lists[k - 1]); k--)
            or->lists[k] = or->lists[k - 1];
        or->lists[k] = list;
    }
}

static void sum_rest(struct or_search * or)
{
    for (uint32_t i = 0; i < or->count; i++)
        or->rest[i + 1] = or->rest[i] + or->lists[i]->bound;
}

/* The shortest of the required lists; or->count when there is none. */
static uint32_t find_required(struct or_search * or, uint64_t threshold)
{
    uint32_t found = or->count;
    for (uint32_t i = 0; i < or->count; i++) {
        struct or_list *list = or->lists[i];
        list->required = or->rest[or->count] - list->bound < threshold;
        if (list->required &&
            (found == or->count || list->list.cursor->df < or->lists[found]->list.cursor->df))
            found = i;
    }
    return found;
}

/* That list becomes the last one: all others complete what it finds. */
static void put_last(struct or_search * or, uint32_t index)
{
    struct or_list *list = or->lists[index];
    memmove(& or->lists[index], & or->lists[index + 1], (or->count - index - 1) * sizeof list);
    or->lists[or->count - 1] = list;
    sum_rest(or);
}

static void walk_window(struct or_search * or, uint32_t base, uint32_t end)
{
    for (uint32_t i = 0; i < or->count; i++) {
        struct or_list *list = or->lists[i];
        bool there = !list->list.ended && search_list_reach(or->context, &list->list, base);
        list->bound = there ? search_list_bound(&list->list, end - 1) : 0;
    }
    sort_lists(or);
    sum_rest(or);
    uint64_t threshold = top_threshold(& or->collector->top);
    if (or->rest[or->count] < threshold || or->rest[or->count] == 0)
        return;
    uint32_t required = find_required(or, threshold), essential = 0;
    if (required < or->count) {
        put_last(or, required);
        essential = or->count - 1;
    } else {
        while (essential + 1 < or->count && or->rest[essential + 1] < threshold)
            essential++;
    }
    if (essential + 1 == or->count)
        walk_lead(or, essential, base, end);
    else
        walk_several(or, essential, base, end);
}

/* A document at or before which no list has one, from `base` on. */
static uint32_t next_base(struct or_search * or, uint32_t base)
{
    uint32_t next = POSTING_END;
    for (uint32_t i = 0; i < or->count; i++) {
        struct search_list *list = & or->lists[i]->list;
        if (list->ended)
            continue;
        bool known = list->cursor->block.count > 0 && base <= list->last;
        uint32_t doc = known ? search_list_seek(or->context, list, base) : base;
        next = doc < next ? doc : next;
    }
    return next;
}

/* ---- beginning ---- */

static struct or_search *or_open(struct search_context *context, struct collector *collector)
{
    const struct search_plan *plan = context->plan;
    struct or_search * or = search_alloc(context, 1, sizeof * or);
    struct or_list *lists = search_alloc(context, plan->clause_count, sizeof *lists);
    if (! or || !lists)
        return NULL;
    * or = (struct or_search){.context = context, .collector = collector};
    or->lists = search_alloc(context, plan->clause_count, sizeof(struct or_list *));
    or->rest = search_alloc(context, (size_t)plan->clause_count + 1, sizeof * or->rest);
    or->excluded = search_alloc(context, plan->clause_count, sizeof * or->excluded);
    if (! or->lists || ! or->rest || ! or->excluded)
        return NULL;
    for (uint32_t i = 0; i < plan->clause_count && !context->status; i++) {
        const struct plan_clause *clause = &plan->clauses[i];
        const struct plan_node *node = clause->node;
        bool scored = clause->occur == QUIRE__QUERY_NODE__OCCUR__SHOULD;
        struct search_list *list =
            scored ? &lists[or->count].list : & or->excluded[or->excluded_count];
        if (!search_list_open(context, list, node->field, node->tokens[0],
                              scored ? &node->score : NULL))
            continue;
        if (scored) {
            or->lists[or->count] = &lists[or->count];
            or->count++;
        } else {
            or->excluded_count++;
        }
    }
    return context->status ? NULL : or ;
}

/* ---- counting ---- */

static void mark(struct search_context *context, struct search_list *list, uint32_t base,
                 uint32_t end, uint64_t *bits, bool set)
{
    const struct posting_block *block = &list->cursor->block;
    uint32_t target = base;
    while (target < end && search_list_reach(context, list, target)) {
        if (!search_list_decode(context, list) || list->last < target)
            return;
        for (uint32_t i = search_find(block->docs, 0, target); i < block->count; i++) {
            uint32_t at = block->docs[i] - base;
            if (at >= end - base)
                return;
            uint64_t bit = UINT64_C(1) << (at % 64);
            bits[at / 64] = set ? bits[at / 64] | bit : bits[at / 64] & ~bit;
        }
        target = list->last + 1;
    }
}

static void count_window(struct or_search * or, uint32_t base, uint32_t end)
{
    uint64_t *bits = or->hit;
    for (uint32_t i = 0; i < or->count; i++)
        mark(or->context, & or->lists[i]->list, base, end, bits, true);
    for (uint32_t i = 0; i < or->excluded_count; i++)
        mark(or->context, & or->excluded[i], base, end, bits, false);
    collector_count_bits(or->collector, base, bits, WINDOW / 64);
    memset(bits, 0, sizeof or->hit);
}

static void rewind_lists(struct or_search * or)
{
    for (uint32_t i = 0; i < or->count; i++)
        search_list_rewind(& or->lists[i]->list);
    for (uint32_t i = 0; i < or->excluded_count; i++)
        search_list_rewind(& or->excluded[i]);
}

static void count_all(struct or_search * or)
{
    struct search_context *context = or->context;
    uint32_t base = 0;
    while (base < context->doc_limit && !context->status && collector_counts(or->collector)) {
        base = next_base(or, base) & ~(uint32_t)(WINDOW - 1);
        if (base >= context->doc_limit)
            break;
        uint32_t end = context->doc_limit - base > WINDOW ? base + WINDOW : context->doc_limit;
        count_window(or, base, end);
        base = end;
    }
    rewind_lists(or);
}

/* ---- ranking ---- */

/* What the best documents of each list reach by themselves, the best documents of all reach too. */
static void raise_floor(struct or_search * or)
{
    uint32_t rank = collector_floor_rank(or->collector);
    for (uint32_t i = 0; rank > 0 && i < or->count && ! or->context->status; i++) {
        uint64_t floor = search_list_floor(or->context, & or->lists[i]->list, rank);
        if (floor > or->collector->top.floor)
            or->collector->top.floor = floor;
    }
}

static void rank_all(struct or_search * or)
{
    struct search_context *context = or->context;
    uint32_t base = 0;
    raise_floor(or);
    while (!context->status) {
        base = next_base(or, base);
        if (base >= context->doc_limit)
            return;
        uint32_t end = context->doc_limit - base > WINDOW ? base + WINDOW : context->doc_limit;
        walk_window(or, base, end);
        base = end;
    }
}

void search_or(struct search_context *context, struct collector *collector)
{
    struct or_search * or = or_open(context, collector);
    if (! or || or->count == 0)
        return;
    if (collector_counts(collector))
        count_all(or);
    if (collector->top.limit > 0 && !context->status)
        rank_all(or);
}
