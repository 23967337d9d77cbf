/* Controller: what the leading coordinator decides about nodes and ranges: who is alive, who is
 * primary, who is in sync, where a lost replica is made anew. Pure code: no I/O, no clock; it is
 * told what was heard and what the map is, and says which changes of the map it wants. The
 * coordinator (nodes.c, register.c) and the simulator run the same code.
 *
 * Only the leader's controller acts; the others' hear the same and are ready. A change is a
 * compare-and-set on the epoch of each range it is about (MapChange.ranges_configure), so a
 * decision that was overtaken does no harm.
 *
 * A node as the controller sees it:
 *
 *            heard                    connection closed, and its lease has run out; or
 *   UNKNOWN --------> ALIVE --------. silent for GRACE
 *                       ^           v
 *                       '--------- DEAD        LEAVING: heard `leaving`; no primary, nothing new
 *                          heard
 *
 * The life (incarnation) of a node. A process that was started anew, or is new altogether, is put
 * into the map (what a former one says late is ignored); the same change gives each range that the
 * node leads another primary, if there is one that may lead, or else a new epoch. Only a process of
 * the life that the map knows gets a lease, is asked to lead and is counted on.
 *
 * The lease. Each Register that the leader answers grants the node CONTROLLER_LEASE_MS, counted by
 * the node from when it sent the Register. A node is never declared dead before its last lease has
 * surely run out: not before CONTROLLER_LEASE_OVER_MS after the last answer. Who became leader just
 * now does not know what its predecessor granted: it counts as if it had answered every node at
 * the moment at which it began to lead, plus CONTROLLER_DEPOSED_MS, for which a deposed leader may
 * believe that it still leads.
 *
 * No lease for a node that still takes itself for the primary of a range which has gone to another
 * one while it was dead, nor while such a change is under way: it might answer reads with what it
 * knows. Nor for one that speaks of a range which is gone, or of a former epoch of one of which it
 * is not in sync any more, nor for a learner that does not speak of its range: by an old assignment
 * that comes late it might be the primary. It gets one with its first Register after it has carried
 * out the assignment.
 *
 * What it wants of a range, by priority, one change at a time for each range:
 *   1. a primary that lives in the life (incarnation) that the map knows, and can write: else
 *      another in-sync replica that is alive and serves is primary under the next epoch, the one
 *      that leads the fewest ranges, and the old one a learner. One that is leaving or cannot
 *      write stays in sync. One that has this epoch and does not lead under it gets a new one.
 * Without any in-sync replica alive nothing is done: the range waits.
 *   2. in-sync replicas that are dead, failed, damaged, about to stop, or that the primary asked
 *      to drop, become learners; only while the primary is alive and open, since they may be the
 *      last that have everything. One to be dropped that has not said that it follows this epoch
 *      may have been the primary until now, and answer reads as such: it gets no new lease, and
 *      stays in sync until the last one has run out. One that is damaged is demoted once another
 *      one leads that is not: of that it is made anew.
 *   3. a learner that the primary says has caught up becomes in sync. When the primary takes that
 *      back, the range gets a new epoch, so that it waits for that learner no longer.
 *   4. `replicas` of the collection many replicas, those that are to go (`leaving`) not counted:
 *      a learner that is dead for REPLACE_MS is replaced, and one that is missing is added, on a
 *      node that is alive, has room, is in another zone than the others if there is one, and has
 *      the fewest replicas.
 *   5. no more than that many in sync beside those that are to go: these go first (one that leads
 *      hands over before), then a dead learner, then the one on the fullest node.
 *   6. `fresh` is taken back once every in-sync replica says that it serves.
 *   7. no replica on a node that an operator drains: it leads nothing, and while nothing else is
 * under way in the range and not too many are on the move, its replica begins to move.
 *
 * A move is one change: the one that goes is named in `leaving`, and there is a learner elsewhere.
 * Rules 3, 1 and 5 do the rest, whoever leads by then. When all has been calm for CALM_MS, moves
 * are begun that even out the nodes (controller_balance.c), as far as the map's `placement` allows:
 * zones first, then bytes, then primaries. Before that, ranges that are too large are split and
 * small neighbours merged (controller_reshape.c).
 */
#ifndef QUIRE_COORDINATOR_CONTROLLER_H
#define QUIRE_COORDINATOR_CONTROLLER_H

#include "coordinator/map.h"

#define CONTROLLER_LEASE_MS 1000
#define CONTROLLER_LEASE_OVER_MS 1200 /* clocks may differ by 10 % in speed */
#define CONTROLLER_DEPOSED_MS 600     /* longer than an election takes to be noticed */
#define CONTROLLER_GRACE_MS 3000      /* silent for so long: dead */
#define CONTROLLER_REPLACE_MS 30000   /* dead for so long: its replicas are made anew elsewhere */
#define CONTROLLER_CALM_MS 5000       /* nothing is evened out before so long without a change */
#define CONTROLLER_MOVES_STEADY 2     /* ranges on the move at a time */
#define CONTROLLER_MOVES_LIVELY 8
#define CONTROLLER_RANGE_BYTES ((uint64_t)1 << 30)
#define CONTROLLER_SEALED_MS 2000 /* longer no range takes no writes for a split or a merge */
#define CONTROLLER_SETTLE_MS 1000 /* a change that was proposed is not proposed again before */

struct controller;

enum controller_state { CONTROLLER_UNKNOWN, CONTROLLER_ALIVE, CONTROLLER_LEAVING, CONTROLLER_DEAD };

struct controller_options {
    uint32_t replace_ms;  /* 0: CONTROLLER_REPLACE_MS */
    uint32_t calm_ms;     /* 0: CONTROLLER_CALM_MS */
    uint64_t range_bytes; /* above that a range is split; 0: CONTROLLER_RANGE_BYTES */
};

struct controller *controller_create(const struct controller_options *options);
void controller_destroy(struct controller *controller);

/* Holds the map until the next one. Call it with every map, also while another one leads. */
void controller_map(struct controller *controller, struct map *map, uint64_t now_ms);
/* This coordinator began to lead, or ceased to. It leads once it has applied all that was committed
 * before: controller_map() was called with that. */
void controller_lead(struct controller *controller, bool leads, uint64_t now_ms);
/* A Register, also of a node that the map does not know yet. What is to be answered: the lease, or
 * 0 when this one does not lead or the map does not know this life of the node yet. */
uint32_t controller_heard(struct controller *controller, const Quire__Register *message,
                          uint64_t now_ms);
/* The connection to a node was made or lost. */
void controller_link(struct controller *controller, const char *node_id, bool connected,
                     uint64_t now_ms);

/* The next change that is wanted; NULL: none now, or this one does not lead. The leader proposes
 * it, and calls again until there is none. Ask at least every 100 ms, and after each of the calls
 * above. The change and all in it are in the arena, and not of the map. */
Quire__MapChange *controller_next(struct controller *controller, struct arena *arena,
                                  uint64_t now_ms);

/* Judges the nodes as of now, as controller_next() does too. */
void controller_tick(struct controller *controller, uint64_t now_ms);

enum controller_state controller_node_state(const struct controller *controller,
                                            const char *node_id);

#endif
