/* The inside of an index store, shared by index_store.c and store_table.c. Nobody else includes
 * this. */
#ifndef QUIRE_SHARD_INDEX_STORE_INTERNAL_H
#define QUIRE_SHARD_INDEX_STORE_INTERNAL_H

#include "shard/index_store.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

enum { FAMILY_DEFAULT = STORE_FAMILIES, FAMILIES };

struct store {
    char *path;
    rocksdb_t *db;
    rocksdb_column_family_handle_t *families[FAMILIES];
    rocksdb_options_t *options;
    rocksdb_options_t *family_options[FAMILIES];
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *read_once; /* without leaving blocks in the cache */
    rocksdb_readoptions_t *read_persisted;
    rocksdb_writeoptions_t *write;
    struct list_cache *lists; /* the process's; NULL: none */
    pthread_mutex_t flush_lock;
    uint64_t flushes;
    _Atomic uint64_t tables; /* that were begun: their files have different names */
};

/* Removes the files of tables that a process began and never showed. */
void store_tables_sweep(const char *path);

#endif
