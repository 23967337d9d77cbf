/* Replica choice: which of the replicas of a range answers a read. Pure code.
 *
 * The one with the least expected wait: (calls under way + 1) x (smoothed time of an answer), as in
 * C3 (Suresh et al., 2015) without its server feedback. Those within a quarter of the least are
 * taken for equal, and one of them is drawn: several coordinators that know the same must not all
 * run to the same replica. One that has only just come up has cold caches and no figures that mean
 * anything: it gets few calls at a time until it has answered some.
 */
#ifndef QUIRE_COORDINATOR_REPLICA_CHOICE_H
#define QUIRE_COORDINATOR_REPLICA_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLICA_COLD_ANSWERS 32 /* until then it is cold, ... */
#define REPLICA_COLD_CALLS 2    /* ...and gets so many at a time, while another one is there */

struct replica_candidate {
    bool usable;    /* up, and not tried yet */
    bool doubtful;  /* it has been silent for a while, or says that it does not serve the range */
    uint32_t calls; /* under way */
    uint32_t latency_us; /* smoothed; 0: not known */
    uint32_t answers;    /* since it came up */
};

/* SIZE_MAX: none is usable. `random`: 64 random bits. */
size_t replica_choose(const struct replica_candidate *candidates, size_t count, uint64_t random);

#endif
