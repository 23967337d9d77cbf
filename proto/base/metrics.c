#include "proto/base/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

struct entry {
    struct entry *next;
    const char *name;
    const char *help;
    enum kind kind;
    union {
        struct metric metric;
        struct histogram histogram;
    };
};

struct metrics {
    struct entry *first;
    struct entry **last;
};

struct metrics *metrics_create(void)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics)
        metrics->last = &metrics->first;
    return metrics;
}

void metrics_destroy(struct metrics *metrics)
{
    if (!metrics)
        return;
    for (struct entry *entry = metrics->first; entry;) {
        struct entry *next = entry->next;
        free(entry);
        entry = next;
    }
    free(metrics);
}

/* Registering happens at start-up, where running out of memory is the end anyway. Two names alike
 * are a bug: the text format forbids them. */
static struct entry *entry_add(struct metrics *metrics, enum kind kind, const char *name,
                               const char *help)
{
    for (struct entry *entry = metrics->first; entry; entry = entry->next)
        assert(strcmp(entry->name, name) != 0);
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        abort();
    entry->name = name;
    entry->help = help;
    entry->kind = kind;
    *metrics->last = entry;
    metrics->last = &entry->next;
    return entry;
}

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help)
{
    return &entry_add(metrics, KIND_COUNTER, name, help)->metric;
}

struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help)
{
    return &entry_add(metrics, KIND_GAUGE, name, help)->metric;
}

struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help)
{
    return &entry_add(metrics, KIND_HISTOGRAM, name, help)->histogram;
}

void metric_add(struct metric *metric, int64_t delta)
{
    atomic_fetch_add_explicit(&metric->value, delta, memory_order_relaxed);
}

void metric_set(struct metric *metric, int64_t value)
{
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

int64_t metric_get(const struct metric *metric)
{
    return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

void histogram_observe(struct histogram *histogram, uint64_t us)
{
    /* The smallest i with us < 2^i is the number of bits of us. */
    int bucket = us ? 64 - __builtin_clzll(us) : 0;
    if (bucket >= METRICS_BUCKETS)
        bucket = METRICS_BUCKETS - 1;
    atomic_fetch_add_explicit(&histogram->bucket[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_us, us, memory_order_relaxed);
}

static uint64_t bucket_count(const struct histogram *histogram, int bucket)
{
    return atomic_load_explicit(&histogram->bucket[bucket], memory_order_relaxed);
}

uint64_t histogram_quantile(const struct histogram *histogram, double q)
{
    uint64_t total = 0, seen = 0, count[METRICS_BUCKETS];
    for (int i = 0; i < METRICS_BUCKETS; i++)
        total += count[i] = bucket_count(histogram, i);
    if (!total)
        return 0;
    uint64_t rank = (uint64_t)ceil((double)total * (q < 0 ? 0 : q > 1 ? 1 : q));
    for (int i = 0; i < METRICS_BUCKETS; i++) {
        seen += count[i];
        if (seen >= rank && seen)
            return UINT64_C(1) << i;
    }
    return UINT64_C(1) << (METRICS_BUCKETS - 1);
}

static void render_histogram(const struct entry *entry, struct buf *out)
{
    uint64_t seen = 0;
    for (int i = 0; i < METRICS_BUCKETS - 1; i++) {
        seen += bucket_count(&entry->histogram, i);
        buf_printf(out, "%s_bucket{le=\"%.9g\"} %" PRIu64 "\n", entry->name,
                   (double)(UINT64_C(1) << i) / 1e6, seen);
    }
    seen += bucket_count(&entry->histogram, METRICS_BUCKETS - 1);
    uint64_t sum = atomic_load_explicit(&entry->histogram.sum_us, memory_order_relaxed);
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n",
               entry->name, seen, entry->name, (double)sum / 1e6, entry->name, seen);
}

void metrics_render(const struct metrics *metrics, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    for (const struct entry *entry = metrics->first; entry; entry = entry->next) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", entry->name, entry->help, entry->name,
                   types[entry->kind]);
        if (entry->kind == KIND_HISTOGRAM)
            render_histogram(entry, out);
        else
            buf_printf(out, "%s %" PRId64 "\n", entry->name, metric_get(&entry->metric));
    }
}
