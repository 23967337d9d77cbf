/* Queries: each goes the way of a request through coordinator and shard, but for the messages
 * between them: parse, ask the view for statistics, plan, search. */
#include "coordinator/defaults.h"
#include "coordinator/query_parse.h"
#include "coordinator/query_plan.h"
#include "proto/base/clock.h"
#include "proto/text/key.h"
#include "shard/search.h"
#include "tests/bench/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define TOTAL_LIMIT 1000

struct session {
    struct engine *engine;
    struct analyzer *analyzer;
    struct arena arena; /* of the query */
    char *line;
    size_t line_capacity;
};

struct answer {
    struct search_result result;
    bool at_least;
};

static int session_open(struct session *session, struct engine *engine, struct err *err)
{
    *session = (struct session){.engine = engine};
    arena_init(&session->arena, 0);
    return analyzer_create(DEFAULT_LANGUAGE, &session->analyzer, err);
}

static void session_close(struct session *session)
{
    arena_deinit(&session->arena);
    analyzer_destroy(session->analyzer);
    free(session->line);
}

/* False at the end of stdin. */
static bool next_line(struct session *session)
{
    ssize_t size = getline(&session->line, &session->line_capacity, stdin);
    if (size > 0 && session->line[size - 1] == '\n')
        session->line[size - 1] = 0;
    return size >= 0;
}

/* The first round: statistics of the view. */
static int plan(struct session *session, struct view *view, const Quire__Query *query,
                Quire__ShardSearch *request, struct err *err)
{
    struct arena *arena = &session->arena;
    Quire__ShardStats ask = QUIRE__SHARD_STATS__INIT;
    Quire__RangeStats reply = QUIRE__RANGE_STATS__INIT;
    bool limited;
    int code = query_plan_ask(query, arena, &ask, err);
    if (code == 0)
        code = search_statistics(view, &ask, arena, &reply, err);
    if (code == 0)
        code = query_plan_search(query, &ask, &reply, arena, request, &limited, err);
    return code;
}

