/* Full-text search: statistics, hits, explanations. */
#include "shard/server_internal.h"

#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/text/key.h"
#include "proto/text/snippet.h"

#include <stdlib.h>
#include <string.h>

#define SNIPPET_BYTES 240

/* How long the request waited, and was worked on until now. */
static Quire__ShardTimes *times_of(struct work *work)
{
    const struct rpc_request *request = work->request;
    Quire__ShardTimes *times = serve_alloc(work, 1, sizeof *times);
    uint64_t now = clock_us();
    quire__shard_times__init(times);
    times->waited_us =
        (uint32_t)(request->began_us > request->read_us ? request->began_us - request->read_us : 0);
    times->worked_us = (uint32_t)(now - request->began_us);
    return times;
}

/* ---- statistics ---- */

struct stats_work {
    const Quire__ShardStats *request;
    Quire__RangeStats **ranges; /* room for all that were asked */
    size_t count;
};

static int stats_of_range(struct work *work, struct replica *replica, void *data, struct err *err)
{
    struct stats_work *it = data;
    Quire__RangeStats *own = serve_alloc(work, 1, sizeof *own);
    struct view *view = range_view(replica->range);
    int code = search_statistics(view, it->request, &work->request->arena, own, err);
    view_release(view);
    own->range = range_id(replica->range);
    if (code == 0)
        it->ranges[it->count++] = own;
    return code;
}

static int check_stats(const Quire__ShardStats *request, struct err *err)
{
    if (request->n_tokens > 16 * LIMIT_QUERY_NODES || request->n_expand > LIMIT_QUERY_NODES ||
        request->expand_limit > LIMIT_EXPANSION)
        return err_set(err, ERR_TOO_LARGE, "too many words to count");
    return 0;
}

/* Counts in each of the ranges. */
static int count_ranges(struct work *work, const Quire__ShardStats *request,
                        Quire__RangeRef *const *refs, size_t count, struct coverage *coverage,
                        struct stats_work *it, struct err *err)
{
    int code = check_stats(request, err);
    if (code != 0)
        return code;
    *it = (struct stats_work){.request = request};
    it->ranges = serve_alloc(work, count, sizeof it->ranges[0]);
    return serve_ranges(work, refs, count, coverage, stats_of_range, it, err);
}

void serve_stats(struct work *work)
{
    Quire__ShardStats *request = serve_unpack(work, &quire__shard_stats__descriptor);
    if (request == NULL)
        return;
    Quire__ShardStatsReply reply = QUIRE__SHARD_STATS_REPLY__INIT;
    struct stats_work it;
    struct coverage coverage = {0};
    struct err err = {0};
    if (count_ranges(work, request, request->ranges, request->n_ranges, &coverage, &it, &err) !=
        0) {
        serve_error(work->server, work->request, &err);
        return;
    }
    reply.times = times_of(work);
    reply.n_ranges = it.count;
    reply.ranges = it.ranges;
    reply.n_covered = coverage.covered_count;
    reply.covered = coverage.covered;
    reply.n_failed = coverage.failed_count;
    reply.failed = coverage.failed;
    serve_reply(work->server, work->request, &reply.base);
}

/* ---- hits ---- */

struct found {
    uint64_t score;
    struct bytes key;
    struct replica *replica; /* referenced */
};

struct search_work {
    const Quire__ShardSearch *request;
    struct found *hits; /* the best of the ranges so far */
    size_t hit_count;
    struct search_facet *facets;
    size_t facet_count;
    uint64_t total;
    bool total_is_lower_bound; /* one of the ranges stopped counting */
};

static int by_score(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return bytes_compare(x->key, y->key);
}

static void add_hits(struct work *work, struct search_work *it, struct replica *replica,
                     const struct search_result *result)
{
    struct found *all = serve_alloc(work, it->hit_count + result->hit_count, sizeof all[0]);
    size_t count = it->hit_count, limit = it->request->limit;
    if (count > 0)
        memcpy(all, it->hits, count * sizeof all[0]);
    for (size_t i = 0; i < result->hit_count; i++) {
        replica_ref(replica);
        all[count++] = (struct found){result->hits[i].score, result->hits[i].key, replica};
    }
    if (it->hit_count > 0 && result->hit_count > 0)
        qsort(all, count, sizeof all[0], by_score);
    for (size_t i = limit; i < count; i++)
        replica_unref(all[i].replica);
    it->hits = all;
    it->hit_count = count < limit ? count : limit;
}

static int by_value(const void *a, const void *b)
{
    const struct search_facet *x = a, *y = b;
    return bytes_compare(x->value, y->value);
}

/* Spellings of one category are brought together by the coordinator. */
static void add_facets(struct work *work, struct search_work *it,
                       const struct search_result *result)
{
    size_t count = it->facet_count + result->facet_count, kept = 0;
    struct search_facet *all = serve_alloc(work, count, sizeof all[0]);
    if (it->facet_count > 0)
        memcpy(all, it->facets, it->facet_count * sizeof all[0]);
    if (result->facet_count > 0)
        memcpy(all + it->facet_count, result->facets, result->facet_count * sizeof all[0]);
    qsort(all, count, sizeof all[0], by_value);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && bytes_equal(all[kept - 1].value, all[i].value))
            all[kept - 1].count += all[i].count;
        else
            all[kept++] = all[i];
    }
    it->facets = all;
    it->facet_count = kept;
}

