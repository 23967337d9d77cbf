#include "proto/base/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };

struct entry {
    struct entry *next;
    const char *name;
    const char *help;
    char *labels; /* "" for none */
    enum kind kind;
    bool us;
    union {
        struct metric metric;
        struct histogram histogram;
    };
};

struct update {
    void (*run)(void *data);
    void *data;
};

struct metrics {
    pthread_mutex_t lock;
    struct entry *first; /* families one after another */
    struct update updates[METRICS_UPDATES_MAX];
    size_t update_count;
};

struct metrics *metrics_create(void)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics)
        pthread_mutex_init(&metrics->lock, NULL);
    return metrics;
}

void metrics_destroy(struct metrics *metrics)
{
    if (!metrics)
        return;
    for (struct entry *entry = metrics->first; entry;) {
        struct entry *next = entry->next;
        free(entry->labels);
        free(entry);
        entry = next;
    }
    pthread_mutex_destroy(&metrics->lock);
    free(metrics);
}

/* Behind the last of its family, or of all. Two alike are a bug: the text format forbids them. */
static void insert(struct metrics *metrics, struct entry *entry)
{
    struct entry **at = &metrics->first, **after = NULL;
    for (; *at; at = &(*at)->next) {
        if (strcmp((*at)->name, entry->name) != 0)
            continue;
        assert((*at)->kind == entry->kind && strcmp((*at)->labels, entry->labels) != 0);
        after = &(*at)->next;
    }
    if (!after)
        after = at;
    entry->next = *after;
    *after = entry;
}

/* Registering happens at start-up, where running out of memory is the end anyway. */
static struct entry *entry_add(struct metrics *metrics, enum kind kind, const char *name,
                               const char *help, const char *labels)
{
    assert(!strpbrk(help, "\\\n"));
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry || !(entry->labels = strdup(labels)))
        abort();
    entry->name = name;
    entry->help = help;
    entry->kind = kind;
    pthread_mutex_lock(&metrics->lock);
    insert(metrics, entry);
    pthread_mutex_unlock(&metrics->lock);
    return entry;
}

struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help)
{
    return metrics_counter_of(metrics, name, help, "");
}

struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help)
{
    return metrics_gauge_of(metrics, name, help, "");
}

struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help)
{
    return metrics_histogram_of(metrics, name, help, "");
}

struct metric *metrics_counter_of(struct metrics *metrics, const char *name, const char *help,
                                  const char *labels)
{
    return &entry_add(metrics, KIND_COUNTER, name, help, labels)->metric;
}

struct metric *metrics_gauge_of(struct metrics *metrics, const char *name, const char *help,
                                const char *labels)
{
    return &entry_add(metrics, KIND_GAUGE, name, help, labels)->metric;
}

struct histogram *metrics_histogram_of(struct metrics *metrics, const char *name, const char *help,
                                       const char *labels)
{
    return &entry_add(metrics, KIND_HISTOGRAM, name, help, labels)->histogram;
}

struct metric *metrics_counter_us(struct metrics *metrics, const char *name, const char *help)
{
    struct entry *entry = entry_add(metrics, KIND_COUNTER, name, help, "");
    entry->us = true;
    return &entry->metric;
}

struct metric *metrics_gauge_us(struct metrics *metrics, const char *name, const char *help)
{
    struct entry *entry = entry_add(metrics, KIND_GAUGE, name, help, "");
    entry->us = true;
    return &entry->metric;
}

void metrics_on_render(struct metrics *metrics, void (*update)(void *data), void *data)
{
    pthread_mutex_lock(&metrics->lock);
    assert(metrics->update_count < METRICS_UPDATES_MAX);
    metrics->updates[metrics->update_count++] = (struct update){update, data};
    pthread_mutex_unlock(&metrics->lock);
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
    /* The smallest i with us <= 2^i is the number of bits of us - 1. */
    int bucket = us > 1 ? 64 - __builtin_clzll(us - 1) : 0;
    if (bucket >= METRICS_BUCKETS)
        bucket = METRICS_BUCKETS - 1;
    atomic_fetch_add_explicit(&histogram->bucket[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_us, us, memory_order_relaxed);
}

static uint64_t bucket_count(const struct histogram *histogram, int bucket)
{
    return atomic_load_explicit(&histogram->bucket[bucket], memory_order_relaxed);
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint64_t total = 0;
    for (int i = 0; i < METRICS_BUCKETS; i++)
        total += bucket_count(histogram, i);
    return total;
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

/* What follows the name of a sample: {labels}, or nothing. */
static void render_labels(const struct entry *entry, struct buf *out)
{
    if (entry->labels[0])
        buf_printf(out, "{%s}", entry->labels);
}

static void render_bucket(const struct entry *entry, const char *limit, uint64_t count,
                          struct buf *out)
{
    buf_printf(out, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", entry->name, entry->labels,
               entry->labels[0] ? "," : "", limit, count);
}

static void render_histogram(const struct entry *entry, struct buf *out)
{
    char limit[32];
    uint64_t seen = 0;
    for (int i = 0; i < METRICS_BUCKETS - 1; i++) {
        seen += bucket_count(&entry->histogram, i);
        snprintf(limit, sizeof limit, "%.9g", (double)(UINT64_C(1) << i) / 1e6);
        render_bucket(entry, limit, seen, out);
    }
    seen += bucket_count(&entry->histogram, METRICS_BUCKETS - 1);
    render_bucket(entry, "+Inf", seen, out);
    uint64_t sum = atomic_load_explicit(&entry->histogram.sum_us, memory_order_relaxed);
    buf_printf(out, "%s_sum", entry->name);
    render_labels(entry, out);
    buf_printf(out, " %" PRIu64 ".%06" PRIu64 "\n%s_count", sum / 1000000, sum % 1000000,
               entry->name);
    render_labels(entry, out);
    buf_printf(out, " %" PRIu64 "\n", seen);
}

static void render_metric(const struct entry *entry, struct buf *out)
{
    int64_t value = metric_get(&entry->metric);
    buf_append_str(out, entry->name);
    render_labels(entry, out);
    if (entry->us)
        buf_printf(out, " %" PRId64 ".%06" PRId64 "\n", value / 1000000, value % 1000000);
    else
        buf_printf(out, " %" PRId64 "\n", value);
}

void metrics_render(struct metrics *metrics, struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const char *family = "";
    pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->update_count; i++)
        metrics->updates[i].run(metrics->updates[i].data);
    for (const struct entry *entry = metrics->first; entry; entry = entry->next) {
        if (strcmp(entry->name, family) != 0)
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", entry->name, entry->help, entry->name,
                       types[entry->kind]);
        family = entry->name;
        if (entry->kind == KIND_HISTOGRAM)
            render_histogram(entry, out);
        else
            render_metric(entry, out);
    }
    pthread_mutex_unlock(&metrics->lock);
}
