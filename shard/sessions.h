/* Sessions: the last batch of each client that a range remembers, and what it was answered.
 *
 * Row ('s', client id) of the family `meta`:
 *
 *   u8      format version, 1
 *   varint  batch; varint seq of its last operation
 *   varint  number of results; for each: u8 outcome; varint version; with FAILED: varint code,
 *           varint size, text
 *   le32    checksum of everything before it
 *
 * Rows are part of what undo rows take back, so that an operation which recovery applies again is
 * not mistaken for a retry. At most LIMIT_RANGE_SESSIONS clients: a new one takes the place of the
 * one with the lowest seq.
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

/* Reads all rows. */
int sessions_load(struct sessions *sessions, struct store *store, struct err *err);
const struct session *sessions_find(const struct sessions *sessions, const char *client_id);
/* Remembers a batch: rows and undo rows into `batch` and `undo`, and the table. */
int sessions_put(struct sessions *sessions, struct store *store, struct store_batch *batch,
                 struct buf *undo, const struct range_session *session, uint64_t seq,
                 const struct range_result *results, size_t count, struct err *err);
/* What a client's last batch was answered. */
int sessions_results(struct store *store, const char *client_id, struct range_result **results,
                     size_t *count, struct arena *arena, struct err *err);

#endif
