/* libquire writes: identities and repetition of batches, the bulk writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/uuid.h"
#include "unit/libquire_helpers.h"

/* ---- writes ---- */

/* What the shards would do: count the ops, remember the last batch of each client, fail what they
 * are told to. */
struct ledger {
    pthread_mutex_t lock;
    unsigned applied;  /* ops, each batch once */
    unsigned repeated; /* batches that came again */
    unsigned clients;
    char client[256][UUID_TEXT_SIZE];
    uint64_t batch[256];
    unsigned fail_ops; /* so many replies have one op failed with ERR_UNAVAILABLE */
    unsigned drop; /* so many requests are applied, but not answered until the connection is lost */
    unsigned delay_ms;
    unsigned now, most; /* requests at a time */
};

static bool ledger_known(struct ledger *ledger, const Quire__WriteRequest *in)
{
    for (unsigned i = 0; i < ledger->clients; i++) {
        if (strcmp(ledger->client[i], in->client_id) != 0)
            continue;
        assert_true(in->batch == ledger->batch[i] || in->batch == ledger->batch[i] + 1);
        if (in->batch == ledger->batch[i])
            return true;
        ledger->batch[i] = in->batch;
        return false;
    }
    assert_true(ledger->clients < 256);
    strcpy(ledger->client[ledger->clients], in->client_id);
    ledger->batch[ledger->clients++] = in->batch;
    return false;
}

static void reply_write(struct rpc_request *request, size_t count, bool fail_one)
{
    Quire__WriteReply reply = QUIRE__WRITE_REPLY__INIT;
    Quire__Error error = QUIRE__ERROR__INIT;
    Quire__WriteResult *results = arena_calloc(&request->arena, count + 1, sizeof(*results));
    Quire__WriteResult **list = arena_calloc(&request->arena, count + 1, sizeof(*list));
    error.code = ERR_UNAVAILABLE;
    error.text = lend("range 3 is moving");
    for (size_t i = 0; i < count; i++) {
        quire__write_result__init(&results[i]);
        results[i].outcome = QUIRE__WRITE_RESULT__OUTCOME__NEW;
        results[i].has_version = true;
        results[i].version = 5;
        list[i] = &results[i];
    }
    if (fail_one) {
        results[0].outcome = QUIRE__WRITE_RESULT__OUTCOME__FAILED;
        results[0].error = &error;
    }
    reply.results = list;
    reply.n_results = count;
    fake_reply(request, QUIRE__KIND__KIND_WRITE + 1, &reply.base);
}

static void answer_write(void *data, struct rpc_request *request)
{
    struct fake *fake = data;
    struct ledger *ledger = fake->data;
    Quire__WriteRequest *in = quire__write_request__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    bool drop = false, fail_one = false;
    assert_non_null(in);
    assert_non_null(in->client_id);
    assert_true(in->has_batch && in->batch > 0);
    pthread_mutex_lock(&ledger->lock);
    if (ledger_known(ledger, in))
        ledger->repeated++;
    else
        ledger->applied += (unsigned)in->n_ops;
    if (ledger->drop > 0) {
        ledger->drop--;
        drop = true;
    } else if (ledger->fail_ops > 0) {
        ledger->fail_ops--;
        fail_one = true;
    }
    pthread_mutex_unlock(&ledger->lock);
    if (drop)
        fake_hold(fake, request);
    else
        reply_write(request, in->n_ops, fail_one);
}

