/* Slow: one line of the log for each request that took longer than it should: what was asked (the
 * first SLOW_QUERY_BYTES of it), and where the time went. At most SLOW_LINES_A_SECOND; the next
 * line says how many were left out. The loop's thread only.
 */
#ifndef QUIRE_COORDINATOR_SLOW_H
#define QUIRE_COORDINATOR_SLOW_H

#include "coordinator/trace.h"
#include "proto/rpc/rpc.h"

#define SLOW_MS 1000 /* unless it is told otherwise */
#define SLOW_QUERY_BYTES 200
#define SLOW_LINES_A_SECOND 10

struct slow {
    uint64_t limit_us; /* 0: nothing is logged */
    uint64_t second_us;
    unsigned lines;
    uint64_t left_out;
};

/* A request is about to be answered with code 0, or an error's. `operation` is its name, `trace`
 * may be NULL. */
void slow_ended(struct slow *slow, const struct rpc_request *request, const char *operation,
                const struct trace *trace, int code, uint64_t now_us);

#endif
