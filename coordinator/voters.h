/* Voters: who takes part in consensus, and whom the map names, are changed one after the other, and
 * a leader may die in between. Whoever leads then sets it right: a voter that the map does not name
 * for VOTERS_GRACE_MS is removed, and so is a coordinator of the map that is no voter. (One that
 * joins goes on asking until the map names it, which is far sooner.) */
#ifndef QUIRE_COORDINATOR_VOTERS_H
#define QUIRE_COORDINATOR_VOTERS_H

#include "coordinator/coordinator.h"

#define VOTERS_GRACE_MS 10000

/* Every now and then, while it leads. */
void voters_tick(struct coordinator *coordinator, uint64_t now_ms);
/* It leads no more: what was seen may be old. */
void voters_forget(struct coordinator *coordinator);

#endif
