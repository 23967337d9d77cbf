/* libquire against a fake coordinator: what is sent, what is refused, what comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/coordinators.h"
#include "client/result.h"
#include "unit/libquire_helpers.h"

/* ---- round trips ---- */

static void check_search_request(struct rpc_request *request)
{
    Quire__SearchRequest *in = quire__search_request__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    assert_non_null(in);
    assert_string_equal(in->collection, "ai");
    assert_string_equal(in->query, "gradient \"descent\"");
    assert_int_equal(in->limit, 7);
    assert_true(in->all);
    assert_true(in->strict);
    assert_int_equal(in->completeness, QUIRE__COMPLETENESS__COMPLETE);
    assert_int_equal(in->n_categories, 2);
    assert_string_equal(in->categories[1], "b");
    assert_string_equal(in->cursor, "CUR");
    assert_int_equal(in->facet_limit, 3);
    assert_true(in->has_total_limit && in->total_limit == UINT64_MAX);
}

static void answer_full_search(void *data, struct rpc_request *request)
{
    Quire__SearchReply reply = QUIRE__SEARCH_REPLY__INIT;
    Quire__Hit hit = QUIRE__HIT__INIT;
    Quire__Hit *hits[] = {&hit};
    Quire__Highlight inside = QUIRE__HIGHLIGHT__INIT, outside = QUIRE__HIGHLIGHT__INIT;
    Quire__Highlight *highlights[] = {&outside, &inside};
    Quire__FacetCount facet = QUIRE__FACET_COUNT__INIT;
    Quire__FacetCount *facets[] = {&facet};
    Quire__MissingRange missing = QUIRE__MISSING_RANGE__INIT;
    Quire__MissingRange *missings[] = {&missing};
    char *categories[] = {lend("optimisation"), lend("training")};
    char *warnings[] = {lend("a quote was not closed")};
    check_search_request(request);
    inside.offset = 4;
    inside.length = 3;
    outside.offset = 4;
    outside.length = UINT32_MAX;
    hit.headword = lend("gradient descent");
    hit.score = 3 << 19;
    hit.categories = categories;
    hit.n_categories = 2;
    hit.snippet = lend("the way down");
    hit.highlights = highlights;
    hit.n_highlights = 2;
    hit.has_key = true;
    hit.key = (ProtobufCBinaryData){16, (uint8_t *)"gradient descent"};
    facet.value = lend("training");
    facet.count = 9;
    missing.has_lo = true;
    missing.lo = (ProtobufCBinaryData){3, (uint8_t *)"mod"};
    missing.reason = lend("shard down");
    reply.hits = hits;
    reply.categories = facets;
    reply.missing = missings;
    reply.n_hits = reply.n_categories = reply.n_missing = reply.n_warnings = 1;
    reply.warnings = warnings;
    reply.total = 41;
    reply.cursor = lend("NEXT");
    reply.did_you_mean = lend("gradient descent");
    reply.has_took_us = true;
    reply.took_us = 1234;
    fake_reply(request, QUIRE__KIND__KIND_SEARCH + 1, &reply.base);
}

static void test_search(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    const char *categories[] = {"a", "b"};
    fake_start(&fake, answer_full_search, NULL, true);
    client = connect_to(&fake);
    request.collection = "ai";
    request.query = "gradient \"descent\"";
    request.limit = 7;
    request.all = request.strict = request.complete = true;
    request.categories = categories;
    request.category_count = 2;
    request.cursor = "CUR";
    request.facet_limit = 3;
    request.total_limit = QUIRE_TOTAL_EXACT;
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_OK);
    quire_client_destroy(client); /* results do not depend on it */
    fake_stop(&fake);
    assert_string_equal(result->error, "");
    assert_int_equal(result->hit_count, 1);
    assert_string_equal(result->hits[0]->headword, "gradient descent");
    assert_string_equal(result->hits[0]->sense, "");
    assert_true(result->hits[0]->score == 1.5);
    assert_int_equal(result->hits[0]->score_fixed, 3 << 19);
    assert_string_equal(result->hits[0]->categories[1], "training");
    assert_string_equal(result->hits[0]->snippet, "the way down");
    assert_int_equal(result->hits[0]->highlight_count, 1); /* the one outside is left out */
    assert_int_equal(result->hits[0]->highlights[0].length, 3);
    assert_string_equal(result->hits[0]->key, "gradient descent");
    assert_int_equal(result->total, 41);
    assert_false(result->complete);
    assert_string_equal(result->missing[0]->lo, "mod");
    assert_string_equal(result->missing[0]->hi, "");
    assert_string_equal(result->missing[0]->reason, "shard down");
    assert_string_equal(result->categories[0]->value, "training");
    assert_int_equal(result->categories[0]->count, 9);
    assert_string_equal(result->cursor, "NEXT");
    assert_string_equal(result->warnings[0], "a quote was not closed");
    assert_string_equal(result->did_you_mean, "gradient descent");
    assert_int_equal(result->took_us, 1234);
    assert_ptr_equal(quire_result_keep(result), result);
    quire_result_free(result);
    assert_string_equal(result->hits[0]->headword, "gradient descent");
    quire_result_free(result);
    quire_result_free(NULL);
}

