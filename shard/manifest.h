/* Manifest: what a range durably consists of: the one row of its store that names everything else.
 *
 * Row "m" of the family `meta`:
 *
 *   u8      format version (MANIFEST_VERSION)
 *   varint  TEXT_KEY_VERSION, TEXT_ANALYSIS_VERSION the rows were made with
 *   varint  durable_seq: rows, dead documents and statistics are those after this operation
 *   varint  next_segment: no segment with this id or a higher one was ever durable
 *   varint  documents, total_length (live ones)
 *   varint  number of segments; for each, oldest first: varint id, u8 flags (1: places pending)
 *   letters (letters.h)
 *   le32    checksum of everything before it
 *
 * It is small and rewritten whole. Beside it, in the family `dead`, for each segment: (id be64,
 * 'b') -> which documents are dead (live.h), and (id be64, 'd', field u8, token) -> varint, how
 * many of those bear the token.
 */
#ifndef QUIRE_SHARD_MANIFEST_H
#define QUIRE_SHARD_MANIFEST_H

#include "proto/base/err.h"
#include "shard/letters.h"

#define MANIFEST_VERSION 1
#define MANIFEST_SEGMENTS_MAX 4096

struct manifest_segment {
    uint64_t id;
    bool places_pending; /* rows of `place` may still name the segments that this one was merged
                            from */
};

struct manifest {
    uint64_t durable_seq;
    uint64_t next_segment;
    uint64_t documents;
    uint64_t total_length;
    struct letters letters;
    struct manifest_segment *segments;
    uint32_t segment_count;
};

extern const struct bytes MANIFEST_KEY;

void manifest_deinit(struct manifest *manifest);
void manifest_encode(const struct manifest *manifest, struct buf *out);
/* ERR_CORRUPT; ERR_UNSUPPORTED when it was made with another version of the key or of the analysis.
 */
int manifest_decode(struct bytes image, struct manifest *out, struct err *err);

/* Keys of the rows beside it; appended to `out`. */
void manifest_dead_key(uint64_t segment, struct buf *out);
void manifest_dead_term_key(uint64_t segment, uint8_t field, struct bytes token, struct buf *out);

#endif
