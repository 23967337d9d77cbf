/* The edge of a replica's core: what it wants done, done. Everything here is called by the core, on
 * the replicator's thread, under the replica's lock; but for `answer`, which may also come from the
 * end of a replica. */
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "shard/links.h"
#include "shard/replicator.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES ((size_t)1 << 20) /* of records, but for one that is larger */
#define MESSAGE_RECORDS 256

/* ---- sending ---- */

struct parcel {
    Quire__LogRecord records[MESSAGE_RECORDS];
    Quire__LogRecord *list[MESSAGE_RECORDS];
    struct tail_record *held[MESSAGE_RECORDS]; /* of the tail */
    uint8_t *copied[MESSAGE_RECORDS];          /* from the store */
    size_t count, bytes;
    uint64_t last;
};

static bool has_room(const struct parcel *parcel, size_t size)
{
    return parcel->count == 0 ||
           (parcel->count < MESSAGE_RECORDS && parcel->bytes + size <= MESSAGE_BYTES);
}

static void add(struct parcel *parcel, uint64_t epoch, uint64_t first_seq, uint32_t count,
                struct bytes write)
{
    Quire__LogRecord *record = &parcel->records[parcel->count];
    quire__log_record__init(record);
    record->epoch = epoch;
    record->first_seq = first_seq;
    record->count = count;
    record->write = (ProtobufCBinaryData){write.size, (uint8_t *)(uintptr_t)write.data};
    parcel->list[parcel->count++] = record;
    parcel->bytes += write.size;
    parcel->last = first_seq + count - 1;
}

static void add_from_tail(struct parcel *parcel, const struct tail *tail, uint64_t first)
{
    struct tail_record *record;
    while ((record = tail_find(tail, first)) != NULL) {
        if (!has_room(parcel, record->size)) {
            tail_record_release(record);
            return;
        }
        parcel->held[parcel->count] = record;
        add(parcel, record->epoch, record->first_seq, record->count,
            bytes_of(record->write, record->size));
        first = parcel->last + 1;
    }
}

#define ENOUGH (-1) /* ends the reading; no error */

static int add_from_store(void *data, const struct log_record *record, struct err *err)
{
    (void)err;
    struct parcel *parcel = data;
    if (!has_room(parcel, record->write.size))
        return ENOUGH;
    uint8_t *copy = malloc(record->write.size + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, record->write.data, record->write.size);
    parcel->copied[parcel->count] = copy;
    add(parcel, record->epoch, record->first_seq, record->count,
        bytes_of(copy, record->write.size));
    return 0;
}

static void fill(struct parcel *parcel, struct replica *replica, uint64_t first)
{
    add_from_tail(parcel, &replica->tail, first);
    if (parcel->count > 0)
        return;
    struct err err = {0};
    int code = log_store_read(replica->means.log, replica->id, first,
                              replication_last(replica->core), add_from_store, parcel, &err);
    if (code != 0 && code != ENOUGH)
        log_event(LOG_ERROR, "the log cannot be read for another replica",
                  LOG_U64("range", replica->id), LOG_STR("error", err.text));
}

static void empty(struct parcel *parcel)
{
    for (size_t i = 0; i < parcel->count; i++) {
        if (parcel->held[i] != NULL)
            tail_record_release(parcel->held[i]);
        free(parcel->copied[i]);
    }
    free(parcel);
}

static uint64_t edge_send(void *data, const char *to, const struct replication_prepare *prepare,
                          uint64_t first)
{
    struct replica *replica = data;
    struct parcel *parcel = calloc(1, sizeof *parcel);
    Quire__ReplicaPrepare message = QUIRE__REPLICA_PREPARE__INIT;
    struct buf packed = {0};
    if (parcel == NULL)
        abort();
    parcel->last = first; /* when nothing can be read: a question, and it will be asked again */
    if (first != 0)
        fill(parcel, replica, first);
    message.range = replica->id;
    message.epoch = prepare->epoch;
    message.from = (char *)(uintptr_t)prepare->from;
    message.prev_epoch = prepare->prev.epoch;
    message.prev_seq = prepare->prev.seq;
    message.n_records = parcel->count;
    message.records = parcel->list;
    message.committed = prepare->committed;
    message.retain = prepare->retain;
    message.log_base = prepare->base;
    quire__replica_prepare__pack(
        &message, buf_extend(&packed, quire__replica_prepare__get_packed_size(&message)));
    uint64_t last = parcel->last;
    empty(parcel);
    links_prepare(replica->means.links, to, replica->id, &packed);
    return last;
}

