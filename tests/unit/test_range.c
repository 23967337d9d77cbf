/* Range: outcomes, statistics and rows against a model, over flushes, merges and reopening;
 * retries; planted faults. */
#include "range_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static char folder[64];

static int setup(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/quire-range-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state)
{
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void flush(struct range *range)
{
    struct err err = {0};
    if (range_flush(range, &err) != 0)
        fail_msg("%s", err.text);
}

static bool merge(struct range *range, bool all)
{
    struct err err = {0};
    bool merged;
    if (range_merge(range, all, &merged, &err) != 0)
        fail_msg("%s", err.text);
    return merged;
}

static void an_empty_range_is_clean(void **state)
{
    struct model model = {.seed = 1};
    struct range *range = open_range(folder);
    compare(range, &model);
    flush(range);
    assert_false(merge(range, true));
    range_close(range);
    range = open_range(folder);
    compare(range, &model);
    range_close(range);
}

static void random_history_agrees_with_the_model(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        teardown(NULL);
        setup(NULL);
        struct model model = {.seed = seed};
        struct range *range = open_range(folder);
        for (int round = 0; round < 60; round++) {
            uint64_t random = mix(seed, 1000000 + (uint64_t)round);
            apply_next(range, &model, 1 + (uint32_t)(random % 60));
            if (random / 64 % 4 == 0)
                flush(range);
            if (random / 256 % 5 == 0)
                merge(range, random / 2048 % 2 == 0);
            if (random / 4096 % 12 == 0)
                compare(range, &model);
            if (random / 65536 % 8 ==
                0) { /* what was not flushed is applied again, as from the log */
                uint64_t seq = model.seq;
                range_close(range);
                range = open_range(folder);
                model = (struct model){.seed = seed};
                model_run_to(&model, range_durable_seq(range));
                compare(range, &model);
                if (seq > model.seq)
                    apply_next(range, &model, (uint32_t)(seq - model.seq));
                compare(range, &model);
            }
        }
        compare(range, &model);
        flush(range);
        merge(range, true);
        compare(range, &model);
        struct range_figures figures;
        range_figures(range, &figures);
        assert_true(figures.segments <= 2);
        assert_int_equal(figures.durable_seq, model.seq);
        range_close(range);
    }
}

/* A merge between two durable moments: what it knows to be dead may live again. */
static void a_merge_forgets_nothing_that_recovery_brings_back(void **state)
{
    struct model model = {.seed = 9};
    struct range *range = open_range(folder);
    for (int i = 0; i < 5; i++) {
        apply_next(range, &model, 80);
        flush(range);
    }
    uint64_t durable = model.seq;
    apply_next(range, &model, 200);
    assert_true(merge(range, true));
    compare(range, &model);
    range_close(range);
    range = open_range(folder);
    assert_int_equal(range_durable_seq(range), durable);
    model = (struct model){.seed = 9};
    model_run_to(&model, durable);
    compare(range, &model);
    apply_next(range, &model, 200);
    compare(range, &model);
    flush(range);
    merge(range, true);
    compare(range, &model);
    range_close(range);
}

static void small_segments_are_merged_in_tiers(void **state)
{
    struct model model = {.seed = 4};
    struct range *range = open_range(folder);
    uint32_t most = 0;
    for (int i = 0; i < 40; i++) {
        apply_next(range, &model, 10);
        flush(range);
        while (range_wants_merge(range))
            assert_true(merge(range, false));
        struct range_figures figures;
        range_figures(range, &figures);
        most = figures.segments > most ? figures.segments : most;
    }
    assert_true(most <= 8);
    compare(range, &model);
    range_close(range);
}

static void views_see_what_they_started_with(void **state)
{
    struct err err = {0};
    struct model model = {.seed = 12};
    struct range *range = open_range(folder);
    apply_next(range, &model, 150);
    flush(range);
    apply_next(range, &model, 50);
    struct view *view = range_view(range);
    uint64_t documents = view->documents, live = 0, df, again;
    struct segment_token token = {TEXT_FIELD_ALL, bytes_str("model")};
    assert_int_equal(view_frequency(view, token, &df, &err), 0);
    apply_next(range, &model, 300);
    flush(range);
    merge(range, true);
    flush(range);
    for (uint32_t i = 0; i < view->segment_count; i++)
        for (uint32_t doc = 0; doc < view->segments[i].doc_limit; doc++)
            live += view_live(&view->segments[i], doc);
    assert_int_equal(live, documents);
    assert_int_equal(view->seq, 200);
    assert_int_equal(view_frequency(view, token, &again, &err), 0); /* its lists are still there */
    assert_true(df > 0 && again <= df);
    view_release(view);
    apply_next(range, &model, 1);
    flush(range); /* reaps */
    compare(range, &model);
    range_close(range);
}

