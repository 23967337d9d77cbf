#include "coordinator/map.h"

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

static struct map *unpack_unchecked(struct bytes packed)
{
    struct map *map = map_alloc();
    map->message =
        quire__cluster_map__unpack(arena_protobuf(&map->arena), packed.size, packed.data);
    if (map->message == NULL) {
        map_unref(map);
        return NULL;
    }
    return map;
}

int map_unpack(struct bytes packed, struct map **out, struct err *err)
{
    *out = NULL;
    struct err why = {0};
    if (message_check(&quire__cluster_map__descriptor, packed, NULL, &why) != 0)
        return err_set(err, ERR_CORRUPT, "the cluster map does not parse: %s", why.text);
    struct map *map = unpack_unchecked(packed);
    if (map == NULL)
        return err_set(err, ERR_CORRUPT, "the cluster map does not parse (%zu bytes)", packed.size);
    /* The map before the bootstrap has nothing that could be checked. */
    if (map->message->epoch > 0) {
        int rc = map_validate(map->message, err);
        if (rc != 0) {
            map_unref(map);
            return rc;
        }
    }
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

static int range_order(const Quire__Range *a, const Quire__Range *b)
{
    if (a->collection != b->collection)
        return a->collection < b->collection ? -1 : 1;
    return bytes_compare(map_range_lo(a), map_range_lo(b));
}

static bool node_known(const Quire__ClusterMap *message, const char *id)
{
    for (size_t i = 0; i < message->n_nodes; i++)
        if (strcmp(message->nodes[i]->id, id) == 0)
            return true;
    return false;
}

static int validate_collections(const Quire__ClusterMap *message, struct err *err)
{
    for (size_t i = 0; i < message->n_collections; i++) {
        const Quire__Collection *one = message->collections[i];
        if (!map_collection_name_valid(one->name))
            return err_set(err, ERR_CORRUPT, "a collection has an invalid name");
        if (!one->has_id || one->id == 0 || one->id >= message->next_id)
            return err_set(err, ERR_CORRUPT, "collection %s has an impossible id", one->name);
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

static int validate_nodes(const Quire__ClusterMap *message, struct err *err)
{
    for (size_t i = 0; i < message->n_nodes; i++) {
        if (message->nodes[i]->id[0] == '\0' || message->nodes[i]->address[0] == '\0')
            return err_set(err, ERR_CORRUPT, "a node has no id or no address");
        for (size_t j = 0; j < i; j++)
            if (strcmp(message->nodes[j]->id, message->nodes[i]->id) == 0)
                return err_set(err, ERR_CORRUPT, "two nodes have the id %s", message->nodes[i]->id);
    }
    return 0;
}

static int validate_replicas(const Quire__ClusterMap *message, const Quire__Range *range,
                             struct err *err)
{
    unsigned long long id = range->id;
    bool primary_in_sync = false;
    for (size_t i = 0; i < range->n_in_sync; i++) {
        if (!node_known(message, range->in_sync[i]))
            return err_set(err, ERR_CORRUPT, "range %llu is on an unknown node", id);
        if (strcmp(range->in_sync[i], range->primary) == 0)
            primary_in_sync = true;
    }
    if (!primary_in_sync)
        return err_set(err, ERR_CORRUPT, "the primary of range %llu is not in sync", id);
    for (size_t i = 0; i < range->n_learners; i++)
        if (!node_known(message, range->learners[i]))
            return err_set(err, ERR_CORRUPT, "range %llu has an unknown learner", id);
    return 0;
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
        if (before != NULL && range_order(before, range) >= 0)
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
        int rc = validate_replicas(message, range, err);
        if (rc != 0)
            return rc;
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
        rc = validate_nodes(message, err);
    if (rc == 0)
        rc = validate_range_ids(message, err);
    if (rc == 0)
        rc = validate_cover(message, err);
    return rc;
}

/* ---- changes ----
 *
 * `next` starts as a shallow copy of the current message; each change below swaps in arrays of its
 * own from a scratch arena. In the end `next` is packed and unpacked into the new map, which
 * thereby owns all it holds. */

static int put_node(Quire__ClusterMap *next, Quire__Node *node, struct arena *scratch,
                    struct err *err)
{
    size_t at = 0;
    while (at < next->n_nodes && strcmp(next->nodes[at]->id, node->id) != 0)
        at++;
    if (at >= LIMIT_NODES)
        return err_set(err, ERR_FULL, "a cluster has at most %d nodes", LIMIT_NODES);
    Quire__Node **nodes = arena_calloc(scratch, next->n_nodes + 1, sizeof *nodes);
    if (next->n_nodes > 0)
        memcpy(nodes, next->nodes, next->n_nodes * sizeof *nodes);
    if (at == next->n_nodes)
        next->n_nodes++;
    nodes[at] = node;
    next->nodes = nodes;
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
    if (at == next->n_collections)
        next->n_collections++;
    all[at] = collection;
    next->collections = all;
    if (collection->id >= next->next_id)
        next->next_id = collection->id + 1;
    return 0;
}

static int compare_ranges(const void *a, const void *b)
{
    return range_order(*(Quire__Range *const *)a, *(Quire__Range *const *)b);
}

/* All ranges of the collection go; `count` new ones (maybe none) come. */
static int replace_ranges(Quire__ClusterMap *next, uint64_t collection, Quire__Range **ranges,
                          size_t count, struct arena *scratch, struct err *err)
{
    if (count > LIMIT_RANGES_PER_COLLECTION)
        return err_set(err, ERR_FULL, "a collection has at most %d ranges",
                       LIMIT_RANGES_PER_COLLECTION);
    Quire__Range **all = arena_calloc(scratch, next->n_ranges + count + 1, sizeof *all);
    size_t kept = 0;
    for (size_t i = 0; i < next->n_ranges; i++)
        if (next->ranges[i]->collection != collection)
            all[kept++] = next->ranges[i];
    for (size_t i = 0; i < count; i++) {
        if (ranges[i]->collection != collection)
            return err_set(err, ERR_INVALID, "a range of another collection in a range set");
        if (ranges[i]->id >= next->next_id)
            next->next_id = ranges[i]->id + 1;
        all[kept++] = ranges[i];
    }
    qsort(all, kept, sizeof *all, compare_ranges);
    next->ranges = all;
    next->n_ranges = kept;
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
    return replace_ranges(next, id, NULL, 0, scratch, err);
}

static int change_message(Quire__ClusterMap *next, const Quire__MapChange *change,
                          struct arena *scratch, struct err *err)
{
    int rc = 0;
    if (change->bootstrap != NULL) {
        if (next->epoch != 0)
            return err_set(err, ERR_EXISTS, "the cluster exists already");
        *next = *change->bootstrap;
        next->epoch = 0;
        return 0;
    }
    if (next->epoch == 0)
        return err_set(err, ERR_INVALID, "the cluster does not exist yet");
    bool any = false;
    if (change->node_put != NULL) {
        any = true;
        rc = put_node(next, change->node_put, scratch, err);
    }
    if (rc == 0 && change->collection_put != NULL) {
        any = true;
        rc = put_collection(next, change->collection_put, scratch, err);
    }
    if (rc == 0 && change->has_collection_drop) {
        any = true;
        rc = drop_collection(next, change->collection_drop, scratch, err);
    }
    if (rc == 0 && change->ranges_replace != NULL) {
        any = true;
        rc =
            replace_ranges(next, change->ranges_replace->collection, change->ranges_replace->ranges,
                           change->ranges_replace->n_ranges, scratch, err);
    }
    if (rc == 0 && !any)
        return err_set(err, ERR_INVALID, "a change of the map that changes nothing");
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
    struct err why = {0};
    if (map_validate(&next, &why) != 0) {
        rc = err_set(err, ERR_INVALID, "%s", why.text);
        goto done;
    }
    size_t size = quire__cluster_map__get_packed_size(&next);
    quire__cluster_map__pack(&next, buf_extend(&packed, size));
    *out = unpack_unchecked(buf_bytes(&packed));
    assert(*out != NULL);
done:
    buf_deinit(&packed);
    arena_deinit(&scratch);
    return rc;
}
