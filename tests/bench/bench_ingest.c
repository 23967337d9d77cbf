/* Filling and opening a range, through its own code.
 *
 *     bench_ingest open [ENTRIES]    short generated entries (default 1,000,000), then: how long
 *                                    opening the range takes, with its files in the page cache,
 *                                    and its memory
 *     bench_ingest acks [ENTRIES [RATE]]
 *                                    (200,000) how long a batch of 100 waits to be applied while
 *                                    other threads flush and merge, by what those are doing; and
 *                                    how fast merges write, held to RATE bytes a second if given
 *
 * The stages of an import (analysis, apply, flush, merge; CPU seconds, sizes) are what
 * `quire-engine index` prints.
 */
#include "shard/disk_segment.h"
#include "shard/range.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 100
#define WORDS 20000u
#define CATEGORIES 60u
#define MEMORY ((size_t)64 << 20)

static const struct document_settings weights = {3, 2, 1, 1};

struct bench {
    char path[32];
    struct store_cache *cache;
    struct range *range;
    struct merge_pace *merge_pace;
    struct analyzer *analyzer;
    uint64_t random, seq;
    uint32_t body_words;
};

static void check(int code, const struct err *err)
{
    if (code != 0) {
        fprintf(stderr, "bench_ingest: %s\n", err->text);
        exit(1);
    }
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint32_t draw(struct bench *b, uint32_t below)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((b->random >> 33) % below);
}

/* Frequent words are frequent: the smallest of three draws, squared. */
static uint32_t draw_word(struct bench *b, uint32_t topic)
{
    uint64_t x = draw(b, WORDS);

    x = x * x / WORDS;
    if (draw(b, 4) == 0) /* a word of the topic */
        return WORDS + topic * 200 + draw(b, 200);
    return (uint32_t)x;
}

static void put_word(struct buf *out, uint32_t word)
{
    static const char *parts[] = {"ba",  "der", "fi",  "gol", "hum", "ja", "ke",  "lin",
                                  "mor", "nu",  "pre", "qua", "ret", "so", "tal", "vu"};

    for (word += 16; word > 0; word /= 16)
        buf_append_str(out, parts[word % 16]);
}

/* Entry `number`: a short name, a definition of some words, one category. */
static Quire__WriteOp *make_op(struct bench *b, uint64_t number, struct arena *arena)
{
    Quire__WriteOp *op = arena_alloc(arena, sizeof(*op));
    Quire__Entry *entry = arena_alloc(arena, sizeof(*entry));
    char **categories = arena_alloc(arena, sizeof(*categories)), name[32];
    uint32_t topic = draw(b, CATEGORIES), words = b->body_words / 2 + draw(b, b->body_words);
    struct buf text = {0};

    if (op == NULL || entry == NULL || categories == NULL)
        exit(1);
    quire__write_op__init(op);
    quire__entry__init(entry);
    put_word(&text, draw_word(b, topic));
    snprintf(name, sizeof(name), " %" PRIu64, number);
    buf_append_str(&text, name);
    entry->headword = arena_strdup(arena, buf_text(&text));
    buf_clear(&text);
    for (uint32_t i = 0; i < words; i++) {
        put_word(&text, draw_word(b, topic));
        buf_append_str(&text, " ");
    }
    entry->body = arena_strdup(arena, buf_text(&text));
    snprintf(name, sizeof(name), "topic %u", topic);
    categories[0] = arena_strdup(arena, name);
    entry->categories = categories;
    entry->n_categories = 1;
    op->put = entry;
    buf_deinit(&text);
    return op;
}

static void open_range(struct bench *b)
{
    struct range_settings settings = {.id = 1,
                                      .language = "en",
                                      .document = weights,
                                      .memory_limit = MEMORY,
                                      .cache = b->cache,
                                      .merge_pace = b->merge_pace};
    struct err err;

    check(range_open(b->path, &settings, &b->range, &err), &err);
}

static void begin(struct bench *b, uint32_t body_words, uint64_t rate)
{
    struct err err;

    *b = (struct bench){.path = "/tmp/quire-bench-XXXXXX", .random = 1, .body_words = body_words};
    if (mkdtemp(b->path) == NULL || (b->merge_pace = merge_pace_create(rate, NULL)) == NULL)
        exit(1);
    b->cache = store_cache_create((size_t)64 << 20);
    check(analyzer_create("en", &b->analyzer, &err), &err);
    open_range(b);
}

static void end(struct bench *b)
{
    struct err err;

    range_close(b->range);
    merge_pace_destroy(b->merge_pace);
    store_cache_destroy(b->cache);
    analyzer_destroy(b->analyzer);
    (void)store_destroy_files(b->path, &err);
    (void)rmdir(b->path);
}

/* Applies the next BATCH entries; returns how long that took, without their analysis. */
static double put_batch(struct bench *b)
{
    struct range_result results[BATCH];
    struct document documents[BATCH];
    struct range_op ops[BATCH];
    struct arena arena;
    struct err err;
    double start;

    arena_init(&arena, 0);
    for (uint32_t i = 0; i < BATCH; i++) {
        Quire__WriteOp *op = make_op(b, b->seq, &arena);

        check(document_analyze(b->analyzer, &weights, op->put, &arena, &documents[i], &err), &err);
        ops[i] = (struct range_op){++b->seq, op, &documents[i]};
    }
    start = now();
    check(range_apply(b->range, ops, BATCH, results, &err), &err);
    start = now() - start;
    arena_deinit(&arena);
    return start;
}

static void fill(struct bench *b, uint64_t entries)
{
    bool merged = true;
    struct err err;

    while (b->seq < entries) {
        (void)put_batch(b);
        check(range_flush_wanted(b->range, &err), &err);
        if (range_wants_merge(b->range))
            check(range_merge(b->range, false, &merged, &err), &err);
    }
    check(range_flush(b->range, &err), &err);
    while (merged && range_wants_merge(b->range))
        check(range_merge(b->range, false, &merged, &err), &err);
}

