/* Collector: what happens to each match, whichever evaluator found it. */
#ifndef QUIRE_SHARD_SEARCH_COLLECT_H
#define QUIRE_SHARD_SEARCH_COLLECT_H

#include "shard/search_iter.h"
#include "shard/search_set.h"
#include "shard/search_top.h"

struct collector {
    struct top top;
    struct facets *facets;       /* NULL: not asked for */
    struct bytes *filter;        /* tokens of categories, any of which is wanted */
    size_t filter_count;         /* 0: no filter */
    uint64_t total, total_limit; /* with facets: no limit */
    bool by_frequency; /* the hits are the documents of one word: its document frequency says it */
    bool passes;       /* more than the limit are known to be there: matches may be passed over */

    /* of the current segment */
    const struct view_segment *view;
    uint32_t segment;        /* its index in the view */
    const uint64_t *allowed; /* by document: what the filter lets through; NULL: all */
    uint32_t doc_limit;      /* of `allowed` */
};

/* Whether a document that matches the query counts: alive, and let through by the filter. */
static inline bool collector_wants(struct collector *collector, uint32_t doc)
{
    if (collector->view->dead && !view_live(collector->view, doc))
        return false;
    return !collector->allowed || (collector->allowed[doc / 64] >> (doc % 64) & 1);
}

/* The next document from `doc` on that the filter lets through; POSTING_END: none. */
uint32_t collector_next(const struct collector *collector, uint32_t doc);
/* How many of [from, to) it lets through. */
uint32_t collector_allows(const struct collector *collector, uint32_t from, uint32_t to);

/* Whether matches still have to be counted. */
static inline bool collector_counts(const struct collector *collector)
{
    return !collector->passes && collector->total <= collector->total_limit;
}

/* A match that was counted, or need not be. */
static inline void collector_offer(struct collector *collector, uint32_t doc, uint64_t score)
{
    top_offer(&collector->top, collector->view->segment, collector->segment, doc, score);
}

static inline void collector_count(struct collector *collector, uint32_t doc)
{
    collector->total++;
    if (collector->facets)
        facets_count(collector->facets, collector->view->segment, doc);
}

static inline void collector_take(struct collector *collector, uint32_t doc, uint64_t score)
{
    collector_count(collector, doc);
    collector_offer(collector, doc, score);
}

/* Counts those that are wanted of the documents whose bits are set, of `words` * 64 from `base` (a
 * multiple of 64) on. */
void collector_count_bits(struct collector *collector, uint32_t base, const uint64_t *bits,
                          uint32_t words);

/* Counts all live documents that bear the word. False, with context->status set, on an error. */
bool collector_count_list(struct search_context *context, struct collector *collector,
                          const struct plan_node *word);

/* How many documents of a list of the segment must reach a score for as many hits as are wanted to
 * reach it; 0: there is no such number. */
uint32_t collector_floor_rank(const struct collector *collector);

/* Evaluators of one segment; problems in context->status. */
void search_tree(struct search_context *context, struct collector *collector); /* any query */
void search_any(struct search_context *context, struct collector *collector);  /* PLAN_ANY */
void search_all(struct search_context *context, struct collector *collector);  /* PLAN_ALL */
/* PLAN_ANY of one word, collector->by_frequency */
void search_term(struct search_context *context, struct collector *collector);

#endif
