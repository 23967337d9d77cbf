/* Explain: why an entry has the score it has for a query: the same statistics round as a search,
 * then the range that holds the entry accounts for it, word by word.
 *
 * Without a sense the headword may stand for several entries. The range is asked which there are,
 * then about one after another, and the best score is explained: the one that a search shows first.
 */
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/round.h"
#include "proto/limits.h"

#include <string.h>

#define EXPLAIN_SENSES_MAX 32 /* further ones are not looked at */

struct explain {
    struct round round;
    struct scatter scatter;
    const char *headword;
    struct bytes key;
    const char *senses[EXPLAIN_SENSES_MAX];
    size_t sense_count;
    size_t at;
    const Quire__ExplainReply *best;
};

static void prepare_scatter(struct explain *explain, uint16_t kind,
                            const ProtobufCMessageDescriptor *reply_type)
{
    struct round *round = &explain->round;
    explain->scatter = (struct scatter){
        .coordinator = round->coordinator,
        .request = round->request,
        .collection = round->collection,
        .whole_replies = true,
        .kind = kind,
        .reply_type = reply_type,
        .deadline_ms = round->deadline_ms,
        .view = round->view,
        .min_seq = kind == QUIRE__KIND__KIND_SHARD_EXPLAIN ? round_min_seq : NULL,
        .data = explain,
    };
    scatter_set_key(&explain->scatter, explain->key);
}

/* ---- one sense after another ---- */

static void explain_next(struct explain *explain);

static void build_explain(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                          struct buf *out)
{
    struct explain *explain = scatter->data;
    Quire__ShardSearch search = explain->round.search;
    search.ranges = ranges;
    search.n_ranges = count;
    search.limit = 1;
    Quire__ShardExplain message = QUIRE__SHARD_EXPLAIN__INIT;
    message.search = &search;
    message.key = (ProtobufCBinaryData){explain->key.size, (uint8_t *)explain->key.data};
    message.sense = (char *)explain->senses[explain->at];
    message_pack(&message.base, out);
}

static void on_explained(struct scatter *scatter)
{
    struct explain *explain = scatter->data;
    if (!scatter_require_all(scatter))
        return;
    const Quire__ExplainReply *reply = (const Quire__ExplainReply *)scatter->replies[0];
    if (explain->best == NULL || reply->matched > explain->best->matched ||
        (reply->matched == explain->best->matched && reply->score > explain->best->score))
        explain->best = reply;
    explain->at++;
    explain_next(explain);
}

static void explain_next(struct explain *explain)
{
    if (explain->at == explain->sense_count) {
        request_reply(explain->round.request, &explain->best->base);
        return;
    }
    prepare_scatter(explain, QUIRE__KIND__KIND_SHARD_EXPLAIN, &quire__explain_reply__descriptor);
    explain->scatter.build = build_explain;
    explain->scatter.done = on_explained;
    scatter_start(&explain->scatter);
}

/* ---- which senses there are ---- */

static void build_get(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                      struct buf *out)
{
    (void)count;
    struct explain *explain = scatter->data;
    Quire__ShardGet message = QUIRE__SHARD_GET__INIT;
    message.range = ranges[0];
    message.key = (ProtobufCBinaryData){explain->key.size, (uint8_t *)explain->key.data};
    message_pack(&message.base, out);
}

static void on_senses(struct scatter *scatter)
{
    struct explain *explain = scatter->data;
    if (!scatter_require_all(scatter))
        return;
    const Quire__ShardEntries *answer = (const Quire__ShardEntries *)scatter->replies[0];
    if (answer->n_entries == 0) {
        request_error(scatter->request, ERR_NOT_FOUND, "there is no entry %s", explain->headword);
        return;
    }
    for (size_t i = 0; i < answer->n_entries && i < EXPLAIN_SENSES_MAX; i++) {
        const char *sense = answer->entries[i]->sense;
        explain->senses[explain->sense_count++] = sense != NULL ? sense : "";
    }
    explain_next(explain);
}

static void on_statistics(struct round *round)
{
    struct explain *explain = round->data;
    if (round->none) {
        Quire__ExplainReply reply = QUIRE__EXPLAIN_REPLY__INIT;
        request_reply(round->request, &reply.base);
        return;
    }
    if (explain->sense_count > 0) {
        explain_next(explain);
        return;
    }
    prepare_scatter(explain, QUIRE__KIND__KIND_SHARD_GET, &quire__shard_entries__descriptor);
    explain->scatter.build = build_get;
    explain->scatter.done = on_senses;
    scatter_start(&explain->scatter);
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
    explain->headword = message->headword;
    if (message->sense != NULL)
        explain->senses[explain->sense_count++] = message->sense;
    struct round *round = &explain->round;
    round->coordinator = coordinator;
    round->request = request;
    round->deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
    round->view = SCATTER_VIEW(message);
    round->complete = true; /* a score from part of the statistics would be another score */
    round->data = explain;
    round->done = on_statistics;
    round_start(round, found, message->query, message->has_all && message->all, false);
}
