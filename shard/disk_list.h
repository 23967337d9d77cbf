/* Opened lists of a disk segment: what the row of a term and the rows of its chunks say, checked
 * and laid out for reading. Immutable; shared by cursors of any threads.
 *
 * Rows: disk_format.c; chunks: posting_codec.c; cursors: disk_list_reader.c.
 */
#ifndef QUIRE_SHARD_DISK_LIST_H
#define QUIRE_SHARD_DISK_LIST_H

#include "shard/disk_reader.h"

struct disk_chunk { /* of postings; from malloc, in one piece */
    uint32_t count, first_doc;
    struct posting_level blocks;
    const uint32_t *offset; /* [blocks.count + 1], of each block in `bytes`, and the end */
    const uint8_t *bytes;
    size_t size; /* of all of this */
};

struct disk_position_chunk { /* from malloc, in one piece */
    const uint32_t *offset;  /* as above */
    const uint8_t *bytes;
    size_t size;
};

struct disk_list { /* in one piece, but for the chunks that are kept */
    struct list_entry entry;
    uint32_t df; /* 0: the segment has no such token, and what follows is empty */
    uint32_t id; /* of the term, in the keys of its chunks */
    uint8_t flags;
    struct posting_level chunks;   /* an inline list is one chunk of one block */
    const uint32_t *first_doc;     /* [chunks.count] */
    const uint32_t *count;         /* [chunks.count], postings */
    struct disk_chunk inline_only; /* unless DISK_TERM_CHUNKED */
    struct bytes inline_positions; /* DISK_TERM_POSITIONS_INLINE */
    /* [chunks.count] each, NULL where there are no such rows; disk_chunk, disk_position_chunk.
     * Filled when they are first read, while the cache holds the list. */
    _Atomic(void *) *kept_chunks, *kept_positions;
};

/* Opens the list of `token` that a row of the term family describes (refs = 1), for one reader.
 * ERR_CORRUPT, ERR_NOMEM. */
int disk_list_open(const struct disk_segment *s, struct segment_token token, struct bytes row,
                   struct disk_list **out, struct err *err);
/* From the cache, or from the row, and then it is in the cache. `df` is 0 where there is no such
 * token. A reference. ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
int disk_list_find(struct disk_segment *s, struct segment_token token, struct disk_list **out,
                   struct err *err);
static inline void disk_list_unref(struct disk_list *list)
{
    list_entry_unref(&list->entry);
}

/* A chunk of a chunked list, and the positions of a chunk of a list whose positions are not inline:
 * the list's own, or one read for the caller, who frees *own (NULL: it is the list's). ERR_CORRUPT,
 * ERR_IO, ERR_NOMEM. */
int disk_chunk_get(const struct disk_segment *s, struct disk_list *list, uint32_t number,
                   const struct disk_chunk **out, void **own, struct err *err);
int disk_positions_get(const struct disk_segment *s, struct disk_list *list, uint32_t number,
                       const struct disk_position_chunk **out, void **own, struct err *err);

/* ERR_CORRUPT, saying where. */
int disk_term_corrupt(const struct disk_segment *s, struct segment_token token, const char *what,
                      struct err *err);
int disk_list_corrupt(const struct disk_segment *s, const struct disk_list *list, uint32_t chunk,
                      const char *what, struct err *err);

#endif
