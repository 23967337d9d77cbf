/* Applying operations.
 *
 * A call is one or more store batches: an operation is decided by what the store holds, so when one
 * comes to an entry that the open batch has already touched, that batch is written first. What
 * readers see of the segments and the statistics changes once, at the end of the call, under the
 * range's lock.
 *
 * The old entry of a changed or deleted one is analysed again, to take out what it had added: its
 * length from the total, and for each of its tokens one from the token's document frequency.
 */
#include "shard/range_apply.h"

#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/undo.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NEW QUIRE__WRITE_RESULT__OUTCOME__NEW
#define CHANGED QUIRE__WRITE_RESULT__OUTCOME__CHANGED
#define UNCHANGED QUIRE__WRITE_RESULT__OUTCOME__UNCHANGED
#define DELETED QUIRE__WRITE_RESULT__OUTCOME__DELETED
#define ABSENT QUIRE__WRITE_RESULT__OUTCOME__ABSENT
#define FAILED QUIRE__WRITE_RESULT__OUTCOME__FAILED

static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity == 0 ? 64 : 2 * *capacity;
    array = realloc(array, *capacity * size);
    if (array == NULL)
        abort();
    return array;
}

/* ---- rows ---- */

static int write_batch(struct apply *a, struct err *err)
{
    if (a->derived)
        buf_clear(&a->undo);
    else
        undo_put(&a->undo, a->batch_seq, a->range->store, a->batch);
    a->batch_seq = 0;
    key_set_clear(&a->touched);
    return name_index_write(a->range->names, a->batch, &a->names, err);
}

/* Before an entry is looked at: makes sure that the store shows it as the operations before left
 * it. */
static int settle(struct apply *a, struct bytes key, struct err *err)
{
    return key_set_has(&a->touched, key) ? write_batch(a, err) : 0;
}

static void open_batch(struct apply *a, uint64_t seq, struct bytes key)
{
    if (a->batch_seq == 0)
        a->batch_seq = seq;
    key_set_add(&a->touched, key);
}

static int read_entry(struct apply *a, struct bytes key, struct store_value *row,
                      Quire__Entry **old, struct err *err)
{
    bool found;
    *old = NULL;
    int code = store_get(a->range->store, STORE_ENTRY, key, row, &found, err);
    if (code != 0 || !found)
        return code;
    *old = quire__entry__unpack(arena_protobuf(&a->arena), row->bytes.size, row->bytes.data);
    if (*old == NULL)
        return err_set(err, ERR_CORRUPT, "entry \"%s\": malformed", (const char *)key.data);
    return 0;
}

static const struct range_name *find_name(const struct range_name *names, size_t count,
                                          struct bytes key)
{
    for (size_t i = 0; i < count; i++)
        if (bytes_equal(names[i].key, key))
            return &names[i];
    return NULL;
}

/* Those that the document has found. */
static struct range_name *names_of(struct apply *a, const struct document *document, size_t *count)
{
    struct range_name *names = arena_calloc(&a->arena, document->name_count, sizeof *names);
    if (names == NULL)
        abort();
    *count = document->name_count;
    for (size_t i = 0; i < *count; i++)
        names[i] = (struct range_name){document->names[i], document->written[i]};
    return names;
}

/* Brings the rows of `name` from the old entry's to those of the new one's document; either may be
 * NULL. */