static Quire__Entry sample_entry(void)
{
    static char *terms[2], *categories[1];
    static Quire__Attribute attribute;
    static Quire__Attribute *attributes[] = {&attribute};
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    quire__attribute__init(&attribute);
    attribute.name = lend("license");
    attribute.value = lend("CC");
    entry.headword = lend("Quantization");
    entry.sense = lend("two");
    terms[0] = lend("int4 quantization");
    terms[1] = lend("int8");
    categories[0] = lend("training");
    entry.terms = terms;
    entry.n_terms = 2;
    entry.categories = categories;
    entry.n_categories = 1;
    entry.body = lend("fewer *bits*");
    entry.source = lend("page-1:7");
    entry.attributes = attributes;
    entry.n_attributes = 1;
    entry.has_version = true;
    entry.version = 12;
    return entry;
}

/* Answers every kind with something, after it has checked that the request can be read. */
static void answer_any(void *data, struct rpc_request *request)
{
    uint16_t kind = request->kind;
    Quire__Entry entry = sample_entry();
    Quire__Entry *entries[] = {&entry};
    switch (kind) {
    case QUIRE__KIND__KIND_COLLECTION_CREATE:
    case QUIRE__KIND__KIND_IMPORT_PREPARE: {
        Quire__Collection reply = QUIRE__COLLECTION__INIT;
        reply.name = lend("ai");
        reply.language = lend("en");
        if (kind == QUIRE__KIND__KIND_COLLECTION_CREATE) {
            Quire__Collection *asked =
                quire__collection__unpack(NULL, request->payload.size, request->payload.data);
            assert_non_null(asked);
            reply.has_order = asked->has_order;
            reply.order = asked->order;
            quire__collection__free_unpacked(asked, NULL);
        }
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_COLLECTION_LIST: {
        Quire__CollectionList reply = QUIRE__COLLECTION_LIST__INIT;
        Quire__Collection one = QUIRE__COLLECTION__INIT;
        Quire__Collection *list[] = {&one};
        one.name = lend("ai");
        one.entries = 138;
        one.has_entries = true;
        reply.collections = list;
        reply.n_collections = 1;
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_COLLECTION_DROP:
        rpc_reply(request, QUIRE__KIND__KIND_OK, bytes_of(NULL, 0));
        return;
    case QUIRE__KIND__KIND_GET:
    case QUIRE__KIND__KIND_DEFINE: {
        Quire__EntryList reply = QUIRE__ENTRY_LIST__INIT;
        reply.entries = entries;
        reply.n_entries = 1;
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_BROWSE: {
        Quire__BrowseReply reply = QUIRE__BROWSE_REPLY__INIT;
        Quire__LetterCount letter = QUIRE__LETTER_COUNT__INIT;
        Quire__LetterCount *letters[] = {&letter};
        Quire__EntryHead head = QUIRE__ENTRY_HEAD__INIT;
        Quire__EntryHead *heads[] = {&head};
        letter.letter = lend("Q");
        letter.count = 5;
        head.headword = lend("Quantization");
        reply.page = 2;
        reply.pages = 3;
        reply.total = 138;
        reply.letters = letters;
        reply.entries = heads;
        reply.n_letters = reply.n_entries = 1;
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_MATCH: {
        Quire__MatchRequest *in = quire__match_request__unpack(
            arena_protobuf(&request->arena), request->payload.size, request->payload.data);
        Quire__MatchReply reply = QUIRE__MATCH_REPLY__INIT;
        Quire__MatchedName name = QUIRE__MATCHED_NAME__INIT;
        Quire__MatchedName *names[] = {&name};
        assert_non_null(in);
        name.name = in->word;
        name.key = (ProtobufCBinaryData){1, (uint8_t *)"k"};
        name.has_distance = true;
        name.distance = in->strategy * 10 + in->limit;
        reply.names = names;
        reply.n_names = 1;
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_EXPLAIN: {
        Quire__ExplainReply reply = QUIRE__EXPLAIN_REPLY__INIT;
        Quire__ExplainTerm term = QUIRE__EXPLAIN_TERM__INIT;
        Quire__ExplainTerm *terms[] = {&term};
        term.token = lend("bit");
        term.contribution = 1 << 20;
        reply.matched = true;
        reply.score = 1 << 20;
        reply.terms = terms;
        reply.n_terms = 1;
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_EXPORT: {
        Quire__ExportReply reply = QUIRE__EXPORT_REPLY__INIT;
        reply.entries = entries;
        reply.n_entries = 1;
        reply.has_after = true;
        reply.after = (ProtobufCBinaryData){3, (uint8_t *)"a\0b"};
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_STATUS: {
        Quire__StatusReply reply = QUIRE__STATUS_REPLY__INIT;
        Quire__RangeStatus range = QUIRE__RANGE_STATUS__INIT;
        Quire__RangeStatus *ranges[] = {&range};
        range.collection = lend("ai");
        range.primary = lend("node");
        reply.cluster_id = lend("cluster");
        reply.ranges = ranges;
        reply.n_ranges = 1;
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_VERIFY: {
        Quire__VerifyReply reply = QUIRE__VERIFY_REPLY__INIT;
        Quire__VerifyProblem problem = QUIRE__VERIFY_PROBLEM__INIT;
        Quire__VerifyProblem *problems[] = {&problem};
        problem.range = 4;
        problem.text = lend("df of \"bit\" is 3, counted 2");
        reply.entries = 138;
        reply.problems = problems;
        reply.n_problems = 1;
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    default:
        rpc_reply_error(request, ERR_UNSUPPORTED, "unknown kind");
    }
}

static void test_lookups(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_get_request get = QUIRE_GET_INIT;
    struct quire_define_request define = QUIRE_DEFINE_INIT;
    struct quire_export_request export = QUIRE_EXPORT_INIT;
    const struct quire_entries_result *entries;
    const struct quire_export_result *page;
    fake_start(&fake, answer_any, NULL, true);
    client = connect_to(&fake);
    get.headword = "quantization";
    assert_int_equal(quire_get_wait(client, &get, &entries), QUIRE_OK);
    assert_int_equal(entries->entry_count, 1);
    assert_string_equal(entries->entries[0]->headword, "Quantization");
    assert_string_equal(entries->entries[0]->sense, "two");
    assert_int_equal(entries->entries[0]->term_count, 2);
    assert_string_equal(entries->entries[0]->terms[1], "int8");
    assert_string_equal(entries->entries[0]->body, "fewer *bits*");
    assert_int_equal(entries->entries[0]->body_size, 12);
    assert_string_equal(entries->entries[0]->attributes[0].value, "CC");
    assert_int_equal(entries->entries[0]->version, 12);
    quire_result_free(entries);
    define.term = "int8";
    assert_int_equal(quire_define_wait(client, &define, &entries), QUIRE_OK);
    quire_result_free(entries);
    export.after = "x\0y";
    export.after_size = 3;
    assert_int_equal(quire_export_wait(client, &export, &page), QUIRE_OK);
    assert_int_equal(page->after_size, 3);
    assert_memory_equal(page->after, "a\0b", 3);
    quire_result_free(page);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_names_and_pages(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_browse_request browse = QUIRE_BROWSE_INIT;
    struct quire_match_request match = QUIRE_MATCH_INIT;
    struct quire_suggest_request suggest = QUIRE_SUGGEST_INIT;
    struct quire_explain_request explain = QUIRE_EXPLAIN_INIT;
    const struct quire_browse_result *page;
    const struct quire_match_result *names;
    const struct quire_explain_result *why;
    fake_start(&fake, answer_any, NULL, true);
    client = connect_to(&fake);
    assert_int_equal(quire_browse_wait(client, &browse, &page), QUIRE_OK);
    assert_string_equal(page->letters[0]->letter, "Q");
    assert_string_equal(page->entries[0]->headword, "Quantization");
    assert_int_equal(page->total, 138);
    quire_result_free(page);
    match.word = "quant";
    match.strategy = QUIRE_MATCH_FUZZY;
    match.limit = 3;
    assert_int_equal(quire_match_wait(client, &match, &names), QUIRE_OK);
    assert_string_equal(names->names[0]->name, "quant");
    assert_int_equal(names->names[0]->distance, 43);
    quire_result_free(names);
    suggest.prefix = "qu";
    assert_int_equal(quire_suggest_wait(client, &suggest, &names), QUIRE_OK);
    assert_int_equal(names->names[0]->distance, 30); /* a prefix match, ten at most */
    quire_result_free(names);
    explain.query = "bits";
    explain.headword = "Quantization";
    assert_int_equal(quire_explain_wait(client, &explain, &why), QUIRE_OK);
    assert_string_equal(why->terms[0]->field, "text");
    assert_true(why->terms[0]->contribution == 1.0);
    assert_string_equal(why->sense, "");
    quire_result_free(why);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_collections_and_cluster(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_collection_request create = QUIRE_COLLECTION_INIT;
    struct quire_prepare_request prepare = QUIRE_PREPARE_INIT;
    struct quire_simple_request simple = QUIRE_SIMPLE_INIT;
    const struct quire_collection_result *collection;
    const struct quire_collections_result *collections;
    const struct quire_result *done;
    const struct quire_status_result *status;
    const struct quire_verify_result *verify;
    const char *sample[] = {"apple", "pear"};
    fake_start(&fake, answer_any, NULL, true);
    client = connect_to(&fake);
    create.collection = "ai";
    assert_int_equal(quire_collection_create_wait(client, &create, &collection), QUIRE_OK);
    assert_string_equal(collection->collection->language, "en");
    assert_int_equal(collection->collection->order, QUIRE_ORDER_ARRIVAL);
    quire_result_free(collection);
    create.order = (enum quire_order)2;
    assert_int_equal(quire_collection_create_wait(client, &create, &collection), QUIRE_INVALID);
    assert_string_equal(collection->error, "order: 2 is too large, the limit is 1");
    quire_result_free(collection);
    create.order = QUIRE_ORDER_CATEGORY;
    assert_int_equal(quire_collection_create_wait(client, &create, &collection), QUIRE_OK);
    assert_int_equal(collection->collection->order, QUIRE_ORDER_CATEGORY);
    quire_result_free(collection);
    prepare.sample = sample;
    prepare.sample_count = 2;
    assert_int_equal(quire_import_prepare_wait(client, &prepare, &collection), QUIRE_OK);
    quire_result_free(collection);
    assert_int_equal(quire_collection_list_wait(client, NULL, &collections), QUIRE_OK);
    assert_int_equal(collections->collections[0]->entries, 138);
    quire_result_free(collections);
    assert_int_equal(quire_collection_drop_wait(client, &simple, &done), QUIRE_INVALID);
    assert_string_equal(done->error, "collection: missing");
    quire_result_free(done);
    simple.collection = "ai";
    assert_int_equal(quire_collection_drop_wait(client, &simple, &done), QUIRE_OK);
    quire_result_free(done);
    assert_int_equal(quire_status_wait(client, NULL, &status), QUIRE_OK);
    assert_string_equal(status->cluster_id, "cluster");
    assert_string_equal(status->leader, "");
    assert_string_equal(status->ranges[0]->state, "");
    quire_result_free(status);
    assert_int_equal(quire_verify_wait(client, NULL, &verify), QUIRE_OK);
    assert_int_equal(verify->problems[0]->range, 4);
    quire_result_free(verify);
    quire_client_destroy(client);
    fake_stop(&fake);
}

/* ---- what is refused before it is sent ---- */

static void check_refused(struct quire_client *client, struct quire_search_request *request,
                          int status, const char *words)
{
    const struct quire_search_result *result;
    assert_int_equal(quire_search_wait(client, request, &result), status);
    if (strstr(result->error, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", result->error, words);
    assert_string_equal(result->cursor, "");
    quire_result_free(result);
}

static void test_refused_searches(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct quire_search_request blank = {0};
    char *huge = malloc((1 << 20) + 1);
    fake_start(&fake, answer_search, NULL, true);
    client = connect_to(&fake);
    check_refused(client, NULL, QUIRE_INVALID, "request: missing");
    check_refused(client, &blank, QUIRE_INVALID, "not initialised");
    check_refused(client, &request, QUIRE_INVALID, "query: missing");
    request.query = "caf\xe9 noir";
    check_refused(client, &request, QUIRE_INVALID, "query: not UTF-8 at byte 3");
    memset(huge, 'x', 1 << 20);
    huge[1 << 20] = '\0';
    request.query = huge;
    check_refused(client, &request, QUIRE_TOO_LARGE,
                  "query: 1048576 bytes are too many, the limit is 65536");
    request.query = "x";
    request.limit = 1001;
    check_refused(client, &request, QUIRE_INVALID, "limit: 1001 is too large");
    request.limit = 0;
    request.collection = "Not Good";
    check_refused(client, &request, QUIRE_INVALID, "collection: a name is made of");
    request.collection = "";
    check_refused(client, &request, QUIRE_INVALID, "collection: the name is empty");
    assert_int_equal(atomic_load(&fake.requests), 0);
    quire_client_destroy(client);
    fake_stop(&fake);
    free(huge);
}

static int put_error(struct quire_client *client, const struct quire_entry *entry,
                     char error[QUIRE_ERROR_SIZE])
{
    struct quire_put_request request = QUIRE_PUT_INIT;
    const struct quire_write_result *result;
    int status;
    request.entry = entry;
    status = quire_put_wait(client, &request, &result);
    snprintf(error, QUIRE_ERROR_SIZE, "%s", result->error);
    quire_result_free(result);
    return status;
}

static void test_refused_entries(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    const char *terms[] = {"fine", "b\xff"};
    char error[QUIRE_ERROR_SIZE];
    char *huge = malloc((9 << 20) + 1);
    fake_start(&fake, answer_search, NULL, true);
    client = connect_to(&fake);
    assert_int_equal(put_error(client, NULL, error), QUIRE_INVALID);
    assert_string_equal(error, "entry: missing");
    assert_int_equal(put_error(client, &entry, error), QUIRE_INVALID);
    assert_string_equal(error, "headword: missing");
    entry.headword = "x";
    entry.terms = terms;
    entry.term_count = 2;
    assert_int_equal(put_error(client, &entry, error), QUIRE_INVALID);
    assert_string_equal(error, "terms[1]: not UTF-8 at byte 1");
    entry.term_count = 257;
    assert_int_equal(put_error(client, &entry, error), QUIRE_TOO_LARGE);
    assert_string_equal(error, "terms: 257 are too many, the limit is 256");
    entry.term_count = 1;
    entry.body = "a\0b";
    entry.body_size = 3;
    assert_int_equal(put_error(client, &entry, error), QUIRE_INVALID);
    assert_string_equal(error, "body: there is a NUL at byte 1");
    memset(huge, 'x', 9 << 20);
    huge[9 << 20] = '\0';
    entry.body = huge;
    entry.body_size = 0;
    assert_int_equal(put_error(client, &entry, error), QUIRE_TOO_LARGE);
    assert_string_equal(error, "body: 9437184 bytes are too many, the limit is 8388608");
    entry.body_size = 8 << 20;
    assert_int_equal(put_error(client, &entry, error), QUIRE_TOO_LARGE);
    assert_string_equal(error, "entry: 8388613 bytes are too many, the limit is 8388608");
    assert_int_equal(atomic_load(&fake.requests), 0);
    quire_client_destroy(client);
    fake_stop(&fake);
    free(huge);
}

/* A program built against a smaller or a larger struct. */
static void test_sizes(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct {
        struct quire_search_request request;
        uint64_t later;
    } newer = {{0}, 0};
    struct quire_search_request older = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    fake_start(&fake, answer_search, NULL, true);
    client = connect_to(&fake);
    newer.request.size = sizeof(newer);
    newer.request.query = "x";
    assert_int_equal(quire_search_wait(client, &newer.request, &result), QUIRE_OK);
    quire_result_free(result);
    newer.later = 1;
    check_refused(client, &newer.request, QUIRE_UNSUPPORTED, "does not know");
    older.size = offsetof(struct quire_search_request, limit);
    older.query = "x";
    older.limit = 5000; /* beyond what it says it has */
    assert_int_equal(quire_search_wait(client, &older, &result), QUIRE_OK);
    quire_result_free(result);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *connect, *first;
        size_t count;
    } good[] = {
        {"tcp://a:1", "tcp://a:1", 1},       {"a", "tcp://a:7400", 1},
        {"tcp://a", "tcp://a:7400", 1},      {" a:7401 , b ", "tcp://a:7401", 2},
        {"[::1]", "tcp://[::1]:7400", 1},    {"[::1]:99,x,y", "tcp://[::1]:99", 3},
        {"ipc:///tmp/q", "ipc:///tmp/q", 1},
    };
    static const char *const bad[] = {",",         "a,",      "a,,b", "tcp://",  "tcp://:7400",
                                      "a:0",       "a:x",     "a:",   "a:65536", "a b",
                                      "::1",       "[::1",    "[]:1", "a:1/x",   "http://a",
                                      "ipc://rel", "caf\xe9", "a:1@b"};
    struct coordinators all;
    struct err err;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(coordinators_parse(good[i].connect, &all, &err), 0);
        assert_int_equal(all.count, good[i].count);
        assert_string_equal(all.list[0].url, good[i].first);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (coordinators_parse(bad[i], &all, &err) != ERR_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
    unsetenv("QUIRE_CONNECT");
    assert_int_equal(coordinators_parse(NULL, &all, &err), 0);
    assert_string_equal(all.list[0].url, "tcp://127.0.0.1:7400");
    setenv("QUIRE_CONNECT", "elsewhere", 1);
    assert_int_equal(coordinators_parse(NULL, &all, &err), 0);
    assert_string_equal(all.list[0].url, "tcp://elsewhere:7400");
    unsetenv("QUIRE_CONNECT");
}

static void test_bad_options(void **state)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client = (void *)1;
    char error[QUIRE_ERROR_SIZE];
    options.connect = "nowhere:x";
    assert_int_equal(quire_client_create(&options, &client, error, sizeof(error)), QUIRE_INVALID);
    assert_null(client);
    assert_string_equal(error,
                        "connect: \"nowhere:x\" has no port from 1 to 65535 after the colon");
    assert_string_equal(quire_strerror(QUIRE_NOT_FOUND), "not found");
    assert_string_equal(quire_strerror(-3), "unknown error");
    assert_string_equal(quire_version(), QUIRE_VERSION);
}

/* ---- hostile answers ---- */

static void answer_garbage(void *data, struct rpc_request *request)
{
    static atomic_uint turn;
    switch (atomic_fetch_add(&turn, 1) % 4) {
    case 0:
        rpc_reply(request, QUIRE__KIND__KIND_SEARCH + 1, bytes_str("\xff\xff\xff\xff garbage"));
        return;
    case 1:
        rpc_reply(request, QUIRE__KIND__KIND_GET + 1, bytes_of(NULL, 0));
        return;
    case 2:
        rpc_reply(request, QUIRE__KIND__KIND_SEARCH + 1, bytes_of(NULL, 0));
        return;
    default:
        reply_search(request, "caf\xe9");
    }
}

static void test_garbage(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    fake_start(&fake, answer_garbage, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    for (int i = 0; i < 4; i++) {
        assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_PROTOCOL);
        assert_true(strlen(result->error) > 0);
        assert_int_equal(result->hit_count, 0);
        quire_result_free(result);
    }
    quire_client_destroy(client);
    fake_stop(&fake);
}

static const struct result_type *const types[] = {
    &result_collection, &result_collections, &result_write,         &result_write_one,
    &result_entries,    &result_browse,      &result_match,         &result_search,
    &result_explain,    &result_export,      &result_status,        &result_verify,
    &result_recover,    &result_snapshot,    &result_snapshot_page,
};

/* Every truncation and some mutations of an answer, read as every kind of answer. */
static void test_mutated_answers(void **state)
{
    Quire__EntryList list = QUIRE__ENTRY_LIST__INIT;
    Quire__Entry entry = sample_entry();
    Quire__Entry *entries[] = {&entry, &entry};
    uint8_t packed[512], copy[512];
    size_t size;
    unsigned seed = 7;
    list.entries = entries;
    list.n_entries = 2;
    assert_true(quire__entry_list__get_packed_size(&list) <= sizeof(packed));
    size = quire__entry_list__pack(&list, packed);
    for (size_t type = 0; type < sizeof(types) / sizeof(types[0]); type++) {
        for (unsigned round = 0; round < 2000; round++) {
            struct err err = {0};
            struct box *box = box_create(types[type]);
            size_t length = round < size ? round : size;
            memcpy(copy, packed, size);
            for (unsigned i = 0; round > size && i < 1 + round % 4; i++)
                copy[(size_t)rand_r(&seed) % size] = (uint8_t)rand_r(&seed);
            if (types[type]->decode(box, bytes_of(copy, length), &err) != 0)
                assert_true(err.code != 0 && err.text[0] != '\0');
            box_release(box);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_names_and_pages),
        cmocka_unit_test(test_collections_and_cluster),
        cmocka_unit_test(test_refused_searches),
        cmocka_unit_test(test_refused_entries),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_mutated_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
