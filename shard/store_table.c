/* Tables: rows that are written once, in key order, and shown all at once.
 *
 * The rows of a segment are many, come sorted and never change. Through a batch each of them would
 * be copied into the memtable, sorted in, flushed, and, since the files of flushes lie over each
 * other, rewritten by compactions; and when the segment goes, its rows would stay on disk until a
 * compaction comes by. A table is a file of RocksDB's format that is made beside the store, and
 * then taken over whole ("ingested"). Segments do not share keys, so it goes to the last level,
 * where no compaction touches it, and store_drop() takes it away as a file.
 *
 * A table that is shown is durable at once, ahead of the rows that went through batches. What it
 * holds must therefore be nothing to anybody until a row of a batch names it: the manifest names
 * segments, and opening a range removes what it does not name.
 *
 * While it is made, a table is called "new-NUMBER" in the store's folder; what a killed process
 * left is swept at open.
 */
#include "shard/index_store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "new-"

struct store_table {
    struct store *store;
    enum store_family family;
    rocksdb_envoptions_t *env;
    rocksdb_sstfilewriter_t *writer;
    bool shown;
    char path[];
};

int store_table_create(struct store *store, enum store_family family, struct store_table **out,
                       struct err *err)
{
    size_t size = strlen(store->path) + sizeof(PREFIX) + 24;
    struct store_table *table = calloc(1, sizeof *table + size);
    char *message = NULL;
    *out = NULL;
    if (table == NULL)
        return err_set(err, ERR_NOMEM, "begin a table: out of memory");
    table->store = store;
    table->family = family;
    snprintf(table->path, size, "%s/" PREFIX "%llu", store->path,
             (unsigned long long)atomic_fetch_add(&store->tables, 1));
    table->env = rocksdb_envoptions_create();
    table->writer = rocksdb_sstfilewriter_create(table->env, store->family_options[family]);
    rocksdb_sstfilewriter_open(table->writer, table->path, &message);
    int code = store_translate(&message, err, store_family_name(family));
    if (code != 0) {
        store_table_destroy(table);
        return err_prefix(err, "begin a table");
    }
    *out = table;
    return 0;
}

int store_table_put(struct store_table *table, struct bytes key, struct bytes value,
                    struct err *err)
{
    char *message = NULL;
    rocksdb_sstfilewriter_put(table->writer, (const char *)key.data, key.size,
                              (const char *)value.data, value.size, &message);
    if (message == NULL)
        return 0;
    (void)store_translate(&message, err, store_family_name(table->family));
    return err_prefix(err, "write a table");
}

int store_table_show(struct store_table *table, struct err *err)
{
    const char *files[] = {table->path};
    char *message = NULL;
    rocksdb_sstfilewriter_finish(table->writer, &message);
    if (message == NULL) {
        rocksdb_ingestexternalfileoptions_t *options = rocksdb_ingestexternalfileoptions_create();
        rocksdb_ingestexternalfileoptions_set_move_files(options, 1);
        rocksdb_ingest_external_file_cf(table->store->db, table->store->families[table->family],
                                        files, 1, options, &message);
        rocksdb_ingestexternalfileoptions_destroy(options);
    }
    if (store_translate(&message, err, store_family_name(table->family)) != 0)
        return err_prefix(err, "show a table");
    table->shown = true;
    return 0;
}

void store_table_destroy(struct store_table *table)
{
    if (table == NULL)
        return;
    rocksdb_sstfilewriter_destroy(table->writer);
    rocksdb_envoptions_destroy(table->env);
    if (!table->shown)
        (void)unlink(table->path);
    free(table);
}

/* Whether rows are left, which then came by batches or share a file with others. */
static int rows_left(struct store *store, enum store_family family, struct bytes from,
                     struct bytes to, bool *left, struct err *err)
{
    struct store_iterator *it = store_iterate(store, family, from, to);
    *left = store_iterator_valid(it);
    int code = store_iterator_status(it, err);
    store_iterator_close(it);
    return code;
}

int store_drop(struct store *store, enum store_family family, struct bytes from, struct bytes to,
               struct store_batch *batch, struct err *err)
{
    char *message = NULL;
    bool left;
    rocksdb_delete_file_in_range_cf(store->db, store->families[family], (const char *)from.data,
                                    from.size, (const char *)to.data, to.size, &message);
    int code = store_translate(&message, err, store_family_name(family));
    if (code == 0)
        code = rows_left(store, family, from, to, &left, err);
    if (code == 0 && left)
        store_batch_delete_range(batch, store, family, from, to);
    return code == 0 ? 0 : err_prefix(err, "drop rows");
}

void store_tables_sweep(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *file;
    if (folder == NULL)
        return;
    while ((file = readdir(folder)) != NULL)
        if (strncmp(file->d_name, PREFIX, strlen(PREFIX)) == 0)
            (void)unlinkat(dirfd(folder), file->d_name, 0);
    closedir(folder);
}
