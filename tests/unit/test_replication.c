/* The replication core, one replica at a time: what it is told is made up here, and what it wants
 * done is noted down. Whole groups of replicas: test_replication_random.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "shard/replication.h"

#include <stdio.h>
#include <string.h>

#define NOTED_MAX 512
#define LEASE UINT64_C(1000000)

struct sent {
    char to[UUID_TEXT_SIZE];
    struct replication_prepare prepare;
    uint64_t first, last;
};

struct bench {
    struct replication *core;
    uint64_t now, last, message_seqs;
    struct sent sent[NOTED_MAX];
    struct replication_ack answer[NOTED_MAX];
    struct {
        size_t count;
        uint64_t cut;
    } append[NOTED_MAX];
    struct {
        uint64_t epoch;
        char node[UUID_TEXT_SIZE];
        bool in_sync;
    } request[NOTED_MAX];
    size_t sents, answers, appends, requests, checkpoints;
    uint64_t committed, abandoned;
};

static uint64_t edge_send(void *data, const char *to, const struct replication_prepare *prepare,
                          uint64_t first)
{
    struct bench *b = data;
    struct sent *sent = &b->sent[b->sents++ % NOTED_MAX];
    *sent = (struct sent){.prepare = *prepare, .first = first};
    snprintf(sent->to, sizeof sent->to, "%s", to);
    if (first != 0)
        sent->last = first + b->message_seqs - 1 < b->last ? first + b->message_seqs - 1 : b->last;
    return sent->last;
}

static void edge_answer(void *data, void *ticket, const struct replication_ack *ack)
{
    struct bench *b = data;
    (void)ticket;
    b->answer[b->answers++ % NOTED_MAX] = *ack;
}

/* A ticket is the message itself. */
static void edge_append(void *data, void *ticket, size_t count, uint64_t cut)
{
    struct bench *b = data;
    const struct replication_prepare *prepare = ticket;
    const struct replication_record *record = &prepare->records[prepare->record_count - 1];
    b->append[b->appends % NOTED_MAX].count = count;
    b->append[b->appends++ % NOTED_MAX].cut = cut;
    b->last = record->first_seq + record->count - 1;
}

static void edge_commit(void *data, uint64_t seq)
{
    struct bench *b = data;
    assert_true(seq > b->committed);
    b->committed = seq;
}

static void edge_abandon(void *data, uint64_t seq)
{
    ((struct bench *)data)->abandoned = seq;
}

static void edge_request(void *data, uint64_t epoch, const char *node, bool in_sync)
{
    struct bench *b = data;
    size_t i = b->requests++ % NOTED_MAX;
    b->request[i].epoch = epoch;
    b->request[i].in_sync = in_sync;
    snprintf(b->request[i].node, sizeof b->request[i].node, "%s", node);
}

static void edge_need_checkpoint(void *data, const char *primary)
{
    (void)primary;
    ((struct bench *)data)->checkpoints++;
}

/* Replica "a" with a log as found: epochs of `starts`, up to `last`; applied up to `committed`. */
static void begin(struct bench *b, const struct replication_position *starts, size_t count,
                  uint64_t last, uint64_t committed)
{
    *b = (struct bench){.now = 1000, .last = last, .committed = committed, .message_seqs = 100000};
    const struct replication_edge edge = {.data = b,
                                          .send = edge_send,
                                          .answer = edge_answer,
                                          .append = edge_append,
                                          .commit = edge_commit,
                                          .abandon = edge_abandon,
                                          .request = edge_request,
                                          .need_checkpoint = edge_need_checkpoint};
    const struct replication_start start = {.node_id = "a",
                                            .starts = starts,
                                            .start_count = count,
                                            .last_seq = last,
                                            .committed = committed};
    b->core = replication_create(&start, &edge);
}

static void begin_one_epoch(struct bench *b, uint64_t last, uint64_t committed)
{
    const struct replication_position starts[1] = {{1, 1}};
    begin(b, starts, last > 0, last, committed);
}

static void end(struct bench *b)
{
    replication_destroy(b->core);
}

/* in_sync, learners: a letter for each node; the first one in sync is the primary. */
static void configure(struct bench *b, uint64_t epoch, const char *in_sync, const char *learners,
                      bool may_lead)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    const char *in[4], *out[4];
    struct replication_config config = {.epoch = epoch, .in_sync = in, .learners = out};
    for (; *in_sync; in_sync++)
        in[config.in_sync_count++] = names[*in_sync - 'a'];
    for (; *learners; learners++)
        out[config.learner_count++] = names[*learners - 'a'];
    config.primary = in[0];
    replication_configure(b->core, &config, may_lead, b->now);
}

