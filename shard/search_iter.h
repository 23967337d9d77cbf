/* Iterators: a compiled query over one segment, document at a time.
 *
 * Each iterator stands on a document from the moment it is built (POSTING_END when there is none),
 * and rises. Where it stands it is a candidate: `two_phase` iterators (phrases, categories,
 * exclusions, and groups that hold such) have to be asked iter_matches(), which may cost more than
 * finding the candidate, and remember the answer for the document. iter_score() is allowed once
 * iter_matches() has said yes.
 *
 * Nothing returns an error: the first problem goes into the context, every list ends, and the
 * driver looks at context->status when the root has reached its end.
 *
 * Any query can be evaluated so, and nothing is passed over: what search_any.c, search_all.c and
 * search_term.c find faster has to be the same.
 */
#ifndef QUIRE_SHARD_SEARCH_ITER_H
#define QUIRE_SHARD_SEARCH_ITER_H

#include "proto/base/arena.h"
#include "shard/search.h"
#include "shard/search_plan.h"

struct iter;

struct iter_ops {
    void (*advance)(struct iter *it,
                    uint32_t target); /* to the first candidate >= target > it->doc */
    bool (*matches)(struct iter *it); /* two_phase only */
    uint64_t (*score)(struct iter *it);
};

struct iter {
    const struct iter_ops *ops;
    struct search_context *context;
    uint32_t doc;
    uint32_t asked; /* document of the last answer of matches() */
    bool answer;
    bool two_phase;
    uint64_t cost; /* candidates to expect, at most */
};

/* One segment under evaluation. */
struct search_context {
    const struct search_plan *plan;
    struct segment *segment;
    const struct view_segment *view;
    uint32_t doc_limit;
    const struct search_budget *budget;
    struct arena *arena;
    struct posting_cursor **cursors; /* open ones */
    uint32_t cursor_count;
    struct iter **iters; /* of each plan node */
    uint32_t ticks;
    uint32_t norm_doc; /* the last one asked for */
    uint8_t norm;
    int status;
    struct err *err;
};

/* Between blocks: false, with context->status set, when the time is up or nobody waits any more. */
bool search_tick(struct search_context *context);

/* `context` has plan, view, budget, arena and err set. search_context_deinit closes the lists in
 * any case. */
int search_context_init(struct search_context *context);
void search_context_deinit(struct search_context *context);

/* Opens the list of a leaf's token: NULL without error when the segment has none. Owned by the
 * context. */
struct posting_cursor *search_open(struct search_context *context, uint32_t field,
                                   struct bytes token);

/* Builds the tree of the whole plan; its root. NULL with context->status set. */
struct iter *search_compile(struct search_context *context);

/* The parts, for search_compile(). */
struct iter *iter_leaf(struct search_context *context, const struct plan_node *node);
struct iter *iter_bool(struct search_context *context, const struct plan_node *node);
struct iter *iter_none(struct search_context *context);

/* In the document that a TERM or PHRASE iterator stands on and matches; 0 when the segment has no
 * such list. */
uint32_t iter_leaf_frequency(const struct iter *it);

void *search_alloc(struct search_context *context, size_t count, size_t size);

static inline bool iter_matches(struct iter *it)
{
    if (!it->two_phase)
        return true;
    if (it->asked != it->doc) {
        it->answer = it->ops->matches(it);
        it->asked = it->doc;
    }
    return it->answer;
}

static inline uint64_t iter_score(struct iter *it)
{
    return it->ops->score(it);
}

static inline uint32_t iter_seek(struct iter *it, uint32_t target)
{
    if (it->doc < target)
        it->ops->advance(it, target);
    return it->doc;
}

static inline uint8_t search_norm(struct search_context *context, uint32_t doc)
{
    if (context->norm_doc != doc) {
        context->norm = context->segment->ops->norm(context->segment, doc);
        context->norm_doc = doc;
    }
    return context->norm;
}

/* Norms of some documents. */
static inline void search_norms(struct search_context *context, const uint32_t *docs,
                                uint32_t count, uint8_t *norms)
{
    const uint8_t *column = context->segment->norms;
    for (uint32_t i = 0; i < count; i++)
        norms[i] =
            column ? column[docs[i]] : context->segment->ops->norm(context->segment, docs[i]);
}

/* How often a phrase (or a word of the body) occurs in `doc`, which the cursors of its tokens stand
 * on, with their frequencies. 0 also on an error. */
uint32_t search_phrase_frequency(struct search_context *context, const struct plan_node *node,
                                 struct posting_cursor *const *cursors, uint32_t doc);

/* Moves a cursor within and between blocks; the document it comes to stand on. */
uint32_t search_cursor_seek(struct search_context *context, struct posting_cursor *cursor,
                            uint32_t target);
/* Of the posting that the cursor stands on. */
uint32_t search_cursor_freq(struct search_context *context, struct posting_cursor *cursor);

#endif
