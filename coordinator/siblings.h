/* Siblings: the other coordinators that the map names, and the connection to each. Requests are
 * handed on through it (forward.c), and it says who is alive (status.c).
 *
 * A coordinator that was removed while it was down is told nothing: nobody talks to it any more. So
 * each asks the others now and then whether their map, when it is not older, names it still.
 *
 * The loop's thread only. */
#ifndef QUIRE_COORDINATOR_SIBLINGS_H
#define QUIRE_COORDINATOR_SIBLINGS_H

#include "coordinator/ops.h"

#define SIBLING_ASK_MS 1000 /* between two such questions */

struct sibling {
    struct list link;
    struct coordinator *coordinator;
    char id[UUID_TEXT_SIZE];
    char *address;
    struct rpc_peer *peer; /* NULL: the address is no url, or all is over */
    struct rpc_call ask;
    bool asking;
    unsigned calls; /* that others have under way, through sibling_hold() */
    bool dropped;   /* the map no longer names it so: goes when the calls have ended */
};

/* Follows coordinator->map. */
void siblings_map_changed(struct coordinator *coordinator);
/* Every now and then: lets go of those that are dropped; asks, when nobody leads. */
void siblings_tick(struct coordinator *coordinator);
/* Ends all calls. */
void siblings_stop(struct coordinator *coordinator);

/* NULL: the map names no such coordinator, or it is this one. */
struct sibling *siblings_find(struct coordinator *coordinator, const char *id);
bool sibling_alive(const struct sibling *sibling);
/* Around a call over sibling->peer: from before its start until its end. */
void sibling_hold(struct sibling *sibling);
void sibling_let_go(struct sibling *sibling);

operation op_coordinator_inquire;

#endif