static void test_write_identity(void **state)
{
    struct fake fake;
    struct ledger ledger = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct quire_client *client;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    struct quire_put_request put = QUIRE_PUT_INIT;
    struct quire_delete_request delete = QUIRE_DELETE_INIT;
    const struct quire_write_result *result;
    struct seen seen = SEEN_INIT;
    fake_start(&fake, answer_write, &ledger, true);
    client = connect_to(&fake);
    entry.headword = "x";
    put.entry = &entry;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(quire_put_wait(client, &put, &result), QUIRE_OK);
        assert_int_equal(result->written_count, 1);
        assert_int_equal(result->written[0]->outcome, QUIRE_NEW);
        assert_int_equal(result->written[0]->version, 5);
        quire_result_free(result);
    }
    delete.headword = "x";
    assert_int_equal(quire_delete_wait(client, &delete, &result), QUIRE_OK);
    quire_result_free(result);
    assert_int_equal(ledger.clients, 1); /* one after the other: one client id, batches 1 to 6 */
    assert_int_equal(ledger.batch[0], 6);
    /* Lost with its answer: comes again with the same identity, and is recognised. */
    ledger.drop = 1;
    quire_put(client, &put, see_write, &seen);
    wait_requests(&fake, 7);
    fake_tell(&fake, FAKE_DOWN);
    fake_tell(&fake, FAKE_UP);
    wait_until(&seen, 1);
    assert_int_equal(seen.by_status[QUIRE_OK], 1);
    assert_int_equal(ledger.applied, 7);
    assert_int_equal(ledger.repeated, 1);
    /* An op that failed for a reason that passes is tried again. */
    ledger.fail_ops = 2;
    assert_int_equal(quire_put_wait(client, &put, &result), QUIRE_OK);
    assert_int_equal(result->written[0]->outcome, QUIRE_NEW);
    quire_result_free(result);
    assert_int_equal(ledger.applied, 8);
    assert_int_equal(ledger.repeated, 3);
    /* When it does not pass, the last answer is the result. */
    ledger.fail_ops = 1000;
    put.timeout_ms = 300;
    assert_int_equal(quire_put_wait(client, &put, &result), QUIRE_UNAVAILABLE);
    assert_string_equal(result->error, "range 3 is moving");
    assert_int_equal(result->written[0]->outcome, QUIRE_FAILED);
    quire_result_free(result);
    assert_int_equal(ledger.clients, 1);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_write_batch(void **state)
{
    struct fake fake;
    struct ledger ledger = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct quire_client *client;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    struct quire_op ops[3] = {QUIRE_OP_INIT, QUIRE_OP_INIT, QUIRE_OP_INIT};
    struct quire_write_request request = QUIRE_WRITE_INIT;
    const struct quire_write_result *result;
    fake_start(&fake, answer_write, &ledger, true);
    client = connect_to(&fake);
    entry.headword = "x";
    ops[0].put = &entry;
    ops[1].delete_headword = "y";
    ops[1].delete_all_senses = true;
    request.ops = ops;
    request.op_count = 3;
    assert_int_equal(quire_write_wait(client, &request, &result), QUIRE_INVALID);
    assert_string_equal(result->error, "ops[2]: headword: missing");
    quire_result_free(result);
    ops[2].put = &entry;
    ops[2].conditional = true;
    request.client_id = "01234567-89ab-4def-8123-456789abcdef";
    assert_int_equal(quire_write_wait(client, &request, &result), QUIRE_INVALID);
    quire_result_free(result);
    request.batch = 1;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(quire_write_wait(client, &request, &result), QUIRE_OK);
        assert_int_equal(result->written_count, 3);
        quire_result_free(result);
    }
    assert_int_equal(ledger.applied, 3);
    assert_int_equal(ledger.repeated, 1);
    assert_string_equal(ledger.client[0], request.client_id);
    quire_client_destroy(client);
    fake_stop(&fake);
}

/* ---- the bulk writer ---- */

struct told {
    atomic_uint count;
    atomic_uint by_status[32];
    atomic_uint by_tag[4096];
};

static void tell(void *data, const struct quire_writer_item *item)
{
    struct told *told = data;
    atomic_fetch_add(&told->count, 1);
    atomic_fetch_add(&told->by_status[item->status], 1);
    atomic_fetch_add(&told->by_tag[(uintptr_t)item->tag], 1);
}