static void write_names(struct apply *a, struct bytes entry_key_, const Quire__Entry *old,
                        const struct document *new)
{
    struct store *store = a->range->store;
    size_t old_count = 0, new_count = 0;
    struct range_name *olds = old ? range_names(old, &a->arena, &old_count) : NULL;
    struct range_name *news = new ? names_of(a, new, &new_count) : NULL;
    struct buf key = {0};
    for (size_t i = 0; i < new_count; i++) {
        const struct range_name *was = find_name(olds, old_count, news[i].key);
        if (was != NULL && strcmp(was->written, news[i].written) == 0)
            continue;
        buf_clear(&key);
        range_name_key(news[i].key, entry_key_, &key);
        store_batch_put(a->batch, store, STORE_NAME, buf_bytes(&key), bytes_str(news[i].written));
        name_index_note(&a->names, news[i].key);
        if (was != NULL)
            undo_value(&a->undo, STORE_NAME, buf_bytes(&key), bytes_str(was->written));
        else
            undo_absent(&a->undo, STORE_NAME, buf_bytes(&key));
    }
    for (size_t i = 0; i < old_count; i++) {
        if (find_name(news, new_count, olds[i].key) != NULL)
            continue;
        buf_clear(&key);
        range_name_key(olds[i].key, entry_key_, &key);
        store_batch_delete(a->batch, store, STORE_NAME, buf_bytes(&key));
        undo_value(&a->undo, STORE_NAME, buf_bytes(&key), bytes_str(olds[i].written));
    }
    buf_deinit(&key);
}

/* ---- documents ---- */

static const struct document *analyze(struct apply *a, const Quire__Entry *entry, struct err *err)
{
    struct document *document = arena_calloc(&a->arena, 1, sizeof *document);
    if (document == NULL || document_analyze(a->range->analyzer, &a->range->settings.document,
                                             entry, &a->arena, document, err) != 0)
        return NULL;
    return document;
}

static void change_letter(struct apply *a, struct bytes key, int delta)
{
    a->letters = grow(a->letters, a->letter_count, &a->letter_capacity, sizeof a->letters[0]);
    a->letters[a->letter_count++] = (struct apply_letter){key, delta};
}

/* Takes the old entry's document out of the index. */
static int kill_document(struct apply *a, struct bytes key, const Quire__Entry *old,
                         struct err *err)
{
    struct apply_kill kill;
    int code = range_place(a->range, key, &kill.segment, &kill.doc, err);
    if (code != 0)
        return code;
    const struct range_segment *segment = range_find_segment(a->range, kill.segment);
    uint32_t limit = segment == NULL ? 0
                     : segment == &a->range->segments[a->range->segment_count - 1]
                         ? a->doc_limit
                         : segment->doc_limit;
    if (kill.doc >= limit)
        return err_set(err, ERR_CORRUPT, "place of \"%s\": segment %llu, document %u do not exist",
                       (const char *)key.data, (unsigned long long)kill.segment, kill.doc);
    kill.document = analyze(a, old, err);
    if (kill.document == NULL)
        return err_set(err, ERR_NOMEM, "apply: out of memory");
    a->kills = grow(a->kills, a->kill_count, &a->kill_capacity, sizeof a->kills[0]);
    a->kills[a->kill_count++] = kill;
    a->documents--;
    a->total_length -= norm_decode(kill.document->norm);
    return 0;
}

static int add_document(struct apply *a, struct bytes key, const struct document *document,
                        struct err *err)
{
    struct segment *memory = a->range->segments[a->range->segment_count - 1].segment;
    uint32_t doc;
    int code = memory_segment_add(memory, document, &doc, err);
    if (code != 0)
        return code;
    a->doc_limit = doc + 1;
    a->documents++;
    a->total_length += norm_decode(document->norm);
    range_place_put(a->range, a->batch, key, memory->id, doc);
    return 0;
}

/* ---- operations ---- */

static int fail(struct range_result *result, const struct err *why)
{
    result->outcome = FAILED;
    result->version = 0;
    result->error = *why;
    return 0;
}

static bool version_fits(const Quire__WriteOp *op, const Quire__Entry *old,
                         struct range_result *result)
{
    uint64_t version = old != NULL ? old->version : 0;
    if (!op->has_if_version || op->if_version == version)
        return true;
    struct err why;
    if (version == 0)
        err_set(&why, ERR_CONFLICT, "there is no such entry, version %llu was expected",
                (unsigned long long)op->if_version);
    else
        err_set(&why, ERR_CONFLICT, "the stored version is %llu, %llu was expected",
                (unsigned long long)version, (unsigned long long)op->if_version);
    fail(result, &why);
    return false;
}

