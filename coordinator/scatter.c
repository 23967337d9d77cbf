#include "coordinator/scatter.h"

#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/replica_choice.h"
#include "proto/base/clock.h"
#include "proto/limits.h"

#include <assert.h>
#include <string.h>

struct scatter_call {
    struct scatter_piece *piece;
    struct node_call call;
    const char *node;    /* id; in the map */
    uint64_t started_us; /* 0: not under way */
    size_t span;
};

struct scatter_piece {
    struct scatter *scatter;
    size_t index;
    struct scatter_call calls[2]; /* the second: a hedge */
    bool settled;
};

static void plan_and_send(struct scatter *scatter);
static void on_reply(struct node_call *call, int status, const struct err *err, uint16_t kind,
                     struct bytes payload);

static void end(struct scatter *scatter, int status)
{
    scatter->status = status;
    later_cancel(&scatter->hedging);
    trace_end(scatter->trace, scatter->span, clock_us());
    struct map *map = scatter->map;
    scatter->map = NULL;
    scatter->done(scatter);
    map_unref(map);
}

static void run_again(struct later_item *item)
{
    plan_and_send(list_entry(item, struct scatter, later));
}

/* Where in range->in_sync the replica is that the view names. */
static size_t named_replica(const struct scatter *scatter, const Quire__Range *range)
{
    size_t left = scatter->view.replica;
    for (size_t i = 0; i < range->n_in_sync; i++) {
        bool primary = strcmp(range->in_sync[i], range->primary) == 0;
        if (primary ? scatter->view.replica == 0 : left > 0 && --left == 0)
            return i;
    }
    return SIZE_MAX;
}

static bool any_up(const struct scatter *scatter, const Quire__Range *range)
{
    for (size_t i = 0; i < range->n_in_sync; i++) {
        if (scatter->view.one_replica && i != named_replica(scatter, range))
            continue;
        struct node *node = nodes_find(&scatter->coordinator->nodes, range->in_sync[i]);
        if (node != NULL && node->up)
            return true;
    }
    return false;
}

/* Whether a range is only missing because its shards, some of which are up, cannot answer for it
 * yet. */
