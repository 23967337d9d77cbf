#include "coordinator/hedge.h"

#include <assert.h>

#define REFRESH 64 /* answers after which the percentile is found anew */

void hedge_call(struct hedge *hedge)
{
    hedge->calls++;
    hedge->budget += HEDGE_SHARE;
    if (hedge->budget > HEDGE_BURST)
        hedge->budget = HEDGE_BURST;
}

static unsigned bucket_of(uint64_t us)
{
    if (us < 8)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned bucket = (power - 2) * 8 + (unsigned)(us >> (power - 3) & 7);
    return bucket < HEDGE_BUCKETS ? bucket : HEDGE_BUCKETS - 1;
}

/* The least duration above the bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < 8)
        return bucket + 1;
    unsigned power = bucket / 8 + 2;
    return (uint64_t)(9 + bucket % 8) << (power - 3);
}

static void age(struct hedge_kind *kind)
{
    kind->total = 0;
    for (unsigned i = 0; i < HEDGE_BUCKETS; i++) {
        kind->count[i] /= 2;
        kind->total += kind->count[i];
    }
}

static void find_p95(struct hedge_kind *kind)
{
    uint32_t below = 0, wanted = kind->total - kind->total / 20;
    unsigned bucket = 0;
    while (bucket + 1 < HEDGE_BUCKETS && (below += kind->count[bucket]) < wanted)
        bucket++;
    kind->p95_us = bucket_end(bucket);
    kind->since = 0;
}

void hedge_answered(struct hedge *hedge, unsigned kind, uint64_t us)
{
    assert(kind < HEDGE_KINDS);
    struct hedge_kind *it = &hedge->kinds[kind];
    it->count[bucket_of(us)]++;
    it->since++;
    if (++it->total >= HEDGE_WINDOW)
        age(it);
}

uint64_t hedge_delay_us(struct hedge *hedge, unsigned kind)
{
    assert(kind < HEDGE_KINDS);
    struct hedge_kind *it = &hedge->kinds[kind];
    if (it->total < HEDGE_SAMPLES)
        return UINT64_MAX;
    if (it->p95_us == 0 || it->since >= REFRESH)
        find_p95(it);
    return it->p95_us;
}

bool hedge_take(struct hedge *hedge)
{
    if (hedge->budget < 1)
        return false;
    hedge->budget -= 1;
    hedge->hedges++;
    return true;
}
