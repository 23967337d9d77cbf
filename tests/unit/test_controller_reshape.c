/* Ranges that are split and merged: the steps in the map, and what holds them up or ends them. */
#include "tests/unit/controller_toy.h"

#include "coordinator/controller_move.h"
#include "coordinator/controller_reshape.h"

static const char *const two[RANGES] = {"ab", "ba", "ab", "ba"};
static const char *const apart[RANGES] = {"ab", "cd", "ab", "ba"};

/* What each shard says of the targets of each range that it has. */
struct derived {
    bool is[NODES], failed[NODES], undrained;
    uint64_t seq[NODES], last;
    uint64_t epoch_back; /* it speaks of so many epochs ago */
    uint64_t bytes[RANGES];
    bool unhalved;
};

static const Quire__Range *by_id(const struct toy *toy, uint64_t id)
{
    return map_range(toy->map, id);
}

/* As hear(), with what is derived. */
static void hear_derived(struct toy *toy, const struct derived *derived)
{
    for (size_t i = 0; i < NODES; i++) {
        Quire__Node node = QUIRE__NODE__INIT;
        Quire__Register message = QUIRE__REGISTER__INIT;
        Quire__RangeReport reports[2 * RANGES], *pointers[2 * RANGES];
        if (toy->life[i] == 0)
            continue;
        node.id = ids[i];
        node.address = (char *)"tcp://127.0.0.1:1";
        node.has_incarnation = true;
        node.incarnation = toy->life[i];
        message.node = &node;
        message.ranges = pointers;
        for (size_t r = 0; r < toy->map->message->n_ranges; r++) {
            const Quire__Range *it = range(toy, r);
            if (!map_range_on(it, ids[i]))
                continue;
            Quire__RangeReport *report = &reports[message.n_ranges];
            quire__range_report__init(report);
            report->id = it->id;
            report->epoch = it->epoch - derived->epoch_back;
            report->state = (char *)"serving";
            report->has_last_seq = true;
            report->last_seq = derived->last;
            bool leads = strcmp(it->primary, ids[i]) == 0;
            report->role = (char *)(leads ? "primary" : "secondary");
            report->has_derived_seq = it->reshape != NULL && derived->is[i];
            report->derived_seq = derived->seq[i];
            report->derived_failed = it->reshape != NULL && derived->failed[i];
            report->bytes = derived->bytes[r % RANGES];
            report->drained =
                leads && it->reshape != NULL && it->reshape->sealed && !derived->undrained;
            report->has_middle = !derived->unhalved;
            report->middle = (ProtobufCBinaryData){2, (uint8_t *)"a"
                                                                 "m"};
            pointers[message.n_ranges++] = report;
        }
        (void)controller_heard(toy->controller, &message, toy->now);
    }
}

static void turn(struct toy *toy, const struct derived *derived)
{
    toy->now += TICK;
    hear_derived(toy, derived);
    for (int bound = 0; bound < 20; bound++) {
        struct arena arena;
        arena_init(&arena, 0);
        Quire__MapChange *change = controller_next(toy->controller, &arena, toy->now);
        if (change != NULL)
            take(toy, change);
        arena_deinit(&arena);
        if (change == NULL)
            return;
    }
    fail_msg("it changes the map for ever");
}

static int split(struct toy *toy, uint64_t id, const char *at, char *text)
{
    struct arena arena;
    struct err err = {0};
    Quire__MapChange *change;
    arena_init(&arena, 0);
    int rc = controller_split(toy->controller, id, bytes_str(at), &arena, toy->now, &change, &err);
    if (rc == 0)
        take(toy, change);
    else if (text != NULL)
        snprintf(text, ERR_TEXT_MAX, "%s", err.text);
    arena_deinit(&arena);
    return rc;
}

static int merge(struct toy *toy, uint64_t id, char *text)
{
    struct arena arena;
    struct err err = {0};
    Quire__MapChange *change;
    arena_init(&arena, 0);
    int rc = controller_merge(toy->controller, id, &arena, toy->now, &change, &err);
    if (rc == 0)
        take(toy, change);
    else if (text != NULL)
        snprintf(text, ERR_TEXT_MAX, "%s", err.text);
    arena_deinit(&arena);
    return rc;
}

