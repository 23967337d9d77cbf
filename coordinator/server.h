/* Dispatch: from the kind of a frame to the operation. */
#ifndef QUIRE_COORDINATOR_SERVER_H
#define QUIRE_COORDINATOR_SERVER_H

#include "proto/rpc/rpc.h"

struct coordinator;

/* The rpc_handler; `data` is the coordinator. An unknown kind gets ERR_UNSUPPORTED, a kind that is
 * not for the role of the other side ERR_INVALID. */
void server_handle(void *data, struct rpc_request *request);

/* The names of the operations, the last of which stands for kinds that are not known; at most `max`
 * are wanted, and there are no more. Returns how many. */
size_t server_operations(const char **names, size_t max);
/* The place of a kind's operation among them. */
size_t server_operation(uint16_t kind);

/* The name of a kind's operation. */
const char *server_name(uint16_t kind);

/* Begins the operation that the request asks for. */
void server_enter(struct coordinator *coordinator, struct rpc_request *request);

#endif
