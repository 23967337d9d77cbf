/* The inside of an open disk segment, shared by disk_segment.c (columns, life) and
 * disk_list_reader.c (lists). */
#ifndef QUIRE_SHARD_DISK_READER_H
#define QUIRE_SHARD_DISK_READER_H

#include "shard/disk_format.h"
#include "shard/list_cache.h"

struct disk_key_page {
    uint32_t *offsets; /* DISK_PAGE + 1 at most */
    uint8_t *bytes;
};

struct disk_segment {
    struct segment base;
    struct store *store;
    struct disk_header header;
    uint8_t *norms;           /* by document */
    uint32_t *lengths;        /* by document */
    uint32_t *category_start; /* by document, one more than documents */
    uint32_t *category_ordinals;
    struct bytes *category_names; /* by ordinal; into names */
    struct disk_key_page *key_pages;
    struct buf names;
    struct list_owner lists; /* opened ones that are kept */
};

static inline struct disk_segment *disk_segment_of(struct segment *segment)
{
    return (struct disk_segment *)segment; /* base is its first member */
}

static inline uint32_t disk_pages(uint64_t rows)
{
    return (uint32_t)((rows + DISK_PAGE - 1) / DISK_PAGE);
}

/* The segment_ops that read lists. */
int disk_postings(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                  struct posting_cursor **out, struct err *err);
int disk_frequency(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                   uint32_t *df, struct err *err);
int disk_terms(struct segment *segment, const struct segment_token *within,
               struct segment_terms **out, struct err *err);

#endif
