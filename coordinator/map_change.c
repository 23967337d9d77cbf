/* Changes of the cluster map.
 *
 * `next` starts as a shallow copy of the current message; each change below swaps in arrays of its
 * own from a scratch arena. In the end `next` is packed and unpacked into the new map, which
 * thereby owns all it holds. */
#include "coordinator/map.h"
#include "coordinator/map_reshape.h"
#include "proto/limits.h"

#include <stdlib.h>
#include <string.h>

/* With room for one more. */
static Quire__Node **copy_nodes(const Quire__ClusterMap *next, struct arena *scratch)
{
    Quire__Node **nodes = arena_calloc(scratch, next->n_nodes + 1, sizeof *nodes);
    if (next->n_nodes > 0)
        memcpy(nodes, next->nodes, next->n_nodes * sizeof *nodes);
    return nodes;
}

static int put_node(Quire__ClusterMap *next, Quire__Node *node, struct arena *scratch,
                    struct err *err)
{
    size_t at = 0;
    while (at < next->n_nodes && strcmp(next->nodes[at]->id, node->id) != 0)
        at++;
    if (at < next->n_nodes && node->incarnation < next->nodes[at]->incarnation)
        return err_set(err, ERR_CONFLICT, "node %s was started again meanwhile", node->id);
    if (at >= LIMIT_NODES)
        return err_set(err, ERR_FULL, "a cluster has at most %d nodes", LIMIT_NODES);
    Quire__Node *put = arena_copy(scratch, node, sizeof *node);
    put->has_draining = at < next->n_nodes && next->nodes[at]->has_draining;
    put->draining = put->has_draining && next->nodes[at]->draining;
    Quire__Node **nodes = copy_nodes(next, scratch);
    if (at == next->n_nodes)
        next->n_nodes++;
    nodes[at] = put;
    next->nodes = nodes;
    return 0;
}

static int set_node(Quire__ClusterMap *next, const Quire__NodeSetting *setting,
                    struct arena *scratch, struct err *err)
{
    size_t at = 0;
    while (at < next->n_nodes && strcmp(next->nodes[at]->id, setting->id) != 0)
        at++;
    if (at == next->n_nodes)
        return err_set(err, ERR_NOT_FOUND, "there is no node %s", setting->id);
    Quire__Node *set = arena_copy(scratch, next->nodes[at], sizeof *set);
    set->has_draining = set->draining = setting->draining;
    next->nodes = copy_nodes(next, scratch);
    next->nodes[at] = set;
    return 0;
}

static int drop_node(Quire__ClusterMap *next, const char *id, struct arena *scratch,
                     struct err *err)
{
    for (size_t i = 0; i < next->n_ranges; i++)
        if (map_range_on(next->ranges[i], id))
            return err_set(err, ERR_CONFLICT, "node %s has replicas still", id);
    Quire__Node **nodes = arena_calloc(scratch, next->n_nodes + 1, sizeof *nodes);
    size_t kept = 0;
    for (size_t i = 0; i < next->n_nodes; i++)
        if (strcmp(next->nodes[i]->id, id) != 0)
            nodes[kept++] = next->nodes[i];
    if (kept == next->n_nodes)
        return err_set(err, ERR_NOT_FOUND, "there is no node %s", id);
    next->nodes = nodes;
    next->n_nodes = kept;
    return 0;
}

static int put_collection(Quire__ClusterMap *next, Quire__Collection *collection,
                          struct arena *scratch, struct err *err)
{
    size_t at = 0;
    while (at < next->n_collections && next->collections[at]->id != collection->id)
        at++;
    for (size_t i = 0; i < next->n_collections; i++)
        if (i != at && strcmp(next->collections[i]->name, collection->name) == 0)
            return err_set(err, ERR_EXISTS, "collection %s exists already", collection->name);
    if (at >= LIMIT_COLLECTIONS)
        return err_set(err, ERR_FULL, "a cluster has at most %d collections", LIMIT_COLLECTIONS);
    Quire__Collection **all = arena_calloc(scratch, next->n_collections + 1, sizeof *all);
    if (next->n_collections > 0)
        memcpy(all, next->collections, next->n_collections * sizeof *all);
    if (at == next->n_collections) {
        if (collection->id < next->next_id)
            return err_set(err, ERR_CONFLICT, "another collection had the id %llu",
                           (unsigned long long)collection->id);
        next->n_collections++;
    }
    all[at] = collection;
    next->collections = all;
    if (collection->id >= next->next_id)
        next->next_id = collection->id + 1;
    return 0;
}

