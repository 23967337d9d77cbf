#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/query_parse.h"
#include "coordinator/query_plan.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "shard/search.h"

#define OP(name) QUIRE__QUERY_NODE__OP__##name
#define OCCUR(name) QUIRE__QUERY_NODE__OCCUR__##name

struct fixture {
    struct analyzer *english, *plain;
    struct arena arena;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    arena_init(&fixture->arena, 0);
    assert_int_equal(analyzer_create("en", &fixture->english, NULL), 0);
    assert_int_equal(analyzer_create("none", &fixture->plain, NULL), 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    analyzer_destroy(fixture->english);
    analyzer_destroy(fixture->plain);
    arena_deinit(&fixture->arena);
    free(fixture);
    return 0;
}

/* ---- a query as text: (+must -not should), "a phrase"~1, pre* fuzzy~2, field:, ^boost ---- */

static void show_tokens(struct buf *out, const Quire__QueryNode *node, const char *between)
{
    for (size_t i = 0; i < node->n_tokens; i++) {
        if (i)
            buf_append_str(out, between);
        if (i && node->n_offsets)
            buf_printf(out, "@%u:", node->offsets[i]);
        buf_append(out, node->tokens[i].data, node->tokens[i].len);
    }
}

static void show_leaf(struct buf *out, const Quire__QueryNode *node)
{
    static const char *const fields[] = {"", "headword:", "terms:", "category:", "body:"};
    buf_append_str(out, fields[node->field]);
    switch (node->op) {
    case OP(TERM):
        show_tokens(out, node, "?");
        break;
    case OP(PHRASE):
        buf_append_str(out, "\"");
        show_tokens(out, node, " ");
        buf_append_str(out, "\"");
        if (node->slop)
            buf_printf(out, "~%u", node->slop);
        break;
    case OP(PREFIX):
        show_tokens(out, node, "|");
        buf_append_str(out, "*");
        break;
    case OP(FUZZY):
        show_tokens(out, node, "|");
        buf_printf(out, "~%u", node->distance);
        break;
    case OP(CATEGORY):
        buf_printf(out, "'%s'", node->text);
        break;
    default:
        buf_append_str(out, node->op == OP(ALL) ? "ALL" : "NONE");
    }
}

static size_t show_tree(struct buf *out, const Quire__Query *query, size_t root, bool top)
{
    const Quire__QueryNode *node = query->nodes[root];
    static const char *const signs[] = {"?", "", "+", "-", "#"};
    if (!top)
        buf_append_str(out, signs[node->occur]);
    size_t first = root;
    if (node->op == OP(BOOL)) {
        size_t ends[LIMIT_QUERY_NODES];
        for (size_t i = node->arity; i-- > 0;) {
            struct buf skip = {0};
            ends[i] = first - 1;
            first = show_tree(&skip, query, first - 1, false);
            buf_deinit(&skip);
        }
        buf_append_str(out, "(");
        for (size_t i = 0; i < node->arity; i++) {
            if (i)
                buf_append_str(out, " ");
            show_tree(out, query, ends[i], false);
        }
        buf_append_str(out, ")");
    } else {
        show_leaf(out, node);
    }
    if (node->has_boost)
        buf_printf(out, "^%g", (double)node->boost);
    return first;
}

struct parsed {
    int status;
    struct err err;
    Quire__Query *query;
    char **warnings;
    size_t warning_count;
};

static struct parsed parse(struct fixture *fixture, const char *text, bool all, bool strict)
{
    struct parsed parsed = {0};
    struct query_parse_options options = {.all = all, .strict = strict};
    parsed.status =
        query_parse(fixture->english, bytes_str(text), &options, &fixture->arena, &parsed.query,
                    &parsed.warnings, &parsed.warning_count, &parsed.err);
    return parsed;
}

static void expect_query(const struct parsed *parsed, const char *text, const char *expected)
{
    if (parsed->status)
        fail_msg("%s: %s", text, parsed->err.text);
    struct err err;
    if (search_check(parsed->query, &err))
        fail_msg("%s: %s", text, err.text);
    struct buf shown = {0};
    size_t first = show_tree(&shown, parsed->query, parsed->query->n_nodes - 1, true);
    assert_int_equal(first, 0);
    if (strcmp(buf_text(&shown), expected))
        fail_msg("%s gives %s instead of %s", text, buf_text(&shown), expected);
    buf_deinit(&shown);
}

struct example {
    const char *text, *expected;
};

static void check_examples(struct fixture *fixture, const struct example *examples, size_t count,
                           bool all, bool strict)
{
    for (size_t i = 0; i < count; i++) {
        struct parsed parsed = parse(fixture, examples[i].text, all, strict);
        expect_query(&parsed, examples[i].text, examples[i].expected);
    }
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Well-formed: the same in both modes, and no warning. */
static void understands_the_language(void **state)
{
    static const struct example examples[] = {
        {"model", "model"},
        {"Models", "model"},
        {"neural networks", "(neural network)"},
        {"\"neural networks\"", "\"neural network\""},
        {"\"neural networks\"~3", "\"neural network\"~3"},
        {"\u201cneural networks\u201d~3", "\"neural network\"~3"},
        {"\"network\"", "network"},
        {"+a -b c", "(+a -b c)"},
        {"+a !b c", "(+a -b c)"},
        {"a AND b", "(+a +b)"},
        {"a && b", "(+a +b)"},
        {"a OR b", "(a b)"},
        {"a || b", "(a b)"},
        {"a AND b OR c", "((+a +b) c)"},
        {"a OR b AND c", "(a (+b +c))"},
        {"a b AND c d", "(a (+b +c) d)"},
        {"a AND NOT b", "(+a -b)"},
        {"a NOT b", "(a -b)"},
        {"NOT NOT a", "a"},
        {"(a OR b) AND c", "(+(a b) +c)"},
        {"+(a b) c", "(+(a b) c)"},
        {"((a))", "a"},
        {"(+a) b", "(a b)"},
        {"headword:Models", "headword:models"},
        {"name:model", "terms:model"},
        {"terms:model", "terms:model"},
        {"Body:models", "body:model"},
        {"body:\"neural networks\"", "body:\"neural network\""},
        {"headword:\"neural networks\"", "(+headword:neural +headword:networks)"},
        {"category:vision", "category:vision"},
        {"category:\"Computer Vision\"", "category:'Computer Vision'"},
        {"category: \"Computer Vision\" model", "(category:'Computer Vision' model)"},
        {"headword:(a b) c", "((headword:a headword:b) c)"},
        {"-headword:a b", "(-headword:a b)"},
        {"headword:-a b", "(-headword:a b)"},
        {"neur*", "neur*"},
        {"computing*", "computing|comput*"},
        {"headword:computing*", "headword:computing*"},
        {"body:neur*", "body:neur*"},
        {"modl~", "modl~1"},
        {"netwrok~", "netwrok~2"},
        {"netwrok~1", "netwrok~1"},
        {"netwrok~0", "netwrok"},
        {"networks~2", "networks|network~2"},
        {"*", "ALL"},
        {"* -a", "(ALL -a)"},
        {"a^2.5", "a^2.5"},
        {"a^2 b^0.5", "(a^2 b^0.5)"},
        {"\"a b\"~2^3", "\"a b\"~2^3"},
        {"neur*^2", "neur*^2"},
        {"netwrok~1^2", "netwrok~1^2"},
        {"(a b)^2 c", "((a b)^2 c)"},
        {"(a^2)^3", "a^6"},
        {"c++", "c++"},
        {"c#", "c#"},
        {"+c++ -c#", "(+c++ -c#)"},
        {"int8", "int8"},
        {"3.5", "3.5"},
        {"state-of-the-art", "\"state of the art\""},
        {"10:30", "\"10 30\""},
        {"std::vector", "\"std vector\""},
        {"a\\ b", "\"a b\""},
        {"\\+a", "a"},
        {"\\\"a", "a"},
        {"\"a \\\"b\\\" c\"", "\"a b c\""},
        {"model\\:x", "\"model x\""},
        {"and or not", "(and or not)"},
        {"--help", "help"},
        {"", "NONE"},
        {"   ", "NONE"},
        {"a\u3000b\u00a0c", "(a b c)"},
        {"a\tb\nc", "(a b c)"},
        {"foo\"bar baz\"qux", "(foo \"bar baz\" qux)"},
    };
    for (int strict = 0; strict < 2; strict++) {
        check_examples(*state, examples, COUNT(examples), false, strict);
        for (size_t i = 0; i < COUNT(examples); i++) {
            struct parsed parsed = parse(*state, examples[i].text, false, strict);
            if (parsed.warning_count)
                fail_msg("%s: %s", examples[i].text, parsed.warnings[0]);
        }
    }
}

static void all_words_on_request(void **state)
{
    static const struct example examples[] = {
        {"a", "a"},
        {"a b", "(+a +b)"},
        {"a b OR c", "((+a +b) c)"},
        {"a -b", "(+a -b)"},
        {"+a b", "(+a +b)"},
        {"a (b OR c)", "(+a +(b c))"},
        {"a AND b c", "(+a +b +c)"},
        {"(a b)", "(+a +b)"},
        {"a* b", "(+a* +b)"},
    };
    check_examples(*state, examples, COUNT(examples), true, false);
    check_examples(*state, examples, COUNT(examples), true, true);
}

struct guess {
    const char *text, *expected; /* lenient: the query, with a warning */
    const char *error;           /* strict: how the message begins */
};

static void guesses_or_names_the_column(void **state)
{
    static const struct guess guesses[] = {
        {"\"a b", "\"a b\"", "column 1: "},
        {"x \"a b", "(x \"a b\")", "column 3: "},
        {"\u00e9\u00e9 \"a", "(ee a)", "column 4: "},
        {"(a b", "(a b)", "column 1: "},
        {"((a b)", "(a b)", "column 1: "},
        {"a b)", "(a b)", "column 4: "},
        {"a) b", "(a b)", "column 2: "},
        {"AND gate", "(and gate)", "column 1: "},
        {"gate AND", "(gate and)", "column 6: "},
        {"gate OR", "(gate or)", "column 6: "},
        {"a NOT", "(a not)", "column 3: "},
        {"a &&", "a", "column 3: "},
        {"|| a", "a", "column 1: "},
        {"a AND OR b", "((+a +or) b)", NULL},
        {"(AND)", "and", "column 2: "},
        {"name:", "name", "column 1: "},
        {"(headword:)", "headword", "column 2: "},
        {"colour:red", "\"colour red\"", "column 1: "},
        {"a*b", "\"a b\"", "column 1: "},
        {"state-of*", "\"state of\"", "column 1: "},
        {"a~7", "a~2", "column 1: "},
        {"a~0.8", "a~1", "column 1: "},
        {"\"a b\"~500", "\"a b\"~90", "column 1: "},
        {"\"a b\"~", "\"a b\"~1", "column 1: "},
        {"x a^0", "(x a)", "column 3: "},
        {"a^5000", "a^1000", "column 1: "},
        {"a*~", "a*", "column 1: "},
        {"category:\"\"", "NONE", "column 10: "},
    };
    for (size_t i = 0; i < COUNT(guesses); i++) {
        struct parsed lenient = parse(*state, guesses[i].text, false, false);
        if (strcmp(guesses[i].text, "a AND OR b"))
            expect_query(&lenient, guesses[i].text, guesses[i].expected);
        if (lenient.warning_count == 0)
            fail_msg("%s: no warning", guesses[i].text);
        if (!guesses[i].error)
            continue;
        struct parsed strict = parse(*state, guesses[i].text, false, true);
        assert_int_equal(strict.status, ERR_INVALID);
        if (strncmp(strict.err.text, guesses[i].error, strlen(guesses[i].error)))
            fail_msg("%s: %s", guesses[i].text, strict.err.text);
    }
}

/* No mistake in either mode, but worth a word. */
static void leaves_out_what_is_nothing(void **state)
{
    static const struct example examples[] = {
        {"a & b", "(a b)"},  {"a - b", "(a b)"},   {"!?", "NONE"},
        {"\"...\"", "NONE"}, {"a AND ?", "a"},     {"() a", "a"},
        {"-a", "(-a)"},      {"-a -b", "(-a -b)"}, {"(-a) b", "((-a) b)"},
    };
    check_examples(*state, examples, COUNT(examples), false, false);
    check_examples(*state, examples, COUNT(examples), false, true);
    for (size_t i = 0; i < COUNT(examples); i++)
        assert_int_equal(parse(*state, examples[i].text, false, true).warning_count, 1);
}

static void unstemmed_collections_keep_words(void **state)
{
    struct fixture *fixture = *state;
    struct parsed parsed = {0};
    struct query_parse_options options = {0};
    parsed.status =
        query_parse(fixture->plain, bytes_str("Networks networks*"), &options, &fixture->arena,
                    &parsed.query, &parsed.warnings, &parsed.warning_count, &parsed.err);
    expect_query(&parsed, "Networks networks*", "(networks networks*)");
}

static void refuses_what_is_not_text(void **state)
{
    struct fixture *fixture = *state;
    struct query_parse_options options = {0};
    static const struct {
        const char *text;
        size_t size;
        const char *error;
    } bad[] = {{"a\0b", 3, "column 2: a NUL byte"},
               {"\xc3\xa9\xff", 3, "column 2: not UTF-8"},
               {"abc\xe2\x82", 5, "column 4: not UTF-8"},
               {"\xed\xa0\x80", 3, "column 1: not UTF-8"}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct parsed parsed;
        int status = query_parse(fixture->english, bytes_of(bad[i].text, bad[i].size), &options,
                                 &fixture->arena, &parsed.query, &parsed.warnings,
                                 &parsed.warning_count, &parsed.err);
        assert_int_equal(status, ERR_INVALID);
        assert_string_equal(parsed.err.text, bad[i].error);
        assert_null(parsed.query);
    }
}

static char *repeat(const char *text, size_t size)
{
    char *out = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        out[i] = text[i % strlen(text)];
    out[size] = 0;
    return out;
}

static int parse_repeated(struct fixture *fixture, const char *text, size_t size, bool strict)
{
    char *repeated = repeat(text, size);
    int status = parse(fixture, repeated, false, strict).status;
    free(repeated);
    return status;
}

static void limits_are_named(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(parse_repeated(fixture, "a", LIMIT_QUERY_BYTES, false), 0);
    assert_int_equal(parse_repeated(fixture, "a", LIMIT_QUERY_BYTES + 1, false), ERR_TOO_LARGE);
    assert_int_equal(parse_repeated(fixture, "a ", 2 * (LIMIT_QUERY_NODES - 1), false), 0);
    assert_int_equal(parse_repeated(fixture, "a ", 2 * LIMIT_QUERY_NODES, false), ERR_TOO_LARGE);
    assert_int_equal(parse_repeated(fixture, "(", LIMIT_QUERY_DEPTH, false), 0);
    assert_int_equal(parse_repeated(fixture, "(", LIMIT_QUERY_DEPTH + 1, false), ERR_TOO_LARGE);
    assert_int_equal(parse_repeated(fixture, "a-", 2 * LIMIT_PHRASE_TOKENS, false), 0);
    assert_int_equal(parse_repeated(fixture, "a-", 2 * LIMIT_PHRASE_TOKENS + 2, false),
                     ERR_TOO_LARGE);
    assert_int_equal(
        parse_repeated(fixture, "\"a a a a a a a a\" ", 18 * LIMIT_QUERY_TOKENS / 8, false), 0);
    assert_int_equal(
        parse_repeated(fixture, "\"a a a a a a a a\" ", 18 * LIMIT_QUERY_TOKENS / 8 + 18, false),
        ERR_TOO_LARGE);
    assert_int_equal(parse_repeated(fixture, "a* ", 3 * LIMIT_QUERY_EXPANSIONS, false), 0);
    assert_int_equal(parse_repeated(fixture, "a* ", 3 * LIMIT_QUERY_EXPANSIONS + 2, false),
                     ERR_TOO_LARGE);
}

/* 64 KiB of anything take milliseconds, also where each character is a special one. */
static void time_is_linear(void **state)
{
    static const char *const texts[] = {
        "(", ")",       "\"",   "\\",     "a\\", "^",     "a^1",    "~1",   "*",
        "+", "-a ",     "AND ", "NOT ",   "&& ", "body:", "a~1^2x", "\"\"", "() ",
        "!", "\"a\"~1", "^9",   "\u3000", "? ",  "a:",    "\\\"",   "( -"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        for (int strict = 0; strict < 2; strict++) {
            uint64_t start = clock_ms();
            struct arena before = ((struct fixture *)*state)->arena;
            parse_repeated(*state, texts[i], LIMIT_QUERY_BYTES, strict);
            assert_true(clock_ms() - start < 20000);
            assert_true(((struct fixture *)*state)->arena.used - before.used < 16u << 20);
        }
    }
}

static void warnings_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    char *text = repeat(") ", 2000);
    struct parsed parsed = parse(fixture, text, false, false);
    free(text);
    assert_int_equal(parsed.status, 0);
    assert_int_equal(parsed.warning_count, QUERY_WARNINGS_MAX);
}

/* ---- the plan ---- */

static void asks_for_each_token_once(void **state)
{
    struct fixture *fixture = *state;
    struct parsed parsed =
        parse(fixture, "model \"the model\" body:model headword:model neur* -fuzy~1", false, true);
    Quire__ShardStats request = QUIRE__SHARD_STATS__INIT;
    assert_int_equal(query_plan_ask(parsed.query, &fixture->arena, &request, NULL), 0);
    assert_int_equal(request.n_tokens, 3); /* model, the; model of headword */
    assert_int_equal(request.tokens[0]->field, TEXT_FIELD_ALL);
    assert_memory_equal(request.tokens[0]->token.data, "model", 5);
    assert_memory_equal(request.tokens[1]->token.data, "the", 3);
    assert_int_equal(request.tokens[2]->field, TEXT_FIELD_HEADWORD);
    assert_int_equal(request.n_expand, 2);
    assert_int_equal(request.expand[0]->op, OP(PREFIX));
    assert_int_equal(request.expand_limit, LIMIT_EXPANSION);
    assert_false(query_plan_is_none(parsed.query));
    assert_true(query_plan_is_none(parse(fixture, "?", false, false).query));
}

static Quire__Expansion *make_expansion(struct fixture *fixture, uint32_t node, uint32_t count,
                                        const char *stem)
{
    Quire__Expansion *expansion = arena_alloc(&fixture->arena, sizeof *expansion);
    quire__expansion__init(expansion);
    expansion->node = node;
    expansion->n_tokens = expansion->n_distances = count;
    expansion->tokens = arena_calloc(&fixture->arena, count + 1, sizeof *expansion->tokens);
    expansion->distances = arena_calloc(&fixture->arena, count + 1, sizeof *expansion->distances);
    for (uint32_t i = 0; i < count; i++) {
        Quire__TokenStat *stat = arena_alloc(&fixture->arena, sizeof *stat);
        quire__token_stat__init(stat);
        char *token = arena_printf(&fixture->arena, "%s%03u", stem, i);
        stat->token = (ProtobufCBinaryData){strlen(token), (uint8_t *)token};
        stat->document_frequency = i + 1;
        expansion->tokens[i] = stat;
    }
    return expansion;
}

static const char *plan(struct fixture *fixture, const char *text, const uint32_t *counts,
                        Quire__ShardSearch *search, bool *limited)
{
    struct parsed parsed = parse(fixture, text, false, true);
    Quire__ShardStats request = QUIRE__SHARD_STATS__INIT;
    Quire__RangeStats reply = QUIRE__RANGE_STATS__INIT, merged = QUIRE__RANGE_STATS__INIT;
    assert_int_equal(query_plan_ask(parsed.query, &fixture->arena, &request, NULL), 0);
    Quire__Expansion *expansions[LIMIT_QUERY_EXPANSIONS];
    for (uint32_t i = 0; i < request.n_expand; i++)
        expansions[i] = make_expansion(fixture, i, counts[i], "x");
    reply.frequencies = arena_calloc(&fixture->arena, request.n_tokens + 1, sizeof(uint64_t));
    reply.n_frequencies = request.n_tokens;
    reply.expansions = expansions;
    reply.n_expansions = request.n_expand;
    reply.documents = 10;
    struct err err;
    if (query_plan_merge(&merged, &reply, &request, &fixture->arena, &err))
        fail_msg("%s", err.text);
    quire__shard_search__init(search);
    assert_int_equal(
        query_plan_search(parsed.query, &request, &merged, &fixture->arena, search, limited, NULL),
        0);
    assert_int_equal(search_check(search->query, &err), 0);
    struct buf shown = {0};
    show_tree(&shown, search->query, search->query->n_nodes - 1, true);
    const char *copy = arena_strdup(&fixture->arena, buf_text(&shown));
    buf_deinit(&shown);
    return copy;
}

static void expansions_take_the_place_of_their_nodes(void **state)
{
    Quire__ShardSearch search;
    bool limited;
    assert_string_equal(
        plan(*state, "a +b*^2 -c~1 body:d*", (uint32_t[]){2, 1, 0}, &search, &limited),
        "(a +(x000 x001)^2 -x000 body:NONE)");
    assert_false(limited);
    assert_int_equal(search.n_tokens, 3); /* a, x000, x001 */
    assert_int_equal(search.documents, 10);
    assert_string_equal(plan(*state, "b*", (uint32_t[]){0}, &search, &limited), "NONE");
}

static void expansions_are_cut_at_the_limit(void **state)
{
    Quire__ShardSearch search;
    bool limited;
    plan(*state, "b*", (uint32_t[]){LIMIT_EXPANSION}, &search, &limited);
    assert_false(limited);
    assert_int_equal(search.query->n_nodes, LIMIT_EXPANSION + 1);
    plan(*state, "b*", (uint32_t[]){LIMIT_EXPANSION + 1}, &search, &limited);
    assert_true(limited);
    assert_int_equal(search.query->n_nodes, LIMIT_EXPANSION + 1);
    /* Ten of 128 would be more than a query may hold: each gets its share. */
    uint32_t counts[10];
    for (int i = 0; i < 10; i++)
        counts[i] = LIMIT_EXPANSION;
    plan(*state, "a* b* c* d* e* f* g* h* i* j*", counts, &search, &limited);
    assert_true(limited);
    assert_true(search.query->n_nodes <= LIMIT_QUERY_NODES && search.query->n_nodes > 900);
}

/* A query that is full of tokens already still is one that a shard takes. */
static void expansions_leave_room_for_phrases(void **state)
{
    struct buf text = {0};
    for (int i = 0; i < LIMIT_QUERY_TOKENS / 8 - 1; i++)
        buf_append_str(&text, "\"a a a a a a a a\" ");
    buf_append_str(&text, "b* c* d*");
    Quire__ShardSearch search;
    bool limited;
    const uint32_t counts[] = {LIMIT_EXPANSION, LIMIT_EXPANSION, 1};
    plan(*state, buf_text(&text), counts, &search, &limited); /* checks it */
    assert_true(limited);
    buf_deinit(&text);
}

static void foreign_answers_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct parsed parsed = parse(fixture, "a b*", false, true);
    Quire__ShardStats request = QUIRE__SHARD_STATS__INIT;
    assert_int_equal(query_plan_ask(parsed.query, &fixture->arena, &request, NULL), 0);
    Quire__RangeStats reply = QUIRE__RANGE_STATS__INIT, merged = QUIRE__RANGE_STATS__INIT;
    struct err err;
    assert_int_equal(query_plan_merge(&merged, &reply, &request, &fixture->arena, &err),
                     ERR_CORRUPT);
    Quire__Expansion *expansion = make_expansion(fixture, 0, 3, "b");
    uint64_t frequencies[2] = {3, 4};
    reply.n_frequencies = reply.n_expansions = 1;
    reply.frequencies = frequencies;
    reply.expansions = &expansion;
    assert_int_equal(query_plan_merge(&merged, &reply, &request, &fixture->arena, &err), 0);
    assert_int_equal(merged.frequencies[0], 3);
    reply.n_frequencies = 2;
    assert_int_equal(query_plan_merge(&merged, &reply, &request, &fixture->arena, &err),
                     ERR_CORRUPT);
    reply.n_frequencies = 1;
    expansion->n_distances = 2;
    assert_int_equal(query_plan_merge(&merged, &reply, &request, &fixture->arena, &err),
                     ERR_CORRUPT);
    expansion->n_distances = 3;
    expansion->node = 1;
    assert_int_equal(query_plan_merge(&merged, &reply, &request, &fixture->arena, &err),
                     ERR_CORRUPT);
}

