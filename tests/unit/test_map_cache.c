/* The map that is kept for a start without a majority: as it was written, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/map_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state)
{
    char *dir = strdup("/tmp/quire-test-map-cache-XXXXXX");
    *state = dir;
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char *dir = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/" MAP_CACHE_FILE, dir);
    unlink(path);
    int rc = rmdir(dir);
    free(dir);
    return rc;
}

static struct map *make_map(void)
{
    struct map *empty = map_create_empty(), *map;
    uint8_t secret[16] = {7};
    Quire__ClusterMap first = QUIRE__CLUSTER_MAP__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    struct err err = {0};
    first.cluster_id = (char *)"a-cluster";
    first.secret.data = secret;
    first.secret.len = sizeof secret;
    first.next_id = 1;
    change.bootstrap = &first;
    if (map_apply(empty, &change, &map, &err) != 0)
        fail_msg("%s", err.text);
    map_unref(empty);
    return map;
}

static void test_round_trip(void **state)
{
    const char *dir = *state;
    struct map *map = make_map(), *read;
    struct err err = {0};
    assert_int_equal(map_cache_read(dir, &read, &err), ERR_NOT_FOUND);
    assert_int_equal(map_cache_write(dir, map, &err), 0);
    assert_int_equal(map_cache_write(dir, map, &err), 0); /* replaces */
    assert_int_equal(map_cache_read(dir, &read, &err), 0);
    assert_int_equal(map_epoch(read), map_epoch(map));
    assert_string_equal(read->message->cluster_id, "a-cluster");
    map_unref(read);
    map_unref(map);
}

/* Each single byte changed, and each truncation, is noticed. */
static void test_damage(void **state)
{
    const char *dir = *state;
    struct map *map = make_map(), *read;
    struct err err = {0};
    char path[128];
    uint8_t good[4096], bad[4096];
    snprintf(path, sizeof path, "%s/" MAP_CACHE_FILE, dir);
    assert_int_equal(map_cache_write(dir, map, &err), 0);
    map_unref(map);
    FILE *file = fopen(path, "r");
    size_t size = fread(good, 1, sizeof good, file);
    fclose(file);
    assert_in_range(size, 8, sizeof good - 1);
    for (size_t i = 0; i < 2 * size; i++) {
        memcpy(bad, good, size);
        bad[i % size] ^= 0x40;
        file = fopen(path, "w");
        fwrite(bad, 1, i < size ? size : i - size, file);
        fclose(file);
        assert_int_equal(map_cache_read(dir, &read, &err), ERR_CORRUPT);
        assert_null(read);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