static int search_range(struct work *work, struct replica *replica, void *data, struct err *err)
{
    struct search_work *it = data;
    struct search_result result = {0};
    struct view *view = range_view(replica->range);
    int code = search_run(view, it->request, &work->budget, &work->request->arena, &result, err);
    view_release(view);
    if (code != 0)
        return code;
    add_hits(work, it, replica, &result);
    if (result.facet_count > 0)
        add_facets(work, it, &result);
    it->total += result.total;
    it->total_is_lower_bound |= result.total_is_lower_bound;
    return 0;
}

/* ---- dressing: from keys to what people read ---- */

struct dresser {
    struct work *work;
    const struct bytes *tokens;
    size_t token_count;
    struct analyzer *analyzer;
    const char *language;
};

static void add_snippet(struct dresser *dresser, const char *body, Quire__Hit *hit)
{
    struct work *work = dresser->work;
    struct highlight highlights[SNIPPET_HIGHLIGHTS_MAX];
    struct buf text = {0};
    size_t count = 0;
    if (body != NULL)
        count =
            text_snippet(dresser->analyzer, bytes_str(body), dresser->tokens, dresser->token_count,
                         SNIPPET_BYTES, &text, highlights, SNIPPET_HIGHLIGHTS_MAX);
    hit->snippet = (char *)serve_copy(work, buf_bytes(&text)).data;
    hit->highlights = serve_alloc(work, count, sizeof hit->highlights[0]);
    hit->n_highlights = count;
    for (size_t i = 0; i < count; i++) {
        hit->highlights[i] = serve_alloc(work, 1, sizeof *hit->highlights[i]);
        quire__highlight__init(hit->highlights[i]);
        hit->highlights[i]->offset = highlights[i].offset;
        hit->highlights[i]->length = highlights[i].length;
    }
    buf_deinit(&text);
}

/* NULL (and 0) when the entry has gone since it was found. */
static int dress(struct dresser *dresser, const struct found *found, bool snippets,
                 Quire__Hit **out, struct err *err)
{
    struct work *work = dresser->work;
    Quire__Entry *entry;
    *out = NULL;
    int code = range_get(found->replica->range, found->key, &work->request->arena, &entry, err);
    if (code != 0 || entry == NULL)
        return code;
    Quire__Hit *hit = serve_alloc(work, 1, sizeof *hit);
    quire__hit__init(hit);
    hit->headword = entry->headword;
    hit->sense = entry->sense;
    hit->score = found->score;
    hit->n_categories = entry->n_categories;
    hit->categories = entry->categories;
    hit->has_key = 1;
    hit->key.data = (uint8_t *)found->key.data;
    hit->key.len = strnlen((const char *)found->key.data, found->key.size);
    if (snippets)
        add_snippet(dresser, entry->body, hit);
    *out = hit;
    return 0;
}

static int dress_all(struct work *work, struct search_work *it, Quire__ShardSearchReply *reply,
                     struct err *err)
{
    struct bytes *tokens = NULL;
    struct dresser dresser = {.work = work};
    bool snippets = it->request->has_snippets && it->request->snippets;
    int code = 0;
    if (it->hit_count == 0)
        return 0;
    dresser.language = it->hits[0].replica->language; /* one collection, one language */
    dresser.analyzer = analyzers_take(work->server->analyzers, dresser.language);
    if (dresser.analyzer == NULL)
        return err_set(err, ERR_INTERNAL, "no analyzer for language \"%s\"", dresser.language);
    dresser.token_count = search_tokens(it->request->query, &work->request->arena, &tokens);
    dresser.tokens = tokens;
    reply->hits = serve_alloc(work, it->hit_count, sizeof reply->hits[0]);
    for (size_t i = 0; i < it->hit_count && code == 0; i++) {
        Quire__Hit *hit;
        code = dress(&dresser, &it->hits[i], snippets, &hit, err);
        if (hit != NULL)
            reply->hits[reply->n_hits++] = hit;
    }
    analyzers_give(work->server->analyzers, dresser.language, dresser.analyzer);
    return code;
}

static void put_facets(struct work *work, const struct search_work *it,
                       Quire__ShardSearchReply *reply)
{
    reply->categories = serve_alloc(work, it->facet_count, sizeof reply->categories[0]);
    for (size_t i = 0; i < it->facet_count; i++) {
        Quire__FacetCount *facet = serve_alloc(work, 1, sizeof *facet);
        quire__facet_count__init(facet);
        facet->value = (char *)serve_copy(work, it->facets[i].value).data;
        facet->count = it->facets[i].count;
        reply->categories[reply->n_categories++] = facet;
    }
}

