#include "coordinator/controller_move.h"

#include "coordinator/controller_state.h"

#include <inttypes.h>
#include <string.h>

static int check_leads(struct controller *controller, uint64_t now_ms, struct err *err)
{
    controller_tick(controller, now_ms);
    if (!controller->leads || controller->map == NULL || map_epoch(controller->map) == 0)
        return err_set(err, ERR_UNAVAILABLE, "this coordinator does not lead the cluster");
    return 0;
}

/* By its id or its url. NULL: there is none, and the error says so. */
static struct watched *find_node(const struct controller *controller, const char *name,
                                 struct err *err)
{
    for (size_t i = 0; i < controller->node_count; i++) {
        struct watched *node = controller->nodes[i];
        if (node->known != NULL &&
            (strcmp(node->id, name) == 0 || strcmp(node->known->address, name) == 0))
            return node;
    }
    err_set(err, ERR_NOT_FOUND, "the cluster has no shard %s", name);
    return NULL;
}

int controller_find_range(struct controller *controller, uint64_t id, uint64_t now_ms,
                          size_t *index, struct err *err)
{
    int rc = check_leads(controller, now_ms, err);
    for (*index = 0; rc == 0 && *index < controller->track_count; ++*index)
        if (controller->tracks[*index].id == id)
            return 0;
    return rc != 0 ? rc : err_set(err, ERR_NOT_FOUND, "there is no range %" PRIu64, id);
}

static int check_target(const struct range_plan *plan, const struct watched *to, struct err *err)
{
    uint64_t id = plan->range->id;
    if (range_plan_has(plan, to))
        return err_set(err, ERR_CONFLICT, "range %" PRIu64 " has a replica on shard %s already", id,
                       to->id);
    if (watched_is_draining(to))
        return err_set(err, ERR_CONFLICT, "shard %s is being drained", to->id);
    if (to->disk_short)
        return err_set(err, ERR_CONFLICT, "the disk of shard %s is full", to->id);
    if (!watched_has_room(to))
        return err_set(err, ERR_CONFLICT, "shard %s is not up", to->id);
    return 0;
}

static int check_source(const struct range_plan *plan, const struct watched *from, struct err *err)
{
    uint64_t id = plan->range->id;
    if (!range_plan_has(plan, from))
        return err_set(err, ERR_CONFLICT, "range %" PRIu64 " has no replica on shard %s", id,
                       from->id);
    if (!range_plan_is_calm(plan))
        return err_set(err, ERR_CONFLICT,
                       "a replica of range %" PRIu64 " is being made or moved, or is not served: "
                       "ask again when all are in sync",
                       id);
    if (plan->in_sync_count >= LIMIT_MEMBERS)
        return err_set(err, ERR_CONFLICT,
                       "range %" PRIu64 " has %d replicas, the most there can be", id,
                       LIMIT_MEMBERS);
    return 0;
}

int controller_move(struct controller *controller, uint64_t range, const char *from, const char *to,
                    struct arena *arena, uint64_t now_ms, Quire__MapChange **change,
                    struct err *err)
{
    struct range_plan plan;
    size_t index;
    int rc = controller_find_range(controller, range, now_ms, &index, err);
    if (rc != 0)
        return rc;
    struct track *track = &controller->tracks[index];
    struct watched *source = find_node(controller, from, err);
    struct watched *target = source == NULL || to == NULL ? NULL : find_node(controller, to, err);
    if (source == NULL || (to != NULL && target == NULL))
        return err->code;
    range_plan_init(&plan, controller, index);
    rc = check_source(&plan, source, err);
    if (rc == 0 && to == NULL && (target = range_plan_new_home(&plan, controller, source)) == NULL)
        rc = err_set(err, ERR_CONFLICT, "no other shard has room for range %" PRIu64, range);
    if (rc == 0)
        rc = check_target(&plan, target, err);
    if (rc != 0)
        return rc;
    range_plan_move(&plan, source, target);
    *change = range_change_make(controller, arena);
    range_change_add(*change, &plan, track, arena, now_ms);
    return 0;
}

static Quire__MapChange *new_change(struct arena *arena)
{
    Quire__MapChange *change = arena_alloc(arena, sizeof *change);
    quire__map_change__init(change);
    return change;
}

int controller_remove(struct controller *controller, const char *node, struct arena *arena,
                      uint64_t now_ms, Quire__MapChange **change, struct err *err)
{
    size_t replicas = 0;
    int rc = check_leads(controller, now_ms, err);
    struct watched *gone = rc != 0 ? NULL : find_node(controller, node, err);
    if (gone == NULL)
        return err->code;
    for (size_t i = 0; i < controller->track_count; i++)
        replicas += map_range_on(controller->map->message->ranges[i], gone->id);
    if (replicas > 0)
        return err_set(err, ERR_CONFLICT,
                       "shard %s has %zu replicas in the map: drain it first, or wait until they "
                       "were made anew elsewhere",
                       gone->id, replicas);
    if (gone->state != CONTROLLER_DEAD)
        return err_set(err, ERR_CONFLICT,
                       "shard %s runs, or did a moment ago: stop it first, or it comes back",
                       gone->id);
    *change = new_change(arena);
    (*change)->node_drop = arena_strdup(arena, gone->id);
    return 0;
}

int controller_drain(struct controller *controller, const char *node, bool draining,
                     struct arena *arena, uint64_t now_ms, Quire__MapChange **change,
                     struct err *err)
{
    int rc = check_leads(controller, now_ms, err);
    struct watched *which = rc != 0 ? NULL : find_node(controller, node, err);
    if (which == NULL)
        return err->code;
    *change = new_change(arena);
    Quire__NodeSetting *setting = arena_alloc(arena, sizeof *setting);
    quire__node_setting__init(setting);
    setting->id = arena_strdup(arena, which->id);
    setting->draining = draining;
    (*change)->node_set = setting;
    return 0;
}
