#include "coordinator/scatter.h"

#include "coordinator/messages.h"
#include "proto/base/clock.h"

#include <assert.h>
#include <string.h>

struct scatter_piece {
    struct scatter *scatter;
    size_t index;
    struct node_call call;
};

static void plan_and_send(struct scatter *scatter);

static void end(struct scatter *scatter, int status)
{
    scatter->status = status;
    struct map *map = scatter->map;
    scatter->map = NULL;
    scatter->done(scatter);
    map_unref(map);
}

static void run_again(struct later_item *item)
{
    plan_and_send(list_entry(item, struct scatter, later));
}

/* Whether a range is only missing because its shard, which is up, has not opened it yet. */
static bool opening(const struct scatter *scatter)
{
    struct coordinator *coordinator = scatter->coordinator;
    for (size_t i = 0; i < scatter->gather.range_count; i++) {
        const struct gather_range *range = &scatter->gather.ranges[i];
        if (range->state != GATHER_MISSING || range->code != ERR_UNAVAILABLE)
            continue;
        struct node *node = nodes_find(&coordinator->nodes, range->range->primary);
        if (node != NULL && node->up && node->assigned_epoch < map_epoch(coordinator->map))
            return true;
    }
    return false;
}

static bool worth_another_try(const struct scatter *scatter)
{
    uint64_t now = clock_ms();
    return gather_stale(&scatter->gather) ||
           (now - scatter->started_ms < SCATTER_OPENING_MS && opening(scatter));
}

static void finished(struct scatter *scatter)
{
    struct coordinator *coordinator = scatter->coordinator;
    if (coordinator->closing) {
        end(scatter, ERR_CANCELED);
        return;
    }
    scatter->unsettled = worth_another_try(scatter);
    if (!scatter->once && scatter->unsettled &&
        clock_ms() + SCATTER_STALE_DELAY_MS < scatter->deadline_ms &&
        !rpc_request_abandoned(scatter->request)) {
        map_unref(scatter->map);
        scatter->map = NULL;
        later_post(&coordinator->later, &scatter->later, SCATTER_STALE_DELAY_MS, run_again);
        return;
    }
    end(scatter, 0);
}

/* `covered` and `failed` have the same shape in every reply that has them. */
static void find_lists(const ProtobufCMessage *message, const uint64_t **covered,
                       size_t *covered_count, Quire__RangeFailure *const **failed,
                       size_t *failed_count)
{
    const char *base = (const char *)message;
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "covered");
    assert(field != NULL);
    *covered_count = *(const size_t *)(base + field->quantifier_offset);
    *covered = *(uint64_t *const *)(base + field->offset);
    field = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "failed");
    assert(field != NULL);
    *failed_count = *(const size_t *)(base + field->quantifier_offset);
    *failed = *(Quire__RangeFailure *const *const *)(base + field->offset);
}

static void take_reply(struct scatter *scatter, size_t index, uint16_t kind, struct bytes payload)
{
    ProtobufCMessage *message = NULL;
    if (kind == scatter->kind + 1 || kind == QUIRE__KIND__KIND_OK)
        message =
            protobuf_c_message_unpack(scatter->reply_type, arena_protobuf(&scatter->request->arena),
                                      payload.size, payload.data);
    if (message == NULL) {
        gather_failed(&scatter->gather, index, ERR_PROTOCOL,
                      "the shard's answer cannot be understood");
        return;
    }
    if (scatter->whole_replies) {
        gather_answered_all(&scatter->gather, index);
    } else {
        const uint64_t *covered;
        Quire__RangeFailure *const *failed;
        size_t covered_count, failed_count;
        find_lists(message, &covered, &covered_count, &failed, &failed_count);
        if (gather_answered(&scatter->gather, index, covered, covered_count, failed,
                            failed_count) != 0)
            return;
    }
    scatter->replies[index] = message;
}

static void on_reply(struct node_call *call, int status, const struct err *err, uint16_t kind,
                     struct bytes payload)
{
    struct scatter_piece *piece = call->data;
    struct scatter *scatter = piece->scatter;
    if (status == 0)
        take_reply(scatter, piece->index, kind, payload);
    else if (status == ERR_DEADLINE)
        gather_failed(&scatter->gather, piece->index, status, "the shard did not answer in time");
    else
        gather_failed(&scatter->gather, piece->index, status, err != NULL ? err->text : NULL);
    assert(scatter->outstanding > 0);
    if (--scatter->outstanding == 0)
        finished(scatter);
}

