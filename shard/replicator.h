/* Replicator: the one thread of a shard process through which every change of every log goes: the
 * driver of the replication cores (replication.h).
 *
 *                    writes (write_queue.h)      prepares, acks, configurations, ticks, ...
 *                              \                    /
 *   a turn:   1 what arrived is told to the cores it is about
 *             2 the writes that are ready get their places in the logs, and go out to the others
 *             3 one synced append of all that goes into any log
 *             4 the cores are told; what is committed is applied and answered
 *
 * So a write's way to the disk here and its way to the others overlap, one fsync commits what many
 * ranges have to write, and while it lasts the next turn's work comes together.
 *
 * When the log cannot be written, no range leads or follows any more until the process is started
 * anew; reads go on.
 *
 * A core is used under its replica's lock (readers and flushes ask it), but changed on this thread
 * only. Everything here may be called on any thread.
 */
#ifndef QUIRE_SHARD_REPLICATOR_H
#define QUIRE_SHARD_REPLICATOR_H

#include "proto/rpc/rpc.h"
#include "shard/replica.h"
#include "shard/write_queue.h"

#define REPLICATOR_TICK_MS 50
#define REPLICATOR_HELD_MS 5

struct replicas;

struct replicator_settings {
    struct log_store *log;
    struct replicas **replicas; /* where prepares find theirs; set before the first one comes */
    size_t queue_bytes;
    void *data;
    /* Something that the coordinators should know at once. */
    void (*news)(void *data);
    /* Answers a ReplicaPrepare. */
    void (*answer)(void *data, struct rpc_request *request, const Quire__ReplicaAck *ack);
};

int replicator_create(const struct replicator_settings *settings, struct replicator **out,
                      struct err *err);
/* No more jobs are given to pools; returns when that holds. */
void replicator_rest(struct replicator *replicator);
bool replicator_rests(struct replicator *replicator);
/* Does what has arrived, gives up the writes that are not committed, then its thread ends. NULL and
 * a second time are allowed. */
void replicator_stop(struct replicator *replicator);
void replicator_destroy(struct replicator *replicator);

struct write_queue *replicator_queue(struct replicator *replicator);

/* A replica is open, or learning: it gets its core. */
void replicator_opened(struct replicator *replicator, struct replica *replica);
/* It has another configuration (replica_take_config). */
void replicator_configured(struct replicator *replicator, struct replica *replica);
/* It is no longer in the table: what is pending is ended. */
void replicator_dropped(struct replicator *replicator, struct replica *replica);
/* All configurations of a map were handed over. */
void replicator_map(struct replicator *replicator, uint64_t epoch);
/* The newest map whose configurations the cores have taken; 0: none. */
uint64_t replicator_map_epoch(struct replicator *replicator);

/* As replication_lease(), for all. */
void replicator_lease(struct replicator *replicator, uint64_t until_ms);
/* As replication_resign(), for all; returns when it is done. */
void replicator_resign(struct replicator *replicator);

/* A ReplicaPrepare; it is answered once. */
void replicator_receive(struct replicator *replicator, struct rpc_request *request);
void replicator_acked(struct replicator *replicator, uint64_t range, const char *from,
                      const Quire__ReplicaAck *ack);
void replicator_lost(struct replicator *replicator, uint64_t range, const char *to,
                     bool disconnected);
/* A job has applied what it was to apply, or could not. */
void replicator_applied(struct replicator *replicator, struct replica *replica);
/* A checkpoint is here. */
void replicator_copied(struct replicator *replicator, struct replica *replica,
                       struct replication_position at);
/* The log cannot be written (any more). */
bool replicator_broken(struct replicator *replicator);

/* ---- for the cores' edges; the replicator's thread, under the replica's lock ---- */

/* To be appended with this turn. */
void replicator_append(struct replicator *replicator, struct replica *replica,
                       struct tail_record *record, bool cuts);
void replicator_answer(struct replicator *replicator, void *ticket,
                       const struct replication_ack *ack);

#endif
