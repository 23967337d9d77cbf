/* The data folder: its lock, its small files, the id of its process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/base/data_dir.h"
#include "proto/base/memory_limit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct folder {
    char base[64];
    char dir[80];
};

static int set_up(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);
    strcpy(folder->base, "/tmp/quire-data-dir.XXXXXX");
    assert_non_null(mkdtemp(folder->base));
    snprintf(folder->dir, sizeof folder->dir, "%s/data", folder->base);
    *state = folder;
    return 0;
}

static int tear_down(void **state)
{
    struct folder *folder = *state;
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", folder->base);
    assert_int_equal(system(command), 0);
    free(folder);
    return 0;
}

static void put_file(const struct folder *folder, const char *name, const char *bytes, size_t size)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder->dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* In a process of its own, since the lock belongs to the open file. */
static int lock_elsewhere(const struct folder *folder)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int lock;
        _exit(data_dir_lock(folder->dir, &lock, NULL));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static void test_lock(void **state)
{
    struct folder *folder = *state;
    struct err err;
    int lock;
    assert_int_equal(data_dir_lock(folder->dir, &lock, &err), 0);
    struct stat stat_;
    assert_int_equal(stat(folder->dir, &stat_), 0);
    assert_int_equal(stat_.st_mode & 0777, 0700);
    assert_int_equal(lock_elsewhere(folder), ERR_EXISTS);
    close(lock);
    assert_int_equal(lock_elsewhere(folder), 0);
    assert_int_equal(data_dir_lock("/nonexistent/data", &lock, &err), ERR_IO);
    assert_non_null(strstr(err.text, "/nonexistent/data"));
}

/* A killed holder's lock is waited for. */
static void test_lock_waits(void **state)
{
    struct folder *folder = *state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int lock;
        int code = data_dir_lock(folder->dir, &lock, NULL);
        if (code == 0 && write(ready[1], "x", 1) == 1)
            usleep(300000);
        _exit(code);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    int lock;
    assert_int_equal(data_dir_lock(folder->dir, &lock, NULL), 0);
    close(lock);
    waitpid(pid, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_files(void **state)
{
    struct folder *folder = *state;
    struct err err;
    char text[16];
    int lock;
    assert_int_equal(data_dir_lock(folder->dir, &lock, &err), 0);
    assert_int_equal(data_dir_read(folder->dir, "word", text, sizeof text, &err), ERR_NOT_FOUND);
    assert_int_equal(data_dir_write(folder->dir, "word", "first", &err), 0);
    assert_int_equal(data_dir_write(folder->dir, "word", "second", &err), 0);
    assert_int_equal(data_dir_read(folder->dir, "word", text, sizeof text, &err), 0);
    assert_string_equal(text, "second");
    assert_int_equal(data_dir_write(folder->dir, "long", "sixteen letters!", &err), 0);
    assert_int_equal(data_dir_read(folder->dir, "long", text, sizeof text, &err), ERR_TOO_LARGE);
    /* A crash before the rename leaves the old text. */
    put_file(folder, "word.new", "torn", 2);
    assert_int_equal(data_dir_read(folder->dir, "word", text, sizeof text, &err), 0);
    assert_string_equal(text, "second");
    close(lock);
}

static size_t get_file(const struct folder *folder, const char *name, char *bytes, size_t size)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder->dir, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t got = fread(bytes, 1, size, file);
    fclose(file);
    return got;
}

/* Whichever bit it is, newlines and checksum included. */
static void test_a_flipped_bit_is_mended(void **state)
{
    struct folder *folder = *state;
    struct err err;
    char sound[200], now[200], text[64];
    int lock;
    assert_int_equal(data_dir_lock(folder->dir, &lock, &err), 0);
    assert_int_equal(data_dir_write(folder->dir, "word", "some text: 1,2", &err), 0);
    size_t size = get_file(folder, "word", sound, sizeof sound);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        memcpy(now, sound, size);
        now[bit / 8] = (char)(now[bit / 8] ^ 1 << bit % 8);
        put_file(folder, "word", now, size);
        assert_int_equal(data_dir_read(folder->dir, "word", text, sizeof text, &err), 0);
        assert_string_equal(text, "some text: 1,2");
        assert_int_equal(get_file(folder, "word", now, sizeof now), size);
        assert_memory_equal(now, sound, size);
    }
    memcpy(now, sound, size); /* two copies, differently */
    now[0] ^= 1;
    now[size / 2 - 1] ^= 1;
    put_file(folder, "word", now, size);
    assert_int_equal(data_dir_read(folder->dir, "word", text, sizeof text, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "word is damaged"));
    put_file(folder, "word", "old form\n", 9); /* of one line */
    assert_int_equal(data_dir_read(folder->dir, "word", text, sizeof text, &err), 0);
    assert_string_equal(text, "old form");
    close(lock);
}

