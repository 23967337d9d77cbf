#include "shard/search_iter.h"
#include "proto/base/clock.h"

#include <assert.h>

#define TICKS_PER_CHECK 16 /* blocks of 128 postings */

bool search_tick(struct search_context *context)
{
    if (context->status)
        return false;
    if (++context->ticks % TICKS_PER_CHECK || !context->budget)
        return true;
    const struct search_budget *budget = context->budget;
    if (budget->deadline_ms && clock_ms() >= budget->deadline_ms)
        context->status =
            err_set(context->err, ERR_DEADLINE, "the search took longer than its deadline");
    else if (budget->abandoned && budget->abandoned(budget->data))
        context->status =
            err_set(context->err, ERR_CANCELED, "the search was given up by its caller");
    return context->status == 0;
}

void *search_alloc(struct search_context *context, size_t count, size_t size)
{
    void *memory = arena_calloc(context->arena, count ? count : 1, size);
    if (!memory && !context->status)
        context->status = err_set(context->err, ERR_NOMEM, "out of memory for a search");
    return memory;
}

int search_context_init(struct search_context *context)
{
    const struct search_plan *plan = context->plan;
    context->segment = context->view->segment;
    context->doc_limit = context->view->doc_limit;
    context->cursor_count = 0;
    context->status = 0;
    context->ticks = TICKS_PER_CHECK - 1; /* the first tick looks at the clock */
    context->norm_doc = POSTING_END;
    context->cursors = search_alloc(context, plan->cursor_count, sizeof(struct posting_cursor *));
    context->iters = search_alloc(context, plan->node_count, sizeof(struct iter *));
    search_tick(context);
    return context->status;
}

void search_context_deinit(struct search_context *context)
{
    for (uint32_t i = 0; i < context->cursor_count; i++)
        posting_close(context->cursors[i]);
    context->cursor_count = 0;
}

struct posting_cursor *search_open(struct search_context *context, uint32_t field,
                                   struct bytes token)
{
    if (context->status)
        return NULL;
    assert(context->cursor_count < context->plan->cursor_count);
    struct segment_token wanted = {.field = plan_space(field), .text = token};
    struct posting_cursor *cursor = NULL;
    context->status = context->segment->ops->postings(context->segment, wanted, context->doc_limit,
                                                      &cursor, context->err);
    if (context->status || !cursor)
        return NULL;
    context->cursors[context->cursor_count++] = cursor;
    return cursor;
}

uint32_t search_cursor_seek(struct search_context *context, struct posting_cursor *cursor,
                            uint32_t target)
{
    const struct posting_block *block = &cursor->block;
    bool inside = block->count > 0 && block->docs[block->count - 1] >= target;
    if (!inside && !search_tick(context))
        cursor->block.count = 0;
    if (!context->status)
        context->status = posting_advance(cursor, target, context->err);
    return context->status ? POSTING_END : posting_doc(cursor);
}

uint32_t search_cursor_freq(struct search_context *context, struct posting_cursor *cursor)
{
    if (!context->status)
        context->status = posting_load_freqs(cursor, context->err);
    return context->status ? 1 : posting_freq(cursor);
}

static struct iter *compile_node(struct search_context *context, const struct plan_node *node)
{
    switch (node->op) {
    case QUIRE__QUERY_NODE__OP__BOOL:
        return iter_bool(context, node);
    case QUIRE__QUERY_NODE__OP__NONE:
        return iter_none(context);
    default:
        return iter_leaf(context, node);
    }
}

struct iter *search_compile(struct search_context *context)
{
    const struct search_plan *plan = context->plan;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        context->iters[i] = compile_node(context, &plan->nodes[i]);
        if (!context->iters[i] || context->status)
            return NULL;
    }
    return context->iters[plan->node_count - 1];
}
