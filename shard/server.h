/* Server: a shard process without its main(): ranges, log, committer, pools, and the door to
 * coordinators.
 *
 * Belongs to the thread of its loop. Several may live in one process (tests).
 */
#ifndef QUIRE_SHARD_SERVER_H
#define QUIRE_SHARD_SERVER_H

#include "proto/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct server;
struct metrics;
struct observer;

#define SERVER_READ_QUEUE 1024   /* reads of a class that wait; beyond: ERR_OVERLOADED */
#define SERVER_INGEST_QUEUE 1024 /* writes waiting to be prepared; beyond: ERR_OVERLOADED */
#define SERVER_NO_TARGET UINT32_MAX
#define SERVER_FLUSH_MS                                                                            \
    30000 /* what was applied is durable in the index after so long at the latest */
#define SERVER_PRESSED_FLUSH_MS 1000 /* the same, near the memory limit */
#define SERVER_TICK_MS 125
#define SERVER_LEAVE_MS 2000 /* others get so long to take over what a stopping shard leads */
#define SERVER_DISK_RESERVE ((uint64_t)64 << 20)
#define SERVER_DRAIN_MS 5000 /* requests in flight get so long when stopping */
#define SERVER_COORDINATORS_MAX 9

struct server_settings {
    uv_loop_t *loop;
    const char *dir;       /* data folder; exists, and nobody else uses it */
    const char *node_id;   /* UUID */
    const char *listen;    /* url */
    const char *advertise; /* url that others dial; NULL: as listened */
    const char *zone;      /* NULL: none */
    const char *const *coordinators;
    size_t coordinator_count;
    int threads;                     /* for queries, and as many again for preparing writes */
    size_t cache_bytes;              /* block cache */
    size_t memory_bytes;             /* of memory segments, over all ranges */
    uint64_t merge_bytes_per_second; /* that merges write, over all ranges; 0: no limit */
    uint64_t memory_limit;           /* of all that the process has (memory_pressure.h); 0: none */
    uint32_t queue_target_ms; /* of reads (admission.h); 0: ADMISSION_TARGET_MS; SERVER_NO_TARGET */
    uint32_t queue_limit;     /* reads of a class that wait; 0: SERVER_READ_QUEUE */
    uint64_t disk_reserve; /* free space below which no writes are taken, besides what the flushing
                              of all that is in memory needs; 0: SERVER_DISK_RESERVE */
    struct metrics *metrics; /* where its figures are registered (observe.h); NULL: nowhere */
};

/* Opens the log, listens, and starts to register. Ranges are opened when a coordinator assigns
 * them. */
int server_create(const struct server_settings *settings, struct server **out, struct err *err);
int server_port(const struct server *server);
/* Brings its figures up to date, and tells the observer whether it is ready: a coordinator answers
 * its registrations, every range that it should serve is open and has applied its log, and it is
 * not about to stop. observe.c; until `stopped` is called. */
void server_look(struct server *server, struct observer *observer);
/* Lets others take over, then refuses new requests, answers those in flight, flushes every range,
 * closes everything, frees the server, and then calls `stopped`. */
void server_stop(struct server *server, void (*stopped)(void *data), void *data);

#endif
