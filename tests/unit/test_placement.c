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
    struct placement_node nodes[3] = {{"c", 0}, {"a", 0}, {"b", 0}};
    size_t chosen[7];
    static const size_t expected[7] = {1, 2, 0, 1, 2, 0, 1};
    placement_spread(nodes, 3, 7, chosen);
    assert_memory_equal(chosen, expected, sizeof expected);
}

static void test_fewest_first(void **state)
{
    (void)state;
    struct placement_node nodes[3] = {{"a", 5}, {"b", 3}, {"c", 4}};
    size_t chosen[4];
    static const size_t expected[4] = {1, 1, 2, 0};
    placement_spread(nodes, 3, 4, chosen);
    assert_memory_equal(chosen, expected, sizeof expected);
    assert_int_equal(nodes[0].ranges + nodes[1].ranges + nodes[2].ranges, 16);
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
            nodes[i] = (struct placement_node){ids[i], 0};
        placement_spread(nodes, node_count, count, chosen);
        for (size_t i = 0; i < node_count; i++) {
            size_t held = 0;
            for (size_t j = 0; j < count; j++)
                held += chosen[j] == i;
            assert_int_equal(held, nodes[i].ranges);
            assert_in_range(held, count / node_count, count / node_count + 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_robin),
        cmocka_unit_test(test_fewest_first),
        cmocka_unit_test(test_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
