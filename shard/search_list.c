#include "shard/search_list.h"

#include <string.h>

/* Rounding can make a part fall by one unit where the frequency rises (at frequencies of many
 * millions); bounds must not. */
#define ROUNDING 1

/* The best part of each element, and of all. */
static uint64_t best_parts(const struct posting_level *level, const struct score_term *score,
                           uint64_t *best)
{
    uint64_t most = 0;
    uint32_t pair = 0;
    for (uint32_t i = 0; i < level->count; i++) {
        uint64_t here = 0;
        for (; pair < level->pair_end[i]; pair++) {
            uint64_t part = score_part(score, level->pair_freq[pair], level->pair_norm[pair]);
            here = part > here ? part : here;
        }
        best[i] = here + ROUNDING;
        most = best[i] > most ? best[i] : most;
    }
    return most;
}

bool search_list_open(struct search_context *context, struct search_list *list, uint32_t field,
                      struct bytes token, const struct score_term *score)
{
    *list = (struct search_list){.score = score, .maxed = POSTING_NONE, .ended = true};
    list->cursor = search_open(context, field, token);
    if (!list->cursor)
        return false;
    list->ended = false;
    if (!score)
        return true;
    list->chunk_max = search_alloc(context, list->cursor->chunks.count, sizeof *list->chunk_max);
    if (!list->chunk_max)
        return false;
    list->max = best_parts(&list->cursor->chunks, score, list->chunk_max);
    return true;
}

static bool fail(struct search_list *list)
{
    list->ended = true;
    if (list->cursor)
        list->cursor->block.count = 0;
    return false;
}

bool search_list_enter(struct search_context *context, struct search_list *list, uint32_t chunk)
{
    struct posting_cursor *cursor = list->cursor;
    if (!search_tick(context))
        return fail(list);
    context->status = cursor->ops->enter(cursor, chunk, context->err);
    if (context->status)
        return fail(list);
    list->block = 0;
    if (!list->score)
        return true;
    if (cursor->blocks.count > list->block_room) {
        list->block_room = cursor->blocks.count > 64 ? cursor->blocks.count : 64;
        list->block_max = search_alloc(context, list->block_room, sizeof *list->block_max);
        if (!list->block_max)
            return fail(list);
    }
    best_parts(&cursor->blocks, list->score, list->block_max);
    list->maxed = chunk;
    return true;
}

void search_list_rewind(struct search_list *list)
{
    if (!list->cursor)
        return;
    list->cursor->chunk = POSTING_NONE;
    list->cursor->block.count = 0;
    list->last = 0;
    list->ended = false;
}

bool search_list_reach(struct search_context *context, struct search_list *list, uint32_t target)
{
    struct posting_cursor *cursor = list->cursor;
    if (list->ended)
        return false;
    uint32_t chunk = cursor->chunk;
    if (chunk == POSTING_NONE || cursor->chunks.last_doc[chunk] < target) {
        chunk = posting_level_find(&cursor->chunks, chunk == POSTING_NONE ? 0 : chunk + 1, target);
        if (chunk >= cursor->chunks.count)
            return fail(list);
        if (!search_list_enter(context, list, chunk))
            return false;
    }
    list->block = posting_level_find(&cursor->blocks, list->block, target);
    return true;
}

uint64_t search_list_bound(const struct search_list *list, uint32_t to)
{
    const struct posting_cursor *cursor = list->cursor;
    if (list->ended || !list->score)
        return 0;
    uint64_t most = 0;
    uint32_t last = 0;
    for (uint32_t i = list->block; i < cursor->blocks.count; i++) {
        most = list->block_max[i] > most ? list->block_max[i] : most;
        last = cursor->blocks.last_doc[i];
        if (last >= to)
            return most;
    }
    for (uint32_t i = cursor->chunk + 1; i < cursor->chunks.count; i++) {
        most = list->chunk_max[i] > most ? list->chunk_max[i] : most;
        if (cursor->chunks.last_doc[i] >= to)
            break;
    }
    return most;
}

