/* Motion: what operators say of ranges and of where their replicas shall be; see controller_move.h
 * and controller_reshape.h. */
#include "coordinator/controller_move.h"
#include "coordinator/controller_reshape.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "proto/base/clock.h"

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

void op_range_split(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__RangeSplit *message = request_unpack(request, &quire__range_split__descriptor);
    Quire__MapChange *change = NULL;
    struct err err = {0};
    if (message == NULL)
        return;
    int rc = controller_split(coordinator->controller, message->range,
                              bytes_of(message->at.data, message->at.len), &request->arena,
                              clock_ms(), &change, &err);
    carry_out(coordinator, request, rc, change, &err);
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
