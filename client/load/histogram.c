#include "client/load/histogram.h"

#include <math.h>
#include <string.h>

#define SUB_BITS 7 /* of HISTOGRAM_SUB */

static unsigned bucket_of(uint64_t us)
{
    if (us < HISTOGRAM_SUB)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    uint64_t bucket = (uint64_t)(power - SUB_BITS + 1) * HISTOGRAM_SUB +
                      (us >> (power - SUB_BITS)) % HISTOGRAM_SUB;
    return bucket < HISTOGRAM_BUCKETS ? (unsigned)bucket : HISTOGRAM_BUCKETS - 1;
}

/* The longest duration of the bucket. */
static uint64_t bucket_last(unsigned bucket)
{
    if (bucket < HISTOGRAM_SUB)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_SUB - 1;
    return ((uint64_t)(HISTOGRAM_SUB + bucket % HISTOGRAM_SUB + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t us)
{
    histogram->count++;
    histogram->bucket[bucket_of(us)]++;
    if (us > histogram->max_us)
        histogram->max_us = us;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    uint64_t wanted = (uint64_t)ceil((double)histogram->count * percent / 100), below = 0;
    if (histogram->count == 0)
        return 0;
    if (wanted < 1)
        wanted = 1;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += histogram->bucket[i];
        if (below >= wanted)
            return bucket_last(i) < histogram->max_us ? bucket_last(i) : histogram->max_us;
    }
    return histogram->max_us;
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}
