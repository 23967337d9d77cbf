/* The inside of writing a disk segment: rows and state (disk_writer.c), numbers of documents
 * (disk_order.c), their columns (disk_column_writer.c), lists (disk_list_merge.c,
 * disk_list_writer.c). */
#ifndef QUIRE_SHARD_DISK_WRITER_H
#define QUIRE_SHARD_DISK_WRITER_H

#include "shard/disk_format.h"
#include "shard/view.h"

struct disk_list_buffer; /* disk_list_writer.c */
struct disk_merge;       /* disk_list_merge.c */

struct disk_origin { /* where a document of the new segment comes from */
    uint32_t source, doc;
};

struct disk_writer {
    struct store *store;
    uint64_t id;
    const struct view_segment *sources;
    uint32_t source_count;
    uint32_t **remap; /* by source and document: the new number, POSTING_END for a dropped one */
    bool *rising;     /* by source: whether its documents keep their order */
    struct disk_origin *origins;                /* by new document; NULL: by arrival */
    struct store_batch *batch;                  /* of columns */
    struct store_table *tables[STORE_FAMILIES]; /* of lists; NULL: no row yet */
    size_t unpaused;                            /* bytes written since `pause` was asked */
    bool (*pause)(void *data, size_t bytes);
    void *pause_data;
    struct disk_header header;
    uint8_t *norms; /* by new document */
    uint32_t next_term_id;
    struct disk_list_buffer *list;
    struct disk_merge *merge;
    struct buf value, post, pos; /* scratch */
    struct err *err;
};

int disk_writer_nomem(struct disk_writer *w); /* ERR_NOMEM */
/* Adds a row: of a list to its family's table, of a column to the batch, which is sent when it is
 * full. Asks `pause` now and then. */
int disk_writer_put(struct disk_writer *w, enum store_family family, const struct disk_key *key,
                    const struct buf *value);
/* Adds a page of a column, and empties `payload`. */
int disk_writer_page(struct disk_writer *w, enum disk_column column, uint32_t page,
                     struct buf *payload);

/* New numbers for the live documents: remap, rising, origins, header.documents. ERR_FULL when there
 * are too many. */
int disk_writer_number(struct disk_writer *w, enum segment_order order);

/* All columns, and norms; remap and origins are filled. */
int disk_writer_columns(struct disk_writer *w);

/* Lists, one after another: begin, add postings in the order of the new numbers, finish. */
int disk_list_create(struct disk_writer *w);
void disk_list_destroy(struct disk_writer *w);
void disk_list_begin(struct disk_writer *w,
                     struct segment_token token);       /* text stays until finish */
bool disk_list_positional(const struct disk_writer *w); /* whether the list has positions */
int disk_list_add(struct disk_writer *w, uint32_t doc, uint32_t freq, const uint32_t *positions,
                  uint32_t count);
int disk_list_finish(struct disk_writer *w);

/* The postings of one token in the sources: take the cursors over (also with an error), each in no
 * chunk yet, then add the postings of all to the list. */
int disk_merge_create(struct disk_writer *w);
void disk_merge_destroy(struct disk_writer *w);
int disk_merge_source(struct disk_writer *w, uint32_t source, struct posting_cursor *cursor);
int disk_merge_drain(struct disk_writer *w);

#endif
