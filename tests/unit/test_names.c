#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/names.h"

struct fixture {
    char path[64];
    struct store *store;
    struct name_index *index;
    struct arena arena;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    strcpy(fixture->path, "/tmp/quire-names-XXXXXX");
    assert_non_null(mkdtemp(fixture->path));
    struct err err;
    if (store_open(fixture->path, NULL, &fixture->store, &err))
        fail_msg("%s", err.text);
    fixture->index = name_index_create(fixture->store);
    arena_init(&fixture->arena, 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    name_index_destroy(fixture->index);
    store_close(fixture->store);
    store_destroy_files(fixture->path, NULL);
    rmdir(fixture->path);
    arena_deinit(&fixture->arena);
    free(fixture);
    return 0;
}

static void put_name(struct fixture *fixture, struct store_batch *batch, const char *name,
                     const char *entry)
{
    struct buf key = {0};
    text_key(bytes_str(name), &key);
    buf_append_u8(&key, 0);
    buf_append_str(&key, entry);
    buf_append_u8(&key, 0);
    store_batch_put(batch, fixture->store, STORE_NAME, buf_bytes(&key), bytes_str(name));
    buf_deinit(&key);
}

static void put_names(struct fixture *fixture, const char *const *names, size_t count)
{
    struct store_batch *batch = store_batch_create();
    for (size_t i = 0; i < count; i++) {
        char entry[32];
        snprintf(entry, sizeof entry, "e%zu", i);
        put_name(fixture, batch, names[i], entry);
    }
    assert_int_equal(store_write(fixture->store, batch, NULL), 0);
    store_batch_destroy(batch);
}

static const char *const names[] = {
    "Model",   "model", "MODEL",    "Model card",  "Model merging", "Mode",
    "Remodel", "Modal", "Mdoel",    "Mod\u00e9le", "Muddle",        "Card",
    "Model",   "C++",   "Zo\u00eb", "Node",        "Modelling",     "Mo",
};

/* The matches as "name/key/distance/entries ...". */
static const char *match(struct fixture *fixture, int strategy, const char *word, uint32_t distance,
                         uint32_t limit)
{
    Quire__MatchRequest match = QUIRE__MATCH_REQUEST__INIT;
    Quire__ShardMatch request = QUIRE__SHARD_MATCH__INIT;
    match.strategy = (Quire__MatchRequest__Strategy)strategy;
    match.has_distance = distance > 0;
    match.distance = distance;
    match.has_limit = limit > 0;
    match.limit = limit;
    struct buf key = {0};
    text_key(bytes_str(word), &key);
    request.match = &match;
    request.key = (ProtobufCBinaryData){key.size, key.data};
    Quire__MatchedName **found;
    size_t count;
    struct err err;
    if (names_match(fixture->index, &request, NULL, &fixture->arena, &found, &count, &err))
        fail_msg("%s", err.text);
    struct buf shown = {0};
    for (size_t i = 0; i < count; i++)
        buf_printf(&shown, "%s%s/%.*s/%u/%u", i ? ", " : "", found[i]->name, (int)found[i]->key.len,
                   (const char *)found[i]->key.data, found[i]->distance,
                   (unsigned)found[i]->entries);
    const char *copy = arena_strdup(&fixture->arena, buf_text(&shown));
    buf_deinit(&shown);
    buf_deinit(&key);
    return copy;
}

enum { EXACT = 1, PREFIX, SUBSTRING, FUZZY };

static void finds_names(void **state)
{
    struct fixture *fixture = *state;
    put_names(fixture, names, sizeof names / sizeof *names);
    /* Entries in key order: e0 "Model", e1 "model", e12 "Model", e2 "MODEL". */
    assert_string_equal(match(fixture, EXACT, "mODEL", 0, 0), "Model/model/0/4");
    assert_string_equal(match(fixture, EXACT, "mod", 0, 0), "");
    assert_string_equal(match(fixture, EXACT, "c++", 0, 0), "C++/c++/0/1");
    assert_string_equal(
        match(fixture, PREFIX, "model", 0, 0),
        "Model/model/0/4, Model card/model card/0/1, Model merging/model merging/0/1, "
        "Mod\u00e9le/modele/0/1, Modelling/modelling/0/1");
    assert_string_equal(match(fixture, PREFIX, "x", 0, 0), "");
    assert_string_equal(match(fixture, PREFIX, "zoe", 0, 0), "Zo\u00eb/zoe/0/1");
    assert_string_equal(match(fixture, SUBSTRING, "card", 0, 0),
                        "Card/card/0/1, Model card/model card/0/1");
    assert_string_equal(match(fixture, SUBSTRING, "odel m", 0, 0),
                        "Model merging/model merging/0/1");
    assert_string_equal(match(fixture, FUZZY, "model", 1, 0),
                        "Model/model/0/4, Mdoel/mdoel/1/1, Modal/modal/1/1, Mode/mode/1/1, "
                        "Mod\u00e9le/modele/1/1");
    assert_string_equal(match(fixture, FUZZY, "mod", 2, 0),
                        "Mo/mo/1/1, Mode/mode/1/1, Modal/modal/2/1, Model/model/2/4");
    assert_string_equal(match(fixture, FUZZY, "", 2, 0), "");
}

static void gives_one_more_than_the_limit(void **state)
{
    struct fixture *fixture = *state;
    put_names(fixture, names, sizeof names / sizeof *names);
    assert_string_equal(match(fixture, PREFIX, "model", 0, 1),
                        "Model/model/0/4, Model card/model card/0/1");
    assert_string_equal(match(fixture, FUZZY, "model", 2, 2),
                        "Model/model/0/4, Mdoel/mdoel/1/1, Modal/modal/1/1");
    assert_string_equal(match(fixture, SUBSTRING, "", 0, 1), "C++/c++/0/1, Card/card/0/1");
    assert_string_equal(match(fixture, PREFIX, "", 0, 1), "C++/c++/0/1, Card/card/0/1");
}

static void refuses_nonsense(void **state)
{
    struct fixture *fixture = *state;
    Quire__MatchRequest match = QUIRE__MATCH_REQUEST__INIT;
    Quire__ShardMatch request = QUIRE__SHARD_MATCH__INIT;
    Quire__MatchedName **found;
    size_t count;
    request.match = &match;
    match.strategy = (Quire__MatchRequest__Strategy)9;
    assert_int_equal(
        names_match(fixture->index, &request, NULL, &fixture->arena, &found, &count, NULL),
        ERR_INVALID);
    match.strategy = QUIRE__MATCH_REQUEST__STRATEGY__FUZZY;
    match.has_distance = 1;
    match.distance = 3;
    assert_int_equal(
        names_match(fixture->index, &request, NULL, &fixture->arena, &found, &count, NULL),
        ERR_INVALID);
    match.distance = 1;
    match.has_limit = 1;
    match.limit = LIMIT_MATCHES + 1;
    assert_int_equal(
        names_match(fixture->index, &request, NULL, &fixture->arena, &found, &count, NULL),
        ERR_INVALID);
}

static bool always(void *data)
{
    return true;
}

static void stops_in_time(void **state)
{
    struct fixture *fixture = *state;
    struct store_batch *batch = store_batch_create();
    for (int i = 0; i < 5000; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        put_name(fixture, batch, name, "e");
    }
    assert_int_equal(store_write(fixture->store, batch, NULL), 0);
    store_batch_destroy(batch);
    Quire__MatchRequest match = QUIRE__MATCH_REQUEST__INIT;
    Quire__ShardMatch request = QUIRE__SHARD_MATCH__INIT;
    Quire__MatchedName **found;
    size_t count;
    request.match = &match;
    request.key = (ProtobufCBinaryData){1, (uint8_t *)"x"};
    match.strategy = QUIRE__MATCH_REQUEST__STRATEGY__SUBSTRING;
    struct search_budget late = {.deadline_ms = clock_ms() - 1}, gone = {.abandoned = always};
    assert_int_equal(
        names_match(fixture->index, &request, &late, &fixture->arena, &found, &count, NULL),
        ERR_DEADLINE);
    assert_int_equal(
        names_match(fixture->index, &request, &gone, &fixture->arena, &found, &count, NULL),
        ERR_CANCELED);
    assert_int_equal(
        names_match(fixture->index, &request, NULL, &fixture->arena, &found, &count, NULL), 0);
    assert_int_equal(count, 0);
}

/* ---- distances, against the whole matrix ---- */

static uint32_t slow_distance(const char *a, const char *b)
{
    uint32_t d[40][40];
    uint32_t n = (uint32_t)strlen(a), m = (uint32_t)strlen(b);
    for (uint32_t i = 0; i <= n; i++)
        for (uint32_t j = 0; j <= m; j++) {
            d[i][j] = i ? j ? d[i - 1][j - 1] + (a[i - 1] != b[j - 1]) : i : j;
            if (i && j && d[i - 1][j] + 1 < d[i][j])
                d[i][j] = d[i - 1][j] + 1;
            if (i && j && d[i][j - 1] + 1 < d[i][j])
                d[i][j] = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[n][m];
}

static void random_word(unsigned *seed, char *word)
{
    int size = rand_r(seed) % 10;
    for (int i = 0; i < size; i++)
        word[i] = (char)('a' + rand_r(seed) % 3);
    word[size] = 0;
}

static void distances_are_right(void **state)
{
    unsigned seed = 12;
    for (int i = 0; i < 200000; i++) {
        char a[16], b[16];
        random_word(&seed, a);
        random_word(&seed, b);
        uint32_t limit = (uint32_t)rand_r(&seed) % 6, true_distance = slow_distance(a, b);
        uint32_t expected = true_distance <= limit ? true_distance : limit + 1;
        if (names_distance(bytes_str(a), bytes_str(b), limit) != expected)
            fail_msg("%s %s limit %u", a, b, limit);
    }
}

static void distances_count_code_points(void **state)
{
    assert_int_equal(names_distance(bytes_str("zo\u00eb"), bytes_str("zoe"), 2), 1);
    assert_int_equal(names_distance(bytes_str("\u00e4\u00f6"), bytes_str("\u00f6\u00e4"), 2), 1);
    assert_int_equal(names_distance(bytes_str("ca"), bytes_str("abc"), 5),
                     3); /* no part edited twice */
    assert_int_equal(names_distance(bytes_str(""), bytes_str("ab"), 2), 2);
    assert_int_equal(names_distance(bytes_str(""), bytes_str("abc"), 2), 3);
    assert_int_equal(names_distance(bytes_str("\xff\xe2"), bytes_str("\xff\xe2"), 2),
                     0); /* no UTF-8 */
    assert_int_equal(names_distance(bytes_str("\xff"), bytes_str("\xfe"), 2), 1);
    char *a = malloc(9000), *b = malloc(9000);
    memset(a, 'a', 9000);
    memset(b, 'b', 9000);
    assert_int_equal(names_distance(bytes_of(a, 4000), bytes_of(b, 4000), 2), 3);
    assert_int_equal(names_distance(bytes_of(a, 4000), bytes_of(b, 4000), UINT32_MAX), 4000);
    assert_int_equal(names_distance(bytes_of(a, 9000), bytes_of(b, 9000), 2), 3);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_names, setup, teardown),
        cmocka_unit_test_setup_teardown(gives_one_more_than_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(stops_in_time, setup, teardown),
        cmocka_unit_test(distances_are_right),
        cmocka_unit_test(distances_count_code_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
