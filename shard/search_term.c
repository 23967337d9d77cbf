/* One word: the best chunks first, in them the best blocks, until what is left cannot get in. The
 * number of hits is the word's document frequency. */
#include "shard/search_collect.h"
#include "shard/search_list.h"

/* The greatest of `best`; its place. */
static uint32_t greatest(const uint64_t *best, uint32_t count)
{
    uint32_t at = 0;
    for (uint32_t i = 1; i < count; i++)
        at = best[i] > best[at] ? i : at;
    return at;
}

static void rank_block(struct search_context *context, struct collector *collector,
                       struct search_list *list)
{
    const struct posting_block *block = &list->cursor->block;
    uint32_t parts[POSTING_BLOCK];
    if (!search_list_decode(context, list) || !search_list_parts(context, list, parts))
        return;
    for (uint32_t i = 0; i < block->count; i++)
        if (parts[i] >= top_threshold(&collector->top) &&
            collector_wants(collector, block->docs[i]))
            collector_offer(collector, block->docs[i], parts[i]);
}

static void rank_chunk(struct search_context *context, struct collector *collector,
                       struct search_list *list, uint32_t chunk)
{
    if (!search_list_enter(context, list, chunk))
        return;
    for (uint32_t left = list->cursor->blocks.count; left > 0 && !context->status; left--) {
        list->block = greatest(list->block_max, list->cursor->blocks.count);
        if (list->block_max[list->block] < top_threshold(&collector->top))
            return;
        rank_block(context, collector, list);
        list->block_max[list->block] = 0;
    }
}

void search_term(struct search_context *context, struct collector *collector)
{
    const struct plan_node *node = context->plan->clauses[0].node;
    struct search_list list;
    if (!search_list_open(context, &list, node->field, node->tokens[0], &node->score))
        return;
    if (!collector_count_list(context, collector, node))
        return;
    for (uint32_t left = list.cursor->chunks.count; left > 0 && !context->status; left--) {
        uint32_t chunk = greatest(list.chunk_max, list.cursor->chunks.count);
        if (list.chunk_max[chunk] < top_threshold(&collector->top))
            return;
        rank_chunk(context, collector, &list, chunk);
        list.chunk_max[chunk] = 0;
    }
}