static int check_search(const Quire__ShardSearch *request, struct err *err)
{
    if (request->limit > LIMIT_HITS + 1)
        return err_set(err, ERR_TOO_LARGE, "at most %d hits are given", LIMIT_HITS);
    if (request->n_seqs > 0 && (request->n_seqs != request->n_ranges || request->ask == NULL))
        return err_set(err, ERR_INVALID, "%zu seqs for %zu ranges", request->n_seqs,
                       request->n_ranges);
    return search_check(request->query, err);
}

/* ---- statistics from a cache ---- */

struct seq_check {
    const Quire__ShardSearch *request;
    size_t at; /* ranges are visited in the order of the request */
    bool moved_on;
};

static int check_seq(struct work *work, struct replica *replica, void *data, struct err *err)
{
    (void)work;
    (void)err;
    struct seq_check *it = data;
    while (it->request->ranges[it->at]->id != range_id(replica->range))
        it->at++;
    it->moved_on |= it->request->seqs[it->at++] != range_applied_seq(replica->range);
    return 0;
}

/* Whether a write has overtaken the statistics of the request. One that comes right after this look
 * does no harm: it might as well have come between two rounds. Ranges that cannot be had are told
 * by what follows. */
static int overtaken(struct work *work, const Quire__ShardSearch *request, bool *out,
                     struct err *err)
{
    struct seq_check check = {.request = request};
    struct coverage coverage = {0};
    int code = 0;
    if (request->n_seqs > 0)
        code = serve_ranges(work, request->ranges, request->n_ranges, &coverage, check_seq, &check,
                            err);
    *out = check.moved_on;
    return code;
}

static int count_anew(struct work *work, const Quire__ShardSearch *request,
                      struct coverage *coverage, Quire__ShardSearchReply *reply, struct err *err)
{
    struct stats_work it;
    int code =
        count_ranges(work, request->ask, request->ranges, request->n_ranges, coverage, &it, err);
    if (code == 0) {
        reply->n_moved_on = it.count;
        reply->moved_on = it.ranges;
    }
    return code;
}

/* ---- the request ---- */

void serve_search(struct work *work)
{
    Quire__ShardSearch *request = serve_unpack(work, &quire__shard_search__descriptor);
    if (request == NULL)
        return;
    Quire__ShardSearchReply reply = QUIRE__SHARD_SEARCH_REPLY__INIT;
    struct search_work it = {.request = request};
    struct coverage coverage = {0};
    struct err err = {0};
    bool moved_on = false;
    int code = check_search(request, &err);
    if (code == 0)
        code = overtaken(work, request, &moved_on, &err);
    if (code == 0 && moved_on)
        code = count_anew(work, request, &coverage, &reply, &err);
    else if (code == 0)
        code = serve_ranges(work, request->ranges, request->n_ranges, &coverage, search_range, &it,
                            &err);
    if (code == 0)
        code = dress_all(work, &it, &reply, &err);
    if (code == 0) {
        put_facets(work, &it, &reply);
        reply.times = times_of(work);
        reply.total = it.total;
        reply.has_total_is_lower_bound = reply.total_is_lower_bound = it.total_is_lower_bound;
        reply.n_covered = coverage.covered_count;
        reply.covered = coverage.covered;
        reply.n_failed = coverage.failed_count;
        reply.failed = coverage.failed;
    }
    for (size_t i = 0; i < it.hit_count; i++)
        replica_unref(it.hits[i].replica);
    if (code == 0)
        serve_reply(work->server, work->request, &reply.base);
    else
        serve_error(work->server, work->request, &err);
}

/* ---- explanations ---- */

static int explain(struct work *work, const Quire__ShardExplain *request,
                   Quire__ExplainReply *reply, struct err *err)
{
    struct replica *replica;
    struct arena *arena = &work->request->arena;
    if (request->search->n_ranges != 1)
        return err_set(err, ERR_INVALID, "an explanation is asked of one range");
    int code = check_search(request->search, err);
    if (code == 0)
        code = replicas_acquire(work->server->replicas, request->search->ranges[0],
                                work->request->deadline_ms, &replica, err);
    if (code != 0)
        return code;
    struct buf key = {0};
    Quire__Entry *entry = NULL;
    struct view *view = range_view(replica->range);
    code = search_explain(view, request, arena, reply, err);
    view_release(view);
    buf_append(&key, request->key.data, request->key.len);
    buf_append_u8(&key, 0);
    buf_append_str(&key, request->sense != NULL ? request->sense : "");
    if (code == 0)
        code = range_get(replica->range, buf_bytes(&key), arena, &entry, err);
    if (code == 0 && entry != NULL) {
        reply->headword = entry->headword;
        reply->sense = entry->sense;
    }
    buf_deinit(&key);
    replica_unref(replica);
    return code;
}

void serve_explain(struct work *work)
{
    Quire__ShardExplain *request = serve_unpack(work, &quire__shard_explain__descriptor);
    Quire__ExplainReply reply = QUIRE__EXPLAIN_REPLY__INIT;
    struct err err = {0};
    if (request == NULL)
        return;
    if (explain(work, request, &reply, &err) == 0)
        serve_reply(work->server, work->request, &reply.base);
    else if (request->search->n_ranges == 1)
        serve_range_error(work->server, work->request, request->search->ranges[0], &err);
    else
        serve_error(work->server, work->request, &err);
}
