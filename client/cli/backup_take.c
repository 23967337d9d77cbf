/* Taking a backup: snapshots of all ranges at once, then their entries.
 *
 *   quire_snapshot() of each collection        every range at one seq, from now on
 *        |
 *   tasks, one for each range --> WORKERS threads: page after page -> lines -> blocks -> store
 *        |                             |
 *        |                             '-- lost (a shard died, a range was split or moved):
 *        |                                 another snapshot of what is left of the task; its part
 *        |                                 is read from the start
 *        '-- meanwhile the main thread keeps those alive that nobody reads yet
 *
 * A task is a stretch of the key space, [lo, hi). It ends up as one part, or as several, when the
 * range was split before it could be read. What was written of a part that was given up stays: the
 * next attempt makes the same blocks.
 *
 * A part that has the same cluster, range and seq as one of the backup before holds the same
 * entries: its blocks are checked and named again, and nothing is read from the cluster.
 */
#include "client/backup/chunker.h"
#include "client/backup/lines.h"
#include "client/cli/backup.h"
#include "client/cli/progress.h"
#include "proto/base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORKERS 4
#define PAGE_BYTES ((uint32_t)1 << 20)
#define PATIENCE_MS 120000 /* that a task may go without getting on */
#define AGAIN_MS 500       /* between two attempts */
#define KEEP_MS 15000      /* between two words for snapshots that wait */
#define LOOK_MS 100

/* A collection that is backed up. */
struct source {
    const struct quire_snapshot_result *taken;
    bool dropped;
};

struct task {
    size_t source;
    const char *lo, *hi;                   /* of the source's result */
    const struct quire_snapshot *snapshot; /* the first one */
    struct backup_part *parts;             /* malloc'd, as are their blocks and bounds */
    size_t part_count;
};

struct taking {
    struct cli *cli;
    struct backup_store *store;
    const struct backup_manifest *before;
    struct source *sources;
    size_t source_count;
    struct task *tasks;
    size_t task_count;
    struct backup_taken *out;

    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t next, ended; /* under `lock`, as is what follows */
    int status;         /* the first failure */
    char error[QUIRE_ERROR_SIZE];
    _Atomic uint64_t entries; /* read, for the bar */
};

/* ---- bounds ---- */

static bool hi_less(const char *a, const char *b)
{
    return b[0] == '\0' ? a[0] != '\0' : a[0] != '\0' && strcmp(a, b) < 0;
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        abort();
    return copy;
}

/* ---- a part ---- */

static void part_deinit(struct backup_part *part)
{
    free((char *)(uintptr_t)part->lo);
    free((char *)(uintptr_t)part->hi);
    free(part->blocks);
}

static void fail(struct taking *it, int status, const char *error)
{
    pthread_mutex_lock(&it->lock);
    if (it->status == QUIRE_OK) {
        it->status = status;
        snprintf(it->error, sizeof it->error, "%s", error);
    }
    pthread_mutex_unlock(&it->lock);
}

static bool has_failed(struct taking *it)
{
    pthread_mutex_lock(&it->lock);
    bool failed = it->status != QUIRE_OK;
    pthread_mutex_unlock(&it->lock);
    return failed;
}

/* A part that is being written. */
struct writing {
    struct taking *it;
    struct backup_part part;
    size_t capacity;
    struct chunker chunker;
    struct buf lines;
    uint64_t line_count;
    uint64_t counted; /* in taking.entries */
    bool ours;        /* what failed is the store */
};

static void count_entries(struct writing *w, uint64_t entries)
{
    w->counted += entries;
    atomic_fetch_add(&w->it->entries, entries);
}

static void add_block(struct writing *w, const struct backup_block *block, bool fresh)
{
    if (w->part.block_count == w->capacity) {
        w->capacity = 2 * w->capacity + 16;
        w->part.blocks = realloc(w->part.blocks, w->capacity * sizeof w->part.blocks[0]);
        if (w->part.blocks == NULL)
            abort();
    }
    w->part.blocks[w->part.block_count++] = *block;
    w->part.entries += block->entries;
    if (!fresh)
        return;
    pthread_mutex_lock(&w->it->lock);
    w->it->out->new_files++;
    w->it->out->new_size += block->size;
    pthread_mutex_unlock(&w->it->lock);
}

static int end_block(struct writing *w, struct err *err)
{
    struct backup_block block;
    bool fresh;
    if (w->line_count == 0)
        return 0;
    int code =
        backup_store_put(w->it->store, buf_bytes(&w->lines), w->line_count, &block, &fresh, err);
    if (code == 0)
        add_block(w, &block, fresh);
    buf_clear(&w->lines);
    w->line_count = 0;
    return code;
}

