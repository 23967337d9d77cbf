/* Memory segment: lists that grow while they are read, without a lock.
 *
 * One writer, many readers. Everything a reader can reach is of one of two kinds: written before it was
 * published and never changed again, or a single atomic word. Publishing goes from the inside out: the bytes of a
 * posting, then the list's last_doc and count (release), then, when all lists have the document, the number of
 * documents (release). A reader takes a list's count (acquire) once, and never decodes more postings than that.
 *
 * Memory is an arena that is freed with the segment. Before a document is added, as much as it can need at most
 * is set aside (memory_reserve), so that adding cannot fail half-way.
 *
 *   table -> slots -> list --first--> slice -> slice -> slice (tail)      bytes of postings
 *                       \---skips---> skip  -> skip                       one for each full block of 128
 *
 * Table: open addressing over pointers to lists; a full table is replaced by one twice as large, and the old one
 * stays until the end, because a reader may be in it (together they are at most as large again).
 *
 * A posting is, in varints: (doc - last doc) << 1 | (frequency is 1), the first of a list counted from -1; the
 * frequency, unless it is 1; in TEXT_FIELD_ALL, the size in bytes of its positions, then these, each minus the
 * one before it. A posting never lies across two slices; a slice's `used` tells where the next one takes over.
 *
 * A skip says where the block behind it starts, and bounds the one before it.
 */
#include "shard/memory_segment.h"

#include "shard/memory_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_FIRST ((size_t)64 << 10)
#define ARENA_BLOCK_MOST ((size_t)1 << 20)
#define TABLE_FIRST 1024
#define VARINT32_MAX 5

/* ---- the arena ---- */

