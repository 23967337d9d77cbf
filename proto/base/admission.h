/* Admission: which requests a process works on, which wait, and which it refuses at once. Pure
 * code: the time is an argument, the queues themselves are the caller's.
 *
 * Requests are of classes. A class has so many at work at a time, a queue of its own, and a share
 * of the process; what is heavy cannot hold up what is cheap. Replication and what keeps a cluster
 * together are of no class: they do not come here.
 *
 *             slots free, nobody waits
 *   arrive ---------------------------------> at work -----> end
 *      |  \                                     ^
 *      |   '------> waits ---- next, take ------'
 *      |              |
 *      v              v  the deadline has passed, nobody wants it any more,
 *   refused        dropped, or it has waited too long
 *
 * What decides:
 * - Who waits longer than pays: CoDel (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue
 *   10(5), 2012). A burst may wait, a standing queue may not: when even the shortest wait of an
 *   interval was above the target, the class is overloaded. For requests, which
 *   are no packets of a stream that will slow down, the rest is simpler, as in "Fail at Scale"
 *   (Maurer, ACM Queue 13(8), 2015): whoever has waited for more than the target is dropped, until
 *   an interval has passed in which nobody had to be.
 * - Who would wait too long, before it does: with Little's law, those that wait times the time from
 *   one departure to the next, as measured. While there are no departures at all (a failover, a
 *   range that is sealed) nothing is known: that may end at once, and is waited for. Beyond the
 * request's own deadline, or when the class is overloaded beyond the target, it is refused when it
 * arrives.
 * - How many are at work of a class whose work is done elsewhere (`slots_least`): additive
 * increase, multiplicative decrease (Chiu and Jain, 1989); the sign of congestion is what those
 * elsewhere say of their own queues (as in WeChat's DAGOR: Zhou et al., "Overload Control for
 * Scaling WeChat Microservices", SoCC 2018).
 * - Who is next of several classes that wait: stride scheduling (Waldspurger and Weihl, 1995) by
 * the time that requests of a class take, and its weight.
 *
 * Not thread-safe.
 */
#ifndef QUIRE_BASE_ADMISSION_H
#define QUIRE_BASE_ADMISSION_H

#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum admission_class {
    ADMISSION_CHEAP,  /* an entry, a page, a name */
    ADMISSION_SEARCH, /* a full-text search */
    ADMISSION_HEAVY,  /* exports, verification, deep and long searches */
    ADMISSION_WRITE,
    ADMISSION_CLASSES,
    ADMISSION_NONE = ADMISSION_CLASSES /* what is never refused */
};
extern const char *const admission_class_names[ADMISSION_CLASSES];

enum admission_reason {
    ADMISSION_FULL,      /* as many wait as may */
    ADMISSION_DELAY,     /* it has waited, or would, longer than the target allows */
    ADMISSION_DEADLINE,  /* it would wait longer than its deadline */
    ADMISSION_EXPIRED,   /* its deadline passed while it waited, or it was cancelled */
    ADMISSION_MEMORY,    /* the process is near its memory limit */
    ADMISSION_ELSEWHERE, /* those that were to do the work refused it */
    ADMISSION_REASONS
};
extern const char *const admission_reason_names[ADMISSION_REASONS];

struct admission_class_settings {
    uint32_t slots;       /* at work at a time; at least 1 */
    uint32_t slots_least; /* not 0: the number is found between this and `slots` */
    uint32_t queue;       /* that may wait; of an `external` class: that may be at work */
    uint32_t weight;      /* share of the process when all classes wait; at least 1 */
    uint32_t target_us;   /* of the wait; 0: only deadlines count */
    bool external;        /* the caller's queue and threads: all that is admitted is at work */
};

struct admission_settings {
    uint32_t slots; /* at work of all classes that are not external; 0: no bound but theirs */
    struct admission_class_settings classes[ADMISSION_CLASSES];
};

