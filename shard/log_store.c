/* Log store over RocksDB.
 *
 *   key    range id be64, first seq be64
 *   value  u8      format version (VERSION)
 *          varint  epoch of the primary that took it
 *          varint  count of operations
 *          rest but four bytes: the ShardWrite message as it was received
 *          le32    checksum of everything before it, and of the key
 *
 *   key    range id be64, 0 be64 (seqs begin at 1): there is a log for this range
 *   value  u8      format version
 *          varint  the seq after which it begins: up to there records were forgotten
 *          varint  the epoch of the record that ended there; 0 for seq 0
 *          le32    as above
 *
 * The message is kept as it came, rather than decoded and packed anew: that is what a secondary is
 * sent, and it costs nothing.
 *
 * Version 2: the epoch in the row of the beginning.
 *
 * A secondary may have records that the primary of a newer epoch never got. The record that comes
 * in the place of the first of them removes them: a range deletion and the record, in one batch.
 *
 * Recovery mode: a WAL may end in a torn record, since that append was never acknowledged; damage
 * anywhere else is an error. (RocksDB's default would silently stop at the damage and lose what
 * comes after it.)
 */
#include "shard/log_store.h"

#include "proto/base/clock.h"
#include "proto/base/metrics.h"
#include "shard/index_store.h"

#include <assert.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 2
#define TOLERATE_TORN_TAIL 0           /* WALRecoveryMode::kTolerateCorruptedTailRecords */
#define WRITE_BUFFER ((size_t)8 << 20) /* one that is filled, one that is being flushed */

struct log_store {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *synced, *unsynced;
    rocksdb_readoptions_t *read;
    struct histogram *appends;  /* NULL: not measured */
    pthread_mutex_t truncating; /* one at a time: the beginning is read and written */
};

static void record_key(uint64_t range, uint64_t seq, struct buf *out)
{
    buf_append_be64(out, range);
    buf_append_be64(out, seq);
}

int log_store_open(const char *path, struct log_store **out, struct err *err)
{
    *out = NULL;
    if (store_make_folder(path, err) != 0)
        return ERR_IO;
    struct log_store *log = calloc(1, sizeof *log);
    if (log == NULL)
        return err_set(err, ERR_NOMEM, "open the log: out of memory");
    pthread_mutex_init(&log->truncating, NULL);
    log->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(log->options, 1);
    rocksdb_options_set_paranoid_checks(log->options, 1);
    rocksdb_options_set_wal_recovery_mode(log->options, TOLERATE_TORN_TAIL);
    rocksdb_options_set_write_buffer_size(log->options, WRITE_BUFFER);
    rocksdb_options_set_compression(log->options, rocksdb_lz4_compression);
    /* It is read in order: when a range is opened, and for a secondary that is far behind. */
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_no_block_cache(table, 1);
    rocksdb_options_set_block_based_table_factory(log->options, table);
    rocksdb_block_based_options_destroy(table);
    rocksdb_options_set_stats_dump_period_sec(log->options, 0);
    store_silence(log->options);
    log->synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(log->synced, 1);
    log->unsynced = rocksdb_writeoptions_create();
    log->read = rocksdb_readoptions_create();
    char *message = NULL;
    log->db = rocksdb_open(log->options, path, &message);
    int code = store_translate(&message, err, "open the log");
    if (code != 0) {
        log_store_close(log);
        return code;
    }
    *out = log;
    return 0;
}

void log_store_measure(struct log_store *log, struct histogram *appends)
{
    log->appends = appends;
}

void log_store_close(struct log_store *log)
{
    if (log == NULL)
        return;
    if (log->db != NULL)
        rocksdb_close(log->db);
    rocksdb_options_destroy(log->options);
    rocksdb_writeoptions_destroy(log->synced);
    rocksdb_writeoptions_destroy(log->unsynced);
    rocksdb_readoptions_destroy(log->read);
    pthread_mutex_destroy(&log->truncating);
    free(log);
}

static uint32_t record_checksum(struct bytes key, struct bytes value)
{
    return (uint32_t)(hash64(value.data, value.size) ^ hash64(key.data, key.size));
}

