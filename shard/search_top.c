#include "shard/search_top.h"

#include <stdlib.h>

bool top_init(struct top *top, size_t limit, struct arena *arena)
{
    *top = (struct top){.limit = limit};
    top->heap = arena_alloc(arena, (limit + 1) * sizeof *top->heap);
    return top->heap != NULL;
}

void top_after(struct top *top, uint64_t score, struct bytes key)
{
    top->has_after = true;
    top->after_score = score;
    top->after_key = key;
}

/* < 0: a is the better one. */
static int compare_hits(const void *a, const void *b)
{
    const struct search_hit *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return bytes_compare(x->key, y->key);
}

static void sift_up(struct search_hit *heap, size_t at)
{
    struct search_hit moved = heap[at];
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (compare_hits(&moved, &heap[parent]) <= 0)
            break;
        heap[at] = heap[parent];
        at = parent;
    }
    heap[at] = moved;
}

static void sift_down(struct search_hit *heap, size_t count)
{
    struct search_hit moved = heap[0];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && compare_hits(&heap[child + 1], &heap[child]) > 0)
            child++;
        if (compare_hits(&heap[child], &moved) <= 0)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

void top_offer_slow(struct top *top, struct segment *segment, uint32_t index, uint32_t doc,
                    uint64_t score)
{
    struct search_hit hit = {
        .score = score, .key = segment->ops->entry_key(segment, doc), .segment = index, .doc = doc};
    if (top->has_after && score == top->after_score && bytes_compare(hit.key, top->after_key) <= 0)
        return;
    if (top->count < top->limit) {
        top->heap[top->count] = hit;
        sift_up(top->heap, top->count++);
    } else if (compare_hits(&hit, &top->heap[0]) < 0) {
        top->heap[0] = hit;
        sift_down(top->heap, top->count);
    }
}

bool top_finish(struct top *top, struct arena *arena)
{
    if (top->count)
        qsort(top->heap, top->count, sizeof *top->heap, compare_hits);
    for (size_t i = 0; i < top->count; i++) {
        struct bytes *key = &top->heap[i].key;
        key->data = arena_copy(arena, key->data, key->size);
        if (!key->data)
            return false;
    }
    return true;
}