/* Range 2 is ["", "b"), range 3 is ["b", "c"), and so on; all targets begin at id 6. */
static void test_split(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {.last = 10000};
    turn(toy, &derived);
    assert_int_equal(split(toy, 2, "am", NULL), 0);
    const Quire__Range *source = by_id(toy, 2);
    assert_non_null(source->reshape);
    assert_false(source->reshape->sealed);
    assert_int_equal(source->epoch, 2);
    for (int i = 0; i < 10; i++)
        turn(toy, &derived); /* nobody has derived anything */
    assert_int_equal(by_id(toy, 2)->epoch, 2);
    derived.is[0] = true;
    derived.seq[0] = 10000;
    turn(toy, &derived);
    assert_int_equal(by_id(toy, 2)->epoch, 2); /* one of two */
    derived.is[1] = true;
    derived.seq[1] = 10000 - 4097;
    turn(toy, &derived);
    assert_int_equal(by_id(toy, 2)->epoch, 2); /* not near */
    derived.seq[1]++;
    derived.undrained = true;
    turn(toy, &derived);
    assert_int_equal(by_id(toy, 2)->epoch, 3);
    assert_true(by_id(toy, 2)->reshape->sealed);
    derived.seq[1] = 10000;
    turn(toy, &derived);
    assert_non_null(by_id(toy, 2)); /* writes are under way yet */
    derived.undrained = false;
    derived.last = 10003;
    derived.seq[0] = 10003;
    derived.seq[1] = 10002;
    turn(toy, &derived);
    assert_non_null(by_id(toy, 2)); /* one lacks the last operation */
    derived.seq[1] = 10003;
    turn(toy, &derived);
    assert_null(by_id(toy, 2));
    const Quire__Range *left = by_id(toy, 6), *right = by_id(toy, 7);
    assert_non_null(left);
    assert_non_null(right);
    assert_true(bytes_equal(map_range_lo(left), bytes_str("")));
    assert_true(bytes_equal(map_range_hi(left), bytes_str("am")));
    assert_true(bytes_equal(map_range_lo(right), bytes_str("am")));
    assert_true(bytes_equal(map_range_hi(right), bytes_str("b")));
    for (uint64_t id = 6; id < 8; id++) {
        assert_int_equal(by_id(toy, id)->epoch, 4);
        assert_int_equal(by_id(toy, id)->origin_epoch, 3);
        assert_int_equal(by_id(toy, id)->origin_seq, 10003);
        assert_int_equal(by_id(toy, id)->n_in_sync, 2);
        assert_string_equal(by_id(toy, id)->primary, "a");
        assert_false(by_id(toy, id)->fresh);
    }
    assert_int_equal(toy->map->message->next_id, 8);
    toy_destroy(toy);
}

/* Where the primary says that the middle is. */
static void test_split_in_the_middle(void **state)
{
    (void)state;
    char text[ERR_TEXT_MAX];
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {.unhalved = true};
    assert_int_equal(split(toy, 2, "", text), ERR_UNAVAILABLE);
    turn(toy, &derived);
    assert_int_equal(split(toy, 2, "", text), ERR_UNAVAILABLE);
    assert_non_null(strstr(text, "has not said yet where its middle is"));
    derived.unhalved = false;
    turn(toy, &derived);
    assert_int_equal(split(toy, 2, "", NULL), 0);
    assert_int_equal(by_id(toy, 2)->reshape->targets[1]->lo.len, 2);
    assert_memory_equal(by_id(toy, 2)->reshape->targets[1]->lo.data, "am", 2);
    toy_destroy(toy);
}

static void test_refused(void **state)
{
    (void)state;
    char text[ERR_TEXT_MAX];
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {0};
    turn(toy, &derived);
    assert_int_equal(split(toy, 99, "am", text), ERR_NOT_FOUND);
    assert_int_equal(split(toy, 3, "am", text), ERR_INVALID); /* before it */
    assert_non_null(strstr(text, "cannot be split at \"am\""));
    assert_int_equal(split(toy, 3, "b", text), ERR_INVALID); /* its own beginning */
    assert_int_equal(split(toy, 2, "b", text), ERR_INVALID); /* its own end */
    assert_int_equal(merge(toy, 5, text), ERR_CONFLICT);
    assert_non_null(strstr(text, "no neighbour"));
    assert_int_equal(split(toy, 2, "am", NULL), 0);
    assert_int_equal(split(toy, 2, "am", text), ERR_CONFLICT);
    assert_non_null(strstr(text, "something is under way in range 2"));
    assert_int_equal(merge(toy, 2, text), ERR_CONFLICT);
    toy_destroy(toy);
}

