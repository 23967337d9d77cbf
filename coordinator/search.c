/* Full-text search, in two rounds over all ranges of the collection.
 *
 *   parse -> round one: statistics (round.h) -> round two: every range evaluates and scores with
 * the same statistics, and gives its best `limit` hits -> merge by (score descending, key, sense)
 * -> the best `limit`
 *
 * So scores do not depend on how the collection is cut (promise P2). A range that is missing in
 * either round is named in the answer, or makes it an error, as the caller wishes (promise P3). In
 * round one it takes its share of the statistics with it: the answer is then the best that can be
 * said without it.
 *
 * The number of hits is exact up to `total_limit` of them, and beyond only a bound, so that shards
 * may pass over what cannot be among the best. What is said then depends on the query and the
 * collection alone, not on what the shards happened to count: the limit itself, or the frequency of
 * the most frequent word when any word is enough. A single word is as frequent as it has hits.
 *
 * Words that no entry bears get a round of their own in between, for what may have been meant
 * (suggest.h).
 *
 * The cursor carries the last hit; the next page is whatever sorts after it. When the statistics
 * have changed since, so have the scores, and the reply says in a warning that hits may repeat or
 * be left out.
 */
#include "coordinator/cursor.h"
#include "coordinator/defaults.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/round.h"
#include "coordinator/suggest.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <stdlib.h>
#include <string.h>

#define SEARCH_CATEGORIES_MAX 64
/* A reply is a frame; hits with long snippets and categories stay far below. */

struct search {
    struct round round;
    struct suggest suggest;
    char *did_you_mean; /* NULL: nothing to suggest */
    struct scatter scatter;
    struct rpc_request *request;
    Quire__SearchRequest *message;
    uint64_t started_us;
    size_t merge_span; /* of the trace */
    uint32_t limit;
    uint32_t facet_limit;
    uint64_t total_limit;     /* UINT64_MAX: exact */
    uint64_t count_limit;     /* what the shards are told: less when the frequencies say enough */
    bool any_word;            /* every entry with one of the words is a hit, and nothing else is */
    struct bytes *categories; /* term keys, sorted */
    size_t category_count;
    uint64_t fingerprint;
    struct cursor cursor;
    Quire__Hit *after; /* NULL: the first page */
};

/* ---- merging ---- */

static struct bytes binary(ProtobufCBinaryData data)
{
    return bytes_of(data.data, data.len);
}

static int compare_hits(const void *a, const void *b)
{
    const Quire__Hit *x = *(Quire__Hit *const *)a;
    const Quire__Hit *y = *(Quire__Hit *const *)b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    int order = bytes_compare(binary(x->key), binary(y->key));
    if (order != 0)
        return order;
    return strcmp(x->sense != NULL ? x->sense : "", y->sense != NULL ? y->sense : "");
}

struct facet {
    struct bytes key;
    Quire__FacetCount *count;
};

static int compare_facet_keys(const void *a, const void *b)
{
    const struct facet *x = a;
    const struct facet *y = b;
    int order = bytes_compare(x->key, y->key);
    return order != 0 ? order : strcmp(x->count->value, y->count->value);
}

static int compare_facet_counts(const void *a, const void *b)
{
    const Quire__FacetCount *x = *(Quire__FacetCount *const *)a;
    const Quire__FacetCount *y = *(Quire__FacetCount *const *)b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return strcmp(x->value, y->value);
}

