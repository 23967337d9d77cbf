/* What checkpoint.c, checkpoint_pull.c and checkpoint_install.c share. Nobody else includes this.
 */
#ifndef QUIRE_SHARD_CHECKPOINT_INTERNAL_H
#define QUIRE_SHARD_CHECKPOINT_INTERNAL_H

#include "proto/base/list.h"
#include "shard/checkpoint.h"

#include <pthread.h>

struct checkpoints {
    const char *dir;
    struct log_store *log;
    pthread_mutex_t lock;
    struct list all; /* struct checkpoint; under `lock` */
    size_t count;
    uint64_t next_id;
};

#define CHECKPOINT_PATH_MAX 4096

/* DIR/checkpoints/in-RANGE */
void checkpoint_incoming(const struct checkpoints *checkpoints, uint64_t range,
                         char path[CHECKPOINT_PATH_MAX]);
/* Completes what was being installed. */
int checkpoint_complete(const struct checkpoints *checkpoints, struct err *err);

#endif
