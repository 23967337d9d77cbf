/* Export: entries in key order, a piece at a time. `after` says where to go on: it is the key (term
 * key, 0, sense) of the next entry, or the lower bound of the next range; either way it is read as
 * "from here on", so it stays right after any split or move. */
#include "coordinator/defaults.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "proto/limits.h"

#include <string.h>

#define EXPORT_BYTES_MAX (4u << 20) /* and one entry more: stays within a frame */
#define EXPORT_ENTRIES_MAX 10000
#define EXPORT_AFTER_MAX 16384

struct export
{
    struct scatter scatter;
    struct bytes from;
    uint32_t limit_bytes;
};

static void read_range(struct export *export);

static void build(struct scatter *scatter, Quire__RangeRef **ranges, size_t count, struct buf *out)
{
    (void)count;
    struct export *export = scatter->data;
    Quire__ShardBrowse message = QUIRE__SHARD_BROWSE__INIT;
    message.range = ranges[0];
    message.has_from = export->from.size > 0;
    message.from = (ProtobufCBinaryData){export->from.size, (uint8_t *)export->from.data};
    message.has_limit = message.has_limit_bytes = true;
    message.limit = EXPORT_ENTRIES_MAX;
    message.limit_bytes = export->limit_bytes;
    message_pack(&message.base, out);
}

static void done(struct scatter *scatter)
{
    struct export *export = scatter->data;
    if (!scatter_require_all(scatter))
        return;
    const Quire__ShardEntries *answer = (const Quire__ShardEntries *)scatter->replies[0];
    struct bytes hi = map_range_hi(scatter->gather.ranges[0].range);
    if (answer->n_entries == 0 && !answer->has_next && hi.size > 0) {
        export->from = bytes_of(arena_copy(&scatter->request->arena, hi.data, hi.size), hi.size);
        read_range(export);
        return;
    }
    Quire__ExportReply reply = QUIRE__EXPORT_REPLY__INIT;
    reply.n_entries = answer->n_entries;
    reply.entries = answer->entries;
    reply.has_after = answer->has_next || hi.size > 0;
    if (answer->has_next)
        reply.after = answer->next;
    else
        reply.after = (ProtobufCBinaryData){hi.size, (uint8_t *)hi.data};
    request_reply(scatter->request, &reply.base);
}

/* The range that `from` falls into: bounds have no NUL, so the part before it decides. */
static void read_range(struct export *export)
{
    struct bytes key = export->from;
    const uint8_t *nul = key.size > 0 ? memchr(key.data, 0, key.size) : NULL;
    if (nul != NULL)
        key.size = (size_t)(nul - key.data);
    scatter_set_key(&export->scatter, key);
    scatter_start(&export->scatter);
}

void op_export(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__ExportRequest *message = request_unpack(request, &quire__export_request__descriptor);
    if (message == NULL)
        return;
    const Quire__Collection *found = op_collection(coordinator, request, message->collection);
    if (found == NULL)
        return;
    if (message->has_after && message->after.len > EXPORT_AFTER_MAX) {
        request_error(request, ERR_INVALID, "that is not where an export could go on");
        return;
    }
    struct export *export = arena_calloc(&request->arena, 1, sizeof *export);
    export->limit_bytes = message->has_limit_bytes ? message->limit_bytes : DEFAULT_EXPORT_BYTES;
    if (export->limit_bytes < 1 || export->limit_bytes > EXPORT_BYTES_MAX)
        export->limit_bytes = EXPORT_BYTES_MAX;
    if (message->has_after)
        export->from = bytes_of(message->after.data, message->after.len);
    struct scatter *scatter = &export->scatter;
    scatter->coordinator = coordinator;
    scatter->request = request;
    scatter->collection = found->id;
    scatter->whole_replies = true;
    scatter->kind = QUIRE__KIND__KIND_SHARD_BROWSE;
    scatter->reply_type = &quire__shard_entries__descriptor;
    scatter->deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
    scatter->data = export;
    scatter->view = SCATTER_VIEW(message);
    scatter->build = build;
    scatter->done = done;
    read_range(export);
}
