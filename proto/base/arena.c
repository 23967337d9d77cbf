#include "proto/base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN 16
#define ARENA_BLOCK_FIRST 4096
#define ARENA_BLOCK_MAX (1u << 20)

struct arena_block {
    struct arena_block *next;
    size_t at;       /* bytes of `memory` handed out */
    size_t capacity; /* bytes of `memory` */
    size_t step;     /* what the next ordinary block is twice as large as */
    _Alignas(ARENA_ALIGN) uint8_t memory[];
};

static void *protobuf_alloc(void *data, size_t size)
{
    return arena_alloc(data, size);
}

static void protobuf_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer; /* released with the arena */
}

void arena_init(struct arena *arena, size_t limit)
{
    *arena = (struct arena){.limit = limit};
}

void arena_deinit(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->used = 0;
}

/* A block with room for `size`. A large request gets a block of its own that is put behind the
 * newest one, whose rest stays usable. */
static struct arena_block *block_add(struct arena *arena, size_t size)
{
    struct arena_block *newest = arena->blocks;
    size_t step = newest ? newest->step * 2 : ARENA_BLOCK_FIRST;
    if (step > ARENA_BLOCK_MAX)
        step = ARENA_BLOCK_MAX;
    bool oversize = size > step - sizeof(struct arena_block);
    size_t capacity = oversize ? size : step - sizeof(struct arena_block);
    struct arena_block *block = malloc(sizeof *block + capacity);
    if (!block)
        return NULL;
    block->at = 0;
    block->capacity = capacity;
    block->step = oversize && newest ? newest->step : step;
    if (oversize && newest) {
        block->next = newest->next;
        newest->next = block;
    } else {
        block->next = newest;
        arena->blocks = block;
    }
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > PTRDIFF_MAX - 2 * ARENA_BLOCK_MAX) /* no machine has that; keeps the sums small */
        return NULL;
    size = size ? (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    if (arena->limit && (size > arena->limit || arena->used > arena->limit - size))
        return NULL;
    struct arena_block *block = arena->blocks;
    if (!block || block->capacity - block->at < size) {
        block = block_add(arena, size);
        if (!block)
            return NULL;
    }
    void *result = block->memory + block->at;
    block->at += size;
    arena->used += size;
    return result;
}

void *arena_calloc(struct arena *arena, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    void *result = arena_alloc(arena, total);
    if (result)
        memset(result, 0, total);
    return result;
}

void *arena_copy(struct arena *arena, const void *bytes, size_t size)
{
    if (size == SIZE_MAX)
        return NULL;
    uint8_t *result = arena_alloc(arena, size + 1);
    if (!result)
        return NULL;
    if (size)
        memcpy(result, bytes, size);
    result[size] = 0;
    return result;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return arena_copy(arena, text, strlen(text));
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(length >= 0);
    char *result = arena_alloc(arena, (size_t)length + 1);
    if (result)
        vsnprintf(result, (size_t)length + 1, format, again);
    va_end(again);
    return result;
}

ProtobufCAllocator *arena_protobuf(struct arena *arena)
{
    arena->protobuf = (ProtobufCAllocator){
        .alloc = protobuf_alloc, .free = protobuf_free, .allocator_data = arena};
    return &arena->protobuf;
}
