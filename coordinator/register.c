/* Registration: a shard says that it is there, again and again; that is also its heartbeat. A shard
 * that is new, or has moved to another address, is put into the map before it gets its reply. */
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/reopen.h"
#include "proto/base/log.h"
#include "proto/limits.h"

#include <string.h>

struct registration {
    struct rpc_request *request;
    const Quire__Register *message;
    struct coordinator_change change;
};

static void reply(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__RegisterReply message = QUIRE__REGISTER_REPLY__INIT;
    message.cluster_id = coordinator->cluster_id;
    message.map_epoch = map_epoch(coordinator->map);
    request_reply(request, &message.base);
}

static void on_put(struct coordinator_change *change, int status, const struct err *err)
{
    struct registration *it = change->data;
    if (status != 0) {
        request_error(it->request, status, "%s", err->text);
        return;
    }
    nodes_seen(&change->coordinator->nodes, it->message);
    reply(change->coordinator, it->request);
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

static bool acceptable(struct rpc_request *request, const Quire__Node *node)
{
    if (!uuid_valid(node->id))
        request_error(request, ERR_INVALID, "the id of a shard is a UUID");
    else if (node->address[0] == '\0' || strlen(node->address) > NODE_ADDRESS_MAX)
        request_error(request, ERR_INVALID, "the address of a shard has 1 to %d bytes",
                      NODE_ADDRESS_MAX);
    else if (node->zone != NULL && strlen(node->zone) > NODE_ADDRESS_MAX)
        request_error(request, ERR_INVALID, "the zone of a shard has at most %d bytes",
                      NODE_ADDRESS_MAX);
    else
        return true;
    return false;
}

/* A folder that was copied makes two shards of one id. The one that is connected stays; were they
 * to take turns, each would acknowledge writes that the other does not have. */
static bool answers_elsewhere(struct coordinator *coordinator, struct rpc_request *request,
                              const Quire__Node *known, const Quire__Node *wanted)
{
    struct node *node = nodes_find(&coordinator->nodes, known->id);
    if (same_text(known->address, wanted->address) || node == NULL || !node_answers(node))
        return false;
    request_error(request, ERR_CONFLICT,
                  "shard %s answers at %s: one that starts elsewhere on a copy of its folder is "
                  "not the same",
                  known->id, known->address);
    return true;
}

void op_register(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__Register *message = request_unpack(request, &quire__register__descriptor);
    if (message == NULL || !acceptable(request, message->node))
        return;
    const Quire__Node *known = map_node(coordinator->map, message->node->id);
    if (known != NULL && same_text(known->address, message->node->address) &&
        same_text(known->zone, message->node->zone)) {
        nodes_seen(&coordinator->nodes, message);
        reopen_sealed(coordinator, message);
        reply(coordinator, request);
        return;
    }
    if (known != NULL && answers_elsewhere(coordinator, request, known, message->node))
        return;
    log_event(LOG_INFO, known == NULL ? "new shard" : "shard moved",
              LOG_STR("shard", message->node->id), LOG_STR("address", message->node->address));
    struct registration *it = arena_calloc(&request->arena, 1, sizeof *it);
    it->request = request;
    it->message = message;
    it->change.data = it;
    it->change.done = on_put;
    Quire__Node node = QUIRE__NODE__INIT;
    node.id = message->node->id;
    node.address = message->node->address;
    node.zone = message->node->zone;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.node_put = &node;
    coordinator_change(coordinator, &it->change, &change);
}
