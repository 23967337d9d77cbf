/* Store: the folder that backups are kept in.
 *
 *   DIR/quire-backups     says what this folder is
 *   DIR/lock              held by who writes (exclusive) or reads (shared)
 *   DIR/backups/3         manifest of backup 3 (manifest.h); what has none is no backup
 *   DIR/files/ab/ab12...  blocks: lines (lines.h) in a zstd frame, under the checksum of the file's
 *                         bytes (XXH3, 128 bits); shared by all backups that hold them
 *   DIR/tmp/              being written; emptied by the next who writes
 *
 * A block never changes. A manifest comes last: once all blocks are durable it is written aside,
 * synced, and renamed. So a backup that was interrupted leaves blocks that nobody names; the next
 * backup finds them, and a prune removes them.
 *
 * A block that is there already is compared byte by byte with what would be written: one that was
 * damaged on the disk, or cut by a crash of the machine, is replaced by the next backup that holds
 * it, and one of another content under the same checksum would be told.
 *
 * backup_store_put() and backup_store_get() may be called by any thread; all else by one.
 */
#ifndef QUIRE_BACKUP_STORE_H
#define QUIRE_BACKUP_STORE_H

#include "client/backup/manifest.h"

#include <stdatomic.h>

#define BACKUP_BLOCK_MAX ((uint64_t)256 << 20) /* bytes of the lines of a block */
#define BACKUP_MANIFEST_MAX ((uint64_t)1 << 30)

struct backup_store {
    char *dir;
    int lock; /* descriptor; -1: none (a folder that cannot be written) */
    atomic_uint tmp;
};

/* Creates the folder when it is not there (its parent has to be). ERR_EXISTS: it holds something
 * else; ERR_CONFLICT: somebody else writes or reads there now; ERR_IO. */
int backup_store_create(const char *dir, struct backup_store *out, struct err *err);
/* For reading. ERR_NOT_FOUND: no backups there; ERR_CONFLICT: somebody writes there now; ERR_IO. */
int backup_store_open(const char *dir, struct backup_store *out, struct err *err);
void backup_store_close(struct backup_store *store);

/* The numbers of the backups, rising; malloc'd. ERR_IO. */
int backup_store_list(const struct backup_store *store, uint64_t **numbers, size_t *count,
                      struct err *err);
/* In the arena. ERR_NOT_FOUND, ERR_CORRUPT, ERR_UNSUPPORTED, ERR_IO; the text names the file. */
int backup_store_manifest(const struct backup_store *store, uint64_t number, struct arena *arena,
                          struct backup_manifest *out, struct err *err);

/* Writes a block of so many lines; *fresh: it was not there, or not whole. Durable once a backup is
 * published. ERR_IO, ERR_FULL (the disk). */
int backup_store_put(struct backup_store *store, struct bytes lines, uint64_t entries,
                     struct backup_block *out, bool *fresh, struct err *err);
/* Reads a block, and checks all there is to check. `lines` is replaced. ERR_CORRUPT: missing or
 * damaged; ERR_IO. */
int backup_store_get(const struct backup_store *store, const struct backup_block *block,
                     struct buf *lines, struct err *err);

/* Makes a backup of what was put. */
int backup_store_publish(struct backup_store *store, const struct backup_manifest *manifest,
                         struct err *err);

struct backup_pruned {
    uint64_t backups, files, bytes;
};
/* Removes all backups but the newest `keep` (at least 1), and the blocks that none of those names.
 * When one of those that stay cannot be read nothing is removed. ERR_CORRUPT, ERR_IO. */
int backup_store_prune(struct backup_store *store, uint64_t keep, struct backup_pruned *out,
                       struct err *err);

#endif
