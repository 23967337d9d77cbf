/* Which documents of a segment are dead: an immutable, refcounted bitmap. A change makes a new one. */
#ifndef QUIRE_SHARD_LIVE_H
#define QUIRE_SHARD_LIVE_H

#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct live;

/* `base` (may be NULL: all live) with `docs` dead as well; base keeps its reference. refs = 1. */
struct live *live_with(const struct live *base, const uint32_t *docs, size_t count);
void live_ref(struct live *live);
void live_unref(struct live *live); /* NULL is allowed */
bool live_is_dead(const struct live *live, uint32_t doc); /* NULL: false */
uint32_t live_dead_count(const struct live *live);
/* A checksummed image, and back (ERR_CORRUPT). */
void live_encode(const struct live *live, struct buf *out);
int live_decode(struct bytes image, struct live **out, struct err *err);

/* How many dead documents of each segment bear a token, so that document frequencies stay exact while the lists
 * still hold the dead. Locked inside; readers from any thread. */
struct dead_terms;

struct dead_terms *dead_terms_create(void);
void dead_terms_destroy(struct dead_terms *dead);
void dead_terms_add(struct dead_terms *dead, uint64_t segment, uint8_t field, struct bytes token, uint32_t count);
uint32_t dead_terms_get(const struct dead_terms *dead, uint64_t segment, uint8_t field, struct bytes token);
void dead_terms_drop_segment(struct dead_terms *dead, uint64_t segment);
size_t dead_terms_bytes(const struct dead_terms *dead);
/* Calls `visit` for each count of a segment; order unspecified. */
void dead_terms_each(const struct dead_terms *dead, uint64_t segment,
                     void (*visit)(void *data, uint8_t field, struct bytes token, uint32_t count), void *data);

#endif
