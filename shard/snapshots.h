/* Snapshots: the entries of a range as they were at one moment, kept for somebody who reads them in
 * many requests while the range is written to (a backup).
 *
 *   take ----> kept <----> being read (one request at a time)
 *                |
 *                '--> gone: released; not asked for during SNAPSHOT_KEPT_MS; or its replica is not
 *                     the one of the table any more (dropped, split, made anew): then it must not
 *                     keep that one's files, and whoever reads begins again with another one
 *
 * A snapshot holds a reference on its replica and an iterator of RocksDB, which keeps the files
 * that it began with from being removed by merges. Nothing of it is on disk: it ends with the
 * process. Whether the replica leads its range matters when it is taken and not afterwards.
 *
 * Any thread. Times are clock_ms().
 */
#ifndef QUIRE_SHARD_SNAPSHOTS_H
#define QUIRE_SHARD_SNAPSHOTS_H

#include "shard/replicas.h"
#include "shard/search.h"

#define SNAPSHOT_KEPT_MS 60000 /* after the last request */
#define SNAPSHOTS_MAX 1024     /* kept at a time; beyond: ERR_FULL */
#define SNAPSHOT_PAGE_BYTES ((uint32_t)1 << 20)
#define SNAPSHOT_PAGE_MAX ((uint32_t)4 << 20) /* and one entry more: stays within a frame */
#define SNAPSHOT_PAGE_ENTRIES 10000

struct snapshots;

/* ERR_NOMEM. */
int snapshots_create(struct snapshots **out, struct err *err);
/* Ends all; none may be in use. NULL is allowed. */
void snapshots_destroy(struct snapshots *snapshots);

/* Of an open replica. In *out: id, range, seq, entries; the rest is left. ERR_FULL. */
int snapshots_take(struct snapshots *snapshots, struct replica *replica, uint64_t now_ms,
                   Quire__Snapshot *out, struct err *err);
/* A page of one, in the arena; an empty one for KEEP and RELEASE. `abandoned` may end it early.
 * ERR_NOT_FOUND: it is not kept (any more); releasing that is no error. ERR_UNAVAILABLE: another
 * request reads from it now. ERR_DEADLINE; ERR_CORRUPT and ERR_IO, which the replica is told of. */
int snapshots_read(struct snapshots *snapshots, const Quire__SnapshotRead *request,
                   const struct search_budget *budget, uint64_t now_ms, struct arena *arena,
                   Quire__SnapshotPage *out, struct err *err);
/* Ends those that are to be gone; see above. May close a range, which blocks. */
void snapshots_expire(struct snapshots *snapshots, struct replicas *replicas, uint64_t now_ms);
/* How many there are. */
size_t snapshots_count(struct snapshots *snapshots);

#endif
