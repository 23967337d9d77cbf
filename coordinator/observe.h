/* Observe: what a coordinator tells of itself over HTTP (proto/http), and counts for it.
 *
 * What happens with every request is counted in atomics when it ends. What the coordinator counts
 * or knows anyway is copied from it with each look (OBSERVER_MS), so it is as old as that at most.
 * The table of metrics: README.md, "Metrics".
 *
 * The loop's thread only.
 */
#ifndef QUIRE_COORDINATOR_OBSERVE_H
#define QUIRE_COORDINATOR_OBSERVE_H

#include "proto/http/observer.h"
#include "proto/rpc/rpc.h"

struct coordinator;
struct coordinator_observe;

/* `metrics` outlives it; NULL: counted, and shown to nobody. */
struct coordinator_observe *coordinator_observe_create(struct metrics *metrics);
void coordinator_observe_destroy(struct coordinator_observe *observe);

/* A request is about to be answered: code 0, or the error's. Once for each. */
void coordinator_observe_ended(struct coordinator_observe *observe,
                               const struct rpc_request *request, int code);
/* Copies what it knows, and tells the observer whether it is ready: it has a map and answers its
 * clients (with or without a majority), and is not about to stop. */
void coordinator_observe_look(struct coordinator *coordinator, struct observer *observer);

#endif
