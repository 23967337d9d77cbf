#include "shard/disk_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int disk_list_corrupt(const struct disk_segment *s, const struct disk_list *list, uint32_t chunk,
                      const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "segment %llu, list %u, chunk %u: %s",
                   (unsigned long long)s->base.id, list->id, chunk, what);
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

static struct disk_list *list_create(const struct disk_term *term, size_t behind, uint8_t **at)
{
    size_t size = rounded(sizeof(struct disk_list)) + behind;
    struct disk_list *list = malloc(size);

    if (list == NULL)
        return NULL;
    *list = (struct disk_list){.df = term->df, .id = term->id, .flags = term->flags, .size = size};
    atomic_init(&list->refs, 1);
    *at = (uint8_t *)list + rounded(sizeof(*list));
    return list;
}

static int list_open_chunked(const struct disk_segment *s, const struct disk_term *term,
                             struct disk_list **out, struct err *err)
{
    uint32_t count = term->chunk_count, pairs = 0, *first_doc, *counts;
    struct disk_chunk_entry *entries = malloc(count * sizeof(*entries));
    struct codec_level level;
    struct disk_list *list;
    uint8_t *at;

    if (entries == NULL)
        return no_memory(err);
    if (!disk_get_directory(term, (uint32_t)s->header.documents, entries)) {
        free(entries);
        return err_set(err, ERR_CORRUPT, "segment %llu, list %u: damaged directory of chunks",
                       (unsigned long long)s->base.id, term->id);
    }
    for (uint32_t i = 0; i < count; i++)
        pairs += entries[i].bounds.count;
    list = list_create(term, codec_level_size(count, pairs) + 2 * rounded(count * sizeof(uint32_t)),
                       &at);
    if (list == NULL) {
        free(entries);
        return no_memory(err);
    }
    codec_level_carve(&at, count, pairs, &level);
    list->first_doc = first_doc = carve(&at, count * sizeof(*first_doc));
    list->count = counts = carve(&at, count * sizeof(*counts));
    for (uint32_t i = 0; i < count; i++) {
        codec_level_add(&level, &entries[i].bounds);
        first_doc[i] = entries[i].first_doc;
        counts[i] = entries[i].count;
    }
    list->chunks = codec_level(&level);
    assert(at == (uint8_t *)list + list->size);
    free(entries);
    *out = list;
    return 0;
}

/* Decodes an inline list for its bounds; *positions is where its positions start. */
static bool inline_read(const struct disk_segment *s, const struct disk_term *term,
                        struct posting_bounds *bounds, uint32_t *first_doc, size_t *positions)
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
    posting_bounds_build(block.freqs, norms, term->df, bounds);
    bounds->last_doc = block.docs[term->df - 1];
    *first_doc = block.docs[0];
    *positions = term->rest.size - reader_left(&reader);
    return (term->flags & DISK_TERM_POSITIONS_INLINE) || reader_left(&reader) == 0;
}

static int list_open_inline(const struct disk_segment *s, const struct disk_term *term,
                            struct disk_list **out, struct err *err)
{
    uint32_t first_doc, offset[2] = {0};
    struct posting_bounds bounds = {0};
    struct codec_level level;
    struct disk_list *list;
    size_t positions;
    uint8_t *at;

    if (!inline_read(s, term, &bounds, &first_doc, &positions))
        return err_set(err, ERR_CORRUPT, "segment %llu, list %u: malformed inline list",
                       (unsigned long long)s->base.id, term->id);
    list = list_create(term,
                       codec_level_size(1, bounds.count) + 2 * rounded(sizeof(first_doc)) +
                           rounded(sizeof(offset)) + rounded(term->rest.size),
                       &at);
    if (list == NULL)
        return no_memory(err);
    offset[1] = (uint32_t)positions;
    codec_level_carve(&at, 1, bounds.count, &level);
    codec_level_add(&level, &bounds);
    list->chunks = codec_level(&level);
    list->first_doc = carve_copy(&at, &first_doc, sizeof(first_doc));
    list->count = carve_copy(&at, &term->df, sizeof(term->df));
    list->inline_only = (struct disk_chunk){
        .count = term->df, .first_doc = 0, .blocks = list->chunks}; /* counts from 0 */
    list->inline_only.offset = carve_copy(&at, offset, sizeof(offset));
    list->inline_only.bytes = carve_copy(&at, term->rest.data, term->rest.size);
    list->inline_positions =
        bytes_of(list->inline_only.bytes + positions, term->rest.size - positions);
    assert(at == (uint8_t *)list + list->size);
    *out = list;
    return 0;
}

int disk_list_open(const struct disk_segment *s, struct bytes row, struct disk_list **out,
                   struct err *err)
{
    struct disk_term term;

    *out = NULL;
    if (!disk_get_term(row, &term))
        return err_set(err, ERR_CORRUPT, "segment %llu: damaged term",
                       (unsigned long long)s->base.id);
    return term.flags & DISK_TERM_CHUNKED ? list_open_chunked(s, &term, out, err)
                                          : list_open_inline(s, &term, out, err);
}

void disk_list_unref(struct disk_list *list)
{
    if (list != NULL && atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) == 1)
        free(list);
}

/* ---- chunks ---- */

static int row_read(const struct disk_segment *s, const struct disk_list *list, uint32_t number,
                    enum store_family family, struct store_value *value, struct err *err)
{
    struct disk_key key;
    bool found;
    int code;

    disk_key_chunk(&key, s->base.id, list->id, list->first_doc[number]);
    code = store_get(s->store, family, disk_key_bytes(&key), value, &found, err);
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

int disk_chunk_read(const struct disk_segment *s, const struct disk_list *list, uint32_t number,
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

int disk_positions_read(const struct disk_segment *s, const struct disk_list *list, uint32_t number,
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
