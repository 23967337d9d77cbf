/* Document: what an entry adds to the index. Computed once when it is written (outside any lock, on
 * any thread), and again from the stored entry when it is replaced or deleted, to take out what it
 * added.
 *
 * All fields share one list per token (TEXT_FIELD_ALL): frequency = sum over the fields of weight *
 * count, length = sum over the fields of weight * tokens. That is the simple BM25F of Robertson,
 * Zaragoza and Taylor (2004): one saturation and one length for the whole entry, one list to read
 * for a word. A weight of 0 leaves a field out of ALL.
 *
 * Positions of ALL: the body first (from 0), then, each after a gap of 100, headword, each other
 * name, each category. A position below body_length lies in the body.
 *
 * Each category, told apart by term key, is also one token of TEXT_FIELD_CATEGORY_KEY: frequency 1,
 * no positions. What filters by category is then a list as any other.
 */
#ifndef QUIRE_SHARD_DOCUMENT_H
#define QUIRE_SHARD_DOCUMENT_H

#include "proto/base/arena.h"
#include "proto/quire.pb-c.h"
#include "proto/text/analysis.h"
#include "shard/segment.h"

#define DOCUMENT_POSITION_GAP 100

struct document_term {
    struct segment_token token;
    uint32_t freq;             /* weighted; >= 1 */
    uint32_t position_count;   /* ALL only; 0 in the other spaces */
    const uint32_t *positions; /* rising */
};

struct document {
    struct bytes key; /* term key, 0, sense: identity within the collection and sort order */
    uint8_t norm;     /* norm_encode(weighted length) */
    uint32_t body_length;
    uint32_t term_count;
    struct document_term *terms; /* distinct; in the order in which they came */
    uint32_t category_count;
    struct bytes *categories;    /* as written, distinct by term key, in the order given */
    struct bytes *category_keys; /* their term keys */
    uint32_t name_count;
    struct bytes *names;  /* term keys of headword and other names, distinct, sorted */
    const char **written; /* the names as the entry has them, borrowed; the first of equal key */
};

struct document_settings { /* of the collection */
    uint32_t weight_headword, weight_terms, weight_categories, weight_body;
};

/* All memory from `arena`. `entry` is valid (limits, UTF-8: entry_validate). ERR_NOMEM only. */
int document_analyze(struct analyzer *analyzer, const struct document_settings *settings,
                     const Quire__Entry *entry, struct arena *arena, struct document *out,
                     struct err *err);

/* The token of a category in TEXT_FIELD_CATEGORY_KEY: its term key; of one beyond the 255 bytes of
 * a token the first 238, a NUL, which no term key has, and 128 bits of hash. Made in `space`, or
 * borrowed from `key`. */
#define DOCUMENT_CATEGORY_TOKEN_BYTES 255
struct bytes document_category_token(struct bytes key,
                                     uint8_t space[DOCUMENT_CATEGORY_TOKEN_BYTES]);

/* Checks every limit of proto/limits.h and UTF-8; the text names field and limit. */
int entry_validate(const Quire__Entry *entry, struct err *err);
/* Same content: everything but the version. */
bool entry_equal(const Quire__Entry *a, const Quire__Entry *b);
/* Appends (key(headword), 0, sense). */
void entry_key(const char *headword, const char *sense, struct buf *out);

#endif
