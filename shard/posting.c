#include "shard/posting.h"

#include <string.h>

void posting_cursor_init(struct posting_cursor *cursor, const struct posting_cursor_ops *ops,
                         uint32_t df, const struct posting_level *chunks)
{
    cursor->ops = ops;
    cursor->df = df;
    cursor->chunk = POSTING_NONE;
    cursor->block_number = POSTING_NONE;
    cursor->index = 0;
    cursor->chunks = *chunks;
    cursor->blocks = (struct posting_level){0};
    cursor->block.count = 0;
    cursor->block.has_freqs = false;
}

/* Gallops, since most moves are short, then halves. */
uint32_t posting_level_find(const struct posting_level *level, uint32_t from, uint32_t target)
{
    uint32_t step = 1, low = from, high = from;

    while (high < level->count && level->last_doc[high] < target) {
        low = high + 1;
        high += step;
        step *= 2;
    }
    if (high > level->count)
        high = level->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (level->last_doc[middle] < target)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void posting_finish(struct posting_cursor *cursor)
{
    cursor->chunk = cursor->chunks.count;
    cursor->block_number = POSTING_NONE;
    cursor->block.count = 0;
}

/* Into the chunk that holds the first posting >= target; chunk is chunks.count when there is none.
 */
static int posting_enter(struct posting_cursor *cursor, uint32_t target, struct err *err)
{
    uint32_t from = cursor->chunk == POSTING_NONE ? 0 : cursor->chunk;
    uint32_t chunk = posting_level_find(&cursor->chunks, from, target);

    if (chunk == cursor->chunk)
        return 0;
    if (chunk == cursor->chunks.count) {
        posting_finish(cursor);
        return 0;
    }
    return cursor->ops->enter(cursor, chunk, err);
}

/* Decodes the block that holds the first posting >= target. */
static int posting_load(struct posting_cursor *cursor, uint32_t target, struct err *err)
{
    int code = posting_enter(cursor, target, err);

    if (code == 0 && cursor->chunk != cursor->chunks.count) {
        uint32_t block = posting_level_find(&cursor->blocks, 0, target);

        /* The last document of the last block is that of the chunk. */
        if (block != cursor->block_number)
            code = cursor->ops->decode(cursor, block, err);
    }
    if (code != 0 || cursor->block.count == 0 ||
        cursor->block.docs[cursor->block.count - 1] < target) { /* cut off by the doc_limit */
        posting_finish(cursor);
        return code;
    }
    cursor->index = posting_find(cursor->block.docs, cursor->index, target);
    return 0;
}

int posting_advance(struct posting_cursor *cursor, uint32_t target, struct err *err)
{
    const struct posting_block *block = &cursor->block;

    if (cursor->chunk == cursor->chunks.count)
        return 0;
    if (block->count == 0 || block->docs[block->count - 1] < target)
        return posting_load(cursor, target, err);
    cursor->index = posting_find(block->docs, cursor->index, target);
    return 0;
}

int posting_next(struct posting_cursor *cursor, struct err *err)
{
    const struct posting_block *block = &cursor->block;

    if (cursor->chunk == cursor->chunks.count)
        return 0;
    if (block->count == 0)
        return posting_load(cursor, 0, err);
    if (cursor->index + 1 < block->count) {
        cursor->index++;
        return 0;
    }
    return posting_load(cursor, block->docs[block->count - 1] + 1, err);
}

void posting_close(struct posting_cursor *cursor)
{
    if (cursor != NULL)
        cursor->ops->close(cursor);
}

/* ---- bounds ----
 *
 * A frontier is a list of (frequency, norm) pairs, frequency falling and norm falling: no pair of
 * it scores at least as high as another under every BM25. One slot more than is kept, so that a
 * pair can be put in first and two neighbours be joined afterwards. */

struct frontier {
    uint32_t count;
    bool joined;
    uint32_t freq[POSTING_BOUNDS_MAX + 1];
    uint8_t norm[POSTING_BOUNDS_MAX + 1];
};

static void frontier_remove(struct frontier *f, uint32_t at)
{
    f->count--;
    memmove(&f->freq[at], &f->freq[at + 1], (f->count - at) * sizeof(f->freq[0]));
    memmove(&f->norm[at], &f->norm[at + 1], (f->count - at) * sizeof(f->norm[0]));
}

/* Joins the two neighbours whose common bound (higher frequency, lower norm) gives away the least.
 */
static void frontier_join(struct frontier *f)
{
    uint32_t best = 0, best_cost = UINT32_MAX;

    for (uint32_t i = 0; i + 1 < f->count; i++) {
        uint32_t rise = (uint32_t)((uint64_t)(f->freq[i] - f->freq[i + 1]) * 64 / f->freq[i]);
        uint32_t cost = rise * (uint32_t)(f->norm[i] - f->norm[i + 1]);

        if (cost < best_cost) {
            best_cost = cost;
            best = i;
        }
    }
    f->norm[best] = f->norm[best + 1];
    f->joined = true;
    frontier_remove(f, best + 1);
}

static void frontier_add(struct frontier *f, uint32_t freq, uint8_t norm)
{
    uint32_t at = 0;

    while (at < f->count && f->freq[at] > freq)
        at++;
    /* Those before have a higher frequency: one with as low a norm says it all. */
    if (at > 0 && f->norm[at - 1] <= norm)
        return;
    if (at < f->count && f->freq[at] == freq && f->norm[at] <= norm)
        return;
    while (at < f->count && f->norm[at] >= norm)
        frontier_remove(f, at);
    memmove(&f->freq[at + 1], &f->freq[at], (f->count - at) * sizeof(f->freq[0]));
    memmove(&f->norm[at + 1], &f->norm[at], (f->count - at) * sizeof(f->norm[0]));
    f->freq[at] = freq;
    f->norm[at] = norm;
    if (++f->count > POSTING_BOUNDS_MAX)
        frontier_join(f);
}

static void frontier_store(const struct frontier *f, struct posting_bounds *out)
{
    out->count = f->count;
    out->joined = f->joined;
    for (uint32_t i = 0; i < f->count; i++) {
        out->pair[i].freq = f->freq[i];
        out->pair[i].norm = f->norm[i];
    }
}

void posting_bounds_build(const uint32_t *freqs, const uint8_t *norms, uint32_t count,
                          struct posting_bounds *out)
{
    struct frontier f = {0};

    for (uint32_t i = 0; i < count; i++)
        frontier_add(&f, freqs[i], norms[i]);
    frontier_store(&f, out);
}

void posting_bounds_merge(struct posting_bounds *to, const struct posting_bounds *from)
{
    struct frontier f = {.joined = to->joined || from->joined};

    for (uint32_t i = 0; i < to->count; i++)
        frontier_add(&f, to->pair[i].freq, to->pair[i].norm);
    for (uint32_t i = 0; i < from->count; i++)
        frontier_add(&f, from->pair[i].freq, from->pair[i].norm);
    frontier_store(&f, to);
    if (from->last_doc > to->last_doc)
        to->last_doc = from->last_doc;
}
