/* Queries on any bytes. The first byte chooses: a text for the parser, or a packed message for the
 * evaluator.
 *
 * A text that parses gives a query that passes search_check(), in strict mode the same as in
 * lenient mode, that can be planned without an answer and run. A message that passes search_check()
 * can be run and explained: whatever matches is counted once, in order, and an explanation adds up
 * to its score. */
#include "fuzz.h"

#include "coordinator/query_parse.h"
#include "coordinator/query_plan.h"
#include "proto/limits.h"
#include "shard/document.h"
#include "shard/memory_segment.h"
#include "shard/search.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct analyzer *analyzer;
static struct view *view;

static const char *const headwords[] = {"model", "model card", "a",       "b",
                                        "c++",   "Ö",          "the end", "a b a b"};

static void add_entry(struct segment *segment, int index)
{
    struct document_settings settings = {3, 2, 1, 1};
    struct arena arena;
    arena_init(&arena, 0);
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    char *name = (char *)headwords[(index + 3) % 8],
         *category = (char *)(index % 3 ? "vision" : "Language");
    entry.headword = (char *)headwords[index % 8];
    entry.sense = arena_printf(&arena, "%d", index);
    entry.terms = &name;
    entry.n_terms = 1;
    entry.categories = &category;
    entry.n_categories = 1;
    entry.body = (char *)"a model is a thing; the models of a b c are of c++ and of x y z, a a a b";
    struct document document;
    uint32_t doc;
    int status = document_analyze(analyzer, &settings, &entry, &arena, &document, NULL);
    assert(status == 0);
    status = memory_segment_add(segment, &document, &doc, NULL);
    assert(status == 0);
    view->documents++;
    view->total_length += norm_decode(document.norm);
    arena_deinit(&arena);
}

static void start(void)
{
    if (view)
        return;
    int status = analyzer_create("en", &analyzer, NULL);
    assert(status == 0);
    view = calloc(1, sizeof *view + sizeof view->segments[0]);
    assert(view);
    view->segment_count = 1;
    view->segments[0].segment = memory_segment_create(1);
    for (int i = 0; i < 300; i++)
        add_entry(view->segments[0].segment, i);
    view->segments[0].doc_limit = memory_segment_documents(view->segments[0].segment);
}

static void check_run(const Quire__ShardSearch *request, struct arena *arena)
{
    struct search_result result;
    struct err err = {0};
    int status = search_run(view, request, NULL, arena, &result, &err);
    if (status) {
        assert(err.text[0]);
        return;
    }
    assert(result.hit_count <= request->limit && result.hit_count <= result.total);
    assert(result.total <= view->documents);
    for (size_t i = 1; i < result.hit_count; i++) {
        const struct search_hit *a = &result.hits[i - 1], *b = &result.hits[i];
        assert(a->score > b->score || (a->score == b->score && bytes_compare(a->key, b->key) < 0));
    }
    struct bytes *tokens;
    search_tokens(request->query, arena, &tokens);
    if (result.hit_count == 0)
        return;
    Quire__ShardExplain explain = QUIRE__SHARD_EXPLAIN__INIT;
    Quire__ExplainReply reply;
    explain.search = (Quire__ShardSearch *)request;
    struct bytes key = result.hits[0].key;
    const uint8_t *zero = memchr(key.data, 0, key.size);
    assert(zero);
    explain.key = (ProtobufCBinaryData){(size_t)(zero - key.data), (uint8_t *)key.data};
    explain.sense = arena_copy(arena, zero + 1, key.size - explain.key.len - 1);
    status = search_explain(view, &explain, arena, &reply, &err);
    assert(status == 0 && reply.matched && reply.score == result.hits[0].score);
    uint64_t sum = 0;
    for (size_t i = 0; i < reply.n_terms; i++)
        sum += reply.terms[i]->contribution;
    assert(sum == reply.score);
}

static void run_planned(const Quire__Query *query, struct arena *arena)
{
    Quire__ShardStats ask = QUIRE__SHARD_STATS__INIT;
    Quire__RangeStats stats = QUIRE__RANGE_STATS__INIT, reply;
    Quire__ShardSearch request = QUIRE__SHARD_SEARCH__INIT;
    bool limited;
    struct err err = {0};
    int status = query_plan_ask(query, arena, &ask, &err);
    assert(status == 0);
    status = search_statistics(view, &ask, arena, &reply, &err);
    assert(status == 0);
    status = query_plan_merge(&stats, &reply, &ask, arena, &err);
    assert(status == 0);
    status = query_plan_search(query, &ask, &stats, arena, &request, &limited, &err);
    assert(status == 0);
    status = search_check(request.query, &err);
    assert(status == 0);
    request.k1 = 1.2;
    request.b = 0.75;
    request.limit = 20;
    check_run(&request, arena);
}

