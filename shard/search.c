/* The evaluation of a query over a view: plan once, then segment by segment.
 *
 *   search_plan_build()  request -> tree with weights
 *   for each segment:    search_or() when any of some words is enough, else search_tree()
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
    *collector = (struct collector){.filter_count = request->n_categories};
    struct bytes *filter = arena_alloc(arena, (request->n_categories + 1) * sizeof *filter);
    if (!filter || !top_init(&collector->top, request->limit, arena))
        return ERR_NOMEM;
    for (size_t i = 0; i < request->n_categories; i++)
        filter[i] = bytes_of(request->categories[i].data, request->categories[i].len);
    collector->filter = filter;
    if (request->facets) {
        collector->facets = facets_create(arena);
        if (!collector->facets)
            return ERR_NOMEM;
    }
    return request->after ? set_after(&collector->top, request->after, arena) : 0;
}

static int collector_segment(struct collector *collector, const struct view *view, uint32_t index,
                             struct arena *arena)
{
    collector->view = &view->segments[index];
    collector->segment = index;
    collector->set = NULL;
    struct segment *segment = collector->view->segment;
    if (collector->filter_count) {
        collector->set =
            category_set_create(segment, collector->filter, collector->filter_count, arena);
        if (!collector->set)
            return ERR_NOMEM;
    }
    if (collector->facets && !facets_segment(collector->facets, segment))
        return ERR_NOMEM;
    return 0;
}

static int run_segment(struct search_context *context, struct collector *collector)
{
    if (search_context_init(context) == 0) {
        if (context->plan->is_or)
            search_or(context, collector);
        else
            search_tree(context, collector);
    }
    search_context_deinit(context);
    return context->status;
}

int search_run(struct view *view, const Quire__ShardSearch *request,
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
    for (uint32_t i = 0; i < view->segment_count; i++) {
        if (view->segments[i].doc_limit == 0)
            continue;
        if (collector_segment(&collector, view, i, arena))
            return err_set(err, ERR_NOMEM, "out of memory for a search");
        struct search_context context = {
            .plan = plan, .view = &view->segments[i], .budget = budget, .arena = arena, .err = err};
        status = run_segment(&context, &collector);
        if (status)
            return status;
    }
    if (!top_finish(&collector.top, arena) ||
        (collector.facets && !facets_finish(collector.facets, &out->facets, &out->facet_count)))
        return err_set(err, ERR_NOMEM, "out of memory for a search");
    out->hits = collector.top.heap;
    out->hit_count = collector.top.count;
    out->total = collector.total;
    return 0;
}