/* What stands behind a tab of a line: categories to filter by, "name|name...". */
static int set_filter(struct session *session, const char *names, Quire__ShardSearch *request,
                      struct err *err)
{
    struct arena *arena = &session->arena;
    char *rest = arena_strdup(arena, names);
    request->categories = arena_alloc(arena, (strlen(names) + 1) * sizeof *request->categories);
    if (rest == NULL || request->categories == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (char *name; (name = strsep(&rest, "|")) != NULL;) {
        struct buf key = {0};
        text_key(bytes_str(name), &key);
        uint8_t *copy = arena_copy(arena, key.data, key.size);
        request->categories[request->n_categories++] = (ProtobufCBinaryData){key.size, copy};
        buf_deinit(&key);
        if (copy == NULL)
            return err_set(err, ERR_NOMEM, "out of memory");
    }
    return 0;
}

static int search(struct session *session, struct view *view, enum engine_mode mode,
                  struct answer *answer, struct err *err)
{
    static const struct query_parse_options options;
    struct arena *arena = &session->arena;
    Quire__Query *query;
    char **warnings;
    size_t warning_count;
    *answer = (struct answer){0};
    const char *filter = strchr(session->line, '\t');
    size_t size = filter != NULL ? (size_t)(filter - session->line) : strlen(session->line);
    int code = query_parse(session->analyzer, bytes_of((uint8_t *)session->line, size), &options,
                           arena, &query, &warnings, &warning_count, err);
    if (code != 0 || query_plan_is_none(query))
        return code;
    Quire__ShardSearch request = QUIRE__SHARD_SEARCH__INIT;
    request.limit = session->engine->options->limit;
    request.k1 = DEFAULT_K1;
    request.b = DEFAULT_B;
    request.has_total_limit = mode == ENGINE_TOP10;
    request.total_limit = TOTAL_LIMIT;
    code = filter != NULL ? set_filter(session, filter + 1, &request, err) : 0;
    if (code == 0)
        code = plan(session, view, query, &request, err);
    if (code == 0)
        code = (mode == ENGINE_EXHAUSTIVE ? search_run_exhaustive : search_run)(
            view, &request, NULL, arena, &answer->result, err);
    answer->at_least = answer->result.total_is_lower_bound;
    return code;
}

/* ---- query ---- */

static int print_line_of(struct session *session, const struct search_hit *hit, char before,
                         struct err *err)
{
    Quire__Entry *entry;
    int code = range_get(session->engine->range, hit->key, &session->arena, &entry, err);
    if (code != 0)
        return code;
    if (entry == NULL || entry->n_attributes != 1)
        return err_set(err, ERR_CORRUPT, "a hit without the number of its line");
    printf("%c%s", before, entry->attributes[0]->value);
    return 0;
}

static int print_answer(struct session *session, const struct answer *answer, uint64_t ns, bool ids,
                        struct err *err)
{
    const struct search_result *result = &answer->result;
    printf("%s%llu\t%.1f", answer->at_least ? "~" : "", (unsigned long long)result->total,
           (double)ns / 1000);
    int code = 0;
    for (size_t i = 0; ids && code == 0 && i < result->hit_count; i++)
        code = print_line_of(session, &result->hits[i], i == 0 ? '\t' : ',', err);
    printf("\n");
    if (fflush(stdout) != 0 && code == 0)
        code = err_set(err, ERR_IO, "cannot write the answer");
    return code;
}

static int ask(struct session *session, enum engine_mode mode, bool ids, struct err *err)
{
    struct answer answer;
    uint64_t start = clock_ns();
    struct view *view = range_view(session->engine->range);
    int code = search(session, view, mode, &answer, err);
    uint64_t ns = clock_ns() - start;
    if (code == 0)
        code = print_answer(session, &answer, ns, ids, err);
    view_release(view);
    arena_deinit(&session->arena);
    return code;
}

int engine_query(struct engine *engine, enum engine_mode mode, struct err *err)
{
    const char *wanted = getenv("PEERS_IDS");
    bool ids = wanted != NULL && strcmp(wanted, "1") == 0;
    struct session session;
    int code = session_open(&session, engine, err);
    while (code == 0 && next_line(&session))
        code = ask(&session, mode, ids, err);
    session_close(&session);
    return code;
}

/* ---- compare ---- */

static bool same_hits(const struct search_result *a, const struct search_result *b, size_t *at)
{
    for (*at = 0; *at < a->hit_count && *at < b->hit_count; ++*at)
        if (a->hits[*at].score != b->hits[*at].score ||
            !bytes_equal(a->hits[*at].key, b->hits[*at].key))
            return false;
    return a->hit_count == b->hit_count;
}

/* An exact total is that of the exhaustive search; a lower bound is one, and beyond the limit. */
static bool same_total(const struct answer *answer, uint64_t total)
{
    if (!answer->at_least)
        return answer->result.total == total;
    return answer->result.total <= total && total > TOTAL_LIMIT;
}

static void print_hit(const char *mode, const struct search_result *result, size_t at)
{
    printf("  %-10s total %llu, hit %zu: ", mode, (unsigned long long)result->total, at + 1);
    if (at < result->hit_count)
        printf("%s, score %llu\n", (const char *)result->hits[at].key.data,
               (unsigned long long)result->hits[at].score);
    else
        printf("none\n");
}

static bool same(const struct session *session, const char *mode, const struct answer *answer,
                 const struct answer *expected)
{
    size_t at;
    bool hits = same_hits(&answer->result, &expected->result, &at);
    if (hits && same_total(answer, expected->result.total))
        return true;
    printf("%s: %s differ\n", session->line, hits ? "totals" : "hits");
    print_hit(mode, &answer->result, at);
    print_hit("exhaustive", &expected->result, at);
    return false;
}

static int compare(struct session *session, struct view *view, bool *equal, struct err *err)
{
    struct answer top, exact, all;
    int code = search(session, view, ENGINE_TOP10, &top, err);
    if (code == 0)
        code = search(session, view, ENGINE_EXACT, &exact, err);
    if (code == 0)
        code = search(session, view, ENGINE_EXHAUSTIVE, &all, err);
    if (code == 0)
        *equal = same(session, "top10", &top, &all) && same(session, "exact", &exact, &all);
    arena_deinit(&session->arena);
    return code;
}

int engine_compare(struct engine *engine, bool *differ, struct err *err)
{
    struct session session;
    uint64_t count = 0;
    int code = session_open(&session, engine, err);
    struct view *view = range_view(engine->range);
    *differ = false;
    for (; code == 0 && !*differ && next_line(&session); count++) {
        bool equal = true;
        code = compare(&session, view, &equal, err);
        *differ = !equal;
    }
    if (code == 0 && !*differ)
        printf("%llu queries: the same hits in every mode\n", (unsigned long long)count);
    view_release(view);
    session_close(&session);
    return code;
}

/* ---- tokens ---- */

static bool print_token(void *data, const struct token *token)
{
    bool *first = data;
    printf("%s%.*s", *first ? "" : " ", (int)token->text.size, (const char *)token->text.data);
    *first = false;
    return true;
}

int engine_tokens(bool markdown, struct err *err)
{
    struct session session;
    int code = session_open(&session, NULL, err);
    while (code == 0 && next_line(&session)) {
        bool first = true;
        for (char *at = session.line; (at = strchr(at, 0x1f)) != NULL;)
            *at = '\n';
        if (text_valid(bytes_str(session.line), NULL))
            analyzer_run(session.analyzer, bytes_str(session.line), ANALYSIS_STEMMED, markdown,
                         print_token, &first);
        else
            code = err_set(err, ERR_INVALID, "a line that is not UTF-8");
        printf("\n");
    }
    session_close(&session);
    return code;
}
