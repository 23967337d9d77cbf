/* Merge pace: how fast the merges of all ranges of a process may write.
 *
 * A merge that runs by itself takes what it wrote (merge_pace_take(), about every MiB) and waits
 * there until that is paid for at so many bytes a second. The limit is the process's, shared by
 * whoever merges just then, first come, first served.
 *
 *               too many segments in some range
 *     limited --------------------------------->  lifted      nobody waits, nothing is counted
 *             <---------------------------------
 *               few again in each of those
 *
 * A merge that waits ends its wait when its range is stopped (merge_pace_wake()) or the limit is
 * lifted. It holds no lock of its range meanwhile (range_merge.c).
 *
 * Thread-safe.
 */
#ifndef QUIRE_SHARD_MERGE_PACE_H
#define QUIRE_SHARD_MERGE_PACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge_pace;

/* The seam to time. `wait` returns when `changed` is signalled or at until_ns (UINT64_MAX: never),
 * or earlier, as pthread_cond_timedwait() does, and like it lets go of the lock meanwhile. */
struct merge_clock {
    uint64_t (*now_ns)(void *data);
    void (*wait)(void *data, pthread_cond_t *changed, pthread_mutex_t *lock, uint64_t until_ns);
    void *data;
};

/* bytes_per_second 0: no limit. clock NULL: the machine's; else it is copied, its data stays the
 * caller's. NULL: out of memory. */
struct merge_pace *merge_pace_create(uint64_t bytes_per_second, const struct merge_clock *clock);
void merge_pace_destroy(struct merge_pace *pace); /* NULL is allowed; nobody waits any more */

/* Waits until `bytes` more may have been written, *stop is true, or the limit is lifted. */
void merge_pace_take(struct merge_pace *pace, size_t bytes, const _Atomic bool *stop);
/* After a stop was set to true: whoever waits for it looks again. */
void merge_pace_wake(struct merge_pace *pace);
/* A range has fallen behind, or has caught up: while any is behind the limit is lifted. In turns,
 * for each range; a range that goes away has caught up. */
void merge_pace_behind(struct merge_pace *pace, bool behind);

#endif
