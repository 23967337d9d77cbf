/* Merge: several segments become one, without what is dead in them.
 *
 * Only documents that are dead as of durable_seq are dropped: what died later could be alive again
 * after a recovery, which takes operations back to durable_seq. Documents that died later, or die
 * while the merge runs, are dead documents of the new segment.
 *
 * A merge gives way between two pieces of what it writes, about every MiB: to one flush (or
 * verification) that waits, and then to its pace (merge_pace.h), for which it lets go of
 * `background` altogether, so that a flush comes as if there were no merge. What happens meanwhile
 * does not concern it: its inputs stay, and what dies in them is noted (`merging`). From the moment
 * when it begins to show until its places are written it does not give way.
 *
 *   write    the new segment, from the inputs and what is durably dead in them when it begins
 *   show     (holding `apply`) one store batch with the manifest (same durable_seq, other segments)
 *            and the dead documents of the new segment as of durable_seq; readers see it instead of
 *            its inputs. Places that still name an input are translated by a table in memory.
 *   durable  store_flush()
 *   places   rows of `place` are rewritten, some hundred at a time, each time holding `apply`;
 *            until that is durable the manifest says "places pending", and a recovery does it
 *   reap     the inputs' rows go once no view reads them any more
 */
#include "shard/range_internal.h"

#include "proto/base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MERGE_FANOUT 6               /* segments of like size that are merged */
#define MERGE_WIDTH_MAX 12           /* segments merged at once, unless all are */
#define MERGE_TIER 4                 /* like size: within this factor */
#define MERGE_SMALL 2000             /* segments below so many documents count as of like size */
#define MERGE_FLUSH_BYTES (16 << 20) /* written between two flushes of the store */
#define PLACES_CHUNK 512

struct input {
    uint64_t id;
    struct segment *segment; /* referenced */
    struct live *dead;       /* dropped: as of the durable_seq when the merge began */
};

struct merge {
    struct range *range;
    bool limited; /* by the pace */
    struct input *inputs;
    uint32_t count;
    uint64_t id; /* of the new segment */
    uint32_t **remap;
    size_t written;          /* since the last store_flush */
    struct segment *segment; /* the new one; NULL when nothing lives */
    struct live *dead, *durable_dead;
    struct dead_terms *dead_terms, *recent;
};

/* ---- policy ---- */

struct candidate {
    uint32_t index; /* in range->segments */
    uint64_t live, documents;
};

static int by_live(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->live != y->live)
        return x->live < y->live ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_index(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

static uint32_t collect(struct range *range, struct candidate *out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < range->segment_count; i++) {
        const struct range_segment *segment = &range->segments[i];
        if (!segment->on_disk)
            continue;
        out[count].index = i;
        out[count].documents = segment->doc_limit;
        out[count++].live = segment->doc_limit - live_dead_count(segment->durable_dead);
    }
    return count;
}

/* Moves the chosen ones to the front, oldest first; returns how many. Holder of `apply`. */
static uint32_t choose(struct candidate *all, uint32_t count, bool everything)
{
    if (everything) {
        bool worth = count > 1 || (count == 1 && all[0].live < all[0].documents);
        return worth ? count : 0;
    }
    qsort(all, count, sizeof all[0], by_live);
    for (uint32_t first = 0; first < count; first++) {
        uint64_t like =
            MERGE_TIER * (all[first].live > MERGE_SMALL ? all[first].live : MERGE_SMALL);
        uint32_t width = 1;
        while (first + width < count && width < MERGE_WIDTH_MAX && all[first + width].live <= like)
            width++;
        if (width < MERGE_FANOUT)
            continue;
        memmove(all, all + first, width * sizeof all[0]);
        qsort(all, width, sizeof all[0], by_index);
        return width;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (2 * all[i].live > all[i].documents)
            continue;
        all[0] = all[i]; /* mostly dead: rewritten by itself */
        return 1;
    }
    return 0;
}

