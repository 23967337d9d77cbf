/* Range: opening, closing and everything that only reads. */
#include "shard/range_internal.h"

#include "proto/text/key.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening and closing ---- */

static void range_free(struct range *range)
{
    for (uint32_t i = 0; i < range->segment_count; i++)
        range_segment_release(&range->segments[i]);
    for (uint32_t i = 0; i < range->retired_count; i++)
        segment_unref(range->retired[i]);
    free(range->segments);
    free(range->retired);
    letters_deinit(&range->now.letters);
    letters_deinit(&range->durable.letters);
    analyzer_destroy(range->analyzer);
    name_index_destroy(range->names);
    store_close(range->store);
    if (range->behind)
        merge_pace_behind(range->settings.merge_pace, false);
    pthread_mutex_destroy(&range->merging);
    pthread_mutex_destroy(&range->background);
    pthread_mutex_destroy(&range->apply);
    pthread_mutex_destroy(&range->lock);
    pthread_cond_destroy(&range->visited);
    free((char *)range->settings.language);
    free(range->path);
    free(range);
}

int range_open(const char *path, const struct range_settings *settings, struct range **out,
               struct err *err)
{
    *out = NULL;
    struct range *range = calloc(1, sizeof *range);
    if (range == NULL)
        return err_set(err, ERR_NOMEM, "open range %llu: out of memory",
                       (unsigned long long)settings->id);
    pthread_mutex_init(&range->merging, NULL);
    pthread_mutex_init(&range->background, NULL);
    pthread_mutex_init(&range->apply, NULL);
    pthread_mutex_init(&range->lock, NULL);
    pthread_cond_init(&range->visited, NULL);
    range->settings = *settings;
    range->settings.language = strdup(settings->language);
    range->path = strdup(path);
    int code = analyzer_create(settings->language, &range->analyzer, err);
    if (code == 0)
        code = store_open(path, settings->cache, &range->store, err);
    if (code == 0) {
        range->names = name_index_create(range->store);
        code = range_recover(range, err);
    }
    if (code != 0) {
        range_free(range);
        return err_prefix(err, "open range %llu", (unsigned long long)settings->id);
    }
    range_count_segments(range);
    *out = range;
    return 0;
}

void range_stop(struct range *range)
{
    atomic_store(&range->stopping, true);
    if (range->settings.merge_pace != NULL)
        merge_pace_wake(range->settings.merge_pace);
}

void range_close(struct range *range)
{
    if (range == NULL)
        return;
    range_stop(range);
    pthread_mutex_lock(&range->merging);
    pthread_mutex_lock(&range->background);
    pthread_mutex_unlock(&range->background);
    pthread_mutex_unlock(&range->merging);
    range_free(range);
}

void range_visit(struct range *range)
{
    atomic_fetch_add(&range->guests, 1);
    pthread_mutex_lock(&range->background);
}

void range_visit_end(struct range *range)
{
    atomic_fetch_sub(&range->guests, 1);
    range->visits++;
    pthread_cond_signal(&range->visited);
    pthread_mutex_unlock(&range->background);
}

int range_break(struct range *range, const struct err *err)
{
    pthread_mutex_lock(&range->lock);
    if (range->broken.code == 0)
        range->broken = *err;
    pthread_mutex_unlock(&range->lock);
    return err->code;
}

int range_broken(struct range *range, struct err *err)
{
    pthread_mutex_lock(&range->lock);
    int code = range->broken.code;
    if (code != 0)
        err_set(err, code, "range %llu takes no more writes until it is opened anew: %s",
                (unsigned long long)range->settings.id, range->broken.text);
    pthread_mutex_unlock(&range->lock);
    return code;
}

/* ---- segments ---- */

void range_segment_release(struct range_segment *segment)
{
    segment_unref(segment->segment);
    live_unref(segment->dead);
    live_unref(segment->durable_dead);
    dead_terms_unref(segment->dead_terms);
    dead_terms_unref(segment->recent);
    dead_terms_unref(segment->merging);
}

void range_start_segment(struct range *range)
{
    struct segment *segment = memory_segment_create(range->next_segment++);
    if (segment == NULL)
        abort(); /* an empty one is small */
    pthread_mutex_lock(&range->lock);
    if (range->segment_count == range->segment_capacity) {
        range->segment_capacity = range->segment_capacity == 0 ? 16 : 2 * range->segment_capacity;
        range->segments =
            realloc(range->segments, range->segment_capacity * sizeof range->segments[0]);
        if (range->segments == NULL)
            abort();
    }
    range->segments[range->segment_count++] = (struct range_segment){.segment = segment};
    pthread_mutex_unlock(&range->lock);
}

