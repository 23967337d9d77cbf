/* What one range shall be: the rules of controller.h in their order. */
#include "coordinator/controller_state.h"
#include "coordinator/placement.h"

#include <string.h>

/* ---- what is known of a replica ---- */

static bool present(const struct watched *node)
{
    return (node->state == CONTROLLER_ALIVE || node->state == CONTROLLER_LEAVING) &&
           watched_is_known(node);
}

static enum replica_state state_of(const struct watched *node, uint64_t range)
{
    const struct replica_report *report = watched_report(node, range);
    return report == NULL ? REPLICA_UNHEARD : report->state;
}

static bool ready(const struct watched *node, uint64_t range)
{
    return present(node) && state_of(node, range) == REPLICA_READY;
}

static bool failed(const struct watched *node, uint64_t range)
{
    return present(node) && state_of(node, range) == REPLICA_FAILED;
}

static bool is_damaged(const struct watched *node, uint64_t range)
{
    const struct replica_report *report = watched_report(node, range);
    return report != NULL && report->damaged;
}

static bool may_lead(const struct watched *node, uint64_t range)
{
    return ready(node, range) && node->state == CONTROLLER_ALIVE && !node->disk_short &&
           !watched_report(node, range)->read_only && !is_damaged(node, range);
}

/* ---- lists of nodes ---- */

static size_t find(struct watched *const *list, size_t count, const struct watched *node)
{
    size_t at = 0;
    while (at < count && list[at] != node)
        at++;
    return at;
}

static void take_out(struct watched **list, size_t *count, const struct watched *node)
{
    size_t at = find(list, *count, node);
    if (at == *count)
        return;
    memmove(list + at, list + at + 1, (*count - at - 1) * sizeof *list);
    --*count;
}

static void demote(struct range_plan *plan, struct watched *node)
{
    take_out(plan->in_sync, &plan->in_sync_count, node);
    plan->learners[plan->learner_count++] = node;
    plan->changed = true;
}

static void promote(struct range_plan *plan, struct watched *node)
{
    take_out(plan->learners, &plan->learner_count, node);
    plan->in_sync[plan->in_sync_count++] = node;
    plan->changed = true;
}

static void drop(struct range_plan *plan, struct watched *node)
{
    take_out(plan->learners, &plan->learner_count, node);
    take_out(plan->in_sync, &plan->in_sync_count, node);
    take_out(plan->leaving, &plan->leaving_count, node);
    node->replicas--;
    plan->changed = true;
}

void range_plan_init(struct range_plan *plan, const struct controller *controller, size_t index)
{
    *plan = (struct range_plan){.range = controller->map->message->ranges[index],
                                .track = &controller->tracks[index]};
    const Quire__Range *range = plan->range;
    for (size_t i = 0; i < range->n_in_sync; i++) {
        plan->in_sync[plan->in_sync_count++] = plan->track->members[i];
        if (strcmp(range->in_sync[i], range->primary) == 0)
            plan->primary = plan->track->members[i];
    }
    for (size_t i = 0; i < range->n_learners; i++)
        plan->learners[plan->learner_count++] = plan->track->members[range->n_in_sync + i];
    for (size_t i = 0; i < map_range_members(range); i++)
        if (map_range_leaves(range, map_range_member(range, i)))
            plan->leaving[plan->leaving_count++] = plan->track->members[i];
    plan->fresh = range->fresh;
    plan->reshape = range->reshape;
}

static bool leaves(const struct range_plan *plan, const struct watched *node)
{
    return find(plan->leaving, plan->leaving_count, node) < plan->leaving_count;
}

/* 2: it goes; 1: it is to go as soon as that is possible; 0: it stays. */
static int going(const struct range_plan *plan, const struct watched *node)
{
    return leaves(plan, node) ? 2 : watched_is_draining(node);
}

/* ---- 1. the primary ---- */

