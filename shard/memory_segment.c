/* Memory segment: lists that grow while they are read, without a lock.
 *
 * One writer, many readers. Everything a reader can reach is of one of two kinds: written before it
 * was published and never changed again, or a single atomic word. Publishing goes from the inside
 * out: the bytes of a posting, then the list's last_doc and count (release), then, when all lists
 * have the document, the number of documents (release). A reader takes a list's count (acquire)
 * once, and never decodes more postings than that.
 *
 * Memory is an arena that is freed with the segment. Before a document is added, as much as it can
 * need at most is set aside (memory_reserve), so that adding cannot fail half-way.
 *
 *   table -> slots -> list --first--> slice -> slice -> slice (tail)      bytes of postings
 *                       \---skips---> skip  -> skip                       one for each full block
 * of 128
 *
 * Table: open addressing over pointers to lists; a full table is replaced by one twice as large,
 * and the old one stays until the end, because a reader may be in it (together they are at most as
 * large again).
 *
 * A posting is, in varints: (doc - last doc) << 1 | (frequency is 1), the first of a list counted
 * from -1; the frequency, unless it is 1; in TEXT_FIELD_ALL, the size in bytes of its positions,
 * then these, each minus the one before it. A posting never lies across two slices; a slice's
 * `used` tells where the next one takes over.
 *
 * A skip says where the block behind it starts, and bounds the one before it.
 */
#include "shard/memory_segment.h"

#include "shard/memory_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define VARINT32_MAX 5

/* ---- documents and categories ---- */

/* The most that adding the document can take from the arena. */
static size_t document_need(const struct document *document)
{
    size_t need = memory_align(document->key.size) +
                  memory_align(document->category_count * sizeof(uint32_t));

    for (uint32_t i = 0; i < document->category_count; i++)
        need += memory_align(document->categories[i].size);
    for (uint32_t i = 0; i < document->term_count; i++) {
        const struct document_term *term = &document->terms[i];
        size_t posting = 4 * VARINT32_MAX + (size_t)term->position_count * VARINT32_MAX;

        need += memory_align(sizeof(struct memory_list) + term->token.text.size) +
                sizeof(struct memory_skip) +
                memory_align(sizeof(struct memory_slice) +
                             (posting > MEMORY_SLICE_MOST ? posting : MEMORY_SLICE_MOST));
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

    if (page_of(s, (void **)&s->doc_pages[doc / MEMORY_PAGE],
                MEMORY_PAGE * sizeof(struct memory_doc)) == NULL)
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

int memory_segment_add(struct segment *segment, const struct document *document, uint32_t *doc,
                       struct err *err)
{
    struct memory_segment *s = memory_segment_of(segment);
    uint32_t id = atomic_load_explicit(&s->documents, memory_order_relaxed);

    if (id >= MEMORY_DOCUMENTS_MAX ||
        atomic_load_explicit(&s->category_count, memory_order_relaxed) +
                (uint64_t)document->category_count >=
            MEMORY_DOCUMENTS_MAX)
        return err_set(err, ERR_FULL, "memory segment: holds %u documents", id);
    if (!columns_reserve(s, id, document->category_count) ||
        !memory_table_reserve(s, document->term_count) ||
        !memory_reserve(s, document_need(document)))
        return err_set(err, ERR_NOMEM, "memory segment: out of memory");
    columns_add(s, id, document); /* first: bounds look at norms */
    memory_lists_add(s, id, document->terms, document->term_count);
    *doc = id;
    atomic_store_explicit(&s->documents, id + 1, memory_order_release);
    return 0;
}

uint32_t memory_segment_documents(const struct segment *segment)
{
    return atomic_load_explicit(&((const struct memory_segment *)segment)->documents,
                                memory_order_acquire);
}

size_t memory_segment_bytes(const struct segment *segment)
{
    return atomic_load_explicit(&((const struct memory_segment *)segment)->bytes,
                                memory_order_relaxed);
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
