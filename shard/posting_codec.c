/* Postings and positions on disk.
 *
 * Block: 1 to 128 postings of rising documents, in groups (bitpack.c).
 *     8 postings and more:
 *         group of the documents, as rising numbers; they start at what the place of the block says
 *         group of the frequencies less 1
 *     fewer, for each posting:
 *         varint    document, less the one before, less 1, times 2, plus 1 if the frequency is 1
 *         [varint   frequency less 1, unless it is 1]
 *
 * Positions of a block:
 *     group     for each posting its frequency minus its number of positions: mostly zeros, since a
 *               word of the body counts as often as it stands there
 *     groups    all positions, 128 in each group but the last; of those of one posting, the first
 *               as it is, the others less the one before
 * Groups tell their own size, so one posting's positions are reached without decoding others.
 *
 * Chunk of postings, up to 8,192 of them:
 *     u8        version, 3
 *     le32      checksum of what follows
 *     varint    postings
 *     directory, for each block of 128 postings (the last may be shorter):
 *         varint    last document, less that of the block before, less 1
 *                   (the first: less the chunk's first document)
 *         varint    bytes of the block
 *         bounds
 *     blocks
 * The first document of the chunk is not in it: it is in its key, and is what the first block
 * counts from.
 *
 * Chunk of positions, for the same blocks:
 *     u8        version, 3
 *     le32      checksum of what follows
 *     varints   bytes of each block's positions
 *     positions of the blocks
 *
 * Bounds: u8 number of pairs 1..4, plus 0x80 when pairs were joined; the first: varint frequency,
 * u8 norm; others: varint frequency of the one before less this one's, u8 norm. Frequencies fall,
 * and so do norms. They are (frequency, norm) pairs and no scores, so that they hold under any
 * statistics and any weights of the formula (as Lucene's impacts do).
 */
#include "shard/posting_codec.h"

#include "shard/bitpack.h"

#include <assert.h>
#include <string.h>

#define CHUNK_VERSION 3
#define BOUNDS_JOINED 0x80
#define BLOCK_VARINT 8 /* blocks below this many postings are varints */

_Static_assert(BITPACK_GROUP == POSTING_BLOCK, "a block is a group");

/* ---- bounds ---- */

void codec_put_bounds(struct buf *out, const struct posting_bounds *bounds)
{
    uint32_t last = 0;

    assert(bounds->count >= 1 && bounds->count <= POSTING_BOUNDS_MAX);
    buf_append_u8(out, (uint8_t)(bounds->count | (bounds->joined ? BOUNDS_JOINED : 0)));
    for (uint32_t i = 0; i < bounds->count; i++) {
        buf_append_varint(out, i == 0 ? bounds->pair[i].freq : last - bounds->pair[i].freq);
        buf_append_u8(out, bounds->pair[i].norm);
        last = bounds->pair[i].freq;
    }
}

bool codec_get_bounds(struct reader *reader, struct posting_bounds *bounds)
{
    uint64_t value;
    uint32_t last = 0;
    uint8_t count;

    if (!reader_u8(reader, &count))
        return false;
    bounds->joined = count & BOUNDS_JOINED;
    count &= (uint8_t)~BOUNDS_JOINED;
    if (count < 1 || count > POSTING_BOUNDS_MAX)
        return false;
    bounds->count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (!reader_varint(reader, &value) || !reader_u8(reader, &bounds->pair[i].norm) ||
            value == 0 || (i == 0 ? value > UINT32_MAX : value >= last))
            return false;
        last = i == 0 ? (uint32_t)value : last - (uint32_t)value;
        bounds->pair[i].freq = last;
    }
    return true;
}

static size_t level_rounded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

size_t codec_level_size(uint32_t count, uint32_t pairs)
{
    return 2 * level_rounded(count * sizeof(uint32_t)) + level_rounded(pairs * sizeof(uint32_t)) +
           level_rounded(pairs) + level_rounded(count);
}

static void *level_carve(uint8_t **at, size_t size)
{
    void *start = *at;

    *at += level_rounded(size);
    return start;
}

void codec_level_carve(uint8_t **at, uint32_t count, uint32_t pairs, struct codec_level *level)
{
    level->count = 0;
    level->last_doc = level_carve(at, count * sizeof(uint32_t));
    level->pair_end = level_carve(at, count * sizeof(uint32_t));
    level->pair_freq = level_carve(at, pairs * sizeof(uint32_t));
    level->pair_norm = level_carve(at, pairs);
    level->reached = level_carve(at, count);
}