static void send_piece(struct scatter *scatter, size_t index, uint32_t timeout_ms)
{
    struct arena *arena = &scatter->request->arena;
    const struct gather_piece *dealt = &scatter->gather.pieces[index];
    Quire__RangeRef **refs = arena_calloc(arena, dealt->range_count, sizeof *refs);
    for (size_t i = 0; i < dealt->range_count; i++) {
        const Quire__Range *range = scatter->gather.ranges[dealt->ranges[i]].range;
        refs[i] = arena_alloc(arena, sizeof **refs);
        quire__range_ref__init(refs[i]);
        refs[i]->id = range->id;
        refs[i]->epoch = range->epoch;
    }
    struct buf payload;
    buf_init(&payload);
    scatter->build(scatter, refs, dealt->range_count, &payload);
    struct scatter_piece *piece = &scatter->pieces[index];
    piece->scatter = scatter;
    piece->index = index;
    piece->call.done = on_reply;
    piece->call.data = piece;
    piece->call.on_behalf = scatter->request;
    gather_sent(&scatter->gather, index);
    scatter->outstanding++;
    node_call_start(&scatter->coordinator->nodes, &piece->call, dealt->node, scatter->kind,
                    buf_bytes(&payload), timeout_ms, scatter->request->trace);
    buf_deinit(&payload);
}

static void plan_and_send(struct scatter *scatter)
{
    struct coordinator *coordinator = scatter->coordinator;
    struct arena *arena = &scatter->request->arena;
    if (coordinator->closing) {
        end(scatter, ERR_CANCELED);
        return;
    }
    if (scatter->started_ms == 0)
        scatter->started_ms = clock_ms();
    scatter->map = map_ref(coordinator->map);
    struct map_ranges ranges =
        map_ranges_between(scatter->map, scatter->collection, scatter->lo, scatter->hi);
    if (ranges.count == 0) {
        end(scatter, ERR_NOT_FOUND);
        return;
    }
    gather_init(&scatter->gather, arena, ranges, scatter->piece_per_range);
    size_t count = scatter->gather.piece_count;
    scatter->pieces = arena_calloc(arena, count, sizeof *scatter->pieces);
    scatter->replies = arena_calloc(arena, count, sizeof *scatter->replies);
    uint64_t now = clock_ms();
    uint32_t timeout_ms = scatter->deadline_ms > now ? (uint32_t)(scatter->deadline_ms - now) : 1;
    for (size_t i = 0; i < count; i++)
        send_piece(scatter, i, timeout_ms);
}

void scatter_start(struct scatter *scatter)
{
    later_post(&scatter->coordinator->later, &scatter->later, 0, run_again);
}

void scatter_set_key(struct scatter *scatter, struct bytes key)
{
    uint8_t *copy = arena_alloc(&scatter->request->arena, key.size + 1);
    if (key.size > 0)
        memcpy(copy, key.data, key.size);
    copy[key.size] = 0; /* key, 0 is the least string above key */
    scatter->lo = bytes_of(copy, key.size);
    scatter->hi = bytes_of(copy, key.size + 1);
}

/* What is the fault of the request is said as the shard says it; it is no gap in the answer. */
static bool fault_of_request(int code)
{
    return code == ERR_INVALID || code == ERR_TOO_LARGE || code == ERR_UNSUPPORTED ||
           code == ERR_NOT_FOUND || code == ERR_CONFLICT;
}

bool scatter_accepted(struct scatter *scatter)
{
    struct rpc_request *request = scatter->request;
    if (scatter->status == ERR_NOT_FOUND) {
        request_error(request, ERR_NOT_FOUND, "the collection was dropped");
        return false;
    }
    if (scatter->status != 0) {
        request_error(request, ERR_UNAVAILABLE, "the coordinator is stopping");
        return false;
    }
    for (size_t i = 0; i < scatter->gather.range_count; i++) {
        const struct gather_range *range = &scatter->gather.ranges[i];
        if (range->state == GATHER_MISSING && fault_of_request(range->code)) {
            request_error(request, range->code, "%s", range->reason);
            return false;
        }
    }
    return true;
}

bool scatter_require_all(struct scatter *scatter)
{
    struct err err = {0};
    if (!scatter_accepted(scatter))
        return false;
    if (gather_missing(&scatter->gather) == 0)
        return true;
    gather_missing_error(&scatter->gather, &err);
    request_error(scatter->request, err.code, "%s", err.text);
    return false;
}
