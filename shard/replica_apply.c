/* Applying what is committed.
 *
 * On the primary the writes are here, analysed beforehand by the pool: the replicator's thread
 * applies them as soon as they are committed, and answers. What comes from another primary, or was
 * in the log when the range was opened, is unpacked and analysed by a job of its own, range by
 * range in parallel, while the replicator goes on. `applying` says which of the two may write the
 * index.
 *
 * And copying: a learner without the beginning of the log pulls the files of the primary's index.
 */
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "shard/links.h"
#include "shard/log_write.h"
#include "shard/replicator.h"

#include <stdlib.h>
#include <string.h>

#define TURN_OPERATIONS 4096 /* from the log store with one reading */

static void tell_readers(struct replica *replica)
{
    pthread_mutex_lock(&replica->lock);
    if (replica->waiting > 0)
        pthread_cond_broadcast(&replica->applied);
    pthread_mutex_unlock(&replica->lock);
}

/* ---- the job ---- */

static int apply_packed(struct replica *replica, uint64_t first_seq, uint32_t count,
                        struct bytes packed, struct err *err)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct log_write write;
    int code = log_write_unpack(first_seq, count, packed, &arena, &write, err);
    if (code == 0) {
        struct range_result *results = arena_calloc(&arena, count, sizeof *results);
        if (results == NULL)
            abort();
        code = range_apply_as(replica->range, write.has_session ? &write.session : NULL, write.ops,
                              count, results, err);
    }
    arena_deinit(&arena);
    return code;
}

/* Memory has a ceiling: the job waits for the flush. */
static int apply_record(struct replica *replica, uint64_t first_seq, uint32_t count,
                        struct bytes packed, struct err *err)
{
    int code = apply_packed(replica, first_seq, count, packed, err);
    if (code != 0)
        return code;
    tell_readers(replica);
    if (replica_lags(replica))
        return replica_flush(replica, err);
    replica_maintain(replica);
    return 0;
}

static int visit_record(void *data, const struct log_record *record, struct err *err)
{
    return apply_record(data, record->first_seq, record->count, record->write, err);
}

static int apply_next(struct replica *replica, uint64_t seq, struct err *err)
{
    pthread_mutex_lock(&replica->lock);
    struct tail_record *record = tail_find(&replica->tail, seq);
    pthread_mutex_unlock(&replica->lock);
    if (record == NULL) {
        uint64_t to =
            replica->apply_to - seq < TURN_OPERATIONS ? replica->apply_to : seq + TURN_OPERATIONS;
        return log_store_read(replica->means.log, replica->id, seq, to, visit_record, replica, err);
    }
    int code = apply_record(replica, record->first_seq, record->count,
                            bytes_of(record->write, record->size), err);
    tail_record_release(record);
    return code;
}

static bool goes_on(struct replica *replica)
{
    return !atomic_load(&replica->dropped) && !replicator_rests(replica->means.replicator);
}

static void run_apply(struct pool_job *job)
{
    struct replica *replica = list_entry(job, struct replica, apply_job);
    struct err err = {0};
    uint64_t applied = range_applied_seq(replica->range), before = UINT64_MAX;
    while (err.code == 0 && applied < replica->apply_to && applied != before && goes_on(replica)) {
        before = applied;
        (void)apply_next(replica, applied + 1, &err);
        applied = range_applied_seq(replica->range);
    }
    if (err.code == 0 && applied < replica->apply_to && goes_on(replica))
        err_set(&err, ERR_CORRUPT, "operation %llu is not in the log",
                (unsigned long long)applied + 1);
    if (err.code != 0) {
        replica->error = err;
        log_event(LOG_ERROR, "the log cannot be applied; the range takes no more writes",
                  LOG_U64("range", replica->id), LOG_STR("error", err.text));
    }
    replicator_applied(replica->means.replicator, replica);
    replica_unref(replica);
}

static void start_job(struct replica *replica, uint64_t to)
{
    if (atomic_load(&replica->dropped) || replicator_rests(replica->means.replicator))
        return;
    atomic_store(&replica->applying, true);
    replica->apply_to = to;
    replica->apply_job.run = run_apply;
    replica_ref(replica);
    if (pool_submit(replica->means.ingest, &replica->apply_job) == 0)
        return;
    atomic_store(&replica->applying, false); /* with the next turn */
    replica_unref(replica);
}

/* ---- writes of this primary ---- */

static struct write *first_pending(const struct replica *replica)
{
    return list_empty(&replica->pending) ? NULL
                                         : list_entry(replica->pending.next, struct write, link);
}

static uint64_t first_seq_of(const struct write *write)
{
    return write->seq - write->message->n_ops + 1;
}

