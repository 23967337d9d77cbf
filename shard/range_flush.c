/* Flush: making durable what was applied so far.
 *
 *   freeze    (holding `apply`) a new segment in memory takes over; seq S, statistics and dead
 *             documents are noted
 *   write     the frozen segment as a disk segment: same id, same documents, the dead ones
 *             included, so that rows of `place` and the writer's kills stay true of it
 *   commit    one store batch: dead documents and manifest as of S, undo rows up to S removed
 *   durable   store_flush()
 *   swap      the disk segment takes the place of the frozen one
 *
 * The writer goes on but for the freeze and the swap. Operations after S whose rows the store makes
 * durable with the rest have their undo rows beside them.
 */
#include "shard/range_internal.h"

#include "proto/base/clock.h"
#include "shard/undo.h"

#include <stdlib.h>
#include <string.h>

struct frozen_segment {
    uint64_t id;
    struct live *dead;
    struct live *durable_dead;
    struct dead_terms *recent; /* owned */
    bool places_pending;
};

struct snapshot {
    struct range_totals totals;
    uint64_t next_segment;
    struct frozen_segment *segments;
    uint32_t count;
    struct view_segment memory; /* the frozen segment, no dead: all documents go to disk */
};

static void snapshot_deinit(struct snapshot *snapshot)
{
    for (uint32_t i = 0; i < snapshot->count; i++) {
        live_unref(snapshot->segments[i].dead);
        live_unref(snapshot->segments[i].durable_dead);
        dead_terms_unref(snapshot->segments[i].recent);
    }
    free(snapshot->segments);
    letters_deinit(&snapshot->totals.letters);
    if (snapshot->memory.segment != NULL)
        segment_unref(snapshot->memory.segment);
}

static void freeze_segment(struct range_segment *segment, struct frozen_segment *out)
{
    *out = (struct frozen_segment){.id = segment->segment->id,
                                   .dead = segment->dead,
                                   .durable_dead = segment->durable_dead,
                                   .recent = segment->recent,
                                   .places_pending = segment->places_pending};
    segment->recent = NULL;
    if (out->dead != NULL)
        live_ref(out->dead);
    if (out->durable_dead != NULL)
        live_ref(out->durable_dead);
}

/* Holder of `apply`. */
static void freeze(struct range *range, struct snapshot *out)
{
    *out = (struct snapshot){.totals = range->now};
    letters_copy(&out->totals.letters, &range->now.letters);
    struct range_segment *memory = &range->segments[range->segment_count - 1];
    out->count = range->segment_count - 1;
    if (memory->doc_limit > 0) {
        out->memory =
            (struct view_segment){.segment = memory->segment, .doc_limit = memory->doc_limit};
        segment_ref(memory->segment);
        out->count++;
        range_start_segment(range);
    }
    out->next_segment = range->next_segment;
    out->segments = calloc(out->count + 1, sizeof out->segments[0]);
    if (out->segments == NULL)
        abort();
    for (uint32_t i = 0; i < out->count; i++)
        freeze_segment(&range->segments[i], &out->segments[i]);
    atomic_store(&range->places_written, false);
    atomic_store(&range->derived, false);
}

/* ---- the commit's rows ---- */

struct dead_writer {
    struct range *range;
    struct store_batch *batch;
    uint64_t segment;
    int code;
    struct err *err;
};

static void write_dead_term(void *data, uint8_t field, struct bytes token, uint32_t count)
{
    struct dead_writer *writer = data;
    struct buf key = {0}, value = {0};
    struct store_value old;
    bool found;
    uint64_t sum = 0;
    if (writer->code != 0)
        return;
    manifest_dead_term_key(writer->segment, field, token, &key);
    writer->code =
        store_get(writer->range->store, STORE_DEAD, buf_bytes(&key), &old, &found, writer->err);
    if (writer->code == 0 && found) {
        struct reader reader;
        reader_init(&reader, old.bytes);
        if (!reader_varint(&reader, &sum))
            writer->code = err_set(writer->err, ERR_CORRUPT, "dead term row: malformed");
    }
    store_value_release(&old);
    if (writer->code == 0) {
        buf_append_varint(&value, sum + count);
        store_batch_put(writer->batch, writer->range->store, STORE_DEAD, buf_bytes(&key),
                        buf_bytes(&value));
    }
    buf_deinit(&key);
    buf_deinit(&value);
}

static int write_dead(struct range *range, const struct frozen_segment *segment,
                      struct store_batch *batch, struct err *err)
{
    struct buf key = {0}, image = {0};
    if (segment->dead != segment->durable_dead) {
        manifest_dead_key(segment->id, &key);
        live_encode(segment->dead, &image);
        store_batch_put(batch, range->store, STORE_DEAD, buf_bytes(&key), buf_bytes(&image));
        buf_deinit(&key);
        buf_deinit(&image);
    }
    struct dead_writer writer = {range, batch, segment->id, 0, err};
    if (segment->recent != NULL)
        dead_terms_each(segment->recent, write_dead_term, &writer);
    return writer.code;
}

void range_manifest_put(struct range *range, const struct range_totals *totals,
                        const struct manifest_segment *segments, uint32_t count,
                        uint64_t next_segment, struct store_batch *batch)
{
    struct buf image = {0};
    struct manifest manifest = {.durable_seq = totals->seq,
                                .next_segment = next_segment,
                                .documents = totals->documents,
                                .total_length = totals->total_length,
                                .letters = totals->letters,
                                .segments = (struct manifest_segment *)segments,
                                .segment_count = count};
    manifest_encode(&manifest, &image);
    store_batch_put(batch, range->store, STORE_META, MANIFEST_KEY, buf_bytes(&image));
    buf_deinit(&image);
}

