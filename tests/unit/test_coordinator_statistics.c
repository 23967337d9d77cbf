/* Statistics from the cache: how many rounds a search takes, and that whatever happens it is scored
 * with the statistics of now. The fake shards tell with which ones they were asked to score. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator_world.h"

struct counts {
    unsigned counts, searches, moved_on; /* over all shards */
};

static struct counts counts_of(const struct world *world)
{
    struct counts sum = {0};
    for (size_t i = 0; i < world->shard_count; i++) {
        sum.counts += world->shards[i].counts;
        sum.searches += world->shards[i].searches;
        sum.moved_on += world->shards[i].moved_on;
    }
    return sum;
}

static struct counts since(const struct world *world, struct counts before)
{
    struct counts now = counts_of(world);
    return (struct counts){now.counts - before.counts, now.searches - before.searches,
                           now.moved_on - before.moved_on};
}

#define assert_counts(world, before, c, s, m)                                                      \
    do {                                                                                           \
        struct counts it = since(world, before);                                                   \
        assert_int_equal(it.counts, c);                                                            \
        assert_int_equal(it.searches, s);                                                          \
        assert_int_equal(it.moved_on, m);                                                          \
    } while (0)

/* What the ranges of the shards that are not left out say of any word. */
static uint64_t assert_scored_with(struct world *world, int left_out)
{
    uint64_t documents = 0, frequency = 0;
    const Quire__ClusterMap *map = world->coordinator->map->message;
    for (size_t i = 0; i < map->n_ranges; i++) {
        size_t shard = (size_t)(map->ranges[i]->primary[0] - '0');
        uint64_t here = 0;
        if ((int)shard == left_out)
            continue;
        for (size_t w = 0; w < WORLD_WORDS; w++)
            here += fake_holds(map->ranges[i], world->words[w]);
        documents += here;
        frequency += fake_frequency(&world->shards[shard], here);
    }
    for (size_t i = 0; i < world->shard_count; i++) {
        if ((int)i == left_out)
            continue;
        assert_int_equal(world->shards[i].documents, documents);
        assert_int_equal(world->shards[i].frequency, frequency);
    }
    return frequency;
}

static int search_raw(struct world *world, struct answer *answer, const char *query, bool complete,
                      const char *cursor)
{
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    message.collection = (char *)"c";
    message.query = (char *)query;
    message.cursor = (char *)cursor;
    message.has_limit = true;
    message.limit = 10;
    message.has_completeness = true;
    message.completeness = complete ? QUIRE__COMPLETENESS__COMPLETE : QUIRE__COMPLETENESS__PARTIAL;
    return ask(world, answer, QUIRE__KIND__KIND_SEARCH, &message, 5000);
}

/* A search that finds every word, scored with the statistics of now. */
static void search_all(struct world *world, const char *query)
{
    struct answer answer;
    if (search_raw(world, &answer, query, true, NULL) != 0)
        fail_msg("search: %s", answer.err.text);
    Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
    assert_true(reply->complete);
    uint64_t total = reply->total, frequency = assert_scored_with(world, -1);
    assert_true(total == frequency || strchr(query, ' ') || strpbrk(query, "*~"));
    assert_int_equal(total % 1000, WORLD_WORDS);
    answer_deinit(&answer);
}

static void test_one_round(void **state)
{
    struct world *world = *state;
    world_prepare(world, "c");
    struct counts start = counts_of(world);
    search_all(world, "word");
    assert_counts(world, start, 3, 3, 0);
    for (unsigned i = 1; i <= 5; i++) {
        search_all(world, "word");
        assert_counts(world, start, 3, 3 + 3 * i, 0);
    }
    /* One word that is not known: all are asked for. */
    start = counts_of(world);
    search_all(world, "word another");
    assert_counts(world, start, 3, 3, 0);
    search_all(world, "another");
    assert_counts(world, start, 3, 6, 0);
    assert_int_equal(world->coordinator->searches.all, 8);
    assert_int_equal(world->coordinator->searches.one_round, 6);
    assert_int_equal(world->coordinator->searches.outdated, 0);
}

static void test_expansions(void **state)
{
    struct world *world = *state;
    world_prepare(world, "c");
    search_all(world, "pre*");
    struct counts start = counts_of(world);
    search_all(world, "pre*");
    assert_counts(world, start, 0, 3, 0);
    search_all(world, "pre~1"); /* another question */
    assert_counts(world, start, 3, 6, 0);
    world->shards[2].seq++;
    search_all(world, "pre*");
    assert_counts(world, start, 3, 6 + 2 + 3, 1);
}