static void a_retry_gets_the_first_answer(void **state)
{
    struct err err = {0};
    struct model model = {.seed = 5};
    struct range *range = open_range(folder);
    struct arena arena;
    arena_init(&arena, 0);
    apply_next(range, &model, 30);
    uint64_t first = model.seq + 1;
    apply_next(range, &model, 20);
    flush(range);
    Quire__WriteOp *ops[20];
    for (uint64_t i = 0; i < 20; i++)
        ops[i] = make_op(5, first + i, &arena);
    for (int round = 0; round < 2; round++) {
        struct range_session session = {"client", first};
        struct range_result *results = NULL;
        bool known;
        assert_int_equal(
            range_session_find(range, &session, ops, 20, &known, &results, &arena, &err), 0);
        assert_true(known);
        struct model check = {.seed = 5};
        model_run_to(&check, first - 1);
        for (size_t i = 0; i < 20; i++) {
            uint64_t version;
            assert_int_equal(results[i].outcome, model_step(&check, &version));
            assert_int_equal(results[i].version, version);
        }
        session.batch = first + 1;
        assert_int_equal(
            range_session_find(range, &session, ops, 20, &known, &results, &arena, &err), 0);
        assert_false(known);
        session.batch = 1;
        assert_int_equal(
            range_session_find(range, &session, ops, 20, &known, &results, &arena, &err),
            ERR_CONFLICT);
        session = (struct range_session){"another", 1};
        assert_int_equal(
            range_session_find(range, &session, ops, 20, &known, &results, &arena, &err), 0);
        assert_false(known);
        apply_next(range, &model, 5); /* not durable: recovery forgets that batch */
        range_close(range);
        range = open_range(folder);
        model = (struct model){.seed = 5};
        model_run_to(&model, range_durable_seq(range));
    }
    arena_deinit(&arena);
    range_close(range);
}

static void the_number_of_sessions_is_bounded(void **state)
{
    struct err err = {0};
    struct range *range = open_range(folder);
    struct arena arena;
    arena_init(&arena, 0);
    for (uint64_t seq = 1; seq <= LIMIT_RANGE_SESSIONS + 10; seq++) {
        struct range_op op = {seq, make_op(3, seq, &arena), NULL};
        struct range_result result;
        char client[32];
        snprintf(client, sizeof client, "client %d", (int)seq);
        struct range_session session = {client, 1};
        assert_int_equal(range_apply_as(range, &session, &op, 1, &result, &err), 0);
    }
    flush(range);
    range_close(range);
    range = open_range(folder);
    struct range_session session = {"client 10", 1};
    struct range_result *results;
    bool known;
    Quire__WriteOp *op = make_op(3, 10, &arena);
    assert_int_equal(range_session_find(range, &session, &op, 1, &known, &results, &arena, &err),
                     0);
    assert_false(known);
    session.client_id = "client 11";
    op = make_op(3, 11, &arena);
    assert_int_equal(range_session_find(range, &session, &op, 1, &known, &results, &arena, &err),
                     0);
    assert_true(known);
    arena_deinit(&arena);
    range_close(range);
}

static void one_bad_operation_does_not_sink_its_batch(void **state)
{
    struct err err = {0};
    struct range *range = open_range(folder);
    struct arena arena;
    arena_init(&arena, 0);
    struct range_op ops[6];
    struct range_result results[6];
    for (int i = 0; i < 6; i++) {
        Quire__WriteOp *op = arena_alloc(&arena, sizeof *op);
        quire__write_op__init(op);
        ops[i] = (struct range_op){1 + (uint64_t)i, op, NULL};
        if (i < 4)
            op->put = make_entry(3, 1, &arena);
    }
    ((Quire__WriteOp *)ops[1].op)->put->headword = (char *)"\xff\xfe";
    ((Quire__WriteOp *)ops[2].op)->has_if_version = 1;
    ((Quire__WriteOp *)ops[2].op)->if_version = 77;
    ((Quire__WriteOp *)ops[4].op)->delete_headword = (char *)"\x80";
    assert_int_equal(range_apply(range, ops, 6, results, &err), 0);
    assert_int_equal(results[0].outcome, QUIRE__WRITE_RESULT__OUTCOME__NEW);
    assert_int_equal(results[1].outcome, QUIRE__WRITE_RESULT__OUTCOME__FAILED);
    assert_int_equal(results[1].error.code, ERR_INVALID);
    assert_int_equal(results[2].error.code, ERR_CONFLICT);
    assert_int_equal(results[3].outcome, QUIRE__WRITE_RESULT__OUTCOME__UNCHANGED);
    assert_int_equal(results[3].version, 1);
    assert_int_equal(results[4].error.code, ERR_INVALID);
    assert_int_equal(results[5].error.code, ERR_INVALID);
    assert_int_equal(range_applied_seq(range), 6);
    assert_int_equal(problems_of(range), 0);
    arena_deinit(&arena);
    range_close(range);
}

