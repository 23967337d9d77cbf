/* The statistics cache against a model that remembers everything: whatever is found is the newest
 * that was put, all of it from one seq; within its limit nothing is lost; beyond it, the limit
 * holds and what is used stays. */
#include "coordinator/stats_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORDS 12
#define RANGES 6

/* A question of some of the words (bits of `words`), the last two of which are prefixes. */
struct question {
    struct arena arena;
    Quire__ShardStats ask;
    struct stats_questions questions;
};

static void question_init(struct question *q, unsigned words)
{
    arena_init(&q->arena, 0);
    quire__shard_stats__init(&q->ask);
    q->ask.tokens = arena_calloc(&q->arena, WORDS, sizeof *q->ask.tokens);
    q->ask.expand = arena_calloc(&q->arena, WORDS, sizeof *q->ask.expand);
    q->ask.expand_limit = 128;
    for (unsigned w = 0; w < WORDS; w++) {
        ProtobufCBinaryData text = {5, (uint8_t *)arena_printf(&q->arena, "word%c", 'a' + w)};
        if (!(words & 1u << w))
            continue;
        if (w < WORDS - 2) {
            Quire__TokenStat *token = arena_alloc(&q->arena, sizeof *token);
            quire__token_stat__init(token);
            token->token = text;
            q->ask.tokens[q->ask.n_tokens++] = token;
        } else {
            Quire__QueryNode *node = arena_alloc(&q->arena, sizeof *node);
            quire__query_node__init(node);
            node->op = QUIRE__QUERY_NODE__OP__PREFIX;
            node->n_tokens = 1;
            node->tokens = arena_copy(&q->arena, &text, sizeof text);
            q->ask.expand[q->ask.n_expand++] = node;
        }
    }
    stats_questions_init(&q->questions, &q->ask, &q->arena);
}

static uint64_t truth(uint64_t range, uint64_t seq, unsigned letter)
{
    return range * 1000000 + seq * 100 + letter;
}

static unsigned letter_of(ProtobufCBinaryData text)
{
    return text.data[4];
}

/* What the range says at this seq. The expansion of a prefix grows with the seq. */
static Quire__RangeStats *answer(struct question *q, uint64_t range, uint64_t seq)
{
    struct arena *arena = &q->arena;
    Quire__RangeStats *stats = arena_alloc(arena, sizeof *stats);
    quire__range_stats__init(stats);
    stats->range = range;
    stats->seq = seq;
    stats->documents = truth(range, seq, 1);
    stats->total_length = truth(range, seq, 2);
    stats->frequencies = arena_calloc(arena, WORDS, sizeof *stats->frequencies);
    stats->expansions = arena_calloc(arena, WORDS, sizeof *stats->expansions);
    for (size_t i = 0; i < q->ask.n_tokens; i++)
        stats->frequencies[stats->n_frequencies++] =
            truth(range, seq, letter_of(q->ask.tokens[i]->token));
    for (size_t i = 0; i < q->ask.n_expand; i++) {
        Quire__Expansion *expansion = arena_alloc(arena, sizeof *expansion);
        quire__expansion__init(expansion);
        expansion->node = (uint32_t)i;
        expansion->n_tokens = expansion->n_distances = seq % 4;
        expansion->tokens = arena_calloc(arena, 4, sizeof *expansion->tokens);
        expansion->distances = arena_calloc(arena, 4, sizeof *expansion->distances);
        for (size_t k = 0; k < expansion->n_tokens; k++) {
            Quire__TokenStat *token = arena_alloc(arena, sizeof *token);
            quire__token_stat__init(token);
            token->token = q->ask.expand[i]->tokens[0];
            token->document_frequency = truth(range, seq, letter_of(token->token)) + k;
            expansion->tokens[k] = token;
        }
        stats->expansions[stats->n_expansions++] = expansion;
    }
    return stats;
}

static void assert_same(const Quire__RangeStats *a, const Quire__RangeStats *b)
{
    size_t size = quire__range_stats__get_packed_size(a);
    assert_int_equal(size, quire__range_stats__get_packed_size(b));
    uint8_t *packed = malloc(2 * size + 1);
    assert_int_equal(quire__range_stats__pack(a, packed), size);
    assert_int_equal(quire__range_stats__pack(b, packed + size), size);
    assert_memory_equal(packed, packed + size, size);
    free(packed);
}

static uint64_t random_state = 1;
static unsigned draw(unsigned below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % below;
}

