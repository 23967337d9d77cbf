/* What the files of quire-engine share: one range in a folder, opened as a shard opens it, but used
 * by one thread. See quire_engine.c for what the program is. */
#ifndef QUIRE_TESTS_BENCH_ENGINE_H
#define QUIRE_TESTS_BENCH_ENGINE_H

#include "shard/range.h"

#include <stdbool.h>
#include <stdint.h>

struct engine_options {
    size_t memory_bytes;      /* of a memory segment and its rows, before it is flushed */
    size_t cache_bytes;       /* of the block cache */
    uint32_t limit;           /* hits of a query */
    enum segment_order order; /* of documents that are merged */
};

struct engine {
    const struct engine_options *options;
    const char *dir;
    struct store_cache *cache;
    struct range *range;
};

/* Opens the range in `dir`. `create`: it must not hold anything yet; else it must exist. */
int engine_open(struct engine *engine, const char *dir, const struct engine_options *options,
                bool create, struct err *err);
void engine_close(struct engine *engine);
/* Flushes; merges as long as the range wants to (`all`: down to one segment); flushes the rest. */
int engine_settle(struct engine *engine, bool all, struct err *err);
/* Segments and bytes of the folder by family, on stdout. */
void engine_print_sizes(struct engine *engine);
/* Wall clock, CPU time of this thread and of the whole process. */
double engine_wall_seconds(void);
double engine_thread_seconds(void);
double engine_process_seconds(void);
extern const struct document_settings engine_weights;

/* engine_fill.c. `path` NULL: stdin. */
int engine_index(struct engine *engine, const char *path, struct err *err);
/* Deletes every `nth` entry in key order. */
int engine_delete(struct engine *engine, uint64_t nth, struct err *err);

/* engine_query.c: queries from stdin, a line each. */
enum engine_mode { ENGINE_TOP10, ENGINE_EXACT, ENGINE_EXHAUSTIVE };
int engine_query(struct engine *engine, enum engine_mode mode, struct err *err);
/* Runs each query in all modes. *differ: some answers did, the first of which is printed. */
int engine_compare(struct engine *engine, bool *differ, struct err *err);

/* The stemmed words of each line of stdin, a line each. Byte 0x1f stands for a line break. */
int engine_tokens(bool markdown, struct err *err);

#endif