/* A primary with a lease, and everything that was found committed. */
static void lead(struct bench *b, uint64_t last, const char *in_sync, const char *learners)
{
    begin_one_epoch(b, last, last);
    replication_lease(b->core, LEASE);
    configure(b, 2, in_sync, learners, true);
    assert_int_equal(replication_role(b->core), REPLICATION_PRIMARY);
}

static uint64_t propose(struct bench *b, uint32_t count)
{
    uint64_t first = 0;
    assert_int_equal(replication_propose(b->core, count, b->now, &first, NULL), 0);
    assert_int_equal(first, b->last + 1);
    b->last += count;
    replication_pump(b->core, b->now);
    return first;
}

static int proposing(struct bench *b)
{
    uint64_t first;
    struct err err = {0};
    int rc = replication_propose(b->core, 1, b->now, &first, &err);
    assert_true(rc != 0 && err.text[0] != '\0');
    return rc;
}

static void acked(struct bench *b, const char *from, enum replication_status status, uint64_t last)
{
    const struct replication_ack ack = {.status = status,
                                        .epoch = replication_epoch(b->core),
                                        .last = last,
                                        .committed = last < b->committed ? last : b->committed,
                                        .durable_seq = last};
    replication_acked(b->core, from, &ack, b->now);
}

static void ok(struct bench *b, const char *from, uint64_t last)
{
    acked(b, from, REPLICATION_OK, last);
}

/* Time passes, with a tick every 50 ms; `from` (NULL: nobody) answers all of them. */
static void pass(struct bench *b, uint64_t ms, const char *from, enum replication_status status,
                 uint64_t last)
{
    for (uint64_t until = b->now + ms; b->now < until;) {
        b->now += 50;
        if (from)
            acked(b, from, status, last);
        replication_tick(b->core, b->now);
    }
}

/* A message of primary "b" with up to two records: {epoch, first, count} each, count 0: none. The
 * answer's status; 0: it waits. */
static int receive(struct bench *b, uint64_t epoch, struct replication_position prev,
                   struct replication_record one, struct replication_record two, uint64_t committed)
{
    static struct replication_record records[2];
    static struct replication_prepare prepare;
    records[0] = one;
    records[1] = two;
    prepare = (struct replication_prepare){.epoch = epoch,
                                           .from = "b",
                                           .prev = prev,
                                           .records = records,
                                           .record_count = (one.count > 0) + (two.count > 0),
                                           .committed = committed};
    size_t before = b->answers;
    replication_receive(b->core, &prepare, &prepare, b->now);
    return b->answers > before ? (int)b->answer[before].status : 0;
}

#define AT(epoch, seq) ((struct replication_position){epoch, seq})
#define RECORD(epoch, first, count) ((struct replication_record){epoch, first, count})
#define NO_RECORD RECORD(0, 0, 0)

static int beat(struct bench *b, uint64_t epoch, struct replication_position prev,
                uint64_t committed)
{
    return receive(b, epoch, prev, NO_RECORD, NO_RECORD, committed);
}

/* ---- following ---- */

static void test_log_matching(void **state)
{
    (void)state;
    struct bench b;
    const struct replication_position starts[] = {{1, 1}, {3, 5}};
    begin(&b, starts, 2, 10, 2);
    configure(&b, 4, "ba", "", false);
    assert_int_equal(beat(&b, 4, AT(1, 4), 0), REPLICATION_OK);
    assert_int_equal(b.answer[0].last, 4);
    assert_int_equal(beat(&b, 4, AT(3, 4), 0), REPLICATION_MISMATCH);
    assert_int_equal(beat(&b, 4, AT(1, 5), 0), REPLICATION_MISMATCH);
    assert_int_equal(beat(&b, 4, AT(3, 11), 0), REPLICATION_MISMATCH);
    assert_int_equal(b.answer[3].committed, 2);
    assert_int_equal(receive(&b, 4, AT(2, 10), RECORD(4, 11, 1), NO_RECORD, 0),
                     REPLICATION_MISMATCH);
    assert_int_equal(beat(&b, 4, AT(3, 10), 0), REPLICATION_OK);
    assert_int_equal(b.answer[5].last, 10);
    assert_int_equal(b.appends, 0);
    end(&b);
}