/* Removes the rows [from, to], both inclusive. */
static void remove_rows(rocksdb_writebatch_t *batch, uint64_t range, uint64_t from, uint64_t to)
{
    assert(from <= to); /* RocksDB would log it, and then never open that log again */
    struct buf first = {0}, last = {0};
    record_key(range, from, &first);
    record_key(range, to, &last);
    buf_append_u8(&last, 0);
    rocksdb_writebatch_delete_range(batch, (const char *)first.data, first.size,
                                    (const char *)last.data, last.size);
    buf_deinit(&first);
    buf_deinit(&last);
}

int log_store_append(struct log_store *log, const struct log_record *records, size_t count,
                     struct err *err)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    struct buf key = {0}, value = {0};
    for (size_t i = 0; i < count; i++) {
        buf_clear(&key);
        buf_clear(&value);
        if (records[i].cuts)
            remove_rows(batch, records[i].range, records[i].first_seq, UINT64_MAX);
        record_key(records[i].range, records[i].first_seq, &key);
        buf_append_u8(&value, VERSION);
        buf_append_varint(&value, records[i].epoch);
        buf_append_varint(&value, records[i].count);
        buf_append_bytes(&value, records[i].write);
        buf_append_le32(&value, record_checksum(buf_bytes(&key), buf_bytes(&value)));
        rocksdb_writebatch_put(batch, (const char *)key.data, key.size, (const char *)value.data,
                               value.size);
    }
    char *message = NULL;
    uint64_t start_us = clock_us();
    rocksdb_write(log->db, log->synced, batch, &message);
    if (log->appends != NULL)
        histogram_observe(log->appends, clock_us() - start_us);
    rocksdb_writebatch_destroy(batch);
    buf_deinit(&key);
    buf_deinit(&value);
    return store_translate(&message, err, "append to the log");
}

static int decode(struct bytes key, struct bytes value, struct log_record *out, struct err *err)
{
    struct reader reader;
    uint32_t checksum;
    uint64_t count;
    uint8_t version;
    *out = (struct log_record){0};
    if (key.size != 16 || value.size < 7)
        return err_set(err, ERR_CORRUPT, "log record: malformed");
    reader_init(&reader, bytes_of(value.data + value.size - 4, 4));
    reader_le32(&reader, &checksum);
    if (checksum != record_checksum(key, bytes_of(value.data, value.size - 4)))
        return err_set(err, ERR_CORRUPT, "log record: checksum mismatch");
    reader_init(&reader, key);
    reader_be64(&reader, &out->range);
    reader_be64(&reader, &out->first_seq);
    reader_init(&reader, bytes_of(value.data, value.size - 4));
    if (!reader_u8(&reader, &version) || version != VERSION)
        return err_set(err, ERR_UNSUPPORTED, "log record: version %u", version);
    if (!reader_varint(&reader, &out->epoch) || !reader_varint(&reader, &count) || count == 0 ||
        count > UINT32_MAX || !reader_bytes(&reader, reader_left(&reader), &out->write))
        return err_set(err, ERR_CORRUPT, "log record: malformed");
    out->count = (uint32_t)count;
    return 0;
}

int log_store_read(struct log_store *log, uint64_t range, uint64_t from, uint64_t to,
                   int (*visit)(void *data, const struct log_record *record, struct err *err),
                   void *data, struct err *err)
{
    struct buf start = {0};
    record_key(range, from, &start);
    rocksdb_iterator_t *it = rocksdb_create_iterator(log->db, log->read);
    uint64_t next = from;
    int code = 0;
    for (rocksdb_iter_seek(it, (const char *)start.data, start.size);
         code == 0 && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        size_t key_size, value_size;
        const char *key = rocksdb_iter_key(it, &key_size);
        const char *value = rocksdb_iter_value(it, &value_size);
        struct log_record record;
        if (key_size < 8 || memcmp(key, start.data, 8) != 0 || next > to)
            break;
        code = decode(bytes_of(key, key_size), bytes_of(value, value_size), &record, err);
        if (code == 0 && record.first_seq != next)
            code = err_set(err, ERR_CORRUPT, "log of range %llu: %llu follows %llu",
                           (unsigned long long)range, (unsigned long long)record.first_seq,
                           (unsigned long long)next - 1);
        if (code == 0)
            code = visit(data, &record, err);
        next = record.first_seq + record.count;
    }
    char *message = NULL;
    rocksdb_iter_get_error(it, &message);
    if (code == 0)
        code = store_translate(&message, err, "read the log");
    else if (message != NULL)
        rocksdb_free(message);
    rocksdb_iter_destroy(it);
    buf_deinit(&start);
    return code;
}

