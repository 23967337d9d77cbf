/* Log store: the replicated log of every range of a shard process, in one RocksDB with a WAL that
 * is synced with each append, so that one fsync commits what many ranges have to write (group
 * commit).
 *
 * A record is one batch of operations of one range, as it came: seqs first_seq .. first_seq + count
 * - 1, under the epoch in which the primary took it. With one replica a record is committed once it
 * is durable here. Byte format: log_store.c. Thread-safe.
 */
#ifndef QUIRE_SHARD_LOG_STORE_H
#define QUIRE_SHARD_LOG_STORE_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct log_store;

struct log_record {
    uint64_t range;
    uint64_t epoch;
    uint64_t first_seq;
    uint32_t count;
    struct bytes write; /* a packed ShardWrite */
};

/* Creates the folder when missing. ERR_IO; ERR_CORRUPT when anything but the torn tail of the last
 * append is damaged. */
int log_store_open(const char *path, struct log_store **out, struct err *err);
void log_store_close(struct log_store *log);

/* Durable, all together, when it returns 0. After a failure nothing more can be appended until it
 * is opened anew. */
int log_store_append(struct log_store *log, const struct log_record *records, size_t count,
                     struct err *err);

/* Calls `visit` for each record of a range with first_seq >= from, in order; stops at the first
 * code that is not 0 and returns it. ERR_CORRUPT for a damaged record or a gap. */
int log_store_read(struct log_store *log, uint64_t range, uint64_t from,
                   int (*visit)(void *data, const struct log_record *record, struct err *err),
                   void *data, struct err *err);

/* The log of each range that lives here has a beginning, by which an empty log is told from a lost
 * one, and a range whose index was lost from a new one. log_store_begin() makes it, durably, before
 * anything else of a new range is made. *known = false: there is none, or it was dropped;
 * *forgotten is the seq of the last log_store_truncate(). */
int log_store_begin(struct log_store *log, uint64_t range, struct err *err);
int log_store_beginning(struct log_store *log, uint64_t range, bool *known, uint64_t *forgotten,
                        struct err *err);

/* Forgets the records of a range that lie at or below `seq`, and remembers that it did. Need not be
 * durable: a record that comes back is below the range's durable_seq. */
int log_store_truncate(struct log_store *log, uint64_t range, uint64_t seq, struct err *err);
/* Forgets the range. */
int log_store_drop(struct log_store *log, uint64_t range, struct err *err);

uint64_t log_store_bytes(struct log_store *log);

#endif
