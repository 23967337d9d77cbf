/* The budget and the pauses of repetitions. */
#include "client/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void repetitions_are_a_tenth_of_the_requests(void **state)
{
    (void)state;
    struct retry_budget budget;
    int taken = 0;
    retry_init(&budget, 1000);
    for (int i = 0; i < 10000; i++) { /* all at one moment, all refused */
        retry_request(&budget);
        taken += retry_take(&budget, 1000);
    }
    assert_in_range(taken, 1000, 1000 + (int)RETRY_BURST);
}

static void time_pays_for_a_few_and_saves_up_no_more_than_a_burst(void **state)
{
    (void)state;
    struct retry_budget budget;
    uint64_t now = 1000;
    int taken = 0;
    retry_init(&budget, now);
    while (retry_take(&budget, now))
        taken++;
    assert_int_equal(taken, (int)RETRY_BURST);
    assert_false(retry_take(&budget, now + 900));
    assert_true(retry_take(&budget, now + 1100));
    assert_false(retry_take(&budget, now + 1100));
    for (taken = 0; retry_take(&budget, now + 3600000); taken++)
        ;
    assert_int_equal(taken, (int)RETRY_BURST);
}

static void pauses_are_at_least_what_was_said(void **state)
{
    (void)state;
    uint64_t least = UINT64_MAX, most = 0;
    for (uint64_t random = 0; random < 1000; random++) {
        uint64_t pause = retry_pause_ms(140, 1, random);
        least = pause < least ? pause : least;
        most = pause > most ? pause : most;
    }
    assert_int_equal(least, 140);
    assert_int_equal(most, 210);
    assert_int_equal(retry_pause_ms(140, 3, 0), 560);
    assert_int_equal(retry_pause_ms(0, 1, 0), RETRY_PAUSE_MIN_MS);
    assert_int_equal(retry_pause_ms(UINT32_MAX, UINT32_MAX, 0), RETRY_PAUSE_MAX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repetitions_are_a_tenth_of_the_requests),
        cmocka_unit_test(time_pays_for_a_few_and_saves_up_no_more_than_a_burst),
        cmocka_unit_test(pauses_are_at_least_what_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
