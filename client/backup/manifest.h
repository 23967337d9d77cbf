/* Manifest: what a backup consists of. A text file:
 *
 *   quire-backup 1 <128 bits of checksum, hex> <bytes that follow>
 *   {"number":3, "cluster":"...", ...}
 *
 * The checksum (XXH3, 128 bits) is of all that follows the first line, which is one JSON document:
 *
 *   number      of the backup, from 1
 *   cluster     id of the cluster that it is of
 *   software    that made it, "quire 0.1.0"
 *   began, ended  seconds since 1970; what was acknowledged before `began` is in it
 *   collections [{name, language, weights, k1, b, order, replicas, entries, parts}]
 *   parts       [{lo, hi, range, epoch, recovered, seq, entries, blocks}]: together they cover the
 *               key space once; each is what one range held at its `seq`
 *   blocks      [[name, size, bytes, entries]]: the files of a part in key order: the file's name,
 *               which is its checksum; its size; the bytes of its lines; how many there are
 *
 * The first number is the version of the format: a manifest of another one is refused. Members that
 * are not known are ignored, so members may be added within a version.
 *
 * Pure; any thread.
 */
#ifndef QUIRE_BACKUP_MANIFEST_H
#define QUIRE_BACKUP_MANIFEST_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define BACKUP_VERSION 1
#define BACKUP_NAME_SIZE 33 /* of a block: 32 digits and the NUL */

struct backup_block {
    char name[BACKUP_NAME_SIZE];
    uint64_t size;    /* of the file */
    uint64_t bytes;   /* of its lines */
    uint64_t entries; /* lines */
};

struct backup_part {
    const char *lo, *hi; /* [lo, hi); "": no bound */
    uint64_t range, epoch, seq, entries;
    uint32_t recovered;
    struct backup_block *blocks;
    size_t block_count;
};

struct backup_collection {
    const char *name, *language;
    uint32_t weight_headword, weight_terms, weight_categories, weight_body;
    double k1, b;
    bool by_category; /* the order of documents */
    uint32_t replicas;
    uint64_t entries; /* of all parts */
    struct backup_part *parts;
    size_t part_count;
};

struct backup_manifest {
    uint64_t number;
    const char *cluster, *software;
    uint64_t began, ended;
    struct backup_collection *collections;
    size_t collection_count;
};

/* The checksum of blocks and manifests as text. */
void backup_checksum(struct bytes bytes, char out[BACKUP_NAME_SIZE]);
/* Whether it is 32 digits of that kind. */
bool backup_name_valid(const char *name);

void backup_manifest_write(const struct backup_manifest *manifest, struct buf *out);
/* Everything is in the arena. ERR_CORRUPT: it is damaged, or its parts do not cover the key space;
 * ERR_UNSUPPORTED: of another version. */
int backup_manifest_read(struct bytes text, struct arena *arena, struct backup_manifest *out,
                         struct err *err);

#endif