static void add_letter(void *data, struct bytes letter, uint64_t count)
{
    buf_append_bytes(data, letter);
    buf_printf(data, "%d ", (int)count);
}

static void letters_are_counted_in_key_order(void **state)
{
    struct err err = {0};
    struct range *range = open_range(folder);
    const char *headwords[] = {"zebra", "Ähre", "apple", "9 lives", "Apple pie", "ünder", "Жук"};
    struct arena arena;
    arena_init(&arena, 0);
    for (uint64_t i = 0; i < 7; i++) {
        Quire__WriteOp op = QUIRE__WRITE_OP__INIT;
        Quire__Entry entry = QUIRE__ENTRY__INIT;
        struct range_op range_op = {i + 1, &op, NULL};
        struct range_result result;
        entry.headword = (char *)headwords[i];
        op.put = &entry;
        assert_int_equal(range_apply(range, &range_op, 1, &result, &err), 0);
    }
    struct buf text = {0};
    range_letters(range, add_letter, &text);
    assert_string_equal(buf_text(&text), "91 A3 U1 Z1 Ж1 ");
    buf_deinit(&text);
    arena_deinit(&arena);
    range_close(range);
}

/* ---- planted faults ---- */

static void plant(struct range *range, enum store_family family, int what)
{
    struct err err = {0};
    struct store *store = range_store(range);
    struct store_iterator *it = store_iterate(store, family, (struct bytes){0}, (struct bytes){0});
    struct store_batch *batch = store_batch_create();
    for (int i = 0; i < 7 && store_iterator_valid(it); i++)
        store_iterator_next(it);
    assert_true(store_iterator_valid(it));
    struct buf key = {0}, value = {0};
    buf_append_bytes(&key, store_iterator_key(it));
    buf_append_bytes(&value, store_iterator_value(it));
    if (what == 0) { /* the row goes */
        store_batch_delete(batch, store, family, buf_bytes(&key));
    } else if (what == 1) { /* one byte flips */
        value.data[value.size / 2] ^= 0x10;
        store_batch_put(batch, store, family, buf_bytes(&key), buf_bytes(&value));
    } else { /* a row too many */
        buf_append_str(&key, "x");
        store_batch_put(batch, store, family, buf_bytes(&key), buf_bytes(&value));
    }
    assert_int_equal(store_write(store, batch, &err), 0);
    store_batch_destroy(batch);
    store_iterator_close(it);
    buf_deinit(&key);
    buf_deinit(&value);
}

static int count_problems(struct range *range)
{
    FILE *real = stderr; /* the problems are wanted here */
    stderr = fopen("/dev/null", "w");
    int problems = problems_of(range);
    fclose(stderr);
    stderr = real;
    return problems;
}

static struct range_verified verified(struct range *range)
{
    struct range_verified out;
    struct err err = {0};
    int problems = 0;
    assert_int_equal(range_verify(range, &out, print_problem, &problems, &err), 0);
    assert_int_equal(problems, 0);
    return out;
}

/* The same operations give the same digest, however they were flushed; one more gives another. */
static void digest_is_of_the_entries(void **state)
{
    (void)state;
    struct range_verified of[2][2];
    for (int i = 0; i < 2; i++) {
        teardown(NULL);
        setup(NULL);
        struct model model = {.seed = 9};
        struct range *range = open_range(folder);
        for (int part = 0; part < 8; part++) {
            apply_next(range, &model, 50);
            if (i == 1 && part % 3 == 0)
                flush(range);
        }
        of[i][0] = verified(range);
        apply_next(range, &model, 1);
        of[i][1] = verified(range);
        range_close(range);
    }
    assert_int_equal(of[0][0].seq, of[1][0].seq);
    assert_true(of[0][0].digest == of[1][0].digest);
    assert_true(of[0][1].digest == of[1][1].digest);
    assert_true(of[0][0].digest != of[0][1].digest);
}

