/* A posting list under evaluation: a cursor, what its postings add to a score, and bounds of that.
 *
 * A list is moved in two ways, both only forwards: search_list_reach() finds the block that a
 * document would be in, which costs next to nothing and makes bounds of its surroundings known;
 * search_list_seek() also decodes that block and finds the document. What cannot get into the top
 * is passed over between the two.
 *
 * Bounds are those of the (frequency, norm) pairs that the index keeps for blocks and chunks, under
 * the statistics of the query (Ding and Suel, "Faster top-k document retrieval using block-max
 * indexes", 2011; pairs rather than scores as Lucene's impacts).
 *
 * Errors go to the context (search_iter.h); a list that met one is at its end.
 */
#ifndef QUIRE_SHARD_SEARCH_LIST_H
#define QUIRE_SHARD_SEARCH_LIST_H

#include "shard/search_iter.h"

struct search_list {
    struct posting_cursor *cursor;  /* NULL: the segment has no such list */
    const struct score_term *score; /* NULL: it adds nothing */
    uint32_t block;                 /* of the entered chunk, reached */
    uint32_t last;                  /* documents up to here are in the decoded block, or passed */
    bool ended;
    uint64_t max; /* no posting adds more */
    uint64_t *chunk_max;
    uint64_t *block_max; /* of chunk `maxed` */
    uint32_t maxed, block_room;
};

/* `score` may be NULL. False: the segment has no such list, or context->status is set. */
bool search_list_open(struct search_context *context, struct search_list *list, uint32_t field,
                      struct bytes token, const struct score_term *score);

/* Any chunk, backwards too; its first block is reached. False on an error. */
bool search_list_enter(struct search_context *context, struct search_list *list, uint32_t chunk);
/* To the beginning. */
void search_list_rewind(struct search_list *list);

/* To the block of the first posting >= target; false at the end. */
bool search_list_reach(struct search_context *context, struct search_list *list, uint32_t target);

/* After search_list_reach(from): no document in [from, to] gets more from this list. */
uint64_t search_list_bound(const struct search_list *list, uint32_t to);

uint32_t search_list_seek_slow(struct search_context *context, struct search_list *list,
                               uint32_t target);
/* Decodes the reached block; false on an error. */
bool search_list_decode(struct search_context *context, struct search_list *list);
/* Frequencies of the decoded block; false on an error. */
bool search_list_freqs(struct search_context *context, struct search_list *list);

/* The scores of all postings of the decoded block into parts[POSTING_BLOCK]; false on an error. */
bool search_list_parts(struct search_context *context, struct search_list *list, uint32_t *parts);

/* A score that `k` documents of the list reach at least, found cheaply, or 0; all documents of the
 * list count (none is dead or filtered away). */
uint64_t search_list_floor(struct search_context *context, struct search_list *list, uint32_t k);

/* To the first posting >= target; its document, POSTING_END at the end. */
static inline uint32_t search_list_seek(struct search_context *context, struct search_list *list,
                                        uint32_t target)
{
    struct posting_cursor *cursor = list->cursor;
    if (target > list->last || cursor->block.count == 0)
        return search_list_seek_slow(context, list, target);
    cursor->index = posting_find(cursor->block.docs, cursor->index, target);
    return cursor->block.docs[cursor->index];
}

/* What the posting that the list stands on adds. */
static inline uint64_t search_list_part(struct search_context *context, struct search_list *list,
                                        uint8_t norm)
{
    struct posting_cursor *cursor = list->cursor;
    if (!list->score || (!cursor->block.has_freqs && !search_list_freqs(context, list)))
        return 0;
    return score_part(list->score, cursor->block.freqs[cursor->index], norm);
}

#endif
