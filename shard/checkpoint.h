/* Checkpoint: the files of a range's index on their way from the primary to a learner whose log
 * cannot be continued.
 *
 *   learner                                   primary
 *   checkpoints_pull()  -- ReplicaCheckpoint ->  checkpoints_take(): hard links in
 *                       <- ReplicaFiles ------   DIR/checkpoints/ID
 *                       -- ReplicaFetch ----->  checkpoints_read(), chunk by chunk
 *                       <- ReplicaChunk ------
 *   in DIR/checkpoints/in-RANGE, durable
 *   checkpoints_install(): DIR/ranges/RANGE, and its log begins where the index ends
 *
 * The primary goes on writing, flushing and merging: what it links is the index as it is durable at
 * that moment, and opens as after a kill (range.h). Until the learner is done the records after it
 * must stay in the log: checkpoints_retain().
 *
 * The learner's old index and log stay until the new index is here, whole and durable. What happens
 * when the process ends in between: checkpoint_install.c.
 *
 * Any thread. Everything that blocks says so. Times are clock_ms().
 */
#ifndef QUIRE_SHARD_CHECKPOINT_H
#define QUIRE_SHARD_CHECKPOINT_H

#include "shard/log_store.h"
#include "shard/range.h"

#define CHECKPOINT_KEPT_MS 60000 /* after the last fetch */
#define CHECKPOINTS_MAX 16       /* kept at a time; beyond: ERR_FULL */
#define CHECKPOINT_CHUNK ((uint32_t)4 << 20)
#define CHECKPOINT_FILES_MAX 65536
#define CHECKPOINT_ATTEMPTS 20 /* of one fetch that is not answered, or comes damaged */
#define CHECKPOINT_PAUSE_MS 250

struct checkpoints;

/* DIR/checkpoints, emptied. Completes what was being installed when the process ended; no range may
 * be open. `dir` and `log` outlive it. ERR_IO, ERR_CORRUPT. */
int checkpoints_create(const char *dir, struct log_store *log, struct checkpoints **out,
                       struct err *err);
/* Removes what it made; nothing may be under way. NULL is allowed. */
void checkpoints_destroy(struct checkpoints *checkpoints);

/* ---- the primary's side ---- */

/* A checkpoint of the range for a learner (a node id), in the place of the one it may have asked
 * for before; the reply is in the arena. Blocks (some links a file). ERR_FULL, ERR_IO, ERR_CORRUPT.
 */
int checkpoints_take(struct checkpoints *checkpoints, struct range *range, const char *learner,
                     uint64_t now_ms, struct arena *arena, Quire__ReplicaFiles **out,
                     struct err *err);
/* A chunk of a file, at most CHECKPOINT_CHUNK bytes; the reply is in the arena. Blocks (reads the
 * disk). ERR_NOT_FOUND: no such checkpoint (any more), no such file; ERR_INVALID: beyond its end;
 * ERR_IO. */
int checkpoints_read(struct checkpoints *checkpoints, const Quire__ReplicaFetch *fetch,
                     uint64_t now_ms, struct arena *arena, Quire__ReplicaChunk **out,
                     struct err *err);
/* Removes those that nobody has fetched from for CHECKPOINT_KEPT_MS. Blocks (unlinks). */
void checkpoints_expire(struct checkpoints *checkpoints, uint64_t now_ms);
/* Of `seq`, up to which the log of the range could be forgotten, what may be while there are
 * checkpoints: never beyond one's durable_seq. The caller has read the range's durable_seq before.
 */
uint64_t checkpoints_retain(struct checkpoints *checkpoints, uint64_t range, uint64_t seq);

/* ---- the learner's side ---- */

/* How the primary is asked. */
struct checkpoint_source {
    void *data;
    /* Sends a request, waits for the answer, and appends its payload to `reply`. ERR_UNAVAILABLE
     * and ERR_DEADLINE: may be tried again. Others, such as ERR_CANCELED: it is given up. */
    int (*ask)(void *data, uint16_t kind, struct bytes request, struct buf *reply, struct err *err);
};

struct checkpoint_order {
    uint64_t range, epoch;
    const char *node_id;      /* of this node */
    uint64_t disk_left_bytes; /* that have to stay free */
};

/* Pulls a checkpoint and makes it durable, beside what is here of the range. *at: the position that
 * its index is of. Blocks for as long as the files take; one at a time for a range. ERR_FULL: the
 * disk has no room for it; ERR_PROTOCOL, ERR_CORRUPT: what came is not a checkpoint; ERR_IO; what
 * the source ends with. Nothing is left of it then. */
int checkpoints_pull(struct checkpoints *checkpoints, const struct checkpoint_order *order,
                     const struct checkpoint_source *source, struct replication_position *at,
                     struct err *err);
/* Puts what was pulled in the place of the range's index and log. Whether it may, the core has said
 * (replication_may_install(), of at.seq), and from then on it has acknowledged nothing: nobody may
 * have the range open. Blocks. After an error, or when the process ends in it, it is completed with
 * the next start. */
int checkpoints_install(struct checkpoints *checkpoints, uint64_t range,
                        struct replication_position at, struct err *err);
/* The same with an index of this file system, durable, at `path`, which is moved. */
int checkpoints_adopt(struct checkpoints *checkpoints, const char *path, uint64_t range,
                      struct replication_position at, struct err *err);

#endif
