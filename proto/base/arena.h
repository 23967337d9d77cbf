/* Arena: memory that is released all at once, with the request it belongs to.
 *
 * Not thread-safe: one thread at a time. Also serves as protobuf-c's allocator, so that an unpacked
 * message needs no walk to free (arena_protobuf()).
 */
#ifndef QUIRE_BASE_ARENA_H
#define QUIRE_BASE_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used;                /* bytes handed out, for budgets */
    size_t limit;               /* 0 = none; beyond it arena_alloc returns NULL */
    ProtobufCAllocator protobuf;
};

/* An arena of no blocks; the first allocation takes 4 KiB, later blocks double up to 1 MiB. */
void arena_init(struct arena *arena, size_t limit);

/* Frees everything. The arena may be used again at once. */
void arena_deinit(struct arena *arena);

/* `size` bytes aligned to 16, uninitialised; NULL only beyond the limit or out of memory. */
void *arena_alloc(struct arena *arena, size_t size);

/* `count * size` zero bytes; NULL also on overflow. */
void *arena_calloc(struct arena *arena, size_t count, size_t size);

/* Copies of bytes; the copy is followed by a NUL that is not counted. */
void *arena_copy(struct arena *arena, const void *bytes, size_t size);
char *arena_strdup(struct arena *arena, const char *text);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The allocator to pass to protobuf-c's unpack functions; valid while the arena is. */
ProtobufCAllocator *arena_protobuf(struct arena *arena);

#endif