static void test_cut_only_for_another_record(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 10, 3);
    configure(&b, 2, "ba", "", false);
    assert_int_equal(beat(&b, 2, AT(1, 5), 3), REPLICATION_OK);
    assert_int_equal(receive(&b, 2, AT(1, 3), RECORD(1, 4, 2), NO_RECORD, 3), REPLICATION_OK);
    assert_int_equal(b.appends, 0);
    assert_int_equal(replication_last(b.core), 10);
    assert_int_equal(receive(&b, 2, AT(1, 3), RECORD(1, 4, 4), RECORD(2, 8, 1), 3), 0);
    assert_int_equal(b.appends, 1);
    assert_int_equal(b.append[0].cut, 8);
    assert_int_equal(b.append[0].count, 1);
    assert_int_equal(replication_last(b.core), 8);
    /* Until it is durable the log holds up to 7, whatever is asked. */
    assert_int_equal(beat(&b, 2, AT(1, 7), 3), REPLICATION_OK);
    assert_int_equal(b.answer[b.answers - 1].last, 7);
    assert_int_equal(receive(&b, 2, AT(1, 7), RECORD(2, 8, 1), NO_RECORD, 3), 0);
    assert_int_equal(b.appends, 1);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.answer[b.answers - 1].last, 8);
    end(&b);
}

static void test_committed_is_never_cut(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 10, 3);
    configure(&b, 2, "ba", "", false);
    assert_int_equal(beat(&b, 2, AT(1, 5), 5), REPLICATION_OK);
    assert_int_equal(b.committed, 5);
    assert_int_equal(receive(&b, 2, AT(1, 3), RECORD(2, 4, 3), NO_RECORD, 5), REPLICATION_BROKEN);
    assert_int_equal(b.appends, 0);
    assert_int_equal(replication_last(b.core), 10);
    end(&b);
}

static void test_other_epochs(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    assert_int_equal(receive(&b, 1, AT(1, 5), RECORD(1, 6, 1), NO_RECORD, 0), REPLICATION_BEHIND);
    configure(&b, 3, "ba", "", false);
    configure(&b, 2, "ab", "", true); /* too late */
    assert_int_equal(replication_role(b.core), REPLICATION_SECONDARY);
    assert_int_equal(receive(&b, 2, AT(1, 5), RECORD(2, 6, 1), NO_RECORD, 9), REPLICATION_STALE);
    assert_int_equal(receive(&b, 4, AT(1, 5), RECORD(4, 6, 1), NO_RECORD, 9), REPLICATION_BEHIND);
    assert_int_equal(receive(&b, 3, AT(1, 5), RECORD(4, 6, 1), NO_RECORD, 9), REPLICATION_MISMATCH);
    assert_int_equal(b.answer[b.answers - 1].epoch, 3);
    assert_int_equal(b.appends, 0);
    configure(&b, 5, "bc", "", false); /* no member any more */
    assert_int_equal(receive(&b, 5, AT(1, 5), RECORD(5, 6, 1), NO_RECORD, 9), REPLICATION_STALE);
    assert_int_equal(b.appends, 0);
    end(&b);
}

static void test_answers_are_durable(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    configure(&b, 2, "ba", "", false);
    assert_int_equal(receive(&b, 2, AT(1, 5), RECORD(2, 6, 2), NO_RECORD, 7), 0);
    assert_int_equal(receive(&b, 2, AT(2, 7), RECORD(2, 8, 1), RECORD(2, 9, 1), 7), 0);
    assert_int_equal(b.committed, 5); /* told 7, which is not durable */
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.answers, 1);
    assert_int_equal(b.answer[0].last, 7);
    assert_int_equal(b.committed, 7);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.answers, 2);
    assert_int_equal(b.answer[1].last, 9);
    end(&b);
}

/* What was under way when the cut came does not stand for what came in its place. */
static void test_cut_of_a_write_under_way(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    configure(&b, 2, "ba", "", false);
    assert_int_equal(receive(&b, 2, AT(1, 5), RECORD(2, 6, 3), NO_RECORD, 5), 0);
    configure(&b, 3, "ba", "", false);
    assert_int_equal(b.answers, 1);
    assert_int_equal(b.answer[0].status, REPLICATION_STALE);
    assert_int_equal(receive(&b, 3, AT(1, 5), RECORD(3, 6, 1), NO_RECORD, 5), 0);
    assert_int_equal(b.append[1].cut, 6);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.answers, 1);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.answers, 2);
    assert_int_equal(b.answer[1].last, 6);
    end(&b);
}

/* The commit point is the primary's, of what is known to be in the primary's log. */
static void test_commit_of_what_agrees(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 10, 3);
    configure(&b, 2, "ba", "", false);
    beat(&b, 2, AT(1, 5), 8);
    assert_int_equal(b.committed, 5);
    beat(&b, 2, AT(1, 9), 4);
    assert_int_equal(b.committed, 8);
    configure(&b, 3, "ba", "", false); /* of this one's log nothing is known */
    beat(&b, 3, AT(1, 8), 10);
    assert_int_equal(b.committed, 8);
    end(&b);
}

