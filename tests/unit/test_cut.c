/* Cutting: the properties that every set of bounds has, on random samples, and how even the ranges
 * come out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/cut.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 4096

static struct bytes keys[KEYS_MAX];
static char texts[KEYS_MAX][16];

static void check(size_t count, size_t ranges, struct bytes *bounds, size_t found)
{
    assert_true(found < ranges || ranges == 1);
    size_t before = 0;
    for (size_t i = 0; i < found; i++) {
        assert_true(bounds[i].size > 0);
        if (i > 0)
            assert_true(bytes_compare(bounds[i - 1], bounds[i]) < 0);
        /* `keys` are sorted by now: each range has at least one of them. */
        size_t below = 0;
        while (below < count && bytes_compare(keys[below], bounds[i]) < 0)
            below++;
        assert_true(below > before && below < count);
        /* No shorter string separates these two: cutting a byte (a code point here) falls to the
         * left. */
        assert_true(bounds[i].size == 1 ||
                    bytes_compare(bytes_of(bounds[i].data, bounds[i].size - 1), keys[below - 1]) <=
                        0);
        before = below;
    }
}

static void test_random_samples(void **state)
{
    (void)state;
    unsigned seed = 77;
    for (int round = 0; round < 300; round++) {
        size_t count = (size_t)(rand_r(&seed) % 200);
        size_t ranges = 1 + (size_t)(rand_r(&seed) % 12);
        int letters = 1 + rand_r(&seed) % 26;
        for (size_t i = 0; i < count; i++) {
            size_t size = (size_t)(rand_r(&seed) % 6);
            for (size_t j = 0; j < size; j++)
                texts[i][j] = (char)('a' + rand_r(&seed) % letters);
            keys[i] = bytes_of(texts[i], size);
        }
        struct arena arena;
        struct bytes bounds[12];
        arena_init(&arena, 0);
        size_t found = cut_bounds(keys, count, ranges, &arena, bounds);
        check(count, ranges, bounds, found);
        arena_deinit(&arena);
    }
}

static void test_few_distinct_keys(void **state)
{
    (void)state;
    struct arena arena;
    struct bytes bounds[8];
    arena_init(&arena, 0);
    assert_int_equal(cut_bounds(keys, 0, 4, &arena, bounds), 0);
    for (size_t i = 0; i < 100; i++)
        keys[i] = bytes_str("same");
    assert_int_equal(cut_bounds(keys, 100, 4, &arena, bounds), 0);
    keys[3] = bytes_str("other");
    assert_int_equal(cut_bounds(keys, 100, 4, &arena, bounds), 1);
    assert_true(bytes_equal(bounds[0], bytes_str("s")));
    for (size_t i = 0; i < 100; i++)
        keys[i] = bytes_str(i < 50 ? "model parallelism" : "model quantization");
    assert_int_equal(cut_bounds(keys, 100, 4, &arena, bounds), 1);
    assert_true(bytes_equal(bounds[0], bytes_str("model q")));
    assert_int_equal(cut_bounds(keys, 100, 1, &arena, bounds), 0);
    arena_deinit(&arena);
}

/* 4,096 distinct keys into 7 ranges: none holds more than a key above its share. */
static void test_even(void **state)
{
    (void)state;
    struct arena arena;
    struct bytes bounds[6];
    arena_init(&arena, 0);
    for (size_t i = 0; i < KEYS_MAX; i++) {
        snprintf(texts[i], sizeof texts[i], "%zu", i * 7919 % 100003);
        keys[i] = bytes_str(texts[i]);
    }
    assert_int_equal(cut_bounds(keys, KEYS_MAX, 7, &arena, bounds), 6);
    size_t below = 0;
    for (size_t i = 0; i <= 6; i++) {
        size_t in_range = 0;
        while (below < KEYS_MAX && (i == 6 || bytes_compare(keys[below], bounds[i]) < 0)) {
            below++;
            in_range++;
        }
        assert_in_range(in_range, KEYS_MAX / 7 - 1, KEYS_MAX / 7 + 2);
    }
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_samples),
        cmocka_unit_test(test_few_distinct_keys),
        cmocka_unit_test(test_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
