/* Verify: every range of one collection or of all checks itself (shard/range.h), and what is wrong
 * is listed. A range that cannot be asked is a problem too: it was not checked. */
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "proto/limits.h"

#include <string.h>

struct verify {
    struct rpc_request *request;
    Quire__VerifyReply reply;
    size_t open;
};

static void add_problem(struct verify *verify, uint64_t range, const char *text)
{
    Quire__VerifyReply *reply = &verify->reply;
    if (reply->n_problems == LIMIT_VERIFY_PROBLEMS)
        return;
    Quire__VerifyProblem *problem = arena_alloc(&verify->request->arena, sizeof *problem);
    quire__verify_problem__init(problem);
    problem->range = range;
    problem->text = (char *)text;
    reply->problems[reply->n_problems++] = problem;
}

static void build(struct scatter *scatter, Quire__RangeRef **ranges, size_t count, struct buf *out)
{
    (void)scatter;
    Quire__ShardVerify message = QUIRE__SHARD_VERIFY__INIT;
    message.ranges = ranges;
    message.n_ranges = count;
    message_pack(&message.base, out);
}

static void take(struct verify *verify, const struct scatter *scatter)
{
    const struct gather *gather = &scatter->gather;
    struct arena *arena = &verify->request->arena;
    for (size_t i = 0; i < gather->range_count; i++) {
        const struct gather_range *range = &gather->ranges[i];
        if (range->state == GATHER_MISSING)
            add_problem(verify, range->range->id,
                        arena_printf(arena, "not checked: %s", range->reason));
        else
            verify->reply.ranges++;
    }
    for (size_t i = 0; i < gather->piece_count; i++) {
        const Quire__ShardVerifyReply *answer =
            (const Quire__ShardVerifyReply *)scatter->replies[i];
        if (answer == NULL)
            continue;
        verify->reply.entries += answer->entries;
        verify->reply.postings += answer->postings;
        for (size_t j = 0; j < answer->n_problems; j++)
            add_problem(verify, answer->problems[j]->range, answer->problems[j]->text);
    }
}

static void done(struct scatter *scatter)
{
    struct verify *verify = scatter->data;
    if (scatter->status == 0)
        take(verify, scatter);
    else if (scatter->status != ERR_NOT_FOUND) /* dropped meanwhile: nothing to check */
        add_problem(verify, 0, "not checked: the coordinator is stopping");
    if (--verify->open == 0)
        request_reply(verify->request, &verify->reply.base);
}

static void start(struct coordinator *coordinator, struct verify *verify, uint64_t collection)
{
    struct scatter *scatter = arena_calloc(&verify->request->arena, 1, sizeof *scatter);
    scatter->coordinator = coordinator;
    scatter->request = verify->request;
    scatter->collection = collection;
    scatter->kind = QUIRE__KIND__KIND_SHARD_VERIFY;
    scatter->reply_type = &quire__shard_verify_reply__descriptor;
    scatter->deadline_ms = coordinator_deadline(verify->request, COORDINATOR_VERIFY_MS);
    scatter->data = verify;
    scatter->build = build;
    scatter->patient = true;
    scatter->done = done;
    scatter_start(scatter);
}

void op_verify(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__VerifyRequest *message = request_unpack(request, &quire__verify_request__descriptor);
    if (message == NULL)
        return;
    struct verify *verify = arena_calloc(&request->arena, 1, sizeof *verify);
    verify->request = request;
    quire__verify_reply__init(&verify->reply);
    verify->reply.problems =
        arena_calloc(&request->arena, LIMIT_VERIFY_PROBLEMS, sizeof *verify->reply.problems);
    const Quire__ClusterMap *map = coordinator->map->message;
    if (message->collection != NULL) {
        const Quire__Collection *found = op_collection(coordinator, request, message->collection);
        if (found == NULL)
            return;
        verify->open = 1;
        start(coordinator, verify, found->id);
        return;
    }
    verify->open = map->n_collections;
    if (verify->open == 0)
        request_reply(request, &verify->reply.base);
    for (size_t i = 0; i < map->n_collections; i++)
        start(coordinator, verify, map->collections[i]->id);
}