/* Writes that this coordinator does not hear of. */
static void test_overtaken(void **state)
{
    struct world *world = *state;
    world_prepare(world, "c");
    search_all(world, "word");
    for (uint64_t i = 0; i < 10; i++) {
        struct counts start = counts_of(world);
        struct fake_shard *shard = &world->shards[i % 3];
        shard->seq += 1 + i;
        search_all(world, "word"); /* two evaluate in vain, one says what is new, then all again */
        assert_counts(world, start, 0, 2 + 3, 1);
        search_all(world, "word");
        assert_counts(world, start, 0, 2 + 3 + 3, 1);
    }
    struct counts start = counts_of(world);
    for (int i = 0; i < 3; i++)
        world->shards[i].seq++;
    search_all(world, "word");
    assert_counts(world, start, 0, 3, 3);
    assert_int_equal(world->coordinator->searches.outdated, 11);
    /* What was known of another word before the writes is not mixed with what is known now. */
    search_all(world, "other");
    world->shards[0].seq++;
    search_all(world, "word");
    start = counts_of(world);
    search_all(world, "other");
    assert_counts(world, start, 3, 3, 0);
}

static void write_word(struct world *world, const char *word)
{
    Quire__WriteRequest message = QUIRE__WRITE_REQUEST__INIT;
    Quire__WriteOp op = QUIRE__WRITE_OP__INIT, *ops[] = {&op};
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    struct answer answer;
    entry.headword = (char *)word;
    op.put = &entry;
    message.collection = (char *)"c";
    message.n_ops = 1;
    message.ops = ops;
    if (ask(world, &answer, QUIRE__KIND__KIND_WRITE, &message, 5000) != 0)
        fail_msg("write: %s", answer.err.text);
    answer_deinit(&answer);
}

/* A write through this coordinator: nothing is evaluated in vain. */
static void test_written(void **state)
{
    struct world *world = *state;
    world_prepare(world, "c");
    search_all(world, "word");
    for (int i = 0; i < 5; i++) {
        struct counts start = counts_of(world);
        write_word(world, world->words[i * 5]);
        search_all(world, "word");
        struct counts it = since(world, start);
        assert_int_equal(it.counts, 3);
        /* The fake's seq is that of all its ranges; the coordinator knows of one. */
        assert_true(it.moved_on == 0 && it.searches == 3);
    }
}

static void test_pages(void **state)
{
    struct world *world = *state;
    struct answer first, next;
    world_prepare(world, "c");
    search_all(world, "word");
    for (int changed = 0; changed < 2; changed++) {
        assert_int_equal(search_raw(world, &first, "word", true, NULL), 0);
        Quire__SearchReply *reply = answer_message(&first, &quire__search_reply__descriptor);
        assert_non_null(reply->cursor);
        world->shards[1].seq += (uint64_t)changed;
        assert_int_equal(search_raw(world, &next, "word", true, reply->cursor), 0);
        reply = answer_message(&next, &quire__search_reply__descriptor);
        assert_int_equal(reply->n_warnings, changed);
        answer_deinit(&first);
        answer_deinit(&next);
    }
}

/* A shard that fails at first during a search is missing, as it is when it fails between two
 * rounds; from the next search on it is left out of the statistics as well. */
static void test_failing_range(void **state)
{
    struct world *world = *state;
    struct answer answer;
    world_prepare(world, "c");
    search_all(world, "word");
    world->shards[1].mode = SHARD_GARBAGE;
    struct counts start = counts_of(world);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(search_raw(world, &answer, "word", false, NULL), 0);
        Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
        assert_false(reply->complete);
        assert_true(reply->n_missing > 0 && reply->total < WORLD_WORDS);
        assert_false(reply->total_is_lower_bound); /* of one word, in what answered */
        answer_deinit(&answer);
        assert_counts(world, start, 2 * i, 2 * (i + 1), 0);
        assert_int_equal(search_raw(world, &answer, "word", true, NULL), ERR_INCOMPLETE);
        answer_deinit(&answer);
        start.counts += 2; /* of that one; it went no further */
        if (i > 0)
            assert_scored_with(world, 1);
    }
    world->shards[1].mode = SHARD_GOOD;
    search_all(world, "word");
    start = counts_of(world);
    search_all(world, "word");
    assert_counts(world, start, 0, 3, 0);
}

