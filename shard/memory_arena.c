/* The arena of a memory segment: blocks that are freed with it. What is reserved cannot fail to be
 * had. */
#include "shard/memory_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_FIRST ((size_t)64 << 10)
#define ARENA_BLOCK_MOST ((size_t)1 << 20)

size_t memory_align(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static struct memory_block *memory_block_create(struct memory_segment *s, size_t size)
{
    struct memory_block *block = malloc(sizeof(*block) + size);

    if (block == NULL)
        return NULL;
    block->next = NULL;
    block->size = size;
    block->used = 0;
    atomic_fetch_add_explicit(&s->bytes, sizeof(*block) + size, memory_order_relaxed);
    return block;
}

/* After this, allocations of `size` bytes altogether cannot fail. */
bool memory_reserve(struct memory_segment *s, size_t size)
{
    size_t want = s->block_size == 0 ? ARENA_BLOCK_FIRST : s->block_size;

    if (s->blocks != NULL && s->blocks->size - s->blocks->used >= size)
        return true;
    if (s->spare != NULL && s->spare->size >= size)
        return true;
    if (s->spare != NULL) { /* too small for this document: use it for what comes later */
        s->spare->next = s->blocks;
        s->blocks = s->spare;
        s->spare = NULL;
    }
    s->spare = memory_block_create(s, size > want ? size : want);
    if (s->spare == NULL)
        return false;
    s->block_size = want * 2 > ARENA_BLOCK_MOST ? ARENA_BLOCK_MOST : want * 2;
    return true;
}

void *memory_take(struct memory_segment *s, size_t size)
{
    struct memory_block *block = s->blocks;
    void *memory;

    size = memory_align(size);
    if (block == NULL || block->size - block->used < size) {
        block = s->spare;
        assert(block != NULL && block->size >= size); /* reserved */
        block->next = s->blocks;
        s->blocks = block;
        s->spare = NULL;
    }
    memory = block->data + block->used;
    block->used += size;
    return memory;
}

void *memory_copy(struct memory_segment *s, struct bytes bytes)
{
    void *copy = memory_take(s, bytes.size);

    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    return copy;
}
