#include "shard/disk_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int disk_list_corrupt(const struct disk_segment *s, const struct disk_list *list, uint32_t chunk,
                      const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "segment %llu, field %u, token \"%.*s\", chunk %u: %s",
                   (unsigned long long)s->base.id, list->entry.field, (int)list->entry.token.size,
                   (const char *)list->entry.token.data, chunk, what);
}

int disk_term_corrupt(const struct disk_segment *s, struct segment_token token, const char *what,
                      struct err *err)
{
    return err_set(err, ERR_CORRUPT, "segment %llu, field %u, token \"%.*s\": %s",
                   (unsigned long long)s->base.id, token.field, (int)token.text.size,
                   (const char *)token.text.data, what);
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "postings: out of memory");
}

/* ---- one allocation for a structure and its arrays ---- */

static size_t rounded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* Takes an array from the memory behind a structure. */
static void *carve(uint8_t **at, size_t size)
{
    void *start = *at;

    *at += rounded(size);
    return start;
}

static const void *carve_copy(uint8_t **at, const void *from, size_t size)
{
    void *to = carve(at, size);

    if (size > 0)
        memcpy(to, from, size);
    return to;
}

/* ---- lists ---- */

static void list_destroy(struct list_entry *entry)
{
    struct disk_list *list = (struct disk_list *)entry; /* its first member */

    for (uint32_t i = 0; i < list->chunks.count; i++) {
        if (list->kept_chunks != NULL)
            free(atomic_load_explicit(&list->kept_chunks[i], memory_order_relaxed));
        if (list->kept_positions != NULL)
            free(atomic_load_explicit(&list->kept_positions[i], memory_order_relaxed));
    }
    free(list);
}

/* With `behind` more bytes, from *at on. */
static struct disk_list *list_create(const struct disk_term *term, struct segment_token token,
                                     size_t behind, uint8_t **at)
{
    size_t size = rounded(sizeof(struct disk_list)) + rounded(token.text.size) + behind;
    struct disk_list *list = malloc(size);
    const uint8_t *text;

    if (list == NULL)
        return NULL;
    *list = (struct disk_list){.df = term->df, .id = term->id, .flags = term->flags};
    *at = (uint8_t *)list + rounded(sizeof(*list));
    text = carve_copy(at, token.text.data, token.text.size);
    list_entry_init(&list->entry, token.field, bytes_of(text, token.text.size), size, list_destroy);
    return list;
}

/* Room for `count` chunks that may be kept. */
static _Atomic(void *) *carve_slots(uint8_t **at, uint32_t count)
{
    _Atomic(void *) *slots = carve(at, count * sizeof(*slots));

    for (uint32_t i = 0; i < count; i++)
        atomic_init(&slots[i], NULL);
    return slots;
}

static bool positions_in_rows(uint8_t flags)
{
    return (flags & (DISK_TERM_POSITIONS | DISK_TERM_POSITIONS_INLINE)) == DISK_TERM_POSITIONS;
}

/* What the level and the slots of `count` chunks take. */
static size_t chunks_size(uint8_t flags, uint32_t count, uint32_t pairs)
{
    uint32_t slots =
        ((flags & DISK_TERM_CHUNKED) ? count : 0) + (positions_in_rows(flags) ? count : 0);

    return codec_level_size(count, pairs) + 2 * rounded(count * sizeof(uint32_t)) +
           slots * sizeof(_Atomic(void *));
}

static void chunks_fill(struct disk_list *list, const struct disk_chunk_entry *entries,
                        uint32_t count, uint32_t pairs, uint8_t **at)
{
    uint32_t *first_doc, *counts;
    struct codec_level level;

    codec_level_carve(at, count, pairs, &level);
    list->first_doc = first_doc = carve(at, count * sizeof(*first_doc));
    list->count = counts = carve(at, count * sizeof(*counts));
    for (uint32_t i = 0; i < count; i++) {
        codec_level_add(&level, &entries[i].bounds);
        first_doc[i] = entries[i].first_doc;
        counts[i] = entries[i].count;
    }
    list->chunks = codec_level(&level);
    if (list->flags & DISK_TERM_CHUNKED)
        list->kept_chunks = carve_slots(at, count);
    if (positions_in_rows(list->flags))
        list->kept_positions = carve_slots(at, count);
}

static int list_open_chunked(const struct disk_segment *s, struct segment_token token,
                             const struct disk_term *term, struct disk_list **out, struct err *err)
{
    uint32_t count = term->chunk_count, pairs = 0;
    struct disk_chunk_entry *entries = malloc(count * sizeof(*entries));
    uint8_t *at;

    if (entries == NULL)
        return no_memory(err);
    if (!disk_get_directory(term, (uint32_t)s->header.documents, entries)) {
        free(entries);
        return disk_term_corrupt(s, token, "damaged directory of chunks", err);
    }
    for (uint32_t i = 0; i < count; i++)
        pairs += entries[i].bounds.count;
    *out = list_create(term, token, chunks_size(term->flags, count, pairs), &at);
    if (*out != NULL)
        chunks_fill(*out, entries, count, pairs, &at);
    free(entries);
    return *out != NULL ? 0 : no_memory(err);
}

