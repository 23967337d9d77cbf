/* The cluster map: changes, invariants, look-ups, and a random walk that has to keep the cover. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/map.h"
#include "proto/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_A "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
#define NODE_B "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"

static struct map *apply(struct map *map, const Quire__MapChange *change, int expected)
{
    struct map *next = NULL;
    struct err err = {0};
    int rc = map_apply(map, change, &next, &err);
    if (rc != expected)
        fail_msg("expected %d, got %d: %s", expected, rc, err.text);
    if (rc != 0) {
        assert_null(next);
        assert_true(err.text[0] != '\0');
        return map;
    }
    assert_int_equal(map_epoch(next), map_epoch(map) + 1);
    map_unref(map);
    return next;
}

static struct map *bootstrap(void)
{
    Quire__ClusterMap first = QUIRE__CLUSTER_MAP__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    first.cluster_id = (char *)"cccccccc-cccc-4ccc-8ccc-cccccccccccc";
    first.secret.data = (uint8_t *)"0123456789abcdef";
    first.secret.len = 16;
    first.next_id = 1;
    change.bootstrap = &first;
    return apply(map_create_empty(), &change, 0);
}

static struct map *put_node(struct map *map, const char *id, const char *address, int expected)
{
    Quire__Node node = QUIRE__NODE__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    node.id = (char *)id;
    node.address = (char *)address;
    change.node_put = &node;
    return apply(map, &change, expected);
}

/* A collection with the bounds given; ids from the map's next_id on. id 0: a new collection. */
static struct map *put_ranges(struct map *map, uint64_t id, const char *name, const char **bounds,
                              size_t bound_count, const char *node, int expected)
{
    Quire__Collection collection = QUIRE__COLLECTION__INIT;
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    Quire__Range ranges[64];
    Quire__Range *pointers[64];
    char *in_sync[1] = {(char *)node};
    uint64_t next_id = map->message->next_id;
    if (id == 0) {
        id = next_id++;
        collection.name = (char *)name;
        collection.has_id = true;
        collection.id = id;
        change.collection_put = &collection;
    }
    for (size_t i = 0; i <= bound_count; i++) {
        quire__range__init(&ranges[i]);
        ranges[i].id = next_id + i;
        ranges[i].collection = id;
        ranges[i].epoch = 1;
        ranges[i].has_lo = ranges[i].has_hi = true;
        if (i > 0)
            ranges[i].lo = (ProtobufCBinaryData){strlen(bounds[i - 1]), (uint8_t *)bounds[i - 1]};
        if (i < bound_count)
            ranges[i].hi = (ProtobufCBinaryData){strlen(bounds[i]), (uint8_t *)bounds[i]};
        ranges[i].primary = (char *)node;
        ranges[i].n_in_sync = 1;
        ranges[i].in_sync = in_sync;
        pointers[bound_count - i] = &ranges[i]; /* in the wrong order: the map sorts */
    }
    set.collection = id;
    set.n_ranges = bound_count + 1;
    set.ranges = pointers;
    struct map_ranges old = map_ranges(map, id);
    Quire__RangeRef refs[64];
    Quire__RangeRef *replaced[64];
    for (size_t i = 0; i < old.count; i++) {
        quire__range_ref__init(&refs[i]);
        refs[i].id = old.items[i]->id;
        refs[i].epoch = old.items[i]->epoch;
        replaced[i] = &refs[i];
    }
    set.n_replaced = old.count;
    set.replaced = replaced;
    change.ranges_replace = &set;
    return apply(map, &change, expected);
}

static struct map *drop(struct map *map, uint64_t id, int expected)
{
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.has_collection_drop = true;
    change.collection_drop = id;
    return apply(map, &change, expected);
}

