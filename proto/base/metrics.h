/* Metrics registry: counters, gauges and latency histograms, named as Prometheus names them.
 *
 * Updating is lock-free, without allocation, and allowed from any thread. Registering and rendering
 * take the registry's lock: registering is for start-up, rendering for the thread of the pages
 * (proto/http). One registry per process part, passed explicitly: two nodes may live in one test
 * process.
 *
 * Metrics of one name make a family; its members differ in their labels, are of one kind, and are
 * rendered together, under the HELP line of the first one.
 */
#ifndef QUIRE_BASE_METRICS_H
#define QUIRE_BASE_METRICS_H

#include "proto/base/bytes.h"

#include <stdatomic.h>
#include <stdint.h>

struct metric {
    _Atomic int64_t value;
};

/* Bucket i counts samples of at most 2^i microseconds and of more than the bucket before; the last
 * one counts the rest. */
#define METRICS_BUCKETS 28
struct histogram {
    _Atomic uint64_t bucket[METRICS_BUCKETS];
    _Atomic uint64_t sum_us;
};

struct metrics;

struct metrics *metrics_create(void);
void metrics_destroy(struct metrics *metrics);

/* `name` and `help` (one line, without a backslash) must outlive the registry (literals). The
 * result lives as long as the registry. */
struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help);
struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help);
struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help);

/* A member of a family. `labels` as they are rendered, without the braces: kind="x",state="y"; they
 * are copied. */
struct metric *metrics_counter_of(struct metrics *metrics, const char *name, const char *help,
                                  const char *labels);
struct metric *metrics_gauge_of(struct metrics *metrics, const char *name, const char *help,
                                const char *labels);
struct histogram *metrics_histogram_of(struct metrics *metrics, const char *name, const char *help,
                                       const char *labels);

/* Values in microseconds, 0 or more, that are rendered in seconds. */
struct metric *metrics_counter_us(struct metrics *metrics, const char *name, const char *help);
struct metric *metrics_gauge_us(struct metrics *metrics, const char *name, const char *help);

/* `update` is called before each rendering, on the thread that renders, to set what is only worth
 * finding out then; it may not register anything. At most METRICS_UPDATES_MAX of them. */
#define METRICS_UPDATES_MAX 4
void metrics_on_render(struct metrics *metrics, void (*update)(void *data), void *data);

void metric_add(struct metric *metric, int64_t delta);
void metric_set(struct metric *metric, int64_t value);
int64_t metric_get(const struct metric *metric);
void histogram_observe(struct histogram *histogram, uint64_t us);
/* Samples so far. */
uint64_t histogram_count(const struct histogram *histogram);
/* Upper bound in microseconds of the bucket that holds quantile q (0..1); 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double q);

/* Appends the whole registry in the Prometheus text format, version 0.0.4. The samples of one
 * histogram agree with each other (its count is that of its last bucket) even while others observe;
 * those of different metrics may be of slightly different moments. */
void metrics_render(struct metrics *metrics, struct buf *out);

#endif
