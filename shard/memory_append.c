/* The writer's side of lists in memory: finding and making them, and appending postings. Layout and
 * rules of publishing: memory_segment.c. */
#include "shard/memory_list.h"

#include "proto/base/hash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_FIRST 1024
#define MEMORY_AHEAD 32u /* terms whose lists are fetched together */

/* ---- the table ---- */

static uint32_t token_hash(struct segment_token token)
{
    return short_hash(token.text.data, token.text.size) ^ (token.field * 0x9e3779b1u);
}

static bool list_is(const struct memory_list *list, struct segment_token token, uint32_t hash)
{
    return list->hash == hash && list->field == token.field && list->size == token.text.size &&
           short_equal(list->text, token.text.data, list->size);
}

static struct memory_list *table_find(struct memory_table *table, struct segment_token token,
                                      uint32_t hash)
{
    for (uint32_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        struct memory_list *list = atomic_load_explicit(&table->slots[at], memory_order_acquire);

        if (list == NULL || list_is(list, token, hash))
            return list;
    }
}

struct memory_list *memory_list_find(struct memory_segment *s, struct segment_token token)
{
    struct memory_table *table = atomic_load_explicit(&s->table, memory_order_acquire);

    return table == NULL ? NULL : table_find(table, token, token_hash(token));
}

static void table_put(struct memory_table *table, struct memory_list *list)
{
    uint32_t at = list->hash & table->mask;

    while (atomic_load_explicit(&table->slots[at], memory_order_relaxed) != NULL)
        at = (at + 1) & table->mask;
    atomic_store_explicit(&table->slots[at], list, memory_order_release);
}

/* Room for `extra` more lists at a load of two thirds. */
bool memory_table_reserve(struct memory_segment *s, uint32_t extra)
{
    struct memory_table *old = atomic_load_explicit(&s->table, memory_order_relaxed), *table;
    uint64_t need = ((uint64_t)s->list_count + extra) * 3 / 2 + 1;
    uint64_t count = old == NULL ? TABLE_FIRST : (uint64_t)old->mask + 1;
    size_t bytes;

    if (old != NULL && count >= need)
        return true;
    while (count < need)
        count *= 2;
    if (count > UINT32_C(1) << 31)
        return false;
    bytes = sizeof(*table) + count * sizeof(table->slots[0]);
    table = calloc(1, bytes);
    if (table == NULL)
        return false;
    table->mask = (uint32_t)(count - 1);
    table->older = old;
    for (uint64_t i = 0; old != NULL && i <= old->mask; i++) {
        struct memory_list *list = atomic_load_explicit(&old->slots[i], memory_order_relaxed);

        if (list != NULL)
            table_put(table, list);
    }
    atomic_fetch_add_explicit(&s->bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&s->table, table, memory_order_release);
    return true;
}

static struct memory_list *list_create(struct memory_segment *s, struct segment_token token,
                                       uint32_t hash)
{
    struct memory_list *list = memory_take(s, sizeof(*list) + token.text.size);

    memset(list, 0, sizeof(*list));
    list->hash = hash;
    list->field = token.field;
    list->size = (uint8_t)token.text.size;
    memcpy(list->text, token.text.data, token.text.size);
    list->older = atomic_load_explicit(&s->newest, memory_order_relaxed);
    atomic_store_explicit(&s->newest, list, memory_order_release);
    table_put(atomic_load_explicit(&s->table, memory_order_relaxed), list);
    s->list_count++;
    return list;
}

/* ---- appending a posting ---- */

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static uint32_t varint_size(uint64_t value)
{
    return 1 + (value == 0 ? 0 : (63 - (uint32_t)__builtin_clzll(value)) / 7);
}

static uint32_t positions_size(const struct document_term *term)
{
    uint32_t size = 0, last = 0;

    for (uint32_t i = 0; i < term->position_count; i++) {
        size += varint_size(term->positions[i] - last);
        last = term->positions[i];
    }
    return size;
}

/* Where the next posting goes: the tail, or a new slice when it has no room. Slices of a list
 * double from 16 bytes to 512: most lists have one posting, and most postings are in long lists. */
static struct memory_slice *list_room(struct memory_segment *s, struct memory_list *list,
                                      uint32_t size)
{
    struct memory_slice *tail = list->tail, *slice;
    uint32_t capacity = MEMORY_SLICE_FIRST;

    if (tail != NULL) {
        if (tail->size - atomic_load_explicit(&tail->used, memory_order_relaxed) >= size)
            return tail;
        capacity = tail->size * 2 > MEMORY_SLICE_MOST ? MEMORY_SLICE_MOST : tail->size * 2;
    }
    if (capacity < size)
        capacity = (uint32_t)memory_align(size);
    slice = memory_take(s, sizeof(*slice) + capacity);
    slice->next = NULL;
    atomic_init(&slice->used, 0);
    slice->size = capacity;
    if (tail == NULL)
        list->first = slice;
    else
        tail->next = slice;
    list->tail = slice;
    return slice;
}