static int write_entry(struct writing *w, const struct quire_entry *entry, struct err *err)
{
    size_t before = w->lines.size;
    backup_line_write(entry, &w->lines);
    w->line_count++;
    return chunker_take(&w->chunker, entry->headword, entry->sense, w->lines.size - before)
               ? end_block(w, err)
               : 0;
}

static int write_page(struct writing *w, const struct quire_snapshot_page_result *page,
                      struct err *err)
{
    for (size_t i = 0; i < page->entry_count; i++)
        if (write_entry(w, page->entries[i], err) != 0)
            return err->code;
    count_entries(w, page->entry_count);
    return 0;
}

/* ---- the same as before ---- */

static const struct backup_part *find_before(const struct taking *it,
                                             const struct quire_snapshot *snapshot, const char *lo,
                                             const char *hi, const char *cluster)
{
    const struct backup_manifest *before = it->before;
    if (before == NULL || strcmp(before->cluster, cluster) != 0)
        return NULL;
    for (size_t i = 0; i < before->collection_count; i++) {
        const struct backup_collection *collection = &before->collections[i];
        for (size_t j = 0; j < collection->part_count; j++) {
            const struct backup_part *part = &collection->parts[j];
            if (part->range == snapshot->range && part->recovered == snapshot->recovered &&
                part->seq == snapshot->seq && strcmp(part->lo, lo) == 0 &&
                strcmp(part->hi, hi) == 0)
                return part;
        }
    }
    return NULL;
}

/* False: a block is damaged, so it has to be read again. */
static bool take_before(struct writing *w, const struct backup_part *before)
{
    for (size_t i = 0; i < before->block_count; i++) {
        struct err err = {0};
        if (backup_store_get(w->it->store, &before->blocks[i], &w->lines, &err) != 0) {
            w->part.block_count = 0;
            w->part.entries = 0;
            atomic_fetch_sub(&w->it->entries, w->counted);
            w->counted = 0;
            buf_clear(&w->lines);
            return false;
        }
        add_block(w, &before->blocks[i], false);
        count_entries(w, before->blocks[i].entries);
    }
    buf_clear(&w->lines);
    pthread_mutex_lock(&w->it->lock);
    w->it->out->same_parts++;
    pthread_mutex_unlock(&w->it->lock);
    return true;
}

/* ---- reading a snapshot ---- */

static void tell(struct taking *it, const struct quire_snapshot *snapshot,
                 enum quire_snapshot_what what)
{
    struct quire_snapshot_page_request request = QUIRE_SNAPSHOT_PAGE_INIT;
    request.node = snapshot->node;
    request.id = snapshot->id;
    request.what = what;
    quire_snapshot_page(it->cli->client, &request, NULL, NULL);
}

/* All pages of [lo, hi). */
static int read_pages(struct writing *w, const struct quire_snapshot *snapshot, const char *lo,
                      const char *hi, struct err *err)
{
    struct quire_snapshot_page_request request = QUIRE_SNAPSHOT_PAGE_INIT;
    const struct quire_snapshot_page_result *page = NULL, *last = NULL;
    int status = QUIRE_OK;
    request.node = snapshot->node;
    request.id = snapshot->id;
    request.from = lo;
    request.from_size = strlen(lo);
    request.to = hi;
    request.limit_bytes = PAGE_BYTES;
    request.timeout_ms = w->it->cli->timeout_ms;
    do {
        status = has_failed(w->it) ? QUIRE_CANCELED
                                   : quire_snapshot_page_wait(w->it->cli->client, &request, &page);
        if (status == QUIRE_CANCELED)
            break;
        quire_result_free(last);
        last = page; /* request.from points into it */
        if (status != QUIRE_OK) {
            err_set(err, status, "%s", page != NULL ? page->error : "");
            break;
        }
        status = write_page(w, page, err);
        w->ours = status != QUIRE_OK;
        request.from = page->next;
        request.from_size = page->next_size;
    } while (status == QUIRE_OK && request.from_size > 0);
    quire_result_free(last);
    return status;
}