static struct bytes key_of(struct apply *a, const char *headword, const char *sense)
{
    struct buf key = {0};
    entry_key(headword, sense, &key);
    uint8_t *copy = arena_copy(&a->arena, key.data, key.size);
    if (copy == NULL)
        abort();
    struct bytes out = bytes_of(copy, key.size);
    buf_deinit(&key);
    return out;
}

/* The rows and the document of an entry that stands under `key` from now on. */
static int put_entry(struct apply *a, struct bytes key, struct bytes packed,
                     const Quire__Entry *old, const struct document *document, struct err *err)
{
    store_batch_put(a->batch, a->range->store, STORE_ENTRY, key, packed);
    write_names(a, key, old, document);
    return add_document(a, key, document, err);
}

static int store_entry(struct apply *a, struct bytes key, const struct range_op *op,
                       const struct store_value *row, const Quire__Entry *old, struct err *err)
{
    const struct document *document = op->document;
    if (document == NULL)
        document = analyze(a, op->op->put, err);
    if (document == NULL)
        return err_set(err, ERR_NOMEM, "apply: out of memory");
    open_batch(a, op->seq, key);
    if (old != NULL) {
        undo_value(&a->undo, STORE_ENTRY, key, row->bytes);
        int code = kill_document(a, key, old, err);
        if (code != 0)
            return code;
    } else {
        undo_absent(&a->undo, STORE_ENTRY, key);
        change_letter(a, key, 1);
    }
    Quire__Entry entry = *op->op->put;
    entry.has_version = 1;
    entry.version = op->seq;
    size_t size = quire__entry__get_packed_size(&entry);
    uint8_t *packed = malloc(size + 1);
    if (packed == NULL)
        return err_set(err, ERR_NOMEM, "apply: out of memory");
    quire__entry__pack(&entry, packed);
    int code = put_entry(a, key, bytes_of(packed, size), old, document, err);
    free(packed);
    return code;
}

static int apply_put(struct apply *a, const struct range_op *op, struct range_result *result,
                     struct err *err)
{
    const Quire__Entry *put = op->op->put;
    struct err why;
    if (op->document == NULL && entry_validate(put, &why) != 0)
        return fail(result, &why);
    struct bytes key =
        op->document != NULL ? op->document->key : key_of(a, put->headword, put->sense);
    struct store_value row = {0};
    Quire__Entry *old = NULL;
    int code = settle(a, key, err);
    if (code == 0)
        code = read_entry(a, key, &row, &old, err);
    if (code == 0 && version_fits(op->op, old, result)) {
        if (old != NULL && entry_equal(old, put)) {
            result->outcome = UNCHANGED;
            result->version = old->version;
        } else {
            code = store_entry(a, key, op, &row, old, err);
            result->outcome = old != NULL ? CHANGED : NEW;
            result->version = op->seq;
        }
    }
    store_value_release(&row);
    return code;
}

/* Takes out an entry that there is. */
static int take_out(struct apply *a, uint64_t seq, struct bytes key, struct bytes row,
                    const Quire__Entry *old, struct err *err)
{
    open_batch(a, seq, key);
    undo_value(&a->undo, STORE_ENTRY, key, row);
    int code = kill_document(a, key, old, err);
    store_batch_delete(a->batch, a->range->store, STORE_ENTRY, key);
    store_batch_delete(a->batch, a->range->store, STORE_PLACE, key);
    write_names(a, key, old, NULL);
    change_letter(a, key, -1);
    return code;
}

/* Deletes the entry with this key, if there is one. */
static int delete_entry(struct apply *a, const struct range_op *op, struct bytes key,
                        struct range_result *result, struct err *err)
{
    struct store_value row = {0};
    Quire__Entry *old = NULL;
    int code = settle(a, key, err);
    if (code == 0)
        code = read_entry(a, key, &row, &old, err);
    if (code == 0 && version_fits(op->op, old, result) && old != NULL) {
        code = take_out(a, op->seq, key, row.bytes, old, err);
        result->outcome = DELETED;
        result->version = op->seq;
    }
    store_value_release(&row);
    return code;
}

