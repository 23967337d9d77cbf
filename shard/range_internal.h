/* What the files of a range share: range.c (open, close, readers), range_apply.c, range_publish.c,
 * range_derive.c, range_middle.c, range_flush.c, range_merge.c, range_recovery.c, verify.c. Nobody
 * else includes this.
 *
 * Locks, in the order in which they are taken:
 *   merging     one merge at a time, from its beginning to its end
 *   background  whoever changes what is durable: one flush, or one merge but for the times in which
 *               it gives way, between two pieces of what it writes (range_merge.c)
 *   apply       the writer, for a batch; background work for the moments in which it changes what
 *               the writer sees
 *   lock        what readers see; for moments. Whoever holds `apply` may read it without `lock`.
 */
#ifndef QUIRE_SHARD_RANGE_INTERNAL_H
#define QUIRE_SHARD_RANGE_INTERNAL_H

#include "shard/disk_segment.h"
#include "shard/letters.h"
#include "shard/live.h"
#include "shard/manifest.h"
#include "shard/memory_segment.h"
#include "shard/name_index.h"
#include "shard/range.h"
#include "shard/sessions.h"

#include <pthread.h>
#include <stdatomic.h>

struct range_segment {
    struct segment *segment;
    uint32_t doc_limit;            /* documents published */
    struct live *dead;             /* now */
    struct dead_terms *dead_terms; /* tokens of `dead` */
    struct live *durable_dead;     /* as of durable_seq */
    struct dead_terms *recent;     /* tokens of what died since the last freeze; NULL: nothing */
    struct dead_terms *merging;    /* while it is being merged: tokens of what died since the
                                      durable_seq at which the    merge began. Else NULL. */
    bool on_disk;
    bool places_pending; /* see manifest.h */
};

/* Where the documents of segments that were merged away stand now. Only between the moment when a
 * merge shows and the moment when it has rewritten the rows of `place`. */
struct range_remap {
    uint64_t to;
    uint32_t count;
    struct {
        uint64_t from;
        uint32_t documents;
        uint32_t *map;
    } * source;
};

struct range_totals {
    uint64_t seq, documents, total_length;
    struct letters letters;
};

struct range {
    struct range_settings settings;
    char *path;
    /* Places were rewritten that the durable manifest still calls pending: until the next flush
     * every open does it again. */
    _Atomic bool places_written;
    /* Changed by range_derive.c, perhaps without a seq, since the last flush. */
    _Atomic bool derived;
    struct store *store;
    struct name_index *names;
    struct analyzer *analyzer; /* the writer's */

    pthread_mutex_t merging, background, apply, lock;
    pthread_cond_t visited;  /* with `background` */
    _Atomic uint32_t guests; /* range_visit() without range_visit_end() */

    /* under `lock` */
    struct range_totals now;
    struct range_segment *segments; /* oldest first; the last is in memory and grows */
    uint32_t segment_count, segment_capacity;
    struct err broken; /* code 0: sound */

    /* under `apply` */
    struct sessions sessions;
    uint64_t next_segment;
    struct range_remap remap;

    /* under `background` */
    uint64_t visits;
    bool behind; /* lifts the limit of merges */
    struct range_totals durable;
    struct segment **retired; /* merged away, rows to be removed when no view holds them */
    uint32_t retired_count, retired_capacity;

    _Atomic uint64_t durable_seq; /* copy of durable.seq for readers */
    _Atomic bool stopping;
};

/* Marks the range as broken (the first error stays) and returns err->code. */
int range_break(struct range *range, const struct err *err);

/* Appends an empty segment in memory; holder of `apply`. */
void range_start_segment(struct range *range);
struct range_segment *range_find_segment(struct range *range, uint64_t id); /* NULL: none */
void range_segment_release(struct range_segment *segment);

/* range_recovery.c: everything between store_open and the first apply. */
int range_recover(struct range *range, struct err *err);

/* Where an entry's document stands. ERR_CORRUPT when there is no row. Holder of `apply`. */
int range_place(struct range *range, struct bytes key, uint64_t *segment, uint32_t *doc,
                struct err *err);
void range_place_put(struct range *range, struct store_batch *batch, struct bytes key,
                     uint64_t segment, uint32_t doc);
bool range_place_decode(struct bytes row, uint64_t *segment, uint32_t *doc);

/* Takes and gives back `background`, for others than a merge: one that is writing lets a visit
 * pass. */
void range_visit(struct range *range);
void range_visit_end(struct range *range);

/* range_merge.c: after the segments on disk have become more or fewer. Holder of `background`. */
void range_count_segments(struct range *range);

/* Puts the manifest of the durable totals and the segments on disk. */
void range_manifest_put(struct range *range, const struct range_totals *totals,
                        const struct manifest_segment *segments, uint32_t count,
                        uint64_t next_segment, struct store_batch *batch);
/* Removes the rows of retired segments that nobody reads any more. Holder of `background`. */
int range_reap(struct range *range, struct err *err);

/* Names of an entry: key and spelling, distinct by key (the first spelling counts), in the arena.
 */
struct range_name {
    struct bytes key;
    const char *written;
};
struct range_name *range_names(const Quire__Entry *entry, struct arena *arena, size_t *count);
void range_name_key(struct bytes name, struct bytes entry_key, struct buf *out);

/* range_apply.c: appends the term key of an operation's headword; of one that is not UTF-8 its
 * bytes; nothing of an operation without one. */
void range_op_key(const Quire__WriteOp *op, struct buf *out);

#endif
