/* Scatter: asks every range of a stretch of a collection, and gathers what they say (the driver of
 * gather.h).
 *
 * The happy path: plan with the newest map, build one message for each piece, send all of them,
 * wait for all answers. Then `done`, once, with the answers and, in `gather`, what is missing. When
 * a shard says that the plan was made with an old map (ERR_STALE), everything is planned and asked
 * again a moment later, until the deadline; so it is, for a few seconds, when a shard has just come
 * back and is opening its ranges. Reads only, since nothing that was asked must do harm when it is
 * asked twice.
 *
 * All memory is the request's arena.
 */
#ifndef QUIRE_COORDINATOR_SCATTER_H
#define QUIRE_COORDINATOR_SCATTER_H

#include "coordinator/coordinator.h"
#include "coordinator/gather.h"

#define SCATTER_STALE_DELAY_MS 50
#define SCATTER_OPENING_MS 3000 /* how long a shard that is opening its ranges is waited for */

struct scatter_piece;

struct scatter {
    /* To be set by the caller; the rest zero. */
    struct coordinator *coordinator;
    struct rpc_request *request;
    uint64_t collection; /* id */
    struct bytes lo, hi; /* as map_ranges_between(); both empty: all */
    bool piece_per_range;
    bool whole_replies; /* the reply has no list of ranges: it speaks for the whole piece */
    bool once;          /* do not ask again */
    uint16_t kind;
    const ProtobufCMessageDescriptor *reply_type;
    uint64_t deadline_ms;
    void *data;
    /* Appends the message for these ranges. */
    void (*build)(struct scatter *scatter, Quire__RangeRef **ranges, size_t count, struct buf *out);
    void (*done)(struct scatter *scatter);

    /* For `done`: */
    int status; /* 0, or ERR_NOT_FOUND when the collection is gone, ERR_CANCELED; then nothing else
                 */
    bool unsettled; /* with `once`: what is missing would have been asked for again */
    struct gather gather;
    ProtobufCMessage **replies; /* by piece; NULL for one that failed */

    struct map *map; /* held until `done` returns */
    struct scatter_piece *pieces;
    size_t outstanding;
    struct later_item later;
    uint64_t started_ms;
};

/* `done` is never called from inside. */
void scatter_start(struct scatter *scatter);

/* The stretch that holds exactly one key. */
void scatter_set_key(struct scatter *scatter, struct bytes key);

/* Replies with an error and returns false when there is no answer at all (scatter->status), or a
 * shard found fault with the request itself (ERR_INVALID, ERR_NOT_FOUND, ...). Gaps are left to the
 * caller. */
bool scatter_accepted(struct scatter *scatter);

/* The same, and ERR_INCOMPLETE, naming the ranges, unless everything was covered. */
bool scatter_require_all(struct scatter *scatter);

#endif
