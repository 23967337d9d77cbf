/* Admin: changes of collections happen one after another, since each looks at the map before it
 * proposes what the map shall be next, and asks shards in between. */
#ifndef QUIRE_COORDINATOR_ADMIN_H
#define QUIRE_COORDINATOR_ADMIN_H

#include "coordinator/coordinator.h"

struct admin_job {
    struct list link;
    struct later_item later;
    struct coordinator *coordinator;
    void (*run)(struct admin_job *job);
};

/* Calls run() when it is the job's turn, never from inside; also while the coordinator is closing.
 */
void admin_enter(struct coordinator *coordinator, struct admin_job *job,
                 void (*run)(struct admin_job *job));
/* The job whose turn it is keeps it, and is run once more after a while. */
void admin_again(struct admin_job *job, uint64_t delay_ms);
/* The job whose turn it is has ended; the next one's turn comes. */
void admin_leave(struct admin_job *job);

#endif
