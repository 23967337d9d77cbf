/* Later: functions to be called on the loop after a while, or on its next turn. One uv timer for
 * all of them. Embedded links, no allocation. The loop's thread only. */
#ifndef QUIRE_COORDINATOR_LATER_H
#define QUIRE_COORDINATOR_LATER_H

#include "proto/base/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct later {
    uv_timer_t timer;
    struct list items; /* by due time */
    bool closing;
    void (*closed)(void *data);
    void *closed_data;
};

struct later_item {
    struct list link;
    uint64_t due_ms;
    bool queued;
    void (*run)(struct later_item *item);
};

void later_init(struct later *later, uv_loop_t *loop);
/* 0 ms: the next turn of the loop, never from inside this call. While closing, everything is due at
 * once. */
void later_post(struct later *later, struct later_item *item, uint64_t delay_ms,
                void (*run)(struct later_item *item));
/* Nothing happens when it is not queued. */
void later_cancel(struct later_item *item);
/* From now on nothing waits: what is queued, and what is posted from now on, runs on the next turn.
 */
void later_hurry(struct later *later);
/* Runs what is still queued, then closes the timer and calls `closed`. */
void later_close(struct later *later, void (*closed)(void *data), void *data);

#endif
