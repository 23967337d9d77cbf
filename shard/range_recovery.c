/* Recovery: from what the store holds to a range as of durable_seq.
 *
 *   1. The manifest names the segments; rows of any other segment are removed.
 *   2. Segments are opened, with their dead documents and the counts of their tokens.
 *   3. Undo rows above durable_seq are taken back, newest first (undo.h).
 *   4. Places are put right: for entries that step 3 touched, and for all of a segment whose places
 *      are pending, the column of entry keys and the dead documents say where an entry stands: each
 *      live entry stands exactly once.
 *   5. The undo rows go.
 *
 * Steps 3 to 5 may be interrupted and done again: the store keeps prefixes of what is written, and
 * step 5 is last.
 */
#include "shard/key_set.h"
#include "shard/range_internal.h"
#include "shard/undo.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_BYTES (4 << 20)

/* ---- 1 ---- */

static bool named(const struct manifest *manifest, uint64_t id)
{
    for (uint32_t i = 0; i < manifest->segment_count; i++)
        if (manifest->segments[i].id == id)
            return true;
    return false;
}

static int remove_segment(struct range *range, uint64_t id, struct store_batch *batch,
                          struct err *err)
{
    struct buf from = {0}, to = {0};
    int code = disk_segment_remove(range->store, batch, id, err);
    buf_append_be64(&from, id);
    buf_append_be64(&to, id + 1);
    store_batch_delete_range(batch, range->store, STORE_DEAD, buf_bytes(&from), buf_bytes(&to));
    buf_deinit(&from);
    buf_deinit(&to);
    return code;
}

static int remove_unnamed(struct range *range, const struct manifest *manifest, struct err *err)
{
    static const enum store_family families[] = {STORE_TERM, STORE_POST, STORE_POS, STORE_DOC,
                                                 STORE_DEAD};
    struct store_batch *batch = store_batch_create();
    struct buf next = {0};
    int code = 0;
    for (size_t i = 0; i < sizeof families / sizeof families[0] && code == 0; i++) {
        struct store_iterator *it =
            store_iterate(range->store, families[i], (struct bytes){0}, (struct bytes){0});
        while (code == 0 && store_iterator_valid(it)) {
            struct reader reader;
            uint64_t id;
            reader_init(&reader, store_iterator_key(it));
            if (!reader_be64(&reader, &id) || id == UINT64_MAX) {
                code = err_set(err, ERR_CORRUPT, "a row without a segment");
                break;
            }
            if (!named(manifest, id))
                code = remove_segment(range, id, batch, err);
            buf_clear(&next);
            buf_append_be64(&next, id + 1);
            store_iterator_seek(it, buf_bytes(&next));
        }
        if (code == 0)
            code = store_iterator_status(it, err);
        store_iterator_close(it);
    }
    if (code == 0)
        code = store_write(range->store, batch, err);
    buf_deinit(&next);
    store_batch_destroy(batch);
    return code;
}

/* ---- 2 ---- */

static int load_dead(struct range *range, struct range_segment *segment, struct err *err)
{
    struct buf key = {0};
    struct store_value row;
    bool found;
    manifest_dead_key(segment->segment->id, &key);
    int code = store_get(range->store, STORE_DEAD, buf_bytes(&key), &row, &found, err);
    if (code == 0 && found)
        code = live_decode(row.bytes, &segment->dead, err);
    store_value_release(&row);
    buf_deinit(&key);
    if (code == 0 && segment->dead != NULL) {
        live_ref(segment->dead);
        segment->durable_dead = segment->dead;
    }
    return code;
}

static int load_dead_terms(struct range *range, struct range_segment *segment, struct err *err)
{
    struct buf from = {0}, to = {0};
    buf_append_be64(&from, segment->segment->id);
    buf_append_be64(&to, segment->segment->id);
    buf_append_u8(&from, 'd');
    buf_append_u8(&to, 'd' + 1);
    struct store_iterator *it =
        store_iterate(range->store, STORE_DEAD, buf_bytes(&from), buf_bytes(&to));
    int code = 0;
    for (; code == 0 && store_iterator_valid(it); store_iterator_next(it)) {
        struct bytes key = store_iterator_key(it);
        struct reader reader;
        uint64_t count;
        reader_init(&reader, store_iterator_value(it));
        if (key.size < 10 || !reader_varint(&reader, &count) || count > UINT32_MAX) {
            code = err_set(err, ERR_CORRUPT, "dead term row: malformed");
            break;
        }
        if (segment->dead_terms == NULL)
            segment->dead_terms = dead_terms_create();
        if (segment->dead_terms == NULL)
            abort();
        dead_terms_add(segment->dead_terms, key.data[9], bytes_of(key.data + 10, key.size - 10),
                       (uint32_t)count);
    }
    if (code == 0)
        code = store_iterator_status(it, err);
    store_iterator_close(it);
    buf_deinit(&from);
    buf_deinit(&to);
    return code;
}

