/* Reading the lists of a memory segment; how they are laid out and published: memory_segment.c.
 *
 * A cursor fixes at its opening how many postings it will see: those below its doc_limit. Block k
 * of a list is always postings 128 k and following, so what a cursor sees as blocks does not depend
 * on when it looks, but for the last one.
 */
#include "shard/memory_list.h"

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
        out->block.docs[i] = next_doc + (uint32_t)(code >> 1) - 1;
        next_doc = out->block.docs[i] + 1;
        out->block.freqs[i] = code & 1 ? 1 : get_varint(&at);
        out->position_bytes[i] = positional ? get_varint(&at) : 0;
        out->positions[i] = at;
        at += out->position_bytes[i];
    }
    out->block.count = count;
    place->slice = slice;
    place->offset = (uint32_t)(at - slice->data);
    place->next_doc = next_doc;
}

/* ---- cursor ---- */

struct memory_cursor {
    struct posting_cursor base;
    struct memory_segment *segment;
    const struct memory_list *list;
    uint32_t count; /* postings that this cursor sees */

    /* The block that the cursor has reached. */
    uint32_t number;
    struct memory_place start;
    const struct memory_skip *skip; /* of this block; valid while the block is full */

    bool tail_known; /* bounds of the last block, when it is not full */
    struct posting_bounds tail;

    const uint8_t *positions[POSTING_BLOCK];
    uint32_t position_bytes[POSTING_BLOCK];
    uint32_t *buffer; /* of positions */
    uint32_t buffer_size;
};

/* Where in the list a block starts, while looking ahead. */
struct ahead {
    uint32_t number;
    struct memory_place start;
    const struct memory_skip *skip;
};

static bool block_full(const struct memory_cursor *c, uint32_t number)
{
    return (number + 1) * (uint64_t)POSTING_BLOCK <= c->count;
}

static uint32_t block_count(const struct memory_cursor *c, uint32_t number)
{
    uint64_t before = number * (uint64_t)POSTING_BLOCK;

    return c->count - before > POSTING_BLOCK ? POSTING_BLOCK : (uint32_t)(c->count - before);
}

/* From the current block on: the first one that may hold a document >= target. False when all are
 * passed. */
static bool cursor_look(const struct memory_cursor *c, uint32_t target, struct ahead *ahead)
{
    *ahead = (struct ahead){c->number, c->start, c->skip};
    while (block_full(c, ahead->number) && ahead->skip->bounds.last_doc < target) {
        ahead->number++;
        ahead->start = ahead->skip->behind;
        if (block_full(c, ahead->number))
            ahead->skip = ahead->skip->next;
    }
    return ahead->number * (uint64_t)POSTING_BLOCK < c->count;
}

static int memory_load(struct posting_cursor *cursor, uint32_t target, struct err *err)
{
    struct memory_cursor *c = (struct memory_cursor *)cursor;
    struct memory_decoded decoded;
    struct memory_place place;
    struct ahead ahead;

    cursor->block.count = 0;
    if (!cursor_look(c, target, &ahead))
        return 0;
    c->number = ahead.number;
    c->start = place = ahead.start;
    c->skip = ahead.skip;
    memory_block_decode(c->list, &place, block_count(c, c->number), &decoded);
    if (decoded.block.docs[decoded.block.count - 1] < target)
        return 0; /* the last block, and it ends before the target */
    cursor->block.count = decoded.block.count;
    memcpy(cursor->block.docs, decoded.block.docs, decoded.block.count * sizeof(uint32_t));
    memcpy(cursor->block.freqs, decoded.block.freqs, decoded.block.count * sizeof(uint32_t));
    memcpy(c->positions, decoded.positions, decoded.block.count * sizeof(c->positions[0]));
    memcpy(c->position_bytes, decoded.position_bytes, decoded.block.count * sizeof(uint32_t));
    return 0;
}

static bool memory_bounds(struct posting_cursor *cursor, uint32_t target,
                          struct posting_bounds *out)
{
    struct memory_cursor *c = (struct memory_cursor *)cursor;
    struct ahead ahead;

    if (!cursor_look(c, target, &ahead))
        return false;
    if (block_full(c, ahead.number)) {
        *out = ahead.skip->bounds;
        return true;
    }
    if (!c->tail_known) {
        struct memory_decoded decoded;
        uint8_t norms[POSTING_BLOCK];

        memory_block_decode(c->list, &ahead.start, block_count(c, ahead.number), &decoded);
        for (uint32_t i = 0; i < decoded.block.count; i++)
            norms[i] = memory_doc(c->segment, decoded.block.docs[i])->norm;
        posting_bounds_build(decoded.block.freqs, norms, decoded.block.count, &c->tail);
        c->tail.last_doc = decoded.block.docs[decoded.block.count - 1];
        c->tail_known = true;
    }
    *out = c->tail;
    return c->tail.last_doc >= target;
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
    free(c);
}

static const struct posting_cursor_ops memory_cursor_ops = {
    .load = memory_load,
    .bounds = memory_bounds,
    .positions = memory_positions,
    .close = memory_close,
};

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
    for (uint32_t i = 0; i < decoded.block.count && decoded.block.docs[i] < doc_limit; i++)
        below++;
    return below;
}

int memory_cursor_create(struct memory_segment *s, const struct memory_list *list, uint32_t count,
                         struct posting_cursor **out, struct err *err)
{
    struct memory_cursor *c = malloc(sizeof(*c));

    if (c == NULL)
        return err_set(err, ERR_NOMEM, "postings: out of memory");
    c->base.ops = &memory_cursor_ops;
    c->base.index = 0;
    c->base.df = count;
    c->base.block.count = 0;
    c->segment = s;
    c->list = list;
    c->count = count;
    c->number = 0;
    c->start = (struct memory_place){list->first, 0, 0};
    c->skip = count >= POSTING_BLOCK ? list->skips : NULL;
    c->tail_known = false;
    c->buffer = NULL;
    c->buffer_size = 0;
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
    return count == 0 ? 0 : memory_cursor_create(s, list, count, out, err);
}

int memory_frequency(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                     uint32_t *df, struct err *err)
{
    const struct memory_list *list = memory_list_find(memory_segment_of(segment), token);

    *df = list == NULL ? 0 : list_frequency(list, doc_limit);
    return 0;
}
