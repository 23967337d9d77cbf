/* Making a range out of others: what splits and merges of ranges are done with.
 *
 * A derived range is opened from a checkpoint of its source (range_checkpoint()), under a path of
 * its own. A split prunes it to the bounds of one half; a merge adopts the entries of the other
 * source. Then it follows what is written to its sources meanwhile, operation by operation, until
 * range_flush() makes the whole of it durable: from then on it opens, as of its applied seq, as any
 * range does, and lives as one.
 *
 *   source's checkpoint --range_open--> range --prune, adopt--> --follow--> --flush--> a range
 *
 * Until that flush nobody else uses it, and what is on disk is worth nothing: there are no undo
 * rows, so after a crash, or an error, it is thrown away and made anew. Versions of entries are
 * those of the source they came from; two sources number theirs apart, so only the operations on
 * one key have rising seqs.
 *
 * Each of the first four works in pieces of some hundred entries or some MiB, and flushes in
 * between when range_wants_flush(). 0; ERR_CANCELED once range_stop() was called; anything else
 * breaks the range. One thread. They do not merge: the caller may. `lo` and `hi` are bounds of term
 * keys, free of NUL: lo <= key < hi, hi empty: no end.
 */
#ifndef QUIRE_SHARD_RANGE_DERIVE_H
#define QUIRE_SHARD_RANGE_DERIVE_H

#include "shard/range.h"

/* Deletes every entry whose term key is not in [lo, hi). Sessions stay: what they say of operations
 * elsewhere is not asked for here. The applied seq stays. */
int range_prune(struct range *range, struct bytes lo, struct bytes hi, struct err *err);

/* Adds all entries of `from`, none of which `range` has (else ERR_EXISTS), and takes over its
 * sessions. The applied seq becomes the larger of the two. Nobody writes to `from` meanwhile. */
int range_adopt(struct range *range, struct range *from, struct err *err);

/* A record of a source's log: applies those of its operations (count >= 1, seqs rising) whose key
 * is in [lo, hi), and remembers their results as those of the session's batch, or of a part of it.
 * The session may be NULL; it is left alone when there are none. The applied seq becomes the last
 * operation's, in the range or not, unless it is larger already. */
int range_follow(struct range *range, struct bytes lo, struct bytes hi,
                 const struct range_session *session, const struct range_op *ops, size_t count,
                 struct err *err);

/* The applied seq becomes `seq`, unless it is larger already. */
int range_advance(struct range *range, uint64_t seq, struct err *err);

/* Where a range is best split, on any range at any time, on any thread: a bound P with lo < P < hi
 * such that about half of the live entries have a term key below P. It is the shortest string that
 * separates a key from the one before it ("mod", not "model quantization i"): of those with 45 to
 * 55 of 100 entries before them the shortest, among these the one nearest to the middle; when there
 * is none (many senses of one key), the nearest one outside. Valid UTF-8. *out is empty when the
 * range has fewer than two different keys. Reads the rows of `place` from the beginning of a letter
 * to there. ERR_IO, ERR_CORRUPT; ERR_CANCELED. */
int range_middle(struct range *range, struct bytes lo, struct bytes hi, struct buf *out,
                 struct err *err);

#endif
