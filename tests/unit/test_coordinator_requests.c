/* The coordinator's operations against fake shards: routing, merging, cutting, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator_world.h"
#include "proto/limits.h"

static int three_shards(void **state)
{
    *state = world_create(3);
    return 0;
}

static int no_shard(void **state)
{
    *state = world_create(0);
    return 0;
}

static int destroy(void **state)
{
    world_destroy(*state);
    return 0;
}

static int create(struct world *world, const char *name, struct answer *answer)
{
    Quire__Collection message = QUIRE__COLLECTION__INIT;
    message.name = (char *)name;
    return ask(world, answer, QUIRE__KIND__KIND_COLLECTION_CREATE, &message, 5000);
}

static void test_collections(void **state)
{
    struct world *world = *state;
    struct answer answer;
    assert_int_equal(create(world, "words", &answer), 0);
    Quire__Collection *made = answer_message(&answer, &quire__collection__descriptor);
    assert_string_equal(made->language, "en");
    assert_int_equal(made->weights->headword, 3);
    assert_int_equal(made->ranges, 1);
    assert_true(made->has_order && made->order == QUIRE__COLLECTION__ORDER__ARRIVAL);
    answer_deinit(&answer);
    assert_int_equal(create(world, "words", &answer), ERR_EXISTS);
    answer_deinit(&answer);
    assert_int_equal(create(world, "No Such", &answer), ERR_INVALID);
    answer_deinit(&answer);
    Quire__Collection another = QUIRE__COLLECTION__INIT;
    another.name = (char *)"another";
    another.has_order = true;
    another.order = (Quire__Collection__Order)2;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_COLLECTION_CREATE, &another, 5000),
                     ERR_INVALID);
    assert_string_equal(answer.err.text, "the order of documents is arrival or category");
    answer_deinit(&answer);
    another.order = QUIRE__COLLECTION__ORDER__CATEGORY;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_COLLECTION_CREATE, &another, 5000), 0);
    made = answer_message(&answer, &quire__collection__descriptor);
    assert_int_equal(made->order, QUIRE__COLLECTION__ORDER__CATEGORY);
    answer_deinit(&answer);

    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_COLLECTION_LIST, NULL, 5000), 0);
    Quire__CollectionList *list = answer_message(&answer, &quire__collection_list__descriptor);
    assert_int_equal(list->n_collections, 2);
    assert_string_equal(list->collections[0]->name, "another");
    assert_int_equal(list->collections[0]->order, QUIRE__COLLECTION__ORDER__CATEGORY);
    assert_string_equal(list->collections[1]->name, "words");
    assert_int_equal(list->collections[1]->entries, WORLD_WORDS);
    answer_deinit(&answer);

    Quire__Collection drop = QUIRE__COLLECTION__INIT;
    drop.name = (char *)"words";
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_COLLECTION_DROP, &drop, 5000), 0);
    answer_deinit(&answer);
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_COLLECTION_DROP, &drop, 5000),
                     ERR_NOT_FOUND);
    assert_non_null(strstr(answer.err.text, "words"));
    answer_deinit(&answer);
}

static void test_no_shard(void **state)
{
    struct answer answer;
    assert_int_equal(create(*state, "words", &answer), ERR_UNAVAILABLE);
    assert_non_null(strstr(answer.err.text, "no shard"));
    answer_deinit(&answer);
}

static void test_prepare_cuts(void **state)
{
    struct world *world = *state;
    assert_int_equal(world_prepare(world, "words"), 3);
    assert_int_equal(world_prepare(world, "words"), 3); /* again: as it is */
    for (size_t i = 0; i < 3; i++) {                    /* one each */
        size_t own = 0;
        for (size_t j = 0; j < world->shards[i].assign->n_ranges; j++)
            own++;
        assert_int_equal(own, 1);
        assert_int_equal(world->shards[i].seals, 0);
    }
    /* One that was made without a sample is cut while it is empty. */
    struct answer answer;
    assert_int_equal(create(world, "plain", &answer), 0);
    answer_deinit(&answer);
    assert_int_equal(world_prepare(world, "plain"), 3);
    assert_int_equal(world->shards[0].seals + world->shards[1].seals + world->shards[2].seals, 1);
    assert_int_equal(create(world, "filled", &answer), 0);
    answer_deinit(&answer);
    for (size_t i = 0; i < 3; i++)
        world->shards[i].refuse_seal = true;
    assert_int_equal(world_prepare(world, "filled"), 1);
}

