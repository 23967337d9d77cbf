/* Replica: a range as this process holds it: opened in the background, written by the replicator,
 * flushed and merged in the background, dropped when the map no longer names it. The table of all
 * of them is replicas.h.
 *
 *                 +--> OPEN       index and log are here; what may be done with them, its
 *                 |               replication core says (replication.h)
 *     OPENING ----+--> LEARNING   a learner that has nothing (or nothing that can be read): waits
 *        ^        |               for a checkpoint of the primary's index
 *        |        +--> FAILED     says why; tried again with the next assignment, and with time
 *        |
 *        '--- a checkpoint takes the place of what OPEN or LEARNING had: a new object, which begins
 *             when the last user of the old one is gone (replicas_reinstall)
 *
 * References: the table holds one; whoever works with a replica holds one. With the last one the
 * range is closed, and, if it was dropped, its files and its log are removed.
 *
 * What is written, by whom. The log: the replicator's thread. The index: whoever has `applying`:
 * the replicator's thread while that is false, else a job (replica_apply.c).
 */
#ifndef QUIRE_SHARD_REPLICA_H
#define QUIRE_SHARD_REPLICA_H

#include "proto/base/pool.h"
#include "shard/checkpoint.h"
#include "shard/log_store.h"
#include "shard/range.h"
#include "shard/replication.h"
#include "shard/tail.h"

#include <pthread.h>
#include <stdatomic.h>

enum replica_state { REPLICA_OPENING, REPLICA_OPEN, REPLICA_LEARNING, REPLICA_FAILED };

#define REPLICA_READ_WAIT_MS 3000  /* for what a read has to see to be applied */
#define REPLICA_COPY_RETRY_MS 1000 /* after a checkpoint that did not come */

struct replica;
struct replicator;
struct reshapes;
struct links;
struct write;

/* What all replicas of a process share. */
struct replica_means {
    struct store_cache *cache;
    struct log_store *log;
    struct pool *background; /* opens and flushes */
    struct pool *merge;      /* apart: a merge may wait for its pace */
    struct pool *ingest;     /* applies what comes from other replicas */
    struct pool *copy;       /* pulls checkpoints, which takes long */
    struct merge_pace *merge_pace;
    const struct range_measures *measures;
    struct checkpoints *checkpoints;
    struct reshapes *reshapes; /* NULL: nothing is split or merged here */
    struct replicator *replicator;
    struct links *links;
    const char *node_id;        /* of this node */
    uint64_t disk_left_bytes;   /* that a checkpoint has to leave */
    void (*opened)(void *data); /* a replica is open, or failed; any thread */
    void (*ended)(void *data, struct replica *replica); /* it is closed; about to be freed */
    void *data;
};

struct replica_wish { /* what the primary asks of the coordinators */
    uint64_t epoch;
    char node[UUID_TEXT_SIZE];
    bool in_sync;
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

    _Atomic int state; /* enum replica_state */
    _Atomic int refs;
    _Atomic bool sealed;       /* takes no writes */
    _Atomic bool hold_merges;  /* the disk is short of space */
    _Atomic bool dropped;      /* files go with the last reference */
    _Atomic bool damaged;      /* something of it was found to be wrong */
    bool renewed;              /* what is on the disk is damaged: not to be opened by a learner */
    struct err error;          /* why it failed; written before state */
    uint64_t failed_ms;        /* when; as is the next */
    struct range *range;       /* once open */
    struct list link;          /* the table's */
    struct replica *successor; /* the table's: begins when this one has ended */
    bool installs;             /* an index that was pulled; it ends at: */
    struct replication_position install;

    /* What the lock guards. No call of another module is made under it but of the core and of the
     * log store. */
    pthread_mutex_t lock;
    pthread_cond_t applied;   /* more is applied, or nothing will be */
    int waiting;              /* for that */
    struct replication *core; /* from when it is open, or learning */
    struct log_extent extent; /* what the core begins with, until there is one */
    Quire__Range *config;     /* the newest that was taken */
    bool may_lead;            /* under it */
    struct replica_wish wishes[REPLICATION_MEMBERS_MAX];
    size_t wish_count;
    struct buf middle; /* where it would be split; empty: nowhere, or not known yet */
    struct tail tail;