/* ---- the beginning of a range's log ---- */

static void put_beginning(rocksdb_writebatch_t *batch, uint64_t range,
                          struct replication_position after)
{
    struct buf key = {0}, value = {0};
    record_key(range, 0, &key);
    buf_append_u8(&value, VERSION);
    buf_append_varint(&value, after.seq);
    buf_append_varint(&value, after.epoch);
    buf_append_le32(&value, record_checksum(buf_bytes(&key), buf_bytes(&value)));
    rocksdb_writebatch_put(batch, (const char *)key.data, key.size, (const char *)value.data,
                           value.size);
    buf_deinit(&key);
    buf_deinit(&value);
}

static int decode_beginning(struct bytes key, struct bytes value, struct replication_position *out,
                            struct err *err)
{
    struct reader reader;
    uint8_t version;
    uint32_t checksum;
    if (value.size < 4)
        return err_set(err, ERR_CORRUPT, "the beginning of a range's log: malformed");
    struct bytes head = bytes_of(value.data, value.size - 4);
    reader_init(&reader, bytes_of(value.data + head.size, 4));
    reader_le32(&reader, &checksum);
    if (checksum != record_checksum(key, head))
        return err_set(err, ERR_CORRUPT, "the beginning of a range's log: checksum mismatch");
    reader_init(&reader, head);
    if (!reader_u8(&reader, &version) || version != VERSION)
        return err_set(err, ERR_UNSUPPORTED, "the beginning of a range's log: version %u", version);
    if (!reader_varint(&reader, &out->seq) || !reader_varint(&reader, &out->epoch))
        return err_set(err, ERR_CORRUPT, "the beginning of a range's log: malformed");
    return 0;
}

static int write_batch(struct log_store *log, bool sync, rocksdb_writebatch_t *batch,
                       const char *doing, struct err *err)
{
    char *message = NULL;
    rocksdb_write(log->db, sync ? log->synced : log->unsynced, batch, &message);
    rocksdb_writebatch_destroy(batch);
    return store_translate(&message, err, doing);
}

int log_store_begin(struct log_store *log, uint64_t range, struct replication_position after,
                    struct err *err)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    remove_rows(batch, range, 0, UINT64_MAX);
    put_beginning(batch, range, after);
    return write_batch(log, true, batch, "begin the log of a range", err);
}

int log_store_beginning(struct log_store *log, uint64_t range, bool *known,
                        struct replication_position *after, struct err *err)
{
    struct buf key = {0};
    char *message = NULL;
    size_t size = 0;
    *known = false;
    *after = (struct replication_position){0};
    record_key(range, 0, &key);
    char *value =
        rocksdb_get(log->db, log->read, (const char *)key.data, key.size, &size, &message);
    int code = store_translate(&message, err, "read the log");
    if (code == 0 && value != NULL) {
        code = decode_beginning(buf_bytes(&key), bytes_of(value, size), after, err);
        *known = code == 0;
    }
    if (value != NULL)
        rocksdb_free(value);
    buf_deinit(&key);
    return code;
}

/* ---- what there is ---- */

static int extend(void *data, const struct log_record *record, struct err *err)
{
    struct log_extent *extent = data;
    size_t count = extent->start_count;
    uint64_t epoch = count > 0 ? extent->starts[count - 1].epoch : extent->base.epoch;
    extent->last_seq = record->first_seq + record->count - 1;
    if (record->epoch < epoch)
        return err_set(err, ERR_CORRUPT, "log of range %llu: epoch %llu follows %llu",
                       (unsigned long long)record->range, (unsigned long long)record->epoch,
                       (unsigned long long)epoch);
    if (count > 0 && record->epoch == epoch)
        return 0;
    extent->starts = realloc(extent->starts, (count + 1) * sizeof extent->starts[0]);
    if (extent->starts == NULL)
        abort(); /* epochs are few */
    extent->starts[extent->start_count++] =
        (struct replication_position){record->epoch, record->first_seq};
    return 0;
}

int log_store_extent(struct log_store *log, uint64_t range, struct log_extent *out, struct err *err)
{
    *out = (struct log_extent){0};
    int code = log_store_beginning(log, range, &out->known, &out->base, err);
    if (code != 0 || !out->known)
        return code;
    out->last_seq = out->base.seq;
    code = log_store_read(log, range, out->base.seq + 1, UINT64_MAX, extend, out, err);
    if (code != 0)
        log_extent_deinit(out);
    return code;
}

