/* Writing: a batch is split by range, each part goes to its primary, and the results come back in
 * the order of the operations.
 *
 * An operation that is broken by itself (no headword, a text that is not UTF-8) fails alone, here;
 * the rest goes on. What the shards refuse is in their results.
 *
 * A part that gets no answer (the shard is down, or its range is getting another primary) is sent
 * again a moment later, to the primary that the newest map names, until the deadline: the ranges
 * that have it already know it by client id and batch number (WriteRequest). A batch without these
 * is sent again only if nothing of it can have been written: the shard said ERR_STALE, or the part
 * never left. When time is up, or nobody is left who could become primary, the whole batch is
 * answered with the error: some of its parts may have been applied, and the client may send it
 * again.
 *
 * When the collection was dropped meanwhile, the whole batch begins again from its name: what was
 * written is gone with the former collection, and one that was created anew gets all of it.
 *
 * When the client goes away, nothing is sent any more: what it writes next, through another
 * coordinator perhaps, shall not be followed by what it wrote before.
 */
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "coordinator/stats_cache.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <assert.h>
#include <string.h>

struct write;

struct part {
    struct write *write;
    struct node_call call;
    uint64_t range;
    uint32_t recovered; /* the range, by the map with which the part was sent */
    size_t *ops;        /* indexes */
    size_t count;
};

struct write {
    struct coordinator *coordinator;
    struct rpc_request *request;
    Quire__WriteRequest *message;
    uint64_t collection;
    uint64_t deadline_ms;
    struct bytes *keys;           /* by op */
    Quire__WriteResult **results; /* by op; NULL: not done yet */
    struct part *parts;
    size_t open;      /* parts under way */
    struct err error; /* of the first part that failed for good */
    struct err last;  /* why the last part that is to be sent again was not written */
    Quire__SessionMark **marks;
    size_t mark_count, mark_room;
    struct later_item later;
};

static void start_round(struct write *write);

/* ---- one operation ---- */

static Quire__WriteResult *failed_result(struct arena *arena, int code, const char *text)
{
    Quire__WriteResult *result = arena_alloc(arena, sizeof *result);
    Quire__Error *error = arena_alloc(arena, sizeof *error);
    quire__write_result__init(result);
    quire__error__init(error);
    result->outcome = QUIRE__WRITE_RESULT__OUTCOME__FAILED;
    result->error = error;
    error->code = (uint32_t)code;
    error->text = arena_strdup(arena, text);
    return result;
}

/* The key of the entry that the operation is about. */
static int op_target(const Quire__WriteOp *op, struct arena *arena, struct bytes *key,
                     struct err *err)
{
    if ((op->put != NULL) == (op->delete_headword != NULL))
        return err_set(err, ERR_INVALID, "an operation either puts an entry or deletes one");
    const char *headword = op->put != NULL ? op->put->headword : op->delete_headword;
    size_t size = strlen(headword);
    if (size == 0)
        return err_set(err, ERR_INVALID, "the headword is empty");
    if (size > LIMIT_HEADWORD_BYTES)
        return err_set(err, ERR_TOO_LARGE, "a headword has at most %d bytes, this one has %zu",
                       LIMIT_HEADWORD_BYTES, size);
    struct buf buf;
    buf_init(&buf);
    text_key(bytes_of(headword, size), &buf);
    *key = bytes_of(arena_copy(arena, buf.data, buf.size), buf.size);
    buf_deinit(&buf);
    return 0;
}

/* Keys for the good ones, results for the bad ones; false when the message itself is broken. */
static bool sort_out(struct write *write)
{
    struct rpc_request *request = write->request;
    struct arena *arena = &request->arena;
    struct bytes *packed;
    size_t count = message_elements(&quire__write_request__descriptor, request->payload, "ops",
                                    arena, &packed);
    assert(count == write->message->n_ops);
    for (size_t i = 0; i < count; i++) {
        struct err err = {0};
        int rc = message_check(&quire__write_op__descriptor, packed[i], NULL, &err);
        if (rc == ERR_PROTOCOL) {
            request_error(request, rc, "%s", err.text);
            return false;
        }
        if (rc == 0)
            rc = op_target(write->message->ops[i], arena, &write->keys[i], &err);
        if (rc != 0)
            write->results[i] = failed_result(arena, rc, err.text);
    }
    return true;
}

/* ---- a round ---- */

static void reply(struct write *write)
{
    Quire__WriteReply message = QUIRE__WRITE_REPLY__INIT;
    message.n_results = write->message->n_ops;
    message.results = write->results;
    message.n_session = write->mark_count;
    message.session = write->marks;
    request_reply(write->request, &message.base);
}