static void test_life_of_a_map(void **state)
{
    (void)state;
    struct map *map = bootstrap();
    assert_int_equal(map_epoch(map), 1);
    map = put_node(map, NODE_A, "tcp://127.0.0.1:1", 0);
    map = put_node(map, NODE_B, "tcp://127.0.0.1:2", 0);
    map = put_node(map, NODE_A, "tcp://127.0.0.1:3", 0);
    assert_int_equal(map->message->n_nodes, 2);
    assert_string_equal(map_node(map, NODE_A)->address, "tcp://127.0.0.1:3");
    assert_null(map_node(map, "nobody"));

    const char *bounds[] = {"g", "mod"};
    map = put_ranges(map, 0, "words", bounds, 2, NODE_A, 0);
    const Quire__Collection *words = map_collection(map, "words");
    assert_non_null(words);
    uint64_t words_id = words->id; /* `words` goes with this map */
    assert_ptr_equal(map_collection_by_id(map, words->id), words);
    assert_int_equal(map_ranges(map, words->id).count, 3);
    assert_int_equal(map_ranges(map, words->id + 1).count, 0);
    assert_true(map->message->next_id > map->message->ranges[2]->id);

    map = put_ranges(map, 0, "words", NULL, 0, NODE_A, ERR_EXISTS);
    map = put_ranges(map, 0, "Words", NULL, 0, NODE_A, ERR_INVALID);
    map = put_ranges(map, 0, "more", NULL, 0, "nobody", ERR_INVALID);
    map = put_ranges(map, 0, "more", NULL, 0, NODE_B, 0);
    map = drop(map, 4711, ERR_NOT_FOUND);
    map = drop(map, words_id, 0);
    assert_null(map_collection(map, "words"));
    assert_int_equal(map->message->n_ranges, 1);
    map_unref(map);
}

static void test_refused_changes(void **state)
{
    (void)state;
    struct map *map = bootstrap();
    Quire__MapChange nothing = QUIRE__MAP_CHANGE__INIT;
    map = apply(map, &nothing, ERR_INVALID);

    /* A second bootstrap, and a change before the first. */
    Quire__ClusterMap again = *map->message;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.bootstrap = &again;
    map = apply(map, &change, ERR_EXISTS);
    map_unref(put_node(map_create_empty(), NODE_A, "tcp://127.0.0.1:1", ERR_INVALID));

    /* A collection without ranges. */
    Quire__Collection collection = QUIRE__COLLECTION__INIT;
    Quire__MapChange bare = QUIRE__MAP_CHANGE__INIT;
    collection.name = (char *)"bare";
    collection.has_id = true;
    collection.id = 1;
    bare.collection_put = &collection;
    map = apply(map, &bare, ERR_INVALID);

    /* Bounds that do not rise, or stand twice. */
    map = put_node(map, NODE_A, "tcp://127.0.0.1:1", 0);
    const char *falling[] = {"m", "g"};
    const char *twice[] = {"g", "g"};
    map = put_ranges(map, 0, "words", falling, 2, NODE_A, ERR_INVALID);
    map = put_ranges(map, 0, "words", twice, 2, NODE_A, ERR_INVALID);
    assert_int_equal(map_epoch(map), 2);
    map_unref(map);
}

/* ---- configurations ---- */

#define NODE_C "dddddddd-dddd-4ddd-8ddd-dddddddddddd"

/* Three nodes; ranges with the bounds "g" and "mod", all on node A alone. */
static struct map *three_ranges(void)
{
    const char *bounds[] = {"g", "mod"};
    struct map *map = put_node(bootstrap(), NODE_A, "tcp://127.0.0.1:1", 0);
    map = put_node(map, NODE_B, "tcp://127.0.0.1:2", 0);
    map = put_node(map, NODE_C, "tcp://127.0.0.1:3", 0);
    return put_ranges(map, 0, "words", bounds, 2, NODE_A, 0);
}

/* What a test wants of one range; the lists end with NULL. */
struct wish {
    size_t range; /* its place in the map */
    uint64_t epoch;
    const char *primary;
    const char *in_sync[12], *learners[12];
};

static size_t count_texts(const char *const *texts)
{
    size_t count = 0;
    while (texts[count] != NULL)
        count++;
    return count;
}

static struct map *configure(struct map *map, const struct wish *wishes, size_t count,
                             Quire__Node *node, int expected)
{
    Quire__Range ranges[4];
    Quire__Range *pointers[4];
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    for (size_t i = 0; i < count; i++) {
        ranges[i] = *map->message->ranges[wishes[i].range];
        ranges[i].epoch = wishes[i].epoch;
        ranges[i].primary = (char *)wishes[i].primary;
        ranges[i].in_sync = (char **)wishes[i].in_sync;
        ranges[i].n_in_sync = count_texts(wishes[i].in_sync);
        ranges[i].learners = (char **)wishes[i].learners;
        ranges[i].n_learners = count_texts(wishes[i].learners);
        pointers[i] = &ranges[i];
    }
    set.n_ranges = count;
    set.ranges = pointers;
    change.ranges_configure = &set;
    change.node_put = node;
    return apply(map, &change, expected);
}