static void test_broken_log(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    configure(&b, 2, "ba", "", false);
    assert_int_equal(receive(&b, 2, AT(1, 5), RECORD(2, 6, 3), NO_RECORD, 5), 0);
    replication_broke(b.core, b.now);
    assert_int_equal(b.answer[0].status, REPLICATION_BROKEN);
    assert_int_equal(b.answer[0].last, 5);
    assert_int_equal(beat(&b, 2, AT(1, 5), 5), REPLICATION_BROKEN);
    end(&b);
    lead(&b, 5, "a", "");
    propose(&b, 2);
    replication_broke(b.core, b.now);
    assert_int_equal(b.abandoned, 6);
    assert_int_equal(proposing(&b), ERR_IO);
    end(&b);
}

/* However long the log takes, what waits for it has a bound. */
static void test_waiting_messages_are_bounded(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    configure(&b, 2, "ba", "", false);
    for (int i = 0; i < 300; i++)
        receive(&b, 2, AT(1, 5), RECORD(2, 6, 3), NO_RECORD, 5);
    assert_int_equal(b.appends, 1);
    assert_in_range(b.answers, 300 - 4 * REPLICATION_WINDOW, 299);
    for (size_t i = 0; i < b.answers; i++)
        assert_int_equal(b.answer[i].last, 5);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.answers, 300);
    assert_int_equal(b.answer[299].last, 8);
    end(&b);
}

static void test_checkpoint_is_needed(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    configure(&b, 2, "b", "a", false);
    const struct replication_prepare late = {
        .epoch = 2, .from = "b", .prev = {1, 9}, .committed = 9, .base = 9};
    replication_receive(b.core, NULL, &late, b.now);
    assert_int_equal(b.checkpoints, 1);
    assert_false(replication_may_install(b.core, 5));
    assert_true(replication_may_install(b.core, 9));
    configure(&b, 3, "ba", "", false);
    assert_false(replication_may_install(b.core, 9)); /* it counts: its log is not to go */
    end(&b);
}

/* A replica that lost what it had says so, also while the map thinks that it is in sync. */
static void test_empty(void **state)
{
    (void)state;
    struct bench b = {0};
    const struct replication_edge edge = {.data = &b,
                                          .send = edge_send,
                                          .answer = edge_answer,
                                          .append = edge_append,
                                          .need_checkpoint = edge_need_checkpoint};
    const struct replication_start start = {.node_id = "a", .empty = true};
    b.core = replication_create(&start, &edge);
    replication_lease(b.core, LEASE);
    configure(&b, 1, "ab", "", true);
    assert_int_equal(replication_role(b.core), REPLICATION_NONE);
    configure(&b, 2, "ba", "", true);
    assert_int_equal(beat(&b, 2, AT(0, 0), 0), REPLICATION_EMPTY);
    assert_int_equal(replication_may_read(b.core, 2, false, 0, NULL), ERR_STALE);
    assert_int_equal(b.checkpoints, 0);
    configure(&b, 3, "b", "a", true);
    assert_int_equal(beat(&b, 3, AT(0, 0), 0), REPLICATION_EMPTY);
    assert_int_equal(b.checkpoints, 1);
    assert_true(replication_may_install(b.core, 1));
    end(&b);
}

/* ---- leading ---- */

static void test_commit_waits_for_all(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "abc", "d");
    ok(&b, "b", 5);
    ok(&b, "c", 5);
    propose(&b, 2);
    propose(&b, 1);
    ok(&b, "b", 8);
    ok(&b, "c", 7);
    assert_int_equal(b.committed, 5);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.committed, 7);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.committed, 7);
    ok(&b, "c", 6); /* an old one, late */
    ok(&b, "c", 8);
    assert_int_equal(b.committed, 8);
    end(&b);
}

static void test_acks_of_other_epochs(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "ab", "");
    propose(&b, 1);
    replication_appended(b.core, 1, b.now);
    struct replication_ack ack = {.status = REPLICATION_OK, .epoch = 1, .last = 6};
    replication_acked(b.core, "b", &ack, b.now);
    ack.epoch = 3;
    replication_acked(b.core, "b", &ack, b.now);
    ack.epoch = 2;
    replication_acked(b.core, "c", &ack, b.now); /* no member */
    assert_int_equal(b.committed, 5);
    replication_acked(b.core, "b", &ack, b.now);
    assert_int_equal(b.committed, 6);
    end(&b);
}

