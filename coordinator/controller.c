#include "coordinator/controller.h"

#include "coordinator/controller_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Ticks that are further apart than this were missed by this process, which therefore heard nobody:
 * its own pause is nobody's silence. */
#define PAUSE_MS 1000

static void *must(void *memory)
{
    if (memory == NULL)
        abort(); /* small, and nothing can go on without it */
    return memory;
}

struct controller *controller_create(const struct controller_options *options)
{
    struct controller *controller = must(calloc(1, sizeof *controller));
    bool set = options != NULL && options->replace_ms != 0;
    bool calm_set = options != NULL && options->calm_ms != 0;
    controller->replace_ms = set ? options->replace_ms : CONTROLLER_REPLACE_MS;
    controller->calm_ms = calm_set ? options->calm_ms : CONTROLLER_CALM_MS;
    controller->range_bytes = options != NULL && options->range_bytes != 0 ? options->range_bytes
                                                                           : CONTROLLER_RANGE_BYTES;
    return controller;
}

static void watched_destroy(struct watched *node)
{
    arena_deinit(&node->arena);
    free(node->id);
    free(node);
}

void controller_destroy(struct controller *controller)
{
    if (controller == NULL)
        return;
    for (size_t i = 0; i < controller->node_count; i++)
        watched_destroy(controller->nodes[i]);
    free(controller->nodes);
    free(controller->tracks);
    map_unref(controller->map);
    free(controller);
}

/* ---- nodes ---- */

struct watched *controller_watched(const struct controller *controller, const char *id)
{
    for (size_t i = 0; i < controller->node_count; i++)
        if (strcmp(controller->nodes[i]->id, id) == 0)
            return controller->nodes[i];
    return NULL;
}

bool watched_is_known(const struct watched *node)
{
    return node->known != NULL && node->incarnation == node->known->incarnation;
}

/* Whether one more may be watched: as many as a map can name, and as many again that it does not.
 */
static bool room(const struct controller *controller)
{
    return controller->node_count < 2 * (size_t)LIMIT_NODES;
}

static struct watched *watch(struct controller *controller, const char *id, uint64_t now_ms)
{
    struct watched *node = controller_watched(controller, id);
    if (node != NULL)
        return node;
    size_t size = (controller->node_count + 1) * sizeof(struct watched *);
    controller->nodes = must(realloc(controller->nodes, size));
    node = must(calloc(1, sizeof *node));
    node->id = must(strdup(id));
    node->heard_ms = now_ms;
    if (controller->leads)
        node->granted_ms = controller->lead_ms + CONTROLLER_DEPOSED_MS;
    arena_init(&node->arena, 0);
    controller->nodes[controller->node_count++] = node;
    return node;
}

/* A lease that the leader granted, as far as this coordinator can know: a follower hears the same
 * Registers. */
static uint64_t lease_over(const struct controller *controller, const struct watched *node)
{
    uint64_t granted = controller->leads ? node->granted_ms : node->heard_ms;
    return granted + CONTROLLER_LEASE_OVER_MS;
}

bool watched_may_have_lease(const struct controller *controller, const struct watched *node,
                            uint64_t now_ms)
{
    return now_ms < lease_over(controller, node);
}

static void judge(struct controller *controller, struct watched *node, uint64_t now_ms)
{
    if (node->state == CONTROLLER_DEAD || watched_may_have_lease(controller, node, now_ms))
        return;
    if (!node->lost && now_ms < node->heard_ms + CONTROLLER_GRACE_MS)
        return;
    node->state = CONTROLLER_DEAD;
    node->dead_ms = now_ms;
    controller->stirred_ms = now_ms;
}

static void judge_all(struct controller *controller, uint64_t now_ms)
{
    uint64_t pause = now_ms - controller->last_ms;
    for (size_t i = 0; i < controller->node_count; i++) {
        struct watched *node = controller->nodes[i];
        if (controller->last_ms != 0 && pause > PAUSE_MS && node->state != CONTROLLER_DEAD)
            node->heard_ms = node->heard_ms + pause < now_ms ? node->heard_ms + pause : now_ms;
        judge(controller, node, now_ms);
    }
    controller->last_ms = now_ms;
}

/* Those of which neither the map nor a Register has spoken for long are forgotten. */
static void forget(struct controller *controller, uint64_t now_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < controller->node_count; i++) {
        struct watched *node = controller->nodes[i];
        if (node->known != NULL || now_ms < node->heard_ms + CONTROLLER_GRACE_MS)
            controller->nodes[kept++] = node;
        else
            watched_destroy(node);
    }
    controller->node_count = kept;
}

enum controller_state controller_node_state(const struct controller *controller,
                                            const char *node_id)
{
    const struct watched *node = controller_watched(controller, node_id);
    return node == NULL ? CONTROLLER_UNKNOWN : node->state;
}