/* Of a class, unless it is told otherwise: a client that keeps 64 searches under way on two cores
 * is no overload. 20 keeps p99 at three times the knee near that at the knee
 * (tests/bench/overload.py). */
#define ADMISSION_TARGET_MS 2000
#define ADMISSION_INTERVAL_US 100000
#define ADMISSION_RETRY_MIN_MS 20
#define ADMISSION_RETRY_MAX_MS 5000
#define ADMISSION_MEMORY_RETRY_MS 1000

/* How near the process is to its memory limit (memory_pressure.h). */
enum admission_pressure { ADMISSION_EASE, ADMISSION_NO_WRITES, ADMISSION_NO_HEAVY };

struct admission_flow { /* departures while others wait */
    uint64_t since_us, last_us;
    uint32_t count;
    uint32_t gap_us; /* from one to the next, of the last window; 0: not known */
};

struct admission_state {
    struct admission_class_settings settings;
    uint32_t at_work, waiting;
    double limit;     /* slots, as found */
    uint64_t cut_us;  /* when it was last cut */
    uint32_t work_us; /* that one takes, smoothed; 0: not known yet */
    double pass;      /* stride scheduling: work that was given, by weight */
    struct admission_flow flow;
    uint64_t interval_end_us; /* CoDel */
    uint64_t least_wait_us;   /* of the interval */
    bool overloaded, shed;    /* shed: somebody had to be, in this interval */
    uint64_t admitted;
    uint64_t refused[ADMISSION_REASONS];
};

struct admission {
    uint32_t slots;   /* 0: no bound */
    uint32_t at_work; /* of classes that are not external */
    enum admission_pressure pressure;
    struct admission_state classes[ADMISSION_CLASSES];
};

void admission_init(struct admission *admission, const struct admission_settings *settings);

struct admission_refusal {
    enum admission_reason reason;
    uint32_t wait_ms;        /* that it has waited, or would */
    uint32_t retry_after_ms; /* when it may be worth asking again; 0 with ADMISSION_EXPIRED */
};

enum admission_verdict { ADMISSION_START, ADMISSION_WAIT, ADMISSION_REFUSE };

/* A request arrives. It has been here since `came_us` (it may have waited for us to look), and is
 * of no use after `deadline_us`; times in microseconds of one monotonic clock. START: it is at
 * work until admission_end(). WAIT: it waits behind the others of its class until admission_take().
 * REFUSE: *why is set, and it was counted. */
enum admission_verdict admission_arrive(struct admission *admission, enum admission_class class,
                                        uint64_t now_us, uint64_t came_us, uint64_t deadline_us,
                                        struct admission_refusal *why);
/* The class whose first waiting request is to be taken now; ADMISSION_NONE: nobody waits, or there
 * is no slot. */
enum admission_class admission_next(const struct admission *admission);
/* That request leaves the queue. True: it is at work. False: it is dropped, *why is set. `wanted`:
 * whoever sent it still waits. */
bool admission_take(struct admission *admission, enum admission_class class, uint64_t now_us,
                    uint64_t came_us, uint64_t deadline_us, bool wanted,
                    struct admission_refusal *why);
/* One at work has ended, after `work_us` of being at work. */
void admission_end(struct admission *admission, enum admission_class class, uint64_t now_us,
                   uint64_t work_us);
/* What a request of a class with `slots_least` found where its work was done: a standing queue, or
 * a refusal; or not. */
void admission_feedback(struct admission *admission, enum admission_class class, uint64_t now_us,
                        bool congested);
/* Counts a refusal that was made elsewhere. */
void admission_count(struct admission *admission, enum admission_class class,
                     enum admission_reason reason);

/* The error of a refusal: ERR_OVERLOADED with a sentence and retry_after_ms, or ERR_DEADLINE
 * (ADMISSION_EXPIRED). `who`: "the shard". Returns its code. */
int admission_error(enum admission_class class, const struct admission_refusal *why,
                    const char *who, struct err *err);

#endif