    /* The replicator's thread. */
    struct list core_link; /* in its list of replicas with cores, which holds a reference */
    struct list pending;   /* writes in the log that are not applied, by seq */
    uint64_t commit_seq;   /* to be applied */
    uint64_t abandon_seq;  /* pending writes from here on are given up; 0: none */
    size_t writes;         /* of the next append */
    Quire__ReplicaPrepare *message; /* that is being received */
    bool disabled;                  /* it cannot be applied any more */
    bool wants_copy;
    char copy_from[UUID_TEXT_SIZE];
    uint64_t copy_after_ms;

    _Atomic bool copying, applying;
    _Atomic uint64_t read_floor; /* the end of the log as it was found: reads wait for it */
    struct pool_job flush_job, merge_job, apply_job, copy_job, open_job, middle_job;
    uint64_t apply_to;              /* the job's */
    _Atomic bool flushing, merging; /* the job is waiting or under way */
    _Atomic bool halving;           /* so is that */
    _Atomic uint64_t halved;        /* how many entries it had then; UINT64_MAX: never */
    _Atomic uint64_t flushed_ms;    /* when it was flushed last */
    _Atomic uint64_t kept_seq;      /* the log beyond it is needed (reshape.h); UINT64_MAX: not */
};

/* State OPENING, refs = 1. Copies what it needs. */
struct replica *replica_create(const Quire__Range *range, const Quire__Collection *collection,
                               const char *path, size_t memory_limit,
                               const struct replica_means *means);
/* Another object for the same range, with the configuration as it is now. */
struct replica *replica_again(struct replica *replica);
/* Opens it in the background; blocks when the pool is full. */
void replica_start(struct replica *replica);
void replica_ref(struct replica *replica);
void replica_unref(struct replica *replica);

/* ---- any thread ---- */

/* A configuration that was taken: older ones are not (false). */
bool replica_take_config(struct replica *replica, const Quire__Range *range, bool may_lead);
/* Role and position as they are now. */
struct replica_standing {
    enum replication_role role;
    uint64_t epoch, committed, last;
    size_t in_sync; /* replicas, by the configuration */
    bool reshaped;  /* it asks for a split or a merge... */
    bool sealed;    /* ...and the core follows one under which no writes are taken */
};
void replica_standing(struct replica *replica, struct replica_standing *out);
/* The configuration, when it is newer than `epoch`; in the arena. NULL: it is not. */
Quire__Range *replica_current(struct replica *replica, uint64_t epoch, struct arena *arena);

/* Waits until a read may be answered: everything that is known to be committed, what is in the log
 * since before the last start, and `seq` are applied. ERR_UNAVAILABLE: not within
 * REPLICA_READ_WAIT_MS, or the deadline. */
int replica_await(struct replica *replica, uint64_t seq, uint64_t deadline_ms, struct err *err);
/* Whether a read may be answered here at all (replication_may_read). */
int replica_may_read(struct replica *replica, const Quire__RangeRef *ref, struct err *err);

/* Something that was read of it is not what was written (ERR_CORRUPT; other codes are ignored).
 * The coordinators are told, and while another replica is in sync this one is taken out and made
 * anew of that one; until then it answers with what can be read. */
void replica_damaged(struct replica *replica, const struct err *err);

/* Memory is far above its limit, and a flush would give it back. */
bool replica_lags(struct replica *replica);
/* Starts flushing and merging in the background where the range wants it and that is not under way.
 */
void replica_maintain(struct replica *replica);
/* Looks for the middle of its entries in the background, when it leads and their number has changed
 * by an eighth. */
void replica_halve(struct replica *replica);
/* Flushes when there is something that was not flushed for so long. */
void replica_flush_old(struct replica *replica, uint64_t older_than_ms);
/* Flushes now and truncates the log; blocks. */
int replica_flush(struct replica *replica, struct err *err);
/* After work that took much memory: gives what malloc keeps of it back to the system. Takes a few
 * milliseconds. */
void replica_give_memory_back(void);

/* ---- the replicator's thread: replica_core.c ---- */

/* Makes the core, of what was found, and configures it. The caller holds the lock. */
void replica_make_core(struct replica *replica, uint64_t lease_until_ms, bool resigned);
/* The caller holds the lock. */
void replica_configure_core(struct replica *replica);

/* ---- the replicator's thread: replica_apply.c ---- */

/* After the core was told something: gives up what is abandoned, applies what is committed and
 * answers it, or has that done by a job. */
void replica_settle(struct replica *replica);
/* Nothing more is answered here: what is pending is ended. */
void replica_give_up(struct replica *replica, const char *why);
/* Starts pulling a checkpoint when the core wants one. */
void replica_copy(struct replica *replica, uint64_t now_ms);

#endif
