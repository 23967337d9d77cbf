/* The rules of the controller, one by one; and a random walk. Moves and recovery have files of
 * their own. */
#include "tests/unit/controller_toy.h"

static void test_quiet(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    run(toy, 60000);
    assert_int_equal(toy->changes, 0);
    assert_int_equal(toy->lease[0], CONTROLLER_LEASE_MS);
    toy_destroy(toy);
}

/* Its ranges go over in one change, not before the lease is surely over, and stay spread. */
static void test_dead_primary(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    uint64_t heard = toy->now - toy->now % 250;
    kill_node(toy, 0);
    run(toy, heard + CONTROLLER_LEASE_OVER_MS - TICK - toy->now);
    assert_int_equal(toy->changes, 0);
    run(toy, 2 * TICK);
    assert_int_equal(toy->changes, 1);
    expect(toy, 0, "bc", "a");
    expect(toy, 1, "bc", "a");
    expect(toy, 2, "cb", "a");
    expect(toy, 3, "cb", "a"); /* b leads two by then */
    assert_int_equal(controller_node_state(toy->controller, "a"), CONTROLLER_DEAD);
    run(toy, 20000);
    assert_int_equal(toy->changes, 1);
    toy_destroy(toy);
}

/* Silent without a closed connection: GRACE. */
static void test_silent(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->life[1] = 0;
    run(toy, CONTROLLER_GRACE_MS - 500);
    assert_int_equal(toy->changes, 0);
    run(toy, 500 + 2 * TICK);
    expect(toy, 0, "ac", "b");
    expect(toy, 1, "ca", "b");
    toy_destroy(toy);
}

/* Who becomes leader does not know which leases were granted. */
static void test_new_leader(void **state)
{
    (void)state;
    struct toy *toy = toy_create(3, 3, three);
    run(toy, 2000);
    assert_int_equal(toy->lease[0], 0);
    kill_node(toy, 0);
    run(toy, 10000);
    assert_int_equal(toy->changes, 0);
    assert_int_equal(controller_node_state(toy->controller, "a"), CONTROLLER_DEAD);
    controller_lead(toy->controller, true, toy->now);
    assert_int_equal(controller_node_state(toy->controller, "a"), CONTROLLER_UNKNOWN);
    run(toy, CONTROLLER_LEASE_OVER_MS + CONTROLLER_DEPOSED_MS - 2 * TICK);
    assert_int_equal(toy->changes, 0);
    run(toy, 4 * TICK);
    expect(toy, 0, "bc", "a");
    controller_lead(toy->controller, false, toy->now);
    kill_node(toy, 1);
    run(toy, 10000);
    expect(toy, 0, "bc", "a");
    toy_destroy(toy);
}

/* Never heard since this coordinator started: the others have GRACE to come. */
static void test_unknown_nodes(void **state)
{
    (void)state;
    struct toy *toy = toy_create(3, 3, three);
    toy->life[0] = 0;
    toy->now += 50000;
    controller_lead(toy->controller, true, toy->now);
    run(toy, CONTROLLER_GRACE_MS - 2 * TICK);
    assert_int_equal(toy->changes, 0);
    run(toy, 4 * TICK);
    expect(toy, 0, "bc", "a");
    toy_destroy(toy);
}

/* A pause of the coordinator itself is nobody's silence. */
static void test_own_pause(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->now += 20000;
    struct arena arena;
    arena_init(&arena, 0);
    assert_null(controller_next(toy->controller, &arena, toy->now));
    arena_deinit(&arena);
    run(toy, 10000);
    assert_int_equal(toy->changes, 0);
    toy_destroy(toy);
}

