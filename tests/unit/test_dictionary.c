/* Walks and dictionaries, against the whole matrix of each pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shard/dictionary.h"
#include "shard/nearest.h"

#define TEXTS 3000

struct texts {
    struct bytes list[TEXTS];
    size_t count;
    struct arena arena;
    unsigned seed;
};

/* Small alphabets, so that many are near. */
static const char *const alphabets[][5] = {
    {"a", "b", "c", "d", "e"},
    {"a", "\u00e9", "\u00ea", "\u4e2d", "\U0001f600"},
    {"a", "b", "\xff", "\xc3", "\xe4\xb8"}, /* no UTF-8 */
};

static struct bytes random_text(struct texts *texts, const char *const *alphabet, uint32_t start,
                                uint32_t most)
{
    struct buf text = {0};
    for (uint32_t i = 0; i < start; i++)
        buf_append_str(&text, alphabet[(i * i / 3) % 2]);
    for (int i = rand_r(&texts->seed) % (int)most; i >= 0; i--)
        buf_append_str(&text, alphabet[rand_r(&texts->seed) % 5]);
    struct bytes copy = bytes_of(arena_copy(&texts->arena, text.data, text.size), text.size);
    buf_deinit(&text);
    return copy;
}

static int by_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static struct dictionary *make(struct texts *texts)
{
    struct dictionary_builder builder = {0};
    qsort(texts->list, texts->count, sizeof texts->list[0], by_bytes);
    for (size_t i = 0; i < texts->count; i++)
        dictionary_add(&builder, texts->list[i]);
    return dictionary_finish(&builder);
}

struct expected {
    struct texts *texts;
    const struct distance_word *word;
    uint32_t limit;
    size_t at; /* the next text that was not visited */
    struct distance_word other;
};

/* The next one that is near; the limit + 1 at the end. */
static uint32_t next_expected(struct expected *expected, struct bytes *text)
{
    struct texts *texts = expected->texts;
    while (expected->at < texts->count) {
        *text = texts->list[expected->at++];
        if (expected->at > 1 && bytes_equal(*text, texts->list[expected->at - 2]))
            continue;
        distance_word_init(&expected->other, *text);
        uint32_t distance = distance_between(expected->word, &expected->other, expected->limit);
        if (distance <= expected->limit)
            return distance;
    }
    return expected->limit + 1;
}

static void visit(void *data, struct bytes text, uint32_t distance)
{
    struct bytes wanted;
    assert_int_equal(next_expected(data, &wanted), distance);
    assert_true(bytes_equal(text, wanted));
}

static size_t look(struct texts *texts, const struct dictionary *dictionary, struct bytes query,
                   uint32_t limit)
{
    struct distance_word *word = arena_alloc(&texts->arena, sizeof *word);
    struct expected *expected = arena_calloc(&texts->arena, 1, sizeof *expected);
    struct distance_walk walk;
    struct bytes none;
    distance_word_init(word, query);
    assert_true(distance_walk_init(&walk, word, limit, &texts->arena));
    *expected = (struct expected){.texts = texts, .word = word, .limit = limit};
    dictionary_near(dictionary, &walk, visit, expected);
    assert_int_equal(next_expected(expected, &none), limit + 1);
    return expected->at;
}

/* `start` code points that all have in common, then up to `most` of their own. */
static void check(const char *const *alphabet, uint32_t start, uint32_t most, uint32_t count)
{
    struct texts *texts = calloc(1, sizeof *texts);
    texts->seed = start + most;
    arena_init(&texts->arena, 0);
    for (texts->count = 0; texts->count < count; texts->count++)
        texts->list[texts->count] = random_text(texts, alphabet, start, most);
    struct dictionary *dictionary = make(texts);
    for (int i = 0; i < 60; i++) {
        struct bytes query = random_text(texts, alphabet, start, most);
        look(texts, dictionary, query, 1);
        look(texts, dictionary, query, 2);
        look(texts, dictionary, texts->list[(size_t)i % texts->count], 2);
    }
    dictionary_unref(dictionary);
    arena_deinit(&texts->arena);
    free(texts);
}

static void finds_what_is_near(void **state)
{
    for (size_t i = 0; i < 3; i++) {
        check(alphabets[i], 0, 6, TEXTS);
        check(alphabets[i], 3, 12, TEXTS / 3);
    }
}

static void finds_near_ones_of_long_words(void **state)
{
    for (size_t i = 0; i < 3; i++) {
        check(alphabets[i], 52, 14, TEXTS / 6); /* around the bits of a machine word */
        check(alphabets[i], 100, 6, TEXTS / 6);
        check(alphabets[i], 300, 8, TEXTS / 6); /* more than `shared` can say */
    }
}

static void reads_all_in_order(void **state)
{
    struct texts *texts = calloc(1, sizeof *texts);
    arena_init(&texts->arena, 0);
    for (texts->count = 0; texts->count < 500; texts->count++)
        texts->list[texts->count] = random_text(texts, alphabets[1], texts->count % 2 ? 0 : 200, 5);
    struct dictionary *dictionary = make(texts);
    struct dictionary_reader reader = {.dictionary = dictionary};
    struct bytes text;
    uint32_t count = 0;
    for (size_t i = 0; i < texts->count; i++) {
        if (i > 0 && bytes_equal(texts->list[i], texts->list[i - 1]))
            continue;
        assert_true(dictionary_read(&reader, &text));
        assert_true(bytes_equal(text, texts->list[i]));
        count++;
    }
    assert_false(dictionary_read(&reader, &text));
    assert_int_equal(dictionary_count(dictionary), count);
    dictionary_reader_deinit(&reader);
    dictionary_unref(dictionary);
    arena_deinit(&texts->arena);
    free(texts);
}

static void is_empty_at_first(void **state)
{
    struct texts *texts = calloc(1, sizeof *texts);
    arena_init(&texts->arena, 0);
    struct dictionary *dictionary = make(texts);
    look(texts, dictionary, bytes_str("a"), 2);
    assert_int_equal(dictionary_count(dictionary), 0);
    dictionary_unref(dictionary);
    arena_deinit(&texts->arena);
    free(texts);
}

static void candidates_come_nearest_first(void **state)
{
    struct arena arena;
    struct candidates candidates;
    struct candidate last = {0}, next;
    unsigned seed = 5;
    bool seen[3][26] = {{false}};
    size_t distinct = 0, taken = 0;
    arena_init(&arena, 0);
    candidates_init(&candidates, &arena);
    for (int i = 0; i < 300; i++) {
        int letter = rand_r(&seed) % 26;
        char text = (char)('a' + letter);
        distinct += !seen[letter % 3][letter];
        seen[letter % 3][letter] = true;
        assert_true(candidates_add(&candidates, bytes_of(&text, 1), (uint32_t)letter % 3));
    }
    for (; candidates_take(&candidates, &next); taken++, last = next)
        assert_true(taken == 0 || last.distance < next.distance ||
                    (last.distance == next.distance && bytes_compare(last.text, next.text) < 0));
    assert_int_equal(taken, distinct);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_is_near),
        cmocka_unit_test(finds_near_ones_of_long_words),
        cmocka_unit_test(reads_all_in_order),
        cmocka_unit_test(is_empty_at_first),
        cmocka_unit_test(candidates_come_nearest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
