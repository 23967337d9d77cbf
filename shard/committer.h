/* Committer: the one thread through which every write of a shard process goes.
 *
 *   arrival (loop)     committer_enqueue(): a place in the queue, in the order of arrival
 *   preparing (pool)   committer_await_room(); unpacked, checked, analysed, in parallel;
 *                      committer_ready()
 *   group commit       everything at the head of the queue that is ready: one synced append
 *   apply              range by range, in order; then the replies
 *
 * A retry of a client's last batch for a range is answered with what it was answered first, without
 * being written again. When the log cannot be written every later write is refused with that error
 * until the process is started anew; when a range cannot be written, the writes to that range are.
 */
#ifndef QUIRE_SHARD_COMMITTER_H
#define QUIRE_SHARD_COMMITTER_H

#include "shard/replica.h"

#define COMMITTER_QUEUE_MAX 1024 /* writes; beyond: ERR_FULL */
/* Bytes of payloads that may wait are set by the owner, within these. */
#define COMMITTER_QUEUE_LEAST ((size_t)64 << 20)
#define COMMITTER_QUEUE_MOST ((size_t)128 << 20)
#define COMMITTER_PREPARED_BYTES                                                                   \
    (16u << 20)                 /* memory of prepared writes; beyond: preparing waits */
#define COMMITTER_GROUP_MAX 128 /* writes committed with one append */
#define COMMITTER_GROUP_BYTES (16u << 20)
#define COMMITTER_STALL_MS 2000 /* the longest that a range whose flush lags holds up the queue */

struct committer;

/* Allocated by the caller, who must not touch it between committer_ready() and `done`. */
struct commit {
    struct list link; /* the committer's */
    bool ready;       /* the committer's */
    size_t bytes;     /* of the payload, set before enqueueing */
    void *data;

    /* Set by whoever prepares, before committer_ready(). */
    size_t prepared;         /* bytes of memory that preparing took */
    struct err error;        /* code != 0: only to be answered, in its turn */
    struct replica *replica; /* referenced by the caller until `done` returns */
    uint64_t epoch;
    const Quire__ShardWrite *write;
    struct bytes payload;              /* the packed message: what the log keeps */
    const struct document **documents; /* by operation; NULL where there is none */
    struct range_result *results;      /* room for one a operation */
    /* In the place of all these: something to be done in its turn. */
    int (*run)(struct commit *commit, struct err *err);

    /* Set by the committer. */
    struct range_result *answers; /* `results`, or what a retry was answered first (in `arena`) */
    size_t answer_count;
    uint64_t seq; /* of its last operation */
    struct arena *arena;
    /* Once, on the committer's thread; may free the commit. */
    void (*done)(struct commit *commit, int status, const struct err *err);
};

/* `queue_bytes`: of payloads that wait; beyond: ERR_FULL. */
int committer_create(struct log_store *log, size_t queue_bytes, struct committer **out,
                     struct err *err);
/* Commits what is queued, then ends. */
void committer_destroy(struct committer *committer);

/* 0, or ERR_FULL: then `done` is not called. */
int committer_enqueue(struct committer *committer, struct commit *commit);
/* Before preparing, on a thread that may wait: an analysed write takes many times the memory of its
 * payload, so only so many are prepared ahead. The write whose turn it is never waits. */
void committer_await_room(struct committer *committer, const struct commit *commit);
void committer_ready(struct committer *committer, struct commit *commit);

#endif
