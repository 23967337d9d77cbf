#include "coordinator/controller_recover.h"

#include "coordinator/controller_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_SHOWN 40 /* bytes of a bound */

/* ---- sentences ---- */

static void say(struct recovery *out, struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct recovery *out, struct arena *arena, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    if (out->loss_count > RECOVER_LOSSES_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (out->loss_count == RECOVER_LOSSES_MAX)
        snprintf(text, sizeof text, "... and more");
    out->losses[out->loss_count++] = arena_strdup(arena, text);
}

/* A bound for people: its bytes, or what stands for none. */
static const char *bound(ProtobufCBinaryData bytes, const char *none, char *out, size_t size)
{
    size_t shown = bytes.len < NAME_SHOWN ? bytes.len : NAME_SHOWN;
    while (shown > 0 && shown < bytes.len && (bytes.data[shown] & 0xc0) == 0x80)
        shown--; /* not within a character */
    if (bytes.len == 0)
        snprintf(out, size, "%s", none);
    else
        snprintf(out, size, "'%.*s'", (int)shown, (const char *)bytes.data);
    return out;
}

static const char *address_of(const struct watched *node)
{
    return node->known != NULL ? node->known->address : node->id;
}

static const char *state_words(const struct watched *node, uint64_t range)
{
    const struct replica_report *report = watched_report(node, range);
    if (node->state == CONTROLLER_DEAD)
        return "gone";
    if (report == NULL)
        return "alive, and has not told of this range yet";
    return report->state == REPLICA_FAILED    ? "alive, but its replica has failed"
           : report->state == REPLICA_OPENING ? "alive, and not open yet"
                                              : "alive and open";
}

static void say_replica(struct recovery *out, struct arena *arena, const Quire__Range *range,
                        const struct watched *node)
{
    const struct replica_report *report = watched_report(node, range->id);
    const char *role = map_range_in_sync(range, node->id) ? "in sync" : "learner";
    if (report == NULL)
        say(out, arena,
            "  shard %s (%s), %s: %s; what it has is not known: it has told nothing since this "
            "coordinator started",
            node->id, address_of(node), role, state_words(node, range->id));
    else
        say(out, arena,
            "  shard %s (%s), %s: %s; it last told of %" PRIu64
            " entries, and writes up to %" PRIu64 " under epoch %" PRIu64,
            node->id, address_of(node), role, state_words(node, range->id), report->entries,
            report->last_seq, report->epoch);
}

static void say_range(struct recovery *out, struct arena *arena, struct controller *controller,
                      size_t index)
{
    const Quire__Range *range = controller->map->message->ranges[index];
    char lo[64], hi[64];
    say(out, arena,
        "range %" PRIu64 " of collection %s, from %s to %s (epoch %" PRIu64
        "): none of the replicas that have all of it can serve it",
        range->id, map_collection_by_id(controller->map, range->collection)->name,
        bound(range->lo, "the start", lo, sizeof lo), bound(range->hi, "the end", hi, sizeof hi),
        range->epoch);
    for (size_t i = 0; i < map_range_members(range); i++)
        say_replica(out, arena, range, controller->tracks[index].members[i]);
}

/* ---- who is there ---- */

enum verdict { KEPT, LOST, UNCLEAR };

static enum verdict judge_range(const struct controller *controller, size_t index)
{
    const Quire__Range *range = controller->map->message->ranges[index];
    enum verdict verdict = LOST;
    for (size_t i = 0; i < range->n_in_sync; i++) {
        const struct watched *node = controller->tracks[index].members[i];
        const struct replica_report *report = watched_report(node, range->id);
        if (node->state == CONTROLLER_DEAD)
            continue;
        if (node->state == CONTROLLER_UNKNOWN || report == NULL || !watched_is_known(node))
            verdict = UNCLEAR;
        else if (report->state != REPLICA_FAILED)
            return KEPT;
    }
    return verdict;
}

static int check_leads(struct controller *controller, uint64_t now_ms, struct err *err)
{
    controller_tick(controller, now_ms);
    if (!controller->leads || controller->map == NULL)
        return err_set(err, ERR_UNAVAILABLE, "this coordinator does not lead the cluster");
    return 0;
}

static int unclear(uint64_t range, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE,
                   "it is not known yet which replicas of range %" PRIu64
                   " are alive: try again in a few seconds",
                   range);
}