static int load_segments(struct range *range, const struct manifest *manifest, struct err *err)
{
    range->segment_capacity = manifest->segment_count + 16;
    range->segments = calloc(range->segment_capacity, sizeof range->segments[0]);
    if (range->segments == NULL)
        abort();
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        struct range_segment *segment = &range->segments[i];
        uint64_t id = manifest->segments[i].id;
        int code = disk_segment_open(range->store, id, &segment->segment, err);
        if (code != 0)
            return err_prefix(err, "segment %llu", (unsigned long long)id);
        range->segment_count++;
        segment->on_disk = true;
        segment->places_pending = manifest->segments[i].places_pending;
        segment->doc_limit = disk_segment_documents(segment->segment);
        code = load_dead(range, segment, err);
        if (code == 0)
            code = load_dead_terms(range, segment, err);
        if (code != 0)
            return err_prefix(err, "segment %llu", (unsigned long long)id);
    }
    return 0;
}

/* ---- 3 and 4 ---- */

/* Entries whose places are to be put right. */
struct touched {
    struct key_set keys;
    struct arena arena; /* of the keys */
};

static void touch(void *data, struct bytes key)
{
    struct touched *touched = data;
    if (key_set_has(&touched->keys, key))
        return;
    uint8_t *copy = arena_copy(&touched->arena, key.data, key.size);
    if (copy == NULL)
        abort();
    key_set_add(&touched->keys, bytes_of(copy, key.size));
}

static int write_when_big(struct range *range, struct store_batch *batch, struct err *err)
{
    return store_batch_bytes(batch) < BATCH_BYTES ? 0 : store_write(range->store, batch, err);
}

static int place_segment(struct range *range, const struct range_segment *segment,
                         const struct key_set *touched, struct store_batch *batch, struct err *err)
{
    int code = 0;
    for (uint32_t doc = 0; doc < segment->doc_limit && code == 0; doc++) {
        if (live_is_dead(segment->dead, doc))
            continue;
        struct bytes key = segment->segment->ops->entry_key(segment->segment, doc);
        if (!segment->places_pending && !key_set_has(touched, key))
            continue;
        range_place_put(range, batch, key, segment->segment->id, doc);
        code = write_when_big(range, batch, err);
    }
    return code;
}

/* A touched entry that stands nowhere was new: its place goes first, and is put again where there
 * is one. */
static int put_places_right(struct range *range, const struct key_set *touched,
                            struct store_batch *batch, struct err *err)
{
    int code = 0;
    for (size_t i = 0; i < touched->capacity && code == 0; i++) {
        if (touched->slots[i].data == NULL)
            continue;
        store_batch_delete(batch, range->store, STORE_PLACE, touched->slots[i]);
        code = write_when_big(range, batch, err);
    }
    for (uint32_t i = 0; i < range->segment_count && code == 0; i++)
        if (touched->count > 0 || range->segments[i].places_pending)
            code = place_segment(range, &range->segments[i], touched, batch, err);
    return code;
}

static int take_back(struct range *range, struct err *err)
{
    uint64_t seq = range->durable.seq;
    struct touched touched = {0};
    struct store_batch *batch = store_batch_create();
    arena_init(&touched.arena, 0);
    int code = undo_roll_back(range->store, seq, touch, &touched, err);
    if (code == 0)
        code = put_places_right(range, &touched.keys, batch, err);
    if (code == 0) {
        undo_forget_above(seq, range->store, batch);
        code = store_write(range->store, batch, err);
    }
    for (uint32_t i = 0; i < range->segment_count; i++) {
        if (range->segments[i].places_pending)
            atomic_store(&range->places_written, true);
        range->segments[i].places_pending = false;
    }
    store_batch_destroy(batch);
    key_set_deinit(&touched.keys);
    arena_deinit(&touched.arena);
    return code;
}

/* ---- all together ---- */

static int read_manifest(struct range *range, struct manifest *out, struct err *err)
{
    struct store_value row;
    bool found;
    *out = (struct manifest){.next_segment = 1};
    int code = store_get(range->store, STORE_META, MANIFEST_KEY, &row, &found, err);
    if (code == 0 && found)
        code = manifest_decode(row.bytes, out, err);
    store_value_release(&row);
    return code;
}

int range_recover(struct range *range, struct err *err)
{
    struct manifest manifest;
    int code = read_manifest(range, &manifest, err);
    if (code != 0)
        return code;
    range->now = (struct range_totals){.seq = manifest.durable_seq,
                                       .documents = manifest.documents,
                                       .total_length = manifest.total_length};
    range->durable = range->now;
    letters_copy(&range->now.letters, &manifest.letters);
    letters_copy(&range->durable.letters, &manifest.letters);
    atomic_store(&range->durable_seq, manifest.durable_seq);
    range->next_segment = manifest.next_segment;
    code = remove_unnamed(range, &manifest, err);
    if (code == 0)
        code = load_segments(range, &manifest, err);
    if (code == 0)
        code = take_back(range, err);
    if (code == 0)
        code = sessions_load(&range->sessions, range->store, err);
    if (code == 0)
        range_start_segment(range);
    manifest_deinit(&manifest);
    return code;
}
