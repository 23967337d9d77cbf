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
static size_t choose_none(void *data, const Quire__Range *range, uint32_t tried)
{
    return SIZE_MAX;
}

static const struct gather_chooser CHOOSER = {choose_none, NULL}; /* so: the primary */

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
    gather_init(&gather, &arena, make_ranges(), false, &CHOOSER);
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
    gather_init(&gather, &arena, make_ranges(), true, &CHOOSER);
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
    gather_init(&gather, &arena, make_ranges(), false, &CHOOSER);
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

/* ---- dealing again ---- */

static char *TWO[3][2] = {
    {(char *)"n0", (char *)"n1"}, {(char *)"n1", (char *)"n2"}, {(char *)"n2", (char *)"n0"}};

/* The same ranges, each with the next node as its second replica. */
static struct map_ranges make_doubles(void)
{
    struct map_ranges all = make_ranges();
    for (size_t i = 0; i < RANGES; i++) {
        ranges[i].n_in_sync = 2;
        ranges[i].in_sync = TWO[i % 3];
    }
    return all;
}

static size_t choose_first(void *data, const Quire__Range *range, uint32_t tried)
{
    return tried == 0 ? 0 : SIZE_MAX;
}

static const struct gather_chooser FIRST = {choose_first, NULL};

/* A range that was alone keeps the place of its piece. */
static void test_deal_again_alone(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    arena_init(&arena, 0);
    gather_init(&gather, &arena, make_doubles(), true, &FIRST);
    for (size_t i = 0; i < RANGES; i++)
        gather_sent(&gather, i);
    for (size_t i = 0; i < RANGES; i++) {
        assert_int_equal(gather.ranges[i].tried, 1);
        gather_failed(&gather, i, ERR_UNAVAILABLE, "down");
        assert_int_equal(gather_deal_again(&gather, i, 1), i);
        assert_string_equal(gather.pieces[i].node, TWO[i % 3][1]);
        assert_int_equal(gather.pieces[i].sm.state, GATHER_READY);
        assert_int_equal(gather.ranges[i].tried, 3);
        assert_int_equal(gather_missing(&gather), 0);
    }
    assert_int_equal(gather.piece_count, RANGES);
    for (size_t i = 0; i < RANGES; i++) {
        assert_false(gather_done(&gather));
        gather_sent(&gather, i);
        gather_answered_all(&gather, i);
    }
    assert_true(gather_done(&gather));
    assert_int_equal(gather_missing(&gather), 0);
    arena_deinit(&arena);
}

/* Of several in a piece, those that go to one node share a piece at the end, until it is sent. */
static void test_deal_again_joins(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    arena_init(&arena, 0);
    gather_init(&gather, &arena, make_doubles(), false, &FIRST); /* n0: 0 3; n1: 1 4; n2: 2 5 */
    for (size_t i = 0; i < 3; i++)
        gather_sent(&gather, i);
    uint64_t covered[1] = {1};
    Quire__RangeFailure *failed[1] = {failure(&arena, 4, ERR_STALE, "not here")};
    assert_int_equal(gather_answered(&gather, 0, covered, 1, failed, 1), 0); /* 3 is missing */
    gather_failed(&gather, 1, ERR_UNAVAILABLE, "down");                      /* 1 and 4 */
    size_t third = gather_deal_again(&gather, 3, 1);
    assert_int_equal(third, 3);
    assert_string_equal(gather.pieces[third].node, "n1");
    size_t fourth = gather_deal_again(&gather, 1, 1);
    assert_int_equal(fourth, 4);
    assert_string_equal(gather.pieces[fourth].node, "n2");
    /* The other one is alone in its piece now: it takes that over, and does not join. */
    assert_int_equal(gather_deal_again(&gather, 4, 1), 1);
    assert_string_equal(gather.pieces[1].node, "n2");
    assert_int_equal(gather_missing(&gather), 0);
    assert_int_equal(gather.ranges[0].state, GATHER_COVERED); /* what was answered stays */
    assert_int_equal(gather.pieces[0].range_count, 1);
    /* One that is under way is not joined. */
    gather_sent(&gather, third);
    gather_sent(&gather, fourth);
    gather_sent(&gather, 1);
    gather_failed(&gather, 2, ERR_IO, NULL); /* 2 and 5, to n0 */
    size_t fifth = gather_deal_again(&gather, 2, 1);
    assert_int_equal(fifth, 5);
    assert_int_equal(gather_deal_again(&gather, 5, 1), 2);
    gather_sent(&gather, fifth);
    gather_sent(&gather, 2);
    for (size_t i = 1; i < 6; i++)
        gather_answered_all(&gather, i);
    assert_true(gather_done(&gather));
    assert_int_equal(gather_missing(&gather), 0);
    arena_deinit(&arena);
}

