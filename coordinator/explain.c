/* Explain: why an entry has the score it has for a query: the same statistics round as a search,
 * then the range that holds the entry accounts for it, word by word. */
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/round.h"
#include "proto/limits.h"

#include <string.h>

struct explain {
    struct round round;
    struct scatter scatter;
    struct bytes key;
    const char *sense;
};

static void build(struct scatter *scatter, Quire__RangeRef **ranges, size_t count, struct buf *out)
{
    struct explain *explain = scatter->data;
    Quire__ShardSearch search = explain->round.search;
    search.ranges = ranges;
    search.n_ranges = count;
    search.limit = 1;
    Quire__ShardExplain message = QUIRE__SHARD_EXPLAIN__INIT;
    message.search = &search;
    message.key = (ProtobufCBinaryData){explain->key.size, (uint8_t *)explain->key.data};
    message.sense = (char *)explain->sense;
    message_pack(&message.base, out);
}

static void on_explained(struct scatter *scatter)
{
    if (scatter_require_all(scatter))
        request_reply(scatter->request, scatter->replies[0]);
}

static void on_statistics(struct round *round)
{
    struct explain *explain = round->data;
    if (round->none) {
        Quire__ExplainReply reply = QUIRE__EXPLAIN_REPLY__INIT;
        request_reply(round->request, &reply.base);
        return;
    }
    struct scatter *scatter = &explain->scatter;
    scatter->coordinator = round->coordinator;
    scatter->request = round->request;
    scatter->collection = round->collection;
    scatter->whole_replies = true;
    scatter->kind = QUIRE__KIND__KIND_SHARD_EXPLAIN;
    scatter->reply_type = &quire__explain_reply__descriptor;
    scatter->deadline_ms = round->deadline_ms;
    scatter->data = explain;
    scatter->build = build;
    scatter->done = on_explained;
    scatter_set_key(scatter, explain->key);
    scatter_start(scatter);
}

void op_explain(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__ExplainRequest *message = request_unpack(request, &quire__explain_request__descriptor);
    if (message == NULL)
        return;
    const Quire__Collection *found = op_collection(coordinator, request, message->collection);
    struct explain *explain = arena_calloc(&request->arena, 1, sizeof *explain);
    if (found == NULL || !op_key(request, "headword", message->headword, &explain->key))
        return;
    if (message->sense != NULL && strlen(message->sense) > LIMIT_SENSE_BYTES) {
        request_error(request, ERR_TOO_LARGE, "a sense has at most %d bytes", LIMIT_SENSE_BYTES);
        return;
    }
    explain->sense = message->sense;
    struct round *round = &explain->round;
    round->coordinator = coordinator;
    round->request = request;
    round->deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
    round->complete = true; /* a score from part of the statistics would be another score */
    round->data = explain;
    round->done = on_statistics;
    round_start(round, found, message->query, message->has_all && message->all, false);
}
