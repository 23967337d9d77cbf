/* Registration: a shard says that it is there, again and again; that is also its heartbeat, and the
 * leader answers it with a lease. A shard that is new, was started anew or has moved to another
 * address is put into the map by the leader's controller; until then it gets no lease. */
#include "coordinator/control.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/reopen.h"
#include "proto/base/clock.h"

#include <string.h>

static void reply(struct coordinator *coordinator, struct rpc_request *request, uint32_t lease_ms)
{
    Quire__RegisterReply message = QUIRE__REGISTER_REPLY__INIT;
    message.cluster_id = coordinator->cluster_id;
    message.map_epoch = map_epoch(coordinator->map);
    message.has_lease_ms = lease_ms > 0;
    message.lease_ms = lease_ms;
    request_reply(request, &message.base);
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
    if (known != NULL && answers_elsewhere(coordinator, request, known, message->node))
        return;
    uint32_t lease_ms = controller_heard(coordinator->controller, message, clock_ms());
    nodes_seen(&coordinator->nodes, message);
    control_run(coordinator);
    if (consensus_is_leader(coordinator->consensus))
        reopen_sealed(coordinator, message);
    reply(coordinator, request, lease_ms);
}