static void test_configurations(void **state)
{
    (void)state;
    struct map *map = three_ranges();
    struct wish two[] = {{0, 2, NODE_B, {NODE_B, NODE_A}, {NODE_C}},
                         {2, 2, NODE_A, {NODE_A}, {NODE_B}}};
    map = configure(map, two, 2, NULL, 0);
    const Quire__Range *first = map->message->ranges[0];
    assert_string_equal(first->primary, NODE_B);
    assert_int_equal(first->epoch, 2);
    assert_true(map_range_in_sync(first, NODE_A) && map_range_learns(first, NODE_C));
    assert_false(map_range_in_sync(first, NODE_C) || map_range_learns(first, NODE_B));
    assert_int_equal(map_range_members(first), 3);
    assert_string_equal(map_range_member(first, 2), NODE_C);
    assert_int_equal(map->message->ranges[1]->epoch, 1);
    assert_int_equal(map->message->ranges[2]->n_learners, 1);
    assert_ptr_equal(map_range(map, first->id), first);
    assert_null(map_range(map, 4711));

    /* Overtaken: the first of these is new, the second old; neither happens. */
    struct wish late[] = {{1, 2, NODE_B, {NODE_B}, {NULL}}, {2, 2, NODE_B, {NODE_B}, {NULL}}};
    uint64_t before = map_epoch(map);
    map = configure(map, late, 2, NULL, ERR_CONFLICT);
    late[1].epoch = 4;
    map = configure(map, late, 2, NULL, ERR_CONFLICT);
    assert_int_equal(map_epoch(map), before);
    assert_int_equal(map->message->ranges[1]->epoch, 1);

    /* With a new life of a node, in one change; not at all when the ranges have moved on. */
    Quire__Node node = QUIRE__NODE__INIT;
    node.id = (char *)NODE_A;
    node.address = (char *)"tcp://127.0.0.1:9";
    node.has_incarnation = true;
    node.incarnation = 77;
    map = configure(map, late, 2, &node, ERR_CONFLICT);
    assert_false(map_node(map, NODE_A)->has_incarnation);
    late[1].epoch = 3;
    map = configure(map, late, 2, &node, 0);
    assert_int_equal(map_node(map, NODE_A)->incarnation, 77);
    assert_string_equal(map->message->ranges[1]->primary, NODE_B);
    map = configure(map, NULL, 0, &node, 0); /* a node alone */
    map = configure(map, NULL, 0, NULL, ERR_INVALID);
    map_unref(map);
}

