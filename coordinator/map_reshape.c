#include "coordinator/map_reshape.h"

#include <string.h>

static struct bytes target_lo(const Quire__ReshapeTarget *target)
{
    return bytes_of(target->lo.data, target->lo.len);
}

static struct bytes target_hi(const Quire__ReshapeTarget *target)
{
    return bytes_of(target->hi.data, target->hi.len);
}

/* But for `sealed`. */
static bool same_reshape(const Quire__Reshape *a, const Quire__Reshape *b)
{
    if (a->n_sources != b->n_sources || a->n_targets != b->n_targets)
        return false;
    for (size_t i = 0; i < a->n_sources; i++)
        if (a->sources[i] != b->sources[i])
            return false;
    for (size_t i = 0; i < a->n_targets; i++)
        if (a->targets[i]->id != b->targets[i]->id ||
            !bytes_equal(target_lo(a->targets[i]), target_lo(b->targets[i])) ||
            !bytes_equal(target_hi(a->targets[i]), target_hi(b->targets[i])))
            return false;
    return true;
}

/* ---- invariants ---- */

static int validate_sources(const Quire__ClusterMap *message, size_t first, struct err *err)
{
    const Quire__Reshape *reshape = message->ranges[first]->reshape;
    for (size_t i = 0; i < reshape->n_sources; i++) {
        const Quire__Range *range =
            first + i < message->n_ranges ? message->ranges[first + i] : NULL;
        if (range == NULL || range->id != reshape->sources[i] ||
            range->collection != message->ranges[first]->collection)
            return err_set(err, ERR_CORRUPT, "a reshape of ranges that are not neighbours");
        if (range->reshape == NULL || !same_reshape(range->reshape, reshape) ||
            range->reshape->sealed != reshape->sealed)
            return err_set(err, ERR_CORRUPT, "range %llu is not told of its reshape",
                           (unsigned long long)range->id);
    }
    return 0;
}

static int validate_targets(const Quire__ClusterMap *message, size_t first, struct err *err)
{
    const Quire__Reshape *reshape = message->ranges[first]->reshape;
    struct bytes at = map_range_lo(message->ranges[first]);
    struct bytes end = map_range_hi(message->ranges[first + reshape->n_sources - 1]);
    for (size_t i = 0; i < reshape->n_targets; i++) {
        const Quire__ReshapeTarget *target = reshape->targets[i];
        bool last = i + 1 == reshape->n_targets;
        if (target->id == 0 || target->id >= message->next_id)
            return err_set(err, ERR_CORRUPT, "a target of a reshape has an impossible id");
        if (!bytes_equal(target_lo(target), at))
            return err_set(err, ERR_CORRUPT, "gap or overlap before target %llu",
                           (unsigned long long)target->id);
        at = target_hi(target);
        if (last ? !bytes_equal(at, end)
                 : at.size == 0 || bytes_compare(at, target_lo(target)) <= 0 ||
                       (end.size > 0 && bytes_compare(at, end) >= 0))
            return err_set(err, ERR_CORRUPT, "target %llu ends in the wrong place",
                           (unsigned long long)target->id);
        for (size_t j = 0; j < message->n_ranges; j++)
            if (message->ranges[j]->id == target->id)
                return err_set(err, ERR_CORRUPT, "target %llu is there already",
                               (unsigned long long)target->id);
    }
    return reshape->n_targets == 2 && reshape->targets[0]->id == reshape->targets[1]->id
               ? err_set(err, ERR_CORRUPT, "two targets have the id %llu",
                         (unsigned long long)reshape->targets[0]->id)
               : 0;
}

int reshape_validate(const Quire__ClusterMap *message, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < message->n_ranges && rc == 0;) {
        const Quire__Reshape *reshape = message->ranges[i]->reshape;
        if (reshape == NULL) {
            i++;
            continue;
        }
        bool splits = reshape->n_sources == 1 && reshape->n_targets == 2;
        bool merges = reshape->n_sources == 2 && reshape->n_targets == 1;
        if (!splits && !merges)
            return err_set(err, ERR_CORRUPT, "a reshape neither splits nor merges");
        rc = validate_sources(message, i, err);
        if (rc == 0)
            rc = validate_targets(message, i, err);
        i += reshape->n_sources;
    }
    return rc;
}

/* ---- changes ---- */