/* ---- receiving ---- */

static void edge_answer(void *data, void *ticket, const struct replication_ack *ack)
{
    struct replica *replica = data;
    replicator_answer(replica->means.replicator, ticket, ack);
}

static void edge_append(void *data, void *ticket, size_t count, uint64_t cut)
{
    (void)ticket;
    struct replica *replica = data;
    const Quire__ReplicaPrepare *message = replica->message;
    assert(count > 0 && count <= message->n_records);
    if (cut != 0)
        tail_cut(&replica->tail, cut);
    if (cut != 0 && atomic_load(&replica->read_floor) >= cut)
        atomic_store(&replica->read_floor, cut - 1);
    for (size_t i = message->n_records - count; i < message->n_records; i++) {
        const Quire__LogRecord *from = message->records[i];
        struct tail_record *record =
            tail_add(&replica->tail, from->epoch, from->first_seq, from->count,
                     bytes_of(from->write.data, from->write.len));
        replicator_append(replica->means.replicator, replica, record,
                          cut != 0 && i == message->n_records - count);
    }
    replica->writes++;
}

/* ---- committing ---- */

static void edge_commit(void *data, uint64_t seq)
{
    struct replica *replica = data;
    replica->commit_seq = seq;
}

static void edge_abandon(void *data, uint64_t seq)
{
    struct replica *replica = data;
    replica->abandon_seq = seq;
}

/* ---- asking ---- */

static void edge_request(void *data, uint64_t epoch, const char *node, bool in_sync)
{
    struct replica *replica = data;
    if (replica->wish_count == REPLICATION_MEMBERS_MAX)
        return;
    struct replica_wish *wish = &replica->wishes[replica->wish_count++];
    wish->epoch = epoch;
    wish->in_sync = in_sync;
    memcpy(wish->node, node, strlen(node) + 1);
}

static void edge_need_checkpoint(void *data, const char *primary)
{
    struct replica *replica = data;
    replica->wants_copy = true;
    memcpy(replica->copy_from, primary, strlen(primary) + 1);
}

/* ---- life ---- */

void replica_make_core(struct replica *replica, uint64_t lease_until_ms, bool resigned)
{
    const struct replication_edge edge = {replica,      edge_send,           edge_answer,
                                          edge_append,  edge_commit,         edge_abandon,
                                          edge_request, edge_need_checkpoint};
    const struct log_extent *extent = &replica->extent;
    struct replication_start start = {.node_id = replica->means.node_id,
                                      .base = extent->base,
                                      .starts = extent->starts,
                                      .start_count = extent->start_count,
                                      .last_seq = extent->last_seq,
                                      .empty = replica->range == NULL};
    if (replica->range != NULL)
        start.committed = range_durable_seq(replica->range);
    replica->core = replication_create(&start, &edge);
    replica->commit_seq = start.committed;
    atomic_store(&replica->read_floor, start.last_seq);
    log_extent_deinit(&replica->extent);
    replication_lease(replica->core, lease_until_ms);
    if (resigned)
        replication_resign(replica->core);
    replica_configure_core(replica);
}

void replica_configure_core(struct replica *replica)
{
    const Quire__Range *range = replica->config;
    struct replication_config config = {.epoch = range->epoch,
                                        .primary = range->primary,
                                        .in_sync = (const char *const *)range->in_sync,
                                        .in_sync_count = range->n_in_sync,
                                        .learners = (const char *const *)range->learners,
                                        .learner_count = range->n_learners};
    replica->wish_count = 0;
    /* A seal of before ends: it was not replaced after all. */
    atomic_store(&replica->sealed, range->reshape != NULL && range->reshape->sealed);
    replication_configure(replica->core, &config, replica->may_lead, clock_ms());
}
