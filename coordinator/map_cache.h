/* The map that a coordinator last served with, in its data folder: what one that is started while
 * no majority can be reached answers queries with. It is not the truth, which is in consensus; it
 * holds nothing but what was agreed on, since only maps that were applied are written. */
#ifndef QUIRE_COORDINATOR_MAP_CACHE_H
#define QUIRE_COORDINATOR_MAP_CACHE_H

#include "coordinator/map.h"

#define MAP_CACHE_FILE "map"

/* Replaces DIR/map. It is not forced to disk: a file that a crash of the machine has torn does not
 * pass its checksum. ERR_IO. */
int map_cache_write(const char *dir, const struct map *map, struct err *err);
/* One reference. ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT. */
int map_cache_read(const char *dir, struct map **out, struct err *err);

#endif
