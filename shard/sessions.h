/* Sessions: the last batch of each client that a range remembers, and what it was answered.
 *
 * Row ('s', client id) of the family `meta`:
 *
 *   u8      format version, 2
 *   varint  batch; varint seq of its last operation
 *   varint  number of results; for each: le32 hash of the term key of its operation's headword
 *           (version 1: none); u8 outcome; varint version; with FAILED: varint code, varint size,
 *           text
 *   le32    checksum of everything before it
 *
 * Rows are part of what undo rows take back, so that an operation which recovery applies again is
 * not mistaken for a retry. At most LIMIT_RANGE_SESSIONS clients: a new one takes the place of the
 * one with the lowest seq.
 *
 * The hashes are for batches that come in parts. A batch was sent to a range; the range was split;
 * now a retry brings one part of it here and the other there. Or two ranges had a part each, and
 * one range was made of them. So a range answers for each operation by its hash (the n-th operation
 * on a key by the n-th result with its hash), and a part of the same batch that it does not know is
 * applied and remembered with the others. All parts of a batch together have LIMIT_BATCH_OPS
 * operations at most; of a client that numbers more with one batch the oldest are forgotten. Two
 * keys with the same hash (of a batch with 4,096 keys it has some in 1 of 500 cases) can give an
 * operation the answer of the other, and only when the batch was parted between them.
 */
#ifndef QUIRE_SHARD_SESSIONS_H
#define QUIRE_SHARD_SESSIONS_H

#include "shard/range.h"

struct session {
    char client_id[LIMIT_CLIENT_ID + 1];
    uint64_t batch, seq;
};

struct sessions { /* not locked */
    struct session session[LIMIT_RANGE_SESSIONS];
    uint32_t count;
};

uint32_t session_hash(struct bytes term_key);
/* Reads all rows. */
int sessions_load(struct sessions *sessions, struct store *store, struct err *err);
const struct session *sessions_find(const struct sessions *sessions, const char *client_id);
/* Remembers a batch, or a further part of the one that is the client's last: rows and undo rows
 * into `batch` and `undo`, and the table. Nothing when the client's last one is a later one, or
 * when the table is full of later ones (both only where the operations of two ranges meet). */
int sessions_put(struct sessions *sessions, struct store *store, struct store_batch *batch,
                 struct buf *undo, const struct range_session *session, uint64_t seq,
                 const struct range_result *results, const uint32_t *hashes, size_t count,
                 struct err *err);
/* Takes over the sessions of another range: of each client the later batch; of one and the same
 * batch all results, those that both have once. (Where one row is of version 1, the one here
 * stays.) No undo rows. */
int sessions_adopt(struct sessions *sessions, struct store *store, struct store *from,
                   struct store_batch *batch, struct err *err);

/* What a client's last batch was answered. */
struct session_results {
    struct range_result *results;
    uint32_t *hashes; /* NULL: of version 1 */
    size_t count;
};
int sessions_results(struct store *store, const char *client_id, struct session_results *out,
                     struct arena *arena, struct err *err);
/* The results of the operations with these hashes, in their order: *known = true when all have one,
 * false when none has; ERR_CONFLICT else. Of version 1: true when there are as many. */
int session_match(const struct session_results *of, const struct range_session *session,
                  const uint32_t *hashes, size_t count, bool *known, struct range_result **results,
                  struct arena *arena, struct err *err);

#endif
