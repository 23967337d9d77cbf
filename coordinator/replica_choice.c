#include "coordinator/replica_choice.h"

#define UNKNOWN_US 1000
#define COLD_PENALTY 16
#define DOUBTFUL_PENALTY 1000000

static uint64_t cost(const struct replica_candidate *candidate)
{
    uint64_t latency = candidate->latency_us != 0 ? candidate->latency_us : UNKNOWN_US;
    uint64_t wait = ((uint64_t)candidate->calls + 1) * latency;
    if (candidate->answers < REPLICA_COLD_ANSWERS && candidate->calls >= REPLICA_COLD_CALLS)
        wait *= COLD_PENALTY;
    return candidate->doubtful ? wait * DOUBTFUL_PENALTY : wait;
}

size_t replica_choose(const struct replica_candidate *candidates, size_t count, uint64_t random)
{
    uint64_t least = UINT64_MAX;
    size_t alike = 0, chosen = SIZE_MAX;
    for (size_t i = 0; i < count; i++)
        if (candidates[i].usable && cost(&candidates[i]) < least)
            least = cost(&candidates[i]);
    uint64_t limit = least == UINT64_MAX ? 0 : least + least / 4;
    for (size_t i = 0; i < count; i++)
        alike += candidates[i].usable && cost(&candidates[i]) <= limit;
    if (alike == 0)
        return SIZE_MAX;
    size_t wanted = (size_t)(random % alike);
    for (size_t i = 0; i < count && chosen == SIZE_MAX; i++)
        if (candidates[i].usable && cost(&candidates[i]) <= limit && wanted-- == 0)
            chosen = i;
    return chosen;
}