/* One that was sealed and not replaced (the coordinator died in between) takes writes again. */
static void test_sealed_in_vain(void **state)
{
    struct world *world = *state;
    assert_int_equal(world_prepare(world, "words"), 3);
    struct fake_shard *shard = &world->shards[1];
    uint64_t id = shard->assign->ranges[0]->id;
    shard->sealed = id;
    for (int turns = 0; fake_range(shard, id)->epoch == 1 && turns < 5000; turns++)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(fake_range(shard, id)->epoch, 2);
    assert_int_equal(world->shards[0].assign->ranges[0]->epoch, 1);
    assert_int_equal(world->shards[2].assign->ranges[0]->epoch, 1);
    assert_int_equal(world_prepare(world, "words"), 3); /* nobody stands in the way */
    uint64_t epoch = shard->assigned_epoch;
    for (int turns = 0; turns < 50; turns++)
        uv_run(&world->loop, UV_RUN_ONCE);
    assert_int_equal(shard->assigned_epoch, epoch); /* once was enough */
}

static void test_write(void **state)
{
    struct world *world = *state;
    world_prepare(world, "words");
    Quire__WriteRequest message = QUIRE__WRITE_REQUEST__INIT;
    Quire__WriteOp ops[WORLD_WORDS + 4];
    Quire__Entry entries[WORLD_WORDS + 4];
    Quire__WriteOp *pointers[WORLD_WORDS + 4];
    for (size_t i = 0; i < WORLD_WORDS + 4; i++) {
        quire__write_op__init(&ops[i]);
        quire__entry__init(&entries[i]);
        ops[i].put = &entries[i];
        pointers[i] = &ops[i];
    }
    char lengths[WORLD_WORDS][64];
    for (size_t i = 0; i < WORLD_WORDS; i++) { /* backwards, each of another length */
        snprintf(lengths[i], sizeof lengths[i], "%.2s%.*s", world->words[WORLD_WORDS - 1 - i],
                 (int)i, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        entries[i].headword = lengths[i];
    }
    entries[WORLD_WORDS].headword = (char *)"";          /* empty */
    entries[WORLD_WORDS + 1].headword = (char *)"b\xff"; /* not UTF-8 */
    entries[WORLD_WORDS + 2].headword = (char *)"good";
    entries[WORLD_WORDS + 2].body = (char *)"bad \xc3"; /* nor this */
    ops[WORLD_WORDS + 3].put = NULL;                    /* nothing at all */
    message.collection = (char *)"words";
    message.n_ops = WORLD_WORDS + 4;
    message.ops = pointers;
    struct answer answer;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_WRITE, &message, 5000), 0);
    Quire__WriteReply *reply = answer_message(&answer, &quire__write_reply__descriptor);
    assert_int_equal(reply->n_results, WORLD_WORDS + 4);
    for (size_t i = 0; i < WORLD_WORDS; i++) {
        assert_int_equal(reply->results[i]->outcome, QUIRE__WRITE_RESULT__OUTCOME__NEW);
        assert_int_equal(reply->results[i]->version, strlen(lengths[i]));
    }
    for (size_t i = WORLD_WORDS; i < WORLD_WORDS + 4; i++) {
        assert_int_equal(reply->results[i]->outcome, QUIRE__WRITE_RESULT__OUTCOME__FAILED);
        assert_int_equal(reply->results[i]->error->code, ERR_INVALID);
    }
    assert_non_null(strstr(reply->results[WORLD_WORDS + 1]->error->text, "headword"));
    assert_non_null(strstr(reply->results[WORLD_WORDS + 2]->error->text, "body"));
    answer_deinit(&answer);
    unsigned total = 0;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(world->shards[i].writes, 1);
        total += world->shards[i].ops;
    }
    assert_int_equal(total, WORLD_WORDS);
}

