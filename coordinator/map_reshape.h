/* Splits and merges, as the map has them (Reshape in quire.proto). For map.c and map_change.c. */
#ifndef QUIRE_COORDINATOR_MAP_RESHAPE_H
#define QUIRE_COORDINATOR_MAP_RESHAPE_H

#include "coordinator/map.h"

#define RESHAPE_SOURCES_MAX 2
#define RESHAPE_TARGETS_MAX 2

/* Of every range that is a source: one becomes two, or two neighbours become one; each of the
 * sources carries the same reshape; the targets cover what the sources do, exactly once; their ids
 * are taken and not in use. The ranges are in order and cover the key space. ERR_CORRUPT. */
int reshape_validate(const Quire__ClusterMap *message, struct err *err);

/* A configuration that begins one takes ids that were never given: next_id moves behind them. One
 * that goes on has the sources and targets of before. ERR_CONFLICT, ERR_INVALID. */
int reshape_check_configured(Quire__ClusterMap *next, const Quire__Range *old,
                             const Quire__Range *range, uint64_t first_new_id, struct err *err);

/* MapChange.reshape_finish. ERR_CONFLICT: a source is not what it was, or is not sealed, or its
 * members are others than those of the first. */
int reshape_finish(Quire__ClusterMap *next, const Quire__ReshapeFinish *finish,
                   struct arena *scratch, struct err *err);

#endif
