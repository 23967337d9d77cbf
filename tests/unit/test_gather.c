/* Gather: dealing, answers, failures, and that no sequence of events leaves a silent gap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/gather.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGES 6

static Quire__Range ranges[RANGES];
static Quire__Range *pointers[RANGES];
static char bounds[RANGES][2];

/* Ranges 1..6, bounds a b c d e, on nodes n0 n1 n2 n0 n1 n2. */
static struct map_ranges make_ranges(void)
{
    static char *nodes[3] = {(char *)"n0", (char *)"n1", (char *)"n2"};
    for (size_t i = 0; i < RANGES; i++) {
        quire__range__init(&ranges[i]);
        bounds[i][0] = (char)('a' + i);
        ranges[i].id = i + 1;
        ranges[i].epoch = 1;
        ranges[i].primary = nodes[i % 3];
        if (i > 0)
            ranges[i].lo = (ProtobufCBinaryData){1, (uint8_t *)bounds[i - 1]};
        if (i + 1 < RANGES)
            ranges[i].hi = (ProtobufCBinaryData){1, (uint8_t *)bounds[i]};
        pointers[i] = &ranges[i];
    }
    return (struct map_ranges){pointers, RANGES};
}

static Quire__RangeFailure *failure(struct arena *arena, uint64_t id, int code, const char *text)
{
    Quire__RangeFailure *out = arena_alloc(arena, sizeof *out);
    quire__range_failure__init(out);
    out->id = id;
    out->code = (uint32_t)code;
    out->text = (char *)text;
    return out;
}

static void test_all_answer(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    arena_init(&arena, 0);
    gather_init(&gather, &arena, make_ranges(), false);
    assert_int_equal(gather.piece_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_false(gather_done(&gather));
        assert_int_equal(gather.pieces[i].range_count, 2);
        gather_sent(&gather, i);
        uint64_t covered[2] = {i + 4, i + 1};
        assert_int_equal(gather_answered(&gather, i, covered, 2, NULL, 0), 0);
    }
    assert_true(gather_done(&gather));
    assert_int_equal(gather_missing(&gather), 0);
    assert_false(gather_stale(&gather));
    Quire__MissingRange **missing;
    assert_int_equal(gather_missing_ranges(&gather, &missing), 0);
    arena_deinit(&arena);
}

static void test_piece_per_range(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    arena_init(&arena, 0);
    gather_init(&gather, &arena, make_ranges(), true);
    assert_int_equal(gather.piece_count, RANGES);
    for (size_t i = 0; i < RANGES; i++) {
        assert_int_equal(gather.pieces[i].ranges[0], i);
        gather_sent(&gather, i);
        gather_answered_all(&gather, i);
    }
    assert_int_equal(gather_missing(&gather), 0);
    arena_deinit(&arena);
}

static void test_missing(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    struct err err = {0};
    arena_init(&arena, 0);
    gather_init(&gather, &arena, make_ranges(), false);
    for (size_t i = 0; i < 3; i++)
        gather_sent(&gather, i);
    uint64_t covered[2] = {1, 4};
    assert_int_equal(gather_answered(&gather, 0, covered, 1, NULL, 0), 0); /* 4 is passed over */
    Quire__RangeFailure *failed[1] = {failure(&arena, 5, ERR_CORRUPT, "checksum mismatch")};
    uint64_t second[1] = {2};
    assert_int_equal(gather_answered(&gather, 1, second, 1, failed, 1), 0);
    gather_failed(&gather, 2, ERR_DEADLINE, "the shard did not answer in time");
    assert_true(gather_done(&gather));
    assert_int_equal(gather_missing(&gather), 4); /* 3 4 5 6 */
    Quire__MissingRange **missing;
    assert_int_equal(gather_missing_ranges(&gather, &missing), 4);
    assert_memory_equal(missing[0]->lo.data, "b", 1);
    assert_memory_equal(missing[0]->hi.data, "c", 1);
    assert_string_equal(missing[0]->reason, "the shard did not answer in time");
    assert_string_equal(missing[1]->reason, "the shard did not answer for this range");
    assert_string_equal(missing[2]->reason, "checksum mismatch");
    assert_int_equal(missing[3]->hi.len, 0);
    assert_int_equal(gather_missing_error(&gather, &err), ERR_INCOMPLETE);
    assert_non_null(strstr(err.text, "from \"b\" to \"c\""));
    assert_non_null(strstr(err.text, "to the last"));
    arena_deinit(&arena);
}

