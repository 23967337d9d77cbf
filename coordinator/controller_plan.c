/* Changes of the map that the controller wants: first those of nodes, each with the ranges that it
 * leads; then those of ranges, as many as go into one change. */
#include "coordinator/controller_state.h"

#include <string.h>

/* Of a few hundred bytes each: far below what one change may be (CONSENSUS_CHANGE_MAX). */
#define RANGES_MAX 1000

static void count_all(struct controller *controller)
{
    for (size_t i = 0; i < controller->node_count; i++)
        controller->nodes[i]->replicas = controller->nodes[i]->primaries = 0;
    controller->moves = 0;
    for (size_t i = 0; i < controller->track_count; i++) {
        const Quire__Range *range = controller->map->message->ranges[i];
        for (size_t j = 0; j < map_range_members(range); j++) {
            struct watched *node = controller->tracks[i].members[j];
            node->replicas++;
            node->primaries += strcmp(node->id, range->primary) == 0;
        }
        controller->moves += range->n_leaving > 0 || range->reshape != NULL;
    }
}

static char **names(struct watched *const *nodes, size_t count, struct arena *arena)
{
    char **out = arena_calloc(arena, count + 1, sizeof *out);
    for (size_t i = 0; i < count; i++)
        out[i] = arena_strdup(arena, nodes[i]->id);
    return out;
}

static Quire__Range *make_range(const struct range_plan *plan, struct arena *arena)
{
    const Quire__Range *old = plan->range;
    Quire__Range *range = arena_alloc(arena, sizeof *range);
    *range = *old;
    range->lo.data = arena_copy(arena, old->lo.data, old->lo.len);
    range->hi.data = arena_copy(arena, old->hi.data, old->hi.len);
    range->epoch = old->epoch + 1;
    range->primary = arena_strdup(arena, plan->primary->id);
    range->in_sync = names(plan->in_sync, plan->in_sync_count, arena);
    range->n_in_sync = plan->in_sync_count;
    range->learners = names(plan->learners, plan->learner_count, arena);
    range->n_learners = plan->learner_count;
    range->leaving = names(plan->leaving, plan->leaving_count, arena);
    range->n_leaving = plan->leaving_count;
    range->fresh = plan->fresh;
    range->reshape = reshape_copy(plan->reshape, arena);
    return range;
}

Quire__MapChange *range_change_make(const struct controller *controller, struct arena *arena)
{
    Quire__MapChange *change = arena_alloc(arena, sizeof *change);
    Quire__RangeSet *set = arena_alloc(arena, sizeof *set);
    quire__map_change__init(change);
    quire__range_set__init(set);
    set->ranges = arena_calloc(arena, controller->track_count + 1, sizeof *set->ranges);
    change->ranges_configure = set;
    return change;
}

void range_change_add(Quire__MapChange *change, const struct range_plan *plan, struct track *track,
                      struct arena *arena, uint64_t now_ms)
{
    Quire__RangeSet *set = change->ranges_configure;
    set->ranges[set->n_ranges++] = make_range(plan, arena);
    track->proposed_ms = now_ms;
    if (plan->deposed != NULL)
        track->deposed = plan->deposed;
}

static bool settling(uint64_t proposed_ms, uint64_t now_ms)
{
    return proposed_ms != 0 && now_ms < proposed_ms + CONTROLLER_SETTLE_MS;
}

/* ---- nodes ---- */

static bool same_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

static bool is_news(const struct watched *node)
{
    if (node->known == NULL && node->state == CONTROLLER_DEAD)
        return false; /* it was removed: what it said before must not bring it back */
    return node->heard &&
           (!watched_is_known(node) || !same_text(node->known->address, node->address) ||
            !same_text(node->known->zone, node->zone));
}

static bool leads(const struct controller *controller, size_t index, const struct watched *node)
{
    return strcmp(controller->map->message->ranges[index]->primary, node->id) == 0;
}

static bool ranges_settling(const struct controller *controller, const struct watched *node,
                            uint64_t now_ms)
{
    for (size_t i = 0; i < controller->track_count; i++)
        if (leads(controller, i, node) && settling(controller->tracks[i].proposed_ms, now_ms))
            return true;
    return false;
}

static Quire__Node *make_node(const struct watched *node, struct arena *arena)
{
    Quire__Node *out = arena_alloc(arena, sizeof *out);
    quire__node__init(out);
    out->id = arena_strdup(arena, node->id);
    out->address = arena_strdup(arena, node->address);
    out->zone = node->zone[0] != '\0' ? arena_strdup(arena, node->zone) : NULL;
    out->has_incarnation = node->incarnation != 0;
    out->incarnation = node->incarnation;
    return out;
}

/* All ranges that it leads in the same change, however many: once the map knows the new life, the
 * new process may lead whatever names it. */
static Quire__MapChange *plan_node(struct controller *controller, struct watched *node,
                                   struct arena *arena, uint64_t now_ms)
{
    Quire__MapChange *change = range_change_make(controller, arena);
    change->node_put = make_node(node, arena);
    node->put_ms = now_ms;
    for (size_t i = 0; i < controller->track_count && !watched_is_known(node); i++) {
        if (!leads(controller, i, node))
            continue;
        struct range_plan plan;
        range_plan_init(&plan, controller, i);
        range_plan_reborn(&plan);
        range_change_add(change, &plan, &controller->tracks[i], arena, now_ms);
    }
    return change;
}

static Quire__MapChange *plan_nodes(struct controller *controller, struct arena *arena,
                                    uint64_t now_ms)
{
    for (size_t i = 0; i < controller->node_count; i++) {
        struct watched *node = controller->nodes[i];
        if (is_news(node) && !settling(node->put_ms, now_ms) &&
            !ranges_settling(controller, node, now_ms))
            return plan_node(controller, node, arena, now_ms);
    }
    return NULL;
}

/* ---- ranges ---- */

static Quire__MapChange *plan_ranges(struct controller *controller, struct arena *arena,
                                     uint64_t now_ms)
{
    Quire__MapChange *change = NULL;
    for (size_t i = 0; i < controller->track_count; i++) {
        struct track *track = &controller->tracks[i];
        if (settling(track->proposed_ms, now_ms))
            continue;
        struct range_plan plan;
        range_plan_init(&plan, controller, i);
        range_plan_make(&plan, controller, now_ms);
        if (!plan.changed)
            continue;
        if (change == NULL)
            change = range_change_make(controller, arena);
        range_change_add(change, &plan, track, arena, now_ms);
        if (change->ranges_configure->n_ranges == RANGES_MAX)
            break;
    }
    return change;
}

Quire__MapChange *controller_next(struct controller *controller, struct arena *arena,
                                  uint64_t now_ms)
{
    controller_tick(controller, now_ms);
    if (!controller->leads || controller->map == NULL || map_epoch(controller->map) == 0)
        return NULL;
    count_all(controller);
    Quire__MapChange *change = plan_nodes(controller, arena, now_ms);
    if (change == NULL)
        change = plan_ranges(controller, arena, now_ms);
    if (change == NULL)
        change = controller_reshape(controller, arena, now_ms);
    return change != NULL ? change : controller_balance(controller, arena, now_ms);
}
