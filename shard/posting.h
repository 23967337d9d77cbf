/* Postings as evaluation sees them: a cursor over one token's list in one segment.
 *
 * The same cursor reads a list on disk (disk_list_reader.c) and one that is still in memory
 * (memory_list.c). A list is a row of chunks, a chunk a row of blocks of up to POSTING_BLOCK
 * postings; documents rise strictly throughout. Of every chunk of the list, and of every block of
 * the chunk that was entered, the last document and bounds on its scores are known without decoding
 * anything; documents and frequencies of a block are decoded apart, since much of evaluation needs
 * no frequencies.
 *
 * Who just wants the postings calls posting_next() and posting_advance(); who prunes looks at the
 * levels and calls the ops. Both can be mixed.
 *
 * A cursor belongs to one thread at a time. It never yields a document at or above the doc_limit
 * that it was opened with; levels may reach beyond it.
 */
#ifndef QUIRE_SHARD_POSTING_H
#define QUIRE_SHARD_POSTING_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define POSTING_BLOCK 128
#define POSTING_END UINT32_MAX  /* no document has this id */
#define POSTING_NONE UINT32_MAX /* no chunk, no block */

struct posting_block { /* decoded */
    uint32_t count;    /* 0: none */
    bool has_freqs;    /* freqs are decoded as well */
    /* Document ids within the segment; from count on POSTING_END, so that a search may run over
     * all of them. Undefined when count is 0. */
    _Alignas(64) uint32_t docs[POSTING_BLOCK];
    /* Weighted term frequencies, from 1; only when has_freqs. */
    _Alignas(64) uint32_t freqs[POSTING_BLOCK];
};

/* What is known, without decoding, of each element of one level of a list: of the chunks of a list,
 * or of the blocks of a chunk. A document of element i scores at most as the best of its
 * (frequency, norm) pairs would: those from pair_end[i - 1] (0 for the first) to pair_end[i] - 1,
 * at least one. */
struct posting_level {
    uint32_t count;
    const uint32_t *last_doc; /* [count], rising */
    const uint32_t *pair_end; /* [count] */
    const uint32_t *pair_freq;
    const uint8_t *pair_norm;
    /* [count] 1: every pair is that of a posting of the element (of a document that may be dead),
     * so that some document does score as the best pair says; 0: not known. */
    const uint8_t *reached;
};

struct posting_cursor;

struct posting_cursor_ops {
    /* Goes into a chunk: sets `chunk` and `blocks`, forgets the decoded block. May read from disk.
     * ERR_CORRUPT on damaged bytes; the cursor is then in no chunk. */
    int (*enter)(struct posting_cursor *cursor, uint32_t chunk, struct err *err);
    /* Decodes the documents of a block of the entered chunk: sets `block`, `block_number`, and
     * `index` to 0. has_freqs is set where frequencies came for free. ERR_CORRUPT leaves no block.
     */
    int (*decode)(struct posting_cursor *cursor, uint32_t block, struct err *err);
    /* Decodes the frequencies of the decoded block. Called by posting_load_freqs(). */
    int (*freqs)(struct posting_cursor *cursor, struct err *err);
    /* Positions (rising, weighted fields not multiplied) of block.docs[index]; none (0, NULL) in a
     * list without positions. Valid until the next call on this cursor. */
    int (*positions)(struct posting_cursor *cursor, uint32_t index, const uint32_t **positions,
                     uint32_t *count, struct err *err);
    void (*close)(struct posting_cursor *cursor);
};

struct posting_cursor {
    const struct posting_cursor_ops *ops;
    uint32_t df;                 /* postings in the list, dead documents included */
    uint32_t chunk;              /* entered; POSTING_NONE: none yet; chunks.count: at the end */
    uint32_t block_number;       /* within the chunk, of `block`; POSTING_NONE: none decoded */
    uint32_t index;              /* of the current posting within block */
    struct posting_level chunks; /* as long as the cursor is open; never read from disk */
    struct posting_level blocks; /* of the entered chunk, until another is entered */
    struct posting_block block;
};

/* For who makes cursors: in no chunk, everything but the decoded arrays set. */
void posting_cursor_init(struct posting_cursor *cursor, const struct posting_cursor_ops *ops,
                         uint32_t df, const struct posting_level *chunks);

/* Current document, or POSTING_END. Only after posting_advance()/posting_next(). */
static inline uint32_t posting_doc(const struct posting_cursor *cursor)
{
    return cursor->index < cursor->block.count ? cursor->block.docs[cursor->index] : POSTING_END;
}

/* Makes the frequencies of the decoded block available. */
static inline int posting_load_freqs(struct posting_cursor *cursor, struct err *err)
{
    return cursor->block.has_freqs ? 0 : cursor->ops->freqs(cursor, err);
}

/* Of the current posting; only after posting_load_freqs() on its block. */
static inline uint32_t posting_freq(const struct posting_cursor *cursor)
{
    return cursor->block.freqs[cursor->index];
}

/* Index of the first of a block's documents that is >= target, from `from` on; there is one, or the
 * padding is found. Eight are compared at once, since most moves are short. */
static inline uint32_t posting_find(const uint32_t *docs, uint32_t from, uint32_t target)
{
    typedef uint32_t lanes __attribute__((vector_size(16)));
    uint32_t base = from & ~7u;
    lanes low, high;

    if (docs[from] >= target)
        return from;
    while (base + 8 < POSTING_BLOCK && docs[base + 7] < target)
        base += 8;
    memcpy(&low, docs + base, sizeof(low));
    memcpy(&high, docs + base + 4, sizeof(high));
    low = (lanes)(low < target) + (lanes)(high < target); /* -1 for each that is */
    return base - (low[0] + low[1] + low[2] + low[3]);
}

/* The first element from `from` on whose last document is >= target; level->count: none. */
uint32_t posting_level_find(const struct posting_level *level, uint32_t from, uint32_t target);

/* Moves to the first posting with doc >= target (never backwards); at the end, chunk is
 * chunks.count and there is no block. An error ends the list. */
int posting_advance(struct posting_cursor *cursor, uint32_t target, struct err *err);
int posting_next(struct posting_cursor *cursor, struct err *err);
void posting_close(struct posting_cursor *cursor); /* NULL is allowed */

/* ---- bounds, as they are built and stored ---- */

/* A document of what is bounded scores at most as high as the best of these pairs would.
 * Frequencies fall from pair to pair, and so do norms. */
#define POSTING_BOUNDS_MAX 4
struct posting_bounds {
    uint32_t last_doc;
    uint32_t count;
    bool joined; /* two pairs were made one, so a pair may be no posting's */
    struct {
        uint32_t freq;
        uint8_t norm;
    } pair[POSTING_BOUNDS_MAX];
};

/* The bounds of postings; last_doc is not set. `count` >= 1. A score must not fall when the
 * frequency rises, nor rise with the norm. */
void posting_bounds_build(const uint32_t *freqs, const uint8_t *norms, uint32_t count,
                          struct posting_bounds *out);
/* Makes `to` bound what `from` bounds as well; last_doc becomes the later one. `to` may be {0}. */
void posting_bounds_merge(struct posting_bounds *to, const struct posting_bounds *from);

#endif
