#include "coordinator/forward.h"

#include "coordinator/messages.h"
#include "proto/base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MS 50

/* The connection to another coordinator; kept, since there are few. */
struct forward_link {
    struct list link;
    char *address;
    struct rpc_peer *peer;
};

struct forwarded { /* in the request's arena */
    struct coordinator *coordinator;
    struct rpc_request *request;
    operation *run;
    struct rpc_call call;
    struct later_item later;
    uint64_t deadline_ms, wait_until_ms;
};

static struct rpc_peer *peer_of(struct coordinator *coordinator, const char *address)
{
    struct list *all = &coordinator->forward_links;
    for (struct list *it = all->next; it != all; it = it->next) {
        struct forward_link *link = list_entry(it, struct forward_link, link);
        if (strcmp(link->address, address) == 0)
            return link->peer;
    }
    struct forward_link *link = calloc(1, sizeof *link);
    if (link == NULL || (link->address = strdup(address)) == NULL)
        abort();
    struct err err;
    if (rpc_peer_create(coordinator->rpc, address, &link->peer, &err) != 0) {
        free(link->address);
        free(link);
        return NULL;
    }
    list_push(all, &link->link);
    return link->peer;
}

void forward_stop(struct coordinator *coordinator)
{
    struct list *it;
    while ((it = list_shift(&coordinator->forward_links)) != NULL) {
        struct forward_link *link = list_entry(it, struct forward_link, link);
        rpc_peer_destroy(link->peer);
        free(link->address);
        free(link);
    }
}

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

static void on_answer(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                      struct bytes payload)
{
    struct forwarded *it = call->data;
    if (status == 0)
        request_relay(it->request, kind, payload);
    else
        request_error(it->request, status == ERR_CANCELED ? ERR_UNAVAILABLE : status, "%s",
                      err->text);
}

static void hand_on(struct forwarded *it, struct rpc_peer *peer, uint64_t now)
{
    it->call = (struct rpc_call){.data = it, .done = on_answer};
    rpc_call_start(&it->call, peer, it->request->kind, it->request->payload,
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
    if (consensus_is_leader(coordinator->consensus)) {
        it->run(coordinator, it->request);
        return;
    }
    const Quire__Coordinator *leader = leader_of(coordinator);
    bool other = leader != NULL && strcmp(leader->id, coordinator->node_id) != 0;
    struct rpc_peer *peer =
        other && now < it->deadline_ms ? peer_of(coordinator, leader->address) : NULL;
    if (peer != NULL && (rpc_peer_connected(peer) || now + RETRY_MS >= it->wait_until_ms))
        hand_on(it, peer, now);
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
    struct forwarded *it = arena_calloc(&request->arena, 1, sizeof *it);
    it->coordinator = coordinator;
    it->request = request;
    it->run = run;
    it->deadline_ms = coordinator_deadline(request, COORDINATOR_WRITE_MS);
    it->wait_until_ms = clock_ms() + FORWARD_WAIT_MS;
    if (it->wait_until_ms > it->deadline_ms)
        it->wait_until_ms = it->deadline_ms;
    try_leader(it);
}
