/* Admit: which requests of coordinators a shard works on (proto/base/admission.h has the rules).
 *
 * Reads: at most as many are at work as there are query threads; of the heavy ones one less, so
 * that a thread is left for what is cheap. A thread that is done takes the next one, by class. What
 * nobody waits for any more is dropped when its turn comes, without being worked on.
 *
 * Writes have queues of their own (write_queue.h), with bounds in number and bytes; here they are
 * counted, and refused when those before them take longer than their deadline.
 *
 * What shards ask of each other, and what the map needs (assignments, seals), does not come here:
 * it is never refused, and waits behind no client's request.
 *
 * Any thread, unless it says otherwise.
 */
#ifndef QUIRE_SHARD_ADMIT_H
#define QUIRE_SHARD_ADMIT_H

#include "proto/base/admission.h"
#include "proto/rpc/rpc.h"

#include <stddef.h>

struct admit;
struct server;
struct work;

/* After the pools, which it uses; NULL: no memory. */
struct admit *admit_create(struct server *server);
/* After the pools have ended. NULL is allowed. */
void admit_destroy(struct admit *admit);

/* Takes over the work: a query thread runs it, or it is refused. The loop. */
void admit_read(struct admit *admit, struct work *work);
/* False: it was refused, and answered. The loop. */
bool admit_write(struct admit *admit, struct rpc_request *request);
/* Any request is about to be answered. */
void admit_write_ended(struct admit *admit, struct rpc_request *request);
/* Of what is heavy and has a thread of its own. False: it was refused, and answered. The loop. */
bool admit_aside(struct admit *admit, struct rpc_request *request);
/* Answers that a queue is full. */
void admit_full(struct admit *admit, struct rpc_request *request, enum admission_class class);

void admit_pressure(struct admit *admit, enum admission_pressure pressure);

/* As it is now. */
void admit_look(struct admit *admit, struct admission *out);

#endif
