/* Recover: what an operator gives up, told before it is done; see controller_recover.h. */
#include "coordinator/controller_recover.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

struct recovering { /* in the request's arena */
    struct coordinator_change change;
    struct rpc_request *request;
    struct recovery found;
};

static void reply(struct rpc_request *request, const struct recovery *found)
{
    Quire__RecoverReply message = QUIRE__RECOVER_REPLY__INIT;
    message.n_losses = found->loss_count;
    message.losses = found->losses;
    request_reply(request, &message.base);
}

static void on_changed(struct coordinator_change *change, int status, const struct err *err)
{
    struct recovering *it = change->data;
    if (status != 0)
        request_error(it->request, status, "nothing was changed: %s", err->text);
    else
        reply(it->request, &it->found);
}

static void carry_out(struct coordinator *coordinator, struct recovering *it)
{
    for (size_t i = 0; i < it->found.loss_count; i++)
        log_event(LOG_WARN, "an operator gives up a range", LOG_STR("what", it->found.losses[i]));
    it->change.data = it;
    it->change.done = on_changed;
    coordinator_change(coordinator, &it->change, it->found.change);
}

void op_recover(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__RecoverRequest *message = request_unpack(request, &quire__recover_request__descriptor);
    struct err err = {0};
    if (message == NULL)
        return;
    struct recovering *it = arena_calloc(&request->arena, 1, sizeof *it);
    it->request = request;
    int rc = message->has_range
                 ? controller_recover(coordinator->controller, message->range, message->node,
                                      &request->arena, clock_ms(), &it->found, &err)
                 : controller_lost(coordinator->controller, &request->arena, clock_ms(), &it->found,
                                   &err);
    if (rc != 0)
        request_error(request, rc, "%s", err.text);
    else if (message->force && it->found.change != NULL)
        carry_out(coordinator, it);
    else
        reply(request, &it->found);
}
