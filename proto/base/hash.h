/* Short keys, inline: the hash of tables that live in memory and hold words, and their comparison.
 * A word is a handful of bytes, of which a call into a library would be most of the cost. Never
 * stored, never sent: what must be the same elsewhere or tomorrow is hash64() (bytes.h). */
#ifndef QUIRE_BASE_HASH_H
#define QUIRE_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t short_load8(const uint8_t *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline uint32_t short_load4(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* The halves of a 128-bit product, folded: every bit of the result depends on all of both. */
static inline uint64_t short_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint32_t short_hash(const uint8_t *data, size_t size)
{
    const uint64_t first = 0x9e3779b97f4a7c15u, second = 0xd6e8feb86659fd93u;
    uint64_t hash = first ^ size, last = 0;

    if (size >= 8) {
        for (size_t at = 0; at + 8 < size; at += 8)
            hash = short_mix(hash ^ short_load8(data + at), first);
        last = short_load8(data + size - 8);
    } else if (size >= 4) {
        last = (uint64_t)short_load4(data) << 32 | short_load4(data + size - 4);
    } else if (size > 0) {
        last = (uint64_t)data[0] << 16 | (uint64_t)data[size / 2] << 8 | data[size - 1];
    }
    hash = short_mix(hash ^ last, second);
    return (uint32_t)(hash ^ hash >> 32);
}

static inline bool short_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    if (size >= 8) {
        for (size_t at = 0; at + 8 < size; at += 8)
            if (short_load8(a + at) != short_load8(b + at))
                return false;
        return short_load8(a + size - 8) == short_load8(b + size - 8);
    }
    if (size >= 4)
        return short_load4(a) == short_load4(b) &&
               short_load4(a + size - 4) == short_load4(b + size - 4);
    return size == 0 || (a[0] == b[0] && a[size / 2] == b[size / 2] && a[size - 1] == b[size - 1]);
}

#endif