/* Every question that was answered at the newest seq is found, and nothing else is. */
static void finds_what_the_model_knows(void **state)
{
    (void)state;
    uint64_t newest[RANGES] = {0};         /* the model: the seq of each range's record; 0: none */
    uint64_t known[RANGES][WORDS] = {{0}}; /* the seq of each word */
    struct stats_cache *cache = stats_cache_create(1 << 20);
    unsigned hits = 0;
    for (int step = 0; step < 20000; step++) {
        struct question q;
        unsigned range = draw(RANGES), words = draw(1 << WORDS) & draw(1 << WORDS);
        uint64_t seq = 1 + (uint64_t)step / 100 + draw(3);
        question_init(&q, words);
        switch (draw(8)) {
        case 0:
            stats_cache_forget(cache, range);
            newest[range] = 0;
            break;
        case 1:
            stats_cache_written(cache, range, seq);
            newest[range] = newest[range] < seq ? 0 : newest[range];
            break;
        case 2:
        case 3:
        case 4: {
            stats_cache_put(cache, &q.questions, answer(&q, range, seq));
            if (seq < newest[range])
                break;
            newest[range] = seq;
            for (unsigned w = 0; w < WORDS; w++)
                known[range][w] = words & 1u << w ? seq : known[range][w];
            break;
        }
        default: {
            const Quire__RangeStats *found = stats_cache_find(cache, range, &q.questions, &q.arena);
            bool expected = newest[range] != 0;
            for (unsigned w = 0; w < WORDS; w++)
                expected &= !(words & 1u << w) || known[range][w] == newest[range];
            assert_int_equal(found != NULL, expected);
            if (found != NULL)
                assert_same(found, answer(&q, range, newest[range]));
            hits += found != NULL;
        }
        }
        arena_deinit(&q.arena);
    }
    assert_true(hits > 500);
    stats_cache_destroy(cache);
}

/* A word of its own for each number. */
static void numbered(struct question *q, unsigned number)
{
    question_init(q, 1);
    char *text = arena_printf(&q->arena, "number %u", number);
    q->ask.tokens[0]->token = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    stats_questions_init(&q->questions, &q->ask, &q->arena);
}

static bool put_or_find(struct stats_cache *cache, unsigned number)
{
    struct question q;
    numbered(&q, number);
    const Quire__RangeStats *found = stats_cache_find(cache, 1, &q.questions, &q.arena);
    if (found != NULL)
        assert_int_equal(found->frequencies[0], number);
    Quire__RangeStats *stats = answer(&q, 1, 1);
    stats->frequencies[0] = number;
    if (found == NULL)
        stats_cache_put(cache, &q.questions, stats);
    arena_deinit(&q.arena);
    return found != NULL;
}

static void keeps_to_its_limit(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 100, 5000, 40000};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct stats_cache *cache = stats_cache_create(limits[i]);
        size_t empty = stats_cache_bytes(cache);
        for (unsigned n = 0; n < 2000; n++) {
            put_or_find(cache, n);
            assert_true(stats_cache_bytes(cache) <= limits[i] || stats_cache_bytes(cache) == empty);
        }
        assert_true(limits[i] < 40000 || stats_cache_bytes(cache) > limits[i] / 2);
        stats_cache_destroy(cache);
    }
}

/* Ten words that are asked for all the time stay, whatever comes by once. */
static void keeps_what_is_used(void **state)
{
    (void)state;
    struct stats_cache *cache = stats_cache_create(20000);
    unsigned lost = 0;
    for (unsigned n = 0; n < 5000; n++) {
        put_or_find(cache, 1000 + n);
        lost += !put_or_find(cache, n % 10);
    }
    assert_int_equal(lost, 10); /* each the first time */
    assert_false(put_or_find(cache, 1000));
    stats_cache_destroy(cache);
}

static void without_memory_it_knows_nothing(void **state)
{
    (void)state;
    struct stats_cache *cache = stats_cache_create(0);
    assert_false(put_or_find(cache, 1));
    assert_false(put_or_find(cache, 1));
    stats_cache_written(cache, 1, 5);
    stats_cache_forget(cache, 1);
    assert_int_equal(stats_cache_bytes(cache), 0);
    stats_cache_destroy(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_the_model_knows),
        cmocka_unit_test(keeps_to_its_limit),
        cmocka_unit_test(keeps_what_is_used),
        cmocka_unit_test(without_memory_it_knows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