int reshape_check_configured(Quire__ClusterMap *next, const Quire__Range *old,
                             const Quire__Range *range, uint64_t first_new_id, struct err *err)
{
    const Quire__Reshape *reshape = range->reshape;
    unsigned long long id = range->id;
    if (reshape == NULL)
        return 0;
    if (old->reshape != NULL && !same_reshape(old->reshape, reshape))
        return err_set(err, ERR_CONFLICT, "range %llu is being split or merged already", id);
    for (size_t i = 0; i < reshape->n_targets && old->reshape == NULL; i++) {
        uint64_t target = reshape->targets[i]->id;
        if (target < first_new_id)
            return err_set(err, ERR_CONFLICT, "another range had the id %llu",
                           (unsigned long long)target);
        if (target >= next->next_id)
            next->next_id = target + 1;
    }
    return 0;
}

static bool same_members(char *const *a, size_t a_count, const Quire__Range *b)
{
    if (a_count != b->n_in_sync)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!map_range_in_sync(b, a[i]))
            return false;
    return true;
}

/* Where the sources stand, if they are what whoever asks believes. */
static int find_sources(const Quire__ClusterMap *next, const Quire__ReshapeFinish *finish,
                        size_t *first, struct err *err)
{
    const Quire__Reshape *reshape;
    size_t at = 0;
    while (at < next->n_ranges &&
           (finish->n_sources == 0 || next->ranges[at]->id != finish->sources[0]->id))
        at++;
    *first = at;
    if (at == next->n_ranges || (reshape = next->ranges[at]->reshape) == NULL ||
        reshape->n_sources != finish->n_sources || !reshape->sealed)
        return err_set(err, ERR_CONFLICT, "the ranges to be replaced were changed meanwhile");
    for (size_t i = 0; i < finish->n_sources; i++) {
        const Quire__Range *range = next->ranges[at + i];
        if (range->id != finish->sources[i]->id || range->epoch != finish->sources[i]->epoch)
            return err_set(err, ERR_CONFLICT, "range %llu was changed meanwhile",
                           (unsigned long long)finish->sources[i]->id);
        if (!same_members(next->ranges[at]->in_sync, next->ranges[at]->n_in_sync, range))
            return err_set(err, ERR_CONFLICT, "the replicas of range %llu are elsewhere",
                           (unsigned long long)range->id);
    }
    return 0;
}

/* A copy of the first source with the target's place. */
static Quire__Range *make_target(const Quire__ClusterMap *next, size_t first, size_t index,
                                 uint64_t seq, struct arena *scratch)
{
    const Quire__Reshape *reshape = next->ranges[first]->reshape;
    const Quire__ReshapeTarget *target = reshape->targets[index];
    Quire__Range *range = arena_copy(scratch, next->ranges[first], sizeof *range);
    range->id = target->id;
    range->has_lo = range->has_hi = true;
    range->lo = target->lo;
    range->hi = target->hi;
    range->reshape = NULL;
    range->has_fresh = range->fresh = false;
    for (size_t i = 1; i < reshape->n_sources; i++) {
        const Quire__Range *other = next->ranges[first + i];
        range->epoch = other->epoch > range->epoch ? other->epoch : range->epoch;
        range->recovered =
            other->recovered > range->recovered ? other->recovered : range->recovered;
        range->n_learners = range->n_leaving = 0; /* they would be those of the first only */
    }
    range->has_recovered = range->recovered > 0;
    range->has_origin_epoch = range->has_origin_seq = true;
    range->origin_epoch = range->epoch++;
    range->origin_seq = seq;
    return range;
}

int reshape_finish(Quire__ClusterMap *next, const Quire__ReshapeFinish *finish,
                   struct arena *scratch, struct err *err)
{
    size_t first, kept = 0;
    int rc = find_sources(next, finish, &first, err);
    if (rc != 0)
        return rc;
    const Quire__Reshape *reshape = next->ranges[first]->reshape;
    Quire__Range **all = arena_calloc(scratch, next->n_ranges + reshape->n_targets, sizeof *all);
    for (size_t i = 0; i < first; i++)
        all[kept++] = next->ranges[i];
    for (size_t i = 0; i < reshape->n_targets; i++)
        all[kept++] = make_target(next, first, i, finish->seq, scratch);
    for (size_t i = first + reshape->n_sources; i < next->n_ranges; i++)
        all[kept++] = next->ranges[i];
    next->ranges = all;
    next->n_ranges = kept;
    return 0;
}
