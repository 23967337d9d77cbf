/* libquire and a cluster that refuses: it comes back when it was told to, within a budget and its
 * deadline, or tells the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/retry.h"
#include "unit/libquire_helpers.h"

struct refusing {
    struct fake fake;
    atomic_int times; /* still to be refused */
    atomic_uint hint_ms;
    uint64_t first_ms, last_ms; /* when requests came; the fake's thread */
    uint64_t traces[8];
    unsigned count;
};

static void answer_write(struct rpc_request *request)
{
    Quire__WriteRequest *in = quire__write_request__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    Quire__WriteReply reply = QUIRE__WRITE_REPLY__INIT;
    Quire__WriteResult result = QUIRE__WRITE_RESULT__INIT, *results[] = {&result};
    assert_int_equal(in->n_ops, 1);
    result.outcome = QUIRE__WRITE_RESULT__OUTCOME__NEW;
    reply.n_results = 1;
    reply.results = results;
    fake_reply(request, QUIRE__KIND__KIND_WRITE + 1, &reply.base);
}

static void handle(void *data, struct rpc_request *request)
{
    struct refusing *refusing = ((struct fake *)data)->data;
    refusing->last_ms = clock_ms();
    if (refusing->first_ms == 0)
        refusing->first_ms = refusing->last_ms;
    if (refusing->count < 8)
        refusing->traces[refusing->count++] = request->trace;
    if (atomic_fetch_sub(&refusing->times, 1) > 0) {
        struct err err;
        err_set(&err, ERR_OVERLOADED, "too much to do");
        err.retry_after_ms = atomic_load(&refusing->hint_ms);
        rpc_reply_err(request, &err);
    } else if (request->kind == QUIRE__KIND__KIND_WRITE) {
        answer_write(request);
    } else {
        reply_search(request, "model");
    }
}

static void start(struct refusing *refusing, int times, unsigned hint_ms)
{
    memset(refusing, 0, sizeof *refusing);
    atomic_init(&refusing->times, times);
    atomic_init(&refusing->hint_ms, hint_ms);
    fake_start(&refusing->fake, handle, refusing, true);
}

static unsigned requests(struct refusing *refusing)
{
    return atomic_load(&refusing->fake.requests);
}

static int search(struct quire_client *client, uint32_t timeout_ms,
                  const struct quire_search_result **result)
{
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    request.query = "model";
    request.timeout_ms = timeout_ms;
    return quire_search_wait(client, &request, result);
}

static void it_comes_back_when_it_was_told_to(void **state)
{
    struct refusing refusing;
    const struct quire_search_result *result;
    start(&refusing, 2, 60);
    struct quire_client *client = connect_to(&refusing.fake);
    assert_int_equal(search(client, 10000, &result), QUIRE_OK);
    assert_int_equal(quire_result_retry_after_ms(result), 0);
    quire_client_destroy(client);
    fake_stop(&refusing.fake);
    assert_int_equal(requests(&refusing), 3);
    assert_true(refusing.last_ms - refusing.first_ms >= 60 + 120 - 2);
    /* One number for all attempts, and the program can ask for it. */
    assert_true(refusing.traces[0] != 0 && refusing.traces[0] == refusing.traces[2]);
    assert_true(quire_result_trace(result) == refusing.traces[0]);
    quire_result_free(result);
}

static void the_program_is_told_when_there_is_no_time(void **state)
{
    struct refusing refusing;
    const struct quire_search_result *result;
    start(&refusing, INT32_MAX, 5000);
    struct quire_client *client = connect_to(&refusing.fake);
    uint64_t began = clock_ms();
    assert_int_equal(search(client, 4900, &result), QUIRE_OVERLOADED);
    assert_true(clock_ms() - began < 4900); /* at once, not when its time is up */
    assert_int_equal(quire_result_retry_after_ms(result), 5000);
    assert_string_equal(result->error, "too much to do");
    quire_result_free(result);
    quire_client_destroy(client);
    assert_int_equal(requests(&refusing), 1);

    struct quire_options options = QUIRE_OPTIONS_INIT;
    options.no_retry = true;
    atomic_store(&refusing.hint_ms, 20);
    client = connect_with(refusing.fake.url, &options);
    assert_int_equal(search(client, 10000, &result), QUIRE_OVERLOADED);
    assert_int_equal(quire_result_retry_after_ms(result), 20);
    quire_result_free(result);
    quire_client_destroy(client);
    assert_int_equal(requests(&refusing), 2);
    fake_stop(&refusing.fake);
}

/* All of many are refused for ever: hardly more is sent than would have been anyway. Then a writer
 * gets through all the same. */
static void many_that_are_refused_do_not_make_it_worse(void **state)
{
    enum { MANY = 300 };
    struct refusing refusing;
    struct seen seen = SEEN_INIT;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    start(&refusing, INT32_MAX, 20);
    struct quire_client *client = connect_to(&refusing.fake);
    uint64_t began = clock_ms();
    request.query = "model";
    request.timeout_ms = 6000;
    for (int i = 0; i < MANY; i++)
        assert_true(quire_search(client, &request, see_search, &seen) != 0);
    wait_until(&seen, MANY);
    uint64_t seconds = (clock_ms() - began) / 1000 + 1;
    assert_int_equal(seen.by_status[QUIRE_OVERLOADED], MANY);
    assert_true(requests(&refusing) >= MANY);
    assert_true(requests(&refusing) <=
                MANY + MANY * RETRY_SHARE + RETRY_BURST + seconds * RETRY_A_SECOND);

    struct quire_writer_options options = QUIRE_WRITER_INIT;
    char error[QUIRE_ERROR_SIZE];
    struct quire_writer *writer;
    struct quire_writer_stats stats = QUIRE_WRITER_STATS_INIT;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    entry.headword = "model";
    atomic_store(&refusing.times, 3);
    assert_int_equal(quire_writer_create(client, &options, &writer, error, sizeof error), QUIRE_OK);
    assert_int_equal(quire_writer_put(writer, &entry, NULL), QUIRE_OK);
    assert_int_equal(quire_writer_flush(writer), QUIRE_OK);
    quire_writer_get_stats(writer, &stats);
    assert_int_equal(stats.by_outcome[QUIRE_NEW], 1);
    quire_writer_destroy(writer);
    quire_client_destroy(client);
    fake_stop(&refusing.fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_back_when_it_was_told_to),
        cmocka_unit_test(the_program_is_told_when_there_is_no_time),
        cmocka_unit_test(many_that_are_refused_do_not_make_it_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
