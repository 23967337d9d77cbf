/* Admit: which requests a coordinator works on (proto/base/admission.h has the rules).
 *
 * What a coordinator does for a request is mostly to wait for shards. So how many searches are
 * under way at a time is found by what the shards say: each answer tells how long the request
 * waited there, and a shard that refuses says so. As many are sent as the shards take without a
 * standing queue; the others wait here, where refusing one costs nothing, rather than in some
 * shards while others have done their part in vain.
 *
 * Registrations, what changes the map, and status are of no class: they are never refused and wait
 * behind nothing.
 *
 * The loop's thread only.
 */
#ifndef QUIRE_COORDINATOR_ADMIT_H
#define QUIRE_COORDINATOR_ADMIT_H

#include "coordinator/later.h"
#include "proto/base/admission.h"
#include "proto/base/memory_pressure.h"
#include "proto/rpc/rpc.h"

struct coordinator;

#define ADMIT_QUEUE 1024    /* requests of a class that wait */
#define ADMIT_CHEAP 1024    /* under way at a time */
#define ADMIT_SEARCHES 1024 /* the most; the number is found */
#define ADMIT_SEARCHES_LEAST 4
#define ADMIT_HEAVY 16
#define ADMIT_WRITES 1024
#define ADMIT_NO_TARGET UINT32_MAX

struct admit {
    struct admission policy;
    struct list queues[ADMISSION_CLASSES]; /* requests */
    struct later_item pump, look;
    struct memory_watch memory;
    void (*enter)(struct coordinator *coordinator, struct rpc_request *request);
};

struct admit_options {
    uint32_t target_ms;    /* 0: ADMISSION_TARGET_MS; ADMIT_NO_TARGET: only deadlines count */
    uint32_t queue;        /* 0: ADMIT_QUEUE */
    uint64_t memory_limit; /* of all that the process has; 0: none */
    uint32_t searches;     /* under way at a time, at most; 0: ADMIT_SEARCHES */
};

void admit_init(struct coordinator *coordinator, const struct admit_options *options);
/* Begins to watch the memory. */
void admit_start(struct coordinator *coordinator);
/* Calls `enter` now, or later, or answers the request with an error. With ADMISSION_NONE: now. */
void admit_request(struct coordinator *coordinator, struct rpc_request *request,
                   enum admission_class class);
/* Answers all that wait. */
void admit_stop(struct coordinator *coordinator);
/* A request is about to be answered; code 0, or the error's. */
void admit_ended(struct coordinator *coordinator, struct rpc_request *request, int code);
/* What a shard said of a request's part: how long it waited there. */
void admit_shard_waited(struct coordinator *coordinator, struct rpc_request *request,
                        uint64_t waited_us);

/* Requests that were refused since it started; not those that nobody waited for any more. */
uint64_t admit_refused(const struct coordinator *coordinator);

#endif