static void search_all(struct world *world, uint32_t limit, char found[WORLD_WORDS][24],
                       size_t *count)
{
    char cursor[1024] = "";
    *count = 0;
    for (int page = 0; page < 100; page++) {
        Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
        struct answer answer;
        message.collection = (char *)"words";
        message.query = (char *)"anything";
        message.has_limit = true;
        message.limit = limit;
        message.has_facet_limit = true;
        message.facet_limit = 20;
        message.cursor = cursor;
        if (ask(world, &answer, QUIRE__KIND__KIND_SEARCH, &message, 5000) != 0)
            fail_msg("search: %s", answer.err.text);
        Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
        assert_true(reply->complete);
        assert_int_equal(reply->n_missing, 0);
        assert_int_equal(reply->total, WORLD_WORDS);
        assert_int_equal(reply->n_categories, 1); /* "Vision" and "vision" */
        assert_string_equal(reply->categories[0]->value, "Vision");
        assert_int_equal(reply->categories[0]->count, WORLD_WORDS);
        assert_int_equal(reply->n_warnings, 0);
        for (size_t i = 0; i < reply->n_hits; i++)
            strcpy(found[(*count)++], reply->hits[i]->headword);
        bool more = reply->cursor != NULL;
        if (more)
            snprintf(cursor, sizeof cursor, "%s", reply->cursor);
        answer_deinit(&answer);
        if (!more)
            return;
    }
    fail_msg("the cursor never ends");
}

static void test_search_pages(void **state)
{
    struct world *world = *state;
    world_prepare(world, "words");
    char all[WORLD_WORDS][24] = {0}, paged[WORLD_WORDS][24] = {0};
    size_t count;
    search_all(world, 1000, all, &count);
    assert_int_equal(count, WORLD_WORDS);
    assert_string_equal(all[0], world->words[6]); /* score 6, the first of them */
    static const uint32_t limits[] = {1, 2, 5, 13, 26};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        search_all(world, limits[i], paged, &count);
        assert_int_equal(count, WORLD_WORDS);
        assert_memory_equal(all, paged, sizeof all);
    }
}

struct total {
    uint64_t value;
    bool bound;
};

/* limit 0: the default. */
static struct total total_of(struct world *world, Quire__SearchRequest *message, const char *query,
                             uint64_t limit)
{
    struct answer answer;
    message->query = (char *)query;
    message->has_total_limit = limit != 0;
    message->total_limit = limit;
    if (ask(world, &answer, QUIRE__KIND__KIND_SEARCH, message, 5000) != 0)
        fail_msg("search: %s", answer.err.text);
    Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
    struct total total = {reply->total, reply->total_is_lower_bound};
    answer_deinit(&answer);
    return total;
}

#define assert_total(expression, expected, lower_bound)                                            \
    do {                                                                                           \
        struct total it = expression;                                                              \
        assert_int_equal(it.value, expected);                                                      \
        assert_int_equal(it.bound, lower_bound);                                                   \
    } while (0)

/* The number of hits depends on the query and the collection, not on where shards stop counting. */
static void test_totals(void **state)
{
    struct world *world = *state;
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    message.collection = (char *)"words";
    world_prepare(world, "words");
    assert_total(total_of(world, &message, "a b", 0), WORLD_WORDS, false);
    assert_total(total_of(world, &message, "a b", WORLD_WORDS), WORLD_WORDS, false);
    assert_total(total_of(world, &message, "a b", WORLD_WORDS - 1), WORLD_WORDS, true);
    assert_total(total_of(world, &message, "+a +b", WORLD_WORDS - 1), WORLD_WORDS - 1, true);
    assert_total(total_of(world, &message, "+a +b", 2), 10, true); /* as many were shown */
    for (int i = 0; i < 3; i++) { /* few in each, many together; then many in each */
        for (size_t k = 0; k < 3; k++)
            world->shards[k].more_hits = i == 0 ? 400 : i == 1 ? 2000 * k : 5000;
        uint64_t all = WORLD_WORDS + (i == 0 ? 1200 : i == 1 ? 6000 : 15000);
        assert_total(total_of(world, &message, "a b", 0), 1000, true);
        assert_total(total_of(world, &message, "a*", 0), 1000, true);
        assert_int_equal(world->shards[0].told_limit, 1000);
        assert_total(total_of(world, &message, "a b", all), all, false);
        assert_total(total_of(world, &message, "a b", UINT64_MAX), all, false);
        assert_int_equal(world->shards[0].told_limit, UINT64_MAX);
        message.has_facet_limit = true;
        message.facet_limit = 3;
        assert_total(total_of(world, &message, "a b", 0), all, false);
        message.facet_limit = 0;
    }
    /* One word is as frequent as it has hits: nothing need be counted. */
    assert_total(total_of(world, &message, "a", 0), WORLD_WORDS, false);
    assert_int_equal(world->shards[0].told_limit, 0);
    char *category = (char *)"c";
    message.n_categories = 1;
    message.categories = &category;
    assert_total(total_of(world, &message, "a", 0), 1000, true);
    message.n_categories = 0;
    assert_total(total_of(world, &message, "+a -b", 0), 1000, true);
    /* Of words of which any is enough, there are as many as the most frequent one has at least. */
    world->shards[1].seq = 7;
    assert_total(total_of(world, &message, "a b", 0), WORLD_WORDS + 7000, true);
    assert_int_equal(world->shards[0].told_limit, 0);
    assert_total(total_of(world, &message, "a b", 20000), 15000 + WORLD_WORDS, false);
    assert_total(total_of(world, &message, "a", 20000), WORLD_WORDS + 7000, false);
    assert_total(total_of(world, &message, "a \"b c\"", 0), 1000, true);
    assert_total(total_of(world, &message, "+a b", 0), 1000, true);
}

