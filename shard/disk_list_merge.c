/* The lists of a token in all sources become one, in the order of the new numbers.
 *
 * A source whose documents kept their order (disk_writer.rising) has its postings in the new order
 * already: its cursor is a run that is read once, block by block. So are all sources of a merge by
 * arrival, and segments that were merged by category before. The postings of the other sources,
 * which are segments as they were flushed, are gathered in memory, all of one token together,
 * sorted, and are one more run. The run with the smallest next number is drained until another's is
 * smaller; with sources in order of arrival that is one source after the other.
 *
 * Memory: a cursor for each source that has the token, and of those that were never merged by
 * category 32 bytes a posting of the token and 4 a position: they are as large as memory segments
 * are flushed, and twelve at most (range_merge.c) unless everything is merged. No list of a large
 * segment is ever in memory as a whole, unless the collection's order was another when it was
 * written.
 *
 * Runs are compared one by one, not in a heap: there are few, and most lists are short.
 */
#include "shard/disk_writer.h"

#include <stdlib.h>
#include <string.h>

struct run {
    struct posting_cursor *cursor; /* NULL: the gathered postings */
    const uint32_t *remap;
    uint32_t limit;            /* documents of the source */
    uint32_t chunk, block, at; /* what is read next */
    uint32_t doc;              /* new number of the next posting; POSTING_END: there is none */
};

struct gathered_posting {
    size_t positions; /* where they begin */
    uint32_t freq, position_count;
};

struct gathered { /* postings in the order in which they were read */
    struct gathered_posting *postings;
    uint64_t *order; /* new number << 32 | index in `postings`; rising after gathered_sort() */
    uint64_t *other; /* room for sorting */
    uint32_t *positions;
    size_t count, capacity, position_count, position_capacity;
};

struct disk_merge {
    struct run *runs; /* room for all sources and the gathered postings */
    uint32_t count;
    struct gathered gathered;
};

int disk_merge_create(struct disk_writer *w)
{
    w->merge = calloc(1, sizeof(*w->merge));
    if (w->merge == NULL)
        return disk_writer_nomem(w);
    w->merge->runs = calloc((size_t)w->source_count + 1, sizeof(*w->merge->runs));
    return w->merge->runs == NULL ? disk_writer_nomem(w) : 0;
}

static void close_runs(struct disk_merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++)
        posting_close(merge->runs[i].cursor);
    merge->count = 0;
    merge->gathered.count = merge->gathered.position_count = 0;
}

void disk_merge_destroy(struct disk_writer *w)
{
    struct disk_merge *merge = w->merge;

    if (merge == NULL)
        return;
    close_runs(merge);
    free(merge->runs);
    free(merge->gathered.postings);
    free(merge->gathered.order);
    free(merge->gathered.other);
    free(merge->gathered.positions);
    free(merge);
}

/* ---- a run that is read ---- */

/* Decodes the next block; *more = false: there is none. */
static int run_block(struct disk_writer *w, struct run *run, bool *more)
{
    struct posting_cursor *cursor = run->cursor;
    int code = 0;

    run->at = 0;
    while (code == 0 && run->block == cursor->blocks.count) {
        if (run->chunk == cursor->chunks.count) {
            *more = false;
            return 0;
        }
        run->block = 0;
        code = cursor->ops->enter(cursor, run->chunk++, w->err);
    }
    if (code == 0)
        code = cursor->ops->decode(cursor, run->block++, w->err);
    return code == 0 ? posting_load_freqs(cursor, w->err) : code;
}

/* The positions of a posting of the decoded block. */
static int run_positions(struct disk_writer *w, struct posting_cursor *cursor, uint32_t index,
                         const uint32_t **positions, uint32_t *count)
{
    int code = 0;

    *positions = NULL;
    *count = 0;
    if (!disk_list_positional(w))
        return 0;
    code = cursor->ops->positions(cursor, index, positions, count, w->err);
    if (code == 0 && (*count == 0 || *count > cursor->block.freqs[index]))
        code = err_set(w->err, ERR_CORRUPT, "write segment: a posting without its positions");
    return code;
}

typedef int posting_taker(struct disk_writer *w, uint32_t doc, uint32_t freq,
                          const uint32_t *positions, uint32_t count);

/* Gives away the postings that come next and get numbers below `before`. */
static int run_drain(struct disk_writer *w, struct run *run, uint32_t before, posting_taker *take)
{
    const struct posting_block *block = &run->cursor->block;
    int code = 0;

    for (bool more = true; code == 0 && more;) {
        for (; run->at < block->count && block->docs[run->at] < run->limit; run->at++) {
            const uint32_t *positions;
            uint32_t count, doc = run->remap[block->docs[run->at]];

            if (doc == POSTING_END)
                continue;
            if (doc >= before) {
                run->doc = doc;
                return 0;
            }
            code = run_positions(w, run->cursor, run->at, &positions, &count);
            if (code == 0)
                code = take(w, doc, block->freqs[run->at], positions, count);
            if (code != 0)
                return code;
        }
        code = run_block(w, run, &more);
    }
    run->doc = POSTING_END;
    return code;
}

/* ---- what has to be sorted ---- */

