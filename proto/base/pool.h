/* Bounded thread pool: caller-allocated jobs in a bounded queue.
 *
 * `run` is called on a pool thread. Submitting never blocks: with the queue full it returns
 * ERR_FULL and the caller refuses the request early. pool_destroy runs what is queued, then joins.
 */
#ifndef QUIRE_BASE_POOL_H
#define QUIRE_BASE_POOL_H

#include "proto/base/list.h"

#include <stddef.h>

struct pool;

struct pool_job {
    struct list link; /* owned by the pool from submit until run() is entered */
    void (*run)(struct pool_job *job);
};

/* `name` (15 bytes at most) is what the threads are called in top. NULL when threads cannot start.
 */
struct pool *pool_create(const char *name, int threads, size_t queue_limit);
void pool_destroy(struct pool *pool);
int pool_submit(struct pool *pool, struct pool_job *job); /* 0 or ERR_FULL */
size_t pool_depth(struct pool *pool);                     /* jobs waiting now */

#endif