/* One moves on and another fails in the same search. */
static void test_overtaken_and_failing(void **state)
{
    struct world *world = *state;
    struct answer answer;
    world_prepare(world, "c");
    search_all(world, "word");
    world->shards[0].seq++;
    world->shards[1].mode = SHARD_GARBAGE;
    assert_int_equal(search_raw(world, &answer, "word", false, NULL), 0);
    Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
    assert_true(!reply->complete && reply->n_missing > 0);
    answer_deinit(&answer);
    assert_scored_with(world, 1);
    world->shards[0].seq++;
    world->shards[1].mode = SHARD_GOOD;
    search_all(world, "word");
    world->shards[0].seq++;
    world->shards[1].mode = SHARD_GARBAGE;
    assert_int_equal(search_raw(world, &answer, "word", true, NULL), ERR_INCOMPLETE);
    answer_deinit(&answer);
}

/* A shard that does not have the map yet: planned anew, and asked from the start. */
static void test_stale_map(void **state)
{
    struct world *world = *state;
    world_prepare(world, "c");
    search_all(world, "word");
    struct counts start = counts_of(world);
    world->shards[2].mode = SHARD_STALE;
    world->shards[2].times = 1;
    search_all(world, "word");
    assert_counts(world, start, 3, 2 + 3, 0);
    start = counts_of(world);
    world->shards[2].times = 3; /* the search, and twice the statistics */
    search_all(world, "word");
    assert_counts(world, start, 2 + 2 + 3, 2 + 3, 0);
}

static void on_changed(struct coordinator_change *change, int status, const struct err *err)
{
    if (status != 0)
        fail_msg("change: %s", err->text);
    *(bool *)change->data = true;
}

static void change_map(struct world *world, const Quire__MapChange *message)
{
    bool done = false;
    struct coordinator_change change = {.data = &done, .done = on_changed};
    coordinator_change(world->coordinator, &change, message);
    while (!done)
        uv_run(&world->loop, UV_RUN_ONCE);
}

/* A range becomes two, at the second of the words that it holds, on the shard where it is. */
static void split(struct world *world, size_t index)
{
    Quire__Range range = *world->coordinator->map->message->ranges[index], *ranges[] = {&range};
    struct map *kept = map_ref(world->coordinator->map); /* it points into that */
    uint64_t next_id = kept->message->next_id;
    size_t first = 0;
    while (!fake_holds(&range, world->words[first]))
        first++;
    const char *at = world->words[first + 1];
    assert_true(fake_holds(&range, at));
    Quire__ReshapeTarget left = QUIRE__RESHAPE_TARGET__INIT, right = left;
    Quire__ReshapeTarget *targets[] = {&left, &right};
    Quire__Reshape reshape = QUIRE__RESHAPE__INIT;
    left.id = next_id;
    right.id = next_id + 1;
    left.has_lo = left.has_hi = right.has_lo = right.has_hi = true;
    left.lo = range.lo;
    left.hi = right.lo = (ProtobufCBinaryData){strlen(at), (uint8_t *)(uintptr_t)at};
    right.hi = range.hi;
    reshape.n_sources = 1;
    reshape.sources = &range.id;
    reshape.n_targets = 2;
    reshape.targets = targets;
    reshape.sealed = true;
    range.epoch++;
    range.reshape = &reshape;
    Quire__RangeSet set = QUIRE__RANGE_SET__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    set.n_ranges = 1;
    set.ranges = ranges;
    change.ranges_configure = &set;
    change_map(world, &change);
    Quire__ReshapeFinish finish = QUIRE__RESHAPE_FINISH__INIT;
    Quire__RangeRef ref = QUIRE__RANGE_REF__INIT, *refs[] = {&ref};
    ref.id = range.id;
    ref.epoch = range.epoch;
    finish.n_sources = 1;
    finish.sources = refs;
    change = (Quire__MapChange)QUIRE__MAP_CHANGE__INIT;
    change.reshape_finish = &finish;
    change_map(world, &change);
    map_unref(kept);
}

/* The statistics are of the range that was; the search finds the two that came of it, of which
 * nothing is known: it is made again from the start, or their hits would not be counted. */
