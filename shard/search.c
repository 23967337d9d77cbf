/* The evaluation of a query over a view: plan once, then segment by segment.
 *
 *   search_plan_build()  request -> tree with weights, and its shape
 *   for each segment:    by shape search_term(), search_any() or search_all(), which pass over what
 *                        cannot get in; else search_tree()
 *   each match           -> collector: liveness, filter, total, facets, top k
 */
#include "shard/search.h"
#include "shard/search_collect.h"

#include <string.h>

/* Document at a time over a tree of iterators. */
void search_tree(struct search_context *context, struct collector *collector)
{
    struct iter *root = search_compile(context);
    if (!root)
        return;
    while (root->doc != POSTING_END && !context->status) {
        uint32_t doc = root->doc;
        if (collector_wants(collector, doc) && iter_matches(root) && !context->status)
            collector_take(collector, doc, iter_score(root));
        root->ops->advance(root, doc + 1);
    }
}

/* ---- collector ---- */

void collector_count_bits(struct collector *collector, uint32_t base, const uint64_t *bits,
                          uint32_t words)
{
    bool all =
        !collector->allowed && !collector->facets && live_dead_count(collector->view->dead) == 0;
    for (uint32_t i = 0; i < words; i++) {
        if (all) {
            collector->total += (uint32_t)__builtin_popcountll(bits[i]);
            continue;
        }
        for (uint64_t word = bits[i]; word; word &= word - 1) {
            uint32_t doc = base + i * 64 + (uint32_t)__builtin_ctzll(word);
            if (collector_wants(collector, doc))
                collector_count(collector, doc);
        }
    }
}

bool collector_count_list(struct search_context *context, struct collector *collector,
                          const struct plan_node *word)
{
    struct segment_token token = {.field = plan_space(word->field), .text = word->tokens[0]};
    uint64_t frequency = 0;
    context->status = view_segment_frequency(context->view, token, &frequency, context->err);
    collector->total += frequency;
    return context->status == 0;
}

uint32_t collector_floor_rank(const struct collector *collector)
{
    const struct top *top = &collector->top;
    uint64_t rank = top->limit + (uint64_t)live_dead_count(collector->view->dead);
    bool possible = !collector->allowed && !top->has_after && top->limit > 0;
    return possible && rank <= UINT32_MAX ? (uint32_t)rank : 0;
}

/* The cursor of the page before: a hit that everything has to sort after. */
static int set_after(struct top *top, const Quire__Hit *after, struct arena *arena)
{
    size_t sense = after->sense ? strlen(after->sense) : 0;
    uint8_t *key = arena_alloc(arena, after->key.len + 1 + sense);
    if (!key)
        return ERR_NOMEM;
    if (after->key.len)
        memcpy(key, after->key.data, after->key.len);
    key[after->key.len] = 0;
    if (sense)
        memcpy(key + after->key.len + 1, after->sense, sense);
    top_after(top, after->score, bytes_of(key, after->key.len + 1 + sense));
    return 0;
}

static int collector_init(struct collector *collector, const Quire__ShardSearch *request,
                          struct arena *arena)
{
    *collector = (struct collector){.filter_count = request->n_categories,
                                    .total_limit = request->has_total_limit ? request->total_limit
                                                                            : UINT64_MAX};
    collector->filter = arena_alloc(arena, (request->n_categories + 1) * sizeof(struct bytes));
    if (!collector->filter || !top_init(&collector->top, request->limit, arena))
        return ERR_NOMEM;
    for (size_t i = 0; i < request->n_categories; i++) {
        const ProtobufCBinaryData *key = &request->categories[i];
        collector->filter[i] = category_token(bytes_of(key->data, key->len), arena);
        if (!collector->filter[i].data)
            return ERR_NOMEM;
    }
    if (request->facets) {
        collector->facets = facets_create(arena);
        if (!collector->facets)
            return ERR_NOMEM;
        collector->total_limit = UINT64_MAX;
    }
    return request->after ? set_after(&collector->top, request->after, arena) : 0;
}

static int collector_segment(struct collector *collector, const struct view *view, uint32_t index,
                             struct arena *arena, struct err *err)
{
    collector->view = &view->segments[index];
    collector->segment = index;
    collector->allowed = NULL;
    if (collector->facets && !facets_segment(collector->facets, collector->view->segment))
        return err_set(err, ERR_NOMEM, "out of memory for a search");
    if (!collector->filter_count)
        return 0;
    uint64_t *allowed;
    int status = category_bits(collector->view, collector->filter, collector->filter_count, arena,
                               &allowed, err);
    collector->allowed = allowed;
    collector->doc_limit = collector->view->doc_limit;
    return status;
}