static bool open_learner(const struct watched *node, const Quire__Range *range)
{
    const struct replica_report *report = watched_report(node, range->id);
    return map_range_learns(range, node->id) && node->state == CONTROLLER_ALIVE &&
           watched_is_known(node) && report != NULL && report->state == REPLICA_READY;
}

int controller_lost(struct controller *controller, struct arena *arena, uint64_t now_ms,
                    struct recovery *out, struct err *err)
{
    *out = (struct recovery){.losses =
                                 arena_calloc(arena, RECOVER_LOSSES_MAX + 1, sizeof *out->losses)};
    int rc = check_leads(controller, now_ms, err);
    for (size_t i = 0; rc == 0 && i < controller->track_count; i++) {
        const Quire__Range *range = controller->map->message->ranges[i];
        enum verdict verdict = judge_range(controller, i);
        if (verdict == UNCLEAR)
            return unclear(range->id, err);
        if (verdict == KEPT)
            continue;
        say_range(out, arena, controller, i);
        say(out, arena,
            "  start one of the replicas in sync again if there is a way: then nothing is lost");
        for (size_t j = 0; j < map_range_members(range); j++)
            if (open_learner(controller->tracks[i].members[j], range))
                say(out, arena, "  else: quire recover --range %" PRIu64 " --node %s", range->id,
                    controller->tracks[i].members[j]->id);
        say(out, arena, "  else: quire recover --range %" PRIu64 " --empty", range->id);
    }
    return rc;
}

/* ---- the new configuration ---- */

static struct watched *find_node(const struct controller *controller, const char *name)
{
    for (size_t i = 0; i < controller->node_count; i++) {
        struct watched *node = controller->nodes[i];
        if (strcmp(node->id, name) == 0 ||
            (node->known != NULL && strcmp(node->known->address, name) == 0))
            return node;
    }
    return NULL;
}

/* Alive, with nothing of the range that could be taken for its contents; of these the one with the
 * fewest replicas. */
static struct watched *empty_home(const struct controller *controller, const Quire__Range *range)
{
    struct watched *best = NULL;
    size_t best_count = 0;
    for (size_t i = 0; i < controller->node_count; i++) {
        struct watched *node = controller->nodes[i];
        size_t count = 0;
        if (node->state != CONTROLLER_ALIVE || !watched_is_known(node) || node->disk_short ||
            map_range_on(range, node->id) || watched_report(node, range->id) != NULL)
            continue;
        for (size_t r = 0; r < controller->map->message->n_ranges; r++)
            count += map_range_on(controller->map->message->ranges[r], node->id);
        if (best == NULL || count < best_count) {
            best = node;
            best_count = count;
        }
    }
    return best;
}

static Quire__MapChange *make_change(const Quire__Range *old, const struct watched *node,
                                     bool fresh, struct arena *arena)
{
    Quire__MapChange *change = arena_alloc(arena, sizeof *change);
    Quire__RangeSet *set = arena_alloc(arena, sizeof *set);
    Quire__Range *range = arena_alloc(arena, sizeof *range);
    quire__map_change__init(change);
    quire__range_set__init(set);
    *range = *old;
    range->lo.data = arena_copy(arena, old->lo.data, old->lo.len);
    range->hi.data = arena_copy(arena, old->hi.data, old->hi.len);
    range->epoch = old->epoch + 1;
    range->primary = arena_strdup(arena, node->id);
    range->in_sync = arena_calloc(arena, 1, sizeof *range->in_sync);
    range->in_sync[0] = range->primary;
    range->n_in_sync = 1;
    range->learners = NULL;
    range->n_learners = 0;
    range->has_fresh = true;
    range->fresh = fresh;
    range->has_recovered = true;
    range->recovered = old->recovered + 1;
    set->ranges = arena_calloc(arena, 1, sizeof *set->ranges);
    set->ranges[0] = range;
    set->n_ranges = 1;
    change->ranges_configure = set;
    return change;
}

