/* quire_lines: a test client. Requests as JSON on standard input, one a line; the replies as JSON
 * lines, in the order in which they come (with --pipeline 1, the default: in order). Everything
 * goes through libquire's asynchronous API.
 *
 *   quire_lines [--pipeline N] [--timeout MS] [--collection NAME] [--replica K]
 *
 * Requests:
 * {"op":"search","query"|"query_hex",["all","limit","facets","total_limit","cursor","category"]},
 * {"op":"put","entry":{...}},
 * {"op":"delete","headword",["sense"]}, {"op":"define","term"}, {"op":"get","headword",["sense"]}.
 * Any "id" comes back. Replies: {"id","status","error",...}; scores as the exact fixed-point
 * integers.
 */
#include "client/quire.h"

#include <assert.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct flight {
    pthread_mutex_t lock;
    pthread_cond_t landed;
    unsigned outstanding;
};

struct pending {
    struct flight *flight;
    json_t *request;
};

static void answer(struct pending *pending, int status, const char *error, json_t *reply)
{
    json_t *id = json_object_get(pending->request, "id");
    if (id)
        json_object_set(reply, "id", id);
    json_object_set_new(reply, "status", json_integer(status));
    json_object_set_new(reply, "error", json_string(error));
    char *text = json_dumps(reply, JSON_COMPACT);
    assert(text);
    struct flight *flight = pending->flight;
    pthread_mutex_lock(&flight->lock);
    puts(text);
    fflush(stdout);
    flight->outstanding--;
    pthread_cond_broadcast(&flight->landed);
    pthread_mutex_unlock(&flight->lock);
    free(text);
    json_decref(reply);
    json_decref(pending->request);
    free(pending);
}

static void searched(void *data, const struct quire_search_result *result)
{
    json_t *hits = json_array(), *facets = json_array();
    for (size_t i = 0; i < result->hit_count; i++) {
        const struct quire_hit *hit = result->hits[i];
        json_array_append_new(
            hits, json_pack("{s:s, s:s, s:I, s:s}", "headword", hit->headword, "sense", hit->sense,
                            "score", (json_int_t)hit->score_fixed, "snippet", hit->snippet));
    }
    for (size_t i = 0; i < result->category_count; i++)
        json_array_append_new(facets, json_pack("{s:s, s:I}", "value", result->categories[i]->value,
                                                "count", (json_int_t)result->categories[i]->count));
    answer(data, result->status, result->error,
           json_pack("{s:o, s:o, s:I, s:s, s:b, s:I, s:s, s:s}", "hits", hits, "facets", facets,
                     "total", (json_int_t)result->total, "total_relation",
                     result->total_is_lower_bound ? "gte" : "eq", "complete", (int)result->complete,
                     "took_us", (json_int_t)result->took_us, "cursor",
                     result->cursor ? result->cursor : "", "did_you_mean", result->did_you_mean));
}

static void written(void *data, const struct quire_write_result *result)
{
    static const char *const names[] = {"none",    "new",    "changed", "unchanged",
                                        "deleted", "absent", "failed"};
    const char *outcome = result->written_count ? names[result->written[0]->outcome] : "none";
    answer(data, result->status, result->error, json_pack("{s:s}", "outcome", outcome));
}

