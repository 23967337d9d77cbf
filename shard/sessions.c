#include "shard/sessions.h"

#include "proto/limits.h"
#include "shard/undo.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 2
#define BATCH_BYTES (4 << 20)

struct row { /* borrowed */
    uint8_t version;
    uint64_t batch, seq, count;
    struct bytes results;
};

static void session_key(const char *client_id, struct buf *out)
{
    buf_append_u8(out, 's');
    buf_append_str(out, client_id);
}

uint32_t session_hash(struct bytes term_key)
{
    return checksum32(term_key.data, term_key.size);
}

/* ---- rows ---- */

static void encode_results(const struct range_result *results, const uint32_t *hashes, size_t count,
                           struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        buf_append_le32(out, hashes[i]);
        buf_append_u8(out, (uint8_t)results[i].outcome);
        buf_append_varint(out, results[i].version);
        if (results[i].outcome != QUIRE__WRITE_RESULT__OUTCOME__FAILED)
            continue;
        buf_append_varint(out, (uint64_t)results[i].error.code);
        buf_append_varint(out, strlen(results[i].error.text));
        buf_append_str(out, results[i].error.text);
    }
}

static void encode_row(const struct row *row, struct buf *out)
{
    buf_append_u8(out, row->version);
    buf_append_varint(out, row->batch);
    buf_append_varint(out, row->seq);
    buf_append_varint(out, row->count);
    buf_append_bytes(out, row->results);
    buf_append_le32(out, checksum32(out->data, out->size));
}

static bool decode_row(struct bytes image, struct row *out)
{
    struct reader reader;
    uint32_t checksum;
    if (image.size < 5)
        return false;
    reader_init(&reader, bytes_of(image.data + image.size - 4, 4));
    reader_le32(&reader, &checksum);
    if (checksum != checksum32(image.data, image.size - 4))
        return false;
    reader_init(&reader, bytes_of(image.data, image.size - 4));
    if (!reader_u8(&reader, &out->version) || out->version < 1 || out->version > VERSION ||
        !reader_varint(&reader, &out->batch) || !reader_varint(&reader, &out->seq) ||
        !reader_varint(&reader, &out->count) || out->count > LIMIT_BATCH_OPS)
        return false;
    out->results = bytes_of(reader.at, reader_left(&reader));
    return true;
}

/* The next result. `result` may be NULL. */
static bool read_result(struct reader *reader, uint8_t version, uint32_t *hash,
                        struct range_result *result)
{
    uint64_t number, code, size;
    struct bytes text;
    uint8_t outcome;
    *hash = 0;
    if ((version > 1 && !reader_le32(reader, hash)) || !reader_u8(reader, &outcome) ||
        !reader_varint(reader, &number))
        return false;
    if (result != NULL) {
        result->outcome = outcome;
        result->version = number;
    }
    if (outcome != QUIRE__WRITE_RESULT__OUTCOME__FAILED)
        return true;
    if (!reader_varint(reader, &code) || !reader_varint(reader, &size) ||
        !reader_bytes(reader, size, &text))
        return false;
    if (result != NULL)
        err_set(&result->error, (int)code, "%.*s", (int)text.size, (const char *)text.data);
    return true;
}

static int malformed(struct err *err)
{
    return err_set(err, ERR_CORRUPT, "session row: malformed or missing");
}

/* ---- the table ---- */

int sessions_load(struct sessions *sessions, struct store *store, struct err *err)
{
    sessions->count = 0;
    struct store_iterator *it = store_iterate(store, STORE_META, bytes_str("s"), bytes_str("t"));
    int code = 0;
    for (; code == 0 && store_iterator_valid(it); store_iterator_next(it)) {
        struct session *session = &sessions->session[sessions->count];
        struct bytes key = store_iterator_key(it);
        struct row row;
        if (sessions->count == LIMIT_RANGE_SESSIONS || key.size > LIMIT_CLIENT_ID + 1 ||
            !decode_row(store_iterator_value(it), &row)) {
            code = malformed(err);
            break;
        }
        session->batch = row.batch;
        session->seq = row.seq;
        memcpy(session->client_id, key.data + 1, key.size - 1);
        session->client_id[key.size - 1] = 0;
        sessions->count++;
    }
    if (code == 0)
        code = store_iterator_status(it, err);
    store_iterator_close(it);
    return code;
}