/* Those that stay before those that go, then the one that leads the fewest ranges. */
static bool leads_rather(const struct range_plan *plan, const struct watched *a,
                         const struct watched *b)
{
    if (going(plan, a) != going(plan, b))
        return going(plan, a) < going(plan, b);
    return a->primaries < b->primaries ||
           (a->primaries == b->primaries && strcmp(a->id, b->id) < 0);
}

static struct watched *successor(const struct range_plan *plan)
{
    struct watched *best = NULL;
    for (size_t i = 0; i < plan->in_sync_count; i++) {
        struct watched *node = plan->in_sync[i];
        if (node == plan->primary || !may_lead(node, plan->range->id))
            continue;
        if (best == NULL || leads_rather(plan, node, best))
            best = node;
    }
    return best;
}

bool range_plan_hand_over(struct range_plan *plan, struct watched *next)
{
    if (next == NULL)
        return false;
    plan->primary->primaries--;
    next->primaries++;
    plan->primary = next;
    plan->changed = true;
    return true;
}

static bool hand_over(struct range_plan *plan)
{
    return range_plan_hand_over(plan, successor(plan));
}

/* Whether another one that may lead stays, or stays longer. */
static bool has_one_that_stays(const struct range_plan *plan)
{
    const struct watched *next = successor(plan);
    return next != NULL && going(plan, next) < going(plan, plan->primary);
}

void range_plan_reborn(struct range_plan *plan)
{
    struct watched *old = plan->primary;
    if (hand_over(plan))
        demote(plan, old);
    plan->changed = true;
}

/* It lives in the life that the map knows, has this very epoch, and does not lead under it: it got
 * the epoch while the map knew a former life of it. It takes an epoch once. */
static bool does_not_lead(const struct range_plan *plan)
{
    const struct replica_report *report = watched_report(plan->primary, plan->range->id);
    return ready(plan->primary, plan->range->id) && report->idle &&
           report->epoch == plan->range->epoch;
}

static bool should_hand_over(const struct range_plan *plan)
{
    const struct replica_report *report = watched_report(plan->primary, plan->range->id);
    return plan->primary->state == CONTROLLER_LEAVING ||
           (present(plan->primary) && (plan->primary->disk_short ||
                                       (report != NULL && (report->read_only || report->damaged))));
}

/* True: it was about the primary, and there is nothing more to want now. */
static bool plan_primary(struct range_plan *plan)
{
    struct watched *old = plan->primary;
    uint64_t id = plan->range->id;
    if (old->heard && !watched_is_known(old))
        return true; /* a new process: the node's own change comes first */
    if (old->state == CONTROLLER_DEAD || failed(old, id)) {
        if (hand_over(plan)) {
            demote(plan, old);
            plan->deposed = old->state == CONTROLLER_DEAD ? old : NULL;
        }
        return !plan->changed;
    }
    if (plan->track->deposed == old)
        plan->changed = true; /* it is back, and waits for a new epoch: see struct track */
    else if (does_not_lead(plan))
        plan->changed = true;
    else if (should_hand_over(plan) || has_one_that_stays(plan))
        hand_over(plan); /* stays in sync: the next one waits until it follows */
    return false;
}

/* ---- 2. and 3. who is in sync ---- */

static const struct replica_wish *wish_about(const struct range_plan *plan,
                                             const struct watched *node)
{
    const struct watched *primary = plan->primary;
    if (!present(primary) || strcmp(primary->id, plan->range->primary) != 0)
        return NULL;
    for (size_t i = 0; i < primary->wish_count; i++) {
        const struct replica_wish *wish = &primary->wishes[i];
        if (wish->range == plan->range->id && wish->epoch == plan->range->epoch &&
            strcmp(wish->node, node->id) == 0)
            return wish;
    }
    return NULL;
}

bool range_does_without(const struct controller *controller, size_t index,
                        const struct watched *node)
{
    struct range_plan plan;
    range_plan_init(&plan, controller, index);
    const struct replica_wish *wish = wish_about(&plan, node);
    return wish != NULL && !wish->in_sync;
}