/* Spellings that fold to one key are one category, shown in its smallest spelling. */
static void merge_facets(struct search *search, Quire__SearchReply *reply)
{
    struct scatter *scatter = &search->scatter;
    struct arena *arena = &search->request->arena;
    size_t total = 0;
    for (size_t i = 0; i < scatter->gather.piece_count; i++)
        if (scatter->replies[i] != NULL)
            total += ((Quire__ShardSearchReply *)scatter->replies[i])->n_categories;
    struct facet *facets = arena_calloc(arena, total + 1, sizeof *facets);
    size_t count = 0;
    struct buf key;
    buf_init(&key);
    for (size_t i = 0; i < scatter->gather.piece_count; i++) {
        Quire__ShardSearchReply *answer = (Quire__ShardSearchReply *)scatter->replies[i];
        for (size_t j = 0; answer != NULL && j < answer->n_categories; j++) {
            buf_clear(&key);
            text_key(bytes_str(answer->categories[j]->value), &key);
            facets[count].key = bytes_of(arena_copy(arena, key.data, key.size), key.size);
            facets[count++].count = answer->categories[j];
        }
    }
    buf_deinit(&key);
    qsort(facets, count, sizeof *facets, compare_facet_keys);
    reply->categories = arena_calloc(arena, count + 1, sizeof *reply->categories);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && bytes_equal(facets[i].key, facets[i - 1].key))
            reply->categories[reply->n_categories - 1]->count += facets[i].count->count;
        else
            reply->categories[reply->n_categories++] = facets[i].count;
    }
    if (reply->n_categories > 0)
        qsort(reply->categories, reply->n_categories, sizeof *reply->categories,
              compare_facet_counts);
    if (reply->n_categories > search->facet_limit)
        reply->n_categories = search->facet_limit;
}

static void merge_hits(struct search *search, Quire__SearchReply *reply)
{
    struct scatter *scatter = &search->scatter;
    size_t count = 0;
    for (size_t i = 0; i < scatter->gather.piece_count; i++)
        if (scatter->replies[i] != NULL)
            count += ((Quire__ShardSearchReply *)scatter->replies[i])->n_hits;
    reply->hits = arena_calloc(&search->request->arena, count + 1, sizeof *reply->hits);
    for (size_t i = 0; i < scatter->gather.piece_count; i++) {
        Quire__ShardSearchReply *answer = (Quire__ShardSearchReply *)scatter->replies[i];
        if (answer == NULL)
            continue;
        for (size_t j = 0; j < answer->n_hits; j++)
            reply->hits[reply->n_hits++] = answer->hits[j];
        reply->total += answer->total;
        reply->total_is_lower_bound |=
            answer->has_total_is_lower_bound && answer->total_is_lower_bound;
    }
    if (reply->n_hits > 0)
        qsort(reply->hits, reply->n_hits, sizeof *reply->hits, compare_hits);
    if (reply->n_hits > search->limit)
        reply->n_hits = search->limit;
}

/* ---- the number of hits ---- */

/* Whether the query is words any of which is enough, and no filter. */
static bool is_any_word(const struct search *search)
{
    const Quire__Query *query = search->round.query;
    if (search->category_count > 0 || search->round.ask.n_expand > 0)
        return false;
    for (size_t i = 0; i < query->n_nodes; i++) {
        const Quire__QueryNode *node = query->nodes[i];
        if ((node->op != QUIRE__QUERY_NODE__OP__TERM && node->op != QUIRE__QUERY_NODE__OP__BOOL) ||
            (node->has_occur && node->occur != QUIRE__QUERY_NODE__OCCUR__SHOULD))
            return false;
    }
    return true;
}

static bool is_single_word(const struct search *search)
{
    return search->any_word && search->round.query->n_nodes == 1 && search->facet_limit == 0;
}

/* Of the most frequent word, in the ranges that answered; 0 when it is not words alone. */
static uint64_t largest_frequency(const struct search *search)
{
    const struct gather *gather = &search->scatter.gather;
    const struct round *round = &search->round;
    uint64_t largest = 0;
    for (size_t i = 0; search->any_word && i < round->ask.n_tokens; i++) {
        uint64_t frequency = 0;
        size_t at = 0;
        for (size_t j = 0; j < gather->range_count; j++) {
            const Quire__RangeStats *stats =
                round_range_stats(round, gather->ranges[j].range->id, &at);
            if (gather->ranges[j].state == GATHER_COVERED && stats != NULL)
                frequency += stats->frequencies[i];
        }
        largest = frequency > largest ? frequency : largest;
    }
    return largest;
}

/* Before the shards are asked. */
static void set_count_limit(struct search *search)
{
    const struct round *round = &search->round;
    search->any_word = is_any_word(search);
    search->count_limit = search->total_limit;
    if (is_single_word(search))
        search->count_limit = 0;
    for (size_t i = 0; search->any_word && i < round->search.n_tokens; i++)
        if (round->search.tokens[i]->document_frequency > search->total_limit)
            search->count_limit = 0; /* there are more than the limit: nothing is left to count */
}

