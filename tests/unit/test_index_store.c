/* Index store: what is durable after a flush, and only then; batches are atomic; families do not
 * mix. */
#include "shard/index_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/quire-store-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static struct store *open_store(void)
{
    struct err err = {0};
    struct store *store = NULL;
    if (store_open(folder, NULL, &store, &err) != 0)
        fail_msg("%s", err.text);
    return store;
}

static void put(struct store *store, enum store_family family, const char *key, const char *value)
{
    struct err err = {0};
    struct store_batch *batch = store_batch_create();
    store_batch_put(batch, store, family, bytes_str(key), bytes_str(value));
    assert_true(store_batch_bytes(batch) > 0);
    assert_int_equal(store_write(store, batch, &err), 0);
    store_batch_destroy(batch);
}

static bool holds(struct store *store, enum store_family family, const char *key, const char *value)
{
    struct err err = {0};
    struct store_value got;
    bool found;
    assert_int_equal(store_get(store, family, bytes_str(key), &got, &found, &err), 0);
    bool same = found && bytes_equal(got.bytes, bytes_str(value));
    store_value_release(&got);
    return same;
}

static bool absent(struct store *store, enum store_family family, const char *key)
{
    struct err err = {0};
    struct store_value got;
    bool found;
    assert_int_equal(store_get(store, family, bytes_str(key), &got, &found, &err), 0);
    store_value_release(&got);
    return !found;
}

static void rows_are_kept_apart_by_family(void **state)
{
    struct store *store = open_store();
    put(store, STORE_ENTRY, "a", "entry");
    put(store, STORE_NAME, "a", "name");
    assert_true(holds(store, STORE_ENTRY, "a", "entry"));
    assert_true(holds(store, STORE_NAME, "a", "name"));
    assert_true(absent(store, STORE_PLACE, "a"));
    assert_true(absent(store, STORE_ENTRY, ""));
    store_close(store);
}

/* Two families are written by each batch; whatever is on disk after a kill must hold both or
 * neither. */
