/* Links: the connections of a shard to the others of its cluster. Messages are handed over on any
 * thread, and sent and answered on the loop.
 */
#ifndef QUIRE_SHARD_LINKS_H
#define QUIRE_SHARD_LINKS_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/quire.pb-c.h"
#include "proto/rpc/rpc.h"

struct links;

#define LINKS_TIMEOUT_MS 2000      /* of a ReplicaPrepare */
#define LINKS_ASK_TIMEOUT_MS 20000 /* of what is asked: a checkpoint takes its time */

struct links_events { /* on the loop; none after links_stop() */
    void *data;
    void (*acked)(void *data, uint64_t range, const char *from, const Quire__ReplicaAck *ack);
    /* `disconnected`: there is no connection now. */
    void (*lost)(void *data, uint64_t range, const char *to, bool disconnected);
};

/* On the loop's thread; dials with `rpc`. NULL: no memory. */
struct links *links_create(uv_loop_t *loop, struct rpc *rpc, const struct links_events *events);
/* On the loop: no more events; what waits in links_ask() ends with ERR_CANCELED. */
void links_stop(struct links *links);
/* Stopped before; `rpc` has been closed, or never existed. `freed` is called later, on the loop. */
void links_free(struct links *links, void (*freed)(void *data), void *data);

/* The nodes of the cluster, and where they are; any thread. */
void links_nodes(struct links *links, Quire__Node *const *nodes, size_t count);
/* A packed ReplicaPrepare about a range; takes what is in `payload`. Either event follows. Any
 * thread. */
void links_prepare(struct links *links, const char *to, uint64_t range, struct buf *payload);
/* Sends a request, waits for the answer and appends its payload to `reply`. Any thread but the
 * loop's. ERR_UNAVAILABLE and ERR_DEADLINE: may be tried again; ERR_CANCELED; what the other one
 * says. */
int links_ask(struct links *links, const char *to, uint16_t kind, struct bytes request,
              struct buf *reply, struct err *err);

#endif
