/* Bit packing: streams of small integers in few bytes, decoded fast. Layout: the essay in
 * bitpack.c. Pure functions; any thread. Decoders never read beyond their bytes, whatever these
 * are.
 */
#ifndef QUIRE_SHARD_BITPACK_H
#define QUIRE_SHARD_BITPACK_H

#include "proto/base/bytes.h"

#include <stdatomic.h>

#define BITPACK_GROUP 128

/* ---- groups of 1 to 128 values, self-describing but for their number ----
 *
 * `values` has room for BITPACK_GROUP; those from `count` on are undefined afterwards. False on
 * damaged bytes. */

void bitpack_put(struct buf *out, const uint32_t *values, uint32_t count);
bool bitpack_get(struct reader *reader, uint32_t *values, uint32_t count);
/* Each one more than what was put; false also when one would be 2^32. */
bool bitpack_get_plus_one(struct reader *reader, uint32_t *values, uint32_t count);
bool bitpack_skip(struct reader *reader, uint32_t count);

/* A group of numbers that rise strictly, the first at least `start`, the last below UINT32_MAX. */
void bitpack_put_rising(struct buf *out, const uint32_t *numbers, uint32_t count, uint32_t start);
bool bitpack_get_rising(struct reader *reader, uint32_t *numbers, uint32_t count, uint32_t start);

/* ---- the inner loops ---- */

/* 128 values of `width` bits (0..32) each: 16 * width bytes. Higher bits of a value are ignored. */
void bitpack_pack(const uint32_t values[BITPACK_GROUP], uint32_t width, uint8_t *out);

/* The same for 1 to 128 values: bitpack_packed_size() bytes. */
void bitpack_put_packed(struct buf *out, const uint32_t *values, uint32_t count, uint32_t width);
static inline uint32_t bitpack_packed_size(uint32_t count, uint32_t width)
{
    return (count * width + 7) / 8;
}
/* Fewer than 128. */
void bitpack_unpack_short(const uint8_t *in, uint32_t *values, uint32_t count, uint32_t width);

/* Unpacks 128 values from 16 * width bytes. */
typedef void bitpack_unpacker(const uint8_t *in, uint32_t start, uint32_t *values);

struct bitpack_kernels { /* by width */
    const char *name;
    bitpack_unpacker *plain[33];
    bitpack_unpacker *plus_one[33];
    /* values[i] = start + i + (the first i + 1 packed values), modulo 2^32 */
    bitpack_unpacker *sum[33];
};

extern const struct bitpack_kernels *_Atomic bitpack_chosen;
const struct bitpack_kernels *bitpack_choose(void);

/* The best for this machine. */
static inline const struct bitpack_kernels *bitpack_kernels(void)
{
    const struct bitpack_kernels *chosen =
        atomic_load_explicit(&bitpack_chosen, memory_order_relaxed);

    return chosen != NULL ? chosen : bitpack_choose();
}

/* All of them, the best last; NULL where there is none (any more). */
const struct bitpack_kernels *bitpack_kernels_of(uint32_t number);

#endif
