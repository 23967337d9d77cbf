#include "shard/nearest.h"

#include <stdlib.h>
#include <string.h>

bool nearest_init(struct nearest *nearest, size_t limit, struct arena *arena)
{
    *nearest = (struct nearest){.arena = arena, .limit = limit};
    nearest->items = arena_alloc(arena, (limit + 1) * sizeof *nearest->items);
    return nearest->items != NULL;
}

static int compare(const void *a, const void *b)
{
    const struct nearest_item *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return bytes_compare(x->text, y->text);
}

bool nearest_wants(const struct nearest *nearest, uint32_t distance, struct bytes text)
{
    if (nearest->count < nearest->limit)
        return true;
    struct nearest_item item = {.distance = distance, .text = text};
    return nearest->limit > 0 && compare(&item, &nearest->items[0]) < 0;
}

static void sift_up(struct nearest_item *heap, size_t at)
{
    struct nearest_item moved = heap[at];
    for (; at > 0 && compare(&moved, &heap[(at - 1) / 2]) > 0; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = moved;
}

static void sift_down(struct nearest_item *heap, size_t count)
{
    struct nearest_item moved = heap[0];
    size_t at = 0;
    for (size_t child = 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && compare(&heap[child + 1], &heap[child]) > 0)
            child++;
        if (compare(&heap[child], &moved) <= 0)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

bool nearest_add(struct nearest *nearest, const struct nearest_item *item)
{
    struct nearest_item copy = *item;
    copy.text.data = arena_copy(nearest->arena, item->text.data, item->text.size);
    copy.spelling.data = NULL;
    if (item->spelling.size)
        copy.spelling.data = arena_copy(nearest->arena, item->spelling.data, item->spelling.size);
    if (!copy.text.data || (item->spelling.size && !copy.spelling.data))
        return false;
    if (nearest->count < nearest->limit) {
        nearest->items[nearest->count] = copy;
        sift_up(nearest->items, nearest->count++);
    } else {
        nearest->items[0] = copy;
        sift_down(nearest->items, nearest->count);
    }
    return true;
}

void nearest_sort(struct nearest *nearest)
{
    if (nearest->count)
        qsort(nearest->items, nearest->count, sizeof *nearest->items, compare);
}

/* ---- candidates ---- */

void candidates_init(struct candidates *candidates, struct arena *arena)
{
    *candidates = (struct candidates){.arena = arena};
}

bool candidates_add(struct candidates *candidates, const struct candidate *candidate)
{
    if (candidates->count == candidates->capacity) {
        size_t capacity = candidates->capacity ? 2 * candidates->capacity : 64;
        struct candidate *items = arena_alloc(candidates->arena, capacity * sizeof *items);
        if (!items)
            return false;
        if (candidates->count)
            memcpy(items, candidates->items, candidates->count * sizeof *items);
        candidates->items = items;
        candidates->capacity = capacity;
    }
    struct bytes text = candidate->text;
    text.data = arena_copy(candidates->arena, text.data, text.size);
    if (!text.data)
        return false;
    candidates->items[candidates->count] = *candidate;
    candidates->items[candidates->count++].text = text;
    return true;
}

static bool is_nearer(const struct candidate *a, const struct candidate *b)
{
    return a->distance != b->distance ? a->distance < b->distance
                                      : bytes_compare(a->text, b->text) < 0;
}

/* Puts `moved` in at `at` or below. */
static void sink(struct candidate *heap, size_t at, size_t count, struct candidate moved)
{
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && is_nearer(&heap[child + 1], &heap[child]))
            child++;
        if (!is_nearer(&heap[child], &moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void order(struct candidates *candidates)
{
    struct candidate *heap = candidates->items;
    for (size_t i = candidates->ordered ? 0 : candidates->count / 2; i-- > 0;)
        sink(heap, i, candidates->count, heap[i]);
    candidates->ordered = true;
}

static void take_first(struct candidates *candidates, struct candidate *out)
{
    struct candidate *heap = candidates->items;
    *out = heap[0];
    if (--candidates->count > 0)
        sink(heap, 0, candidates->count, heap[candidates->count]);
    candidates->last = out->text;
}

bool candidates_take_again(struct candidates *candidates, struct candidate *out)
{
    if (candidates->count == 0 || !bytes_equal(candidates->last, candidates->items[0].text))
        return false;
    take_first(candidates, out);
    return true;
}

bool candidates_take(struct candidates *candidates, struct candidate *out)
{
    order(candidates);
    while (candidates->last.data && candidates_take_again(candidates, out))
        ;
    if (candidates->count == 0)
        return false;
    take_first(candidates, out);
    return true;
}
