/* Metrics registry: counters, gauges and latency histograms, named as Prometheus names them.
 * Updating is lock-free and allowed from any thread; registering is for start-up.
 * One registry per process part, passed explicitly: two nodes may live in one test process.
 */
#ifndef QUIRE_BASE_METRICS_H
#define QUIRE_BASE_METRICS_H

#include "proto/base/bytes.h"

#include <stdatomic.h>
#include <stdint.h>

struct metric {
    _Atomic int64_t value;
};

/* Bucket i counts samples below 2^i microseconds; the last one counts the rest. */
#define METRICS_BUCKETS 28
struct histogram {
    _Atomic uint64_t bucket[METRICS_BUCKETS];
    _Atomic uint64_t sum_us;
};

struct metrics;

struct metrics *metrics_create(void);
void metrics_destroy(struct metrics *metrics);

/* `name` and `help` must outlive the registry (literals). The result lives as long as the registry.
 */
struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help);
struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help);
struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help);

void metric_add(struct metric *metric, int64_t delta);
void metric_set(struct metric *metric, int64_t value);
int64_t metric_get(const struct metric *metric);
void histogram_observe(struct histogram *histogram, uint64_t us);
/* Upper bound in microseconds of the bucket that holds quantile q (0..1); 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double q);

/* Appends the whole registry in the Prometheus text format. */
void metrics_render(const struct metrics *metrics, struct buf *out);

#endif