static bool gathered_grow(struct gathered *g)
{
    size_t capacity = g->capacity == 0 ? POSTING_BLOCK : 2 * g->capacity;
    struct gathered_posting *postings = realloc(g->postings, capacity * sizeof(*postings));
    uint64_t *order, *other;

    g->postings = postings != NULL ? postings : g->postings;
    order = realloc(g->order, capacity * sizeof(*order));
    g->order = order != NULL ? order : g->order;
    other = realloc(g->other, capacity * sizeof(*other));
    g->other = other != NULL ? other : g->other;
    if (postings == NULL || order == NULL || other == NULL)
        return false;
    g->capacity = capacity;
    return true;
}

static bool gathered_reserve_positions(struct gathered *g, uint32_t count)
{
    size_t capacity = g->position_capacity * 2 + count;
    uint32_t *bigger;

    if (g->position_count + count <= g->position_capacity)
        return true;
    bigger = realloc(g->positions, capacity * sizeof(*bigger));
    if (bigger == NULL)
        return false;
    g->positions = bigger;
    g->position_capacity = capacity;
    return true;
}

static int gathered_add(struct disk_writer *w, uint32_t doc, uint32_t freq,
                        const uint32_t *positions, uint32_t count)
{
    struct gathered *g = &w->merge->gathered;

    if ((g->count == g->capacity && !gathered_grow(g)) || !gathered_reserve_positions(g, count))
        return disk_writer_nomem(w);
    if (count > 0)
        memcpy(g->positions + g->position_count, positions, count * sizeof(*positions));
    g->postings[g->count] = (struct gathered_posting){g->position_count, freq, count};
    g->order[g->count] = (uint64_t)doc << 32 | g->count;
    g->position_count += count;
    g->count++;
    return 0;
}

static void sort_few(uint64_t *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint64_t value = values[i];
        size_t at = i;

        for (; at > 0 && values[at - 1] > value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
}

#define RADIX_BITS 11
#define RADIX_FROM 48 /* postings; below, inserting is quicker */

/* By the high halves, which are below 2^bits: a radix sort, lowest digit first. */
static void gathered_sort(struct gathered *g, unsigned bits)
{
    static const uint32_t digit = (1u << RADIX_BITS) - 1;

    if (g->count < RADIX_FROM) {
        sort_few(g->order, g->count);
        return;
    }
    for (unsigned shift = 32; shift < 32 + bits; shift += RADIX_BITS) {
        uint64_t *sorted = g->other;
        uint32_t starts[1u << RADIX_BITS] = {0}, before = 0;

        for (size_t i = 0; i < g->count; i++)
            starts[g->order[i] >> shift & digit]++;
        for (uint32_t i = 0; i <= digit; i++) {
            uint32_t here = starts[i];

            starts[i] = before;
            before += here;
        }
        for (size_t i = 0; i < g->count; i++)
            sorted[starts[g->order[i] >> shift & digit]++] = g->order[i];
        g->other = g->order;
        g->order = sorted;
    }
}

/* As run_drain(), into the list. */
static int gathered_drain(struct disk_writer *w, struct run *run, uint32_t before)
{
    const struct gathered *g = &w->merge->gathered;
    int code = 0;

    for (; run->at < g->count && code == 0; run->at++) {
        const struct gathered_posting *posting = &g->postings[(uint32_t)g->order[run->at]];

        run->doc = (uint32_t)(g->order[run->at] >> 32);
        if (run->doc >= before)
            return 0;
        code = disk_list_add(w, run->doc, posting->freq, g->positions + posting->positions,
                             posting->position_count);
    }
    run->doc = POSTING_END;
    return code;
}

/* ---- all runs ---- */

int disk_merge_source(struct disk_writer *w, uint32_t source, struct posting_cursor *cursor)
{
    struct disk_merge *merge = w->merge;
    struct run run = {
        .cursor = cursor, .remap = w->remap[source], .limit = w->sources[source].doc_limit};
    int code;

    if (w->rising[source]) {
        merge->runs[merge->count++] = run;
        return 0;
    }
    code = run_drain(w, &run, POSTING_END, gathered_add);
    posting_close(cursor);
    return code;
}

static int drain(struct disk_writer *w, struct run *run, uint32_t before)
{
    return run->cursor != NULL ? run_drain(w, run, before, disk_list_add)
                               : gathered_drain(w, run, before);
}

/* The run with the smallest next number, and the second smallest number. */
static struct run *least_run(struct disk_merge *merge, uint32_t *second)
{
    struct run *least = &merge->runs[0];

    *second = POSTING_END;
    for (struct run *run = least + 1; run < merge->runs + merge->count; run++) {
        if (run->doc < least->doc) {
            *second = least->doc;
            least = run;
        } else if (run->doc < *second) {
            *second = run->doc;
        }
    }
    return least;
}

int disk_merge_drain(struct disk_writer *w)
{
    struct disk_merge *merge = w->merge;
    unsigned bits = 0;
    int code = 0;

    while (w->header.documents >> bits != 0)
        bits++;
    if (merge->gathered.count > 0) {
        gathered_sort(&merge->gathered, bits);
        merge->runs[merge->count++] = (struct run){.cursor = NULL};
    }
    for (uint32_t i = 0; i < merge->count && code == 0; i++)
        code = drain(w, &merge->runs[i], 0);
    while (code == 0 && merge->count > 0) {
        uint32_t second;
        struct run *least = least_run(merge, &second);

        if (least->doc == POSTING_END)
            break;
        code = drain(w, least, second);
    }
    close_runs(merge);
    return code;
}
