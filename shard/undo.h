/* Undo rows: how the rows that a batch of operations touched looked before it.
 *
 * Row ('u', seq be64 of the batch's first operation) of the family `meta`, written in the same
 * store batch as the rows it is about:
 *
 *   for each touched row, in the order it was touched:
 *     u8      family (enum store_family) | 0x80 when there was no such row
 *     varint  size of the key; the key
 *     unless 0x80: varint size of the old value; the value
 *   le32  checksum of everything before it
 *
 * No batch touches a row twice. Rows of `place` are not recorded: where a document stands may
 * change by a merge between the batch and the recovery; the place of an entry that is taken back is
 * looked up in the segments' columns.
 */
#ifndef QUIRE_SHARD_UNDO_H
#define QUIRE_SHARD_UNDO_H

#include "shard/index_store.h"

/* Appends one touched row. */
void undo_absent(struct buf *undo, enum store_family family, struct bytes key);
void undo_value(struct buf *undo, enum store_family family, struct bytes key, struct bytes value);
/* Ends the row and puts it into `batch`; `undo` is empty afterwards. Nothing when nothing was
 * touched. */
void undo_put(struct buf *undo, uint64_t seq, struct store *store, struct store_batch *batch);
/* Removes, in `batch`, the rows of seqs [0, seq]. */
void undo_forget(uint64_t seq, struct store *store, struct store_batch *batch);

/* Takes back everything above `seq`, newest first. Calls `touched` with the key of each row of
 * `entry` that was put back or removed (possibly more than once). The undo rows stay: until the
 * caller, done with everything that hangs on them, has removed them all at once
 * (undo_forget_above), a kill leaves what a second run completes. */
int undo_roll_back(struct store *store, uint64_t seq, void (*touched)(void *data, struct bytes key),
                   void *data, struct err *err);
void undo_forget_above(uint64_t seq, struct store *store, struct store_batch *batch);

#endif