/* Decodes an inline list for its entry; *positions is where its positions start. */
static bool inline_read(const struct disk_segment *s, const struct disk_term *term,
                        struct disk_chunk_entry *entry, size_t *positions)
{
    struct posting_block block;
    uint8_t norms[POSTING_BLOCK];
    struct reader reader;

    reader_init(&reader, term->rest);
    if (!codec_get_docs(&reader, term->df, 0, &block) ||
        (!block.has_freqs && !codec_get_freqs(&reader, &block)) ||
        block.docs[term->df - 1] >= s->header.documents)
        return false;
    for (uint32_t i = 0; i < term->df; i++)
        norms[i] = s->norms[block.docs[i]];
    posting_bounds_build(block.freqs, norms, term->df, &entry->bounds);
    entry->bounds.last_doc = block.docs[term->df - 1];
    entry->first_doc = block.docs[0];
    entry->count = term->df;
    *positions = term->rest.size - reader_left(&reader);
    return (term->flags & DISK_TERM_POSITIONS_INLINE) || reader_left(&reader) == 0;
}

static int list_open_inline(const struct disk_segment *s, struct segment_token token,
                            const struct disk_term *term, struct disk_list **out, struct err *err)
{
    struct disk_chunk_entry entry = {0};
    struct disk_list *list;
    uint32_t *offset;
    size_t positions;
    uint8_t *at;

    if (!inline_read(s, term, &entry, &positions))
        return disk_term_corrupt(s, token, "malformed inline list", err);
    list = list_create(term, token,
                       chunks_size(term->flags, 1, entry.bounds.count) +
                           rounded(2 * sizeof(*offset)) + rounded(term->rest.size),
                       &at);
    if (list == NULL)
        return no_memory(err);
    chunks_fill(list, &entry, 1, entry.bounds.count, &at);
    offset = carve(&at, 2 * sizeof(*offset));
    offset[0] = 0;
    offset[1] = (uint32_t)positions;
    list->inline_only = (struct disk_chunk){
        .count = term->df, .first_doc = 0, .blocks = list->chunks, .offset = offset};
    list->inline_only.bytes = carve_copy(&at, term->rest.data, term->rest.size);
    list->inline_positions =
        bytes_of(list->inline_only.bytes + positions, term->rest.size - positions);
    *out = list;
    return 0;
}

int disk_list_open(const struct disk_segment *s, struct segment_token token, struct bytes row,
                   struct disk_list **out, struct err *err)
{
    struct disk_term term;

    *out = NULL;
    if (!disk_get_term(row, &term))
        return disk_term_corrupt(s, token, "damaged term", err);
    return term.flags & DISK_TERM_CHUNKED ? list_open_chunked(s, token, &term, out, err)
                                          : list_open_inline(s, token, &term, out, err);
}

/* From the row, into the cache. */
static int list_read(struct disk_segment *s, struct segment_token token, struct disk_list **out,
                     struct err *err)
{
    static const struct disk_term absent = {0};
    struct store_value value;
    struct disk_key key;
    uint8_t *at;
    bool found;
    int code;

    disk_key_term(&key, s->base.id, token);
    code = store_get(s->store, STORE_TERM, disk_key_bytes(&key), &value, &found, err);
    if (code != 0)
        return code;
    if (found)
        code = disk_list_open(s, token, value.bytes, out, err);
    else if ((*out = list_create(&absent, token, 0, &at)) == NULL)
        code = no_memory(err);
    store_value_release(&value);
    if (code == 0)
        *out = (struct disk_list *)list_cache_put(&s->lists, &(*out)->entry);
    return code;
}

int disk_list_find(struct disk_segment *s, struct segment_token token, struct disk_list **out,
                   struct err *err)
{
    *out = (struct disk_list *)list_cache_find(&s->lists, token.field, token.text);
    return *out != NULL ? 0 : list_read(s, token, out, err);
}

/* ---- chunks ---- */

#define BYTES_A_POSTING 2 /* about; of a chunk that is not read yet */

static int row_read(const struct disk_segment *s, struct disk_list *list, uint32_t number,
                    enum store_family family, struct store_value *value, struct err *err)
{
    bool kept = list_cache_wants(s->lists.cache, &list->entry,
                                 (size_t)list->count[number] * BYTES_A_POSTING);
    struct disk_key key;
    bool found;
    int code;

    disk_key_chunk(&key, s->base.id, list->id, list->first_doc[number]);
    code = (kept ? store_get_once : store_get)(s->store, family, disk_key_bytes(&key), value,
                                               &found, err);
    if (code == 0 && !found)
        code = disk_list_corrupt(
            s, list, number,
            family == STORE_POST ? "postings are missing" : "positions are missing", err);
    return code;
}

