/* Reads over two replicas: which one answers, the next when it fails, a second one when it takes
 * long, and one that was named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator_world.h"

static int setup(void **state)
{
    struct world *world = world_create(3);
    struct answer answer;
    Quire__Collection message = QUIRE__COLLECTION__INIT;
    message.name = (char *)"words";
    message.has_replicas = true;
    message.replicas = 2;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_COLLECTION_CREATE, &message, 5000), 0);
    answer_deinit(&answer);
    world_prepare(world, "words");
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    world_destroy(*state);
    return 0;
}

/* `replica` below 0: any. */
static int search(struct world *world, struct answer *answer, int replica, uint32_t timeout_ms)
{
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    message.collection = (char *)"words";
    message.query = (char *)"anything";
    message.has_limit = true;
    message.limit = 1000;
    message.has_completeness = true;
    message.completeness = QUIRE__COMPLETENESS__COMPLETE;
    message.has_replica = replica >= 0;
    message.replica = (uint32_t)replica;
    return ask(world, answer, QUIRE__KIND__KIND_SEARCH, &message, timeout_ms);
}

static int define(struct world *world, struct answer *answer)
{
    Quire__DefineRequest message = QUIRE__DEFINE_REQUEST__INIT;
    message.collection = (char *)"words";
    message.term = world->words[3];
    return ask(world, answer, QUIRE__KIND__KIND_DEFINE, &message, 5000);
}

/* Of one range. */
static int get(struct world *world, struct answer *answer, int replica, uint32_t timeout_ms)
{
    Quire__GetRequest message = QUIRE__GET_REQUEST__INIT;
    message.collection = (char *)"words";
    message.headword = world->words[3];
    message.has_replica = replica >= 0;
    message.replica = (uint32_t)replica;
    return ask(world, answer, QUIRE__KIND__KIND_GET, &message, timeout_ms);
}

static struct map_ranges words(struct world *world)
{
    const struct map *map = world->coordinator->map;
    return map_ranges(map, map_collection(map, "words")->id);
}

/* Of two replicas. */
static const char *replica_of(const Quire__Range *range, int replica)
{
    bool first = strcmp(range->in_sync[0], range->primary) == 0;
    return range->in_sync[(replica == 0) == first ? 0 : 1];
}

static struct fake_shard *owner(struct world *world, const char *word, int replica)
{
    struct map_ranges all = words(world);
    for (size_t i = 0; i < all.count; i++)
        for (size_t s = 0; fake_holds(all.items[i], word) && s < WORLD_SHARDS; s++)
            if (strcmp(replica_of(all.items[i], replica), world->shards[s].id) == 0)
                return &world->shards[s];
    fail_msg("nobody has %s", word);
    return NULL;
}

/* It is the first choice of those that the next read has. */
static void prefer(struct world *world, const struct fake_shard *shard)
{
    nodes_find(&world->coordinator->nodes, shard->id)->read_us = 1;
}

static bool is_replica(struct world *world, size_t shard, int replica)
{
    struct map_ranges all = words(world);
    for (size_t i = 0; i < all.count; i++)
        if (strcmp(replica_of(all.items[i], replica), world->shards[shard].id) == 0)
            return true;
    return false;
}

static void check_all_words(struct answer *answer)
{
    Quire__SearchReply *reply = answer_message(answer, &quire__search_reply__descriptor);
    assert_true(reply->complete);
    assert_int_equal(reply->n_hits, WORLD_WORDS);
    answer_deinit(answer);
}

static void test_named(void **state)
{
    struct world *world = *state;
    struct map_ranges all = words(world);
    assert_int_equal(all.count, 3);
    for (int i = 0; i < 20; i++) {
        int replica = i % 2;
        unsigned counts[WORLD_SHARDS], searches[WORLD_SHARDS];
        struct answer answer;
        for (size_t s = 0; s < WORLD_SHARDS; s++) {
            counts[s] = world->shards[s].counts;
            searches[s] = world->shards[s].searches;
        }
        assert_int_equal(search(world, &answer, replica, 5000), 0);
        check_all_words(&answer);
        for (size_t s = 0; s < WORLD_SHARDS; s++) { /* in both rounds, and nobody else */
            unsigned expected = is_replica(world, s, replica);
            assert_int_equal(world->shards[s].counts - counts[s], expected);
            assert_int_equal(world->shards[s].searches - searches[s], expected);
        }
    }
}

static void test_named_is_not_there(void **state)
{
    struct world *world = *state;
    struct answer answer;
    assert_int_equal(search(world, &answer, 2, 5000), ERR_INCOMPLETE);
    assert_non_null(strstr(answer.err.text, "there is no replica 2: range "));
    assert_non_null(strstr(answer.err.text, "has 2 in sync"));
    answer_deinit(&answer);
}

