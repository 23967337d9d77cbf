/* Groups that are split: low bits packed, high parts as bits (layout: the essay in
 * bitpack_split.c). Pure functions; any thread. Used by bitpack.c only, which chooses between these
 * and others.
 */
#ifndef QUIRE_SHARD_BITPACK_SPLIT_H
#define QUIRE_SHARD_BITPACK_SPLIT_H

#include "shard/bitpack.h"

#define BITPACK_SPLIT 0x80 /* in the first byte of such a group */

struct bitpack_split { /* how a group would be written */
    uint32_t count, width;
    uint32_t low[BITPACK_GROUP];  /* their bits from `width` up are ignored */
    uint8_t total[BITPACK_GROUP]; /* of the high parts so far: does not fall */
};

/* 1 to 128 values, or numbers that rise strictly, the first at least `start`, the last below
 * UINT32_MAX. False when they cannot be written so. */
bool bitpack_split_values(const uint32_t *values, uint32_t count, struct bitpack_split *split);
bool bitpack_split_rising(const uint32_t *numbers, uint32_t count, uint32_t start,
                          struct bitpack_split *split);

uint32_t bitpack_split_size(const struct bitpack_split *split); /* bytes */
void bitpack_split_put(struct buf *out, const struct bitpack_split *split);

/* What was put, `plus` (0 or 1) added to each. `values` has room for BITPACK_GROUP. False on
 * damaged bytes, or when a value would be 2^32. */
bool bitpack_split_get(struct reader *reader, uint32_t *values, uint32_t count, uint32_t plus);
bool bitpack_split_get_rising(struct reader *reader, uint32_t *numbers, uint32_t count,
                              uint32_t start);
bool bitpack_split_skip(struct reader *reader, uint32_t count);

/* ---- the inner loops: bitpack_join.c ---- */

#define SPLIT_WIDTH_MAX 24  /* of the low bits */
#define SPLIT_TOTAL_MAX 128 /* of the high parts of a group */
#define SPLIT_HIGH_MAX 32   /* bytes of the high parts */
#define SPLIT_PLACES_ROOM (8 * SPLIT_HIGH_MAX + 64)

struct split_parts { /* a group, within its bytes */
    uint32_t width, high_size;
    const uint8_t *high, *low;
};

/* Of full groups: high_size is 16 or more. False when there are not 128 bits 1. */
struct split_kernels {
    const char *name;
    /* values[i] = start + high part i * 2^width + low bits i, modulo 2^32 */
    bool (*join)(const struct split_parts *parts, uint32_t start, uint32_t *values);
    /* numbers[i] = start + i + (sum of the first i + 1 high parts) * 2^width + low bits i, modulo
     * 2^32. False also when one is not above the one before (`start` - 1 before the first), or is
     * above it by 2^31 or more. */
    bool (*rise)(const struct split_parts *parts, uint32_t start, uint32_t *numbers);
};

extern const struct split_kernels *_Atomic split_chosen;
const struct split_kernels *split_choose(void);

/* The best for this machine. */
static inline const struct split_kernels *split_kernels(void)
{
    const struct split_kernels *chosen = atomic_load_explicit(&split_chosen, memory_order_relaxed);

    return chosen != NULL ? chosen : split_choose();
}

/* All of them, the best last; NULL where there is none (any more). */
const struct split_kernels *split_kernels_of(uint32_t number);

/* The places of the bits that are set in `size` bytes (SPLIT_HIGH_MAX at most), from the low end of
 * each; how many they are. `places` has SPLIT_PLACES_ROOM. */
uint32_t split_places(const uint8_t *bits, uint32_t size, uint8_t *places);

#endif