uint32_t collector_next(const struct collector *collector, uint32_t doc)
{
    if (!collector->allowed || doc == POSTING_END)
        return doc;
    if (doc >= collector->doc_limit)
        return POSTING_END;
    uint32_t word = doc / 64, words = (collector->doc_limit + 63) / 64;
    uint64_t bits = collector->allowed[word] >> (doc % 64) << (doc % 64);
    while (bits == 0 && ++word < words)
        bits = collector->allowed[word];
    return bits == 0 ? POSTING_END : word * 64 + (uint32_t)__builtin_ctzll(bits);
}

uint32_t collector_allows(const struct collector *collector, uint32_t from, uint32_t to)
{
    uint32_t count = 0;
    for (uint32_t word = from / 64; word < (to + 63) / 64; word++) {
        uint64_t bits = collector->allowed[word];
        if (word == from / 64)
            bits = bits >> (from % 64) << (from % 64);
        if (to - word * 64 < 64)
            bits &= (UINT64_C(1) << (to % 64)) - 1;
        count += (uint32_t)__builtin_popcountll(bits);
    }
    return count;
}

typedef void evaluator(struct search_context *context, struct collector *collector);

static evaluator *choose(const struct search_plan *plan, const struct collector *collector)
{
    switch (plan->shape) {
    case PLAN_ANY:
        return plan->clause_count == 1 && collector->by_frequency ? search_term : search_any;
    case PLAN_ALL:
        return search_all;
    default:
        return search_tree;
    }
}

/* Which matches need not be counted one by one. */
static void plan_counting(const struct search_plan *plan, struct collector *collector)
{
    if (plan->shape != PLAN_ANY || plan->not_count > 0 || collector->filter_count > 0 ||
        collector->facets)
        return;
    collector->by_frequency = plan->must_count == 1;
    /* More documents bear one of the words than are to be counted. */
    collector->passes = plan->must_count == 0 && plan->most_frequent > collector->total_limit;
}

static int run_segment(struct search_context *context, struct collector *collector,
                       evaluator *evaluate)
{
    if (search_context_init(context) == 0)
        evaluate(context, collector);
    search_context_deinit(context);
    return context->status;
}

static int run_segments(struct view *view, const struct search_plan *plan, evaluator *evaluate,
                        struct collector *collector, const struct search_budget *budget,
                        struct arena *arena, struct err *err)
{
    for (uint32_t i = 0; i < view->segment_count; i++) {
        if (view->segments[i].doc_limit == 0)
            continue;
        int status = collector_segment(collector, view, i, arena, err);
        if (status)
            return status;
        struct search_context context = {
            .plan = plan, .view = &view->segments[i], .budget = budget, .arena = arena, .err = err};
        status = run_segment(&context, collector, evaluate);
        if (status)
            return status;
    }
    return 0;
}

/* A lower bound is what it is for any number of ranges and segments: not what was counted until
 * counting stopped. */
static void set_total(const struct collector *collector, const struct search_plan *plan,
                      evaluator *evaluate, struct search_result *out)
{
    out->total = collector->total;
    if (evaluate == search_tree || collector->by_frequency || collector_counts(collector))
        return;
    out->total_is_lower_bound = true;
    out->total = collector->passes ? plan->most_frequent : collector->total_limit;
}

static int run(struct view *view, const Quire__ShardSearch *request, bool exhaustive,
               const struct search_budget *budget, struct arena *arena, struct search_result *out,
               struct err *err)
{
    *out = (struct search_result){0};
    struct search_plan *plan;
    int status = search_plan_build(request, arena, &plan, err);
    if (status)
        return status;
    struct collector collector;
    if (collector_init(&collector, request, arena))
        return err_set(err, ERR_NOMEM, "out of memory for a search");
    evaluator *evaluate = search_tree;
    if (!exhaustive) {
        plan_counting(plan, &collector);
        evaluate = choose(plan, &collector);
    }
    status = run_segments(view, plan, evaluate, &collector, budget, arena, err);
    if (status)
        return status;
    if (!top_finish(&collector.top, arena) ||
        (collector.facets && !facets_finish(collector.facets, &out->facets, &out->facet_count)))
        return err_set(err, ERR_NOMEM, "out of memory for a search");
    out->hits = collector.top.heap;
    out->hit_count = collector.top.count;
    set_total(&collector, plan, evaluate, out);
    return 0;
}

int search_run(struct view *view, const Quire__ShardSearch *request,
               const struct search_budget *budget, struct arena *arena, struct search_result *out,
               struct err *err)
{
    return run(view, request, false, budget, arena, out, err);
}

int search_run_exhaustive(struct view *view, const Quire__ShardSearch *request,
                          const struct search_budget *budget, struct arena *arena,
                          struct search_result *out, struct err *err)
{
    return run(view, request, true, budget, arena, out, err);
}
