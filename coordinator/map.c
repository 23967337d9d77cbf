#include "coordinator/map.h"

#include "coordinator/map_reshape.h"
#include "coordinator/wire.h"
#include "proto/limits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

static struct map *map_alloc(void)
{
    struct map *map = calloc(1, sizeof *map);
    if (map == NULL)
        abort(); /* a map is small; nothing can go on without it */
    map->references = 1;
    arena_init(&map->arena, 0);
    return map;
}

struct map *map_create_empty(void)
{
    struct map *map = map_alloc();
    Quire__ClusterMap *message = arena_calloc(&map->arena, 1, sizeof *message);
    quire__cluster_map__init(message);
    message->cluster_id = arena_strdup(&map->arena, "");
    message->next_id = 1;
    map->message = message;
    return map;
}

struct map *map_ref(struct map *map)
{
    map->references++;
    return map;
}

void map_unref(struct map *map)
{
    if (map == NULL)
        return;
    assert(map->references > 0);
    if (--map->references > 0)
        return;
    arena_deinit(&map->arena);
    free(map);
}

void map_pack(const struct map *map, struct buf *out)
{
    size_t size = quire__cluster_map__get_packed_size(map->message);
    quire__cluster_map__pack(map->message, buf_extend(out, size));
}

int map_unpack(struct bytes packed, struct map **out, struct err *err)
{
    *out = NULL;
    struct err why = {0};
    if (message_check(&quire__cluster_map__descriptor, packed, NULL, &why) != 0)
        return err_set(err, ERR_CORRUPT, "the cluster map does not parse: %s", why.text);
    struct map *map = map_alloc();
    map->message =
        quire__cluster_map__unpack(arena_protobuf(&map->arena), packed.size, packed.data);
    if (map->message == NULL) {
        map_unref(map);
        return err_set(err, ERR_CORRUPT, "the cluster map does not parse (%zu bytes)", packed.size);
    }
    /* The map before the bootstrap has nothing that could be checked. */
    if (map->message->epoch > 0) {
        int rc = map_validate(map->message, err);
        if (rc != 0) {
            map_unref(map);
            return rc;
        }
    }
    for (size_t i = 0; i < map->message->n_ranges; i++)
        map->reshapes |= map->message->ranges[i]->reshape != NULL;
    *out = map;
    return 0;
}

/* ---- look-ups ---- */

bool map_collection_name_valid(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > LIMIT_COLLECTION_NAME)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!alnum && (i == 0 || (c != '_' && c != '-')))
            return false;
    }
    return true;
}

const Quire__Collection *map_collection(const struct map *map, const char *name)
{
    for (size_t i = 0; i < map->message->n_collections; i++)
        if (strcmp(map->message->collections[i]->name, name) == 0)
            return map->message->collections[i];
    return NULL;
}

const Quire__Collection *map_collection_by_id(const struct map *map, uint64_t id)
{
    for (size_t i = 0; i < map->message->n_collections; i++)
        if (map->message->collections[i]->id == id)
            return map->message->collections[i];
    return NULL;
}

const Quire__Node *map_node(const struct map *map, const char *id)
{
    for (size_t i = 0; i < map->message->n_nodes; i++)
        if (strcmp(map->message->nodes[i]->id, id) == 0)
            return map->message->nodes[i];
    return NULL;
}

const Quire__Range *map_range(const struct map *map, uint64_t id)
{
    for (size_t i = 0; i < map->message->n_ranges; i++)
        if (map->message->ranges[i]->id == id)
            return map->message->ranges[i];
    return NULL;
}

bool map_range_may_come(const struct map *map, uint64_t id)
{
    if (id >= map->message->next_id)
        return true;
    for (size_t i = 0; map->reshapes && i < map->message->n_ranges; i++) {
        const Quire__Reshape *reshape = map->message->ranges[i]->reshape;
        for (size_t j = 0; reshape != NULL && j < reshape->n_targets; j++)
            if (reshape->targets[j]->id == id)
                return true;
    }
    return false;
}