/* A new process: known to the map together with new epochs, at once. */
static void test_new_life(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->life[0] = 900;
    toy->state[0] = "opening";
    hear(toy, 0);
    assert_int_equal(toy->lease[0], 0);
    run(toy, TICK);
    assert_int_equal(toy->changes, 1);
    assert_int_equal(map_node(toy->map, "a")->incarnation, 900);
    expect(toy, 0, "bc", "a");
    expect(toy, 1, "bac", ""); /* not its primary: it has its log still */
    assert_int_equal(range(toy, 0)->epoch, 2);
    assert_int_equal(range(toy, 1)->epoch, 1);
    run(toy, 250);
    assert_int_equal(toy->lease[0], CONTROLLER_LEASE_MS);
    toy_destroy(toy);

    /* Alone: the same one, under a new epoch. */
    static const char *const one[RANGES] = {"a", "a", "b", "a"};
    toy = leading(1, 2, one);
    toy->life[0] = 900;
    run(toy, 250 + TICK);
    assert_int_equal(toy->changes, 1);
    for (size_t i = 0; i < RANGES; i++)
        assert_int_equal(range(toy, i)->epoch, i == 2 ? 1 : 2);
    expect(toy, 0, "a", "");
    toy_destroy(toy);
}

/* A late word of the life before changes nothing. */
static void test_former_life(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->life[0] = 900;
    run(toy, 1000);
    size_t changes = toy->changes;
    toy->life[0] = 100;
    hear(toy, 0);
    assert_int_equal(toy->lease[0], 0);
    run(toy, 1000);
    assert_int_equal(toy->changes, changes);
    assert_int_equal(map_node(toy->map, "a")->incarnation, 900);
    toy_destroy(toy);
}

/* The primary took this epoch while the map knew its life before, and does not lead: a new one. */
static void test_idle_primary(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->idle[0] = true;
    run(toy, 300);
    assert_int_equal(range(toy, 0)->epoch, 2);
    expect(toy, 0, "abc", "");
    toy->idle[0] = false;
    run(toy, 5000);
    assert_int_equal(toy->changes, 1);
    toy_destroy(toy);
}

/* One that cannot write leads no more, if another one can. */
static void test_read_only(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->state[0] = "read-only";
    run(toy, 5000);
    expect(toy, 0, "bac", "");
    toy->state[1] = toy->state[2] = "read-only";
    run(toy, 5000);
    expect(toy, 0, "bac", "");
    toy_destroy(toy);
}

/* Who cannot read all that it has hands over, then learns anew; with nobody else to lead it leads
 * on. */
static void test_damaged(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->state[0] = "damaged";
    run(toy, 300);
    assert_string_equal(range(toy, 0)->primary, "b");
    assert_true(map_range_in_sync(range(toy, 0), "a")); /* until it has the epoch, and follows */
    run(toy, 600);
    for (size_t i = 0; i < RANGES; i++) {
        assert_string_not_equal(range(toy, i)->primary, "a");
        assert_true(map_range_learns(range(toy, i), "a"));
    }
    toy->catches_up = true;
    run(toy, 2000);
    assert_true(map_range_learns(range(toy, 0), "a")); /* not before it is made anew */
    toy->state[0] = "serving";
    run(toy, 1000);
    assert_true(map_range_in_sync(range(toy, 0), "a"));
    toy_destroy(toy);
    static const char *const both[RANGES] = {"ab", "ab", "ba", "ba"};
    toy = leading(2, 2, both);
    toy->state[0] = toy->state[1] = "damaged";
    size_t changes = toy->changes;
    run(toy, 10000);
    assert_int_equal(toy->changes, changes);
    toy_destroy(toy);
}

/* A learner that is found damaged gets a new epoch, with which its shard makes it anew. */
static void test_damaged_learner(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->state[2] = "damaged";
    run(toy, 900);
    toy->state[2] = "serving"; /* it is made anew */
    run(toy, 900);
    assert_true(map_range_learns(range(toy, 0), "c"));
    uint64_t epoch = range(toy, 0)->epoch;
    run(toy, 900);
    assert_int_equal(range(toy, 0)->epoch, epoch); /* it learns on, under this one */
    toy->state[2] = "damaged";
    run(toy, 300);
    assert_true(range(toy, 0)->epoch > epoch);
    toy->state[2] = "serving";
    toy->catches_up = true;
    run(toy, 2000);
    assert_true(map_range_in_sync(range(toy, 0), "c"));
    toy_destroy(toy);
}

static void test_new_node(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->life[3] = 7;
    run(toy, 250 + TICK);
    assert_int_equal(map_node(toy->map, "d")->incarnation, 7);
    assert_int_equal(toy->changes, 1);
    toy_destroy(toy);
}

