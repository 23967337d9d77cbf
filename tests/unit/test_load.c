/* The pure parts of quire-load, against brute force and against what is known of the distributions.
 */
#include "client/load/draw.h"
#include "client/load/histogram.h"
#include "client/load/journal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the histogram ---- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void percentiles_are_those_of_the_sorted_list(void **state)
{
    static const double percents[] = {0, 1, 25, 50, 90, 99, 99.9, 100};
    enum { COUNT = 20000 };
    struct histogram *histogram = calloc(1, sizeof *histogram);
    uint64_t *all = calloc(COUNT, sizeof *all);
    struct draw draw;
    for (int spread = 1; spread <= 40; spread += 13) {
        histogram_clear(histogram);
        draw_seed(&draw, (uint64_t)spread);
        for (size_t i = 0; i < COUNT; i++) {
            all[i] = draw_bits(&draw) >> (64 - draw_below(&draw, (uint64_t)spread) - 1);
            histogram_add(histogram, all[i]);
        }
        qsort(all, COUNT, sizeof *all, compare);
        for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
            double at = ceil(COUNT * percents[i] / 100);
            uint64_t right = all[at < 1 ? 0 : (size_t)at - 1];
            uint64_t got = histogram_percentile(histogram, percents[i]);
            assert_true(got >= right && (double)got <= (double)right * 1.008);
        }
        assert_int_equal(histogram->max_us, all[COUNT - 1]);
    }
    free(all);
    free(histogram);
}

static void an_empty_histogram_has_no_percentiles(void **state)
{
    struct histogram *histogram = calloc(1, sizeof *histogram);
    assert_int_equal(histogram_percentile(histogram, 99), 0);
    histogram_add(histogram, UINT64_MAX);
    assert_int_equal(histogram->max_us, UINT64_MAX);
    free(histogram);
}

/* ---- draws ---- */

/* Five standard deviations: one run in millions fails by chance, and the seed is fixed. */
static void expect_share(size_t hits, size_t trials, double probability)
{
    double mean = (double)trials * probability;
    double deviation = sqrt((double)trials * probability * (1 - probability));
    assert_true(fabs((double)hits - mean) <= 5 * deviation + 1);
}

static void ranks_follow_zipfs_law(void **state)
{
    enum { RANKS = 50, TRIALS = 400000 };
    static const double exponents[] = {0, 0.9, 1.5};
    for (size_t e = 0; e < 3; e++) {
        struct zipf zipf;
        struct draw draw;
        size_t hits[RANKS] = {0};
        double sum = 0;
        draw_seed(&draw, 7 + e);
        assert_true(zipf_init(&zipf, RANKS, exponents[e]));
        for (int i = 0; i < TRIALS; i++)
            hits[zipf_draw(&zipf, &draw)]++;
        for (int r = 0; r < RANKS; r++)
            sum += 1 / pow(r + 1, exponents[e]);
        for (int r = 0; r < RANKS; r++)
            expect_share(hits[r], TRIALS, 1 / pow(r + 1, exponents[e]) / sum);
        zipf_deinit(&zipf);
    }
}

static void pauses_are_those_of_a_poisson_process(void **state)
{
    enum { TRIALS = 200000 };
    struct draw draw;
    double sum = 0;
    size_t longer = 0;
    draw_seed(&draw, 3);
    for (int i = 0; i < TRIALS; i++) {
        double pause = (double)draw_pause_ns(&draw, 1000) / 1e9;
        sum += pause;
        longer += pause > 0.002;
    }
    assert_true(fabs(sum / TRIALS - 0.001) < 0.001 * 0.015);
    expect_share(longer, TRIALS, exp(-2)); /* memoryless */
}

static void one_seed_gives_one_sequence(void **state)
{
    struct draw a, b, c;
    draw_seed(&a, 1);
    draw_seed(&b, 1);
    draw_seed(&c, 2);
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        uint64_t bits = draw_bits(&a);
        assert_int_equal(bits, draw_bits(&b));
        differs |= bits != draw_bits(&c);
    }
    assert_true(differs);
}

/* ---- the journal ---- */

static void expect(const struct journal_key *key, uint64_t floor, size_t count, uint64_t number,
                   enum journal_verdict verdict)
{
    assert_int_equal(journal_judge(key, floor, count, number), verdict);
}

