/* What of a segment is dead: which documents (an immutable, refcounted bitmap; a change makes a new
 * one), and how many dead documents bear each token (counted up in place).
 */
#ifndef QUIRE_SHARD_LIVE_H
#define QUIRE_SHARD_LIVE_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct live;

/* `base` (may be NULL: all live) with `docs` dead as well (any order, repeats allowed); base keeps
 * its reference. refs = 1. Pages of the bitmap that do not change are shared with base. */
struct live *live_with(const struct live *base, const uint32_t *docs, size_t count);
void live_ref(struct live *live);
void live_unref(struct live *live);                       /* NULL is allowed */
bool live_is_dead(const struct live *live, uint32_t doc); /* NULL: false */
uint32_t live_dead_count(const struct live *live);        /* NULL: 0 */
/* A checksummed image, and back (ERR_CORRUPT). */
void live_encode(const struct live *live, struct buf *out);
int live_decode(struct bytes image, struct live **out, struct err *err);

/* How many dead documents of one segment bear a token, so that document frequencies stay exact
 * while the lists still hold the dead. Refcounted, because a view that pinned a segment needs the
 * counts of that segment even after a merge replaced it. Locked inside; any thread. Implemented in
 * dead_terms.c. */
struct dead_terms;

struct dead_terms *dead_terms_create(void); /* refs = 1 */
void dead_terms_ref(struct dead_terms *dead);
void dead_terms_unref(struct dead_terms *dead); /* NULL is allowed */
/* Adds `count` dead documents that bear the token (for a dead document: 1 for each of its terms).
 */
void dead_terms_add(struct dead_terms *dead, uint8_t field, struct bytes token, uint32_t count);
uint32_t dead_terms_get(const struct dead_terms *dead, uint8_t field,
                        struct bytes token);            /* NULL: 0 */
size_t dead_terms_count(const struct dead_terms *dead); /* distinct tokens */
size_t dead_terms_bytes(const struct dead_terms *dead);
/* Calls `visit` for each token with its count; order unspecified; the counts are locked meanwhile.
 */
void dead_terms_each(const struct dead_terms *dead,
                     void (*visit)(void *data, uint8_t field, struct bytes token, uint32_t count),
                     void *data);

#endif
