/* Dispatch: from the kind of a frame to the operation. */
#ifndef QUIRE_COORDINATOR_SERVER_H
#define QUIRE_COORDINATOR_SERVER_H

#include "proto/rpc/rpc.h"

/* The rpc_handler; `data` is the coordinator. An unknown kind gets ERR_UNSUPPORTED, a kind that is
 * not for the role of the other side ERR_INVALID. */
void server_handle(void *data, struct rpc_request *request);

#endif
