/* Searches that may pass over documents (search_run) against those that may not
 * (search_run_exhaustive) and against brute force (search_world.h): the same hits with the same
 * scores, whatever is asked for, in memory and on disk, with dead documents. QUIRE_SEED replays
 * one world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/search_world.h"
#include "tests/unit/store_fixture.h"

static uint64_t passed_over; /* searches whose total was a lower bound */

/* ---- queries ---- */

static node_t *word(struct world *world, int occur)
{
    node_t *node = world_node(world, WOP(TERM));
    world_token(world, node, world_any_word(world));
    node->has_field = 1;
    node->field = world_random(world, 8) ? TEXT_FIELD_ALL : world_random(world, 4);
    node->has_occur = 1;
    node->occur = (Quire__QueryNode__Occur)occur;
    if (world_random(world, 6) == 0) {
        node->has_boost = 1;
        node->boost = (float)(1 + world_random(world, 40)) / 8.0f;
    }
    return node;
}

static node_t *other(struct world *world, int occur)
{
    node_t *node = world_leaf(world);
    node->has_occur = 1;
    node->occur = (Quire__QueryNode__Occur)occur;
    return node;
}

/* One group of words, as people ask: any of them, all of them, some of each, some forbidden. */
static Quire__Query *flat_query(struct world *world)
{
    static const struct {
        uint32_t should, must, must_not, others;
    } shapes[] = {{1, 0, 0, 0}, {2, 0, 0, 0}, {3, 0, 0, 0},  {5, 0, 0, 0}, {14, 0, 0, 0},
                  {0, 2, 0, 0}, {0, 3, 0, 0}, {0, 5, 0, 0},  {2, 1, 0, 0}, {3, 2, 0, 0},
                  {2, 0, 1, 0}, {0, 1, 1, 0}, {0, 2, 1, 0},  {2, 2, 1, 0}, {2, 0, 0, 1},
                  {0, 1, 0, 1}, {4, 1, 1, 2}, {30, 0, 0, 0}, {0, 1, 0, 0}, {9, 1, 0, 0}};
    uint32_t shape = world_random(world, sizeof shapes / sizeof shapes[0]);
    static const int occurs[] = {WOCCUR(SHOULD), WOCCUR(MUST), WOCCUR(FILTER), WOCCUR(MUST_NOT)};
    node_t *nodes[64];
    size_t count = 0;
    for (uint32_t i = 0; i < shapes[shape].should; i++)
        nodes[count++] = word(world, WOCCUR(SHOULD));
    for (uint32_t i = 0; i < shapes[shape].must; i++)
        nodes[count++] = word(world, world_random(world, 8) ? WOCCUR(MUST) : WOCCUR(FILTER));
    for (uint32_t i = 0; i < shapes[shape].must_not; i++)
        nodes[count++] = word(world, WOCCUR(MUST_NOT));
    for (uint32_t i = 0; i < shapes[shape].others; i++)
        nodes[count++] = other(world, occurs[world_random(world, 4)]);
    for (size_t i = count; i-- > 1;) { /* in any order */
        size_t k = world_random(world, (uint32_t)i + 1);
        node_t *node = nodes[i];
        nodes[i] = nodes[k];
        nodes[k] = node;
    }
    node_t *group = world_node(world, WOP(BOOL));
    group->has_arity = 1;
    group->arity = (uint32_t)count;
    nodes[count++] = group;
    return world_query_of(world, nodes, count);
}

/* ---- requests ---- */

static void set_limits(struct world *world, Quire__ShardSearch *request, size_t count)
{
    static const uint32_t limits[] = {1, 2, 3, 10, 10, 10, 30, 100, 1000, 0};
    const uint64_t totals[] = {0, 1, 10, 100, count - (count > 0), count, count + 1, UINT64_MAX};
    request->limit = limits[world_random(world, 10)];
    request->has_total_limit = world_random(world, 5) > 0;
    request->total_limit = totals[world_random(world, 8)];
}

static void set_filter(struct world *world, Quire__ShardSearch *request)
{
    request->n_categories = 1 + world_random(world, 2);
    request->categories = arena_calloc(&world->arena, 2, sizeof *request->categories);
    for (size_t i = 0; i < request->n_categories; i++) {
        struct buf key = {0};
        text_key(bytes_str(world->categories[world_random(world, WORLD_CATEGORIES)]), &key);
        request->categories[i].data = arena_copy(&world->arena, key.data, key.size);
        request->categories[i].len = key.size;
        buf_deinit(&key);
    }
}

/* The hits behind a random one; how many are before them. */
static size_t set_after(struct world *world, Quire__ShardSearch *request,
                        const struct world_hit *hits, size_t count)
{
    size_t at = world_random(world, (uint32_t)(count < 300 ? count : 300));
    Quire__Hit *after = arena_alloc(&world->arena, sizeof *after);
    quire__hit__init(after);
    const struct world_document *document = hits[at].document;
    size_t key = strlen(document->key);
    after->score = hits[at].score;
    after->has_key = 1;
    after->key = (ProtobufCBinaryData){key, (uint8_t *)document->key};
    after->sense = arena_copy(&world->arena, document->key + key + 1, document->key_size - key - 1);
    request->after = after;
    return at + 1;
}

/* ---- checks ---- */

