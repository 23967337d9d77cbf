/* Disk room: what a shard may do with the free space that is left. Pure.
 *
 *   free space ->  |<- reserve: flushes of what was taken ->|<- a merge of this range ->|  ...
 *                  0                  no writes below here -'    no merge of it below -'
 *
 * A merge writes its new segment beside those that it reads, which go when it is done. Lists, which
 * are what it writes, are some two fifths of a range's files (README.md, "What filling costs").
 * Others may be merging at the same time: the largest range counts as well.
 */
#ifndef QUIRE_SHARD_DISK_ROOM_H
#define QUIRE_SHARD_DISK_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct disk_room { /* bytes */
    uint64_t unused;
    uint64_t reserve; /* what is kept free, and what the flushing of all that is in memory takes */
    uint64_t largest; /* files of the largest range */
};

static inline bool disk_takes_writes(const struct disk_room *room)
{
    return room->unused >= room->reserve;
}

/* Whether a range whose files have so many bytes may begin a merge. */
static inline bool disk_takes_merge(const struct disk_room *room, uint64_t range_bytes)
{
    return room->unused >= room->reserve + range_bytes / 2 + room->largest / 2;
}

#endif