void log_extent_deinit(struct log_extent *extent)
{
    free(extent->starts);
    *extent = (struct log_extent){0};
}

/* Whether a row, the last one at or before `seq`, holds it, and then where it ends. */
static int decode_holder(struct bytes key, struct bytes value, uint64_t seq, bool *holds,
                         struct replication_position *end, struct err *err)
{
    struct reader reader;
    uint64_t range, first;
    int code;
    reader_init(&reader, key);
    reader_be64(&reader, &range);
    if (!reader_be64(&reader, &first) || first == 0) {
        code = decode_beginning(key, value, end, err);
        *holds = code == 0 && end->seq == seq;
        return code;
    }
    struct log_record record;
    code = decode(key, value, &record, err);
    *end = (struct replication_position){record.epoch, first + record.count - 1};
    *holds = code == 0 && end->seq >= seq;
    return code;
}

/* Where the record ends that holds `seq`; or the beginning, when that is at `seq`. */
static int find_end(struct log_store *log, uint64_t range, uint64_t seq,
                    struct replication_position *end, struct err *err)
{
    struct buf start = {0};
    char *message = NULL;
    bool holds = false;
    int code = 0;
    *end = (struct replication_position){0};
    record_key(range, seq, &start);
    rocksdb_iterator_t *it = rocksdb_create_iterator(log->db, log->read);
    rocksdb_iter_seek_for_prev(it, (const char *)start.data, start.size);
    if (rocksdb_iter_valid(it)) {
        size_t key_size, value_size;
        const char *key = rocksdb_iter_key(it, &key_size);
        const char *value = rocksdb_iter_value(it, &value_size);
        if (key_size >= 8 && memcmp(key, start.data, 8) == 0)
            code = decode_holder(bytes_of(key, key_size), bytes_of(value, value_size), seq, &holds,
                                 end, err);
    }
    rocksdb_iter_get_error(it, &message);
    if (code == 0)
        code = store_translate(&message, err, "read the log");
    else if (message != NULL)
        rocksdb_free(message);
    if (code == 0 && !holds)
        code = err_set(err, ERR_NOT_FOUND, "log of range %llu: there is no record of %llu",
                       (unsigned long long)range, (unsigned long long)seq);
    rocksdb_iter_destroy(it);
    buf_deinit(&start);
    return code;
}

int log_store_epoch_at(struct log_store *log, uint64_t range, uint64_t seq, uint64_t *epoch,
                       struct err *err)
{
    struct replication_position end;
    int code = find_end(log, range, seq, &end, err);
    *epoch = end.epoch;
    return code;
}

/* ---- forgetting ---- */

static int truncate_locked(struct log_store *log, uint64_t range, uint64_t seq, struct err *err)
{
    bool known;
    struct replication_position base, end;
    int code = log_store_beginning(log, range, &known, &base, err);
    if (code != 0 || seq <= base.seq)
        return code;
    code = find_end(log, range, seq, &end, err);
    if (code == 0 && end.seq != seq)
        code = err_set(err, ERR_INVALID, "log of range %llu: no record ends at %llu",
                       (unsigned long long)range, (unsigned long long)seq);
    if (code != 0)
        return err_prefix(err, "truncate the log");
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    remove_rows(batch, range, 1, seq);
    put_beginning(batch, range, end);
    return write_batch(log, false, batch, "truncate the log", err);
}

int log_store_truncate(struct log_store *log, uint64_t range, uint64_t seq, struct err *err)
{
    pthread_mutex_lock(&log->truncating);
    int code = truncate_locked(log, range, seq, err);
    pthread_mutex_unlock(&log->truncating);
    return code;
}

int log_store_drop(struct log_store *log, uint64_t range, struct err *err)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    remove_rows(batch, range, 0, UINT64_MAX);
    return write_batch(log, false, batch, "remove the log of a range", err);
}

uint64_t log_store_bytes(struct log_store *log)
{
    uint64_t files = 0, memory = 0;
    rocksdb_property_int(log->db, "rocksdb.total-sst-files-size", &files);
    rocksdb_property_int(log->db, "rocksdb.cur-size-all-mem-tables", &memory);
    return files + memory;
}
