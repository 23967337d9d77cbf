/* The name index under writes, against a look at every name there is. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "shard/names.h"

#define NAMES 20000
#define NAME_BYTES 96

struct fixture {
    char path[64];
    struct store *store;
    struct name_index *index;
    char (*names)[NAME_BYTES];
    bool *there;
    unsigned seed;
    _Atomic uint32_t written; /* of the race */
    _Atomic bool done;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err;
    strcpy(f->path, "/tmp/quire-name-index-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    if (store_open(f->path, NULL, &f->store, &err))
        fail_msg("%s", err.text);
    f->index = name_index_create(f->store);
    f->names = calloc(NAMES, sizeof *f->names);
    f->there = calloc(NAMES, sizeof *f->there);
    f->seed = 3;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    name_index_destroy(f->index);
    store_close(f->store);
    store_destroy_files(f->path, NULL);
    rmdir(f->path);
    free(f->names);
    free(f->there);
    free(f);
    return 0;
}

/* Names differ: the number is in them. The padding makes them many bytes where that is wanted. */
static void make_name(struct fixture *f, uint32_t number, int padding)
{
    static const char *const starts[] = {"mo", "ma", "no", "\u00e9t", "\u00e9"};
    snprintf(f->names[number], NAME_BYTES, "%s%x%.*s", starts[rand_r(&f->seed) % 5],
             number * 2654435761u, padding,
             "0000000000000000000000000000000000000000000000000000000000000000");
}

static void row(struct fixture *f, struct store_batch *batch, struct buf *noted, uint32_t number)
{
    struct buf key = {0};
    buf_append_str(&key, f->names[number]);
    name_index_note(noted, buf_bytes(&key));
    buf_append(&key, "\0e\0", 3);
    store_batch_put(batch, f->store, STORE_NAME, buf_bytes(&key), bytes_str(f->names[number]));
    buf_deinit(&key);
}

static void write_names(struct fixture *f, uint32_t from, uint32_t to)
{
    struct store_batch *batch = store_batch_create();
    struct buf noted = {0};
    for (uint32_t i = from; i < to; i++) {
        row(f, batch, &noted, i);
        f->there[i] = true;
    }
    assert_int_equal(name_index_write(f->index, batch, &noted, NULL), 0);
    assert_int_equal(noted.size, 0);
    buf_deinit(&noted);
    store_batch_destroy(batch);
}

static void delete_name(struct fixture *f, uint32_t number)
{
    struct store_batch *batch = store_batch_create();
    struct buf key = {0}, noted = {0};
    buf_append_str(&key, f->names[number]);
    buf_append(&key, "\0e\0", 3);
    store_batch_delete(batch, f->store, STORE_NAME, buf_bytes(&key));
    assert_int_equal(name_index_write(f->index, batch, &noted, NULL), 0);
    f->there[number] = false;
    buf_deinit(&key);
    store_batch_destroy(batch);
}

static size_t ask(struct fixture *f, const char *word, uint32_t limit, struct arena *arena,
                  Quire__MatchedName ***found)
{
    Quire__MatchRequest match = QUIRE__MATCH_REQUEST__INIT;
    Quire__ShardMatch request = QUIRE__SHARD_MATCH__INIT;
    struct err err;
    size_t count;
    match.strategy = QUIRE__MATCH_REQUEST__STRATEGY__FUZZY;
    match.has_limit = 1;
    match.limit = limit;
    request.match = &match;
    request.key = (ProtobufCBinaryData){strlen(word), (uint8_t *)word};
    if (names_match(f->index, &request, NULL, arena, found, &count, &err))
        fail_msg("%s", err.text);
    return count;
}

/* All that are near, each once, with the right distance: as many as a look at all of them finds. */
static void compare(struct fixture *f, const char *word)
{
    struct bytes letter = distance_first_letter(bytes_str(word));
    struct arena arena;
    Quire__MatchedName **found;
    size_t expected = 0;
    arena_init(&arena, 0);
    size_t count = ask(f, word, 1000, &arena, &found);
    for (uint32_t i = 0; i < NAMES; i++)
        expected += f->there[i] && bytes_has_prefix(bytes_str(f->names[i]), letter) &&
                    names_distance(bytes_str(word), bytes_str(f->names[i]), 2) <= 2;
    assert_int_equal(count, expected);
    for (size_t i = 0; i < count; i++) {
        struct bytes key = bytes_of(found[i]->key.data, found[i]->key.len);
        assert_int_equal(names_distance(bytes_str(word), key, 2), found[i]->distance);
        assert_int_equal(found[i]->entries, 1);
        if (i > 0)
            assert_true(found[i - 1]->distance < found[i]->distance ||
                        strcmp(found[i - 1]->name, found[i]->name) < 0);
    }
    arena_deinit(&arena);
}