bool search_list_decode(struct search_context *context, struct search_list *list)
{
    struct posting_cursor *cursor = list->cursor;
    if (cursor->block_number == list->block && cursor->block.count > 0)
        return true;
    if (!search_tick(context))
        return fail(list);
    context->status = cursor->ops->decode(cursor, list->block, context->err);
    if (context->status)
        return fail(list);
    cursor->index = 0;
    list->last = cursor->block.docs[cursor->block.count - 1];
    return true;
}

uint32_t search_list_seek_slow(struct search_context *context, struct search_list *list,
                               uint32_t target)
{
    struct posting_cursor *cursor = list->cursor;
    if (!search_list_reach(context, list, target) || !search_list_decode(context, list))
        return POSTING_END;
    cursor->index = posting_find(cursor->block.docs, cursor->index, target);
    return cursor->block.docs[cursor->index];
}

bool search_list_freqs(struct search_context *context, struct search_list *list)
{
    if (!context->status && !list->cursor->block.has_freqs)
        context->status = list->cursor->ops->freqs(list->cursor, context->err);
    return context->status ? fail(list) : true;
}

bool search_list_parts(struct search_context *context, struct search_list *list, uint32_t *parts)
{
    if (!search_list_freqs(context, list))
        return false;
    const struct posting_block *block = &list->cursor->block;
    uint8_t norms[POSTING_BLOCK];
    search_norms(context, block->docs, block->count, norms);
    score_parts(list->score, block->freqs, norms, block->count, parts);
    return true;
}

/* ---- a floor ---- */

/* The k-th largest of what was offered, in a heap with the smallest at 0. */
struct largest {
    uint64_t *heap;
    uint32_t count, k;
};

static void largest_offer(struct largest *largest, uint64_t value)
{
    uint64_t *heap = largest->heap;
    uint32_t at;
    if (largest->count < largest->k) {
        at = largest->count++;
        for (; at > 0 && heap[(at - 1) / 2] > value; at = (at - 1) / 2)
            heap[at] = heap[(at - 1) / 2];
    } else {
        if (value <= heap[0])
            return;
        at = 0;
        for (uint32_t child = 1; child < largest->count; child = 2 * at + 1) {
            if (child + 1 < largest->count && heap[child + 1] < heap[child])
                child++;
            if (heap[child] >= value)
                break;
            heap[at] = heap[child];
            at = child;
        }
    }
    heap[at] = value;
}

/* Each element whose best part is reached has a document that gets it. */
static void offer_level(struct largest *largest, const struct posting_level *level,
                        const uint64_t *best)
{
    for (uint32_t i = 0; i < level->count; i++)
        if (level->reached[i])
            largest_offer(largest, best[i] - ROUNDING);
}

static bool offer_postings(struct search_context *context, struct search_list *list,
                           struct largest *largest)
{
    uint32_t parts[POSTING_BLOCK];
    for (uint32_t i = 0; i < list->cursor->blocks.count; i++) {
        list->block = i;
        if (!search_list_decode(context, list) || !search_list_parts(context, list, parts))
            return false;
        for (uint32_t k = 0; k < list->cursor->block.count; k++)
            largest_offer(largest, parts[k]);
    }
    return true;
}

uint64_t search_list_floor(struct search_context *context, struct search_list *list, uint32_t k)
{
    struct posting_cursor *cursor = list->cursor;
    if (list->ended || !list->score || k == 0 || k > cursor->df)
        return 0;
    struct largest largest = {.k = k};
    largest.heap = search_alloc(context, k, sizeof *largest.heap);
    if (!largest.heap || !search_list_reach(context, list, 0))
        return 0;
    if (cursor->blocks.count >= 2 * k)
        offer_level(&largest, &cursor->blocks, list->block_max);
    else if (cursor->chunks.count >= 2 * k)
        offer_level(&largest, &cursor->chunks, list->chunk_max);
    else if (!offer_postings(context, list, &largest))
        return 0;
    search_list_rewind(list);
    return largest.count == k ? largest.heap[0] : 0;
}