static void no_answer_at_all_still_makes_a_plan(void **state)
{
    struct fixture *fixture = *state;
    struct parsed parsed = parse(fixture, "a b* \"c d\"", false, true);
    Quire__ShardStats request = QUIRE__SHARD_STATS__INIT;
    Quire__RangeStats none = QUIRE__RANGE_STATS__INIT;
    Quire__ShardSearch search = QUIRE__SHARD_SEARCH__INIT;
    bool limited;
    assert_int_equal(query_plan_ask(parsed.query, &fixture->arena, &request, NULL), 0);
    assert_int_equal(
        query_plan_search(parsed.query, &request, &none, &fixture->arena, &search, &limited, NULL),
        0);
    assert_int_equal(search.n_tokens, 3);
    struct err err;
    assert_int_equal(search_check(search.query, &err), 0);
}

static void running_out_of_memory_is_clean(void **state)
{
    struct fixture *fixture = *state;
    struct query_parse_options options = {0};
    int status = ERR_NOMEM;
    for (size_t limit = 16; status == ERR_NOMEM && limit < 1 << 20; limit += 16 + limit / 32) {
        struct arena arena;
        struct parsed parsed;
        arena_init(&arena, limit);
        status = query_parse(
            fixture->english, bytes_str("a (b \"c d\" OR e*) -f~1 state-of-the-art ) ("), &options,
            &arena, &parsed.query, &parsed.warnings, &parsed.warning_count, &parsed.err);
        arena_deinit(&arena);
    }
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(understands_the_language),
        cmocka_unit_test(all_words_on_request),
        cmocka_unit_test(guesses_or_names_the_column),
        cmocka_unit_test(leaves_out_what_is_nothing),
        cmocka_unit_test(unstemmed_collections_keep_words),
        cmocka_unit_test(refuses_what_is_not_text),
        cmocka_unit_test(limits_are_named),
        cmocka_unit_test(time_is_linear),
        cmocka_unit_test(warnings_are_bounded),
        cmocka_unit_test(asks_for_each_token_once),
        cmocka_unit_test(expansions_take_the_place_of_their_nodes),
        cmocka_unit_test(expansions_are_cut_at_the_limit),
        cmocka_unit_test(expansions_leave_room_for_phrases),
        cmocka_unit_test(foreign_answers_are_refused),
        cmocka_unit_test(no_answer_at_all_still_makes_a_plan),
        cmocka_unit_test(running_out_of_memory_is_clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