static size_t align8(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static struct memory_block *memory_block_create(struct memory_segment *s, size_t size)
{
    struct memory_block *block = malloc(sizeof(*block) + size);

    if (block == NULL)
        return NULL;
    block->next = NULL;
    block->size = size;
    block->used = 0;
    atomic_fetch_add_explicit(&s->bytes, sizeof(*block) + size, memory_order_relaxed);
    return block;
}

/* After this, allocations of `size` bytes altogether cannot fail. */
static bool memory_reserve(struct memory_segment *s, size_t size)
{
    size_t want = s->block_size == 0 ? ARENA_BLOCK_FIRST : s->block_size;

    if (s->blocks != NULL && s->blocks->size - s->blocks->used >= size)
        return true;
    if (s->spare != NULL && s->spare->size >= size)
        return true;
    if (s->spare != NULL) { /* too small for this document: use it for what comes later */
        s->spare->next = s->blocks;
        s->blocks = s->spare;
        s->spare = NULL;
    }
    s->spare = memory_block_create(s, size > want ? size : want);
    if (s->spare == NULL)
        return false;
    s->block_size = want * 2 > ARENA_BLOCK_MOST ? ARENA_BLOCK_MOST : want * 2;
    return true;
}

static void *memory_take(struct memory_segment *s, size_t size)
{
    struct memory_block *block = s->blocks;
    void *memory;

    size = align8(size);
    if (block == NULL || block->size - block->used < size) {
        block = s->spare;
        assert(block != NULL && block->size >= size); /* reserved */
        block->next = s->blocks;
        s->blocks = block;
        s->spare = NULL;
    }
    memory = block->data + block->used;
    block->used += size;
    return memory;
}

static void *memory_copy(struct memory_segment *s, struct bytes bytes)
{
    void *copy = memory_take(s, bytes.size);

    if (bytes.size > 0)
        memcpy(copy, bytes.data, bytes.size);
    return copy;
}

/* ---- the table ---- */

uint32_t memory_token_hash(struct segment_token token)
{
    return (uint32_t)hash64(token.text.data, token.text.size) ^ (token.field * 0x9e3779b1u);
}

static bool list_is(const struct memory_list *list, struct segment_token token, uint32_t hash)
{
    return list->hash == hash && list->field == token.field && list->size == token.text.size &&
           (list->size == 0 || memcmp(list->text, token.text.data, list->size) == 0);
}

struct memory_list *memory_list_find(struct memory_segment *s, struct segment_token token)
{
    struct memory_table *table = atomic_load_explicit(&s->table, memory_order_acquire);
    uint32_t hash = memory_token_hash(token);
    struct memory_list *list;

    if (table == NULL)
        return NULL;
    for (uint32_t at = hash & table->mask;; at = (at + 1) & table->mask) {
        list = atomic_load_explicit(&table->slots[at], memory_order_acquire);
        if (list == NULL || list_is(list, token, hash))
            return list;
    }
}

static void table_put(struct memory_table *table, struct memory_list *list)
{
    uint32_t at = list->hash & table->mask;

    while (atomic_load_explicit(&table->slots[at], memory_order_relaxed) != NULL)
        at = (at + 1) & table->mask;
    atomic_store_explicit(&table->slots[at], list, memory_order_release);
}

/* Room for `extra` more lists at a load of two thirds. */
static bool table_reserve(struct memory_segment *s, uint32_t extra)
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

static struct memory_list *list_create(struct memory_segment *s, struct segment_token token)
{
    struct memory_list *list = memory_take(s, sizeof(*list) + token.text.size);

    memset(list, 0, sizeof(*list));
    list->hash = memory_token_hash(token);
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

/* Where the next posting goes: the tail, or a new slice when it has no room. Slices of a list double from 16
 * bytes to 512: most lists have one posting, and most postings are in long lists. */
static struct memory_slice *list_room(struct memory_segment *s, struct memory_list *list, uint32_t size)
{
    struct memory_slice *tail = list->tail, *slice;
    uint32_t capacity = MEMORY_SLICE_FIRST;

    if (tail != NULL) {
        if (tail->size - atomic_load_explicit(&tail->used, memory_order_relaxed) >= size)
            return tail;
        capacity = tail->size * 2 > MEMORY_SLICE_MOST ? MEMORY_SLICE_MOST : tail->size * 2;
    }
    if (capacity < size)
        capacity = (uint32_t)align8(size);
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
        norms[i] = memory_doc(s, s->scratch.block.docs[i])->norm;
    skip = memory_take(s, sizeof(*skip));
    skip->next = NULL;
    skip->behind = place;
    posting_bounds_build(s->scratch.block.freqs, norms, POSTING_BLOCK, &skip->bounds);
    skip->bounds.last_doc = s->scratch.block.docs[POSTING_BLOCK - 1];
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

/* ---- documents and categories ---- */

/* The most that adding the document can take from the arena. */
static size_t document_need(const struct document *document)
{
    size_t need = align8(document->key.size) + align8(document->category_count * sizeof(uint32_t));

    for (uint32_t i = 0; i < document->category_count; i++)
        need += align8(document->categories[i].size);
    for (uint32_t i = 0; i < document->term_count; i++) {
        const struct document_term *term = &document->terms[i];
        size_t posting = 4 * VARINT32_MAX + (size_t)term->position_count * VARINT32_MAX;

        need += align8(sizeof(struct memory_list) + term->token.text.size) + sizeof(struct memory_skip) +
                align8(sizeof(struct memory_slice) + (posting > MEMORY_SLICE_MOST ? posting : MEMORY_SLICE_MOST));
    }
    return need;
}

static void *page_of(struct memory_segment *s, void **page, size_t bytes)
{
    if (*page == NULL) {
        *page = calloc(1, bytes);
        if (*page != NULL)
            atomic_fetch_add_explicit(&s->bytes, bytes, memory_order_relaxed);
    }
    return *page;
}

static bool columns_reserve(struct memory_segment *s, uint32_t doc, uint32_t categories)
{
    uint32_t names = atomic_load_explicit(&s->category_count, memory_order_relaxed);
    uint64_t slots = s->category_mask + (uint64_t)1;

    if (page_of(s, (void **)&s->doc_pages[doc / MEMORY_PAGE], MEMORY_PAGE * sizeof(struct memory_doc)) == NULL)
        return false;
    for (uint32_t i = names / MEMORY_PAGE; i <= (names + categories) / MEMORY_PAGE; i++)
        if (page_of(s, (void **)&s->category_pages[i], MEMORY_PAGE * sizeof(struct bytes)) == NULL)
            return false;
    if (s->category_slots == NULL || ((uint64_t)names + categories) * 2 > slots) {
        uint64_t wider = s->category_slots == NULL ? 256 : slots * 2;
        uint32_t *table = calloc(wider, sizeof(*table));

        if (table == NULL)
            return false;
        for (uint32_t i = 0; i < names; i++) {
            struct bytes name = *memory_category(s, i);
            uint64_t at = hash64(name.data, name.size) & (wider - 1);

            while (table[at] != 0)
                at = (at + 1) & (wider - 1);
            table[at] = i + 1;
        }
        free(s->category_slots);
        s->category_slots = table;
        s->category_mask = (uint32_t)(wider - 1);
    }
    return true;
}

/* The ordinal of a category name, which is made when it is new. */
static uint32_t category_ordinal(struct memory_segment *s, struct bytes name)
{
    uint64_t at = hash64(name.data, name.size) & s->category_mask;
    uint32_t ordinal;

    for (; s->category_slots[at] != 0; at = (at + 1) & s->category_mask)
        if (bytes_equal(*memory_category(s, s->category_slots[at] - 1), name))
            return s->category_slots[at] - 1;
    ordinal = atomic_load_explicit(&s->category_count, memory_order_relaxed);
    *memory_category(s, ordinal) = bytes_of(memory_copy(s, name), name.size);
    s->category_slots[at] = ordinal + 1;
    atomic_store_explicit(&s->category_count, ordinal + 1, memory_order_release);
    return ordinal;
}

static int ordinal_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void columns_add(struct memory_segment *s, uint32_t doc, const struct document *document)
{
    struct memory_doc *row = memory_doc(s, doc);
    uint32_t *ordinals = memory_take(s, document->category_count * sizeof(*ordinals)), kept = 0;

    for (uint32_t i = 0; i < document->category_count; i++)
        ordinals[i] = category_ordinal(s, document->categories[i]);
    if (document->category_count > 1)
        qsort(ordinals, document->category_count, sizeof(*ordinals), ordinal_compare);
    for (uint32_t i = 0; i < document->category_count; i++)
        if (kept == 0 || ordinals[kept - 1] != ordinals[i])
            ordinals[kept++] = ordinals[i];
    row->key = memory_copy(s, document->key);
    row->key_size = (uint32_t)document->key.size;
    row->norm = document->norm;
    row->body_length = document->body_length;
    row->categories = ordinals;
    row->category_count = kept;
}

int memory_segment_add(struct segment *segment, const struct document *document, uint32_t *doc, struct err *err)
{
    struct memory_segment *s = memory_segment_of(segment);
    uint32_t id = atomic_load_explicit(&s->documents, memory_order_relaxed);

    if (id >= MEMORY_DOCUMENTS_MAX ||
        atomic_load_explicit(&s->category_count, memory_order_relaxed) + (uint64_t)document->category_count >=
            MEMORY_DOCUMENTS_MAX)
        return err_set(err, ERR_FULL, "memory segment: holds %u documents", id);
    if (!columns_reserve(s, id, document->category_count) || !table_reserve(s, document->term_count) ||
        !memory_reserve(s, document_need(document)))
        return err_set(err, ERR_NOMEM, "memory segment: out of memory");
    columns_add(s, id, document); /* first: bounds look at norms */
    for (uint32_t i = 0; i < document->term_count; i++) {
        const struct document_term *term = &document->terms[i];
        struct memory_list *list = memory_list_find(s, term->token);

        assert(term->freq > 0 && term->token.text.size <= UINT8_MAX);
        if (list == NULL)
            list = list_create(s, term->token);
        list_append(s, list, id, term);
    }
    *doc = id;
    atomic_store_explicit(&s->documents, id + 1, memory_order_release);
    return 0;
}

uint32_t memory_segment_documents(const struct segment *segment)
{
    return atomic_load_explicit(&((const struct memory_segment *)segment)->documents, memory_order_acquire);
}

size_t memory_segment_bytes(const struct segment *segment)
{
    return atomic_load_explicit(&((const struct memory_segment *)segment)->bytes, memory_order_relaxed);
}

/* ---- life ---- */

static void memory_segment_destroy(struct segment *segment)
{
    struct memory_segment *s = memory_segment_of(segment);
    struct memory_table *table = atomic_load_explicit(&s->table, memory_order_relaxed), *older;
    struct memory_block *block = s->blocks, *next;

    for (; table != NULL; table = older) {
        older = table->older;
        free(table);
    }
    for (; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    free(s->spare);
    for (uint32_t i = 0; i < MEMORY_PAGES; i++) {
        free(s->doc_pages[i]);
        free(s->category_pages[i]);
    }
    free(s->category_slots);
    memory_sorted_unref(s->sorted);
    pthread_mutex_destroy(&s->sorted_lock);
    free(s);
}

static uint8_t memory_norm(struct segment *segment, uint32_t doc)
{
    return memory_doc(memory_segment_of(segment), doc)->norm;
}

static uint32_t memory_body_length(struct segment *segment, uint32_t doc)
{
    return memory_doc(memory_segment_of(segment), doc)->body_length;
}

static struct bytes memory_entry_key(struct segment *segment, uint32_t doc)
{
    const struct memory_doc *row = memory_doc(memory_segment_of(segment), doc);

    return bytes_of(row->key, row->key_size);
}

static const uint32_t *memory_categories(struct segment *segment, uint32_t doc, uint32_t *count)
{
    const struct memory_doc *row = memory_doc(memory_segment_of(segment), doc);

    *count = row->category_count;
    return row->categories;
}

static struct bytes memory_category_name(struct segment *segment, uint32_t ordinal)
{
    return *memory_category(memory_segment_of(segment), ordinal);
}

static uint32_t memory_category_count(struct segment *segment)
{
    return atomic_load_explicit(&memory_segment_of(segment)->category_count, memory_order_acquire);
}

static const struct segment_ops memory_segment_ops = {
    .postings = memory_postings,
    .frequency = memory_frequency,
    .terms = memory_terms,
    .norm = memory_norm,
    .body_length = memory_body_length,
    .entry_key = memory_entry_key,
    .categories = memory_categories,
    .category_name = memory_category_name,
    .category_count = memory_category_count,
    .destroy = memory_segment_destroy,
};

struct segment *memory_segment_create(uint64_t id)
{
    struct memory_segment *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->base.ops = &memory_segment_ops;
    s->base.id = id;
    atomic_init(&s->base.refs, 1);
    atomic_init(&s->bytes, sizeof(*s));
    pthread_mutex_init(&s->sorted_lock, NULL);
    return &s->base;
}