/* One that is about to stop would be missed only when it is silent. It has carried out this epoch:
 * one that was the primary until now, and has a lease yet, knows that it is so no more. */
static bool takes_leave(const struct range_plan *plan, const struct watched *node)
{
    const struct replica_report *report = watched_report(node, plan->range->id);
    return node->state == CONTROLLER_LEAVING && watched_is_known(node) && report != NULL &&
           report->epoch == plan->range->epoch && !report->primary;
}

/* It was the primary until a moment ago, for all that is known, and may answer reads as such yet.
 * While it is in sync nothing is acknowledged that it does not know of. */
static bool may_lead_yet(const struct range_plan *plan, const struct controller *controller,
                         const struct watched *node, uint64_t now_ms)
{
    const struct replica_report *report = watched_report(node, plan->range->id);
    bool follows = report != NULL && report->epoch == plan->range->epoch;
    return !follows && watched_may_have_lease(controller, node, now_ms);
}

/* It is damaged, and one that is not leads by now, which it can be made anew of. */
static bool is_to_be_renewed(const struct range_plan *plan, const struct watched *node)
{
    const struct replica_report *report = watched_report(node, plan->range->id);
    return is_damaged(node, plan->range->id) && present(node) &&
           !is_damaged(plan->primary, plan->range->id) && report->epoch == plan->range->epoch &&
           !report->primary;
}

static bool to_be_demoted(const struct range_plan *plan, const struct controller *controller,
                          const struct watched *node, uint64_t now_ms)
{
    const struct replica_wish *wish = wish_about(plan, node);
    bool unwanted = wish != NULL && !wish->in_sync && !may_lead_yet(plan, controller, node, now_ms);
    return node->state == CONTROLLER_DEAD || failed(node, plan->range->id) ||
           is_to_be_renewed(plan, node) || takes_leave(plan, node) || unwanted;
}

/* Whoever is taken out of the in-sync replicas may be the last one that has everything: that the
 * primary is sound must be known. */
static void plan_demotions(struct range_plan *plan, const struct controller *controller,
                           uint64_t now_ms)
{
    if (!ready(plan->primary, plan->range->id))
        return;
    for (size_t i = plan->in_sync_count; i-- > 0;) {
        struct watched *node = plan->in_sync[i];
        if (node != plan->primary && to_be_demoted(plan, controller, node, now_ms))
            demote(plan, node);
    }
}

static void plan_promotions(struct range_plan *plan)
{
    for (size_t i = plan->learner_count; i-- > 0;) {
        struct watched *node = plan->learners[i];
        const struct replica_wish *wish = wish_about(plan, node);
        if (is_to_be_renewed(plan, node)) /* with the next epoch the shard makes it anew */
            plan->changed = true;
        if (wish == NULL)
            continue;
        if (!wish->in_sync) /* the primary waits for it, in vain: until the next epoch */
            plan->changed = true;
        else if (node->state == CONTROLLER_ALIVE && watched_is_known(node) &&
                 !failed(node, plan->range->id) && !is_damaged(node, plan->range->id))
            promote(plan, node);
    }
}

/* ---- 4. and 5. how many ---- */

static bool is_lost(const struct controller *controller, const struct watched *node,
                    uint64_t now_ms)
{
    return node->state == CONTROLLER_DEAD && now_ms >= node->dead_ms + controller->replace_ms;
}

bool range_plan_has(const struct range_plan *plan, const struct watched *node)
{
    return find(plan->in_sync, plan->in_sync_count, node) < plan->in_sync_count ||
           find(plan->learners, plan->learner_count, node) < plan->learner_count;
}

