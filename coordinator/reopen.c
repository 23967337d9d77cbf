/* Reopening: an empty range that was sealed in order to be replaced, and was not replaced after all
 * (the coordinator died in between, or the change of the map was refused), takes no writes. Its
 * shard says so with each Register; then the range gets a new epoch, with which it is unsealed.
 *
 * It is a change of the map, and takes its turn among those that seal: whoever sealed has by then
 * either replaced the range, and there is nothing to reopen, or given up. A shard that unsealed by
 * itself could acknowledge a write to a range that is replaced by an empty one a moment later. */
#include "coordinator/reopen.h"

#include "coordinator/admin.h"
#include "proto/base/log.h"

#include <stdlib.h>
#include <string.h>

struct reopening {
    struct admin_job admin;
    struct coordinator *coordinator;
    struct coordinator_change change;
    uint64_t range, epoch;
};

/* One that the map itself has sealed is the controller's business. */
static const Quire__Range *find(const struct map *map, uint64_t id, uint64_t epoch)
{
    const Quire__Range *range = map_range(map, id);
    return range != NULL && range->epoch == epoch && range->reshape == NULL ? range : NULL;
}

static void leave(struct reopening *it)
{
    it->coordinator->reopening = false;
    admin_leave(&it->admin);
    free(it);
}

static void on_changed(struct coordinator_change *change, int status, const struct err *err)
{
    struct reopening *it = change->data;
    if (status == 0)
        log_event(LOG_INFO, "range reopened", LOG_U64("range", it->range));
    else
        log_event(LOG_WARN, "range not reopened", LOG_U64("range", it->range),
                  LOG_STR("reason", err->text));
    leave(it);
}

static void run(struct admin_job *admin)
{
    struct reopening *it = list_entry(admin, struct reopening, admin);
    struct coordinator *coordinator = it->coordinator;
    const Quire__Range *range = find(coordinator->map, it->range, it->epoch);
    if (range == NULL || consensus_check(coordinator->consensus, NULL) != 0) {
        leave(it); /* replaced meanwhile; or the next Register will bring it here again */
        return;
    }
    Quire__Range next = *range;
    Quire__Range *ranges[] = {&next};
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    next.epoch++;
    set.n_ranges = 1;
    set.ranges = ranges;
    change.ranges_configure = &set;
    it->change.data = it;
    it->change.done = on_changed;
    coordinator_change(coordinator, &it->change, &change);
}

void reopen_sealed(struct coordinator *coordinator, const Quire__Register *message)
{
    if (coordinator->reopening || coordinator->closing)
        return;
    for (size_t i = 0; i < message->n_ranges; i++) {
        const Quire__RangeReport *report = message->ranges[i];
        if (strcmp(report->state, "sealed") != 0 ||
            find(coordinator->map, report->id, report->epoch) == NULL)
            continue;
        struct reopening *it = calloc(1, sizeof *it);
        if (it == NULL)
            return; /* the next Register will bring it here again */
        it->coordinator = coordinator;
        it->range = report->id;
        it->epoch = report->epoch;
        coordinator->reopening = true;
        admin_enter(coordinator, &it->admin, run);
        return;
    }
}