static struct disk_chunk *chunk_copy(const struct codec_chunk *from)
{
    uint32_t count = from->block_count, pairs = from->pair_end[count - 1];
    size_t size = rounded(sizeof(struct disk_chunk)) + codec_level_size(count, pairs) +
                  rounded((count + 1) * sizeof(uint32_t)) + rounded(from->blocks.size);
    struct disk_chunk *chunk = malloc(size);
    uint8_t *at;

    if (chunk == NULL)
        return NULL;
    at = (uint8_t *)chunk + rounded(sizeof(*chunk));
    *chunk = (struct disk_chunk){.count = from->count, .first_doc = from->first_doc, .size = size};
    chunk->blocks = (struct posting_level){
        .count = count,
        .last_doc = carve_copy(&at, from->last_doc, count * sizeof(uint32_t)),
        .pair_end = carve_copy(&at, from->pair_end, count * sizeof(uint32_t)),
        .pair_freq = carve_copy(&at, from->pair_freq, pairs * sizeof(uint32_t)),
        .pair_norm = carve_copy(&at, from->pair_norm, pairs),
        .reached = carve_copy(&at, from->reached, count)};
    chunk->offset = carve_copy(&at, from->offset, (count + 1) * sizeof(uint32_t));
    chunk->bytes = carve_copy(&at, from->blocks.data, from->blocks.size);
    assert(at == (uint8_t *)chunk + size);
    return chunk;
}

static int chunk_read(const struct disk_segment *s, struct disk_list *list, uint32_t number,
                      struct disk_chunk **out, struct err *err)
{
    struct store_value value;
    struct codec_chunk chunk;
    int code = row_read(s, list, number, STORE_POST, &value, err);

    *out = NULL;
    if (code != 0)
        return code;
    if (!codec_chunk_open(value.bytes, list->first_doc[number], &chunk) ||
        chunk.count != list->count[number] ||
        chunk.last_doc[chunk.block_count - 1] != list->chunks.last_doc[number])
        code = disk_list_corrupt(s, list, number, "damaged postings", err);
    else if ((*out = chunk_copy(&chunk)) == NULL)
        code = no_memory(err);
    store_value_release(&value);
    return code;
}

int disk_chunk_get(const struct disk_segment *s, struct disk_list *list, uint32_t number,
                   const struct disk_chunk **out, void **own, struct err *err)
{
    _Atomic(void *) *slot = &list->kept_chunks[number];
    struct disk_chunk *chunk = atomic_load_explicit(slot, memory_order_acquire);
    int code = 0;

    *own = NULL;
    if (chunk == NULL) {
        code = chunk_read(s, list, number, &chunk, err);
        if (code == 0 && !list_cache_keep(s->lists.cache, &list->entry, slot, chunk, chunk->size))
            *own = chunk;
    }
    *out = chunk;
    return code;
}

static struct disk_position_chunk *position_chunk_copy(const struct codec_position_chunk *from)
{
    size_t offsets = (from->block_count + 1) * sizeof(uint32_t);
    size_t size =
        rounded(sizeof(struct disk_position_chunk)) + rounded(offsets) + rounded(from->blocks.size);
    struct disk_position_chunk *chunk = malloc(size);
    uint8_t *at;

    if (chunk == NULL)
        return NULL;
    at = (uint8_t *)chunk + rounded(sizeof(*chunk));
    chunk->size = size;
    chunk->offset = carve_copy(&at, from->offset, offsets);
    chunk->bytes = carve_copy(&at, from->blocks.data, from->blocks.size);
    return chunk;
}

static int positions_read(const struct disk_segment *s, struct disk_list *list, uint32_t number,
                          struct disk_position_chunk **out, struct err *err)
{
    struct codec_position_chunk chunk;
    struct store_value value;
    int code = row_read(s, list, number, STORE_POS, &value, err);

    *out = NULL;
    if (code != 0)
        return code;
    if (!codec_position_chunk_open(value.bytes, codec_blocks(list->count[number]), &chunk))
        code = disk_list_corrupt(s, list, number, "damaged positions", err);
    else if ((*out = position_chunk_copy(&chunk)) == NULL)
        code = no_memory(err);
    store_value_release(&value);
    return code;
}

int disk_positions_get(const struct disk_segment *s, struct disk_list *list, uint32_t number,
                       const struct disk_position_chunk **out, void **own, struct err *err)
{
    _Atomic(void *) *slot = &list->kept_positions[number];
    struct disk_position_chunk *chunk = atomic_load_explicit(slot, memory_order_acquire);
    int code = 0;

    *own = NULL;
    if (chunk == NULL) {
        code = positions_read(s, list, number, &chunk, err);
        if (code == 0 && !list_cache_keep(s->lists.cache, &list->entry, slot, chunk, chunk->size))
            *own = chunk;
    }
    *out = chunk;
    return code;
}
