/* Scatter: asks every range of a stretch of a collection, and gathers what they say (the driver of
 * gather.h).
 *
 * The happy path: plan with the newest map, build one message for each piece, send all of them,
 * wait for all answers. Then `done`, once, with the answers and, in `gather`, what is missing.
 *
 * Each range is asked of one of its in-sync replicas (replica_choice.h). What that one does not
 * answer is asked of the next, at once, until all were asked; and when an answer takes longer than
 * most do, a second replica is asked beside the first (hedge.h): the first answer counts, the other
 * call is given up. When a range is still missing though one of its replicas may answer in a moment
 * (ERR_STALE: the plan was made with an old map; a shard that is opening its ranges), everything is
 * planned and asked again, until the deadline or for a few seconds. Reads only, since nothing that
 * was asked must do harm when it is asked twice.
 *
 * A shard that refuses its part since it is overloaded is not pressed: few of these go to another
 * replica (hedge.h has the budget). Otherwise the request is refused as a whole, with the shard's
 * words, and the calls to the others are given up.
 *
 * A view may name the one replica of each range that is to answer (`one_replica`): then there is no
 * choice, no second call, and nobody is asked instead.
 *
 * All memory is the request's arena.
 */
#ifndef QUIRE_COORDINATOR_SCATTER_H
#define QUIRE_COORDINATOR_SCATTER_H

#include "coordinator/coordinator.h"
#include "coordinator/gather.h"
#include "coordinator/trace.h"

#define SCATTER_STALE_DELAY_MS 50
/* How long a range is waited for of which a replica is up that cannot answer yet: it opens its
 * files, or is to become the primary that a client insists on. A failover takes 3.4 s when the
 * former primary can still speak but hears nothing. */
#define SCATTER_OPENING_MS 5000

struct scatter_piece;

struct scatter_view {
    Quire__SessionMark *const *session;
    size_t count;
    bool from_primary;
    bool one_replica; /* `replica` answers and no other: 0 is the primary, then as in the map */
    uint32_t replica;
};
/* Of any request that reads. */
#define SCATTER_VIEW(message)                                                                      \
    ((struct scatter_view){(message)->session, (message)->n_session,                               \
                           (message)->has_from_primary && (message)->from_primary,                 \
                           (message)->has_replica, (message)->replica})

struct scatter {
    /* To be set by the caller; the rest zero. */
    struct coordinator *coordinator;
    struct rpc_request *request;
    uint64_t collection; /* id */
    struct bytes lo, hi; /* as map_ranges_between(); both empty: all */
    bool piece_per_range;
    bool whole_replies; /* the reply has no list of ranges: it speaks for the whole piece */
    bool once;          /* do not plan again */
    bool patient;       /* takes long by nature: no second calls, no giving up on quiet shards */
    struct scatter_view view; /* what the client has to see, ... */
    /* ...and what round two has to: the seq of a range; NULL: none. */
    uint64_t (*min_seq)(const struct scatter *scatter, uint64_t range);
    uint16_t kind;
    const ProtobufCMessageDescriptor *reply_type;
    uint64_t deadline_ms;
    struct trace *trace;    /* NULL: none */
    const char *trace_name; /* of its span */
    void *data;
    /* Appends the message for these ranges. */
    void (*build)(struct scatter *scatter, Quire__RangeRef **ranges, size_t count, struct buf *out);
    void (*done)(struct scatter *scatter);

    /* For `done`: */
    int status; /* 0; ERR_NOT_FOUND when the collection is gone, ERR_TOO_LARGE, ERR_INCOMPLETE with
                 * `why`, ERR_CANCELED; then nothing else */
    struct err why;
    bool unsettled; /* with `once`: what is missing would have been asked for again */
    struct gather gather;
    ProtobufCMessage **replies; /* by piece; NULL for one that failed */

    struct map *map;               /* held until `done` returns */
    struct scatter_piece **pieces; /* by piece; as it was sent last */
    size_t outstanding;            /* calls */
    size_t span;                   /* of the trace */
    bool asking_again;
    uint32_t retry_after_ms; /* the longest that a shard which refused its part said */
    struct later_item later, hedging;
    uint64_t started_ms;
};

/* `done` is never called from inside. */
void scatter_start(struct scatter *scatter);

/* The stretch that holds exactly one key. */
void scatter_set_key(struct scatter *scatter, struct bytes key);

/* Replies with an error and returns false when there is no answer at all (scatter->status), or a
 * shard found fault with the request itself (ERR_INVALID, ERR_NOT_FOUND, ...). When the collection
 * is gone, the request begins again instead, from the collection's name (op_again()). Gaps are left
 * to the caller. */
bool scatter_accepted(struct scatter *scatter);

/* The same, and ERR_INCOMPLETE, naming the ranges, unless everything was covered. */
bool scatter_require_all(struct scatter *scatter);

#endif