/* A failure of the store is ours, and final: `*ours`. */
static int read_part(struct taking *it, struct task *task, const struct quire_snapshot *snapshot,
                     const char *lo, const char *hi, bool *ours, struct err *err)
{
    const char *cluster = it->sources[task->source].taken->cluster_id;
    struct writing w = {.it = it};
    const struct backup_part *before = find_before(it, snapshot, lo, hi, cluster);
    int status = QUIRE_OK;
    w.part = (struct backup_part){.lo = copy_text(lo),
                                  .hi = copy_text(hi),
                                  .range = snapshot->range,
                                  .epoch = snapshot->epoch,
                                  .recovered = snapshot->recovered,
                                  .seq = snapshot->seq};
    if (before == NULL || !take_before(&w, before)) {
        status = read_pages(&w, snapshot, lo, hi, err);
        if (status == QUIRE_OK) {
            status = end_block(&w, err);
            w.ours = status != QUIRE_OK;
        }
    }
    *ours = w.ours;
    buf_deinit(&w.lines);
    if (status != QUIRE_OK) {
        atomic_fetch_sub(&it->entries, w.counted);
        part_deinit(&w.part);
        return status;
    }
    tell(it, snapshot, QUIRE_SNAPSHOT_RELEASE);
    task->parts = realloc(task->parts, (task->part_count + 1) * sizeof task->parts[0]);
    if (task->parts == NULL)
        abort();
    task->parts[task->part_count++] = w.part;
    return QUIRE_OK;
}

/* ---- tasks ---- */

static bool may_pass(int status)
{
    return status == QUIRE_NOT_FOUND || status == QUIRE_UNAVAILABLE || status == QUIRE_DEADLINE ||
           status == QUIRE_STALE || status == QUIRE_INCOMPLETE || status == QUIRE_FULL ||
           status == QUIRE_OVERLOADED || status == QUIRE_CORRUPT || status == QUIRE_IO;
}

static void pause_ms(uint32_t ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static int take_snapshot(struct taking *it, const char *collection, const char *lo, const char *hi,
                         const struct quire_snapshot_result **out)
{
    struct quire_snapshot_request request = QUIRE_SNAPSHOT_INIT;
    request.collection = collection;
    request.lo = lo;
    request.hi = hi;
    request.timeout_ms = it->cli->timeout_ms;
    return quire_snapshot_wait(it->cli->client, &request, out);
}

/* What a task is at. */
struct stretch {
    const char *at;                          /* it is read up to here */
    const struct quire_snapshot_result *own; /* taken anew; NULL: none */
    const struct quire_snapshot *const *list;
    size_t count;
    uint64_t got_on_ms;
};

/* Reads what the snapshots at hand hold. */
static int read_list(struct taking *it, struct task *task, struct stretch *s, bool *ours,
                     struct err *err)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct quire_snapshot *snapshot = s->list[i];
        const char *hi = hi_less(snapshot->hi, task->hi) ? snapshot->hi : task->hi;
        int status = read_part(it, task, snapshot, s->at, hi, ours, err);
        if (status != QUIRE_OK)
            return status;
        s->at = task->parts[task->part_count - 1].hi;
        s->got_on_ms = clock_ms();
    }
    return QUIRE_OK;
}

/* Other snapshots, of what is left. */
static int take_anew(struct taking *it, struct task *task, struct stretch *s, struct err *err)
{
    struct source *source = &it->sources[task->source];
    const struct quire_snapshot_result *result = NULL;
    int status = take_snapshot(it, source->taken->collection->name, s->at, task->hi, &result);
    if (status != QUIRE_OK)
        err_set(err, status, "%s", result != NULL ? result->error : "");
    if (status == QUIRE_NOT_FOUND ||
        (status == QUIRE_OK && result->collection_id != source->taken->collection_id)) {
        pthread_mutex_lock(&it->lock);
        source->dropped = true;
        pthread_mutex_unlock(&it->lock);
    }
    if (status != QUIRE_OK) {
        quire_result_free(result);
        s->count = 0;
        return status;
    }
    quire_result_free(s->own);
    s->own = result;
    s->list = result->snapshots;
    s->count = result->snapshot_count;
    pthread_mutex_lock(&it->lock);
    it->out->again++;
    pthread_mutex_unlock(&it->lock);
    return QUIRE_OK;
}

static bool is_dropped(struct taking *it, const struct task *task)
{
    pthread_mutex_lock(&it->lock);
    bool dropped = it->sources[task->source].dropped;
    pthread_mutex_unlock(&it->lock);
    return dropped;
}

