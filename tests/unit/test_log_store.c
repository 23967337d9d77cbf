/* Log store: what was appended or cut is so after a kill; truncation; damage and gaps are noticed;
 * a random history is compared with a model. QUIRE_TEST_SEED replays one. */
#include "shard/log_store.h"

#include "proto/base/clock.h"

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
    struct log_record record = {range, 7, seq, count, bytes_str(text), false};
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
    assert_int_equal(log_store_read(log, range, from, UINT64_MAX, see, &seen, &err), 0);
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
        struct log_record both[] = {{1, 7, 4, 3, bytes_str("c"), false},
                                    {2, 7, 2, 1, bytes_str(""), false}};
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
        struct log_record record = {1, 7, 1 + (uint64_t)acknowledged, 1, bytes_str(text), false};
        int code = log_store_append(log, &record, 1, &err);
        if (code != 0 && (code != ERR_IO || err.text[0] == 0))
            _exit(201);
        if (code != 0)
            break;
        if (++acknowledged > 100)
            _exit(202);
    }
    struct log_record more = {2, 7, 1, 1, bytes_str("x"), false};
    if (log_store_append(log, &more, 1, &err) == 0)
        _exit(203);
    struct seen seen = {.range = 1};
    if (log_store_read(log, 1, 1, UINT64_MAX, see, &seen, &err) != 0 || seen.text.size < 1000)
        _exit(204);
    log_store_close(log);
    _exit(acknowledged);
}

/* The cut and what comes in its place are durable together, with another range's record. */
static void a_cut_survives_a_kill(void **state)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct log_store *log = open_log();
        append(log, 1, 1, 2, "a");
        append(log, 1, 3, 2, "gone");
        append(log, 1, 5, 1, "gone");
        append(log, 2, 1, 1, "x");
        struct log_record group[] = {{1, 7, 6, 1, bytes_str("gone"), false},
                                     {2, 7, 2, 1, bytes_str("y"), false},
                                     {1, 7, 3, 1, bytes_str("new"), true},
                                     {1, 7, 4, 1, bytes_str("newer"), false}};
        log_store_append(log, group, 4, NULL);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct log_store *log = open_log();
    expect(log, 1, 1, "1+2:a 3+1:new 4+1:newer ");
    expect(log, 2, 1, "1+1:x 2+1:y ");
    log_store_close(log);
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
        int code = log_store_read(log, 1, 1, UINT64_MAX, see, &seen, NULL);
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

static void truncation_ends_with_a_record_and_never_goes_back(void **state)
{
    struct err err = {0};
    bool known;
    struct replication_position after;
    struct log_store *log = open_log();
    assert_int_equal(log_store_begin(log, 1, (struct replication_position){0}, &err), 0);
    for (uint64_t seq = 1; seq <= 9; seq += 3)
        append(log, 1, seq, 3, "a");
    assert_int_equal(log_store_truncate(log, 1, 5, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "no record ends at 5"));
    assert_int_equal(log_store_truncate(log, 1, 12, &err), ERR_NOT_FOUND);
    expect(log, 1, 1, "1+3:a 4+3:a 7+3:a ");
    assert_int_equal(log_store_truncate(log, 1, 6, &err), 0);
    assert_int_equal(log_store_truncate(log, 1, 6, &err), 0);
    assert_int_equal(log_store_truncate(log, 1, 3, &err), 0);
    assert_int_equal(log_store_beginning(log, 1, &known, &after, &err), 0);
    assert_true(known && after.seq == 6 && after.epoch == 7);
    expect(log, 1, 7, "7+3:a ");
    log_store_close(log);
}

