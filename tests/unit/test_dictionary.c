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

/* Some are 0, some do not fit in a byte. */
static uint32_t number_of(struct bytes text)
{
    uint32_t number = (uint32_t)hash64(text.data, text.size);
    return number % 3 == 0 ? number % 300 : number;
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
        dictionary_add(&builder, texts->list[i], number_of(texts->list[i]));
    return dictionary_finish(&builder);
}

struct expected {
    struct texts *texts;
    struct distance_word words[2], other;
    uint32_t word_count, limit;
    size_t at; /* the next text that was not visited */
};

static uint32_t distance_to(struct expected *expected, struct bytes text)
{
    uint32_t least = expected->limit + 1;
    distance_word_init(&expected->other, text);
    for (uint32_t i = 0; i < expected->word_count; i++) {
        uint32_t distance =
            distance_between(&expected->words[i], &expected->other, expected->limit);
        least = distance < least ? distance : least;
    }
    return least;
}

/* The next one that is near; the limit + 1 at the end. */
static uint32_t next_expected(struct expected *expected, struct bytes *text)
{
    struct texts *texts = expected->texts;
    while (expected->at < texts->count) {
        *text = texts->list[expected->at++];
        if (expected->at > 1 && bytes_equal(*text, texts->list[expected->at - 2]))
            continue;
        uint32_t distance = distance_to(expected, *text);
        if (distance <= expected->limit)
            return distance;
    }
    return expected->limit + 1;
}

static void visit(void *data, struct bytes text, uint32_t distance, uint32_t number)
{
    struct bytes wanted;
    assert_int_equal(next_expected(data, &wanted), distance);
    assert_true(bytes_equal(text, wanted));
    assert_int_equal(number, number_of(text));
}

/* `other`: a second word; no bytes: none. */
static void look(struct texts *texts, const struct dictionary *dictionary, struct bytes query,
                 struct bytes other, uint32_t limit)
{
    struct expected *expected = arena_calloc(&texts->arena, 1, sizeof *expected);
    struct distance_walks walks = {.limit = limit};
    struct bytes none;
    *expected = (struct expected){.texts = texts, .limit = limit};
    expected->word_count = other.size > 0 ? 2 : 1;
    distance_word_init(&expected->words[0], query);
    distance_word_init(&expected->words[1], other);
    for (uint32_t i = 0; i < expected->word_count; i++)
        assert_true(distance_walks_add(&walks, &expected->words[i], &texts->arena));
    dictionary_near(dictionary, &walks, visit, expected);
    assert_int_equal(next_expected(expected, &none), limit + 1);
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
        struct bytes there = texts->list[(size_t)i % texts->count];
        look(texts, dictionary, query, bytes_of(NULL, 0), 1);
        look(texts, dictionary, query, bytes_of(NULL, 0), 2);
        look(texts, dictionary, there, bytes_of(NULL, 0), 2);
        look(texts, dictionary, query, there, 1);
        look(texts, dictionary, there, query, 2);
        look(texts, dictionary, there, bytes_of(there.data, there.size / 2), 2);
        look(texts, dictionary, query, bytes_of(query.data, query.size - query.size / 3), 2);
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
    look(texts, dictionary, bytes_str("a"), bytes_str("b"), 2);
    assert_int_equal(dictionary_count(dictionary), 0);
    dictionary_unref(dictionary);
    arena_deinit(&texts->arena);
    free(texts);
}

/* Each text once, and then, for who asks, as often as it came. */
static void candidates_come_nearest_first(void **state)
{
    struct arena arena;
    struct candidates candidates;
    struct candidate last = {0}, next;
    unsigned seed = 5;
    uint32_t came[26] = {0};
    arena_init(&arena, 0);
    candidates_init(&candidates, &arena);
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t letter = (uint32_t)rand_r(&seed) % 26;
        char text = (char)('a' + letter);
        struct candidate candidate = {bytes_of(&text, 1), letter % 3, letter, i};
        came[letter]++;
        assert_true(candidates_add(&candidates, &candidate));
    }
    for (size_t taken = 0; candidates_take(&candidates, &next); taken++, last = next) {
        assert_true(taken == 0 || last.distance < next.distance ||
                    (last.distance == next.distance && bytes_compare(last.text, next.text) < 0));
        uint32_t letter = next.source, times = 1;
        while (taken % 2 && candidates_take_again(&candidates, &next)) {
            assert_int_equal(next.text.data[0], 'a' + letter);
            times++;
        }
        assert_true(taken % 2 == 0 || times == came[letter]);
        came[letter] = 0;
    }
    for (size_t letter = 0; letter < 26; letter++)
        assert_int_equal(came[letter], 0);
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
