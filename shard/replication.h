/* Replication: one replica of one range among the others. Pure code: no I/O, no clock, no threads,
 * no randomness; what it wants done it says through `struct replication_edge`, and what happened it
 * is told. The shard (replicator.c) and the simulator run the same code.
 *
 * The scheme is PacificA (Lin et al., 2008). The cluster map names a configuration of the range:
 * epoch, primary, in-sync replicas, learners. The log is a sequence of records (epoch, first_seq,
 * count); two logs that have a record of the same epoch and seq are equal up to there.
 *
 *                      configuration names this node as
 *          +---------+ primary     +------------+ appended everywhere up   +---------+
 *   NONE --|         |------------>| RECONCILING|------------------------->| PRIMARY |
 *          |         |             +------------+ to its last at promotion +---------+
 *          |  any    | in sync     +-----------+
 *          |  state  |------------>| SECONDARY |
 *          |         | learner     +-----------+
 *          |         |------------>|  LEARNER  |  caught up: the primary asks the coordinators to
 *          +---------+             +-----------+  make it in sync, and waits for its acks from then
 *
 * Prepare: the primary appends a record to its own log and sends it to all others at once. Commit:
 * when every in-sync replica (and every learner that the primary has asked to make in sync under
 * this epoch) has it durable. Then it is applied and answered; the others learn the commit point
 * with the next message.
 *
 * Why nothing that was acknowledged is lost: it is in the log of every in-sync replica, and only
 * those can become primary; what a new primary's log holds beyond the commit point is committed
 * (it may have been acknowledged), and a replica takes a record out of its log only when the
 * primary of a newer epoch sends another one for its place, in the same durable write.
 *
 * An epoch belongs to one life of its primary: a process that starts anew is never primary under an
 * epoch of the life before (the map bumps it, Node.incarnation), since it may have sent records
 * that its own log lost.
 *
 * The lease: granted to the node by the leading coordinator, shorter than the grace after which it
 * appoints another primary. Without it the primary neither takes nor acknowledges writes, and does
 * not answer reads that ask for the primary.
 *
 * Not thread-safe: one caller at a time. No call of the edge may call back into the core.
 */
#ifndef QUIRE_SHARD_REPLICATION_H
#define QUIRE_SHARD_REPLICATION_H

#include "proto/base/err.h"
#include "proto/base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLICATION_MEMBERS_MAX 8    /* other replicas of a range, learners included */
#define REPLICATION_HEARTBEAT_MS 200 /* a primary with nothing to say says so */
#define REPLICATION_LOST_MS 300      /* a replica whose connection is gone for so long, and ... */
#define REPLICATION_SILENT_MS 1500   /* ... one that has not acknowledged anything: to be dropped */
#define REPLICATION_RESEND_MS 1000   /* a message without an answer is sent again */
#define REPLICATION_WINDOW 16        /* messages to one replica under way */
#define REPLICATION_CAUGHT_UP                                                                      \
    4096 /* operations: a learner so near is asked into the in-sync set                            \
          */
#define REPLICATION_PENDING_MAX                                                                    \
    65536 /* operations proposed and not committed; beyond: ERR_FULL                               \
           */

struct replication_position {
    uint64_t epoch, seq; /* of the last operation of a record; 0, 0: before the first */
};

struct replication_record {
    uint64_t epoch, first_seq;
    uint32_t count;
};

struct replication_config {
    uint64_t epoch;
    const char *primary;        /* node ids */
    const char *const *in_sync; /* the primary included */
    size_t in_sync_count;
    const char *const *learners;
    size_t learner_count;
};

enum replication_role {
    REPLICATION_NONE, /* not named, or no configuration yet */
    REPLICATION_RECONCILING,
    REPLICATION_PRIMARY,
    REPLICATION_SECONDARY,
    REPLICATION_LEARNER,
};

/* ReplicaPrepare and ReplicaAck (quire.proto) without their texts and contents. */
struct replication_prepare {
    uint64_t epoch;
    const char *from;
    struct replication_position prev;         /* the end of the record before the first one */
    const struct replication_record *records; /* received; NULL when sending: see edge->send */
    size_t record_count;
    uint64_t committed, retain;
    uint64_t base; /* the sender's log begins after this seq */
};

enum replication_status { /* the values of ReplicaAck.Status */
                          REPLICATION_OK = 1,
                          REPLICATION_MISMATCH,
                          REPLICATION_STALE,
                          REPLICATION_BEHIND,
                          REPLICATION_EMPTY,
                          REPLICATION_BROKEN,
};

struct replication_ack {
    enum replication_status status;
    uint64_t epoch;
    uint64_t last; /* OK: durable up to here, and equal to the log of the epoch's primary */
    uint64_t committed;
    uint64_t durable_seq; /* of the index */
};