struct range_segment *range_find_segment(struct range *range, uint64_t id)
{
    for (uint32_t i = range->segment_count; i-- > 0;)
        if (range->segments[i].segment->id == id)
            return &range->segments[i];
    return NULL;
}

/* ---- places ---- */

bool range_place_decode(struct bytes row, uint64_t *segment, uint32_t *doc)
{
    struct reader reader;
    reader_init(&reader, row);
    return reader_be64(&reader, segment) && reader_be32(&reader, doc) && reader_left(&reader) == 0;
}

static void follow_remap(const struct range_remap *remap, uint64_t *segment, uint32_t *doc)
{
    for (uint32_t i = 0; i < remap->count; i++) {
        if (remap->source[i].from != *segment)
            continue;
        *doc = *doc < remap->source[i].documents ? remap->source[i].map[*doc] : POSTING_END;
        *segment = remap->to;
        return;
    }
}

int range_place(struct range *range, struct bytes key, uint64_t *segment, uint32_t *doc,
                struct err *err)
{
    struct store_value row;
    bool found;
    int code = store_get(range->store, STORE_PLACE, key, &row, &found, err);
    if (code != 0)
        return code;
    if (!found || !range_place_decode(row.bytes, segment, doc))
        code = err_set(err, ERR_CORRUPT, "place of \"%s\": %s", (const char *)key.data,
                       found ? "malformed" : "missing");
    store_value_release(&row);
    if (code == 0)
        follow_remap(&range->remap, segment, doc);
    return code;
}

void range_place_put(struct range *range, struct store_batch *batch, struct bytes key,
                     uint64_t segment, uint32_t doc)
{
    struct buf row = {0};
    buf_append_be64(&row, segment);
    buf_append_be32(&row, doc);
    store_batch_put(batch, range->store, STORE_PLACE, key, buf_bytes(&row));
    buf_deinit(&row);
}

/* ---- names ---- */

static void add_name(struct range_name *names, size_t *count, const char *written,
                     struct arena *arena)
{
    struct buf key = {0};
    text_key(bytes_str(written), &key);
    bool known = false;
    for (size_t i = 0; i < *count && !known; i++)
        known = bytes_equal(names[i].key, buf_bytes(&key));
    if (!known) {
        uint8_t *copy = arena_copy(arena, key.data, key.size);
        if (copy == NULL)
            abort(); /* the arenas used here have no limit */
        names[(*count)++] = (struct range_name){bytes_of(copy, key.size), written};
    }
    buf_deinit(&key);
}

struct range_name *range_names(const Quire__Entry *entry, struct arena *arena, size_t *count)
{
    struct range_name *names = arena_calloc(arena, entry->n_terms + 1, sizeof *names);
    if (names == NULL)
        abort();
    *count = 0;
    add_name(names, count, entry->headword, arena);
    for (size_t i = 0; i < entry->n_terms; i++)
        add_name(names, count, entry->terms[i], arena);
    return names;
}

void range_name_key(struct bytes name, struct bytes entry_key, struct buf *out)
{
    buf_append_bytes(out, name);
    buf_append_u8(out, 0);
    buf_append_bytes(out, entry_key);
}

/* ---- readers ---- */

struct view *range_view(struct range *range)
{
    pthread_mutex_lock(&range->lock);
    uint32_t count = range->segment_count;
    struct view *view = malloc(sizeof *view + count * sizeof view->segments[0]);
    if (view == NULL)
        abort();
    *view = (struct view){.range = range,
                          .seq = range->now.seq,
                          .documents = range->now.documents,
                          .total_length = range->now.total_length,
                          .segment_count = count};
    for (uint32_t i = 0; i < count; i++) {
        struct range_segment *from = &range->segments[i];
        view->segments[i] =
            (struct view_segment){from->segment, from->doc_limit, from->dead, from->dead_terms};
        segment_ref(from->segment);
        if (from->dead != NULL)
            live_ref(from->dead);
        if (from->dead_terms != NULL)
            dead_terms_ref(from->dead_terms);
    }
    pthread_mutex_unlock(&range->lock);
    return view;
}

struct store_iterator *range_snapshot(struct range *range, uint64_t *seq, uint64_t *entries)
{
    static const struct bytes all = {0};
    pthread_mutex_lock(&range->apply);
    struct store_iterator *it = store_iterate_once(range->store, STORE_ENTRY, all, all);
    *seq = range->now.seq;
    *entries = range->now.documents;
    pthread_mutex_unlock(&range->apply);
    return it;
}

struct store *range_store(struct range *range)
{
    return range->store;
}

struct name_index *range_name_index(struct range *range)
{
    return range->names;
}

