/* Disk segment: an immutable segment in a range's index store. Byte layouts: the essays
 * in disk_format.c and posting_codec.c.
 *
 * Written in one pass from sorted lists (a frozen memory segment, or a merge of several segments),
 * dropping documents that are dead at that moment. Written rows are not part of the range until its
 * manifest names the segment; rows of a segment that no manifest names are removed at open
 * (disk_segment_remove).
 */
#ifndef QUIRE_SHARD_DISK_SEGMENT_H
#define QUIRE_SHARD_DISK_SEGMENT_H

#include "shard/index_store.h"
#include "shard/segment.h"
#include "shard/view.h"

/* Opens (refs = 1). Reads and checks the header; columns are read (and checked) whole, lists when
 * used. */
int disk_segment_open(struct store *store, uint64_t id, struct segment **out, struct err *err);
uint32_t disk_segment_documents(const struct segment *segment);
uint64_t disk_segment_bytes(const struct segment *segment);
uint64_t
disk_segment_postings(const struct segment *segment); /* over all lists, for status and tests */

/* Writes segment `id` from the live documents of `sources`, by arrival. `remap[i][doc]` (may be
 * NULL; freed by the caller with free()) tells where document `doc` of source i went, POSTING_END
 * for a dropped one. Lists go into tables (index_store.h), columns through bounded batches; `pause`
 * (may be NULL) is called between them for rate limiting and returns false to give up
 * (ERR_CANCELED; rows written so far are removed). */
int disk_segment_write(struct store *store, uint64_t id, const struct view_segment *sources,
                       uint32_t count, uint32_t **remap, bool (*pause)(void *data, size_t bytes),
                       void *data, struct err *err);
/* The same, in that order. */
int disk_segment_write_by(enum segment_order order, struct store *store, uint64_t id,
                          const struct view_segment *sources, uint32_t count, uint32_t **remap,
                          bool (*pause)(void *data, size_t bytes), void *data, struct err *err);
/* Removes the rows of segment `id`: those in files of their own at once, the others with `batch`.
 * No durable manifest names it any more. */
int disk_segment_remove(struct store *store, struct store_batch *batch, uint64_t id,
                        struct err *err);

/* Reads everything, checks every checksum and invariant, and counts; the first problem is
 * ERR_CORRUPT and its text names family, token and block. */
int disk_segment_validate(struct segment *segment, uint64_t *postings, struct err *err);

#endif