static void a_range_has_a_log_from_its_beginning_until_it_is_dropped(void **state)
{
    struct err err = {0};
    bool known;
    struct replication_position after;
    struct log_extent extent;
    struct log_store *log = open_log();
    assert_int_equal(log_store_beginning(log, 1, &known, &after, &err), 0);
    assert_false(known);
    assert_int_equal(log_store_extent(log, 1, &extent, &err), 0);
    assert_false(extent.known);
    assert_int_equal(log_store_begin(log, 1, (struct replication_position){0}, &err), 0);
    assert_int_equal(log_store_beginning(log, 1, &known, &after, &err), 0);
    assert_true(known);
    assert_int_equal(after.seq, 0);
    append(log, 1, 1, 2, "a");
    append(log, 1, 3, 2, "b");
    expect(log, 1, 1, "1+2:a 3+2:b ");
    assert_int_equal(log_store_truncate(log, 1, 2, &err), 0);
    log_store_close(log);
    log = open_log();
    assert_int_equal(log_store_beginning(log, 1, &known, &after, &err), 0);
    assert_true(known);
    assert_int_equal(after.seq, 2);
    assert_int_equal(after.epoch, 7);
    expect(log, 1, 3, "3+2:b ");
    assert_int_equal(log_store_drop(log, 1, &err), 0);
    assert_int_equal(log_store_beginning(log, 1, &known, &after, &err), 0);
    assert_false(known);
    expect(log, 1, 1, "");
    log_store_close(log);
}

/* The log of an index that came as files: nothing of what was there before is left. */
static void a_log_begins_where_the_index_ends(void **state)
{
    struct err err = {0};
    struct log_extent extent;
    uint64_t epoch;
    struct log_store *log = open_log();
    append(log, 1, 1, 2, "old");
    append(log, 2, 1, 1, "other");
    append(log, 1, 3, 9, "old");
    assert_int_equal(log_store_begin(log, 1, (struct replication_position){4, 10}, &err), 0);
    expect(log, 1, 1, "");
    expect(log, 2, 1, "1+1:other ");
    assert_int_equal(log_store_epoch_at(log, 1, 10, &epoch, &err), 0);
    assert_int_equal(epoch, 4);
    assert_int_equal(log_store_epoch_at(log, 1, 9, &epoch, &err), ERR_NOT_FOUND);
    assert_int_equal(log_store_epoch_at(log, 1, 0, &epoch, &err), ERR_NOT_FOUND);
    assert_int_equal(log_store_epoch_at(log, 1, 11, &epoch, &err), ERR_NOT_FOUND);
    append(log, 1, 11, 2, "new");
    assert_int_equal(log_store_epoch_at(log, 1, 12, &epoch, &err), 0);
    assert_int_equal(epoch, 7);
    log_store_close(log);
    log = open_log();
    assert_int_equal(log_store_extent(log, 1, &extent, &err), 0);
    assert_true(extent.known);
    assert_int_equal(extent.base.epoch, 4);
    assert_int_equal(extent.base.seq, 10);
    assert_int_equal(extent.start_count, 1);
    assert_int_equal(extent.starts[0].epoch, 7);
    assert_int_equal(extent.starts[0].seq, 11);
    assert_int_equal(extent.last_seq, 12);
    log_extent_deinit(&extent);
    log_store_close(log);
}

static void reading_ends_where_it_is_told(void **state)
{
    struct err err = {0};
    struct seen seen = {.range = 1};
    struct log_store *log = open_log();
    for (uint64_t seq = 1; seq <= 9; seq += 3)
        append(log, 1, seq, 3, "a");
    assert_int_equal(log_store_read(log, 1, 4, 7, see, &seen, &err), 0);
    assert_string_equal(buf_text(&seen.text), "4+3:a 7+3:a ");
    buf_clear(&seen.text);
    assert_int_equal(log_store_read(log, 1, 4, 6, see, &seen, &err), 0);
    assert_string_equal(buf_text(&seen.text), "4+3:a ");
    buf_deinit(&seen.text);
    log_store_close(log);
}

static void epochs_do_not_fall(void **state)
{
    struct err err = {0};
    struct log_extent extent;
    struct log_store *log = open_log();
    assert_int_equal(log_store_begin(log, 1, (struct replication_position){5, 2}, &err), 0);
    struct log_record old = {1, 4, 3, 1, bytes_str("a"), false};
    assert_int_equal(log_store_append(log, &old, 1, &err), 0);
    assert_int_equal(log_store_extent(log, 1, &extent, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "epoch 4 follows 5"));
    log_store_close(log);
}