/* From what the shards counted, which is in the reply. */
static void set_total(const struct search *search, Quire__SearchReply *reply)
{
    uint64_t frequency = largest_frequency(search);
    uint64_t seen = search->cursor.seen + reply->n_hits;
    bool bounded = reply->total_is_lower_bound || reply->total > search->total_limit;
    if (is_single_word(search)) {
        bounded = false;
        reply->total = frequency;
    } else if (bounded || search->count_limit < search->total_limit) {
        bounded = true;
        reply->total = search->count_limit;
        reply->total = frequency > reply->total ? frequency : reply->total;
    }
    reply->total = seen > reply->total ? seen : reply->total;
    reply->has_total_is_lower_bound = reply->total_is_lower_bound = bounded;
}

/* ---- the reply ---- */

static bool same_stretch(const Quire__MissingRange *a, const Quire__MissingRange *b)
{
    return bytes_equal(binary(a->lo), binary(b->lo)) && bytes_equal(binary(a->hi), binary(b->hi));
}

/* What is missing in round two, and what is only missing in the statistics. */
static void add_missing(struct search *search, Quire__SearchReply *reply)
{
    struct round *round = &search->round;
    Quire__MissingRange **missing = NULL;
    size_t count = round->none ? 0 : gather_missing_ranges(&search->scatter.gather, &missing);
    reply->missing = arena_calloc(&search->request->arena, count + round->missing_count + 1,
                                  sizeof *reply->missing);
    for (size_t i = 0; i < count; i++)
        reply->missing[reply->n_missing++] = missing[i];
    for (size_t i = 0; i < round->missing_count; i++) {
        bool known = false;
        for (size_t j = 0; j < count && !known; j++)
            known = same_stretch(missing[j], round->missing[i]);
        if (!known)
            reply->missing[reply->n_missing++] = round->missing[i];
    }
    reply->complete = reply->n_missing == 0;
    round->coordinator->searches.incomplete += !reply->complete;
}

static void add_cursor(struct search *search, Quire__SearchReply *reply)
{
    uint64_t seen = search->cursor.seen + reply->n_hits;
    if (reply->n_hits < search->limit || (seen >= reply->total && !reply->total_is_lower_bound))
        return;
    const Quire__Hit *last = reply->hits[reply->n_hits - 1];
    struct cursor cursor = {
        .fingerprint = search->fingerprint,
        .statistics = search->round.stamp,
        .seen = seen,
        .score = last->score,
        .key = binary(last->key),
        .sense = bytes_str(last->sense != NULL ? last->sense : ""),
    };
    struct buf text;
    buf_init(&text);
    cursor_write(&cursor, search->round.coordinator->map->message->secret.data, &text);
    reply->cursor = arena_strdup(&search->request->arena, buf_text(&text));
    buf_deinit(&text);
}

static void add_warnings(struct search *search, Quire__SearchReply *reply)
{
    struct round *round = &search->round;
    reply->warnings =
        arena_calloc(&search->request->arena, round->warning_count + 1, sizeof *reply->warnings);
    for (size_t i = 0; i < round->warning_count; i++)
        reply->warnings[reply->n_warnings++] = round->warnings[i];
    if (search->after != NULL && search->cursor.statistics != round->stamp)
        reply->warnings[reply->n_warnings++] =
            (char *)"the collection changed since the page before: hits may repeat or be left out";
}

static void finish(struct search *search, Quire__SearchReply *reply)
{
    add_missing(search, reply);
    add_warnings(search, reply);
    reply->has_took_us = true;
    reply->took_us = clock_us() - search->started_us;
    reply->has_expansion_limited = true;
    reply->expansion_limited = search->round.limited;
    reply->did_you_mean = search->did_you_mean;
    trace_end(search->round.trace, search->merge_span, clock_us());
    if (search->message->has_trace && search->message->trace)
        reply->n_spans = trace_message(search->round.trace, clock_us(), &reply->spans);
    request_reply(search->request, &reply->base);
}

