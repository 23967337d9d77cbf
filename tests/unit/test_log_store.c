/* Log store: what was appended is there after a kill; truncation; damage and gaps are noticed. */
#include "shard/log_store.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/quire-log-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static struct log_store *open_log(void)
{
    struct err err = {0};
    struct log_store *log;
    if (log_store_open(folder, &log, &err) != 0)
        fail_msg("%s", err.text);
    return log;
}

static void append(struct log_store *log, uint64_t range, uint64_t seq, uint32_t count,
                   const char *text)
{
    struct err err = {0};
    struct log_record record = {range, 7, seq, count, bytes_str(text)};
    if (log_store_append(log, &record, 1, &err) != 0)
        fail_msg("%s", err.text);
}

struct seen {
    uint64_t range;
    struct buf text;
    int stop;
};

static int see(void *data, const struct log_record *record, struct err *err)
{
    struct seen *seen = data;
    assert_int_equal(record->range, seen->range);
    assert_int_equal(record->epoch, 7);
    buf_printf(&seen->text, "%d+%d:", (int)record->first_seq, (int)record->count);
    buf_append_bytes(&seen->text, record->write);
    buf_append_u8(&seen->text, ' ');
    return seen->stop;
}

static void expect(struct log_store *log, uint64_t range, uint64_t from, const char *text)
{
    struct err err = {0};
    struct seen seen = {.range = range};
    assert_int_equal(log_store_read(log, range, from, see, &seen, &err), 0);
    assert_string_equal(buf_text(&seen.text), text);
    buf_deinit(&seen.text);
}

static void appended_records_survive_a_kill(void **state)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct log_store *log = open_log();
        append(log, 1, 1, 2, "a");
        append(log, 2, 1, 1, "x");
        append(log, 1, 3, 1, "b");
        struct log_record both[] = {{1, 7, 4, 3, bytes_str("c")}, {2, 7, 2, 1, bytes_str("")}};
        log_store_append(log, both, 2, NULL);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct log_store *log = open_log();
    expect(log, 1, 1, "1+2:a 3+1:b 4+3:c ");
    expect(log, 1, 3, "3+1:b 4+3:c ");
    expect(log, 2, 1, "1+1:x 2+1: ");
    expect(log, 3, 1, "");
    expect(log, 1, 7, "");
    log_store_close(log);
}

/* Exits with the number of records that were acknowledged before the disk was full; 200 and above:
 * what went wrong. */