static struct candidate *candidates(struct range *range, bool everything, uint32_t *count)
{
    struct candidate *all = calloc(range->segment_count + 1, sizeof all[0]);
    if (all == NULL)
        abort();
    *count = choose(all, collect(range, all), everything);
    return all;
}

bool range_wants_merge(struct range *range)
{
    uint32_t count;
    pthread_mutex_lock(&range->lock);
    free(candidates(range, false, &count));
    pthread_mutex_unlock(&range->lock);
    return count > 0;
}

/* Behind: see RANGE_BEHIND. */
void range_count_segments(struct range *range)
{
    uint32_t on_disk = 0;
    if (range->settings.merge_pace == NULL)
        return;
    bool can = range_broken(range, NULL) == 0 && range_wants_merge(range);
    pthread_mutex_lock(&range->lock);
    for (uint32_t i = 0; i < range->segment_count; i++)
        on_disk += range->segments[i].on_disk;
    pthread_mutex_unlock(&range->lock);
    bool behind = can && on_disk >= (range->behind ? RANGE_CAUGHT_UP + 1 : RANGE_BEHIND);
    if (behind != range->behind)
        merge_pace_behind(range->settings.merge_pace, behind);
    range->behind = behind;
}

/* ---- write ---- */

static void add_terms(void *data, uint8_t field, struct bytes token, uint32_t count)
{
    dead_terms_add(data, field, token, count);
}

/* Holder of `apply`. */
static void begin(struct merge *merge, const struct candidate *chosen, uint32_t count)
{
    struct range *range = merge->range;
    merge->count = count;
    merge->inputs = calloc(count, sizeof merge->inputs[0]);
    merge->remap = calloc(count, sizeof merge->remap[0]);
    if (merge->inputs == NULL || merge->remap == NULL)
        abort();
    merge->id = range->next_segment++;
    for (uint32_t i = 0; i < count; i++) {
        struct range_segment *from = &range->segments[chosen[i].index];
        merge->inputs[i] = (struct input){from->segment->id, from->segment, from->durable_dead};
        segment_ref(from->segment);
        if (from->durable_dead != NULL)
            live_ref(from->durable_dead);
        assert(from->merging == NULL);
        from->merging = dead_terms_create();
        if (from->merging == NULL)
            abort();
        if (from->recent != NULL)
            dead_terms_each(from->recent, add_terms, from->merging);
    }
}

/* One visit at most, however many wait: else a range that is always being flushed is never merged.
 */
static void let_pass(struct range *range)
{
    uint64_t visits = range->visits;
    while (range->visits == visits && atomic_load(&range->guests) > 0)
        pthread_cond_wait(&range->visited, &range->background);
}

static void keep_pace(struct range *range, size_t bytes)
{
    pthread_mutex_unlock(&range->background);
    merge_pace_take(range->settings.merge_pace, bytes, &range->stopping);
    pthread_mutex_lock(&range->background);
}

static bool pause_merge(void *data, size_t bytes)
{
    struct merge *merge = data;
    struct range *range = merge->range;
    let_pass(range);
    if (merge->limited)
        keep_pace(range, bytes);
    if (atomic_load(&range->stopping) || range_broken(range, NULL) != 0)
        return false;
    merge->written += bytes;
    if (merge->written < MERGE_FLUSH_BYTES)
        return true;
    merge->written = 0;
    return store_flush(range->store, NULL) == 0;
}

static int write_segment(struct merge *merge, struct err *err)
{
    uint64_t live = 0;
    struct view_segment *sources = calloc(merge->count, sizeof sources[0]);
    if (sources == NULL)
        abort();
    for (uint32_t i = 0; i < merge->count; i++) {
        uint32_t documents = disk_segment_documents(merge->inputs[i].segment);
        sources[i] = (struct view_segment){.segment = merge->inputs[i].segment,
                                           .doc_limit = documents,
                                           .dead = merge->inputs[i].dead};
        live += documents - live_dead_count(merge->inputs[i].dead);
    }
    int code = 0;
    if (live > 0)
        code = disk_segment_write_by(merge->range->settings.order, merge->range->store, merge->id,
                                     sources, merge->count, merge->remap, pause_merge, merge, err);
    if (live > 0 && code == 0)
        code = disk_segment_open(merge->range->store, merge->id, &merge->segment, err);
    free(sources);
    return code;
}

