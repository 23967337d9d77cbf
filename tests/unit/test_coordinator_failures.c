/* The coordinator with shards that are slow, stale, wrong, down or gone: no silent gap, no wait for
 * the dead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator_world.h"
#include "proto/base/clock.h"

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

static int search(struct world *world, struct answer *answer, bool complete, uint32_t timeout_ms)
{
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    message.collection = (char *)"words";
    message.query = (char *)"anything";
    message.has_limit = true;
    message.limit = 1000;
    message.has_completeness = true;
    message.completeness = complete ? QUIRE__COMPLETENESS__COMPLETE : QUIRE__COMPLETENESS__PARTIAL;
    return ask(world, answer, QUIRE__KIND__KIND_SEARCH, &message, timeout_ms);
}

static int define(struct world *world, struct answer *answer, const char *term, uint32_t timeout_ms)
{
    Quire__DefineRequest message = QUIRE__DEFINE_REQUEST__INIT;
    message.collection = (char *)"words";
    message.term = (char *)term;
    return ask(world, answer, QUIRE__KIND__KIND_DEFINE, &message, timeout_ms);
}

static int write_all(struct world *world, struct answer *answer, uint32_t timeout_ms)
{
    Quire__WriteRequest message = QUIRE__WRITE_REQUEST__INIT;
    Quire__WriteOp ops[WORLD_WORDS];
    Quire__WriteOp *pointers[WORLD_WORDS];
    for (size_t i = 0; i < WORLD_WORDS; i++) {
        quire__write_op__init(&ops[i]);
        ops[i].delete_headword = world->words[i];
        pointers[i] = &ops[i];
    }
    message.collection = (char *)"words";
    message.n_ops = WORLD_WORDS;
    message.ops = pointers;
    return ask(world, answer, QUIRE__KIND__KIND_WRITE, &message, timeout_ms);
}

/* A partial answer that misses exactly the ranges of one shard. */
static void check_partial(struct world *world, size_t shard, uint32_t timeout_ms,
                          const char *reason)
{
    struct answer answer;
    if (search(world, &answer, false, timeout_ms) != 0)
        fail_msg("search: %s", answer.err.text);
    Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
    assert_false(reply->complete);
    assert_int_equal(reply->n_missing, 1);
    if (strstr(reply->missing[0]->reason, reason) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", reason, reply->missing[0]->reason);
    const Quire__Range *range = world->shards[shard].assign->ranges[0];
    assert_true(bytes_equal(map_range_lo(range),
                            bytes_of(reply->missing[0]->lo.data, reply->missing[0]->lo.len)));
    assert_true(bytes_equal(map_range_hi(range),
                            bytes_of(reply->missing[0]->hi.data, reply->missing[0]->hi.len)));
    size_t there = 0;
    for (size_t i = 0; i < WORLD_WORDS; i++)
        there += !fake_holds(range, world->words[i]);
    assert_int_equal(reply->n_hits, there);
    assert_int_equal(reply->total, there);
    answer_deinit(&answer);

    assert_int_equal(search(world, &answer, true, timeout_ms), ERR_INCOMPLETE);
    assert_non_null(strstr(answer.err.text, reason));
    answer_deinit(&answer);
    assert_int_equal(define(world, &answer, "cb word", timeout_ms), ERR_INCOMPLETE);
    answer_deinit(&answer);
}

static void test_silent(void **state)
{
    struct world *world = *state;
    world->shards[1].mode = SHARD_SILENT;
    struct answer answer;
    /* Round one eats the deadline; the answer comes in time all the same, and names the gap. */
    assert_int_equal(search(world, &answer, true, 600), ERR_INCOMPLETE);
    assert_true(answer.took_ms >= 300);
    assert_non_null(strstr(answer.err.text, "in time"));
    answer_deinit(&answer);
    assert_int_equal(define(world, &answer, "cb word", 400), ERR_INCOMPLETE);
    answer_deinit(&answer);
    assert_int_equal(write_all(world, &answer, 400), ERR_DEADLINE);
    answer_deinit(&answer);
    /* What the owning range does not need is not held up. */
    Quire__GetRequest get = QUIRE__GET_REQUEST__INIT;
    get.collection = (char *)"words";
    get.headword = world->words[fake_holds(world->shards[1].assign->ranges[0], world->words[0])
                                    ? WORLD_WORDS - 1
                                    : 0];
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_GET, &get, 400), 0);
    answer_deinit(&answer);
}