static void try_text(struct bytes text, bool all)
{
    struct arena arena;
    arena_init(&arena, 256u << 20);
    struct query_parse_options options = {.all = all};
    Quire__Query *query, *strict_query;
    char **warnings;
    size_t count;
    struct err err = {0};
    int status = query_parse(analyzer, text, &options, &arena, &query, &warnings, &count, &err);
    assert(status == 0 || status == ERR_INVALID || status == ERR_TOO_LARGE);
    assert(status == 0 || err.text[0]);
    options.strict = true;
    int strict =
        query_parse(analyzer, text, &options, &arena, &strict_query, &warnings, &count, &err);
    assert(status == 0 || strict != 0);
    if (status == 0) {
        assert(search_check(query, &err) == 0);
        if (strict == 0) {
            size_t size = quire__query__get_packed_size(query);
            assert(size == quire__query__get_packed_size(strict_query));
        }
        run_planned(query, &arena);
    }
    arena_deinit(&arena);
}

static void try_message(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, 256u << 20);
    Quire__ShardSearch *request = quire__shard_search__unpack(arena_protobuf(&arena), size, data);
    struct err err = {0};
    if (request && search_check(request->query, &err) == 0)
        check_run(request, &arena);
    Quire__ShardStats *ask = quire__shard_stats__unpack(arena_protobuf(&arena), size, data);
    Quire__RangeStats reply;
    if (ask && search_statistics(view, ask, &arena, &reply, &err) == 0)
        assert(reply.n_frequencies == ask->n_tokens && reply.n_expansions == ask->n_expand);
    Quire__RangeStats *answer = quire__range_stats__unpack(arena_protobuf(&arena), size, data);
    Quire__RangeStats merged = QUIRE__RANGE_STATS__INIT;
    if (ask && answer && query_plan_merge(&merged, answer, ask, &arena, &err) == 0)
        assert(merged.n_frequencies == ask->n_tokens);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    if (size == 0)
        return 0;
    if (data[0] % 4 == 3)
        try_message(data + 1, size - 1);
    else
        try_text(bytes_of(data + 1, size - 1), data[0] % 2);
    return 0;
}

/* ---- seeds ---- */

static const char *const texts[] = {
    " model card",
    " +model -card a",
    " \"a b\"~2^3 OR (c AND NOT d)",
    " headword:model name:\"the end\"",
    " category:\"vision\" body:a*",
    " modle~1 c++ * x^2",
    "!a b (c OR d) && e || f",
    " \\( \"\\\"\" (((a)))",
};

static struct fuzz_seed pack_request(const char *text)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct query_parse_options options = {0};
    Quire__Query *query;
    char **warnings;
    size_t count;
    int status =
        query_parse(analyzer, bytes_str(text), &options, &arena, &query, &warnings, &count, NULL);
    assert(status == 0);
    Quire__ShardStats ask = QUIRE__SHARD_STATS__INIT;
    Quire__ShardSearch request = QUIRE__SHARD_SEARCH__INIT;
    status = query_plan_ask(query, &arena, &ask, NULL);
    assert(status == 0);
    request.query = query;
    request.documents = 300;
    request.total_length = 9000;
    request.tokens = ask.tokens;
    request.n_tokens = ask.n_tokens;
    request.limit = 10;
    request.has_facets = request.facets = 1;
    request.k1 = 1.2;
    request.b = 0.75;
    size_t size = quire__shard_search__get_packed_size(&request);
    uint8_t *data = malloc(size + 1);
    assert(data);
    data[0] = 3;
    quire__shard_search__pack(&request, data + 1);
    arena_deinit(&arena);
    return (struct fuzz_seed){data, size + 1};
}

const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    enum { TEXTS = sizeof texts / sizeof *texts };
    static struct fuzz_seed seeds[2 * TEXTS];
    start();
    for (size_t i = 0; i < TEXTS; i++) {
        seeds[i] = (struct fuzz_seed){texts[i], strlen(texts[i])};
        seeds[TEXTS + i] = pack_request(texts[i] + 1);
    }
    *count = 2 * TEXTS;
    return seeds;
}