/* ---- a random history ---- */

#define MODEL_RANGES 3
#define MODEL_RECORDS 400

struct log_model { /* of one range */
    struct replication_position base;
    struct log_record records[MODEL_RECORDS];
    size_t count;
    uint64_t epoch;
};

static uint64_t random_of(uint64_t *random, uint64_t below)
{
    *random = hash64(random, sizeof *random);
    return *random % below;
}

static uint64_t model_last(const struct log_model *model)
{
    if (model->count == 0)
        return model->base.seq;
    const struct log_record *last = &model->records[model->count - 1];
    return last->first_seq + last->count - 1;
}

static const char *const TEXTS[] = {"", "a", "bb", "ccc", "a longer one", "x\ny"};

/* The next record of a range, now and then of a new epoch and in the place of some at the end. */
static struct log_record next_record(struct log_model *model, uint64_t range, uint64_t *random)
{
    bool cuts = random_of(random, 5) == 0;
    if (random_of(random, 6) == 0 || cuts)
        model->epoch += 1 + random_of(random, 3);
    if (cuts)
        model->count -= random_of(random, model->count < 5 ? model->count + 1 : 5);
    struct log_record record = {range,
                                model->epoch,
                                model_last(model) + 1,
                                (uint32_t)(1 + random_of(random, 9)),
                                bytes_str(TEXTS[random_of(random, 6)]),
                                cuts};
    model->records[model->count++] = record;
    return record;
}

static void append_some(struct log_store *log, struct log_model *models, uint64_t *random)
{
    struct log_record records[12];
    struct err err = {0};
    size_t count = 1 + random_of(random, 12);
    for (size_t i = 0; i < count; i++) {
        uint64_t range = random_of(random, MODEL_RANGES);
        records[i] = next_record(&models[range], 10 + range, random);
    }
    if (log_store_append(log, records, count, &err) != 0)
        fail_msg("%s", err.text);
}

static void truncate_some(struct log_store *log, struct log_model *models, uint64_t *random)
{
    struct err err = {0};
    uint64_t range = random_of(random, MODEL_RANGES);
    struct log_model *model = &models[range];
    if (model->count == 0)
        return;
    size_t gone = 1 + random_of(random, model->count);
    const struct log_record *last = &model->records[gone - 1];
    model->base = (struct replication_position){last->epoch, last->first_seq + last->count - 1};
    if (log_store_truncate(log, 10 + range, model->base.seq, &err) != 0)
        fail_msg("%s", err.text);
    model->count -= gone;
    memmove(model->records, model->records + gone, model->count * sizeof model->records[0]);
}

struct comparison {
    const struct log_model *model;
    size_t at;
};

static int compare_record(void *data, const struct log_record *got, struct err *err)
{
    struct comparison *comparison = data;
    assert_true(comparison->at < comparison->model->count);
    const struct log_record *want = &comparison->model->records[comparison->at++];
    assert_int_equal(got->range, want->range);
    assert_int_equal(got->epoch, want->epoch);
    assert_int_equal(got->first_seq, want->first_seq);
    assert_int_equal(got->count, want->count);
    assert_true(bytes_equal(got->write, want->write));
    assert_false(got->cuts);
    return 0;
}

static void compare_extent(struct log_store *log, uint64_t range, const struct log_model *model)
{
    struct log_extent extent;
    struct err err = {0};
    if (log_store_extent(log, range, &extent, &err) != 0)
        fail_msg("%s", err.text);
    assert_true(extent.known);
    assert_int_equal(extent.base.seq, model->base.seq);
    assert_int_equal(extent.base.epoch, model->base.epoch);
    assert_int_equal(extent.last_seq, model_last(model));
    size_t starts = 0;
    for (size_t i = 0; i < model->count; i++) {
        if (i > 0 && model->records[i].epoch == model->records[i - 1].epoch)
            continue;
        assert_true(starts < extent.start_count);
        assert_int_equal(extent.starts[starts].epoch, model->records[i].epoch);
        assert_int_equal(extent.starts[starts++].seq, model->records[i].first_seq);
    }
    assert_int_equal(extent.start_count, starts);
    log_extent_deinit(&extent);
}

