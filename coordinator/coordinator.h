/* The coordinator: what its parts share. Everything runs on one uv loop; nothing here is for
 * another thread.
 *
 * The operations (search.c, write.c, ...) are functions of (coordinator, request): each keeps its
 * state in the request's arena and ends with exactly one reply.
 */
#ifndef QUIRE_COORDINATOR_H
#define QUIRE_COORDINATOR_H

#include "coordinator/admit.h"
#include "coordinator/consensus.h"
#include "coordinator/hedge.h"
#include "coordinator/later.h"
#include "coordinator/map.h"
#include "coordinator/nodes.h"
#include "coordinator/slow.h"
#include "proto/base/data_dir.h"
#include "proto/base/marks.h"
#include "proto/rpc/rpc.h"

#include <uv.h>

/* Unless the client's own deadline is nearer. */
#define COORDINATOR_READ_MS 10000
#define COORDINATOR_WRITE_MS 30000
#define COORDINATOR_ASSIGN_MS 30000
#define COORDINATOR_VERIFY_MS 600000
#define COORDINATOR_ALONE_MS 2000 /* for a leader; then it serves with the map of its last run */

struct analyzer;
struct stats_cache;
struct metrics;

#define COORDINATOR_LANGUAGES_MAX 64
#define COORDINATOR_STATS_CACHE_BYTES (32u << 20) /* unless it is told otherwise */

struct coordinator_options {
    const char *dir;          /* exists; locked by the caller */
    const char *node_id;      /* UUID */
    const char *listen;       /* url */
    const char *advertise;    /* url that others dial */
    const char *raft_listen;  /* HOST:PORT; HOST is an IPv4 address */
    const char *raft_address; /* HOST:PORT that the other coordinators dial; NULL: raft_listen */
    const char *join; /* urls of coordinators of the cluster to join, with commas between (join.h);
                         NULL: a first start makes a cluster of its own */
    size_t stats_cache_bytes; /* of the statistics cache; 0: none */
    struct admit_options admit;
    uint32_t slow_query_ms;  /* requests that take longer are logged; 0: none */
    uint32_t replicas;       /* of the ranges of a collection that does not say; 0: 1 */
    struct metrics *metrics; /* where its figures are registered (observe.h); NULL: nowhere */
    /* 0 when it serves, once; or why it never will, or cannot go on. */
    void (*ready)(void *data, int status, const struct err *err);
    /* It was removed from its cluster: the owner stops it. May be NULL. */
    void (*removed)(void *data);
    void *data;
};

struct coordinator;

/* A change of the map under way; see coordinator_change(). */
struct coordinator_change {
    struct consensus_proposal proposal; /* first */
    struct coordinator *coordinator;
    struct later_item later;
    void *data;
    void (*done)(struct coordinator_change *change, int status, const struct err *err);
};

/* voters.h */
struct voters {
    struct consensus_membership membership;
    struct coordinator_change change;
    bool working;   /* one of the two is under way */
    uint64_t stray; /* the raft id of what does not fit together; 0: nothing */
    uint64_t stray_since_ms;
};

struct coordinator {
    uv_loop_t *loop;
    struct rpc *rpc;
    struct rpc_server *server;
    struct consensus *consensus;
    struct map
        *map; /* the newest; held. Operations that span turns hold the one they planned with */
    struct map *agreed; /* as consensus has applied it; held. `map` is the same, except while a map
                         * of the last run is served (map_cache.h) */
    struct later_item saving, alone;
    bool save_failed;
    struct controller *controller;
    struct coordinator_change control; /* that the controller wants: control.c */
    bool controlling;                  /* it is under way */
    struct nodes nodes;
    struct later later;
    struct admit admit;
    struct slow slow;
    struct {
        char language[16];
        struct analyzer *analyzer;
    } analyzers[COORDINATOR_LANGUAGES_MAX];
    size_t analyzer_count;
    uint32_t replicas; /* of a collection that does not say */
    struct hedge hedge;
    uint64_t random; /* state; drawn from to choose replicas (scatter.c) */
    struct stats_cache *statistics;
    struct marks acknowledged; /* writes, by this coordinator: no read that it serves sees less */
    struct {
        uint64_t all, one_round, outdated; /* as in SearchFigures */
        uint64_t incomplete;               /* did not cover every range */
    } searches;
    struct coordinator_observe *observe;
    struct list admin; /* changes of collections, one after another (admin.h); the first one runs */
    bool reopening;    /* a sealed range (reopen.h) */
    char node_id[UUID_TEXT_SIZE];
    char cluster_id[UUID_TEXT_SIZE];
    char *listen;
    char *advertise;
    char *dir;
    struct rpc_identity identity;
    struct coordinator_change bootstrap;
    char join_url[DATA_DIR_TEXT_MAX]; /* empty: it takes part already, or makes its own cluster */
    struct joining *joining;          /* NULL: it does not ask any more (join.c) */
    struct coordinator_change keep_self;
    bool keeping_self;
    struct joining *checking; /* that the cluster to join is the one that it belongs to */
    struct list siblings;     /* siblings.h */
    uint64_t siblings_asked_ms;
    struct voters voters;
    bool in_map;  /* the map names this coordinator */
    bool removed; /* no more */
    struct later_item removal;
    char *join; /* as it was told; NULL: it was not */
    bool consensus_ready;
    struct later_item arrival; /* the map of the cluster that it joined has come */
    char *raft_address;
    struct later_item control_tick;
    struct later_item failure; /* a start that failed is reported from the loop */
    struct err failure_err;
    bool serving;
    bool closing;
    uint64_t requests; /* being answered */
    void (*ready)(void *data, int status, const struct err *err);
    void (*tell_removed)(void *data);
    void *ready_data;
    void (*stopped)(void *data);
    void *stopped_data;
    bool consensus_closed;
    bool rpc_closing;
};

/* Opens DIR/raft, restores the map (creating a cluster on the first start), then listens and calls
 * `ready`. */
int coordinator_start(uv_loop_t *loop, const struct coordinator_options *options,
                      struct coordinator **out, struct err *err);
/* Ends every request, closes everything, frees itself, then calls `stopped`; the loop has to run
 * until then. */
void coordinator_stop(struct coordinator *coordinator, void (*stopped)(void *data), void *data);

/* Agrees on a change of the map (change->... as in quire.proto), and calls `done` once the
 * coordinator's map has it. Errors as consensus_propose() and map_apply() give them. */
void coordinator_change(struct coordinator *coordinator, struct coordinator_change *change,
                        const Quire__MapChange *message);

/* It cannot go on: told to `ready`, from the loop. */
void coordinator_fail(struct coordinator *coordinator, int status, const struct err *err);
/* The map of a newer epoch names this coordinator no more: it answers nobody from now on. */
void coordinator_was_removed(struct coordinator *coordinator);

/* Called by messages.c with each reply. */
void coordinator_request_ended(struct coordinator *coordinator);

/* The analyzer for a language, kept; NULL with `err` set for one that is not known. */
struct analyzer *coordinator_analyzer(struct coordinator *coordinator, const char *language,
                                      struct err *err);

/* When a request has to be answered: the client's deadline, less a little for the way back, or the
 * default. */
uint64_t coordinator_deadline(const struct rpc_request *request, uint32_t default_ms);

#endif
