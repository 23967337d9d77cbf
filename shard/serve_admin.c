/* Assignments and verification. */
#include "shard/server_internal.h"

#include "proto/limits.h"

#include <stdlib.h>

/* ---- assignments ---- */

struct assigned { /* waits until its ranges are open */
    struct list link;
    struct rpc_request *request;
    size_t count;
    uint64_t ids[];
};

static void add_assigned(struct work *work, const Quire__ShardAssign *assign)
{
    struct server *server = work->server;
    struct assigned *assigned =
        malloc(sizeof *assigned + assign->n_ranges * sizeof assigned->ids[0]);
    if (assigned == NULL)
        abort();
    assigned->request = work->request;
    assigned->count = assign->n_ranges;
    for (size_t i = 0; i < assign->n_ranges; i++)
        assigned->ids[i] = assign->ranges[i]->id;
    pthread_mutex_lock(&server->assigns_lock);
    list_push(&server->assigns, &assigned->link);
    pthread_mutex_unlock(&server->assigns_lock);
    uv_async_send(&server->news);
}

/* Whoever follows another map needs the newest configurations now: they are handed over at once,
 * and only the answer waits for what is opened. */
void serve_assign(struct work *work)
{
    struct server *server = work->server;
    Quire__ShardAssign *assign = serve_unpack(work, &quire__shard_assign__descriptor);
    struct err err = {0};
    if (assign == NULL)
        return;
    bool may_lead = assign->has_incarnation && assign->incarnation == server->incarnation;
    links_nodes(server->links, assign->nodes, assign->n_nodes);
    if (replicas_assign(server->replicas, assign, may_lead, &err) == 0) {
        add_assigned(work, assign);
        reshapes_look(server->reshapes);
        reshapes_sweep(server->reshapes);
    } else {
        serve_error(server, work->request, &err);
    }
}

static void answer_assigned(struct server *server, struct assigned *assigned, const struct err *err)
{
    if (err->code == 0)
        serve_ok(server, assigned->request);
    else
        serve_error(server, assigned->request, err);
    free(assigned);
}

void serve_assigned(struct server *server)
{
    struct list waiting;
    list_init(&waiting);
    pthread_mutex_lock(&server->assigns_lock);
    list_splice(&waiting, &server->assigns);
    pthread_mutex_unlock(&server->assigns_lock);
    for (struct list *link; (link = list_shift(&waiting)) != NULL;) {
        struct assigned *assigned = list_entry(link, struct assigned, link);
        struct err err = {0};
        bool settled = replicas_settled(server->replicas, assigned->ids, assigned->count, &err);
        if (!settled && server->stopping)
            err_set(&err, ERR_UNAVAILABLE, "the shard is stopping");
        if (settled || server->stopping || rpc_request_abandoned(assigned->request)) {
            answer_assigned(server, assigned, &err);
            continue;
        }
        pthread_mutex_lock(&server->assigns_lock);
        list_push(&server->assigns, &assigned->link);
        pthread_mutex_unlock(&server->assigns_lock);
    }
}

/* ---- verification ---- */

struct verification {
    struct work *work;
    Quire__ShardVerifyReply *reply;
    struct replica *replica;
};

static void add_problem(void *data, const char *text)
{
    struct verification *it = data;
    struct err err = {0};
    err_set(&err, ERR_CORRUPT, "%s", text);
    replica_damaged(it->replica, &err);
    if (it->reply->n_problems == LIMIT_VERIFY_PROBLEMS)
        return;
    Quire__VerifyProblem *problem = serve_alloc(it->work, 1, sizeof *problem);
    quire__verify_problem__init(problem);
    problem->range = it->replica->id;
    problem->text = (char *)serve_copy(it->work, bytes_str(text)).data;
    it->reply->problems[it->reply->n_problems++] = problem;
}

static void add_digest(struct verification *it, const struct range_verified *verified)
{
    Quire__RangeDigest *digest = serve_alloc(it->work, 1, sizeof *digest);
    quire__range_digest__init(digest);
    digest->range = it->replica->id;
    digest->seq = verified->seq;
    digest->digest = verified->digest;
    it->reply->digests[it->reply->n_digests++] = digest;
}

static int verify_range(struct work *work, struct replica *replica, void *data, struct err *err)
{
    struct verification *it = data;
    struct range_verified verified;
    it->replica = replica;
    if (rpc_request_abandoned(work->request))
        return err_set(err, ERR_CANCELED, "verification: nobody waits for it any more");
    int code = range_verify(replica->range, &verified, add_problem, it, err);
    if (code == ERR_CANCELED)
        return err_set(err, ERR_UNAVAILABLE, "the range is being closed");
    if (code != 0)
        return code;
    it->reply->entries += verified.entries;
    it->reply->postings += verified.postings;
    add_digest(it, &verified);
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
    reply.digests = serve_alloc(work, request->n_ranges, sizeof reply.digests[0]);
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
