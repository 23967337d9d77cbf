/* Range: one replica of a prefix range: its index store, its segments, its place in the log.
 *
 *            write ops                   views
 *                |                         ^
 *   log store (fsync) -> range_apply() -> memory segment -> flush -> disk segments -> merge
 *                              |                              ^
 *                              +-> entry, name, place rows ---+  durable together, at flush
 *
 * Writes. The caller (the shard's committer thread) puts a batch of operations in the log, and when
 * the log is durable calls range_apply() with them in order: that is the commit. Apply is
 * deterministic: what an operation does (new, changed, unchanged, conflict) depends on the
 * operations before it only, so every replica that applies the same log holds the same.
 *
 * Durability of the index. Rows of `entry`, `name` and `place` are written at apply, without WAL;
 * each batch also writes an undo row (the old state of each row it touched, undo.h) under its seq.
 * A flush makes a disk segment of the memory segment and, in one atomic flush of the store, makes
 * durable: rows, segment, dead documents, manifest with durable_seq (manifest.h). Whatever else the
 * store made durable in between is ahead of the manifest: at open it is taken back with the undo
 * rows, newest first, down to durable_seq (as ARIES does), and the log is applied from there. So a
 * kill at any moment loses nothing and counts nothing twice. What is subtle in it: README.md,
 * "Flush, merge and recovery".
 *
 * Threads. range_apply(): one thread. range_view(), range_get() and the other readers: any. Flush
 * and merge run on threads of their own, and never block readers or, but for a moment, the writer.
 */
#ifndef QUIRE_SHARD_RANGE_H
#define QUIRE_SHARD_RANGE_H

#include "proto/base/arena.h"
#include "proto/base/metrics.h"
#include "proto/quire.pb-c.h"
#include "shard/document.h"
#include "shard/index_store.h"
#include "shard/merge_pace.h"
#include "shard/name_index.h"
#include "shard/view.h"

struct range;

/* Flushes and merges that were done: how long each took. */
struct range_measures {
    struct histogram *flushes, *merges;
};

struct range_settings {
    uint64_t id;
    uint64_t collection;
    const char *language;
    struct document_settings document;
    enum segment_order order; /* of the documents, when segments are merged */
    size_t memory_limit;      /* bytes of memory segment at which a flush starts */
    struct store_cache *cache;
    struct merge_pace *merge_pace;         /* NULL: merges are not limited */
    const struct range_measures *measures; /* NULL: not measured; outlives the range */
};

/* An operation as the log holds it. */
struct range_op {
    uint64_t seq;
    const Quire__WriteOp *op;
    const struct document *document; /* of a valid put, analysed beforehand; NULL: apply does it */
};

struct range_result {
    int outcome; /* Quire__WriteResult__Outcome */
    uint64_t version;
    struct err error; /* with FAILED */
};

/* Who sent a batch: a retry of a client's last batch is recognised (range_session_find). */
struct range_session {
    const char *client_id; /* 1..LIMIT_CLIENT_ID bytes */
    uint64_t batch;
};
#define LIMIT_CLIENT_ID 64
/* Clients that a range remembers; the one that was silent longest is forgotten. */
#define LIMIT_RANGE_SESSIONS 1024

/* Opens or creates; afterwards range_durable_seq() says from where the log is to be applied. */
int range_open(const char *path, const struct range_settings *settings, struct range **out,
               struct err *err);
/* Gives up a running merge, waits for a running flush, does not flush. Every view must have been
 * released. */
void range_close(struct range *range);

/* Applies ops in seq order (each seq one above the last) and publishes them together: views taken
 * afterwards see all of them. An op's own failure is in its result. An error return means that the
 * range cannot go on (disk). */
int range_apply(struct range *range, const struct range_op *ops, size_t count,
                struct range_result *results, struct err *err);
/* The same, and remembers the results as those of the session's batch (session may be NULL). */
int range_apply_as(struct range *range, const struct range_session *session,
                   const struct range_op *ops, size_t count, struct range_result *results,
                   struct err *err);
