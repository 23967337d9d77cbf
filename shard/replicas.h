/* The table of the ranges that this process holds, and how an assignment changes it. Thread-safe.
 */
#ifndef QUIRE_SHARD_REPLICAS_H
#define QUIRE_SHARD_REPLICAS_H

#include "shard/replica.h"

struct replicas;

struct replicas_settings {
    const char *dir;      /* of the process; ranges live in DIR/ranges/ID */
    size_t memory_budget; /* bytes of memory segments and memtables, over all ranges */
    struct replica_means means;
};

int replicas_create(const struct replicas_settings *settings, struct replicas **out,
                    struct err *err);
/* Closes every range (without flushing); nobody may hold one any more. */
void replicas_destroy(struct replicas *replicas);

/* Carries out an assignment: opens and creates what is named, drops what is not (unless the
 * assignment is older than one already carried out: then ERR_STALE). Blocks until every named range
 * is open, or failed: then the first one's error. One at a time. What is dropped goes with its last
 * user, which may be a moment later: a cluster never gives the id of a dropped range to another
 * one. */
int replicas_assign(struct replicas *replicas, const Quire__ShardAssign *assign, struct err *err);
uint64_t
replicas_map_epoch(struct replicas *replicas); /* of the last assignment carried out; 0: none */

/* An open replica, with a reference. ERR_STALE: not held, or held under another epoch;
 * ERR_UNAVAILABLE: still opening; otherwise the reason why it could not be opened. */
int replicas_acquire(struct replicas *replicas, const Quire__RangeRef *ref, struct replica **out,
                     struct err *err);

/* Calls `visit` for each; it may not call back. */
void replicas_each(struct replicas *replicas, void (*visit)(void *data, struct replica *replica),
                   void *data);

#endif