static void test_partial_after_silence(void **state)
{
    struct world *world = *state;
    world->shards[2].mode = SHARD_SILENT;
    struct answer answer;
    assert_int_equal(search(world, &answer, false, 800), 0);
    Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
    assert_false(reply->complete);
    assert_int_equal(reply->n_missing, 1);
    assert_true(reply->n_hits > WORLD_WORDS / 2); /* the others had their time */
    answer_deinit(&answer);
}

static void test_partly(void **state)
{
    struct world *world = *state;
    world->shards[0].mode = SHARD_PARTLY;
    check_partial(world, 0, 5000, "checksum mismatch");
    Quire__VerifyRequest verify = QUIRE__VERIFY_REQUEST__INIT;
    struct answer answer;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_VERIFY, &verify, 5000), 0);
    Quire__VerifyReply *reply = answer_message(&answer, &quire__verify_reply__descriptor);
    assert_int_equal(reply->n_problems, 1);
    assert_int_equal(reply->ranges, 2);
    assert_non_null(strstr(reply->problems[0]->text, "not checked"));
    answer_deinit(&answer);
}

static void test_liar_and_garbage(void **state)
{
    struct world *world = *state;
    world->shards[0].mode = SHARD_LIAR;
    check_partial(world, 0, 5000, "not asked for");
    world->shards[0].mode = SHARD_GARBAGE;
    check_partial(world, 0, 5000, "cannot be understood");
    struct answer answer;
    assert_int_equal(write_all(world, &answer, 5000), ERR_PROTOCOL);
    answer_deinit(&answer);
}

static void test_stale_is_retried(void **state)
{
    struct world *world = *state;
    struct answer answer;
    for (int times = 1; times <= 3; times++) {
        world->shards[1].mode = SHARD_STALE;
        world->shards[1].times = times;
        assert_int_equal(search(world, &answer, true, 5000), 0);
        answer_deinit(&answer);
        world->shards[1].times = times;
        unsigned writes = world->shards[0].writes;
        assert_int_equal(write_all(world, &answer, 5000), 0);
        Quire__WriteReply *reply = answer_message(&answer, &quire__write_reply__descriptor);
        assert_int_equal(reply->n_results, WORLD_WORDS);
        answer_deinit(&answer);
        assert_int_equal(world->shards[0].writes,
                         writes + 1); /* what was applied is not sent again */
    }
    world->shards[1].times = 1 << 20; /* for ever */
    assert_int_equal(search(world, &answer, true, 1500), ERR_INCOMPLETE);
    assert_true(answer.took_ms >= 500);
    answer_deinit(&answer);
    assert_int_equal(write_all(world, &answer, 3000), ERR_UNAVAILABLE);
    answer_deinit(&answer);
}

static void start_packed(struct world *world, struct rpc_call *call, struct answer *answer,
                         uint16_t kind, const ProtobufCMessage *message)
{
    struct buf packed;
    buf_init(&packed);
    message_pack(message, &packed);
    *answer = (struct answer){0};
    arena_init(&answer->arena, 0);
    *call = (struct rpc_call){.data = answer, .done = answer_done};
    rpc_call_start(call, world->peer, kind, buf_bytes(&packed), 9000, 0);
    buf_deinit(&packed);
}

static void start_four(struct world *world, struct rpc_call calls[4], struct answer answers[4])
{
    Quire__SearchRequest search = QUIRE__SEARCH_REQUEST__INIT;
    search.collection = (char *)"words";
    search.query = (char *)"anything";
    start_packed(world, &calls[0], &answers[0], QUIRE__KIND__KIND_SEARCH, &search.base);
    Quire__DefineRequest define = QUIRE__DEFINE_REQUEST__INIT;
    define.collection = (char *)"words";
    define.term = world->words[0];
    start_packed(world, &calls[1], &answers[1], QUIRE__KIND__KIND_DEFINE, &define.base);
    Quire__BrowseRequest browse = QUIRE__BROWSE_REQUEST__INIT;
    browse.collection = (char *)"words";
    start_packed(world, &calls[2], &answers[2], QUIRE__KIND__KIND_BROWSE, &browse.base);
    Quire__WriteRequest write = QUIRE__WRITE_REQUEST__INIT;
    Quire__WriteOp op = QUIRE__WRITE_OP__INIT, *ops[1] = {&op};
    op.delete_headword = world->words[0];
    write.collection = (char *)"words";
    write.n_ops = 1;
    write.ops = ops;
    start_packed(world, &calls[3], &answers[3], QUIRE__KIND__KIND_WRITE, &write.base);
}