static size_t count_mates(const struct range_plan *plan, struct watched *const *list, size_t count,
                          const struct watched *node, const struct watched *gone)
{
    size_t mates = 0;
    for (size_t i = 0; i < count; i++)
        if (list[i] != gone && !leaves(plan, list[i]))
            mates += placement_same_zone(list[i]->known->zone, node->zone);
    return mates;
}

size_t range_plan_zone_mates(const struct range_plan *plan, const struct watched *node,
                             const struct watched *gone)
{
    return count_mates(plan, plan->in_sync, plan->in_sync_count, node, gone) +
           count_mates(plan, plan->learners, plan->learner_count, node, gone);
}

bool watched_has_room(const struct watched *node)
{
    return node->state == CONTROLLER_ALIVE && watched_is_known(node) && !node->disk_short &&
           !watched_is_draining(node);
}

struct watched *range_plan_new_home(const struct range_plan *plan,
                                    const struct controller *controller, const struct watched *gone)
{
    struct watched *best = NULL;
    size_t best_mates = 0;
    for (size_t i = 0; i < controller->node_count; i++) {
        struct watched *node = controller->nodes[i];
        if (!watched_has_room(node) || range_plan_has(plan, node))
            continue;
        size_t mates = range_plan_zone_mates(plan, node, gone);
        if (best == NULL || mates < best_mates ||
            (mates == best_mates && node->replicas < best->replicas) ||
            (mates == best_mates && node->replicas == best->replicas &&
             strcmp(node->id, best->id) < 0)) {
            best = node;
            best_mates = mates;
        }
    }
    return best;
}

static void add_learner(struct range_plan *plan, struct watched *node)
{
    plan->learners[plan->learner_count++] = node;
    node->replicas++;
    plan->changed = true;
}

/* Of a list, those that stay. */
static size_t staying(const struct range_plan *plan, struct watched *const *list, size_t count)
{
    size_t stay = 0;
    for (size_t i = 0; i < count; i++)
        stay += !leaves(plan, list[i]);
    return stay;
}

static void plan_more(struct range_plan *plan, const struct controller *controller, size_t wanted,
                      uint64_t now_ms)
{
    struct watched *gone = NULL;
    size_t all = plan->in_sync_count + plan->learner_count;
    size_t count = staying(plan, plan->in_sync, plan->in_sync_count) +
                   staying(plan, plan->learners, plan->learner_count);
    for (size_t i = 0; i < plan->learner_count; i++) {
        if (leaves(plan, plan->learners[i]) || !is_lost(controller, plan->learners[i], now_ms))
            continue;
        gone = plan->learners[i];
        count--;
    }
    if (count >= wanted)
        return;
    struct watched *home = range_plan_new_home(plan, controller, gone);
    if (home == NULL || (gone == NULL && all >= LIMIT_MEMBERS))
        return;
    if (gone != NULL)
        drop(plan, gone);
    add_learner(plan, home);
}

/* Those that are to go first, then the dead, then those on full nodes. */
static bool goes_rather(const struct range_plan *plan, const struct watched *a,
                        const struct watched *b)
{
    bool leaves_a = leaves(plan, a);
    bool dead_a = a->state == CONTROLLER_DEAD;
    if (leaves_a != leaves(plan, b))
        return leaves_a;
    if (dead_a != (b->state == CONTROLLER_DEAD))
        return dead_a;
    if (a->replicas != b->replicas)
        return a->replicas > b->replicas;
    return strcmp(a->id, b->id) > 0;
}

/* One that is not needed in sync; NULL: there is none, or it has to wait. */
static struct watched *spare_in_sync(const struct range_plan *plan,
                                     const struct controller *controller, uint64_t now_ms)
{
    struct watched *out = NULL;
    for (size_t i = 0; i < plan->in_sync_count; i++) {
        struct watched *node = plan->in_sync[i];
        if (node != plan->primary && !may_lead_yet(plan, controller, node, now_ms) &&
            (plan->leaving_count == 0 || leaves(plan, node)) &&
            (out == NULL || goes_rather(plan, node, out)))
            out = node;
    }
    return out;
}