static bool all_done(const struct write *write)
{
    for (size_t i = 0; i < write->message->n_ops; i++)
        if (write->results[i] == NULL)
            return false;
    return true;
}

static void again(struct later_item *item)
{
    start_round(list_entry(item, struct write, later));
}

static void round_ended(struct write *write)
{
    if (write->error.code != 0)
        request_err(write->request, &write->error);
    else if (all_done(write))
        reply(write);
    else if (rpc_request_abandoned(write->request))
        request_error(write->request, ERR_CANCELED, "the client went away");
    else if (write->coordinator->closing)
        request_error(write->request, ERR_UNAVAILABLE, "the coordinator is stopping");
    else if (clock_ms() + SCATTER_STALE_DELAY_MS >= write->deadline_ms)
        request_error(write->request, ERR_UNAVAILABLE, "%s",
                      write->last.code != 0
                          ? write->last.text
                          : "a shard did not take up its ranges in time: try again");
    else
        later_post(&write->coordinator->later, &write->later, SCATTER_STALE_DELAY_MS, again);
}

static void add_mark(struct write *write, const struct mark *from)
{
    struct arena *arena = &write->request->arena;
    if (write->mark_count == write->mark_room) {
        write->mark_room = write->mark_room == 0 ? 8 : 2 * write->mark_room;
        Quire__SessionMark **grown = arena_calloc(arena, write->mark_room, sizeof *grown);
        if (write->mark_count > 0)
            memcpy(grown, write->marks, write->mark_count * sizeof *grown);
        write->marks = grown;
    }
    Quire__SessionMark *mark = arena_alloc(arena, sizeof *mark);
    quire__session_mark__init(mark);
    mark->range = from->range;
    mark->seq = from->seq;
    mark->has_recovered = from->recovered > 0;
    mark->recovered = from->recovered;
    write->marks[write->mark_count++] = mark;
}

static void take_results(struct part *part, uint16_t kind, struct bytes payload)
{
    struct write *write = part->write;
    Quire__ShardWriteReply *answer = NULL;
    if (kind == QUIRE__KIND__KIND_SHARD_WRITE + 1)
        answer = quire__shard_write_reply__unpack(arena_protobuf(&write->request->arena),
                                                  payload.size, payload.data);
    if (answer == NULL || answer->n_results != part->count) {
        err_set(&write->error, ERR_PROTOCOL, "the shard's answer cannot be understood");
        return;
    }
    for (size_t i = 0; i < part->count; i++)
        write->results[part->ops[i]] = answer->results[i];
    if (!answer->has_seq)
        return;
    stats_cache_written(write->coordinator->statistics, part->range, answer->seq);
    struct mark mark = {part->range, answer->seq, part->recovered};
    marks_raise(&write->coordinator->acknowledged, mark, SIZE_MAX);
    add_mark(write, &mark);
}

/* Whether sending the part again can do no harm. */
static bool is_safe(const struct part *part, int status)
{
    const Quire__WriteRequest *message = part->write->message;
    return status == ERR_STALE || part->call.rpc.id == 0 ||
           (message->client_id != NULL && message->has_batch);
}

/* Whether it can do any good: the primary that is there may answer in a moment, or be followed by
 * another one. A range whose only replica is down waits for its machine, not for us. */
static bool is_worth_it(const struct part *part, int status)
{
    struct nodes *nodes = &part->write->coordinator->nodes;
    const struct map *map = part->write->coordinator->map;
    const Quire__Range *range = map_range(map, part->range);
    if (status == ERR_STALE || range == NULL)
        return true;
    if (status != ERR_UNAVAILABLE && (status != ERR_IO || range->n_in_sync == 1))
        return false;
    for (size_t i = 0; i < range->n_in_sync; i++) {
        const struct node *node = nodes_find(nodes, range->in_sync[i]);
        if (node != NULL && node->up)
            return true;
    }
    return false;
}

static void on_reply(struct node_call *call, int status, const struct err *err, uint16_t kind,
                     struct bytes payload)
{
    struct part *part = call->data;
    struct write *write = part->write;
    if (status == 0)
        take_results(part, kind, payload);
    else if (is_safe(part, status) && is_worth_it(part, status))
        write->last = *err;
    else if (write->error.code == 0) {
        write->error = *err;
        write->error.code = status == ERR_CANCELED ? ERR_UNAVAILABLE : status;
    }
    if (--write->open == 0)
        round_ended(write);
}