static void looked_up(void *data, const struct quire_entries_result *result)
{
    json_t *entries = json_array();
    for (size_t i = 0; i < result->entry_count; i++)
        json_array_append_new(
            entries, json_pack("{s:s, s:s, s:s, s:I}", "headword", result->entries[i]->headword,
                               "sense", result->entries[i]->sense, "body", result->entries[i]->body,
                               "version", (json_int_t)result->entries[i]->version));
    answer(data, result->status, result->error, json_pack("{s:o}", "entries", entries));
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* The strings of an array, or NULL; at most 256. The caller frees the array. */
static const char **strings_of(const json_t *object, const char *name, size_t *count)
{
    const json_t *array = json_object_get(object, name);
    *count = json_array_size(array) < 256 ? json_array_size(array) : 256;
    const char **out = *count ? calloc(*count, sizeof(*out)) : NULL;
    for (size_t i = 0; i < *count; i++)
        out[i] = json_string_value(json_array_get(array, i));
    return out;
}

static quire_ticket submit_search(struct quire_client *client, const char *collection,
                                  uint32_t timeout, struct pending *pending)
{
    const json_t *r = pending->request;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    char *raw = NULL;
    request.collection = collection;
    request.timeout_ms = timeout;
    request.query = text_of(r, "query");
    const char *hex = text_of(r, "query_hex");
    if (hex) {
        raw = calloc(strlen(hex) / 2 + 1, 1);
        for (size_t i = 0; raw && hex[2 * i] && hex[2 * i + 1]; i++) {
            unsigned byte = 0;
            sscanf(hex + 2 * i, "%2x", &byte);
            raw[i] = (char)byte;
        }
        request.query = raw;
    }
    request.limit = (uint32_t)json_integer_value(json_object_get(r, "limit"));
    request.facet_limit = (uint32_t)json_integer_value(json_object_get(r, "facets"));
    request.total_limit = (uint64_t)json_integer_value(json_object_get(r, "total_limit"));
    request.all = json_is_true(json_object_get(r, "all"));
    request.cursor = text_of(r, "cursor");
    const char *category = text_of(r, "category");
    request.categories = category ? &category : NULL;
    request.category_count = category ? 1 : 0;
    quire_ticket ticket = quire_search(client, &request, searched, pending);
    free(raw);
    return ticket;
}

static quire_ticket submit_put(struct quire_client *client, const char *collection,
                               uint32_t timeout, struct pending *pending)
{
    const json_t *e = json_object_get(pending->request, "entry");
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    entry.headword = text_of(e, "headword");
    entry.sense = text_of(e, "sense");
    entry.body = text_of(e, "body");
    const char **terms = strings_of(e, "terms", &entry.term_count);
    const char **categories = strings_of(e, "categories", &entry.category_count);
    entry.terms = terms;
    entry.categories = categories;
    struct quire_put_request request = QUIRE_PUT_INIT;
    request.collection = collection;
    request.timeout_ms = timeout;
    request.entry = &entry;
    quire_ticket ticket = quire_put(client, &request, written, pending);
    free(terms);
    free(categories);
    return ticket;
}

static quire_ticket submit(struct quire_client *client, const char *collection, uint32_t timeout,
                           struct pending *pending)
{
    const json_t *r = pending->request;
    const char *op = text_of(r, "op");
    if (op && strcmp(op, "search") == 0)
        return submit_search(client, collection, timeout, pending);
    if (op && strcmp(op, "put") == 0)
        return submit_put(client, collection, timeout, pending);
    if (op && strcmp(op, "delete") == 0) {
        struct quire_delete_request request = QUIRE_DELETE_INIT;
        request.collection = collection;
        request.timeout_ms = timeout;
        request.headword = text_of(r, "headword");
        request.sense = text_of(r, "sense");
        return quire_delete(client, &request, written, pending);
    }
    if (op && strcmp(op, "define") == 0) {
        struct quire_define_request request = QUIRE_DEFINE_INIT;
        request.collection = collection;
        request.timeout_ms = timeout;
        request.term = text_of(r, "term");
        return quire_define(client, &request, looked_up, pending);
    }
    struct quire_get_request request = QUIRE_GET_INIT;
    request.collection = collection;
    request.timeout_ms = timeout;
    request.headword = text_of(r, "headword");
    request.sense = text_of(r, "sense");
    return quire_get(client, &request, looked_up, pending);
}

int main(int argc, char **argv)
{
    unsigned pipeline = 1, timeout = 0;
    const char *collection = NULL;
    struct quire_options options = QUIRE_OPTIONS_INIT;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--pipeline") == 0)
            pipeline = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--timeout") == 0)
            timeout = (unsigned)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--collection") == 0)
            collection = argv[i + 1];
        else if (strcmp(argv[i], "--replica") == 0) {
            options.one_replica = true;
            options.replica = (uint32_t)atoi(argv[i + 1]);
        }
    }
    struct quire_client *client;
    char error[QUIRE_ERROR_SIZE];
    if (quire_client_create(&options, &client, error, sizeof(error)) != QUIRE_OK) {
        fprintf(stderr, "quire_lines: %s\n", error);
        return 1;
    }
    struct flight flight = {.lock = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER};
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        json_error_t bad;
        struct pending *pending = calloc(1, sizeof(*pending));
        assert(pending);
        pending->flight = &flight;
        pending->request = json_loads(line, JSON_ALLOW_NUL, &bad);
        if (!pending->request) {
            fprintf(stderr, "quire_lines: %s\n", bad.text);
            return 1;
        }
        pthread_mutex_lock(&flight.lock);
        while (flight.outstanding >= pipeline)
            pthread_cond_wait(&flight.landed, &flight.lock);
        flight.outstanding++;
        pthread_mutex_unlock(&flight.lock);
        if (submit(client, collection, timeout, pending) == 0)
            answer(pending, QUIRE_NOMEM, "not taken", json_object());
    }
    pthread_mutex_lock(&flight.lock);
    while (flight.outstanding > 0)
        pthread_cond_wait(&flight.landed, &flight.lock);
    pthread_mutex_unlock(&flight.lock);
    free(line);
    quire_client_destroy(client);
    return 0;
}