/* ---- show ---- */

/* What is dead in the new segment, given what is dead in its inputs. */
static struct live *map_dead(const struct merge *merge, bool durable)
{
    uint32_t *docs = NULL;
    size_t count = 0, capacity = 0;
    for (uint32_t i = 0; i < merge->count && merge->segment != NULL; i++) {
        const struct range_segment *from = range_find_segment(merge->range, merge->inputs[i].id);
        const struct live *dead = durable ? from->durable_dead : from->dead;
        if (live_dead_count(dead) == live_dead_count(merge->inputs[i].dead))
            continue;
        for (uint32_t doc = 0; doc < from->doc_limit; doc++) {
            if (!live_is_dead(dead, doc) || merge->remap[i][doc] == POSTING_END)
                continue;
            if (count == capacity) {
                capacity = capacity == 0 ? 64 : 2 * capacity;
                docs = realloc(docs, capacity * sizeof docs[0]);
                if (docs == NULL)
                    abort();
            }
            docs[count++] = merge->remap[i][doc];
        }
    }
    struct live *out = count > 0 ? live_with(NULL, docs, count) : NULL;
    free(docs);
    return out;
}

static struct dead_terms *add_all(struct dead_terms *to, struct dead_terms *from)
{
    if (from == NULL || dead_terms_count(from) == 0)
        return to;
    if (to == NULL)
        to = dead_terms_create();
    if (to == NULL)
        abort();
    dead_terms_each(from, add_terms, to);
    return to;
}

struct durable_writer {
    struct merge *merge;
    struct store_batch *batch;
};

/* The row of a token of the new segment: what died in its documents up to durable_seq. */
static void write_durable_term(void *data, uint8_t field, struct bytes token, uint32_t count)
{
    struct durable_writer *writer = data;
    uint32_t recent = dead_terms_get(writer->merge->recent, field, token);
    struct buf key = {0}, value = {0};
    assert(recent <= count);
    if (recent == count)
        return;
    manifest_dead_term_key(writer->merge->id, field, token, &key);
    buf_append_varint(&value, count - recent);
    store_batch_put(writer->batch, writer->merge->range->store, STORE_DEAD, buf_bytes(&key),
                    buf_bytes(&value));
    buf_deinit(&key);
    buf_deinit(&value);
}

static void forget_dead(struct range *range, uint64_t segment, struct store_batch *batch)
{
    struct buf from = {0}, to = {0};
    buf_append_be64(&from, segment);
    buf_append_be64(&to, segment + 1);
    store_batch_delete_range(batch, range->store, STORE_DEAD, buf_bytes(&from), buf_bytes(&to));
    buf_deinit(&from);
    buf_deinit(&to);
}

static bool is_input(const struct merge *merge, uint64_t id)
{
    for (uint32_t i = 0; i < merge->count; i++)
        if (merge->inputs[i].id == id)
            return true;
    return false;
}

static void put_manifest(const struct merge *merge, struct store_batch *batch)
{
    struct range *range = merge->range;
    struct manifest_segment *segments = calloc(range->segment_count + 1, sizeof segments[0]);
    if (segments == NULL)
        abort();
    uint32_t count = 0;
    bool placed = merge->segment == NULL;
    for (uint32_t i = 0; i < range->segment_count; i++) {
        const struct range_segment *segment = &range->segments[i];
        if (is_input(merge, segment->segment->id)) {
            if (!placed)
                segments[count++] = (struct manifest_segment){merge->id, true};
            placed = true;
        } else if (segment->on_disk) {
            segments[count++] =
                (struct manifest_segment){segment->segment->id, segment->places_pending};
        }
    }
    range_manifest_put(range, &range->durable, segments, count, range->next_segment, batch);
    free(segments);
}

