#include "shard/list_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#define PARTS 4

struct item {
    struct list_entry entry;
    uint32_t number;
    _Atomic(void *) parts[PARTS];
    char text[16];
};

static _Atomic int alive; /* items and parts */

static void item_destroy(struct list_entry *entry)
{
    struct item *item = (struct item *)entry;

    for (uint32_t i = 0; i < PARTS; i++)
        if (atomic_load(&item->parts[i]) != NULL) {
            free(atomic_load(&item->parts[i]));
            alive--;
        }
    free(item);
    alive--;
}

static struct bytes item_token(uint32_t number, char text[16])
{
    snprintf(text, 16, "word %u", number);
    return bytes_str(text);
}

static struct item *item_create(uint32_t number, size_t bytes)
{
    struct item *item = calloc(1, sizeof(*item));

    assert_non_null(item);
    item->number = number;
    alive++;
    list_entry_init(&item->entry, (uint8_t)(number % 3), item_token(number, item->text), bytes,
                    item_destroy);
    return item;
}

static struct item *find(struct list_owner *owner, uint32_t number)
{
    char text[16];

    return (struct item *)list_cache_find(owner, (uint8_t)(number % 3), item_token(number, text));
}

static void put(struct list_owner *owner, uint32_t number, size_t bytes)
{
    list_entry_unref(list_cache_put(owner, &item_create(number, bytes)->entry));
}

static bool has(struct list_owner *owner, uint32_t number)
{
    struct item *item = find(owner, number);

    if (item != NULL) {
        assert_int_equal(item->number, number);
        list_entry_unref(&item->entry);
    }
    return item != NULL;
}

static void test_finds_what_was_put(void **state)
{
    struct list_cache *cache = list_cache_create(1 << 20);
    struct list_owner a, b;
    struct list_entry *kept, *second;

    list_owner_init(&a, cache);
    list_owner_init(&b, cache);
    for (uint32_t i = 0; i < 2000; i++)
        put(i % 2 ? &a : &b, i, 10);
    for (uint32_t i = 0; i < 2001; i++) {
        assert_int_equal(has(&a, i), i % 2 && i < 2000);
        assert_int_equal(has(&b, i), i % 2 == 0 && i < 2000);
    }
    /* Of two that were made for the same token, the first stays. */
    kept = &find(&a, 1)->entry;
    second = list_cache_put(&a, &item_create(1, 10)->entry);
    assert_ptr_equal(kept, second);
    list_entry_unref(second);
    /* Dropped with its owner, alive for who holds it; the other's stay. */
    list_owner_deinit(&a);
    assert_int_equal(((struct item *)kept)->number, 1);
    assert_int_equal(alive, 1001);
    list_entry_unref(kept);
    assert_true(has(&b, 1998));
    list_owner_deinit(&b);
    assert_int_equal(alive, 0);
    assert_int_equal(list_cache_bytes(cache), 0);
    list_cache_destroy(cache);
}

static void test_bounded(void **state)
{
    const size_t limit = 200000;
    struct list_cache *cache = list_cache_create(limit);
    struct list_owner owner;
    uint32_t there = 0;

    list_owner_init(&owner, cache);
    for (uint32_t i = 0; i < 5000; i++) {
        put(&owner, i, 1000);
        assert_true(list_cache_bytes(cache) <= limit);
        if (i % 20 == 0)
            assert_true(i < 20 || has(&owner, 7)); /* in use: passed over */
    }
    for (uint32_t i = 0; i < 5000; i++)
        there += has(&owner, i);
    assert_in_range(there, 150, 200);
    assert_true(list_cache_bytes(cache) > limit / 2);
    put(&owner, 6000, limit / 3); /* too large to be kept */
    assert_false(has(&owner, 6000));
    list_owner_deinit(&owner);
    list_cache_destroy(cache);
    assert_int_equal(alive, 0);
}

static bool keep(struct list_cache *cache, struct item *item, uint32_t part, size_t bytes)
{
    void *memory = malloc(1);

    alive++;
    if (list_cache_keep(cache, &item->entry, &item->parts[part], memory, bytes))
        return true;
    free(memory);
    alive--;
    return false;
}

static void test_parts(void **state)
{
    const size_t limit = 100000;
    struct list_cache *cache = list_cache_create(limit);
    struct list_owner owner, none;
    struct item *item, *loose = item_create(1, 10);
    size_t before;

    list_owner_init(&owner, cache);
    list_owner_init(&none, NULL);
    put(&owner, 5, 10);
    item = find(&owner, 5);
    before = list_cache_bytes(cache);
    assert_true(list_cache_wants(cache, &item->entry, 1000));
    assert_true(keep(cache, item, 0, 1000));
    assert_true(list_cache_bytes(cache) >= before + 1000);
    assert_false(keep(cache, item, 0, 1000)); /* there already */
    assert_false(list_cache_wants(cache, &item->entry, limit / 4));
    assert_false(keep(cache, item, 1, limit / 4)); /* a quarter is the most */
    for (uint32_t i = 0; i < 2000; i++)
        put(&owner, 100 + i, 1000);
    assert_null(find(&owner, 5)); /* gone, with its part counted */
    assert_true(list_cache_bytes(cache) <= limit);
    assert_false(list_cache_wants(cache, &item->entry, 1));
    assert_false(keep(cache, item, 2, 1));
    list_entry_unref(&item->entry);
    assert_false(keep(cache, loose, 0, 1)); /* never was in it */
    assert_ptr_equal(list_cache_put(&none, &loose->entry), loose);
    assert_null(find(&none, 1));
    list_entry_unref(&loose->entry);
    list_owner_deinit(&none);
    list_owner_deinit(&owner);
    assert_int_equal(alive, 0);
    assert_int_equal(list_cache_bytes(cache), 0);
    list_cache_destroy(cache);
}

/* ---- threads ---- */

struct race {
    struct list_cache *cache;
    struct list_owner *owners;
    uint32_t seed;
};

static void *race_run(void *data)
{
    struct race *race = data;
    uint32_t random = race->seed;

    for (uint32_t i = 0; i < 20000; i++) {
        struct list_owner *owner = &race->owners[random % 2];
        uint32_t number = (random >> 8) % 200;
        struct item *item = find(owner, number);

        if (item == NULL)
            item = (struct item *)list_cache_put(owner, &item_create(number, 200)->entry);
        if (item->number != number)
            abort();
        if (i % 3 == 0)
            (void)keep(race->cache, item, (random >> 16) % PARTS, 500);
        list_entry_unref(&item->entry);
        random = random * 1664525 + 1013904223;
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct list_cache *cache = list_cache_create(50000);
    struct list_owner owners[2];
    struct race races[4];
    pthread_t threads[4];

    list_owner_init(&owners[0], cache);
    list_owner_init(&owners[1], cache);
    for (uint32_t i = 0; i < 4; i++) {
        races[i] = (struct race){cache, owners, i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, &races[i]), 0);
    }
    for (uint32_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(list_cache_bytes(cache) <= 50000);
    list_owner_deinit(&owners[0]);
    list_owner_deinit(&owners[1]);
    assert_int_equal(list_cache_bytes(cache), 0);
    assert_int_equal(alive, 0);
    list_cache_destroy(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_was_put),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