bool map_range_in_sync(const Quire__Range *range, const char *node)
{
    for (size_t i = 0; i < range->n_in_sync; i++)
        if (strcmp(range->in_sync[i], node) == 0)
            return true;
    return false;
}

bool map_range_learns(const Quire__Range *range, const char *node)
{
    for (size_t i = 0; i < range->n_learners; i++)
        if (strcmp(range->learners[i], node) == 0)
            return true;
    return false;
}

bool map_range_leaves(const Quire__Range *range, const char *node)
{
    for (size_t i = 0; i < range->n_leaving; i++)
        if (strcmp(range->leaving[i], node) == 0)
            return true;
    return false;
}

/* The first range at or after `from` for which `collection` is not below. */
static size_t first_of_collection(const struct map *map, uint64_t collection)
{
    size_t low = 0;
    size_t high = map->message->n_ranges;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->message->ranges[middle]->collection < collection)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct map_ranges map_ranges(const struct map *map, uint64_t collection)
{
    size_t first = first_of_collection(map, collection);
    size_t end = first_of_collection(map, collection + 1);
    if (first == end)
        return (struct map_ranges){NULL, 0};
    return (struct map_ranges){map->message->ranges + first, end - first};
}

/* The last of `ranges` that begins at or before `key`; there is one, since the first begins at "".
 */
static size_t index_of_key(struct map_ranges ranges, struct bytes key)
{
    size_t low = 0;
    size_t high = ranges.count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(map_range_lo(ranges.items[middle]), key) <= 0)
            low = middle;
        else
            high = middle;
    }
    return low;
}

const Quire__Range *map_range_of(const struct map *map, uint64_t collection, struct bytes key)
{
    struct map_ranges ranges = map_ranges(map, collection);
    return ranges.count == 0 ? NULL : ranges.items[index_of_key(ranges, key)];
}

struct map_ranges map_ranges_between(const struct map *map, uint64_t collection, struct bytes lo,
                                     struct bytes hi)
{
    struct map_ranges ranges = map_ranges(map, collection);
    if (ranges.count == 0)
        return ranges;
    size_t first = index_of_key(ranges, lo);
    size_t end = first + 1;
    while (end < ranges.count &&
           (hi.size == 0 || bytes_compare(map_range_lo(ranges.items[end]), hi) < 0))
        end++;
    return (struct map_ranges){ranges.items + first, end - first};
}

/* ---- invariants ---- */

int map_range_order(const Quire__Range *a, const Quire__Range *b)
{
    if (a->collection != b->collection)
        return a->collection < b->collection ? -1 : 1;
    return bytes_compare(map_range_lo(a), map_range_lo(b));
}

static int validate_collections(const Quire__ClusterMap *message, struct err *err)
{
    for (size_t i = 0; i < message->n_collections; i++) {
        const Quire__Collection *one = message->collections[i];
        if (!map_collection_name_valid(one->name))
            return err_set(err, ERR_CORRUPT, "a collection has an invalid name");
        if (!one->has_id || one->id == 0 || one->id >= message->next_id)
            return err_set(err, ERR_CORRUPT, "collection %s has an impossible id", one->name);
        if (one->has_replicas && (one->replicas == 0 || one->replicas > LIMIT_REPLICAS))
            return err_set(err, ERR_CORRUPT, "collection %s has not 1 to %d replicas", one->name,
                           LIMIT_REPLICAS);
        for (size_t j = 0; j < i; j++) {
            if (message->collections[j]->id == one->id)
                return err_set(err, ERR_CORRUPT, "two collections have the id %llu",
                               (unsigned long long)one->id);
            if (strcmp(message->collections[j]->name, one->name) == 0)
                return err_set(err, ERR_CORRUPT, "two collections are named %s", one->name);
        }
    }
    return 0;
}

