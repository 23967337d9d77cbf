/* List cache: opened lists of disk segments, kept for the next query that has the same word.
 *
 * What it holds are entries: immutable things under the key (owner, field, token), an owner being a
 * segment. A token that a segment lacks is an entry too. An entry may have parts (the chunks of a
 * list), which are added when they are first read and go with it.
 *
 * References keep an entry alive; the cache has one of its own as long as it holds the entry. What
 * it holds never takes more bytes than it was created with, but for what is just coming in; whoever
 * still reads an entry that was dropped keeps it, with its parts, until he lets go.
 *
 * Thread-safe. How: the essay in list_cache.c.
 */
#ifndef QUIRE_SHARD_LIST_CACHE_H
#define QUIRE_SHARD_LIST_CACHE_H

#include "proto/base/bytes.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIST_CACHE_STRIPES 16

struct list_cache;
struct list_entry;

struct list_owner {
    struct list_cache *cache; /* NULL: nothing is kept */
    uint64_t salt;            /* spreads the same token of different owners */
    struct list_entry *entries[LIST_CACHE_STRIPES];
};

/* Embedded in what is kept. Made by list_entry_init(); the rest belongs to list_cache.c. */
struct list_entry {
    _Atomic uint32_t refs;
    uint32_t hash;
    void (*destroy)(struct list_entry *entry); /* the last reference is gone */
    struct bytes token;
    uint8_t field;
    bool used;                /* since the clock last came by */
    struct list_owner *owner; /* NULL: not in the cache */
    size_t bytes;             /* with all parts */
    struct list_entry *chain; /* of its slot */
    struct list_entry *clock_before, *clock_after;
    struct list_entry *owned_before, *owned_after;
};

struct list_cache *list_cache_create(size_t bytes); /* NULL: out of memory */
void list_cache_destroy(struct list_cache *cache);  /* its owners are gone; NULL is allowed */
size_t list_cache_bytes(struct list_cache *cache);  /* held now */

void list_owner_init(struct list_owner *owner, struct list_cache *cache);
/* Drops all entries of the owner; nobody may use it any more. */
void list_owner_deinit(struct list_owner *owner);

/* refs = 1. `token` is borrowed for the life of the entry; `bytes` is what the entry takes. */
void list_entry_init(struct list_entry *entry, uint8_t field, struct bytes token, size_t bytes,
                     void (*destroy)(struct list_entry *entry));
static inline void list_entry_unref(struct list_entry *entry)
{
    if (atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) == 1)
        entry->destroy(entry);
}

/* A reference, or NULL. */
struct list_entry *list_cache_find(struct list_owner *owner, uint8_t field, struct bytes token);
/* Offers an entry to the cache. Gives back a reference on what is to be used, in exchange for the
 * caller's: the entry itself, or the one that another thread has put there before. */
struct list_entry *list_cache_put(struct list_owner *owner, struct list_entry *entry);
/* `cache` (NULL is allowed) is that of the entry's owner. Makes `part` the entry's, in `slot` (a
 * place in the entry that readers load with acquire), and true; false, and the part stays the
 * caller's, when the entry is not in the cache, is as large as one may become, or has that part
 * already. */
bool list_cache_keep(struct list_cache *cache, struct list_entry *entry, _Atomic(void *) *slot,
                     void *part, size_t bytes);
/* Whether list_cache_keep() would take `bytes` more now. */
bool list_cache_wants(struct list_cache *cache, struct list_entry *entry, size_t bytes);

#endif
