/* Recovery: processes that apply, flush and merge are killed at random moments; whoever opens the
 * range next finds exactly what the history says for its durable_seq, and goes on from there. Some
 * merge by arrival, some by category.
 *
 * QUIRE_TEST_MS sets how long it goes on (default 8000), QUIRE_TEST_SEED replays a run's history.
 */
#include "range_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static uint64_t seed;

struct worker {
    struct range *range;
    uint64_t random;
};

/* Flushes and merges, and now and then makes the store flush alone: what RocksDB might do by
 * itself. */
static void *background(void *data)
{
    struct worker *worker = data;
    for (;;) {
        struct err err = {0};
        bool merged;
        int code = 0;
        worker->random = mix(worker->random, 1);
        switch (worker->random % 8) {
        case 0:
        case 1:
        case 2:
            code = range_flush(worker->range, &err);
            break;
        case 3:
            code = range_merge(worker->range, true, &merged, &err);
            break;
        case 4:
            code = range_merge(worker->range, false, &merged, &err);
            break;
        case 5:
        case 6:
            code = store_flush(range_store(worker->range), &err);
            break;
        default:
            usleep((useconds_t)(worker->random / 8 % 3000));
        }
        if (code != 0) {
            fprintf(stderr, "%s\n", err.text);
            abort();
        }
    }
    return NULL;
}

/* What a killed process's successor does until it is killed itself. Never returns. */
static void live(uint64_t random, int report)
{
    struct range *range =
        open_range_by(folder, random % 2 == 0 ? SEGMENT_ORDER_ARRIVAL : SEGMENT_ORDER_CATEGORY);
    struct model model = {.seed = seed};
    uint64_t durable = range_durable_seq(range);
    model_run_to(&model, durable);
    compare(range, &model);

    struct range_session session = {"client", durable + 1};
    struct range_result *results;
    bool known;
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    Quire__WriteOp *op = make_op(seed, durable + 1, &arena);
    if (range_session_find(range, &session, &op, 1, &known, &results, &arena, &err) != 0 || known)
        abort(); /* a batch that was taken back is remembered */
    arena_deinit(&arena);
    if (write(report, &durable, sizeof durable) != sizeof durable)
        abort();

    struct worker worker = {range, random};
    pthread_t thread;
    if (pthread_create(&thread, NULL, background, &worker) != 0)
        abort();
    for (;;) {
        random = mix(random, 2);
        apply_next(range, &model, 1 + (uint32_t)(random % 40));
        if (random / 64 % 8 == 0)
            usleep((useconds_t)(random / 1024 % 2000));
    }
}

/* Forks one life; kills it `ms` after it has told its durable_seq. False when it died by itself. */
static bool one_life(uint64_t random, uint64_t ms, uint64_t *durable)
{
    int pipes[2], status;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipes[0]);
        live(random, pipes[1]);
        _exit(1);
    }
    close(pipes[1]);
    bool told = read(pipes[0], durable, sizeof *durable) == sizeof *durable;
    if (told)
        usleep((useconds_t)(1000 * ms));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(pipes[0]);
    return told && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void killed_at_any_moment_it_comes_back_as_of_its_durable_seq(void **state)
{
    const char *budget = getenv("QUIRE_TEST_MS");
    uint64_t end = clock_ms() + (budget != NULL ? strtoull(budget, NULL, 10) : 8000);
    uint64_t last = 0, lives = 0;
    /* Lives get longer, so that on a slow machine, too, one gets as far as to a flush. */
    while (clock_ms() < end || lives < 5 || last == 0) {
        uint64_t random = mix(seed, 1000000 + lives), durable;
        if (!one_life(random, random % (200 + 20 * lives), &durable))
            fail_msg("life %d failed; QUIRE_TEST_SEED=%llu", (int)lives, (unsigned long long)seed);
        assert_true(durable >= last);
        last = durable;
        lives++;
    }
    print_message("%d lives, %llu operations durable, seed %llu\n", (int)lives,
                  (unsigned long long)last, (unsigned long long)seed);
    assert_true(last > 0);
}

/* A disk that takes no more: files may not grow beyond some size. Runs in a child; exits with 0
 * when all is as it should be. */
static void live_on_a_full_disk(int report)
{
    struct range *range = open_range(folder);
    struct model model = {.seed = seed};
    struct err err = {0};
    apply_next(range, &model, 300);
    if (range_flush(range, &err) != 0)
        abort();
    uint64_t durable = range_durable_seq(range);
    if (write(report, &durable, sizeof durable) != sizeof durable)
        abort();
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {4096, 4096};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        abort();
    apply_next(range, &model, 300); /* goes to memory */
    int code = range_flush(range, &err);
    if (code != ERR_IO || err.text[0] == 0 || range_broken(range, &err) != ERR_IO)
        _exit(2);
    if (range_durable_seq(range) != durable)
        _exit(3);
    struct arena arena;
    struct range_result result;
    arena_init(&arena, 0);
    struct range_op op = {model.seq + 1, make_op(seed, model.seq + 1, &arena), NULL};
    if (range_apply(range, &op, 1, &result, &err) != ERR_IO ||
        strstr(err.text, "no more writes") == NULL)
        _exit(4);
    compare(range, &model); /* reads go on */
    struct view *view = range_view(range);
    if (view->documents != model.documents)
        _exit(5);
    view_release(view);
    arena_deinit(&arena);
    range_close(range);
    _exit(0);
}

static void a_full_disk_stops_writes_and_nothing_else(void **state)
{
    int pipes[2], status;
    uint64_t durable;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        live_on_a_full_disk(pipes[1]);
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &durable, sizeof durable), sizeof durable);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(pipes[0]);
    assert_true(one_life(mix(seed, 5), 50, &durable)); /* with room again */
    assert_int_equal(durable, 300);
}

static int setup(void **state)
{
    const char *given = getenv("QUIRE_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : clock_wall_ms();
    snprintf(folder, sizeof folder, "/tmp/quire-recovery-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_at_any_moment_it_comes_back_as_of_its_durable_seq,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_stops_writes_and_nothing_else, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
