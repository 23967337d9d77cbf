/* A coordinator that has too much to do, or whose shards have: early refusals that say when to come
 * back, no work for what nobody waits for, and what keeps the cluster together goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator_world.h"

static int setup(void **state)
{
    struct world *world = world_create(3);
    world_prepare(world, "words");
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    world_destroy(*state);
    return 0;
}

struct asking {
    struct rpc_call call;
    struct answer answer;
};

/* Sends and does not wait. */
static void start_search(struct world *world, struct asking *asking, uint32_t limit,
                         uint32_t timeout_ms)
{
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    struct buf packed;
    message.collection = (char *)"words";
    message.query = (char *)"anything";
    message.has_limit = true;
    message.limit = limit;
    *asking = (struct asking){.call = {.data = &asking->answer, .done = answer_done}};
    arena_init(&asking->answer.arena, 0);
    buf_init(&packed);
    message_pack(&message.base, &packed);
    rpc_call_start(&asking->call, world->peer, QUIRE__KIND__KIND_SEARCH, buf_bytes(&packed),
                   timeout_ms, 0);
    buf_deinit(&packed);
}

static void await(struct world *world, struct asking *asking)
{
    while (!asking->answer.done)
        uv_run(&world->loop, UV_RUN_ONCE);
}

static void limit_searches(struct world *world, uint32_t searches, uint32_t queue)
{
    const struct admit_options options = {
        .target_ms = ADMIT_NO_TARGET, .searches = searches, .queue = queue};
    admit_init(world->coordinator, &options);
}

static const struct admission_state *searches(const struct world *world)
{
    return &world->coordinator->admit.policy.classes[ADMISSION_SEARCH];
}

static void until_waiting(struct world *world, uint32_t at_work, uint32_t waiting)
{
    uint64_t end = clock_ms() + 10000;
    while ((searches(world)->at_work != at_work || searches(world)->waiting != waiting) &&
           clock_ms() < end)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(searches(world)->at_work, at_work);
    assert_int_equal(searches(world)->waiting, waiting);
}

static void beyond_the_queue_a_search_is_refused_and_told_when_to_come_back(void **state)
{
    struct world *world = *state;
    struct asking first, second, third, heavy;
    struct answer answer;
    limit_searches(world, 1, 1);
    for (size_t i = 0; i < 3; i++)
        world->shards[i].mode = SHARD_SILENT;
    start_search(world, &first, 10, 3000);
    until_waiting(world, 1, 0);
    start_search(world, &second, 10, 3000);
    until_waiting(world, 1, 1);
    start_search(world, &third, 10, 3000);
    await(world, &third);
    assert_int_equal(third.answer.status, ERR_OVERLOADED);
    assert_true(third.answer.err.retry_after_ms > 0);
    assert_non_null(strstr(third.answer.err.text, "the coordinator is overloaded"));
    assert_int_equal(searches(world)->refused[ADMISSION_FULL], 1);
    assert_false(first.answer.done || second.answer.done);

    /* Others have queues of their own; what says how the cluster is is always answered. */
    start_search(world, &heavy, 1000, 3000);
    uint64_t end = clock_ms() + 10000;
    while (world->coordinator->admit.policy.classes[ADMISSION_HEAVY].at_work == 0 &&
           clock_ms() < end)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(world->coordinator->admit.policy.classes[ADMISSION_HEAVY].at_work, 1);
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_COLLECTION_LIST, NULL, 1000), 0);
    answer_deinit(&answer);
    assert_int_equal(nodes_up_count(&world->coordinator->nodes), 3);
    await(world, &first);
    await(world, &second);
    await(world, &heavy);
    answer_deinit(&first.answer);
    answer_deinit(&second.answer);
    answer_deinit(&third.answer);
    answer_deinit(&heavy.answer);
    until_waiting(world, 0, 0);

    /* Afterwards all is well. */
    for (size_t i = 0; i < 3; i++)
        world->shards[i].mode = SHARD_GOOD;
    start_search(world, &first, 10, 5000);
    await(world, &first);
    assert_int_equal(first.answer.status, 0);
    answer_deinit(&first.answer);
}

/* The second one is given up by its client while it waits: no shard hears of it. */
static void what_nobody_waits_for_reaches_no_shard(void **state)
{
    struct world *world = *state;
    struct asking first, second, third;
    limit_searches(world, 1, 8);
    for (size_t i = 0; i < 3; i++)
        world->shards[i].mode = SHARD_SILENT;
    start_search(world, &first, 10, 1500);
    until_waiting(world, 1, 0);
    start_search(world, &second, 10, 200);
    until_waiting(world, 1, 1);
    await(world, &second);
    assert_int_equal(second.answer.status, ERR_DEADLINE);
    for (size_t i = 0; i < 3; i++)
        world->shards[i].mode = SHARD_GOOD;
    await(world, &first);
    until_waiting(world, 0, 0);
    assert_int_equal(searches(world)->refused[ADMISSION_EXPIRED], 1);
    assert_int_equal(searches(world)->admitted, 1);
    start_search(world, &third, 10, 5000);
    await(world, &third);
    assert_int_equal(third.answer.status, 0);
    assert_int_equal(searches(world)->admitted, 2);
    answer_deinit(&first.answer);
    answer_deinit(&second.answer);
    answer_deinit(&third.answer);
}

/* One shard of three refuses: the answer is that refusal, not a part, and fewer are let through. */
static void what_a_shard_refuses_is_refused_as_a_whole(void **state)
{
    struct world *world = *state;
    struct asking asking;
    world->shards[1].mode = SHARD_FULL;
    world->shards[1].times = 1000;
    double before = searches(world)->limit;
    start_search(world, &asking, 10, 5000);
    await(world, &asking);
    assert_int_equal(asking.answer.status, ERR_OVERLOADED);
    assert_int_equal(asking.answer.err.retry_after_ms, 300);
    assert_non_null(strstr(asking.answer.err.text, "the shard has too much to do"));
    assert_true(searches(world)->limit < before);
    assert_int_equal(searches(world)->refused[ADMISSION_ELSEWHERE], 1);
    assert_int_equal(world->shards[1].times, 999); /* it has no other replica; asked once */
    assert_int_equal(admit_refused(world->coordinator), 1);
    answer_deinit(&asking.answer);
    world->shards[1].mode = SHARD_GOOD;
    start_search(world, &asking, 10, 5000);
    await(world, &asking);
    assert_int_equal(asking.answer.status, 0);
    answer_deinit(&asking.answer);
}

static void a_write_that_a_shard_refuses_keeps_the_hint(void **state)
{
    struct world *world = *state;
    struct answer answer;
    Quire__WriteRequest message = QUIRE__WRITE_REQUEST__INIT;
    Quire__WriteOp op = QUIRE__WRITE_OP__INIT, *ops[1] = {&op};
    op.delete_headword = world->words[0];
    message.collection = (char *)"words";
    message.n_ops = 1;
    message.ops = ops;
    for (size_t i = 0; i < 3; i++) {
        world->shards[i].mode = SHARD_FULL;
        world->shards[i].times = 1000;
    }
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_WRITE, &message, 3000), ERR_OVERLOADED);
    assert_int_equal(answer.err.retry_after_ms, 300);
    answer_deinit(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            beyond_the_queue_a_search_is_refused_and_told_when_to_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_waits_for_reaches_no_shard, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_shard_refuses_is_refused_as_a_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_write_that_a_shard_refuses_keeps_the_hint, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
