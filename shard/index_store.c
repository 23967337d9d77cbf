/* Index store over RocksDB.
 *
 * One RocksDB holds one range. Besides the families of enum store_family, which are column families
 * of the names below, RocksDB's obligatory family "default" holds one row of our own, "flush": how
 * often store_flush() was called.
 *
 * Why no WAL: what is written here can be had again from the log store; a second log would double
 * every write. RocksDB then promises only that what it flushed is durable. `atomic_flush` makes one
 * flush take all column families as of one moment between two batches, so that what is on disk is
 * always a prefix of the history of batches.
 *
 * store_flush(). The C API of RocksDB 7.8 can flush one column family, and with atomic_flush that
 * means this family alone. What takes all of them is the flush that begins a manual compaction. So
 * store_flush() writes the row "flush" with a number that rises, asks for the compaction of that
 * one key (a family of one row: nothing to compact), and, since that call reports no error, reads
 * the row back from what is persisted. When the number is not there the flush has failed, and an
 * empty write tells with which error RocksDB has stopped.
 *
 * Other flushes. Memtables of WRITE_BUFFER bytes are never full in practice, and a close does not
 * flush (avoid_flush_during_shutdown). The range does not depend on either: what became durable
 * early is taken back at open by its undo rows (range.h).
 *
 * Values of postings and columns are packed already and are not compressed again. Rows of terms are
 * written once, at the last level, and are worth zstd. Entries are short texts that look alike: on
 * the last level they get zstd with a dictionary by file. What a flush writes is soon rewritten, so
 * above the last level lz4 must do, without a dictionary, which lz4 would have to load for each
 * block. Every block has RocksDB's own xxh3 checksum, checked on each read from disk.
 */
#include "shard/folder.h"
#include "shard/index_store_internal.h"

#include "shard/list_cache.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITE_BUFFER ((size_t)4 << 30)   /* of a memtable; beyond it RocksDB flushes by itself */
#define ARENA_BLOCK ((size_t)64 << 10)   /* memtables of idle ranges should cost little */
#define MEMORY_BLOOM ((size_t)256 << 10) /* ten bits a key for 200,000 rows not flushed yet */
#define OPEN_FILES 256                   /* kept open by one store; others are opened when needed */
#define DICTIONARY_BYTES (32 << 10)
#define DICTIONARY_SAMPLE (16 * DICTIONARY_BYTES) /* 100 times: 1.5 % smaller, 5 % more CPU */
#define DICTIONARY_BUFFER ((size_t)8 << 20)       /* blocks held back until there is a dictionary */
#define PERSISTED_TIER 2                          /* ReadTier::kPersistedTier */
#define CHECKSUM_XXH3 4

struct family_settings {
    const char *name;
    int compression;
    bool archive; /* on the last level zstd, with a dictionary by file */
    int block_bytes;
    bool bloom;        /* point lookups of keys that may be absent */
    bool memory_bloom; /* and, as a rule, are absent: an import looks for each entry before it is
                          written. Its filter spares the search through the memtable. */
};

static const struct family_settings FAMILY[FAMILIES] = {
    [STORE_ENTRY] = {"entry", rocksdb_lz4_compression, true, 16 << 10, true, true},
    [STORE_NAME] = {"name", rocksdb_lz4_compression, false, 8 << 10, false, false},
    [STORE_PLACE] = {"place", rocksdb_lz4_compression, false, 4 << 10, true, false},
    [STORE_TERM] = {"term", rocksdb_zstd_compression, false, 8 << 10, true, false},
    [STORE_POST] = {"post", rocksdb_no_compression, false, 32 << 10, false, false},
    [STORE_POS] = {"pos", rocksdb_no_compression, false, 32 << 10, false, false},
    [STORE_DOC] = {"doc", rocksdb_lz4_compression, false, 32 << 10, false, false},
    [STORE_DEAD] = {"dead", rocksdb_lz4_compression, false, 8 << 10, false, false},
    [STORE_META] = {"meta", rocksdb_lz4_compression, false, 8 << 10, true, false},
    [FAMILY_DEFAULT] = {"default", rocksdb_no_compression, false, 4 << 10, false, false},
};