static bool opening(const struct scatter *scatter)
{
    for (size_t i = 0; i < scatter->gather.range_count; i++) {
        const struct gather_range *range = &scatter->gather.ranges[i];
        if (range->state == GATHER_MISSING && range->code == ERR_UNAVAILABLE &&
            any_up(scatter, range->range))
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
    later_cancel(&scatter->hedging);
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

static const Quire__ShardTimes *times_of(const ProtobufCMessage *message)
{
    if (message->descriptor == &quire__shard_search_reply__descriptor)
        return ((const Quire__ShardSearchReply *)message)->times;
    if (message->descriptor == &quire__shard_stats_reply__descriptor)
        return ((const Quire__ShardStatsReply *)message)->times;
    return NULL;
}

static void take_reply(struct scatter *scatter, const struct scatter_call *it, uint16_t kind,
                       struct bytes payload)
{
    size_t index = it->piece->index;
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
    const Quire__ShardTimes *times = times_of(message);
    if (times != NULL) {
        struct trace_span *span = trace_at(scatter->trace, it->span);
        admit_shard_waited(scatter->coordinator, scatter->request, times->waited_us);
        if (span != NULL) {
            span->answered = true;
            span->waited_us = times->waited_us;
            span->worked_us = times->worked_us;
        }
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

/* ---- which replica ---- */

static struct replica_candidate candidate_of(const struct scatter *scatter,
                                             const Quire__Range *range, size_t i)
{
    struct node *node = nodes_find(&scatter->coordinator->nodes, range->in_sync[i]);
    if (node == NULL || !node->up)
        return (struct replica_candidate){0};
    const Quire__RangeReport *report = node_report(node, range->id);
    bool serves = report == NULL || strcmp(report->state, "serving") == 0 ||
                  strcmp(report->state, "read-only") == 0 || strcmp(report->state, "sealed") == 0;
    return (struct replica_candidate){.usable = true,
                                      .doubtful = !serves || !node->connected || node_quiet(node),
                                      .calls = node->reads,
                                      .latency_us = node->read_us,
                                      .answers = node->answers};
}

/* xorshift64* (Vigna, 2016); any seed but 0. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * 0x2545f4914f6cdd1dull) >> 8;
}

static size_t choose(void *data, const Quire__Range *range, uint32_t tried)
{
    const struct scatter *scatter = data;
    struct replica_candidate candidates[LIMIT_MEMBERS];
    if (scatter->view.one_replica) /* down or not */
        return tried == 0 ? named_replica(scatter, range) : SIZE_MAX;
    for (size_t i = 0; i < range->n_in_sync; i++) {
        candidates[i] = candidate_of(scatter, range, i);
        if ((tried >> i & 1) != 0 ||
            (scatter->view.from_primary && strcmp(range->in_sync[i], range->primary) != 0))
            candidates[i].usable = false;
    }
    return replica_choose(candidates, range->n_in_sync, next_random(&scatter->coordinator->random));
}

/* ---- calls ---- */

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What has to be applied before the range is read: what this coordinator acknowledged, what the
 * client's session has seen, and what the first round was told of. */
static uint64_t min_seq(const struct scatter *scatter, const Quire__Range *range)
{
    uint64_t seq = marks_seq(&scatter->coordinator->acknowledged, range->id, range->recovered);
    if (scatter->min_seq != NULL)
        seq = max(seq, scatter->min_seq(scatter, range->id));
    for (size_t i = 0; i < scatter->view.count; i++) {
        const Quire__SessionMark *mark = scatter->view.session[i];
        if (mark->range == range->id && mark->recovered == range->recovered)
            seq = max(seq, mark->seq);
    }
    return seq;
}

/* Whether another replica may be asked as well. */
static bool has_choice(const struct scatter *scatter)
{
    return !scatter->patient && !scatter->view.from_primary && !scatter->view.one_replica;
}

static size_t begin_span(struct scatter *scatter, size_t ranges, const char *node, bool second,
                         uint64_t now_us)
{
    struct trace *trace = scatter->trace;
    const struct node *to = nodes_find(&scatter->coordinator->nodes, node);
    size_t number = trace_begin(trace, scatter->span, "call", now_us);
    struct trace_span *span = trace_at(trace, number);
    if (trace == NULL)
        return 0;
    trace->calls++;
    trace->hedges += second;
    trace->retries += scatter->asking_again;
    if (span == NULL)
        return 0;
    span->shard = arena_strdup(trace->arena, to != NULL ? to->address : node);
    span->ranges = (uint32_t)ranges;
    span->note = second                  ? "to a second replica"
                 : scatter->asking_again ? "to the next replica"
                                         : NULL;
    return number;
}

static void end_span(struct scatter *scatter, size_t number, int status, const struct err *err)
{
    struct trace_span *span = trace_at(scatter->trace, number);
    if (span == NULL)
        return;
    trace_end(scatter->trace, number, clock_us());
    if (status != 0)
        span->note =
            arena_printf(scatter->trace->arena, "%s%s%s", span->note != NULL ? span->note : "",
                         span->note != NULL ? ": " : "",
                         err != NULL && err->text[0] != '\0' ? err->text : err_name(status));
}

static void start_call(struct scatter_piece *piece, size_t which, const char *node)
{
    struct scatter *scatter = piece->scatter;
    struct arena *arena = &scatter->request->arena;
    const struct gather_piece *dealt = &scatter->gather.pieces[piece->index];
    Quire__RangeRef **refs = arena_calloc(arena, dealt->range_count, sizeof *refs);
    for (size_t i = 0; i < dealt->range_count; i++) {
        const Quire__Range *range = scatter->gather.ranges[dealt->ranges[i]].range;
        refs[i] = arena_alloc(arena, sizeof **refs);
        quire__range_ref__init(refs[i]);
        refs[i]->id = range->id;
        refs[i]->epoch = range->epoch;
        refs[i]->min_seq = min_seq(scatter, range);
        refs[i]->has_min_seq = refs[i]->min_seq > 0;
        refs[i]->has_from_primary = refs[i]->from_primary = scatter->view.from_primary;
    }
    struct buf payload;
    buf_init(&payload);
    scatter->build(scatter, refs, dealt->range_count, &payload);
    struct scatter_call *it = &piece->calls[which];
    it->piece = piece;
    it->node = node;
    it->started_us = clock_us();
    it->span = begin_span(scatter, dealt->range_count, node, which == 1, it->started_us);
    it->call.done = on_reply;
    it->call.data = it;
    it->call.on_behalf = scatter->request;
    it->call.impatient = has_choice(scatter);
    it->call.heavy = scatter->patient || scatter->request->class == ADMISSION_HEAVY;
    scatter->outstanding++;
    struct node *to = nodes_find(&scatter->coordinator->nodes, node);
    if (to != NULL)
        to->reads++;
    uint64_t now = clock_ms();
    node_call_start(&scatter->coordinator->nodes, &it->call, node, scatter->kind,
                    buf_bytes(&payload),
                    scatter->deadline_ms > now ? (uint32_t)(scatter->deadline_ms - now) : 1,
                    scatter->request->trace);
    buf_deinit(&payload);
}

static void send_piece(struct scatter *scatter, size_t index)
{
    struct scatter_piece *piece =
        arena_calloc(&scatter->request->arena, 1, sizeof *scatter->pieces[index]);
    piece->scatter = scatter;
    piece->index = index;
    scatter->pieces[index] = piece;
    scatter->replies[index] = NULL;
    gather_sent(&scatter->gather, index);
    start_call(piece, 0, scatter->gather.pieces[index].node);
}

static unsigned hedge_kind(const struct scatter *scatter)
{
    return (unsigned)(scatter->kind - QUIRE__KIND__KIND_SHARD_ASSIGN) / 2 % HEDGE_KINDS;
}

/* What the call tells of its node. */
static void note_end(struct scatter_call *it, bool answered)
{
    struct scatter *scatter = it->piece->scatter;
    struct node *node = nodes_find(&scatter->coordinator->nodes, it->node);
    uint64_t us = clock_us() - it->started_us;
    it->started_us = 0;
    scatter->outstanding--;
    if (answered)
        hedge_answered(&scatter->coordinator->hedge, hedge_kind(scatter), us);
    if (node == NULL)
        return;
    if (node->reads > 0) /* a node that came anew under its id has none of these */
        node->reads--;
    if (!answered)
        return;
    uint32_t sample = us > UINT32_MAX / 8 ? UINT32_MAX / 8 : (uint32_t)us;
    node->answers++;
    node->read_us = node->read_us == 0 ? sample + 1 : (7 * node->read_us + sample) / 8 + 1;
}

/* ---- asking another one ---- */

static bool may_be_had_elsewhere(int code)
{
    return code == ERR_STALE || code == ERR_UNAVAILABLE || code == ERR_CORRUPT || code == ERR_IO ||
           code == ERR_FULL || code == ERR_OVERLOADED || code == ERR_INTERNAL ||
           code == ERR_PROTOCOL || code == ERR_CLOSED;
}

/* The ranges of the piece that are missing go to their next replicas. */
static void ask_elsewhere(struct scatter *scatter, size_t index)
{
    struct gather *gather = &scatter->gather;
    if (scatter->coordinator->closing || rpc_request_abandoned(scatter->request) ||
        clock_ms() >= scatter->deadline_ms)
        return;
    for (size_t i = 0; i < gather->range_count; i++) {
        struct gather_range *range = &gather->ranges[i];
        if (range->piece != index || range->state != GATHER_MISSING ||
            !may_be_had_elsewhere(range->code))
            continue;
        size_t replica = choose(scatter, range->range, range->tried);
        /* Who is overloaded is not helped by more calls: there are few of these. */
        if (replica != SIZE_MAX &&
            (range->code != ERR_OVERLOADED || hedge_take(&scatter->coordinator->hedge)))
            gather_deal_again(gather, i, replica);
    }
    scatter->asking_again = true;
    for (size_t i = 0; i < gather->piece_count; i++)
        if (gather->pieces[i].sm.state == GATHER_READY) {
            scatter->coordinator->hedge.again++;
            send_piece(scatter, i);
        }
    scatter->asking_again = false;
}

/* A node, not asked yet, that has all of the piece; NULL: there is none. */
static const char *second_node(const struct scatter *scatter, const struct gather_piece *piece)
{
    const struct gather_range *first = &scatter->gather.ranges[piece->ranges[0]];
    size_t chosen = choose((void *)(uintptr_t)scatter, first->range, first->tried);
    if (chosen == SIZE_MAX)
        return NULL;
    const char *node = first->range->in_sync[chosen];
    for (size_t i = 1; i < piece->range_count; i++) {
        const Quire__Range *range = scatter->gather.ranges[piece->ranges[i]].range;
        size_t at = 0;
        while (at < range->n_in_sync && strcmp(range->in_sync[at], node) != 0)
            at++;
        if (at == range->n_in_sync)
            return NULL;
    }
    return node;
}

static void run_hedging(struct later_item *item)
{
    struct scatter *scatter = list_entry(item, struct scatter, hedging);
    for (size_t i = 0; i < scatter->gather.piece_count; i++) {
        struct scatter_piece *piece = scatter->pieces[i];
        const struct gather_piece *dealt = &scatter->gather.pieces[i];
        if (dealt->sm.state != GATHER_SENT || piece->calls[1].started_us != 0)
            continue;
        const char *node = second_node(scatter, dealt);
        if (node != NULL && hedge_take(&scatter->coordinator->hedge))
            start_call(piece, 1, node);
    }
}

static void plan_hedging(struct scatter *scatter)
{
    uint64_t us = hedge_delay_us(&scatter->coordinator->hedge, hedge_kind(scatter));
    if (has_choice(scatter) && us < (uint64_t)60 * 1000 * 1000)
        later_post(&scatter->coordinator->later, &scatter->hedging, us / 1000 + 2, run_hedging);
}

/* ---- answers ---- */

static void fail_piece(struct scatter *scatter, size_t index, int status, const struct err *err)
{
    if (err != NULL && err->retry_after_ms > scatter->retry_after_ms)
        scatter->retry_after_ms = err->retry_after_ms;
    if (status == ERR_DEADLINE)
        gather_failed(&scatter->gather, index, status, "the shard did not answer in time");
    else
        gather_failed(&scatter->gather, index, status, err != NULL ? err->text : NULL);
}

/* A shard refused its part for good, so there will be no answer: the others need not work on
 * theirs. */
static void give_up_refused(struct scatter *scatter)
{
    bool refused = false;
    for (size_t i = 0; i < scatter->gather.range_count; i++)
        refused |= scatter->gather.ranges[i].state == GATHER_MISSING &&
                   scatter->gather.ranges[i].code == ERR_OVERLOADED;
    if (!refused || scatter->patient || scatter->request->class == ADMISSION_NONE)
        return;
    for (size_t i = 0; i < scatter->gather.piece_count; i++)
        for (int k = 0; scatter->pieces[i] != NULL && k < 2; k++)
            if (scatter->pieces[i]->calls[k].started_us != 0)
                node_call_give_up(&scatter->pieces[i]->calls[k].call, ERR_CANCELED,
                                  "another shard is overloaded");
}

static void on_reply(struct node_call *call, int status, const struct err *err, uint16_t kind,
                     struct bytes payload)
{
    struct scatter_call *it = call->data;
    struct scatter_piece *piece = it->piece;
    struct scatter *scatter = piece->scatter;
    struct scatter_call *other = &piece->calls[it == &piece->calls[0]];
    note_end(it, status == 0);
    end_span(scatter, it->span, status, err);
    if (!piece->settled && (status == 0 || other->started_us == 0)) {
        piece->settled = true;
        if (status == 0)
            take_reply(scatter, it, kind, payload);
        else
            fail_piece(scatter, piece->index, status, err);
        if (status == 0 && it == &piece->calls[1])
            scatter->coordinator->hedge.won++;
        if (other->started_us != 0) {
            scatter->coordinator->hedge.given_up++;
            node_call_give_up(&other->call, ERR_CANCELED, "another replica was quicker");
        }
        ask_elsewhere(scatter, piece->index);
        if (status == ERR_OVERLOADED)
            give_up_refused(scatter);
    }
    if (scatter->outstanding == 0)
        finished(scatter);
}

static bool has_named_replica(struct scatter *scatter, struct map_ranges ranges)
{
    for (size_t i = 0; scatter->view.one_replica && i < ranges.count; i++)
        if (named_replica(scatter, ranges.items[i]) == SIZE_MAX) {
            err_set(&scatter->why, ERR_INCOMPLETE,
                    "there is no replica %u: range %llu has %zu in sync, counted from 0",
                    scatter->view.replica, (unsigned long long)ranges.items[i]->id,
                    ranges.items[i]->n_in_sync);
            return false;
        }
    return true;
}

/* Whether the session has seen a range that this map does not have yet: of what it has in its place
 * some replica may still answer, without what the session has seen. */
static bool is_behind_session(const struct scatter *scatter)
{
    for (size_t i = 0; i < scatter->view.count; i++)
        if (map_range_may_come(scatter->coordinator->map, scatter->view.session[i]->range))
            return true;
    return false;
}

static void await_map(struct scatter *scatter)
{
    uint64_t now = clock_ms();
    if (now >= scatter->started_ms + SCATTER_OPENING_MS || now >= scatter->deadline_ms)
        end(scatter, ERR_STALE);
    else
        later_post(&scatter->coordinator->later, &scatter->later, SCATTER_STALE_DELAY_MS,
                   run_again);
}

static void plan_and_send(struct scatter *scatter)
{
    struct coordinator *coordinator = scatter->coordinator;
    struct arena *arena = &scatter->request->arena;
    const struct gather_chooser chooser = {choose, scatter};
    if (coordinator->closing) {
        end(scatter, ERR_CANCELED);
        return;
    }
    if (scatter->view.count > LIMIT_SESSION_MARKS) {
        end(scatter, ERR_TOO_LARGE);
        return;
    }
    if (scatter->started_ms == 0)
        scatter->started_ms = clock_ms();
    if (is_behind_session(scatter)) {
        await_map(scatter);
        return;
    }
    scatter->map = map_ref(coordinator->map);
    struct map_ranges ranges =
        map_ranges_between(scatter->map, scatter->collection, scatter->lo, scatter->hi);
    if (ranges.count == 0) {
        end(scatter, ERR_NOT_FOUND);
        return;
    }
    if (!has_named_replica(scatter, ranges)) {
        end(scatter, ERR_INCOMPLETE);
        return;
    }
    gather_init(&scatter->gather, arena, ranges, scatter->piece_per_range, &chooser);
    size_t count = scatter->gather.piece_count;
    scatter->pieces = arena_calloc(arena, scatter->gather.piece_room, sizeof *scatter->pieces);
    scatter->replies = arena_calloc(arena, scatter->gather.piece_room, sizeof *scatter->replies);
    for (size_t i = 0; i < count; i++) {
        hedge_call(&coordinator->hedge);
        send_piece(scatter, i);
    }
    plan_hedging(scatter);
}

void scatter_start(struct scatter *scatter)
{
    scatter->span = trace_begin(scatter->trace, 0, scatter->trace_name, clock_us());
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
        op_again(scatter->coordinator, request);
        return false;
    }
    if (scatter->status == ERR_TOO_LARGE) {
        request_error(request, ERR_TOO_LARGE, "a session has at most %d marks",
                      LIMIT_SESSION_MARKS);
        return false;
    }
    if (scatter->status == ERR_INCOMPLETE) {
        request_error(request, ERR_INCOMPLETE, "%s", scatter->why.text);
        return false;
    }
    if (scatter->status == ERR_STALE) {
        request_error(request, ERR_UNAVAILABLE,
                      "the session has seen ranges that this coordinator does not know yet: try "
                      "again");
        return false;
    }
    if (scatter->status != 0) {
        request_error(request, ERR_UNAVAILABLE, "the coordinator is stopping");
        return false;
    }
    for (size_t i = 0; i < scatter->gather.range_count; i++) {
        const struct gather_range *range = &scatter->gather.ranges[i];
        if (range->state == GATHER_MISSING && range->code == ERR_OVERLOADED) {
            struct err refused;
            err_set(&refused, ERR_OVERLOADED, "%s", range->reason);
            refused.retry_after_ms = scatter->retry_after_ms;
            request_err(request, &refused);
            return false;
        }
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
