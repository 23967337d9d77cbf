/* The rows of a disk segment: keys and values, shared by its writer and its readers. Layouts: the
 * essay in disk_format.c. */
#ifndef QUIRE_SHARD_DISK_FORMAT_H
#define QUIRE_SHARD_DISK_FORMAT_H

#include "shard/index_store.h"
#include "shard/posting_codec.h"
#include "shard/segment.h"

#define DISK_KEY_MAX (8 + 1 + 255)
#define DISK_PAGE 4096u /* rows of a column in a page */

struct disk_key { /* borrowed as `bytes` from itself */
    uint8_t data[DISK_KEY_MAX];
    size_t size;
};

static inline struct bytes disk_key_bytes(const struct disk_key *key)
{
    return bytes_of(key->data, key->size);
}

enum disk_column {
    DISK_CATEGORIES = 'c', /* by document */
    DISK_NAMES = 'g',      /* of categories, by ordinal */
    DISK_HEADER = 'h',
    DISK_KEYS = 'k',
    DISK_LENGTHS = 'l',
    DISK_NORMS = 'n',
};

void disk_key_segment(struct disk_key *key, uint64_t segment); /* before all rows of it */
void disk_key_term(struct disk_key *key, uint64_t segment, struct segment_token token);
/* Behind all keys that begin with `prefix`, which is not all 0xff. */
void disk_key_behind(const struct disk_key *prefix, struct disk_key *key);
void disk_key_chunk(struct disk_key *key, uint64_t segment, uint32_t term_id, uint32_t first_doc);
void disk_key_column(struct disk_key *key, uint64_t segment, enum disk_column column,
                     uint32_t page);
/* The token in a key of the term family; false when it cannot be one. */
bool disk_key_token(struct bytes key, struct segment_token *token);

/* ---- pages ---- */

/* Appends version, checksum and payload. */
void disk_put_page(struct buf *out, const struct buf *payload);
bool disk_get_page(struct bytes page, struct reader *payload);

/* ---- the header ---- */

struct disk_header {
    uint64_t documents, categories, terms, postings;
    uint64_t bytes; /* of keys and values, but for this row */
};

void disk_put_header(struct buf *payload, const struct disk_header *header);
bool disk_get_header(struct reader *payload, struct disk_header *header);

/* ---- terms ---- */

enum disk_term_flags {
    DISK_TERM_CHUNKED = 1,          /* the list is in chunks, else it lies inline, as one block */
    DISK_TERM_POSITIONS = 2,        /* it has positions */
    DISK_TERM_POSITIONS_INLINE = 4, /* behind the inline block */
};

struct disk_chunk_entry { /* of the directory of a list */
    uint32_t first_doc, count;
    struct posting_bounds bounds; /* with last_doc */
};

struct disk_term {
    uint8_t flags;
    uint32_t df;
    uint32_t id;              /* where chunks of postings or positions are; else 0 */
    uint64_t total_frequency; /* chunked lists only */
    uint32_t chunk_count;     /* 0 when inline */
    struct bytes rest;        /* the inline block and positions, or the directory */
};

/* Whether there are rows of its own in the chunk families. */
static inline bool disk_term_has_rows(uint8_t flags)
{
    return (flags & DISK_TERM_CHUNKED) ||
           (flags & (DISK_TERM_POSITIONS | DISK_TERM_POSITIONS_INLINE)) == DISK_TERM_POSITIONS;
}

/* Appends the value; `rest` is as above. */
void disk_put_term(struct buf *out, const struct disk_term *term);
/* Borrows `value`. */
bool disk_get_term(struct bytes value, struct disk_term *term);
void disk_put_directory(struct buf *out, const struct disk_chunk_entry *chunks, uint32_t count);
/* `chunks` has room for term->chunk_count. Documents are below `documents`. */
bool disk_get_directory(const struct disk_term *term, uint32_t documents,
                        struct disk_chunk_entry *chunks);

#endif
