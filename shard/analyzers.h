/* Analyzers: a stock of analyzers by language for the threads of a process. An analyzer belongs to
 * one thread at a time and is costly to make; whoever needs one takes it and gives it back.
 * Thread-safe. */
#ifndef QUIRE_SHARD_ANALYZERS_H
#define QUIRE_SHARD_ANALYZERS_H

#include "proto/text/analysis.h"

struct analyzers;

struct analyzers *analyzers_create(void);
void analyzers_destroy(struct analyzers *analyzers); /* all must have been given back */
/* NULL: no such language, or no memory. */
struct analyzer *analyzers_take(struct analyzers *analyzers, const char *language);
void analyzers_give(struct analyzers *analyzers, const char *language, struct analyzer *analyzer);

#endif
