/* Assignments and verification. */
#include "shard/server_internal.h"

#include "proto/limits.h"

void serve_assign(struct work *work)
{
    Quire__ShardAssign *assign = serve_unpack(work, &quire__shard_assign__descriptor);
    struct err err = {0};
    if (assign == NULL)
        return;
    int code = replicas_assign(work->server->replicas, assign, &err);
    uv_async_send(&work->server->assigned);
    if (code == 0)
        serve_ok(work->server, work->request);
    else
        serve_error(work->server, work->request, &err);
}

/* ---- verification ---- */

struct verification {
    struct work *work;
    Quire__ShardVerifyReply *reply;
    uint64_t range;
};

static void add_problem(void *data, const char *text)
{
    struct verification *it = data;
    if (it->reply->n_problems == LIMIT_VERIFY_PROBLEMS)
        return;
    Quire__VerifyProblem *problem = serve_alloc(it->work, 1, sizeof *problem);
    quire__verify_problem__init(problem);
    problem->range = it->range;
    problem->text = (char *)serve_copy(it->work, bytes_str(text)).data;
    it->reply->problems[it->reply->n_problems++] = problem;
}

static int verify_range(struct work *work, struct replica *replica, void *data, struct err *err)
{
    struct verification *it = data;
    uint64_t entries, postings;
    it->range = replica->id;
    if (rpc_request_abandoned(work->request))
        return err_set(err, ERR_CANCELED, "verification: nobody waits for it any more");
    int code = range_verify(replica->range, &entries, &postings, add_problem, it, err);
    if (code == ERR_CANCELED)
        return err_set(err, ERR_UNAVAILABLE, "the range is being closed");
    if (code != 0)
        return code;
    it->reply->entries += entries;
    it->reply->postings += postings;
    return 0;
}

void serve_verify(struct work *work)
{
    Quire__ShardVerify *request = serve_unpack(work, &quire__shard_verify__descriptor);
    if (request == NULL)
        return;
    Quire__ShardVerifyReply reply = QUIRE__SHARD_VERIFY_REPLY__INIT;
    struct verification it = {.work = work, .reply = &reply};
    struct coverage coverage = {0};
    struct err err = {0};
    reply.problems = serve_alloc(work, LIMIT_VERIFY_PROBLEMS, sizeof reply.problems[0]);
    if (serve_ranges(work, request->ranges, request->n_ranges, &coverage, verify_range, &it,
                     &err) != 0) {
        serve_error(work->server, work->request, &err);
        return;
    }
    reply.n_covered = coverage.covered_count;
    reply.covered = coverage.covered;
    reply.n_failed = coverage.failed_count;
    reply.failed = coverage.failed;
    replica_give_memory_back();
    serve_reply(work->server, work->request, &reply.base);
}
