/* A binary heap of calls by deadline. Each call knows its place in it, so that the usual case, a
 * call that is answered in time, is removed without a search. */
#include "proto/rpc/internal.h"

#include <assert.h>
#include <stdlib.h>

static void put(struct heap *heap, size_t at, struct rpc_call *call)
{
    heap->items[at] = call;
    call->heap_index = at;
}

static void sift_up(struct heap *heap, size_t at, struct rpc_call *call)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (heap->items[parent]->deadline_ms <= call->deadline_ms)
            break;
        put(heap, at, heap->items[parent]);
        at = parent;
    }
    put(heap, at, call);
}

static void sift_down(struct heap *heap, size_t at, struct rpc_call *call)
{
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count &&
            heap->items[child + 1]->deadline_ms < heap->items[child]->deadline_ms)
            child++;
        if (call->deadline_ms <= heap->items[child]->deadline_ms)
            break;
        put(heap, at, heap->items[child]);
        at = child;
    }
    put(heap, at, call);
}

int heap_push(struct heap *heap, struct rpc_call *call)
{
    if (heap->count == heap->capacity) {
        size_t capacity = heap->capacity ? heap->capacity * 2 : 64;
        struct rpc_call **items = realloc(heap->items, capacity * sizeof(struct rpc_call *));
        if (!items)
            return ERR_NOMEM;
        heap->items = items;
        heap->capacity = capacity;
    }
    sift_up(heap, heap->count++, call);
    return 0;
}

void heap_remove(struct heap *heap, struct rpc_call *call)
{
    size_t at = call->heap_index;
    if (at == HEAP_NONE)
        return;
    assert(at < heap->count && heap->items[at] == call);
    call->heap_index = HEAP_NONE;
    struct rpc_call *last = heap->items[--heap->count];
    if (last == call)
        return;
    if (at > 0 && last->deadline_ms < heap->items[(at - 1) / 2]->deadline_ms)
        sift_up(heap, at, last);
    else
        sift_down(heap, at, last);
}

struct rpc_call *heap_first(const struct heap *heap)
{
    return heap->count ? heap->items[0] : NULL;
}

void heap_deinit(struct heap *heap)
{
    free(heap->items);
    *heap = (struct heap){0};
}
