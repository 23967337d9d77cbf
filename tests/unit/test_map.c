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
        cmocka_unit_test(test_life_of_a_map), cmocka_unit_test(test_refused_changes),
        cmocka_unit_test(test_routing),       cmocka_unit_test(test_pack_and_unpack),
        cmocka_unit_test(test_names),         cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
