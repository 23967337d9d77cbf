/* Layout, one block of memory:
 *
 *     ends    u32 for each text: where its own bytes end in `bytes`
 *     large   u32 text, u32 number: the numbers from 255 on, by text
 *     shared  u8 for each text: how many bytes it has in common with the text before, 255 at most
 *     small   u8 for each text: its number, 255 for one that is among the large ones; nothing when
 *             all are 0
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
#define SMALL_END 255

struct large_number {
    uint32_t text, number;
};

struct dictionary {
    _Atomic int refs;
    uint32_t count, large_count;
    const struct large_number *large;
    const uint8_t *shared;
    const uint8_t *small; /* NULL: all 0 */
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

static void add_number(struct dictionary_builder *builder, uint32_t number)
{
    struct large_number large = {(uint32_t)builder->small.size, number};
    if (number >= SMALL_END)
        buf_append(&builder->large, &large, sizeof large);
    buf_append_u8(&builder->small, (uint8_t)(number < SMALL_END ? number : SMALL_END));
    builder->numbered |= number != 0;
}

void dictionary_add(struct dictionary_builder *builder, struct bytes text, uint32_t number)
{
    struct bytes last = buf_bytes(&builder->last);
    size_t shared = common(last, text);
    assert(text.size <= DISTANCE_TEXT_MAX);
    if (builder->shared.size > 0 && shared == text.size && shared == last.size)
        return;
    shared = shared < SHARED_MAX ? shared : SHARED_MAX;
    buf_append_u8(&builder->shared, (uint8_t)shared);
    add_number(builder, number);
    buf_append(&builder->bytes, text.data + shared, text.size - shared);
    assert(builder->bytes.size <= UINT32_MAX);
    uint32_t end = (uint32_t)builder->bytes.size;
    buf_append(&builder->ends, &end, sizeof end);
    buf_clear(&builder->last);
    buf_append_bytes(&builder->last, text);
}

/* Returns where the next part goes. */
static uint8_t *place(uint8_t *at, const struct buf *part)
{
    if (part->size > 0)
        memcpy(at, part->data, part->size);
    return at + part->size;
}

struct dictionary *dictionary_finish(struct dictionary_builder *builder)
{
    size_t count = builder->shared.size;
    if (!builder->numbered)
        buf_clear(&builder->small);
    struct dictionary *dictionary =
        malloc(sizeof *dictionary + builder->ends.size + builder->large.size + count +
               builder->small.size + builder->bytes.size);
    if (dictionary == NULL)
        abort();
    atomic_init(&dictionary->refs, 1);
    dictionary->count = (uint32_t)count;
    dictionary->large_count = (uint32_t)(builder->large.size / sizeof(struct large_number));
    uint8_t *at = (uint8_t *)dictionary->ends;
    at = place(at, &builder->ends);
    dictionary->large = (const struct large_number *)at;
    at = place(at, &builder->large);
    dictionary->shared = at;
    at = place(at, &builder->shared);
    dictionary->small = builder->numbered ? at : NULL;
    at = place(at, &builder->small);
    dictionary->bytes = at;
    place(at, &builder->bytes);
    buf_deinit(&builder->ends);
    buf_deinit(&builder->large);
    buf_deinit(&builder->small);
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
    size_t each = sizeof(uint32_t) + 1 + (dictionary->small ? 1 : 0);
    return sizeof *dictionary + dictionary->count * each +
           dictionary->large_count * sizeof(struct large_number) + bytes;
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

static uint32_t large_number(const struct dictionary *dictionary, uint32_t at)
{
    uint32_t low = 0, high = dictionary->large_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (dictionary->large[middle].text <= at)
            low = middle;
        else
            high = middle;
    }
    return dictionary->large[low].number;
}

static uint32_t number_of(const struct dictionary *dictionary, uint32_t at)
{
    uint32_t small = dictionary->small ? dictionary->small[at] : 0;
    return small < SMALL_END ? small : large_number(dictionary, at);
}

void dictionary_near(const struct dictionary *dictionary, struct distance_walks *walks,
                     dictionary_visit *visit, void *data)
{
    for (uint32_t at = 0; at < dictionary->count;) {
        struct bytes text;
        uint32_t distance =
            distance_walks_to(walks, dictionary->shared[at], own_bytes(dictionary, at), &text);
        if (distance <= walks->limit)
            visit(data, text, distance, number_of(dictionary, at));
        at++;
        if (walks->dead != DISTANCE_NO_BYTES)
            at = next_below(dictionary, at, walks->dead);
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
