/* Any of some words, or one word and perhaps some: block-max MAXSCORE in windows of documents.
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
 * With a filter that lets few documents of the window through, these are completed by all lists,
 * one by one; windows without any are passed over.
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

struct any_list {
    struct search_list list;
    const struct plan_node *node;
    uint64_t bound; /* in the window */
    bool must;      /* of the query */
    bool required;  /* without it no document of the window gets in */
};

struct any_search {
    struct search_context *context;
    struct collector *collector;
    struct any_list *must;   /* NULL: any list is enough */
    struct any_list **lists; /* non-essential ones first: rising by bound for a posting */
    uint32_t count;
    struct search_list *excluded;
    uint32_t excluded_count;
    uint64_t *rest; /* of `lists`: rest[i] = the sum of the bounds of 0 .. i - 1 */
    uint64_t sums[WINDOW];
    uint64_t hit[WINDOW / 64]; /* bit set: some list has the document */
};

/* ---- one document ---- */

static bool is_excluded(struct any_search *any, uint32_t doc)
{
    for (uint32_t i = 0; i < any->excluded_count; i++) {
        struct search_list *list = &any->excluded[i];
        if (!list->ended && search_list_seek(any->context, list, doc) == doc)
            return true;
    }
    return false;
}

/* `sum` is what all lists from lists[count] on add to the document; those before follow, the
 * greatest bound first. */
static void complete(struct any_search *any, uint32_t count, uint32_t doc, uint64_t sum)
{
    const struct top *top = &any->collector->top;
    bool hit = count < any->count;
    for (uint32_t i = count; i-- > 0;) {
        struct search_list *list = &any->lists[i]->list;
        if (sum + any->rest[i + 1] < top_threshold(top))
            return;
        bool there =
            !list->ended && (doc <= list->last || search_list_reach(any->context, list, doc));
        if (there) {
            if (sum + list->block_max[list->block] + any->rest[i] < top_threshold(top))
                return;
            there = search_list_seek(any->context, list, doc) == doc;
        }
        if (there)
            sum += search_list_part(any->context, list, search_norm(any->context, doc));
        else if (any->lists[i]->required)
            return;
        hit |= there;
    }
    if (hit && sum >= top_threshold(top) && collector_wants(any->collector, doc) &&
        !is_excluded(any, doc))
        collector_offer(any->collector, doc, sum);
}

/* ---- one essential list ---- */

/* No document of [from, to] gets more from the lists 0 .. count - 1. */
static uint64_t others_bound(struct any_search *any, uint32_t count, uint32_t from, uint32_t to)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct search_list *list = &any->lists[i]->list;
        bool there = !list->ended && search_list_reach(any->context, list, from);
        if (there)
            sum += search_list_bound(list, to);
        else if (any->lists[i]->required)
            return 0;
    }
    return sum;
}

static void lead_block(struct any_search *any, uint32_t count, uint32_t from, uint32_t end,
                       uint64_t others)
{
    struct search_list *lead = &any->lists[count]->list;
    const struct posting_block *block = &lead->cursor->block;
    uint32_t parts[POSTING_BLOCK];
    if (!search_list_decode(any->context, lead) || !search_list_parts(any->context, lead, parts))
        return;
    for (uint32_t i = posting_find(block->docs, 0, from); i < block->count; i++) {
        if (block->docs[i] >= end)
            break;
        if (parts[i] + others >= top_threshold(&any->collector->top))
            complete(any, count, block->docs[i], parts[i]);
    }
}

/* Others' bounds in the very block pay while they are few. */
#define REFINE_MOST 4