static void change_collection(struct world *world, uint16_t kind)
{
    Quire__Collection message = QUIRE__COLLECTION__INIT;
    struct answer answer;
    message.name = (char *)"words";
    assert_int_equal(ask(world, &answer, kind, &message, 5000), 0);
    answer_deinit(&answer);
}

/* The map is so many changes behind what shard 0 has got, as it tells. */
static void tell_of_newer_maps(struct world *world, uint64_t count)
{
    world->shards[0].assigned_epoch = map_epoch(world->coordinator->map) + count;
    uint64_t until = clock_ms() + 5000;
    while (!nodes_behind(&world->coordinator->nodes) && clock_ms() < until)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_true(nodes_behind(&world->coordinator->nodes));
}

/* Dropped and created anew under the same name while requests that were planned for the former one
 * are told that they are stale: they are answered by the new one. */
static void test_created_anew(void **state)
{
    struct world *world = *state;
    struct rpc_call calls[4];
    static struct answer answers[4];
    for (size_t i = 0; i < world->shard_count; i++) {
        world->shards[i].mode = SHARD_STALE;
        world->shards[i].times = 1 << 20;
    }
    tell_of_newer_maps(world, 2);
    start_four(world, calls, answers);
    world_run(world, 100);
    change_collection(world, QUIRE__KIND__KIND_COLLECTION_DROP);
    world_run(world, 150); /* what is tried again finds no collection */
    for (size_t i = 0; i < 4; i++)
        assert_false(answers[i].done);
    for (size_t i = 0; i < world->shard_count; i++)
        world->shards[i].mode = SHARD_GOOD;
    change_collection(world, QUIRE__KIND__KIND_COLLECTION_CREATE);
    for (size_t i = 0; i < 4; i++) {
        while (!answers[i].done)
            uv_run(&world->loop, UV_RUN_ONCE);
        if (answers[i].status != 0)
            fail_msg("request %zu: %s", i, answers[i].err.text);
        answer_deinit(&answers[i]);
    }
}

/* Dropped, and that is all: it is said at once when nobody knows of a newer map, and after a while
 * when the newer map does not come. */
static void test_dropped(void **state)
{
    struct world *world = *state;
    struct answer answer;
    change_collection(world, QUIRE__KIND__KIND_COLLECTION_DROP);
    assert_int_equal(define(world, &answer, "cb word", 9000), ERR_NOT_FOUND);
    assert_true(answer.took_ms < NODES_BEHIND_MS / 2);
    assert_string_equal(answer.err.text, "there is no collection words");
    answer_deinit(&answer);
    tell_of_newer_maps(world, 1);
    assert_int_equal(define(world, &answer, "cb word", 9000), ERR_NOT_FOUND);
    assert_true(answer.took_ms > NODES_BEHIND_MS / 2);
    answer_deinit(&answer);
    /* Nor for longer than the client has time. */
    tell_of_newer_maps(world, 2);
    assert_int_equal(define(world, &answer, "cb word", 1000), ERR_NOT_FOUND);
    answer_deinit(&answer);
}

