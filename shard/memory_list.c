/* Reading the lists of a memory segment; how they are laid out and published: memory_segment.c.
 *
 * A cursor fixes at its opening how many postings it will see: those below its doc_limit. Block k
 * of a list is always postings 128 k and following, so what a cursor sees as blocks does not depend
 * on when it looks, but for the last one. The list is one chunk; the level of its blocks is made
 * when the cursor is opened: from the list's skips, and for a last block that is not full by
 * decoding it.
 */
#include "shard/memory_list.h"

#include "shard/posting_codec.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint32_t get_varint(const uint8_t **at)
{
    uint64_t value = 0;
    unsigned shift = 0;

    while (**at & 0x80) {
        value |= (uint64_t)(*(*at)++ & 0x7f) << shift;
        shift += 7;
    }
    value |= (uint64_t) * (*at)++ << shift;
    return (uint32_t)value;
}

static uint64_t get_varint64(const uint8_t **at)
{
    uint64_t value = 0;
    unsigned shift = 0;

    while (**at & 0x80) {
        value |= (uint64_t)(*(*at)++ & 0x7f) << shift;
        shift += 7;
    }
    return value | (uint64_t) * (*at)++ << shift;
}

void memory_block_decode(const struct memory_list *list, struct memory_place *place, uint32_t count,
                         struct memory_decoded *out)
{
    bool positional = list->field == TEXT_FIELD_ALL;
    struct memory_slice *slice = place->slice;
    const uint8_t *at = slice->data + place->offset;
    const uint8_t *end = slice->data + atomic_load_explicit(&slice->used, memory_order_relaxed);
    uint32_t next_doc = place->next_doc;

    assert(count <= POSTING_BLOCK);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t code;

        if (at ==
            end) { /* there are more postings: so there is a next slice, and it is not empty */
            slice = slice->next;
            at = slice->data;
            end = at + atomic_load_explicit(&slice->used, memory_order_relaxed);
        }
        code = get_varint64(&at);
        out->docs[i] = next_doc + (uint32_t)(code >> 1) - 1;
        next_doc = out->docs[i] + 1;
        out->freqs[i] = code & 1 ? 1 : get_varint(&at);
        out->position_bytes[i] = positional ? get_varint(&at) : 0;
        out->positions[i] = at;
        at += out->position_bytes[i];
    }
    out->count = count;
    place->slice = slice;
    place->offset = (uint32_t)(at - slice->data);
    place->next_doc = next_doc;
}

/* ---- cursor ---- */

struct memory_cursor {
    struct posting_cursor base;
    struct memory_segment *segment;
    const struct memory_list *list;
    struct memory_place *starts; /* of each block */
    struct codec_level blocks, chunk;
    const uint8_t *positions[POSTING_BLOCK];
    uint32_t position_bytes[POSTING_BLOCK];
    uint32_t *buffer; /* of positions */
    uint32_t buffer_size;
    void *memory; /* what free() wants: the cursor itself is aligned */
};

static int memory_enter(struct posting_cursor *cursor, uint32_t chunk, struct err *err)
{
    const struct memory_cursor *c = (const struct memory_cursor *)cursor;

    assert(chunk == 0);
    cursor->chunk = 0;
    cursor->block_number = POSTING_NONE;
    cursor->block.count = 0;
    cursor->blocks = codec_level(&c->blocks);
    return 0;
}

static int memory_decode(struct posting_cursor *cursor, uint32_t block, struct err *err)
{
    struct memory_cursor *c = (struct memory_cursor *)cursor;
    struct memory_place place = c->starts[block];
    struct memory_decoded decoded;
    uint32_t count = codec_block_count(cursor->df, block);

    assert(block < c->blocks.count);
    memory_block_decode(c->list, &place, count, &decoded);
    memcpy(cursor->block.docs, decoded.docs, count * sizeof(uint32_t));
    memcpy(cursor->block.freqs, decoded.freqs, count * sizeof(uint32_t));
    memcpy(c->positions, decoded.positions, count * sizeof(c->positions[0]));
    memcpy(c->position_bytes, decoded.position_bytes, count * sizeof(uint32_t));
    for (uint32_t i = count; i < POSTING_BLOCK; i++)
        cursor->block.docs[i] = POSTING_END;
    cursor->block.count = count;
    cursor->block.has_freqs = true;
    cursor->block_number = block;
    cursor->index = 0;
    return 0;
}

