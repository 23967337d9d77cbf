/* Snapshots: the primary of each range is asked for one, all at the same time; pages of them are
 * asked of the shards that keep them. This coordinator keeps nothing: whoever reads names the shard
 * and the number of the snapshot, so any coordinator can hand a page on.
 *
 * Primaries only: what was acknowledged before, through whichever coordinator, is in it. */
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "proto/base/clock.h"

#define BOUND_MAX 65536 /* bytes of a key with its sense */

/* ---- taking ---- */

static void build(struct scatter *scatter, Quire__RangeRef **ranges, size_t count, struct buf *out)
{
    (void)scatter;
    Quire__ShardSnapshot message = QUIRE__SHARD_SNAPSHOT__INIT;
    message.ranges = ranges;
    message.n_ranges = count;
    message_pack(&message.base, out);
}

static const Quire__Snapshot *snapshot_of(const struct scatter *scatter, size_t piece,
                                          uint64_t range)
{
    const Quire__ShardSnapshotReply *reply =
        (const Quire__ShardSnapshotReply *)scatter->replies[piece];
    for (size_t i = 0; reply != NULL && i < reply->n_snapshots; i++)
        if (reply->snapshots[i]->range == range)
            return reply->snapshots[i];
    return NULL;
}

static void done(struct scatter *scatter)
{
    struct arena *arena = &scatter->request->arena;
    Quire__SnapshotReply reply = QUIRE__SNAPSHOT_REPLY__INIT;
    if (!scatter_require_all(scatter))
        return;
    const struct gather *gather = &scatter->gather;
    const Quire__Collection *found =
        map_collection_by_id(scatter->coordinator->map, scatter->collection);
    reply.snapshots = arena_calloc(arena, gather->range_count + 1, sizeof reply.snapshots[0]);
    for (size_t i = 0; i < gather->range_count && found != NULL; i++) {
        const Quire__Range *range = gather->ranges[i].range;
        const Quire__Snapshot *from = snapshot_of(scatter, gather->ranges[i].piece, range->id);
        if (from == NULL) {
            request_error(scatter->request, ERR_PROTOCOL,
                          "a shard answered without its snapshot of a range");
            return;
        }
        Quire__Snapshot *to = arena_alloc(arena, sizeof *to);
        *to = *from;
        to->epoch = range->epoch;
        to->has_recovered = range->has_recovered;
        to->recovered = range->recovered;
        to->has_lo = range->has_lo;
        to->lo = range->lo;
        to->has_hi = range->has_hi;
        to->hi = range->hi;
        reply.snapshots[reply.n_snapshots++] = to;
    }
    if (found == NULL) {
        request_error(scatter->request, ERR_NOT_FOUND, "the collection was dropped");
        return;
    }
    reply.collection = (Quire__Collection *)(uintptr_t)found;
    reply.cluster_id = scatter->coordinator->cluster_id;
    request_reply(scatter->request, &reply.base);
}

void op_snapshot(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__SnapshotRequest *message = request_unpack(request, &quire__snapshot_request__descriptor);
    if (message == NULL)
        return;
    const Quire__Collection *found = op_collection(coordinator, request, message->collection);
    if (found == NULL)
        return;
    if (message->lo.len > BOUND_MAX || message->hi.len > BOUND_MAX) {
        request_error(request, ERR_TOO_LARGE, "a bound has at most %d bytes", BOUND_MAX);
        return;
    }
    struct scatter *scatter = arena_calloc(&request->arena, 1, sizeof *scatter);
    scatter->coordinator = coordinator;
    scatter->request = request;
    scatter->collection = found->id;
    scatter->lo = bytes_of(message->lo.data, message->lo.len);
    scatter->hi = bytes_of(message->hi.data, message->hi.len);
    scatter->view.from_primary = true;
    scatter->kind = QUIRE__KIND__KIND_SHARD_SNAPSHOT;
    scatter->reply_type = &quire__shard_snapshot_reply__descriptor;
    scatter->deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
    scatter->build = build;
    scatter->done = done;
    scatter_start(scatter);
}

/* ---- reading ---- */

struct reading { /* in the request's arena */
    struct rpc_request *request;
    struct node_call call;
};

static void on_page(struct node_call *call, int status, const struct err *err, uint16_t kind,
                    struct bytes payload)
{
    struct reading *reading = call->data;
    if (status == ERR_CANCELED)
        request_error(reading->request, ERR_UNAVAILABLE, "%s", err->text);
    else if (status != 0)
        request_err(reading->request, err);
    else if (kind != QUIRE__KIND__KIND_SHARD_SNAPSHOT_READ + 1)
        request_error(reading->request, ERR_PROTOCOL, "the shard's answer cannot be understood");
    else
        request_relay(reading->request, QUIRE__KIND__KIND_SNAPSHOT_READ + 1, payload);
}

void op_snapshot_read(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__SnapshotRead *message = request_unpack(request, &quire__snapshot_read__descriptor);
    if (message == NULL)
        return;
    if (message->from.len > BOUND_MAX || message->to.len > BOUND_MAX) {
        request_error(request, ERR_TOO_LARGE, "a bound has at most %d bytes", BOUND_MAX);
        return;
    }
    struct reading *reading = arena_calloc(&request->arena, 1, sizeof *reading);
    uint64_t deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS), now = clock_ms();
    reading->request = request;
    reading->call.data = reading;
    reading->call.done = on_page;
    reading->call.impatient = true; /* there is another replica to take a snapshot of */
    reading->call.on_behalf = request;
    node_call_start(&coordinator->nodes, &reading->call, message->node,
                    QUIRE__KIND__KIND_SHARD_SNAPSHOT_READ, request->payload,
                    deadline_ms > now ? (uint32_t)(deadline_ms - now) : 1, request->trace);
}