void codec_level_add(struct codec_level *level, const struct posting_bounds *bounds)
{
    uint32_t at = level->count == 0 ? 0 : level->pair_end[level->count - 1];

    for (uint32_t i = 0; i < bounds->count; i++, at++) {
        level->pair_freq[at] = bounds->pair[i].freq;
        level->pair_norm[at] = bounds->pair[i].norm;
    }
    level->last_doc[level->count] = bounds->last_doc;
    level->pair_end[level->count] = at;
    level->reached[level->count] = !bounds->joined;
    level->count++;
}

/* ---- blocks ---- */

void codec_put_block(struct buf *out, const uint32_t *docs, const uint32_t *freqs, uint32_t count,
                     uint32_t next_doc)
{
    uint32_t rest[POSTING_BLOCK];

    assert(count >= 1 && count <= POSTING_BLOCK);
    for (uint32_t i = 0; i < count; i++) {
        assert(freqs[i] >= 1);
        rest[i] = freqs[i] - 1;
    }
    if (count >= BLOCK_VARINT) {
        bitpack_put_rising(out, docs, count, next_doc);
        bitpack_put(out, rest, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        assert(docs[i] >= next_doc && docs[i] < POSTING_END);
        buf_append_varint(out, (uint64_t)(docs[i] - next_doc) << 1 | (rest[i] == 0));
        if (rest[i] != 0)
            buf_append_varint(out, rest[i]);
        next_doc = docs[i] + 1;
    }
}

static bool get_block_varint(struct reader *reader, uint32_t count, uint32_t next_doc,
                             struct posting_block *block)
{
    uint64_t doc = next_doc, code, rest;

    for (uint32_t i = 0; i < count; i++) {
        rest = 0;
        if (!reader_varint(reader, &code) || (!(code & 1) && !reader_varint(reader, &rest)) ||
            code >> 1 >= POSTING_END || rest >= UINT32_MAX)
            return false;
        doc += code >> 1;
        if (doc >= POSTING_END)
            return false;
        block->docs[i] = (uint32_t)doc++;
        block->freqs[i] = (uint32_t)rest + 1;
    }
    return true;
}

static bool get_docs(struct reader *reader, uint32_t count, uint32_t next_doc,
                     struct posting_block *block)
{
    if (count < BLOCK_VARINT)
        return get_block_varint(reader, count, next_doc, block);
    return bitpack_get_rising(reader, block->docs, count, next_doc);
}

bool codec_get_docs(struct reader *reader, uint32_t count, uint32_t next_doc,
                    struct posting_block *block)
{
    bool good;

    assert(count >= 1 && count <= POSTING_BLOCK);
    good = get_docs(reader, count, next_doc, block);
    block->count = good ? count : 0;
    block->has_freqs = good && count < BLOCK_VARINT;
    for (uint32_t i = count; i < POSTING_BLOCK; i++)
        block->docs[i] = POSTING_END;
    return good;
}

bool codec_get_freqs(struct reader *reader, struct posting_block *block)
{
    assert(!block->has_freqs && block->count >= BLOCK_VARINT);
    block->has_freqs = bitpack_get_plus_one(reader, block->freqs, block->count);
    return block->has_freqs;
}

/* ---- positions ---- */

void codec_put_positions(struct buf *out, const uint32_t *freqs, const uint32_t *counts,
                         const uint32_t *positions, uint32_t count)
{
    uint32_t values[POSTING_BLOCK] = {0}, filled = 0;

    assert(count >= 1 && count <= POSTING_BLOCK);
    for (uint32_t i = 0; i < count; i++) {
        assert(counts[i] >= 1 && counts[i] <= freqs[i]);
        values[i] = freqs[i] - counts[i];
    }
    bitpack_put(out, values, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t last = 0;

        for (uint32_t j = 0; j < counts[i]; j++) {
            assert(*positions >= last);
            values[filled++] = *positions - last;
            last = *positions++;
            if (filled == POSTING_BLOCK) {
                bitpack_put(out, values, filled);
                filled = 0;
            }
        }
    }
    if (filled > 0)
        bitpack_put(out, values, filled);
}

/* Where each posting's positions start, from the numbers of them in start[1..count]; false when a
 * number is 0 or the sum too large. */
static bool positions_starts(struct codec_positions *p)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < p->count; i++) {
        if (p->start[i + 1] == 0)
            return false;
        total += p->start[i + 1];
        if (total > UINT32_MAX)
            return false;
        p->start[i + 1] = (uint32_t)total;
    }
    return true;
}

