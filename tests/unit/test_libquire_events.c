/* libquire when things do not go well: deadlines, cancellation, coordinators that go away, the end
 * of the client, fork; and many threads at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "quire_uv.h"
#include "unit/libquire_helpers.h"

/* ---- time, cancellation, the end ---- */

static void test_deadline(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    uint64_t begin = clock_ms();
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    request.timeout_ms = 200;
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_DEADLINE);
    assert_string_equal(result->error, "no answer within 200 ms");
    assert_in_range(clock_ms() - begin, 190, 8000);
    quire_result_free(result);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_unreachable(void **state)
{
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    uint64_t begin;
    options.connect_timeout_ms = 150;
    client =
        connect_with("ipc:///tmp/quire-test-nobody-1, ipc:///tmp/quire-test-nobody-2", &options);
    request.query = "x";
    begin = clock_ms();
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_UNAVAILABLE);
    assert_in_range(clock_ms() - begin, 140, 8000);
    assert_non_null(strstr(result->error, "no connection to ipc:///tmp/quire-test-nobody-1, ipc"));
    quire_result_free(result);
    quire_client_destroy(client);
}

static void test_cancel(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct seen seen = SEEN_INIT;
    quire_ticket sent, waiting;
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    sent = quire_search(client, &request, see_search, &seen);
    wait_requests(&fake, 1);
    quire_cancel(client, sent);
    wait_until(&seen, 1);
    fake_tell(&fake, FAKE_DOWN);
    waiting = quire_search(client, &request, see_search, &seen);
    assert_true(waiting != sent);
    quire_cancel(client, waiting);
    wait_until(&seen, 2);
    assert_int_equal(seen.by_status[QUIRE_CANCELED], 2);
    assert_true(seen.error[0] != 0);
    quire_cancel(client, sent);
    quire_cancel(client, 0);
    quire_cancel(client, 12345);
    quire_client_destroy(client);
    fake_stop(&fake);
    assert_int_equal(seen.count, 2);
}

static void test_destroy_ends_all(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct seen seen = SEEN_INIT;
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    for (int i = 0; i < 500; i++)
        assert_true(quire_search(client, &request, see_search, &seen) != 0);
    wait_requests(&fake, 100);
    quire_client_destroy(client);
    assert_int_equal(seen.count, 500);
    assert_int_equal(seen.by_status[QUIRE_CANCELED], 500);
    quire_client_destroy(NULL);
    fake_stop(&fake);
}

struct from_callback {
    struct quire_client *client;
    struct seen seen;
    int nested_status;
    quire_ticket nested_ticket;
};

static void call_from_callback(void *data, const struct quire_search_result *result)
{
    struct from_callback *test = data;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *nested;
    unsigned before = test->seen.count;
    request.query = "x";
    test->nested_status = quire_search_wait(test->client, &request, &nested);
    assert_non_null(strstr(nested->error, "callback"));
    quire_result_free(nested);
    quire_client_destroy(test->client); /* refused as well: nothing happens */
    test->nested_ticket = quire_search(test->client, &request, see_search, &test->seen);
    assert_int_equal(test->seen.count, before); /* never from inside the submitting call */
    see(&test->seen, result->status, result->error);
}

static void test_from_callback(void **state)
{
    struct fake fake;
    struct from_callback test = {.seen = SEEN_INIT};
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    fake_start(&fake, answer_search, NULL, true);
    test.client = connect_to(&fake);
    request.query = "x";
    quire_search(test.client, &request, call_from_callback, &test);
    wait_until(&test.seen, 2);
    assert_int_equal(test.nested_status, QUIRE_INVALID);
    assert_true(test.nested_ticket != 0);
    assert_int_equal(test.seen.by_status[QUIRE_OK], 2);
    quire_client_destroy(test.client);
    fake_stop(&fake);
}

static void test_too_many(void **state)
{
    struct fake fake;
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct seen seen = SEEN_INIT;
    fake_start(&fake, answer_nothing, NULL, true);
    options.max_outstanding = 10;
    client = connect_with(fake.url, &options);
    request.query = "x";
    for (int i = 0; i < 10; i++)
        quire_search(client, &request, see_search, &seen);
    quire_search(client, &request, see_search, &seen);
    wait_until(&seen, 1);
    assert_int_equal(seen.by_status[QUIRE_FULL], 1);
    quire_client_destroy(client);
    assert_int_equal(seen.by_status[QUIRE_CANCELED], 10);
    fake_stop(&fake);
}