static void test_writer(void **state)
{
    static struct told told;
    struct fake fake;
    struct ledger ledger = {.lock = PTHREAD_MUTEX_INITIALIZER, .fail_ops = 3};
    struct quire_client *client;
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    struct quire_writer_stats stats = QUIRE_WRITER_STATS_INIT;
    struct quire_writer *writer;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    char *large = malloc((3 << 20) + 1);
    char error[QUIRE_ERROR_SIZE];
    fake_start(&fake, answer_write, &ledger, true);
    client = connect_to(&fake);
    options.batch_ops = 10;
    options.batch_bytes = 4000;
    options.outstanding = 3;
    options.outstanding_bytes = 5000;
    options.result = tell;
    options.data = &told;
    options.collection = "?";
    assert_int_equal(quire_writer_create(client, &options, &writer, error, sizeof(error)),
                     QUIRE_INVALID);
    assert_null(writer);
    options.collection = "ai";
    assert_int_equal(quire_writer_create(client, &options, &writer, error, sizeof(error)),
                     QUIRE_OK);
    assert_int_equal(quire_writer_put(writer, &entry, NULL), QUIRE_INVALID);
    assert_string_equal(quire_writer_error(writer), "headword: missing");
    memset(large, 'x', 3 << 20);
    large[3 << 20] = '\0';
    entry.headword = "x";
    for (uintptr_t i = 0; i < 3003; i++) {
        entry.body = i % 1000 == 500 ? large : "short";
        assert_int_equal(quire_writer_put(writer, &entry, (void *)i), QUIRE_OK);
    }
    assert_int_equal(quire_writer_flush(writer), QUIRE_OK);
    assert_int_equal(atomic_load(&told.count), 3003);
    for (int i = 0; i < 3003; i++)
        assert_int_equal(atomic_load(&told.by_tag[i]), 1);
    assert_int_equal(ledger.applied, 3003);
    assert_true(ledger.clients <= 3); /* one for each that may be under way */
    quire_writer_get_stats(writer, &stats);
    assert_int_equal(stats.ops, 3003);
    assert_int_equal(stats.told, 3003);
    assert_int_equal(stats.outstanding, 0);
    assert_int_equal(stats.by_outcome[QUIRE_NEW], 3003);
    assert_true(stats.batches >= 301);
    quire_writer_destroy(writer);
    quire_writer_destroy(NULL);
    quire_client_destroy(client);
    fake_stop(&fake);
    free(large);
}

static void refuse_write(void *data, struct rpc_request *request)
{
    rpc_reply_error(request, ERR_NOT_FOUND, "there is no collection \"ai\"");
}

