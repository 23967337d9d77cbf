/* Verify: every range of one collection or of all checks itself (shard/range.h), and what is wrong
 * is listed. A range that cannot be asked is a problem too: it was not checked.
 *
 * One replica of each range is asked, or every one that is in sync, some at a time; then what they
 * hold is compared, too. Two that were looked at with a write in between cannot be: such ranges are
 * counted. */
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "proto/limits.h"

#include <inttypes.h>
#include <string.h>

#define LANES 4 /* replicas that are looked at at a time; a shard does one after the other */

/* A look at one replica of a range. */
struct look {
    const Quire__Range *range; /* of the map that is held */
    uint32_t replica;
    bool done;
    uint64_t seq, digest;
};

struct verify {
    struct coordinator *coordinator;
    struct rpc_request *request;
    Quire__VerifyReply reply;
    size_t open;     /* scatters under way */
    struct map *map; /* held; NULL: not every replica */
    struct look *looks;
    size_t look_count, next;
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

static struct scatter *new_scatter(struct verify *verify, uint64_t collection)
{
    struct scatter *scatter = arena_calloc(&verify->request->arena, 1, sizeof *scatter);
    scatter->coordinator = verify->coordinator;
    scatter->request = verify->request;
    scatter->collection = collection;
    scatter->kind = QUIRE__KIND__KIND_SHARD_VERIFY;
    scatter->reply_type = &quire__shard_verify_reply__descriptor;
    scatter->deadline_ms = coordinator_deadline(verify->request, COORDINATOR_VERIFY_MS);
    scatter->build = build;
    scatter->patient = true;
    verify->open++;
    return scatter;
}

/* What a scatter says that did not end well; true: there is something to take. */
static bool is_answered(struct verify *verify, const struct scatter *scatter, uint64_t range)
{
    if (scatter->status == ERR_CANCELED)
        add_problem(verify, range, "not checked: the coordinator is stopping");
    else if (scatter->status != 0 && scatter->status != ERR_NOT_FOUND) /* dropped: nothing to do */
        add_problem(verify, range,
                    arena_printf(&verify->request->arena, "not checked: %s", scatter->why.text));
    return scatter->status == 0;
}

/* ---- one replica of each range ---- */

static void on_collection(struct scatter *scatter)
{
    struct verify *verify = scatter->data;
    if (is_answered(verify, scatter, 0))
        take(verify, scatter);
    if (--verify->open == 0)
        request_reply(verify->request, &verify->reply.base);
}

static void start_collection(struct verify *verify, uint64_t collection)
{
    struct scatter *scatter = new_scatter(verify, collection);
    scatter->data = verify;
    scatter->done = on_collection;
    scatter_start(scatter);
}

/* ---- every replica ---- */

struct looking { /* in the request's arena */
    struct verify *verify;
    struct look *look;
};

/* As `one_replica` counts them: the primary, then the others as in the map. */
static const char *node_of(const struct look *look)
{
    size_t left = look->replica;
    for (size_t i = 0; i < look->range->n_in_sync && left > 0; i++)
        if (strcmp(look->range->in_sync[i], look->range->primary) != 0 && --left == 0)
            return look->range->in_sync[i];
    return look->range->primary;
}

/* The looks at a range stand together. */
static void compare(struct verify *verify)
{
    struct arena *arena = &verify->request->arena;
    for (size_t i = 0, end; i < verify->look_count; i = end) {
        const struct look *first = &verify->looks[i];
        bool compared = true;
        for (end = i + 1; end < verify->look_count && verify->looks[end].range == first->range;
             end++) {
            const struct look *look = &verify->looks[end];
            if (!first->done || !look->done)
                continue; /* it is a problem already */
            if (look->seq != first->seq)
                compared = false;
            else if (look->digest != first->digest)
                add_problem(verify, first->range->id,
                            arena_printf(arena,
                                         "its replicas on shards %s and %s have other entries "
                                         "after the same write, %" PRIu64,
                                         node_of(first), node_of(look), first->seq));
        }
        verify->reply.uncompared += !compared;
    }
}

static void end_looks(struct verify *verify)
{
    struct map *map = verify->map;
    verify->reply.has_uncompared = true;
    compare(verify);
    request_reply(verify->request, &verify->reply.base);
    map_unref(map);
}

static void start_looks(struct verify *verify);

static void on_look(struct scatter *scatter)
{
    const struct looking *it = scatter->data;
    struct verify *verify = it->verify;
    struct look *look = it->look;
    if (is_answered(verify, scatter, look->range->id)) {
        take(verify, scatter);
        for (size_t i = 0; i < scatter->gather.piece_count; i++) {
            const Quire__ShardVerifyReply *answer =
                (const Quire__ShardVerifyReply *)scatter->replies[i];
            if (answer == NULL || answer->n_digests != 1 ||
                answer->digests[0]->range != look->range->id)
                continue;
            look->done = true;
            look->seq = answer->digests[0]->seq;
            look->digest = answer->digests[0]->digest;
        }
    }
    verify->open--;
    start_looks(verify);
}

static void start_look(struct verify *verify, struct look *look)
{
    struct looking *it = arena_calloc(&verify->request->arena, 1, sizeof *it);
    struct scatter *scatter = new_scatter(verify, look->range->collection);
    *it = (struct looking){verify, look};
    scatter->lo = map_range_lo(look->range);
    scatter->hi = map_range_hi(look->range);
    scatter->view.one_replica = true;
    scatter->view.replica = look->replica;
    scatter->data = it;
    scatter->done = on_look;
    scatter_start(scatter);
}

static void start_looks(struct verify *verify)
{
    if (rpc_request_abandoned(verify->request))
        verify->next = verify->look_count;
    while (verify->open < LANES && verify->next < verify->look_count)
        start_look(verify, &verify->looks[verify->next++]);
    if (verify->open == 0)
        end_looks(verify);
}

static void plan_looks(struct verify *verify, uint64_t collection)
{
    const Quire__ClusterMap *map = verify->map->message;
    size_t room = 0;
    for (size_t i = 0; i < map->n_ranges; i++)
        room += map->ranges[i]->n_in_sync;
    verify->looks = arena_calloc(&verify->request->arena, room + 1, sizeof *verify->looks);
    for (size_t i = 0; i < map->n_ranges; i++) {
        const Quire__Range *range = map->ranges[i];
        if (collection != 0 && range->collection != collection)
            continue;
        for (uint32_t k = 0; k < range->n_in_sync; k++)
            verify->looks[verify->look_count++] = (struct look){.range = range, .replica = k};
    }
}

void op_verify(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__VerifyRequest *message = request_unpack(request, &quire__verify_request__descriptor);
    if (message == NULL)
        return;
    struct verify *verify = arena_calloc(&request->arena, 1, sizeof *verify);
    verify->coordinator = coordinator;
    verify->request = request;
    quire__verify_reply__init(&verify->reply);
    verify->reply.problems =
        arena_calloc(&request->arena, LIMIT_VERIFY_PROBLEMS, sizeof *verify->reply.problems);
    const Quire__ClusterMap *map = coordinator->map->message;
    const Quire__Collection *found = NULL;
    if (message->collection != NULL) {
        found = op_collection(coordinator, request, message->collection);
        if (found == NULL)
            return;
    }
    if (message->replicas) {
        verify->map = map_ref(coordinator->map);
        plan_looks(verify, found != NULL ? found->id : 0);
        start_looks(verify);
    } else if (found != NULL) {
        start_collection(verify, found->id);
    } else if (map->n_collections == 0) {
        request_reply(request, &verify->reply.base);
    } else {
        for (size_t i = 0; i < map->n_collections; i++)
            start_collection(verify, map->collections[i]->id);
    }
}
