/* Filling the range: lines become entries, in batches such as an import sends. What the ingest
 * threads of a shard do beforehand (analysis), the committer (apply) and the background threads
 * (flush, merge) comes one after the other here, so that the CPU time of each can be told. */
#include "coordinator/defaults.h"
#include "tests/bench/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 1000

struct fill {
    struct engine *engine;
    struct analyzer *analyzer;
    struct arena arena; /* of the batch */
    struct range_op ops[BATCH];
    struct range_result results[BATCH];
    size_t count;
    uint64_t seq, put, failed, text_bytes;
    double analysis, apply, flush, merge; /* CPU seconds of this thread */
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory");
}

static double lap(double *since)
{
    double now = engine_thread_seconds(), took = now - *since;
    *since = now;
    return took;
}

/* What a shard does in the background. */
static int maintain(struct fill *fill, struct err *err)
{
    struct range *range = fill->engine->range;
    double since = engine_thread_seconds();
    if (!range_wants_flush(range))
        return 0;
    int code = range_flush(range, err);
    fill->flush += lap(&since);
    for (bool merged = true; code == 0 && merged && range_wants_merge(range);)
        code = range_merge(range, false, &merged, err);
    fill->merge += lap(&since);
    return code;
}

static int apply(struct fill *fill, struct err *err)
{
    if (fill->count == 0)
        return 0;
    double since = engine_thread_seconds();
    int code = range_apply(fill->engine->range, fill->ops, fill->count, fill->results, err);
    fill->apply += lap(&since);
    for (size_t i = 0; i < fill->count && code == 0; i++) {
        if (fill->results[i].outcome != QUIRE__WRITE_RESULT__OUTCOME__FAILED) {
            fill->put++;
        } else if (fill->failed++ == 0) {
            fprintf(stderr, "quire-engine: an entry was refused: %s\n",
                    fill->results[i].error.text);
        }
    }
    fill->count = 0;
    arena_deinit(&fill->arena);
    return code == 0 ? maintain(fill, err) : code;
}

static int add(struct fill *fill, Quire__WriteOp *op, struct document *document, struct err *err)
{
    fill->ops[fill->count++] = (struct range_op){++fill->seq, op, document};
    return fill->count == BATCH ? apply(fill, err) : 0;
}

/* ---- index ---- */

static Quire__WriteOp *new_op(struct arena *arena)
{
    Quire__WriteOp *op = arena_alloc(arena, sizeof *op);
    if (op != NULL)
        quire__write_op__init(op);
    return op;
}

/* `list` is "name|name...". False: no memory. */
static bool add_categories(struct arena *arena, Quire__Entry *entry, const char *list)
{
    char *at = arena_strdup(arena, list);
    if (at == NULL)
        return false;
    entry->categories = arena_alloc(arena, (strlen(at) + 1) * sizeof *entry->categories);
    for (char *rest = at, *name; entry->categories != NULL && (name = strsep(&rest, "|")) != NULL;)
        if (*name != 0)
            entry->categories[entry->n_categories++] = name;
    return entry->categories != NULL;
}

/* The number of the line goes along as an attribute: hits are named by it. */
static Quire__Entry *new_entry(struct arena *arena, const char *id, const char *text,
                               const char *categories, const char *number)
{
    Quire__Entry *entry = arena_alloc(arena, sizeof *entry);
    Quire__Attribute *line = arena_alloc(arena, sizeof *line);
    Quire__Attribute **attributes = arena_alloc(arena, sizeof *attributes);
    if (entry == NULL || line == NULL || attributes == NULL)
        return NULL;
    quire__entry__init(entry);
    quire__attribute__init(line);
    entry->headword = arena_strdup(arena, id);
    entry->body = arena_strdup(arena, text);
    line->name = (char *)"line";
    line->value = arena_strdup(arena, number);
    attributes[0] = line;
    entry->attributes = attributes;
    entry->n_attributes = 1;
    if (categories != NULL && !add_categories(arena, entry, categories))
        return NULL;
    return entry->headword != NULL && entry->body != NULL && line->value != NULL ? entry : NULL;
}

static int add_line(struct fill *fill, char *line, struct err *err)
{
    char *id = strchr(line, '\t'), *text = id == NULL ? NULL : strchr(id + 1, '\t');
    if (text == NULL)
        return err_set(err, ERR_INVALID, "line %llu is not N<TAB>id<TAB>text",
                       (unsigned long long)fill->seq + 1);
    *id++ = *text++ = 0;
    char *categories = strchr(text, '\t');
    if (categories != NULL)
        *categories++ = 0;
    struct arena *arena = &fill->arena;
    Quire__WriteOp *op = new_op(arena);
    struct document *document = arena_alloc(arena, sizeof *document);
    if (op == NULL || document == NULL ||
        (op->put = new_entry(arena, id, text, categories, line)) == NULL)
        return no_memory(err);
    fill->text_bytes += strlen(id) + strlen(text);
    if (entry_validate(op->put, NULL) != 0)
        return add(fill, op, NULL, err); /* applying it says why */
    double since = engine_thread_seconds();
    int code = document_analyze(fill->analyzer, &engine_weights, op->put, arena, document, err);
    fill->analysis += lap(&since);
    return code == 0 ? add(fill, op, document, err) : code;
}