/* Without a living replica in sync nothing is done, whatever else there is. */
static void test_last_replica(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 5, three);
    kill_node(toy, 0);
    run(toy, 2000);
    kill_node(toy, 1);
    run(toy, 2000);
    expect(toy, 0, "c", "ab");
    size_t changes = toy->changes;
    kill_node(toy, 2);
    run(toy, 120000);
    expect(toy, 0, "c", "ab");
    assert_int_equal(toy->changes, changes);
    toy->life[0] = 100; /* a learner that comes back is not what the range waits for */
    run(toy, 5000);
    expect(toy, 0, "c", "ab");
    toy->life[2] = 102;
    run(toy, 1000);
    assert_string_equal(range(toy, 0)->primary, "c");
    toy_destroy(toy);
}

static void ask(struct toy *toy, size_t i, const char *node, bool in_sync, uint64_t epoch)
{
    quire__replica_request__init(&toy->request);
    toy->request.range = range(toy, i)->id;
    toy->request.node = (char *)node;
    toy->request.in_sync = in_sync;
    toy->request.epoch = epoch;
}

static void test_requests(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    ask(toy, 0, "b", false, 2); /* of another configuration */
    run(toy, 1000);
    assert_int_equal(toy->changes, 0);
    ask(toy, 0, "b", false, 1);
    run(toy, 300);
    expect(toy, 0, "ac", "b");
    run(toy, 3000); /* the request is of the epoch before */
    assert_int_equal(toy->changes, 1);
    ask(toy, 0, "b", true, 2);
    run(toy, 300);
    expect(toy, 0, "abc", "");
    ask(toy, 0, "b", false, 3);
    run(toy, 300);
    ask(toy, 0, "b", false, 4); /* taken back what it asked for: a new epoch, and a learner */
    run(toy, 300);
    expect(toy, 0, "ac", "b");
    assert_int_equal(range(toy, 0)->epoch, 5);
    toy_destroy(toy);
}

static void test_failed_replica(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->state[0] = "failed";
    run(toy, 300);
    expect(toy, 0, "bc", "a");
    expect(toy, 1, "bc", "a");
    toy_destroy(toy);

    /* All of them: nobody is given up. */
    toy = leading(3, 3, three);
    toy->state[0] = toy->state[1] = toy->state[2] = "failed";
    run(toy, 60000);
    expect(toy, 0, "abc", "");
    toy_destroy(toy);
    toy = leading(3, 3, three);
    toy->state[0] = "failed";
    toy->state[1] = toy->state[2] = "opening";
    run(toy, 60000);
    expect(toy, 0, "abc", "");
    toy_destroy(toy);
}

static void test_leaving(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->leaving[0] = toy->behind[0] = true;
    run(toy, 300);
    expect(toy, 0, "bac", "");
    expect(toy, 1, "bc", "a"); /* it did not lead there */
    expect(toy, 3, "cab", "");
    assert_int_equal(toy->changes, 1);
    assert_int_equal(controller_node_state(toy->controller, "a"), CONTROLLER_LEAVING);
    run(toy, 5000); /* it has not carried out that it leads no more: it stays in sync */
    assert_int_equal(toy->changes, 1);
    toy->behind[0] = false;
    run(toy, 5000);
    assert_int_equal(toy->changes, 2);
    expect(toy, 0, "bc", "a");
    expect(toy, 3, "cb", "a");
    toy_destroy(toy);

    static const char *const one[RANGES] = {"a", "a", "b", "a"};
    toy = leading(1, 2, one);
    toy->leaving[0] = true;
    run(toy, 5000);
    assert_int_equal(toy->changes, 0);
    toy_destroy(toy);
}

static void test_full_disk(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->disk_short[0] = true;
    run(toy, 5000);
    expect(toy, 0, "bac", "");
    assert_int_equal(toy->changes, 1);
    toy->disk_short[1] = toy->disk_short[2] = true;
    run(toy, 5000);
    assert_int_equal(toy->changes, 1);
    toy_destroy(toy);
}

/* Primary no more, in sync, not there yet: whom the next one wants to drop may answer reads as the
 * primary for as long as its lease lasts. The simulator found it. */
