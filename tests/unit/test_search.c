/* Search against brute force (search_world.h), on random documents and random queries. QUIRE_SEED
 * replays one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/query_plan.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "tests/unit/search_world.h"
#include "tests/unit/store_fixture.h"

static Quire__ShardSearch new_request(struct world *world, const Quire__Query *query,
                                      uint32_t limit)
{
    Quire__ShardSearch request = QUIRE__SHARD_SEARCH__INIT;
    world_statistics(world, query, &request);
    request.limit = limit;
    return request;
}

static void run(struct view *view, const Quire__ShardSearch *request, struct arena *arena,
                struct search_result *result)
{
    struct err err;
    int status = search_run(view, request, NULL, arena, result, &err);
    if (status)
        fail_msg("%s", err.text);
}

static void assert_hits(const struct search_result *result, const struct world_hit *expected,
                        size_t from, size_t count)
{
    assert_int_equal(result->hit_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(result->hits[i].score == expected[from + i].score);
        assert_true(bytes_equal(result->hits[i].key, expected[from + i].key));
    }
}

static void assert_facets(const struct search_result *result, const struct world_hit *hits,
                          size_t count)
{
    uint64_t expected[WORLD_CATEGORIES] = {0};
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < hits[i].document->category_count; k++)
            expected[hits[i].document->categories[k]]++;
    /* 1 and 2 are one category; the smaller spelling stands for both when it occurs. */
    uint32_t both = expected[1] ? 1 : 2;
    uint64_t sum = expected[1] + expected[2];
    expected[1] = expected[2] = 0;
    expected[both] = sum;
    size_t distinct = 0;
    for (uint32_t i = 0; i < WORLD_CATEGORIES; i++) {
        distinct += expected[i] > 0;
        bool found = expected[i] == 0;
        for (size_t k = 0; k < result->facet_count; k++)
            if (bytes_equal(result->facets[k].value, bytes_str(world_category_names[i]))) {
                assert_true(result->facets[k].count == expected[i]);
                found = true;
            }
        assert_true(found);
    }
    assert_int_equal(result->facet_count, distinct);
}

static void set_after(struct world *world, Quire__ShardSearch *request,
                      const struct search_hit *hit)
{
    Quire__Hit *after = arena_alloc(&world->arena, sizeof *after);
    quire__hit__init(after);
    size_t key = strlen((const char *)hit->key.data);
    after->score = hit->score;
    after->has_key = 1;
    after->key = (ProtobufCBinaryData){key, hit->key.data ? (uint8_t *)hit->key.data : NULL};
    after->sense = arena_copy(&world->arena, hit->key.data + key + 1, hit->key.size - key - 1);
    request->after = after;
}

static void check_pages(struct world *world, struct view *view, const Quire__Query *query,
                        const struct world_hit *expected, size_t count)
{
    uint32_t size = 1 + world_random(world, 7);
    Quire__ShardSearch request = new_request(world, query, size);
    for (size_t from = 0, pages = 0; pages < 6; pages++) {
        struct search_result result;
        run(view, &request, &world->arena, &result);
        assert_true(result.total == count);
        size_t left = count - from < size ? count - from : size;
        assert_hits(&result, expected, from, left);
        if (left == 0)
            break;
        set_after(world, &request, &result.hits[left - 1]);
        from += left;
    }
}

static void check_filter(struct world *world, struct view *view, const Quire__Query *query)
{
    Quire__ShardSearch request = new_request(world, query, 10);
    ProtobufCBinaryData keys[2];
    struct buf names[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        text_key(bytes_str(world->categories[world_random(world, WORLD_CATEGORIES)]), &names[i]);
        keys[i] = (ProtobufCBinaryData){names[i].size, names[i].data};
    }
    request.categories = keys;
    request.n_categories = 1 + world_random(world, 2);
    request.has_facets = request.facets = 1;
    struct world_hit *expected;
    size_t count = world_search(world, &request, &expected);
    struct search_result result;
    run(view, &request, &world->arena, &result);
    assert_true(result.total == count);
    assert_hits(&result, expected, 0, count < 10 ? count : 10);
    assert_facets(&result, expected, count);
    buf_deinit(&names[0]);
    buf_deinit(&names[1]);
}