static void run_task(struct taking *it, struct task *task)
{
    struct stretch s = {
        .at = task->lo, .list = &task->snapshot, .count = 1, .got_on_ms = clock_ms()};
    struct err err = {0};
    bool ours = false;
    int status = read_list(it, task, &s, &ours, &err);
    while (status != QUIRE_OK && !ours && may_pass(status) && !has_failed(it) &&
           !is_dropped(it, task) && clock_ms() - s.got_on_ms < PATIENCE_MS) {
        pause_ms(AGAIN_MS);
        /* A bound of a part that is kept: the list it came from may go. */
        s.at = task->part_count > 0 ? task->parts[task->part_count - 1].hi : task->lo;
        status = take_anew(it, task, &s, &err);
        if (status == QUIRE_OK && !is_dropped(it, task))
            status = read_list(it, task, &s, &ours, &err);
    }
    quire_result_free(s.own);
    if (status != QUIRE_OK && status != QUIRE_CANCELED && !is_dropped(it, task))
        fail(it, status, err.text);
}

static void *work(void *data)
{
    struct taking *it = data;
    for (;;) {
        pthread_mutex_lock(&it->lock);
        struct task *task =
            it->next < it->task_count && it->status == QUIRE_OK ? &it->tasks[it->next++] : NULL;
        pthread_mutex_unlock(&it->lock);
        if (task == NULL)
            return NULL;
        if (!is_dropped(it, task))
            run_task(it, task);
        pthread_mutex_lock(&it->lock);
        it->ended++;
        pthread_cond_signal(&it->moved);
        pthread_mutex_unlock(&it->lock);
    }
}

/* Waits until all tasks have ended, or one has failed. */
static void watch(struct taking *it)
{
    struct progress bar;
    uint64_t total = 0, kept_ms = clock_ms();
    for (size_t i = 0; i < it->task_count; i++)
        total += it->tasks[i].snapshot->entries;
    progress_start(&bar, "backing up", total);
    pthread_mutex_lock(&it->lock);
    while (it->ended < it->task_count && it->status == QUIRE_OK) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&it->moved, &it->lock, &until);
        size_t next = it->next;
        pthread_mutex_unlock(&it->lock);
        uint64_t entries = atomic_load(&it->entries);
        progress_update(&bar, entries, entries);
        if (clock_ms() - kept_ms >= KEEP_MS) {
            kept_ms = clock_ms();
            for (size_t i = next; i < it->task_count; i++)
                tell(it, it->tasks[i].snapshot, QUIRE_SNAPSHOT_KEEP);
        }
        pthread_mutex_lock(&it->lock);
    }
    pthread_mutex_unlock(&it->lock);
    progress_stop(&bar);
}