static void test_merge(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {.last = 70, .is = {true, true}, .seq = {70, 70}};
    turn(toy, &derived);
    assert_int_equal(merge(toy, 3, NULL), 0);
    assert_non_null(by_id(toy, 4)->reshape);
    turn(toy, &derived); /* seal and finish: all say that they have all */
    turn(toy, &derived);
    assert_null(by_id(toy, 3));
    assert_null(by_id(toy, 4));
    const Quire__Range *target = by_id(toy, 6);
    assert_non_null(target);
    assert_true(bytes_equal(map_range_lo(target), bytes_str("b")));
    assert_true(bytes_equal(map_range_hi(target), bytes_str("d")));
    assert_int_equal(target->origin_seq, 70);
    assert_string_equal(target->primary, "b");
    toy_destroy(toy);
}

/* Its replicas are brought to those of the first before anything is built. */
static void test_merge_gathers(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 4, apart);
    toy->catches_up = true;
    assert_int_equal(merge(toy, 2, NULL), 0);
    run(toy, 10000);
    assert_int_equal(by_id(toy, 2)->n_in_sync, 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(map_range_in_sync(by_id(toy, 3), by_id(toy, 2)->in_sync[i]));
    assert_int_equal(map_range_members(by_id(toy, 3)), 2);
    assert_false(by_id(toy, 3)->reshape->sealed);
    struct derived derived = {.is = {true, true}};
    turn(toy, &derived);
    turn(toy, &derived);
    assert_non_null(by_id(toy, 6));
    toy_destroy(toy);
}

static uint32_t lease_with(struct toy *toy, size_t node, Quire__RangeReport **reports, size_t count)
{
    Quire__Node self = QUIRE__NODE__INIT;
    Quire__Register message = QUIRE__REGISTER__INIT;
    self.id = ids[node];
    self.address = (char *)"tcp://127.0.0.1:1";
    self.has_incarnation = true;
    self.incarnation = toy->life[node];
    message.node = &self;
    message.ranges = reports;
    message.n_ranges = count;
    return controller_heard(toy->controller, &message, toy->now);
}

/* What the leader answers to a shard that says this of one range. */
static uint32_t lease_for(struct toy *toy, size_t node, const char *role, uint64_t id,
                          uint64_t epoch)
{
    Quire__RangeReport report = QUIRE__RANGE_REPORT__INIT, *reports = &report;
    report.id = id;
    report.epoch = epoch;
    report.state = (char *)"serving";
    report.role = (char *)role;
    return lease_with(toy, node, &reports, 1);
}

/* And to one that says it of every range, under the range's epoch. */
static uint32_t lease_for_all(struct toy *toy, size_t node, const char *role)
{
    Quire__RangeReport report[16], *reports[16];
    size_t count = toy->map->message->n_ranges;
    assert_true(count > 1 && count <= 16);
    for (size_t i = 0; i < count; i++) {
        quire__range_report__init(&report[i]);
        report[i].id = toy->map->message->ranges[i]->id;
        report[i].epoch = toy->map->message->ranges[i]->epoch;
        report[i].state = (char *)"copying";
        report[i].role = (char *)role;
        reports[i] = &report[i];
    }
    return lease_with(toy, node, reports, count);
}

/* It has not carried out yet that the source is gone, and the targets may go on without it. Neither
 * has one that follows: an assignment of before may make it the primary. */
static void test_no_lease_for_what_is_gone(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {.last = 70, .is = {true, true}, .seq = {70, 70}};
    turn(toy, &derived);
    assert_int_equal(split(toy, 2, "am", NULL), 0);
    assert_true(lease_for(toy, 0, "primary", 2, 2) > 0);
    turn(toy, &derived);
    uint64_t sealed = by_id(toy, 2)->epoch;
    assert_true(lease_for(toy, 0, "primary", 2, sealed) > 0);
    assert_true(lease_for(toy, 1, "secondary", 2, sealed) > 0);
    turn(toy, &derived);
    assert_null(by_id(toy, 2));
    uint64_t epoch = by_id(toy, 6)->epoch;
    assert_int_equal(lease_for(toy, 0, "primary", 2, sealed), 0);
    assert_int_equal(lease_for(toy, 1, "secondary", 2, sealed), 0);
    assert_true(lease_for(toy, 0, "primary", 6, epoch) > 0);
    assert_true(lease_for(toy, 1, "secondary", 6, epoch) > 0);
    assert_true(lease_for(toy, 1, "secondary", 6, epoch - 1) > 0); /* it is in sync */
    toy_destroy(toy);
}