/* Down: calls that wait end when the shard is known to be gone, and later ones fail at once. */
static void test_down(void **state)
{
    struct world *world = *state;
    const Quire__Range *range = world->shards[2].assign->ranges[0];
    size_t there = 0;
    for (size_t i = 0; i < WORLD_WORDS; i++)
        there += !fake_holds(range, world->words[i]);
    fake_stop(&world->shards[2]);
    world_await(world, 2);
    struct answer answer;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(search(world, &answer, false, 10000), 0);
        assert_true(answer.took_ms < 5000); /* half of what it would wait */
        Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
        assert_false(reply->complete);
        assert_int_equal(reply->n_missing, 1);
        assert_non_null(strstr(reply->missing[0]->reason, "is down"));
        assert_int_equal(reply->n_hits, there);
        answer_deinit(&answer);
    }
    assert_int_equal(write_all(world, &answer, 10000), ERR_UNAVAILABLE);
    assert_true(answer.took_ms < 5000); /* half of what it would wait */
    answer_deinit(&answer);
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_STATUS, NULL, 5000), 0);
    Quire__StatusReply *status = answer_message(&answer, &quire__status_reply__descriptor);
    size_t unreachable = 0;
    for (size_t i = 0; i < status->n_ranges; i++)
        unreachable += strcmp(status->ranges[i]->state, "unreachable") == 0;
    assert_int_equal(unreachable, 1);
    answer_deinit(&answer);
    /* New collections go to those that live. */
    assert_int_equal(world_prepare(world, "more"), 2);

    /* It comes back, having forgotten everything: it is told again, and all is whole. */
    fake_start(world, &world->shards[2], 2);
    world_await(world, 3);
    assert_int_equal(search(world, &answer, true, 5000), 0);
    answer_deinit(&answer);
    assert_true(world->shards[2].assigns >= 1);
}

/* A shard whose heart stops while its connection stands. */
static void test_silent_heart(void **state)
{
    struct world *world = *state;
    world->shards[0].mode = SHARD_SILENT;
    world->shards[0].silent_heart = true;
    struct answer answer;
    assert_int_equal(define(world, &answer, "cb word", 10000), ERR_INCOMPLETE);
    assert_in_range(answer.took_ms, CONTROLLER_GRACE_MS - 500, 8000); /* it would wait for 9.7 s */
    assert_non_null(strstr(answer.err.text, "silent for"));
    answer_deinit(&answer);
    world->shards[0].mode = SHARD_GOOD;
    world->shards[0].silent_heart = false;
    world_await(world, 3);
    assert_int_equal(define(world, &answer, "cb word", 5000), 0);
    answer_deinit(&answer);
}

static void test_restart_of_the_coordinator(void **state)
{
    struct world *world = *state;
    uint64_t epoch = map_epoch(world->coordinator->map);
    char cluster[UUID_TEXT_SIZE];
    strcpy(cluster, world->coordinator->cluster_id);
    unsigned assigns = world->shards[0].assigns;
    for (int i = 0; i < 3; i++) {
        world_stop_coordinator(world);
        world_start_coordinator(world);
        assert_string_equal(world->coordinator->cluster_id, cluster);
        assert_int_equal(map_epoch(world->coordinator->map), epoch);
        /* At once: the first request waits for the shards instead of failing. */
        struct answer answer;
        assert_int_equal(search(world, &answer, true, 8000), 0);
        Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
        assert_int_equal(reply->n_hits, WORLD_WORDS);
        answer_deinit(&answer);
    }
    assert_true(world->shards[0].assigns - assigns <= 3);
}

/* Requests that are under way when the coordinator stops get an answer or lose their connection;
 * nothing hangs. */
static void test_stop_under_way(void **state)
{
    struct world *world = *state;
    enum { CALLS = 40 };
    struct rpc_call calls[CALLS];
    static struct answer answers[CALLS];
    for (size_t i = 0; i < 3; i++)
        world->shards[i].mode = i == 1 ? SHARD_SILENT : SHARD_STALE;
    world->shards[0].times = world->shards[2].times = 1 << 20;
    for (int i = 0; i < CALLS; i++) {
        answers[i] = (struct answer){0};
        calls[i] = (struct rpc_call){.data = &answers[i], .done = answer_done};
        struct buf packed;
        buf_init(&packed);
        if (i % 2 == 0) {
            Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
            message.collection = (char *)"words";
            message.query = (char *)"anything";
            message_pack(&message.base, &packed);
            rpc_call_start(&calls[i], world->peer, QUIRE__KIND__KIND_SEARCH, buf_bytes(&packed),
                           9000, 0);
        } else {
            Quire__Collection message = QUIRE__COLLECTION__INIT;
            char name[16];
            snprintf(name, sizeof name, "c%d", i);
            message.name = name;
            message_pack(&message.base, &packed);
            rpc_call_start(&calls[i], world->peer, QUIRE__KIND__KIND_COLLECTION_CREATE,
                           buf_bytes(&packed), 9000, 0);
        }
        buf_deinit(&packed);
    }
    world_run(world, 60);
    uint64_t begin = clock_ms();
    world_stop_coordinator(world);
    assert_true(clock_ms() - begin < 8000);
    world_start_coordinator(world);
    for (size_t i = 0; i < 3; i++) {
        world->shards[i].mode = SHARD_GOOD;
        for (struct list *link; (link = list_shift(&world->shards[i].held)) != NULL;)
            rpc_reply_error(list_entry(link, struct rpc_request, link), ERR_CANCELED, "late");
    }
    for (int i = 0; i < CALLS; i++) {
        while (!answers[i].done)
            uv_run(&world->loop, UV_RUN_ONCE);
        buf_deinit(&answers[i].payload);
    }
    struct answer answer;
    assert_int_equal(search(world, &answer, true, 8000), 0);
    answer_deinit(&answer);
}

