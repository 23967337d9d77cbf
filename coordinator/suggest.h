/* "Did you mean": asks the ranges for near spellings of the words of a query that no entry bears.
 * Only then is there a third round, between the other two. It is a courtesy: whatever goes wrong
 * with it, or takes long, there is no suggestion, and the search goes on. */
#ifndef QUIRE_COORDINATOR_SUGGEST_H
#define QUIRE_COORDINATOR_SUGGEST_H

#include "coordinator/query_suggest.h"
#include "coordinator/round.h"

struct suggest {
    struct scatter scatter;
    struct suggestion suggestion;
    struct analyzer *analyzer;
    void *data;
    /* `text`: the query that may have been meant, in the request's arena; NULL: none. */
    void (*done)(void *data, char *text);
};

/* Looks at a round that has its statistics. False: nothing to suggest, `done` is not called; else
 * it is, not from inside. `suggest` lives as long as the request. */
bool suggest_start(struct suggest *suggest, const struct round *round, const char *query,
                   void (*done)(void *data, char *text), void *data);

#endif
