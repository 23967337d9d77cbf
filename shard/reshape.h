/* Reshape: what a process does for a split or a merge of ranges (Reshape in quire.proto, and
 * coordinator/controller_reshape.c): it builds the targets beside the sources that it holds.
 *
 *             all sources here, and in sync                 sealed, and all applied is in them
 *   WAITS ------------------------------> BUILDS --> FOLLOWS ------------------------------> READY
 *     ^                                                 ^  more was applied after all, under a |
 *     '--- the log of a source was cut off too early ---'  newer epoch                         |
 *                                                       '--------------------------------------'
 *   in each state: the configurations no longer ask for it -> ends, and what is not ready goes
 *   an error: FAILED, which the coordinators are told, until they no longer ask for it
 *
 * A target is a hard-linked checkpoint of the first source's index here, pruned to the target's
 * bounds (range_derive.h), with the entries of the second source in a merge. From then on it
 * follows the log of each source as far as that is applied here. The entries that were pruned, and
 * what they left in the segments, go with the range's ordinary merges.
 *
 * READY is durable: DIR/reshape/ID/ready names each source with the epoch under which it is sealed
 * and the seq up to which the targets in DIR/reshape/ID/TARGET have everything. Only that is told
 * the coordinators of a sealed source. It outlives the process: what was said before a kill holds
 * after it, as long as the source has that epoch.
 *
 * When the map names the targets and no longer the sources, the sources are dropped first, then a
 * replica of a target that has nothing yet finds its index here (reshapes_install).
 *
 * One thread for each reshape under way. Any thread may call.
 */
#ifndef QUIRE_SHARD_RESHAPE_H
#define QUIRE_SHARD_RESHAPE_H

#include "shard/checkpoint.h"
#include "shard/replication.h"

struct replicas;
struct reshapes;

#define RESHAPES_MAX 4         /* at a time; more of them wait */
#define RESHAPE_FLUSH_OPS 1000 /* followed and not durable: so few are left when it is sealed */
#define RESHAPE_FOLLOW_MS 20   /* from one look at the logs to the next */
#define RESHAPE_SEALED_MS 2    /* the same, while no writes are taken */

struct reshapes_settings {
    const char *dir; /* of the shard; outlives it, as do the next three */
    struct log_store *log;
    struct checkpoints *checkpoints;
    struct replicas **replicas; /* set before the first reshapes_look() */
    uint64_t disk_left_bytes;   /* that building has to leave */
    void *data;
    void (*news)(void *data); /* something that the coordinators should know at once */
};

/* DIR/reshape: what is not ready goes. ERR_IO. */
int reshapes_create(const struct reshapes_settings *settings, struct reshapes **out,
                    struct err *err);
/* Ends what is under way; what is ready stays on the disk. Blocks for a moment. NULL and a second
 * time are allowed. */
void reshapes_stop(struct reshapes *reshapes);
void reshapes_destroy(struct reshapes *reshapes);

/* Begins what the configurations of the replicas ask for: after each assignment, and now and then.
 */
void reshapes_look(struct reshapes *reshapes);
/* Removes what is ready and of no use any more; after an assignment was carried out. Blocks. */
void reshapes_sweep(struct reshapes *reshapes);

struct reshape_progress {
    bool derived, failed;
    uint64_t seq; /* derived: the targets have everything up to here */
};
/* Of a source, under its epoch. A sealed one counts as derived once that is durable. */
void reshapes_progress(struct reshapes *reshapes, uint64_t source, uint64_t epoch, bool sealed,
                       struct reshape_progress *out);

/* Puts a target that is ready in its place: the index, and a log that begins after `origin`.
 * ERR_NOT_FOUND: there is none that ends there; ERR_IO. Blocks; nobody may have the range open. */
int reshapes_install(struct reshapes *reshapes, uint64_t range, struct replication_position origin,
                     struct err *err);

#endif
