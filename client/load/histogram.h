/* Histogram of durations with a bounded relative error, after HdrHistogram (Tene): linear within
 * each power of two. Pure; not thread-safe.
 */
#ifndef QUIRE_LOAD_HISTOGRAM_H
#define QUIRE_LOAD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB 128 /* buckets for each power of two: error below 0.8 % */
#define HISTOGRAM_BUCKETS (HISTOGRAM_SUB * 36) /* up to 2^42 us, 50 days; longer counts as that */

struct histogram {
    uint64_t count, max_us;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t us);
/* The least duration that a share of `percent` (0..100) of all did not exceed, or up to 0.8 % more,
 * and never more than the longest. 0: there are none. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
void histogram_clear(struct histogram *histogram);

#endif
