/* What reshape.c (the table), reshape_work.c (the thread of each) and reshape_ready.c (what is on
 * the disk) share. Nobody else includes this.
 *
 * Locks, in the order in which they are taken: `files`; the table of replicas, a replica's; `lock`.
 * Neither is held while a target is built or follows.
 */
#ifndef QUIRE_SHARD_RESHAPE_INTERNAL_H
#define QUIRE_SHARD_RESHAPE_INTERNAL_H

#include "proto/base/list.h"
#include "shard/replica.h"
#include "shard/reshape.h"

#include <pthread.h>

#define RESHAPE_SOURCES_MAX 2
#define RESHAPE_TARGETS_MAX 2
#define RESHAPE_PATH_SIZE 4096

enum reshape_state { RESHAPE_WAITS, RESHAPE_FOLLOWS, RESHAPE_READY, RESHAPE_FAILED };

struct reshape_source { /* as it was when the targets became ready */
    uint64_t id, epoch, seq;
};

struct reshape_target {
    uint64_t id;
    struct buf lo, hi;
    struct range *range;                    /* while it follows */
    uint64_t position[RESHAPE_SOURCES_MAX]; /* has all of the source up to there */
};

struct reshape {
    struct reshapes *reshapes;
    struct list link;
    uint64_t id; /* the first target's */
    size_t source_count, target_count;
    pthread_t thread;
    _Atomic bool stopping, ended;

    /* the thread's; read by others under the lock of `reshapes` */
    enum reshape_state state;
    struct reshape_source source[RESHAPE_SOURCES_MAX];
    struct reshape_target target[RESHAPE_TARGETS_MAX];

    size_t unflushed; /* operations that were followed */
};

struct reshapes {
    struct reshapes_settings settings;
    char *folder;          /* DIR/reshape */
    pthread_mutex_t lock;  /* the table, and what its members tell */
    pthread_mutex_t files; /* what is ready: while it becomes so, is given up, or is taken */
    struct list all;
    size_t count;
    bool stopping;
};

/* ---- the table ---- */

/* What all targets have of a source. The reshape's thread, or a holder of `lock`. */
uint64_t reshape_position(const struct reshape *reshape, size_t source);
/* NULL: it is not under way. Holder of `lock`. */
struct reshape *reshape_find(const struct reshapes *reshapes, uint64_t id);
/* Whether the configuration of the replica asks for the reshape. Any thread. */
bool reshape_asked_of(struct replica *replica, uint64_t reshape);

/* ---- its thread ---- */

void *reshape_main(void *reshape);

/* ---- the disk ---- */

/* DIR/reshape/ID, and DIR/reshape/ID/WITHIN */
void reshape_path(const struct reshapes *reshapes, uint64_t id, char out[RESHAPE_PATH_SIZE]);
void reshape_path_within(const struct reshape *reshape, uint64_t id, char out[RESHAPE_PATH_SIZE]);
/* The word that the targets at `path` are ready, and of what: RESHAPE_SOURCES_MAX at most.
 * ERR_NOT_FOUND: they are not; ERR_CORRUPT, ERR_IO. */
int reshape_read_ready(const char *path, struct reshape_source *source, size_t *count,
                       struct err *err);
/* Durable, when it returns 0. Holder of `files`. ERR_IO. */
int reshape_write_ready(const struct reshape *reshape, const struct reshape_source *source,
                        struct err *err);
/* Takes that back. Holder of `files`. ERR_IO. */
int reshape_remove_ready(const struct reshape *reshape, struct err *err);
/* Where the logs of the targets begin. */
struct replication_position reshape_end(const struct reshape_source *source, size_t count);
/* At a start: removes what is not ready. ERR_IO. */
int reshape_drop_unready(struct reshapes *reshapes, struct err *err);

#endif