bool map_coordinator_removed(const Quire__ClusterMap *message, const char *id)
{
    for (size_t i = 0; i < message->n_removed_coordinators; i++)
        if (strcmp(message->removed_coordinators[i], id) == 0)
            return true;
    return false;
}

static int validate_coordinators(const Quire__ClusterMap *message, struct err *err)
{
    if (message->n_coordinators > LIMIT_COORDINATORS)
        return err_set(err, ERR_CORRUPT, "a cluster has at most %d coordinators",
                       LIMIT_COORDINATORS);
    for (size_t i = 0; i < message->n_coordinators; i++) {
        const Quire__Coordinator *one = message->coordinators[i];
        if (one->id[0] == '\0' || one->address[0] == '\0' || one->raft_address[0] == '\0' ||
            one->raft_id == 0)
            return err_set(err, ERR_CORRUPT, "a coordinator lacks its id or an address");
        for (size_t j = 0; j < i; j++) {
            if (message->coordinators[j]->raft_id == one->raft_id)
                return err_set(err, ERR_CORRUPT, "two coordinators have the raft id %llu",
                               (unsigned long long)one->raft_id);
            if (strcmp(message->coordinators[j]->id, one->id) == 0)
                return err_set(err, ERR_CORRUPT, "two coordinators have the id %s", one->id);
        }
        if (map_coordinator_removed(message, one->id))
            return err_set(err, ERR_CORRUPT, "coordinator %s was removed and takes part", one->id);
    }
    if (message->n_removed_coordinators > LIMIT_REMOVED_COORDINATORS)
        return err_set(err, ERR_CORRUPT, "a map remembers at most %d removed coordinators",
                       LIMIT_REMOVED_COORDINATORS);
    return 0;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* `ids`: room for the ids of all nodes, which are left there in order. */
static int validate_nodes(const Quire__ClusterMap *message, const char **ids, struct err *err)
{
    for (size_t i = 0; i < message->n_nodes; i++) {
        if (message->nodes[i]->id[0] == '\0' || message->nodes[i]->address[0] == '\0')
            return err_set(err, ERR_CORRUPT, "a node has no id or no address");
        ids[i] = message->nodes[i]->id;
    }
    qsort(ids, message->n_nodes, sizeof *ids, compare_texts);
    for (size_t i = 1; i < message->n_nodes; i++)
        if (strcmp(ids[i - 1], ids[i]) == 0)
            return err_set(err, ERR_CORRUPT, "two nodes have the id %s", ids[i]);
    return 0;
}

static bool named_before(const Quire__Range *range, size_t end, const char *id)
{
    for (size_t i = 0; i < end; i++)
        if (strcmp(map_range_member(range, i), id) == 0)
            return true;
    return false;
}

static int validate_leaving(const Quire__Range *range, struct err *err)
{
    unsigned long long id = range->id;
    for (size_t i = 0; i < range->n_leaving; i++) {
        if (!map_range_on(range, range->leaving[i]))
            return err_set(err, ERR_CORRUPT, "range %llu moves away from where it is not", id);
        for (size_t j = 0; j < i; j++)
            if (strcmp(range->leaving[i], range->leaving[j]) == 0)
                return err_set(err, ERR_CORRUPT, "range %llu leaves a node twice", id);
    }
    return 0;
}

static int validate_members(const Quire__Range *range, const char **ids, size_t node_count,
                            struct err *err)
{
    unsigned long long id = range->id;
    size_t count = map_range_members(range);
    if (range->epoch == 0)
        return err_set(err, ERR_CORRUPT, "range %llu has no epoch", id);
    if (count > LIMIT_MEMBERS)
        return err_set(err, ERR_CORRUPT, "range %llu has more than %d replicas", id, LIMIT_MEMBERS);
    if (!map_range_in_sync(range, range->primary))
        return err_set(err, ERR_CORRUPT, "the primary of range %llu is not in sync", id);
    for (size_t i = 0; i < count; i++) {
        const char *member = map_range_member(range, i);
        if (bsearch(&member, ids, node_count, sizeof *ids, compare_texts) == NULL)
            return err_set(err, ERR_CORRUPT, "range %llu is on an unknown node", id);
        if (named_before(range, i, member))
            return err_set(err, ERR_CORRUPT, "range %llu is twice on node %s", id, member);
    }
    return validate_leaving(range, err);
}

/* All about nodes. */
static int validate_places(const Quire__ClusterMap *message, struct err *err)
{
    const char **ids = calloc(message->n_nodes + 1, sizeof *ids);
    if (ids == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    int rc = validate_nodes(message, ids, err);
    for (size_t i = 0; i < message->n_ranges && rc == 0; i++)
        rc = validate_members(message->ranges[i], ids, message->n_nodes, err);
    free(ids);
    return rc;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int validate_range_ids(const Quire__ClusterMap *message, struct err *err)
{
    uint64_t *ids = calloc(message->n_ranges + 1, sizeof *ids);
    if (ids == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < message->n_ranges; i++)
        ids[i] = message->ranges[i]->id;
    qsort(ids, message->n_ranges, sizeof *ids, compare_u64);
    int rc = 0;
    for (size_t i = 0; i < message->n_ranges && rc == 0; i++) {
        if (ids[i] == 0 || ids[i] >= message->next_id)
            rc = err_set(err, ERR_CORRUPT, "a range has an impossible id");
        else if (i > 0 && ids[i] == ids[i - 1])
            rc = err_set(err, ERR_CORRUPT, "two ranges have the id %llu",
                         (unsigned long long)ids[i]);
    }
    free(ids);
    return rc;
}

/* Ranges are sorted, so a collection's cover is a matter of neighbours; that every collection has
 * ranges, and every range a collection, is counted. */
static int validate_cover(const Quire__ClusterMap *message, struct err *err)
{
    size_t groups = 0;
    for (size_t i = 0; i < message->n_ranges; i++) {
        const Quire__Range *range = message->ranges[i];
        const Quire__Range *before = i == 0 ? NULL : message->ranges[i - 1];
        const Quire__Range *after = i + 1 == message->n_ranges ? NULL : message->ranges[i + 1];
        unsigned long long id = range->id;
        bool first = before == NULL || before->collection != range->collection;
        bool last = after == NULL || after->collection != range->collection;
        if (before != NULL && map_range_order(before, range) >= 0)
            return err_set(err, ERR_CORRUPT, "range %llu is out of order", id);
        if (first) {
            groups++;
            bool known = false;
            for (size_t j = 0; j < message->n_collections && !known; j++)
                known = message->collections[j]->id == range->collection;
            if (!known)
                return err_set(err, ERR_CORRUPT, "range %llu is of no collection", id);
            if (range->lo.len != 0)
                return err_set(err, ERR_CORRUPT, "nothing holds the keys before range %llu", id);
        } else if (!bytes_equal(map_range_hi(before), map_range_lo(range))) {
            return err_set(err, ERR_CORRUPT, "gap or overlap before range %llu", id);
        }
        if (last != (range->hi.len == 0))
            return err_set(err, ERR_CORRUPT, "range %llu ends in the wrong place", id);
    }
    if (groups != message->n_collections)
        return err_set(err, ERR_CORRUPT, "a collection has no ranges");
    return 0;
}

int map_validate(const Quire__ClusterMap *message, struct err *err)
{
    if (message->epoch == 0 || message->cluster_id[0] == '\0' || message->secret.len != 16)
        return err_set(err, ERR_CORRUPT, "the cluster map lacks its epoch, cluster id or secret");
    int rc = validate_collections(message, err);
    if (rc == 0)
        rc = validate_coordinators(message, err);
    if (rc == 0)
        rc = validate_range_ids(message, err);
    if (rc == 0)
        rc = validate_cover(message, err);
    if (rc == 0)
        rc = reshape_validate(message, err);
    if (rc == 0)
        rc = validate_places(message, err);
    return rc;
}
