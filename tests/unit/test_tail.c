/* The tail of a log, against a plain list; and a client's session. */
#include "client/session.h"
#include "proto/quire.pb-c.h"
#include "shard/tail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RECORDS_MAX 4000

struct model {
    uint64_t first[RECORDS_MAX];
    uint32_t count[RECORDS_MAX];
    size_t begin, end, bytes;
};

static void check(const struct tail *tail, const struct model *model, uint64_t next)
{
    size_t at = model->begin;
    for (uint64_t seq = 1; seq <= next; seq++) {
        struct tail_record *record = tail_find(tail, seq);
        while (at < model->end && model->first[at] < seq)
            at++;
        bool there = at < model->end && model->first[at] == seq;
        assert_int_equal(record != NULL, there);
        if (record == NULL)
            continue;
        assert_int_equal(record->count, model->count[at]);
        assert_int_equal(tail_record_end(record), seq + model->count[at] - 1);
        tail_record_release(record);
    }
}

static void a_tail_holds_what_was_added_and_not_cut(void **state)
{
    static uint8_t bytes[300000];
    struct tail tail = {0};
    struct model *model = calloc(1, sizeof *model);
    struct tail_record *kept = NULL;
    uint64_t next = 1;
    unsigned seed = 5;
    for (int i = 0; i < 600; i++) {
        unsigned what = (unsigned)rand_r(&seed) % 10;
        if (what < 7 && model->end < RECORDS_MAX) {
            uint32_t count = 1 + (uint32_t)rand_r(&seed) % 4;
            size_t size = (size_t)rand_r(&seed) % sizeof bytes;
            tail_add(&tail, 3, next, count, bytes_of(bytes, size));
            model->first[model->end] = next;
            model->count[model->end++] = count;
            next += count;
        } else if (what < 9 && model->end > model->begin) {
            size_t from = model->begin + (size_t)rand_r(&seed) % (model->end - model->begin);
            tail_cut(&tail, model->first[from]);
            next = model->first[from];
            model->end = from;
        } else {
            tail_trim(&tail);
            assert_true(tail.bytes <= TAIL_BYTES || tail.count == 0);
            model->begin = model->end - tail.count;
        }
        if (kept == NULL && (kept = tail_find(&tail, next > 1 ? model->first[model->end - 1] : 1)))
            tail_record_ref(kept); /* one that is used outlives the tail's own */
        check(&tail, model, next);
    }
    tail_deinit(&tail);
    assert_non_null(kept);
    assert_int_equal(kept->epoch, 3);
    tail_record_release(kept);
    tail_record_release(kept);
    free(model);
}

/* ---- sessions ---- */

static void wrote_since(struct session *session, uint64_t range, uint64_t seq, uint32_t recovered)
{
    Quire__WriteReply reply = QUIRE__WRITE_REPLY__INIT;
    Quire__SessionMark mark = QUIRE__SESSION_MARK__INIT, *marks[] = {&mark};
    Quire__WriteResult result = QUIRE__WRITE_RESULT__INIT, *results[] = {&result, &result};
    uint8_t packed[256];
    result.outcome = QUIRE__WRITE_RESULT__OUTCOME__NEW;
    mark.range = range;
    mark.seq = seq;
    mark.has_recovered = recovered > 0;
    mark.recovered = recovered;
    reply.n_results = 2;
    reply.results = results;
    reply.n_session = 1;
    reply.session = marks;
    session_wrote(session, bytes_of(packed, quire__write_reply__pack(&reply, packed)));
}

static void wrote(struct session *session, uint64_t range, uint64_t seq)
{
    wrote_since(session, range, seq, 0);
}

/* What a search that ends with the session says; freed by the next call. */
static Quire__GetRequest *append(struct session *session)
{
    static Quire__GetRequest *last;
    Quire__GetRequest request = QUIRE__GET_REQUEST__INIT;
    struct buf packed = {0};
    request.collection = (char *)"c";
    request.headword = (char *)"h";
    quire__get_request__pack(&request,
                             buf_extend(&packed, quire__get_request__get_packed_size(&request)));
    if (session != NULL)
        session_append(session, &packed);
    if (last != NULL)
        quire__get_request__free_unpacked(last, NULL);
    last = session == NULL ? NULL : quire__get_request__unpack(NULL, packed.size, packed.data);
    buf_deinit(&packed);
    return last;
}

static void a_session_has_the_highest_seq_of_each_range(void **state)
{
    struct session session, other;
    session_init(&session, false);
    session_init(&other, true);
    assert_int_equal(append(&session)->n_session, 0);
    wrote(&session, 7, 10);
    wrote(&session, 3, 5);
    wrote(&session, 7, 9);
    wrote(&session, 9, 1);
    Quire__GetRequest *request = append(&session);
    assert_int_equal(request->n_session, 3);
    assert_int_equal(request->session[0]->range, 3);
    assert_int_equal(request->session[1]->seq, 10);
    assert_false(request->has_from_primary);
    struct buf token = {0};
    session_export(&session, &token);
    wrote(&other, 7, 12);
    assert_true(session_import(&other, buf_bytes(&token)));
    request = append(&other);
    assert_int_equal(request->n_session, 3);
    assert_int_equal(request->session[1]->seq, 12);
    assert_true(request->from_primary);
    assert_false(request->has_replica);
    other.one_replica = true;
    assert_true(append(&other)->has_replica);
    other.replica = 2;
    assert_int_equal(append(&other)->replica, 2);
    for (size_t cut = 1; cut < token.size; cut++) /* half a token is taken whole or not at all */
        (void)session_import(&other, bytes_of(token.data, cut));
    assert_false(session_import(&other, bytes_of("\xff\xff\xff", 3)));
    buf_deinit(&token);
    (void)append(NULL);
    session_deinit(&session);
    session_deinit(&other);
}

/* When writes of a range were given up, seqs are counted from what was left. */
static void a_session_outlives_a_recovery(void **state)
{
    struct session session, other;
    struct buf token = {0};
    session_init(&session, false);
    session_init(&other, false);
    wrote(&session, 7, 10);
    wrote_since(&session, 7, 4, 1);
    wrote(&session, 7, 11); /* told late */
    session_export(&session, &token);
    wrote(&other, 7, 12);
    assert_true(session_import(&other, buf_bytes(&token)));
    Quire__GetRequest *request = append(&other);
    assert_int_equal(request->n_session, 1);
    assert_int_equal(request->session[0]->seq, 4);
    assert_int_equal(request->session[0]->recovered, 1);
    assert_int_equal(marks_seq(&other.marks, 7, 1), 4);
    assert_int_equal(marks_seq(&other.marks, 7, 0), 0);
    assert_int_equal(marks_seq(&other.marks, 8, 1), 0);
    buf_deinit(&token);
    (void)append(NULL);
    session_deinit(&session);
    session_deinit(&other);
}

static void a_session_has_a_bound(void **state)
{
    struct session session;
    session_init(&session, false);
    for (uint64_t range = 1; range <= SESSION_MARKS_MAX + 10; range++)
        wrote(&session, range, range);
    wrote(&session, 1, 100);
    assert_int_equal(append(&session)->n_session, SESSION_MARKS_MAX);
    assert_int_equal(append(&session)->session[0]->seq, 100);
    (void)append(NULL);
    session_deinit(&session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tail_holds_what_was_added_and_not_cut),
        cmocka_unit_test(a_session_has_the_highest_seq_of_each_range),
        cmocka_unit_test(a_session_outlives_a_recovery),
        cmocka_unit_test(a_session_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
