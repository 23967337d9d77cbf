/* A group: all of `required` (MUST and FILTER), none of `excluded`, and without required ones any
 * of `optional`.
 *
 * With required children the candidates are the documents on which all of those stand; the one with
 * the fewest leads, and optional ones are only moved to documents that are to be scored. Without,
 * the candidates are the union of the optional ones, which a binary heap by document gives in
 * order.
 */
#include "shard/search_iter.h"

struct group {
    struct iter iter;
    struct iter **required; /* fewest candidates first */
    bool *counts;           /* MUST, not FILTER; by index of required */
    struct iter **optional; /* without required: a heap, the lowest document at 0 */
    struct iter **excluded;
    uint32_t required_count, optional_count, excluded_count;
};

/* ---- union ---- */

static void sift_down(struct iter **heap, uint32_t count, uint32_t at)
{
    struct iter *moved = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1]->doc < heap[child]->doc)
            child++;
        if (heap[child]->doc >= moved->doc)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void union_advance(struct iter *it, uint32_t target)
{
    struct group *group = (struct group *)it;
    struct iter **heap = group->optional;
    while (heap[0]->doc < target) {
        heap[0]->ops->advance(heap[0], target);
        sift_down(heap, group->optional_count, 0);
    }
    it->doc = heap[0]->doc;
}

/* Those that stand on the lowest document are a connected part of the heap around its root. */
static uint64_t union_visit(struct group *group, uint32_t at, bool score, bool *any)
{
    if (at >= group->optional_count || group->optional[at]->doc != group->iter.doc)
        return 0;
    struct iter *child = group->optional[at];
    uint64_t sum = 0;
    if (iter_matches(child)) {
        *any = true;
        if (!score)
            return 0;
        sum = iter_score(child);
    }
    sum += union_visit(group, 2 * at + 1, score, any);
    if (*any && !score)
        return 0;
    return sum + union_visit(group, 2 * at + 2, score, any);
}

/* ---- conjunction ---- */

static void conjunction_advance(struct iter *it, uint32_t target)
{
    struct group *group = (struct group *)it;
    uint32_t doc = iter_seek(group->required[0], target);
    for (uint32_t i = 1; doc != POSTING_END && i < group->required_count;) {
        uint32_t at = iter_seek(group->required[i], doc);
        if (at == doc) {
            i++;
        } else {
            doc = at == POSTING_END ? at : iter_seek(group->required[0], at);
            i = 1;
        }
    }
    it->doc = doc;
}

/* ---- both ---- */

static bool group_matches(struct iter *it)
{
    struct group *group = (struct group *)it;
    for (uint32_t i = 0; i < group->required_count; i++)
        if (!iter_matches(group->required[i]))
            return false;
    if (group->required_count == 0) {
        bool any = false;
        union_visit(group, 0, false, &any);
        if (!any)
            return false;
    }
    for (uint32_t i = 0; i < group->excluded_count; i++)
        if (iter_seek(group->excluded[i], it->doc) == it->doc && iter_matches(group->excluded[i]))
            return false;
    return true;
}

static uint64_t group_score(struct iter *it)
{
    struct group *group = (struct group *)it;
    bool any = false;
    if (group->required_count == 0)
        return union_visit(group, 0, true, &any);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < group->required_count; i++)
        if (group->counts[i])
            sum += iter_score(group->required[i]);
    for (uint32_t i = 0; i < group->optional_count; i++) {
        struct iter *child = group->optional[i];
        if (iter_seek(child, it->doc) == it->doc && iter_matches(child))
            sum += iter_score(child);
    }
    return sum;
}

static const struct iter_ops union_ops = {
    .advance = union_advance, .matches = group_matches, .score = group_score};
static const struct iter_ops conjunction_ops = {
    .advance = conjunction_advance, .matches = group_matches, .score = group_score};

/* ---- building ---- */

static void sort_required(struct group *group)
{
    for (uint32_t i = 1; i < group->required_count; i++) {
        struct iter *it = group->required[i];
        bool counts = group->counts[i];
        uint32_t k = i;
        for (; k > 0 && group->required[k - 1]->cost > it->cost; k--) {
            group->required[k] = group->required[k - 1];
            group->counts[k] = group->counts[k - 1];
        }
        group->required[k] = it;
        group->counts[k] = counts;
    }
}

static void add_children(struct group *group, const struct plan_node *node)
{
    const struct search_plan *plan = group->iter.context->plan;
    for (uint32_t i = 0; i < node->count; i++) {
        uint32_t index = plan->children[node->first + i];
        struct iter *child = group->iter.context->iters[index];
        switch (plan->nodes[index].occur) {
        case QUIRE__QUERY_NODE__OCCUR__MUST:
        case QUIRE__QUERY_NODE__OCCUR__FILTER:
            group->counts[group->required_count] =
                plan->nodes[index].occur == QUIRE__QUERY_NODE__OCCUR__MUST;
            group->required[group->required_count++] = child;
            break;
        case QUIRE__QUERY_NODE__OCCUR__MUST_NOT:
            group->excluded[group->excluded_count++] = child;
            break;
        default:
            group->optional[group->optional_count++] = child;
        }
    }
}

/* Checking an exclusion, or a child that has to be checked, is what the second phase is for. */
static bool needs_matches(const struct group *group)
{
    if (group->excluded_count > 0)
        return true;
    for (uint32_t i = 0; i < group->required_count; i++)
        if (group->required[i]->two_phase)
            return true;
    for (uint32_t i = 0; group->required_count == 0 && i < group->optional_count; i++)
        if (group->optional[i]->two_phase)
            return true;
    return false;
}

static struct iter *start_union(struct group *group)
{
    struct iter *it = &group->iter;
    it->ops = &union_ops;
    for (uint32_t i = 0; i < group->optional_count; i++)
        it->cost += group->optional[i]->cost;
    for (uint32_t i = group->optional_count / 2; i-- > 0;)
        sift_down(group->optional, group->optional_count, i);
    it->doc = group->optional[0]->doc;
    return it;
}

struct iter *iter_bool(struct search_context *context, const struct plan_node *node)
{
    struct group *group = search_alloc(context, 1, sizeof *group);
    struct iter **children = search_alloc(context, 3 * (size_t)node->count, sizeof *children);
    bool *counts = search_alloc(context, node->count, sizeof *counts);
    if (!group || !children || !counts)
        return NULL;
    group->iter.context = context;
    group->iter.asked = POSTING_END;
    group->required = children;
    group->optional = children + node->count;
    group->excluded = children + 2 * (size_t)node->count;
    group->counts = counts;
    add_children(group, node);
    if (group->required_count + group->optional_count == 0)
        return iter_none(context); /* a group that only excludes finds nothing */
    group->iter.two_phase = needs_matches(group);
    if (group->required_count == 0)
        return start_union(group);
    sort_required(group);
    group->iter.ops = &conjunction_ops;
    group->iter.cost = group->required[0]->cost;
    conjunction_advance(&group->iter, 0);
    return &group->iter;
}
