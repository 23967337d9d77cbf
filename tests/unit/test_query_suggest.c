/* "Did you mean": which words are asked about, and what is made of the answers. The ranges'
 * answers come from a list of words here, with distances computed by their definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/query_parse.h"
#include "coordinator/query_suggest.h"

/* What the entries bear: stems in the text, words as written in names. */
static const struct known {
    uint32_t field;
    const char *token;
    uint64_t df;
} known[] = {
    {TEXT_FIELD_ALL, "gradient", 9},      {TEXT_FIELD_HEADWORD, "gradient", 4},
    {TEXT_FIELD_ALL, "network", 50},      {TEXT_FIELD_HEADWORD, "network", 2},
    {TEXT_FIELD_HEADWORD, "networks", 3}, {TEXT_FIELD_ALL, "train", 30},
    {TEXT_FIELD_ALL, "trait", 40},        {TEXT_FIELD_ALL, "descent", 7},
    {TEXT_FIELD_TERMS, "descent", 1},     {TEXT_FIELD_ALL, "model", 80},
    {TEXT_FIELD_ALL, "modal", 3},         {TEXT_FIELD_ALL, "convex", 2},
    {TEXT_FIELD_ALL, "convey", 60},
};
#define KNOWN (sizeof known / sizeof known[0])

