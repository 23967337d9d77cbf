/* Index store: the RocksDB of one range (no WAL; what it holds is exact as of a flush, see
 * range.h), with store_table.c and log_store.c the only place that knows RocksDB. Keys and values:
 * DESIGN, and the essay at the head of index_store.c and of each format's own file.
 *
 * store_flush() makes all column families durable at one moment (atomic flush). What the disk holds
 * is always a prefix of the history of batches; as a rule the one of the last store_flush(), since
 * memtables are big enough never to be flushed by RocksDB itself between two of ours, but nobody
 * may depend on that.
 *
 * Thread-safe, except that a batch belongs to one thread.
 */
#ifndef QUIRE_SHARD_INDEX_STORE_H
#define QUIRE_SHARD_INDEX_STORE_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum store_family {
    STORE_ENTRY, /* term key, 0, sense -> packed Entry */
    STORE_NAME,  /* term key of a name, 0, entry key -> the name as written */
    STORE_PLACE, /* term key, 0, sense -> segment id, docid (be64, be32) */
    STORE_TERM,  /* segment, field, token -> disk_segment.c */
    STORE_POST,  /* segment, term id, first docid -> posting_codec.c */
    STORE_POS,   /* same */
    STORE_DOC,  /* segment, column, page -> columns by docid: entry keys, norms, lengths, categories
                 */
    STORE_DEAD, /* segment, page -> dead documents; segment, 'd', field, token -> dead frequency */
    STORE_META, /* name -> manifest, sessions, undo rows */
    STORE_FAMILIES
};

struct store;
struct store_batch;
struct store_iterator;
/* Shared by all ranges of a process: half of the bytes for RocksDB's blocks, half for opened lists
 * (list_cache.h). */
struct store_cache;
struct list_cache;

struct store_cache *store_cache_create(size_t bytes);
void store_cache_destroy(struct store_cache *cache);

/* Creates a folder, durably, when it is missing. ERR_IO. */
int store_make_folder(const char *path, struct err *err);
/* Creates the folder when missing. ERR_IO, ERR_CORRUPT. */
int store_open(const char *path, struct store_cache *cache, struct store **out, struct err *err);
void store_close(struct store *store);                    /* without flushing */
struct list_cache *store_list_cache(struct store *store); /* NULL when it was opened without */
int store_destroy_files(const char *path, struct err *err);
/* Whether there is a store in this folder, sound or not. */
bool store_exists(const char *path);

/* *found = false (and 0) when absent. `value` must be released; it may point into the block cache.
 */
struct store_value {
    struct bytes bytes;
    void *pin;
};
int store_get(struct store *store, enum store_family family, struct bytes key,
              struct store_value *value, bool *found, struct err *err);
/* The same for a value that the caller keeps in a cache of his own: what is read from disk for it
 * does not stay in the block cache. */
int store_get_once(struct store *store, enum store_family family, struct bytes key,
                   struct store_value *value, bool *found, struct err *err);
void store_value_release(struct store_value *value);

struct store_batch *store_batch_create(void);
void store_batch_destroy(struct store_batch *batch);
void store_batch_put(struct store_batch *batch, struct store *store, enum store_family family,
                     struct bytes key, struct bytes value);
void store_batch_delete(struct store_batch *batch, struct store *store, enum store_family family,
                        struct bytes key);
void store_batch_delete_range(struct store_batch *batch, struct store *store,
                              enum store_family family, struct bytes from, struct bytes to);
size_t store_batch_bytes(const struct store_batch *batch);
/* Visible at once and all together; durable with the next store_flush(). The batch is empty
 * afterwards. */
int store_write(struct store *store, struct store_batch *batch, struct err *err);
/* Makes everything that was written before the call durable, atomically over the families; blocks
 * (seconds). */
int store_flush(struct store *store, struct err *err);

/* The files that hold what is durable now, without a flush, in a new folder whose parent exists:
 * hard links where the file system can, durable when it returns. It opens as a store. */
int store_checkpoint(struct store *store, const char *path, struct err *err);

/* A table: rows of one family, put in rising key order; store_table_show() makes all of them
 * visible at once, and durable ahead of everything that went through batches. Keys must be new to
 * the store. See store_table.c. Belongs to one thread. */
struct store_table;
int store_table_create(struct store *store, enum store_family family, struct store_table **out,
                       struct err *err);
int store_table_put(struct store_table *table, struct bytes key, struct bytes value,
                    struct err *err);
int store_table_show(struct store_table *table, struct err *err); /* nothing is put afterwards */
void store_table_destroy(struct store_table *table); /* NULL is allowed; unseen rows are gone */
/* Takes away the rows of [from, to): whole files at once and durably; what else there is by a range
 * deletion in `batch`. Nobody may need them any more, not even after a crash. */
int store_drop(struct store *store, enum store_family family, struct bytes from, struct bytes to,
               struct store_batch *batch, struct err *err);

/* Keys in [from, to); to empty = end of the family. A consistent snapshot as of creation. */
struct store_iterator *store_iterate(struct store *store, enum store_family family,
                                     struct bytes from, struct bytes to);
/* The same; what is read from disk for it does not stay in the block cache. */
struct store_iterator *store_iterate_once(struct store *store, enum store_family family,
                                          struct bytes from, struct bytes to);
bool store_iterator_valid(const struct store_iterator *it);
struct bytes store_iterator_key(const struct store_iterator *it);
struct bytes store_iterator_value(const struct store_iterator *it);
void store_iterator_next(struct store_iterator *it);
void store_iterator_prev(struct store_iterator *it);
void store_iterator_seek(struct store_iterator *it, struct bytes key); /* first >= key */
void store_iterator_last(struct store_iterator *it);
int store_iterator_status(const struct store_iterator *it, struct err *err);
void store_iterator_close(struct store_iterator *it);

uint64_t store_disk_bytes(struct store *store);
uint64_t store_family_bytes(struct store *store, enum store_family family); /* on disk */
const char *store_family_name(enum store_family family);
uint64_t store_memory_bytes(struct store *store);
/* Reads every row from the files, past the cache, and so checks every block's checksum; some links
 * beside the store's folder meanwhile. Blocks. ERR_CORRUPT; ERR_IO. */
int store_verify(struct store *store, struct err *err);

/* Turns RocksDB's error text into a code and a text ("<doing>: ..."), frees it and sets it to NULL;
 * 0 for none. The one place where such texts are read. */
int store_translate(char **message, struct err *err, const char *doing);
/* Keeps RocksDB from writing to a log file of its own (of rocksdb_options_t). */
void store_silence(void *options);

#endif
