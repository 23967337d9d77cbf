#include "coordinator/siblings.h"

#include "coordinator/messages.h"
#include "proto/base/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void release(struct sibling *sibling)
{
    if (sibling->peer != NULL)
        rpc_peer_destroy(sibling->peer);
    list_remove(&sibling->link);
    free(sibling->address);
    free(sibling);
}

static void create(struct coordinator *coordinator, const Quire__Coordinator *from)
{
    struct sibling *sibling = calloc(1, sizeof *sibling);
    struct err err;
    if (sibling == NULL || (sibling->address = strdup(from->address)) == NULL)
        abort(); /* there are few, and small */
    sibling->coordinator = coordinator;
    snprintf(sibling->id, sizeof sibling->id, "%s", from->id);
    if (rpc_peer_create(coordinator->rpc, from->address, &sibling->peer, &err) != 0)
        sibling->peer = NULL;
    list_push(&coordinator->siblings, &sibling->link);
}

struct sibling *siblings_find(struct coordinator *coordinator, const char *id)
{
    struct list *all = &coordinator->siblings;
    for (struct list *it = all->next; it != all; it = it->next) {
        struct sibling *sibling = list_entry(it, struct sibling, link);
        if (!sibling->dropped && strcmp(sibling->id, id) == 0)
            return sibling;
    }
    return NULL;
}

bool sibling_alive(const struct sibling *sibling)
{
    return sibling->peer != NULL && rpc_peer_connected(sibling->peer) &&
           strcmp(rpc_peer_node_id(sibling->peer), sibling->id) == 0;
}

void sibling_hold(struct sibling *sibling)
{
    sibling->calls++;
}

void sibling_let_go(struct sibling *sibling)
{
    assert(sibling->calls > 0);
    sibling->calls--;
    if (sibling->calls == 0 && !sibling->asking && sibling->coordinator->closing)
        release(sibling); /* its peer is gone */
}

void siblings_map_changed(struct coordinator *coordinator)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    struct list *all = &coordinator->siblings;
    for (struct list *it = all->next; it != all; it = it->next)
        list_entry(it, struct sibling, link)->dropped = true;
    for (size_t i = 0; i < map->n_coordinators; i++) {
        const Quire__Coordinator *named = map->coordinators[i];
        bool known = strcmp(named->id, coordinator->node_id) == 0;
        for (struct list *it = all->next; it != all && !known; it = it->next) {
            struct sibling *sibling = list_entry(it, struct sibling, link);
            known = strcmp(sibling->id, named->id) == 0 &&
                    strcmp(sibling->address, named->address) == 0;
            if (known)
                sibling->dropped = false;
        }
        if (!known)
            create(coordinator, named);
    }
}

/* ---- whether this one was removed ---- */

static void on_told(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                    struct bytes payload)
{
    struct sibling *sibling = call->data;
    struct coordinator *coordinator = sibling->coordinator;
    struct arena arena;
    (void)err;
    sibling->asking = false;
    if (coordinator->closing) {
        if (sibling->calls == 0)
            release(sibling);
        return;
    }
    if (status != 0 || kind != QUIRE__KIND__KIND_COORDINATOR_INQUIRE + 1)
        return;
    arena_init(&arena, 0);
    const Quire__CoordinatorKnown *reply =
        quire__coordinator_known__unpack(arena_protobuf(&arena), payload.size, payload.data);
    if (reply != NULL && reply->removed)
        coordinator_was_removed(coordinator);
    arena_deinit(&arena);
}

static void ask(struct sibling *sibling)
{
    Quire__CoordinatorInquire message = QUIRE__COORDINATOR_INQUIRE__INIT;
    struct buf packed;
    message.id = sibling->coordinator->node_id;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    sibling->asking = true;
    sibling->ask = (struct rpc_call){.data = sibling, .done = on_told};
    rpc_call_start(&sibling->ask, sibling->peer, QUIRE__KIND__KIND_COORDINATOR_INQUIRE,
                   buf_bytes(&packed), SIBLING_ASK_MS, 0);
    buf_deinit(&packed);
}

void op_coordinator_inquire(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__CoordinatorInquire *message =
        request_unpack(request, &quire__coordinator_inquire__descriptor);
    if (message == NULL)
        return;
    Quire__CoordinatorKnown reply = QUIRE__COORDINATOR_KNOWN__INIT;
    reply.cluster_id = coordinator->cluster_id;
    reply.map_epoch = map_epoch(coordinator->map);
    reply.removed = map_coordinator_removed(coordinator->map->message, message->id);
    request_reply(request, &reply.base);
}

void siblings_tick(struct coordinator *coordinator)
{
    struct list *all = &coordinator->siblings;
    uint64_t now = clock_ms();
    bool due = now >= coordinator->siblings_asked_ms + SIBLING_ASK_MS;
    for (struct list *it = all->next, *next; it != all; it = next) {
        struct sibling *sibling = list_entry(it, struct sibling, link);
        next = it->next;
        if (sibling->dropped && sibling->calls == 0 && !sibling->asking)
            release(sibling);
        else if (due && !sibling->asking && sibling_alive(sibling))
            ask(sibling);
    }
    if (due)
        coordinator->siblings_asked_ms = now;
}

void siblings_stop(struct coordinator *coordinator)
{
    struct list *all = &coordinator->siblings;
    for (struct list *it = all->next, *next; it != all; it = next) {
        struct sibling *sibling = list_entry(it, struct sibling, link);
        next = it->next;
        if (sibling->calls == 0 && !sibling->asking) {
            release(sibling);
        } else if (sibling->peer != NULL) { /* the last call to end frees it */
            rpc_peer_destroy(sibling->peer);
            sibling->peer = NULL;
        }
    }
}