/* What any other read takes from another replica is missing for one that names its replica. */
static void test_named_fails(void **state)
{
    struct world *world = *state;
    struct answer answer;
    for (size_t s = 0; s < WORLD_SHARDS; s++) {
        world->shards[s].mode = SHARD_PARTLY;
        assert_int_equal(search(world, &answer, -1, 5000), 0);
        check_all_words(&answer);
        for (int replica = 0; replica < 2; replica++) {
            int expected = is_replica(world, s, replica) ? ERR_INCOMPLETE : 0;
            assert_int_equal(search(world, &answer, replica, 5000), expected);
            answer_deinit(&answer);
        }
        world->shards[s].mode = SHARD_GOOD;
    }
}

/* A shard that is gone: named, it does not answer, and nobody does instead. */
static void test_named_is_down(void **state)
{
    struct world *world = *state;
    struct answer answer;
    assert_true(is_replica(world, 1, 1));
    fake_stop(&world->shards[1]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(search(world, &answer, 1, 5000), ERR_INCOMPLETE);
        answer_deinit(&answer);
        assert_int_equal(search(world, &answer, -1, 5000), 0);
        check_all_words(&answer);
    }
    world_await(world, 2);
}

/* Whatever is wrong with one shard, the others have everything. */
static void test_next_replica(void **state)
{
    static const enum shard_mode modes[] = {SHARD_PARTLY, SHARD_GARBAGE, SHARD_LIAR, SHARD_STALE};
    struct world *world = *state;
    struct answer answer;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        uint64_t again = world->coordinator->hedge.again;
        world->shards[i % 3].mode = modes[i];
        world->shards[i % 3].times = 1 << 20;
        for (int turn = 0; turn < 40; turn++) {
            prefer(world, &world->shards[i % 3]);
            assert_int_equal(search(world, &answer, -1, 5000), 0);
            check_all_words(&answer);
            assert_int_equal(define(world, &answer), 0);
            Quire__EntryList *list = answer_message(&answer, &quire__entry_list__descriptor);
            assert_int_equal(list->n_entries, 1);
            answer_deinit(&answer);
        }
        assert_true(world->coordinator->hedge.again > again);
        world->shards[i % 3].mode = SHARD_GOOD;
    }
}

/* A shard that takes requests and never answers: the second replica does, the first call is given
 * up; without budget it does not. */
static void test_hedge(void **state)
{
    struct world *world = *state;
    struct hedge *hedge = &world->coordinator->hedge;
    struct answer answer;
    while (hedge->budget < HEDGE_BURST) { /* what is usual has to be known */
        assert_int_equal(get(world, &answer, -1, 5000), 0);
        answer_deinit(&answer);
    }
    uint64_t hedges = hedge->hedges, won = hedge->won, given_up = hedge->given_up;
    struct fake_shard *slow = owner(world, world->words[3], 1);
    slow->mode = SHARD_SILENT;
    for (int turn = 0; turn < 500 && hedge->won < won + 3; turn++) {
        prefer(world, slow);
        assert_int_equal(get(world, &answer, -1, 5000), 0);
        Quire__EntryList *list = answer_message(&answer, &quire__entry_list__descriptor);
        assert_int_equal(list->n_entries, 1);
        answer_deinit(&answer);
    }
    assert_int_equal(hedge->won, won + 3);
    assert_true(hedge->given_up >= given_up + 3);
    assert_true(hedge->hedges >= hedges + 3);
    /* Without budget there is no second call. */
    int status = 0;
    hedges = hedge->hedges;
    for (int turn = 0; turn < 500 && status == 0; turn++) {
        hedge->budget = 0;
        prefer(world, slow);
        status = get(world, &answer, -1, 600);
        answer_deinit(&answer);
    }
    assert_int_equal(status, ERR_INCOMPLETE);
    assert_int_equal(hedge->hedges, hedges);
    hedge->budget = HEDGE_BURST;
    /* Those that were given up are answered after all: it harms nobody. */
    slow->mode = SHARD_GOOD;
    for (struct list *link; (link = list_shift(&slow->held)) != NULL;)
        rpc_reply_error(list_entry(link, struct rpc_request, link), ERR_INTERNAL, "late");
    assert_int_equal(get(world, &answer, -1, 5000), 0);
    answer_deinit(&answer);
    /* Nobody is asked beside one that was named. */
    hedges = hedge->hedges;
    slow->mode = SHARD_SILENT;
    assert_int_equal(get(world, &answer, 1, 600), ERR_INCOMPLETE);
    assert_int_equal(hedge->hedges, hedges);
    answer_deinit(&answer);
}

