/* How ranges are split and merged (Reshape in quire.proto). All of it hangs on the map, so that any
 * leader goes on with it:
 *
 *   begin    each source carries the reshape; every replica in sync of the sources builds the
 *            targets beside them, and follows what is written (shard/reshape.h)
 *   gather   a merge whose sources lie on different nodes: the second one's replicas are moved
 *   seal     all of them are near: the sources take no writes any more, under their next epochs
 *   finish   the primaries say that nothing more will come after seq s, and every replica in sync
 *            that its targets have all up to s, durably, under these epochs: the targets take the
 *            places of the sources in one change, a compare-and-set on their epochs
 *
 * It is given up (abort) when a replica cannot build, when sealed sources have waited for
 * SEALED_MS, when those of a merge lost their common members after the seal, or when nobody who may
 * lead a source is alive. Whatever happens to the sources meanwhile (failover, replicas lost and
 * joined) is the other rules' business; each new epoch just asks for new reports.
 *
 * What is begun here without being asked for, one at a time, when all is calm and the placement is
 * not frozen: the largest range above `range_bytes` is split; two neighbours that have together
 * less than an eighth of that are merged, while their collection has more than two ranges for each
 * node.
 */
#include "coordinator/controller_reshape.h"

#include "coordinator/controller_state.h"
#include "coordinator/map_reshape.h"

#include <inttypes.h>
#include <string.h>

#define NEAR 4096      /* operations: so few are behind, and the seal lasts a moment only */
#define MERGE_PART 8   /* of range_bytes: below, two neighbours are small */
#define MERGE_RANGES 2 /* for each node: with so many of a collection, none are merged */

struct reshaping {
    struct controller *controller;
    const Quire__Reshape *reshape;
    size_t first; /* the place of the first source in the map */
    size_t count;
};

static struct range_plan plan_of(const struct reshaping *it, size_t i)
{
    struct range_plan plan;
    range_plan_init(&plan, it->controller, it->first + i);
    return plan;
}

/* ---- what replicas say ---- */

/* What it said under the epoch of now; NULL: nothing. */
static const struct replica_report *report_now(const struct range_plan *plan,
                                               const struct watched *node)
{
    const struct replica_report *report = watched_report(node, plan->range->id);
    bool alive = node->state == CONTROLLER_ALIVE || node->state == CONTROLLER_LEAVING;
    return alive && watched_is_known(node) && report != NULL && report->epoch == plan->range->epoch
               ? report
               : NULL;
}

/* Whether every replica in sync has derived all up to the seq. */
static bool all_derived(const struct range_plan *plan, uint64_t seq)
{
    for (size_t i = 0; i < plan->in_sync_count; i++) {
        const struct replica_report *report = report_now(plan, plan->in_sync[i]);
        if (report == NULL || !report->derived || report->derived_seq < seq)
            return false;
    }
    return true;
}

static bool is_near(const struct range_plan *plan)
{
    const struct replica_report *primary = report_now(plan, plan->primary);
    if (primary == NULL || !primary->primary || plan->primary->state != CONTROLLER_ALIVE)
        return false;
    return all_derived(plan, primary->last_seq > NEAR ? primary->last_seq - NEAR : 0);
}

/* *seq: after which nothing comes any more. */
static bool is_ready(const struct range_plan *plan, uint64_t *seq)
{
    const struct replica_report *primary = report_now(plan, plan->primary);
    if (primary == NULL || !primary->primary || !primary->drained)
        return false;
    *seq = primary->last_seq;
    return all_derived(plan, *seq);
}

static bool has_failed(const struct range_plan *plan)
{
    if (plan->primary->state == CONTROLLER_DEAD)
        return true; /* and nobody could follow it: the range waits */
    for (size_t i = 0; i < plan->in_sync_count; i++) {
        const struct replica_report *report = report_now(plan, plan->in_sync[i]);
        if (report != NULL && report->derive_failed)
            return true;
    }
    return false;
}

/* ---- changes ---- */

Quire__Reshape *reshape_copy(const Quire__Reshape *from, struct arena *arena)
{
    if (from == NULL)
        return NULL;
    Quire__Reshape *out = arena_copy(arena, from, sizeof *from);
    out->sources = arena_copy(arena, from->sources, from->n_sources * sizeof *from->sources);
    out->targets = arena_calloc(arena, from->n_targets + 1, sizeof *out->targets);
    for (size_t i = 0; i < from->n_targets; i++) {
        const Quire__ReshapeTarget *target = from->targets[i];
        out->targets[i] = arena_copy(arena, target, sizeof *target);
        out->targets[i]->lo.data = arena_copy(arena, target->lo.data, target->lo.len);
        out->targets[i]->hi.data = arena_copy(arena, target->hi.data, target->hi.len);
    }
    return out;
}