static int apply_write(struct replica *replica, struct write *write, struct err *err)
{
    const Quire__ShardWrite *message = write->message;
    size_t count = message->n_ops;
    struct range_op *ops = arena_calloc(write->arena, count, sizeof *ops);
    struct range_session session = {message->client_id, message->batch};
    bool known = message->client_id != NULL && message->client_id[0] != 0 && message->has_batch;
    if (ops == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        ops[i] = (struct range_op){first_seq_of(write) + i, message->ops[i],
                                   write->documents != NULL ? write->documents[i] : NULL};
    write->answers = write->results;
    write->answer_count = count;
    return range_apply_as(replica->range, known ? &session : NULL, ops, count, write->results, err);
}

static void end_first(struct replica *replica, int status, const struct err *err)
{
    struct write *write = first_pending(replica);
    list_remove(&write->link);
    write_queue_end(replicator_queue(replica->means.replicator), write, status, err);
}

static void apply_first(struct replica *replica)
{
    struct err err = {0};
    int code = apply_write(replica, first_pending(replica), &err);
    if (code != 0)
        replica->error = err;
    tell_readers(replica);
    end_first(replica, code, &err);
    replica_maintain(replica);
}

static void give_up_from(struct replica *replica, uint64_t seq, int code, const char *why)
{
    struct err err = {0};
    err_set(&err, code, "%s", why);
    for (struct list *at = replica->pending.prev, *before; at != &replica->pending; at = before) {
        struct write *write = list_entry(at, struct write, link);
        before = at->prev;
        if (first_seq_of(write) < seq)
            break;
        list_remove(at);
        write_queue_end(replicator_queue(replica->means.replicator), write, code, &err);
    }
}

void replica_give_up(struct replica *replica, const char *why)
{
    give_up_from(replica, 0, ERR_UNAVAILABLE, why);
}

static void disable(struct replica *replica)
{
    pthread_mutex_lock(&replica->lock);
    replication_broke(replica->core, clock_ms());
    replica->abandon_seq = 0;
    replica->disabled = true;
    pthread_mutex_unlock(&replica->lock);
    give_up_from(replica, 0, replica->error.code, replica->error.text);
}

void replica_settle(struct replica *replica)
{
    if (replica->abandon_seq != 0)
        give_up_from(replica, replica->abandon_seq, ERR_UNAVAILABLE,
                     "the range got another primary: whether this was written is not known");
    replica->abandon_seq = 0;
    while (!atomic_load(&replica->applying) && replica->error.code == 0 && replica->range != NULL) {
        uint64_t applied = range_applied_seq(replica->range);
        struct write *write = first_pending(replica);
        if (applied >= replica->commit_seq)
            return;
        if (write != NULL && first_seq_of(write) == applied + 1 &&
            write->seq <= replica->commit_seq) {
            apply_first(replica);
            continue;
        }
        uint64_t to = replica->commit_seq;
        if (write != NULL && first_seq_of(write) <= to)
            to = first_seq_of(write) - 1;
        start_job(replica, to);
        break;
    }
    if (!atomic_load(&replica->applying) && replica->error.code != 0 && !replica->disabled)
        disable(replica);
}

/* ---- copying ---- */

static int ask_primary(void *data, uint16_t kind, struct bytes request, struct buf *reply,
                       struct err *err)
{
    struct replica *replica = data;
    if (atomic_load(&replica->dropped))
        return err_set(err, ERR_CANCELED, "the range is no longer wanted here");
    return links_ask(replica->means.links, replica->copy_from, kind, request, reply, err);
}

static void run_copy(struct pool_job *job)
{
    struct replica *replica = list_entry(job, struct replica, copy_job);
    const struct checkpoint_source source = {replica, ask_primary};
    struct checkpoint_order order = {.range = replica->id,
                                     .node_id = replica->means.node_id,
                                     .disk_left_bytes = replica->means.disk_left_bytes};
    struct replica_standing standing;
    struct replication_position at;
    struct err err = {0};
    uint64_t start = clock_ms();
    replica_standing(replica, &standing);
    order.epoch = standing.epoch;
    if (checkpoints_pull(replica->means.checkpoints, &order, &source, &at, &err) == 0) {
        log_event(LOG_INFO, "range copied from its primary", LOG_U64("range", replica->id),
                  LOG_U64("seq", at.seq), LOG_U64("ms", clock_ms() - start));
        replicator_copied(replica->means.replicator, replica, at);
    } else {
        if (err.code != ERR_CANCELED)
            log_event(LOG_WARN, "range cannot be copied from its primary",
                      LOG_U64("range", replica->id), LOG_STR("error", err.text));
        atomic_store(&replica->copying, false);
    }
    replica_unref(replica);
}

void replica_copy(struct replica *replica, uint64_t now_ms)
{
    if (!replica->wants_copy || atomic_load(&replica->copying) || now_ms < replica->copy_after_ms ||
        replicator_rests(replica->means.replicator))
        return;
    replica->wants_copy = false;
    replica->copy_after_ms = now_ms + REPLICA_COPY_RETRY_MS;
    atomic_store(&replica->copying, true);
    replica->copy_job.run = run_copy;
    replica_ref(replica);
    if (pool_submit(replica->means.copy, &replica->copy_job) == 0)
        return;
    atomic_store(&replica->copying, false);
    replica_unref(replica);
}
