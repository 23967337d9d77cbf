/* Which ranges are moved so that the nodes have about as much each. In turns, while more may be on
 * the move: the move that takes most from the sum of the squares of the loads, which therefore
 * comes to an end; a move within the zones' rules that parts two replicas of one zone goes before.
 * When there is none left, primaries go over to in-sync replicas on nodes that lead fewer ranges.
 *
 * The load of a node is the bytes of its replicas, and a little for each, so that many empty ones
 * are shared as well. Loads that are within a tenth of the average of each other are even: sizes
 * change with each merge, and nothing is to be moved back and forth for that.
 */
#include "coordinator/controller_state.h"

#include <stdlib.h>
#include <string.h>

#define REPLICA_LOAD (1u << 20)

struct move {
    size_t range; /* its place in the map */
    struct watched *from, *to;
    size_t parted; /* how many replicas it is in one zone with less */
    double gain;   /* of the squares */
};

struct balance {
    struct controller *controller;
    struct watched **nodes; /* that may have more, the least loaded first */
    size_t node_count;
    uint64_t slack;
    bool *taken; /* by range: something is done about it in this change */
};

size_t controller_moves_max(const struct controller *controller)
{
    switch (controller->map->message->placement) {
    case QUIRE__PLACEMENT__LIVELY:
        return CONTROLLER_MOVES_LIVELY;
    case QUIRE__PLACEMENT__STEADY:
        return CONTROLLER_MOVES_STEADY;
    default:
        return 0;
    }
}

/* ---- whether to look at all ---- */

static bool nodes_are_calm(const struct controller *controller)
{
    for (size_t i = 0; i < controller->node_count; i++) {
        const struct watched *node = controller->nodes[i];
        if (node->known != NULL && (node->state != CONTROLLER_ALIVE || !watched_is_known(node)) &&
            node->replicas > 0)
            return false;
    }
    return true;
}

static bool ranges_are_calm(const struct controller *controller)
{
    for (size_t i = 0; i < controller->track_count; i++) {
        struct range_plan plan;
        range_plan_init(&plan, controller, i);
        if (!range_plan_is_calm(&plan))
            return false;
    }
    return true;
}

/* ---- loads ---- */

static uint64_t weight_of(const struct controller *controller, size_t index)
{
    const struct track *track = &controller->tracks[index];
    uint64_t bytes = 0;
    for (size_t i = 0; i < map_range_members(controller->map->message->ranges[index]); i++) {
        const struct replica_report *report = watched_report(track->members[i], track->id);
        if (report != NULL && report->bytes > bytes)
            bytes = report->bytes;
    }
    return bytes + REPLICA_LOAD;
}

static int compare_loads(const void *a, const void *b)
{
    const struct watched *x = *(struct watched *const *)a;
    const struct watched *y = *(struct watched *const *)b;
    if (x->load != y->load)
        return x->load < y->load ? -1 : 1;
    return strcmp(x->id, y->id);
}

static void weigh(struct balance *balance)
{
    struct controller *controller = balance->controller;
    uint64_t total = 0;
    for (size_t i = 0; i < controller->node_count; i++)
        controller->nodes[i]->load = 0;
    for (size_t i = 0; i < controller->track_count; i++) {
        uint64_t weight = weight_of(controller, i);
        size_t count = map_range_members(controller->map->message->ranges[i]);
        for (size_t j = 0; j < count; j++)
            controller->tracks[i].members[j]->load += weight;
        total += weight * count;
    }
    for (size_t i = 0; i < controller->node_count; i++)
        if (watched_has_room(controller->nodes[i]))
            balance->nodes[balance->node_count++] = controller->nodes[i];
    if (balance->node_count > 0)
        balance->slack = total / balance->node_count / 10;
}

/* ---- moves ---- */

/* The best place for the replica on `from`: the first one, from the least loaded on, that the zones
 * allow. False: it is well where it is. */