static void check_explain(struct world *world, struct view *view, const Quire__Query *query,
                          const struct world_hit *expected, size_t count)
{
    const struct world_document *document =
        &world->documents[world_random(world, world->document_count)];
    Quire__ShardSearch search = new_request(world, query, 10);
    Quire__ShardExplain request = QUIRE__SHARD_EXPLAIN__INIT;
    request.search = &search;
    size_t key = strlen(document->key);
    request.key = (ProtobufCBinaryData){key, (uint8_t *)document->key};
    request.sense =
        arena_copy(&world->arena, document->key + key + 1, document->key_size - key - 1);
    Quire__ExplainReply reply;
    struct err err;
    int status = search_explain(view, &request, &world->arena, &reply, &err);
    if (status)
        fail_msg("%s", err.text);
    const struct world_hit *hit = NULL;
    for (size_t i = 0; i < count; i++)
        if (expected[i].document == document)
            hit = &expected[i];
    assert_int_equal(reply.matched, hit != NULL);
    assert_true(reply.score == (hit ? hit->score : 0));
    uint64_t sum = 0;
    for (size_t i = 0; i < reply.n_terms; i++) {
        sum += reply.terms[i]->contribution;
        assert_true(reply.terms[i]->frequency || !reply.terms[i]->contribution);
    }
    assert_true(sum == reply.score);
    assert_int_equal(reply.length, norm_decode(norm_encode(document->length)));
}

static void check_world(uint64_t seed, struct store *store)
{
    struct world world;
    world_init(&world, seed, 1 + (uint32_t)(seed * 37 % 400));
    world.store = store;
    world.next_segment = seed * 100;
    struct view *view = world_view(&world, 1 + world_random(&world, 4), NULL);
    for (int i = 0; i < 40; i++) {
        Quire__Query *query = world_query(&world);
        struct err err = {0};
        assert_int_equal(search_check(query, &err), 0);
        Quire__ShardSearch request = new_request(&world, query, world_random(&world, 30));
        request.has_facets = request.facets = 1;
        struct world_hit *expected;
        size_t count = world_search(&world, &request, &expected);
        struct search_result result;
        run(view, &request, &world.arena, &result);
        assert_true(result.total == count);
        assert_hits(&result, expected, 0, count < request.limit ? count : request.limit);
        assert_facets(&result, expected, count);
        check_pages(&world, view, query, expected, count);
        check_filter(&world, view, query);
        check_explain(&world, view, query, expected, count);
    }
    view_release(view);
    world_deinit(&world);
}

static void agrees_with_brute_force(void **state)
{
    const char *one = getenv("QUIRE_SEED");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1, to = one ? from : 60;
    for (uint64_t seed = from; seed <= to; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        check_world(seed, NULL);
    }
}

static void agrees_with_brute_force_on_disk(void **state)
{
    struct disk *disk = *state;
    for (uint64_t seed = 1000; seed < 1030; seed++)
        check_world(seed, disk->store);
}

/* Lists of many blocks, both evaluators, and lists that end and begin at window edges. */
static void agrees_on_long_lists(void **state)
{
    struct disk *disk = *state;
    struct world world;
    world_init(&world, 4711, 12000);
    world.store = disk->store;
    struct view *view = world_view(&world, 2, NULL);
    for (int i = 0; i < 12; i++) {
        Quire__Query *query = world_query(&world);
        Quire__ShardSearch request = new_request(&world, query, 100);
        struct world_hit *expected;
        size_t count = world_search(&world, &request, &expected);
        struct search_result result;
        run(view, &request, &world.arena, &result);
        assert_true(result.total == count);
        assert_hits(&result, expected, 0, count < 100 ? count : 100);
    }
    view_release(view);
    world_deinit(&world);
}

/* ---- statistics ---- */

