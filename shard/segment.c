#include "shard/segment.h"

#include <assert.h>

void segment_ref(struct segment *segment)
{
    int before = atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed);

    assert(before > 0);
    (void)before;
}

void segment_unref(struct segment *segment)
{
    int before = atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before == 1) {
        segment_words_destroy(segment->words);
        segment->ops->destroy(segment);
    }
}

/* ---- norms ----
 *
 * A number up to 23 stands for itself. From there on, 24 + f(length - 24), where f keeps the
 * highest bit and the three below it: numbers below 8 as they are, others as (shift + 1) << 3 |
 * three bits. So the steps are of 1 to 40, then of 2, 4, 8...: never coarser than one part in
 * eight. The largest, 255, is 2^31 - 1 rounded down; longer entries cannot occur (proto/limits.h).
 *
 * (Apache Lucene, org.apache.lucene.util.SmallFloat.intToByte4.) */

#define NORM_EXACT 24u

uint8_t norm_encode(uint32_t length)
{
    uint32_t rest, shift;

    if (length < NORM_EXACT)
        return (uint8_t)length;
    rest = (length > INT32_MAX ? INT32_MAX : length) - NORM_EXACT;
    if (rest < 8)
        return (uint8_t)(NORM_EXACT + rest);
    shift = 28u - (uint32_t)__builtin_clz(rest);
    return (uint8_t)(NORM_EXACT + ((shift + 1) << 3) + ((rest >> shift) & 7));
}

uint32_t norm_decode(uint8_t norm)
{
    uint32_t rest;

    if (norm < NORM_EXACT + 8)
        return norm;
    rest = norm - NORM_EXACT;
    return NORM_EXACT + ((8 | (rest & 7)) << ((rest >> 3) - 1));
}