void controller_tick(struct controller *controller, uint64_t now_ms)
{
    judge_all(controller, now_ms);
}

/* ---- the map ---- */

static int compare_tracks(const void *a, const void *b)
{
    uint64_t x = ((const struct track *)a)->id;
    uint64_t y = ((const struct track *)b)->id;
    return (x > y) - (x < y);
}

/* What was proposed of a range holds on until the range has another epoch. */
static struct track track_range(struct controller *controller, const Quire__Range *range,
                                const struct track *old, size_t old_count, uint64_t now_ms)
{
    struct track track = {.id = range->id, .epoch = range->epoch};
    const struct track *same =
        old_count == 0 ? NULL : bsearch(&track, old, old_count, sizeof *old, compare_tracks);
    if (same != NULL && same->epoch == range->epoch) {
        track.proposed_ms = same->proposed_ms;
        track.deposed = same->deposed;
    }
    if (range->reshape != NULL && range->reshape->sealed)
        track.sealed_ms = same != NULL && same->sealed_ms != 0 ? same->sealed_ms : now_ms;
    for (size_t i = 0; i < map_range_members(range); i++)
        track.members[i] = watch(controller, map_range_member(range, i), now_ms);
    return track;
}

void controller_map(struct controller *controller, struct map *map, uint64_t now_ms)
{
    struct map *before = controller->map;
    const Quire__ClusterMap *message = map->message;
    controller->map = map_ref(map);
    controller->stirred_ms = now_ms;
    for (size_t i = 0; i < controller->node_count; i++)
        controller->nodes[i]->known = NULL;
    for (size_t i = 0; i < message->n_nodes; i++) {
        struct watched *node = watch(controller, message->nodes[i]->id, now_ms);
        node->known = message->nodes[i];
        if (watched_is_known(node))
            node->put_ms = 0;
    }
    struct track *old = controller->tracks;
    size_t old_count = controller->track_count;
    if (old_count > 0)
        qsort(old, old_count, sizeof *old, compare_tracks);
    controller->tracks = must(calloc(message->n_ranges + 1, sizeof *controller->tracks));
    controller->track_count = message->n_ranges;
    for (size_t i = 0; i < message->n_ranges; i++)
        controller->tracks[i] = track_range(controller, message->ranges[i], old, old_count, now_ms);
    free(old);
    forget(controller, now_ms);
    map_unref(before);
}

/* ---- leading ---- */

void controller_lead(struct controller *controller, bool leads, uint64_t now_ms)
{
    if (controller->leads == leads)
        return;
    controller->leads = leads;
    controller->lead_ms = controller->stirred_ms = now_ms;
    for (size_t i = 0; i < controller->track_count; i++) {
        controller->tracks[i].proposed_ms = 0;
        controller->tracks[i].deposed = NULL;
        if (controller->tracks[i].sealed_ms != 0)
            controller->tracks[i].sealed_ms = now_ms;
    }
    for (size_t i = 0; i < controller->node_count; i++) {
        struct watched *node = controller->nodes[i];
        node->put_ms = 0;
        node->granted_ms = now_ms + CONTROLLER_DEPOSED_MS;
        if (leads && !node->heard)
            node->heard_ms = now_ms;
        if (leads && node->state == CONTROLLER_DEAD)
            node->state = CONTROLLER_UNKNOWN; /* its lease may come from the leader before */
    }
}

/* ---- what was heard ---- */

void controller_link(struct controller *controller, const char *node_id, bool connected,
                     uint64_t now_ms)
{
    struct watched *node = controller_watched(controller, node_id);
    if (node == NULL)
        return;
    node->lost = !connected;
    judge(controller, node, now_ms);
}

static struct replica_report read_report(const Quire__RangeReport *message, struct arena *arena)
{
    struct replica_report report = {
        .range = message->id, .epoch = message->epoch, .state = REPLICA_READY};
    if (strcmp(message->state, "failed") == 0)
        report.state = REPLICA_FAILED;
    else if (strcmp(message->state, "opening") == 0 || strcmp(message->state, "copying") == 0)
        report.state = REPLICA_OPENING;
    report.derived = message->has_derived_seq;
    report.derived_seq = message->derived_seq;
    report.derive_failed = message->derived_failed;
    report.drained = message->drained;
    report.last_seq = message->last_seq;
    report.entries = message->entries;
    report.bytes = message->bytes + message->memory_bytes;
    report.serving = strcmp(message->state, "serving") == 0;
    report.read_only = strcmp(message->state, "read-only") == 0;
    report.damaged = strcmp(message->state, "damaged") == 0;
    report.primary = message->role != NULL && strcmp(message->role, "primary") == 0;
    report.unhalved = !message->has_middle;
    report.middle =
        bytes_of(arena_copy(arena, message->middle.data, message->middle.len), message->middle.len);
    report.idle =
        message->role != NULL && !report.primary && strcmp(message->role, "reconciling") != 0;
    return report;
}