static int delete_all_senses(struct apply *a, const struct range_op *op,
                             struct range_result *result, struct err *err)
{
    int code = write_batch(a, err);
    if (code != 0)
        return code;
    struct bytes from = key_of(a, op->op->delete_headword, NULL);
    struct buf to = {0};
    buf_append(&to, from.data, from.size - 1);
    buf_append_u8(&to, 1);
    struct store_iterator *it = store_iterate(a->range->store, STORE_ENTRY, from, buf_bytes(&to));
    for (; code == 0 && store_iterator_valid(it); store_iterator_next(it)) {
        struct bytes key = store_iterator_key(it);
        uint8_t *copy = arena_copy(&a->arena, key.data, key.size);
        if (copy == NULL)
            abort();
        code = delete_entry(a, op, bytes_of(copy, key.size), result, err);
    }
    if (code == 0)
        code = store_iterator_status(it, err);
    store_iterator_close(it);
    buf_deinit(&to);
    return code;
}

static int apply_delete(struct apply *a, const struct range_op *op, struct range_result *result,
                        struct err *err)
{
    const char *headword = op->op->delete_headword;
    const char *sense = op->op->delete_sense;
    struct err why;
    size_t at;
    if (!text_valid(bytes_str(headword), &at) ||
        (sense != NULL && !text_valid(bytes_str(sense), &at))) {
        err_set(&why, ERR_INVALID, "delete: not UTF-8 at byte %zu", at);
        return fail(result, &why);
    }
    if (strlen(headword) > LIMIT_HEADWORD_BYTES ||
        (sense != NULL && strlen(sense) > LIMIT_SENSE_BYTES)) {
        err_set(&why, ERR_TOO_LARGE, "delete: at most %d bytes of headword and %d of sense",
                LIMIT_HEADWORD_BYTES, LIMIT_SENSE_BYTES);
        return fail(result, &why);
    }
    result->outcome = ABSENT;
    if (op->op->has_delete_all_senses && op->op->delete_all_senses)
        return delete_all_senses(a, op, result, err);
    return delete_entry(a, op, key_of(a, headword, sense), result, err);
}

static int apply_one(struct apply *a, const struct range_op *op, struct range_result *result,
                     struct err *err)
{
    *result = (struct range_result){0};
    if (op->op->put != NULL)
        return apply_put(a, op, result, err);
    if (op->op->delete_headword != NULL)
        return apply_delete(a, op, result, err);
    struct err why;
    err_set(&why, ERR_INVALID, "the operation neither puts nor deletes");
    return fail(result, &why);
}

/* ---- a call ---- */

void range_op_key(const Quire__WriteOp *op, struct buf *out)
{
    const char *headword = op->put != NULL ? op->put->headword : op->delete_headword;
    struct bytes text = bytes_str(headword == NULL ? "" : headword);
    if (text_valid(text, NULL))
        text_key(text, out);
    else
        buf_append_bytes(out, text);
}

static uint32_t *hashes_of(struct apply *a, const struct range_op *ops, size_t count)
{
    uint32_t *hashes = arena_alloc(&a->arena, (count + 1) * sizeof hashes[0]);
    struct buf key = {0};
    if (hashes == NULL)
        abort();
    for (size_t i = 0; i < count; i++) {
        struct bytes known = ops[i].document != NULL ? ops[i].document->key : (struct bytes){0};
        buf_clear(&key);
        if (known.size > 0)
            buf_append(&key, known.data, strnlen((const char *)known.data, known.size));
        else
            range_op_key(ops[i].op, &key);
        hashes[i] = session_hash(buf_bytes(&key));
    }
    buf_deinit(&key);
    return hashes;
}