static void test_promotion(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 8, 5);
    configure(&b, 2, "ba", "", true);
    assert_int_equal(receive(&b, 2, AT(1, 8), RECORD(2, 9, 1), NO_RECORD, 5), 0);
    configure(&b, 3, "ab", "c", true);
    assert_int_equal(b.answer[0].status, REPLICATION_STALE);
    assert_int_equal(replication_role(b.core), REPLICATION_RECONCILING);
    ok(&b, "b", 9);
    ok(&b, "c", 8);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.committed, 5); /* there is no lease */
    assert_int_equal(replication_role(b.core), REPLICATION_RECONCILING);
    configure(&b, 4, "ab", "c", true);
    replication_lease(b.core, LEASE);
    ok(&b, "b", 8);
    ok(&b, "c", 9);
    assert_int_equal(b.committed, 8);
    assert_int_equal(replication_role(b.core), REPLICATION_RECONCILING);
    assert_int_equal(proposing(&b), ERR_UNAVAILABLE);
    assert_int_equal(replication_may_read(b.core, 4, true, b.now, NULL), ERR_UNAVAILABLE);
    assert_int_equal(replication_may_read(b.core, 4, false, b.now, NULL), 0);
    pass(&b, 300, "c", REPLICATION_OK, 9);
    for (size_t i = 0; i < b.requests; i++)
        assert_false(b.request[i].in_sync); /* no learner is asked for before it leads */
    ok(&b, "b", 9);
    assert_int_equal(b.committed, 9);
    assert_int_equal(replication_role(b.core), REPLICATION_PRIMARY);
    assert_int_equal(replication_may_read(b.core, 4, true, b.now, NULL), 0);
    end(&b);
}

static void test_former_life_does_not_lead(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    replication_lease(b.core, LEASE);
    configure(&b, 2, "ab", "", false);
    assert_int_equal(replication_role(b.core), REPLICATION_NONE);
    configure(&b, 2, "ab", "", true);
    assert_int_equal(proposing(&b), ERR_STALE);
    configure(&b, 3, "ab", "", true);
    assert_int_equal(replication_role(b.core), REPLICATION_PRIMARY);
    end(&b);
}

static void test_lease(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    replication_lease(b.core, b.now + 500);
    replication_lease(b.core, b.now + 100); /* not shortened */
    configure(&b, 2, "ab", "", true);
    ok(&b, "b", 5);
    propose(&b, 1);
    b.now += 499;
    assert_int_equal(replication_may_read(b.core, 2, true, b.now, NULL), 0);
    b.now += 1;
    assert_int_equal(replication_may_read(b.core, 2, true, b.now, NULL), ERR_UNAVAILABLE);
    assert_int_equal(proposing(&b), ERR_UNAVAILABLE);
    replication_appended(b.core, 1, b.now);
    ok(&b, "b", 6);
    assert_int_equal(b.committed, 5);
    replication_lease(b.core, b.now + 500);
    replication_tick(b.core, b.now);
    assert_int_equal(b.committed, 6);
    replication_resign(b.core);
    assert_int_equal(replication_may_read(b.core, 2, true, b.now, NULL), ERR_UNAVAILABLE);
    assert_int_equal(proposing(&b), ERR_UNAVAILABLE);
    end(&b);
}

static void test_deposed(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "ab", "");
    ok(&b, "b", 5);
    propose(&b, 1);
    propose(&b, 2);
    replication_appended(b.core, 2, b.now);
    ok(&b, "b", 6);
    assert_int_equal(b.committed, 6);
    configure(&b, 3, "ba", "", true);
    assert_int_equal(b.abandoned, 7);
    assert_int_equal(replication_last(b.core), 8);
    assert_int_equal(proposing(&b), ERR_STALE);
    ok(&b, "b", 8);
    assert_int_equal(b.committed, 6);
    assert_int_equal(beat(&b, 3, AT(2, 8), 8), REPLICATION_OK); /* they were in the other's log */
    assert_int_equal(b.committed, 8);
    end(&b);
}

static void test_primary_again(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "abc", "");
    ok(&b, "b", 5);
    propose(&b, 1);
    replication_appended(b.core, 1, b.now);
    ok(&b, "b", 6);
    configure(&b, 3, "ab", "c", true);
    assert_int_equal(replication_role(b.core), REPLICATION_PRIMARY);
    assert_int_equal(b.abandoned, 0);
    ok(&b, "b", 6);
    assert_int_equal(b.committed, 6);
    propose(&b, 1);
    configure(&b, 5, "ab", "c", true); /* under 4 somebody else may have been */
    assert_int_equal(replication_role(b.core), REPLICATION_RECONCILING);
    assert_int_equal(b.abandoned, 0);
    end(&b);
}

static size_t asked(const struct bench *b, const char *node, bool in_sync)
{
    size_t n = 0;
    for (size_t i = 0; i < b->requests; i++)
        n += strcmp(b->request[i].node, node) == 0 && b->request[i].in_sync == in_sync;
    return n;
}