/* All sources have this reshape from now on; NULL: none. */
static Quire__MapChange *set_all(const struct reshaping *it, const Quire__Reshape *reshape,
                                 struct arena *arena, uint64_t now_ms)
{
    Quire__MapChange *change = range_change_make(it->controller, arena);
    for (size_t i = 0; i < it->count; i++) {
        struct range_plan plan = plan_of(it, i);
        plan.reshape = reshape;
        range_change_add(change, &plan, &it->controller->tracks[it->first + i], arena, now_ms);
    }
    return change;
}

static Quire__MapChange *finish(const struct reshaping *it, uint64_t seq, struct arena *arena,
                                uint64_t now_ms)
{
    Quire__MapChange *change = arena_alloc(arena, sizeof *change);
    Quire__ReshapeFinish *message = arena_alloc(arena, sizeof *message);
    quire__map_change__init(change);
    quire__reshape_finish__init(message);
    message->seq = seq;
    message->n_sources = it->count;
    message->sources = arena_calloc(arena, it->count, sizeof *message->sources);
    for (size_t i = 0; i < it->count; i++) {
        struct track *track = &it->controller->tracks[it->first + i];
        message->sources[i] = arena_alloc(arena, sizeof *message->sources[i]);
        quire__range_ref__init(message->sources[i]);
        message->sources[i]->id = track->id;
        message->sources[i]->epoch = track->epoch;
        track->proposed_ms = now_ms;
    }
    change->reshape_finish = message;
    return change;
}

/* ---- gather ---- */

static struct watched *first_not_in(const struct range_plan *plan, const struct range_plan *other)
{
    for (size_t i = 0; i < plan->in_sync_count; i++)
        if (!range_plan_has(other, plan->in_sync[i]))
            return plan->in_sync[i];
    return NULL;
}

static bool same_members(const struct reshaping *it)
{
    struct range_plan first = plan_of(it, 0);
    for (size_t i = 1; i < it->count; i++) {
        struct range_plan plan = plan_of(it, i);
        if (plan.in_sync_count != first.in_sync_count || first_not_in(&plan, &first) != NULL)
            return false;
    }
    return true;
}

/* One replica of the second source goes to where only the first has one. */
static Quire__MapChange *gather(const struct reshaping *it, struct arena *arena, uint64_t now_ms)
{
    struct range_plan first = plan_of(it, 0), second = plan_of(it, 1);
    if (!range_plan_is_still(&first) || !range_plan_is_still(&second) ||
        second.in_sync_count >= LIMIT_MEMBERS)
        return NULL;
    struct watched *from = first_not_in(&second, &first), *to = first_not_in(&first, &second);
    if (from == NULL || to == NULL)
        return NULL; /* one of them has fewer than are wanted, and gets another */
    if (!watched_has_room(to))
        return set_all(it, NULL, arena, now_ms);
    range_plan_move(&second, from, to);
    Quire__MapChange *change = range_change_make(it->controller, arena);
    range_change_add(change, &second, &it->controller->tracks[it->first + 1], arena, now_ms);
    return change;
}

/* ---- one reshape ---- */

static bool is_settling(const struct reshaping *it, uint64_t now_ms)
{
    for (size_t i = 0; i < it->count; i++) {
        uint64_t proposed_ms = it->controller->tracks[it->first + i].proposed_ms;
        if (proposed_ms != 0 && now_ms < proposed_ms + CONTROLLER_SETTLE_MS)
            return true;
    }
    return false;
}

static Quire__MapChange *go_on_sealed(const struct reshaping *it, struct arena *arena,
                                      uint64_t now_ms)
{
    uint64_t seq = 0;
    bool ready = true;
    for (size_t i = 0; i < it->count && ready; i++) {
        struct range_plan plan = plan_of(it, i);
        uint64_t end = 0;
        ready = is_ready(&plan, &end);
        seq = end > seq ? end : seq;
    }
    if (ready)
        return finish(it, seq, arena, now_ms);
    uint64_t since = it->controller->tracks[it->first].sealed_ms;
    return now_ms >= since + CONTROLLER_SEALED_MS ? set_all(it, NULL, arena, now_ms) : NULL;
}

