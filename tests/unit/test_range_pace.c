/* The pace of merges: a limited merge takes its time, on a clock of the test's own, and gives way
 * meanwhile. What the clock's `wait` does is what happens in the world while a merge waits. */
#include "range_fixture.h"

#include "shard/disk_segment.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define RATE (1u << 20)
/* Entries of a segment, and words of an entry, each of which is nowhere else: the merge of six such
 * segments is several pieces of a MiB. */
#define BODIES 200
#define MANY_WORDS 50

struct world {
    char folder[64];
    _Atomic uint64_t now_ns;
    _Atomic uint32_t waits;
    struct merge_pace *pace;
    struct range *range;
    uint64_t seq;
    void (*meanwhile)(struct world *world); /* in each wait */
    bool stands_still; /* the clock: a wait ends by what happens meanwhile, or it comes again */
};

static uint64_t world_now(void *data)
{
    struct world *world = data;
    return atomic_load(&world->now_ns);
}

static void world_wait(void *data, pthread_cond_t *changed, pthread_mutex_t *lock,
                       uint64_t until_ns)
{
    struct world *world = data;
    if (atomic_fetch_add(&world->waits, 1) > 100000)
        abort(); /* it waits for ever */
    pthread_mutex_unlock(lock);
    if (world->meanwhile != NULL)
        world->meanwhile(world);
    pthread_mutex_lock(lock);
    if (!world->stands_still)
        atomic_store(&world->now_ns, until_ns);
}

static void world_open(struct world *world, uint64_t rate, const struct merge_clock *clock)
{
    struct range_settings settings = test_settings();
    struct err err = {0};
    settings.memory_limit = (size_t)64 << 20;
    settings.merge_pace = world->pace = merge_pace_create(rate, clock);
    if (range_open(world->folder, &settings, &world->range, &err) != 0)
        fail_msg("%s", err.text);
}

static void world_close(struct world *world)
{
    range_close(world->range);
    merge_pace_destroy(world->pace);
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    *state = world;
    snprintf(world->folder, sizeof world->folder, "/tmp/quire-pace-XXXXXX");
    atomic_store(&world->now_ns, 1);
    return mkdtemp(world->folder) == NULL;
}

static int teardown(void **state)
{
    struct world *world = *state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", world->folder);
    free(world);
    return system(command);
}

static void open_virtual(struct world *world)
{
    world_open(world, RATE, &(struct merge_clock){world_now, world_wait, world});
}

static void flush(struct world *world)
{
    struct err err = {0};
    if (range_flush(world->range, &err) != 0)
        fail_msg("%s", err.text);
}

static bool merge(struct world *world, bool all)
{
    struct err err = {0};
    bool merged;
    if (range_merge(world->range, all, &merged, &err) != 0)
        fail_msg("%s", err.text);
    return merged;
}

/* A new entry with so many words. */
static void put(struct world *world, uint32_t words)
{
    struct arena arena;
    struct err err = {0};
    struct buf body = {0};
    Quire__WriteOp op = QUIRE__WRITE_OP__INIT;
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    struct range_result result;
    arena_init(&arena, 0);
    for (uint32_t i = 0; i < words; i++)
        buf_printf(&body, "%016llx%016llx%016llx ", (unsigned long long)mix(world->seq, i),
                   (unsigned long long)mix(i, world->seq), (unsigned long long)mix(world->seq, ~i));
    entry.headword = arena_printf(&arena, "entry %llu", (unsigned long long)world->seq);
    entry.body = arena_strdup(&arena, buf_text(&body));
    op.put = &entry;
    struct range_op range_op = {++world->seq, &op, NULL};
    if (range_apply(world->range, &range_op, 1, &result, &err) != 0 || result.error.code != 0)
        fail_msg("%s %s", err.text, result.error.text);
    buf_deinit(&body);
    arena_deinit(&arena);
}

static void put_segments(struct world *world, uint32_t segments, uint32_t entries, uint32_t words)
{
    for (uint32_t i = 0; i < segments; i++) {
        for (uint32_t k = 0; k < entries; k++)
            put(world, words);
        flush(world);
    }
}

/* How large the largest segment says that it is. */
static uint64_t largest_bytes(struct range *range)
{
    struct view *view = range_view(range);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < view->segment_count; i++)
        if (view->segments[i].doc_limit >= 5 * BODIES)
            bytes = disk_segment_bytes(view->segments[i].segment);
    view_release(view);
    return bytes;
}

