/* Nodes: the shards of the cluster as this coordinator sees them: whether they live, the connection
 * to each, and which assignment each has carried out.
 *
 * Which nodes exist is in the map (nodes_map_changed() follows it); whether one is alive is known
 * judged by the controller; whether calls can reach it is known here:
 *
 *            not dead (controller.h), and connected (or not for long)
 *                 .---------------------------.
 *                 v                           |
 *                UP -----------------------> DOWN
 *                   dead, or the connection
 *                   is gone and stays away
 *
 * A node that the map names counts as just seen when the coordinator starts, so that the first
 * requests after a restart wait for the connection instead of failing. Calls to a node that is
 * down, or goes down, end at once with ERR_UNAVAILABLE: nobody waits out a deadline for a machine
 * that is known to be gone.
 *
 * Assignments: whenever the map is newer than what a node has acknowledged, and the node is up, it
 * is sent all it has to hold (ShardAssign), again and again until it says yes. A node that
 * registers with an older epoch than it once acknowledged has forgotten: it is sent everything
 * anew.
 *
 * The loop's thread only.
 */
#ifndef QUIRE_COORDINATOR_NODES_H
#define QUIRE_COORDINATOR_NODES_H

#include "coordinator/controller.h"
#include "coordinator/later.h"
#include "coordinator/map.h"
#include "proto/base/uuid.h"
#include "proto/rpc/rpc.h"

#define NODE_LINK_GRACE_MS 1000 /* without a connection for so long, having had one: down */
#define NODE_TICK_MS 100
#define NODE_QUIET_MS                                                                              \
    750 /* three Registers did not come: reads go to others, and are asked there again */
#define NODE_ASSIGN_TIMEOUT_MS 60000
#define NODE_ASSIGN_RETRY_MS 300
#define NODE_ADDRESS_MAX 256
#define NODES_BEHIND_MS 3000

struct node {
    struct list link;
    struct nodes *nodes;
    char id[UUID_TEXT_SIZE];
    char *address;
    char *zone;
    struct rpc_peer *peer; /* NULL when the address is no url */
    bool up;
    bool connected;
    uint64_t link_since_ms; /* when `connected` last changed */
    bool ever_connected;
    uint64_t seen_ms;      /* clock_ms() of the last Register */
    uint64_t seen_wall_ms; /* 0: not since we started */
    uint64_t assigned_epoch;
    struct rpc_call assign;
    bool assigning;
    bool dropped; /* the map no longer names it: goes once its assignment call ended */
    uint64_t assigning_epoch;
    uint64_t assign_after_ms;
    struct list calls;            /* node_call, in flight */
    uint32_t reads;               /* of them, by scatter.c; as are the next two */
    uint32_t read_us, answers;    /* how long they take, smoothed; how many since it came up */
    Quire__RangeReport **reports; /* of the last Register, in reports_arena */
    size_t report_count;
    struct arena reports_arena;
};

struct nodes {
    struct rpc *rpc;
    struct later *later;
    struct controller *controller;
    struct map *map;              /* held */
    uint64_t told_epoch, told_ms; /* the newest map that a shard has spoken of; since when */
    struct list all;
    struct list waiters; /* nodes_waiter */
    struct later_item tick;
    bool closing;
};

/* `controller`, which outlives this, knows who is dead, and is told of connections. */
void nodes_init(struct nodes *nodes, struct rpc *rpc, struct later *later,
                struct controller *controller);
/* Stops the tick, ends all waiters, and destroys the peers, whose calls end with ERR_CANCELED as
 * the loop runs. */
void nodes_stop(struct nodes *nodes);
/* After rpc_close() is through. */
void nodes_deinit(struct nodes *nodes);

/* Follows a new map: makes and replaces peers, pushes assignments. */
void nodes_map_changed(struct nodes *nodes, struct map *map);

/* A Register of a node that the map has. */
void nodes_seen(struct nodes *nodes, const Quire__Register *message);

/* Whether a shard has spoken of a newer map than this coordinator's, which is to be expected any
 * moment: NODES_BEHIND_MS after that word it is not waited for any more. */
bool nodes_behind(const struct nodes *nodes);

struct node *nodes_find(struct nodes *nodes, const char *id);
size_t nodes_up_count(const struct nodes *nodes);
/* Whether it is connected, and is itself who answers at its address. */
bool node_answers(const struct node *node);
/* Why a node that is down is: "silent for 4 s", "no connection to tcp://..." */
void node_reason(const struct node *node, struct err *err);
/* What the node last said of a range; NULL when it said nothing. */
const Quire__RangeReport *node_report(const struct node *node, uint64_t range);

/* A call to a node by its id; caller-allocated as rpc_call is. */
struct node_call {
    struct list link;
    struct rpc_call rpc;
    struct later_item later;
    struct node *node; /* NULL once it ended */
    bool given_up;     /* because the node went down */
    struct err err;
    bool heavy;     /* as rpc_call.heavy */
    bool impatient; /* given up when the node is quiet: it may be asked elsewhere */
    const struct rpc_request *on_behalf; /* given up when this one is abandoned; NULL: never */
    void *data;
    /* As rpc_call.done; ERR_UNAVAILABLE also when the node is down. */
    void (*done)(struct node_call *call, int status, const struct err *err, uint16_t kind,
                 struct bytes payload);
};

/* Set call->done and call->data before. */
void node_call_start(struct nodes *nodes, struct node_call *call, const char *node_id,
                     uint16_t kind, struct bytes payload, uint32_t timeout_ms, uint64_t trace);

/* Ends the call, if it has not ended yet, on a later turn of the loop: with that code and text. */
void node_call_give_up(struct node_call *call, int code, const char *text);
/* It has said nothing for NODE_QUIET_MS. */
bool node_quiet(const struct node *node);

/* Waits until every node that is in sync in a range of the collection has carried out an assignment
 * of at least `epoch`, or until the collection is gone. */
struct nodes_waiter {
    struct list link;
    struct later_item later;
    uint64_t collection;
    uint64_t epoch;
    uint64_t deadline_ms;
    int status;
    void *data;
    void (*done)(struct nodes_waiter *waiter, int status); /* 0, ERR_DEADLINE, ERR_CANCELED */
};
void nodes_wait(struct nodes *nodes, struct nodes_waiter *waiter);

#endif
