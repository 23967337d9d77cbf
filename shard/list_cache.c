/* List cache.
 *
 * Sixteen stripes, by hash, each with a lock of its own, a table of chains and a clock: a ring
 * through its entries. A hit takes the lock for as long as a lookup and a reference take. When the
 * cache holds too many bytes, the clocks are turned one after another: an entry that was used since
 * its clock last came by is passed over once, another goes (second chance; Corbato, "A Paging
 * Experiment with the Multics System", 1969). The bytes are counted over all stripes, so one list
 * may be larger than a stripe's share, but not than a quarter of everything.
 *
 * An entry is on three chains, all under its stripe's lock: of its slot, of the clock, of its
 * owner. The owner's are one for each stripe, so that dropping a segment's entries needs no search.
 * Entries are destroyed after the lock was let go.
 */
#include "shard/list_cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 64u /* of a stripe */
#define LARGEST_SHARE 4 /* one entry takes at most the cache's bytes by this */
#define OVERHEAD 32u    /* bytes that malloc and the table take for an entry or a part */

struct stripe {
    _Alignas(64) pthread_mutex_t lock;
    struct list_entry **slots;
    uint32_t mask, count;
    struct list_entry *hand; /* the next one that the clock looks at; NULL: empty */
};

struct list_cache {
    struct stripe stripes[LIST_CACHE_STRIPES];
    size_t limit;
    _Atomic size_t bytes;
    _Atomic uint32_t turn; /* the stripe to take from next */
    _Atomic uint64_t salts;
    void *memory; /* what free() wants: the cache itself is aligned */
};

static uint32_t stripe_of(uint32_t hash)
{
    return hash >> 28;
}

_Static_assert(LIST_CACHE_STRIPES == 16, "the stripe is the upper four bits of a hash");

/* ---- life ---- */

static void stripe_deinit(struct stripe *stripe)
{
    assert(stripe->hand == NULL);
    free(stripe->slots);
    pthread_mutex_destroy(&stripe->lock);
}

struct list_cache *list_cache_create(size_t bytes)
{
    const size_t align = _Alignof(struct list_cache);
    void *memory = calloc(1, sizeof(struct list_cache) + align);
    struct list_cache *cache =
        (struct list_cache *)(((uintptr_t)memory + align - 1) & ~(uintptr_t)(align - 1));

    if (memory == NULL)
        return NULL;
    cache->memory = memory;
    cache->limit = bytes;
    for (uint32_t i = 0; i < LIST_CACHE_STRIPES; i++) {
        struct stripe *stripe = &cache->stripes[i];

        pthread_mutex_init(&stripe->lock, NULL);
        stripe->slots = calloc(SLOTS_FIRST, sizeof(struct list_entry *));
        stripe->mask = SLOTS_FIRST - 1;
        if (stripe->slots == NULL) {
            for (uint32_t k = 0; k <= i; k++)
                stripe_deinit(&cache->stripes[k]);
            free(memory);
            return NULL;
        }
    }
    return cache;
}

void list_cache_destroy(struct list_cache *cache)
{
    if (cache == NULL)
        return;
    for (uint32_t i = 0; i < LIST_CACHE_STRIPES; i++)
        stripe_deinit(&cache->stripes[i]);
    assert(atomic_load(&cache->bytes) == 0);
    free(cache->memory);
}

size_t list_cache_bytes(struct list_cache *cache)
{
    return atomic_load_explicit(&cache->bytes, memory_order_relaxed);
}

