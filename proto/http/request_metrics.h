/* Requests that were answered, by operation and outcome, and how long they took: the same for every
 * kind of process. */
#ifndef QUIRE_HTTP_REQUEST_METRICS_H
#define QUIRE_HTTP_REQUEST_METRICS_H

#include "proto/base/metrics.h"

#include <stddef.h>

struct request_metrics;

struct request_metrics_names {            /* literals */
    const char *requests, *requests_help; /* a counter: ..._total{operation=,outcome=} */
    const char *seconds, *seconds_help;   /* a histogram: ..._seconds{operation=} */
};

/* `operations`: count words, copied. All are registered at once, so that a rate can be taken from
 * the first scrape on. */
struct request_metrics *request_metrics_create(struct metrics *metrics,
                                               const struct request_metrics_names *names,
                                               const char *const *operations, size_t count);
void request_metrics_free(struct request_metrics *requests);

/* A request of operation 0..count-1 was answered after `us` microseconds: code 0, or the error's.
 * Outcomes: "ok"; "refused", where the sender has to ask otherwise (invalid, too large, not found,
 * exists, conflict, stale, protocol, unsupported); "failed", the rest. Any thread, no lock. */
void request_metrics_ended(struct request_metrics *requests, size_t operation, int code,
                           uint64_t us);

#endif
