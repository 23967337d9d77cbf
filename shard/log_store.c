/* Log store over RocksDB.
 *
 *   key    range id be64, first seq be64
 *   value  u8      format version, 1
 *          varint  epoch
 *          varint  count of operations
 *          rest but four bytes: the ShardWrite message as it was received
 *          le32    checksum of everything before it, and of the key
 *
 *   key    range id be64, 0 be64 (seqs begin at 1): there is a log for this range
 *   value  u8      format version, 1
 *          varint  the seq up to which records were forgotten
 *          le32    as above
 *
 * The message is kept as it came, rather than decoded and packed anew: that is what a secondary
 * will be sent, and it costs nothing.
 *
 * Recovery mode: a WAL may end in a torn record, since that append was never acknowledged; damage
 * anywhere else is an error. (RocksDB's default would silently stop at the damage and lose what
 * comes after it.)
 */
#include "shard/log_store.h"

#include "shard/index_store.h"

#include <assert.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define TOLERATE_TORN_TAIL 0           /* WALRecoveryMode::kTolerateCorruptedTailRecords */
#define WRITE_BUFFER ((size_t)8 << 20) /* one that is filled, one that is being flushed */

struct log_store {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *synced, *unsynced;
    rocksdb_readoptions_t *read;
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
    log->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(log->options, 1);
    rocksdb_options_set_paranoid_checks(log->options, 1);
    rocksdb_options_set_wal_recovery_mode(log->options, TOLERATE_TORN_TAIL);
    rocksdb_options_set_write_buffer_size(log->options, WRITE_BUFFER);
    rocksdb_options_set_compression(log->options, rocksdb_lz4_compression);
    /* It is read once, in order, when a range is opened. */
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
    free(log);
}

static uint32_t record_checksum(struct bytes key, struct bytes value)
{
    return (uint32_t)(hash64(value.data, value.size) ^ hash64(key.data, key.size));
}

int log_store_append(struct log_store *log, const struct log_record *records, size_t count,
                     struct err *err)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    struct buf key = {0}, value = {0};
    for (size_t i = 0; i < count; i++) {
        buf_clear(&key);
        buf_clear(&value);
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
    rocksdb_write(log->db, log->synced, batch, &message);
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

int log_store_read(struct log_store *log, uint64_t range, uint64_t from,
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
        if (key_size < 8 || memcmp(key, start.data, 8) != 0)
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

static void put_beginning(rocksdb_writebatch_t *batch, uint64_t range, uint64_t forgotten)
{
    struct buf key = {0}, value = {0};
    record_key(range, 0, &key);
    buf_append_u8(&value, VERSION);
    buf_append_varint(&value, forgotten);
    buf_append_le32(&value, record_checksum(buf_bytes(&key), buf_bytes(&value)));
    rocksdb_writebatch_put(batch, (const char *)key.data, key.size, (const char *)value.data,
                           value.size);
    buf_deinit(&key);
    buf_deinit(&value);
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

static int write_batch(struct log_store *log, bool sync, rocksdb_writebatch_t *batch,
                       const char *doing, struct err *err)
{
    char *message = NULL;
    rocksdb_write(log->db, sync ? log->synced : log->unsynced, batch, &message);
    rocksdb_writebatch_destroy(batch);
    return store_translate(&message, err, doing);
}

int log_store_begin(struct log_store *log, uint64_t range, struct err *err)
{
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    put_beginning(batch, range, 0);
    return write_batch(log, true, batch, "begin the log of a range", err);
}

int log_store_beginning(struct log_store *log, uint64_t range, bool *known, uint64_t *forgotten,
                        struct err *err)
{
    struct buf key = {0};
    char *message = NULL;
    size_t size = 0;
    *known = false;
    *forgotten = 0;
    record_key(range, 0, &key);
    char *value =
        rocksdb_get(log->db, log->read, (const char *)key.data, key.size, &size, &message);
    int code = store_translate(&message, err, "read the log");
    if (code == 0 && value != NULL) {
        struct reader reader;
        uint8_t version;
        uint32_t checksum = 0;
        if (size > 4) {
            reader_init(&reader, bytes_of(value + size - 4, 4));
            reader_le32(&reader, &checksum);
        }
        reader_init(&reader, bytes_of(value, size > 4 ? size - 4 : 0));
        *known =
            size > 4 && checksum == record_checksum(buf_bytes(&key), bytes_of(value, size - 4)) &&
            reader_u8(&reader, &version) && version == VERSION && reader_varint(&reader, forgotten);
        if (!*known)
            code = err_set(err, ERR_CORRUPT, "the beginning of a range's log: malformed");
    }
    if (value != NULL)
        rocksdb_free(value);
    buf_deinit(&key);
    return code;
}

int log_store_truncate(struct log_store *log, uint64_t range, uint64_t seq, struct err *err)
{
    if (seq == 0)
        return 0;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    remove_rows(batch, range, 1, seq);
    put_beginning(batch, range, seq);
    return write_batch(log, false, batch, "truncate the log", err);
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
