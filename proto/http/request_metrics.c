#include "proto/http/request_metrics.h"

#include "proto/base/err.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum outcome { OUTCOME_OK, OUTCOME_REFUSED, OUTCOME_FAILED, OUTCOMES };

struct operation_metrics {
    struct metric *ended[OUTCOMES];
    struct histogram *seconds;
};

struct request_metrics {
    size_t count;
    struct operation_metrics operations[];
};

struct request_metrics *request_metrics_create(struct metrics *metrics,
                                               const struct request_metrics_names *names,
                                               const char *const *operations, size_t count)
{
    static const char *const outcomes[OUTCOMES] = {"ok", "refused", "failed"};
    char labels[128];
    struct request_metrics *requests =
        calloc(1, sizeof *requests + count * sizeof requests->operations[0]);
    if (requests == NULL)
        abort();
    requests->count = count;
    for (size_t i = 0; i < count; i++) {
        struct operation_metrics *operation = &requests->operations[i];
        for (int j = 0; j < OUTCOMES; j++) {
            snprintf(labels, sizeof labels, "operation=\"%s\",outcome=\"%s\"", operations[i],
                     outcomes[j]);
            operation->ended[j] =
                metrics_counter_of(metrics, names->requests, names->requests_help, labels);
        }
        snprintf(labels, sizeof labels, "operation=\"%s\"", operations[i]);
        operation->seconds =
            metrics_histogram_of(metrics, names->seconds, names->seconds_help, labels);
    }
    return requests;
}

void request_metrics_free(struct request_metrics *requests)
{
    free(requests);
}

static enum outcome outcome_of(int code)
{
    switch (code) {
    case ERR_OK:
        return OUTCOME_OK;
    case ERR_INVALID:
    case ERR_TOO_LARGE:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_STALE:
    case ERR_PROTOCOL:
    case ERR_UNSUPPORTED:
        return OUTCOME_REFUSED;
    default:
        return OUTCOME_FAILED;
    }
}

void request_metrics_ended(struct request_metrics *requests, size_t operation, int code,
                           uint64_t us)
{
    assert(operation < requests->count);
    metric_add(requests->operations[operation].ended[outcome_of(code)], 1);
    histogram_observe(requests->operations[operation].seconds, us);
}
