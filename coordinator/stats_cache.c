#include "coordinator/stats_cache.h"

#include "proto/base/list.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_PER_BUCKET 256 /* of the limit; more than that an item takes rarely */
#define MALLOC_BYTES 16      /* that malloc keeps for itself, beside each item */
#define ITEM_SHARE 16        /* an item that takes more than this part of the limit is not kept */
#define SECOND_CHANCES 64    /* that one insertion gives: the loop does not stop for a full turn */

struct item {
    struct item *next; /* in its bucket */
    struct list age;
    uint64_t hash;
    uint64_t range;
    uint64_t seq;
    uint32_t key_size;
    uint32_t value_size;
    bool used;       /* since it was last at the head of the queue */
    uint8_t bytes[]; /* key, value */
};

struct record { /* the value of the empty key */
    uint64_t documents;
    uint64_t total_length;
};

struct stats_cache {
    struct item **buckets;
    size_t bucket_count; /* a power of two; 0: nothing is kept */
    struct list queue;   /* the next to go first */
    size_t bytes;
    size_t limit;
};

static const struct bytes record_key = {(const uint8_t *)"", 0};

/* ---- the table ---- */

struct stats_cache *stats_cache_create(size_t limit)
{
    struct stats_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        abort();
    cache->limit = limit;
    list_init(&cache->queue);
    if (limit == 0)
        return cache;
    cache->bucket_count = 16;
    while (cache->bucket_count * BYTES_PER_BUCKET < limit)
        cache->bucket_count *= 2;
    cache->buckets = calloc(cache->bucket_count, sizeof cache->buckets[0]);
    if (cache->buckets == NULL)
        abort();
    cache->bytes = cache->bucket_count * sizeof cache->buckets[0];
    return cache;
}

static uint64_t hash_of(uint64_t range, uint64_t key_hash)
{
    uint64_t mixed = (range + 1) * 0x9e3779b97f4a7c15u ^ key_hash;
    return mixed ^ mixed >> 32;
}

static size_t item_bytes(size_t key_size, size_t value_size)
{
    return sizeof(struct item) + key_size + value_size + MALLOC_BYTES;
}

static struct item **slot_of(struct stats_cache *cache, uint64_t range, struct bytes key,
                             uint64_t hash)
{
    struct item **slot = &cache->buckets[hash & (cache->bucket_count - 1)];
    while (*slot != NULL &&
           ((*slot)->hash != hash || (*slot)->range != range || (*slot)->key_size != key.size ||
            memcmp((*slot)->bytes, key.data, key.size) != 0))
        slot = &(*slot)->next;
    return slot;
}

static void remove_at(struct stats_cache *cache, struct item **slot)
{
    struct item *item = *slot;
    *slot = item->next;
    list_remove(&item->age);
    cache->bytes -= item_bytes(item->key_size, item->value_size);
    free(item);
}

static struct bytes key_of(const struct item *item)
{
    return bytes_of(item->bytes, item->key_size);
}

static uint8_t *value_of(struct item *item)
{
    return item->bytes + item->key_size;
}

static void make_room(struct stats_cache *cache, size_t bytes)
{
    int chances = SECOND_CHANCES;
    while (cache->bytes + bytes > cache->limit && !list_empty(&cache->queue)) {
        struct item *item = list_entry(cache->queue.next, struct item, age);
        if (item->used && chances-- > 0) {
            item->used = false;
            list_remove(&item->age);
            list_push(&cache->queue, &item->age);
        } else {
            remove_at(cache, slot_of(cache, item->range, key_of(item), item->hash));
        }
    }
}

void stats_cache_destroy(struct stats_cache *cache)
{
    struct list *link;
    while ((link = list_shift(&cache->queue)) != NULL)
        free(list_entry(link, struct item, age));
    free(cache->buckets);
    free(cache);
}

static struct item *find(struct stats_cache *cache, uint64_t range, struct bytes key,
                         uint64_t key_hash)
{
    return *slot_of(cache, range, key, hash_of(range, key_hash));
}

static void put(struct stats_cache *cache, const Quire__RangeStats *stats, struct bytes key,
                uint64_t key_hash, struct bytes value)
{
    size_t bytes = item_bytes(key.size, value.size);
    uint64_t hash = hash_of(stats->range, key_hash);
    struct item **slot = slot_of(cache, stats->range, key, hash);
    struct item *item = *slot;
    if (item != NULL && item->value_size == value.size) {
        item->seq = stats->seq;
        memcpy(value_of(item), value.data, value.size);
        return;
    }
    if (item != NULL)
        remove_at(cache, slot);
    if (bytes > cache->limit / ITEM_SHARE)
        return;
    make_room(cache, bytes);
    if (cache->bytes + bytes > cache->limit || (item = malloc(bytes)) == NULL)
        return;
    *item = (struct item){.hash = hash,
                          .range = stats->range,
                          .seq = stats->seq,
                          .key_size = (uint32_t)key.size,
                          .value_size = (uint32_t)value.size};
    memcpy(item->bytes, key.data, key.size);
    memcpy(value_of(item), value.data, value.size);
    slot = &cache->buckets[hash & (cache->bucket_count - 1)];
    item->next = *slot;
    *slot = item;
    list_push(&cache->queue, &item->age);
    cache->bytes += bytes;
}

