/* The inside of a memory segment, shared by its writer (memory_segment.c, where the layout and the
 * rules of publishing are told; memory_append.c, memory_arena.c) and its readers (memory_list.c,
 * memory_terms.c). */
#ifndef QUIRE_SHARD_MEMORY_LIST_H
#define QUIRE_SHARD_MEMORY_LIST_H

#include "shard/document.h"
#include "shard/segment.h"

#include <pthread.h>
#include <stddef.h>

#define MEMORY_SLICE_FIRST 16
#define MEMORY_SLICE_MOST 512
#define MEMORY_PAGE 1024 /* rows in a page of a column */
#define MEMORY_PAGES 4096
#define MEMORY_DOCUMENTS_MAX                                                                       \
    (MEMORY_PAGE * MEMORY_PAGES) /* a flush comes long before; then ERR_FULL */

struct memory_slice {
    struct memory_slice *next; /* set before a posting that lies in it is published */
    _Atomic uint32_t used;
    uint32_t size;
    uint8_t data[];
};

/* Where a posting starts, and the document before it. */
struct memory_place {
    struct memory_slice *slice;
    uint32_t offset;
    uint32_t next_doc; /* one above the last document before; 0 at the start */
};

struct memory_skip {
    struct memory_skip *next;
    struct memory_place behind; /* where the block after this one starts */
    struct posting_bounds bounds;
};

struct memory_list {
    struct memory_list *older; /* the one made before */
    struct memory_slice *first;
    struct memory_slice *tail; /* writer only */
    struct memory_skip *skips; /* one for each full block; as many exist as count / POSTING_BLOCK */
    struct memory_skip *last_skip; /* writer only */
    _Atomic uint32_t count;
    _Atomic uint32_t last_doc;
    uint32_t hash;
    uint8_t field;
    uint8_t size;
    uint8_t text[];
};

struct memory_table {
    struct memory_table *older;
    uint32_t mask;
    _Atomic(struct memory_list *) slots[];
};

struct memory_doc {
    const uint8_t *key;
    const uint32_t *categories;
    uint32_t key_size;
    uint32_t body_length;
    uint32_t category_count;
    uint8_t norm;
};

struct memory_block { /* of the arena */
    struct memory_block *next;
    size_t size, used;
    _Alignas(8) uint8_t data[];
};

/* A decoded block, and where the positions of its postings are. */
struct memory_decoded {
    uint32_t count;
    uint32_t docs[POSTING_BLOCK], freqs[POSTING_BLOCK];
    const uint8_t *positions[POSTING_BLOCK];
    uint32_t position_bytes[POSTING_BLOCK];
};

struct memory_sorted; /* memory_terms.c */

struct memory_segment {
    struct segment base;
    _Atomic uint32_t documents;
    _Atomic size_t bytes;
    _Atomic(struct memory_table *) table;
    _Atomic(struct memory_list *) newest; /* of all lists, chained by age */
    pthread_mutex_t sorted_lock;
    struct memory_sorted *sorted; /* under sorted_lock; NULL until terms are asked for */
    _Atomic uint32_t category_count;
    struct memory_doc *doc_pages[MEMORY_PAGES];
    struct bytes *category_pages[MEMORY_PAGES];

    /* Writer only. */
    struct memory_block *blocks; /* the one in use first */
    struct memory_block *spare;
    size_t block_size;
    uint32_t list_count;
    uint32_t *category_slots; /* ordinal + 1 by hash of the name */
    uint32_t category_mask;
    struct memory_decoded scratch;
};

static inline struct memory_segment *memory_segment_of(struct segment *segment)
{
    return (struct memory_segment *)segment; /* base is its first member */
}

static inline struct memory_doc *memory_doc(struct memory_segment *s, uint32_t doc)
{
    return &s->doc_pages[doc / MEMORY_PAGE][doc % MEMORY_PAGE];
}

static inline struct bytes *memory_category(struct memory_segment *s, uint32_t ordinal)
{
    return &s->category_pages[ordinal / MEMORY_PAGE][ordinal % MEMORY_PAGE];
}

/* memory_arena.c; writer only. After memory_reserve(size), taking `size` bytes altogether, each
 * rounded up by memory_align, cannot fail. */
size_t memory_align(size_t size);
bool memory_reserve(struct memory_segment *s, size_t size);
void *memory_take(struct memory_segment *s, size_t size);
void *memory_copy(struct memory_segment *s, struct bytes bytes);

/* memory_append.c; writer only, but for memory_list_find. */
bool memory_table_reserve(struct memory_segment *s, uint32_t extra); /* room for more lists */
/* Appends a posting of `doc` for each term; the table has room for as many lists, the arena for
 * what they take. */
void memory_lists_add(struct memory_segment *s, uint32_t doc, const struct document_term *terms,
                      uint32_t count);
struct memory_list *memory_list_find(struct memory_segment *s,
                                     struct segment_token token); /* NULL: none */

/* Decodes `count` postings (at most POSTING_BLOCK) from `place` on, which moves behind them. */
void memory_block_decode(const struct memory_list *list, struct memory_place *place, uint32_t count,
                         struct memory_decoded *out);
/* A cursor over the first `count` postings (at least 1) of a list. `bounded`: its levels are as
 * tight as they can be; else they only hold, and opening it is cheaper. */
int memory_cursor_create(struct memory_segment *s, const struct memory_list *list, uint32_t count,
                         bool bounded, struct posting_cursor **out, struct err *err);
void memory_sorted_unref(struct memory_sorted *sorted); /* NULL is allowed */

/* The segment_ops that read lists. */
int memory_postings(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                    struct posting_cursor **out, struct err *err);
int memory_frequency(struct segment *segment, struct segment_token token, uint32_t doc_limit,
                     uint32_t *df, struct err *err);
int memory_terms(struct segment *segment, const struct segment_token *within,
                 struct segment_terms **out, struct err *err);

#endif