static int write_rows(struct merge *merge, struct err *err)
{
    struct range *range = merge->range;
    struct store_batch *batch = store_batch_create();
    struct durable_writer writer = {merge, batch};
    if (merge->segment != NULL && merge->dead_terms != NULL)
        dead_terms_each(merge->dead_terms, write_durable_term, &writer);
    if (merge->durable_dead != NULL) {
        struct buf key = {0}, image = {0};
        manifest_dead_key(merge->id, &key);
        live_encode(merge->durable_dead, &image);
        store_batch_put(batch, range->store, STORE_DEAD, buf_bytes(&key), buf_bytes(&image));
        buf_deinit(&key);
        buf_deinit(&image);
    }
    for (uint32_t i = 0; i < merge->count; i++)
        forget_dead(range, merge->inputs[i].id, batch);
    put_manifest(merge, batch);
    int code = store_write(range->store, batch, err);
    store_batch_destroy(batch);
    return code;
}

static void set_remap(struct merge *merge)
{
    struct range_remap *remap = &merge->range->remap;
    *remap = (struct range_remap){.to = merge->id};
    if (merge->segment == NULL)
        return;
    remap->source = calloc(merge->count, sizeof remap->source[0]);
    if (remap->source == NULL)
        abort();
    remap->count = merge->count;
    for (uint32_t i = 0; i < merge->count; i++) {
        remap->source[i].from = merge->inputs[i].id;
        remap->source[i].documents = disk_segment_documents(merge->inputs[i].segment);
        remap->source[i].map = merge->remap[i];
    }
}

static void retire(struct range *range, struct segment *segment)
{
    if (range->retired_count == range->retired_capacity) {
        range->retired_capacity = range->retired_capacity == 0 ? 16 : 2 * range->retired_capacity;
        range->retired =
            realloc(range->retired, range->retired_capacity * sizeof range->retired[0]);
        if (range->retired == NULL)
            abort();
    }
    segment_ref(segment);
    range->retired[range->retired_count++] = segment;
}

/* The new segment stands where the first of its inputs stood. */
static void replace_inputs(struct merge *merge)
{
    struct range *range = merge->range;
    uint32_t kept = 0;
    bool placed = merge->segment == NULL;
    pthread_mutex_lock(&range->lock);
    for (uint32_t i = 0; i < range->segment_count; i++) {
        struct range_segment segment = range->segments[i];
        if (!is_input(merge, segment.segment->id)) {
            range->segments[kept++] = segment;
            continue;
        }
        retire(range, segment.segment);
        range_segment_release(&segment);
        if (placed)
            continue;
        range->segments[kept++] =
            (struct range_segment){.segment = merge->segment,
                                   .doc_limit = disk_segment_documents(merge->segment),
                                   .dead = merge->dead,
                                   .dead_terms = merge->dead_terms,
                                   .durable_dead = merge->durable_dead,
                                   .recent = merge->recent,
                                   .on_disk = true,
                                   .places_pending = true};
        placed = true;
    }
    range->segment_count = kept;
    pthread_mutex_unlock(&range->lock);
}

/* Holder of `apply`. */
static int show(struct merge *merge, struct err *err)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        struct range_segment *from = range_find_segment(merge->range, merge->inputs[i].id);
        merge->dead_terms = add_all(merge->dead_terms, from->merging);
        merge->recent = add_all(merge->recent, from->recent);
    }
    merge->dead = map_dead(merge, false);
    merge->durable_dead = map_dead(merge, true);
    int code = write_rows(merge, err);
    if (code != 0)
        return code;
    set_remap(merge);
    replace_inputs(merge);
    if (merge->segment == NULL) {
        dead_terms_unref(merge->dead_terms);
        dead_terms_unref(merge->recent);
    }
    return 0;
}

/* ---- places ---- */

