/* What `quire backup` and `quire restore` share. */
#ifndef QUIRE_CLI_BACKUP_H
#define QUIRE_CLI_BACKUP_H

#include "client/backup/store.h"
#include "client/cli/cli.h"

/* What a backup took. */
struct backup_taken {
    struct backup_manifest manifest; /* in the arena */
    struct arena arena;
    uint64_t entries, bytes, files, size; /* of all blocks: lines, their bytes, files, their size */
    uint64_t new_files, new_size;         /* that were not there before */
    uint64_t same_parts, parts;           /* of them: as in the backup before, not read again */
    uint64_t again;                       /* snapshots that were lost, and taken anew */
};

/* backup_take.c: a snapshot of every collection (of `only`, when it is not NULL), into the store;
 * publishes nothing. `before` is the newest backup there, or NULL. libquire's status with a
 * sentence in `error`. Deinit in any case. */
int backup_take(struct cli *cli, struct backup_store *store, const char *only,
                const struct backup_manifest *before, struct backup_taken *out,
                char error[QUIRE_ERROR_SIZE]);
void backup_taken_deinit(struct backup_taken *taken);

/* Reads the newest backup (number 0) or that one. ERR_NOT_FOUND and as backup_store_manifest(). */
int backup_choose(const struct backup_store *store, uint64_t number, struct arena *arena,
                  struct backup_manifest *out, struct err *err);
/* Says what is wrong, with --json as the error document, and returns the exit code: 1 for a backup
 * that is damaged, missing, or in the way. */
int backup_failed(struct cli *cli, int code, const char *text);

#endif