static uint32_t slow_distance(const uint32_t *a, uint32_t n, const uint32_t *b, uint32_t m)
{
    uint32_t d[32][32];
    for (uint32_t i = 0; i <= n; i++)
        for (uint32_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            uint32_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

static uint32_t code_points(const char *text, uint32_t *points)
{
    uint32_t count = 0;
    for (; *text; text++) {
        if ((*text & 0xc0) == 0x80)
            points[count - 1] = points[count - 1] << 8 | (uint8_t)*text;
        else
            points[count++] = (uint8_t)*text;
    }
    return count;
}

static uint32_t world_distance(const char *a, const char *b)
{
    uint32_t x[32], y[32];
    uint32_t n = code_points(a, x), m = code_points(b, y);
    return n && m && x[0] == y[0] ? slow_distance(x, n, y, m) : 99;
}

struct expected_token {
    uint32_t distance;
    const char *token;
    uint64_t df;
};

static int compare_expected(const void *a, const void *b)
{
    const struct expected_token *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return strcmp(x->token, y->token);
}

static bool node_takes(const node_t *node, const char *word, uint32_t *distance)
{
    const char *typed = (const char *)node->tokens[0].data;
    const char *stem = node->n_tokens > 1 ? (const char *)node->tokens[1].data : NULL;
    *distance = 0;
    if (node->op == WOP(PREFIX))
        return strncmp(word, typed, strlen(typed)) == 0 || (stem && strcmp(word, stem) == 0);
    *distance = world_distance(typed, word);
    if (stem && world_distance(stem, word) < *distance)
        *distance = world_distance(stem, word);
    return *distance <= node->distance;
}

static void assert_expansion(struct world *world, const node_t *node,
                             const Quire__Expansion *expansion, uint32_t limit)
{
    struct expected_token expected[WORLD_WORDS];
    uint32_t field = node->field == TEXT_FIELD_BODY ? TEXT_FIELD_ALL : node->field;
    size_t count = 0;
    for (uint32_t i = 0; i < WORLD_WORDS; i++) {
        uint32_t distance;
        if (!node_takes(node, world->words[i], &distance))
            continue;
        uint64_t df = world_frequency(world, field, bytes_str(world->words[i]));
        if (df)
            expected[count++] = (struct expected_token){distance, world->words[i], df};
    }
    qsort(expected, count, sizeof *expected, compare_expected);
    count = count < limit + 1 ? count : limit + 1;
    assert_int_equal(expansion->n_tokens, count);
    assert_int_equal(expansion->n_distances, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(
            bytes_equal(bytes_of(expansion->tokens[i]->token.data, expansion->tokens[i]->token.len),
                        bytes_str(expected[i].token)));
        assert_int_equal(expansion->distances[i], expected[i].distance);
        assert_true(expansion->tokens[i]->document_frequency == expected[i].df);
        assert_int_equal(expansion->tokens[i]->field, field);
    }
}

static node_t *random_expandable(struct world *world)
{
    bool fuzzy = world_random(world, 2);
    node_t *node = world_node(world, fuzzy ? WOP(FUZZY) : WOP(PREFIX));
    char *typed = arena_strdup(&world->arena, world->words[world_random(world, WORLD_WORDS)]);
    size_t size = strlen(typed);
    if (size > 1 && typed[size - 1] > 0 && world_random(world, 2))
        typed[size - 1] = fuzzy ? 'c' : 0;
    world_token(world, node, typed);
    if (world_random(world, 3) == 0)
        world_token(world, node, world->words[world_random(world, WORLD_WORDS)]);
    /* A near spelling keeps the first letter of whichever it is near. */
    node->has_distance = fuzzy;
    node->distance = 1 + world_random(world, 2);
    node->has_field = 1;
    node->field = world_random(world, 5);
    return node;
}

static uint32_t split_at;
static uint32_t split_of(const struct world_document *document)
{
    return (uint32_t)(hash64(document->key, document->key_size) % 3);
}
static bool in_split(const struct world_document *document)
{
    return split_of(document) == split_at;
}

static void check_statistics(uint64_t seed, struct store *store)
{
    struct world world;
    world_init(&world, seed, 1 + (uint32_t)(seed * 53 % 200));
    world.store = store;
    world.next_segment = seed * 100;
    struct view *views[4];
    views[3] = world_view(&world, 1 + world_random(&world, 3), NULL);
    for (split_at = 0; split_at < 3; split_at++)
        views[split_at] = world_view(&world, 1 + world_random(&world, 3), in_split);
    for (int round = 0; round < 10; round++) {
        Quire__ShardStats request = QUIRE__SHARD_STATS__INIT;
        node_t *nodes[8];
        for (int i = 0; i < 6; i++)
            nodes[i] = random_expandable(&world);
        nodes[6] = world_node(&world, WOP(TERM));
        world_token(&world, nodes[6], world_any_word(&world));
        nodes[7] = world_node(&world, WOP(BOOL));
        nodes[7]->arity = 7;
        Quire__Query *query = world_query_of(&world, nodes, 8);
        struct err err = {0};
        assert_int_equal(search_check(query, &err), 0);
        assert_int_equal(query_plan_ask(query, &world.arena, &request, &err), 0);
        assert_int_equal(request.n_expand, 6);
        request.expand_limit = round < 5 ? LIMIT_EXPANSION : world_random(&world, 5);
        Quire__RangeStats whole, one, merged = QUIRE__RANGE_STATS__INIT;
        assert_int_equal(search_statistics(views[3], &request, &world.arena, &whole, &err), 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(search_statistics(views[2 - i], &request, &world.arena, &one, &err),
                             0);
            assert_int_equal(query_plan_merge(&merged, &one, &request, &world.arena, &err), 0);
        }
        for (int i = 0; i < 6; i++) {
            assert_expansion(&world, nodes[i], whole.expansions[i], request.expand_limit);
            assert_expansion(&world, nodes[i], merged.expansions[i], request.expand_limit);
        }
        assert_true(whole.documents == world.document_count && merged.documents == whole.documents);
        assert_true(merged.total_length == whole.total_length);
        assert_int_equal(whole.n_frequencies, request.n_tokens);
        for (size_t i = 0; i < whole.n_frequencies; i++) {
            struct bytes token =
                bytes_of(request.tokens[i]->token.data, request.tokens[i]->token.len);
            uint64_t df = world_frequency(&world, TEXT_FIELD_ALL, token);
            assert_true(whole.frequencies[i] == df && merged.frequencies[i] == df);
        }
    }
    for (int i = 0; i < 4; i++)
        view_release(views[i]);
    world_deinit(&world);
}

static void statistics_do_not_depend_on_the_spread(void **state)
{
    struct disk *disk = *state;
    for (uint64_t seed = 1; seed <= 25; seed++)
        check_statistics(seed, seed % 2 ? disk->store : NULL);
}

/* Both rounds, expansions and all: three ranges merged give what one gives, to the last bit. */
static void check_ranges(uint64_t seed)
{
    struct world world;
    world_init(&world, seed, 60 + (uint32_t)(seed * 53 % 200));
    struct view *views[4];
    views[3] = world_view(&world, 2, NULL);
    for (split_at = 0; split_at < 3; split_at++)
        views[split_at] = world_view(&world, 1 + world_random(&world, 3), in_split);
    struct err err = {0};
    for (int round = 0; round < 10; round++) {
        node_t *nodes[3] = {random_expandable(&world), random_expandable(&world),
                            world_node(&world, WOP(BOOL))};
        nodes[2]->arity = 2;
        Quire__Query *query = world_query_of(&world, nodes, 3);
        Quire__ShardStats ask = QUIRE__SHARD_STATS__INIT;
        Quire__RangeStats stats = QUIRE__RANGE_STATS__INIT, reply;
        assert_int_equal(query_plan_ask(query, &world.arena, &ask, &err), 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(search_statistics(views[i], &ask, &world.arena, &reply, &err), 0);
            assert_int_equal(query_plan_merge(&stats, &reply, &ask, &world.arena, &err), 0);
        }
        Quire__ShardSearch request = QUIRE__SHARD_SEARCH__INIT;
        bool limited;
        assert_int_equal(
            query_plan_search(query, &ask, &stats, &world.arena, &request, &limited, &err), 0);
        assert_false(limited);
        assert_int_equal(search_check(request.query, &err), 0);
        request.k1 = 1.2;
        request.b = 0.75;
        request.limit = 1000;
        struct search_result whole, part;
        run(views[3], &request, &world.arena, &whole);
        size_t found = 0;
        for (int i = 0; i < 3; i++) {
            run(views[i], &request, &world.arena, &part);
            found += part.hit_count;
            for (size_t k = 0, at = 0; k < part.hit_count; k++, at++) {
                while (at < whole.hit_count && !bytes_equal(whole.hits[at].key, part.hits[k].key))
                    at++;
                assert_true(at < whole.hit_count && whole.hits[at].score == part.hits[k].score);
            }
        }
        assert_int_equal(found, whole.hit_count);
    }
    for (int i = 0; i < 4; i++)
        view_release(views[i]);
    world_deinit(&world);
}

static void ranges_give_what_one_gives(void **state)
{
    for (uint64_t seed = 100; seed < 115; seed++)
        check_ranges(seed);
}

/* ---- what is refused ---- */

static int check_of(struct world *world, node_t *const *nodes, size_t count)
{
    struct err err = {0};
    int status = search_check(world_query_of(world, nodes, count), &err);
    assert_true(status == 0 || err.text[0]);
    return status;
}

static void bad_queries_are_refused(void **state)
{
    struct world world;
    world_init(&world, 5, 3);
    node_t *term = world_node(&world, WOP(TERM));
    assert_int_equal(check_of(&world, &term, 1), ERR_INVALID); /* no token */
    world_token(&world, term, "a");
    assert_int_equal(check_of(&world, &term, 1), 0);
    node_t *two[] = {term, term};
    assert_int_equal(check_of(&world, two, 2), ERR_INVALID); /* two trees */
    assert_int_equal(check_of(&world, two, 0), ERR_INVALID);
    term->arity = 1;
    assert_int_equal(check_of(&world, two, 2), ERR_INVALID);
    term->arity = 0;
    node_t *group = world_node(&world, WOP(BOOL));
    group->arity = UINT32_MAX;
    node_t *under[] = {term, group};
    assert_int_equal(check_of(&world, under, 2), ERR_INVALID);
    group->arity = 1;
    assert_int_equal(check_of(&world, under, 2), 0);
    static const float boosts[] = {0, -1, 1001, INFINITY, NAN};
    for (int i = 0; i < 5; i++) {
        group->has_boost = 1;
        group->boost = boosts[i];
        assert_int_equal(check_of(&world, under, 2), ERR_INVALID);
    }
    group->has_boost = 0;
    group->has_occur = 1;
    group->occur = (Quire__QueryNode__Occur)9;
    assert_int_equal(check_of(&world, under, 2), ERR_INVALID);
    group->has_occur = 0;
    term->field = 5;
    assert_int_equal(check_of(&world, &term, 1), ERR_INVALID);
    term->field = 0;
    term->op = (Quire__QueryNode__Op)77;
    assert_int_equal(check_of(&world, &term, 1), ERR_INVALID);
    term->op = WOP(CATEGORY);
    assert_int_equal(check_of(&world, &term, 1), ERR_INVALID);
    term->text = (char *)"\xff";
    assert_int_equal(check_of(&world, &term, 1), ERR_INVALID);
    term->op = WOP(FUZZY);
    assert_int_equal(check_of(&world, &term, 1), ERR_INVALID);
    term->distance = 2;
    assert_int_equal(check_of(&world, &term, 1), 0);
    node_t **many = arena_alloc(&world.arena, (LIMIT_QUERY_NODES + 1) * sizeof *many);
    for (int i = 0; i <= LIMIT_QUERY_NODES; i++)
        many[i] = term;
    assert_int_equal(check_of(&world, many, LIMIT_QUERY_NODES + 1), ERR_TOO_LARGE);
    world_deinit(&world);
}

static void bad_phrases_are_refused(void **state)
{
    struct world world;
    world_init(&world, 5, 3);
    node_t *phrase = world_node(&world, WOP(PHRASE));
    world_token(&world, phrase, "a");
    world_token(&world, phrase, "b");
    assert_int_equal(check_of(&world, &phrase, 1), 0);
    uint32_t offsets[3] = {0, 2, 3};
    phrase->offsets = offsets;
    phrase->n_offsets = 3;
    assert_int_equal(check_of(&world, &phrase, 1), ERR_INVALID);
    phrase->n_offsets = 2;
    assert_int_equal(check_of(&world, &phrase, 1), 0);
    offsets[0] = 1;
    assert_int_equal(check_of(&world, &phrase, 1), ERR_INVALID);
    offsets[0] = offsets[1] = 0;
    assert_int_equal(check_of(&world, &phrase, 1), ERR_INVALID);
    offsets[1] = DOCUMENT_POSITION_GAP; /* would reach into the next field */
    assert_int_equal(check_of(&world, &phrase, 1), ERR_INVALID);
    offsets[1] = 50;
    phrase->slop = 50;
    assert_int_equal(check_of(&world, &phrase, 1), ERR_INVALID);
    phrase->slop = 49;
    assert_int_equal(check_of(&world, &phrase, 1), 0);
    phrase->field = TEXT_FIELD_HEADWORD;
    assert_int_equal(check_of(&world, &phrase, 1), ERR_INVALID);
    for (int i = 2; i <= LIMIT_PHRASE_TOKENS; i++)
        world_token(&world, phrase, "c");
    phrase->n_offsets = 0;
    phrase->field = 0;
    assert_int_equal(check_of(&world, &phrase, 1), ERR_INVALID);
    world_deinit(&world);
}

static void bad_requests_are_refused(void **state)
{
    struct world world;
    world_init(&world, 6, 20);
    struct view *view = world_view(&world, 1, NULL);
    node_t *term = world_node(&world, WOP(TERM));
    world_token(&world, term, world.words[0]);
    Quire__Query *query = world_query_of(&world, &term, 1);
    struct search_result result;
    struct err err;
    Quire__ShardSearch request = new_request(&world, query, 10);
    request.k1 = NAN;
    assert_int_equal(search_run(view, &request, NULL, &world.arena, &result, &err), ERR_INVALID);
    request = new_request(&world, query, 10);
    request.b = 1.5;
    assert_int_equal(search_run(view, &request, NULL, &world.arena, &result, &err), ERR_INVALID);
    request = new_request(&world, query, LIMIT_HITS + 2);
    assert_int_equal(search_run(view, &request, NULL, &world.arena, &result, &err), ERR_INVALID);
    request = new_request(&world, query, 10);
    request.n_tokens = 0;
    assert_int_equal(search_run(view, &request, NULL, &world.arena, &result, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, world.words[0]));
    request = new_request(&world, query, 10);
    term->op = WOP(PREFIX);
    assert_int_equal(search_run(view, &request, NULL, &world.arena, &result, &err), ERR_INVALID);
    term->op = WOP(TERM);
    Quire__ShardExplain explain = QUIRE__SHARD_EXPLAIN__INIT;
    Quire__ExplainReply reply;
    explain.search = &request;
    explain.key = (ProtobufCBinaryData){6, (uint8_t *)"nobody"};
    assert_int_equal(search_explain(view, &explain, &world.arena, &reply, &err), ERR_NOT_FOUND);
    view_release(view);
    world_deinit(&world);
}

/* As deep as a query can be: groups of one, around each other. */
static void deep_queries_run(void **state)
{
    struct world world;
    world_init(&world, 11, 200);
    struct view *view = world_view(&world, 1, NULL);
    static const int occurs[] = {WOCCUR(SHOULD), WOCCUR(MUST), WOCCUR(FILTER), WOCCUR(MUST_NOT)};
    for (int i = 0; i < 4; i++) {
        node_t **nodes = arena_alloc(&world.arena, LIMIT_QUERY_NODES * sizeof *nodes);
        nodes[0] = world_node(&world, WOP(PHRASE));
        world_token(&world, nodes[0], world.words[0]);
        world_token(&world, nodes[0], world.words[0]);
        for (int k = 1; k < LIMIT_QUERY_NODES; k++) {
            nodes[k] = world_node(&world, WOP(BOOL));
            nodes[k]->arity = 1;
            nodes[k - 1]->has_occur = 1;
            nodes[k - 1]->occur = (Quire__QueryNode__Occur)occurs[i];
        }
        Quire__Query *query = world_query_of(&world, nodes, LIMIT_QUERY_NODES);
        assert_int_equal(check_of(&world, nodes, LIMIT_QUERY_NODES), 0);
        Quire__ShardSearch request = new_request(&world, query, 10);
        struct world_hit *expected;
        size_t count = world_search(&world, &request, &expected);
        struct search_result result;
        run(view, &request, &world.arena, &result);
        assert_true(result.total == count);
        assert_hits(&result, expected, 0, count < 10 ? count : 10);
        check_explain(&world, view, query, expected, count);
    }
    view_release(view);
    world_deinit(&world);
}

static bool always(void *data)
{
    ++*(int *)data;
    return true;
}

static void stops_in_time(void **state)
{
    struct world world;
    world_init(&world, 7, 3000);
    struct view *view = world_view(&world, 1, NULL);
    node_t *nodes[3] = {world_node(&world, WOP(TERM)), world_node(&world, WOP(ALL)),
                        world_node(&world, WOP(BOOL))};
    world_token(&world, nodes[0], world.words[0]);
    nodes[2]->arity = 2;
    for (int tree = 0; tree < 2; tree++) {
        Quire__Query *query = world_query_of(&world, nodes, tree ? 3 : 1);
        Quire__ShardSearch request = new_request(&world, query, 10);
        struct search_result result;
        struct err err;
        int asked = 0;
        struct search_budget budget = {.deadline_ms = clock_ms() - 1};
        assert_int_equal(search_run(view, &request, &budget, &world.arena, &result, &err),
                         ERR_DEADLINE);
        budget = (struct search_budget){.abandoned = always, .data = &asked};
        assert_int_equal(search_run(view, &request, &budget, &world.arena, &result, &err),
                         ERR_CANCELED);
        assert_int_equal(asked, 1);
    }
    view_release(view);
    world_deinit(&world);
}

/* Memory that runs out at each possible place is an error, and nothing leaks. */
static void running_out_of_memory_is_clean(void **state)
{
    struct world world;
    world_init(&world, 8, 40);
    struct view *view = world_view(&world, 2, NULL);
    for (int round = 0; round < 6; round++) {
        Quire__Query *query = world_query(&world);
        Quire__ShardSearch request = new_request(&world, query, 10);
        request.has_facets = request.facets = 1;
        int status = ERR_NOMEM;
        for (size_t limit = 64; status == ERR_NOMEM && limit < 1 << 20; limit += limit / 16) {
            struct arena arena;
            struct search_result result;
            struct err err;
            arena_init(&arena, limit);
            status = search_run(view, &request, NULL, &arena, &result, &err);
            arena_deinit(&arena);
        }
        assert_int_equal(status, 0);
    }
    view_release(view);
    world_deinit(&world);
}

static void snippets_mark_what_was_looked_for(void **state)
{
    struct world world;
    world_init(&world, 9, 3);
    node_t *nodes[6];
    static const char *const words[] = {"zeta", "alpha", "beta", "zeta", "field"};
    for (int i = 0; i < 5; i++) {
        nodes[i] = world_node(&world, WOP(TERM));
        world_token(&world, nodes[i], words[i]);
    }
    nodes[2]->has_occur = 1;
    nodes[2]->occur = WOCCUR(MUST_NOT);
    nodes[4]->field = TEXT_FIELD_HEADWORD;
    nodes[5] = world_node(&world, WOP(BOOL));
    nodes[5]->arity = 5;
    struct bytes *tokens;
    assert_int_equal(search_tokens(world_query_of(&world, nodes, 6), &world.arena, &tokens), 2);
    assert_true(bytes_equal(tokens[0], bytes_str("alpha")));
    assert_true(bytes_equal(tokens[1], bytes_str("zeta")));
    world_deinit(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_brute_force),
        cmocka_unit_test_setup_teardown(agrees_with_brute_force_on_disk, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(agrees_on_long_lists, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(statistics_do_not_depend_on_the_spread, open_disk,
                                        close_disk),
        cmocka_unit_test(ranges_give_what_one_gives),
        cmocka_unit_test(bad_queries_are_refused),
        cmocka_unit_test(bad_phrases_are_refused),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(deep_queries_run),
        cmocka_unit_test(stops_in_time),
        cmocka_unit_test(running_out_of_memory_is_clean),
        cmocka_unit_test(snippets_mark_what_was_looked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