static void verify_finds_what_was_planted(void **state)
{
    static const enum store_family families[] = {STORE_ENTRY, STORE_NAME, STORE_PLACE, STORE_POST};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        for (int what = 0; what < 3; what++) {
            if (families[i] == STORE_POST && what == 2)
                continue; /* nothing refers to it: it does no harm */
            teardown(NULL);
            setup(NULL);
            struct model model = {.seed = 6};
            struct range *range = open_range(folder);
            apply_next(range, &model, 400);
            flush(range);
            assert_int_equal(problems_of(range), 0);
            struct store_iterator *it = store_iterate(range_store(range), families[i],
                                                      (struct bytes){0}, (struct bytes){0});
            bool any = store_iterator_valid(it);
            store_iterator_close(it);
            if (any) {
                if (families[i] == STORE_POST) {
                    struct store_iterator *all = store_iterate(
                        range_store(range), STORE_POST, (struct bytes){0}, (struct bytes){0});
                    int rows = 0;
                    for (; store_iterator_valid(all); store_iterator_next(all))
                        rows++;
                    store_iterator_close(all);
                    if (rows < 8) {
                        range_close(range);
                        continue;
                    }
                }
                plant(range, families[i], what);
                int problems = count_problems(range);
                if (problems <= 0)
                    fail_msg("family %d, fault %d: %d problems found", families[i], what, problems);
            }
            range_close(range);
        }
    }
}

/* ---- threads ---- */

struct crowd {
    struct range *range;
    _Atomic bool stop;
};

static void *flush_and_merge(void *data)
{
    struct crowd *crowd = data;
    for (uint64_t i = 0; !atomic_load(&crowd->stop); i++) {
        struct err err = {0};
        bool merged;
        if (range_flush(crowd->range, &err) != 0 ||
            range_merge(crowd->range, i % 3 == 0, &merged, &err) != 0) {
            fprintf(stderr, "%s\n", err.text);
            abort();
        }
    }
    return NULL;
}

static void *read_views(void *data)
{
    struct crowd *crowd = data;
    while (!atomic_load(&crowd->stop)) {
        struct err err = {0};
        uint64_t live = 0, df;
        struct view *view = range_view(crowd->range);
        for (uint32_t i = 0; i < view->segment_count; i++)
            for (uint32_t doc = 0; doc < view->segments[i].doc_limit; doc++)
                live += view_live(&view->segments[i], doc);
        if (live != view->documents ||
            view_frequency(view, (struct segment_token){TEXT_FIELD_ALL, bytes_str("data")}, &df,
                           &err) != 0) {
            fprintf(stderr, "%d documents live, %d counted; %s\n", (int)live, (int)view->documents,
                    err.text);
            abort();
        }
        view_release(view);
    }
    return NULL;
}

/* Else every open would rewrite the places of what was merged. */
static void an_idle_range_makes_its_places_durable(void **state)
{
    struct model model = {.seed = 12};
    struct range *range = open_range(folder);
    for (int i = 0; i < 3; i++) {
        apply_next(range, &model, 50);
        flush(range);
    }
    assert_false(range_wants_flush(range));
    assert_true(merge(range, true));
    assert_true(range_wants_flush(range));
    range_close(range);
    range = open_range(folder);
    assert_true(range_wants_flush(range));
    flush(range);
    assert_false(range_wants_flush(range));
    range_close(range);
    range = open_range(folder);
    assert_false(range_wants_flush(range));
    compare(range, &model);
    range_close(range);
}

static void writer_readers_flushes_and_merges_get_along(void **state)
{
    struct model model = {.seed = 77};
    struct crowd crowd = {.range = open_range(folder)};
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, flush_and_merge, &crowd), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, read_views, &crowd), 0);
    uint64_t end = clock_ms() + 1500;
    while (clock_ms() < end)
        apply_next(crowd.range, &model, 1 + (uint32_t)(mix(model.seq, 3) % 30));
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    compare(crowd.range, &model);
    range_close(crowd.range);
    crowd.range = open_range(folder);
    model = (struct model){.seed = 77};
    model_run_to(&model, range_durable_seq(crowd.range));
    compare(crowd.range, &model);
    range_close(crowd.range);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_range_is_clean, setup, teardown),
        cmocka_unit_test_setup_teardown(one_bad_operation_does_not_sink_its_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(random_history_agrees_with_the_model, setup, teardown),
        cmocka_unit_test_setup_teardown(a_merge_forgets_nothing_that_recovery_brings_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(small_segments_are_merged_in_tiers, setup, teardown),
        cmocka_unit_test_setup_teardown(views_see_what_they_started_with, setup, teardown),
        cmocka_unit_test_setup_teardown(a_retry_gets_the_first_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(the_number_of_sessions_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(letters_are_counted_in_key_order, setup, teardown),
        cmocka_unit_test_setup_teardown(digest_is_of_the_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_finds_what_was_planted, setup, teardown),
        cmocka_unit_test_setup_teardown(an_idle_range_makes_its_places_durable, setup, teardown),
        cmocka_unit_test_setup_teardown(writer_readers_flushes_and_merges_get_along, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