static void test_deal_again_shares(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    struct map_ranges all = make_doubles();
    for (size_t i = 0; i < RANGES; i++) { /* all of them on n0, and n1 */
        ranges[i].primary = TWO[0][0];
        ranges[i].in_sync = TWO[0];
    }
    arena_init(&arena, 0);
    gather_init(&gather, &arena, all, false, &FIRST);
    assert_int_equal(gather.piece_count, 1);
    gather_sent(&gather, 0);
    gather_failed(&gather, 0, ERR_UNAVAILABLE, "down");
    for (size_t i = 0; i + 1 < RANGES; i++)
        assert_int_equal(gather_deal_again(&gather, i, 1), 1);
    assert_int_equal(gather.pieces[1].range_count, RANGES - 1);
    assert_int_equal(gather_deal_again(&gather, RANGES - 1, 1), 0);
    assert_int_equal(gather.piece_count, 2);
    arena_deinit(&arena);
}

/* Every way in which replicas may fail: what no replica answered is missing, the rest is covered;
 * and there is an end to it. */
static void test_deal_again_random(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 3000; seed++) {
        struct arena arena;
        struct gather gather;
        bool answers[RANGES][2], reached[RANGES] = {false};
        srand(seed);
        for (size_t i = 0; i < RANGES; i++)
            for (size_t r = 0; r < 2; r++)
                answers[i][r] = rand() % 2 == 0;
        arena_init(&arena, 0);
        gather_init(&gather, &arena, make_doubles(), seed % 3 == 0, &FIRST);
        size_t sent = 0, limit = (size_t)2 * RANGES * RANGES;
        while (!gather_done(&gather)) {
            size_t piece = (size_t)rand() % gather.piece_count;
            struct gather_piece *it = &gather.pieces[piece];
            if (it->sm.state != GATHER_READY)
                continue;
            assert_true(++sent < limit);
            gather_sent(&gather, piece);
            uint64_t covered[RANGES];
            size_t count = 0, missing[RANGES], missing_count = 0;
            for (size_t i = 0; i < it->range_count; i++) {
                size_t range = it->ranges[i];
                size_t replica = strcmp(it->node, TWO[range % 3][0]) == 0 ? 0 : 1;
                assert_string_equal(it->node, TWO[range % 3][replica]);
                if (answers[range][replica])
                    covered[count++] = range + 1;
                else
                    missing[missing_count++] = range;
                reached[range] |= answers[range][replica];
            }
            assert_int_equal(gather_answered(&gather, piece, covered, count, NULL, 0), 0);
            for (size_t i = 0; i < missing_count; i++)
                if (gather.ranges[missing[i]].tried == 1)
                    assert_true(gather_deal_again(&gather, missing[i], 1) != SIZE_MAX);
        }
        for (size_t i = 0; i < RANGES; i++) {
            assert_int_equal(reached[i], answers[i][0] || answers[i][1]);
            assert_int_equal(gather.ranges[i].state == GATHER_COVERED, reached[i]);
        }
        arena_deinit(&arena);
    }
}

static void test_neighbours_with_one_reason_are_joined(void **state)
{
    (void)state;
    struct arena arena;
    struct gather gather;
    struct map_ranges all = make_ranges();
    ranges[1].primary = ranges[2].primary; /* 2, 3 and 6 on n2 */
    arena_init(&arena, 0);
    gather_init(&gather, &arena, all, false, &CHOOSER);
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
        gather_init(&gather, &arena, make_ranges(), false, &CHOOSER);
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
    gather_init(&gather, &arena, make_ranges(), false, &CHOOSER);
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
        gather_init(&gather, &arena, make_ranges(), rand_r(&seed) % 2, &CHOOSER);
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
        cmocka_unit_test(test_deal_again_alone),
        cmocka_unit_test(test_deal_again_joins),
        cmocka_unit_test(test_deal_again_shares),
        cmocka_unit_test(test_deal_again_random),
        cmocka_unit_test(test_neighbours_with_one_reason_are_joined),
        cmocka_unit_test(test_answers_that_do_not_fit),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_random_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
