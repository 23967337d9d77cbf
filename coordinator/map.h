/* The cluster map: which collections there are, how the key space of each is cut into ranges, and
 * which node holds which range. Pure code: no I/O, no clock, no randomness, so that every
 * coordinator that applies the same changes holds the same map.
 *
 * A map never changes once it is made: map_apply() makes the next one. Requests in flight keep the
 * map they were planned with (map_ref), and the coordinator swaps its current one.
 *
 * Invariants, checked by map_validate() on every map that comes into being:
 *   - names and ids of collections, ids of nodes and of ranges are unique, and ids are below
 * next_id;
 *   - the ranges are sorted by (collection, lo); those of a collection cover the key space exactly
 * once: the first begins at "", each begins where the one before it ends, the last has no end;
 *   - the primary of a range is in sync; its members (in sync or learning) are known nodes, none
 * of them named twice, LIMIT_MEMBERS of them at most; those that leave are members;
 *   - what is being split or merged: map_reshape.h;
 *   - ids and raft ids of coordinators are unique.
 *
 * Not thread-safe: the loop's thread.
 */
#ifndef QUIRE_COORDINATOR_MAP_H
#define QUIRE_COORDINATOR_MAP_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/quire.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

struct map {
    unsigned references;
    bool reshapes;      /* some range is being split or merged */
    struct arena arena; /* holds all of `message` */
    const Quire__ClusterMap *message;
};

/* A map of epoch 0 with nothing in it, which only a bootstrap change may follow. One reference. */
struct map *map_create_empty(void);
/* Whether this coordinator was dropped from the map: it cannot be put into it again. */
bool map_coordinator_removed(const Quire__ClusterMap *message, const char *id);
/* From its packed form (a snapshot). ERR_CORRUPT when it does not parse or breaks an invariant. */
int map_unpack(struct bytes packed, struct map **out, struct err *err);
void map_pack(const struct map *map, struct buf *out);

struct map *map_ref(struct map *map);
void map_unref(struct map *map); /* NULL is fine */

static inline uint64_t map_epoch(const struct map *map)
{
    return map->message->epoch;
}

/* The map after `change`, with the epoch one higher. The old one is left as it is. Errors, which
 * every coordinator gives alike: ERR_INVALID (the change is none, or the result would break an
 * invariant), ERR_EXISTS (bootstrap of a map, name taken), ERR_NOT_FOUND (collection, node,
 * coordinator), ERR_CONFLICT (ranges_configure, ranges_replace, reshape_finish: a range has another
 * epoch by now; node_put: a former life; node_drop: a range names the node), ERR_FULL (limits.h).
 * In map_change.c. */
int map_apply(const struct map *map, const Quire__MapChange *change, struct map **out,
              struct err *err);

/* 0, or ERR_CORRUPT with a sentence. */
int map_validate(const Quire__ClusterMap *message, struct err *err);

/* [a-z0-9][a-z0-9_-]*, at most LIMIT_COLLECTION_NAME bytes. */
bool map_collection_name_valid(const char *name);

/* Whether a range of this id, which the map does not have, may come yet: its id was not given out,
 * or it is what another range becomes. Else it was there once, and is gone. */
bool map_range_may_come(const struct map *map, uint64_t id);

/* Look-ups; NULL when there is none. */
const Quire__Collection *map_collection(const struct map *map, const char *name);
const Quire__Collection *map_collection_by_id(const struct map *map, uint64_t id);
const Quire__Node *map_node(const struct map *map, const char *id);
const Quire__Range *map_range(const struct map *map, uint64_t id); /* looks through all of them */

/* The ranges of a collection in key order. */
struct map_ranges {
    Quire__Range *const *items;
    size_t count;
};
struct map_ranges map_ranges(const struct map *map, uint64_t collection);
/* Those that meet [lo, hi); an empty hi is the end of the key space. */
struct map_ranges map_ranges_between(const struct map *map, uint64_t collection, struct bytes lo,
                                     struct bytes hi);
/* The one that holds `key`; NULL only for an unknown collection. */
const Quire__Range *map_range_of(const struct map *map, uint64_t collection, struct bytes key);

/* By collection, then by the lower bound. */
int map_range_order(const Quire__Range *a, const Quire__Range *b);

/* The members of a range: those in sync, then the learners. */
static inline size_t map_range_members(const Quire__Range *range)
{
    return range->n_in_sync + range->n_learners;
}

static inline const char *map_range_member(const Quire__Range *range, size_t i)
{
    return i < range->n_in_sync ? range->in_sync[i] : range->learners[i - range->n_in_sync];
}

bool map_range_in_sync(const Quire__Range *range, const char *node);
bool map_range_learns(const Quire__Range *range, const char *node);
/* On the move away from that node. */
bool map_range_leaves(const Quire__Range *range, const char *node);

static inline bool map_range_on(const Quire__Range *range, const char *node)
{
    return map_range_in_sync(range, node) || map_range_learns(range, node);
}

static inline struct bytes map_range_lo(const Quire__Range *range)
{
    return bytes_of(range->lo.data, range->lo.len);
}

static inline struct bytes map_range_hi(const Quire__Range *range)
{
    return bytes_of(range->hi.data, range->hi.len);
}

#endif