/* A range goes on without it, and it does not know. */
static void test_no_lease_for_one_that_is_out(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 3, two);
    uint64_t before = by_id(toy, 2)->epoch, life = toy->life[1];
    toy->life[1] = 0; /* silent, and dead after a while */
    run(toy, 10000);
    const Quire__Range *range = by_id(toy, 2);
    assert_false(map_range_in_sync(range, ids[1]));
    toy->life[1] = life;
    assert_int_equal(lease_for(toy, 1, "secondary", 2, before), 0);
    assert_int_equal(lease_with(toy, 1, NULL, 0), 0); /* it has not heard of any range */
    assert_int_equal(lease_for(toy, 1, "learner", 2, by_id(toy, 2)->epoch), 0); /* but this one */
    assert_true(lease_for_all(toy, 1, "learner") > 0);
    toy_destroy(toy);
}

static void test_old_reports_do_not_count(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {.last = 5, .is = {true, true}, .seq = {5, 5}, .epoch_back = 1};
    assert_int_equal(split(toy, 2, "am", NULL), 0);
    for (int i = 0; i < 5; i++)
        turn(toy, &derived);
    assert_int_equal(by_id(toy, 2)->epoch, 2);
    derived.epoch_back = 0;
    turn(toy, &derived); /* what is known by then was said before the seal */
    assert_non_null(by_id(toy, 2));
    assert_true(by_id(toy, 2)->reshape->sealed);
    derived.epoch_back = 1; /* and said again by those who have not heard of it */
    for (int i = 0; i < 5; i++)
        turn(toy, &derived);
    assert_non_null(by_id(toy, 2));
    derived.epoch_back = 0;
    turn(toy, &derived);
    assert_null(by_id(toy, 2));
    toy_destroy(toy);
}

static void test_given_up(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {.last = 5, .is = {true, true}, .seq = {5, 5}, .undrained = true};
    turn(toy, &derived);
    assert_int_equal(split(toy, 2, "am", NULL), 0);
    turn(toy, &derived);
    assert_true(by_id(toy, 2)->reshape->sealed);
    for (uint64_t since = toy->now; toy->now < since + CONTROLLER_SEALED_MS - TICK;)
        turn(toy, &derived);
    assert_non_null(by_id(toy, 2)->reshape);
    turn(toy, &derived);
    turn(toy, &derived);
    assert_null(by_id(toy, 2)->reshape);            /* sealed for too long */
    assert_int_equal(split(toy, 2, "am", NULL), 0); /* with other ids */
    assert_int_equal(by_id(toy, 2)->reshape->targets[0]->id, 8);
    derived.failed[1] = true;
    turn(toy, &derived);
    turn(toy, &derived);
    assert_null(by_id(toy, 2)->reshape);
    toy_destroy(toy);
}

/* Who leads a source may change while it is split; what is reported under the new epoch counts. */
static void test_goes_on_after_failover(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {.last = 5, .is = {true, true}, .seq = {5, 5}, .undrained = true};
    turn(toy, &derived);
    assert_int_equal(split(toy, 2, "am", NULL), 0);
    turn(toy, &derived);
    assert_true(by_id(toy, 2)->reshape->sealed);
    kill_node(toy, 0);
    for (int i = 0; i < 30 && strcmp(by_id(toy, 2)->primary, "a") == 0; i++)
        turn(toy, &derived);
    assert_string_equal(by_id(toy, 2)->primary, "b");
    assert_true(by_id(toy, 2)->reshape->sealed);
    derived.undrained = false;
    turn(toy, &derived);
    turn(toy, &derived);
    assert_null(by_id(toy, 2));
    assert_string_equal(by_id(toy, 6)->primary, "b");
    assert_true(map_range_learns(by_id(toy, 6), "a"));
    toy_destroy(toy);
}

static const char *const alone[RANGES] = {"a", "a", "a", "a"};

static struct toy *large_above(uint64_t bytes, size_t nodes, Quire__Placement placement)
{
    struct toy *toy = leading(nodes > 1 ? 2 : 1, nodes, nodes > 1 ? two : alone);
    struct controller_options options = {.range_bytes = bytes};
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    controller_destroy(toy->controller);
    toy->controller = controller_create(&options);
    change.has_placement_set = true;
    change.placement_set = placement;
    take(toy, &change);
    controller_lead(toy->controller, true, toy->now);
    return toy;
}

static size_t reshaped(const struct toy *toy)
{
    size_t count = 0;
    for (size_t i = 0; i < toy->map->message->n_ranges; i++)
        count += range(toy, i)->reshape != NULL;
    return count;
}

