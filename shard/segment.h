/* Segment: an immutable (or, in memory, append-only) piece of a range's inverted index, with
 * documents numbered from 0. The interface that evaluation, merging and verification read it
 * through; implemented by memory_segment.c and disk_segment.c.
 *
 * Readers take no locks: whoever reads holds a reference on the segment (through a view, view.h).
 * Document columns (norm, body length, categories, entry key) are by docid. Liveness is not the
 * segment's: see view.h.
 */
#ifndef QUIRE_SHARD_SEGMENT_H
#define QUIRE_SHARD_SEGMENT_H

#include "proto/text/analysis.h"
#include "shard/dictionary.h"
#include "shard/posting.h"

#include <stdatomic.h>

struct segment;

struct segment_token {
    uint8_t field; /* enum text_field, token spaces only */
    struct bytes text;
};

/* How the documents of a segment that is made of others are numbered. */
enum segment_order {
    SEGMENT_ORDER_ARRIVAL,  /* those of the first source first, each source's in their order */
    SEGMENT_ORDER_CATEGORY, /* by their categories; those with the same ones as by arrival */
};

/* Iterates over all lists in (field, token) order; for merges, expansion and verification. */
struct segment_terms;

struct segment_ops {
    /* Opens a cursor; *out = NULL (and 0) when the segment has no such token. Memory from the heap;
     * close with posting_close(). `doc_limit`: documents from here on are ignored (the view's
     * snapshot). */
    int (*postings)(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                    struct posting_cursor **out, struct err *err);
    /* Postings of the token, dead documents included, below doc_limit where the segment is in
     * memory. */
    int (*frequency)(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                     uint32_t *df, struct err *err);
    /* The tokens of the field within->field that begin with within->text; NULL: all there are. In
     * memory this is a sorted copy of what is there now. */
    int (*terms)(struct segment *segment, const struct segment_token *within,
                 struct segment_terms **out, struct err *err);
    uint8_t (*norm)(struct segment *segment, uint32_t doc);
    uint32_t (*body_length)(struct segment *segment,
                            uint32_t doc); /* tokens of the body: positions below it */
    /* (term key, 0, sense) of the entry; valid while the segment is referenced. */
    struct bytes (*entry_key)(struct segment *segment, uint32_t doc);
    /* Category ordinals of the document, rising; and the name behind an ordinal of this segment. */
    const uint32_t *(*categories)(struct segment *segment, uint32_t doc, uint32_t *count);
    struct bytes (*category_name)(struct segment *segment, uint32_t ordinal); /* as written */
    uint32_t (*category_count)(struct segment *segment);
    void (*destroy)(struct segment *segment); /* last reference gone */
};

struct segment {
    const struct segment_ops *ops;
    uint64_t id;          /* unique within the range, rising */
    const uint8_t *norms; /* by document; NULL: ask ops->norm (a segment in memory) */
    _Atomic int refs;
    struct segment_words *words; /* of a segment that never changes: segment_words.c. NULL: other */
};

struct segment_terms_ops {
    bool (*valid)(const struct segment_terms *terms);
    struct segment_token (*token)(const struct segment_terms *terms); /* valid until next() */
    int (*next)(struct segment_terms *terms, struct err *err);
    /* A cursor for reading the list through, at the price of one list: nothing is kept for later
     * queries, and in memory the levels may say no more than that anything is possible. */
    int (*postings)(struct segment_terms *terms, struct posting_cursor **out, struct err *err);
    uint32_t (*frequency)(const struct segment_terms *terms);
    void (*close)(struct segment_terms *terms);
};

struct segment_terms {
    const struct segment_terms_ops *ops;
};

void segment_ref(struct segment *segment);
void segment_unref(struct segment *segment);

/* Near spellings: segment_words.c. Calls `visit` with each token of `field` that begins with
 * `letter` (a code point) and is within the walks' limit, in order; its number is that of its
 * postings, dead documents included, 0 where the segment has no words: ask ops->frequency. */
struct segment_words *segment_words_create(void);
void segment_words_destroy(struct segment_words *words); /* NULL is allowed */
size_t segment_words_bytes(struct segment_words *words); /* NULL is allowed */
int segment_near(struct segment *segment, uint8_t field, struct bytes letter,
                 struct distance_walks *walks, dictionary_visit *visit, void *data,
                 struct err *err);

/* The length of an entry as one byte: exact to 40, then four significant bits (as Lucene's
 * SmallFloat.intToByte4). norm_decode(norm_encode(n)) <= n, and rises with n. */
uint8_t norm_encode(uint32_t length);
uint32_t norm_decode(uint8_t norm);

#endif
