/* Gather: who was asked for what, who answered, and what is missing. Pure code: a state machine
 * without I/O or clock; scatter.c drives it.
 *
 * The ranges that a request needs are dealt into pieces, one for each node (or one for each range).
 * A piece:
 *
 *        READY --sent--> SENT --answered--> ANSWERED
 *          |               |
 *          '----failed-----+-----failed---> FAILED
 *
 * What failed may be dealt again, to another replica: a range that was alone in its piece keeps the
 * place of that piece, which is READY once more; another one gets a piece of its own at the end, or
 * joins one there that is READY and goes to the same node.
 *
 * An answer names the ranges that it covers and those that failed, with the reason. A range of the
 * piece that is named in neither list is missing ("did not answer for this range"); an answer that
 * covers a range it was not asked for, or one twice, is no answer at all (ERR_PROTOCOL). In the end
 * each range is either covered once or missing with a reason: gather_check() asserts it, and that
 * the ranges join up to the key space asked for. That is promise P3: no silent gap.
 */
#ifndef QUIRE_COORDINATOR_GATHER_H
#define QUIRE_COORDINATOR_GATHER_H

#include "coordinator/map.h"
#include "proto/base/arena.h"
#include "proto/base/err.h"
#include "proto/base/sm.h"

enum gather_piece_state { GATHER_READY, GATHER_SENT, GATHER_ANSWERED, GATHER_FAILED };
enum gather_range_state { GATHER_ASKED, GATHER_COVERED, GATHER_MISSING };

struct gather_range {
    const Quire__Range *range; /* in the map that was planned with */
    size_t piece;
    uint32_t tried; /* of range->in_sync: bit i, it was asked */
    enum gather_range_state state;
    int code;           /* of a missing one: enum err_code */
    const char *reason; /* in the arena */
};

struct gather_piece {
    struct sm sm;
    const char *node; /* id; in the map */
    size_t *ranges;   /* indexes into gather->ranges, in key order */
    size_t range_count;
};

struct gather {
    struct arena *arena;
    struct gather_range *ranges; /* in key order */
    size_t range_count;
    struct gather_piece *pieces;
    size_t piece_count;
    size_t piece_room;   /* beyond, nothing is dealt again */
    size_t first_pieces; /* as they were dealt first: these have no room for further ranges */
    size_t open;         /* pieces that are neither answered nor failed */
};

/* Which replica of a range is to answer: an index into range->in_sync that is not in `tried`;
 * SIZE_MAX: none. */
struct gather_chooser {
    size_t (*choose)(void *data, const Quire__Range *range, uint32_t tried);
    void *data;
};

/* Deals the ranges (of one collection, neighbours, in key order) into pieces; by node in order of
 * first appearance, or each on its own. A range without a replica to choose goes to its primary.
 * The map has to outlive it. */
void gather_init(struct gather *gather, struct arena *arena, struct map_ranges ranges,
                 bool piece_per_range, const struct gather_chooser *chooser);
/* Deals a missing range to another replica, which was chosen. Returns the piece, which is READY;
 * SIZE_MAX: there is no room for another piece. */
size_t gather_deal_again(struct gather *gather, size_t range, size_t replica);

void gather_sent(struct gather *gather, size_t piece);
/* Returns 0, or ERR_PROTOCOL when the answer does not fit what was asked: the piece has failed then
 * and its content must not be used. */
int gather_answered(struct gather *gather, size_t piece, const uint64_t *covered,
                    size_t covered_count, Quire__RangeFailure *const *failed, size_t failed_count);
/* For pieces whose message has no list of ranges: a reply covers all of the piece. */
void gather_answered_all(struct gather *gather, size_t piece);
void gather_failed(struct gather *gather, size_t piece, int code, const char *text);

static inline bool gather_done(const struct gather *gather)
{
    return gather->open == 0;
}

/* Asserts the invariants; also called by every event. */
void gather_check(const struct gather *gather);

/* How many ranges are missing. */
size_t gather_missing(const struct gather *gather);
/* Whether any is missing because the map that was planned with is not the shard's (ERR_STALE). */
bool gather_stale(const struct gather *gather);
/* What is missing, as messages carry it, in the arena; neighbours with the same reason are joined.
 */
size_t gather_missing_ranges(const struct gather *gather, Quire__MissingRange ***out);
/* One sentence naming what is missing: ranges and reasons, as many as fit. Returns ERR_INCOMPLETE.
 */
int gather_missing_error(const struct gather *gather, struct err *err);

#endif
