/* Replicas on the move: drained shards, moves by request, and what evens out the shards. */
#include "tests/unit/controller_toy.h"

#include "coordinator/controller_move.h"

static const char *const two[RANGES] = {"ab", "ba", "ab", "ba"};

static void place(struct toy *toy, Quire__Placement placement)
{
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.has_placement_set = true;
    change.placement_set = placement;
    take(toy, &change);
}

static struct toy *moving(uint32_t replicas, size_t nodes, const char *const *placed,
                          Quire__Placement placement)
{
    struct toy *toy = leading(replicas, nodes, placed);
    toy->catches_up = true;
    place(toy, placement);
    return toy;
}

static void drain(struct toy *toy, const char *node, bool draining)
{
    struct arena arena;
    struct err err = {0};
    Quire__MapChange *change;
    arena_init(&arena, 0);
    assert_int_equal(
        controller_drain(toy->controller, node, draining, &arena, toy->now, &change, &err), 0);
    take(toy, change);
    arena_deinit(&arena);
}

static int move(struct toy *toy, uint64_t range, const char *from, const char *to, char *text)
{
    struct arena arena;
    struct err err = {0};
    Quire__MapChange *change;
    arena_init(&arena, 0);
    int rc = controller_move(toy->controller, range, from, to, &arena, toy->now, &change, &err);
    if (rc == 0)
        take(toy, change);
    else
        snprintf(text, ERR_TEXT_MAX, "%s", err.text);
    arena_deinit(&arena);
    return rc;
}

static size_t replicas_on(const struct toy *toy, const char *node)
{
    size_t count = 0;
    for (size_t i = 0; i < RANGES; i++)
        count += map_range_on(range(toy, i), node);
    return count;
}

static size_t primaries_on(const struct toy *toy, const char *node)
{
    size_t count = 0;
    for (size_t i = 0; i < RANGES; i++)
        count += strcmp(range(toy, i)->primary, node) == 0;
    return count;
}

/* Turns until nothing changes any more. No range ever has fewer in sync than it is to have, nobody
 * is dropped while it leads, and no more than `most` are on the move. */
static void settle(struct toy *toy, size_t wanted, size_t most)
{
    for (size_t calm = 0, before = toy->changes; calm < 20000 / TICK; calm++) {
        size_t moving = 0;
        run(toy, TICK);
        if (toy->changes != before)
            calm = 0;
        before = toy->changes;
        for (size_t i = 0; i < RANGES; i++) {
            assert_true(range(toy, i)->n_in_sync >= wanted);
            moving += range(toy, i)->n_leaving > 0;
        }
        assert_true(moving <= most);
    }
    for (size_t i = 0; i < RANGES; i++) {
        assert_int_equal(range(toy, i)->n_in_sync, wanted);
        assert_int_equal(map_range_members(range(toy, i)), wanted);
        assert_int_equal(range(toy, i)->n_leaving, 0);
    }
}

static void test_drain(void **state)
{
    (void)state;
    struct toy *toy = moving(2, 4, two, QUIRE__PLACEMENT__STEADY);
    drain(toy, "a", true);
    run(toy, TICK);
    assert_int_equal(primaries_on(toy, "a"), 0); /* before anything else */
    assert_int_equal(replicas_on(toy, "a"), RANGES);
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(replicas_on(toy, "a"), 0);
    assert_true(replicas_on(toy, "c") >= 2 && replicas_on(toy, "d") >= 2);
    drain(toy, "a", false); /* it is given some again */
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(replicas_on(toy, "a"), 2);
    toy_destroy(toy);
}

/* A setting outlives a new life of the node, which says nothing of it. */
static void test_drained_and_restarted(void **state)
{
    (void)state;
    struct toy *toy = moving(2, 4, two, QUIRE__PLACEMENT__STEADY);
    drain(toy, "a", true);
    toy->life[0]++;
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(map_node(toy->map, "a")->incarnation, 101);
    assert_true(map_node(toy->map, "a")->draining);
    assert_int_equal(replicas_on(toy, "a"), 0);
    toy_destroy(toy);
}

/* With nowhere to go a replica stays, and goes when there is a place. */
static void test_drain_without_room(void **state)
{
    (void)state;
    struct toy *toy = moving(2, 2, two, QUIRE__PLACEMENT__LIVELY);
    drain(toy, "a", true);
    settle(toy, 2, 0);
    assert_int_equal(replicas_on(toy, "a"), RANGES);
    assert_int_equal(primaries_on(toy, "a"), 0);
    toy->life[2] = 100;
    settle(toy, 2, CONTROLLER_MOVES_LIVELY);
    assert_int_equal(replicas_on(toy, "a"), 0);
    assert_int_equal(replicas_on(toy, "c"), RANGES);
    toy_destroy(toy);
}