static void write_word(struct world *world, char *word)
{
    Quire__WriteRequest message = QUIRE__WRITE_REQUEST__INIT;
    Quire__WriteOp op = QUIRE__WRITE_OP__INIT, *ops[] = {&op};
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    struct answer answer;
    entry.headword = word;
    op.put = &entry;
    message.collection = (char *)"words";
    message.n_ops = 1;
    message.ops = ops;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_WRITE, &message, 5000), 0);
    answer_deinit(&answer);
}

static uint64_t min_seq_told(struct world *world, int replica, Quire__SessionMark *mark)
{
    Quire__GetRequest message = QUIRE__GET_REQUEST__INIT;
    struct answer answer;
    message.collection = (char *)"words";
    message.headword = world->words[3];
    message.has_replica = true;
    message.replica = (uint32_t)replica;
    message.n_session = mark != NULL;
    message.session = &mark;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_GET, &message, 5000), 0);
    answer_deinit(&answer);
    return owner(world, world->words[3], replica)->told_min_seq;
}

/* What was acknowledged here is seen by every read that is asked here afterwards, whoever asks. */
static void test_acknowledged_is_seen(void **state)
{
    struct world *world = *state;
    struct fake_shard *primary = owner(world, world->words[3], 0);
    assert_int_equal(min_seq_told(world, 1, NULL), 0);
    for (int i = 0; i < 3; i++) {
        write_word(world, world->words[3]);
        for (int replica = 0; replica < 2; replica++)
            assert_int_equal(min_seq_told(world, replica, NULL), primary->seq);
    }
    /* A session may have seen more; one from before writes were given up asks for nothing. */
    Quire__SessionMark mark = QUIRE__SESSION_MARK__INIT;
    struct map_ranges all = words(world);
    for (size_t i = 0; i < all.count; i++)
        if (fake_holds(all.items[i], world->words[3]))
            mark.range = all.items[i]->id;
    mark.seq = primary->seq + 9;
    assert_int_equal(min_seq_told(world, 1, &mark), mark.seq);
    mark.has_recovered = true;
    mark.recovered = 1;
    assert_int_equal(min_seq_told(world, 1, &mark), primary->seq);
}

/* The figures are told. */
static void test_figures(void **state)
{
    struct world *world = *state;
    struct answer answer;
    assert_int_equal(search(world, &answer, -1, 5000), 0);
    answer_deinit(&answer);
    world->coordinator->hedge.again = 11;
    world->coordinator->hedge.hedges = 12;
    world->coordinator->hedge.won = 13;
    world->coordinator->hedge.given_up = 14;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_STATUS, NULL, 5000), 0);
    Quire__StatusReply *reply = answer_message(&answer, &quire__status_reply__descriptor);
    assert_non_null(reply->reads);
    assert_true(reply->reads->calls > 0);
    assert_int_equal(reply->reads->again, 11);
    assert_int_equal(reply->reads->hedges, 12);
    assert_int_equal(reply->reads->hedges_won, 13);
    assert_int_equal(reply->reads->given_up, 14);
    answer_deinit(&answer);
}

/* Of every replica; the numbers of problems and of ranges that could not be compared. */
static void verify(struct world *world, size_t *problems, uint64_t *uncompared)
{
    struct answer answer;
    Quire__VerifyRequest message = QUIRE__VERIFY_REQUEST__INIT;
    message.has_replicas = message.replicas = true;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_VERIFY, &message, 5000), 0);
    Quire__VerifyReply *reply = answer_message(&answer, &quire__verify_reply__descriptor);
    assert_int_equal(reply->ranges, 2 * words(world).count);
    *problems = reply->n_problems;
    *uncompared = reply->uncompared;
    for (size_t i = 0; i < reply->n_problems; i++)
        assert_non_null(
            strstr(reply->problems[i]->text, "have other entries after the same write"));
    answer_deinit(&answer);
}

static void test_verify_compares(void **state)
{
    struct world *world = *state;
    struct fake_shard *odd = owner(world, world->words[3], 1);
    struct map_ranges ranges = words(world);
    size_t there = 0, problems;
    uint64_t uncompared;
    for (size_t i = 0; i < ranges.count; i++)
        there += map_range_on(ranges.items[i], odd->id);
    assert_in_range(there, 1, ranges.count);
    verify(world, &problems, &uncompared);
    assert_int_equal(problems, 0);
    assert_int_equal(uncompared, 0);
    odd->digest = 1;
    verify(world, &problems, &uncompared);
    assert_int_equal(problems, there);
    assert_int_equal(uncompared, 0);
    odd->seq++; /* it has taken a write since: that its entries are others means nothing */
    verify(world, &problems, &uncompared);
    assert_int_equal(problems, 0);
    assert_int_equal(uncompared, there);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_named_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_named_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_named_is_down, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_replica, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hedge, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acknowledged_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_figures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verify_compares, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
