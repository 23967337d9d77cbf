/* Postings as evaluation sees them: a cursor over one token's list in one segment, block by block.
 *
 * The same cursor reads an on-disk list (posting_codec.h) and a list that is still in memory
 * (memory_segment.h). Documents rise strictly. A block holds up to POSTING_BLOCK postings and,
 * before it is decoded, bounds for pruning: its last document and the (frequency, norm) pairs that
 * bound its score.
 */
#ifndef QUIRE_SHARD_POSTING_H
#define QUIRE_SHARD_POSTING_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define POSTING_BLOCK 128
#define POSTING_END UINT32_MAX /* no document has this id */

struct posting_block {
    uint32_t count;                /* 0: the list is at its end */
    uint32_t docs[POSTING_BLOCK];  /* document ids within the segment */
    uint32_t freqs[POSTING_BLOCK]; /* weighted term frequencies, from 1 */
};

/* Bounds: a document of the block scores at most as high as the best of these pairs would. */
#define POSTING_BOUNDS_MAX 4
struct posting_bounds {
    uint32_t last_doc;
    uint32_t count;
    struct {
        uint32_t freq;
        uint8_t norm;
    } pair[POSTING_BOUNDS_MAX];
};

/* The bounds of a block, from its postings; last_doc is not set. `count` >= 1. A score must not
 * fall when the frequency rises, nor rise with the norm. */
void posting_bounds_build(const uint32_t *freqs, const uint8_t *norms, uint32_t count,
                          struct posting_bounds *out);
/* Makes `to` bound what `from` bounds as well; last_doc becomes the later one. `to` may be {0}. */
void posting_bounds_merge(struct posting_bounds *to, const struct posting_bounds *from);

struct posting_cursor;

struct posting_cursor_ops {
    /* Decodes into cursor->block the block that holds the first posting with doc >= target (whole
     * block; earlier postings of it may be < target). count == 0 at the end. ERR_CORRUPT on a bad
     * checksum. */
    int (*load)(struct posting_cursor *cursor, uint32_t target, struct err *err);
    /* Bounds of the block that load(target) would decode, without decoding and without reading from
     * disk; false at the end. They hold for all postings from `target` to out->last_doc: where the
     * block's own bounds are not at hand, those of a longer stretch are given. */
    bool (*bounds)(struct posting_cursor *cursor, uint32_t target, struct posting_bounds *out);
    /* Positions (rising, weighted fields not multiplied) of block->docs[index]; valid until next
     * call. */
    int (*positions)(struct posting_cursor *cursor, uint32_t index, const uint32_t **positions,
                     uint32_t *count, struct err *err);
    void (*close)(struct posting_cursor *cursor);
};

struct posting_cursor {
    const struct posting_cursor_ops *ops;
    uint32_t index; /* of the current posting within block; count 0 and index 1: at the end */
    uint32_t df;    /* postings in the list, dead documents included */
    struct posting_block block;
};

/* Current document, or POSTING_END. Only after posting_advance()/posting_next(). */
static inline uint32_t posting_doc(const struct posting_cursor *cursor)
{
    return cursor->index < cursor->block.count ? cursor->block.docs[cursor->index] : POSTING_END;
}

static inline uint32_t posting_freq(const struct posting_cursor *cursor)
{
    return cursor->block.freqs[cursor->index];
}

/* Moves to the first posting with doc >= target (never backwards). */
int posting_advance(struct posting_cursor *cursor, uint32_t target, struct err *err);
int posting_next(struct posting_cursor *cursor, struct err *err);
void posting_close(struct posting_cursor *cursor); /* NULL is allowed */

#endif