static void test_search_refusals(void **state)
{
    struct world *world = *state;
    world_prepare(world, "words");
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    struct answer answer;
    message.collection = (char *)"words";
    message.query = (char *)"x";
    message.cursor = (char *)"bm90IGEgY3Vyc29yLCByZWFsbHk";
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_SEARCH, &message, 5000), ERR_INVALID);
    answer_deinit(&answer);
    message.cursor = NULL;
    message.has_limit = true;
    message.limit = LIMIT_HITS + 1;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_SEARCH, &message, 5000), ERR_INVALID);
    assert_non_null(strstr(answer.err.text, "1000"));
    answer_deinit(&answer);
    message.limit = 10;
    char *huge = malloc(LIMIT_QUERY_BYTES + 2);
    memset(huge, 'a', LIMIT_QUERY_BYTES + 1);
    huge[LIMIT_QUERY_BYTES + 1] = '\0';
    message.query = huge;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_SEARCH, &message, 5000), ERR_TOO_LARGE);
    assert_non_null(strstr(answer.err.text, "65536"));
    answer_deinit(&answer);
    free(huge);
    message.query = (char *)"caf\xe9";
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_SEARCH, &message, 5000), ERR_INVALID);
    assert_non_null(strstr(answer.err.text, "query"));
    answer_deinit(&answer);
    /* An empty query: no hits, complete. */
    message.query = (char *)"";
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_SEARCH, &message, 5000), 0);
    Quire__SearchReply *reply = answer_message(&answer, &quire__search_reply__descriptor);
    assert_true(reply->complete && reply->n_hits == 0 && reply->total == 0);
    answer_deinit(&answer);
}

static Quire__BrowseReply *browse(struct world *world, struct answer *answer, const char *letter,
                                  const char *from, uint64_t page, uint32_t per_page)
{
    Quire__BrowseRequest message = QUIRE__BROWSE_REQUEST__INIT;
    message.collection = (char *)"words";
    message.letter = (char *)letter;
    message.from = (char *)from;
    message.has_page = message.has_per_page = true;
    message.page = page;
    message.per_page = per_page;
    if (ask(world, answer, QUIRE__KIND__KIND_BROWSE, &message, 5000) != 0)
        fail_msg("browse: %s", answer->err.text);
    return answer_message(answer, &quire__browse_reply__descriptor);
}

static void test_browse(void **state)
{
    struct world *world = *state;
    world_prepare(world, "words");
    struct answer answer;
    for (uint32_t per_page = 1; per_page <= 30; per_page += 4) {
        uint64_t pages = (WORLD_WORDS + per_page - 1) / per_page;
        size_t at = 0;
        for (uint64_t page = 1; page <= pages; page++) {
            Quire__BrowseReply *reply = browse(world, &answer, NULL, NULL, page, per_page);
            assert_int_equal(reply->pages, pages);
            assert_int_equal(reply->total, WORLD_WORDS);
            assert_int_equal(reply->n_letters, WORLD_WORDS / 2);
            assert_string_equal(reply->letters[0]->letter, "A");
            assert_int_equal(reply->letters[0]->count, 2);
            for (size_t i = 0; i < reply->n_entries; i++)
                assert_string_equal(reply->entries[i]->headword, world->words[at++]);
            answer_deinit(&answer);
        }
        assert_int_equal(at, WORLD_WORDS);
    }
    Quire__BrowseReply *reply = browse(world, &answer, "C", NULL, 1, 50);
    assert_int_equal(reply->total, 2);
    assert_int_equal(reply->n_entries, 2);
    assert_string_equal(reply->entries[0]->headword, "cb word");
    answer_deinit(&answer);
    reply = browse(world, &answer, NULL, "c", 2, 3);
    assert_int_equal(reply->total, WORLD_WORDS - 4);
    assert_string_equal(reply->entries[0]->headword, world->words[7]);
    answer_deinit(&answer);
    reply = browse(world, &answer, NULL, NULL, 99, 50);
    assert_int_equal(reply->n_entries, 0);
    answer_deinit(&answer);
}

