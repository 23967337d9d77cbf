/* Hedging: when a read is sent to a second replica as well (Dean and Barroso, "The Tail at Scale",
 * 2013): when it has taken longer than 95 % of its kind did of late, and as long as such second
 * calls stay below 5 % of all. Pure code; not thread-safe.
 */
#ifndef QUIRE_COORDINATOR_HEDGE_H
#define QUIRE_COORDINATOR_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

#define HEDGE_SHARE 0.05  /* second calls per call */
#define HEDGE_BURST 8.0   /* that may be saved up */
#define HEDGE_SAMPLES 64  /* of a kind, before anything is known of it */
#define HEDGE_WINDOW 1024 /* older answers count half, quarter, ... */
#define HEDGE_KINDS 16
#define HEDGE_BUCKETS 256

struct hedge_kind {
    uint32_t count[HEDGE_BUCKETS]; /* by duration: eight buckets for each power of two of us */
    uint32_t total, since;         /* since: answers since p95_us was found */
    uint64_t p95_us;
};

struct hedge {
    struct hedge_kind kinds[HEDGE_KINDS];
    double budget;
    /* Figures of calls, since the start: first ones; second ones; of these, that answered first;
     * that were given up since the other one did; after a failure, to the next replica. */
    uint64_t calls, hedges, won, given_up, again;
};

/* A first call goes out: 20 of these pay for a second one. */
void hedge_call(struct hedge *hedge);
/* A call of the kind (0..HEDGE_KINDS-1) was answered after so long. */
void hedge_answered(struct hedge *hedge, unsigned kind, uint64_t us);
/* How long to wait before a second call; UINT64_MAX: not known yet. */
uint64_t hedge_delay_us(struct hedge *hedge, unsigned kind);
/* Whether there is budget for one; takes it. */
bool hedge_take(struct hedge *hedge);

#endif
