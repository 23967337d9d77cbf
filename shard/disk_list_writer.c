/* Writing the lists of a disk segment: postings gather in buffers of at most two chunks, and leave
 * as chunks, or, when the whole list is no more than a block, in the value of its term. */
#include "shard/disk_writer.h"

#include <stdlib.h>
#include <string.h>

#define INLINE_POSITIONS_MAX 64u          /* bytes: longer ones get a row of their own */
#define BUFFERED_POSITIONS_MAX (1u << 20) /* cuts a chunk early */

struct disk_list_buffer { /* the list being built */
    struct segment_token token;
    bool positional;
    uint32_t count; /* in the buffers */
    uint32_t docs[CODEC_CHUNK_MAX], freqs[CODEC_CHUNK_MAX], position_counts[CODEC_CHUNK_MAX];
    uint8_t norms[CODEC_CHUNK_MAX];
    uint32_t *positions;
    size_t position_count, position_capacity;
    uint64_t df, total_frequency;
    struct disk_chunk_entry *chunks;
    uint32_t chunk_count, chunk_capacity;
};

int disk_list_create(struct disk_writer *w)
{
    w->list = calloc(1, sizeof(*w->list));
    return w->list == NULL ? disk_writer_nomem(w) : 0;
}

void disk_list_destroy(struct disk_writer *w)
{
    if (w->list != NULL) {
        free(w->list->positions);
        free(w->list->chunks);
    }
    free(w->list);
}

static struct codec_postings list_postings(const struct disk_list_buffer *list, uint32_t count)
{
    return (struct codec_postings){
        .docs = list->docs,
        .freqs = list->freqs,
        .norms = list->norms,
        .count = count,
        .position_counts = list->positional ? list->position_counts : NULL,
        .positions = list->positions,
    };
}

/* Takes the first `count` postings out of the buffers. */
static void list_drop(struct disk_list_buffer *list, uint32_t count)
{
    size_t positions = 0;
    uint32_t left = list->count - count;

    for (uint32_t i = 0; i < count && list->positional; i++)
        positions += list->position_counts[i];
    list->position_count -= positions;
    if (list->position_count > 0)
        memmove(list->positions, list->positions + positions,
                list->position_count * sizeof(*list->positions));
    memmove(list->docs, list->docs + count, left * sizeof(*list->docs));
    memmove(list->freqs, list->freqs + count, left * sizeof(*list->freqs));
    memmove(list->norms, list->norms + count, left * sizeof(*list->norms));
    memmove(list->position_counts, list->position_counts + count,
            left * sizeof(*list->position_counts));
    list->count = left;
}

/* Writes a chunk of the first `count` postings. */
static int list_chunk(struct disk_writer *w, uint32_t count)
{
    struct disk_list_buffer *list = w->list;
    struct codec_postings postings = list_postings(list, count);
    struct disk_chunk_entry *entry;
    struct disk_key key;
    int code;

    if (list->chunk_count == list->chunk_capacity) {
        uint32_t capacity = list->chunk_capacity == 0 ? 16 : list->chunk_capacity * 2;
        struct disk_chunk_entry *bigger = realloc(list->chunks, capacity * sizeof(*bigger));

        if (bigger == NULL)
            return disk_writer_nomem(w);
        list->chunks = bigger;
        list->chunk_capacity = capacity;
    }
    entry = &list->chunks[list->chunk_count++];
    entry->first_doc = list->docs[0];
    entry->count = count;
    buf_clear(&w->post);
    buf_clear(&w->pos);
    codec_put_chunk(&w->post, &w->pos, &postings, &entry->bounds);
    disk_key_chunk(&key, w->id, w->next_term_id, entry->first_doc);
    code = disk_writer_put(w, STORE_POST, &key, &w->post);
    if (code == 0 && list->positional)
        code = disk_writer_put(w, STORE_POS, &key, &w->pos);
    list_drop(list, count);
    return code;
}

