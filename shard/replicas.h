/* The table of the ranges that this process holds, and how an assignment changes it. Thread-safe.
 */
#ifndef QUIRE_SHARD_REPLICAS_H
#define QUIRE_SHARD_REPLICAS_H

#include "shard/replica.h"

struct replicas;

struct replicas_settings {
    const char *dir;            /* of the process; ranges live in DIR/ranges/ID */
    size_t memory_budget;       /* bytes of memory segments and memtables, over all ranges */
    struct replica_means means; /* but for `opened`, `ended` and their data */
    void (*opened)(void *data); /* a range is open, or failed; any thread */
    void *data;
};

int replicas_create(const struct replicas_settings *settings, struct replicas **out,
                    struct err *err);
/* Nothing is opened any more. */
void replicas_close(struct replicas *replicas);
/* Closes every range (without flushing); nobody may hold one any more. */
void replicas_destroy(struct replicas *replicas);

/* Carries out an assignment: hands the configurations of what is open to the replicator, begins to
 * open and to create what is not, drops what is not named (unless the assignment is older than one
 * already carried out: then ERR_STALE). Does not wait for what is being opened. What is dropped
 * goes with its last user, which may be a moment later. `may_lead`: as replication_configure(). */
int replicas_assign(struct replicas *replicas, const Quire__ShardAssign *assign, bool may_lead,
                    struct err *err);
/* Whether none of these is being opened; *err: why the first of them that failed did, or code 0. */
bool replicas_settled(struct replicas *replicas, const uint64_t *ids, size_t count,
                      struct err *err);
/* A checkpoint takes the place of what a replica has, when its last user is gone. */
void replicas_reinstall(struct replicas *replicas, struct replica *replica,
                        struct replication_position at);
/* Tries again to open one that failed a while ago. */
void replicas_retry(struct replicas *replicas, uint64_t now_ms);
#define REPLICAS_RETRY_MS 10000

/* With a reference; NULL: not held. */
struct replica *replicas_find(struct replicas *replicas, uint64_t id);
/* An open replica, with a reference. ERR_STALE: not held, or without anything in it yet;
 * ERR_UNAVAILABLE: still opening; otherwise the reason why it could not be opened. */
int replicas_acquire_open(struct replicas *replicas, uint64_t id, struct replica **out,
                          struct err *err);
/* The same for a read: it may be answered here, and all that it has to see is applied
 * (replica_may_read, replica_await); waits for that. */
int replicas_acquire(struct replicas *replicas, const Quire__RangeRef *ref, uint64_t deadline_ms,
                     struct replica **out, struct err *err);

/* Calls `visit` for each; it may not call back. */
void replicas_each(struct replicas *replicas, void (*visit)(void *data, struct replica *replica),
                   void *data);

#endif