/* The largest one first, and one at a time; only where the middle is within the range. */
static void test_split_by_size(void **state)
{
    (void)state;
    struct derived derived = {.bytes = {1000, 5000, 3000, 0}};
    struct toy *toy = large_above(2000, 2, QUIRE__PLACEMENT__FROZEN);
    for (int i = 0; i < 200; i++)
        turn(toy, &derived);
    assert_int_equal(reshaped(toy), 0);
    toy_destroy(toy);
    toy = large_above(2000, 2, QUIRE__PLACEMENT__STEADY);
    for (int i = 0; i < 200; i++)
        turn(toy, &derived);
    assert_int_equal(reshaped(toy), 0); /* "am" is within the first only, which is small */
    derived.bytes[0] = 2001;
    for (int i = 0; i < 200; i++)
        turn(toy, &derived);
    assert_int_equal(reshaped(toy), 1);
    assert_non_null(by_id(toy, 2)->reshape);
    toy_destroy(toy);
}

static void test_merge_by_size(void **state)
{
    (void)state;
    struct derived derived = {.bytes = {60, 30, 70, 20}};
    struct toy *toy = large_above(800, 2, QUIRE__PLACEMENT__STEADY);
    for (int i = 0; i < 200; i++)
        turn(toy, &derived);
    assert_int_equal(reshaped(toy), 0); /* no more than two for each shard */
    toy_destroy(toy);
    toy = large_above(800, 1, QUIRE__PLACEMENT__STEADY);
    for (int i = 0; i < 200; i++)
        turn(toy, &derived);
    assert_int_equal(reshaped(toy), 2); /* 60 + 30 and 70 + 20 are less than 100; the first */
    assert_non_null(by_id(toy, 2)->reshape);
    assert_non_null(by_id(toy, 3)->reshape);
    toy_destroy(toy);
}

/* What holds the map together, whoever proposes it. */
static void test_map_refuses(void **state)
{
    (void)state;
    struct toy *toy = leading(2, 2, two);
    struct derived derived = {0};
    struct err err = {0};
    struct map *next;
    turn(toy, &derived);
    assert_int_equal(split(toy, 2, "am", NULL), 0);
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    Quire__ReshapeFinish finish = QUIRE__RESHAPE_FINISH__INIT;
    Quire__RangeRef ref = QUIRE__RANGE_REF__INIT, *refs[] = {&ref};
    change.reshape_finish = &finish;
    finish.n_sources = 1;
    finish.sources = refs;
    ref.id = 2;
    ref.epoch = by_id(toy, 2)->epoch;
    assert_int_equal(map_apply(toy->map, &change, &next, &err), ERR_CONFLICT); /* not sealed */
    struct map *kept = map_ref(toy->map); /* the copies below point into it */
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__Range range = *by_id(toy, 2), *ranges[] = {&range};
    Quire__Reshape reshape = *range.reshape;
    Quire__ReshapeTarget left = *reshape.targets[0], right = *reshape.targets[1];
    Quire__ReshapeTarget *targets[] = {&left, &right};
    change = (Quire__MapChange)QUIRE__MAP_CHANGE__INIT;
    change.ranges_configure = &set;
    set.n_ranges = 1;
    set.ranges = ranges;
    range.epoch++;
    range.reshape = &reshape;
    reshape.targets = targets;
    left.hi.len = 1; /* "a": another target */
    assert_int_equal(map_apply(toy->map, &change, &next, &err), ERR_CONFLICT);
    range.reshape = NULL;
    take(toy, &change); /* given up */
    range.epoch++;
    range.reshape = &reshape;
    left.id = 10;
    right.id = 11;
    assert_int_equal(map_apply(toy->map, &change, &next, &err), ERR_INVALID); /* a gap */
    left.hi.len = 2;
    left.id = 3; /* a range has it */
    assert_int_equal(map_apply(toy->map, &change, &next, &err), ERR_CONFLICT);
    left.id = right.id;
    assert_int_equal(map_apply(toy->map, &change, &next, &err), ERR_INVALID);
    left.id = 10;
    reshape.n_targets = 1;
    assert_int_equal(map_apply(toy->map, &change, &next, &err), ERR_INVALID);
    reshape.n_targets = 2;
    assert_false(map_range_may_come(toy->map, 6)); /* given up */
    assert_true(map_range_may_come(toy->map, 10));
    take(toy, &change);
    assert_true(map_range_may_come(toy->map, 10));
    assert_true(map_range_may_come(toy->map, 12));
    map_unref(kept);
    toy_destroy(toy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_in_the_middle),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_gathers),
        cmocka_unit_test(test_no_lease_for_what_is_gone),
        cmocka_unit_test(test_no_lease_for_one_that_is_out),
        cmocka_unit_test(test_old_reports_do_not_count),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_goes_on_after_failover),
        cmocka_unit_test(test_split_by_size),
        cmocka_unit_test(test_merge_by_size),
        cmocka_unit_test(test_map_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