void list_owner_init(struct list_owner *owner, struct list_cache *cache)
{
    *owner = (struct list_owner){.cache = cache};
    if (cache != NULL)
        owner->salt = (atomic_fetch_add(&cache->salts, 1) + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

void list_entry_init(struct list_entry *entry, uint8_t field, struct bytes token, size_t bytes,
                     void (*destroy)(struct list_entry *entry))
{
    *entry = (struct list_entry){
        .destroy = destroy, .token = token, .field = field, .bytes = bytes + OVERHEAD};
    atomic_init(&entry->refs, 1);
}

/* ---- a stripe, under its lock ---- */

static uint32_t hash_of(const struct list_owner *owner, uint8_t field, struct bytes token)
{
    uint64_t hash = hash64(token.data, token.size) + owner->salt + field;

    hash ^= hash >> 32;
    return (uint32_t)((hash * UINT64_C(0xd6e8feb86659fd93)) >> 32);
}

static struct list_entry *stripe_find(struct stripe *stripe, const struct list_owner *owner,
                                      uint32_t hash, uint8_t field, struct bytes token)
{
    struct list_entry *entry = stripe->slots[hash & stripe->mask];

    while (entry != NULL && (entry->hash != hash || entry->owner != owner ||
                             entry->field != field || !bytes_equal(entry->token, token)))
        entry = entry->chain;
    if (entry == NULL)
        return NULL;
    entry->used = true;
    atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
    return entry;
}

/* Twice the slots; without the memory for them, chains grow longer. */
static void stripe_widen(struct stripe *stripe)
{
    uint32_t mask = stripe->mask * 2 + 1;
    struct list_entry **slots = calloc((size_t)mask + 1, sizeof(struct list_entry *));

    if (slots == NULL)
        return;
    for (uint32_t i = 0; i <= stripe->mask; i++)
        for (struct list_entry *entry = stripe->slots[i], *next; entry != NULL; entry = next) {
            next = entry->chain;
            entry->chain = slots[entry->hash & mask];
            slots[entry->hash & mask] = entry;
        }
    free(stripe->slots);
    stripe->slots = slots;
    stripe->mask = mask;
}

static void stripe_add(struct stripe *stripe, struct list_owner *owner, struct list_entry *entry)
{
    struct list_entry **owned = &owner->entries[stripe_of(entry->hash)];
    uint32_t slot;

    if (stripe->count > stripe->mask)
        stripe_widen(stripe);
    slot = entry->hash & stripe->mask;
    entry->chain = stripe->slots[slot];
    stripe->slots[slot] = entry;
    if (stripe->hand == NULL)
        stripe->hand = entry->clock_before = entry->clock_after = entry;
    entry->clock_after = stripe->hand; /* just behind the hand: looked at last */
    entry->clock_before = stripe->hand->clock_before;
    entry->clock_before->clock_after = entry;
    entry->clock_after->clock_before = entry;
    entry->owned_before = NULL;
    entry->owned_after = *owned;
    if (*owned != NULL)
        (*owned)->owned_before = entry;
    *owned = entry;
    entry->owner = owner;
    stripe->count++;
}

/* Takes the entry off its chains. The cache's reference is the caller's now. */
static void stripe_remove(struct list_cache *cache, struct stripe *stripe, struct list_entry *entry)
{
    struct list_entry **at = &stripe->slots[entry->hash & stripe->mask];

    while (*at != entry)
        at = &(*at)->chain;
    *at = entry->chain;
    if (stripe->hand == entry)
        stripe->hand = entry->clock_after == entry ? NULL : entry->clock_after;
    entry->clock_before->clock_after = entry->clock_after;
    entry->clock_after->clock_before = entry->clock_before;
    if (entry->owned_before == NULL)
        entry->owner->entries[stripe_of(entry->hash)] = entry->owned_after;
    else
        entry->owned_before->owned_after = entry->owned_after;
    if (entry->owned_after != NULL)
        entry->owned_after->owned_before = entry->owned_before;
    entry->owner = NULL;
    stripe->count--;
    atomic_fetch_sub_explicit(&cache->bytes, entry->bytes, memory_order_relaxed);
}

/* Turns the clock until an entry goes; NULL when there is none. Ends: after one round no entry is
 * marked as used. */
static struct list_entry *stripe_evict(struct list_cache *cache, struct stripe *stripe)
{
    struct list_entry *entry = stripe->hand;

    if (entry == NULL)
        return NULL;
    while (entry->used) {
        entry->used = false;
        entry = entry->clock_after;
    }
    stripe->hand = entry;
    stripe_remove(cache, stripe, entry);
    return entry;
}

/* ---- the cache ---- */

/* Drops entries until what is left fits. */
static void cache_fit(struct list_cache *cache)
{
    uint32_t empty = 0;

    while (list_cache_bytes(cache) > cache->limit && empty < LIST_CACHE_STRIPES) {
        uint32_t turn = atomic_fetch_add_explicit(&cache->turn, 1, memory_order_relaxed);
        struct stripe *stripe = &cache->stripes[turn % LIST_CACHE_STRIPES];
        struct list_entry *entry;

        pthread_mutex_lock(&stripe->lock);
        entry = stripe_evict(cache, stripe);
        pthread_mutex_unlock(&stripe->lock);
        empty = entry == NULL ? empty + 1 : 0;
        if (entry != NULL)
            list_entry_unref(entry);
    }
}

struct list_entry *list_cache_find(struct list_owner *owner, uint8_t field, struct bytes token)
{
    struct list_entry *entry;
    struct stripe *stripe;
    uint32_t hash;

    if (owner->cache == NULL)
        return NULL;
    hash = hash_of(owner, field, token);
    stripe = &owner->cache->stripes[stripe_of(hash)];
    pthread_mutex_lock(&stripe->lock);
    entry = stripe_find(stripe, owner, hash, field, token);
    pthread_mutex_unlock(&stripe->lock);
    return entry;
}

struct list_entry *list_cache_put(struct list_owner *owner, struct list_entry *entry)
{
    struct list_cache *cache = owner->cache;
    struct list_entry *there;
    struct stripe *stripe;

    if (cache == NULL || entry->bytes > cache->limit / LARGEST_SHARE)
        return entry;
    entry->hash = hash_of(owner, entry->field, entry->token);
    stripe = &cache->stripes[stripe_of(entry->hash)];
    pthread_mutex_lock(&stripe->lock);
    there = stripe_find(stripe, owner, entry->hash, entry->field, entry->token);
    if (there == NULL) {
        stripe_add(stripe, owner, entry);
        atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&cache->bytes, entry->bytes, memory_order_relaxed);
    }
    pthread_mutex_unlock(&stripe->lock);
    if (there != NULL) {
        list_entry_unref(entry);
        return there;
    }
    cache_fit(cache);
    return entry;
}

bool list_cache_keep(struct list_cache *cache, struct list_entry *entry, _Atomic(void *) *slot,
                     void *part, size_t bytes)
{
    struct stripe *stripe;
    bool keep;

    if (cache == NULL)
        return false;
    stripe = &cache->stripes[stripe_of(entry->hash)];
    pthread_mutex_lock(&stripe->lock);
    keep = entry->owner != NULL &&
           entry->bytes + bytes + OVERHEAD <= cache->limit / LARGEST_SHARE &&
           atomic_load_explicit(slot, memory_order_relaxed) == NULL;
    if (keep) {
        entry->bytes += bytes + OVERHEAD;
        atomic_fetch_add_explicit(&cache->bytes, bytes + OVERHEAD, memory_order_relaxed);
        atomic_store_explicit(slot, part, memory_order_release);
    }
    pthread_mutex_unlock(&stripe->lock);
    if (keep)
        cache_fit(cache);
    return keep;
}

bool list_cache_wants(struct list_cache *cache, struct list_entry *entry, size_t bytes)
{
    struct stripe *stripe;
    bool wants;

    if (cache == NULL)
        return false;
    stripe = &cache->stripes[stripe_of(entry->hash)];
    pthread_mutex_lock(&stripe->lock);
    wants = entry->owner != NULL && entry->bytes + bytes + OVERHEAD <= cache->limit / LARGEST_SHARE;
    pthread_mutex_unlock(&stripe->lock);
    return wants;
}

void list_owner_deinit(struct list_owner *owner)
{
    struct list_cache *cache = owner->cache;

    for (uint32_t i = 0; cache != NULL && i < LIST_CACHE_STRIPES; i++) {
        struct stripe *stripe = &cache->stripes[i];
        struct list_entry *dropped = NULL;

        pthread_mutex_lock(&stripe->lock);
        while (owner->entries[i] != NULL) {
            struct list_entry *entry = owner->entries[i];

            stripe_remove(cache, stripe, entry);
            entry->chain = dropped;
            dropped = entry;
        }
        pthread_mutex_unlock(&stripe->lock);
        while (dropped != NULL) {
            struct list_entry *entry = dropped;

            dropped = entry->chain;
            list_entry_unref(entry);
        }
    }
}