static void what_was_acknowledged_has_to_be_there(void **state)
{
    struct journal_key key = {0};
    expect(&key, 0, 0, 0, JOURNAL_RIGHT);
    expect(&key, 0, 1, 1, JOURNAL_WRONG); /* nobody wrote anything */
    assert_int_equal(journal_begin(&key, false), 1);
    expect(&key, 0, 0, 0, JOURNAL_RIGHT); /* under way: there or not */
    expect(&key, 0, 1, 1, JOURNAL_RIGHT);
    journal_acknowledged(&key);
    expect(&key, 1, 1, 1, JOURNAL_RIGHT);
    expect(&key, 1, 0, 0, JOURNAL_LOST);
    expect(&key, 0, 0, 0, JOURNAL_RIGHT); /* the read began before */
    expect(&key, 1, 2, 1, JOURNAL_DUPLICATE);
    journal_begin(&key, false);
    journal_acknowledged(&key);
    expect(&key, 2, 1, 1, JOURNAL_STALE);
    expect(&key, 1, 1, 1, JOURNAL_RIGHT);
    expect(&key, 2, 1, 3, JOURNAL_WRONG);
    expect(&key, 2, 1, 0, JOURNAL_WRONG);
}

static void what_was_deleted_has_to_be_gone(void **state)
{
    struct journal_key key = {0};
    journal_begin(&key, false);
    journal_acknowledged(&key);
    assert_int_equal(journal_begin(&key, true), 2);
    expect(&key, 1, 0, 0, JOURNAL_RIGHT);
    expect(&key, 1, 1, 1, JOURNAL_RIGHT);
    journal_acknowledged(&key);
    expect(&key, 2, 0, 0, JOURNAL_RIGHT);
    expect(&key, 2, 1, 1, JOURNAL_STALE);
    expect(&key, 2, 1, 2, JOURNAL_WRONG); /* number 2 put nothing */
    journal_begin(&key, false);
    journal_acknowledged(&key);
    expect(&key, 3, 0, 0, JOURNAL_LOST);
    expect(&key, 2, 0, 0, JOURNAL_RIGHT);
}

static void an_unknown_outcome_may_be_either(void **state)
{
    struct journal_key key = {0};
    journal_begin(&key, false);
    journal_acknowledged(&key);
    journal_begin(&key, false);
    journal_unknown(&key);
    assert_true(key.retired);
    expect(&key, key.acknowledged, 1, 1, JOURNAL_RIGHT);
    expect(&key, key.acknowledged, 1, 2, JOURNAL_RIGHT);
    expect(&key, key.acknowledged, 0, 0, JOURNAL_LOST);
}

/* Against a register of which the whole history is known. */
static void verdicts_agree_with_the_whole_history(void **state)
{
    struct draw draw;
    draw_seed(&draw, 11);
    for (int round = 0; round < 2000; round++) {
        struct journal_key key = {0};
        bool deleted[41] = {true};
        uint64_t count = 1 + draw_below(&draw, 40);
        for (uint64_t n = 1; n <= count; n++) {
            deleted[n] = draw_below(&draw, 3) == 0;
            assert_int_equal(journal_begin(&key, deleted[n]), n);
            if (n < count || draw_below(&draw, 2) == 0)
                journal_acknowledged(&key);
        }
        uint64_t floor = draw_below(&draw, key.acknowledged + 1),
                 truth = draw_below(&draw, count + 1);
        bool right = truth >= floor;
        for (uint64_t n = floor; n <= count && deleted[truth]; n++)
            right |= deleted[n]; /* one absence looks like another */
        enum journal_verdict verdict =
            journal_judge(&key, floor, deleted[truth] ? 0 : 1, deleted[truth] ? 0 : truth);
        assert_int_equal(verdict == JOURNAL_RIGHT, right);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_those_of_the_sorted_list),
        cmocka_unit_test(an_empty_histogram_has_no_percentiles),
        cmocka_unit_test(ranks_follow_zipfs_law),
        cmocka_unit_test(pauses_are_those_of_a_poisson_process),
        cmocka_unit_test(one_seed_gives_one_sequence),
        cmocka_unit_test(what_was_acknowledged_has_to_be_there),
        cmocka_unit_test(what_was_deleted_has_to_be_gone),
        cmocka_unit_test(an_unknown_outcome_may_be_either),
        cmocka_unit_test(verdicts_agree_with_the_whole_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