static void fill_the_disk(void)
{
    static char text[2000];
    struct err err = {0};
    struct log_store *log = open_log();
    int acknowledged = 0;
    memset(text, 'x', sizeof text - 1);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {100000, 100000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(200);
    for (;;) {
        struct log_record record = {1, 7, 1 + (uint64_t)acknowledged, 1, bytes_str(text)};
        int code = log_store_append(log, &record, 1, &err);
        if (code != 0 && (code != ERR_IO || err.text[0] == 0))
            _exit(201);
        if (code != 0)
            break;
        if (++acknowledged > 100)
            _exit(202);
    }
    struct log_record more = {2, 7, 1, 1, bytes_str("x")};
    if (log_store_append(log, &more, 1, &err) == 0)
        _exit(203);
    struct seen seen = {.range = 1};
    if (log_store_read(log, 1, 1, see, &seen, &err) != 0 || seen.text.size < 1000)
        _exit(204);
    log_store_close(log);
    _exit(acknowledged);
}

static void a_full_disk_is_an_error_and_loses_nothing(void **state)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        fill_the_disk();
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_in_range(WEXITSTATUS(status), 10, 100);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct seen seen = {.range = 1};
        struct log_store *log = open_log();
        int code = log_store_read(log, 1, 1, see, &seen, NULL);
        char last[16];
        snprintf(last, sizeof last, "%d+1:", WEXITSTATUS(status));
        _exit(code == 0 && strstr(buf_text(&seen.text), last) != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void truncation_takes_one_range_up_to_a_seq(void **state)
{
    struct err err = {0};
    struct log_store *log = open_log();
    for (uint64_t seq = 1; seq <= 9; seq += 2) {
        append(log, 1, seq, 2, "a");
        append(log, 2, seq, 2, "b");
    }
    assert_int_equal(log_store_truncate(log, 1, 6, &err), 0);
    assert_int_equal(log_store_truncate(log, 3, 0, &err), 0);
    expect(log, 1, 7, "7+2:a 9+2:a ");
    expect(log, 2, 1, "1+2:b 3+2:b 5+2:b 7+2:b 9+2:b ");
    log_store_close(log);
    log = open_log();
    expect(log, 1, 7, "7+2:a 9+2:a ");
    assert_true(log_store_bytes(log) > 0);
    log_store_close(log);
}

static void a_range_has_a_log_from_its_beginning_until_it_is_dropped(void **state)
{
    struct err err = {0};
    bool known;
    uint64_t forgotten;
    struct log_store *log = open_log();
    assert_int_equal(log_store_beginning(log, 1, &known, &forgotten, &err), 0);
    assert_false(known);
    assert_int_equal(log_store_begin(log, 1, &err), 0);
    assert_int_equal(log_store_beginning(log, 1, &known, &forgotten, &err), 0);
    assert_true(known);
    assert_int_equal(forgotten, 0);
    append(log, 1, 1, 2, "a");
    append(log, 1, 3, 2, "b");
    expect(log, 1, 1, "1+2:a 3+2:b ");
    assert_int_equal(log_store_truncate(log, 1, 2, &err), 0);
    log_store_close(log);
    log = open_log();
    assert_int_equal(log_store_beginning(log, 1, &known, &forgotten, &err), 0);
    assert_true(known);
    assert_int_equal(forgotten, 2);
    expect(log, 1, 3, "3+2:b ");
    assert_int_equal(log_store_drop(log, 1, &err), 0);
    assert_int_equal(log_store_beginning(log, 1, &known, &forgotten, &err), 0);
    assert_false(known);
    expect(log, 1, 1, "");
    log_store_close(log);
}

static void gaps_and_the_visitors_wish_end_reading(void **state)
{
    struct err err = {0};
    struct log_store *log = open_log();
    append(log, 1, 1, 2, "a");
    append(log, 1, 4, 1, "b");
    struct seen seen = {.range = 1};
    assert_int_equal(log_store_read(log, 1, 1, see, &seen, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "4 follows 2"));
    seen.stop = ERR_CANCELED;
    assert_int_equal(log_store_read(log, 1, 1, see, &seen, &err), ERR_CANCELED);
    assert_int_equal(log_store_read(log, 1, 3, see, &seen, &err), ERR_CORRUPT);
    buf_deinit(&seen.text);
    log_store_close(log);
}

/* A torn tail is forgiven; a damaged middle is not. */
static void a_torn_tail_is_forgiven_and_damage_is_not(void **state)
{
    struct err err = {0};
    struct log_store *log = open_log();
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (uint64_t seq = 1; seq <= 50; seq++)
        append(log, 1, seq, 1, text);
    log_store_close(log);
    char command[256];
    snprintf(command, sizeof command, "f=$(ls -S '%s'/*.log | head -1); truncate -s -100 $f",
             folder);
    assert_int_equal(system(command), 0);
    log = open_log();
    struct seen seen = {.range = 1};
    assert_int_equal(log_store_read(log, 1, 1, see, &seen, &err), 0);
    assert_non_null(strstr(buf_text(&seen.text), " 49+1:"));
    assert_null(strstr(buf_text(&seen.text), " 50+1:"));
    buf_deinit(&seen.text);
    for (uint64_t seq = 50; seq <= 90; seq++)
        append(log, 1, seq, 1, text);
    log_store_close(log);
    snprintf(
        command, sizeof command,
        "f=$(ls -S '%s'/*.log | head -1); printf 'YYYY' | dd of=$f bs=1 seek=30000 conv=notrunc "
        "2>/dev/null",
        folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(log_store_open(folder, &log, &err), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First, since they fork: RocksDB's threads would be missing in the children. */
        cmocka_unit_test_setup_teardown(appended_records_survive_a_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_an_error_and_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(truncation_takes_one_range_up_to_a_seq, setup, teardown),
        cmocka_unit_test_setup_teardown(a_range_has_a_log_from_its_beginning_until_it_is_dropped,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(gaps_and_the_visitors_wish_end_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_tail_is_forgiven_and_damage_is_not, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