static int memory_freqs(struct posting_cursor *cursor, struct err *err)
{
    return 0; /* they come with the documents */
}

static int memory_positions(struct posting_cursor *cursor, uint32_t index,
                            const uint32_t **positions, uint32_t *count, struct err *err)
{
    struct memory_cursor *c = (struct memory_cursor *)cursor;
    const uint8_t *at = c->positions[index], *end = at + c->position_bytes[index];
    uint32_t last = 0, n = 0;

    assert(index < cursor->block.count);
    *count = 0;
    *positions = NULL;
    if (c->position_bytes[index] > c->buffer_size) { /* a position takes at least a byte */
        uint32_t *bigger = realloc(c->buffer, c->position_bytes[index] * sizeof(*bigger));

        if (bigger == NULL)
            return err_set(err, ERR_NOMEM, "positions: out of memory");
        c->buffer = bigger;
        c->buffer_size = c->position_bytes[index];
    }
    while (at < end) {
        last += get_varint(&at);
        c->buffer[n++] = last;
    }
    *positions = c->buffer;
    *count = n;
    return 0;
}

static void memory_close(struct posting_cursor *cursor)
{
    struct memory_cursor *c = (struct memory_cursor *)cursor;

    free(c->buffer);
    free(c->memory);
}

static const struct posting_cursor_ops memory_cursor_ops = {
    .enter = memory_enter,
    .decode = memory_decode,
    .freqs = memory_freqs,
    .positions = memory_positions,
    .close = memory_close,
};

/* ---- the levels ---- */

/* Bounds of the postings from `place` on, which are fewer than a block. */
static void tail_bounds(struct memory_cursor *c, struct memory_place place, uint32_t count,
                        struct posting_bounds *out)
{
    struct memory_decoded decoded;
    uint8_t norms[POSTING_BLOCK];

    memory_block_decode(c->list, &place, count, &decoded);
    for (uint32_t i = 0; i < count; i++)
        norms[i] = memory_doc(c->segment, decoded.docs[i])->norm;
    posting_bounds_build(decoded.freqs, norms, count, out);
    out->last_doc = decoded.docs[count - 1];
}

/* A full block is bounded by its skip; an unbounded tail may end anywhere, and so may the list. */
static void levels_fill(struct memory_cursor *c, bool bounded)
{
    static const struct posting_bounds anything = {
        .last_doc = POSTING_END - 1, .count = 1, .joined = true, .pair = {{UINT32_MAX, 0}}};
    const struct memory_skip *skip = c->list->skips;
    struct memory_place place = {c->list->first, 0, 0};
    uint32_t full = c->base.df / POSTING_BLOCK, rest = c->base.df % POSTING_BLOCK;
    struct posting_bounds all = bounded ? (struct posting_bounds){0} : anything, tail = anything;

    for (uint32_t i = 0; i < full; i++) {
        c->starts[i] = place;
        place = skip->behind;
        codec_level_add(&c->blocks, &skip->bounds);
        if (bounded)
            posting_bounds_merge(&all, &skip->bounds);
        if (i + 1 < full)
            skip = skip->next;
    }
    if (rest > 0) {
        c->starts[full] = place;
        if (bounded) {
            tail_bounds(c, place, rest, &tail);
            posting_bounds_merge(&all, &tail);
        }
        codec_level_add(&c->blocks, &tail);
    }
    all.last_doc = c->blocks.last_doc[c->blocks.count - 1];
    codec_level_add(&c->chunk, &all);
}