static void walk_lead(struct any_search *any, uint32_t count, uint32_t base, uint32_t end)
{
    struct search_list *lead = &any->lists[count]->list;
    const struct posting_cursor *cursor = lead->cursor;
    uint32_t target = base;
    while (target < end && search_list_reach(any->context, lead, target)) {
        uint32_t last = cursor->blocks.last_doc[lead->block];
        uint64_t threshold = top_threshold(&any->collector->top),
                 own = lead->block_max[lead->block];
        uint64_t others = any->rest[count];
        if (own + others >= threshold && count > 0 && count <= REFINE_MOST && threshold > 0)
            others = others_bound(any, count, target, last < end ? last : end - 1);
        if (own + others >= threshold)
            lead_block(any, count, target, end, others);
        if (last == POSTING_END - 1)
            return;
        target = last + 1;
    }
}

/* ---- several essential lists ---- */

static void add_list(struct any_search *any, struct search_list *list, uint32_t base, uint32_t end)
{
    const struct posting_block *block = &list->cursor->block;
    uint8_t norms[POSTING_BLOCK];
    uint32_t parts[POSTING_BLOCK], target = base;
    while (target < end && search_list_reach(any->context, list, target)) {
        if (!search_list_decode(any->context, list) || list->last < target ||
            !search_list_freqs(any->context, list))
            return;
        uint32_t from = posting_find(block->docs, 0, target), to = block->count;
        while (to > from && block->docs[to - 1] >= end)
            to--;
        search_norms(any->context, block->docs + from, to - from, norms);
        score_parts(list->score, block->freqs + from, norms, to - from, parts);
        for (uint32_t i = from; i < to; i++) {
            uint32_t at = block->docs[i] - base;
            any->hit[at / 64] |= UINT64_C(1) << (at % 64);
            any->sums[at] += parts[i - from];
        }
        if (to < block->count)
            return;
        target = list->last + 1;
    }
}

static void walk_several(struct any_search *any, uint32_t count, uint32_t base, uint32_t end)
{
    for (uint32_t i = count; i < any->count; i++)
        add_list(any, &any->lists[i]->list, base, end);
    uint64_t rest = any->rest[count];
    for (uint32_t word = 0; word < WINDOW / 64; word++) {
        for (uint64_t bits = any->hit[word]; bits; bits &= bits - 1) {
            uint32_t at = word * 64 + (uint32_t)__builtin_ctzll(bits);
            uint64_t sum = any->sums[at];
            any->sums[at] = 0;
            if (sum + rest >= top_threshold(&any->collector->top))
                complete(any, count, base + at, sum);
        }
        any->hit[word] = 0;
    }
}

/* ---- few documents that a filter lets through ---- */

#define POSTINGS_FOR_SEEKS 8 /* cost what it costs to seek a document in the lists */

/* Whether to look for them instead of walking the lists from `essential` on. */
static bool few_allowed(const struct any_search *any, uint32_t essential, uint32_t base,
                        uint32_t end)
{
    uint64_t postings = 0;
    if (!any->collector->allowed)
        return false;
    for (uint32_t i = essential; i < any->count; i++)
        postings += any->lists[i]->list.cursor->df;
    postings = postings * (end - base) / any->context->doc_limit;
    return (uint64_t)POSTINGS_FOR_SEEKS * collector_allows(any->collector, base, end) < postings;
}

static void walk_allowed(struct any_search *any, uint32_t base, uint32_t end)
{
    for (uint32_t doc = collector_next(any->collector, base); doc < end && !any->context->status;
         doc = collector_next(any->collector, doc + 1))
        complete(any, any->count, doc, 0);
}

/* ---- windows ---- */

/* Rising by bound for a posting: the longest lists with the least to give come first. */
static bool before(const struct any_list *a, const struct any_list *b)
{
    return (double)a->bound * b->list.cursor->df < (double)b->bound * a->list.cursor->df;
}

/* The order of the last window is nearly right. */
static void sort_lists(struct any_search *any)
{
    for (uint32_t i = 1; i < any->count; i++) {
        struct any_list *list = any->lists[i];
        uint32_t k = i;
        for (; k > 0 && before(list, any->lists[k - 1]); k--)
            any->lists[k] = any->lists[k - 1];
        any->lists[k] = list;
    }
}

