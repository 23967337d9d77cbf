/* Round one of a full-text search, which explain goes through as well: parse the query, ask every
 * range for the document frequencies of its tokens and for what its prefixes and near spellings
 * stand for, and make of the answers the message of round two, which carries everything that a
 * score depends on. */
#ifndef QUIRE_COORDINATOR_ROUND_H
#define QUIRE_COORDINATOR_ROUND_H

#include "coordinator/scatter.h"

struct round {
    /* Set by the caller: */
    struct coordinator *coordinator;
    struct rpc_request *request;
    uint64_t deadline_ms;
    bool complete; /* a range that is missing is an error */
    void *data;
    /* Called unless an error was replied. */
    void (*done)(struct round *round);

    /* For `done`, in the request's arena: */
    uint64_t collection;
    Quire__Query *query;
    char **warnings;
    size_t warning_count;
    bool none;                     /* nothing can match: no range was asked */
    Quire__ShardSearch search;     /* query, statistics, k1, b; the rest as initialised */
    bool limited;                  /* an expansion was cut */
    uint64_t stamp;                /* of the statistics */
    Quire__MissingRange **missing; /* ranges that are not in the statistics */
    size_t missing_count;

    struct scatter scatter;
    Quire__ShardStats ask;
    double k1, b;
};

/* Parses `text` for the collection and starts. False: an error was replied. `done` is not called
 * from inside. */
bool round_start(struct round *round, const Quire__Collection *collection, const char *text,
                 bool all, bool strict);

#endif
