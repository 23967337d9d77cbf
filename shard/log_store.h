/* Log store: the replicated log of every range of a shard process, in one RocksDB with a WAL that
 * is synced with each append, so that one fsync commits what many ranges have to write (group
 * commit).
 *
 * A record is one batch of operations of one range, as it came: seqs first_seq .. first_seq + count
 * - 1, under the epoch in which a primary took it. What is here may be taken back as long as it is
 * not committed: which records those are is not known here (replication.h). Byte format:
 * log_store.c. Thread-safe; for one range, appends come one after another.
 */
#ifndef QUIRE_SHARD_LOG_STORE_H
#define QUIRE_SHARD_LOG_STORE_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "shard/replication.h" /* struct replication_position */

#include <stdbool.h>
#include <stdint.h>

struct log_store;
struct histogram;

struct log_record {
    uint64_t range;
    uint64_t epoch;
    uint64_t first_seq;
    uint32_t count;
    struct bytes write; /* a packed ShardWrite */
    bool cuts; /* appended: what the log has of this range from first_seq on goes, in the same
                  write */
};

/* Creates the folder when missing. ERR_IO; ERR_CORRUPT when anything but the torn tail of the last
 * append is damaged. */
int log_store_open(const char *path, struct log_store **out, struct err *err);
void log_store_close(struct log_store *log);
/* Every append from now on is measured, its fsync included. Before the first one. */
void log_store_measure(struct log_store *log, struct histogram *appends);

/* Records of any ranges, each range's in order. Durable, all together with what they cut, when it
 * returns 0. After a failure nothing more can be appended until it is opened anew. */
int log_store_append(struct log_store *log, const struct log_record *records, size_t count,
                     struct err *err);

/* Calls `visit` for each record of a range with from <= first_seq <= to, in order; stops at the
 * first code that is not 0 and returns it. ERR_CORRUPT for a damaged record or a gap, also when
 * there is a first record and it does not begin at `from`. */
int log_store_read(struct log_store *log, uint64_t range, uint64_t from, uint64_t to,
                   int (*visit)(void *data, const struct log_record *record, struct err *err),
                   void *data, struct err *err);

/* The log of each range that lives here has a beginning, the position after which it begins: by it
 * an empty log is told from a lost one, and a range whose index was lost from a new one.
 * log_store_begin() makes it, durably, before anything else of a range is made: (0, 0) for a new
 * one, the position that the index is of for one that came as files. What the log had of the range
 * before goes. *known = false: there is none, or it was dropped. */
int log_store_begin(struct log_store *log, uint64_t range, struct replication_position after,
                    struct err *err);
int log_store_beginning(struct log_store *log, uint64_t range, bool *known,
                        struct replication_position *after, struct err *err);

/* What there is of a range's log; reads all of it. ERR_CORRUPT also for epochs that fall. */
struct log_extent {
    bool known;                          /* there is a beginning; otherwise nothing else is set */
    struct replication_position base;    /* the beginning */
    struct replication_position *starts; /* (epoch, its first seq beyond base), ascending */
    size_t start_count;
    uint64_t last_seq; /* base.seq when there are no records */
};
int log_store_extent(struct log_store *log, uint64_t range, struct log_extent *out,
                     struct err *err);
void log_extent_deinit(struct log_extent *extent);
/* The epoch of the record that holds `seq`, or of the beginning when that is at `seq`.
 * ERR_NOT_FOUND: neither. */
int log_store_epoch_at(struct log_store *log, uint64_t range, uint64_t seq, uint64_t *epoch,
                       struct err *err);

/* Forgets the records of a range up to `seq`, the last of a record, which becomes the beginning;
 * nothing when the log begins there or later. Need not be durable: a record that comes back is
 * below the range's durable_seq. ERR_INVALID: `seq` is not the end of a record. */
int log_store_truncate(struct log_store *log, uint64_t range, uint64_t seq, struct err *err);
/* Forgets the range. */
int log_store_drop(struct log_store *log, uint64_t range, struct err *err);

uint64_t log_store_bytes(struct log_store *log);

#endif