static void compare_log(struct log_store *log, uint64_t range, const struct log_model *model)
{
    struct err err = {0};
    struct comparison comparison = {model, 0};
    uint64_t epoch;
    if (log_store_read(log, range, model->base.seq + 1, UINT64_MAX, compare_record, &comparison,
                       &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(comparison.at, model->count);
    compare_extent(log, range, model);
    for (size_t i = 0; i < model->count; i++) {
        const struct log_record *record = &model->records[i];
        uint64_t seq = record->first_seq + record->count / 2;
        assert_int_equal(log_store_epoch_at(log, range, seq, &epoch, &err), 0);
        assert_int_equal(epoch, record->epoch);
    }
    assert_int_equal(log_store_epoch_at(log, range, model->base.seq, &epoch, &err), 0);
    assert_int_equal(epoch, model->base.epoch);
    assert_int_equal(log_store_epoch_at(log, range, model_last(model) + 1, &epoch, &err),
                     ERR_NOT_FOUND);
}

static void a_random_history_is_what_the_model_says(void **state)
{
    const char *given = getenv("QUIRE_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : clock_wall_ms(), random = seed;
    struct log_model *models = calloc(MODEL_RANGES, sizeof *models);
    struct err err = {0};
    struct log_store *log = open_log();
    assert_non_null(models);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < MODEL_RANGES; i++)
        assert_int_equal(log_store_begin(log, 10 + i, (struct replication_position){0}, &err), 0);
    for (int step = 0; step < 400; step++) {
        if (random_of(&random, 3) == 0)
            truncate_some(log, models, &random);
        else if (models[0].count + models[1].count + models[2].count < MODEL_RECORDS - 12)
            append_some(log, models, &random);
        if (random_of(&random, 20) == 0) {
            log_store_close(log);
            log = open_log();
        }
        if (random_of(&random, 4) == 0)
            for (uint64_t i = 0; i < MODEL_RANGES; i++)
                compare_log(log, 10 + i, &models[i]);
    }
    log_store_close(log);
    free(models);
}

static void gaps_and_the_visitors_wish_end_reading(void **state)
{
    struct err err = {0};
    struct log_store *log = open_log();
    append(log, 1, 1, 2, "a");
    append(log, 1, 4, 1, "b");
    struct seen seen = {.range = 1};
    assert_int_equal(log_store_read(log, 1, 1, UINT64_MAX, see, &seen, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "4 follows 2"));
    seen.stop = ERR_CANCELED;
    assert_int_equal(log_store_read(log, 1, 1, UINT64_MAX, see, &seen, &err), ERR_CANCELED);
    assert_int_equal(log_store_read(log, 1, 3, UINT64_MAX, see, &seen, &err), ERR_CORRUPT);
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
    assert_int_equal(log_store_read(log, 1, 1, UINT64_MAX, see, &seen, &err), 0);
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
        cmocka_unit_test_setup_teardown(a_cut_survives_a_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_an_error_and_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(truncation_takes_one_range_up_to_a_seq, setup, teardown),
        cmocka_unit_test_setup_teardown(a_range_has_a_log_from_its_beginning_until_it_is_dropped,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(truncation_ends_with_a_record_and_never_goes_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_log_begins_where_the_index_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(reading_ends_where_it_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(epochs_do_not_fall, setup, teardown),
        cmocka_unit_test_setup_teardown(a_random_history_is_what_the_model_says, setup, teardown),
        cmocka_unit_test_setup_teardown(gaps_and_the_visitors_wish_end_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_tail_is_forgiven_and_damage_is_not, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
