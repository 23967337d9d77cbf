/* Retry: when a request that was refused since the cluster is overloaded is sent again. Pure code.
 *
 * Requests pay into a budget, repetitions are paid out of it (as in Finagle's RetryBudget, and
 * "Addressing Cascading Failures" of Beyer et al., "Site Reliability Engineering", 2016): however
 * many are refused, a client sends hardly more than it would have anyway. The pause is what the
 * cluster said, twice as long with each attempt, and up to half as much again at random, so that
 * those who were refused together do not come back together.
 */
#ifndef QUIRE_CLIENT_RETRY_H
#define QUIRE_CLIENT_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#define RETRY_SHARE 0.1    /* repetitions per request */
#define RETRY_A_SECOND 1.0 /* and so many in any case */
#define RETRY_BURST 10.0   /* that may be saved up */
#define RETRY_PAUSE_MIN_MS 20
#define RETRY_PAUSE_MAX_MS 10000

struct retry_budget {
    double tokens;
    uint64_t at_ms; /* when time was last paid in */
};

void retry_init(struct retry_budget *budget, uint64_t now_ms);
/* A request goes out for the first time. */
void retry_request(struct retry_budget *budget);
/* Whether one may be repeated; takes it out of the budget. */
bool retry_take(struct retry_budget *budget, uint64_t now_ms);
/* Milliseconds to wait before attempt number `attempt` + 1, of which `attempt` (from 1) were made;
 * `random` is anything. */
uint64_t retry_pause_ms(uint32_t retry_after_ms, uint32_t attempt, uint64_t random);

#endif
