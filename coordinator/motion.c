/* Motion: what operators say of ranges and of where their replicas shall be; see controller_move.h
 * and controller_reshape.h. */
#include "coordinator/controller_move.h"
#include "coordinator/controller_reshape.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "proto/base/clock.h"
#include "proto/text/key.h"

#define SPLIT_WAIT_MS 3000
#define SPLIT_RETRY_MS 50

static void on_changed(struct coordinator_change *change, int status, const struct err *err)
{
    struct rpc_request *request = change->data;
    if (status != 0)
        request_error(request, status, "nothing was changed: %s", err->text);
    else
        request_reply_ok(request);
}

/* `rc`: of what made the change. */
static void carry_out(struct coordinator *coordinator, struct rpc_request *request, int rc,
                      const Quire__MapChange *message, const struct err *err)
{
    if (rc != 0) {
        request_error(request, rc, "%s", err->text);
        return;
    }
    struct coordinator_change *change = arena_calloc(&request->arena, 1, sizeof *change);
    change->data = request;
    change->done = on_changed;
    coordinator_change(coordinator, change, message);
}

void op_node_set(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__NodeSetting *message = request_unpack(request, &quire__node_setting__descriptor);
    Quire__MapChange *change = NULL;
    struct err err = {0};
    if (message == NULL)
        return;
    int rc = controller_drain(coordinator->controller, message->id, message->draining,
                              &request->arena, clock_ms(), &change, &err);
    carry_out(coordinator, request, rc, change, &err);
}

void op_node_remove(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__NodeRemove *message = request_unpack(request, &quire__node_remove__descriptor);
    Quire__MapChange *change = NULL;
    struct err err = {0};
    if (message == NULL)
        return;
    int rc = controller_remove(coordinator->controller, message->id, &request->arena, clock_ms(),
                               &change, &err);
    carry_out(coordinator, request, rc, change, &err);
}

void op_placement_set(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__PlacementSet *message = request_unpack(request, &quire__placement_set__descriptor);
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    if (message == NULL)
        return;
    if (protobuf_c_enum_descriptor_get_value(&quire__placement__descriptor,
                                             (int)message->placement) == NULL) {
        request_error(request, ERR_INVALID, "there is no placement of number %d",
                      (int)message->placement);
        return;
    }
    change.has_placement_set = true;
    change.placement_set = message->placement;
    carry_out(coordinator, request, 0, &change, NULL);
}

void op_range_move(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__RangeMove *message = request_unpack(request, &quire__range_move__descriptor);
    Quire__MapChange *change = NULL;
    struct err err = {0};
    if (message == NULL)
        return;
    int rc = controller_move(coordinator->controller, message->range, message->from, message->to,
                             &request->arena, clock_ms(), &change, &err);
    carry_out(coordinator, request, rc, change, &err);
}

/* A range that was opened just now has not said yet where its middle is: that is waited for. */
struct split {
    struct coordinator *coordinator;
    struct rpc_request *request;
    uint64_t range, until_ms;
    struct bytes at;
    struct later_item later;
};

static void try_split(struct later_item *item)
{
    struct split *it = list_entry(item, struct split, later);
    struct coordinator *coordinator = it->coordinator;
    Quire__MapChange *change = NULL;
    struct err err = {0};
    uint64_t now = clock_ms();
    int rc = controller_split(coordinator->controller, it->range, it->at, &it->request->arena, now,
                              &change, &err);
    if (rc == ERR_UNAVAILABLE && now < it->until_ms && !coordinator->closing &&
        !rpc_request_abandoned(it->request))
        later_post(&coordinator->later, &it->later, SPLIT_RETRY_MS, try_split);
    else
        carry_out(coordinator, it->request, rc, change, &err);
}

void op_range_split(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__RangeSplit *message = request_unpack(request, &quire__range_split__descriptor);
    struct buf at = {0};
    if (message == NULL)
        return;
    if (message->at != NULL)
        text_key(bytes_str(message->at), &at);
    struct split *it = arena_calloc(&request->arena, 1, sizeof *it);
    it->coordinator = coordinator;
    it->request = request;
    it->range = message->range;
    it->until_ms = clock_ms() + SPLIT_WAIT_MS;
    it->at = bytes_of(arena_copy(&request->arena, at.data, at.size), at.size);
    buf_deinit(&at);
    try_split(&it->later);
}

void op_range_merge(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__RangeMerge *message = request_unpack(request, &quire__range_merge__descriptor);
    Quire__MapChange *change = NULL;
    struct err err = {0};
    if (message == NULL)
        return;
    int rc = controller_merge(coordinator->controller, message->range, &request->arena, clock_ms(),
                              &change, &err);
    carry_out(coordinator, request, rc, change, &err);
}