static void test_neighbours_with_one_reason_are_joined(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    struct map_ranges all = make_ranges();
    ranges[1].primary = ranges[2].primary; /* 2, 3 and 6 on n2 */
    arena_init(&arena, 0);
    gather_init(&gather, &arena, all, false);
    for (size_t i = 0; i < gather.piece_count; i++) {
        gather_sent(&gather, i);
        if (strcmp(gather.pieces[i].node, "n2") == 0)
            gather_failed(&gather, i, ERR_UNAVAILABLE, "down");
        else
            gather_answered_all(&gather, i);
    }
    Quire__MissingRange **missing;
    assert_int_equal(gather_missing_ranges(&gather, &missing), 2);
    assert_memory_equal(missing[0]->lo.data, "a", 1);
    assert_memory_equal(missing[0]->hi.data, "c", 1);
    arena_deinit(&arena);
}

static void test_answers_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        uint64_t covered[3];
        size_t count;
    } cases[] = {
        {{1, 2}, 2},     /* another's range */
        {{1, 1}, 2},     /* twice */
        {{1, 4, 99}, 3}, /* nobody's */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        struct gather gather;
        arena_init(&arena, 0);
        gather_init(&gather, &arena, make_ranges(), false);
        gather_sent(&gather, 0);
        assert_int_equal(gather_answered(&gather, 0, cases[i].covered, cases[i].count, NULL, 0),
                         ERR_PROTOCOL);
        assert_int_equal(gather_missing(&gather), 2);
        assert_int_equal(gather.open, 2);
        arena_deinit(&arena);
    }
}

static void test_stale(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    arena_init(&arena, 0);
    gather_init(&gather, &arena, make_ranges(), false);
    gather_sent(&gather, 0);
    Quire__RangeFailure *failed[1] = {failure(&arena, 4, ERR_STALE, NULL)};
    uint64_t covered[1] = {1};
    assert_int_equal(gather_answered(&gather, 0, covered, 1, failed, 1), 0);
    assert_true(gather_stale(&gather));
    arena_deinit(&arena);
}

/* Any order of any events: the invariants are asserted inside; in the end each range is covered or
 * missing. */
static void test_random_events(void **state)
{
    (void)state;
    unsigned seed = 5;
    for (int round = 0; round < 2000; round++) {
        struct arena arena;
        struct gather gather;
        arena_init(&arena, 0);
        gather_init(&gather, &arena, make_ranges(), rand_r(&seed) % 2);
        while (!gather_done(&gather)) {
            size_t at = (size_t)rand_r(&seed) % gather.piece_count;
            struct gather_piece *piece = &gather.pieces[at];
            if (sm_state(&piece->sm) == GATHER_READY) {
                if (rand_r(&seed) % 5 == 0)
                    gather_failed(&gather, at, ERR_UNAVAILABLE, "down");
                else
                    gather_sent(&gather, at);
                continue;
            }
            if (sm_state(&piece->sm) != GATHER_SENT)
                continue;
            uint64_t covered[8];
            Quire__RangeFailure *failed[8];
            size_t covered_count = 0, failed_count = 0;
            for (size_t i = 0; i < piece->range_count; i++) {
                uint64_t id = gather.ranges[piece->ranges[i]].range->id;
                switch (rand_r(&seed) % 8) {
                case 0:
                    failed[failed_count++] = failure(&arena, id, ERR_IO, "disk");
                    break;
                case 1:
                    break;
                case 2:
                    id = (uint64_t)rand_r(&seed) % 8;
                    /* fall through */
                default:
                    covered[covered_count++] = id;
                }
            }
            gather_answered(&gather, at, covered, covered_count, failed, failed_count);
        }
        size_t covered = 0;
        for (size_t i = 0; i < gather.range_count; i++)
            covered += gather.ranges[i].state == GATHER_COVERED;
        assert_int_equal(covered + gather_missing(&gather), RANGES);
        arena_deinit(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_answer),
        cmocka_unit_test(test_piece_per_range),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_neighbours_with_one_reason_are_joined),
        cmocka_unit_test(test_answers_that_do_not_fit),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_random_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