static void sum_rest(struct any_search *any)
{
    for (uint32_t i = 0; i < any->count; i++)
        any->rest[i + 1] = any->rest[i] + any->lists[i]->bound;
}

/* The shortest of the required lists; any->count when there is none. */
static uint32_t find_required(struct any_search *any, uint64_t threshold)
{
    uint32_t found = any->count;
    for (uint32_t i = 0; i < any->count; i++) {
        struct any_list *list = any->lists[i];
        list->required = list->must || any->rest[any->count] - list->bound < threshold;
        if (list->required &&
            (found == any->count || list->list.cursor->df < any->lists[found]->list.cursor->df))
            found = i;
    }
    return found;
}

/* That list becomes the last one: all others complete what it finds. */
static void put_last(struct any_search *any, uint32_t index)
{
    struct any_list *list = any->lists[index];
    memmove(&any->lists[index], &any->lists[index + 1], (any->count - index - 1) * sizeof list);
    any->lists[any->count - 1] = list;
    sum_rest(any);
}

static void walk_window(struct any_search *any, uint32_t base, uint32_t end)
{
    for (uint32_t i = 0; i < any->count; i++) {
        struct any_list *list = any->lists[i];
        bool there = !list->list.ended && search_list_reach(any->context, &list->list, base);
        list->bound = there ? search_list_bound(&list->list, end - 1) : 0;
    }
    sort_lists(any);
    sum_rest(any);
    uint64_t threshold = top_threshold(&any->collector->top);
    if (any->rest[any->count] < threshold || any->rest[any->count] == 0 ||
        (any->must && any->must->bound == 0))
        return;
    uint32_t required = find_required(any, threshold), essential = 0;
    if (required < any->count) {
        put_last(any, required);
        essential = any->count - 1;
    } else {
        while (essential + 1 < any->count && any->rest[essential + 1] < threshold)
            essential++;
    }
    if (few_allowed(any, essential, base, end))
        walk_allowed(any, base, end);
    else if (essential + 1 == any->count)
        walk_lead(any, essential, base, end);
    else
        walk_several(any, essential, base, end);
}

/* From `base` on no hit is below this document; POSTING_END: there is none at all. */
static uint32_t next_base(struct any_search *any, uint32_t base)
{
    uint32_t next = POSTING_END;
    if (any->must)
        return any->must->list.ended ? next
                                     : search_list_seek(any->context, &any->must->list, base);
    for (uint32_t i = 0; i < any->count; i++) {
        struct search_list *list = &any->lists[i]->list;
        if (list->ended)
            continue;
        bool known = list->cursor->block.count > 0 && base <= list->last;
        uint32_t doc = known ? search_list_seek(any->context, list, base) : base;
        next = doc < next ? doc : next;
    }
    return next;
}

/* ---- beginning ---- */

static struct any_search *any_open(struct search_context *context, struct collector *collector)
{
    const struct search_plan *plan = context->plan;
    struct any_search *any = search_alloc(context, 1, sizeof *any);
    struct any_list *lists = search_alloc(context, plan->clause_count, sizeof *lists);
    if (!any || !lists)
        return NULL;
    *any = (struct any_search){.context = context, .collector = collector};
    any->lists = search_alloc(context, plan->clause_count, sizeof(struct any_list *));
    any->rest = search_alloc(context, (size_t)plan->clause_count + 1, sizeof *any->rest);
    any->excluded = search_alloc(context, plan->clause_count, sizeof *any->excluded);
    if (!any->lists || !any->rest || !any->excluded)
        return NULL;
    for (uint32_t i = 0; i < plan->clause_count && !context->status; i++) {
        const struct plan_clause *clause = &plan->clauses[i];
        const struct plan_node *node = clause->node;
        bool scored = clause->occur != QUIRE__QUERY_NODE__OCCUR__MUST_NOT;
        bool must = clause->occur == QUIRE__QUERY_NODE__OCCUR__MUST;
        struct search_list *list =
            scored ? &lists[any->count].list : &any->excluded[any->excluded_count];
        if (!search_list_open(context, list, node->field, node->tokens[0],
                              scored ? &node->score : NULL)) {
            if (must)
                return NULL;
            continue;
        }
        if (scored) {
            lists[any->count].node = node;
            lists[any->count].must = must;
            any->must = must ? &lists[any->count] : any->must;
            any->lists[any->count] = &lists[any->count];
            any->count++;
        } else {
            any->excluded_count++;
        }
    }
    return context->status ? NULL : any;
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
        for (uint32_t i = posting_find(block->docs, 0, target); i < block->count; i++) {
            uint32_t at = block->docs[i] - base;
            if (at >= end - base)
                return;
            uint64_t bit = UINT64_C(1) << (at % 64);
            bits[at / 64] = set ? bits[at / 64] | bit : bits[at / 64] & ~bit;
        }
        target = list->last + 1;
    }
}

