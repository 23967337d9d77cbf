/* Replica: a range as this process holds it: opened in the background, applied from the log,
 * flushed and merged in the background, dropped when the map no longer names it. The table of all
 * of them is replicas.h.
 *
 *     opening ----> open
 *        |
 *        +--------> failed     (says why; a new assignment tries again)
 *
 * References: the table holds one; whoever works with a replica holds one. With the last one the
 * range is closed, and, if it was dropped, its files and its log are removed.
 */
#ifndef QUIRE_SHARD_REPLICA_H
#define QUIRE_SHARD_REPLICA_H

#include "proto/base/pool.h"
#include "shard/log_store.h"
#include "shard/range.h"

#include <stdatomic.h>

enum replica_state { REPLICA_OPENING, REPLICA_OPEN, REPLICA_FAILED };

/* What all replicas of a process share. */
struct replica_means {
    struct store_cache *cache;
    struct log_store *log;
    struct pool *background; /* opens and flushes */
    struct pool *merge;      /* apart: a merge may wait for its pace */
    struct merge_pace *merge_pace;
};

struct replica {
    uint64_t id;
    uint64_t collection;
    char *language;
    struct document_settings document;
    enum segment_order order;
    char *path;
    struct replica_means means;
    size_t memory_limit;

    _Atomic uint64_t epoch;
    _Atomic int state; /* enum replica_state */
    _Atomic int refs;
    _Atomic bool sealed;      /* takes no writes */
    _Atomic bool hold_merges; /* the disk is short of space */
    _Atomic bool dropped;     /* files go with the last reference */
    struct err error;         /* why it failed; written before state */
    struct range *range;      /* once open */
    struct list link;         /* the table's */

    uint64_t logged_seq; /* of the last operation in the log; the committer's, once open */

    struct pool_job flush_job, merge_job;
    _Atomic bool flushing, merging; /* the job is waiting or under way */
    _Atomic uint64_t flushed_ms;    /* when it was flushed last */
};

/* State OPENING, refs = 1. Copies what it needs. */
struct replica *replica_create(uint64_t id, uint64_t epoch, const Quire__Collection *collection,
                               const char *path, size_t memory_limit,
                               const struct replica_means *means);
/* Opens the range and applies the log to it; blocks for as long as that takes. State OPEN or
 * FAILED. */
void replica_open(struct replica *replica);
void replica_ref(struct replica *replica);
void replica_unref(struct replica *replica);

/* Starts flushing and merging in the background where the range wants it and that is not under way.
 * Any thread. */
void replica_maintain(struct replica *replica);
/* Flushes when there is something that was not flushed for so long. */
void replica_flush_old(struct replica *replica, uint64_t older_than_ms);
/* Flushes now and truncates the log; blocks. */
int replica_flush(struct replica *replica, struct err *err);
/* After work that took much memory: gives what malloc keeps of it back to the system. Takes a few
 * milliseconds; any thread. */
void replica_give_memory_back(void);

#endif