static void test_split_between_rounds(void **state)
{
    struct world *world = *state;
    struct answer answer = {0};
    struct buf packed = {0};
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    struct rpc_call call = {.data = &answer, .done = answer_done};
    world_prepare(world, "c");
    message.collection = (char *)"c";
    message.query = (char *)"word";
    message_pack(&message.base, &packed);
    arena_init(&answer.arena, 0);
    world->shards[0].delays = true;
    rpc_call_start(&call, world->peer, QUIRE__KIND__KIND_SEARCH, buf_bytes(&packed), 10000, 0);
    while (world->shards[0].delayed == NULL || world->shards[1].counts == 0 ||
           world->shards[2].counts == 0)
        uv_run(&world->loop, UV_RUN_ONCE);
    for (size_t i = 0; i < 3; i++)
        if (world->coordinator->map->message->ranges[i]->primary[0] == '1') {
            split(world, i);
            break;
        }
    assert_int_equal(world->coordinator->map->message->n_ranges, 4);
    fake_send_delayed(&world->shards[0]);
    while (!answer.done)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(answer.status, 0);
    Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
    assert_true(reply->complete);
    assert_int_equal(reply->total, WORLD_WORDS);
    assert_int_equal(assert_scored_with(world, -1), WORLD_WORDS);
    for (size_t i = 0; i < 3; i++)
        assert_true(world->shards[i].counts >= 2); /* more when an assignment came late */
    answer_deinit(&answer);
    buf_deinit(&packed);
}

/* A shard that is down is not presumed upon; the others' statistics are kept. */
static void test_down(void **state)
{
    struct world *world = *state;
    struct answer answer;
    world_prepare(world, "c");
    search_all(world, "word");
    fake_stop(&world->shards[2]);
    world_await(world, 2);
    for (int i = 0; i < 2; i++) {
        struct counts start = counts_of(world);
        assert_int_equal(search_raw(world, &answer, "word", false, NULL), 0);
        answer_deinit(&answer);
        assert_counts(world, start, 2, 2, 0);
        assert_scored_with(world, 2);
    }
}

static void test_nonsense(void **state)
{
    struct world *world = *state;
    struct answer answer;
    world_prepare(world, "c");
    world->shards[1].wrong_stats = true;
    assert_int_equal(search_raw(world, &answer, "word", true, NULL), ERR_INTERNAL);
    answer_deinit(&answer);
    world->shards[1].wrong_stats = false;
    search_all(world, "word");
    world->shards[1].wrong_stats = true;
    world->shards[1].seq++;
    assert_int_equal(search_raw(world, &answer, "word", true, NULL), ERR_INTERNAL);
    answer_deinit(&answer);
    world->shards[1].wrong_stats = false;
    search_all(world, "word");
}

/* Ranges that come and go with their ids. */
static void test_dropped(void **state)
{
    struct world *world = *state;
    struct answer answer;
    Quire__Collection drop = QUIRE__COLLECTION__INIT;
    drop.name = (char *)"c";
    for (int i = 0; i < 3; i++) {
        world_prepare(world, "c");
        struct counts start = counts_of(world);
        search_all(world, "word");
        search_all(world, "word");
        assert_counts(world, start, 3, 6, 0);
        assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_COLLECTION_DROP, &drop, 5000), 0);
        answer_deinit(&answer);
    }
}

static void test_without_cache(void **state)
{
    struct world *world = *state;
    world_stop_coordinator(world);
    world->stats_cache_bytes = 0;
    world_start_coordinator(world);
    world_await(world, 3);
    world_prepare(world, "c");
    struct counts start = counts_of(world);
    for (int i = 0; i < 3; i++)
        search_all(world, "word");
    assert_counts(world, start, 9, 9, 0);
    assert_int_equal(world->coordinator->searches.one_round, 0);
}

/* A cache too small for the words that are used: some searches take two rounds, none is wrong. */
static void test_small_cache(void **state)
{
    struct world *world = *state;
    char word[16];
    world_stop_coordinator(world);
    world->stats_cache_bytes = 12000; /* some twenty words of three ranges */
    world_start_coordinator(world);
    world_await(world, 3);
    world_prepare(world, "c");
    for (int i = 0; i < 200; i++) {
        snprintf(word, sizeof word, "w%d", i % 2 == 0 ? 0 : i * 7 % 40);
        search_all(world, word);
        world->shards[i % 3].seq += i % 10 == 0;
    }
    assert_true(world->coordinator->searches.one_round > 20);
    assert_true(world->coordinator->searches.one_round < 180);
}

static int three_shards(void **state)
{
    *state = world_create(3);
    return 0;
}

static int destroy(void **state)
{
    world_destroy(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_round, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_expansions, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_overtaken, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_written, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_pages, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_failing_range, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_overtaken_and_failing, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_stale_map, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_split_between_rounds, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_down, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_nonsense, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_dropped, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_without_cache, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_small_cache, three_shards, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