static void count_window(struct any_search *any, uint32_t base, uint32_t end)
{
    uint64_t *bits = any->hit;
    for (uint32_t i = 0; i < any->count; i++)
        if (!any->must || any->lists[i]->must)
            mark(any->context, &any->lists[i]->list, base, end, bits, true);
    for (uint32_t i = 0; i < any->excluded_count; i++)
        mark(any->context, &any->excluded[i], base, end, bits, false);
    collector_count_bits(any->collector, base, bits, WINDOW / 64);
    memset(bits, 0, sizeof any->hit);
}

static void rewind_lists(struct any_search *any)
{
    for (uint32_t i = 0; i < any->count; i++)
        search_list_rewind(&any->lists[i]->list);
    for (uint32_t i = 0; i < any->excluded_count; i++)
        search_list_rewind(&any->excluded[i]);
}

static void count_all(struct any_search *any)
{
    struct search_context *context = any->context;
    uint32_t base = 0;
    while (base < context->doc_limit && !context->status && collector_counts(any->collector)) {
        base = collector_next(any->collector, next_base(any, base)) & ~(uint32_t)(WINDOW - 1);
        if (base >= context->doc_limit)
            break;
        uint32_t end = context->doc_limit - base > WINDOW ? base + WINDOW : context->doc_limit;
        count_window(any, base, end);
        base = end;
    }
    rewind_lists(any);
}

/* ---- ranking ---- */

/* What the best documents of a list reach by themselves, the best documents of all reach too, if
 * being in that list makes a document a hit. */
static void raise_floor(struct any_search *any)
{
    uint32_t rank = any->excluded_count > 0 ? 0 : collector_floor_rank(any->collector);
    for (uint32_t i = 0; rank > 0 && i < any->count && !any->context->status; i++) {
        if (any->must && !any->lists[i]->must)
            continue;
        uint64_t floor = search_list_floor(any->context, &any->lists[i]->list, rank);
        if (floor > any->collector->top.floor)
            any->collector->top.floor = floor;
    }
}

static void rank_all(struct any_search *any)
{
    struct search_context *context = any->context;
    const struct collector *collector = any->collector;
    uint32_t base = 0;
    raise_floor(any);
    while (!context->status) {
        base = collector_next(collector, next_base(any, base));
        if (base >= context->doc_limit)
            return;
        uint32_t end = context->doc_limit - base > WINDOW ? base + WINDOW : context->doc_limit;
        walk_window(any, base, end);
        base = end;
    }
}

void search_any(struct search_context *context, struct collector *collector)
{
    struct any_search *any = any_open(context, collector);
    if (!any || any->count == 0)
        return;
    if (collector->by_frequency && !collector_count_list(context, collector, any->must->node))
        return;
    if (!collector->by_frequency && collector_counts(collector))
        count_all(any);
    if (collector->top.limit > 0 && !context->status)
        rank_all(any);
}