/* ---- the second round ---- */

static void on_hits(struct scatter *scatter)
{
    struct search *search = scatter->data;
    struct round *round = &search->round;
    if (round->presumed ? !round_confirmed(round, scatter) : !round_fits(round, scatter))
        return;
    if (round->complete ? !scatter_require_all(scatter) : !scatter_accepted(scatter))
        return;
    round->coordinator->searches.all++;
    round->coordinator->searches.one_round += round->presumed;
    Quire__SearchReply reply = QUIRE__SEARCH_REPLY__INIT;
    search->merge_span = trace_begin(round->trace, 0, "merge", clock_us());
    merge_hits(search, &reply);
    set_total(search, &reply);
    if (search->facet_limit > 0)
        merge_facets(search, &reply);
    add_cursor(search, &reply);
    finish(search, &reply);
}

static void build_search(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                         struct buf *out)
{
    struct search *search = scatter->data;
    Quire__ShardSearch message = search->round.search;
    message.ranges = ranges;
    message.n_ranges = count;
    message.limit = search->limit;
    message.after = search->after;
    message.has_facets = message.has_snippets = true;
    message.facets = search->facet_limit > 0;
    message.snippets = true;
    message.has_total_limit = search->count_limit != UINT64_MAX;
    message.total_limit = search->count_limit;
    ProtobufCBinaryData categories[SEARCH_CATEGORIES_MAX];
    for (size_t i = 0; i < search->category_count; i++)
        categories[i] = (ProtobufCBinaryData){search->categories[i].size,
                                              (uint8_t *)search->categories[i].data};
    message.n_categories = search->category_count;
    message.categories = categories;
    if (search->round.presumed)
        round_presume(&search->round, &message);
    message_pack(&message.base, out);
}

static void start_search(void *data, char *did_you_mean)
{
    struct search *search = data;
    struct round *round = &search->round;
    search->did_you_mean = did_you_mean;
    set_count_limit(search);
    search->scatter = (struct scatter){
        .coordinator = round->coordinator,
        .request = search->request,
        .collection = round->collection,
        .once = round->presumed,
        .kind = QUIRE__KIND__KIND_SHARD_SEARCH,
        .reply_type = &quire__shard_search_reply__descriptor,
        .deadline_ms = round->deadline_ms,
        .view = round->view,
        .trace = round->trace,
        .trace_name = "search",
        .min_seq = round->presumed ? NULL : round_min_seq,
        .data = search,
        .build = build_search,
        .done = on_hits,
    };
    scatter_start(&search->scatter);
}

static void on_statistics(struct round *round)
{
    struct search *search = round->data;
    if (round->none) {
        Quire__SearchReply reply = QUIRE__SEARCH_REPLY__INIT;
        finish(search, &reply);
        return;
    }
    bool first = search->after == NULL;
    if (!first ||
        !suggest_start(&search->suggest, round, search->message->query, start_search, search))
        start_search(search, NULL);
}

/* ---- what is asked for ---- */

static int compare_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static bool set_categories(struct search *search)
{
    Quire__SearchRequest *message = search->message;
    if (message->n_categories > SEARCH_CATEGORIES_MAX) {
        request_error(search->request, ERR_TOO_LARGE,
                      "a search is filtered by at most %d categories", SEARCH_CATEGORIES_MAX);
        return false;
    }
    search->category_count = message->n_categories;
    search->categories = arena_calloc(&search->request->arena, message->n_categories + 1,
                                      sizeof *search->categories);
    for (size_t i = 0; i < message->n_categories; i++)
        if (!op_key(search->request, "category", message->categories[i], &search->categories[i]))
            return false;
    qsort(search->categories, search->category_count, sizeof *search->categories, compare_bytes);
    return true;
}

