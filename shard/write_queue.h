/* Write queue: the writes of a shard process from their arrival until they are answered, in the
 * order in which they came.
 *
 *   arrival (loop)     write_queue_enqueue(): a place in the queue
 *   preparing (pool)   write_queue_await_room(); unpacked, checked, analysed, in parallel;
 *                      write_queue_ready()
 *   the replicator     write_queue_take(): what is ready at the head; then put into the log, sent
 *                      to the other replicas, applied when it is committed; write_queue_end()
 *
 * Any thread, but for take and end: the replicator's.
 */
#ifndef QUIRE_SHARD_WRITE_QUEUE_H
#define QUIRE_SHARD_WRITE_QUEUE_H

#include "shard/replica.h"

#define WRITE_QUEUE_MAX 1024 /* writes; beyond: ERR_FULL */
/* Bytes of payloads that may wait are set by the owner, within these. */
#define WRITE_QUEUE_LEAST ((size_t)64 << 20)
#define WRITE_QUEUE_MOST ((size_t)128 << 20)
#define WRITE_QUEUE_PREPARED                                                                       \
    (16u << 20)             /* bytes of memory of prepared writes; beyond: preparing waits */
#define WRITE_GROUP_MAX 128 /* writes put into the log with one append */
#define WRITE_GROUP_BYTES (16u << 20)
#define WRITE_STALL_MS 2000 /* the longest that a range whose flush lags holds up the queue */

struct write_queue;

/* Allocated by the caller, who must not touch it between write_queue_ready() and `done`. */
struct write {
    struct list link; /* the queue's, then the replica's */
    bool ready;       /* the queue's */
    size_t bytes;     /* of the payload, set before enqueueing */
    void *data;

    /* Set by whoever prepares, before write_queue_ready(). */
    size_t prepared;         /* bytes of memory that preparing took */
    struct err error;        /* code != 0: only to be answered, in its turn */
    struct replica *replica; /* referenced by the caller until `done` returns */
    uint64_t epoch;          /* of the configuration that it was sent under */
    const Quire__ShardWrite *message;
    struct bytes payload;              /* the packed message: what the log keeps */
    const struct document **documents; /* by operation; NULL where there is none */
    struct range_result *results;      /* room for one an operation */
    /* In the place of all these: something to be done in its turn. */
    int (*run)(struct write *write, struct err *err);

    /* Set by the replicator. */
    struct range_result *answers; /* `results`, or what a retry was answered first (in `arena`) */
    size_t answer_count;
    uint64_t seq; /* of its last operation; 0: not in the log */
    struct arena *arena;
    /* Once, on the replicator's thread; may free the write. */
    void (*done)(struct write *write, int status, const struct err *err);
};

/* `queue_bytes`: of payloads that wait; beyond: ERR_FULL. `wake` is called, on any thread, when
 * there is something to be taken. NULL: no memory. */
struct write_queue *write_queue_create(size_t queue_bytes, void (*wake)(void *data), void *data);
/* It is empty. NULL is allowed. */
void write_queue_destroy(struct write_queue *queue);

/* 0, or ERR_FULL: then `done` is not called. */
int write_queue_enqueue(struct write_queue *queue, struct write *write);
/* Before preparing, on a thread that may wait: an analysed write takes many times the memory of its
 * payload, so only so many are prepared ahead. The write whose turn it is never waits. */
void write_queue_await_room(struct write_queue *queue, const struct write *write);
void write_queue_ready(struct write_queue *queue, struct write *write);

/* The writes at the head that are ready, and make one append; at most WRITE_GROUP_MAX. A `run`
 * comes alone. *held: the next one is ready, and its range has to be flushed first; ask again in a
 * few milliseconds. */
size_t write_queue_take(struct write_queue *queue, struct write **group, bool *held);
/* Calls `done`. */
void write_queue_end(struct write_queue *queue, struct write *write, int status,
                     const struct err *err);
/* Writes that were not ended yet. */
size_t write_queue_count(struct write_queue *queue);

#endif