static void test_writer_fails(void **state)
{
    static struct told told;
    struct fake fake;
    struct quire_client *client;
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    struct quire_writer *writer;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    unsigned taken = 0;
    int status = QUIRE_OK;
    fake_start(&fake, refuse_write, NULL, true);
    client = connect_to(&fake);
    options.batch_ops = 10;
    options.result = tell;
    options.data = &told;
    assert_int_equal(quire_writer_create(client, &options, &writer, NULL, 0), QUIRE_OK);
    entry.headword = "x";
    while (taken < 4000 && (status = quire_writer_put(writer, &entry, NULL)) == QUIRE_OK)
        taken++;
    if (status == QUIRE_OK) /* it was quicker than the first answer */
        status = quire_writer_flush(writer);
    assert_int_equal(status, QUIRE_NOT_FOUND);
    assert_string_equal(quire_writer_error(writer), "there is no collection \"ai\"");
    assert_int_equal(quire_writer_flush(writer), QUIRE_NOT_FOUND);
    assert_int_equal(atomic_load(&told.count), taken);
    assert_int_equal(atomic_load(&told.by_status[QUIRE_NOT_FOUND]), taken);
    quire_writer_destroy(writer);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void refuse_batch(void *data, struct rpc_request *request)
{
    rpc_reply_error(request, ERR_INVALID, "the batch makes no sense");
}

/* A refused batch must not look like a refused op, after which a caller goes on. */
static void test_writer_refused_batch(void **state)
{
    struct fake fake;
    struct quire_client *client;
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    struct quire_writer *writer;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    fake_start(&fake, refuse_batch, NULL, true);
    client = connect_to(&fake);
    assert_int_equal(quire_writer_create(client, &options, &writer, NULL, 0), QUIRE_OK);
    entry.headword = "x";
    assert_int_equal(quire_writer_put(writer, &entry, NULL), QUIRE_OK);
    assert_int_equal(quire_writer_flush(writer), QUIRE_INVALID);
    assert_int_equal(quire_writer_put(writer, &entry, NULL), QUIRE_CLOSED);
    assert_string_equal(quire_writer_error(writer), "the batch makes no sense");
    quire_writer_destroy(writer);
    quire_client_destroy(client);
    fake_stop(&fake);
}

static void test_writer_destroyed(void **state)
{
    static struct told told;
    struct fake fake;
    struct quire_client *client;
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    struct quire_writer *writer;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    fake_start(&fake, answer_nothing, NULL, true);
    client = connect_to(&fake);
    options.batch_ops = 10;
    options.outstanding = 2;
    options.result = tell;
    options.data = &told;
    assert_int_equal(quire_writer_create(client, &options, &writer, NULL, 0), QUIRE_OK);
    entry.headword = "x";
    for (int i = 0; i < 25; i++)
        assert_int_equal(quire_writer_put(writer, &entry, NULL), QUIRE_OK);
    wait_requests(&fake, 2);
    quire_writer_destroy(writer);
    assert_int_equal(atomic_load(&told.count), 25);
    assert_int_equal(atomic_load(&told.by_status[QUIRE_CANCELED]), 25);
    quire_client_destroy(client);
    fake_stop(&fake);
}

/* The coordinator goes away and comes back all the time while a writer writes: whatever was applied
 * and not answered comes again under its identity, so that each op is applied once and told once.
 */
static void test_writer_while_flapping(void **state)
{
    static struct told told;
    struct fake fake;
    struct ledger ledger = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct quire_client *client;
    struct quire_writer_options options = QUIRE_WRITER_INIT;
    struct quire_writer *writer;
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    fake_start(&fake, answer_write, &ledger, true);
    client = connect_to(&fake);
    options.batch_ops = 2;
    options.outstanding = 16;
    options.result = tell;
    options.data = &told;
    assert_int_equal(quire_writer_create(client, &options, &writer, NULL, 0), QUIRE_OK);
    entry.headword = "x";
    for (uintptr_t i = 0; i < 4000; i++) {
        assert_int_equal(quire_writer_put(writer, &entry, (void *)i), QUIRE_OK);
        if (i % 800 == 799) {
            fake_tell(&fake, FAKE_DOWN);
            fake_tell(&fake, FAKE_UP);
        }
        if (i % 800 == 750) {
            pthread_mutex_lock(&ledger.lock);
            ledger.drop = 10; /* applied, and not answered before the connection is gone */
            pthread_mutex_unlock(&ledger.lock);
        }
    }
    assert_int_equal(quire_writer_flush(writer), QUIRE_OK);
    assert_int_equal(atomic_load(&told.count), 4000);
    for (int i = 0; i < 4000; i++)
        assert_int_equal(atomic_load(&told.by_tag[i]), 1);
    assert_int_equal(ledger.applied, 4000);
    assert_true(ledger.repeated >= 10);
    quire_writer_destroy(writer);
    quire_client_destroy(client);
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_identity),
        cmocka_unit_test(test_write_batch),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_fails),
        cmocka_unit_test(test_writer_refused_batch),
        cmocka_unit_test(test_writer_destroyed),
        cmocka_unit_test(test_writer_while_flapping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