struct replication_edge {
    void *data;
    /* To another replica: `prepare` and the records of this log from `first` on (0: none), as many
     * as make a message, at least one. Returns the last seq of these. An ack or replication_lost()
     * should come for each; a message that gets neither is sent again. */
    uint64_t (*send)(void *data, const char *to, const struct replication_prepare *prepare,
                     uint64_t first);
    /* The answer to a prepare that was received (`ticket` is what replication_receive() was given).
     * Called once for each, at once or when the append has become durable. */
    void (*answer)(void *data, void *ticket, const struct replication_ack *ack);
    /* Puts the last `count` records of the message into the log, after removing everything from
     * `cut` on (0: nothing), in one durable write; replication_appended() is to follow. */
    void (*append)(void *data, void *ticket, size_t count, uint64_t cut);
    /* Everything up to `seq` is committed: apply it, in order. On the primary: and answer. */
    void (*commit)(void *data, uint64_t seq);
    /* What was proposed from `seq` on will not be acknowledged here: whether it happens is not
     * known. */
    void (*abandon)(void *data, uint64_t seq);
    /* Asks the coordinators for another configuration: said with each tick for as long as it is
     * wanted under this epoch. */
    void (*request)(void *data, uint64_t epoch, const char *node, bool in_sync);
    /* A learner that needs the files of the primary's index, since its log cannot be continued:
     * said with each message of the primary. When they are here the core is made anew. */
    void (*need_checkpoint)(void *data, const char *primary);
};

struct replication;

struct replication_start {
    const char *node_id; /* of this node */
    /* The log as found: the position that it begins after, then each epoch's first seq. */
    struct replication_position base;
    const struct replication_position *starts; /* (epoch, its first seq beyond base), ascending */
    size_t start_count;
    uint64_t last_seq;  /* = base.seq when there are no records */
    uint64_t committed; /* what the index is durable up to: >= base.seq, <= last_seq */
    bool empty;         /* there is nothing here, not even the beginning of a range: a learner
                         * that needs a checkpoint */
};

/* Copies what it needs. */
struct replication *replication_create(const struct replication_start *start,
                                       const struct replication_edge *edge);
/* Messages that wait for an answer get one: BEHIND. */
void replication_destroy(struct replication *replication);

/* A configuration of the map. Older than or equal to the one it has: nothing. `may_lead`: this
 * process may be primary under it (Node.incarnation is its own); else, where it is named as
 * primary, it waits for the next one in the role NONE. A primary that is primary again goes on;
 * what it proposed stays proposed. */
void replication_configure(struct replication *replication, const struct replication_config *config,
                           bool may_lead, uint64_t now_ms);
/* The node may act as primary until then (never shortened). */
void replication_lease(struct replication *replication, uint64_t until_ms);

/* Never acts as primary again: before the coordinators are told that this process is about to stop,
 * so that another one can follow at once, without waiting for the lease to run out. So it is of
 * itself when the log broke. */
void replication_resign(struct replication *replication);

/* A write: its place in the log. The record is (replication_epoch(), *first_seq, count); the caller
 * puts it into the log, sends it with replication_pump(), and reports replication_appended(). It is
 * answered at `commit` of its last seq. ERR_STALE: not the primary; ERR_UNAVAILABLE: reconciling,
 * or no lease; ERR_FULL; ERR_IO: the log broke. */
int replication_propose(struct replication *replication, uint32_t count, uint64_t now_ms,
                        uint64_t *first_seq, struct err *err);
/* Sends what can be sent. After proposing, when edge->send can find the records. */
void replication_pump(struct replication *replication, uint64_t now_ms);
/* So many more writes to the log are durable: each record that was proposed is one, each
 * edge->append is one, in the order in which they were made. */
void replication_appended(struct replication *replication, size_t writes, uint64_t now_ms);
/* The log cannot be written any more, until the core is made anew: what is durable stays, messages
 * are answered BROKEN, what was proposed is abandoned. */
void replication_broke(struct replication *replication, uint64_t now_ms);
/* The index is durable up to there. */
void replication_flushed(struct replication *replication, uint64_t durable_seq);
/* The log begins after `seq` from now on; at most replication_retain(). */
void replication_truncated(struct replication *replication, uint64_t seq);

/* Whether a checkpoint that goes up to `seq` may take the place of what is here: only a learner's,
 * and never so that something is lost which it has acknowledged as such. */
bool replication_may_install(const struct replication *replication, uint64_t seq);

/* A message of a primary; edge->answer is called once for the ticket. */
void replication_receive(struct replication *replication, void *ticket,
                         const struct replication_prepare *prepare, uint64_t now_ms);
void replication_acked(struct replication *replication, const char *from,
                       const struct replication_ack *ack, uint64_t now_ms);
/* A message was not answered (`disconnected`: there is no connection now). */
void replication_lost(struct replication *replication, const char *to, bool disconnected,
                      uint64_t now_ms);
/* At least every 50 ms: heartbeats, messages to be sent again, replicas to be dropped. */
void replication_tick(struct replication *replication, uint64_t now_ms);

/* ---- what it knows ---- */

enum replication_role replication_role(const struct replication *replication);
uint64_t replication_epoch(const struct replication *replication);
uint64_t replication_committed(const struct replication *replication);
uint64_t replication_last(const struct replication *replication); /* seq */
/* The log may be cut off up to here: this index and every other in-sync one are durable past it. */
uint64_t replication_retain(const struct replication *replication);
/* 0: a read may be answered here, once everything up to replication_committed() is applied.
 * ERR_STALE: not in sync, or of an older configuration than `epoch`, or (from_primary) not the
 * primary; ERR_UNAVAILABLE: the primary has no lease, or is reconciling. */
int replication_may_read(const struct replication *replication, uint64_t epoch, bool from_primary,
                         uint64_t now_ms, struct err *err);

#endif
