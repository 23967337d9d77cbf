/* Control: every CONTROL_TICK_MS, and whenever there is news, the controller is asked what it wants
 * of the map, and that is proposed; one change at a time. Only while this coordinator leads: what
 * others want, they propose themselves. A change that is refused was overtaken: what is wanted then
 * comes with a later turn. */
#include "coordinator/control.h"

#include "coordinator/join.h"
#include "coordinator/siblings.h"
#include "coordinator/voters.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

static void on_changed(struct coordinator_change *change, int status, const struct err *err)
{
    struct coordinator *coordinator = change->coordinator;
    coordinator->controlling = false;
    if (status == 0)
        control_run(coordinator);
    else if (!coordinator->closing)
        log_event(LOG_WARN, "change of the map refused", LOG_STR("reason", err->text));
}

/* 0: none; 1: its successors are being built; 2: and it takes no writes. */
static uint64_t reshape_step(const Quire__Range *range)
{
    return range->reshape == NULL ? 0 : 1 + (uint64_t)range->reshape->sealed;
}

static void log_change(const Quire__MapChange *change)
{
    if (change->node_put != NULL)
        log_event(LOG_INFO, "shard started", LOG_STR("shard", change->node_put->id),
                  LOG_STR("address", change->node_put->address));
    const Quire__ReshapeFinish *finish = change->reshape_finish;
    for (size_t i = 0; finish != NULL && i < finish->n_sources; i++)
        log_event(LOG_INFO, "range to be replaced", LOG_U64("range", finish->sources[i]->id),
                  LOG_U64("seq", finish->seq));
    const Quire__RangeSet *set = change->ranges_configure;
    for (size_t i = 0; set != NULL && i < set->n_ranges; i++)
        log_event(LOG_INFO, "range configured", LOG_U64("range", set->ranges[i]->id),
                  LOG_U64("epoch", set->ranges[i]->epoch),
                  LOG_STR("primary", set->ranges[i]->primary),
                  LOG_U64("in_sync", set->ranges[i]->n_in_sync),
                  LOG_U64("learners", set->ranges[i]->n_learners),
                  LOG_U64("reshape", reshape_step(set->ranges[i])));
}

void control_run(struct coordinator *coordinator)
{
    if (coordinator->closing || !coordinator->serving)
        return;
    uint64_t now = clock_ms();
    controller_lead(coordinator->controller, consensus_is_leader(coordinator->consensus), now);
    if (consensus_is_leader(coordinator->consensus)) {
        join_keep_self(coordinator);
        voters_tick(coordinator, now);
    }
    if (coordinator->controlling)
        return;
    struct arena arena;
    arena_init(&arena, 0);
    Quire__MapChange *change = controller_next(coordinator->controller, &arena, now);
    if (change != NULL) {
        log_change(change);
        coordinator->controlling = true;
        coordinator->control.done = on_changed;
        coordinator_change(coordinator, &coordinator->control, change);
    }
    arena_deinit(&arena);
}

static void on_tick(struct later_item *item)
{
    struct coordinator *coordinator = list_entry(item, struct coordinator, control_tick);
    if (coordinator->closing)
        return;
    siblings_tick(coordinator);
    control_run(coordinator);
    later_post(&coordinator->later, item, CONTROL_TICK_MS, on_tick);
}

void control_start(struct coordinator *coordinator)
{
    later_post(&coordinator->later, &coordinator->control_tick, 0, on_tick);
}

void control_stop(struct coordinator *coordinator)
{
    if (coordinator->serving)
        later_cancel(&coordinator->control_tick);
}