static void test_dropped_with_a_lease(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->disk_short[0] = toy->claims[0] = true;
    run(toy, 300);
    expect(toy, 0, "bac", "");
    assert_int_equal(toy->lease[0], CONTROLLER_LEASE_MS);
    ask(toy, 0, "a", false, 2);
    run(toy, 1000);
    expect(toy, 0, "bac", "");
    assert_int_equal(toy->lease[0], 0);
    run(toy, 1000);
    expect(toy, 0, "bc", "a");
    toy_destroy(toy);
}

/* Comes back while its deposition is on the way: no lease, until the range has a new epoch. */
static void test_return_during_deposition(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    kill_node(toy, 0);
    toy->hold = true;
    run(toy, 1500);
    assert_int_equal(toy->changes, 1);
    toy->life[0] = 100;
    controller_link(toy->controller, "a", true, toy->now);
    run(toy, 500);
    assert_int_equal(controller_node_state(toy->controller, "a"), CONTROLLER_ALIVE);
    assert_int_equal(toy->lease[0], 0);
    toy->hold = false;
    run(toy, 2000); /* it was lost: the one who is back leads on, under a new epoch */
    expect(toy, 0, "abc", "");
    assert_int_equal(range(toy, 0)->epoch, 2);
    assert_int_equal(toy->lease[0], CONTROLLER_LEASE_MS);
    toy_destroy(toy);
}

/* Deposed, and does not know it. */
static void test_lease_of_the_deposed(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    kill_node(toy, 0);
    run(toy, 2000);
    expect(toy, 0, "bc", "a");
    toy->claims[0] = true;
    toy->life[0] = 100;
    run(toy, 500);
    assert_int_equal(toy->lease[0], 0);
    assert_int_equal(toy->lease[1], CONTROLLER_LEASE_MS);
    toy->claims[0] = false;
    run(toy, 500);
    assert_int_equal(toy->lease[0], CONTROLLER_LEASE_MS);
    toy_destroy(toy);
}

/* What was proposed is not proposed again at once. */
static void test_settle(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    toy->hold = true;
    kill_node(toy, 0);
    run(toy, CONTROLLER_LEASE_OVER_MS + CONTROLLER_SETTLE_MS - 2 * TICK);
    assert_int_equal(toy->changes, 1);
    run(toy, CONTROLLER_SETTLE_MS);
    assert_int_equal(toy->changes, 2);
    toy_destroy(toy);
}

static void test_replacement(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 5, three);
    kill_node(toy, 1);
    run(toy, CONTROLLER_REPLACE_MS);
    expect(toy, 0, "ac", "b");
    run(toy, 4000);
    size_t on_d = 0;
    for (size_t i = 0; i < RANGES; i++) {
        assert_false(map_range_on(range(toy, i), "b"));
        assert_int_equal(range(toy, i)->n_learners, 1);
        on_d += map_range_on(range(toy, i), "d");
    }
    assert_int_equal(on_d, 2); /* and the others on e */
    size_t changes = toy->changes;
    toy->life[1] = 101;
    run(toy, 10000);
    assert_int_equal(toy->changes, changes);
    toy_destroy(toy);

    toy = leading(3, 3, three); /* nowhere to go */
    kill_node(toy, 1);
    run(toy, 120000);
    expect(toy, 0, "ac", "b");
    assert_int_equal(toy->changes, 1);
    toy_destroy(toy);
}

static void test_zones(void **state)
{
    (void)state;
    static const char *const placed[RANGES] = {"abc", "abc", "abc", "abc"};
    struct toy *toy = toy_create(3, 6, placed);
    static const char *const zones[NODES] = {"x", "y", "z", "x", "y", "z"};
    memcpy(toy->zone, zones, sizeof zones);
    controller_lead(toy->controller, true, toy->now);
    run(toy, 3000);
    kill_node(toy, 1);
    run(toy, 40000);
    for (size_t i = 0; i < RANGES; i++)
        assert_true(map_range_learns(range(toy, i), "e"));
    toy_destroy(toy);
}

/* The collection wants more, or fewer. */
static void want(struct toy *toy, uint32_t replicas)
{
    Quire__Collection collection = *toy->map->message->collections[0];
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    collection.replicas = replicas;
    change.collection_put = &collection;
    take(toy, &change);
}