static void test_learner_joins(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 10000, "a", "b");
    ok(&b, "b", 10000 - REPLICATION_CAUGHT_UP - 1);
    pass(&b, 50, NULL, 0, 0);
    propose(&b, 1);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.committed, 10001); /* so far behind it does not count */
    ok(&b, "b", 9000);
    pass(&b, 50, NULL, 0, 0);
    assert_int_equal(b.requests, 0); /* it lacks what is committed already */
    propose(&b, 1);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.committed, 10001); /* but from now on it counts */
    ok(&b, "b", 10001);
    pass(&b, 50, NULL, 0, 0);
    assert_int_equal(asked(&b, "b", true), 1);
    /* It was asked for: whatever becomes of it, under this epoch it counts. */
    pass(&b, 3000, "b", REPLICATION_BEHIND, 0);
    assert_true(asked(&b, "b", false) > 0);
    assert_int_equal(b.committed, 10001);
    acked(&b, "b", REPLICATION_EMPTY, 0);
    pass(&b, 3000, NULL, 0, 0);
    assert_int_equal(b.committed, 10001);
    configure(&b, 3, "a", "b", true);
    assert_int_equal(b.committed, 10002);
    end(&b);
}

static void test_learner_that_stalls_before_it_is_asked_for(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "a", "b");
    ok(&b, "b", 4);
    pass(&b, 50, NULL, 0, 0);
    propose(&b, 1);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.committed, 5);
    pass(&b, REPLICATION_SILENT_MS + 100, "b", REPLICATION_OK, 4);
    assert_int_equal(b.committed, 6);
    assert_int_equal(b.requests, 0);
    end(&b);
}

/* From where a replica says it stands, and only heartbeats where the log does not help. */
static void test_catching_up(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 100, "ab", "c");
    b.message_seqs = 10;
    size_t greeting = b.sents;
    assert_int_equal(greeting, 2);
    for (size_t i = 0; i < greeting; i++)
        assert_int_equal(b.sent[i].first, 0); /* first it is asked where it stands */
    const struct replication_ack mismatch = {
        .status = REPLICATION_MISMATCH, .epoch = 2, .committed = 30};
    replication_acked(b.core, "c", &mismatch, b.now);
    assert_int_equal(b.sents - greeting, 7);
    assert_int_equal(b.sent[greeting].first, 31);
    assert_int_equal(b.sent[greeting].prepare.prev.seq, 30);
    assert_int_equal(b.sent[greeting].prepare.prev.epoch, 1);
    assert_int_equal(b.sent[b.sents - 1].last, 100);
    ok(&b, "b", 100);
    replication_flushed(b.core, 100);
    replication_truncated(b.core, 60);
    b.now += 100;
    replication_lost(b.core, "c", false, b.now);
    greeting = b.sents;
    pass(&b, 1000, "c", REPLICATION_OK, 40);
    for (size_t i = greeting; i < b.sents; i++) {
        assert_int_equal(b.sent[i].first, 0);
        assert_int_equal(b.sent[i].prepare.base, 60);
    }
    assert_true(b.sents - greeting >= 4);
    greeting = b.sents;
    ok(&b, "c", 60); /* it has got a checkpoint */
    assert_int_equal(b.sent[greeting].first, 61);
    assert_int_equal(b.sent[greeting].prepare.prev.epoch, 1);
    end(&b);
}

static void test_window(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 1000, "ab", "");
    b.message_seqs = 10;
    size_t before = b.sents;
    ok(&b, "b", 0);
    assert_int_equal(b.sents - before, REPLICATION_WINDOW);
    ok(&b, "b", 10);
    assert_int_equal(b.sents - before, REPLICATION_WINDOW + 1);
    assert_int_equal(b.sent[b.sents - 1].first, 161);
    /* Half of them fail: what is sent instead is no more than that. */
    before = b.sents;
    for (int i = 0; i < REPLICATION_WINDOW / 2; i++) {
        replication_lost(b.core, "b", false, b.now);
        ok(&b, "b", 10);
    }
    assert_in_range(b.sents - before, REPLICATION_WINDOW / 2, REPLICATION_WINDOW);
    /* Without a connection it is only asked after, now and then. */
    replication_lost(b.core, "b", true, b.now);
    before = b.sents;
    for (int i = 0; i < 20; i++) {
        pass(&b, 50, NULL, 0, 0);
        replication_lost(b.core, "b", true, b.now);
    }
    assert_in_range(b.sents - before, 3, 6);
    for (size_t i = before; i < b.sents; i++)
        assert_int_equal(b.sent[i].first, 0);
    before = b.sents;
    ok(&b, "b", 10);
    assert_int_equal(b.sents - before, REPLICATION_WINDOW);
    assert_int_equal(b.sent[before].first, 11);
    end(&b);
}

