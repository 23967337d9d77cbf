/* The rate limit alone, on a clock that is a number, against a model that counts bytes. */
#include "proto/base/rate_limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

static void portions_are_paid_one_after_the_other(void **state)
{
    struct rate_limit limit = {.bytes_per_second = 1000};
    assert_int_equal(rate_limit_take(&limit, 500, 7 * SECOND), 7 * SECOND + SECOND / 2);
    assert_int_equal(rate_limit_take(&limit, 500, 7 * SECOND), 8 * SECOND);
    assert_int_equal(rate_limit_take(&limit, 0, 7 * SECOND), 8 * SECOND);
    assert_int_equal(rate_limit_take(&limit, 250, 9 * SECOND), 9 * SECOND + SECOND / 4);
    assert_int_equal(rate_limit_take(&limit, 0, 20 * SECOND), 20 * SECOND);
}

/* However portions and rests come: what was taken up to any moment is at most what the rate allows
 * since any earlier moment at which somebody took, but for the portion taken then. */
static void no_stretch_of_time_has_more_than_its_share(void **state)
{
    enum { TAKES = 400, RATE = 12345 };
    static uint64_t begun[TAKES], bytes[TAKES];
    struct rate_limit limit = {.bytes_per_second = RATE};
    uint64_t now = 1;
    srand(1);
    for (int i = 0; i < TAKES; i++) {
        if (rand() % 4 == 0)
            now += (uint64_t)rand() % (5 * SECOND);
        begun[i] = now;
        bytes[i] = (uint64_t)rand() % 50000;
        now = rate_limit_take(&limit, bytes[i], now);
        assert_true(now >= begun[i]);
    }
    for (int i = 0; i < TAKES; i++) {
        double sum = 0;
        for (int j = i; j + 1 < TAKES; j++) {
            sum += (double)bytes[j];
            double allowed = (double)(begun[j + 1] - begun[i]) / (double)SECOND * RATE;
            assert_true(sum <= allowed + 1);
        }
    }
}

/* It limits, and does not stand still: without rests everything is paid for just in time. */
static void without_rests_the_whole_rate_is_used(void **state)
{
    struct rate_limit limit = {.bytes_per_second = UINT64_C(64) << 20};
    uint64_t now = 123, end = now + 10 * SECOND;
    for (int i = 0; i < 640; i++)
        now = rate_limit_take(&limit, UINT64_C(1) << 20, now);
    assert_in_range(now, end - 1000, end + 1000);
}

static void times_that_do_not_fit_are_never(void **state)
{
    struct rate_limit limit = {.bytes_per_second = 1};
    assert_int_equal(rate_limit_take(&limit, UINT64_C(1) << 40, 5), UINT64_MAX);
    assert_int_equal(rate_limit_take(&limit, 1, 6), UINT64_MAX);
    limit = (struct rate_limit){.bytes_per_second = UINT64_MAX};
    assert_int_equal(rate_limit_take(&limit, UINT64_MAX, 0), SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(portions_are_paid_one_after_the_other),
        cmocka_unit_test(no_stretch_of_time_has_more_than_its_share),
        cmocka_unit_test(without_rests_the_whole_rate_is_used),
        cmocka_unit_test(times_that_do_not_fit_are_never),
    };
    return cmocka_run_group_tests_name("rate_limit", tests, NULL, NULL);
}