static void test_refused_configurations(void **state)
{
    (void)state;
    struct map *map = three_ranges();
    const struct wish wrong[] = {
        {0, 2, NODE_B, {NODE_A}, {NULL}},         /* the primary is not in sync */
        {0, 2, NODE_B, {NODE_A}, {NODE_B}},       /* nor as a learner */
        {0, 2, NODE_A, {NULL}, {NULL}},           /* nobody is */
        {0, 2, NODE_A, {NODE_A, NODE_A}, {NULL}}, /* twice */
        {0, 2, NODE_A, {NODE_A}, {NODE_A}},
        {0, 2, NODE_A, {NODE_A}, {NODE_B, NODE_B}},
        {0, 2, NODE_A, {NODE_A, "nobody"}, {NULL}},
        {0, 2, NODE_A, {NODE_A}, {"nobody"}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        map = configure(map, &wrong[i], 1, NULL, ERR_INVALID);
    struct wish twice[] = {{0, 2, NODE_B, {NODE_B}, {NULL}}, {0, 3, NODE_C, {NODE_C}, {NULL}}};
    map = configure(map, twice, 2, NULL, ERR_INVALID);
    twice[1].epoch = 2;
    map = configure(map, twice, 2, NULL, ERR_CONFLICT);

    /* Another place in the key space, another collection, an unknown range. */
    Quire__Range range = *map->message->ranges[1];
    Quire__Range *ranges[] = {&range};
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    set.n_ranges = 1;
    set.ranges = ranges;
    change.ranges_configure = &set;
    range.epoch = 2;
    range.hi = (ProtobufCBinaryData){1, (uint8_t *)"n"};
    map = apply(map, &change, ERR_INVALID);
    range.hi = map->message->ranges[1]->hi;
    range.collection++;
    map = apply(map, &change, ERR_INVALID);
    range.collection--;
    range.id = 4711;
    map = apply(map, &change, ERR_CONFLICT);
    range.id = map->message->ranges[1]->id;
    map = apply(map, &change, 0);
    map_unref(map);
}

/* More members than a replica can talk to. */
static void test_too_many_members(void **state)
{
    (void)state;
    char ids[LIMIT_MEMBERS + 1][8];
    struct map *map = three_ranges();
    struct wish many = {0, 2, ids[0], {NULL}, {NULL}};
    for (size_t i = 0; i <= LIMIT_MEMBERS; i++) {
        snprintf(ids[i], sizeof ids[i], "n%zu", i);
        map = put_node(map, ids[i], "tcp://127.0.0.1:9", 0);
        if (i < LIMIT_MEMBERS - 1)
            many.in_sync[i] = ids[i];
        else
            many.learners[i - LIMIT_MEMBERS + 1] = ids[i];
    }
    map = configure(map, &many, 1, NULL, ERR_INVALID);
    many.learners[1] = NULL;
    map = configure(map, &many, 1, NULL, 0);
    map_unref(map);
}

/* Whoever replaces ranges must have seen them as they are, and gives ids that are new. */
static void test_replaced_ranges(void **state)
{
    (void)state;
    struct map *map = put_node(bootstrap(), NODE_A, "tcp://127.0.0.1:1", 0);
    map = put_ranges(map, 0, "words", NULL, 0, NODE_A, 0);
    Quire__Range range = *map->message->ranges[0];
    Quire__Range *ranges[] = {&range};
    Quire__RangeRef ref = QUIRE__RANGE_REF__INIT;
    Quire__RangeRef *refs[] = {&ref};
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    ref.id = range.id;
    ref.epoch = 2;
    range.id = map->message->next_id;
    set.collection = range.collection;
    set.n_ranges = 1;
    set.ranges = ranges;
    change.ranges_replace = &set;
    map = apply(map, &change, ERR_CONFLICT); /* nothing seen */
    set.n_replaced = 1;
    set.replaced = refs;
    map = apply(map, &change, ERR_CONFLICT); /* another epoch */
    ref.epoch = 1;
    ref.id++;
    map = apply(map, &change, ERR_CONFLICT); /* another range */
    ref.id--;
    range.id = ref.id;
    map = apply(map, &change, ERR_CONFLICT); /* an id that was given before */
    range.id = map->message->next_id;
    map = apply(map, &change, 0);

    /* Two coordinators that found the same next_id: the second one is told. */
    Quire__Collection collection = QUIRE__COLLECTION__INIT;
    Quire__MapChange late = QUIRE__MAP_CHANGE__INIT;
    collection.name = (char *)"others";
    collection.has_id = true;
    collection.id = map->message->next_id - 1;
    set.collection = collection.id;
    set.n_replaced = 0;
    range.collection = collection.id;
    range.id = collection.id + 1;
    late.collection_put = &collection;
    late.ranges_replace = &set;
    map = apply(map, &late, ERR_CONFLICT);
    map_unref(map);
}

static struct map *put_coordinator(struct map *map, const char *id, uint64_t raft_id, int expected)
{
    Quire__Coordinator coordinator = QUIRE__COORDINATOR__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    coordinator.id = (char *)id;
    coordinator.raft_id = raft_id;
    coordinator.address = (char *)"tcp://127.0.0.1:1";
    coordinator.raft_address = (char *)"127.0.0.1:2";
    change.coordinator_put = &coordinator;
    return apply(map, &change, expected);
}

static void test_coordinators(void **state)
{
    (void)state;
    struct map *map = bootstrap();
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    map = put_coordinator(map, NODE_B, 7, 0);
    map = put_coordinator(map, NODE_A, 8, 0);
    assert_int_equal(map->message->n_coordinators, 2);
    assert_string_equal(map->message->coordinators[0]->id, NODE_A); /* by id */
    map = put_coordinator(map, NODE_C, 7, ERR_INVALID);
    map = put_coordinator(map, NODE_C, 0, ERR_INVALID);
    map = put_coordinator(map, NODE_B, 9, 0); /* the same one, elsewhere */
    assert_int_equal(map->message->n_coordinators, 2);
    change.coordinator_drop = (char *)NODE_C;
    map = apply(map, &change, ERR_NOT_FOUND);
    change.coordinator_drop = (char *)NODE_A;
    map = apply(map, &change, 0);
    assert_int_equal(map->message->n_coordinators, 1);
    assert_int_equal(map->message->coordinators[0]->raft_id, 9);
    /* Who was removed cannot come back, also after others were; far too many are forgotten. */
    map = put_coordinator(map, NODE_A, 8, ERR_CONFLICT);
    for (uint64_t i = 0; i < LIMIT_REMOVED_COORDINATORS; i++) {
        char id[37];
        snprintf(id, sizeof id, "00000000-0000-4000-8000-00000000%04x", (unsigned)i);
        map = put_coordinator(map, NODE_A, 8, ERR_CONFLICT);
        map = put_coordinator(map, id, 50 + i, 0);
        change.coordinator_drop = id;
        map = apply(map, &change, 0);
    }
    map = put_coordinator(map, NODE_A, 8, 0);
    change.coordinator_drop = (char *)NODE_A;
    map = apply(map, &change, 0);
    for (uint64_t i = 0; i < LIMIT_COORDINATORS; i++) {
        char id[8];
        snprintf(id, sizeof id, "c%d", (int)i);
        map = put_coordinator(map, id, 100 + i, i + 1 < LIMIT_COORDINATORS ? 0 : ERR_FULL);
    }
    map_unref(map);
}

static void test_dropped_nodes(void **state)
{
    (void)state;
    struct map *map = three_ranges();
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.node_drop = (char *)NODE_A;
    map = apply(map, &change, ERR_CONFLICT);
    struct wish learner = {0, 2, NODE_A, {NODE_A}, {NODE_B}};
    map = configure(map, &learner, 1, NULL, 0);
    change.node_drop = (char *)NODE_B;
    map = apply(map, &change, ERR_CONFLICT);
    change.node_drop = (char *)"nobody";
    map = apply(map, &change, ERR_NOT_FOUND);
    change.node_drop = (char *)NODE_C;
    map = apply(map, &change, 0);
    assert_null(map_node(map, NODE_C));
    assert_int_equal(map->message->n_nodes, 2);
    map_unref(map);
}

static void test_replicas_wanted(void **state)
{
    (void)state;
    struct map *map = three_ranges();
    Quire__Collection collection = *map->message->collections[0];
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.collection_put = &collection;
    collection.has_replicas = true;
    map = apply(map, &change, ERR_INVALID);
    collection.replicas = LIMIT_REPLICAS + 1;
    map = apply(map, &change, ERR_INVALID);
    collection.replicas = LIMIT_REPLICAS;
    map = apply(map, &change, 0);
    assert_int_equal(map->message->collections[0]->replicas, LIMIT_REPLICAS);
    map_unref(map);
}

static struct bytes str(const char *text)
{
    return bytes_of(text, strlen(text));
}

static void test_routing(void **state)
{
    (void)state;
    struct map *map = put_node(bootstrap(), NODE_A, "tcp://127.0.0.1:1", 0);
    const char *bounds[] = {"b", "bd", "mod"};
    map = put_ranges(map, 0, "words", bounds, 3, NODE_A, 0);
    uint64_t id = map_collection(map, "words")->id;
    struct map_ranges all = map_ranges(map, id);
    static const struct {
        const char *key;
        size_t range;
    } cases[] = {{"", 0},     {"a", 0},   {"azzz", 0},  {"b", 1},     {"bc", 1},
                 {"bczz", 1}, {"bd", 2},  {"bda", 2},   {"m", 2},     {"mo", 2},
                 {"mocz", 2}, {"mod", 3}, {"model", 3}, {"zebra", 3}, {"\xf4", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_ptr_equal(map_range_of(map, id, str(cases[i].key)), all.items[cases[i].range]);
    assert_null(map_range_of(map, id + 100, str("a")));

    assert_int_equal(map_ranges_between(map, id, str(""), str("")).count, 4);
    assert_int_equal(map_ranges_between(map, id, str("a"), str("b")).count, 1);
    assert_int_equal(map_ranges_between(map, id, str("a"), str("ba")).count, 2);
    assert_int_equal(map_ranges_between(map, id, str("bd"), str("")).count, 2);
    assert_int_equal(map_ranges_between(map, id, str("c"), bytes_of("c\0", 2)).count, 1);
    assert_ptr_equal(map_ranges_between(map, id, str("c"), str("d")).items, all.items + 2);
    map_unref(map);
}

static void test_pack_and_unpack(void **state)
{
    (void)state;
    struct map *map = put_node(bootstrap(), NODE_A, "tcp://127.0.0.1:1", 0);
    const char *bounds[] = {"k"};
    map = put_ranges(map, 0, "words", bounds, 1, NODE_A, 0);
    struct buf packed, again;
    buf_init(&packed);
    buf_init(&again);
    map_pack(map, &packed);
    struct map *copy;
    struct err err = {0};
    assert_int_equal(map_unpack(buf_bytes(&packed), &copy, &err), 0);
    map_pack(copy, &again);
    assert_true(bytes_equal(buf_bytes(&packed), buf_bytes(&again)));
    map_unref(copy);
    /* Each truncation is refused, or is a map that holds its invariants. */
    for (size_t size = 0; size < packed.size; size++) {
        if (map_unpack(bytes_of(packed.data, size), &copy, &err) == 0) {
            assert_true(copy->message->epoch == 0 || map_validate(copy->message, &err) == 0);
            map_unref(copy);
        } else {
            assert_int_equal(err.code, ERR_CORRUPT);
        }
    }
    buf_deinit(&packed);
    buf_deinit(&again);
    map_unref(map);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(map_collection_name_valid("default"));
    assert_true(map_collection_name_valid("7-up_2"));
    assert_false(map_collection_name_valid(""));
    assert_false(map_collection_name_valid("-x"));
    assert_false(map_collection_name_valid("_x"));
    assert_false(map_collection_name_valid("X"));
    assert_false(map_collection_name_valid("a b"));
    assert_false(map_collection_name_valid("../x"));
    char name[LIMIT_COLLECTION_NAME + 2];
    memset(name, 'a', sizeof name);
    name[LIMIT_COLLECTION_NAME] = '\0';
    assert_true(map_collection_name_valid(name));
    name[LIMIT_COLLECTION_NAME] = 'a';
    name[LIMIT_COLLECTION_NAME + 1] = '\0';
    assert_false(map_collection_name_valid(name));
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Random creations, cuts and drops; every map on the way is validated by map_apply, and every key
 * finds exactly the range whose bounds enclose it. */
static void test_random_walk(void **state)
{
    (void)state;
    unsigned seed = 20251;
    print_message("seed %u\n", seed);
    struct map *map = put_node(bootstrap(), NODE_A, "tcp://127.0.0.1:1", 0);
    for (int step = 0; step < 300; step++) {
        char texts[16][4];
        const char *bounds[16];
        size_t count = (size_t)(rand_r(&seed) % 16);
        for (size_t i = 0; i < count; i++) {
            snprintf(texts[i], sizeof texts[i], "%c%c", 'a' + rand_r(&seed) % 26,
                     'a' + rand_r(&seed) % 26);
            bounds[i] = texts[i];
        }
        qsort(bounds, count, sizeof *bounds, compare_text);
        bool rising = true;
        for (size_t i = 1; i < count; i++)
            rising = rising && strcmp(bounds[i - 1], bounds[i]) < 0;
        char name[4];
        snprintf(name, sizeof name, "c%d", rand_r(&seed) % 8);
        const Quire__Collection *found = map_collection(map, name);
        if (found != NULL && rand_r(&seed) % 4 == 0) {
            map = drop(map, found->id, 0);
            continue;
        }
        map = put_ranges(map, found != NULL ? found->id : 0, name, bounds, count, NODE_A,
                         rising ? 0 : ERR_INVALID);
        found = map_collection(map, name);
        if (found == NULL)
            continue;
        char key[4];
        snprintf(key, sizeof key, "%c%c", 'a' + rand_r(&seed) % 26, 'a' + rand_r(&seed) % 26);
        struct map_ranges all = map_ranges(map, found->id);
        const Quire__Range *holder = NULL;
        for (size_t i = 0; i < all.count; i++) {
            struct bytes hi = map_range_hi(all.items[i]);
            if (bytes_compare(map_range_lo(all.items[i]), str(key)) <= 0 &&
                (hi.size == 0 || bytes_compare(str(key), hi) < 0)) {
                assert_null(holder);
                holder = all.items[i];
            }
        }
        assert_non_null(holder);
        assert_ptr_equal(map_range_of(map, found->id, str(key)), holder);
    }
    map_unref(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_of_a_map),
        cmocka_unit_test(test_refused_changes),
        cmocka_unit_test(test_routing),
        cmocka_unit_test(test_pack_and_unpack),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_random_walk),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_refused_configurations),
        cmocka_unit_test(test_too_many_members),
        cmocka_unit_test(test_replaced_ranges),
        cmocka_unit_test(test_coordinators),
        cmocka_unit_test(test_dropped_nodes),
        cmocka_unit_test(test_replicas_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
