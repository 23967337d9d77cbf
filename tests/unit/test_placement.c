/* Placement: new ranges go where the fewest are, and two coordinators would choose alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/placement.h"

#include <stdlib.h>

static void test_round_robin(void **state)
{
    (void)state;
    struct placement_node nodes[3] = {{.id = "c"}, {.id = "a"}, {.id = "b"}};
    size_t chosen[7];
    static const size_t expected[7] = {1, 2, 0, 1, 2, 0, 1};
    placement_spread(nodes, 3, 1, 7, chosen);
    assert_memory_equal(chosen, expected, sizeof expected);
}

static void test_fewest_first(void **state)
{
    (void)state;
    struct placement_node nodes[3] = {{"a", NULL, 5, 5}, {"b", NULL, 3, 3}, {"c", NULL, 4, 4}};
    size_t chosen[4];
    static const size_t expected[4] = {1, 1, 2, 0};
    placement_spread(nodes, 3, 1, 4, chosen);
    assert_memory_equal(chosen, expected, sizeof expected);
    assert_int_equal(nodes[0].primaries + nodes[1].primaries + nodes[2].primaries, 16);
}

/* From an even start, no two nodes are ever more than one range apart. */
static void test_even(void **state)
{
    (void)state;
    unsigned seed = 9;
    static const char *const ids[8] = {"h", "b", "e", "a", "g", "c", "d", "f"};
    for (int round = 0; round < 200; round++) {
        struct placement_node nodes[8];
        size_t chosen[100];
        size_t node_count = 1 + (size_t)rand_r(&seed) % 8;
        size_t count = (size_t)rand_r(&seed) % 100;
        for (size_t i = 0; i < node_count; i++)
            nodes[i] = (struct placement_node){.id = ids[i]};
        placement_spread(nodes, node_count, 1, count, chosen);
        for (size_t i = 0; i < node_count; i++) {
            size_t held = 0;
            for (size_t j = 0; j < count; j++)
                held += chosen[j] == i;
            assert_int_equal(held, nodes[i].primaries);
            assert_in_range(held, count / node_count, count / node_count + 1);
        }
    }
}

/* Replicas are on different nodes, in as many zones as there are, and spread evenly. */
static void test_replicas(void **state)
{
    (void)state;
    static const char *const ids[6] = {"a", "b", "c", "d", "e", "f"};
    static const char *const zones[6] = {"x", "x", "y", "y", "z", "z"};
    for (size_t replicas = 1; replicas <= 6; replicas++) {
        struct placement_node nodes[6];
        size_t chosen[60 * 6];
        for (size_t i = 0; i < 6; i++)
            nodes[i] = (struct placement_node){.id = ids[i], .zone = zones[i]};
        placement_spread(nodes, 6, replicas, 60, chosen);
        for (size_t i = 0; i < 60; i++) {
            unsigned used = 0;
            unsigned used_zones = 0;
            for (size_t j = 0; j < replicas; j++) {
                used |= 1u << chosen[i * replicas + j];
                used_zones |= 1u << (zones[chosen[i * replicas + j]][0] - 'x');
            }
            assert_int_equal(__builtin_popcount(used), replicas);
            assert_int_equal(__builtin_popcount(used_zones), replicas < 3 ? replicas : 3);
        }
        for (size_t i = 0; i < 6; i++) {
            assert_int_equal(nodes[i].primaries, 10);
            assert_in_range(nodes[i].replicas, 10 * replicas - 6, 10 * replicas + 6);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replicas),
        cmocka_unit_test(test_round_robin),
        cmocka_unit_test(test_fewest_first),
        cmocka_unit_test(test_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