struct fixture {
    struct analyzer *english;
    struct arena arena;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    arena_init(&fixture->arena, 0);
    assert_int_equal(analyzer_create("en", &fixture->english, NULL), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    analyzer_destroy(fixture->english);
    arena_deinit(&fixture->arena);
    free(fixture);
    return 0;
}

/* ---- the ranges ---- */

static bool same(const ProtobufCBinaryData *token, const char *text)
{
    return token->len == strlen(text) && memcmp(token->data, text, token->len) == 0;
}

static uint64_t frequency(uint32_t field, const ProtobufCBinaryData *token)
{
    for (size_t i = 0; i < KNOWN; i++)
        if (known[i].field == field && same(token, known[i].token))
            return known[i].df;
    return 0;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* By its definition: the cheapest way to undo the last letters. */
static uint32_t distance(const char *a, size_t n, const char *b, size_t m)
{
    if (n == 0 || m == 0)
        return (uint32_t)(n + m);
    if (a[n - 1] == b[m - 1])
        return distance(a, n - 1, b, m - 1);
    uint32_t best = distance(a, n - 1, b, m - 1);
    best = least(best, distance(a, n - 1, b, m));
    best = least(best, distance(a, n, b, m - 1));
    if (n > 1 && m > 1 && a[n - 1] == b[m - 2] && a[n - 2] == b[m - 1])
        best = least(best, distance(a, n - 2, b, m - 2));
    return best + 1;
}

static uint32_t distance_to(const Quire__QueryNode *node, const char *token)
{
    uint32_t best = UINT32_MAX;
    for (size_t i = 0; i < node->n_tokens; i++)
        best = least(best, distance((const char *)node->tokens[i].data, node->tokens[i].len, token,
                                    strlen(token)));
    return best;
}

static Quire__Expansion *expand(const Quire__QueryNode *node, uint32_t index, struct arena *arena)
{
    Quire__Expansion *out = arena_alloc(arena, sizeof *out);
    quire__expansion__init(out);
    out->node = index;
    out->tokens = arena_calloc(arena, KNOWN, sizeof *out->tokens);
    out->distances = arena_calloc(arena, KNOWN, sizeof *out->distances);
    for (uint32_t d = 0; d <= node->distance; d++)
        for (size_t i = 0; i < KNOWN; i++) {
            uint32_t field = node->has_field ? node->field : TEXT_FIELD_ALL;
            if (known[i].field != field || distance_to(node, known[i].token) != d)
                continue;
            Quire__TokenStat *stat = arena_alloc(arena, sizeof *stat);
            quire__token_stat__init(stat);
            stat->field = field;
            stat->token = (ProtobufCBinaryData){strlen(known[i].token), (uint8_t *)known[i].token};
            stat->document_frequency = known[i].df;
            out->distances[out->n_distances++] = d;
            out->tokens[out->n_tokens++] = stat;
        }
    return out;
}

static Quire__RangeStats answer(const struct suggestion *suggestion, struct arena *arena)
{
    Quire__RangeStats stats = QUIRE__RANGE_STATS__INIT;
    size_t count = suggestion->request.n_expand;
    stats.expansions = arena_calloc(arena, count, sizeof *stats.expansions);
    for (; stats.n_expansions < count; stats.n_expansions++)
        stats.expansions[stats.n_expansions] = expand(
            suggestion->request.expand[stats.n_expansions], (uint32_t)stats.n_expansions, arena);
    return stats;
}

/* ---- the question ---- */

/* Of each token of the query, as the coordinator's first round has them. */
static size_t statistics(const Quire__Query *query, Quire__TokenStat **out, struct arena *arena)
{
    size_t count = 0;
    for (size_t i = 0; i < query->n_nodes; i++) {
        const Quire__QueryNode *node = query->nodes[i];
        for (size_t k = 0; k < node->n_tokens; k++) {
            Quire__TokenStat *stat = arena_alloc(arena, sizeof *stat);
            quire__token_stat__init(stat);
            stat->field = node->field == TEXT_FIELD_BODY ? TEXT_FIELD_ALL : node->field;
            stat->token = node->tokens[k];
            stat->document_frequency = frequency(stat->field, &node->tokens[k]);
            out[count++] = stat;
        }
    }
    return count;
}

/* Asks; false: there is nothing to ask. */
static bool ask(struct fixture *fixture, const char *text, struct suggestion *out)
{
    struct query_parse_options options = {0};
    char **warnings;
    size_t warning_count;
    Quire__Query *query;
    Quire__TokenStat *tokens[64];
    struct err err;
    if (query_parse(fixture->english, bytes_str(text), &options, &fixture->arena, &query, &warnings,
                    &warning_count, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    size_t count = statistics(query, tokens, &fixture->arena);
    return query_suggest_ask(fixture->english, bytes_str(text), query, tokens, count,
                             &fixture->arena, out);
}

static const char *suggest(struct fixture *fixture, const char *text)
{
    struct suggestion suggestion;
    if (!ask(fixture, text, &suggestion))
        return NULL;
    Quire__RangeStats stats = answer(&suggestion, &fixture->arena);
    return query_suggest_text(&suggestion, fixture->english, &stats, &fixture->arena);
}

/* ---- tests ---- */

static void the_nearest_known_word_takes_its_place(void **state)
{
    static const struct {
        const char *typed, *meant; /* NULL: no suggestion */
    } cases[] = {
        {"gradeint", "gradient"},                            /* a swap is one edit */
        {"Gradeint descnet", "gradient descent"},            /* each word by itself */
        {"gradient descnet", "gradient descent"},            /* known words stay */
        {"\"gradient desent\"~2", "\"gradient descent\"~2"}, /* and so does all between them */
        {"+gradient -netwrok", NULL},                        /* what must not occur is left alone */
        {"netwroks", "networks"},                            /* a word of a name, as written */
        {"netwroking", "networking"},               /* a stem gets the ending that was typed */
        {"trained modek", "trained model"},         /* nearer than modal */
        {"convexx", "convex"},                      /* than convey, which is more frequent */
        {"traim", "trait"},                         /* of two as near the more frequent one */
        {"headword:gradiemt", "headword:gradient"}, /* in the field that was asked */
        {"terms:gradiemt", NULL},                   /* where it is not */
        {"mode1", NULL},                            /* digits */
        {"mdl", NULL},                              /* too short */
        {"zzzzzz", NULL},                           /* nothing is near */
        {"gradient", NULL},                         /* known */
        {"OR AND", NULL},
        {"", NULL},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text = suggest(fixture, cases[i].typed);
        if ((text == NULL) != (cases[i].meant == NULL) ||
            (text != NULL && strcmp(text, cases[i].meant) != 0))
            fail_msg("%s: %s instead of %s", cases[i].typed, text ? text : "nothing",
                     cases[i].meant ? cases[i].meant : "nothing");
    }
}

static void short_words_are_asked_at_distance_one(void **state)
{
    struct fixture *fixture = *state;
    struct suggestion suggestion;
    assert_true(ask(fixture, "modle descnet", &suggestion));
    assert_int_equal(suggestion.word_count, 2);
    assert_int_equal(suggestion.request.n_expand, 6); /* the text, headwords, other names */
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(suggestion.request.expand[i]->op, QUIRE__QUERY_NODE__OP__FUZZY);
        assert_int_equal(suggestion.request.expand[i]->distance, i < 3 ? 1 : 2);
    }
}

static void only_so_many_words_are_asked_about(void **state)
{
    struct fixture *fixture = *state;
    struct suggestion suggestion;
    assert_true(
        ask(fixture, "aaaab aaaac aaaad aaaae aaaaf aaaag aaaah aaaai aaaaj modle", &suggestion));
    assert_int_equal(suggestion.word_count, SUGGEST_WORDS);
    Quire__RangeStats stats = answer(&suggestion, &fixture->arena);
    assert_null(query_suggest_text(&suggestion, fixture->english, &stats, &fixture->arena));
}

/* An answer that does not fit the question is none. */
static void an_answer_of_another_question_suggests_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct suggestion suggestion;
    assert_true(ask(fixture, "modle", &suggestion));
    Quire__RangeStats stats = answer(&suggestion, &fixture->arena);
    assert_non_null(query_suggest_text(&suggestion, fixture->english, &stats, &fixture->arena));
    stats.n_expansions--;
    assert_null(query_suggest_text(&suggestion, fixture->english, &stats, &fixture->arena));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_nearest_known_word_takes_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(short_words_are_asked_at_distance_one, setup, teardown),
        cmocka_unit_test_setup_teardown(only_so_many_words_are_asked_about, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_of_another_question_suggests_nothing, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