/* The block that ends with the posting just written is full: bounds for it, and a way past it. */
static void list_skip(struct memory_segment *s, struct memory_list *list, uint32_t count)
{
    struct memory_place place = {list->first, 0, 0};
    struct memory_skip *skip;
    uint8_t norms[POSTING_BLOCK];

    if (list->last_skip != NULL)
        place = list->last_skip->behind;
    memory_block_decode(list, &place, POSTING_BLOCK, &s->scratch);
    for (uint32_t i = 0; i < POSTING_BLOCK; i++)
        norms[i] = memory_doc(s, s->scratch.docs[i])->norm;
    skip = memory_take(s, sizeof(*skip));
    skip->next = NULL;
    skip->behind = place;
    posting_bounds_build(s->scratch.freqs, norms, POSTING_BLOCK, &skip->bounds);
    skip->bounds.last_doc = s->scratch.docs[POSTING_BLOCK - 1];
    if (list->last_skip == NULL)
        list->skips = skip;
    else
        list->last_skip->next = skip;
    list->last_skip = skip;
    assert(count % POSTING_BLOCK == 0);
}

static void list_append(struct memory_segment *s, struct memory_list *list, uint32_t doc,
                        const struct document_term *term)
{
    uint32_t count = atomic_load_explicit(&list->count, memory_order_relaxed);
    uint32_t last = atomic_load_explicit(&list->last_doc, memory_order_relaxed);
    uint64_t code = (uint64_t)(count == 0 ? doc + 1 : doc - last) << 1 | (term->freq == 1);
    bool positional = list->field == TEXT_FIELD_ALL;
    uint32_t bytes = positional ? positions_size(term) : 0, used;
    uint32_t size = varint_size(code) + (term->freq == 1 ? 0 : varint_size(term->freq)) +
                    (positional ? varint_size(bytes) + bytes : 0);
    struct memory_slice *slice = list_room(s, list, size);
    uint8_t *at, *start;

    used = atomic_load_explicit(&slice->used, memory_order_relaxed);
    at = start = slice->data + used;
    at = put_varint(at, code);
    if (term->freq != 1)
        at = put_varint(at, term->freq);
    if (positional) {
        uint32_t before = 0;

        at = put_varint(at, bytes);
        for (uint32_t i = 0; i < term->position_count; i++) {
            at = put_varint(at, term->positions[i] - before);
            before = term->positions[i];
        }
    }
    assert(at == start + size);
    atomic_store_explicit(&slice->used, used + size, memory_order_relaxed);
    if ((count + 1) % POSTING_BLOCK == 0)
        list_skip(s, list, count + 1);
    atomic_store_explicit(&list->last_doc, doc, memory_order_relaxed);
    atomic_store_explicit(&list->count, count + 1, memory_order_release);
}

/* ---- a document's postings ---- */

/* What the appends of some terms will touch, asked for ahead of them. The lists of a document lie
 * all over memory, slot, list and tail behind each other: one term at a time, an add is little else
 * than waiting for these three. A guess is good enough: a slot that another token has taken costs a
 * wait. */
static void prefetch(const struct memory_table *table, const struct document_term *terms,
                     uint32_t count, uint32_t *hashes)
{
    struct memory_list *lists[MEMORY_AHEAD];

    for (uint32_t i = 0; i < count; i++) {
        hashes[i] = token_hash(terms[i].token);
        __builtin_prefetch(&table->slots[hashes[i] & table->mask]);
    }
    for (uint32_t i = 0; i < count; i++) {
        lists[i] =
            atomic_load_explicit(&table->slots[hashes[i] & table->mask], memory_order_relaxed);
        if (lists[i] != NULL)
            __builtin_prefetch(lists[i], 1);
    }
    for (uint32_t i = 0; i < count; i++)
        if (lists[i] != NULL)
            __builtin_prefetch(lists[i]->tail, 1);
    for (uint32_t i = 0; i < count; i++)
        if (lists[i] != NULL && lists[i]->tail != NULL)
            __builtin_prefetch(lists[i]->tail->data + atomic_load_explicit(&lists[i]->tail->used,
                                                                           memory_order_relaxed),
                               1);
}

void memory_lists_add(struct memory_segment *s, uint32_t doc, const struct document_term *terms,
                      uint32_t count)
{
    struct memory_table *table = atomic_load_explicit(&s->table, memory_order_relaxed);
    uint32_t hashes[MEMORY_AHEAD];

    for (uint32_t i = 0; i < count; i++) {
        const struct document_term *term = &terms[i];
        struct memory_list *list;

        if (i % MEMORY_AHEAD == 0)
            prefetch(table, term, count - i > MEMORY_AHEAD ? MEMORY_AHEAD : count - i, hashes);
        assert(term->freq > 0 && term->token.text.size <= UINT8_MAX);
        assert(term->token.field != TEXT_FIELD_ALL ||
               (term->position_count > 0 && term->position_count <= term->freq));
        list = table_find(table, term->token, hashes[i % MEMORY_AHEAD]);
        if (list == NULL)
            list = list_create(s, term->token, hashes[i % MEMORY_AHEAD]);
        list_append(s, list, doc, term);
    }
}