static void a_merge_takes_the_time_of_its_bytes(void **state)
{
    struct world *world = *state;
    open_virtual(world);
    put_segments(world, 6, BODIES, MANY_WORDS);
    assert_int_equal(atomic_load(&world->waits), 0); /* flushes are not limited */
    uint64_t start = world->now_ns;
    assert_true(merge(world, false));
    double bytes = (double)largest_bytes(world->range);
    double paid = (double)(world->now_ns - start) / 1e9 * RATE;
    assert_true(bytes > 3.0 * RATE);
    assert_true(paid > bytes - 1000 && paid < bytes + 1000); /* the header is not paid for */
    assert_in_range(atomic_load(&world->waits), 3, 100);
    world_close(world);
}

static void a_merge_of_everything_is_not_limited(void **state)
{
    struct world *world = *state;
    open_virtual(world);
    put_segments(world, 6, BODIES, MANY_WORDS);
    assert_true(merge(world, true));
    assert_int_equal(atomic_load(&world->waits), 0);
    world_close(world);
}

static void no_limit_is_none(void **state)
{
    struct world *world = *state;
    world_open(world, 0, &(struct merge_clock){world_now, world_wait, world});
    put_segments(world, 6, BODIES, MANY_WORDS);
    assert_true(merge(world, false));
    assert_int_equal(atomic_load(&world->waits), 0);
    world_close(world);
}

static void write_and_flush(struct world *world)
{
    put(world, 5);
    assert_int_equal(range_durable_seq(world->range), world->seq - 1);
    flush(world);
    assert_int_equal(range_durable_seq(world->range), world->seq);
    int problems = problems_of(world->range); /* verification passes, too */
    assert_int_equal(problems, 0);
}

static void a_flush_passes_while_a_merge_waits(void **state)
{
    struct world *world = *state;
    struct range_figures figures;
    open_virtual(world);
    put_segments(world, 6, BODIES, MANY_WORDS);
    world->meanwhile = write_and_flush;
    assert_true(merge(world, false));
    world->meanwhile = NULL;
    uint32_t waits = atomic_load(&world->waits);
    assert_true(waits >= 3);
    range_figures(world->range, &figures);
    assert_int_equal(figures.segments, 1 + waits + 1); /* merged, flushed meanwhile, in memory */
    assert_int_equal(figures.entries, world->seq);
    assert_int_equal(problems_of(world->range), 0);
    world_close(world);
    open_virtual(world); /* nothing of it is lost */
    assert_int_equal(range_durable_seq(world->range), world->seq);
    assert_int_equal(problems_of(world->range), 0);
    world_close(world);
}

static void stop(struct world *world)
{
    range_stop(world->range);
}

static void a_merge_that_waits_can_be_stopped(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    bool merged;
    open_virtual(world);
    put_segments(world, 6, BODIES, MANY_WORDS);
    world->meanwhile = stop;
    world->stands_still = true;
    assert_int_equal(range_merge(world->range, false, &merged, &err), ERR_CANCELED);
    assert_false(merged);
    assert_int_equal(atomic_load(&world->waits), 1);
    flush(world);
    world_close(world);
    world->meanwhile = NULL;
    open_virtual(world);
    assert_int_equal(problems_of(world->range), 0);
    world_close(world);
}

/* So many small segments lift the limit, and few of them put it back. */
static void falling_behind_lifts_the_limit(void **state)
{
    struct world *world = *state;
    struct range_figures figures;
    open_virtual(world);
    put_segments(world, RANGE_BEHIND - 1, 3, 10);
    merge(world, false);
    assert_true(atomic_load(&world->waits) > 0);
    range_figures(world->range, &figures);
    uint32_t missing = RANGE_BEHIND + 1 - figures.segments; /* one of them is in memory */
    put_segments(world, missing, 3, 10);
    atomic_store(&world->waits, 0);
    for (;;) {
        range_figures(world->range, &figures);
        bool limited = figures.segments - 1 <= RANGE_CAUGHT_UP;
        uint32_t waits = atomic_load(&world->waits);
        if (!merge(world, false))
            break;
        assert_int_equal(atomic_load(&world->waits) > waits, limited);
    }
    assert_true(atomic_load(&world->waits) > 0); /* it was limited again in the end */
    world_close(world);
}

