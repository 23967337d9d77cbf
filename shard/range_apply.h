/* A change of a range's rows, segments and statistics that readers see at one moment: what
 * range_apply.c (operations of the log), range_derive.c (making a range out of others) and
 * range_publish.c share. Nobody else includes this.
 *
 *   apply_begin()   takes the range's `apply`
 *   ...             operations, entries added, entries taken out
 *   apply_end()     writes, publishes, gives `apply` back
 *
 * Between the two each entry is adopted or pruned once at most.
 */
#ifndef QUIRE_SHARD_RANGE_APPLY_H
#define QUIRE_SHARD_RANGE_APPLY_H

#include "shard/key_set.h"
#include "shard/range_internal.h"

/* A document that this call kills. */
struct apply_kill {
    uint64_t segment;
    uint32_t doc;
    const struct document *document;
};

struct apply_letter {
    struct bytes key;
    int delta;
};

struct apply {
    struct range *range;
    bool derived; /* no undo rows */
    struct arena arena;
    struct store_batch *batch;
    struct buf undo;
    struct buf names;   /* that get rows in the open batch */
    uint64_t batch_seq; /* of the first operation in the open batch */

    struct key_set touched; /* entries that the open batch touches */

    struct apply_kill *kills;
    size_t kill_count, kill_capacity;
    struct apply_letter *letters;
    size_t letter_count, letter_capacity;
    uint64_t documents, total_length; /* as they will be */
    uint32_t doc_limit;               /* of the segment in memory, as it will be */
};

/* `derived`: without undo rows, so recovery could not take it back: only for a range that is thrown
 * away unless it gets as far as to its next flush. */
void apply_begin(struct apply *a, struct range *range, bool derived);
/* Operations, each with its own seq; their results, and the session (may be NULL) with them, as of
 * the seq `last`. */
int apply_ops(struct apply *a, const struct range_session *session, uint64_t last,
              const struct range_op *ops, size_t count, struct range_result *results,
              struct err *err);
/* Adds an entry as it is stored elsewhere, its version included. ERR_EXISTS, ERR_CORRUPT. key and
 * row live as long as `a`. */
int apply_adopt(struct apply *a, struct bytes key, struct bytes row, struct err *err);
/* Takes out an entry that is stored as `row`. Else as above. */
int apply_prune(struct apply *a, struct bytes key, struct bytes row, struct err *err);
/* code: of what was done before; 0: the rows are written and everything shows as of `seq`. Else, or
 * when that fails, the range is broken: returns the code, with the text of *failure in *err. */
int apply_end(struct apply *a, int code, uint64_t seq, struct err *failure, struct err *err);

/* range_publish.c: readers see it from now on. */
void apply_publish(struct apply *a, uint64_t seq);

#endif
