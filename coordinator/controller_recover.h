/* Recovery: what an operator may do about a range when every replica that has all of it is gone for
 * good. The controller never does that by itself: it waits for one of them. Pure code, as the
 * controller is; it knows what the shards have said to this coordinator since it started.
 *
 * A range is lost when each in-sync replica is dead, or alive and has failed. Then there are two
 * ways on, both by a new configuration of the next epoch, so that the controller and a second
 * operator cannot do something else at the same time:
 *   - with one replica that is alive and open, a learner: it alone is in sync. Writes that it has
 * not got are lost; the controller makes the other replicas anew from it;
 *   - empty, on a shard that has nothing of the range: all its entries are lost.
 */
#ifndef QUIRE_COORDINATOR_CONTROLLER_RECOVER_H
#define QUIRE_COORDINATOR_CONTROLLER_RECOVER_H

#include "coordinator/controller.h"

#define RECOVER_LOSSES_MAX 1000 /* sentences; beyond them it is only said that there are more */

struct recovery {
    char **losses; /* sentences, in the arena */
    size_t loss_count;
    Quire__MapChange *change; /* NULL: only a list was asked for */
};

/* What is lost, and what may be done. None: the losses are empty. ERR_UNAVAILABLE: this one does
 * not lead, or does not know yet who is alive. */
int controller_lost(struct controller *controller, struct arena *arena, uint64_t now_ms,
                    struct recovery *out, struct err *err);

/* What is lost when the range goes on with the replica on `node` (id or url), or begins empty
 * (NULL), and the change that does it. ERR_NOT_FOUND (range), ERR_UNAVAILABLE as above;
 * ERR_CONFLICT: the range is not lost, or there is no such replica or shard. */
int controller_recover(struct controller *controller, uint64_t range, const char *node,
                       struct arena *arena, uint64_t now_ms, struct recovery *out, struct err *err);

#endif