static void print_status(const char *field)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[128];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            printf("%s", line);
    if (file != NULL)
        (void)fclose(file);
}

/* ---- open ---- */

static void bench_open(uint64_t entries)
{
    struct range_figures figures;
    struct bench b;
    double start;

    begin(&b, 12, 0);
    start = now();
    fill(&b, entries);
    range_figures(b.range, &figures);
    printf("filled   %" PRIu64 " entries in %.1f s: %u segments, %.1f MB\n", figures.entries,
           now() - start, figures.segments, (double)figures.disk_bytes / 1e6);
    for (int i = 0; i < 3; i++) {
        range_close(b.range);
        store_cache_destroy(b.cache);
        b.cache = store_cache_create((size_t)64 << 20);
        if (i == 0)
            sync();
        start = now();
        open_range(&b);
        printf("open     %.3f s\n", now() - start);
    }
    print_status("VmRSS");
    end(&b);
}

/* ---- acks ---- */

/* Two threads work for the writer: one flushes, one merges. */
struct background {
    struct bench *bench;
    _Atomic bool flushing, merging, done;
    uint32_t merges;
    uint64_t merged_bytes;
    double merge_seconds;
};

static void *flush_main(void *data)
{
    struct background *background = data;
    struct range *range = background->bench->range;
    struct err err;

    while (!atomic_load(&background->done)) {
        if (range_wants_flush(range)) {
            atomic_store(&background->flushing, true);
            check(range_flush_wanted(range, &err), &err);
            atomic_store(&background->flushing, false);
        }
        usleep(1000);
    }
    return NULL;
}

/* The bytes of the segment that a merge has made: the one that has most documents of those that
 * `before` does not see; a segment that was flushed meanwhile, or is in memory, has fewer. */
static uint64_t made_bytes(struct range *range, const struct view *before)
{
    struct view *view = range_view(range);
    uint64_t bytes = 0, documents = 0;

    for (uint32_t i = 0; i < view->segment_count; i++) {
        const struct view_segment *segment = &view->segments[i];
        bool old = false;

        for (uint32_t j = 0; j < before->segment_count; j++)
            old |= before->segments[j].segment->id == segment->segment->id;
        if (old || segment->doc_limit <= documents)
            continue;
        documents = segment->doc_limit;
        bytes = disk_segment_bytes(segment->segment);
    }
    view_release(view);
    return bytes;
}

static void *merge_main(void *data)
{
    struct background *background = data;
    struct range *range = background->bench->range;
    struct err err;
    bool merged;

    while (!atomic_load(&background->done)) {
        if (range_wants_merge(range)) {
            struct view *before = range_view(range);
            double start = now();

            atomic_store(&background->merging, true);
            check(range_merge(range, false, &merged, &err), &err);
            atomic_store(&background->merging, false);
            background->merge_seconds += now() - start;
            background->merged_bytes += made_bytes(range, before);
            background->merges++;
            view_release(before);
        }
        usleep(1000);
    }
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_waits(const char *name, double *waits, size_t count)
{
    if (count == 0)
        return;
    qsort(waits, count, sizeof(*waits), by_time);
    printf("%-14s %7zu batches   p50 %6.2f   p99 %6.2f   longest %6.2f ms\n", name, count,
           waits[count / 2] * 1e3, waits[count - 1 - count / 100] * 1e3, waits[count - 1] * 1e3);
}

static void print_merges(const struct background *background)
{
    double megabytes = (double)background->merged_bytes / 1e6;

    if (background->merges > 0)
        printf("%-14s %7u merges    wrote %.1f MB in %.1f s, %.1f MB/s\n", "merged",
               background->merges, megabytes, background->merge_seconds,
               megabytes / background->merge_seconds);
}

static void bench_acks(uint64_t entries, uint64_t rate)
{
    enum { OTHERWISE, FLUSHING, MERGING, STATES };
    static const char *const names[STATES] = {"otherwise", "while flushing", "while merging"};
    size_t most = (size_t)(entries / BATCH) + 1, counts[STATES] = {0};
    double *waits[STATES];
    struct background background = {0};
    pthread_t threads[2];
    struct bench b;

    for (int i = 0; i < STATES; i++)
        if ((waits[i] = calloc(most, sizeof(**waits))) == NULL)
            exit(1);
    begin(&b, 120, rate);
    background.bench = &b;
    if (pthread_create(&threads[0], NULL, flush_main, &background) != 0 ||
        pthread_create(&threads[1], NULL, merge_main, &background) != 0)
        exit(1);
    while (b.seq < entries) {
        bool flushing = atomic_load(&background.flushing);
        bool merging = atomic_load(&background.merging);
        double wait = put_batch(&b);
        int doing = flushing || atomic_load(&background.flushing) ? FLUSHING
                    : merging || atomic_load(&background.merging) ? MERGING
                                                                  : OTHERWISE;

        waits[doing][counts[doing]++] = wait;
    }
    atomic_store(&background.done, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < STATES; i++) {
        print_waits(names[i], waits[i], counts[i]);
        free(waits[i]);
    }
    print_merges(&background);
    end(&b);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    uint64_t entries = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

    if (strcmp(what, "open") == 0)
        bench_open(entries == 0 ? 1000000 : entries);
    else if (strcmp(what, "acks") == 0)
        bench_acks(entries == 0 ? 200000 : entries, argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
    else {
        fprintf(stderr, "usage: bench_ingest open|acks [ENTRIES [RATE]]\n");
        return 2;
    }
    return 0;
}
