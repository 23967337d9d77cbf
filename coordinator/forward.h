/* Forwarding: a request that changes the map, and reaches a coordinator which does not lead, is
 * handed to the one that does, and its answer is handed back. The loop's thread only. */
#ifndef QUIRE_COORDINATOR_FORWARD_H
#define QUIRE_COORDINATOR_FORWARD_H

#include "coordinator/ops.h"

#define FORWARD_WAIT_MS 3000 /* for an election */

/* Runs the operation here when this coordinator leads, else where it leads. Ends the request:
 * ERR_UNAVAILABLE when nobody leads for FORWARD_WAIT_MS, or the leader is lost meanwhile (then it
 * is not known whether it happened). What another coordinator handed on is not handed on again. The
 * answer is given when this coordinator has the map that the leader had. */
void forward_to_leader(struct coordinator *coordinator, struct rpc_request *request,
                       operation *run);
/* The same by a leader that has begun to hand over: waits until another one leads, and runs it
 * there. */
void forward_to_next_leader(struct coordinator *coordinator, struct rpc_request *request,
                            operation *run);

#endif