static int read_lines(struct fill *fill, FILE *file, struct err *err)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    int code = 0;
    while (code == 0 && (size = getline(&line, &capacity, file)) >= 0) {
        if (size > 0 && line[size - 1] == '\n')
            line[--size] = 0;
        code = add_line(fill, line, err);
    }
    if (code == 0 && ferror(file))
        code = err_set(err, ERR_IO, "cannot read the documents: %s", strerror(errno));
    free(line);
    return code == 0 ? apply(fill, err) : code;
}

/* Not getrusage(): that counts what the process was before it became this program, too. */
static double peak_megabytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kilobytes = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kilobytes = strtod(line + 6, NULL);
    if (file != NULL)
        (void)fclose(file);
    return kilobytes / 1024;
}

static void report(const struct fill *fill, double wall)
{
    double all = engine_process_seconds(), own = engine_thread_seconds();
    double known = fill->analysis + fill->apply + fill->flush + fill->merge;
    printf("read         %llu entries, %llu refused, %.1f MB\n", (unsigned long long)fill->put,
           (unsigned long long)fill->failed, (double)fill->text_bytes / 1e6);
    printf("wall         %.2f s\n", wall);
    printf("CPU          %.2f s: analysis %.2f, apply %.2f, flush %.2f, merge %.2f, reading %.2f, "
           "RocksDB's threads %.2f\n",
           all, fill->analysis, fill->apply, fill->flush, fill->merge, own - known, all - own);
    printf("peak RSS     %.0f MB\n", peak_megabytes());
}

/* The last flush, and the merges it brings. */
static int finish(struct fill *fill, struct err *err)
{
    double since = engine_thread_seconds();
    int code = range_flush(fill->engine->range, err);
    fill->flush += lap(&since);
    if (code == 0)
        code = engine_settle(fill->engine, false, err);
    fill->merge += lap(&since);
    return code;
}

static struct fill *new_fill(struct engine *engine, struct err *err)
{
    struct fill *fill = calloc(1, sizeof *fill);
    if (fill == NULL) {
        (void)no_memory(err);
        return NULL;
    }
    fill->engine = engine;
    fill->seq = range_applied_seq(engine->range);
    arena_init(&fill->arena, 0);
    return fill;
}

int engine_index(struct engine *engine, const char *path, struct err *err)
{
    double start = engine_wall_seconds();
    FILE *file = path == NULL ? stdin : fopen(path, "rb");
    if (file == NULL)
        return err_set(err, ERR_IO, "cannot open %s: %s", path, strerror(errno));
    struct fill *fill = new_fill(engine, err);
    int code = fill == NULL ? ERR_NOMEM : analyzer_create(DEFAULT_LANGUAGE, &fill->analyzer, err);
    if (code == 0)
        code = read_lines(fill, file, err);
    if (code == 0)
        code = finish(fill, err);
    if (code == 0) {
        report(fill, engine_wall_seconds() - start);
        engine_print_sizes(engine);
    }
    if (fill != NULL) {
        analyzer_destroy(fill->analyzer);
        arena_deinit(&fill->arena);
    }
    free(fill);
    if (file != stdin)
        (void)fclose(file);
    return code;
}

/* ---- delete ---- */

static int delete_entry(struct fill *fill, struct bytes key, struct err *err)
{
    Quire__Entry *entry;
    int code = range_get(fill->engine->range, key, &fill->arena, &entry, err);
    if (code != 0)
        return code;
    if (entry == NULL)
        return err_set(err, ERR_CORRUPT, "an entry without a row");
    Quire__WriteOp *op = new_op(&fill->arena);
    if (op == NULL)
        return no_memory(err);
    op->delete_headword = entry->headword;
    op->delete_sense = entry->sense;
    return add(fill, op, NULL, err);
}

int engine_delete(struct engine *engine, uint64_t nth, struct err *err)
{
    struct fill *fill = new_fill(engine, err);
    if (fill == NULL)
        return ERR_NOMEM;
    struct bytes all = {0};
    struct store_iterator *rows = store_iterate(range_store(engine->range), STORE_ENTRY, all, all);
    int code = 0;
    for (uint64_t i = 1; code == 0 && store_iterator_valid(rows); i++, store_iterator_next(rows))
        if (i % nth == 0)
            code = delete_entry(fill, store_iterator_key(rows), err);
    if (code == 0)
        code = store_iterator_status(rows, err);
    store_iterator_close(rows);
    if (code == 0)
        code = apply(fill, err);
    if (code == 0)
        code = range_flush(engine->range, err);
    if (code == 0)
        printf("deleted      %llu entries\n", (unsigned long long)fill->put);
    arena_deinit(&fill->arena);
    free(fill);
    return code;
}
