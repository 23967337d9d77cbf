/* Memory segment: where documents go first, searchable at once.
 *
 * One writer appends whole documents; any number of readers read what was published, without a
 * lock: each token's list is a chain of slices that never move, and what is below a reader's
 * doc_limit never changes. How that is done: the essay in memory_segment.c.
 */
#ifndef QUIRE_SHARD_MEMORY_SEGMENT_H
#define QUIRE_SHARD_MEMORY_SEGMENT_H

#include "shard/document.h"
#include "shard/segment.h"

/* A segment (refs = 1) with no documents. */
struct segment *memory_segment_create(uint64_t id);
/* Writer only. *doc is the new document's id. It is visible to readers whose doc_limit is above it.
 * Terms of TEXT_FIELD_ALL have 1 to freq positions. ERR_NOMEM and ERR_FULL (4 million documents)
 * leave the segment as it was. */
int memory_segment_add(struct segment *segment, const struct document *document, uint32_t *doc,
                       struct err *err);
uint32_t memory_segment_documents(const struct segment *segment); /* added so far; any thread */
size_t memory_segment_bytes(const struct segment *segment);       /* of memory; any thread */

#endif
