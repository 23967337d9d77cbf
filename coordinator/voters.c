#include "coordinator/voters.h"

#include "coordinator/join.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/limits.h"

#include <string.h>

#define MEMBERS_MAX (4 * LIMIT_COORDINATORS)

/* What does not fit together: a voter without a name, or a name without a voter. */
struct stray {
    uint64_t raft_id;
    const char *id; /* of the map; NULL: it has none */
};

static bool is_named(const Quire__ClusterMap *map, uint64_t raft_id)
{
    for (size_t i = 0; i < map->n_coordinators; i++)
        if (map->coordinators[i]->raft_id == raft_id)
            return true;
    return false;
}

static bool takes_part(const uint64_t *members, size_t count, uint64_t raft_id)
{
    for (size_t i = 0; i < count; i++)
        if (members[i] == raft_id)
            return true;
    return false;
}

static struct stray find_stray(const struct coordinator *coordinator)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    uint64_t members[MEMBERS_MAX];
    size_t count = consensus_members(coordinator->consensus, members, MEMBERS_MAX);
    uint64_t self = join_raft_id(coordinator->node_id); /* join_keep_self() names it */
    for (size_t i = 0; i < count; i++)
        if (members[i] != self && !is_named(map, members[i]))
            return (struct stray){members[i], NULL};
    for (size_t i = 0; i < map->n_coordinators; i++)
        if (!takes_part(members, count, map->coordinators[i]->raft_id))
            return (struct stray){map->coordinators[i]->raft_id, map->coordinators[i]->id};
    return (struct stray){0, NULL};
}

static void on_removed(struct consensus_membership *membership, int status, const struct err *err)
{
    struct voters *voters = membership->data;
    voters->working = false;
    if (status != 0)
        log_event(LOG_WARN, "a voter that the map does not name stays for now",
                  LOG_U64("voter", membership->id), LOG_STR("reason", err->text));
}

static void on_dropped(struct coordinator_change *change, int status, const struct err *err)
{
    struct voters *voters = change->data;
    voters->working = false;
    if (status != 0 && !change->coordinator->closing)
        log_event(LOG_WARN, "a coordinator that is no voter stays in the map for now",
                  LOG_STR("reason", err->text));
}

static void set_right(struct coordinator *coordinator, struct stray stray)
{
    struct voters *voters = &coordinator->voters;
    voters->working = true;
    if (stray.id == NULL) {
        log_event(LOG_INFO, "removing a voter that the map does not name",
                  LOG_U64("voter", stray.raft_id));
        voters->membership =
            (struct consensus_membership){.id = stray.raft_id, .data = voters, .done = on_removed};
        consensus_change(coordinator->consensus, &voters->membership);
        return;
    }
    log_event(LOG_INFO, "removing a coordinator that is no voter from the map",
              LOG_STR("coordinator", stray.id));
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.coordinator_drop = (char *)stray.id;
    voters->change.data = voters;
    voters->change.done = on_dropped;
    coordinator_change(coordinator, &voters->change, &change);
}

void voters_tick(struct coordinator *coordinator, uint64_t now_ms)
{
    struct voters *voters = &coordinator->voters;
    struct stray stray = find_stray(coordinator);
    if (stray.raft_id != voters->stray || stray.raft_id == 0) {
        voters->stray = stray.raft_id;
        voters->stray_since_ms = now_ms;
    } else if (!voters->working && now_ms >= voters->stray_since_ms + VOTERS_GRACE_MS) {
        voters->stray_since_ms = now_ms; /* not again at once, should it fail */
        set_right(coordinator, stray);
    }
}

void voters_forget(struct coordinator *coordinator)
{
    coordinator->voters.stray = 0;
}