static struct watched *spare_learner(const struct range_plan *plan)
{
    struct watched *out = NULL;
    for (size_t i = 0; i < plan->learner_count; i++) {
        struct watched *node = plan->learners[i];
        if ((plan->leaving_count == 0 || leaves(plan, node)) &&
            (out == NULL || goes_rather(plan, node, out)))
            out = node;
    }
    return out;
}

static void plan_fewer(struct range_plan *plan, const struct controller *controller, size_t wanted,
                       uint64_t now_ms)
{
    if (plan->in_sync_count + plan->learner_count <= wanted ||
        staying(plan, plan->in_sync, plan->in_sync_count) < wanted)
        return;
    for (size_t i = 0; i < plan->in_sync_count; i++)
        if (!ready(plan->in_sync[i], plan->range->id))
            return; /* the others may be needed yet */
    struct watched *out = spare_learner(plan);
    if (out == NULL && (plan->learner_count == 0 || plan->leaving_count > 0))
        out = spare_in_sync(plan, controller, now_ms);
    if (out != NULL)
        drop(plan, out);
}

static size_t replicas_wanted(const struct controller *controller, const Quire__Range *range)
{
    const Quire__Collection *collection = map_collection_by_id(controller->map, range->collection);
    return collection->has_replicas ? collection->replicas : 1;
}

/* ---- 6. fresh ---- */

static void plan_fresh(struct range_plan *plan)
{
    if (!plan->fresh)
        return;
    for (size_t i = 0; i < plan->in_sync_count; i++) {
        const struct replica_report *report = watched_report(plan->in_sync[i], plan->range->id);
        if (!present(plan->in_sync[i]) || report == NULL || !report->serving ||
            report->epoch != plan->range->epoch)
            return;
    }
    plan->fresh = false;
    plan->changed = true;
}

/* ---- 7. moves ---- */

void range_plan_move(struct range_plan *plan, struct watched *from, struct watched *to)
{
    plan->leaving[plan->leaving_count++] = from;
    add_learner(plan, to);
}

bool range_plan_may_lead(const struct range_plan *plan, const struct watched *node)
{
    return may_lead(node, plan->range->id);
}

bool range_plan_is_still(const struct range_plan *plan)
{
    if (plan->learner_count > 0 || plan->leaving_count > 0 || plan->fresh)
        return false;
    for (size_t i = 0; i < plan->in_sync_count; i++)
        if (!ready(plan->in_sync[i], plan->range->id))
            return false;
    return true;
}

bool range_plan_is_calm(const struct range_plan *plan)
{
    return plan->reshape == NULL && range_plan_is_still(plan);
}

static void plan_drain(struct range_plan *plan, struct controller *controller)
{
    if (controller->moves >= controller_moves_max(controller) || !range_plan_is_calm(plan) ||
        plan->in_sync_count >= LIMIT_MEMBERS)
        return;
    for (size_t i = 0; i < plan->in_sync_count; i++) {
        struct watched *from = plan->in_sync[i];
        struct watched *to = NULL;
        if (watched_is_draining(from))
            to = range_plan_new_home(plan, controller, from);
        if (to == NULL)
            continue;
        range_plan_move(plan, from, to);
        controller->moves++;
        return;
    }
}

void range_plan_make(struct range_plan *plan, struct controller *controller, uint64_t now_ms)
{
    if (plan_primary(plan))
        return;
    plan_demotions(plan, controller, now_ms);
    plan_promotions(plan);
    if (!plan->changed && ready(plan->primary, plan->range->id)) {
        size_t wanted = replicas_wanted(controller, plan->range);
        plan_more(plan, controller, wanted, now_ms);
        if (!plan->changed)
            plan_fewer(plan, controller, wanted, now_ms);
        if (!plan->changed)
            plan_drain(plan, controller);
    }
    plan_fresh(plan);
}