/* ---- ranges ---- */

static int compare_ranges(const void *a, const void *b)
{
    return map_range_order(*(Quire__Range *const *)a, *(Quire__Range *const *)b);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = (*(Quire__Range * *const *)a)[0]->id;
    uint64_t y = (*(Quire__Range * *const *)b)[0]->id;
    return (x > y) - (x < y);
}

/* Finds places in an array of ranges by the ids in them. */
struct by_id {
    Quire__Range ***places;
    size_t count;
};

static struct by_id by_id_of(Quire__Range **ranges, size_t count, struct arena *scratch)
{
    struct by_id index = {arena_calloc(scratch, count + 1, sizeof *index.places), count};
    for (size_t i = 0; i < count; i++)
        index.places[i] = &ranges[i];
    qsort(index.places, count, sizeof *index.places, compare_ids);
    return index;
}

static Quire__Range **by_id_find(const struct by_id *index, uint64_t id)
{
    size_t low = 0;
    size_t high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((*index->places[middle])->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < index->count && (*index->places[low])->id == id ? index->places[low] : NULL;
}

static int overtaken(struct err *err, uint64_t range)
{
    return err_set(err, ERR_CONFLICT, "range %llu was changed meanwhile",
                   (unsigned long long)range);
}

/* Whether the collection still has exactly the ranges that whoever made the change saw. */
static int check_replaced(const Quire__RangeSet *set, Quire__Range **old, size_t count,
                          struct arena *scratch, struct err *err)
{
    if (set->n_replaced != count)
        return err_set(err, ERR_CONFLICT, "the ranges of the collection were changed meanwhile");
    struct by_id index = by_id_of(old, count, scratch);
    for (size_t i = 0; i < count; i++) {
        Quire__Range **found = by_id_find(&index, set->replaced[i]->id);
        if (found == NULL || (*found)->epoch != set->replaced[i]->epoch)
            return overtaken(err, set->replaced[i]->id);
    }
    return 0;
}

/* All ranges of the collection go; those of the set (maybe none) come. */
static int put_ranges(Quire__ClusterMap *next, const Quire__RangeSet *set, uint64_t first_new_id,
                      struct arena *scratch, struct err *err)
{
    size_t count = set->n_ranges;
    if (count > LIMIT_RANGES_PER_COLLECTION)
        return err_set(err, ERR_FULL, "a collection has at most %d ranges",
                       LIMIT_RANGES_PER_COLLECTION);
    Quire__Range **all = arena_calloc(scratch, next->n_ranges + count + 1, sizeof *all);
    size_t kept = 0;
    for (size_t i = 0; i < next->n_ranges; i++)
        if (next->ranges[i]->collection != set->collection)
            all[kept++] = next->ranges[i];
    for (size_t i = 0; i < count; i++) {
        Quire__Range *range = set->ranges[i];
        if (range->collection != set->collection)
            return err_set(err, ERR_INVALID, "a range of another collection in a range set");
        if (range->id < first_new_id)
            return err_set(err, ERR_CONFLICT, "another range had the id %llu",
                           (unsigned long long)range->id);
        if (range->id >= next->next_id)
            next->next_id = range->id + 1;
        all[kept++] = range;
    }
    qsort(all, kept, sizeof *all, compare_ranges);
    next->ranges = all;
    next->n_ranges = kept;
    return 0;
}

static int replace_ranges(Quire__ClusterMap *next, const Quire__RangeSet *set,
                          uint64_t first_new_id, struct arena *scratch, struct err *err)
{
    size_t first = 0;
    while (first < next->n_ranges && next->ranges[first]->collection != set->collection)
        first++;
    size_t end = first;
    while (end < next->n_ranges && next->ranges[end]->collection == set->collection)
        end++;
    int rc = check_replaced(set, next->ranges + first, end - first, scratch, err);
    return rc != 0 ? rc : put_ranges(next, set, first_new_id, scratch, err);
}

static int check_configured(Quire__ClusterMap *next, const Quire__Range *old,
                            const Quire__Range *range, uint64_t first_new_id, struct err *err)
{
    if (old == NULL || range->epoch != old->epoch + 1)
        return overtaken(err, range->id);
    if (range->collection != old->collection ||
        !bytes_equal(map_range_lo(range), map_range_lo(old)) ||
        !bytes_equal(map_range_hi(range), map_range_hi(old)))
        return err_set(err, ERR_INVALID, "range %llu cannot have another place in the key space",
                       (unsigned long long)range->id);
    return reshape_check_configured(next, old, range, first_new_id, err);
}

static int configure_ranges(Quire__ClusterMap *next, const Quire__RangeSet *set,
                            uint64_t first_new_id, struct arena *scratch, struct err *err)
{
    Quire__Range **all = arena_calloc(scratch, next->n_ranges + 1, sizeof *all);
    if (next->n_ranges > 0)
        memcpy(all, next->ranges, next->n_ranges * sizeof *all);
    struct by_id index = by_id_of(all, next->n_ranges, scratch);
    for (size_t i = 0; i < set->n_ranges; i++) {
        Quire__Range **found = by_id_find(&index, set->ranges[i]->id);
        int rc = check_configured(next, found == NULL ? NULL : *found, set->ranges[i], first_new_id,
                                  err);
        if (rc != 0)
            return rc;
        *found = set->ranges[i];
    }
    struct by_id given = by_id_of(set->ranges, set->n_ranges, scratch);
    for (size_t i = 1; i < given.count; i++)
        if ((*given.places[i])->id == (*given.places[i - 1])->id)
            return err_set(err, ERR_INVALID, "range %llu is configured twice in one change",
                           (unsigned long long)(*given.places[i])->id);
    next->ranges = all;
    return 0;
}

static int drop_collection(Quire__ClusterMap *next, uint64_t id, struct arena *scratch,
                           struct err *err)
{
    Quire__Collection **all = arena_calloc(scratch, next->n_collections + 1, sizeof *all);
    size_t kept = 0;
    for (size_t i = 0; i < next->n_collections; i++)
        if (next->collections[i]->id != id)
            all[kept++] = next->collections[i];
    if (kept == next->n_collections)
        return err_set(err, ERR_NOT_FOUND, "there is no collection %llu", (unsigned long long)id);
    next->collections = all;
    next->n_collections = kept;
    Quire__RangeSet none = QUIRE__RANGE_SET__INIT;
    none.collection = id;
    return put_ranges(next, &none, 0, scratch, err);
}

/* ---- coordinators ---- */

static int compare_coordinators(const void *a, const void *b)
{
    return strcmp((*(Quire__Coordinator *const *)a)->id, (*(Quire__Coordinator *const *)b)->id);
}

/* All but `id`, with room for one more. */
static Quire__Coordinator **coordinators_without(const Quire__ClusterMap *map, const char *id,
                                                 size_t *kept, struct arena *scratch)
{
    Quire__Coordinator **all = arena_calloc(scratch, map->n_coordinators + 1, sizeof *all);
    *kept = 0;
    for (size_t i = 0; i < map->n_coordinators; i++)
        if (strcmp(map->coordinators[i]->id, id) != 0)
            all[(*kept)++] = map->coordinators[i];
    return all;
}

static int put_coordinator(Quire__ClusterMap *next, Quire__Coordinator *coordinator,
                           struct arena *scratch, struct err *err)
{
    size_t kept;
    Quire__Coordinator **all = coordinators_without(next, coordinator->id, &kept, scratch);
    if (map_coordinator_removed(next, coordinator->id))
        return err_set(err, ERR_CONFLICT, "coordinator %s was removed from its cluster",
                       coordinator->id);
    if (kept >= LIMIT_COORDINATORS)
        return err_set(err, ERR_FULL, "a cluster has at most %d coordinators", LIMIT_COORDINATORS);
    all[kept++] = coordinator;
    qsort(all, kept, sizeof *all, compare_coordinators);
    next->coordinators = all;
    next->n_coordinators = kept;
    return 0;
}

/* A request to join that was long under way must not bring back who was removed meanwhile. */
static void remember_removed(Quire__ClusterMap *next, const char *id, struct arena *scratch)
{
    size_t forgotten = next->n_removed_coordinators == LIMIT_REMOVED_COORDINATORS ? 1 : 0;
    size_t kept = next->n_removed_coordinators - forgotten;
    char **all = arena_calloc(scratch, kept + 1, sizeof *all);
    if (kept > 0)
        memcpy(all, next->removed_coordinators + forgotten, kept * sizeof *all);
    all[kept] = arena_strdup(scratch, id);
    next->removed_coordinators = all;
    next->n_removed_coordinators = kept + 1;
}

static int drop_coordinator(Quire__ClusterMap *next, const char *id, struct arena *scratch,
                            struct err *err)
{
    size_t kept;
    Quire__Coordinator **all = coordinators_without(next, id, &kept, scratch);
    if (kept == next->n_coordinators)
        return err_set(err, ERR_NOT_FOUND, "there is no coordinator %s", id);
    next->coordinators = all;
    next->n_coordinators = kept;
    remember_removed(next, id, scratch);
    return 0;
}

/* ---- all together ---- */

static bool changes_nothing(const Quire__MapChange *change)
{
    return change->node_put == NULL && change->collection_put == NULL &&
           !change->has_collection_drop && change->ranges_replace == NULL &&
           (change->ranges_configure == NULL || change->ranges_configure->n_ranges == 0) &&
           change->coordinator_put == NULL && change->coordinator_drop == NULL &&
           change->node_drop == NULL && change->node_set == NULL && !change->has_placement_set &&
           change->reshape_finish == NULL;
}

static int change_ranges(Quire__ClusterMap *next, const Quire__MapChange *change,
                         struct arena *scratch, struct err *err)
{
    int rc = 0;
    uint64_t next_id = next->next_id;
    if (change->collection_put != NULL)
        rc = put_collection(next, change->collection_put, scratch, err);
    if (rc == 0 && change->has_collection_drop)
        rc = drop_collection(next, change->collection_drop, scratch, err);
    if (rc == 0 && change->ranges_replace != NULL)
        rc = replace_ranges(next, change->ranges_replace, next_id, scratch, err);
    if (rc == 0 && change->ranges_configure != NULL)
        rc = configure_ranges(next, change->ranges_configure, next_id, scratch, err);
    if (rc == 0 && change->reshape_finish != NULL)
        rc = reshape_finish(next, change->reshape_finish, scratch, err);
    return rc;
}

static int change_message(Quire__ClusterMap *next, const Quire__MapChange *change,
                          struct arena *scratch, struct err *err)
{
    if (change->bootstrap != NULL) {
        if (next->epoch != 0)
            return err_set(err, ERR_EXISTS, "the cluster exists already");
        *next = *change->bootstrap;
        next->epoch = 0;
        return 0;
    }
    if (next->epoch == 0)
        return err_set(err, ERR_INVALID, "the cluster does not exist yet");
    if (changes_nothing(change))
        return err_set(err, ERR_INVALID, "a change of the map that changes nothing");
    int rc = 0;
    if (change->node_put != NULL)
        rc = put_node(next, change->node_put, scratch, err);
    if (rc == 0)
        rc = change_ranges(next, change, scratch, err);
    if (rc == 0 && change->coordinator_put != NULL)
        rc = put_coordinator(next, change->coordinator_put, scratch, err);
    if (rc == 0 && change->coordinator_drop != NULL)
        rc = drop_coordinator(next, change->coordinator_drop, scratch, err);
    if (rc == 0 && change->node_drop != NULL)
        rc = drop_node(next, change->node_drop, scratch, err);
    if (rc == 0 && change->node_set != NULL)
        rc = set_node(next, change->node_set, scratch, err);
    if (change->has_placement_set) {
        next->has_placement = true;
        next->placement = change->placement_set;
    }
    return rc;
}

int map_apply(const struct map *map, const Quire__MapChange *change, struct map **out,
              struct err *err)
{
    *out = NULL;
    struct arena scratch;
    struct buf packed;
    arena_init(&scratch, 0);
    buf_init(&packed);
    Quire__ClusterMap next = *map->message;
    int rc = change_message(&next, change, &scratch, err);
    if (rc != 0)
        goto done;
    next.epoch = map->message->epoch + 1;
    size_t size = quire__cluster_map__get_packed_size(&next);
    quire__cluster_map__pack(&next, buf_extend(&packed, size));
    struct err why = {0};
    rc = map_unpack(buf_bytes(&packed), out, &why);
    if (rc != 0)
        err_set(err, rc = rc == ERR_CORRUPT ? ERR_INVALID : rc, "%s", why.text);
done:
    buf_deinit(&packed);
    arena_deinit(&scratch);
    return rc;
}