static void test_one_replica(void **state)
{
    (void)state;
    static const char *const one[RANGES] = {"a", "a", "b", "b"};
    struct toy *toy = moving(1, 3, one, QUIRE__PLACEMENT__LIVELY);
    drain(toy, "a", true);
    settle(toy, 1, CONTROLLER_MOVES_LIVELY);
    assert_int_equal(replicas_on(toy, "a"), 0);
    toy_destroy(toy);
}

/* Frozen: no move begins, what is on the move ends it, a lost replica is made anew all the same. */
static void test_frozen(void **state)
{
    (void)state;
    struct toy *toy = moving(2, 5, two, QUIRE__PLACEMENT__STEADY);
    toy->catches_up = false;
    drain(toy, "a", true);
    run(toy, 10000);
    place(toy, QUIRE__PLACEMENT__FROZEN);
    toy->catches_up = true;
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(replicas_on(toy, "a"), RANGES - CONTROLLER_MOVES_STEADY);
    kill_node(toy, 1);
    run(toy, CONTROLLER_REPLACE_MS + 10000);
    settle(toy, 2, 0);
    toy_destroy(toy);
}

/* The leader changes in the middle: the map has all that the next one needs. */
static void test_next_leader(void **state)
{
    (void)state;
    struct toy *toy = moving(2, 4, two, QUIRE__PLACEMENT__STEADY);
    drain(toy, "a", true);
    for (int i = 0; i < 40; i++) {
        run(toy, 300);
        controller_destroy(toy->controller);
        toy->controller = controller_create(NULL);
        controller_map(toy->controller, toy->map, toy->now);
        controller_lead(toy->controller, true, toy->now);
    }
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(replicas_on(toy, "a"), 0);
    toy_destroy(toy);
}

/* The one that it is to go to dies, or the one that it is to leave. */
static void test_death_on_the_way(void **state)
{
    (void)state;
    for (size_t victim = 0; victim < 2; victim++) {
        struct toy *toy = moving(2, 5, two, QUIRE__PLACEMENT__FROZEN);
        char text[ERR_TEXT_MAX];
        toy->catches_up = false;
        assert_int_equal(move(toy, 2, "a", "c", text), 0);
        run(toy, 1000);
        kill_node(toy, victim == 0 ? 2 : 0);
        run(toy, 5000);
        toy->catches_up = true;
        run(toy, 60000);
        assert_int_equal(range(toy, 0)->n_in_sync, 2);
        assert_int_equal(range(toy, 0)->n_leaving, 0);
        assert_int_equal(map_range_members(range(toy, 0)), 2);
        assert_false(map_range_on(range(toy, 0), "a"));
        assert_int_equal(map_range_on(range(toy, 0), "c"), victim == 1);
        toy_destroy(toy);
    }
}

static void test_move(void **state)
{
    (void)state;
    char text[ERR_TEXT_MAX];
    struct toy *toy = moving(2, 5, two, QUIRE__PLACEMENT__FROZEN);
    assert_int_equal(move(toy, 2, "a", "d", text), 0); /* the primary's */
    assert_int_equal(move(toy, 2, "b", "c", text), ERR_CONFLICT);
    assert_non_null(strstr(text, "being made or moved"));
    run(toy, 5000);
    expect(toy, 0, range(toy, 0)->primary[0] == 'b' ? "bd" : "db", "");
    assert_int_equal(move(toy, 3, "a", NULL, text), 0); /* to the emptiest */
    run(toy, 5000);
    assert_false(map_range_on(range(toy, 1), "a"));
    assert_int_equal(move(toy, 99, "a", "d", text), ERR_NOT_FOUND);
    assert_int_equal(move(toy, 4, "nobody", "d", text), ERR_NOT_FOUND);
    assert_int_equal(move(toy, 4, "a", "nobody", text), ERR_NOT_FOUND);
    assert_int_equal(move(toy, 4, "c", "d", text), ERR_CONFLICT);
    assert_non_null(strstr(text, "has no replica on shard c"));
    assert_int_equal(move(toy, 4, "a", "b", text), ERR_CONFLICT);
    assert_non_null(strstr(text, "has a replica on shard b already"));
    drain(toy, "c", true);
    assert_int_equal(move(toy, 4, "a", "c", text), ERR_CONFLICT);
    assert_non_null(strstr(text, "is being drained"));
    kill_node(toy, 4);
    run(toy, 5000);
    assert_int_equal(move(toy, 4, "a", "e", text), ERR_CONFLICT);
    assert_non_null(strstr(text, "is not up"));
    controller_lead(toy->controller, false, toy->now);
    assert_int_equal(move(toy, 4, "a", "d", text), ERR_UNAVAILABLE);
    toy_destroy(toy);
}

