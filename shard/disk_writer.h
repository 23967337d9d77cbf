/* The inside of writing a disk segment: rows and state (disk_writer.c), documents
 * (disk_column_writer.c), lists (disk_list_writer.c). */
#ifndef QUIRE_SHARD_DISK_WRITER_H
#define QUIRE_SHARD_DISK_WRITER_H

#include "shard/disk_format.h"
#include "shard/view.h"

struct disk_list_buffer; /* disk_list_writer.c */

struct disk_writer {
    struct store *store;
    uint64_t id;
    const struct view_segment *sources;
    uint32_t source_count;
    uint32_t **remap; /* by source and document: the new number, POSTING_END for a dropped one */
    struct store_batch *batch;                  /* of columns */
    struct store_table *tables[STORE_FAMILIES]; /* of lists; NULL: no row yet */
    size_t unpaused;                            /* bytes written since `pause` was asked */
    bool (*pause)(void *data, size_t bytes);
    void *pause_data;
    struct disk_header header;
    uint8_t *norms; /* by new document */
    uint32_t next_term_id;
    struct disk_list_buffer *list;
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

/* All columns; remap and norms are filled. */
int disk_writer_columns(struct disk_writer *w);

/* Lists, one after another: begin, add from cursors in the order of the sources, finish. */
int disk_list_create(struct disk_writer *w);
void disk_list_destroy(struct disk_writer *w);
void disk_list_begin(struct disk_writer *w,
                     struct segment_token token); /* text stays until finish */
int disk_list_drain(struct disk_writer *w, uint32_t source, struct posting_cursor *cursor);
int disk_list_finish(struct disk_writer *w);

#endif
