/* Collector: what happens to each match, whichever evaluator found it. */
#ifndef QUIRE_SHARD_SEARCH_COLLECT_H
#define QUIRE_SHARD_SEARCH_COLLECT_H

#include "shard/search_iter.h"
#include "shard/search_set.h"
#include "shard/search_top.h"

struct collector {
    struct top top;
    struct facets *facets;      /* NULL: not asked for */
    const struct bytes *filter; /* term keys of categories, any of which is wanted */
    size_t filter_count;        /* 0: no filter */
    uint64_t total;
    /* of the current segment */
    const struct view_segment *view;
    uint32_t segment;         /* its index in the view */
    struct category_set *set; /* of the filter */
};

/* Whether a document that matches the query counts: alive, and let through by the filter. */
static inline bool collector_wants(struct collector *collector, uint32_t doc)
{
    if (collector->view->dead && !view_live(collector->view, doc))
        return false;
    return !collector->set || category_set_has(collector->set, doc);
}

static inline void collector_take(struct collector *collector, uint32_t doc, uint64_t score)
{
    collector->total++;
    if (collector->facets)
        facets_count(collector->facets, collector->view->segment, doc);
    top_offer(&collector->top, collector->view->segment, collector->segment, doc, score);
}

/* Evaluators of one segment; problems in context->status. */
void search_tree(struct search_context *context, struct collector *collector); /* any query */
void search_or(struct search_context *context, struct collector *collector);   /* plan->is_or */

#endif