uint64_t range_id(const struct range *range)
{
    return range->settings.id;
}

uint64_t range_applied_seq(struct range *range)
{
    pthread_mutex_lock(&range->lock);
    uint64_t seq = range->now.seq;
    pthread_mutex_unlock(&range->lock);
    return seq;
}

uint64_t range_durable_seq(struct range *range)
{
    return atomic_load(&range->durable_seq);
}

int range_get(struct range *range, struct bytes key, struct arena *arena, Quire__Entry **out,
              struct err *err)
{
    *out = NULL;
    struct store_value row;
    bool found;
    int code = store_get(range->store, STORE_ENTRY, key, &row, &found, err);
    if (code != 0 || !found)
        return code;
    *out = quire__entry__unpack(arena_protobuf(arena), row.bytes.size, row.bytes.data);
    if (*out == NULL)
        code = err_set(err, ERR_CORRUPT, "entry \"%.*s\": malformed",
                       (int)strnlen((const char *)key.data, key.size), (const char *)key.data);
    store_value_release(&row);
    return code;
}

static uint64_t segments_memory(struct range *range)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < range->segment_count; i++) {
        const struct range_segment *segment = &range->segments[i];
        if (!segment->on_disk)
            bytes += memory_segment_bytes(segment->segment);
        if (segment->dead_terms != NULL)
            bytes += dead_terms_bytes(segment->dead_terms);
        bytes += segment_words_bytes(segment->segment->words);
    }
    return bytes;
}

void range_figures(struct range *range, struct range_figures *out)
{
    *out = (struct range_figures){.disk_bytes = store_disk_bytes(range->store),
                                  .memory_bytes = store_memory_bytes(range->store) +
                                                  name_index_bytes(range->names),
                                  .durable_seq = range_durable_seq(range)};
    pthread_mutex_lock(&range->lock);
    out->entries = range->now.documents;
    out->applied_seq = range->now.seq;
    out->segments = range->segment_count;
    out->memory_bytes += segments_memory(range);
    pthread_mutex_unlock(&range->lock);
}

void range_letters(struct range *range,
                   void (*visit)(void *data, struct bytes letter, uint64_t count), void *data)
{
    struct letters letters;
    pthread_mutex_lock(&range->lock);
    letters_copy(&letters, &range->now.letters);
    pthread_mutex_unlock(&range->lock);
    letters_each(&letters, visit, data);
    letters_deinit(&letters);
}

int range_count_before(struct range *range, struct bytes key, uint64_t *count, struct err *err)
{
    *count = 0;
    if (key.size == 0)
        return 0;
    pthread_mutex_lock(&range->lock);
    *count = letters_before(&range->now.letters, key);
    pthread_mutex_unlock(&range->lock);
    struct store_iterator *it = store_iterate(range->store, STORE_PLACE, letters_of(key), key);
    for (; store_iterator_valid(it); store_iterator_next(it))
        ++*count;
    int code = store_iterator_status(it, err);
    store_iterator_close(it);
    return code;
}

static uint32_t *hashes_of(Quire__WriteOp *const *ops, size_t count, struct arena *arena)
{
    uint32_t *hashes = arena_alloc(arena, (count + 1) * sizeof hashes[0]);
    struct buf key = {0};
    for (size_t i = 0; i < count && hashes != NULL; i++) {
        buf_clear(&key);
        range_op_key(ops[i], &key);
        hashes[i] = session_hash(buf_bytes(&key));
    }
    buf_deinit(&key);
    return hashes;
}

int range_session_find(struct range *range, const struct range_session *session,
                       Quire__WriteOp *const *ops, size_t count, bool *known,
                       struct range_result **results, struct arena *arena, struct err *err)
{
    struct session_results stored;
    bool same = false;
    int code = 0;
    *known = false;
    *results = NULL;
    pthread_mutex_lock(&range->apply);
    const struct session *last = sessions_find(&range->sessions, session->client_id);
    if (last != NULL && session->batch < last->batch) {
        code = err_set(err, ERR_CONFLICT, "batch %llu of client %s came after its batch %llu",
                       (unsigned long long)session->batch, session->client_id,
                       (unsigned long long)last->batch);
    } else if (last != NULL && session->batch == last->batch) {
        code = sessions_results(range->store, session->client_id, &stored, arena, err);
        same = code == 0;
    }
    pthread_mutex_unlock(&range->apply);
    if (!same)
        return code;
    uint32_t *hashes = hashes_of(ops, count, arena);
    if (hashes == NULL)
        return err_set(err, ERR_NOMEM, "session: out of memory");
    return session_match(&stored, session, hashes, count, known, results, arena, err);
}