/* Nobody says that a message was lost, and heartbeats are answered. */
static void test_sent_again(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "ab", "");
    ok(&b, "b", 5);
    propose(&b, 1);
    size_t before = b.sents;
    assert_int_equal(b.sent[before - 1].first, 6);
    pass(&b, REPLICATION_RESEND_MS - 100, "b", REPLICATION_OK, 5);
    for (size_t i = before; i < b.sents; i++)
        assert_int_equal(b.sent[i].first, 0);
    pass(&b, 200, "b", REPLICATION_OK, 5);
    size_t again = 0;
    for (size_t i = before; i < b.sents; i++)
        again += b.sent[i].first == 6;
    assert_int_equal(again, 1);
    assert_int_equal(b.requests, 0);
    end(&b);
}

static void test_commit_point_is_told(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "ab", "");
    ok(&b, "b", 5);
    propose(&b, 1);
    replication_appended(b.core, 1, b.now);
    size_t before = b.sents;
    ok(&b, "b", 6);
    assert_int_equal(b.sents, before + 1);
    assert_int_equal(b.sent[before].prepare.committed, 6);
    assert_int_equal(b.sent[before].first, 0);
    ok(&b, "b", 6);
    assert_int_equal(b.sents, before + 1); /* nothing to say for now */
    pass(&b, REPLICATION_HEARTBEAT_MS, NULL, 0, 0);
    assert_int_equal(b.sents, before + 2);
    end(&b);
}

/* How long until the primary asks for b to be dropped, when it is answered with that. */
static uint64_t dropped_after(enum replication_status status, uint64_t last, bool lost)
{
    struct bench b;
    lead(&b, 5, "ab", "");
    ok(&b, "b", 5);
    propose(&b, 1);
    uint64_t begin_ms = b.now;
    while (b.requests == 0 && b.now < begin_ms + 10000) {
        if (lost)
            replication_lost(b.core, "b", true, b.now);
        pass(&b, 50, status ? "b" : NULL, status, last);
    }
    uint64_t took = b.now - begin_ms;
    size_t said = b.requests;
    if (said > 0) {
        assert_int_equal(b.request[0].epoch, 2);
        assert_false(b.request[0].in_sync);
        assert_string_equal(b.request[0].node, "b");
        pass(&b, 500, status ? "b" : NULL, status, last);
        assert_int_equal(b.requests, said + 10); /* again with each tick */
        assert_int_equal(b.committed, 5);        /* but it counts until the map says so */
        ok(&b, "b", 6);
        ok(&b, "b", 6);
        said = b.requests;
        pass(&b, 50, NULL, 0, 0);
        assert_int_equal(b.requests, said);
    }
    end(&b);
    return took;
}

static void test_dropping(void **state)
{
    (void)state;
    assert_in_range(dropped_after(0, 0, true), REPLICATION_LOST_MS, REPLICATION_LOST_MS + 50);
    assert_in_range(dropped_after(0, 0, false), REPLICATION_SILENT_MS, REPLICATION_SILENT_MS + 50);
    assert_in_range(dropped_after(REPLICATION_BROKEN, 0, false), 50, 50);
    assert_in_range(dropped_after(REPLICATION_EMPTY, 0, false), 50, 50);
    /* It answers, and gets nowhere. */
    assert_in_range(dropped_after(REPLICATION_OK, 5, false), REPLICATION_SILENT_MS,
                    REPLICATION_SILENT_MS + 50);
    assert_in_range(dropped_after(REPLICATION_BEHIND, 0, false), REPLICATION_SILENT_MS,
                    REPLICATION_SILENT_MS + 50);
    assert_int_equal(dropped_after(REPLICATION_OK, 6, false), 10000); /* it does well */
}

/* Data that is gone does not count, though it was acknowledged. */
static void test_empty_takes_back(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "ab", "");
    ok(&b, "b", 5);
    propose(&b, 1);
    ok(&b, "b", 6);
    acked(&b, "b", REPLICATION_EMPTY, 0);
    replication_appended(b.core, 1, b.now);
    assert_int_equal(b.committed, 5);
    end(&b);
}

static void test_full(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 5, "ab", "");
    for (int i = 0; i < 16; i++)
        propose(&b, REPLICATION_PENDING_MAX / 16);
    assert_int_equal(proposing(&b), ERR_FULL);
    end(&b);
}

