#include "shard/live.h"
#include "shard/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DOCS 200000u

static uint64_t seed = 99;

static uint32_t random_below(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 32) * below >> 32);
}

static void test_null(void **state)
{
    assert_false(live_is_dead(NULL, 0));
    assert_int_equal(live_dead_count(NULL), 0);
    assert_int_equal(dead_terms_get(NULL, 0, bytes_str("x")), 0);
    live_unref(NULL);
    dead_terms_unref(NULL);
    view_release(NULL);
}

static void check(const struct live *live, const uint8_t *dead)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < DOCS; i++) {
        assert_int_equal(live_is_dead(live, i), dead[i]);
        count += dead[i];
    }
    assert_int_equal(live_dead_count(live), count);
}

/* A bitmap that is held does not change when others are made of it. */
static void test_copies(void **state)
{
    struct live *live = NULL, *held = NULL;
    uint8_t *dead = calloc(DOCS, 1), *held_dead = calloc(DOCS, 1);

    assert_non_null(dead);
    assert_non_null(held_dead);
    for (uint32_t turn = 0; turn < 30; turn++) {
        uint32_t docs[500], count = random_below(500), range = turn % 2 ? DOCS : 3000;
        struct live *next;

        for (uint32_t i = 0; i < count; i++)
            docs[i] = random_below(range);
        next = live_with(live, docs, count);
        for (uint32_t i = 0; i < count; i++)
            dead[docs[i]] = 1;
        live_unref(live);
        live = next;
        if (turn == 15) {
            live_ref(live);
            held = live;
            memcpy(held_dead, dead, DOCS);
        }
    }
    check(live, dead);
    check(held, held_dead);
    live_unref(held);
    live_unref(live);
    free(dead);
    free(held_dead);
}

static void test_image(void **state)
{
    uint8_t *dead = calloc(DOCS, 1);
    uint32_t *docs = malloc(DOCS * sizeof(*docs)), count = 0;
    struct live *live, *back;
    struct buf image = {0};
    struct err err;

    assert_non_null(dead);
    assert_non_null(docs);
    for (uint32_t i = 0; i < DOCS;
         i++) /* a page of few, one of many, one of all, one of none, the rest of few */
        if (i / 32768 == 1   ? i % 3 == 0
            : i / 32768 == 2 ? true
            : i / 32768 == 3 ? false
                             : i % 1000 == 7)
            docs[count++] = i, dead[i] = 1;
    live = live_with(NULL, docs, count);
    live_encode(live, &image);
    assert_int_equal(live_decode(buf_bytes(&image), &back, &err), 0);
    check(back, dead);
    live_unref(back);
    for (size_t size = 0; size < image.size; size += 1 + size / 50)
        assert_int_equal(live_decode(bytes_of(image.data, size), &back, &err), ERR_CORRUPT);
    for (uint32_t i = 0; i < 300; i++) {
        size_t at = random_below((uint32_t)image.size);
        uint8_t old = image.data[at];

        image.data[at] ^= (uint8_t)(1u << random_below(8));
        assert_int_equal(live_decode(buf_bytes(&image), &back, &err), ERR_CORRUPT);
        /* And with a checksum that is right: whatever it says, no crash. */
        if (at >= 5) {
            uint32_t sum = checksum32(image.data + 5, image.size - 5);
            uint8_t kept[4];

            memcpy(kept, image.data + 1, 4);
            for (int j = 0; j < 4; j++)
                image.data[1 + j] = (uint8_t)(sum >> (8 * j));
            if (live_decode(buf_bytes(&image), &back, &err) == 0)
                live_unref(back);
            memcpy(image.data + 1, kept, 4);
        }
        image.data[at] = old;
    }
    live_unref(live);
    buf_deinit(&image);
    free(dead);
    free(docs);
}

struct sums {
    uint64_t count, tokens;
};

static void visit(void *data, uint8_t field, struct bytes token, uint32_t count)
{
    struct sums *sums = data;

    assert_true(field < 4 && token.size > 0);
    sums->count += count;
    sums->tokens++;
}

static void test_dead_terms(void **state)
{
    struct dead_terms *dead = dead_terms_create();
    uint32_t expected[4][300] = {{0}};
    struct sums sums = {0};
    uint64_t total = 0, tokens = 0;

    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t field = random_below(4), token = random_below(300), count = random_below(3);
        char text[16];

        snprintf(text, sizeof(text), "token%u", token);
        dead_terms_add(dead, (uint8_t)field, bytes_str(text), count);
        expected[field][token] += count;
    }
    for (uint32_t field = 0; field < 4; field++)
        for (uint32_t token = 0; token < 300; token++) {
            char text[16];

            snprintf(text, sizeof(text), "token%u", token);
            assert_int_equal(dead_terms_get(dead, (uint8_t)field, bytes_str(text)),
                             expected[field][token]);
            total += expected[field][token];
            tokens += expected[field][token] > 0;
        }
    assert_int_equal(dead_terms_get(dead, 0, bytes_str("none")), 0);
    dead_terms_each(dead, visit, &sums);
    assert_int_equal(sums.count, total);
    assert_int_equal(sums.tokens, tokens);
    assert_int_equal(dead_terms_count(dead), tokens);
    assert_true(dead_terms_bytes(dead) > 0);
    dead_terms_unref(dead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_dead_terms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