static void check_some(struct fixture *f, uint32_t below)
{
    char word[NAME_BYTES];
    for (int i = 0; i < 6; i++) {
        strcpy(word, f->names[(uint32_t)rand_r(&f->seed) % below]);
        compare(f, word);
        size_t at = strlen(word) / 2;
        word[at] = word[at] == '7' ? '8' : '7';
        compare(f, word);
    }
    compare(f, "ma");
    compare(f, "\u00e9");
    compare(f, "none begins so");
}

/* In steps that are read one by one, that are merged, and, with long names, that make it start
 * anew. */
static void knows_what_is_written(void **state)
{
    struct fixture *f = *state;
    uint32_t step[] = {1, 300, 50, 4000, 7, 2, 9000, 1500, 20};
    uint32_t at = 0;
    compare(f, "mo");
    for (size_t i = 0; i < sizeof step / sizeof *step; at += step[i++]) {
        for (uint32_t k = at; k < at + step[i]; k++)
            make_name(f, k, step[i] > 5000 ? 64 : 0);
        for (uint32_t k = at; k < at + step[i]; k += 500)
            write_names(f, k, k + 500 < at + step[i] ? k + 500 : at + step[i]);
        check_some(f, at + step[i]);
    }
    assert_true(name_index_bytes(f->index) > 0);
}

/* Also when most of those that are near are gone, and when they come back. */
static void knows_what_is_deleted(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < 400; i++)
        snprintf(f->names[i], NAME_BYTES, "m%02u", i); /* "m7" is near to many of them */
    write_names(f, 0, 400);
    compare(f, "m77");
    for (uint32_t i = 0; i < 400; i++) {
        if (i % 50)
            delete_name(f, i);
        if (i % 40 == 0)
            compare(f, "m77");
    }
    compare(f, "m77");
    write_names(f, 30, 90);
    compare(f, "m77");
    name_index_forget(f->index, bytes_str("m"));
    name_index_forget(f->index, bytes_str("x"));
    compare(f, "m77");
}

static void *forget_often(void *data)
{
    struct fixture *f = data;
    while (!atomic_load(&f->done)) {
        name_index_forget(f->index, bytes_str("n"));
        usleep(300);
    }
    return NULL;
}

static void *write_often(void *data)
{
    struct fixture *f = data;
    for (uint32_t i = 0; i < NAMES && !atomic_load(&f->done); i += 4) {
        write_names(f, i, i + 4);
        atomic_store(&f->written, i + 4);
    }
    atomic_store(&f->done, true);
    return NULL;
}

/* What was written before somebody asks is found, also while its letter is being read. */
static void misses_nothing_in_a_race(void **state)
{
    struct fixture *f = *state;
    pthread_t writer, forgetter;
    uint32_t looks = 0;
    for (uint32_t i = 0; i < NAMES; i++)
        snprintf(f->names[i], NAME_BYTES, "n%08x", i * 2654435761u);
    pthread_create(&writer, NULL, write_often, f);
    pthread_create(&forgetter, NULL, forget_often, f);
    while (!atomic_load(&f->done) && looks < 20000) {
        uint32_t written = atomic_load(&f->written);
        struct arena arena;
        Quire__MatchedName **found;
        if (written == 0)
            continue;
        arena_init(&arena, 0);
        assert_true(ask(f, f->names[written - 1], 10, &arena, &found) > 0);
        assert_string_equal(found[0]->name, f->names[written - 1]);
        arena_deinit(&arena);
        looks++;
    }
    atomic_store(&f->done, true);
    pthread_join(writer, NULL);
    pthread_join(forgetter, NULL);
    assert_true(looks > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(knows_what_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(knows_what_is_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(misses_nothing_in_a_race, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