/* ---- questions ---- */

/* What an expansion depends on: the node but for its place in the query, and the limit. */
static void write_expand(struct buf *key, const Quire__QueryNode *node, uint32_t limit)
{
    buf_append_u8(key, 1 + (uint8_t)node->op);
    buf_append_be32(key, node->field);
    buf_append_be32(key, node->distance);
    buf_append_be32(key, limit);
    for (size_t i = 0; i < node->n_tokens; i++) {
        buf_append_be32(key, (uint32_t)node->tokens[i].len);
        buf_append(key, node->tokens[i].data, node->tokens[i].len);
    }
}

void stats_questions_init(struct stats_questions *questions, const Quire__ShardStats *ask,
                          struct arena *arena)
{
    size_t count = ask->n_tokens + ask->n_expand;
    struct buf key;
    buf_init(&key);
    questions->keys = arena_calloc(arena, count + 1, sizeof *questions->keys);
    questions->hashes = arena_calloc(arena, count + 1, sizeof *questions->hashes);
    questions->token_count = ask->n_tokens;
    questions->expand_count = ask->n_expand;
    for (size_t i = 0; i < count; i++) {
        buf_clear(&key);
        if (i < ask->n_tokens) {
            const Quire__TokenStat *token = ask->tokens[i];
            buf_append_u8(&key, 0);
            buf_append_be32(&key, token->field);
            buf_append(&key, token->token.data, token->token.len);
        } else {
            write_expand(&key, ask->expand[i - ask->n_tokens], ask->expand_limit);
        }
        questions->keys[i] = bytes_of(arena_copy(arena, key.data, key.size), key.size);
        questions->hashes[i] = hash64(key.data, key.size);
    }
    buf_deinit(&key);
}

/* ---- answers ---- */

Quire__RangeStats *stats_cache_find(struct stats_cache *cache, uint64_t range,
                                    const struct stats_questions *questions, struct arena *arena)
{
    struct item *item = cache->limit > 0 ? find(cache, range, record_key, 0) : NULL;
    if (item == NULL)
        return NULL;
    struct record record;
    Quire__RangeStats *stats = arena_alloc(arena, sizeof *stats);
    quire__range_stats__init(stats);
    memcpy(&record, value_of(item), sizeof record);
    item->used = true;
    stats->range = range;
    stats->seq = item->seq;
    stats->documents = record.documents;
    stats->total_length = record.total_length;
    stats->frequencies = arena_calloc(arena, questions->token_count + 1, sizeof(uint64_t));
    stats->expansions = arena_calloc(arena, questions->expand_count + 1, sizeof *stats->expansions);
    for (size_t i = 0; i < questions->token_count + questions->expand_count; i++) {
        item = find(cache, range, questions->keys[i], questions->hashes[i]);
        if (item == NULL || item->seq != stats->seq)
            return NULL;
        item->used = true;
        if (i < questions->token_count) {
            memcpy(&stats->frequencies[stats->n_frequencies++], value_of(item), sizeof(uint64_t));
            continue;
        }
        Quire__Expansion *expansion =
            quire__expansion__unpack(arena_protobuf(arena), item->value_size, value_of(item));
        if (expansion == NULL)
            return NULL;
        expansion->node = (uint32_t)(i - questions->token_count);
        stats->expansions[stats->n_expansions++] = expansion;
    }
    return stats;
}

void stats_cache_put(struct stats_cache *cache, const struct stats_questions *questions,
                     const Quire__RangeStats *stats)
{
    if (cache->limit == 0)
        return;
    const struct item *known = find(cache, stats->range, record_key, 0);
    if (known != NULL && known->seq > stats->seq)
        return;
    struct record record = {stats->documents, stats->total_length};
    struct buf packed;
    buf_init(&packed);
    put(cache, stats, record_key, 0, bytes_of(&record, sizeof record));
    for (size_t i = 0; i < questions->token_count; i++)
        put(cache, stats, questions->keys[i], questions->hashes[i],
            bytes_of(&stats->frequencies[i], sizeof stats->frequencies[i]));
    for (size_t i = 0; i < questions->expand_count; i++) {
        size_t at = questions->token_count + i;
        buf_clear(&packed);
        buf_reserve(&packed, quire__expansion__get_packed_size(stats->expansions[i]));
        packed.size = quire__expansion__pack(stats->expansions[i], packed.data);
        put(cache, stats, questions->keys[at], questions->hashes[at], buf_bytes(&packed));
    }
    buf_deinit(&packed);
}

void stats_cache_forget(struct stats_cache *cache, uint64_t range)
{
    if (cache->limit == 0)
        return;
    struct item **slot = slot_of(cache, range, record_key, hash_of(range, 0));
    if (*slot != NULL)
        remove_at(cache, slot);
}

void stats_cache_written(struct stats_cache *cache, uint64_t range, uint64_t seq)
{
    const struct item *known = cache->limit > 0 ? find(cache, range, record_key, 0) : NULL;
    if (known != NULL && known->seq < seq)
        stats_cache_forget(cache, range);
}

size_t stats_cache_bytes(const struct stats_cache *cache)
{
    return cache->bytes;
}

size_t stats_cache_limit(const struct stats_cache *cache)
{
    return cache->limit;
}