/* For a batch that is this client's last one, all of whose `count` operations were applied here:
 * *known = true and the results they got then, in their order, in the arena. *known = false for a
 * later batch, an unknown client, or a part of the last batch none of which was applied here: it is
 * to be applied. ERR_CONFLICT for an older batch, and for a part of which some was (sessions.h). */
int range_session_find(struct range *range, const struct range_session *session,
                       Quire__WriteOp *const *ops, size_t count, bool *known,
                       struct range_result **results, struct arena *arena, struct err *err);
/* Once applying or flushing failed, nothing more is written until the range is opened anew; reads
 * go on. 0, or the code and text of that failure. Any thread. */
int range_broken(struct range *range, struct err *err);

struct view *range_view(struct range *range);
/* The entries of one moment: an iterator over the rows of `entry`, which is closed before the range
 * is. *seq: of the last operation in it; *entries: how many there are. Waits for a batch that is
 * being applied: what it shows is never a part of one. */
struct store_iterator *range_snapshot(struct range *range, uint64_t *seq, uint64_t *entries);
struct store *range_store(struct range *range);
struct name_index *range_name_index(struct range *range);
uint64_t range_id(const struct range *range);
uint64_t range_applied_seq(struct range *range);
uint64_t range_durable_seq(struct range *range);

/* Freezes the memory segment and makes everything applied so far durable. Blocks. Any thread; a
 * merge that is writing lets it pass, about every MiB, and at once while it waits for its pace. */
int range_flush(struct range *range, struct err *err);
/* The same if range_wants_flush() still, when it is this one's turn. */
int range_flush_wanted(struct range *range, struct err *err);
bool range_wants_flush(struct range *range);
/* One step of tiered merging, as fast as settings.merge_pace allows; *merged = false when there was
 * nothing to do. `all`: down to one segment, not limited. Blocks. Any thread; one at a time.
 * ERR_CANCELED when the range is being closed. */
bool range_wants_merge(struct range *range);
int range_merge(struct range *range, bool all, bool *merged, struct err *err);
/* A range of so many segments on disk, some of which are worth merging, lifts the limit, until it
 * has so few or none of them is: with 36 segments a query took 1.8 times as long as with 7. */
#define RANGE_BEHIND 32
#define RANGE_CAUGHT_UP 16

/* The files of the index as they are durable now, in a new folder `path` (store_checkpoint): a
 * range opened there is as of *durable_seq. Writing, flushing and merging go on meanwhile or wait
 * for a moment. Any thread. */
int range_checkpoint(struct range *range, const char *path, uint64_t *durable_seq, struct err *err);

/* Running background work ends soon: a merge gives up. */
void range_stop(struct range *range);

/* The entry, unpacked into `arena`; *out = NULL when there is none. */
int range_get(struct range *range, struct bytes entry_key, struct arena *arena, Quire__Entry **out,
              struct err *err);

struct range_figures {
    uint64_t entries, disk_bytes, memory_bytes, applied_seq, durable_seq;
    uint32_t segments;
};
void range_figures(struct range *range, struct range_figures *out);

/* Live entries by letter (text_letter of the key), in key order: calls visit for each. */
void range_letters(struct range *range,
                   void (*visit)(void *data, struct bytes letter, uint64_t count), void *data);

/* How many live entries have a key below `key` (a term key, or a prefix of one); reads the rows of
 * one letter. */
int range_count_before(struct range *range, struct bytes key, uint64_t *count, struct err *err);

struct range_verified {
    uint64_t entries, postings;
    uint64_t seq;    /* of the last operation of the moment that was looked at */
    uint64_t digest; /* of the entries with their versions: the same on every replica at that seq */
};

/* Checks everything against everything: rows against each other, each entry analysed anew against
 * the lists that should hold it (and nothing else there), statistics recounted, every checksum.
 * Calls problem for each thing wrong. */
int range_verify(struct range *range, struct range_verified *verified,
                 void (*problem)(void *data, const char *text), void *data, struct err *err);

#endif