static Quire__MapChange *go_on(const struct reshaping *it, struct arena *arena, uint64_t now_ms)
{
    bool near = true;
    if (is_settling(it, now_ms))
        return NULL;
    for (size_t i = 0; i < it->count; i++) {
        struct range_plan plan = plan_of(it, i);
        if (has_failed(&plan))
            return set_all(it, NULL, arena, now_ms);
        near = near && is_near(&plan);
    }
    bool together = same_members(it);
    if (it->reshape->sealed)
        return together ? go_on_sealed(it, arena, now_ms) : set_all(it, NULL, arena, now_ms);
    if (!together)
        return gather(it, arena, now_ms);
    if (!near)
        return NULL;
    Quire__Reshape *sealed = reshape_copy(it->reshape, arena);
    sealed->sealed = true;
    return set_all(it, sealed, arena, now_ms);
}

static bool begins_here(const struct controller *controller, size_t index, struct reshaping *out)
{
    const Quire__Range *range = controller->map->message->ranges[index];
    if (range->reshape == NULL || range->reshape->sources[0] != range->id)
        return false;
    *out = (struct reshaping){
        .reshape = range->reshape, .first = index, .count = range->reshape->n_sources};
    return true;
}

/* ---- begin ---- */

static Quire__Reshape *reshape_new(const struct controller *controller, size_t first,
                                   size_t sources, struct bytes at, struct arena *arena)
{
    const Quire__ClusterMap *map = controller->map->message;
    const Quire__Range *left = map->ranges[first], *right = map->ranges[first + sources - 1];
    size_t targets = sources == 1 ? 2 : 1;
    Quire__Reshape *out = arena_alloc(arena, sizeof *out);
    quire__reshape__init(out);
    out->n_sources = sources;
    out->sources = arena_calloc(arena, sources, sizeof *out->sources);
    for (size_t i = 0; i < sources; i++)
        out->sources[i] = map->ranges[first + i]->id;
    out->n_targets = targets;
    out->targets = arena_calloc(arena, targets, sizeof *out->targets);
    for (size_t i = 0; i < targets; i++) {
        struct bytes lo = i == 0 ? map_range_lo(left) : at;
        struct bytes hi = i + 1 == targets ? map_range_hi(right) : at;
        Quire__ReshapeTarget *target = arena_alloc(arena, sizeof *target);
        quire__reshape_target__init(target);
        target->id = map->next_id + i;
        target->has_lo = target->has_hi = true;
        target->lo = (ProtobufCBinaryData){lo.size, arena_copy(arena, lo.data, lo.size)};
        target->hi = (ProtobufCBinaryData){hi.size, arena_copy(arena, hi.data, hi.size)};
        out->targets[i] = target;
    }
    return out;
}

static Quire__MapChange *begin(struct controller *controller, size_t first, size_t sources,
                               struct bytes at, struct arena *arena, uint64_t now_ms)
{
    struct reshaping it = {controller, NULL, first, sources};
    return set_all(&it, reshape_new(controller, first, sources, at, arena), arena, now_ms);
}

static bool is_free(const struct controller *controller, size_t index)
{
    struct range_plan plan;
    range_plan_init(&plan, controller, index);
    return range_plan_is_calm(&plan);
}

static int check_free(const struct controller *controller, size_t index, struct err *err)
{
    return is_free(controller, index)
               ? 0
               : err_set(err, ERR_CONFLICT,
                         "something is under way in range %" PRIu64 ", or a replica of it is not "
                         "served: ask again when all are in sync",
                         controller->map->message->ranges[index]->id);
}

/* What the primary said of the range under the epoch of now; NULL: nothing. */
static const struct replica_report *primary_report(const struct controller *controller,
                                                   size_t index)
{
    struct range_plan plan;
    range_plan_init(&plan, controller, index);
    return report_now(&plan, plan.primary);
}

/* Where the primary says that the middle is: empty when there is none. False: it has not said. */
static bool find_middle(const struct controller *controller, size_t index, struct bytes *middle)
{
    const struct replica_report *report = primary_report(controller, index);
    if (report == NULL || !report->primary || report->unhalved)
        return false;
    *middle = report->middle;
    return true;
}

static bool lies_within(const Quire__Range *range, struct bytes at)
{
    return bytes_compare(map_range_lo(range), at) < 0 &&
           (range->hi.len == 0 || bytes_compare(at, map_range_hi(range)) < 0);
}

