/* Reopening ranges that were sealed in vain; see reopen.c. */
#ifndef QUIRE_COORDINATOR_REOPEN_H
#define QUIRE_COORDINATOR_REOPEN_H

#include "coordinator/coordinator.h"

/* Looks for sealed ranges in what a shard says of itself, and gives the first one a new epoch. One
 * at a time: the others come with the next Register. */
void reopen_sealed(struct coordinator *coordinator, const Quire__Register *message);

#endif
