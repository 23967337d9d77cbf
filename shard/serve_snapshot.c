/* Snapshots for those who read all entries of ranges. */
#include "shard/server_internal.h"

#include "proto/base/clock.h"

static int take_range(struct work *work, struct replica *replica, void *data, struct err *err)
{
    Quire__ShardSnapshotReply *reply = data;
    Quire__Snapshot *snapshot = serve_alloc(work, 1, sizeof *snapshot);
    quire__snapshot__init(snapshot);
    snapshot->node = work->server->node_id;
    int code = snapshots_take(work->server->snapshots, replica, clock_ms(), snapshot, err);
    if (code == 0)
        reply->snapshots[reply->n_snapshots++] = snapshot;
    return code;
}

void serve_snapshot(struct work *work)
{
    Quire__ShardSnapshot *request = serve_unpack(work, &quire__shard_snapshot__descriptor);
    if (request == NULL)
        return;
    Quire__ShardSnapshotReply reply = QUIRE__SHARD_SNAPSHOT_REPLY__INIT;
    struct coverage coverage = {0};
    struct err err = {0};
    reply.snapshots = serve_alloc(work, request->n_ranges, sizeof reply.snapshots[0]);
    if (serve_ranges(work, request->ranges, request->n_ranges, &coverage, take_range, &reply,
                     &err) != 0) {
        serve_error(work->server, work->request, &err);
        return;
    }
    reply.n_covered = coverage.covered_count;
    reply.covered = coverage.covered;
    reply.n_failed = coverage.failed_count;
    reply.failed = coverage.failed;
    serve_reply(work->server, work->request, &reply.base);
}

void serve_snapshot_read(struct work *work)
{
    Quire__SnapshotRead *request = serve_unpack(work, &quire__snapshot_read__descriptor);
    if (request == NULL)
        return;
    Quire__SnapshotPage page = QUIRE__SNAPSHOT_PAGE__INIT;
    struct err err = {0};
    if (snapshots_read(work->server->snapshots, request, &work->budget, clock_ms(),
                       &work->request->arena, &page, &err) == 0)
        serve_reply(work->server, work->request, &page.base);
    else
        serve_error(work->server, work->request, &err);
}