static int rewrite_places(struct merge *merge, struct err *err)
{
    struct range *range = merge->range;
    struct store_batch *batch = store_batch_create();
    uint32_t documents = disk_segment_documents(merge->segment);
    int code = 0;
    for (uint32_t doc = 0; doc < documents && code == 0;) {
        pthread_mutex_lock(&range->apply);
        const struct live *dead = range_find_segment(range, merge->id)->dead;
        uint32_t end = documents - doc < PLACES_CHUNK ? documents : doc + PLACES_CHUNK;
        for (; doc < end; doc++)
            if (!live_is_dead(dead, doc))
                range_place_put(range, batch, merge->segment->ops->entry_key(merge->segment, doc),
                                merge->id, doc);
        code = store_write(range->store, batch, err);
        pthread_mutex_unlock(&range->apply);
    }
    store_batch_destroy(batch);
    return code;
}

static void end_places(struct merge *merge)
{
    struct range *range = merge->range;
    pthread_mutex_lock(&range->apply);
    range_find_segment(range, merge->id)->places_pending = false;
    atomic_store(&range->places_written, true);
    free(range->remap.source);
    range->remap = (struct range_remap){0};
    pthread_mutex_unlock(&range->apply);
}

/* ---- all together ---- */

static void give_up(struct merge *merge)
{
    pthread_mutex_lock(&merge->range->apply);
    for (uint32_t i = 0; i < merge->count; i++) {
        struct range_segment *from = range_find_segment(merge->range, merge->inputs[i].id);
        if (from == NULL)
            continue;
        dead_terms_unref(from->merging);
        from->merging = NULL;
    }
    pthread_mutex_unlock(&merge->range->apply);
}

static int finish(struct merge *merge, struct err *err)
{
    struct range *range = merge->range;
    pthread_mutex_lock(&range->apply);
    int code = show(merge, err);
    pthread_mutex_unlock(&range->apply);
    if (code == 0)
        code = store_flush(range->store, err);
    if (code == 0 && merge->segment != NULL) {
        code = rewrite_places(merge, err);
        if (code == 0)
            end_places(merge);
    }
    if (code != 0) {
        struct err failure = *err;
        err_prefix(&failure, "merge");
        return range_break(range, &failure);
    }
    return range_reap(range, err);
}

static void merge_deinit(struct merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        segment_unref(merge->inputs[i].segment);
        live_unref(merge->inputs[i].dead);
        if (merge->remap[i] != NULL)
            free(merge->remap[i]);
    }
    free(merge->inputs);
    free(merge->remap);
}

static int merge_locked(struct range *range, bool all, bool *merged, struct err *err)
{
    struct merge merge = {.range = range, .limited = !all && range->settings.merge_pace != NULL};
    uint32_t count;
    pthread_mutex_lock(&range->apply);
    struct candidate *chosen = candidates(range, all, &count);
    if (count > 0)
        begin(&merge, chosen, count);
    pthread_mutex_unlock(&range->apply);
    free(chosen);
    if (count == 0)
        return 0;
    uint64_t start_us = clock_us();
    int code = write_segment(&merge, err);
    if (code == 0)
        code = finish(&merge, err);
    else
        give_up(&merge);
    *merged = code == 0;
    if (code == 0 && range->settings.measures != NULL)
        histogram_observe(range->settings.measures->merges, clock_us() - start_us);
    /* A failed finish leaves a broken range, whose reads may still go through the table of the
     * merge. */
    if (range->remap.count == 0)
        merge_deinit(&merge);
    return code;
}

int range_merge(struct range *range, bool all, bool *merged, struct err *err)
{
    struct err local = {0};
    err = err != NULL ? err : &local;
    *merged = false;
    pthread_mutex_lock(&range->merging);
    pthread_mutex_lock(&range->background);
    int code = range_broken(range, err);
    if (code == 0 && atomic_load(&range->stopping))
        code = err_set(err, ERR_CANCELED, "the range is being closed");
    if (code == 0)
        code = merge_locked(range, all, merged, err);
    range_count_segments(range);
    pthread_mutex_unlock(&range->background);
    pthread_mutex_unlock(&range->merging);
    return code;
}
