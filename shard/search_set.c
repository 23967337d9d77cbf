#include "shard/search_set.h"
#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/document.h"

#include <stdlib.h>
#include <string.h>

/* ---- filter ---- */

struct bytes category_token(struct bytes key, struct arena *arena)
{
    uint8_t space[DOCUMENT_CATEGORY_TOKEN_BYTES];
    struct bytes token = document_category_token(key, space);
    return bytes_of(arena_copy(arena, token.data, token.size), token.size);
}

static int mark(struct posting_cursor *cursor, uint64_t *bits, struct err *err)
{
    int status = posting_advance(cursor, 0, err);
    while (status == 0 && posting_doc(cursor) != POSTING_END) {
        uint32_t doc = posting_doc(cursor);
        bits[doc / 64] |= UINT64_C(1) << (doc % 64);
        status = posting_next(cursor, err);
    }
    return status;
}

int category_bits(const struct view_segment *in, const struct bytes *tokens, size_t count,
                  struct arena *arena, uint64_t **out, struct err *err)
{
    uint64_t *bits = arena_calloc(arena, (size_t)in->doc_limit / 64 + 1, sizeof *bits);
    *out = bits;
    if (!bits)
        return err_set(err, ERR_NOMEM, "out of memory for a filter");
    for (size_t i = 0; i < count; i++) {
        struct segment_token token = {.field = TEXT_FIELD_CATEGORY_KEY, .text = tokens[i]};
        struct posting_cursor *cursor = NULL;
        int status = in->segment->ops->postings(in->segment, token, in->doc_limit, &cursor, err);
        if (!status && cursor)
            status = mark(cursor, bits, err);
        posting_close(cursor);
        if (status)
            return status;
    }
    return 0;
}

/* ---- facets ---- */

struct spelling { /* counted in one segment */
    struct bytes key, value;
    uint64_t count;
};

struct facets {
    struct arena *arena;
    struct segment *segment;
    uint32_t *counts; /* by ordinal of the current segment */
    uint32_t ordinals;
    struct spelling *list;
    size_t list_count, list_capacity;
};

struct facets *facets_create(struct arena *arena)
{
    struct facets *facets = arena_calloc(arena, 1, sizeof *facets);
    if (facets)
        facets->arena = arena;
    return facets;
}

static bool keep(struct facets *facets, struct bytes value, uint64_t count)
{
    if (facets->list_count == facets->list_capacity) {
        size_t capacity = facets->list_capacity ? 2 * facets->list_capacity : 64;
        struct spelling *list = arena_alloc(facets->arena, capacity * sizeof *list);
        if (!list)
            return false;
        if (facets->list_count)
            memcpy(list, facets->list, facets->list_count * sizeof *list);
        facets->list = list;
        facets->list_capacity = capacity;
    }
    struct buf key = {0};
    text_key(value, &key);
    uint8_t *key_copy = arena_copy(facets->arena, key.data, key.size);
    uint8_t *value_copy = arena_copy(facets->arena, value.data, value.size);
    facets->list[facets->list_count++] =
        (struct spelling){.key = bytes_of(key_copy, key.size),
                          .value = bytes_of(value_copy, value.size),
                          .count = count};
    buf_deinit(&key);
    return key_copy && value_copy;
}

static bool close_segment(struct facets *facets)
{
    for (uint32_t i = 0; i < facets->ordinals; i++) {
        if (!facets->counts[i])
            continue;
        struct bytes name = facets->segment->ops->category_name(facets->segment, i);
        if (!keep(facets, name, facets->counts[i]))
            return false;
    }
    facets->ordinals = 0;
    return true;
}

bool facets_segment(struct facets *facets, struct segment *segment)
{
    if (!close_segment(facets))
        return false;
    facets->segment = segment;
    uint32_t ordinals = segment->ops->category_count(segment);
    facets->counts = arena_calloc(facets->arena, (size_t)ordinals + 1, sizeof *facets->counts);
    if (!facets->counts)
        return false;
    facets->ordinals = ordinals;
    return true;
}

void facets_count(struct facets *facets, struct segment *segment, uint32_t doc)
{
    uint32_t count;
    const uint32_t *ordinals = segment->ops->categories(segment, doc, &count);
    for (uint32_t i = 0; i < count; i++)
        if (ordinals[i] < facets->ordinals)
            facets->counts[ordinals[i]]++;
}

static int compare_spellings(const void *a, const void *b)
{
    const struct spelling *x = a, *y = b;
    int order = bytes_compare(x->key, y->key);
    return order ? order : bytes_compare(x->value, y->value);
}

static int compare_counts(const void *a, const void *b)
{
    const struct spelling *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return bytes_compare(x->key, y->key);
}

bool facets_finish(struct facets *facets, struct search_facet **out, size_t *count)
{
    *out = NULL;
    *count = 0;
    if (!close_segment(facets))
        return false;
    struct spelling *list = facets->list;
    if (facets->list_count)
        qsort(list, facets->list_count, sizeof *list, compare_spellings);
    size_t distinct = 0;
    for (size_t i = 0; i < facets->list_count; i++) {
        if (distinct > 0 && bytes_equal(list[distinct - 1].key, list[i].key))
            list[distinct - 1].count += list[i].count;
        else
            list[distinct++] = list[i];
    }
    if (distinct > LIMIT_FACET_VALUES_SHARD) {
        qsort(list, distinct, sizeof *list, compare_counts);
        distinct = LIMIT_FACET_VALUES_SHARD;
    }
    struct search_facet *result = arena_alloc(facets->arena, (distinct + 1) * sizeof *result);
    if (!result)
        return false;
    for (size_t i = 0; i < distinct; i++)
        result[i] = (struct search_facet){.value = list[i].value, .count = list[i].count};
    *out = result;
    *count = distinct;
    return true;
}