/* From one shard to five and back to two. */
static void test_grow_and_shrink(void **state)
{
    (void)state;
    static const char *const one[RANGES] = {"ab", "ab", "ab", "ab"};
    struct toy *toy = moving(2, 2, one, QUIRE__PLACEMENT__STEADY);
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(primaries_on(toy, "a"), 2); /* it led them all */
    for (size_t i = 2; i < 5; i++)
        toy->life[i] = 100 + i;
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    for (size_t i = 0; i < 5; i++) {
        assert_in_range(replicas_on(toy, ids[i]), 1, 2); /* eight on five */
        assert_in_range(primaries_on(toy, ids[i]), 0, 2);
    }
    for (size_t i = 0; i < 3; i++)
        drain(toy, ids[i], true);
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(replicas_on(toy, "d"), RANGES);
    assert_int_equal(replicas_on(toy, "e"), RANGES);
    assert_int_equal(primaries_on(toy, "d"), 2);
    toy_destroy(toy);
}

/* By bytes: one large range weighs as much as three small ones. */
static void test_balance_by_bytes(void **state)
{
    (void)state;
    static const char *const one[RANGES] = {"a", "a", "a", "a"};
    struct toy *toy = moving(1, 2, one, QUIRE__PLACEMENT__STEADY);
    toy->bytes[0] = 300u << 20;
    toy->bytes[1] = toy->bytes[2] = toy->bytes[3] = 100u << 20;
    settle(toy, 1, CONTROLLER_MOVES_STEADY);
    size_t with_large = replicas_on(toy, range(toy, 0)->primary);
    assert_int_equal(with_large, 1);
    toy->bytes[1] = 120u << 20; /* not worth a move */
    size_t changes = toy->changes;
    settle(toy, 1, 0);
    assert_int_equal(toy->changes, changes);
    toy_destroy(toy);
}

/* A new zone: no range keeps two replicas in one, however the bytes are. */
static void test_balance_by_zones(void **state)
{
    (void)state;
    static const char *const zones[NODES] = {"x", "x", "y", "", "", ""};
    struct toy *toy = moving(2, 2, two, QUIRE__PLACEMENT__STEADY);
    memcpy(toy->zone, zones, sizeof zones);
    settle(toy, 2, 0);
    toy->life[2] = 102;
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(replicas_on(toy, "c"), RANGES);
    assert_int_equal(replicas_on(toy, "a"), 2);
    assert_int_equal(replicas_on(toy, "b"), 2);
    toy_destroy(toy);
}

/* While a shard is away nothing is evened out. */
static void test_no_balance_in_trouble(void **state)
{
    (void)state;
    struct toy *toy = moving(2, 2, two, QUIRE__PLACEMENT__LIVELY);
    settle(toy, 2, 0);
    kill_node(toy, 1);
    toy->life[2] = 102;
    run(toy, 20000);
    for (size_t i = 0; i < RANGES; i++)
        assert_int_equal(range(toy, i)->n_leaving, 0);
    toy_destroy(toy);
}

static int forget(struct toy *toy, const char *node)
{
    struct arena arena;
    struct err err = {0};
    Quire__MapChange *change;
    arena_init(&arena, 0);
    int rc = controller_remove(toy->controller, node, &arena, toy->now, &change, &err);
    if (rc == 0)
        take(toy, change);
    arena_deinit(&arena);
    return rc;
}

static void test_remove(void **state)
{
    (void)state;
    struct toy *toy = moving(2, 4, two, QUIRE__PLACEMENT__STEADY);
    assert_int_equal(forget(toy, "a"), ERR_CONFLICT);
    drain(toy, "a", true);
    settle(toy, 2, CONTROLLER_MOVES_STEADY);
    assert_int_equal(forget(toy, "a"), ERR_CONFLICT); /* it runs */
    kill_node(toy, 0);
    run(toy, CONTROLLER_LEASE_OVER_MS + 500);
    assert_int_equal(forget(toy, "a"), 0);
    run(toy, 10000);
    assert_null(map_node(toy->map, "a"));
    assert_int_equal(forget(toy, "a"), ERR_NOT_FOUND);
    toy_destroy(toy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drained_and_restarted),
        cmocka_unit_test(test_drain_without_room),
        cmocka_unit_test(test_one_replica),
        cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_next_leader),
        cmocka_unit_test(test_death_on_the_way),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_grow_and_shrink),
        cmocka_unit_test(test_balance_by_bytes),
        cmocka_unit_test(test_balance_by_zones),
        cmocka_unit_test(test_no_balance_in_trouble),
        cmocka_unit_test(test_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