static void test_retain(void **state)
{
    (void)state;
    struct bench b;
    lead(&b, 100, "ab", "c");
    assert_int_equal(replication_retain(b.core), 0); /* not known of b */
    ok(&b, "b", 70);
    assert_int_equal(replication_retain(b.core), 70);
    ok(&b, "c", 50); /* a learner that follows is not left behind... */
    assert_int_equal(replication_retain(b.core), 50);
    replication_lost(b.core, "c", true, b.now); /* ...but not waited for when it is gone */
    assert_int_equal(replication_retain(b.core), 70);
    ok(&b, "b", 100);
    assert_int_equal(replication_retain(b.core), 100);
    end(&b);

    begin_one_epoch(&b, 50, 40);
    configure(&b, 2, "ba", "", false);
    assert_int_equal(replication_retain(b.core), 0);
    struct replication_prepare prepare = {
        .epoch = 2, .from = "b", .prev = {1, 50}, .committed = 50, .retain = 30};
    replication_receive(b.core, NULL, &prepare, b.now);
    assert_int_equal(replication_retain(b.core), 30);
    prepare.retain = 45;
    replication_receive(b.core, NULL, &prepare, b.now);
    assert_int_equal(replication_retain(b.core), 40);
    replication_flushed(b.core, 50);
    assert_int_equal(replication_retain(b.core), 45);
    end(&b);
}

/* The epochs of a log survive its being cut off, at each place. */
static void test_truncated(void **state)
{
    (void)state;
    static const uint64_t epochs[] = {0, 1, 1, 1, 1, 3, 3, 3, 4, 4, 6};
    const struct replication_position starts[] = {{1, 1}, {3, 5}, {4, 8}, {6, 10}};
    for (uint64_t seq = 0; seq <= 10; seq++) {
        struct bench b;
        begin(&b, starts, 4, 10, 10);
        replication_truncated(b.core, seq / 2);
        replication_truncated(b.core, seq);
        replication_lease(b.core, LEASE);
        configure(&b, 7, "ab", "", true);
        for (uint64_t at = seq; at <= 10; at++) {
            ok(&b, "b", at);
            b.now += REPLICATION_HEARTBEAT_MS;
            replication_tick(b.core, b.now);
            /* What is asked names the place where b stands. */
            assert_int_equal(b.sent[b.sents - 1].prepare.base, seq);
            if (b.sent[b.sents - 1].first == 0) {
                assert_int_equal(b.sent[b.sents - 1].prepare.prev.seq, at);
                assert_int_equal(b.sent[b.sents - 1].prepare.prev.epoch, epochs[at]);
            }
        }
        end(&b);
    }
}

static void test_reads(void **state)
{
    (void)state;
    struct bench b;
    begin_one_epoch(&b, 5, 5);
    assert_int_equal(replication_may_read(b.core, 0, false, b.now, NULL), ERR_STALE);
    configure(&b, 3, "ba", "", false);
    assert_int_equal(replication_may_read(b.core, 2, false, b.now, NULL), 0);
    assert_int_equal(replication_may_read(b.core, 3, false, b.now, NULL), 0);
    assert_int_equal(replication_may_read(b.core, 4, false, b.now, NULL), ERR_STALE);
    assert_int_equal(replication_may_read(b.core, 3, true, b.now, NULL), ERR_STALE);
    configure(&b, 4, "b", "a", false);
    assert_int_equal(replication_may_read(b.core, 4, false, b.now, NULL), ERR_STALE);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_matching),
        cmocka_unit_test(test_cut_only_for_another_record),
        cmocka_unit_test(test_committed_is_never_cut),
        cmocka_unit_test(test_other_epochs),
        cmocka_unit_test(test_answers_are_durable),
        cmocka_unit_test(test_cut_of_a_write_under_way),
        cmocka_unit_test(test_commit_of_what_agrees),
        cmocka_unit_test(test_broken_log),
        cmocka_unit_test(test_waiting_messages_are_bounded),
        cmocka_unit_test(test_checkpoint_is_needed),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_commit_waits_for_all),
        cmocka_unit_test(test_acks_of_other_epochs),
        cmocka_unit_test(test_promotion),
        cmocka_unit_test(test_former_life_does_not_lead),
        cmocka_unit_test(test_lease),
        cmocka_unit_test(test_deposed),
        cmocka_unit_test(test_primary_again),
        cmocka_unit_test(test_learner_joins),
        cmocka_unit_test(test_learner_that_stalls_before_it_is_asked_for),
        cmocka_unit_test(test_catching_up),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_sent_again),
        cmocka_unit_test(test_commit_point_is_told),
        cmocka_unit_test(test_dropping),
        cmocka_unit_test(test_empty_takes_back),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_retain),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
