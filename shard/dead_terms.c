/* Counts of dead documents by token: a hash table with open addressing, tokens in a text that only
 * grows (freed as a whole). Slots hold the offset of the token's record: u8 field, u8 size, bytes
 */
#include "shard/live.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define DEAD_SLOTS_FIRST 64

struct slot {
    uint32_t hash;
    uint32_t count; /* 0: free */
    size_t offset;
};

struct dead_terms {
    _Atomic int refs;
    pthread_rwlock_t lock;
    struct slot *slots;
    size_t slot_count; /* a power of two */
    size_t used;
    struct buf text;
};

struct dead_terms *dead_terms_create(void)
{
    struct dead_terms *dead = calloc(1, sizeof(*dead));

    if (dead == NULL)
        abort();
    atomic_init(&dead->refs, 1);
    pthread_rwlock_init(&dead->lock, NULL);
    buf_init(&dead->text);
    return dead;
}

void dead_terms_ref(struct dead_terms *dead)
{
    atomic_fetch_add_explicit(&dead->refs, 1, memory_order_relaxed);
}

void dead_terms_unref(struct dead_terms *dead)
{
    if (dead == NULL || atomic_fetch_sub_explicit(&dead->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_rwlock_destroy(&dead->lock);
    buf_deinit(&dead->text);
    free(dead->slots);
    free(dead);
}

static uint32_t token_hash(uint8_t field, struct bytes token)
{
    return (uint32_t)hash64(token.data, token.size) ^ (field * 0x9e3779b1u);
}

static bool slot_holds(const struct dead_terms *dead, const struct slot *slot, uint8_t field,
                       struct bytes token)
{
    const uint8_t *record = dead->text.data + slot->offset;

    return record[0] == field && record[1] == token.size &&
           (token.size == 0 || memcmp(record + 2, token.data, token.size) == 0);
}

/* The token's slot, or the free one where it belongs. */
static struct slot *dead_find(const struct dead_terms *dead, uint8_t field, struct bytes token,
                              uint32_t hash)
{
    size_t mask = dead->slot_count - 1, at = hash & mask;

    while (dead->slots[at].count != 0 &&
           (dead->slots[at].hash != hash || !slot_holds(dead, &dead->slots[at], field, token)))
        at = (at + 1) & mask;
    return &dead->slots[at];
}

static void dead_grow(struct dead_terms *dead)
{
    size_t count = dead->slot_count == 0 ? DEAD_SLOTS_FIRST : dead->slot_count * 2;
    struct slot *slots = calloc(count, sizeof(*slots));

    if (slots == NULL)
        abort();
    for (size_t i = 0; i < dead->slot_count; i++) {
        size_t at = dead->slots[i].hash & (count - 1);

        if (dead->slots[i].count == 0)
            continue;
        while (slots[at].count != 0)
            at = (at + 1) & (count - 1);
        slots[at] = dead->slots[i];
    }
    free(dead->slots);
    dead->slots = slots;
    dead->slot_count = count;
}

void dead_terms_add(struct dead_terms *dead, uint8_t field, struct bytes token, uint32_t count)
{
    uint32_t hash = token_hash(field, token);
    struct slot *slot;

    assert(token.size <= UINT8_MAX);
    if (count == 0)
        return;
    pthread_rwlock_wrlock(&dead->lock);
    if (dead->used * 4 >= dead->slot_count * 3)
        dead_grow(dead);
    slot = dead_find(dead, field, token, hash);
    if (slot->count == 0) {
        slot->hash = hash;
        slot->offset = dead->text.size;
        buf_append_u8(&dead->text, field);
        buf_append_u8(&dead->text, (uint8_t)token.size);
        buf_append_bytes(&dead->text, token);
        dead->used++;
    }
    slot->count += count;
    pthread_rwlock_unlock(&dead->lock);
}

uint32_t dead_terms_get(const struct dead_terms *dead, uint8_t field, struct bytes token)
{
    pthread_rwlock_t *lock;
    uint32_t count = 0;

    if (dead == NULL)
        return 0;
    lock = (pthread_rwlock_t *)&dead->lock;
    pthread_rwlock_rdlock(lock);
    if (dead->slot_count > 0)
        count = dead_find(dead, field, token, token_hash(field, token))->count;
    pthread_rwlock_unlock(lock);
    return count;
}

size_t dead_terms_count(const struct dead_terms *dead)
{
    pthread_rwlock_t *lock = (pthread_rwlock_t *)&dead->lock;
    size_t count;

    pthread_rwlock_rdlock(lock);
    count = dead->used;
    pthread_rwlock_unlock(lock);
    return count;
}

size_t dead_terms_bytes(const struct dead_terms *dead)
{
    pthread_rwlock_t *lock = (pthread_rwlock_t *)&dead->lock;
    size_t bytes;

    pthread_rwlock_rdlock(lock);
    bytes = sizeof(*dead) + dead->slot_count * sizeof(struct slot) + dead->text.capacity;
    pthread_rwlock_unlock(lock);
    return bytes;
}

void dead_terms_each(const struct dead_terms *dead,
                     void (*visit)(void *data, uint8_t field, struct bytes token, uint32_t count),
                     void *data)
{
    pthread_rwlock_t *lock = (pthread_rwlock_t *)&dead->lock;

    pthread_rwlock_rdlock(lock);
    for (size_t i = 0; i < dead->slot_count; i++) {
        const struct slot *slot = &dead->slots[i];
        const uint8_t *record;

        if (slot->count == 0)
            continue;
        record = dead->text.data + slot->offset;
        visit(data, record[0], bytes_of(record + 2, record[1]), slot->count);
    }
    pthread_rwlock_unlock(lock);
}