static bool set_limits(struct search *search)
{
    Quire__SearchRequest *message = search->message;
    search->limit = message->has_limit ? message->limit : DEFAULT_HITS;
    search->facet_limit = message->facet_limit;
    search->total_limit = message->has_total_limit ? message->total_limit : LIMIT_TOTAL;
    if (search->facet_limit > 0)
        search->total_limit = UINT64_MAX; /* every hit is counted anyway */
    if (search->limit < 1 || search->limit > LIMIT_HITS)
        request_error(search->request, ERR_INVALID, "a search gives 1 to %d hits", LIMIT_HITS);
    else if (search->facet_limit > LIMIT_FACETS)
        request_error(search->request, ERR_INVALID, "a search counts at most %d categories",
                      LIMIT_FACETS);
    else
        return true;
    return false;
}

/* What a cursor is bound to: all that decides which hits there are and in which order. */
static void set_fingerprint(struct search *search, const Quire__Collection *collection)
{
    struct bytes *parts =
        arena_calloc(&search->request->arena, search->category_count + 4, sizeof *parts);
    uint8_t flags[2] = {search->message->all, search->message->strict};
    parts[0] = bytes_of(&collection->id, sizeof collection->id);
    parts[1] = bytes_str(search->message->query);
    parts[2] = bytes_of(flags, sizeof flags);
    for (size_t i = 0; i < search->category_count; i++)
        parts[3 + i] = search->categories[i];
    search->fingerprint = cursor_fingerprint(parts, search->category_count + 3);
}

static bool set_cursor(struct search *search)
{
    struct arena *arena = &search->request->arena;
    struct err err = {0};
    const char *text = search->message->cursor;
    if (text == NULL || text[0] == '\0')
        return true;
    struct buf memory;
    buf_init(&memory);
    int rc = cursor_read(text, search->round.coordinator->map->message->secret.data,
                         search->fingerprint, &memory, &search->cursor, &err);
    if (rc != 0) {
        request_error(search->request, rc, "%s", err.text);
    } else {
        Quire__Hit *after = arena_alloc(arena, sizeof *after);
        quire__hit__init(after);
        after->headword = (char *)"";
        after->score = search->cursor.score;
        after->has_key = true;
        after->key.len = search->cursor.key.size;
        after->key.data = arena_copy(arena, search->cursor.key.data, search->cursor.key.size);
        after->sense = arena_copy(arena, search->cursor.sense.data, search->cursor.sense.size);
        search->cursor.key = search->cursor.sense = bytes_of(NULL, 0);
        search->after = after;
    }
    buf_deinit(&memory);
    return rc == 0;
}

/* From when the request came; what it has waited for its turn is the first span. */
static struct trace *begin_trace(struct rpc_request *request, const Quire__SearchRequest *message)
{
    struct trace *trace = trace_create(&request->arena, request->read_us);
    size_t span = trace_begin(trace, 0, "wait", request->read_us);
    trace_end(trace, span, request->began_us != 0 ? request->began_us : request->came_us);
    trace->collection = message->collection;
    trace->query = message->query;
    request->spans = trace;
    return trace;
}

void op_search(struct coordinator *coordinator, struct rpc_request *request)
{
    uint64_t started_us = clock_us();
    Quire__SearchRequest *message = request_unpack(request, &quire__search_request__descriptor);
    if (message == NULL)
        return;
    const Quire__Collection *found = op_collection(coordinator, request, message->collection);
    if (found == NULL)
        return;
    struct search *search = arena_calloc(&request->arena, 1, sizeof *search);
    search->request = request;
    search->message = message;
    search->started_us = started_us;
    struct round *round = &search->round;
    round->coordinator = coordinator;
    round->request = request;
    round->trace = begin_trace(request, message);
    round->deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
    round->complete =
        message->has_completeness && message->completeness == QUIRE__COMPLETENESS__COMPLETE;
    round->view = SCATTER_VIEW(message);
    round->may_presume = !round->view.one_replica; /* its statistics are its own */
    round->data = search;
    round->done = on_statistics;
    if (!set_limits(search) || !set_categories(search))
        return;
    set_fingerprint(search, found);
    if (!set_cursor(search))
        return;
    size_t span = trace_begin(round->trace, 0, "parse", started_us);
    if (round_start(round, found, message->query, message->has_all && message->all,
                    message->has_strict && message->strict)) {
        trace_end(round->trace, span, clock_us());
        if (round->presumed)
            trace_at(round->trace, span)->note = "the statistics were kept";
    }
}
