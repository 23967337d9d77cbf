/* Moves that an operator asks for. Pure code, as the controller is. */
#ifndef QUIRE_COORDINATOR_CONTROLLER_MOVE_H
#define QUIRE_COORDINATOR_CONTROLLER_MOVE_H

#include "coordinator/controller.h"

/* The change that begins to move the replica of a range on `from` to `to` (ids or urls); `to` NULL:
 * to where the controller would put one more. The map's placement does not matter: who asks for one
 * move wants it. ERR_NOT_FOUND (range, shard), ERR_CONFLICT (no replica there, one there already,
 * no room, another move or repair of the range is under way), ERR_UNAVAILABLE (this one does not
 * lead). */
int controller_move(struct controller *controller, uint64_t range, const char *from, const char *to,
                    struct arena *arena, uint64_t now_ms, Quire__MapChange **change,
                    struct err *err);

/* The change that forgets a shard. ERR_NOT_FOUND, ERR_UNAVAILABLE as above; ERR_CONFLICT while it
 * runs, or a range has a replica there. */
int controller_remove(struct controller *controller, const char *node, struct arena *arena,
                      uint64_t now_ms, Quire__MapChange **change, struct err *err);

/* The change that drains a shard, or ends that. ERR_NOT_FOUND, ERR_UNAVAILABLE as above. */
int controller_drain(struct controller *controller, const char *node, bool draining,
                     struct arena *arena, uint64_t now_ms, Quire__MapChange **change,
                     struct err *err);

#endif
