/* Splits and merges of ranges: what an operator asks for, beside what the controller begins by
 * itself; the leader only. How they go on: controller_reshape.c. */
#ifndef QUIRE_COORDINATOR_CONTROLLER_RESHAPE_H
#define QUIRE_COORDINATOR_CONTROLLER_RESHAPE_H

#include "coordinator/controller.h"

/* Begins to split a range at a term key prefix, or (empty) where its primary says that about half
 * of the entries lie on either side; in the arena. ERR_UNAVAILABLE: this one does not lead, or the
 * range's primary has not said yet where that is (soon after it was opened); ERR_NOT_FOUND: none;
 * ERR_INVALID: the prefix is not within its bounds; ERR_CONFLICT: something is under way in it, or
 * it has one key only. */
int controller_split(struct controller *controller, uint64_t range, struct bytes at,
                     struct arena *arena, uint64_t now_ms, Quire__MapChange **change,
                     struct err *err);

/* Begins to merge a range with its neighbour on the right, whose replicas are moved to where those
 * of the first are, if they are not there. ERR_UNAVAILABLE, ERR_NOT_FOUND, ERR_CONFLICT: as above,
 * also for the neighbour; or it has none. */
int controller_merge(struct controller *controller, uint64_t range, struct arena *arena,
                     uint64_t now_ms, Quire__MapChange **change, struct err *err);

#endif