static const struct bytes FLUSH_KEY = {(const uint8_t *)"flush", 5};

struct store_cache {
    rocksdb_cache_t *cache;
    struct list_cache *lists;
};

struct store_batch {
    rocksdb_writebatch_t *batch;
};

struct store_iterator {
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *read;
    uint8_t *bounds; /* from, to; RocksDB borrows them */
};

int store_translate(char **message, struct err *err, const char *doing)
{
    char *text = *message;
    if (text == NULL)
        return 0;
    int code = ERR_IO;
    if (strncmp(text, "Corruption", 10) == 0)
        code = ERR_CORRUPT;
    else if (strncmp(text, "Invalid argument", 16) == 0)
        code = ERR_INTERNAL;
    err_set(err, code, "%s: %s", doing, text);
    rocksdb_free(text);
    *message = NULL;
    return code;
}

struct store_cache *store_cache_create(size_t bytes)
{
    struct store_cache *cache = malloc(sizeof *cache);
    if (cache == NULL)
        return NULL;
    cache->lists = list_cache_create(bytes / 2);
    if (cache->lists == NULL) {
        free(cache);
        return NULL;
    }
    cache->cache = rocksdb_cache_create_lru(bytes - bytes / 2);
    return cache;
}

void store_cache_destroy(struct store_cache *cache)
{
    if (cache == NULL)
        return;
    list_cache_destroy(cache->lists);
    rocksdb_cache_destroy(cache->cache);
    free(cache);
}

/* ---- opening and closing ---- */

static rocksdb_options_t *database_options(struct err *err)
{
    rocksdb_options_t *base = rocksdb_options_create();
    rocksdb_options_t *options = rocksdb_options_create();
    char *message = NULL;
    rocksdb_get_options_from_string(base, "avoid_flush_during_shutdown=true", options, &message);
    rocksdb_options_destroy(base);
    if (store_translate(&message, err, "set options") != 0) {
        rocksdb_options_destroy(options);
        return NULL;
    }
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_create_missing_column_families(options, 1);
    rocksdb_options_set_atomic_flush(options, 1);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_max_open_files(options, OPEN_FILES);
    rocksdb_options_set_bytes_per_sync(options, 1 << 20);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    store_silence(options);
    return options;
}

/* RocksDB's own log file is a trap: Debian builds RocksDB with assertions, and one of them ends the
 * process when a line is logged after an earlier one could not be written (full disk). The C API
 * of 7.8 cannot open a store without that file, but above the highest level nothing is ever written
 * to it. */
void store_silence(void *options)
{
    rocksdb_options_set_info_log_level(options, 6 /* NUM_INFO_LOG_LEVELS */);
    rocksdb_options_set_keep_log_file_num(options, 1);
}

static rocksdb_options_t *family_options(const struct family_settings *settings,
                                         struct store_cache *cache)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_write_buffer_size(options, WRITE_BUFFER);
    rocksdb_options_set_arena_block_size(options, ARENA_BLOCK);
    rocksdb_options_set_max_write_buffer_number(options, 8);
    rocksdb_options_set_compression(options, settings->compression);
    if (settings->archive) {
        rocksdb_options_set_bottommost_compression(options, rocksdb_zstd_compression);
        rocksdb_options_set_bottommost_compression_options(options, -14, 3, 0, DICTIONARY_BYTES, 1);
        rocksdb_options_set_bottommost_compression_options_zstd_max_train_bytes(
            options, DICTIONARY_SAMPLE, 1);
        rocksdb_options_set_bottommost_compression_options_max_dict_buffer_bytes(
            options, DICTIONARY_BUFFER, 1);
    }
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    if (cache != NULL)
        rocksdb_block_based_options_set_block_cache(table, cache->cache);
    rocksdb_block_based_options_set_block_size(table, (size_t)settings->block_bytes);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_checksum(table, CHECKSUM_XXH3);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    if (settings->memory_bloom) {
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, (double)MEMORY_BLOOM /
                                                                          (double)WRITE_BUFFER);
        rocksdb_options_set_memtable_whole_key_filtering(options, 1);
    }
    if (settings->bloom)
        rocksdb_block_based_options_set_filter_policy(table,
                                                      rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
    return options;
}