static void test_export(void **state)
{
    struct world *world = *state;
    world_prepare(world, "words");
    struct buf after;
    buf_init(&after);
    size_t at = 0;
    for (int round = 0; round < 100; round++) {
        Quire__ExportRequest message = QUIRE__EXPORT_REQUEST__INIT;
        struct answer answer;
        message.collection = (char *)"words";
        message.has_after = after.size > 0;
        message.after = (ProtobufCBinaryData){after.size, after.data};
        assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_EXPORT, &message, 5000), 0);
        Quire__ExportReply *reply = answer_message(&answer, &quire__export_reply__descriptor);
        for (size_t i = 0; i < reply->n_entries; i++)
            assert_string_equal(reply->entries[i]->headword, world->words[at++]);
        buf_clear(&after);
        if (reply->has_after)
            buf_append(&after, reply->after.data, reply->after.len);
        answer_deinit(&answer);
        if (after.size == 0)
            break;
    }
    assert_int_equal(at, WORLD_WORDS);
    buf_deinit(&after);
}

static int ask_snapshot(struct world *world, struct answer *answer, const char *lo, const char *hi)
{
    Quire__SnapshotRequest message = QUIRE__SNAPSHOT_REQUEST__INIT;
    message.collection = (char *)"words";
    message.has_lo = lo != NULL;
    message.lo = (ProtobufCBinaryData){lo ? strlen(lo) : 0, (uint8_t *)lo};
    message.has_hi = hi != NULL;
    message.hi = (ProtobufCBinaryData){hi ? strlen(hi) : 0, (uint8_t *)hi};
    return ask(world, answer, QUIRE__KIND__KIND_SNAPSHOT, &message, 3000);
}

static int ask_page(struct world *world, struct answer *answer, const char *node, size_t from)
{
    static uint8_t bytes[70000];
    Quire__SnapshotRead message = QUIRE__SNAPSHOT_READ__INIT;
    message.node = (char *)node;
    message.id = 1001;
    message.has_from = true;
    message.from = (ProtobufCBinaryData){from, bytes};
    return ask(world, answer, QUIRE__KIND__KIND_SNAPSHOT_READ, &message, 1000);
}

