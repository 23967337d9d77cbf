/* Layout, one block of memory:
 *
 *     ends    u32 for each text: where its own bytes end in `bytes`
 *     shared  u8 for each text: how many bytes it has in common with the text before, 255 at most
 *     bytes   of each text, what it does not share
 *
 * A search computes distances as on a walk through a tree of letters: for each text only from the
 * first byte on that it does not share. Where the walk dies after so many bytes, all texts are out
 * that share at least so many with the one before: they are passed over by looking at `shared`
 * alone, eight at a time. So the cost is that of the beginnings that are near, few however many
 * texts there are, and of one byte read for each text.
 *
 * (The tree is that of Shang and Merrettal, "Tries for Approximate String Matching", 1996.)
 */
#include "shard/dictionary.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SHARED_MAX 255

struct dictionary {
    _Atomic int refs;
    uint32_t count;
    const uint8_t *shared;
    const uint8_t *bytes;
    uint32_t ends[];
};

static size_t common(struct bytes a, struct bytes b)
{
    size_t most = a.size < b.size ? a.size : b.size, i = 0;
    while (i < most && a.data[i] == b.data[i])
        i++;
    return i;
}

void dictionary_add(struct dictionary_builder *builder, struct bytes text)
{
    struct bytes last = buf_bytes(&builder->last);
    size_t shared = common(last, text);
    assert(text.size <= DISTANCE_TEXT_MAX);
    if (builder->shared.size > 0 && shared == text.size && shared == last.size)
        return;
    shared = shared < SHARED_MAX ? shared : SHARED_MAX;
    buf_append_u8(&builder->shared, (uint8_t)shared);
    buf_append(&builder->bytes, text.data + shared, text.size - shared);
    assert(builder->bytes.size <= UINT32_MAX);
    uint32_t end = (uint32_t)builder->bytes.size;
    buf_append(&builder->ends, &end, sizeof end);
    buf_clear(&builder->last);
    buf_append_bytes(&builder->last, text);
}

struct dictionary *dictionary_finish(struct dictionary_builder *builder)
{
    size_t count = builder->shared.size;
    struct dictionary *dictionary =
        malloc(sizeof *dictionary + builder->ends.size + count + builder->bytes.size);
    if (dictionary == NULL)
        abort();
    atomic_init(&dictionary->refs, 1);
    dictionary->count = (uint32_t)count;
    uint8_t *shared = (uint8_t *)&dictionary->ends[count];
    dictionary->shared = shared;
    dictionary->bytes = shared + count;
    if (count > 0) {
        memcpy(dictionary->ends, builder->ends.data, builder->ends.size);
        memcpy(shared, builder->shared.data, count);
        memcpy(shared + count, builder->bytes.data, builder->bytes.size);
    }
    buf_deinit(&builder->ends);
    buf_deinit(&builder->shared);
    buf_deinit(&builder->bytes);
    buf_deinit(&builder->last);
    return dictionary;
}

void dictionary_ref(struct dictionary *dictionary)
{
    atomic_fetch_add_explicit(&dictionary->refs, 1, memory_order_relaxed);
}

void dictionary_unref(struct dictionary *dictionary)
{
    if (dictionary != NULL &&
        atomic_fetch_sub_explicit(&dictionary->refs, 1, memory_order_acq_rel) == 1)
        free(dictionary);
}

uint32_t dictionary_count(const struct dictionary *dictionary)
{
    return dictionary->count;
}

size_t dictionary_bytes(const struct dictionary *dictionary)
{
    size_t bytes = dictionary->count ? dictionary->ends[dictionary->count - 1] : 0;
    return sizeof *dictionary + dictionary->count * (sizeof(uint32_t) + 1) + bytes;
}

/* The first text from `at` on that shares less than `limit` bytes; the count when there is none.
 * Eight at a time: subtracting sets the high bit of the lowest byte that is below the limit. */
static uint32_t next_below(const struct dictionary *dictionary, uint32_t at, uint32_t limit)
{
    const uint64_t ones = UINT64_MAX / 255, high = ones * 128;
    const uint8_t *shared = dictionary->shared;
    uint32_t count = dictionary->count;
    for (; limit <= 128 && count - at >= 8; at += 8) {
        uint64_t eight;
        memcpy(&eight, shared + at, sizeof eight);
        if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
            eight = __builtin_bswap64(eight);
        uint64_t below = (eight - ones * limit) & ~eight & high;
        if (below)
            return at + (uint32_t)__builtin_ctzll(below) / 8;
    }
    while (at < count && shared[at] >= limit)
        at++;
    return at;
}

/* What text `at` does not share. */
static inline struct bytes own_bytes(const struct dictionary *dictionary, uint32_t at)
{
    uint32_t from = at > 0 ? dictionary->ends[at - 1] : 0;
    return (struct bytes){dictionary->bytes + from, dictionary->ends[at] - from};
}

void dictionary_near(const struct dictionary *dictionary, struct distance_walk *walk,
                     void (*visit)(void *data, struct bytes text, uint32_t distance), void *data)
{
    for (uint32_t at = 0; at < dictionary->count;) {
        uint32_t distance =
            distance_walk_to(walk, dictionary->shared[at], own_bytes(dictionary, at));
        if (distance <= walk->limit)
            visit(data, distance_walk_text(walk), distance);
        at++;
        if (walk->dead != DISTANCE_NO_BYTES)
            at = next_below(dictionary, at, walk->dead);
    }
}

bool dictionary_read(struct dictionary_reader *reader, struct bytes *text)
{
    const struct dictionary *dictionary = reader->dictionary;
    if (reader->next == dictionary->count)
        return false;
    reader->text.size = dictionary->shared[reader->next];
    buf_append_bytes(&reader->text, own_bytes(dictionary, reader->next++));
    *text = buf_bytes(&reader->text);
    return true;
}

void dictionary_reader_deinit(struct dictionary_reader *reader)
{
    buf_deinit(&reader->text);
}