/* The most that a replica which is given up had, as far as is known. */
static void say_given_up(struct recovery *out, struct arena *arena,
                         const struct controller *controller, size_t index,
                         const struct watched *kept)
{
    const Quire__Range *range = controller->map->message->ranges[index];
    const struct replica_report *has = watched_report(kept, range->id);
    for (size_t i = 0; i < range->n_in_sync; i++) {
        const struct watched *node = controller->tracks[index].members[i];
        const struct replica_report *report = watched_report(node, range->id);
        if (report == NULL)
            say(out, arena,
                "lost: what was acknowledged after write %" PRIu64
                "; how much shard %s had is not known",
                has->last_seq, node->id);
        else if (report->last_seq > has->last_seq)
            say(out, arena,
                "lost: the writes %" PRIu64 " to %" PRIu64
                " at least, which shard %s had when it was last heard",
                has->last_seq + 1, report->last_seq, node->id);
        else
            say(out, arena, "lost: what shard %s got after it was last heard (write %" PRIu64 ")",
                node->id, report->last_seq);
    }
    say(out, arena, "the replicas of the other shards are dropped, also when these come back");
}

static void say_all_lost(struct recovery *out, struct arena *arena,
                         const struct controller *controller, size_t index)
{
    const Quire__Range *range = controller->map->message->ranges[index];
    const struct replica_report *best = NULL;
    for (size_t i = 0; i < map_range_members(range); i++) {
        const struct replica_report *report =
            watched_report(controller->tracks[index].members[i], range->id);
        if (report != NULL && (best == NULL || report->last_seq > best->last_seq))
            best = report;
    }
    if (best != NULL)
        say(out, arena, "lost: all entries of the range, %" PRIu64 " when they were last told",
            best->entries);
    else
        say(out, arena, "lost: all entries of the range; how many is not known");
    say(out, arena, "the replicas of the range are dropped, also when their shards come back");
}

static int find_range(const struct controller *controller, uint64_t id, size_t *index,
                      struct err *err)
{
    for (*index = 0; *index < controller->track_count; ++*index)
        if (controller->map->message->ranges[*index]->id == id)
            break;
    if (*index == controller->track_count)
        return err_set(err, ERR_NOT_FOUND, "there is no range %" PRIu64, id);
    switch (judge_range(controller, *index)) {
    case UNCLEAR:
        return unclear(id, err);
    case KEPT:
        return err_set(err, ERR_CONFLICT,
                       "range %" PRIu64
                       " has a replica that is in sync and alive: nothing has to be given up",
                       id);
    default:
        return 0;
    }
}

int controller_recover(struct controller *controller, uint64_t id, const char *name,
                       struct arena *arena, uint64_t now_ms, struct recovery *out, struct err *err)
{
    size_t index = 0;
    *out = (struct recovery){.losses =
                                 arena_calloc(arena, RECOVER_LOSSES_MAX + 1, sizeof *out->losses)};
    int rc = check_leads(controller, now_ms, err);
    if (rc == 0)
        rc = find_range(controller, id, &index, err);
    if (rc != 0)
        return rc;
    const Quire__Range *range = controller->map->message->ranges[index];
    if (range->reshape != NULL) /* given up in a moment, since nobody leads it */
        return err_set(err, ERR_CONFLICT,
                       "range %" PRIu64 " is being split or merged: try again in a second", id);
    struct watched *node =
        name != NULL ? find_node(controller, name) : empty_home(controller, range);
    if (name != NULL && (node == NULL || !open_learner(node, range)))
        return err_set(err, ERR_CONFLICT,
                       "shard %s has no replica of range %" PRIu64
                       " that is open and could go on alone",
                       name, id);
    if (node == NULL)
        return err_set(err, ERR_CONFLICT,
                       "no shard that is alive is without a replica of range %" PRIu64
                       ": start another one",
                       id);
    say_range(out, arena, controller, index);
    if (name != NULL)
        say_given_up(out, arena, controller, index, node);
    else
        say_all_lost(out, arena, controller, index);
    say(out, arena, "then: the range goes on%s on shard %s (%s) alone, under epoch %" PRIu64,
        name != NULL ? "" : ", empty,", node->id, address_of(node), range->epoch + 1);
    out->change = make_change(range, node, name == NULL, arena);
    return 0;
}