/* What was asked, for who has to find out why. */
static void print_request(const Quire__ShardSearch *request)
{
    print_message("limit %u, total limit %s%llu, %zu categories%s%s\n", request->limit,
                  request->has_total_limit ? "" : "not ", (unsigned long long)request->total_limit,
                  request->n_categories, request->facets ? ", facets" : "",
                  request->after ? ", after a hit" : "");
    for (size_t i = 0; i < request->query->n_nodes; i++) {
        const node_t *node = request->query->nodes[i];
        print_message("  op %d occur %d field %u boost %g arity %u", node->op, node->occur,
                      node->field, node->has_boost ? (double)node->boost : 1.0, node->arity);
        for (size_t k = 0; k < node->n_tokens; k++)
            print_message(" %s", (const char *)node->tokens[k].data);
        print_message("\n");
    }
}

static void assert_hits(const char *name, const Quire__ShardSearch *request,
                        const struct search_result *result, const struct world_hit *expected,
                        size_t count)
{
    if (result->hit_count != count) {
        print_request(request);
        fail_msg("%s: %zu hits, expected %zu", name, result->hit_count, count);
    }
    for (size_t i = 0; i < count; i++)
        if (result->hits[i].score != expected[i].score ||
            !bytes_equal(result->hits[i].key, expected[i].key)) {
            print_request(request);
            fail_msg("%s: hit %zu is %s with %llu, expected %s with %llu", name, i,
                     (const char *)result->hits[i].key.data,
                     (unsigned long long)result->hits[i].score, (const char *)expected[i].key.data,
                     (unsigned long long)expected[i].score);
        }
}

/* Exact up to the limit; beyond it exact, or a lower bound that says so. */
static void assert_total(const Quire__ShardSearch *request, const struct search_result *result,
                         size_t count)
{
    if (!result->total_is_lower_bound) {
        assert_int_equal(result->total, count);
        return;
    }
    assert_true(request->has_total_limit);
    assert_false(request->facets);
    assert_true(count > request->total_limit);
    assert_in_range(result->total, request->total_limit, count);
    passed_over++;
}

static void check_request(struct world *world, struct view *view, const Quire__ShardSearch *request,
                          const struct world_hit *expected, size_t before, size_t count)
{
    struct search_result pruned, all;
    struct err err = {0};
    assert_int_equal(search_run(view, request, NULL, &world->arena, &pruned, &err), 0);
    assert_int_equal(search_run_exhaustive(view, request, NULL, &world->arena, &all, &err), 0);
    size_t left = count - before, wanted = left < request->limit ? left : request->limit;
    assert_hits("exhaustive", request, &all, expected + before, wanted);
    assert_hits("pruned", request, &pruned, expected + before, wanted);
    assert_false(all.total_is_lower_bound);
    assert_int_equal(all.total, count);
    assert_total(request, &pruned, count);
}

static void check_query(struct world *world, struct view *view, const Quire__Query *query)
{
    Quire__ShardSearch request = QUIRE__SHARD_SEARCH__INIT;
    struct err err = {0};
    assert_int_equal(search_check(query, &err), 0);
    world_statistics(world, query, &request);
    if (world_random(world, 5) == 0)
        set_filter(world, &request);
    struct world_hit *expected;
    size_t count = world_search(world, &request, &expected);
    for (int i = 0; i < 6; i++) {
        size_t before = 0;
        set_limits(world, &request, count);
        request.after = NULL;
        request.has_facets = request.facets = world_random(world, 10) == 0;
        if (count > 0 && world_random(world, 4) == 0)
            before = set_after(world, &request, expected, count);
        check_request(world, view, &request, expected, before, count);
    }
}

static void check_world(uint64_t seed, uint32_t documents, int queries, struct store *store)
{
    struct world world;
    print_message("seed %llu, %u documents\n", (unsigned long long)seed, documents);
    world_init(&world, seed, documents);
    world.store = store;
    world.next_segment = seed * 100;
    if (seed % 4 == 0)
        world.b = 0; /* many of equal score: the keys decide */
    struct view *view = world_view(&world, 1 + world_random(&world, 4), NULL);
    for (int i = 0; i < queries; i++)
        check_query(&world, view,
                    world_random(&world, 3) ? flat_query(&world) : world_query(&world));
    view_release(view);
    world_deinit(&world);
}

/* ---- tests ---- */

/* Seeds from .. to - 1, or the one that is asked for. */
static void check_worlds(uint64_t from, uint64_t to, uint32_t documents, int queries,
                         struct store *store)
{
    const char *one = getenv("QUIRE_SEED");
    if (one != NULL) {
        from = strtoull(one, NULL, 10);
        to = from + 1;
    }
    for (uint64_t seed = from; seed < to; seed++)
        check_world(seed, documents + (uint32_t)(seed * 37 % documents), queries, store);
}

static void agrees_in_memory(void **state)
{
    check_worlds(1, 20, 300, 40, NULL);
}

static void agrees_on_disk(void **state)
{
    struct disk *disk = *state;
    check_worlds(100, 120, 700, 30, disk->store);
}

/* Lists of many blocks and of several chunks. */
static void agrees_on_long_lists(void **state)
{
    struct disk *disk = *state;
    check_worlds(200, 203, 9000, 40, disk->store);
}

/* The tests above mean nothing when nothing is ever passed over. */
static void passes_over(void **state)
{
    if (getenv("QUIRE_SEED") == NULL)
        assert_true(passed_over > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_in_memory),
        cmocka_unit_test_setup_teardown(agrees_on_disk, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(agrees_on_long_lists, open_disk, close_disk),
        cmocka_unit_test(passes_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
