/* libquire against a fake coordinator: what is sent, what comes back, and what happens when nothing does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "client/coordinators.h"
#include "client/result.h"
#include "proto/base/clock.h"
#include "proto/base/uuid.h"
#include "quire.h"
#include "quire_uv.h"
#include "unit/fake_coordinator.h"

/* ---- helpers ---- */

static struct quire_client *connect_with(const char *urls, struct quire_options *options)
{
    struct quire_client *client;
    char error[QUIRE_ERROR_SIZE];
    options->connect = urls;
    if (quire_client_create(options, &client, error, sizeof(error)) != QUIRE_OK)
        fail_msg("%s", error);
    return client;
}

static struct quire_client *connect_to(const struct fake *fake)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    return connect_with(fake->url, &options);
}

/* Collects callbacks. */
struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned count;
    unsigned by_status[32];
    char error[QUIRE_ERROR_SIZE];
};
#define SEEN_INIT {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, {0}, {0}}

static void see(struct seen *seen, int status, const char *error)
{
    pthread_mutex_lock(&seen->lock);
    seen->count++;
    seen->by_status[status]++;
    snprintf(seen->error, sizeof(seen->error), "%s", error);
    pthread_cond_broadcast(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void see_search(void *data, const struct quire_search_result *result)
{
    see(data, result->status, result->error);
}

static void see_write(void *data, const struct quire_write_result *result)
{
    see(data, result->status, result->error);
}

static void wait_until(struct seen *seen, unsigned count)
{
    pthread_mutex_lock(&seen->lock);
    while (seen->count < count)
        pthread_cond_wait(&seen->changed, &seen->lock);
    pthread_mutex_unlock(&seen->lock);
}

static void sleep_ms(unsigned ms)
{
    usleep(ms * 1000);
}

static void wait_requests(struct fake *fake, unsigned count)
{
    for (int i = 0; i < 500 && atomic_load(&fake->requests) < count; i++)
        sleep_ms(10);
    assert_true(atomic_load(&fake->requests) >= count);
}

static void reply_search(struct rpc_request *request, const char *headword)
{
    Quire__SearchReply reply = QUIRE__SEARCH_REPLY__INIT;
    Quire__Hit hit = QUIRE__HIT__INIT;
    Quire__Hit *hits[] = {&hit};
    hit.headword = (char *)(uintptr_t)headword;
    hit.score = 3 << 19;
    reply.hits = hits;
    reply.n_hits = 1;
    reply.total = 1;
    reply.complete = true;
    fake_reply(request, QUIRE__KIND__KIND_SEARCH + 1, &reply.base);
}

static void answer_search(void *data, struct rpc_request *request)
{
    reply_search(request, "model");
}

static void answer_nothing(void *data, struct rpc_request *request)
{
    fake_hold(data, request);
}

/* ---- round trips ---- */

static void check_search_request(struct rpc_request *request)
{
    Quire__SearchRequest *in =
        quire__search_request__unpack(arena_protobuf(&request->arena), request->payload.size, request->payload.data);
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
    char *categories[] = {"optimisation", "training"};
    char *warnings[] = {"a quote was not closed"};
    check_search_request(request);
    inside.offset = 4;
    inside.length = 3;
    outside.offset = 4;
    outside.length = UINT32_MAX;
    hit.headword = "gradient descent";
    hit.score = 3 << 19;
    hit.categories = categories;
    hit.n_categories = 2;
    hit.snippet = "the way down";
    hit.highlights = highlights;
    hit.n_highlights = 2;
    hit.has_key = true;
    hit.key = (ProtobufCBinaryData){16, (uint8_t *)"gradient descent"};
    facet.value = "training";
    facet.count = 9;
    missing.has_lo = true;
    missing.lo = (ProtobufCBinaryData){3, (uint8_t *)"mod"};
    missing.reason = "shard down";
    reply.hits = hits;
    reply.categories = facets;
    reply.missing = missings;
    reply.n_hits = reply.n_categories = reply.n_missing = reply.n_warnings = 1;
    reply.warnings = warnings;
    reply.total = 41;
    reply.cursor = "NEXT";
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
    assert_int_equal(result->took_us, 1234);
    assert_ptr_equal(quire_result_keep(result), result);
    quire_result_free(result);
    assert_string_equal(result->hits[0]->headword, "gradient descent");
    quire_result_free(result);
    quire_result_free(NULL);
}

static Quire__Entry sample_entry(void)
{
    static char *terms[] = {"int4 quantization", "int8"};
    static char *categories[] = {"training"};
    static Quire__Attribute attribute;
    static Quire__Attribute *attributes[] = {&attribute};
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    quire__attribute__init(&attribute);
    attribute.name = "license";
    attribute.value = "CC";
    entry.headword = "Quantization";
    entry.sense = "two";
    entry.terms = terms;
    entry.n_terms = 2;
    entry.categories = categories;
    entry.n_categories = 1;
    entry.body = "fewer *bits*";
    entry.source = "page-1:7";
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
        reply.name = "ai";
        reply.language = "en";
        fake_reply(request, kind + 1, &reply.base);
        return;
    }
    case QUIRE__KIND__KIND_COLLECTION_LIST: {
        Quire__CollectionList reply = QUIRE__COLLECTION_LIST__INIT;
        Quire__Collection one = QUIRE__COLLECTION__INIT;
        Quire__Collection *list[] = {&one};
        one.name = "ai";
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
        letter.letter = "Q";
        letter.count = 5;
        head.headword = "Quantization";
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
        Quire__MatchRequest *in =
            quire__match_request__unpack(arena_protobuf(&request->arena), request->payload.size, request->payload.data);
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
        term.token = "bit";
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
        range.collection = "ai";
        range.primary = "node";
        reply.cluster_id = "cluster";
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
        problem.text = "df of \"bit\" is 3, counted 2";
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

static void check_refused(struct quire_client *client, struct quire_search_request *request, int status,
                          const char *words)
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
    check_refused(client, &request, QUIRE_TOO_LARGE, "query: 1048576 bytes are too many, the limit is 65536");
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

static int put_error(struct quire_client *client, const struct quire_entry *entry, char error[QUIRE_ERROR_SIZE])
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

/* ---- time, cancellation, the end ---- */

static void test_deadline(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    uint64_t begin = clock_ms();
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    request.timeout_ms = 200;
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_DEADLINE);
    assert_string_equal(result->error, "no answer within 200 ms");
    assert_in_range(clock_ms() - begin, 190, 2000);
    quire_result_free(result);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_unreachable(void **state)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    uint64_t begin;
    options.connect_timeout_ms = 150;
    client = connect_with("ipc:///tmp/quire-test-nobody-1, ipc:///tmp/quire-test-nobody-2", &options);
    request.query = "x";
    begin = clock_ms();
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_UNAVAILABLE);
    assert_in_range(clock_ms() - begin, 140, 1500);
    assert_non_null(strstr(result->error, "no connection to ipc:///tmp/quire-test-nobody-1, ipc"));
    quire_result_free(result);
    quire_client_destroy(client);
}

static void test_cancel(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct seen seen = SEEN_INIT;
    quire_ticket sent, waiting;
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    sent = quire_search(client, &request, see_search, &seen);
    wait_requests(&fake, 1);
    quire_cancel(client, sent);
    wait_until(&seen, 1);
    fake_tell(&fake, FAKE_DOWN);
    waiting = quire_search(client, &request, see_search, &seen);
    assert_true(waiting != sent);
    quire_cancel(client, waiting);
    wait_until(&seen, 2);
    assert_int_equal(seen.by_status[QUIRE_CANCELED], 2);
    assert_true(seen.error[0] != 0);
    quire_cancel(client, sent);
    quire_cancel(client, 0);
    quire_cancel(client, 12345);
    quire_client_destroy(client);
    fake_stop(&fake);
    assert_int_equal(seen.count, 2);
}

static void test_destroy_ends_all(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct seen seen = SEEN_INIT;
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    for (int i = 0; i < 500; i++)
        assert_true(quire_search(client, &request, see_search, &seen) != 0);
    wait_requests(&fake, 100);
    quire_client_destroy(client);
    assert_int_equal(seen.count, 500);
    assert_int_equal(seen.by_status[QUIRE_CANCELED], 500);
    quire_client_destroy(NULL);
    fake_stop(&fake);
}

struct from_callback {
    struct quire_client *client;
    struct seen seen;
    int nested_status;
    quire_ticket nested_ticket;
};

static void call_from_callback(void *data, const struct quire_search_result *result)
{
    struct from_callback *test = data;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *nested;
    unsigned before = test->seen.count;
    request.query = "x";
    test->nested_status = quire_search_wait(test->client, &request, &nested);
    assert_non_null(strstr(nested->error, "callback"));
    quire_result_free(nested);
    quire_client_destroy(test->client); /* refused as well: nothing happens */
    test->nested_ticket = quire_search(test->client, &request, see_search, &test->seen);
    assert_int_equal(test->seen.count, before); /* never from inside the submitting call */
    see(&test->seen, result->status, result->error);
}

static void test_from_callback(void **state)
{
    struct fake fake;
    struct from_callback test = {.seen = SEEN_INIT};
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    fake_start(&fake, answer_search, NULL, true);
    test.client = connect_to(&fake);
    request.query = "x";
    quire_search(test.client, &request, call_from_callback, &test);
    wait_until(&test.seen, 2);
    assert_int_equal(test.nested_status, QUIRE_INVALID);
    assert_true(test.nested_ticket != 0);
    assert_int_equal(test.seen.by_status[QUIRE_OK], 2);
    quire_client_destroy(test.client);
    fake_stop(&fake);
}

static void test_too_many(void **state)
{
    struct fake fake;
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct seen seen = SEEN_INIT;
    fake_start(&fake, answer_nothing, NULL, true);
    options.max_outstanding = 10;
    client = connect_with(fake.url, &options);
    request.query = "x";
    for (int i = 0; i < 10; i++)
        quire_search(client, &request, see_search, &seen);
    quire_search(client, &request, see_search, &seen);
    wait_until(&seen, 1);
    assert_int_equal(seen.by_status[QUIRE_FULL], 1);
    quire_client_destroy(client);
    assert_int_equal(seen.by_status[QUIRE_CANCELED], 10);
    fake_stop(&fake);
}

static void test_fork(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    int status;
    pid_t child;
    fake_start(&fake, answer_search, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    child = fork();
    if (child == 0) {
        bool good = quire_search(client, &request, see_search, NULL) == 0;
        good &= quire_search_wait(client, &request, &result) == QUIRE_INVALID;
        quire_cancel(client, 1);
        quire_client_destroy(client);
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_OK);
    quire_result_free(result);
    quire_client_destroy(client);
    fake_stop(&fake);
}

/* ---- several coordinators, repetition ---- */

static void test_next_coordinator(void **state)
{
    struct fake first, second;
    char urls[256];
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    struct seen seen = SEEN_INIT;
    fake_start(&first, answer_nothing, NULL, false);
    fake_start(&second, answer_search, NULL, true);
    snprintf(urls, sizeof(urls), "%s,%s", first.url, second.url);
    client = connect_with(urls, &options);
    request.query = "x";
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_OK);
    quire_result_free(result);
    assert_int_equal(atomic_load(&second.requests), 1);

    /* The second goes away with a request; when the first comes up it answers... nothing, and goes away too. */
    second.handler = answer_nothing;
    quire_search(client, &request, see_search, &seen);
    wait_requests(&second, 2);
    fake_tell(&first, FAKE_UP);
    fake_tell(&second, FAKE_DOWN);
    wait_requests(&first, 1);
    second.handler = answer_search;
    fake_tell(&second, FAKE_UP);
    fake_tell(&first, FAKE_DOWN);
    wait_until(&seen, 1);
    assert_int_equal(seen.by_status[QUIRE_OK], 1);
    quire_client_destroy(client);
    fake_stop(&first);
    fake_stop(&second);
}

static void see_collection(void *data, const struct quire_collection_result *result)
{
    see(data, result->status, result->error);
}

static void test_not_repeated(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_collection_request request = QUIRE_COLLECTION_INIT;
    struct seen seen = SEEN_INIT;
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    request.collection = "ai";
    quire_collection_create(client, &request, see_collection, &seen);
    wait_requests(&fake, 1);
    fake_tell(&fake, FAKE_DOWN);
    wait_until(&seen, 1);
    assert_int_equal(seen.by_status[QUIRE_UNAVAILABLE], 1);
    assert_non_null(strstr(seen.error, "may or may not"));
    fake_tell(&fake, FAKE_UP);
    sleep_ms(300);
    assert_int_equal(atomic_load(&fake.requests), 1);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void say_unavailable(void *data, struct rpc_request *request)
{
    rpc_reply_error(request, ERR_UNAVAILABLE, "range 7: its shard is down");
}

static void test_said_unavailable(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    fake_start(&fake, say_unavailable, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_UNAVAILABLE);
    assert_string_equal(result->error, "range 7: its shard is down");
    assert_int_equal(atomic_load(&fake.requests), 4);
    quire_result_free(result);
    quire_client_destroy(client);
    fake_stop(&fake);
}

/* ---- writes ---- */

/* What the shards would do: count the ops, remember the last batch of each client, fail what they are told to. */
struct ledger {
    pthread_mutex_t lock;
    unsigned applied;      /* ops, each batch once */
    unsigned repeated;     /* batches that came again */
    unsigned clients;
    char client[256][UUID_TEXT_SIZE];
    uint64_t batch[256];
    unsigned fail_ops;     /* so many replies have one op failed with ERR_UNAVAILABLE */
    unsigned drop;         /* so many requests are applied, but not answered until the connection is lost */
    unsigned delay_ms;
    unsigned now, most;    /* requests at a time */
};

static bool ledger_known(struct ledger *ledger, const Quire__WriteRequest *in)
{
    for (unsigned i = 0; i < ledger->clients; i++) {
        if (strcmp(ledger->client[i], in->client_id) != 0)
            continue;
        assert_true(in->batch == ledger->batch[i] || in->batch == ledger->batch[i] + 1);
        if (in->batch == ledger->batch[i])
            return true;
        ledger->batch[i] = in->batch;
        return false;
    }
    assert_true(ledger->clients < 256);
    strcpy(ledger->client[ledger->clients], in->client_id);
    ledger->batch[ledger->clients++] = in->batch;
    return false;
}

static void reply_write(struct rpc_request *request, size_t count, bool fail_one)
{
    Quire__WriteReply reply = QUIRE__WRITE_REPLY__INIT;
    Quire__Error error = QUIRE__ERROR__INIT;
    Quire__WriteResult *results = arena_calloc(&request->arena, count + 1, sizeof(*results));
    Quire__WriteResult **list = arena_calloc(&request->arena, count + 1, sizeof(*list));
    error.code = ERR_UNAVAILABLE;
    error.text = "range 3 is moving";
    for (size_t i = 0; i < count; i++) {
        quire__write_result__init(&results[i]);
        results[i].outcome = QUIRE__WRITE_RESULT__OUTCOME__NEW;
        results[i].has_version = true;
        results[i].version = 5;
        list[i] = &results[i];
    }
    if (fail_one) {
        results[0].outcome = QUIRE__WRITE_RESULT__OUTCOME__FAILED;
        results[0].error = &error;
    }
    reply.results = list;
    reply.n_results = count;
    fake_reply(request, QUIRE__KIND__KIND_WRITE + 1, &reply.base);
}

static void answer_write(void *data, struct rpc_request *request)
{
    struct fake *fake = data;
    struct ledger *ledger = fake->data;
    Quire__WriteRequest *in =
        quire__write_request__unpack(arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    bool drop = false, fail_one = false;
    assert_non_null(in);
    assert_non_null(in->client_id);
    assert_true(in->has_batch && in->batch > 0);
    pthread_mutex_lock(&ledger->lock);
    if (ledger_known(ledger, in))
        ledger->repeated++;
    else
        ledger->applied += (unsigned)in->n_ops;
    if (ledger->drop > 0) {
        ledger->drop--;
        drop = true;
    } else if (ledger->fail_ops > 0) {
        ledger->fail_ops--;
        fail_one = true;
    }
    pthread_mutex_unlock(&ledger->lock);
    if (drop)
        fake_hold(fake, request);
    else
        reply_write(request, in->n_ops, fail_one);
}

static void test_write_identity(void **state)
{
    struct fake fake;
    struct ledger ledger = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct quire_client *client;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    struct quire_put_request put = QUIRE_PUT_INIT;
    struct quire_delete_request delete = QUIRE_DELETE_INIT;
    const struct quire_write_result *result;
    struct seen seen = SEEN_INIT;
    fake_start(&fake, answer_write, &ledger, true);
    client = connect_to(&fake);
    entry.headword = "x";
    put.entry = &entry;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(quire_put_wait(client, &put, &result), QUIRE_OK);
        assert_int_equal(result->written_count, 1);
        assert_int_equal(result->written[0]->outcome, QUIRE_NEW);
        assert_int_equal(result->written[0]->version, 5);
        quire_result_free(result);
    }
    delete.headword = "x";
    assert_int_equal(quire_delete_wait(client, &delete, &result), QUIRE_OK);
    quire_result_free(result);
    assert_int_equal(ledger.clients, 1); /* one after the other: one client id, batches 1 to 6 */
    assert_int_equal(ledger.batch[0], 6);
    /* Lost with its answer: comes again with the same identity, and is recognised. */
    ledger.drop = 1;
    quire_put(client, &put, see_write, &seen);
    wait_requests(&fake, 7);
    fake_tell(&fake, FAKE_DOWN);
    fake_tell(&fake, FAKE_UP);
    wait_until(&seen, 1);
    assert_int_equal(seen.by_status[QUIRE_OK], 1);
    assert_int_equal(ledger.applied, 7);
    assert_int_equal(ledger.repeated, 1);
    /* An op that failed for a reason that passes is tried again. */
    ledger.fail_ops = 2;
    assert_int_equal(quire_put_wait(client, &put, &result), QUIRE_OK);
    assert_int_equal(result->written[0]->outcome, QUIRE_NEW);
    quire_result_free(result);
    assert_int_equal(ledger.applied, 8);
    assert_int_equal(ledger.repeated, 3);
    /* When it does not pass, the last answer is the result. */
    ledger.fail_ops = 1000;
    put.timeout_ms = 300;
    assert_int_equal(quire_put_wait(client, &put, &result), QUIRE_UNAVAILABLE);
    assert_string_equal(result->error, "range 3 is moving");
    assert_int_equal(result->written[0]->outcome, QUIRE_FAILED);
    quire_result_free(result);
    assert_int_equal(ledger.clients, 1);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_write_batch(void **state)
{
    struct fake fake;
    struct ledger ledger = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct quire_client *client;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    struct quire_op ops[3] = {QUIRE_OP_INIT, QUIRE_OP_INIT, QUIRE_OP_INIT};
    struct quire_write_request request = QUIRE_WRITE_INIT;
    const struct quire_write_result *result;
    fake_start(&fake, answer_write, &ledger, true);
    client = connect_to(&fake);
    entry.headword = "x";
    ops[0].put = &entry;
    ops[1].delete_headword = "y";
    ops[1].delete_all_senses = true;
    request.ops = ops;
    request.op_count = 3;
    assert_int_equal(quire_write_wait(client, &request, &result), QUIRE_INVALID);
    assert_string_equal(result->error, "ops[2]: headword: missing");
    quire_result_free(result);
    ops[2].put = &entry;
    ops[2].conditional = true;
    request.client_id = "01234567-89ab-4def-8123-456789abcdef";
    assert_int_equal(quire_write_wait(client, &request, &result), QUIRE_INVALID);
    quire_result_free(result);
    request.batch = 1;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(quire_write_wait(client, &request, &result), QUIRE_OK);
        assert_int_equal(result->written_count, 3);
        quire_result_free(result);
    }
    assert_int_equal(ledger.applied, 3);
    assert_int_equal(ledger.repeated, 1);
    assert_string_equal(ledger.client[0], request.client_id);
    quire_client_destroy(client);
    fake_stop(&fake);
}

/* ---- the bulk writer ---- */

struct told {
    atomic_uint count;
    atomic_uint by_status[32];
    atomic_uint by_tag[4096];
};

static void tell(void *data, const struct quire_writer_item *item)
{
    struct told *told = data;
    atomic_fetch_add(&told->count, 1);
    atomic_fetch_add(&told->by_status[item->status], 1);
    atomic_fetch_add(&told->by_tag[(uintptr_t)item->tag], 1);
}

static void test_writer(void **state)
{
    static struct told told;
    struct fake fake;
    struct ledger ledger = {.lock = PTHREAD_MUTEX_INITIALIZER, .fail_ops = 3};
    struct quire_client *client;
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    struct quire_writer_stats stats = QUIRE_WRITER_STATS_INIT;
    struct quire_writer *writer;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    char *large = malloc((3 << 20) + 1);
    char error[QUIRE_ERROR_SIZE];
    fake_start(&fake, answer_write, &ledger, true);
    client = connect_to(&fake);
    options.batch_ops = 10;
    options.batch_bytes = 4000;
    options.outstanding = 3;
    options.outstanding_bytes = 5000;
    options.result = tell;
    options.data = &told;
    options.collection = "?";
    assert_int_equal(quire_writer_create(client, &options, &writer, error, sizeof(error)), QUIRE_INVALID);
    assert_null(writer);
    options.collection = "ai";
    assert_int_equal(quire_writer_create(client, &options, &writer, error, sizeof(error)), QUIRE_OK);
    assert_int_equal(quire_writer_put(writer, &entry, NULL), QUIRE_INVALID);
    assert_string_equal(quire_writer_error(writer), "headword: missing");
    memset(large, 'x', 3 << 20);
    large[3 << 20] = '\0';
    entry.headword = "x";
    for (uintptr_t i = 0; i < 3003; i++) {
        entry.body = i % 1000 == 500 ? large : "short";
        assert_int_equal(quire_writer_put(writer, &entry, (void *)i), QUIRE_OK);
    }
    assert_int_equal(quire_writer_flush(writer), QUIRE_OK);
    assert_int_equal(atomic_load(&told.count), 3003);
    for (int i = 0; i < 3003; i++)
        assert_int_equal(atomic_load(&told.by_tag[i]), 1);
    assert_int_equal(ledger.applied, 3003);
    assert_true(ledger.clients <= 3); /* one for each that may be under way */
    quire_writer_get_stats(writer, &stats);
    assert_int_equal(stats.ops, 3003);
    assert_int_equal(stats.told, 3003);
    assert_int_equal(stats.outstanding, 0);
    assert_int_equal(stats.by_outcome[QUIRE_NEW], 3003);
    assert_true(stats.batches >= 301);
    quire_writer_destroy(writer);
    quire_writer_destroy(NULL);
    quire_client_destroy(client);
    fake_stop(&fake);
    free(large);
}

static void refuse_write(void *data, struct rpc_request *request)
{
    rpc_reply_error(request, ERR_NOT_FOUND, "there is no collection \"ai\"");
}

static void test_writer_fails(void **state)
{
    static struct told told;
    struct fake fake;
    struct quire_client *client;
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    struct quire_writer *writer;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    unsigned taken = 0;
    int status = QUIRE_OK;
    fake_start(&fake, refuse_write, NULL, true);
    client = connect_to(&fake);
    options.batch_ops = 10;
    options.result = tell;
    options.data = &told;
    assert_int_equal(quire_writer_create(client, &options, &writer, NULL, 0), QUIRE_OK);
    entry.headword = "x";
    while (taken < 4000 && (status = quire_writer_put(writer, &entry, NULL)) == QUIRE_OK)
        taken++;
    if (status == QUIRE_OK) /* it was quicker than the first answer */
        status = quire_writer_flush(writer);
    assert_int_equal(status, QUIRE_NOT_FOUND);
    assert_string_equal(quire_writer_error(writer), "there is no collection \"ai\"");
    assert_int_equal(quire_writer_flush(writer), QUIRE_NOT_FOUND);
    assert_int_equal(atomic_load(&told.count), taken);
    assert_int_equal(atomic_load(&told.by_status[QUIRE_NOT_FOUND]), taken);
    quire_writer_destroy(writer);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_writer_destroyed(void **state)
{
    static struct told told;
    struct fake fake;
    struct quire_client *client;
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    struct quire_writer *writer;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    options.batch_ops = 10;
    options.outstanding = 2;
    options.result = tell;
    options.data = &told;
    assert_int_equal(quire_writer_create(client, &options, &writer, NULL, 0), QUIRE_OK);
    entry.headword = "x";
    for (int i = 0; i < 25; i++)
        assert_int_equal(quire_writer_put(writer, &entry, NULL), QUIRE_OK);
    wait_requests(&fake, 2);
    quire_writer_destroy(writer);
    assert_int_equal(atomic_load(&told.count), 25);
    assert_int_equal(atomic_load(&told.by_status[QUIRE_CANCELED]), 25);
    quire_client_destroy(client);
    fake_stop(&fake);
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
    &result_collection, &result_collections, &result_write,   &result_write_one, &result_entries, &result_browse,
    &result_match,      &result_search,      &result_explain, &result_export,    &result_status,  &result_verify,
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

/* ---- addresses, loops, threads ---- */

static void test_addresses(void **state)
{
    static const struct {
        const char *connect, *first;
        size_t count;
    } good[] = {
        {"tcp://a:1", "tcp://a:1", 1},
        {"a", "tcp://a:7400", 1},
        {"tcp://a", "tcp://a:7400", 1},
        {" a:7401 , b ", "tcp://a:7401", 2},
        {"[::1]", "tcp://[::1]:7400", 1},
        {"[::1]:99,x,y", "tcp://[::1]:99", 3},
        {"ipc:///tmp/q", "ipc:///tmp/q", 1},
    };
    static const char *const bad[] = {",",     "a,",     "a,,b",      "tcp://",     "tcp://:7400", "a:0",
                                      "a:x",   "a:",     "a:65536",   "a b",        "::1",         "[::1",
                                      "[]:1",  "a:1/x",  "http://a",  "ipc://rel",  "caf\xe9",     "a:1@b"};
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

struct on_loop {
    struct quire_client *client;
    unsigned answers;
    int waited;
    bool closed;
};

static void loop_closed(void *data)
{
    ((struct on_loop *)data)->closed = true;
}

static void loop_answer(void *data, const struct quire_search_result *result)
{
    struct on_loop *test = data;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *nested;
    assert_int_equal(result->status, test->answers < 3 ? QUIRE_OK : QUIRE_CANCELED);
    request.query = "x";
    if (test->answers++ == 2) {
        test->waited = quire_search_wait(test->client, &request, &nested);
        quire_result_free(nested);
        quire_search(test->client, &request, loop_answer, test);
        quire_client_close(test->client, loop_closed, test);
        assert_int_equal(quire_search(test->client, &request, loop_answer, test), 0);
    }
}

static void test_on_loop(void **state)
{
    struct fake fake;
    struct on_loop test = {0};
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    uv_loop_t loop;
    fake_start(&fake, answer_search, NULL, true);
    uv_loop_init(&loop);
    options.connect = fake.url;
    assert_int_equal(quire_client_create_on_loop(&options, &loop, &test.client, NULL, 0), QUIRE_OK);
    request.query = "x";
    for (int i = 0; i < 3; i++)
        quire_search(test.client, &request, loop_answer, &test);
    assert_int_equal(test.answers, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(test.closed);
    assert_int_equal(test.waited, QUIRE_INVALID);
    assert_int_equal(test.answers, 4);
    assert_int_equal(uv_loop_close(&loop), 0);
    fake_stop(&fake);
}

static void *search_often(void *data)
{
    struct quire_client *client = data;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct seen seen = SEEN_INIT;
    const struct quire_search_result *result;
    request.query = "x";
    for (unsigned i = 0; i < 100; i++) {
        quire_ticket ticket = quire_search(client, &request, see_search, &seen);
        if (i % 3 == 0)
            quire_cancel(client, ticket);
        assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_OK);
        quire_result_free(result);
    }
    wait_until(&seen, 100);
    assert_int_equal(seen.by_status[QUIRE_OK] + seen.by_status[QUIRE_CANCELED], 100);
    return NULL;
}

static void test_threads(void **state)
{
    struct fake fake;
    pthread_t threads[8];
    struct quire_client *client;
    fake_start(&fake, answer_search, NULL, true);
    client = connect_to(&fake);
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, search_often, client);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_bad_options(void **state)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client = (void *)1;
    char error[QUIRE_ERROR_SIZE];
    options.connect = "nowhere:x";
    assert_int_equal(quire_client_create(&options, &client, error, sizeof(error)), QUIRE_INVALID);
    assert_null(client);
    assert_string_equal(error, "connect: \"nowhere:x\" has no port from 1 to 65535 after the colon");
    assert_string_equal(quire_strerror(QUIRE_NOT_FOUND), "not found");
    assert_string_equal(quire_strerror(-3), "unknown error");
    assert_string_equal(quire_version(), QUIRE_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),       cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_search),          cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_names_and_pages), cmocka_unit_test(test_collections_and_cluster),
        cmocka_unit_test(test_refused_searches), cmocka_unit_test(test_refused_entries),
        cmocka_unit_test(test_sizes),           cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_unreachable),     cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_destroy_ends_all), cmocka_unit_test(test_from_callback),
        cmocka_unit_test(test_too_many),        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_next_coordinator), cmocka_unit_test(test_not_repeated),
        cmocka_unit_test(test_said_unavailable), cmocka_unit_test(test_write_identity),
        cmocka_unit_test(test_write_batch),     cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_fails),    cmocka_unit_test(test_writer_destroyed),
        cmocka_unit_test(test_garbage),         cmocka_unit_test(test_mutated_answers),
        cmocka_unit_test(test_on_loop),         cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