const struct session *sessions_find(const struct sessions *sessions, const char *client_id)
{
    for (uint32_t i = 0; i < sessions->count; i++)
        if (strcmp(sessions->session[i].client_id, client_id) == 0)
            return &sessions->session[i];
    return NULL;
}

/* Where the client's session goes; NULL: the table is full of later ones. *evict: it is another
 * one's, who has to leave. */
static struct session *slot(struct sessions *sessions, const char *client_id, uint64_t seq,
                            bool *evict)
{
    *evict = false;
    struct session *found = (struct session *)sessions_find(sessions, client_id);
    if (found != NULL)
        return found;
    if (sessions->count < LIMIT_RANGE_SESSIONS) {
        found = &sessions->session[sessions->count++];
        *found = (struct session){0};
        return found;
    }
    found = &sessions->session[0];
    for (uint32_t i = 1; i < sessions->count; i++)
        if (sessions->session[i].seq < found->seq)
            found = &sessions->session[i];
    *evict = true;
    return found->seq < seq ? found : NULL;
}

static int get_row(struct store *store, const char *client_id, struct store_value *value,
                   bool *found, struct err *err)
{
    struct buf key = {0};
    session_key(client_id, &key);
    int code = store_get(store, STORE_META, buf_bytes(&key), value, found, err);
    buf_deinit(&key);
    return code;
}

/* undo may be NULL. */
static int undo_row(struct store *store, struct buf *undo, const char *client_id, struct err *err)
{
    struct buf key = {0};
    struct store_value old;
    bool found;
    if (undo == NULL)
        return 0;
    int code = get_row(store, client_id, &old, &found, err);
    session_key(client_id, &key);
    if (code == 0 && found)
        undo_value(undo, STORE_META, buf_bytes(&key), old.bytes);
    else if (code == 0)
        undo_absent(undo, STORE_META, buf_bytes(&key));
    store_value_release(&old);
    buf_deinit(&key);
    return code;
}

/* Puts a row that is the client's from now on in its place. */
static int put_row(struct sessions *sessions, struct store *store, struct store_batch *batch,
                   struct buf *undo, const char *client_id, const struct row *row, struct err *err)
{
    struct buf key = {0}, image = {0};
    bool evict;
    int code = 0;
    struct session *place = slot(sessions, client_id, row->seq, &evict);
    if (place == NULL)
        return 0;
    if (evict) {
        session_key(place->client_id, &key);
        code = undo_row(store, undo, place->client_id, err);
        store_batch_delete(batch, store, STORE_META, buf_bytes(&key));
        buf_clear(&key);
    }
    if (code == 0)
        code = undo_row(store, undo, client_id, err);
    if (code == 0) {
        session_key(client_id, &key);
        encode_row(row, &image);
        store_batch_put(batch, store, STORE_META, buf_bytes(&key), buf_bytes(&image));
        snprintf(place->client_id, sizeof place->client_id, "%s", client_id);
        place->batch = row->batch;
        place->seq = row->seq;
    }
    buf_deinit(&key);
    buf_deinit(&image);
    return code;
}

/* ---- parts of a batch ---- */

/* Appends what a row of version 2 has to `out`, without the first results where there would be more
 * than LIMIT_BATCH_OPS with the `more` that come. */
static bool append_results(const struct row *row, size_t more, struct buf *out, uint64_t *count)
{
    struct reader reader;
    uint32_t hash;
    *count = row->count;
    reader_init(&reader, row->results);
    for (; *count > 0 && *count + more > LIMIT_BATCH_OPS; --*count)
        if (!read_result(&reader, row->version, &hash, NULL))
            return false;
    buf_append(out, reader.at, reader_left(&reader));
    return true;
}

/* The results that are stored already of the batch of which more come; none of an earlier one. */
static int results_before(struct store *store, const struct session *last,
                          const struct range_session *session, size_t more, struct buf *out,
                          uint64_t *count, struct err *err)
{
    struct store_value value;
    struct row row;
    bool found;
    *count = 0;
    if (last == NULL || last->batch != session->batch)
        return 0;
    int code = get_row(store, session->client_id, &value, &found, err);
    if (code == 0 && (!found || !decode_row(value.bytes, &row) ||
                      (row.version > 1 && !append_results(&row, more, out, count))))
        code = malformed(err);
    store_value_release(&value);
    return code;
}

