/* Handing on what changes the map.
 *
 *   wait for a leader -> hand on -> its answer -> ask for its epoch -> wait for that map -> answer
 *
 * Who is told that something was created or dropped asks the same coordinator for it next: so that
 * one answers when it has the map with the change in it. What is about coordinators is answered at
 * once: the map does not come to one that was removed.
 */
#include "coordinator/forward.h"

#include "coordinator/messages.h"
#include "coordinator/siblings.h"
#include "proto/base/clock.h"

#include <string.h>

#define RETRY_MS 50
#define MAP_RETRY_MS 5

struct forwarded { /* in the request's arena */
    struct coordinator *coordinator;
    struct rpc_request *request;
    operation *run;
    bool elsewhere;          /* this coordinator is about to lead no more */
    struct sibling *sibling; /* that it was handed to */
    struct rpc_call call;
    struct later_item later;
    uint64_t deadline_ms, wait_until_ms;
    uint16_t kind; /* of the leader's answer */
    struct bytes answer;
    struct rpc_call inquiry;
    uint64_t map_epoch; /* that the leader had then */
};

static const Quire__Coordinator *leader_of(struct coordinator *coordinator)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    uint64_t id;
    const char *address;
    consensus_leader(coordinator->consensus, &id, &address);
    for (size_t i = 0; i < map->n_coordinators; i++)
        if (id != 0 && map->coordinators[i]->raft_id == id)
            return map->coordinators[i];
    return NULL;
}

static void relay(struct forwarded *it)
{
    request_relay(it->request, it->kind, it->answer);
}

static void await_map(struct later_item *item)
{
    struct forwarded *it = list_entry(item, struct forwarded, later);
    struct coordinator *coordinator = it->coordinator;
    if (coordinator->closing || map_epoch(coordinator->map) >= it->map_epoch ||
        clock_ms() + MAP_RETRY_MS >= it->wait_until_ms)
        relay(it);
    else
        later_post(&coordinator->later, &it->later, MAP_RETRY_MS, await_map);
}

static void on_epoch(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                     struct bytes payload)
{
    struct forwarded *it = call->data;
    Quire__CoordinatorKnown *reply = NULL;
    (void)err;
    sibling_let_go(it->sibling);
    if (status == 0 && kind == QUIRE__KIND__KIND_COORDINATOR_INQUIRE + 1)
        reply = quire__coordinator_known__unpack(arena_protobuf(&it->request->arena), payload.size,
                                                 payload.data);
    it->map_epoch = reply == NULL ? 0 : reply->map_epoch;
    await_map(&it->later);
}

static void ask_epoch(struct forwarded *it)
{
    Quire__CoordinatorInquire message = QUIRE__COORDINATOR_INQUIRE__INIT;
    uint64_t now = clock_ms();
    struct buf packed;
    it->wait_until_ms = now + FORWARD_WAIT_MS;
    if (it->wait_until_ms > it->deadline_ms)
        it->wait_until_ms = it->deadline_ms;
    message.id = it->coordinator->node_id;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    it->inquiry = (struct rpc_call){.data = it, .done = on_epoch};
    rpc_call_start(
        &it->inquiry, it->sibling->peer, QUIRE__KIND__KIND_COORDINATOR_INQUIRE, buf_bytes(&packed),
        it->wait_until_ms > now ? (uint32_t)(it->wait_until_ms - now) : 1, it->request->trace);
    buf_deinit(&packed);
}

static bool is_about_coordinators(const struct rpc_request *request)
{
    return request->kind == QUIRE__KIND__KIND_COORDINATOR_JOIN ||
           request->kind == QUIRE__KIND__KIND_COORDINATOR_LEAVE;
}

static void on_answer(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                      struct bytes payload)
{
    struct forwarded *it = call->data;
    if (status == 0) {
        it->kind = kind;
        it->answer =
            bytes_of(arena_copy(&it->request->arena, payload.data, payload.size), payload.size);
        if (!it->coordinator->closing && it->sibling->peer != NULL &&
            !is_about_coordinators(it->request)) {
            ask_epoch(it);
            return;
        }
    }
    sibling_let_go(it->sibling);
    if (status == 0)
        relay(it);
    else
        request_error(it->request, status == ERR_CANCELED ? ERR_UNAVAILABLE : status, "%s",
                      err->text);
}

static void hand_on(struct forwarded *it, struct sibling *to, uint64_t now)
{
    it->sibling = to;
    sibling_hold(to);
    it->call = (struct rpc_call){.data = it, .done = on_answer};
    rpc_call_start(&it->call, to->peer, it->request->kind, it->request->payload,
                   (uint32_t)(it->deadline_ms - now), it->request->trace);
}

static void again(struct later_item *item);

static void try_leader(struct forwarded *it)
{
    struct coordinator *coordinator = it->coordinator;
    uint64_t now = clock_ms();
    if (coordinator->closing) {
        request_error(it->request, ERR_UNAVAILABLE, "the coordinator is stopping");
        return;
    }
    if (consensus_is_leader(coordinator->consensus) && !it->elsewhere) {
        it->run(coordinator, it->request);
        return;
    }
    const Quire__Coordinator *leader = leader_of(coordinator);
    struct sibling *to =
        leader != NULL && now < it->deadline_ms ? siblings_find(coordinator, leader->id) : NULL;
    if (to != NULL && to->peer != NULL &&
        (sibling_alive(to) || now + RETRY_MS >= it->wait_until_ms))
        hand_on(it, to, now);
    else if (now + RETRY_MS < it->wait_until_ms)
        later_post(&coordinator->later, &it->later, RETRY_MS, again);
    else
        request_error(it->request, ERR_UNAVAILABLE,
                      "no coordinator leads: without a majority of the coordinators the cluster "
                      "map cannot change; queries go on");
}

static void again(struct later_item *item)
{
    try_leader(list_entry(item, struct forwarded, later));
}

/* By another coordinator; one that asks to join is none yet. */
static bool was_handed_on(const struct coordinator *coordinator, const struct rpc_request *request)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    for (size_t i = 0; i < map->n_coordinators; i++)
        if (request->role == RPC_ROLE_COORDINATOR &&
            strcmp(map->coordinators[i]->id, request->node_id) == 0)
            return true;
    return false;
}

static void wait_and_hand_on(struct coordinator *coordinator, struct rpc_request *request,
                             operation *run, bool elsewhere)
{
    struct forwarded *it = arena_calloc(&request->arena, 1, sizeof *it);
    it->coordinator = coordinator;
    it->request = request;
    it->run = run;
    it->elsewhere = elsewhere;
    it->deadline_ms = coordinator_deadline(request, COORDINATOR_WRITE_MS);
    it->wait_until_ms = clock_ms() + FORWARD_WAIT_MS;
    if (it->wait_until_ms > it->deadline_ms)
        it->wait_until_ms = it->deadline_ms;
    try_leader(it);
}

void forward_to_leader(struct coordinator *coordinator, struct rpc_request *request, operation *run)
{
    if (consensus_is_leader(coordinator->consensus)) {
        run(coordinator, request);
        return;
    }
    if (was_handed_on(coordinator, request)) {
        request_error(request, ERR_UNAVAILABLE, "this coordinator leads no more: try again");
        return;
    }
    wait_and_hand_on(coordinator, request, run, false);
}

void forward_to_next_leader(struct coordinator *coordinator, struct rpc_request *request,
                            operation *run)
{
    wait_and_hand_on(coordinator, request, run, true);
}