static void test_fork(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    int status;
    pid_t child;
    fake_start(&fake, answer_search, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    child = fork();
    if (child == 0) {
        bool good = quire_search(client, &request, see_search, NULL) == 0;
        good &= quire_search_wait(client, &request, &result) == QUIRE_INVALID;
        quire_cancel(client, 1);
        quire_client_destroy(client);
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_OK);
    quire_result_free(result);
    quire_client_destroy(client);
    fake_stop(&fake);
}

/* ---- several coordinators, repetition ---- */

static void test_next_coordinator(void **state)
{
    struct fake first, second;
    char urls[256];
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    struct seen seen = SEEN_INIT;
    fake_start(&first, answer_nothing, NULL, false);
    fake_start(&second, answer_search, NULL, true);
    snprintf(urls, sizeof(urls), "%s,%s", first.url, second.url);
    client = connect_with(urls, &options);
    request.query = "x";
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_OK);
    quire_result_free(result);
    assert_int_equal(atomic_load(&second.requests), 1);

    /* The second goes away with a request; when the first comes up it answers... nothing, and goes
     * away too. */
    second.handler = answer_nothing;
    quire_search(client, &request, see_search, &seen);
    wait_requests(&second, 2);
    fake_tell(&first, FAKE_UP);
    fake_tell(&second, FAKE_DOWN);
    wait_requests(&first, 1);
    second.handler = answer_search;
    fake_tell(&second, FAKE_UP);
    fake_tell(&first, FAKE_DOWN);
    wait_until(&seen, 1);
    assert_int_equal(seen.by_status[QUIRE_OK], 1);
    quire_client_destroy(client);
    fake_stop(&first);
    fake_stop(&second);
}

static void see_collection(void *data, const struct quire_collection_result *result)
{
    see(data, result->status, result->error);
}

static void test_not_repeated(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_collection_request request = QUIRE_COLLECTION_INIT;
    struct seen seen = SEEN_INIT;
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    request.collection = "ai";
    quire_collection_create(client, &request, see_collection, &seen);
    wait_requests(&fake, 1);
    fake_tell(&fake, FAKE_DOWN);
    wait_until(&seen, 1);
    assert_int_equal(seen.by_status[QUIRE_UNAVAILABLE], 1);
    assert_non_null(strstr(seen.error, "may or may not"));
    fake_tell(&fake, FAKE_UP);
    sleep_ms(300);
    assert_int_equal(atomic_load(&fake.requests), 1);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void say_unavailable(void *data, struct rpc_request *request)
{
    rpc_reply_error(request, ERR_UNAVAILABLE, "range 7: its shard is down");
}

static void test_said_unavailable(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *result;
    fake_start(&fake, say_unavailable, NULL, true);
    client = connect_to(&fake);
    request.query = "x";
    assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_UNAVAILABLE);
    assert_string_equal(result->error, "range 7: its shard is down");
    assert_int_equal(atomic_load(&fake.requests), 4);
    quire_result_free(result);
    quire_client_destroy(client);
    fake_stop(&fake);
}

/* ---- loops and threads ---- */

struct on_loop {
    struct quire_client *client;
    unsigned answers;
    int waited;
    bool closed;
};

static void loop_closed(void *data)
{
    ((struct on_loop *)data)->closed = true;
}

static void loop_answer(void *data, const struct quire_search_result *result)
{
    struct on_loop *test = data;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    const struct quire_search_result *nested;
    assert_int_equal(result->status, test->answers < 3 ? QUIRE_OK : QUIRE_CANCELED);
    request.query = "x";
    if (test->answers++ == 2) {
        test->waited = quire_search_wait(test->client, &request, &nested);
        quire_result_free(nested);
        quire_search(test->client, &request, loop_answer, test);
        quire_client_close(test->client, loop_closed, test);
        assert_int_equal(quire_search(test->client, &request, loop_answer, test), 0);
    }
}

static void test_on_loop(void **state)
{
    struct fake fake;
    struct on_loop test = {0};
    struct quire_options options = QUIRE_OPTIONS_INIT;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    uv_loop_t loop;
    fake_start(&fake, answer_search, NULL, true);
    uv_loop_init(&loop);
    options.connect = fake.url;
    assert_int_equal(quire_client_create_on_loop(&options, &loop, &test.client, NULL, 0), QUIRE_OK);
    request.query = "x";
    for (int i = 0; i < 3; i++)
        quire_search(test.client, &request, loop_answer, &test);
    assert_int_equal(test.answers, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(test.closed);
    assert_int_equal(test.waited, QUIRE_INVALID);
    assert_int_equal(test.answers, 4);
    assert_int_equal(uv_loop_close(&loop), 0);
    fake_stop(&fake);
}

static void *search_often(void *data)
{
    struct quire_client *client = data;
    struct quire_search_request request = QUIRE_SEARCH_INIT;
    struct seen seen = SEEN_INIT;
    const struct quire_search_result *result;
    request.query = "x";
    for (unsigned i = 0; i < 100; i++) {
        quire_ticket ticket = quire_search(client, &request, see_search, &seen);
        if (i % 3 == 0)
            quire_cancel(client, ticket);
        assert_int_equal(quire_search_wait(client, &request, &result), QUIRE_OK);
        quire_result_free(result);
    }
    wait_until(&seen, 100);
    assert_int_equal(seen.by_status[QUIRE_OK] + seen.by_status[QUIRE_CANCELED], 100);
    return NULL;
}

static void test_threads(void **state)
{
    struct fake fake;
    pthread_t threads[8];
    struct quire_client *client;
    fake_start(&fake, answer_search, NULL, true);
    client = connect_to(&fake);
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, search_often, client);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    quire_client_destroy(client);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deadline),      cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_cancel),        cmocka_unit_test(test_destroy_ends_all),
        cmocka_unit_test(test_from_callback), cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_fork),          cmocka_unit_test(test_next_coordinator),
        cmocka_unit_test(test_not_repeated),  cmocka_unit_test(test_said_unavailable),
        cmocka_unit_test(test_on_loop),       cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