int sessions_put(struct sessions *sessions, struct store *store, struct store_batch *batch,
                 struct buf *undo, const struct range_session *session, uint64_t seq,
                 const struct range_result *results, const uint32_t *hashes, size_t count,
                 struct err *err)
{
    assert(strlen(session->client_id) <= LIMIT_CLIENT_ID && count <= LIMIT_BATCH_OPS);
    const struct session *last = sessions_find(sessions, session->client_id);
    struct buf all = {0};
    uint64_t before;
    if (last != NULL && session->batch < last->batch)
        return 0;
    int code = results_before(store, last, session, count, &all, &before, err);
    if (code == 0) {
        encode_results(results, hashes, count, &all);
        struct row row = {.version = VERSION,
                          .batch = session->batch,
                          .seq = last != NULL && last->seq > seq ? last->seq : seq,
                          .count = before + count,
                          .results = buf_bytes(&all)};
        code = put_row(sessions, store, batch, undo, session->client_id, &row, err);
    }
    buf_deinit(&all);
    return code;
}

/* ---- results by hash ---- */

struct match { /* the results of one hash stand together, in their order */
    struct match_item {
        uint32_t hash, index;
        bool taken;
    } * items;
    size_t count;
};

static int by_hash(const void *a, const void *b)
{
    const struct match_item *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void match_init(struct match *match, const uint32_t *hashes, size_t count)
{
    *match = (struct match){.items = calloc(count + 1, sizeof match->items[0]), .count = count};
    if (match->items == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        match->items[i] = (struct match_item){hashes[i], (uint32_t)i, false};
    qsort(match->items, count, sizeof match->items[0], by_hash);
}

/* The first result with this hash that was not taken yet. */
static bool match_take(struct match *match, uint32_t hash, uint32_t *index)
{
    size_t low = 0, high = match->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (match->items[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < match->count && match->items[low].hash == hash; low++) {
        if (match->items[low].taken)
            continue;
        match->items[low].taken = true;
        *index = match->items[low].index;
        return true;
    }
    return false;
}

static bool decode_results(const struct row *row, struct session_results *out, struct arena *arena)
{
    struct reader reader;
    *out = (struct session_results){
        .results = arena_calloc(arena, row->count + 1, sizeof out->results[0]),
        .hashes = arena_calloc(arena, row->count + 1, sizeof out->hashes[0]),
        .count = row->count};
    if (out->results == NULL || out->hashes == NULL)
        return false;
    reader_init(&reader, row->results);
    for (uint64_t i = 0; i < row->count; i++)
        if (!read_result(&reader, row->version, &out->hashes[i], &out->results[i]))
            return false;
    if (row->version == 1)
        out->hashes = NULL;
    return true;
}

int sessions_results(struct store *store, const char *client_id, struct session_results *out,
                     struct arena *arena, struct err *err)
{
    struct store_value value;
    struct row row;
    bool found;
    int code = get_row(store, client_id, &value, &found, err);
    if (code == 0 &&
        (!found || !decode_row(value.bytes, &row) || !decode_results(&row, out, arena)))
        code = malformed(err);
    store_value_release(&value);
    return code;
}

int session_match(const struct session_results *of, const struct range_session *session,
                  const uint32_t *hashes, size_t count, bool *known, struct range_result **results,
                  struct arena *arena, struct err *err)
{
    struct match match;
    size_t found = 0;
    uint32_t index;
    *known = false;
    if (of->hashes == NULL) {
        *results = of->results;
        *known = of->count == count;
        return *known ? 0
                      : err_set(err, ERR_CONFLICT,
                                "batch %llu of this client had %zu operations here, not %zu",
                                (unsigned long long)session->batch, of->count, count);
    }
    *results = arena_calloc(arena, count + 1, sizeof **results);
    if (*results == NULL)
        return err_set(err, ERR_NOMEM, "session: out of memory");
    match_init(&match, of->hashes, of->count);
    for (size_t i = 0; i < count; i++)
        if (match_take(&match, hashes[i], &index)) {
            (*results)[i] = of->results[index];
            found++;
        }
    free(match.items);
    *known = found == count;
    if (!*known && found > 0)
        return err_set(
            err, ERR_CONFLICT,
            "batch %llu of this client was applied in part before its ranges were joined",
            (unsigned long long)session->batch);
    return 0;
}

/* ---- the sessions of another range ---- */

static bool hashes_of(const struct row *row, uint32_t *hashes)
{
    struct reader reader;
    reader_init(&reader, row->results);
    for (uint64_t i = 0; i < row->count; i++)
        if (!read_result(&reader, row->version, &hashes[i], NULL))
            return false;
    return true;
}

/* Both of one batch: appends what only `theirs` has. */
static bool append_missing(const struct row *ours, const struct row *theirs, struct buf *out,
                           uint64_t *count)
{
    uint32_t *hashes = calloc(ours->count + 1, sizeof hashes[0]);
    struct reader reader;
    struct match match;
    uint32_t hash, index;
    if (hashes == NULL)
        abort();
    bool sound = hashes_of(ours, hashes);
    match_init(&match, hashes, sound ? ours->count : 0);
    reader_init(&reader, theirs->results);
    for (uint64_t i = 0; i < theirs->count && sound; i++) {
        const uint8_t *from = reader.at;
        sound = read_result(&reader, theirs->version, &hash, NULL);
        if (!sound || match_take(&match, hash, &index) || *count == LIMIT_BATCH_OPS)
            continue;
        buf_append(out, from, (size_t)(reader.at - from));
        ++*count;
    }
    free(match.items);
    free(hashes);
    return sound;
}

/* *row becomes what this range keeps of the two. */
static int join(struct store *store, const struct session *last, struct row *row, struct buf *all,
                struct err *err)
{
    struct store_value value;
    struct row ours;
    bool found;
    int code = get_row(store, last->client_id, &value, &found, err);
    if (code == 0 && (!found || !decode_row(value.bytes, &ours)))
        code = malformed(err);
    if (code == 0) {
        uint64_t count = ours.count;
        buf_append_bytes(all, ours.results);
        if (ours.version > 1 && row->version > 1 && !append_missing(&ours, row, all, &count))
            code = malformed(err);
        row->version = ours.version;
        row->count = count;
        row->results = buf_bytes(all);
        row->seq = ours.seq > row->seq ? ours.seq : row->seq;
    }
    store_value_release(&value);
    return code;
}

static int adopt_one(struct sessions *sessions, struct store *store, struct store_batch *batch,
                     const char *client_id, struct row *row, struct err *err)
{
    const struct session *last = sessions_find(sessions, client_id);
    struct buf all = {0};
    int code = 0;
    if (last != NULL && row->batch < last->batch)
        return 0;
    if (last != NULL && row->batch == last->batch)
        code = join(store, last, row, &all, err);
    if (code == 0)
        code = put_row(sessions, store, batch, NULL, client_id, row, err);
    buf_deinit(&all);
    return code;
}

int sessions_adopt(struct sessions *sessions, struct store *store, struct store *from,
                   struct store_batch *batch, struct err *err)
{
    struct store_iterator *it = store_iterate(from, STORE_META, bytes_str("s"), bytes_str("t"));
    int code = 0;
    for (; code == 0 && store_iterator_valid(it); store_iterator_next(it)) {
        char client_id[LIMIT_CLIENT_ID + 1];
        struct bytes key = store_iterator_key(it);
        struct row row;
        if (key.size > LIMIT_CLIENT_ID + 1 || !decode_row(store_iterator_value(it), &row)) {
            code = malformed(err);
            break;
        }
        memcpy(client_id, key.data + 1, key.size - 1);
        client_id[key.size - 1] = 0;
        code = adopt_one(sessions, store, batch, client_id, &row, err);
        if (code == 0 && store_batch_bytes(batch) > BATCH_BYTES)
            code = store_write(store, batch, err);
    }
    if (code == 0)
        code = store_iterator_status(it, err);
    store_iterator_close(it);
    return code;
}
