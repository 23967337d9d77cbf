/* Opened lists of a disk segment: what the row of a term and the rows of its chunks say, checked
 * and laid out for reading. Immutable; shared by cursors of any threads.
 *
 * Rows: disk_format.c; chunks: posting_codec.c; cursors: disk_list_reader.c.
 */
#ifndef QUIRE_SHARD_DISK_LIST_H
#define QUIRE_SHARD_DISK_LIST_H

#include "shard/disk_reader.h"

#include <stdatomic.h>

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

struct disk_list { /* from malloc, in one piece */
    _Atomic uint32_t refs;
    uint32_t df;
    uint32_t id; /* of the term, in the keys of its chunks */
    uint8_t flags;
    struct posting_level chunks;   /* an inline list is one chunk of one block */
    const uint32_t *first_doc;     /* [chunks.count] */
    const uint32_t *count;         /* [chunks.count], postings */
    struct disk_chunk inline_only; /* unless DISK_TERM_CHUNKED */
    struct bytes inline_positions; /* DISK_TERM_POSITIONS_INLINE */
    size_t size;                   /* of all of this */
};

/* Opens the list that a row of the term family describes (refs = 1). ERR_CORRUPT, ERR_NOMEM. */
int disk_list_open(const struct disk_segment *s, struct bytes row, struct disk_list **out,
                   struct err *err);
void disk_list_unref(struct disk_list *list); /* NULL is allowed */

/* Reads a chunk of a chunked list. free() it. ERR_CORRUPT, ERR_IO, ERR_NOMEM. */
int disk_chunk_read(const struct disk_segment *s, const struct disk_list *list, uint32_t number,
                    struct disk_chunk **out, struct err *err);
/* Reads the positions of a chunk of a list whose positions are not inline. free() them. */
int disk_positions_read(const struct disk_segment *s, const struct disk_list *list, uint32_t number,
                        struct disk_position_chunk **out, struct err *err);

/* ERR_CORRUPT, saying where. */
int disk_list_corrupt(const struct disk_segment *s, const struct disk_list *list, uint32_t chunk,
                      const char *what, struct err *err);

#endif
