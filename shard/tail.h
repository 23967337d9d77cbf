/* Tail: the newest records of a range's log, in memory: for the other replicas, which are sent them
 * before they are durable here, and for applying them. Not thread-safe (replica->lock); a record
 * that was found may be read by any thread until it is released.
 */
#ifndef QUIRE_SHARD_TAIL_H
#define QUIRE_SHARD_TAIL_H

#include "proto/base/bytes.h"

#include <stdatomic.h>
#include <stdint.h>

#define TAIL_BYTES ((size_t)2 << 20) /* of durable records, that are kept */

struct tail_record {
    _Atomic int refs;
    uint64_t epoch, first_seq;
    uint32_t count;
    size_t size;
    uint8_t write[]; /* a packed ShardWrite */
};

struct tail {
    struct tail_record **ring;
    size_t head, count, room; /* room: a power of two */
    size_t bytes;
};

void tail_deinit(struct tail *tail);
/* After the last one, if there is one. Valid until the next tail_trim() and tail_cut(). */
struct tail_record *tail_add(struct tail *tail, uint64_t epoch, uint64_t first_seq, uint32_t count,
                             struct bytes write);
/* What is from `seq` on goes. */
void tail_cut(struct tail *tail, uint64_t seq);
/* All of it is durable: keeps the newest TAIL_BYTES. */
void tail_trim(struct tail *tail);
/* The record that begins at `seq`, to be released; NULL: it is not here. */
struct tail_record *tail_find(const struct tail *tail, uint64_t seq);

void tail_record_ref(struct tail_record *record);
void tail_record_release(struct tail_record *record);
static inline uint64_t tail_record_end(const struct tail_record *record)
{
    return record->first_seq + record->count - 1;
}

#endif