static bool find_place(const struct balance *balance, const struct range_plan *plan,
                       uint64_t weight, struct move *move)
{
    const struct watched *from = move->from;
    size_t mates = range_plan_zone_mates(plan, from, from);
    for (size_t i = 0; i < balance->node_count; i++) {
        struct watched *to = balance->nodes[i];
        bool even = from->load <= to->load + weight + balance->slack;
        if (even && mates == 0)
            return false; /* nor are those behind it better */
        if (range_plan_has(plan, to))
            continue;
        size_t mates_there = range_plan_zone_mates(plan, to, from);
        if (mates_there > mates || (even && mates_there == mates))
            continue;
        move->to = to;
        move->parted = mates - mates_there;
        move->gain =
            2.0 * (double)weight * ((double)from->load - (double)to->load - (double)weight);
        return true;
    }
    return false;
}

static bool is_better(const struct move *a, const struct move *b)
{
    if (b->to == NULL || a->parted != b->parted)
        return b->to == NULL || a->parted > b->parted;
    return a->gain > b->gain;
}

static struct move best_move(const struct balance *balance)
{
    struct move best = {0};
    for (size_t i = 0; i < balance->controller->track_count; i++) {
        struct range_plan plan;
        if (balance->taken[i])
            continue;
        range_plan_init(&plan, balance->controller, i);
        uint64_t weight = weight_of(balance->controller, i);
        if (plan.in_sync_count >= LIMIT_MEMBERS)
            continue;
        for (size_t j = 0; j < plan.in_sync_count; j++) {
            struct move move = {.range = i, .from = plan.in_sync[j]};
            if (find_place(balance, &plan, weight, &move) && is_better(&move, &best))
                best = move;
        }
    }
    return best;
}

static bool begin_move(struct balance *balance, Quire__MapChange *change, struct arena *arena,
                       uint64_t now_ms)
{
    struct controller *controller = balance->controller;
    qsort(balance->nodes, balance->node_count, sizeof *balance->nodes, compare_loads);
    struct move move = best_move(balance);
    if (move.to == NULL)
        return false;
    uint64_t weight = weight_of(controller, move.range);
    struct range_plan plan;
    range_plan_init(&plan, controller, move.range);
    range_plan_move(&plan, move.from, move.to);
    range_change_add(change, &plan, &controller->tracks[move.range], arena, now_ms);
    move.from->load -= weight;
    move.to->load += weight;
    balance->taken[move.range] = true;
    controller->moves++;
    return true;
}

/* ---- primaries ---- */

static bool begin_hand_over(struct balance *balance, Quire__MapChange *change, struct arena *arena,
                            uint64_t now_ms)
{
    struct controller *controller = balance->controller;
    for (size_t i = 0; i < controller->track_count; i++) {
        struct range_plan plan;
        if (balance->taken[i])
            continue;
        range_plan_init(&plan, controller, i);
        for (size_t j = 0; j < plan.in_sync_count; j++) {
            struct watched *next = plan.in_sync[j];
            if (next->primaries + 1 >= plan.primary->primaries || watched_is_draining(next) ||
                !range_plan_may_lead(&plan, next))
                continue;
            range_plan_hand_over(&plan, next);
            range_change_add(change, &plan, &controller->tracks[i], arena, now_ms);
            balance->taken[i] = true;
            return true;
        }
    }
    return false;
}

Quire__MapChange *controller_balance(struct controller *controller, struct arena *arena,
                                     uint64_t now_ms)
{
    size_t most = controller_moves_max(controller);
    if (most == 0 || now_ms < controller->stirred_ms + controller->calm_ms ||
        !nodes_are_calm(controller) || !ranges_are_calm(controller))
        return NULL;
    controller->stirred_ms = now_ms; /* what there is to do is looked for once in that time */
    Quire__MapChange *change = controller_reshape_begin(controller, arena, now_ms);
    if (change != NULL)
        return change;
    change = range_change_make(controller, arena);
    struct balance balance = {
        .controller = controller,
        .nodes = arena_calloc(arena, controller->node_count + 1, sizeof *balance.nodes),
        .taken = arena_calloc(arena, controller->track_count + 1, sizeof *balance.taken),
    };
    weigh(&balance);
    while (controller->moves < most && begin_move(&balance, change, arena, now_ms))
        ;
    if (change->ranges_configure->n_ranges == 0)
        for (size_t i = 0; i < most && begin_hand_over(&balance, change, arena, now_ms); i++)
            ;
    return change->ranges_configure->n_ranges > 0 ? change : NULL;
}
