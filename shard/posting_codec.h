/* Posting codec: the bytes of postings and positions on disk, and nothing about where they are
 * kept. Layouts: the essay in posting_codec.c. Pure functions; any thread.
 *
 * Decoders take bytes from anywhere and never crash on them; they check the checksum first (chunks)
 * and every length. A decoder that finds something wrong returns false.
 */
#ifndef QUIRE_SHARD_POSTING_CODEC_H
#define QUIRE_SHARD_POSTING_CODEC_H

#include "shard/posting.h"

/* Chunks of a list that has several hold CODEC_CHUNK postings; the last holds the rest, up to
 * almost twice as many. */
#define CODEC_CHUNK 4096u
#define CODEC_CHUNK_MAX (2 * CODEC_CHUNK)
#define CODEC_CHUNK_BLOCKS (CODEC_CHUNK_MAX / POSTING_BLOCK)

/* ---- bounds ---- */

void codec_put_bounds(struct buf *out, const struct posting_bounds *bounds); /* without last_doc */
bool codec_get_bounds(struct reader *reader, struct posting_bounds *bounds); /* leaves last_doc */

/* A level (posting.h) under construction. The caller gives the arrays, with room for as many
 * elements as it adds, and POSTING_BOUNDS_MAX times as many pairs. */
struct codec_level {
    uint32_t count;
    uint32_t *last_doc, *pair_end, *pair_freq;
    uint8_t *pair_norm, *reached;
};

/* Bytes of the arrays, and their places in memory that starts at *at (aligned to 8), which moves
 * behind them. */
size_t codec_level_size(uint32_t count, uint32_t pairs);
void codec_level_carve(uint8_t **at, uint32_t count, uint32_t pairs, struct codec_level *level);
static inline struct posting_level codec_level(const struct codec_level *level)
{
    return (struct posting_level){.count = level->count,
                                  .last_doc = level->last_doc,
                                  .pair_end = level->pair_end,
                                  .pair_freq = level->pair_freq,
                                  .pair_norm = level->pair_norm,
                                  .reached = level->reached};
}
void codec_level_add(struct codec_level *level, const struct posting_bounds *bounds);

/* ---- one block of postings ---- */

/* `docs` rise strictly and are >= next_doc (one above the document before; 0 at the start of a
 * list); freqs are at least 1; count is 1..POSTING_BLOCK. */
void codec_put_block(struct buf *out, const uint32_t *docs, const uint32_t *freqs, uint32_t count,
                     uint32_t next_doc);
/* Documents: sets block->count and docs, and has_freqs: whether the frequencies came with them. If
 * not, they are what the reader stands on. */
bool codec_get_docs(struct reader *reader, uint32_t count, uint32_t next_doc,
                    struct posting_block *block);
/* The frequencies of a block whose documents were decoded without them. */
bool codec_get_freqs(struct reader *reader, struct posting_block *block);

/* ---- positions of one block ---- */

/* `counts[i]`: positions of posting i, from 1 to freqs[i]; `positions`: of all postings, one after
 * another. */
void codec_put_positions(struct buf *out, const uint32_t *freqs, const uint32_t *counts,
                         const uint32_t *positions, uint32_t count);

struct codec_positions { /* the opened positions of a block; borrows the bytes */
    struct bytes groups;
    uint32_t count;                    /* postings */
    uint32_t start[POSTING_BLOCK + 1]; /* positions before posting i */
    uint32_t group;                    /* number of the decoded group; UINT32_MAX: none */
    uint32_t next_group, next_offset;  /* where decoding goes on */
    uint32_t values[POSTING_BLOCK];    /* of that group */
};

bool codec_positions_open(struct bytes bytes, const struct posting_block *block,
                          struct codec_positions *out);
/* How many positions posting `index` has. */
static inline uint32_t codec_positions_count(const struct codec_positions *p, uint32_t index)
{
    return p->start[index + 1] - p->start[index];
}
/* Writes them to `out`, which has room. Decodes only groups that hold some of them. */
bool codec_positions_get(struct codec_positions *positions, uint32_t index, uint32_t *out);

/* ---- chunks ---- */

/* Of `count` postings: how many blocks, and how many postings in one of them. */
static inline uint32_t codec_blocks(uint32_t count)
{
    return (count + POSTING_BLOCK - 1) / POSTING_BLOCK;
}

static inline uint32_t codec_block_count(uint32_t count, uint32_t number)
{
    uint32_t left = count - number * POSTING_BLOCK;

    return left > POSTING_BLOCK ? POSTING_BLOCK : left;
}

struct codec_postings { /* what goes into a chunk */
    const uint32_t *docs, *freqs;
    const uint8_t *norms;
    uint32_t count;                  /* 1..CODEC_CHUNK_MAX */
    const uint32_t *position_counts; /* NULL: the list has no positions */
    const uint32_t *positions;
};

/* Appends the chunk to `post` and, when there are positions, its positions to `pos`. Sets `bounds`
 * to those of the whole chunk. */
void codec_put_chunk(struct buf *post, struct buf *pos, const struct codec_postings *postings,
                     struct posting_bounds *bounds);

#define CODEC_CHUNK_PAIRS (CODEC_CHUNK_BLOCKS * POSTING_BOUNDS_MAX)

struct codec_chunk { /* an opened chunk; borrows its bytes */
    uint32_t count, block_count, first_doc;
    struct bytes blocks;
    uint32_t offset[CODEC_CHUNK_BLOCKS + 1]; /* of each block in `blocks`, and the end */
    /* The level of the blocks. */
    uint32_t last_doc[CODEC_CHUNK_BLOCKS];
    uint32_t pair_end[CODEC_CHUNK_BLOCKS];
    uint32_t pair_freq[CODEC_CHUNK_PAIRS];
    uint8_t pair_norm[CODEC_CHUNK_PAIRS];
    uint8_t reached[CODEC_CHUNK_BLOCKS];
};

/* `first_doc`: of the chunk, as its key says. */
bool codec_chunk_open(struct bytes bytes, uint32_t first_doc, struct codec_chunk *chunk);

struct codec_position_chunk { /* an opened chunk of positions; borrows its bytes */
    uint32_t block_count;
    struct bytes blocks;
    uint32_t offset[CODEC_CHUNK_BLOCKS + 1];
};

bool codec_position_chunk_open(struct bytes bytes, uint32_t block_count,
                               struct codec_position_chunk *out);
struct bytes codec_position_chunk_block(const struct codec_position_chunk *chunk, uint32_t number);

#endif