static int compare_reports(const void *a, const void *b)
{
    uint64_t x = ((const struct replica_report *)a)->range;
    uint64_t y = ((const struct replica_report *)b)->range;
    return (x > y) - (x < y);
}

const struct replica_report *watched_report(const struct watched *node, uint64_t range)
{
    struct replica_report key = {.range = range};
    if (node->report_count == 0)
        return NULL;
    return bsearch(&key, node->reports, node->report_count, sizeof key, compare_reports);
}

static void remember(struct watched *node, const Quire__Register *message)
{
    struct arena *arena = &node->arena;
    arena_deinit(arena);
    arena_init(arena, 0);
    node->address = arena_strdup(arena, message->node->address);
    node->zone = arena_strdup(arena, message->node->zone != NULL ? message->node->zone : "");
    node->incarnation = message->node->incarnation;
    node->disk_short = message->disk_short;
    node->report_count = message->n_ranges;
    node->reports = arena_calloc(arena, message->n_ranges + 1, sizeof *node->reports);
    for (size_t i = 0; i < message->n_ranges; i++)
        node->reports[i] = read_report(message->ranges[i], arena);
    qsort(node->reports, node->report_count, sizeof *node->reports, compare_reports);
    node->wish_count = message->n_requests;
    node->wishes = arena_calloc(arena, message->n_requests + 1, sizeof *node->wishes);
    for (size_t i = 0; i < message->n_requests; i++) {
        const Quire__ReplicaRequest *from = message->requests[i];
        node->wishes[i] = (struct replica_wish){from->range, from->epoch,
                                                arena_strdup(arena, from->node), from->in_sync};
    }
}

/* Its place among the members of a range, those in sync first; LIMIT_MEMBERS: it is none. */
static size_t place_here(const struct track *track, const struct watched *node)
{
    size_t i = 0;
    while (i < LIMIT_MEMBERS && track->members[i] != node)
        i++;
    return i;
}

/* Whether a lease could make it act as the primary of a range that has another one. Where it is
 * still in sync it cannot: the other one acknowledges nothing before this one follows it. Where the
 * other one no longer wants to wait for that, this one's last lease has to run out. Where it is not
 * in sync, or the range is gone, it has to know that: by an assignment of before, which is under
 * way yet, it could be the primary the moment it comes; also when it has not heard of the range at
 * all. (Who is not even a member, and has not heard, is not looked for: that would be one that
 * stood still from before the range was made until it was replaced for good.) */
static bool is_deposed(const struct controller *controller, const struct watched *node)
{
    size_t gone = node->report_count; /* less those that are there */
    for (size_t i = 0; i < controller->track_count; i++) {
        const struct track *track = &controller->tracks[i];
        if (track->deposed == node)
            return true;
        const struct replica_report *report = watched_report(node, track->id);
        gone -= report != NULL;
        size_t place = place_here(track, node);
        if (place < controller->map->message->ranges[i]->n_in_sync) {
            bool follows = report != NULL && report->epoch == track->epoch;
            if (!follows && range_does_without(controller, i, node))
                return true;
        } else if (report == NULL ? place < LIMIT_MEMBERS
                                  : report->primary || report->epoch < track->epoch) {
            return true;
        }
    }
    return gone > 0;
}

/* A late word of a process that was followed by another one. */
static bool is_former_life(const struct watched *node, uint64_t incarnation)
{
    return (node->heard && incarnation < node->incarnation) ||
           (node->known != NULL && incarnation < node->known->incarnation);
}

uint32_t controller_heard(struct controller *controller, const Quire__Register *message,
                          uint64_t now_ms)
{
    struct watched *node = controller_watched(controller, message->node->id);
    if (node == NULL && !room(controller))
        return 0;
    node = watch(controller, message->node->id, now_ms);
    if (is_former_life(node, message->node->incarnation))
        return 0;
    if (node->heard && node->incarnation != message->node->incarnation)
        node->put_ms = 0;
    remember(node, message);
    node->heard = true;
    node->heard_ms = now_ms;
    enum controller_state state = message->leaving ? CONTROLLER_LEAVING : CONTROLLER_ALIVE;
    if (node->state != state)
        controller->stirred_ms = now_ms;
    node->state = state;
    if (!controller->leads || !watched_is_known(node) || is_deposed(controller, node))
        return 0;
    node->granted_ms = now_ms > node->granted_ms ? now_ms : node->granted_ms;
    return CONTROLLER_LEASE_MS;
}