int controller_split(struct controller *controller, uint64_t id, struct bytes at,
                     struct arena *arena, uint64_t now_ms, Quire__MapChange **change,
                     struct err *err)
{
    size_t index;
    int rc = controller_find_range(controller, id, now_ms, &index, err);
    if (rc == 0)
        rc = check_free(controller, index, err);
    if (rc != 0)
        return rc;
    const Quire__Range *range = controller->map->message->ranges[index];
    bool given = at.size > 0;
    if (!given && !find_middle(controller, index, &at))
        return err_set(err, ERR_UNAVAILABLE,
                       "the primary of range %" PRIu64 " has not said yet where its middle is", id);
    if (at.size == 0)
        return err_set(err, ERR_CONFLICT,
                       "range %" PRIu64 " has entries of one key at most: it cannot be split", id);
    if (!lies_within(range, at))
        return err_set(err, given ? ERR_INVALID : ERR_CONFLICT,
                       "range %" PRIu64 " cannot be split at \"%.*s\": that is not within its "
                       "bounds",
                       id, (int)at.size, (const char *)at.data);
    *change = begin(controller, index, 1, at, arena, now_ms);
    return 0;
}

int controller_merge(struct controller *controller, uint64_t id, struct arena *arena,
                     uint64_t now_ms, Quire__MapChange **change, struct err *err)
{
    size_t index;
    int rc = controller_find_range(controller, id, now_ms, &index, err);
    if (rc != 0)
        return rc;
    const Quire__ClusterMap *map = controller->map->message;
    if (map->ranges[index]->hi.len == 0)
        return err_set(err, ERR_CONFLICT,
                       "range %" PRIu64 " is the last one of its collection, and has no neighbour "
                       "on the right",
                       id);
    rc = check_free(controller, index, err);
    if (rc == 0)
        rc = check_free(controller, index + 1, err);
    if (rc == 0)
        *change = begin(controller, index, 2, bytes_of(NULL, 0), arena, now_ms);
    return rc;
}

/* ---- unasked ---- */

static uint64_t bytes_of_range(const struct controller *controller, size_t index)
{
    const struct replica_report *report = primary_report(controller, index);
    return report == NULL ? UINT64_MAX : report->bytes;
}

static Quire__MapChange *split_largest(struct controller *controller, struct arena *arena,
                                       uint64_t now_ms)
{
    size_t best = controller->track_count;
    uint64_t most = controller->range_bytes;
    struct bytes at = {0}, middle;
    for (size_t i = 0; i < controller->track_count; i++) {
        uint64_t bytes = bytes_of_range(controller, i);
        struct map_ranges all =
            map_ranges(controller->map, controller->map->message->ranges[i]->collection);
        if (bytes == UINT64_MAX || bytes <= most || all.count >= LIMIT_RANGES_PER_COLLECTION ||
            !find_middle(controller, i, &middle) ||
            !lies_within(controller->map->message->ranges[i], middle))
            continue;
        best = i;
        most = bytes;
        at = middle;
    }
    return best == controller->track_count ? NULL : begin(controller, best, 1, at, arena, now_ms);
}

static Quire__MapChange *merge_smallest(struct controller *controller, struct arena *arena,
                                        uint64_t now_ms)
{
    const Quire__ClusterMap *map = controller->map->message;
    size_t best = controller->track_count;
    uint64_t least = controller->range_bytes / MERGE_PART;
    for (size_t i = 0; i + 1 < controller->track_count; i++) {
        if (map->ranges[i]->collection != map->ranges[i + 1]->collection ||
            map_ranges(controller->map, map->ranges[i]->collection).count <=
                MERGE_RANGES * map->n_nodes)
            continue;
        uint64_t left = bytes_of_range(controller, i), right = bytes_of_range(controller, i + 1);
        if (left >= least || right >= least - left)
            continue;
        best = i;
        least = left + right;
    }
    return best == controller->track_count
               ? NULL
               : begin(controller, best, 2, bytes_of(NULL, 0), arena, now_ms);
}

Quire__MapChange *controller_reshape_begin(struct controller *controller, struct arena *arena,
                                           uint64_t now_ms)
{
    Quire__MapChange *change = split_largest(controller, arena, now_ms);
    return change != NULL ? change : merge_smallest(controller, arena, now_ms);
}

Quire__MapChange *controller_reshape(struct controller *controller, struct arena *arena,
                                     uint64_t now_ms)
{
    for (size_t i = 0; i < controller->track_count; i++) {
        struct reshaping it;
        if (!begins_here(controller, i, &it))
            continue;
        it.controller = controller;
        Quire__MapChange *change = go_on(&it, arena, now_ms);
        if (change != NULL)
            return change;
    }
    return NULL;
}
