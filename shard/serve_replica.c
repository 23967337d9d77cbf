/* What other shards of the cluster ask: to take records into a log, and for the files of an index.
 */
#include "shard/server_internal.h"

#include "proto/base/clock.h"

#include <string.h>

void serve_ack(void *data, struct rpc_request *request, const Quire__ReplicaAck *ack)
{
    serve_reply(data, request, &ack->base);
}

/* A disk that is full in the middle of an append costs the whole log: so records are refused while
 * there is still room, the heartbeats with them, since a replica that answered those would be taken
 * for one that keeps up. */
void serve_prepare(struct server *server, struct rpc_request *request)
{
    if (disk_has_room(server)) {
        replicator_receive(server->replicator, request);
        return;
    }
    Quire__ReplicaAck ack = QUIRE__REPLICA_ACK__INIT;
    Quire__ReplicaPrepare *message = quire__replica_prepare__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    if (message == NULL) {
        serve_fail(server, request, ERR_PROTOCOL, "a malformed ReplicaPrepare message");
        return;
    }
    ack.status = QUIRE__REPLICA_ACK__STATUS__BROKEN;
    ack.epoch = message->epoch;
    ack.text = server->disk_short.text;
    serve_reply(server, request, &ack.base);
}

/* Only the primary's index is sure to have everything that is committed. */
static int acquire_led(struct work *work, const Quire__ReplicaCheckpoint *request,
                       struct replica **out, struct err *err)
{
    Quire__RangeRef ref = QUIRE__RANGE_REF__INIT;
    ref.id = request->range;
    ref.epoch = request->epoch;
    ref.has_from_primary = ref.from_primary = true;
    return replicas_acquire(work->server->replicas, &ref, work->request->deadline_ms, out, err);
}

void serve_checkpoint(struct work *work)
{
    struct server *server = work->server;
    Quire__ReplicaCheckpoint *request = serve_unpack(work, &quire__replica_checkpoint__descriptor);
    Quire__ReplicaFiles *files = NULL;
    struct replica *replica = NULL;
    struct err err = {0};
    if (request == NULL)
        return;
    int code = uuid_valid(request->from)
                   ? acquire_led(work, request, &replica, &err)
                   : err_set(&err, ERR_INVALID, "the id of a shard is a UUID");
    /* With all of it in the index the learner has little to catch up with, and need not wait until
     * what was written last is flushed in its own time. */
    if (code == 0 && range_durable_seq(replica->range) < range_applied_seq(replica->range))
        code = replica_flush(replica, &err);
    if (code == 0)
        code = checkpoints_take(server->checkpoints, replica->range, request->from, clock_ms(),
                                &work->request->arena, &files, &err);
    if (replica != NULL)
        replica_unref(replica);
    if (code == 0)
        serve_reply(server, work->request, &files->base);
    else
        serve_error(server, work->request, &err);
}

void serve_fetch(struct work *work)
{
    Quire__ReplicaFetch *request = serve_unpack(work, &quire__replica_fetch__descriptor);
    Quire__ReplicaChunk *chunk = NULL;
    struct err err = {0};
    if (request == NULL)
        return;
    if (checkpoints_read(work->server->checkpoints, request, clock_ms(), &work->request->arena,
                         &chunk, &err) == 0)
        serve_reply(work->server, work->request, &chunk->base);
    else
        serve_error(work->server, work->request, &err);
}