static void send_part(struct write *write, struct part *part, const Quire__Range *range,
                      uint32_t timeout_ms)
{
    Quire__ShardWrite message = QUIRE__SHARD_WRITE__INIT;
    Quire__RangeRef ref = QUIRE__RANGE_REF__INIT;
    ref.id = range->id;
    ref.epoch = range->epoch;
    message.range = &ref;
    message.client_id = write->message->client_id;
    message.has_batch = write->message->has_batch;
    message.batch = write->message->batch;
    message.n_ops = part->count;
    message.ops = arena_calloc(&write->request->arena, part->count, sizeof *message.ops);
    for (size_t i = 0; i < part->count; i++)
        message.ops[i] = write->message->ops[part->ops[i]];
    struct buf packed;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    part->write = write;
    part->range = range->id;
    part->recovered = range->recovered;
    part->call.data = part;
    part->call.done = on_reply;
    part->call.on_behalf = write->request;
    write->open++;
    node_call_start(&write->coordinator->nodes, &part->call, range->primary,
                    QUIRE__KIND__KIND_SHARD_WRITE, buf_bytes(&packed), timeout_ms,
                    write->request->trace);
    buf_deinit(&packed);
}

/* Which of `all` holds the key. */
static size_t range_index(const struct map *map, uint64_t collection, struct map_ranges all,
                          struct bytes key)
{
    struct bytes end = bytes_of("\0", 1); /* only the first matters here */
    return (size_t)(map_ranges_between(map, collection, key, end).items - all.items);
}

static void start_round(struct write *write)
{
    struct arena *arena = &write->request->arena;
    size_t count = write->message->n_ops;
    const struct map *map = write->coordinator->map;
    struct map_ranges all = map_ranges(map, write->collection);
    if (all.count == 0) {
        op_again(write->coordinator, write->request);
        return;
    }
    size_t *where = arena_calloc(arena, count + 1, sizeof *where);
    write->parts = arena_calloc(arena, all.count, sizeof *write->parts);
    for (size_t i = 0; i < count; i++) {
        if (write->results[i] != NULL)
            continue;
        where[i] = range_index(map, write->collection, all, write->keys[i]);
        write->parts[where[i]].count++;
    }
    for (size_t i = 0; i < all.count; i++) {
        struct part *part = &write->parts[i];
        part->ops = arena_calloc(arena, part->count + 1, sizeof *part->ops);
        part->count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct part *part = &write->parts[where[i]];
        if (write->results[i] == NULL)
            part->ops[part->count++] = i;
    }
    uint64_t now = clock_ms();
    uint32_t timeout_ms = write->deadline_ms > now ? (uint32_t)(write->deadline_ms - now) : 1;
    for (size_t i = 0; i < all.count; i++)
        if (write->parts[i].count > 0)
            send_part(write, &write->parts[i], all.items[i], timeout_ms);
    if (write->open == 0) /* nothing to send: an empty batch, or all of it broken */
        reply(write);
}

void op_write(struct coordinator *coordinator, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    struct err err = {0};
    if (message_check(&quire__write_request__descriptor, request->payload, "ops", &err) != 0) {
        request_error(request, err.code, "%s", err.text);
        return;
    }
    struct write *write = arena_calloc(arena, 1, sizeof *write);
    write->coordinator = coordinator;
    write->request = request;
    write->message = quire__write_request__unpack(arena_protobuf(arena), request->payload.size,
                                                  request->payload.data);
    if (write->message == NULL) {
        request_error(request, ERR_PROTOCOL, "a malformed WriteRequest message");
        return;
    }
    if (write->message->n_ops > LIMIT_BATCH_OPS) {
        request_error(request, ERR_TOO_LARGE, "a batch has at most %d operations, this one has %zu",
                      LIMIT_BATCH_OPS, write->message->n_ops);
        return;
    }
    if (write->message->client_id != NULL && !uuid_valid(write->message->client_id)) {
        request_error(request, ERR_INVALID, "the client id of a batch is a UUID");
        return;
    }
    const Quire__Collection *found =
        op_collection(coordinator, request, write->message->collection);
    if (found == NULL)
        return;
    write->collection = found->id;
    write->deadline_ms = coordinator_deadline(request, COORDINATOR_WRITE_MS);
    write->keys = arena_calloc(arena, write->message->n_ops + 1, sizeof *write->keys);
    write->results = arena_calloc(arena, write->message->n_ops + 1, sizeof *write->results);
    if (sort_out(write))
        start_round(write);
}