/* A client that gives up: the shard is told, and its late answer harms nobody. */
static void test_client_gives_up(void **state)
{
    struct world *world = *state;
    world->shards[1].mode = SHARD_SILENT;
    Quire__VerifyRequest message = QUIRE__VERIFY_REQUEST__INIT;
    struct answer answer = {0};
    struct rpc_call call = {.data = &answer, .done = answer_done};
    struct buf packed;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    rpc_call_start(&call, world->peer, QUIRE__KIND__KIND_VERIFY, buf_bytes(&packed), 60000, 0);
    buf_deinit(&packed);
    world_run(world, 100);
    assert_int_equal(world->coordinator->requests, 1);
    rpc_call_cancel(&call);
    world_run(world, 400);
    assert_true(answer.done);
    assert_int_equal(world->coordinator->requests, 0);
    struct list *held = list_shift(&world->shards[1].held);
    assert_non_null(held);
    struct rpc_request *request = list_entry(held, struct rpc_request, link);
    assert_true(rpc_request_abandoned(request));
    rpc_reply_error(request, ERR_CANCELED, "late");
    buf_deinit(&answer.payload);
}

/* Nor is a write tried again for somebody who is gone: what he writes next, by another way, would
 * be followed by it. */
static void test_writer_gives_up(void **state)
{
    struct world *world = *state;
    Quire__WriteRequest message = QUIRE__WRITE_REQUEST__INIT;
    Quire__WriteOp op = QUIRE__WRITE_OP__INIT, *ops = &op;
    struct answer answer = {0};
    struct rpc_call call = {.data = &answer, .done = answer_done};
    struct buf packed;
    for (size_t i = 0; i < world->shard_count; i++) {
        world->shards[i].mode = SHARD_STALE;
        world->shards[i].times = 1 << 20;
    }
    op.delete_headword = world->words[0];
    message.collection = (char *)"words";
    message.n_ops = 1;
    message.ops = &ops;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    rpc_call_start(&call, world->peer, QUIRE__KIND__KIND_WRITE, buf_bytes(&packed), 60000, 0);
    buf_deinit(&packed);
    world_run(world, 500);
    int before = world->shards[0].times;
    assert_true(before < 1 << 20);
    rpc_call_cancel(&call);
    world_run(world, 400);
    assert_true(answer.done);
    assert_int_equal(world->coordinator->requests, 0);
    int after = world->shards[0].times;
    world_run(world, 400);
    assert_int_equal(world->shards[0].times, after);
    buf_deinit(&answer.payload);
}

/* A shard whose folder was copied: who is connected stays, the other is refused; once the first is
 * gone, the id may come from another address. */
static void test_copied_folder(void **state)
{
    struct world *world = *state;
    struct fake_shard *first = &world->shards[0], *copy = &world->shards[2];
    snprintf(copy->id, sizeof copy->id, "%s", first->id);
    uint64_t epoch = map_epoch(world->coordinator->map), until = clock_ms() + 500;
    while (clock_ms() < until)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_string_equal(map_node(world->coordinator->map, first->id)->address, first->url);
    assert_int_equal(map_epoch(world->coordinator->map), epoch);
    fake_stop(first);
    until = clock_ms() + 5000;
    while (map_epoch(world->coordinator->map) == epoch && clock_ms() < until)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_string_equal(map_node(world->coordinator->map, copy->id)->address, copy->url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_copied_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partial_after_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_partly, setup, teardown),
        cmocka_unit_test_setup_teardown(test_liar_and_garbage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stale_is_retried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_created_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_down, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silent_heart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart_of_the_coordinator, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_gives_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer_gives_up, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