static void test_node_id(void **state)
{
    struct folder *folder = *state;
    struct err err;
    char first[UUID_TEXT_SIZE], again[UUID_TEXT_SIZE];
    int lock;
    assert_int_equal(data_dir_lock(folder->dir, &lock, &err), 0);
    assert_int_equal(data_dir_node_id(folder->dir, first, &err), 0);
    assert_true(uuid_valid(first));
    assert_int_equal(data_dir_node_id(folder->dir, again, &err), 0);
    assert_string_equal(first, again);
    put_file(folder, "node-id", "", 0);
    assert_int_equal(data_dir_node_id(folder->dir, again, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "node-id"));
    close(lock);
}

static void test_memory_limit(void **state)
{
    (void)state;
    assert_true(memory_limit() >= 16 << 20);
    assert_true(memory_limit() <=
                (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

static uint64_t limit_in(struct folder *folder, const char *table)
{
    char path[4096];
    put_file(folder, "table", table, strlen(table));
    snprintf(path, sizeof path, "%s/table", folder->dir);
    return memory_limit_of(path, folder->dir, 1000000);
}

static void put_limit(struct folder *folder, const char *name, const char *text)
{
    put_file(folder, name, text, strlen(text));
}

static void make_folder(struct folder *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder->dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void test_memory_limit_of_cgroups(void **state)
{
    struct folder *folder = *state;
    static const char *const folders[] = {"a", "a/b", "memory", "memory/x", "memory/x/y"};
    assert_int_equal(mkdir(folder->dir, 0700), 0);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        make_folder(folder, folders[i]);
    assert_int_equal(limit_in(folder, "0::/a/b\n"), 1000000); /* no limits */
    put_limit(folder, "a/b/memory.max", "max\n");
    assert_int_equal(limit_in(folder, "0::/a/b\n"), 1000000);
    put_limit(folder, "a/b/memory.max", "5000\n");
    put_limit(folder, "a/memory.max", "4000\n"); /* one above it is smaller */
    assert_int_equal(limit_in(folder, "0::/a/b\n"), 4000);
    put_limit(folder, "a/memory.max", "9000000\n");
    assert_int_equal(limit_in(folder, "0::/a/b\n"), 5000);
    assert_int_equal(limit_in(folder, "0::/a\n"), 1000000);
    put_limit(folder, "memory.max", "7000\n"); /* all that a container sees of its own group */
    assert_int_equal(limit_in(folder, "0::/seen/by/the/host\n"), 7000);
    assert_int_equal(limit_in(folder, "0::/\n"), 7000);
    put_limit(folder, "memory.max", "max\n");

    put_limit(folder, "memory/memory.limit_in_bytes", "9223372036854771712\n");
    put_limit(folder, "memory/x/y/memory.limit_in_bytes", "3000\n");
    assert_int_equal(limit_in(folder, "2:cpu:/x/y\n0::/\n"), 1000000);
    assert_int_equal(limit_in(folder, "2:cpu:/\n4:memory:/x/y\n0::/\n"), 3000);
    assert_int_equal(limit_in(folder, "4:cpu,memory,pids:/x/y\n"), 3000);
    assert_int_equal(limit_in(folder, "4:memory:/x\n"), 1000000);
    put_limit(folder, "memory/x/memory.limit_in_bytes", "2000\n");
    assert_int_equal(limit_in(folder, "4:memory:/x/y\n"), 2000);
    assert_int_equal(limit_in(folder, "4:memory\nnonsense\n\n:\n::\n"), 1000000);
    put_limit(folder, "memory/memory.limit_in_bytes", "6000\n");
    assert_int_equal(limit_in(folder, "4:memory:/seen/by/the/host\n"), 6000);
    assert_int_equal(memory_limit_of("/nowhere", folder->dir, 77), 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lock_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_flipped_bit_is_mended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_node_id, set_up, tear_down),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test_setup_teardown(test_memory_limit_of_cgroups, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("data_dir", tests, NULL, NULL);
}