static int commit(struct range *range, const struct snapshot *snapshot, struct err *err)
{
    struct store_batch *batch = store_batch_create();
    struct manifest_segment *segments = calloc(snapshot->count + 1, sizeof segments[0]);
    if (segments == NULL)
        abort();
    int code = 0;
    for (uint32_t i = 0; i < snapshot->count && code == 0; i++) {
        segments[i] = (struct manifest_segment){snapshot->segments[i].id,
                                                snapshot->segments[i].places_pending};
        code = write_dead(range, &snapshot->segments[i], batch, err);
    }
    if (code == 0) {
        undo_forget(snapshot->totals.seq, range->store, batch);
        range_manifest_put(range, &snapshot->totals, segments, snapshot->count,
                           snapshot->next_segment, batch);
        code = store_write(range->store, batch, err);
    }
    if (code == 0)
        code = store_flush(range->store, err);
    free(segments);
    store_batch_destroy(batch);
    return code;
}

/* ---- afterwards ---- */

static void swap(struct range *range, struct snapshot *snapshot, struct segment *disk)
{
    pthread_mutex_lock(&range->apply);
    pthread_mutex_lock(&range->lock);
    for (uint32_t i = 0; i < snapshot->count; i++) {
        struct frozen_segment *frozen = &snapshot->segments[i];
        struct range_segment *segment = range_find_segment(range, frozen->id);
        live_unref(segment->durable_dead);
        segment->durable_dead = frozen->dead;
        frozen->dead = NULL;
        if (disk == NULL || disk->id != frozen->id)
            continue;
        segment_unref(segment->segment);
        segment->segment = disk;
        segment->on_disk = true;
    }
    pthread_mutex_unlock(&range->lock);
    pthread_mutex_unlock(&range->apply);
    letters_deinit(&range->durable.letters);
    range->durable = snapshot->totals;
    snapshot->totals.letters = (struct letters){0};
    atomic_store(&range->durable_seq, range->durable.seq);
}

/* Holder of `background`. */
static int flush(struct range *range, struct err *err)
{
    struct err failure = {0};
    struct snapshot snapshot;
    struct segment *disk = NULL;
    uint64_t start_us = clock_us();
    int code = range_broken(range, err);
    if (code != 0)
        return code;
    pthread_mutex_lock(&range->apply);
    bool clean = range->now.seq == range->durable.seq && !atomic_load(&range->places_written) &&
                 !atomic_load(&range->derived);
    if (!clean)
        freeze(range, &snapshot);
    pthread_mutex_unlock(&range->apply);
    if (clean)
        return range_reap(range, err);
    if (snapshot.memory.segment != NULL) {
        uint64_t id = snapshot.memory.segment->id;
        code =
            disk_segment_write(range->store, id, &snapshot.memory, 1, NULL, NULL, NULL, &failure);
        if (code == 0)
            code = disk_segment_open(range->store, id, &disk, &failure);
    }
    if (code == 0)
        code = commit(range, &snapshot, &failure);
    if (code == 0)
        swap(range, &snapshot, disk);
    else if (disk != NULL)
        segment_unref(disk);
    snapshot_deinit(&snapshot);
    range_count_segments(range);
    if (code == 0 && range->settings.measures != NULL)
        histogram_observe(range->settings.measures->flushes, clock_us() - start_us);
    if (code == 0)
        return range_reap(range, err);
    err_prefix(&failure, "flush range %llu", (unsigned long long)range->settings.id);
    range_break(range, &failure);
    if (err != NULL)
        *err = failure;
    return code;
}

int range_flush(struct range *range, struct err *err)
{
    range_visit(range);
    int code = flush(range, err);
    range_visit_end(range);
    return code;
}

int range_flush_wanted(struct range *range, struct err *err)
{
    range_visit(range);
    int code = range_wants_flush(range) ? flush(range, err) : 0;
    range_visit_end(range);
    return code;
}

bool range_wants_flush(struct range *range)
{
    uint64_t bytes = store_memory_bytes(range->store);
    pthread_mutex_lock(&range->lock);
    for (uint32_t i = 0; i < range->segment_count; i++)
        if (!range->segments[i].on_disk)
            bytes += memory_segment_bytes(range->segments[i].segment);
    pthread_mutex_unlock(&range->lock);
    bool idle =
        range_applied_seq(range) == range_durable_seq(range) && !atomic_load(&range->derived);
    return idle ? atomic_load(&range->places_written) : bytes >= range->settings.memory_limit;
}

int range_reap(struct range *range, struct err *err)
{
    struct store_batch *batch = store_batch_create();
    uint32_t kept = 0;
    int code = 0;
    for (uint32_t i = 0; i < range->retired_count; i++) {
        struct segment *segment = range->retired[i];
        if (code != 0 || atomic_load(&segment->refs) > 1) { /* a view still reads it */
            range->retired[kept++] = segment;
            continue;
        }
        code = disk_segment_remove(range->store, batch, segment->id, err);
        segment_unref(segment);
    }
    if (code == 0 && kept < range->retired_count)
        code = store_write(range->store, batch, err);
    range->retired_count = kept;
    store_batch_destroy(batch);
    return code;
}

/* Holding `background`, since then the manifest on disk is the one of `durable`: what is durable
 * beyond it has its undo rows beside it, as after a kill. */
int range_checkpoint(struct range *range, const char *path, uint64_t *durable_seq, struct err *err)
{
    range_visit(range);
    *durable_seq = range->durable.seq;
    int code = range_broken(range, err);
    if (code == 0)
        code = store_checkpoint(range->store, path, err);
    range_visit_end(range);
    return code;
}
