/* Consensus: the seam through which the cluster map changes.
 *
 * A change is bytes. It is proposed, agreed on, made durable, and then applied, in the same order
 * on every coordinator; what was acknowledged is there after a crash. What the bytes mean is the
 * business of the state machine behind `consensus_fsm`.
 *
 * There is one real implementation, over libraft (consensus_raft.h); another store could be put
 * behind this header. Everything happens on the loop's thread. No callback of a proposal runs
 * inside the call that submitted it, nor inside a callback of the state machine.
 */
#ifndef QUIRE_COORDINATOR_CONSENSUS_H
#define QUIRE_COORDINATOR_CONSENSUS_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/base/list.h"

#include <stdbool.h>
#include <stdint.h>

/* What is agreed upon. */
struct consensus_fsm {
    void *data;
    /* A change that is committed and durable. Must be deterministic, and must not propose. A
     * refusal (an error code, with its text in `err`) leaves the state as it was and goes to
     * whoever proposed the change. */
    int (*apply)(void *data, struct bytes change, struct err *err);
    /* Appends the whole state. */
    void (*snapshot)(void *data, struct buf *out);
    /* Replaces the whole state; ERR_CORRUPT keeps the coordinator from starting. */
    int (*restore)(void *data, struct bytes snapshot, struct err *err);
};

struct consensus;

/* Allocated by the caller, who must not touch it until `done` was called. */
struct consensus_proposal {
    struct list link; /* consensus's */
    void *data;       /* the caller's */
    /* status 0: committed and applied here. Otherwise nothing of it happened, or (ERR_UNAVAILABLE
     * after a loss of leadership, ERR_CANCELED at close) it may yet happen: look at the state
     * before trying again. */
    void (*done)(struct consensus_proposal *proposal, int status, const struct err *err);
    int status; /* consensus's, as is what follows */
    struct err err;
    struct buf change;
    struct consensus *consensus;
};

/* A change of who takes part; allocated by the caller as a proposal is. One at a time. */
struct consensus_membership {
    uint64_t id;         /* of the voter; not 0 */
    const char *address; /* HOST:PORT of one to be added; NULL: it is to be removed */
    void *data;
    /* status 0: so it is now (a voter that was one already, or is gone already, is fine). Otherwise
     * ERR_UNAVAILABLE (not the leader, or not any more, or it is the leader that is to be removed:
     * then another one is about to lead), ERR_CONFLICT (another change is under way, or it is the
     * last one that is to be removed),
     * ERR_DEADLINE (the new voter did not catch up), ERR_CANCELED. */
    void (*done)(struct consensus_membership *membership, int status, const struct err *err);
};

struct consensus_ops {
    void (*change)(struct consensus *consensus, struct consensus_membership *membership);
    size_t (*members)(const struct consensus *consensus, uint64_t *ids, size_t room);
    void (*leader)(struct consensus *consensus, uint64_t *id, const char **address);
    void (*propose)(struct consensus *consensus, struct consensus_proposal *proposal);
    int (*check)(struct consensus *consensus, struct err *err);
    bool (*is_leader)(const struct consensus *consensus);
    void (*close)(struct consensus *consensus, void (*closed)(void *data), void *data);
};

/* The first member of every implementation. */
struct consensus {
    const struct consensus_ops *ops;
};

/* `change` is copied. ERR_UNAVAILABLE (not the leader), ERR_FULL (the disk), ERR_IO, ERR_CANCELED,
 * or what apply said. */
static inline void consensus_propose(struct consensus *consensus,
                                     struct consensus_proposal *proposal, struct bytes change)
{
    buf_init(&proposal->change);
    buf_append_bytes(&proposal->change, change);
    proposal->consensus = consensus;
    consensus->ops->propose(consensus, proposal);
}

/* Whether a proposal would be taken now: 0, ERR_UNAVAILABLE, ERR_FULL, ERR_IO or ERR_CANCELED. For
 * those who do something beforehand that is better not done in vain. */
static inline int consensus_check(struct consensus *consensus, struct err *err)
{
    return consensus->ops->check(consensus, err);
}

static inline bool consensus_is_leader(const struct consensus *consensus)
{
    return consensus->ops->is_leader(consensus);
}

/* Adds or removes a voter. `done` may be called from inside. */
static inline void consensus_change(struct consensus *consensus,
                                    struct consensus_membership *membership)
{
    consensus->ops->change(consensus, membership);
}

/* The ids of those who take part, `room` of them at most, those that are being added included; how
 * many there are. */
static inline size_t consensus_members(const struct consensus *consensus, uint64_t *ids,
                                       size_t room)
{
    return consensus->ops->members(consensus, ids, room);
}

/* Who leads, as far as is known here: *id = 0 and *address = NULL when nobody does. The address is
 * good until the loop's next turn. */
static inline void consensus_leader(struct consensus *consensus, uint64_t *id, const char **address)
{
    consensus->ops->leader(consensus, id, address);
}

/* A leader hands over first, when there is somebody to. Fails what is outstanding with
 * ERR_CANCELED, then frees itself and calls `closed`. */
static inline void consensus_close(struct consensus *consensus, void (*closed)(void *data),
                                   void *data)
{
    consensus->ops->close(consensus, closed, data);
}

#endif