static void only_a_flush_is_durable_and_it_takes_all_families(void **state)
{
    struct err err = {0};
    for (int round = 0; round < 3; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct store *store = open_store();
            char key[16];
            snprintf(key, sizeof key, "durable%d", round);
            put(store, STORE_ENTRY, key, "1");
            put(store, STORE_META, key, "2");
            if (store_flush(store, &err) != 0)
                _exit(1);
            snprintf(key, sizeof key, "lost%d", round);
            put(store, STORE_ENTRY, key, "3");
            put(store, STORE_POST, key, "4");
            if (round == 1) {
                store_close(store); /* a clean close is no flush either */
                _exit(0);
            }
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    struct store *store = open_store();
    for (int round = 0; round < 3; round++) {
        char key[16];
        snprintf(key, sizeof key, "durable%d", round);
        assert_true(holds(store, STORE_ENTRY, key, "1"));
        assert_true(holds(store, STORE_META, key, "2"));
        snprintf(key, sizeof key, "lost%d", round);
        assert_true(absent(store, STORE_ENTRY, key));
        assert_true(absent(store, STORE_POST, key));
    }
    assert_int_equal(store_verify(store, &err), 0);
    assert_true(store_disk_bytes(store) > 0);
    store_close(store);
}

static void ranges_are_scanned_and_deleted(void **state)
{
    struct err err = {0};
    struct store *store = open_store();
    for (char c = 'a'; c <= 'j'; c++)
        put(store, STORE_TERM, (char[]){c, 0}, "v");
    struct store_iterator *it = store_iterate(store, STORE_TERM, bytes_str("c"), bytes_str("f"));
    struct store_batch *batch = store_batch_create();
    store_batch_delete_range(batch, store, STORE_TERM, bytes_str("d"), bytes_str("i"));
    store_batch_delete(batch, store, STORE_TERM, bytes_str("a"));
    assert_int_equal(store_write(store, batch, &err), 0);
    store_batch_destroy(batch);
    int seen = 0; /* as of its creation */
    for (; store_iterator_valid(it); store_iterator_next(it))
        assert_int_equal(store_iterator_key(it).data[0], 'c' + seen++);
    assert_int_equal(seen, 3);
    store_iterator_seek(it, bytes_str("d"));
    assert_true(store_iterator_valid(it));
    store_iterator_prev(it);
    assert_int_equal(store_iterator_key(it).data[0], 'c');
    store_iterator_prev(it);
    assert_false(store_iterator_valid(it)); /* the lower bound holds backwards too */
    assert_int_equal(store_iterator_status(it, &err), 0);
    store_iterator_close(it);

    it = store_iterate(store, STORE_TERM, (struct bytes){0}, (struct bytes){0});
    struct buf keys = {0};
    for (; store_iterator_valid(it); store_iterator_next(it))
        buf_append_bytes(&keys, store_iterator_key(it));
    assert_string_equal(buf_text(&keys), "bcij");
    buf_deinit(&keys);
    store_iterator_close(it);
    store_close(store);
}

static void a_flush_leaves_later_batches_alone(void **state)
{
    struct err err = {0};
    struct store *store = open_store();
    for (int i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        put(store, STORE_DOC, key, "x");
        assert_int_equal(store_flush(store, &err), 0);
    }
    put(store, STORE_DOC, "50", "x");
    store_close(store);
    store = open_store();
    assert_true(holds(store, STORE_DOC, "49", "x"));
    assert_true(absent(store, STORE_DOC, "50"));
    assert_int_equal(store_flush(store, &err), 0); /* with nothing to flush */
    store_close(store);
    assert_int_equal(store_destroy_files(folder, &err), 0);
}

static struct store_table *begin_table(struct store *store, const char *first, const char *second)
{
    struct err err = {0};
    struct store_table *table;
    assert_int_equal(store_table_create(store, STORE_POST, &table, &err), 0);
    assert_int_equal(store_table_put(table, bytes_str(first), bytes_str("1"), &err), 0);
    assert_int_equal(store_table_put(table, bytes_str(second), bytes_str("2"), &err), 0);
    return table;
}

/* Files of the store's folder whose names contain `part`. */
static int files(const char *part)
{
    char command[160], line[16] = "";
    snprintf(command, sizeof command, "ls '%s' | grep -c -- '%s'", folder, part);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_non_null(fgets(line, sizeof line, out));
    pclose(out);
    return atoi(line);
}

static void drop(struct store *store, const char *from, const char *to)
{
    struct err err = {0};
    struct store_batch *batch = store_batch_create();
    assert_int_equal(store_drop(store, STORE_POST, bytes_str(from), bytes_str(to), batch, &err), 0);
    assert_int_equal(store_write(store, batch, &err), 0);
    store_batch_destroy(batch);
}

static void a_table_is_seen_when_it_is_shown_and_then_durable(void **state)
{
    struct err err = {0};
    struct store *store = open_store();
    struct store_table *shown = begin_table(store, "a1", "a2");
    struct store_table *never = begin_table(store, "b1", "b2");
    put(store, STORE_POST, "a3", "lost");
    assert_true(absent(store, STORE_POST, "a1"));
    assert_int_equal(store_table_show(shown, &err), 0);
    assert_true(holds(store, STORE_POST, "a1", "1"));
    assert_true(holds(store, STORE_POST, "a2", "2"));
    store_table_destroy(shown);
    store_table_destroy(never);
    assert_int_equal(files("^new-"), 0);
    store_close(store);
    store = open_store();
    assert_true(holds(store, STORE_POST, "a2", "2"));
    assert_true(absent(store, STORE_POST, "a3"));
    assert_true(absent(store, STORE_POST, "b1"));
    assert_int_equal(store_verify(store, &err), 0);
    store_close(store);
}

static void a_table_takes_rising_keys_only(void **state)
{
    struct err err = {0};
    struct store *store = open_store();
    struct store_table *table = begin_table(store, "a", "b");
    assert_int_not_equal(store_table_put(table, bytes_str("ab"), bytes_str("3"), &err), 0);
    assert_non_null(strstr(err.text, "post"));
    store_table_destroy(table);
    assert_true(absent(store, STORE_POST, "a"));
    store_close(store);
}

/* What is dropped goes with its file, and what shares no file goes by deletion; neighbours stay. A
 * key may come again afterwards. */
static void what_is_dropped_is_gone(void **state)
{
    struct err err = {0};
    struct store *store = open_store();
    const char *keys[] = {"a1", "a2", "b1", "b2", "c1", "c2"};
    for (int i = 0; i < 6; i += 2) {
        struct store_table *table = begin_table(store, keys[i], keys[i + 1]);
        assert_int_equal(store_table_show(table, &err), 0);
        store_table_destroy(table);
    }
    put(store, STORE_POST, "b3", "of a batch");
    assert_int_equal(files("[.]sst$"), 3);
    drop(store, "b", "c");
    assert_int_equal(files("[.]sst$"), 2);
    for (int i = 0; i < 6; i++)
        assert_int_equal(absent(store, STORE_POST, keys[i]), keys[i][0] == 'b');
    assert_true(absent(store, STORE_POST, "b3"));
    struct store_table *again = begin_table(store, "b1", "b2");
    assert_int_equal(store_table_show(again, &err), 0);
    store_table_destroy(again);
    assert_true(holds(store, STORE_POST, "b1", "1"));
    assert_true(absent(store, STORE_POST, "b3"));
    drop(store, "a2", "c"); /* cuts through a file: that one stays, without its row */
    assert_true(holds(store, STORE_POST, "a1", "1"));
    assert_true(absent(store, STORE_POST, "a2"));
    assert_true(absent(store, STORE_POST, "b1"));
    assert_true(holds(store, STORE_POST, "c1", "1"));
    store_close(store);
}

/* A process that dies while it makes a table leaves a file, which the next one removes. */
static void what_a_killed_process_began_is_swept(void **state)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        begin_table(open_store(), "a", "b");
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(files("^new-"), 1);
    struct store *store = open_store();
    assert_int_equal(files("^new-"), 0);
    assert_true(absent(store, STORE_POST, "a"));
    store_close(store);
}

static void a_damaged_file_is_an_error(void **state)
{
    struct err err = {0};
    struct store *store = open_store();
    for (int i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%06d", i);
        put(store, STORE_POST, key, "some posting bytes that nobody compresses");
    }
    assert_int_equal(store_flush(store, &err), 0);
    store_close(store);
    char command[256];
    snprintf(
        command, sizeof command,
        "f=$(ls -S '%s'/*.sst | head -1); printf 'XXXX' | dd of=$f bs=1 seek=20000 conv=notrunc "
        "2>/dev/null",
        folder);
    assert_int_equal(system(command), 0);
    store = open_store();
    assert_int_equal(store_verify(store, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "post"));
    store_close(store);
    assert_int_equal(store_open("/proc/nothing/here", NULL, &store, &err), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First, since it forks: RocksDB's threads would be missing in the children. */
        cmocka_unit_test_setup_teardown(only_a_flush_is_durable_and_it_takes_all_families, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_a_killed_process_began_is_swept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_table_is_seen_when_it_is_shown_and_then_durable, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_table_takes_rising_keys_only, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_dropped_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_are_kept_apart_by_family, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_are_scanned_and_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flush_leaves_later_batches_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