#define COUNT_SAFE (UINT32_C(1) << 24) /* 128 smaller numbers cannot sum up to 2^32 */

/* The same for a full block of small numbers: a group of gaps, each one less, is summed up. */
static void positions_starts_full(struct codec_positions *p)
{
    uint32_t *ends = p->start + 1;

    for (uint32_t i = 0; i < POSTING_BLOCK; i++)
        ends[i]--;
    bitpack_kernels()->sum[32]((const uint8_t *)ends, 1, ends);
}

/* From frequencies to numbers of positions. */
static bool positions_counts(struct reader *reader, const struct posting_block *block,
                             struct codec_positions *p)
{
    uint32_t all = 0, bad = 0;

    if (!bitpack_get(reader, p->values, block->count))
        return false;
    for (uint32_t i = 0; i < block->count; i++) {
        p->start[i + 1] = block->freqs[i] - p->values[i];
        bad |= p->values[i] >= block->freqs[i];
        all |= block->freqs[i];
    }
    if (bad)
        return false;
    if (block->count < POSTING_BLOCK || all >= COUNT_SAFE)
        return positions_starts(p);
    positions_starts_full(p);
    return true;
}

bool codec_positions_open(struct bytes bytes, const struct posting_block *block,
                          struct codec_positions *out)
{
    struct reader reader;

    reader_init(&reader, bytes);
    out->count = block->count;
    out->start[0] = 0;
    if (!positions_counts(&reader, block, out))
        return false;
    out->groups = bytes_of(reader.at, reader_left(&reader));
    out->group = UINT32_MAX;
    out->next_group = 0;
    out->next_offset = 0;
    /* A group takes a byte at least. */
    return out->start[block->count] <= (uint64_t)out->groups.size * POSTING_BLOCK;
}

/* Decodes group `number`, which is not the decoded one, going on from the last one where that lies
 * before it. */
static bool positions_group(struct codec_positions *p, uint32_t number)
{
    uint32_t total = p->start[p->count], left;
    struct reader reader;

    if (number < p->next_group) {
        p->next_group = 0;
        p->next_offset = 0;
    }
    reader_init(&reader,
                bytes_of(p->groups.data + p->next_offset, p->groups.size - p->next_offset));
    for (; p->next_group < number; p->next_group++)
        if (!bitpack_skip(&reader, POSTING_BLOCK))
            return false;
    left = total - number * POSTING_BLOCK;
    p->group = UINT32_MAX;
    if (!bitpack_get(&reader, p->values, left > POSTING_BLOCK ? POSTING_BLOCK : left))
        return false;
    p->group = number;
    p->next_group = number + 1;
    p->next_offset = (uint32_t)(reader.at - p->groups.data);
    return true;
}

bool codec_positions_get(struct codec_positions *p, uint32_t index, uint32_t *out)
{
    uint32_t at = p->start[index], end = p->start[index + 1];
    uint64_t position = 0;

    assert(index < p->count);
    while (at < end) {
        uint32_t group = at / POSTING_BLOCK, group_end = (group + 1) * POSTING_BLOCK;
        const uint32_t *values = p->values + at % POSTING_BLOCK;
        uint32_t count = (end < group_end ? end : group_end) - at;

        if (p->group != group && !positions_group(p, group))
            return false;
        for (uint32_t i = 0; i < count; i++) {
            position += values[i];
            out[i] = (uint32_t)position;
        }
        if (position > UINT32_MAX)
            return false;
        out += count;
        at += count;
    }
    return true;
}

/* ---- chunks ---- */

static void put_checked(struct buf *out, const struct buf *body)
{
    buf_append_u8(out, CHUNK_VERSION);
    buf_append_le32(out, checksum32(body->data, body->size));
    buf_append_bytes(out, buf_bytes(body));
}

static bool get_checked(struct bytes bytes, struct reader *reader)
{
    uint32_t checksum;
    uint8_t version;

    reader_init(reader, bytes);
    return reader_u8(reader, &version) && version == CHUNK_VERSION &&
           reader_le32(reader, &checksum) &&
           checksum == checksum32(reader->at, reader_left(reader));
}

static void put_posting_chunk(struct buf *post, const struct codec_postings *p,
                              struct posting_bounds *bounds)
{
    struct buf head = {0}, blocks = {0};
    uint32_t next_doc = p->docs[0];