static void test_snapshots(void **state)
{
    struct world *world = *state;
    struct answer answer;
    assert_int_equal(ask_snapshot(world, &answer, NULL, NULL), ERR_NOT_FOUND);
    answer_deinit(&answer);
    world_prepare(world, "words");
    for (size_t i = 0; i < WORLD_SHARDS; i++)
        world->shards[i].seq = 40 + i;
    assert_int_equal(ask_snapshot(world, &answer, NULL, NULL), 0);
    Quire__SnapshotReply *reply = answer_message(&answer, &quire__snapshot_reply__descriptor);
    assert_int_equal(reply->n_snapshots, 3);
    assert_string_equal(reply->collection->name, "words");
    assert_true(strlen(reply->cluster_id) > 30);
    char cut[64];
    for (size_t i = 0; i < 3; i++) {
        const Quire__Snapshot *it = reply->snapshots[i];
        assert_int_equal(it->id, 1000 + it->range);
        assert_true(it->seq >= 40); /* asked as the primary */
        assert_true(it->epoch > 0);
        assert_int_equal(it->lo.len == 0, i == 0);
        assert_int_equal(it->hi.len == 0, i == 2);
        if (i > 0)
            assert_memory_equal(it->lo.data, reply->snapshots[i - 1]->hi.data, it->lo.len);
    }
    snprintf(cut, sizeof cut, "%.*s", (int)reply->snapshots[1]->lo.len,
             (const char *)reply->snapshots[1]->lo.data);
    uint64_t first = reply->snapshots[0]->range, second = reply->snapshots[1]->range;
    answer_deinit(&answer);
    assert_int_equal(ask_snapshot(world, &answer, NULL, cut), 0); /* up to a bound: one range */
    reply = answer_message(&answer, &quire__snapshot_reply__descriptor);
    assert_int_equal(reply->n_snapshots, 1);
    assert_int_equal(reply->snapshots[0]->range, first);
    answer_deinit(&answer);
    assert_int_equal(ask_snapshot(world, &answer, cut, NULL), 0);
    reply = answer_message(&answer, &quire__snapshot_reply__descriptor);
    assert_int_equal(reply->n_snapshots, 2);
    assert_int_equal(reply->snapshots[0]->range, second);
    answer_deinit(&answer);
    for (size_t i = 0; i < WORLD_SHARDS; i++) { /* the shard that is named is asked */
        assert_int_equal(ask_page(world, &answer, world->shards[i].id, 3), 0);
        Quire__SnapshotPage *page = answer_message(&answer, &quire__snapshot_page__descriptor);
        assert_string_equal(page->entries[0]->headword, world->shards[i].id);
        answer_deinit(&answer);
    }
    assert_int_equal(ask_page(world, &answer, "nobody", 3), ERR_UNAVAILABLE);
    answer_deinit(&answer);
    assert_int_equal(ask_page(world, &answer, world->shards[0].id, 66000), ERR_TOO_LARGE);
    answer_deinit(&answer);
    world->shards[1].mode = SHARD_PARTLY;
    assert_int_equal(ask_snapshot(world, &answer, NULL, NULL), ERR_INCOMPLETE);
    assert_non_null(strstr(answer.err.text, "checksum mismatch"));
    answer_deinit(&answer);
    world->shards[1].mode = SHARD_SILENT;
    assert_int_equal(ask_page(world, &answer, world->shards[1].id, 3), ERR_DEADLINE);
    answer_deinit(&answer);
}

static void test_lookups(void **state)
{
    struct world *world = *state;
    world_prepare(world, "words");
    struct answer answer;
    Quire__GetRequest get = QUIRE__GET_REQUEST__INIT;
    get.collection = (char *)"words";
    for (size_t i = 0; i < WORLD_WORDS; i++) {
        get.headword = world->words[i];
        assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_GET, &get, 5000), 0);
        Quire__EntryList *list = answer_message(&answer, &quire__entry_list__descriptor);
        assert_int_equal(list->n_entries, i == 0 ? 2 : 1);
        assert_string_equal(list->entries[0]->headword, world->words[i]);
        answer_deinit(&answer);
    }
    get.headword = (char *)"";
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_GET, &get, 5000), ERR_INVALID);
    answer_deinit(&answer);
    Quire__DefineRequest define = QUIRE__DEFINE_REQUEST__INIT;
    define.collection = (char *)"words";
    define.term = (char *)"Cb-Word!";
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_DEFINE, &define, 5000), 0);
    Quire__EntryList *list = answer_message(&answer, &quire__entry_list__descriptor);
    assert_int_equal(list->n_entries, 1);
    assert_string_equal(list->entries[0]->headword, "cb word");
    answer_deinit(&answer);
    define.collection = NULL; /* the default one, which does not exist */
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_DEFINE, &define, 5000), ERR_NOT_FOUND);
    answer_deinit(&answer);
    Quire__MatchRequest match = QUIRE__MATCH_REQUEST__INIT;
    match.collection = (char *)"words";
    match.strategy = QUIRE__MATCH_REQUEST__STRATEGY__PREFIX;
    match.word = (char *)"sha";
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_MATCH, &match, 5000), 0);
    Quire__MatchReply *names = answer_message(&answer, &quire__match_reply__descriptor);
    assert_int_equal(names->n_names, 1); /* one name in three ranges */
    assert_int_equal(names->names[0]->entries, 6);
    assert_false(names->limited);
    const Quire__Collection *words = map_collection(world->coordinator->map, "words");
    uint64_t first = map_ranges(world->coordinator->map, words->id).items[0]->id;
    char expected[32];
    snprintf(expected, sizeof expected, "Shared of %llu", (unsigned long long)first);
    assert_string_equal(names->names[0]->name, expected);
    answer_deinit(&answer);
}

