/* View: what a query sees of a range: the segments it started with, which of their documents are
 * live, and the exact statistics of that moment. Taken in constant time, never changes, released by
 * the query.
 *
 * The list of segments is oldest first; the last one may still be in memory and growing: documents
 * from `doc_limit` on are not part of the view. Liveness is a copy-on-write bitmap: a write that
 * kills a document of a segment that a view has pinned gives the range a new bitmap.
 *
 * Statistics count live entries only (promise P2). The document frequency of a token is the sum
 * over the segments of its list length minus its dead documents in that segment (dead_terms keeps
 * that count). The one thing of a view that is not frozen is that count: deletes that happen while
 * a query runs already lower its document frequencies. At rest it is exact.
 *
 * The range that made the view must outlive it (range_close waits for views).
 */
#ifndef QUIRE_SHARD_VIEW_H
#define QUIRE_SHARD_VIEW_H

#include "shard/live.h"
#include "shard/segment.h"

struct range;

/* A view holds one reference on each of the three. */
struct view_segment {
    struct segment *segment;
    uint32_t doc_limit;            /* documents 0 .. doc_limit - 1 are in the view */
    struct live *dead;             /* NULL: all live */
    struct dead_terms *dead_terms; /* NULL: no dead document yet */
};

struct view { /* from malloc; made by range_view() */
    struct range *range;
    uint64_t seq;          /* of the last operation it shows */
    uint64_t documents;    /* live */
    uint64_t total_length; /* weighted tokens of the live documents: the sum of norm_decode(norm) */
    uint32_t segment_count;
    struct view_segment segments[];
};

/* How many of a segment's `listed` postings of a token are not of dead documents. */
uint64_t view_live_of(const struct view_segment *segment, struct segment_token token,
                      uint32_t listed);
/* Live document frequency of a token in one segment, exact. */
int view_segment_frequency(const struct view_segment *segment, struct segment_token token,
                           uint64_t *df, struct err *err);
/* Over the whole view, exact. */
int view_frequency(const struct view *view, struct segment_token token, uint64_t *df,
                   struct err *err);
bool view_live(const struct view_segment *segment, uint32_t doc);
void view_release(struct view *view); /* drops its references and frees it; NULL is allowed */

#endif
