/* What a record of the log says: the operations of one write, and whose batch they are. */
#ifndef QUIRE_SHARD_LOG_WRITE_H
#define QUIRE_SHARD_LOG_WRITE_H

#include "shard/range.h"

struct log_write {
    struct range_op *ops;
    size_t count;
    struct range_session session;
    bool has_session;
};

/* Of `packed` (a ShardWrite); all of it in the arena. ERR_CORRUPT. */
int log_write_unpack(uint64_t first_seq, uint32_t count, struct bytes packed, struct arena *arena,
                     struct log_write *out, struct err *err);

#endif
