#include "proto/base/rate_limit.h"

#include <assert.h>

#define SECOND 1000000000.0

uint64_t rate_limit_take(struct rate_limit *limit, uint64_t bytes, uint64_t now_ns)
{
    assert(limit->bytes_per_second > 0);
    uint64_t from = limit->paid_ns > now_ns ? limit->paid_ns : now_ns;
    double takes = (double)bytes / (double)limit->bytes_per_second * SECOND;
    limit->paid_ns = takes < (double)(UINT64_MAX - from) ? from + (uint64_t)takes : UINT64_MAX;
    return limit->paid_ns;
}
