/* Recovery: what the controller never does by itself. */
#include "tests/unit/controller_toy.h"

#include "coordinator/controller_recover.h"

static bool says(const struct recovery *recovery, const char *words)
{
    for (size_t i = 0; i < recovery->loss_count; i++)
        if (strstr(recovery->losses[i], words) != NULL)
            return true;
    return false;
}

/* Range 2 is on a and b; c learns it. */
static struct toy *toy_with_a_learner(void)
{
    static const char *const placed[RANGES] = {"ab", "cd", "cd", "cd"};
    struct toy *toy = toy_create(3, 5, placed);
    Quire__Range range2 = *range(toy, 0), *pointer = &range2;
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    char *learner = ids[2];
    range2.epoch++;
    range2.learners = &learner;
    range2.n_learners = 1;
    set.ranges = &pointer;
    set.n_ranges = 1;
    change.ranges_configure = &set;
    take(toy, &change);
    toy->seq[0] = toy->seq[1] = 120;
    toy->seq[2] = 90;
    toy->seq[3] = 7;
    controller_lead(toy->controller, true, toy->now);
    for (size_t i = 0; i < NODES; i++)
        if (toy->life[i] != 0)
            hear(toy, i);
    return toy;
}

static int recover(struct toy *toy, const char *node, struct arena *arena, struct recovery *out)
{
    struct err err = {0};
    return controller_recover(toy->controller, 2, node, arena, toy->now, out, &err);
}

static void test_recover_is_refused(void **state)
{
    (void)state;
    struct toy *toy = toy_with_a_learner();
    struct arena arena;
    struct recovery found;
    struct err err = {0};
    arena_init(&arena, 0);
    assert_int_equal(controller_lost(toy->controller, &arena, toy->now, &found, &err), 0);
    assert_int_equal(found.loss_count, 0);
    assert_int_equal(recover(toy, "c", &arena, &found), ERR_CONFLICT); /* a and b live */
    assert_int_equal(recover(toy, NULL, &arena, &found), ERR_CONFLICT);
    assert_int_equal(controller_recover(toy->controller, 99, NULL, &arena, toy->now, &found, &err),
                     ERR_NOT_FOUND);
    toy->life[0] = toy->life[1] = 0;
    run(toy, 500); /* nobody knows yet */
    assert_int_equal(recover(toy, "c", &arena, &found), ERR_CONFLICT);
    run(toy, 10000);
    assert_int_equal(recover(toy, "d", &arena, &found), ERR_CONFLICT); /* has nothing of it */
    assert_int_equal(recover(toy, "a", &arena, &found), ERR_CONFLICT); /* is gone */
    controller_lead(toy->controller, false, toy->now);
    assert_int_equal(recover(toy, "c", &arena, &found), ERR_UNAVAILABLE);
    arena_deinit(&arena);
    toy_destroy(toy);
}

/* Who has just begun to lead does not know who is alive, and gives up nothing. */
static void test_recover_waits_for_news(void **state)
{
    (void)state;
    struct toy *toy = toy_with_a_learner();
    struct arena arena;
    struct recovery found;
    struct err err = {0};
    arena_init(&arena, 0);
    toy->life[0] = toy->life[1] = 0;
    run(toy, 10000);
    struct controller *next = controller_create(NULL);
    controller_map(next, toy->map, toy->now);
    controller_lead(next, true, toy->now);
    assert_int_equal(controller_lost(next, &arena, toy->now, &found, &err), ERR_UNAVAILABLE);
    assert_int_equal(controller_recover(next, 2, NULL, &arena, toy->now, &found, &err),
                     ERR_UNAVAILABLE);
    controller_destroy(next);
    arena_deinit(&arena);
    toy_destroy(toy);
}

static void test_recover_with_a_learner(void **state)
{
    (void)state;
    struct toy *toy = toy_with_a_learner();
    struct arena arena;
    struct recovery found;
    struct err err = {0};
    arena_init(&arena, 0);
    toy->life[0] = toy->life[1] = 0;
    run(toy, 10000);
    uint64_t epoch = range(toy, 0)->epoch;
    assert_int_equal(controller_lost(toy->controller, &arena, toy->now, &found, &err), 0);
    assert_true(says(&found, "range 2 of collection words, from the start to 'b'"));
    assert_true(says(&found, "in sync: gone; it last told of 120 entries"));
    assert_true(says(&found, "quire recover --range 2 --node c"));
    assert_false(says(&found, "range 3"));
    assert_int_equal(recover(toy, "c", &arena, &found), 0);
    assert_true(says(&found, "lost: the writes 91 to 120 at least, which shard a had"));
    assert_int_equal(range(toy, 0)->epoch, epoch); /* it was only said */
    take(toy, found.change);
    assert_string_equal(range(toy, 0)->primary, "c");
    assert_int_equal(range(toy, 0)->n_in_sync, 1);
    assert_int_equal(range(toy, 0)->epoch, epoch + 1);
    assert_false(range(toy, 0)->fresh);
    assert_int_equal(range(toy, 0)->recovered, 1);
    assert_int_equal(recover(toy, "c", &arena, &found), ERR_CONFLICT); /* not lost any more */
    /* The controller goes on from there: c leads, and another replica is made of it, even when a
     * comes back. */
    toy->life[0] = 200;
    run(toy, 10000);
    assert_string_equal(range(toy, 0)->primary, "c");
    assert_true(map_range_in_sync(range(toy, 0), "c"));
    assert_int_equal(range(toy, 0)->n_in_sync, 1);
    assert_int_equal(range(toy, 0)->recovered, 1);
    assert_int_equal(range(toy, 0)->n_learners, 2);
    arena_deinit(&arena);
    toy_destroy(toy);
}

static void test_recover_empty(void **state)
{
    (void)state;
    struct toy *toy = toy_with_a_learner();
    struct arena arena;
    struct recovery found;
    arena_init(&arena, 0);
    toy->life[0] = toy->life[1] = 0;
    toy->state[2] = "copying"; /* the learner has nothing whole */
    run(toy, 10000);
    assert_int_equal(recover(toy, "c", &arena, &found), ERR_CONFLICT);
    assert_int_equal(recover(toy, NULL, &arena, &found), 0);
    assert_true(says(&found, "lost: all entries of the range, 120 when they were last told"));
    take(toy, found.change);
    char home = range(toy, 0)->primary[0]; /* one that has nothing of it */
    assert_true(home == 'd' || home == 'e');
    assert_true(range(toy, 0)->fresh);
    toy->state[2] = "serving";
    run(toy, 10000);
    assert_false(range(toy, 0)->fresh);
    assert_int_equal(range(toy, 0)->primary[0], home);
    arena_deinit(&arena);
    toy_destroy(toy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recover_is_refused),
        cmocka_unit_test(test_recover_waits_for_news),
        cmocka_unit_test(test_recover_with_a_learner),
        cmocka_unit_test(test_recover_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