/* The limit is the process's: so is what lifts it. */
static void fall_behind_elsewhere(struct world *world)
{
    merge_pace_behind(world->pace, true);
}

static void another_range_that_falls_behind_ends_a_wait(void **state)
{
    struct world *world = *state;
    open_virtual(world);
    put_segments(world, 6, BODIES, MANY_WORDS);
    world->meanwhile = fall_behind_elsewhere;
    world->stands_still = true;
    assert_true(merge(world, false));
    assert_int_equal(atomic_load(&world->waits), 1);
    merge_pace_behind(world->pace, false);
    world_close(world);
}

/* A range that is closed while it is behind does not leave the limit lifted: merge_pace_destroy()
 * would find it. */
static void a_closed_range_is_not_behind(void **state)
{
    struct world *world = *state;
    open_virtual(world);
    put_segments(world, RANGE_BEHIND, 1, 3);
    world_close(world);
    open_virtual(world); /* behind from the start */
    assert_true(merge(world, false));
    assert_int_equal(atomic_load(&world->waits), 0);
    world_close(world);
}

/* ---- with threads ---- */

struct flusher {
    struct world *world;
    _Atomic bool stop;
    _Atomic uint32_t flushes;
};

static void *write_and_flush_on(void *data)
{
    struct flusher *flusher = data;
    while (!atomic_load(&flusher->stop)) {
        put(flusher->world, 5);
        flush(flusher->world);
        atomic_fetch_add(&flusher->flushes, 1);
    }
    return NULL;
}

/* A merge that does not wait gives way as well, between its pieces. Of the flushes that end while
 * it runs one may have begun before it and one may end with it. */
static void flushes_pass_between_the_pieces_of_a_merge(void **state)
{
    struct world *world = *state;
    struct flusher flusher = {.world = world};
    pthread_t thread;
    uint32_t passed = 0;
    open_virtual(world);
    put_segments(world, 6, BODIES, MANY_WORDS);
    assert_int_equal(pthread_create(&thread, NULL, write_and_flush_on, &flusher), 0);
    for (int i = 0; i < 50 && passed < 3; i++) {
        uint32_t before = atomic_load(&flusher.flushes);
        assert_true(merge(world, true));
        passed = atomic_load(&flusher.flushes) - before;
    }
    atomic_store(&flusher.stop, true);
    pthread_join(thread, NULL);
    assert_true(passed >= 3);
    assert_int_equal(problems_of(world->range), 0);
    world_close(world);
}

/* On the machine's clock, a byte a second: the wait is hours. */

static uint64_t real_now(void *data)
{
    return clock_ns();
}

static void real_wait(void *data, pthread_cond_t *changed, pthread_mutex_t *lock, uint64_t until_ns)
{
    struct world *world = data;
    struct timespec until = {(time_t)(until_ns / 1000000000u), 0};
    atomic_fetch_add(&world->waits, 1);
    pthread_cond_timedwait(changed, lock, &until);
}

static void *merge_until_stopped(void *data)
{
    struct world *world = data;
    struct err err = {0};
    bool merged;
    int code = range_merge(world->range, false, &merged, &err);
    return code == ERR_CANCELED ? world : NULL;
}

static void closing_wakes_a_merge(void **state)
{
    struct world *world = *state;
    pthread_t thread;
    void *canceled;
    world_open(world, 1, &(struct merge_clock){real_now, real_wait, world});
    put_segments(world, 6, 40, 10);
    assert_int_equal(pthread_create(&thread, NULL, merge_until_stopped, world), 0);
    while (atomic_load(&world->waits) == 0)
        sched_yield();
    write_and_flush(world); /* another thread's flush passes, too */
    range_stop(world->range);
    pthread_join(thread, &canceled);
    assert_non_null(canceled);
    world_close(world);
}

int main(void)
{
#define PACE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        PACE(a_merge_takes_the_time_of_its_bytes),
        PACE(a_merge_of_everything_is_not_limited),
        PACE(no_limit_is_none),
        PACE(a_flush_passes_while_a_merge_waits),
        PACE(a_merge_that_waits_can_be_stopped),
        PACE(falling_behind_lifts_the_limit),
        PACE(another_range_that_falls_behind_ends_a_wait),
        PACE(a_closed_range_is_not_behind),
        PACE(flushes_pass_between_the_pieces_of_a_merge),
        PACE(closing_wakes_a_merge),
    };
    return cmocka_run_group_tests_name("range_pace", tests, NULL, NULL);
}
