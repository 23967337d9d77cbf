/* Which replica answers, and when a second one is asked. */
#include "coordinator/hedge.h"
#include "coordinator/replica_choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct replica_candidate warm(uint32_t calls, uint32_t latency_us)
{
    return (struct replica_candidate){
        .usable = true, .calls = calls, .latency_us = latency_us, .answers = 1000};
}

static void the_least_expected_wait_is_chosen(void **state)
{
    struct replica_candidate three[] = {warm(4, 1000), warm(0, 3000), warm(9, 1000)};
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(replica_choose(three, 3, i), 1);
    three[1].usable = false;
    assert_int_equal(replica_choose(three, 3, 5), 0);
    three[0].doubtful = true; /* better a long wait than none that answers */
    assert_int_equal(replica_choose(three, 3, 5), 2);
    three[2].usable = false;
    assert_int_equal(replica_choose(three, 3, 5), 0);
    three[0].usable = false;
    assert_int_equal(replica_choose(three, 3, 5), SIZE_MAX);
    assert_int_equal(replica_choose(three, 0, 5), SIZE_MAX);
}

static void those_that_are_alike_share_the_calls(void **state)
{
    struct replica_candidate three[] = {warm(1, 1000), warm(1, 1100), warm(1, 2000)};
    size_t chosen[3] = {0};
    for (uint64_t i = 0; i < 1000; i++)
        chosen[replica_choose(three, 3, i)]++;
    assert_int_equal(chosen[0], 500);
    assert_int_equal(chosen[1], 500);
}

static void a_cold_one_gets_little_at_a_time(void **state)
{
    struct replica_candidate two[] = {warm(6, 1000), {.usable = true}};
    assert_int_equal(replica_choose(two, 2, 0), 1);
    two[1].calls = REPLICA_COLD_CALLS;
    assert_int_equal(replica_choose(two, 2, 0), 0);
    two[1].answers = REPLICA_COLD_ANSWERS; /* warm now */
    assert_int_equal(replica_choose(two, 2, 0), 1);
}

/* ---- hedging ---- */

static void second_calls_stay_within_their_share(void **state)
{
    struct hedge *hedge = calloc(1, sizeof *hedge);
    size_t taken = 0;
    for (size_t i = 0; i < 100000; i++) {
        hedge_call(hedge);
        taken += hedge_take(hedge);
    }
    assert_true(taken > 4900 && taken <= 5000);
    for (size_t i = 0; i < 100000; i++)
        hedge_call(hedge); /* what was not used is not saved up for long */
    taken = 0;
    while (hedge_take(hedge))
        taken++;
    assert_int_equal(taken, (size_t)HEDGE_BURST);
    free(hedge);
}

static void the_delay_is_the_95th_percentile_of_its_kind(void **state)
{
    struct hedge *hedge = calloc(1, sizeof *hedge);
    for (uint64_t i = 0; i < HEDGE_SAMPLES - 1; i++)
        hedge_answered(hedge, 1, 100);
    assert_true(hedge_delay_us(hedge, 1) == UINT64_MAX);
    for (uint64_t i = 0; i < 1000; i++)
        hedge_answered(hedge, 1, i % 100 < 90 ? 100 + i % 10 : 5000);
    uint64_t delay = hedge_delay_us(hedge, 1);
    assert_true(delay >= 5000 && delay <= 5000 * 9 / 8);
    assert_true(hedge_delay_us(hedge, 2) == UINT64_MAX);
    for (uint64_t i = 0; i < 20 * HEDGE_WINDOW; i++)
        hedge_answered(hedge, 1, 200); /* what was long ago no longer counts */
    delay = hedge_delay_us(hedge, 1);
    assert_true(delay >= 200 && delay <= 230);
    hedge_answered(hedge, 1, UINT64_MAX);
    free(hedge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_expected_wait_is_chosen),
        cmocka_unit_test(those_that_are_alike_share_the_calls),
        cmocka_unit_test(a_cold_one_gets_little_at_a_time),
        cmocka_unit_test(second_calls_stay_within_their_share),
        cmocka_unit_test(the_delay_is_the_95th_percentile_of_its_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
