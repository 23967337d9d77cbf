/* Memory segment: where documents go first, searchable at once.
 *
 * One writer appends whole documents; any number of readers read what was published. Each token's list is a
 * chain of chunks that never move; a reader takes the head of a list and its length under a short lock and from
 * then on needs none, because what is below its doc_limit never changes.
 */
#ifndef QUIRE_SHARD_MEMORY_SEGMENT_H
#define QUIRE_SHARD_MEMORY_SEGMENT_H

#include "shard/document.h"
#include "shard/segment.h"

/* A segment (refs = 1) with no documents. */
struct segment *memory_segment_create(uint64_t id);
/* Writer only. *doc is the new document's id. It is visible to readers whose doc_limit is above it. */
int memory_segment_add(struct segment *segment, const struct document *document, uint32_t *doc, struct err *err);
uint32_t memory_segment_documents(const struct segment *segment); /* added so far; any thread */
size_t memory_segment_bytes(const struct segment *segment);       /* of memory; any thread */

#endif