static void test_explain(void **state)
{
    struct world *world = *state;
    world_prepare(world, "words");
    Quire__ExplainRequest message = QUIRE__EXPLAIN_REQUEST__INIT;
    struct answer answer;
    message.collection = (char *)"words";
    message.query = (char *)"anything";
    message.headword = world->words[0];
    static const char *const senses[] = {NULL, "card", "documentation"};
    static const char *const expected[] = {"documentation", "card", "documentation"};
    for (size_t i = 0; i < 3; i++) { /* without a sense: the best */
        message.sense = (char *)senses[i];
        assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_EXPLAIN, &message, 5000), 0);
        Quire__ExplainReply *reply = answer_message(&answer, &quire__explain_reply__descriptor);
        assert_string_equal(reply->sense, expected[i]);
        answer_deinit(&answer);
    }
    message.sense = NULL;
    message.headword = (char *)"no such word";
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_EXPLAIN, &message, 5000), ERR_NOT_FOUND);
    answer_deinit(&answer);
}

static void test_status_and_verify(void **state)
{
    struct world *world = *state;
    world_prepare(world, "words");
    struct answer answer;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_STATUS, NULL, 5000), 0);
    Quire__StatusReply *status = answer_message(&answer, &quire__status_reply__descriptor);
    assert_int_equal(status->n_nodes, 3);
    assert_int_equal(status->n_ranges, 3);
    assert_int_equal(status->n_coordinators, 1);
    assert_string_equal(status->leader, status->coordinators[0]->id);
    uint64_t entries = 0;
    for (size_t i = 0; i < 3; i++) {
        assert_true(status->nodes[i]->alive);
        entries += status->ranges[i]->entries;
    }
    assert_int_equal(entries, WORLD_WORDS);
    answer_deinit(&answer);
    Quire__VerifyRequest verify = QUIRE__VERIFY_REQUEST__INIT;
    assert_int_equal(ask(world, &answer, QUIRE__KIND__KIND_VERIFY, &verify, 5000), 0);
    Quire__VerifyReply *verified = answer_message(&answer, &quire__verify_reply__descriptor);
    assert_int_equal(verified->ranges, 3);
    assert_int_equal(verified->n_problems, 0);
    assert_int_equal(verified->postings, 30);
    answer_deinit(&answer);
}

static void test_bad_messages(void **state)
{
    struct world *world = *state;
    struct answer answer;
    assert_int_equal(ask_raw(world, &answer, 9999, bytes_of("x", 1), 5000), ERR_UNSUPPORTED);
    answer_deinit(&answer);
    /* A client is no shard. */
    assert_int_equal(ask_raw(world, &answer, QUIRE__KIND__KIND_REGISTER, bytes_of("", 0), 5000),
                     ERR_INVALID);
    answer_deinit(&answer);
    static const char nul[] = "\x0a\x05words\x12\x03"
                              "a\0b";
    assert_int_equal(
        ask_raw(world, &answer, QUIRE__KIND__KIND_SEARCH, bytes_of(nul, sizeof nul - 1), 5000),
        ERR_INVALID);
    assert_non_null(strstr(answer.err.text, "NUL"));
    answer_deinit(&answer);
    /* Garbage of every kind: an error each time, never a crash. */
    unsigned seed = 3;
    for (uint16_t kind = 20; kind <= 46; kind += 2) {
        for (int i = 0; i < 30; i++) {
            uint8_t junk[64];
            size_t size = 1 + (size_t)rand_r(&seed) % sizeof junk;
            for (size_t j = 0; j < size; j++)
                junk[j] = (uint8_t)rand_r(&seed);
            junk[0] = 0x0a;
            int rc = ask_raw(world, &answer, kind, bytes_of(junk, size), 5000);
            assert_true(rc == 0 || answer.err.text[0] != '\0');
            answer_deinit(&answer);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_collections, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_no_shard, no_shard, destroy),
        cmocka_unit_test_setup_teardown(test_prepare_cuts, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_sealed_in_vain, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_write, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_search_pages, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_totals, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_search_refusals, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_browse, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_export, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_snapshots, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_lookups, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_explain, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_status_and_verify, three_shards, destroy),
        cmocka_unit_test_setup_teardown(test_bad_messages, three_shards, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