    buf_append_varint(&head, p->count);
    for (uint32_t i = 0; i < codec_blocks(p->count); i++) {
        uint32_t from = i * POSTING_BLOCK, count = codec_block_count(p->count, i);
        size_t before = blocks.size;
        struct posting_bounds own = {0};

        codec_put_block(&blocks, p->docs + from, p->freqs + from, count, next_doc);
        posting_bounds_build(p->freqs + from, p->norms + from, count, &own);
        own.last_doc = p->docs[from + count - 1];
        buf_append_varint(&head, own.last_doc - next_doc);
        buf_append_varint(&head, blocks.size - before);
        codec_put_bounds(&head, &own);
        posting_bounds_merge(bounds, &own);
        next_doc = own.last_doc + 1;
    }
    buf_append_bytes(&head, buf_bytes(&blocks));
    put_checked(post, &head);
    buf_deinit(&head);
    buf_deinit(&blocks);
}

static void put_position_chunk(struct buf *pos, const struct codec_postings *p)
{
    struct buf head = {0}, blocks = {0};
    const uint32_t *positions = p->positions;

    for (uint32_t i = 0; i < codec_blocks(p->count); i++) {
        uint32_t from = i * POSTING_BLOCK, count = codec_block_count(p->count, i);
        size_t before = blocks.size;

        codec_put_positions(&blocks, p->freqs + from, p->position_counts + from, positions, count);
        for (uint32_t j = from; j < from + count; j++)
            positions += p->position_counts[j];
        buf_append_varint(&head, blocks.size - before);
    }
    buf_append_bytes(&head, buf_bytes(&blocks));
    put_checked(pos, &head);
    buf_deinit(&head);
    buf_deinit(&blocks);
}

void codec_put_chunk(struct buf *post, struct buf *pos, const struct codec_postings *postings,
                     struct posting_bounds *bounds)
{
    assert(postings->count >= 1 && postings->count <= CODEC_CHUNK_MAX);
    *bounds = (struct posting_bounds){0};
    put_posting_chunk(post, postings, bounds);
    if (postings->position_counts != NULL)
        put_position_chunk(pos, postings);
}

bool codec_chunk_open(struct bytes bytes, uint32_t first_doc, struct codec_chunk *chunk)
{
    uint64_t count, next = first_doc, gap, size, offset = 0;
    struct codec_level level = {.last_doc = chunk->last_doc,
                                .pair_end = chunk->pair_end,
                                .pair_freq = chunk->pair_freq,
                                .pair_norm = chunk->pair_norm,
                                .reached = chunk->reached};
    struct posting_bounds bounds;
    struct reader reader;

    if (!get_checked(bytes, &reader) || !reader_varint(&reader, &count) || count == 0 ||
        count > CODEC_CHUNK_MAX)
        return false;
    chunk->count = (uint32_t)count;
    chunk->block_count = codec_blocks(chunk->count);
    chunk->first_doc = first_doc;
    for (uint32_t i = 0; i < chunk->block_count; i++) {
        if (!reader_varint(&reader, &gap) || !reader_varint(&reader, &size) ||
            !codec_get_bounds(&reader, &bounds) || gap >= POSTING_END ||
            next + gap >= POSTING_END || size > bytes.size)
            return false;
        bounds.last_doc = (uint32_t)(next + gap);
        codec_level_add(&level, &bounds);
        chunk->offset[i] = (uint32_t)offset;
        next += gap + 1;
        offset += size;
    }
    chunk->offset[chunk->block_count] = (uint32_t)offset;
    chunk->blocks = bytes_of(reader.at, reader_left(&reader));
    return offset == chunk->blocks.size;
}

bool codec_position_chunk_open(struct bytes bytes, uint32_t block_count,
                               struct codec_position_chunk *out)
{
    uint64_t offset = 0, size;
    struct reader reader;

    if (block_count > CODEC_CHUNK_BLOCKS || !get_checked(bytes, &reader))
        return false;
    out->block_count = block_count;
    for (uint32_t i = 0; i < block_count; i++) {
        if (!reader_varint(&reader, &size) || size > bytes.size)
            return false;
        out->offset[i] = (uint32_t)offset;
        offset += size;
    }
    out->offset[block_count] = (uint32_t)offset;
    out->blocks = bytes_of(reader.at, reader_left(&reader));
    return offset == out->blocks.size;
}

struct bytes codec_position_chunk_block(const struct codec_position_chunk *chunk, uint32_t number)
{
    assert(number < chunk->block_count);
    return bytes_of(chunk->blocks.data + chunk->offset[number],
                    chunk->offset[number + 1] - chunk->offset[number]);
}