static void test_number_of_replicas(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 5, three);
    want(toy, 4);
    run(toy, 2000);
    for (size_t i = 0; i < RANGES; i++)
        assert_int_equal(range(toy, i)->n_learners, 1);
    want(toy, 2);
    run(toy, 10000);
    for (size_t i = 0; i < RANGES; i++) {
        assert_int_equal(range(toy, i)->n_in_sync, 2);
        assert_int_equal(range(toy, i)->n_learners, 0);
        assert_string_equal(range(toy, i)->primary, ids[three[i][0] - 'a']);
    }
    size_t changes = toy->changes;
    run(toy, 20000);
    assert_int_equal(toy->changes, changes);
    toy_destroy(toy);
}

static void test_fresh(void **state)
{
    (void)state;
    struct toy *toy = leading(3, 3, three);
    Quire__Range fresh = *range(toy, 0);
    Quire__Range *ranges[] = {&fresh};
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    fresh.epoch++;
    fresh.has_fresh = fresh.fresh = true;
    set.n_ranges = 1;
    set.ranges = ranges;
    change.ranges_configure = &set;
    toy->state[2] = "opening";
    hear(toy, 2);
    take(toy, &change);
    run(toy, 2000);
    assert_true(range(toy, 0)->fresh);
    toy->state[2] = "serving";
    run(toy, 300);
    assert_false(range(toy, 0)->fresh);
    assert_int_equal(range(toy, 0)->epoch, 3);
    toy_destroy(toy);
}

/* Random deaths, returns, new lives and lost changes. What must hold all the time: who is in sync
 * next was in sync before, or the primary asked for it; no one is primary of a range while another
 * process may hold a lease that it got as the primary before it. In the end all is well again. */
static void test_random_walk(void **state)
{
    (void)state;
    unsigned seed = 20261;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 40; round++) {
        struct toy *toy = leading(3, 5, three);
        uint64_t granted[NODES] = {0};
        uint64_t lives_of[NODES] = {100, 101, 102, 103, 104, 105};
        for (int step = 0; step < 300; step++) {
            struct map *before = map_ref(toy->map);
            size_t i = (size_t)rand_r(&seed) % 5;
            toy->hold = rand_r(&seed) % 4 == 0;
            switch (rand_r(&seed) % 6) {
            case 0:
                kill_node(toy, i);
                break;
            case 1:
            case 2:
                if (toy->life[i] == 0)
                    controller_link(toy->controller, ids[i], true, toy->now);
                toy->life[i] = lives_of[i] += rand_r(&seed) % 2 ? 0 : 1;
                break;
            default:
                break;
            }
            uint64_t lives[NODES];
            memcpy(lives, toy->life, sizeof lives);
            run(toy, TICK * (1 + (uint64_t)rand_r(&seed) % 8));
            for (size_t n = 0; n < NODES; n++)
                if (lives[n] != 0 && toy->lease[n] != 0)
                    granted[n] = toy->now - toy->now % 250;
            for (size_t r = 0; r < RANGES; r++) {
                const Quire__Range *old = before->message->ranges[r];
                const Quire__Range *now = range(toy, r);
                for (size_t m = 0; m < now->n_in_sync; m++)
                    assert_true(map_range_in_sync(old, now->in_sync[m]));
                size_t p = (size_t)(old->primary[0] - 'a');
                bool gone = strcmp(old->primary, now->primary) != 0 &&
                            !map_range_in_sync(now, old->primary) && lives[p] == 0;
                if (gone)
                    assert_true(toy->now >= granted[p] + CONTROLLER_LEASE_MS);
            }
            map_unref(before);
        }
        toy_destroy(toy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_dead_primary),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_new_leader),
        cmocka_unit_test(test_unknown_nodes),
        cmocka_unit_test(test_own_pause),
        cmocka_unit_test(test_new_life),
        cmocka_unit_test(test_former_life),
        cmocka_unit_test(test_idle_primary),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_damaged_learner),
        cmocka_unit_test(test_new_node),
        cmocka_unit_test(test_last_replica),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_failed_replica),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_dropped_with_a_lease),
        cmocka_unit_test(test_return_during_deposition),
        cmocka_unit_test(test_lease_of_the_deposed),
        cmocka_unit_test(test_settle),
        cmocka_unit_test(test_replacement),
        cmocka_unit_test(test_zones),
        cmocka_unit_test(test_number_of_replicas),
        cmocka_unit_test(test_fresh),
        cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