static int list_positions(struct disk_writer *w, const uint32_t *positions, uint32_t count)
{
    struct disk_list_buffer *list = w->list;

    if (list->position_count + count > list->position_capacity) {
        size_t capacity = list->position_capacity * 2 + count + 1024;
        uint32_t *bigger = realloc(list->positions, capacity * sizeof(*bigger));

        if (bigger == NULL)
            return disk_writer_nomem(w);
        list->positions = bigger;
        list->position_capacity = capacity;
    }
    memcpy(list->positions + list->position_count, positions, count * sizeof(*positions));
    list->position_count += count;
    return 0;
}

bool disk_list_positional(const struct disk_writer *w)
{
    return w->list->positional;
}

int disk_list_add(struct disk_writer *w, uint32_t doc, uint32_t freq, const uint32_t *positions,
                  uint32_t count)
{
    struct disk_list_buffer *list = w->list;
    uint32_t at = list->count;
    int code = count > 0 ? list_positions(w, positions, count) : 0;

    if (code != 0)
        return code;
    list->docs[at] = doc;
    list->freqs[at] = freq;
    list->norms[at] = w->norms[doc];
    list->position_counts[at] = count;
    list->total_frequency += freq;
    list->df++;
    list->count++;
    if (list->count == CODEC_CHUNK_MAX)
        return list_chunk(w, CODEC_CHUNK);
    if (list->position_count > BUFFERED_POSITIONS_MAX)
        return list_chunk(w, list->count);
    return 0;
}

/* A list of one block: into the term's value; its positions too when they are few, else to their
 * own row. */
static int list_inline(struct disk_writer *w, struct disk_term *term)
{
    struct disk_list_buffer *list = w->list;
    struct disk_key key;
    int code = 0;

    buf_clear(&w->post);
    codec_put_block(&w->post, list->docs, list->freqs, list->count, 0);
    if (list->positional) {
        size_t block = w->post.size;

        codec_put_positions(&w->post, list->freqs, list->position_counts, list->positions,
                            list->count);
        if (w->post.size - block <= INLINE_POSITIONS_MAX) {
            term->flags |= DISK_TERM_POSITIONS_INLINE;
        } else {
            struct codec_postings postings = list_postings(list, list->count);
            struct posting_bounds bounds;
            struct buf unused = {0};

            w->post.size = block;
            buf_clear(&w->pos);
            codec_put_chunk(&unused, &w->pos, &postings, &bounds);
            buf_deinit(&unused);
            disk_key_chunk(&key, w->id, w->next_term_id, list->docs[0]);
            code = disk_writer_put(w, STORE_POS, &key, &w->pos);
        }
    }
    term->rest = buf_bytes(&w->post);
    return code;
}

int disk_list_finish(struct disk_writer *w)
{
    struct disk_list_buffer *list = w->list;
    struct disk_term term = {.df = (uint32_t)list->df, .id = w->next_term_id};
    struct disk_key key;
    int code = 0;

    if (list->df == 0)
        return 0; /* only the dead bore it */
    if (list->positional)
        term.flags |= DISK_TERM_POSITIONS;
    if (list->chunk_count == 0 && list->count <= POSTING_BLOCK) {
        code = list_inline(w, &term);
    } else {
        term.flags |= DISK_TERM_CHUNKED;
        if (list->count > 0)
            code = list_chunk(w, list->count);
        term.chunk_count = list->chunk_count;
        term.total_frequency = list->total_frequency;
        buf_clear(&w->post);
        disk_put_directory(&w->post, list->chunks, list->chunk_count);
        term.rest = buf_bytes(&w->post);
    }
    if (code != 0)
        return code;
    w->next_term_id += disk_term_has_rows(term.flags);
    w->header.terms++;
    w->header.postings += list->df;
    buf_clear(&w->value);
    disk_put_term(&w->value, &term);
    disk_key_term(&key, w->id, list->token);
    return disk_writer_put(w, STORE_TERM, &key, &w->value);
}

void disk_list_begin(struct disk_writer *w, struct segment_token token)
{
    struct disk_list_buffer *list = w->list;

    list->token = token;
    list->positional = token.field == TEXT_FIELD_ALL;
    list->count = 0;
    list->position_count = 0;
    list->df = list->total_frequency = 0;
    list->chunk_count = 0;
}
