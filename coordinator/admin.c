#include "coordinator/admin.h"

#include <assert.h>

static void turn(struct later_item *item)
{
    struct admin_job *job = list_entry(item, struct admin_job, later);
    job->run(job);
}

static void start_first(struct coordinator *coordinator)
{
    struct admin_job *first = list_entry(coordinator->admin.next, struct admin_job, link);
    later_post(&coordinator->later, &first->later, 0, turn);
}

void admin_enter(struct coordinator *coordinator, struct admin_job *job,
                 void (*run)(struct admin_job *job))
{
    bool first = list_empty(&coordinator->admin);
    job->coordinator = coordinator;
    job->run = run;
    list_push(&coordinator->admin, &job->link);
    if (first)
        start_first(coordinator);
}

void admin_again(struct admin_job *job, uint64_t delay_ms)
{
    assert(job->coordinator->admin.next == &job->link);
    later_post(&job->coordinator->later, &job->later, delay_ms, turn);
}

void admin_leave(struct admin_job *job)
{
    struct coordinator *coordinator = job->coordinator;
    assert(coordinator->admin.next == &job->link);
    list_remove(&job->link);
    if (!list_empty(&coordinator->admin))
        start_first(coordinator);
}
