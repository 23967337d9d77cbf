/* Round one of a full-text search, which explain goes through as well: parse the query, ask every
 * range for the document frequencies of its tokens and for what its prefixes and near spellings
 * stand for, and make of the answers the message of round two, which carries everything that a
 * score depends on.
 *
 * A caller that may presume is spared the round when the statistics cache (stats_cache.h) knows all
 * of the answer for all ranges: `done` comes at once, with `presumed` set.
 *
 *                  known, and every shard up
 *   round_start() ---------------------------> done, presumed: the search carries round_presume()'s
 *        |                                        |            seqs; then round_confirmed()
 *        | ask the ranges                         |
 *        v                  a map or shard        |-- all as presumed --> true: it is the answer
 *   ShardStats <-----------------------------------|
 *        |                     has changed        '-- a range has moved on: its shard said the
 *        v                                            statistics of now
 *      done <---------------------------------------------'
 *
 * So a search has the scores that two rounds give, whatever is in the cache: either every range
 * that answers has confirmed its part, or the search is made again with what the ranges just said.
 * A range that fails in a presumed search is missing from the answer, as one that fails between two
 * rounds is, and is forgotten: the next search asks first, and leaves it out of the statistics.
 */
#ifndef QUIRE_COORDINATOR_ROUND_H
#define QUIRE_COORDINATOR_ROUND_H

#include "coordinator/scatter.h"
#include "coordinator/stats_cache.h"

/* Ranges times questions of one search; beyond, the loop would stand still over the look-ups, and
 * the ranges are asked. */
#define ROUND_CACHED_MAX 16384

struct round {
    /* Set by the caller: */
    struct coordinator *coordinator;
    struct rpc_request *request;
    uint64_t deadline_ms;
    struct scatter_view view;
    struct trace *trace; /* NULL: none */
    bool complete;       /* a range that is missing is an error */
    bool may_presume;    /* the caller looks at `presumed` */
    void *data;
    /* Called unless an error was replied; again when what was presumed did not hold, or the ranges
     * were others by then. */
    void (*done)(struct round *round);

    /* For `done`, in the request's arena: */
    uint64_t collection;
    struct analyzer *analyzer; /* of the collection's language */
    Quire__Query *query;
    char **warnings;
    size_t warning_count;
    bool none;                     /* nothing can match: no range was asked */
    Quire__ShardSearch search;     /* query, statistics, k1, b; the rest as initialised */
    bool limited;                  /* an expansion was cut */
    uint64_t stamp;                /* of the statistics */
    Quire__MissingRange **missing; /* ranges that are not in the statistics */
    size_t missing_count;

    bool presumed; /* the statistics are the cache's */

    struct scatter scatter;
    Quire__ShardStats ask;
    struct stats_questions questions;
    bool cacheable;
    const Quire__RangeStats **known; /* of each range that is in the statistics */
    size_t known_count;
    uint64_t *asked; /* ids: the ranges that round one was about, in key order */
    size_t asked_count;
    double k1, b;
};

/* Parses `text` for the collection and starts. False: an error was replied. `done` is not called
 * from inside. */
bool round_start(struct round *round, const Quire__Collection *collection, const char *text,
                 bool all, bool strict);

/* For the scatter of round two, whose data begins with the round: a replica that is behind the
 * statistics would score another state than they are of. */
uint64_t round_min_seq(const struct scatter *scatter, uint64_t range);

/* With presumed statistics: makes `message`, whose ranges are set, ask whether they hold. Memory of
 * the request. */
void round_presume(struct round *round, Quire__ShardSearch *message);

/* What the statistics have of one range; NULL when it is not in them. *at, from 0, makes a run of
 * calls in key order quick. */
const Quire__RangeStats *round_range_stats(const struct round *round, uint64_t range, size_t *at);

/* With presumed statistics, when the search is through. True: they held, wherever there is an
 * answer, or `searched` has no answer at all. False: the search is void; an error was replied, or
 * `done` is called with statistics that were asked for, at once or later. */
bool round_confirmed(struct round *round, struct scatter *searched);
/* With statistics that were asked for, when the search is through. True: it was about the ranges
 * that they are of. False: some were split or merged in between, and what there is to know of the
 * new ones is not in the statistics: `done` is called again, later. */
bool round_fits(struct round *round, const struct scatter *searched);

#endif
