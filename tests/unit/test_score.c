#include "shard/score.h"
#include "shard/segment.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void ln_is_the_logarithm(void **state)
{
    assert_true(score_ln(1.0) == 0.0);
    double x = 1;
    for (int i = 0; i < 200000; i++) {
        double true_value = log(x), ours = score_ln(x);
        assert_true(fabs(ours - true_value) <= 4e-16 * fabs(true_value) + 1e-18);
        x *= 1.000213;
    }
    for (int i = 1; i < 3000; i++) { /* close to 1, where cancellation would show */
        double y = 1 + i * 0x1p-40;
        assert_true(fabs(score_ln(y) - log1p(i * 0x1p-40)) <= 4e-16 * log1p(i * 0x1p-40));
    }
}

/* What every machine has to compute, to the last bit. */
static void ln_bits_are_fixed(void **state)
{
    static const struct {
        double x, ln;
    } at[] = {
        {1.5, 0x1.9f323ecbf984cp-2},        {2, 0x1.62e42fefa39efp-1},
        {3, 0x1.193ea7aad030bp+0},          {10, 0x1.26bb1bbb55516p+1},
        {1234.5678, 0x1.c7951d51791d7p+2},  {1000000.5, 0x1.ba18aaa56f6fbp+3},
        {1000000000, 0x1.4b927f32bffb8p+4},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        assert_true(score_ln(at[i].x) == at[i].ln);
}

static void idf_falls_with_frequency_and_stays_positive(void **state)
{
    double before = INFINITY;
    for (uint64_t df = 0; df <= 1000; df++) {
        double idf = score_idf(1000, df);
        assert_true(idf > 0 && idf < before);
        before = idf;
    }
    assert_true(fabs(score_idf(10, 3) - log(1 + 7.5 / 3.5)) < 1e-15);
    assert_true(score_idf(10, 5000) > 0);
    assert_true(score_idf(0, 0) > 0);
    assert_true(isfinite(score_idf(UINT64_MAX, 0)));
}

static void parts_rise_with_frequency_and_fall_with_length(void **state)
{
    struct score_collection collection = {
        .documents = 1000, .total_length = 50000, .k1 = 1.2, .b = 0.75};
    struct score_table table;
    score_table_init(&collection, &table);
    struct score_term term = score_term_init(&collection, &table, 10, 1);
    for (uint32_t norm = 0; norm < 256; norm += 5)
        for (uint32_t freq = 1; freq < 100; freq++)
            assert_true(score_part(&term, freq, (uint8_t)norm) <=
                        score_part(&term, freq + 1, (uint8_t)norm));
    for (uint32_t norm = 0; norm < 255; norm++)
        assert_true(score_part(&term, 3, (uint8_t)norm) >=
                    score_part(&term, 3, (uint8_t)(norm + 1)));
    double length = norm_decode(norm_encode(40));
    double expected = log(1 + 990.5 / 10.5) * 2 / (2 + 1.2 * (0.25 + 0.75 * length / 50));
    assert_true(fabs((double)score_part(&term, 2, norm_encode(40)) / SCORE_ONE - expected) < 1e-6);
}

static void extremes_stay_in_range(void **state)
{
    struct score_collection empty = {.k1 = 1.2, .b = 0.75};
    struct score_table table;
    score_table_init(&empty, &table);
    for (int i = 0; i < 256; i++)
        assert_true(isfinite(table.norm_part[i]) && table.norm_part[i] >= 0);
    struct score_collection huge = {
        .documents = UINT64_MAX, .total_length = UINT64_MAX, .k1 = 1000, .b = 1};
    score_table_init(&huge, &table);
    struct score_term term = score_term_init(&huge, &table, 0, SCORE_BOOST_MAX);
    assert_true(score_part(&term, UINT32_MAX, 0) < UINT64_C(1) << 42);
    struct score_collection flat = {.documents = 5, .total_length = 5};
    score_table_init(&flat, &table);
    term = score_term_init(&flat, &table, 5, 1e-30);
    assert_int_equal(score_part(&term, 1, 255), 0);
}

/* By table or by division, one by one or many at once: the formula as score.h writes it. */
static void parts_are_the_formula(void **state)
{
    uint64_t random = 7;
    for (int round = 0; round < 200; round++) {
        struct score_collection collection = {
            .documents = 1000 + (uint64_t)round, .total_length = 50000, .k1 = 1.2, .b = 0.75};
        const struct score_table *table = score_table_get(&collection);
        struct score_term term = score_term_init(&collection, table, 10, 0.5 + round);
        uint32_t freqs[128], parts[128], count = 1 + (uint32_t)round % 128;
        uint8_t norms[128];
        for (uint32_t i = 0; i < count; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            norms[i] = (uint8_t)(random >> 56);
            freqs[i] = 1 + (uint32_t)(random >> 33) % 7;
            if (round % 4 == 3 && i % 16 == 5)
                freqs[i] = (uint32_t)(random >> 20);
        }
        score_parts(&term, freqs, norms, count, parts);
        for (uint32_t i = 0; i < count; i++) {
            double f = freqs[i], average = 50000.0 / (1000 + round);
            double length = norm_decode(norms[i]);
            float norm_part = (float)(1.2 * (1 - 0.75 + 0.75 * length / average));
            double part = term.weight * (f / (f + (double)norm_part)) + 0.5;
            assert_true(score_part(&term, freqs[i], norms[i]) == (uint64_t)part);
            assert_true(parts[i] == (uint64_t)part);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ln_is_the_logarithm),
        cmocka_unit_test(ln_bits_are_fixed),
        cmocka_unit_test(idf_falls_with_frequency_and_stays_positive),
        cmocka_unit_test(parts_rise_with_frequency_and_fall_with_length),
        cmocka_unit_test(extremes_stay_in_range),
        cmocka_unit_test(parts_are_the_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