/* How many of the list's postings are of documents below the limit. The count is read first:
 * last_doc is then at least that of the count-th posting, so that a last_doc below the limit
 * settles it. */
static uint32_t list_frequency(const struct memory_list *list, uint32_t doc_limit)
{
    uint32_t count = atomic_load_explicit(&list->count, memory_order_acquire);
    const struct memory_skip *skip;
    struct memory_decoded decoded;
    struct memory_place place;
    uint32_t below = 0, rest;

    if (count == 0 || atomic_load_explicit(&list->last_doc, memory_order_relaxed) < doc_limit)
        return count;
    place = (struct memory_place){list->first, 0, 0};
    skip = count >= POSTING_BLOCK ? list->skips : NULL;
    while (count - below >= POSTING_BLOCK && skip->bounds.last_doc < doc_limit) {
        below += POSTING_BLOCK;
        place = skip->behind;
        if (count - below >= POSTING_BLOCK)
            skip = skip->next;
    }
    rest = count - below;
    if (rest == 0)
        return below;
    memory_block_decode(list, &place, rest > POSTING_BLOCK ? POSTING_BLOCK : rest, &decoded);
    for (uint32_t i = 0; i < decoded.count && decoded.docs[i] < doc_limit; i++)
        below++;
    return below;
}

/* One allocation: the cursor, aligned, and behind it the places and levels of its blocks. */
static struct memory_cursor *cursor_allocate(uint32_t blocks)
{
    const size_t align = _Alignof(struct memory_cursor);
    size_t size = sizeof(struct memory_cursor) + align + blocks * sizeof(struct memory_place) +
                  codec_level_size(blocks, blocks * POSTING_BOUNDS_MAX) +
                  codec_level_size(1, POSTING_BOUNDS_MAX);
    void *memory = malloc(size);
    struct memory_cursor *c;
    uint8_t *at;

    if (memory == NULL)
        return NULL;
    c = (struct memory_cursor *)(((uintptr_t)memory + align - 1) & ~(uintptr_t)(align - 1));
    at = (uint8_t *)(c + 1);
    c->memory = memory;
    c->starts = (struct memory_place *)at;
    at += blocks * sizeof(*c->starts);
    codec_level_carve(&at, blocks, blocks * POSTING_BOUNDS_MAX, &c->blocks);
    codec_level_carve(&at, 1, POSTING_BOUNDS_MAX, &c->chunk);
    return c;
}

int memory_cursor_create(struct memory_segment *s, const struct memory_list *list, uint32_t count,
                         bool bounded, struct posting_cursor **out, struct err *err)
{
    struct memory_cursor *c = cursor_allocate(codec_blocks(count));
    struct posting_level chunks;

    if (c == NULL)
        return err_set(err, ERR_NOMEM, "postings: out of memory");
    c->segment = s;
    c->list = list;
    c->buffer = NULL;
    c->buffer_size = 0;
    c->base.df = count;
    levels_fill(c, bounded);
    chunks = codec_level(&c->chunk);
    posting_cursor_init(&c->base, &memory_cursor_ops, count, &chunks);
    *out = &c->base;
    return 0;
}

int memory_postings(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                    struct posting_cursor **out, struct err *err)
{
    struct memory_segment *s = memory_segment_of(segment);
    const struct memory_list *list = memory_list_find(s, token);
    uint32_t count = list == NULL ? 0 : list_frequency(list, doc_limit);

    *out = NULL;
    return count == 0 ? 0 : memory_cursor_create(s, list, count, true, out, err);
}

int memory_frequency(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                     uint32_t *df, struct err *err)
{
    const struct memory_list *list = memory_list_find(memory_segment_of(segment), token);

    *df = list == NULL ? 0 : list_frequency(list, doc_limit);
    return 0;
}