static void run_tasks(struct taking *it)
{
    pthread_t threads[WORKERS];
    size_t count = 0, wanted = it->task_count < WORKERS ? it->task_count : WORKERS;
    while (count < wanted && pthread_create(&threads[count], NULL, work, it) == 0)
        count++;
    if (count == 0 && wanted > 0)
        fail(it, QUIRE_NOMEM, "cannot start a thread");
    watch(it);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* ---- the beginning and the end ---- */

static int take_source(struct taking *it, const char *name, bool only)
{
    const struct quire_snapshot_result *result = NULL;
    int status = take_snapshot(it, name, NULL, NULL, &result);
    if (status == QUIRE_NOT_FOUND && !only) { /* dropped since it was listed */
        quire_result_free(result);
        return QUIRE_OK;
    }
    if (status != QUIRE_OK) {
        fail(it, status, result != NULL ? result->error : "");
        quire_result_free(result);
        return status;
    }
    it->sources = realloc(it->sources, (it->source_count + 1) * sizeof it->sources[0]);
    it->tasks =
        realloc(it->tasks, (it->task_count + result->snapshot_count + 1) * sizeof it->tasks[0]);
    if (it->sources == NULL || it->tasks == NULL)
        abort();
    for (size_t i = 0; i < result->snapshot_count; i++)
        it->tasks[it->task_count++] = (struct task){.source = it->source_count,
                                                    .lo = result->snapshots[i]->lo,
                                                    .hi = result->snapshots[i]->hi,
                                                    .snapshot = result->snapshots[i]};
    it->sources[it->source_count++] = (struct source){.taken = result};
    return QUIRE_OK;
}

static int take_sources(struct taking *it, const char *only)
{
    struct quire_simple_request request = QUIRE_SIMPLE_INIT;
    const struct quire_collections_result *result = NULL;
    if (only != NULL)
        return take_source(it, only, true);
    request.timeout_ms = it->cli->timeout_ms;
    int status = quire_collection_list_wait(it->cli->client, &request, &result);
    if (status != QUIRE_OK)
        fail(it, status, result != NULL ? result->error : "");
    for (size_t i = 0; status == QUIRE_OK && i < result->collection_count; i++)
        status = take_source(it, result->collections[i]->name, false);
    quire_result_free(result);
    return status;
}

static void *take(struct backup_taken *out, size_t count, size_t size)
{
    void *memory = arena_calloc(&out->arena, count + 1, size);
    if (memory == NULL)
        abort(); /* the arenas used here have no limit */
    return memory;
}

static void add_part(struct backup_taken *out, struct backup_collection *to,
                     const struct backup_part *from)
{
    struct backup_part *part = &to->parts[to->part_count++];
    *part = *from;
    part->lo = arena_strdup(&out->arena, from->lo);
    part->hi = arena_strdup(&out->arena, from->hi);
    part->blocks = take(out, from->block_count, sizeof part->blocks[0]);
    if (from->block_count > 0)
        memcpy(part->blocks, from->blocks, from->block_count * sizeof part->blocks[0]);
    to->entries += part->entries;
    out->parts++;
    out->entries += part->entries;
    for (size_t i = 0; i < part->block_count; i++) {
        out->files++;
        out->size += part->blocks[i].size;
        out->bytes += part->blocks[i].bytes;
    }
}

static void add_collection(struct taking *it, size_t source)
{
    struct backup_taken *out = it->out;
    const struct quire_collection *from = it->sources[source].taken->collection;
    struct backup_collection *to = &out->manifest.collections[out->manifest.collection_count++];
    size_t parts = 0;
    for (size_t i = 0; i < it->task_count; i++)
        parts += it->tasks[i].source == source ? it->tasks[i].part_count : 0;
    *to = (struct backup_collection){.name = arena_strdup(&out->arena, from->name),
                                     .language = arena_strdup(&out->arena, from->language),
                                     .weight_headword = from->weight_headword,
                                     .weight_terms = from->weight_terms,
                                     .weight_categories = from->weight_categories,
                                     .weight_body = from->weight_body,
                                     .k1 = from->k1,
                                     .b = from->b,
                                     .by_category = from->order == QUIRE_ORDER_CATEGORY,
                                     .replicas = from->replicas,
                                     .parts = take(out, parts, sizeof to->parts[0])};
    for (size_t i = 0; i < it->task_count; i++)
        for (size_t j = 0; it->tasks[i].source == source && j < it->tasks[i].part_count; j++)
            add_part(out, to, &it->tasks[i].parts[j]);
}

static void make_manifest(struct taking *it, const char *only)
{
    struct backup_manifest *manifest = &it->out->manifest;
    char software[64];
    snprintf(software, sizeof software, "quire %s", quire_version());
    manifest->software = arena_strdup(&it->out->arena, software);
    manifest->cluster =
        arena_strdup(&it->out->arena, it->source_count > 0 ? it->sources[0].taken->cluster_id : "");
    manifest->collections = take(it->out, it->source_count, sizeof manifest->collections[0]);
    for (size_t i = 0; i < it->source_count && it->status == QUIRE_OK; i++) {
        const char *name = it->sources[i].taken->collection->name;
        if (it->sources[i].dropped && only != NULL)
            fail(it, QUIRE_NOT_FOUND, "the collection was dropped meanwhile");
        else if (it->sources[i].dropped)
            cli_say(it->cli, "collection %s was dropped meanwhile: the backup is without it", name);
        else
            add_collection(it, i);
    }
    manifest->ended = (uint64_t)time(NULL);
}

int backup_take(struct cli *cli, struct backup_store *store, const char *only,
                const struct backup_manifest *before, struct backup_taken *out,
                char error[QUIRE_ERROR_SIZE])
{
    struct taking it = {.cli = cli,
                        .store = store,
                        .before = before,
                        .out = out,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .moved = PTHREAD_COND_INITIALIZER};
    *out = (struct backup_taken){.manifest.began = (uint64_t)time(NULL)};
    arena_init(&out->arena, 0);
    if (take_sources(&it, only) == QUIRE_OK)
        run_tasks(&it);
    if (it.status == QUIRE_OK)
        make_manifest(&it, only);
    for (size_t i = 0; i < it.task_count; i++) {
        for (size_t j = 0; j < it.tasks[i].part_count; j++)
            part_deinit(&it.tasks[i].parts[j]);
        free(it.tasks[i].parts);
    }
    for (size_t i = 0; i < it.source_count; i++)
        quire_result_free(it.sources[i].taken);
    free(it.tasks);
    free(it.sources);
    memcpy(error, it.error, QUIRE_ERROR_SIZE);
    pthread_mutex_destroy(&it.lock);
    pthread_cond_destroy(&it.moved);
    return it.status;
}

void backup_taken_deinit(struct backup_taken *taken)
{
    arena_deinit(&taken->arena);
}