static int open_database(struct store *store, const char *path, struct err *err)
{
    const char *names[FAMILIES];
    const rocksdb_options_t *options[FAMILIES];
    for (int i = 0; i < FAMILIES; i++) {
        names[i] = FAMILY[i].name;
        options[i] = store->family_options[i];
    }
    char *message = NULL;
    store->db = rocksdb_open_column_families(store->options, path, FAMILIES, names, options,
                                             store->families, &message);
    return store_translate(&message, err, "open the index store");
}

static int read_flushes(struct store *store, struct err *err)
{
    char *message = NULL;
    size_t size = 0;
    char *value = rocksdb_get_cf(store->db, store->read, store->families[FAMILY_DEFAULT],
                                 (const char *)FLUSH_KEY.data, FLUSH_KEY.size, &size, &message);
    int code = store_translate(&message, err, "read the flush count");
    if (value != NULL) {
        struct reader reader;
        reader_init(&reader, bytes_of(value, size));
        reader_be64(&reader, &store->flushes);
        rocksdb_free(value);
    }
    return code;
}

/* A new folder has to be durable in its parent as well: RocksDB sees to what is in it only. */
int store_make_folder(const char *path, struct err *err)
{
    char parent[4096];
    if (mkdir(path, 0777) != 0)
        return errno == EEXIST
                   ? 0
                   : err_set(err, ERR_IO, "create folder %s: %s", path, strerror(errno));
    snprintf(parent, sizeof parent, "%s", path);
    int folder = open(dirname(parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = folder >= 0 && fsync(folder) == 0;
    int why = errno;
    if (folder >= 0)
        close(folder);
    return synced ? 0 : err_set(err, ERR_IO, "create folder %s: %s", path, strerror(why));
}

#define STORE_COPY_PATH_MAX 4096

/* Where store_verify() has its links. */
static void copy_path(const char *path, char out[STORE_COPY_PATH_MAX])
{
    snprintf(out, STORE_COPY_PATH_MAX, "%s.verify", path);
}

int store_open(const char *path, struct store_cache *cache, struct store **out, struct err *err)
{
    *out = NULL;
    if (store_make_folder(path, err) != 0)
        return ERR_IO;
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return err_set(err, ERR_NOMEM, "open the index store: out of memory");
    pthread_mutex_init(&store->flush_lock, NULL);
    store->path = strdup(path);
    if (store->path == NULL)
        abort();
    store_tables_sweep(path);
    char copy[STORE_COPY_PATH_MAX];
    copy_path(path, copy);
    folder_remove(copy, NULL); /* of a process that ended while it verified */
    for (int i = 0; i < FAMILIES; i++)
        store->family_options[i] = family_options(&FAMILY[i], cache);
    store->lists = cache == NULL ? NULL : cache->lists;
    store->read = rocksdb_readoptions_create();
    store->read_once = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(store->read_once, 0);
    store->read_persisted = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(store->read_persisted, PERSISTED_TIER);
    store->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(store->write, 1);
    store->options = database_options(err);
    int code = store->options == NULL ? ERR_INTERNAL : open_database(store, path, err);
    if (code == 0)
        code = read_flushes(store, err);
    if (code != 0) {
        store_close(store);
        return code;
    }
    *out = store;
    return 0;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    for (int i = 0; i < FAMILIES; i++)
        if (store->families[i] != NULL && store->db != NULL)
            rocksdb_column_family_handle_destroy(store->families[i]);
    if (store->db != NULL)
        rocksdb_close(store->db);
    for (int i = 0; i < FAMILIES; i++)
        rocksdb_options_destroy(store->family_options[i]);
    if (store->options != NULL)
        rocksdb_options_destroy(store->options);
    rocksdb_readoptions_destroy(store->read);
    rocksdb_readoptions_destroy(store->read_once);
    rocksdb_readoptions_destroy(store->read_persisted);
    rocksdb_writeoptions_destroy(store->write);
    pthread_mutex_destroy(&store->flush_lock);
    free(store->path);
    free(store);
}

int store_destroy_files(const char *path, struct err *err)
{
    rocksdb_options_t *options = rocksdb_options_create();
    char *message = NULL;
    store_tables_sweep(path);
    rocksdb_destroy_db(options, path, &message);
    rocksdb_options_destroy(options);
    return store_translate(&message, err, "remove the index store");
}

bool store_exists(const char *path)
{
    char current[4096];
    return snprintf(current, sizeof current, "%s/CURRENT", path) < (int)sizeof current &&
           access(current, F_OK) == 0;
}

/* ---- reading ---- */

struct list_cache *store_list_cache(struct store *store)
{
    return store->lists;
}

static int get_with(struct store *store, const rocksdb_readoptions_t *read,
                    enum store_family family, struct bytes key, struct store_value *value,
                    bool *found, struct err *err)
{
    char *message = NULL;
    *value = (struct store_value){0};
    *found = false;
    rocksdb_pinnableslice_t *pin = rocksdb_get_pinned_cf(
        store->db, read, store->families[family], (const char *)key.data, key.size, &message);
    if (store_translate(&message, err, FAMILY[family].name) != 0)
        return err_prefix(err, "read");
    if (pin == NULL)
        return 0;
    size_t size;
    const char *data = rocksdb_pinnableslice_value(pin, &size);
    value->bytes = bytes_of(data, size);
    value->pin = pin;
    *found = true;
    return 0;
}

int store_get(struct store *store, enum store_family family, struct bytes key,
              struct store_value *value, bool *found, struct err *err)
{
    return get_with(store, store->read, family, key, value, found, err);
}

int store_get_once(struct store *store, enum store_family family, struct bytes key,
                   struct store_value *value, bool *found, struct err *err)
{
    return get_with(store, store->read_once, family, key, value, found, err);
}

void store_value_release(struct store_value *value)
{
    if (value->pin != NULL)
        rocksdb_pinnableslice_destroy(value->pin);
    *value = (struct store_value){0};
}

static struct store_iterator *iterate(struct store *store, enum store_family family,
                                      struct bytes from, struct bytes to, bool once)
{
    struct store_iterator *it = calloc(1, sizeof *it);
    uint8_t *bounds = malloc(from.size + to.size + 1);
    if (it == NULL || bounds == NULL)
        abort(); /* a few hundred bytes: nothing sensible goes on without them */
    it->bounds = bounds;
    it->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(it->read, !once);
    if (from.size > 0) {
        memcpy(bounds, from.data, from.size);
        rocksdb_readoptions_set_iterate_lower_bound(it->read, (const char *)bounds, from.size);
    }
    if (to.size > 0) {
        memcpy(bounds + from.size, to.data, to.size);
        rocksdb_readoptions_set_iterate_upper_bound(it->read, (const char *)bounds + from.size,
                                                    to.size);
    }
    it->it = rocksdb_create_iterator_cf(store->db, it->read, store->families[family]);
    rocksdb_iter_seek_to_first(it->it);
    return it;
}

struct store_iterator *store_iterate(struct store *store, enum store_family family,
                                     struct bytes from, struct bytes to)
{
    return iterate(store, family, from, to, false);
}

struct store_iterator *store_iterate_once(struct store *store, enum store_family family,
                                          struct bytes from, struct bytes to)
{
    return iterate(store, family, from, to, true);
}

bool store_iterator_valid(const struct store_iterator *it)
{
    return rocksdb_iter_valid(it->it) != 0;
}

struct bytes store_iterator_key(const struct store_iterator *it)
{
    size_t size;
    const char *data = rocksdb_iter_key(it->it, &size);
    return bytes_of(data, size);
}

struct bytes store_iterator_value(const struct store_iterator *it)
{
    size_t size;
    const char *data = rocksdb_iter_value(it->it, &size);
    return bytes_of(data, size);
}

void store_iterator_next(struct store_iterator *it)
{
    rocksdb_iter_next(it->it);
}

void store_iterator_prev(struct store_iterator *it)
{
    rocksdb_iter_prev(it->it);
}

void store_iterator_seek(struct store_iterator *it, struct bytes key)
{
    rocksdb_iter_seek(it->it, (const char *)key.data, key.size);
}

void store_iterator_last(struct store_iterator *it)
{
    rocksdb_iter_seek_to_last(it->it);
}

int store_iterator_status(const struct store_iterator *it, struct err *err)
{
    char *message = NULL;
    rocksdb_iter_get_error(it->it, &message);
    return store_translate(&message, err, "scan the index store");
}

void store_iterator_close(struct store_iterator *it)
{
    if (it == NULL)
        return;
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->read);
    free(it->bounds);
    free(it);
}

/* ---- writing ---- */

struct store_batch *store_batch_create(void)
{
    struct store_batch *batch = malloc(sizeof *batch);
    if (batch == NULL)
        abort(); /* as buf does */
    batch->batch = rocksdb_writebatch_create();
    return batch;
}

void store_batch_destroy(struct store_batch *batch)
{
    if (batch == NULL)
        return;
    rocksdb_writebatch_destroy(batch->batch);
    free(batch);
}

void store_batch_put(struct store_batch *batch, struct store *store, enum store_family family,
                     struct bytes key, struct bytes value)
{
    rocksdb_writebatch_put_cf(batch->batch, store->families[family], (const char *)key.data,
                              key.size, (const char *)value.data, value.size);
}

void store_batch_delete(struct store_batch *batch, struct store *store, enum store_family family,
                        struct bytes key)
{
    rocksdb_writebatch_delete_cf(batch->batch, store->families[family], (const char *)key.data,
                                 key.size);
}

void store_batch_delete_range(struct store_batch *batch, struct store *store,
                              enum store_family family, struct bytes from, struct bytes to)
{
    assert(to.size > 0);
    rocksdb_writebatch_delete_range_cf(batch->batch, store->families[family],
                                       (const char *)from.data, from.size, (const char *)to.data,
                                       to.size);
}

size_t store_batch_bytes(const struct store_batch *batch)
{
    size_t size;
    rocksdb_writebatch_data(batch->batch, &size);
    return size;
}

int store_write(struct store *store, struct store_batch *batch, struct err *err)
{
    char *message = NULL;
    rocksdb_write(store->db, store->write, batch->batch, &message);
    rocksdb_writebatch_clear(batch->batch);
    return store_translate(&message, err, "write to the index store");
}

/* The number in the row "flush" that is on disk. */
static int persisted_flushes(struct store *store, uint64_t *number, struct err *err)
{
    char *message = NULL;
    *number = 0;
    rocksdb_pinnableslice_t *pin =
        rocksdb_get_pinned_cf(store->db, store->read_persisted, store->families[FAMILY_DEFAULT],
                              (const char *)FLUSH_KEY.data, FLUSH_KEY.size, &message);
    if (store_translate(&message, err, "read the flush count") != 0)
        return err_prefix(err, "flush");
    if (pin == NULL)
        return 0;
    size_t size;
    const char *data = rocksdb_pinnableslice_value(pin, &size);
    struct reader reader;
    reader_init(&reader, bytes_of(data, size));
    reader_be64(&reader, number);
    rocksdb_pinnableslice_destroy(pin);
    return 0;
}

static int flush_locked(struct store *store, struct err *err)
{
    struct buf number = {0};
    buf_append_be64(&number, store->flushes + 1);
    char *message = NULL;
    rocksdb_put_cf(store->db, store->write, store->families[FAMILY_DEFAULT],
                   (const char *)FLUSH_KEY.data, FLUSH_KEY.size, (const char *)number.data,
                   number.size, &message);
    buf_deinit(&number);
    int code = store_translate(&message, err, "flush the index store");
    if (code != 0)
        return code;
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
    rocksdb_compact_range_cf_opt(store->db, store->families[FAMILY_DEFAULT], options,
                                 (const char *)FLUSH_KEY.data, FLUSH_KEY.size,
                                 (const char *)FLUSH_KEY.data, FLUSH_KEY.size);
    rocksdb_compactoptions_destroy(options);
    uint64_t persisted;
    code = persisted_flushes(store, &persisted, err);
    if (code != 0)
        return code;
    if (persisted == store->flushes + 1) {
        store->flushes++;
        return 0;
    }
    rocksdb_writebatch_t *nothing = rocksdb_writebatch_create();
    rocksdb_write(store->db, store->write, nothing, &message);
    rocksdb_writebatch_destroy(nothing);
    code = store_translate(&message, err, "flush the index store");
    return code != 0 ? code : err_set(err, ERR_IO, "flush the index store: nothing was written");
}

int store_flush(struct store *store, struct err *err)
{
    pthread_mutex_lock(&store->flush_lock);
    int code = flush_locked(store, err);
    pthread_mutex_unlock(&store->flush_lock);
    return code;
}

#define CHECKPOINT_WITHOUT_FLUSH UINT64_MAX /* whatever the size of the WAL: there is none */

int store_checkpoint(struct store *store, const char *path, struct err *err)
{
    char *message = NULL;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(store->db, &message);
    if (message == NULL)
        rocksdb_checkpoint_create(checkpoint, path, CHECKPOINT_WITHOUT_FLUSH, &message);
    if (checkpoint != NULL)
        rocksdb_checkpoint_object_destroy(checkpoint);
    return store_translate(&message, err, "make a checkpoint of the index");
}

/* ---- figures and checks ---- */

#define DISK_BYTES "rocksdb.total-sst-files-size"

static uint64_t property_of(struct store *store, int family, const char *property)
{
    uint64_t value = 0;
    if (rocksdb_property_int_cf(store->db, store->families[family], property, &value) != 0)
        return 0;
    return value;
}

static uint64_t property_sum(struct store *store, const char *property)
{
    uint64_t sum = 0;
    for (int i = 0; i < FAMILIES; i++)
        sum += property_of(store, i, property);
    return sum;
}

uint64_t store_disk_bytes(struct store *store)
{
    return property_sum(store, DISK_BYTES);
}

uint64_t store_family_bytes(struct store *store, enum store_family family)
{
    return property_of(store, family, DISK_BYTES);
}

const char *store_family_name(enum store_family family)
{
    return FAMILY[family].name;
}

uint64_t store_memory_bytes(struct store *store)
{
    return property_sum(store, "rocksdb.cur-size-all-mem-tables");
}

static int read_all(struct store *store, struct err *err)
{
    for (int i = 0; i < FAMILIES; i++) {
        rocksdb_readoptions_t *read = rocksdb_readoptions_create();
        rocksdb_readoptions_set_verify_checksums(read, 1);
        rocksdb_readoptions_set_fill_cache(read, 0);
        rocksdb_iterator_t *it = rocksdb_create_iterator_cf(store->db, read, store->families[i]);
        for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
        }
        char *message = NULL;
        rocksdb_iter_get_error(it, &message);
        rocksdb_iter_destroy(it);
        rocksdb_readoptions_destroy(read);
        if (store_translate(&message, err, FAMILY[i].name) != 0)
            return err_prefix(err, "check the rows");
    }
    return 0;
}

/* What is in the cache was checked when it was read, maybe long ago: the files are opened anew, as
 * links that nobody else writes to. */
int store_verify(struct store *store, struct err *err)
{
    char path[STORE_COPY_PATH_MAX];
    struct store *copy = NULL;
    copy_path(store->path, path);
    int code = folder_remove(path, err);
    if (code == 0)
        code = store_checkpoint(store, path, err);
    if (code == 0)
        code = store_open(path, NULL, &copy, err);
    if (code == 0)
        code = read_all(copy, err);
    store_close(copy);
    folder_remove(path, NULL);
    return code;
}
