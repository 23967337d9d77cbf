/* What the controller keeps; for controller*.c only. */
#ifndef QUIRE_COORDINATOR_CONTROLLER_STATE_H
#define QUIRE_COORDINATOR_CONTROLLER_STATE_H

#include "coordinator/controller.h"
#include "proto/limits.h"

enum replica_state { REPLICA_UNHEARD, REPLICA_OPENING, REPLICA_READY, REPLICA_FAILED };

/* What a node last said of a range. */
struct replica_report {
    uint64_t range, epoch;
    enum replica_state state;
    bool serving; /* not only open: it answers */
    bool primary; /* it takes itself for it */
    bool idle;    /* it does not, and says so */
    bool read_only;
    bool damaged; /* it answers, as far as it can be read */
    bool derived; /* of a source: it has targets, with all up to: */
    uint64_t derived_seq;
    bool derive_failed; /* it cannot make them */
    bool drained;       /* nothing comes after last_seq under this epoch */
    uint64_t last_seq, entries;
    uint64_t bytes;      /* of files and memory */
    struct bytes middle; /* where it would be split; empty: nowhere, or: */
    bool unhalved;       /* not known yet */
};

/* What the primary of a range last asked for. */
struct replica_wish {
    uint64_t range, epoch;
    const char *node;
    bool in_sync;
};

/* A node that the map names, or that was heard. */
struct watched {
    char *id;
    const Quire__Node *known; /* by the map; NULL: not yet */
    enum controller_state state;
    bool lost;           /* there was a connection, and it is closed */
    bool heard;          /* since this coordinator started */
    uint64_t heard_ms;   /* the last Register; before that, when it was first heard of */
    uint64_t granted_ms; /* when a lease was last granted, or may have been */
    uint64_t dead_ms;    /* since when it is DEAD */
    uint64_t put_ms;     /* when its node_put was proposed; 0: not since the map changed */

    struct arena arena; /* of what the last Register said: */
    char *address, *zone;
    uint64_t incarnation; /* 0: none */
    bool disk_short;
    struct replica_report *reports; /* by range */
    size_t report_count;
    struct replica_wish *wishes;
    size_t wish_count;

    size_t replicas, primaries; /* while a change is planned: how many it has, then */
    uint64_t load;              /* while moves are chosen: see controller_balance.c */
};

/* A range of the map, at the same place. */
struct track {
    uint64_t id, epoch;
    uint64_t proposed_ms; /* when a change of this epoch was proposed; 0: none was */
    /* It is proposed that this dead node be primary no more. That may happen even when the node
     * comes back meanwhile: it gets no lease until the range has a new epoch. */
    struct watched *deposed;
    uint64_t sealed_ms; /* of a source that takes no writes: since when, as this one knows */
    struct watched *members[LIMIT_MEMBERS]; /* as map_range_member() */
};

struct controller {
    uint32_t replace_ms, calm_ms;
    uint64_t range_bytes;
    struct map *map; /* held; NULL: none yet */
    bool leads;
    uint64_t lead_ms;    /* since when */
    uint64_t last_ms;    /* when the nodes were last judged */
    uint64_t stirred_ms; /* when the map, or the state of a node, last changed */
    size_t moves;        /* while a change is planned: ranges on the move, or being reshaped */
    struct watched **nodes;
    size_t node_count;
    struct track *tracks;
    size_t track_count;
};

/* What a range shall be. */
struct range_plan {
    const Quire__Range *range;
    const struct track *track;
    struct watched *primary;
    struct watched *in_sync[LIMIT_MEMBERS + 1], *learners[LIMIT_MEMBERS + 1];
    struct watched *leaving[LIMIT_MEMBERS + 1]; /* some of these */
    size_t in_sync_count, learner_count, leaving_count;
    bool fresh;
    const Quire__Reshape *reshape; /* NULL: none */
    bool changed;
    struct watched *deposed; /* the primary, when it is replaced because it is dead */
};

struct watched *controller_watched(const struct controller *controller, const char *id);
/* Whether the process that was heard last is the one that the map knows. */
bool watched_is_known(const struct watched *node);
/* Whether the last lease that it was granted, by whomever, has not surely run out. */
bool watched_may_have_lease(const struct controller *controller, const struct watched *node,
                            uint64_t now_ms);
const struct replica_report *watched_report(const struct watched *node, uint64_t range);

/* What the range is, and what it shall be by the rules of controller.h (plan->changed). */
void range_plan_init(struct range_plan *plan, const struct controller *controller, size_t index);
void range_plan_make(struct range_plan *plan, struct controller *controller, uint64_t now_ms);
/* Whether its primary asked to drop that in-sync replica, under the epoch of now. */
bool range_does_without(const struct controller *controller, size_t index,
                        const struct watched *node);
/* Its primary is a new process: another one leads, or the same under a new epoch. */
void range_plan_reborn(struct range_plan *plan);
/* One that may lead leads instead of the primary. */
bool range_plan_hand_over(struct range_plan *plan, struct watched *next);
/* Begins to move the replica on `from` to `to`, which has none. */
void range_plan_move(struct range_plan *plan, struct watched *from, struct watched *to);
/* Whether every replica is in sync and open, and none is to go. */
bool range_plan_is_still(const struct range_plan *plan);
/* The same, and the range is neither split nor merged: nothing is under way in it. */
bool range_plan_is_calm(const struct range_plan *plan);
bool range_plan_may_lead(const struct range_plan *plan, const struct watched *node);
bool range_plan_has(const struct range_plan *plan, const struct watched *node);
/* How many replicas, but for that on `gone` (NULL: none) and those that are to go, are in the zone
 * of the node. */
size_t range_plan_zone_mates(const struct range_plan *plan, const struct watched *node,
                             const struct watched *gone);
/* Where one more replica of the range would go; NULL: nowhere. `gone`: as above. */
struct watched *range_plan_new_home(const struct range_plan *plan,
                                    const struct controller *controller,
                                    const struct watched *gone);

/* Whether replicas may be put there. */
bool watched_has_room(const struct watched *node);
static inline bool watched_is_draining(const struct watched *node)
{
    return node->known != NULL && node->known->draining;
}

/* How many ranges may be on the move. */
size_t controller_moves_max(const struct controller *controller);
/* Moves that even out the load, and primaries that go over, as far as more may be on the move; NULL
 * when nothing is to be evened out. In controller_balance.c. */
Quire__MapChange *controller_balance(struct controller *controller, struct arena *arena,
                                     uint64_t now_ms);

/* What goes on with ranges that are split and merged; and the next one that is begun unasked. In
 * controller_reshape.c. */
Quire__MapChange *controller_reshape(struct controller *controller, struct arena *arena,
                                     uint64_t now_ms);
Quire__MapChange *controller_reshape_begin(struct controller *controller, struct arena *arena,
                                           uint64_t now_ms);
Quire__Reshape *reshape_copy(const Quire__Reshape *from, struct arena *arena); /* NULL is fine */

/* The place of a range in the map. ERR_UNAVAILABLE: this coordinator does not lead; ERR_NOT_FOUND.
 * In controller_move.c. */
int controller_find_range(struct controller *controller, uint64_t id, uint64_t now_ms,
                          size_t *index, struct err *err);

/* What a change is made of; in controller_plan.c. */
Quire__MapChange *range_change_make(const struct controller *controller, struct arena *arena);
void range_change_add(Quire__MapChange *change, const struct range_plan *plan, struct track *track,
                      struct arena *arena, uint64_t now_ms);

#endif