void apply_begin(struct apply *a, struct range *range, bool derived)
{
    pthread_mutex_lock(&range->apply);
    *a = (struct apply){.range = range,
                        .derived = derived,
                        .batch = store_batch_create(),
                        .documents = range->now.documents,
                        .total_length = range->now.total_length,
                        .doc_limit = range->segments[range->segment_count - 1].doc_limit};
    arena_init(&a->arena, 0);
}

int apply_ops(struct apply *a, const struct range_session *session, uint64_t last,
              const struct range_op *ops, size_t count, struct range_result *results,
              struct err *err)
{
    struct range *range = a->range;
    int code = 0;
    for (size_t i = 0; i < count && code == 0; i++)
        code = apply_one(a, &ops[i], &results[i], err);
    if (code != 0 || session == NULL)
        return code;
    if (a->batch_seq == 0)
        a->batch_seq = last;
    return sessions_put(&range->sessions, range->store, a->batch, &a->undo, session, last, results,
                        hashes_of(a, ops, count), count, err);
}

int apply_adopt(struct apply *a, struct bytes key, struct bytes row, struct err *err)
{
    struct store_value there = {0};
    bool found;
    Quire__Entry *entry = quire__entry__unpack(arena_protobuf(&a->arena), row.size, row.data);
    if (entry == NULL)
        return err_set(err, ERR_CORRUPT, "entry \"%s\": malformed", (const char *)key.data);
    int code = store_get(a->range->store, STORE_ENTRY, key, &there, &found, err);
    store_value_release(&there);
    if (code == 0 && found)
        code =
            err_set(err, ERR_EXISTS, "entry \"%s\": both ranges have it", (const char *)key.data);
    if (code != 0)
        return code;
    const struct document *document = analyze(a, entry, err);
    if (document == NULL)
        return err_set(err, ERR_NOMEM, "apply: out of memory");
    change_letter(a, key, 1);
    return put_entry(a, key, row, NULL, document, err);
}

int apply_prune(struct apply *a, struct bytes key, struct bytes row, struct err *err)
{
    Quire__Entry *old = quire__entry__unpack(arena_protobuf(&a->arena), row.size, row.data);
    if (old == NULL)
        return err_set(err, ERR_CORRUPT, "entry \"%s\": malformed", (const char *)key.data);
    return take_out(a, 0, key, row, old, err);
}

int apply_end(struct apply *a, int code, uint64_t seq, struct err *failure, struct err *err)
{
    struct range *range = a->range;
    if (code == 0)
        code = write_batch(a, failure);
    if (code == 0)
        apply_publish(a, seq);
    if (a->derived)
        atomic_store(&range->derived, true);
    store_batch_destroy(a->batch);
    buf_deinit(&a->undo);
    buf_deinit(&a->names);
    key_set_deinit(&a->touched);
    free(a->kills);
    free(a->letters);
    arena_deinit(&a->arena);
    pthread_mutex_unlock(&range->apply);
    if (code == 0)
        return 0;
    err_prefix(failure, "apply to range %llu", (unsigned long long)range->settings.id);
    range_break(range, failure);
    if (err != NULL)
        *err = *failure;
    return code;
}

int range_apply_as(struct range *range, const struct range_session *session,
                   const struct range_op *ops, size_t count, struct range_result *results,
                   struct err *err)
{
    int code = range_broken(range, err);
    if (code != 0 || count == 0)
        return code;
    struct err failure = {0};
    struct apply a;
    uint64_t last = ops[count - 1].seq;
    apply_begin(&a, range, false);
    for (size_t i = 0; i < count; i++)
        assert(ops[i].seq == range->now.seq + 1 + i);
    code = apply_ops(&a, session, last, ops, count, results, &failure);
    return apply_end(&a, code, last, &failure, err);
}

int range_apply(struct range *range, const struct range_op *ops, size_t count,
                struct range_result *results, struct err *err)
{
    return range_apply_as(range, NULL, ops, count, results, err);
}
