#include "shard/sessions.h"

#include "proto/limits.h"
#include "shard/undo.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define VERSION 1

static void session_key(const char *client_id, struct buf *out)
{
    buf_append_u8(out, 's');
    buf_append_str(out, client_id);
}

static void encode(const struct range_session *session, uint64_t seq,
                   const struct range_result *results, size_t count, struct buf *out)
{
    buf_append_u8(out, VERSION);
    buf_append_varint(out, session->batch);
    buf_append_varint(out, seq);
    buf_append_varint(out, count);
    for (size_t i = 0; i < count; i++) {
        buf_append_u8(out, (uint8_t)results[i].outcome);
        buf_append_varint(out, results[i].version);
        if (results[i].outcome != QUIRE__WRITE_RESULT__OUTCOME__FAILED)
            continue;
        buf_append_varint(out, (uint64_t)results[i].error.code);
        buf_append_varint(out, strlen(results[i].error.text));
        buf_append_str(out, results[i].error.text);
    }
    buf_append_le32(out, checksum32(out->data, out->size));
}

static bool decode_head(struct bytes row, struct reader *reader, uint64_t *batch, uint64_t *seq)
{
    uint32_t checksum;
    uint8_t version;
    if (row.size < 5)
        return false;
    reader_init(reader, bytes_of(row.data + row.size - 4, 4));
    reader_le32(reader, &checksum);
    if (checksum != checksum32(row.data, row.size - 4))
        return false;
    reader_init(reader, bytes_of(row.data, row.size - 4));
    return reader_u8(reader, &version) && version == VERSION && reader_varint(reader, batch) &&
           reader_varint(reader, seq);
}

static bool decode_results(struct reader *reader, struct range_result **results, size_t *count,
                           struct arena *arena)
{
    uint64_t number, code, size;
    struct bytes text;
    if (!reader_varint(reader, &number) || number > LIMIT_BATCH_OPS)
        return false;
    *results = arena_calloc(arena, number + 1, sizeof **results);
    *count = number;
    for (uint64_t i = 0; *results != NULL && i < number; i++) {
        struct range_result *result = &(*results)[i];
        uint8_t outcome;
        if (!reader_u8(reader, &outcome) || !reader_varint(reader, &result->version))
            return false;
        result->outcome = outcome;
        if (outcome != QUIRE__WRITE_RESULT__OUTCOME__FAILED)
            continue;
        if (!reader_varint(reader, &code) || !reader_varint(reader, &size) ||
            !reader_bytes(reader, size, &text))
            return false;
        err_set(&result->error, (int)code, "%.*s", (int)text.size, (const char *)text.data);
    }
    return *results != NULL;
}

int sessions_load(struct sessions *sessions, struct store *store, struct err *err)
{
    sessions->count = 0;
    struct store_iterator *it = store_iterate(store, STORE_META, bytes_str("s"), bytes_str("t"));
    int code = 0;
    for (; code == 0 && store_iterator_valid(it); store_iterator_next(it)) {
        struct session *session = &sessions->session[sessions->count];
        struct bytes key = store_iterator_key(it);
        struct reader reader;
        if (sessions->count == LIMIT_RANGE_SESSIONS || key.size > LIMIT_CLIENT_ID + 1 ||
            !decode_head(store_iterator_value(it), &reader, &session->batch, &session->seq)) {
            code = err_set(err, ERR_CORRUPT, "session row: malformed");
            break;
        }
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

/* Where the client's session goes; *evicted is the one that has to leave, or NULL. */
static struct session *slot(struct sessions *sessions, const char *client_id, bool *evict)
{
    *evict = false;
    struct session *found = (struct session *)sessions_find(sessions, client_id);
    if (found != NULL)
        return found;
    if (sessions->count < LIMIT_RANGE_SESSIONS) {
        found = &sessions->session[sessions->count++];
        found->client_id[0] = 0;
        return found;
    }
    found = &sessions->session[0];
    for (uint32_t i = 1; i < sessions->count; i++)
        if (sessions->session[i].seq < found->seq)
            found = &sessions->session[i];
    *evict = true;
    return found;
}

static int undo_row(struct store *store, struct buf *undo, struct bytes key, struct err *err)
{
    struct store_value old;
    bool found;
    int code = store_get(store, STORE_META, key, &old, &found, err);
    if (code != 0)
        return code;
    if (found)
        undo_value(undo, STORE_META, key, old.bytes);
    else
        undo_absent(undo, STORE_META, key);
    store_value_release(&old);
    return 0;
}

int sessions_put(struct sessions *sessions, struct store *store, struct store_batch *batch,
                 struct buf *undo, const struct range_session *session, uint64_t seq,
                 const struct range_result *results, size_t count, struct err *err)
{
    assert(strlen(session->client_id) <= LIMIT_CLIENT_ID);
    struct buf key = {0}, row = {0};
    bool evict;
    struct session *place = slot(sessions, session->client_id, &evict);
    int code = 0;
    if (evict) {
        session_key(place->client_id, &key);
        code = undo_row(store, undo, buf_bytes(&key), err);
        store_batch_delete(batch, store, STORE_META, buf_bytes(&key));
        buf_clear(&key);
    }
    session_key(session->client_id, &key);
    if (code == 0)
        code = undo_row(store, undo, buf_bytes(&key), err);
    if (code == 0) {
        encode(session, seq, results, count, &row);
        store_batch_put(batch, store, STORE_META, buf_bytes(&key), buf_bytes(&row));
        snprintf(place->client_id, sizeof place->client_id, "%s", session->client_id);
        place->batch = session->batch;
        place->seq = seq;
    }
    buf_deinit(&key);
    buf_deinit(&row);
    return code;
}

int sessions_results(struct store *store, const char *client_id, struct range_result **results,
                     size_t *count, struct arena *arena, struct err *err)
{
    struct buf key = {0};
    struct store_value row;
    struct reader reader;
    uint64_t batch, seq;
    bool found;
    session_key(client_id, &key);
    int code = store_get(store, STORE_META, buf_bytes(&key), &row, &found, err);
    if (code == 0 && (!found || !decode_head(row.bytes, &reader, &batch, &seq) ||
                      !decode_results(&reader, results, count, arena)))
        code = err_set(err, ERR_CORRUPT, "session row: malformed or missing");
    store_value_release(&row);
    buf_deinit(&key);
    return code;
}
